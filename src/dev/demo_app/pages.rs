//! The demo app's pages. Element ids are stable: scripted browsers and the documentation name them.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse as _, Response};
use serde_json::{Map, Value, json};

use super::relying_party::{Failure, SignedIn, decode};
use crate::dev::STYLE;
use crate::http::page::escape;

/// Nothing runs. Chromium applies `form-action` to the redirects that follow, and signing out leads to the provider.
const POLICY: &str = "default-src 'none'; style-src 'self'; form-action 'self' http://localhost:*; base-uri 'none'; \
     frame-ancestors 'none'";

/// Characters of a secret that are shown.
const SHOWN_CHARACTERS: usize = 8;

pub(super) async fn style() -> Response {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], STYLE).into_response()
}

/// Before the sign-in.
pub(super) fn signed_out(issuer: &str) -> Response {
    let body = format!(
        r#"<p>This app knows nothing of you. It asks <code>{}</code> who you are, as any app would.</p>
<p><a class="button first" id="sign-in" href="/sign-in">Sign in</a>
<a class="button" id="silent" href="/sign-in?prompt=none">Try without a page (prompt=none)</a></p>"#,
        escape(issuer)
    );
    page(StatusCode::OK, "Demo app", &body)
}

/// After the sign-in: everything that the provider told.
pub(super) fn signed_in(known: &SignedIn) -> Response {
    let userinfo = known.userinfo.clone().map_or(Value::Null, Value::Object);
    let name = ["preferred_username", "name", "sub"]
        .iter()
        .find_map(|claim| userinfo.get(claim)?.as_str())
        .or_else(|| known.id_token_claims.get("sub")?.as_str())
        .unwrap_or_default();
    let id_token = token(
        &known.id_token_header,
        &Value::Object(known.id_token_claims.clone()),
    );
    let access_token = match decode(&known.access_token, 1) {
        // An app need not understand its access token, and another provider's could be opaque.
        Value::Null => pretty(&json!(shorten(&known.access_token))),
        claims => token(&decode(&known.access_token, 0), &claims),
    };
    let refresh = if known.refresh_token.is_some() {
        r#"<form method="post" action="/refresh"><button id="refresh">Refresh the tokens</button></form>"#
    } else {
        ""
    };
    let body = format!(
        r#"<p>Signed in as <strong id="name">{name}</strong>. Tokens refreshed <span id="refreshes">{refreshes}</span> times.</p>
<p>{refresh}
<a class="button" id="silent" href="/sign-in?prompt=none">Sign in again silently (prompt=none)</a>
<a class="button" id="sign-in-again" href="/sign-in?prompt=login">Sign in again for certain (prompt=login)</a>
<form method="post" action="/sign-out"><button id="sign-out">Sign out</button></form></p>
<h2>ID token</h2>
<p class="note">Signature, issuer, audience, time and nonce were checked.</p>
{id_token}
<h2>UserInfo</h2>
{userinfo}
<h2>Access token</h2>
<p class="note">Decoded to be looked at. It is meant for APIs; an app does not read it.</p>
{access_token}
<h2>Token response</h2>
<p class="note">Secrets are shortened.</p>
{response}"#,
        name = escape(name),
        refreshes = known.refreshes,
        id_token = shown("id-token", &id_token),
        userinfo = shown("userinfo", &pretty(&userinfo)),
        access_token = shown("access-token", &access_token),
        response = shown("token-response", &pretty(&shortened(&known.token_response))),
    );
    page(StatusCode::OK, "Demo app", &body)
}

/// A sign-in, or a refresh, that led to nothing.
pub(super) fn failed(status: StatusCode, failure: &Failure) -> Response {
    if let Failure::Unreachable(error) = failure {
        tracing::warn!(
            error = format!("{error:#}"),
            "the demo app cannot reach its provider"
        );
    }
    let body = format!(
        r#"<p class="bad" id="error">{}</p>
<p><a class="button first" id="sign-in" href="/sign-in">Sign in</a> <a class="button" id="home" href="/">Back</a></p>"#,
        escape(&failure.to_string())
    );
    page(status, "That did not work", &body)
}

fn page(status: StatusCode, title: &str, body: &str) -> Response {
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width\">\n<title>{title}</title>\n<link rel=\"stylesheet\" href=\"/style.css\">\n\
         </head>\n<body>\n<main>\n<h1>{title}</h1>\n{body}\n</main>\n</body>\n</html>\n",
    );
    let mut response = (status, Html(html)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

fn shown(id: &str, text: &str) -> String {
    format!(r#"<pre id="{id}" tabindex="0">{}</pre>"#, escape(text))
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

/// One JSON document, with the header first as in the token.
fn token(header: &Value, claims: &Value) -> String {
    format!(
        "{{\n\"header\": {},\n\"claims\": {}\n}}",
        pretty(header),
        pretty(claims)
    )
}

/// The token response without what would open anything.
fn shortened(response: &Map<String, Value>) -> Value {
    let mut shown = response.clone();
    for name in ["access_token", "refresh_token", "id_token"] {
        if let Some(Value::String(secret)) = shown.get_mut(name) {
            *secret = shorten(secret);
        }
    }
    Value::Object(shown)
}

fn shorten(secret: &str) -> String {
    let start: String = secret.chars().take(SHOWN_CHARACTERS).collect();
    format!("{start}… ({} characters)", secret.chars().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_the_token_response_are_shortened() {
        let response = json!({ "access_token": "a".repeat(50), "expires_in": 900 });
        let shown = shortened(response.as_object().unwrap());
        assert_eq!(shown["access_token"], "aaaaaaaa… (50 characters)");
        assert_eq!(shown["expires_in"], 900);
    }
}
