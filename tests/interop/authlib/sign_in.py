"""Authlib's Flask integration with its defaults: discovery, code without PKCE, ID token, UserInfo, refresh."""

import os
import subprocess

import flask
from authlib.integrations.flask_client import OAuth

environment = os.environ
redirect_uri = environment["REDIRECT_URI"]

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


browser = app.test_client()
authorization_url = browser.get("/login").headers["Location"]
callback_url = subprocess.run(
    ["node", environment["PERSON"], "arthur", authorization_url, redirect_uri],
    check=True,
    stdout=subprocess.PIPE,
    text=True,
).stdout.strip()
answer = browser.get(callback_url.removeprefix(redirect_uri.removesuffix("/callback")))
assert answer.status_code == 200, answer.text
token = answer.get_json()
subject = token["userinfo"]["sub"]

with app.test_request_context():
    person = provider.userinfo(token=token)
    assert person["sub"] == subject
    assert person["preferred_username"] == "arthur", person
    refreshed = provider.fetch_access_token(grant_type="refresh_token", refresh_token=token["refresh_token"])
    assert refreshed["access_token"] != token["access_token"]
    assert provider.userinfo(token=refreshed)["sub"] == subject
