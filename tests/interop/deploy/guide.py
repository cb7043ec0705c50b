"""Prints blocks of docs/deployment.md as a script for a machine where riley-auth is a service.

    guide.py first    up to the running service, as they stand; only the program is built already
    guide.py rest     from the rotation of keys to the end, the service in the place of the server in the foreground
    guide.py move     the backup is restored on a machine where PostgreSQL and the configuration are gone
"""

import pathlib
import re
import sys

GUIDE = (pathlib.Path(__file__).resolve().parents[3] / "docs/deployment.md").read_text()
WHERE = """set -euo pipefail
cd /etc/riley-auth
export DATABASE_HOST=localhost:5432 ADMIN_URL=postgres:///postgres
owner() { export OWNER_URL="postgres://riley_auth_owner:$(cat credentials/owner-password)@$DATABASE_HOST/riley_auth"; }
owner
"""
# What stands in the guide for a server in the foreground, and what it says that a service has instead.
FOR_A_SERVICE = [
    ('kill -HUP "$server"', "chown riley-auth: keys/*; systemctl reload riley-auth"),
    ("grep 'the signing keys were loaded anew' logs/riley-auth.log",
     "journalctl --unit riley-auth | grep 'the signing keys were loaded anew'"),
    ('kill "$server" && wait "$server"', "systemctl stop riley-auth"),
    ('riley-auth serve >>logs/riley-auth.log 2>&1 &\nserver=$!\nuntil riley-auth healthcheck; '
     'do kill -0 "$server"; sleep 0.2; done', "systemctl start riley-auth\nriley-auth healthcheck"),
]


def blocks(text):
    found = re.findall(r"\n```(?:sh|console)\n(.*?)\n```", text, re.DOTALL)
    assert found
    return [f"echo '-- block {number}'\n{block}" for number, block in enumerate(found)]


def between(start, end=None):
    assert start in GUIDE and (end is None or end in GUIDE)
    text = start + GUIDE.split(start, 1)[1]
    return text.split(end)[0] if end else text


def first():
    text = "set -euo pipefail\n" + "\n".join(blocks(between("# Running", "### As a container")))
    assert text.count("cargo build") == 1
    return text.replace("cargo build", ": cargo build")


def rest():
    # The PgBouncer of Debian 12 is too old for what the guide says of one.
    pooler = between("### A pooler", "## 9.")
    text = "\n".join(blocks(between("## 5. Rotate").replace(pooler, "")))
    for old, new in FOR_A_SERVICE:
        assert old in text, old
        text = text.replace(old, new)
    return f"{WHERE}mkdir -p logs\n{text}\nsystemctl start riley-auth"


def move():
    databases = between("## 1. The database", "## 2.")
    make_roles = [block for block in blocks(databases) if "CREATE ROLE" in block]
    backup = [block for block in blocks(between("## 6. Back up", "## 7.")) if "pg_dump" in block and "tar" in block]
    assert len(make_roles) == len(backup) == 1
    return f"""{WHERE}
{backup[0]}
before=$(riley-auth list-clients)
mv riley_auth.dump riley-auth-files.tar /root/
systemctl stop riley-auth
psql "$ADMIN_URL" --quiet --command='DROP DATABASE riley_auth' --command='DROP DATABASE riley_auth_before' \\
    --command='DROP ROLE riley_auth_owner' --command='DROP ROLE riley_auth_server'
rm -r /etc/riley-auth
mkdir /etc/riley-auth
cd /etc/riley-auth
tar --extract --same-owner --file=/root/riley-auth-files.tar
{make_roles[0]}
owner
pg_restore --exit-on-error --dbname="$OWNER_URL" /root/riley_auth.dump
riley-auth validate
riley-auth revoke --all
systemctl start riley-auth
riley-auth healthcheck
[[ $(riley-auth list-clients) == "$before" ]]
riley-auth audit verify
# The server's role may do what it could before, and no more.
if psql "$(cat credentials/database-url)" --command='DELETE FROM _sqlx_migrations'; then exit 1; fi
"""


print({"first": first, "rest": rest, "move": move}[sys.argv[1]]())
