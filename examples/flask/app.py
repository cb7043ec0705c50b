"""A Flask app that people sign in to by OpenID Connect: code flow with PKCE, refresh, sign-out."""

import os
import secrets
from urllib.parse import urlencode

import flask
from authlib.integrations.base_client import OAuthError
from authlib.integrations.flask_client import OAuth

ISSUER = os.environ["ISSUER"]
BASE_URL = os.environ.get("BASE_URL", "http://localhost:5000")

app = flask.Flask(__name__)
app.secret_key = os.environ.get("SESSION_SECRET") or os.urandom(32)
app.config.update(
    # Lax, because the provider's redirect back to /callback has to bring this cookie along.
    SESSION_COOKIE_SAMESITE="Lax",
    SESSION_COOKIE_SECURE=BASE_URL.startswith("https:"),
)

provider = OAuth(app).register(
    name="provider",
    server_metadata_url=f"{ISSUER}/.well-known/openid-configuration",
    client_id=os.environ["CLIENT_ID"],
    client_secret=os.environ["CLIENT_SECRET"],
    client_kwargs={"scope": "openid profile email", "code_challenge_method": "S256"},
)

# What the session cookie should not hold: tokens, by a random id that it holds. One person may be here in two browsers, with
# tokens of two sessions. An app with several processes keeps them in its database.
tokens = {}

PAGE = """<!doctype html><html lang="en"><title>Example</title><h1>Example</h1>
{% if person %}
<p>Hello, <b id="username">{{ person.preferred_username }}</b> (<span id="email">{{ person.email }}</span>).</p>
<form method="post" action="/refresh"><button>Refresh</button> <span id="refreshes">{{ refreshes }}</span></form>
<form method="post" action="/logout"><button>Sign out</button></form>
{% else %}
<p><a id="sign-in" href="/login">Sign in</a></p>
{% endif %}
</html>"""


@app.get("/")
def home():
    person = flask.session.get("person")
    return flask.render_template_string(PAGE, person=person, refreshes=flask.session.get("refreshes", 0))


@app.get("/login")
def login():
    # Keeps state, nonce and code verifier in the session until the person comes back.
    return provider.authorize_redirect(f"{BASE_URL}/callback")


@app.get("/callback")
def callback():
    # Checks state, signature, issuer, audience, expiry, nonce and at_hash.
    token = provider.authorize_access_token()
    person = user_info(token, token["userinfo"]["sub"])
    tokens.pop(flask.session.get("id"), None)
    flask.session.clear()
    flask.session.update(id=secrets.token_urlsafe(), person=person, refreshes=0)
    tokens[flask.session["id"]] = token
    return flask.redirect("/")


@app.post("/refresh")
def refresh():
    token = tokens.get(flask.session.get("id"))
    if token is None:
        return flask.redirect("/")
    refreshed = provider.fetch_access_token(grant_type="refresh_token", refresh_token=token["refresh_token"])
    # Each refresh token is good once; the answer holds the next one.
    token.update(refreshed)
    flask.session["person"] = user_info(token, flask.session["person"]["sub"])
    flask.session["refreshes"] += 1
    return flask.redirect("/")


@app.post("/logout")
def logout():
    token = tokens.pop(flask.session.get("id"), None)
    flask.session.clear()
    end_session_endpoint = provider.load_server_metadata().get("end_session_endpoint")
    # Ends the session at the provider, too, where it offers that.
    if token is None or end_session_endpoint is None:
        return flask.redirect("/")
    parameters = {"id_token_hint": token["id_token"], "post_logout_redirect_uri": f"{BASE_URL}/"}
    return flask.redirect(f"{end_session_endpoint}?{urlencode(parameters)}")


@app.errorhandler(OAuthError)
def failed(error):
    """A refused sign-in, an answer to nobody's question, a refresh token that has ended: the person may begin again."""
    app.logger.warning("%s", error)
    return '<p id="failed">That did not work. <a href="/">Begin again</a></p>', 400


def user_info(token, subject):
    person = provider.userinfo(token=token)
    # OpenID Connect Core §5.3.2: Authlib leaves this to the app.
    if person["sub"] != subject:
        raise OAuthError("invalid_userinfo", "UserInfo is about somebody else")
    return dict(person)
