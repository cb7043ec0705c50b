"""People who sign in at `riley-auth dev` without a browser, for tools that need a session."""

import os
import re
import subprocess
import uuid

import requests

ISSUER = os.environ["ISSUER"]
PAGE_HEADERS = {"X-Requested-With": "interop", "Accept": "application/json"}


def sign_in(name):
    """Signs somebody in at the simulated provider, picks the suggested username, and gives a `requests` session."""
    browser = requests.Session()
    page = browser.get(f"{ISSUER}/auth/simulated", headers={"Accept": "text/html"}, timeout=30)
    action = re.search(r'<form method="post" action="([^"]+)"', page.text)
    if action is None:
        raise RuntimeError(f"no sign-in form at {page.url}: {page.status_code}")
    target = requests.compat.urljoin(page.url, action.group(1).replace("&amp;", "&"))
    origin = "/".join(page.url.split("/")[:3])
    answer = browser.post(target, {"username": name, "action": "sign-in"}, headers={"Origin": origin}, timeout=30)
    if "/welcome" in answer.url:
        setup = browser.get(f"{ISSUER}/auth/setup", headers=PAGE_HEADERS, timeout=30).json()
        choice = {"username": setup["suggested_username"]}
        browser.post(f"{ISSUER}/auth/setup", json=choice, headers=PAGE_HEADERS, timeout=30).raise_for_status()
    browser.get(f"{ISSUER}/auth/me", headers=PAGE_HEADERS, timeout=30).raise_for_status()
    return browser


def promote(browser):
    """Makes the person of this session an administrator, as an operator does."""
    user_id = browser.get(f"{ISSUER}/auth/me", headers=PAGE_HEADERS, timeout=30).json()["user_id"]
    command = [os.environ["RILEY_AUTH"], "--config", os.environ["RILEY_AUTH_CONFIG"], "promote", user_id]
    subprocess.run(command, check=True, capture_output=True)


def newcomer(role):
    """A session of somebody new, of this role."""
    browser = sign_in(f"tool-{uuid.uuid4().hex[:12]}")
    if role == "admin":
        promote(browser)
    return browser
