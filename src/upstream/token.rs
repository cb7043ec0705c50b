//! The code for tokens (RFC 6749 §4.1.3), and how we say who we are (§2.3.1).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::StatusCode;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::Value;
use time::OffsetDateTime;
use url::Url;
use url::form_urlencoded::byte_serialize;

use super::http::{Answer, Http};
use super::settings::{Credential, Settings};
use super::{Expected, UpstreamError};

/// What the token endpoint gave. It is used and dropped; there is no `Debug`, so that it reaches no log.
pub(super) struct Tokens {
    pub(super) access_token: Option<SecretString>,
    pub(super) id_token: Option<SecretString>,
}

/// How the client secret travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SecretPlacement {
    Basic,
    Body,
}

impl SecretPlacement {
    /// Basic, which every server must take (RFC 6749 §2.3.1), unless the metadata lists only the body.
    pub(super) fn of(methods: Option<&[String]>) -> Self {
        let Some(methods) = methods else {
            return Self::Basic;
        };
        let lists = |name: &str| methods.iter().any(|method| method == name);
        if lists("client_secret_post") && !lists("client_secret_basic") {
            Self::Body
        } else {
            Self::Basic
        }
    }
}

/// Redeems `code`.
pub(super) async fn redeem(
    http: &Http,
    endpoint: &Url,
    settings: &Settings,
    placement: SecretPlacement,
    code: &str,
    expected: &Expected<'_>,
    now: OffsetDateTime,
) -> Result<Tokens, UpstreamError> {
    let secret = match &settings.credential {
        Credential::None => None,
        Credential::Secret(secret) => Some(secret.clone()),
        Credential::Apple(key) => Some(
            key.client_secret(&settings.client_id, now)
                .map_err(UpstreamError::Unavailable)?,
        ),
    };
    let mut form = vec![
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", expected.redirect_uri),
        ("code_verifier", expected.code_verifier.expose()),
    ];
    let mut authorization = None;
    match &secret {
        Some(secret) if placement == SecretPlacement::Basic => {
            authorization = Some(basic(&settings.client_id, secret.expose_secret()));
        }
        Some(secret) => form.extend([
            ("client_id", &*settings.client_id),
            ("client_secret", secret.expose_secret()),
        ]),
        None => form.push(("client_id", &settings.client_id)),
    }
    let answer = http
        .post_form("redeem the code", endpoint, &form, authorization.as_deref())
        .await
        .map_err(UpstreamError::Unavailable)?;
    read(&answer).inspect_err(|error| {
        if error.code() == "client_refused" {
            tracing::error!(
                provider.name = settings.name,
                "the provider refuses our client id or secret"
            );
        }
    })
}

/// The credentials form-encoded before base64: a colon in a client id would otherwise move the boundary (§2.3.1).
fn basic(client_id: &str, secret: &str) -> String {
    let encode = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    format!(
        "Basic {}",
        STANDARD.encode(format!("{}:{}", encode(client_id), encode(secret)))
    )
}

#[derive(Deserialize)]
struct Body {
    access_token: Option<String>,
    token_type: Option<String>,
    id_token: Option<Value>,
    error: Option<Value>,
}

fn read(answer: &Answer) -> Result<Tokens, UpstreamError> {
    judge(answer.status, answer.json())
}

/// Errors are told by the status and, because GitHub answers 200 to everything, by the member `error`.
fn judge(status: StatusCode, body: Option<Body>) -> Result<Tokens, UpstreamError> {
    let error = body.as_ref().and_then(|body| body.error.as_ref());
    if status.is_server_error() {
        return Err(UpstreamError::Unavailable(anyhow::anyhow!(
            "the token endpoint answered {}",
            status.as_u16()
        )));
    }
    let client_error = [
        "invalid_client",
        "unauthorized_client",
        "incorrect_client_credentials",
    ];
    let our_fault = error
        .and_then(Value::as_str)
        .is_some_and(|error| client_error.contains(&error));
    if our_fault || status == StatusCode::UNAUTHORIZED {
        return Err(UpstreamError::Refused("client_refused"));
    }
    if error.is_some() || status.is_client_error() {
        return Err(UpstreamError::Refused("code_refused"));
    }
    let body = body
        .filter(|_| status == StatusCode::OK)
        .ok_or(UpstreamError::Refused("token_response_invalid"))?;
    let is_bearer = body
        .token_type
        .as_deref()
        .is_some_and(|kind| kind.eq_ignore_ascii_case("bearer"));
    let id_token = match body.id_token {
        None | Some(Value::Null) => None,
        Some(Value::String(token)) => Some(SecretString::from(token)),
        Some(_) => return Err(UpstreamError::Refused("token_response_invalid")),
    };
    let access_token = body
        .access_token
        .filter(|token| is_bearer && !token.is_empty())
        .map(SecretString::from);
    Ok(Tokens {
        access_token,
        id_token,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn code_for(status: u16, body: Value) -> &'static str {
        let body = serde_json::from_value(body).ok();
        judge(StatusCode::from_u16(status).unwrap(), body)
            .err()
            .map_or("ok", |error| error.code())
    }

    /// RFC 6749 §2.3.1: both parts are form-encoded first.
    #[test]
    fn basic_credentials_are_form_encoded() {
        let value = basic("a:b", "s c/+");
        let decoded = STANDARD.decode(value.strip_prefix("Basic ").unwrap()).unwrap();
        assert_eq!(decoded, b"a%3Ab:s+c%2F%2B");
    }

    #[test]
    fn the_secret_goes_into_the_body_only_where_nothing_else_is_offered() {
        let of = |methods: &[&str]| {
            let methods: Vec<_> = methods.iter().map(|&method| method.to_owned()).collect();
            SecretPlacement::of(Some(&methods))
        };
        assert_eq!(SecretPlacement::of(None), SecretPlacement::Basic);
        assert_eq!(
            of(&["client_secret_post", "client_secret_basic"]),
            SecretPlacement::Basic
        );
        assert_eq!(of(&["client_secret_post"]), SecretPlacement::Body);
        assert_eq!(of(&["private_key_jwt"]), SecretPlacement::Basic);
    }

    /// RFC 6749 §5.2; GitHub answers its errors with 200.
    #[test]
    fn answers_of_the_token_endpoint_are_told_apart() {
        assert_eq!(
            code_for(200, json!({ "access_token": "t", "token_type": "bearer" })),
            "ok"
        );
        assert_eq!(
            code_for(200, json!({ "error": "bad_verification_code" })),
            "code_refused"
        );
        assert_eq!(code_for(400, json!({ "error": "invalid_grant" })), "code_refused");
        assert_eq!(
            code_for(400, json!({ "error": "invalid_client" })),
            "client_refused"
        );
        assert_eq!(code_for(401, json!("text")), "client_refused");
        assert_eq!(
            code_for(500, json!({ "access_token": "t", "token_type": "bearer" })),
            "upstream_unavailable"
        );
        assert_eq!(code_for(307, json!("text")), "token_response_invalid");
        assert_eq!(
            code_for(201, json!({ "access_token": "t", "token_type": "bearer" })),
            "token_response_invalid"
        );
        assert_eq!(code_for(200, json!({ "id_token": 5 })), "token_response_invalid");
    }
}
