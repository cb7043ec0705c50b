"""idpyoidc: discovery, code with PKCE, ID token, UserInfo, refresh."""

import os
import subprocess
from urllib.parse import parse_qs, urlsplit

from idpyoidc.client.rp_handler import RPHandler

environment = os.environ
redirect_uri = environment["REDIRECT_URI"]

handler = RPHandler(
    base_url=redirect_uri.removesuffix("/callback"),
    client_configs={
        "provider": {
            "client_type": "oidc",
            "issuer": environment["ISSUER"],
            "client_id": environment["CLIENT_ID"],
            "client_secret": environment["CLIENT_SECRET"],
            "redirect_uris": [redirect_uri],
            "scopes_supported": environment["SCOPE"].split(),
            "response_types_supported": ["code"],
            # Without this it signs in, but cannot refresh.
            "client_authn_methods": ["client_secret_basic"],
            # Without this it sends no code_challenge.
            "add_ons": {
                "pkce": {
                    "function": "idpyoidc.client.oauth2.add_on.pkce.add_support",
                    "kwargs": {"code_challenge_length": 64, "code_challenge_method": "S256"},
                }
            },
        }
    },
)
started = handler.begin("provider")
authorization_url = started["url"] if isinstance(started, dict) else started
callback = subprocess.run(
    ["node", environment["PERSON"], "ida", authorization_url, redirect_uri],
    check=True,
    stdout=subprocess.PIPE,
    text=True,
).stdout.strip()
response = {name: values[0] for name, values in parse_qs(urlsplit(callback).query).items()}
client = handler.issuer2rp[environment["ISSUER"]]
result = handler.finalize(client.get_context().issuer, response)
assert "error" not in result, result
assert result["userinfo"]["preferred_username"] == "ida", result
subject = result["id_token"]["sub"]
assert result["userinfo"]["sub"] == subject

state = result["state"]
before = handler.get_valid_access_token(state)[0]
refreshed = handler.refresh_access_token(state)
assert refreshed["access_token"] != before
assert handler.get_user_info(state)["sub"] == subject
