"""The API document under a validator, as TypeScript, and under schemathesis as anonymous, user and administrator."""

import os
import pathlib
import subprocess
import sys

import requests
from openapi_spec_validator import validate

HERE = pathlib.Path(__file__).parent
DOCUMENT = f"{os.environ['ISSUER']}/openapi.json"


def generated_client():
    """Types made of the document, a client in these types that compiles, and its calls."""
    types = HERE / ".work" / "api.d.ts"
    types.parent.mkdir(exist_ok=True)
    for command in (
        ["npx", "--no", "openapi-typescript", DOCUMENT, "-o", str(types)],
        ["npx", "--no", "tsc"],
        ["node", ".work/out/client.js", os.environ["ISSUER"]],
    ):
        done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    print(done.stdout.strip())


def main():
    document = requests.get(DOCUMENT, timeout=30).json()
    validate(document)
    print(f"valid: {sum(len(item) for item in document['paths'].values())} operations")
    generated_client()
    for role in os.environ.get("ROLES", "anonymous user admin").split():
        command = [sys.executable, "-m", "schemathesis.cli", "run", DOCUMENT, "--checks", "all", "--workers", "1"]
        if role != "anonymous":
            command += ["--header", "X-Requested-With: interop"]
        environment = {**os.environ, "ROLE": role, "PYTHONPATH": str(HERE), "NO_COLOR": "1"}
        done = subprocess.run(command, cwd=HERE, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            print(done.stdout, done.stderr, sep="\n")
            sys.exit(f"schemathesis has findings as {role}")
        summary = [line.strip() for line in done.stdout.splitlines() if "generated" in line or "Tested:" in line]
        print(f"{role}: {'; '.join(summary)}")


main()
