"""What schemathesis needs to be somebody: a live session before each call, of the role in `ROLE`.

Operations that end the session they are called with, or the account, are called by somebody new each time, so that none
has to be left out.
"""

import os

import requests
import schemathesis
import session

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


def alive(browser):
    answer = browser.get(f"{session.ISSUER}/auth/me", headers=session.PAGE_HEADERS, timeout=30)
    return answer.status_code == 200 and (ROLE == "user" or answer.json()["role"] == ROLE)


if ROLE != "anonymous":

    @schemathesis.auth(refresh_interval=None)
    class BrowserSession:
        """Cookies as a browser would send them."""

        kept = None

        def get(self, case, context):
            if context.operation.label in USES_ITSELF_UP:
                return session.newcomer(ROLE).cookies
            if self.kept is None or not alive(self.kept):
                self.kept = session.newcomer(ROLE)
            return self.kept.cookies

        def set(self, case, data, context):
            case.cookies = case.cookies or {}
            for cookie in data:
                case.cookies[cookie.name] = cookie.value
