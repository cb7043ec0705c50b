//! The discovery document (OpenID Connect Discovery 1.0 §3) and the key set (RFC 7517 §5).

use std::sync::Arc;

use axum::Extension;
use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::flavour::Flavour;
use super::misbehaviour::Misbehaviour;
use super::people::tenant_id_of;
use super::request_log::LoggedRequest;
use super::simulation::Simulation;

/// What Microsoft's shared documents say instead of a tenant; the client puts the `tid` of the ID token there.
const TENANT_TEMPLATE: &str = "{tenantid}";

/// `GET /.well-known/openid-configuration`
pub(super) async fn discovery(
    State(simulation): State<Simulation>,
    Extension(received): Extension<Arc<LoggedRequest>>,
    tenant: Option<Path<String>>,
) -> Json<Value> {
    let habits = simulation.habits();
    let tenant = tenant.map_or_else(|| simulation.options().tenant.clone(), |Path(tenant)| tenant);
    let url = |path: &str| format!("{}{}", simulation.base_url(), path.replace("{tenant}", &tenant));
    let issuer = match simulation.flavour() {
        _ if simulation.misbehaves(Misbehaviour::DiscoveryOtherIssuer, &received.carried) => {
            "https://another-issuer.example.test".to_owned()
        }
        Flavour::Microsoft => format!("{}/{}/v2.0", simulation.base_url(), issuer_tenant(&tenant)),
        _ => simulation.issuer(),
    };
    let mut document = json!({
        "issuer": issuer,
        "authorization_endpoint": url(habits.authorize_path),
        "token_endpoint": url(habits.token_path),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query", "form_post"],
        "grant_types_supported": ["authorization_code"],
        "subject_types_supported": [if simulation.flavour() == Flavour::Microsoft { "pairwise" } else { "public" }],
        "id_token_signing_alg_values_supported": [simulation.options().signing_algorithm.name()],
        "scopes_supported": habits.scopes,
        "token_endpoint_auth_methods_supported": habits.token_auth_methods,
        "claims_supported": ["iss", "sub", "aud", "exp", "iat", "email"],
        "code_challenge_methods_supported": ["S256"],
    });
    if let Some(path) = habits.userinfo_path {
        document["userinfo_endpoint"] = json!(url(path));
    }
    if let Some(path) = habits.jwks_path {
        document["jwks_uri"] = json!(url(path));
    }
    if !habits.prompts.is_empty() {
        document["prompt_values_supported"] = json!(habits.prompts);
    }
    if simulation.response_iss() {
        document["authorization_response_iss_parameter_supported"] = json!(true);
    }
    Json(document)
}

fn issuer_tenant(tenant: &str) -> String {
    match tenant {
        "common" | "organizations" => TENANT_TEMPLATE.to_owned(),
        "consumers" => "9188040d-6c67-4c5b-b112-36a304b66dad".to_owned(),
        domain if domain.contains('.') => tenant_id_of(domain),
        id => id.to_owned(),
    }
}

/// `GET /jwks`
pub(super) async fn jwks(State(simulation): State<Simulation>) -> Json<Value> {
    let mut keys: Vec<Value> = simulation
        .keys()
        .iter()
        .map(|key| key.jwk(simulation.habits().jwk_alg))
        .collect();
    if simulation.flavour() == Flavour::Microsoft {
        for key in &mut keys {
            key["issuer"] = json!(format!("{}/{TENANT_TEMPLATE}/v2.0", simulation.base_url()));
        }
    }
    Json(json!({ "keys": keys }))
}
