//! The discovery document (OpenID Connect Discovery §3, RFC 8414 §2): nothing in it that is not implemented.

use serde_json::{Map, Value, json};

use super::algorithm::SigningAlgorithm;
use super::client::{GrantType, TokenEndpointAuthMethod};
use super::prompt::Prompt;
use super::{claims, request_object, scope};

/// What the document depends on.
pub struct MetadataInput<'a> {
    pub issuer: &'a str,
    pub algorithms: &'a [SigningAlgorithm],
    /// Scopes of the configuration, beside the standard ones.
    pub configured_scopes: &'a [String],
    pub acr_values: &'a [String],
    pub passthrough_claims: &'a [String],
    pub ui_locales: &'a [String],
}

/// The document.
pub fn metadata(input: &MetadataInput<'_>) -> Map<String, Value> {
    let at = |path: &str| Value::from(format!("{}{path}", input.issuer.trim_end_matches('/')));
    let secret_methods = [
        TokenEndpointAuthMethod::ClientSecretBasic,
        TokenEndpointAuthMethod::ClientSecretPost,
    ]
    .map(TokenEndpointAuthMethod::as_str);
    let all_methods = [
        secret_methods[0],
        secret_methods[1],
        TokenEndpointAuthMethod::None.as_str(),
    ];
    let grant_types: Vec<_> = GrantType::ALL
        .iter()
        .map(|grant_type| grant_type.as_str())
        .collect();

    let mut members = Map::new();
    let mut put = |name: &str, value: Value| {
        members.insert(name.to_owned(), value);
    };
    // OpenID Connect Discovery §3
    put("issuer", input.issuer.into());
    put("authorization_endpoint", at("/oauth/authorize"));
    put("token_endpoint", at("/oauth/token"));
    put("userinfo_endpoint", at("/oauth/userinfo"));
    put("jwks_uri", at("/.well-known/jwks.json"));
    put("scopes_supported", scopes_supported(input).into());
    put("response_types_supported", json!(["code"]));
    put("response_modes_supported", json!(["query", "form_post"]));
    put("grant_types_supported", grant_types.into());
    if !input.acr_values.is_empty() {
        put("acr_values_supported", input.acr_values.into());
    }
    put("subject_types_supported", json!(["public"]));
    put(
        "id_token_signing_alg_values_supported",
        id_token_algorithms(input).into(),
    );
    put(
        "request_object_signing_alg_values_supported",
        request_object::ALGORITHMS.as_slice().into(),
    );
    put(
        "token_endpoint_auth_methods_supported",
        all_methods.as_slice().into(),
    );
    put("display_values_supported", json!(["page"]));
    put("claim_types_supported", json!(["normal"]));
    put(
        "claims_supported",
        claims::supported_claims(input.passthrough_claims).into(),
    );
    if !input.ui_locales.is_empty() {
        put("ui_locales_supported", input.ui_locales.into());
    }
    put("claims_parameter_supported", true.into());
    put("request_parameter_supported", true.into());
    // Said, because its default is true.
    put("request_uri_parameter_supported", false.into());
    put("prompt_values_supported", Prompt::VALUES.as_slice().into());
    // OpenID Connect RP-Initiated Logout §2.1
    put("end_session_endpoint", at("/oauth/logout"));
    // OpenID Connect Back-Channel Logout §2.1: every logout token of a session has its `sid`, as every ID token has.
    put("backchannel_logout_supported", true.into());
    put("backchannel_logout_session_supported", true.into());
    // RFC 8414 §2
    put("revocation_endpoint", at("/oauth/revoke"));
    put(
        "revocation_endpoint_auth_methods_supported",
        all_methods.as_slice().into(),
    );
    put("introspection_endpoint", at("/oauth/introspect"));
    // Public clients may not ask about tokens.
    put(
        "introspection_endpoint_auth_methods_supported",
        secret_methods.as_slice().into(),
    );
    put("code_challenge_methods_supported", json!(["S256"]));
    // RFC 9207 §3
    put("authorization_response_iss_parameter_supported", true.into());
    members
}

fn scopes_supported(input: &MetadataInput<'_>) -> Vec<String> {
    let mut scopes: Vec<String> = scope::STANDARD.map(str::to_owned).to_vec();
    for configured in input.configured_scopes {
        if !scopes.contains(configured) {
            scopes.push(configured.clone());
        }
    }
    scopes
}

