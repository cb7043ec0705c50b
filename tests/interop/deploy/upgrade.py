"""The upgrade of the deployment guide, and the way back, between two versions of the program while requests arrive.

    upgrade.py OLD NEW SURROUNDINGS

Two instances of OLD run behind nginx. NEW migrates and validates, the instances are replaced one after the other, then
replaced by OLD again, which goes on with the newer schema: no request may fail. At the end the schema's minimum is raised
above OLD, as a migration does that older programs cannot live with, and OLD has to refuse to start.
"""

import os
import subprocess
import sys
import time

from sign_in import Browser, Deployment, Visitors, sign_in


def replace(deployment, program):
    for which in (0, 1):
        deployment.stop(which)
        deployment.program = program
        deployment.servers[which] = deployment.serve(which)
        deployment.wait_for_instance(which)
        # Until nginx asks it again.
        time.sleep(11)


def main():
    old, new, surroundings = (os.path.abspath(path) for path in sys.argv[1:])
    with Deployment("nginx", old, surroundings) as deployment:
        applied = lambda: int(deployment.sql("SELECT max(version) FROM _sqlx_migrations"))
        before = applied()
        _, tokens = sign_in(deployment, Browser(deployment.authority))
        with Visitors(deployment, tokens["refresh_token"]) as visitors:
            time.sleep(1)
            deployment.program = new
            deployment.run("migrate")
            minimum = int(deployment.sql("SELECT version FROM schema_minimum"))
            assert minimum <= before, f"migration {minimum}: instances of OLD have to stop before, they cannot run beside NEW"
            report = deployment.run("validate", check=False)
            assert "schema" not in report, report
            time.sleep(1)
            replace(deployment, new)
            replace(deployment, old)
        assert set(status for _, status in visitors.answers) == {200}, visitors.answers
        after = applied()
        if after > before:
            deployment.sql(f"UPDATE schema_minimum SET version = {after}")
            deployment.stop(0)
            refused = subprocess.run([old, "serve"], cwd=deployment.directory, capture_output=True, text=True, timeout=60)
            assert refused.returncode != 0, refused.stderr
            print(refused.stdout + refused.stderr)
    print(f"schema {before} to {after} and back to the old program: {sum(visitors.answers.values())} requests, all answered")


main()
