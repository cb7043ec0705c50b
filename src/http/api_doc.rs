//! What the API document says of several endpoints alike: groups of answers, and the forms that are read by hand.
//!
//! The document itself is put together in [`crate::server::openapi`].

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder, header::HeaderBuilder, schema};
use utoipa::{IntoParams, IntoResponses, ToSchema};

/// An answer whose body is [`ErrorBody`](crate::error::ErrorBody).
pub fn error_response(description: &str) -> ResponseBuilder {
    let body = ContentBuilder::new().schema(Some(Ref::from_schema_name("ErrorBody")));
    ResponseBuilder::new()
        .description(description)
        .content("application/json", body.build())
}

/// An error of a route that browsers navigate to: a page for a person, JSON for a program.
fn refusal(description: &str) -> ResponseBuilder {
    let page = schema::ObjectBuilder::new().schema_type(schema::Type::String);
    error_response(description).content(
        "text/html",
        ContentBuilder::new().schema(Some(page.build())).build(),
    )
}

fn group<const N: usize>(answers: [(u16, ResponseBuilder); N]) -> BTreeMap<String, RefOr<Response>> {
    let named = answers.map(|(status, answer)| (status.to_string(), RefOr::T(answer.build())));
    BTreeMap::from(named)
}

/// Errors of a route that browsers navigate to.
pub struct Refused;

impl IntoResponses for Refused {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        group([
            (400, refusal("The request is refused")),
            (403, refusal("The account cannot be entered, or nobody may join")),
            (404, refusal("Nothing of this name")),
            (502, refusal("The upstream provider gave no usable answer")),
        ])
    }
}

/// Errors of a route that needs a signed-in person.
pub struct SignedOut;

impl IntoResponses for SignedOut {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        group([(401, error_response("Nobody is signed in in this browser"))])
    }
}

/// Errors of a route that changes something on the word of a cookie.
pub struct Forged;

impl IntoResponses for Forged {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let description =
            "Another site may have sent this: send `X-Requested-With`, from an origin that is configured";
        group([(403, error_response(description))])
    }
}

/// Errors of a route that reads JSON.
pub struct BadBody;

impl IntoResponses for BadBody {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        group([
            (
                400,
                error_response("The body breaks a rule, which the code names"),
            ),
            (415, error_response("The body is not sent as `application/json`")),
        ])
    }
}

/// Errors of the endpoints that clients talk to directly (RFC 6749 §5.2).
pub struct ClientRefused;

impl IntoResponses for ClientRefused {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let text = schema::ObjectBuilder::new().schema_type(schema::Type::String);
        let basic = HeaderBuilder::new()
            .schema(Some(text.build()))
            .description(Some("Where HTTP Basic was tried"))
            .build();
        let unauthenticated = error_response("`invalid_client`").header("WWW-Authenticate", basic);
        group([
            (
                400,
                error_response("The request breaks a rule; the code says which"),
            ),
            (401, unauthenticated),
            (415, error_response("The body is not a form")),
        ])
    }
}

/// The body of a token request (RFC 6749 §4.1.3, §6; RFC 7636 §4.5).
#[derive(Serialize, ToSchema)]
pub struct TokenForm {
    /// `authorization_code` or `refresh_token`.
    grant_type: String,
    code: Option<String>,
    redirect_uri: Option<String>,
    #[schema(min_length = 43, max_length = 128)]
    code_verifier: Option<String>,
    refresh_token: Option<String>,
    /// With a refresh token: narrows the access token.
    scope: Option<String>,
    /// Unless HTTP Basic is used.
    client_id: Option<String>,
    client_secret: Option<String>,
}

/// The body of an introspection or revocation request (RFC 7662 §2.1, RFC 7009 §2.1).
#[derive(Serialize, ToSchema)]
pub struct TokenQueryForm {
    token: String,
    /// `access_token` or `refresh_token`; no more than a hint.
    token_type_hint: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
}

/// The parameters of an authorization request (OpenID Connect Core §3.1.2.1). A POST sends them as a form.
#[derive(Serialize, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AuthorizationParameters {
    client_id: String,
    redirect_uri: String,
    /// `code`.
    response_type: Option<String>,
    scope: Option<String>,
    /// Comes back byte for byte.
    state: Option<String>,
    nonce: Option<String>,
    /// `query` or `form_post`.
    response_mode: Option<String>,
    #[param(min_length = 43, max_length = 43)]
    code_challenge: Option<String>,
    /// `S256`.
    code_challenge_method: Option<String>,
    /// `none` alone, or of `login`, `consent`, `select_account`.
    prompt: Option<String>,
    /// Seconds since the last login that are still recent enough.
    max_age: Option<u32>,
    login_hint: Option<String>,
    id_token_hint: Option<String>,
    acr_values: Option<String>,
    ui_locales: Option<String>,
    claims_locales: Option<String>,
    display: Option<String>,
    /// JSON (OpenID Connect Core §5.5).
    claims: Option<String>,
    /// A request object by value (OpenID Connect Core §6.1).
    request: Option<String>,
}

/// What an upstream posts to the callback with `response_mode=form_post`.
#[derive(Serialize, ToSchema)]
pub struct UpstreamAnswer {
    state: String,
    code: Option<String>,
    error: Option<String>,
    iss: Option<String>,
    /// Apple's, at the first sign-in.
    user: Option<String>,
}

/// The end of a login that leads nowhere.
#[derive(Serialize, ToSchema)]
pub struct SignedInAnswer {
    signed_in: bool,
}

/// The page to go on to.
#[derive(Serialize, ToSchema)]
pub struct RedirectTo {
    redirect_to: String,
}

/// Claims about the person (OpenID Connect Core §5.1): `sub`, and those of the token's scope.
#[derive(Serialize, ToSchema)]
pub struct UserInfo {
    sub: String,
    name: Option<String>,
    preferred_username: Option<String>,
    picture: Option<String>,
    /// Seconds since the epoch.
    updated_at: Option<i64>,
    email: Option<String>,
    email_verified: Option<bool>,
}

/// The provider's metadata (OpenID Connect Discovery §3, RFC 8414 §2), with more members than are listed here.
#[derive(Serialize, ToSchema)]
pub struct ProviderMetadata {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    userinfo_endpoint: String,
    jwks_uri: String,
    scopes_supported: Vec<String>,
    response_types_supported: Vec<String>,
    subject_types_supported: Vec<String>,
    id_token_signing_alg_values_supported: Vec<String>,
}

/// The public keys (RFC 7517 §5).
#[derive(Serialize, ToSchema)]
pub struct JsonWebKeySet {
    keys: Vec<JsonWebKey>,
}

/// A public key (RFC 7517 §4): `x` and `y` of an ES256 key, `n` and `e` of an RS256 key.
#[derive(Serialize, ToSchema)]
pub struct JsonWebKey {
    kty: String,
    #[serde(rename = "use")]
    usage: String,
    alg: String,
    kid: String,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
}
