"""People who sign in at `riley-auth dev` without a browser, for tools that need a session, and things that they can name."""

import json
import os
import re
import subprocess
import uuid

import requests

ISSUER = os.environ["ISSUER"]
PAGE_HEADERS = {"X-Requested-With": "interop", "Accept": "application/json"}
REDIRECT_URI = "https://app.example/callback"


def call(browser, method, path, **options):
    """What a page sends; the answer as JSON, if there is one."""
    answer = browser.request(method, f"{ISSUER}{path}", headers=PAGE_HEADERS, timeout=30, **options)
    answer.raise_for_status()
    return answer.json() if answer.content else None


def at_upstream(name):
    """Proves to be somebody at the simulated provider: the `requests` session, and where it ended."""
    browser = requests.Session()
    page = browser.get(f"{ISSUER}/auth/simulated", headers={"Accept": "text/html"}, timeout=30)
    action = re.search(r'<form method="post" action="([^"]+)"', page.text)
    if action is None:
        raise RuntimeError(f"no sign-in form at {page.url}: {page.status_code}")
    target = requests.compat.urljoin(page.url, action.group(1).replace("&amp;", "&"))
    origin = "/".join(page.url.split("/")[:3])
    answer = browser.post(target, {"username": name, "action": "sign-in"}, headers={"Origin": origin}, timeout=30)
    return browser, answer.url


def sign_in(name):
    """Signs somebody in, picks the suggested username, and gives a `requests` session."""
    browser, url = at_upstream(name)
    if "/welcome" in url:
        choice = {"username": call(browser, "GET", "/auth/setup")["suggested_username"]}
        call(browser, "POST", "/auth/setup", json=choice)
    call(browser, "GET", "/auth/me")
    return browser


def somebody():
    """A name that nobody has."""
    return f"tool-{uuid.uuid4().hex[:12]}"


def waiting():
    """Somebody who has yet to choose a name: an identity waits for its account."""
    browser, url = at_upstream(somebody())
    if "/welcome" not in url:
        raise RuntimeError(f"nobody was asked for a name: {url}")
    return browser


def command(*arguments):
    """What an operator types, with the answer as JSON."""
    program = [os.environ["RILEY_AUTH"], "--config", os.environ["RILEY_AUTH_CONFIG"], *arguments, "--json"]
    return json.loads(subprocess.run(program, check=True, capture_output=True).stdout)


def promote(browser):
    """Makes the person of this session an administrator, as an operator does."""
    command("promote", call(browser, "GET", "/auth/me")["user_id"])


def newcomer(role):
    """A session of somebody new, of this role."""
    browser = sign_in(somebody())
    if role == "admin":
        promote(browser)
    return browser


def consent_to(browser, client_id):
    """Lets an app in that asks for consent; whether anybody was signed in to be asked."""
    request = {"client_id": client_id, "redirect_uri": REDIRECT_URI, "response_type": "code", "scope": "openid"}
    url, answer = f"{ISSUER}/oauth/authorize", None
    for _ in range(5):
        answer = browser.get(url, params=request, headers={"Accept": "text/html"}, allow_redirects=False, timeout=30)
        url, request = requests.compat.urljoin(answer.url, answer.headers.get("Location", "")), None
        handle = re.search(r"consent_id=([^&]+)", url)
        if handle:
            call(browser, "POST", "/oauth/consent", json={"consent_id": handle.group(1), "approved": True})
            # The grant is made where the request goes on.
            browser.get(
                f"{ISSUER}/oauth/authorize/resume",
                params={"request": handle.group(1)},
                headers={"Accept": "text/html"},
                allow_redirects=False,
                timeout=30,
            )
            return True
        if url.startswith(REDIRECT_URI):
            return True
        if "/login" in url:
            return False
    raise RuntimeError(f"nobody was asked for consent: {answer.status_code} {url}")


class Things:
    """What paths can name: made by an administrator, and made anew once it is gone."""

    def __init__(self):
        self.root = None
        self.made = {}

    def existing(self, parameter, label, cookies):
        """The id of something that exists, as `parameter` of the operation `label` names it; `None`: of nothing."""
        if "/auth/" in label:
            return self.own(parameter, cookies)
        if parameter not in self.made:
            self.made[parameter] = self.make(parameter)
        return self.made[parameter]

    def is_gone(self, parameter):
        """Whatever was named is no longer there."""
        self.made.pop(parameter, None)

    def own(self, parameter, cookies):
        """Of whoever has these cookies."""
        if parameter == "provider":
            return "simulated"
        browser = requests.Session()
        browser.cookies.update(cookies)
        try:
            if parameter == "session_id":
                return call(browser, "GET", "/auth/sessions")["sessions"][0]["session_id"]
            if parameter == "client_id":
                client_id = self.existing("client_id", "", cookies)
                return client_id if consent_to(browser, client_id) else None
        except requests.HTTPError as refused:
            # A case whose cookie is to be wrong has nothing of its own.
            if refused.response.status_code == 401:
                return None
            raise
        raise RuntimeError(f"say what {parameter} exists")

    def administrate(self, path, **body):
        """What an administrator sends; another one if that one was found and ended by a case."""
        for _ in range(2):
            if self.root is None:
                self.root = newcomer("admin")
            try:
                return call(self.root, "POST", path, json=body)
            except requests.HTTPError as refused:
                if refused.response.status_code not in (401, 403):
                    raise
                self.root = None
        raise RuntimeError("a new administrator is none")

    def make(self, parameter):
        """What this parameter can name."""
        if parameter == "user_id":
            return call(sign_in(somebody()), "GET", "/auth/me")["user_id"]
        if parameter == "client_id":
            app = self.administrate("/admin/clients", name="An app", redirect_uris=[REDIRECT_URI], require_pkce=False)
            return app["client_id"]
        if parameter == "webhook_id":
            return self.administrate("/admin/webhooks", url="https://hook.example/")["webhook_id"]
        if parameter == "name":
            return self.administrate("/admin/reserved-usernames", username=somebody())["username"]
        if parameter == "id":
            page = requests.get(f"{ISSUER}/oauth/authorize?client_id=nobody", headers={"Accept": "text/html"}, timeout=30)
            return re.search(r'id="error-id">([^<]+)<|error_id=([^&]+)', f"{page.text} {page.url}").group(1)
        if parameter == "link_id":
            # `dev` has one provider, so that nobody's account was ever joined by another identity.
            return None
        raise RuntimeError(f"say what {parameter} exists")
