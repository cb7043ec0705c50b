"""What schemathesis needs to be somebody, of the role in `ROLE`, and to name things that are there.

Operations that end the session they are called with, or the account, are called by somebody new each time, so that none
has to be left out. Of the cases whose path is as documented, every other one gets the ids of things that exist. How often
each operation was done is written to the file that `COUNTS` names, for the check to judge.
"""

import atexit
import collections
import json
import os
import pathlib

import schemathesis
import session
from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation.meta import TestPhase

ROLE = os.environ["ROLE"]
# Operations after which the session, or whoever has it, is gone.
USES_ITSELF_UP = {
    "POST /auth/refresh",
    "POST /auth/logout",
    "POST /auth/logout-all",
    "DELETE /auth/me",
    "DELETE /auth/sessions",
    "DELETE /auth/sessions/{session_id}",
    "POST /oauth/logout",
    "GET /oauth/logout",
}
done = collections.Counter()
tried = collections.Counter()
things = session.Things()


def alive(browser):
    answer = browser.get(f"{session.ISSUER}/auth/me", headers=session.PAGE_HEADERS, timeout=30)
    return answer.status_code == 200 and (ROLE == "user" or answer.json()["role"] == ROLE)


def waits(browser):
    return browser.get(f"{session.ISSUER}/auth/setup", headers=session.PAGE_HEADERS, timeout=30).status_code == 200


if ROLE != "anonymous":

    @schemathesis.auth(refresh_interval=None)
    class BrowserSession:
        """Cookies as a browser would send them."""

        kept = None

        def get(self, case, context):
            if ROLE == "newcomer":
                if self.kept is None or not waits(self.kept):
                    self.kept = session.waiting()
            elif context.operation.label in USES_ITSELF_UP:
                return session.newcomer(ROLE).cookies
            elif self.kept is None or not alive(self.kept):
                self.kept = session.newcomer(ROLE)
            return self.kept.cookies

        def set(self, case, data, context):
            case.cookies = case.cookies or {}
            for cookie in data:
                case.cookies[cookie.name] = cookie.value


@schemathesis.hook
def before_call(context, case, kwargs):
    """Puts what exists in place of what was made up, half of the time; what is to be wrong stays wrong."""
    meta = case.meta
    if ROLE not in ("user", "admin") or not case.path_parameters or meta is None:
        return
    # A scenario of several calls has ids of its own.
    if meta.phase.name == TestPhase.STATEFUL or meta.is_negative_at(ParameterLocation.PATH):
        return
    label = case.operation.label
    tried[label] += 1
    if tried[label] % 2:
        existing = {name: things.existing(name, label, case.cookies or {}) for name in case.path_parameters}
        case.path_parameters = {name: existing[name] or value for name, value in case.path_parameters.items()}


@schemathesis.hook
def after_call(context, case, response):
    if 200 <= response.status_code < 300:
        done[case.operation.label] += 1
        if case.operation.method.upper() == "DELETE":
            for name in case.path_parameters or {}:
                things.is_gone(name)


@atexit.register
def write_counts():
    pathlib.Path(os.environ["COUNTS"]).write_text(json.dumps(done), encoding="utf-8")
