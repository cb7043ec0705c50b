"""Authlib's Flask integration with its defaults: discovery, code without PKCE, ID token, UserInfo, refresh, sign-out."""

import base64
import json
import os

import flask
from authlib.integrations.base_client import OAuthError
from authlib.integrations.flask_client import OAuth

from person import Person

environment = os.environ
redirect_uri = environment["REDIRECT_URI"]
app_url = environment["APP_URL"]

app = flask.Flask(__name__)
app.secret_key = os.urandom(32)
oauth = OAuth(app)
provider = oauth.register(
    name="provider",
    server_metadata_url=environment["DISCOVERY_URL"],
    client_id=environment["CLIENT_ID"],
    client_secret=environment["CLIENT_SECRET"],
    client_kwargs={"scope": environment["SCOPE"]},
)


@app.get("/login")
def login():
    return provider.authorize_redirect(redirect_uri)


@app.get("/callback")
def callback():
    # Checks state, signature, issuer, audience, expiry, nonce and at_hash.
    return provider.authorize_access_token()


@app.get("/logout")
def logout():
    return provider.logout_redirect(environment["POST_LOGOUT_REDIRECT_URI"], flask.request.args["id_token"])


@app.get("/signed-out")
def signed_out():
    # Checks state.
    return provider.validate_logout_response()


browser = app.test_client()
algorithm = environment.get("ID_TOKEN_ALG") or "RS256"
name = f"arthur-{algorithm.lower()}"
person = Person(name)


def follow(address):
    """Where the app sends the person, and the app's answer to what they come back with."""
    end, actions = person.go_to(browser.get(address).headers["Location"])
    answer = browser.get(end.removeprefix(app_url.removesuffix("/")))
    assert answer.status_code == 200, answer.text
    return answer.get_json(), actions


token, actions = follow("/login")
assert actions == "login,upstream,welcome,consent", actions
header = token["id_token"].split(".")[0]
assert json.loads(base64.urlsafe_b64decode(header + "=="))["alg"] == algorithm
subject = token["userinfo"]["sub"]


def refresh(refresh_token):
    return provider.fetch_access_token(grant_type="refresh_token", refresh_token=refresh_token)


with app.test_request_context():
    claims = provider.userinfo(token=token)
    assert claims["sub"] == subject
    assert claims["preferred_username"] == name, claims
    refreshed = token
    # Twice, because the second refresh needs what the first one brought.
    for _ in range(2):
        refreshed = refresh(refreshed["refresh_token"])
        assert refreshed["access_token"] != token["access_token"]
        assert provider.userinfo(token=refreshed)["sub"] == subject

_, actions = follow(f"/logout?id_token={token['id_token']}")
assert actions == "-", "nobody is asked"
with app.test_request_context():
    try:
        refresh(refreshed["refresh_token"])
    except OAuthError as error:
        assert error.error == "invalid_grant", error
    else:
        raise AssertionError("a refresh token outlived its session")
_, actions = follow("/login")
assert actions == "login", "the provider's session ended, too"
person.leave()
