//! The discovery documents and the JWKS (OpenID Connect Discovery §4, RFC 8414 §3, RFC 7517 §5).
//!
//! Everything in them follows from the configuration and the keys, so they are made once per key set and go out as bytes;
//! the database is not asked, and neither is the request about our own name.

use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::digest::{SHA256, digest};
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router, routing};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::config::Config;
use crate::http::api_doc::{JsonWebKeySet, ProviderMetadata};
use crate::http::state::AppState;
use crate::jwt::KeySet;
use crate::protocol::metadata::{MetadataInput, metadata};

/// A document as it goes out.
#[derive(Clone)]
struct Document {
    body: Bytes,
    etag: HeaderValue,
    cache_control: HeaderValue,
}

/// What is served for one key set, which is kept so that its address is not given to another.
struct Documents {
    keys: Arc<KeySet>,
    metadata: Document,
    jwks: Document,
}

/// The documents of the key set that was current last.
#[derive(Clone, Default)]
pub struct Cache(Arc<RwLock<Option<Arc<Documents>>>>);

/// The routes below the issuer.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/.well-known/openid-configuration", routing::get(configuration))
        .route(
            "/.well-known/oauth-authorization-server",
            routing::get(authorization_server),
        )
        .route("/.well-known/jwks.json", routing::get(jwks))
        .layer(Extension(Cache::default()))
}

/// For an issuer with a path: the route at the root of its host that RFC 8414 §3.1 makes by inserting the well-known part
/// before the path. Empty for an issuer without one.
pub fn inserted_routes(issuer_path: &str) -> Router<AppState> {
    match issuer_path.trim_end_matches('/') {
        "" => Router::new(),
        path => Router::new()
            .route(
                &format!("/.well-known/oauth-authorization-server{path}"),
                routing::get(configuration),
            )
            .layer(Extension(Cache::default())),
    }
}

/// The provider's metadata (OpenID Connect Discovery §4).
#[utoipa::path(get, path = "/.well-known/openid-configuration", tag = "openid connect", operation_id = "openid_configuration",
    responses((status = 200, body = ProviderMetadata), (status = 304, description = "As the ETag says")))]
pub async fn configuration(
    State(state): State<AppState>,
    Extension(cache): Extension<Cache>,
    headers: HeaderMap,
) -> Response {
    cache.current(&state).metadata.answer(&headers)
}

/// The same metadata under the name that OAuth 2.0 clients look for (RFC 8414 §3).
#[utoipa::path(get, path = "/.well-known/oauth-authorization-server", tag = "openid connect", operation_id = "oauth_authorization_server",
    responses((status = 200, body = ProviderMetadata), (status = 304, description = "As the ETag says")))]
pub async fn authorization_server(
    state: State<AppState>,
    cache: Extension<Cache>,
    headers: HeaderMap,
) -> Response {
    configuration(state, cache, headers).await
}

/// The public keys.
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "openid connect", operation_id = "jwks",
    responses((status = 200, body = JsonWebKeySet), (status = 304, description = "As the ETag says")))]
pub async fn jwks(
    State(state): State<AppState>,
    Extension(cache): Extension<Cache>,
    headers: HeaderMap,
) -> Response {
    cache.current(&state).jwks.answer(&headers)
}

impl Cache {
    fn current(&self, state: &AppState) -> Arc<Documents> {
        let keys = state.keys.current();
        let made = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(documents) = made.filter(|documents| Arc::ptr_eq(&documents.keys, &keys)) {
            return documents;
        }
        let documents = Arc::new(Documents::new(&state.config, keys));
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&documents));
        documents
    }
}

impl Documents {
    fn new(config: &Config, keys: Arc<KeySet>) -> Self {
        let max_age_secs = config.jwt.jwks_cache_max_age_secs;
        Self {
            metadata: Document::new(metadata_json(config, &keys), max_age_secs),
            jwks: Document::new(keys.jwks_json().to_owned(), max_age_secs),
            keys,
        }
    }
}

/// The provider's metadata as it goes out, byte for byte.
pub fn metadata_json(config: &Config, keys: &KeySet) -> String {
    let configured_scopes: Vec<String> = config.scopes.0.keys().cloned().collect();
    let mut acr_values = vec![config.oauth.default_acr.clone()];
    for acr in config
        .oauth
        .providers
        .values()
        .flat_map(|provider| provider.acr_map.values())
    {
        if !acr_values.contains(acr) {
            acr_values.push(acr.clone());
        }
    }
    let document = metadata(&MetadataInput {
        issuer: &config.jwt.issuer,
        algorithms: &keys.algorithms(),
        configured_scopes: &configured_scopes,
        acr_values: &acr_values,
        passthrough_claims: &config.claims.passthrough,
        ui_locales: &[],
    });
    serde_json::Value::Object(document).to_string()
}

impl Document {
    fn new(json: String, max_age_secs: u32) -> Self {
        let hash = digest(&SHA256, json.as_bytes());
        let etag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(&hash.as_ref()[..16]));
        Self {
            body: json.into(),
            etag: HeaderValue::try_from(etag).expect("base64url is ASCII"),
            cache_control: HeaderValue::try_from(format!("public, max-age={max_age_secs}"))
                .expect("digits are ASCII"),
        }
    }

    /// The document, or 304 to who has it already.
    fn answer(&self, request: &HeaderMap) -> Response {
        let mut response = if self.is_known_to(request) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            let json = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
            (json, self.body.clone()).into_response()
        };
        let headers = response.headers_mut();
        headers.insert(header::ETAG, self.etag.clone());
        headers.insert(header::CACHE_CONTROL, self.cache_control.clone());
        response
    }

    /// RFC 9110 §13.1.2: a list of entity tags, compared weakly, or `*`.
    fn is_known_to(&self, request: &HeaderMap) -> bool {
        request
            .get_all(header::IF_NONE_MATCH)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(|tag| tag.trim().trim_start_matches("W/"))
            .any(|tag| tag == "*" || tag.as_bytes() == self.etag.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(if_none_match: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_NONE_MATCH, if_none_match.parse().unwrap());
        headers
    }

    #[test]
    fn who_has_the_document_is_not_sent_it_again() {
        let document = Document::new("{}".to_owned(), 60);
        let etag = document.etag.to_str().unwrap().to_owned();
        for known in [
            etag.clone(),
            format!("W/{etag}"),
            format!("\"other\", {etag}"),
            "*".to_owned(),
        ] {
            let status = document.answer(&asking(&known)).status();
            assert_eq!(status, StatusCode::NOT_MODIFIED, "{known}");
        }
        assert_eq!(document.answer(&asking("\"other\"")).status(), StatusCode::OK);
    }

    #[test]
    fn other_bytes_have_another_tag() {
        let (one, two) = (
            Document::new("{}".to_owned(), 60),
            Document::new("[]".to_owned(), 60),
        );
        assert_ne!(one.etag, two.etag);
        let answer = one.answer(&HeaderMap::new());
        assert_eq!(answer.headers()[header::CACHE_CONTROL], "public, max-age=60");
    }
}
