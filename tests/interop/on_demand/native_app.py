"""An app on somebody's computer, as RFC 8252 §7.3 has it, with requests-oauthlib: a public client, PKCE, and a listener on
loopback at whatever port is free. It was registered with one redirect URI without a port."""

import os
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from urllib.request import urlopen

from requests_oauthlib import OAuth2Session

from person import Person

environment = os.environ
issuer = environment["ISSUER"]
client_id = environment["CLIENT_ID"]
scope = ["openid", "profile", "email"]


class Callback(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.answer = self.path
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"You may close this window.")

    def log_message(self, *_):
        pass


def sign_in(person):
    with HTTPServer(("127.0.0.1", 0), Callback) as listener:
        base = f"http://127.0.0.1:{listener.server_port}"
        session = OAuth2Session(client_id, redirect_uri=f"{base}/callback", scope=scope, pkce="S256")
        url, _ = session.authorization_url(f"{issuer}/oauth/authorize")
        waiting = Thread(target=listener.handle_request, daemon=True)
        waiting.start()
        end, actions = person.go_to(url, f"{base}/callback?")
        # The person's browser opens it.
        urlopen(end).close()
        waiting.join()
        # It knows nothing of OpenID Connect, so nothing reads the ID token, and the person comes from UserInfo.
        session.fetch_token(f"{issuer}/oauth/token", authorization_response=base + listener.answer, include_client_id=True)
        return session, listener.server_port, actions


def user_info(session):
    answer = session.get(f"{issuer}/oauth/userinfo")
    answer.raise_for_status()
    return answer.json()


person = Person("nadia")
session, first_port, actions = sign_in(person)
assert actions == "login,upstream,welcome,consent", actions
claims = user_info(session)
assert claims["preferred_username"] == "nadia" and "@" in claims["email"], claims

seen = {session.access_token}
# Twice, because the second refresh needs what the first one brought.
for count in (2, 3):
    session.refresh_token(f"{issuer}/oauth/token", client_id=client_id)
    seen.add(session.access_token)
    assert len(seen) == count
    assert user_info(session)["sub"] == claims["sub"]

again, second_port, actions = sign_in(person)
assert actions == "-", "the browser is still signed in at the provider"
assert second_port != first_port, "another port, and no other registration"
assert user_info(again)["sub"] == claims["sub"]
person.leave()
