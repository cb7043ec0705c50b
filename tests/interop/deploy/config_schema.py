"""The configuration's JSON Schema as an editor uses it: the example passes, as it stands and with every key written out, and
what is wrong at any depth does not.

    config_schema.py PROGRAM
"""

import copy
import json
import pathlib
import re
import subprocess
import sys
import tomllib

import jsonschema

ROOT = pathlib.Path(__file__).resolve().parents[3]
EXAMPLE = (ROOT / "config.example.toml").read_text()


def uncommented(examples):
    """The commented settings without their marks; `examples`: also those that only show a possible value."""
    lines = []
    for line in EXAMPLE.splitlines():
        is_setting = re.match(r'# [a-z_":]+ = ', line)
        if is_setting and (examples or not line.endswith("# for example")):
            line = line.removeprefix("# ")
        lines.append(line)
    return tomllib.loads("\n".join(lines))


def main(program):
    schema = json.loads(subprocess.run([program, "config-schema"], check=True, capture_output=True).stdout)
    validator_class = jsonschema.validators.validator_for(schema)
    assert validator_class is not jsonschema.validators.Draft3Validator, "the schema names no dialect that is known"
    validator_class.check_schema(schema)
    validator = validator_class(schema)

    whole = uncommented(False)
    for document in (tomllib.loads(EXAMPLE), whole, uncommented(True)):
        for error in validator.iter_errors(document):
            raise AssertionError(f"{error.json_path}: {error.message}")

    wrong = [
        (["server", "port"], "8081"),
        (["server", "port"], -1),
        (["server", "prot"], 8081),
        (["server"], []),
        (["server", "cors_origins"], "https://a.example"),
        (["server", "cors_origins"], [1]),
        (["database", "max_connections"], "many"),
        (["database", "migrate"], "yes"),
        (["database", "urk"], "postgres://localhost/x"),
        (["jwt", "keys"], [{"algorithm": "HS256", "private_key_path": "a.pem"}]),
        (["jwt", "keys"], [{"algorithm": "ES256", "private_key_path": "a.pem", "sings_from": "2026-01-01T00:00:00Z"}]),
        (["jwt", "keys"], {"algorithm": "ES256"}),
        (["oauth", "onboarding"], "sometimes"),
        (["oauth", "providers"], {"p": {"client_id": "c", "clinet_secret": "s"}}),
        (["oauth", "providers"], {"p": {"preset": "facebook", "client_id": "c"}}),
        (["oauth", "providers"], {"p": {"client_id": "c", "scopes": "openid"}}),
        (["rate_limiting", "auth_per_minute"], 1.5),
        (["log", "format"], "xml"),
        (["unknown"], {}),
    ]
    for path, value in wrong:
        document = copy.deepcopy(whole)
        table = document
        for key in path[:-1]:
            table = table.setdefault(key, {})
        table[path[-1]] = value
        assert not validator.is_valid(document), f"{'.'.join(path)} = {value!r} passes"
    for missing in (["database", "url"], ["jwt", "issuer"], ["database"]):
        document = copy.deepcopy(whole)
        table = document
        for key in missing[:-1]:
            table = table[key]
        del table[missing[-1]]
        assert not validator.is_valid(document), f"without {'.'.join(missing)} it passes"


main(sys.argv[1])
