"""The API document under a validator, as TypeScript, and under schemathesis as anonymous, newcomer, user and administrator."""

import json
import os
import pathlib
import subprocess
import sys
import time

import jsonschema
import requests
import session
from openapi_spec_validator import validate

HERE = pathlib.Path(__file__).parent
WORK = HERE / ".work"
DOCUMENT = f"{session.ISSUER}/openapi.json"
# What cannot be done at `dev`, and why.
OUT_OF_REACH = {
    "POST /admin/users/{user_id}/links/{link_id}/unmerge": "one provider, so that no identity ever joined an account",
}
# Whoever waits for an account can do nothing but make one.
ROLES = {
    "anonymous": [],
    "newcomer": ["--include-path", "/auth/setup"],
    "user": [],
    "admin": [],
}


def generated_client():
    """Types made of the document, a client in these types that compiles, and its calls as an administrator."""
    cookies = session.newcomer("admin").cookies
    environment = {**os.environ, "COOKIES": "; ".join(f"{cookie.name}={cookie.value}" for cookie in cookies)}
    for command in (
        ["npx", "--no", "openapi-typescript", DOCUMENT, "-o", str(WORK / "api.d.ts")],
        ["npx", "--no", "tsc"],
        ["node", ".work/out/client.js", session.ISSUER],
    ):
        done = subprocess.run(command, cwd=HERE, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    print(done.stdout.strip())


def export_is_as_described(document):
    """What somebody who has done much is given, against its schema."""
    person = session.newcomer("user")
    things = session.Things()
    things.own("client_id", person.cookies)
    session.call(person, "PATCH", "/auth/me", json={"display_name": "The Countess"})
    session.call(person, "PATCH", "/auth/me/username", json={"username": session.somebody()})
    export = session.call(person, "GET", "/auth/me/export")
    empty = [name for name, rows in export.items() if rows == []]
    schema = {"$ref": "#/components/schemas/Export", "components": document["components"]}
    validator = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())
    wrong = [f"{'/'.join(map(str, error.path))}: {error.message}" for error in validator.iter_errors(export)]
    if wrong:
        sys.exit("the export is not as described:\n" + "\n".join(wrong))
    del export["account"]["user_id"]
    if validator.is_valid(export):
        sys.exit("the schema of the export admits an account without an id")
    print(f"export: as described, without rows in {', '.join(empty)}")


def never_done(document, role, done):
    """The operations that this role may do and never did."""
    prefix = {"admin": ("/admin/",), "user": ("/auth/me",), "newcomer": ("/auth/setup",)}.get(role, ())
    labels = [
        f"{method.upper()} {path}"
        for path, item in document["paths"].items()
        for method in item
        if path.startswith(prefix)
    ]
    if prefix and len(labels) < 2:
        sys.exit(f"nothing of the document is for {role}")
    return [label for label in labels if not done.get(label) and label not in OUT_OF_REACH] if prefix else []


def exercise(document, role, options):
    """The running server under schemathesis."""
    started, counts = time.monotonic(), WORK / f"{role}.json"
    counts.unlink(missing_ok=True)
    command = [sys.executable, "-m", "schemathesis.cli", "run", DOCUMENT, "--checks", "all", "--workers", "1", *options]
    if role != "anonymous":
        command += ["--header", "X-Requested-With: interop"]
    environment = {**os.environ, "ROLE": role, "COUNTS": str(counts), "PYTHONPATH": str(HERE), "NO_COLOR": "1"}
    done = subprocess.run(command, cwd=HERE, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        print(done.stdout, done.stderr, sep="\n")
        sys.exit(f"schemathesis has findings as {role}")
    succeeded = json.loads(counts.read_text(encoding="utf-8"))
    missing = never_done(document, role, succeeded)
    if missing:
        sys.exit(f"as {role} these were never done: {', '.join(missing)}")
    summary = [line.strip() for line in done.stdout.splitlines() if "generated" in line or "Tested:" in line]
    seconds = round(time.monotonic() - started)
    print(f"{role}: {'; '.join(summary)}; {len(succeeded)} operations were done, {sum(succeeded.values())} times; {seconds} s")


def main():
    WORK.mkdir(exist_ok=True)
    document = requests.get(DOCUMENT, timeout=30).json()
    validate(document)
    print(f"valid: {sum(len(item) for item in document['paths'].values())} operations, {len(document['webhooks'])} webhooks")
    generated_client()
    export_is_as_described(document)
    for role in os.environ.get("ROLES", " ".join(ROLES)).split():
        exercise(document, role, ROLES[role])


main()
