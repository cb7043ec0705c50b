"""idpyoidc: discovery, code with PKCE, ID token, UserInfo, refresh, sign-out."""

import os
from urllib.parse import parse_qs, urlsplit

from idpyoidc.client.defaults import DEFAULT_OIDC_SERVICES
from idpyoidc.client.rp_handler import RPHandler

from person import Person

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
            # Without this it has no sign-out.
            "services": {
                **DEFAULT_OIDC_SERVICES,
                "end_session": {"class": "idpyoidc.client.oidc.end_session.EndSession"},
            },
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
person = Person("ida")


def sign_in():
    started = handler.begin("provider")
    authorization_url = started["url"] if isinstance(started, dict) else started
    callback, actions = person.go_to(authorization_url)
    response = {name: values[0] for name, values in parse_qs(urlsplit(callback).query).items()}
    client = handler.issuer2rp[environment["ISSUER"]]
    result = handler.finalize(client.get_context().issuer, response)
    assert "error" not in result, result
    return result, actions


result, actions = sign_in()
assert actions == "login,upstream,welcome,consent", actions
assert result["userinfo"]["preferred_username"] == "ida", result
subject = result["id_token"]["sub"]
assert result["userinfo"]["sub"] == subject

state = result["state"]
seen = {handler.get_valid_access_token(state)[0]}
# Twice, because the second refresh needs what the first one brought.
for count in (2, 3):
    seen.add(handler.refresh_access_token(state)["access_token"])
    assert len(seen) == count
    assert handler.get_user_info(state)["sub"] == subject

logout = handler.logout(state, post_logout_redirect_uri=environment["POST_LOGOUT_REDIRECT_URI"])
end, actions = person.go_to(logout["url"])
assert end.split("?")[0] == environment["POST_LOGOUT_REDIRECT_URI"], end
assert actions == "-", "nobody is asked"
_, actions = sign_in()
assert actions == "login", "the provider's session ended, too"
person.leave()