/// Each algorithm of the keys once, in their order.
fn id_token_algorithms(input: &MetadataInput<'_>) -> Vec<&'static str> {
    let mut names = Vec::new();
    for algorithm in input.algorithms {
        if !names.contains(&algorithm.as_str()) {
            names.push(algorithm.as_str());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(issuer: &str) -> Map<String, Value> {
        metadata(&MetadataInput {
            issuer,
            algorithms: &[
                SigningAlgorithm::Es256,
                SigningAlgorithm::Rs256,
                SigningAlgorithm::Es256,
            ],
            configured_scopes: &["api".to_owned(), "openid".to_owned()],
            acr_values: &["0".to_owned()],
            passthrough_claims: &["given_name".to_owned(), "department".to_owned()],
            ui_locales: &[],
        })
    }

    /// OpenID Connect Discovery §3.
    #[test]
    fn the_document_says_what_is_offered() {
        let document = document("https://auth.example");
        for (name, value) in [
            ("issuer", json!("https://auth.example")),
            (
                "authorization_endpoint",
                json!("https://auth.example/oauth/authorize"),
            ),
            ("token_endpoint", json!("https://auth.example/oauth/token")),
            ("userinfo_endpoint", json!("https://auth.example/oauth/userinfo")),
            ("jwks_uri", json!("https://auth.example/.well-known/jwks.json")),
            ("end_session_endpoint", json!("https://auth.example/oauth/logout")),
            ("backchannel_logout_supported", json!(true)),
            ("backchannel_logout_session_supported", json!(true)),
            (
                "scopes_supported",
                json!([
                    "openid",
                    "profile",
                    "email",
                    "address",
                    "phone",
                    "offline_access",
                    "api"
                ]),
            ),
            ("response_types_supported", json!(["code"])),
            ("response_modes_supported", json!(["query", "form_post"])),
            (
                "grant_types_supported",
                json!(["authorization_code", "refresh_token"]),
            ),
            ("acr_values_supported", json!(["0"])),
            ("subject_types_supported", json!(["public"])),
            ("id_token_signing_alg_values_supported", json!(["ES256", "RS256"])),
            (
                "request_object_signing_alg_values_supported",
                json!(["none", "RS256", "ES256"]),
            ),
            (
                "token_endpoint_auth_methods_supported",
                json!(["client_secret_basic", "client_secret_post", "none"]),
            ),
            (
                "introspection_endpoint_auth_methods_supported",
                json!(["client_secret_basic", "client_secret_post"]),
            ),
            ("code_challenge_methods_supported", json!(["S256"])),
            ("request_parameter_supported", json!(true)),
            ("request_uri_parameter_supported", json!(false)),
            ("claims_parameter_supported", json!(true)),
            ("authorization_response_iss_parameter_supported", json!(true)),
            (
                "prompt_values_supported",
                json!(["none", "login", "consent", "select_account"]),
            ),
        ] {
            assert_eq!(document.get(name), Some(&value), "{name}");
        }
    }

    #[test]
    fn nothing_is_listed_that_does_not_exist() {
        let document = document("https://auth.example");
        for name in [
            "ui_locales_supported",
            "registration_endpoint",
            "frontchannel_logout_supported",
            "check_session_iframe",
            "userinfo_signing_alg_values_supported",
        ] {
            assert!(!document.contains_key(name), "{name}");
        }
    }

    #[test]
    fn claims_are_those_of_the_accounts_and_those_passed_through() {
        let document = document("https://auth.example");
        let claims = document["claims_supported"].as_array().unwrap();
        for name in [
            "sub",
            "name",
            "preferred_username",
            "picture",
            "email",
            "email_verified",
            "updated_at",
            "auth_time",
            "given_name",
        ] {
            assert!(claims.contains(&json!(name)), "{name}");
        }
        assert!(!claims.contains(&json!("department")) && !claims.contains(&json!("address")));
    }

    #[test]
    fn an_issuer_with_a_path_or_a_final_slash_is_kept_as_it_is() {
        let slashed = document("https://auth.example/tenant/");
        assert_eq!(slashed["issuer"], "https://auth.example/tenant/");
        assert_eq!(
            slashed["token_endpoint"],
            "https://auth.example/tenant/oauth/token"
        );
    }
}
