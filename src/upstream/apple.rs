//! Apple: client secrets signed by the client, and a name that is told once, beside the code.
//! <https://developer.apple.com/documentation/accountorganizationaldatasharing/creating-a-client-secret>

use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use secrecy::SecretString;
use serde_json::{Map, Value, json};
use time::{Duration, OffsetDateTime};

use super::profile;
use crate::config::providers::ProviderConfig;

/// How long a client secret is valid. Apple allows six months; one request needs no more than this.
const SECRET_TTL: Duration = Duration::minutes(5);

/// More than a name can need.
const MAX_USER_BYTES: usize = 4096;

/// The key from Apple's developer pages.
#[derive(Clone)]
pub(super) struct AppleKey {
    team_id: String,
    key_id: String,
    audience: String,
    key: Arc<EcdsaKeyPair>,
}

impl AppleKey {
    /// Reads `apple_team_id`, `apple_key_id` and the `.p8` file.
    pub(super) fn load(config: &ProviderConfig) -> anyhow::Result<Self> {
        let team_id = config.apple_team_id.clone().context("apple_team_id is missing")?;
        let key_id = config.apple_key_id.clone().context("apple_key_id is missing")?;
        let path = config
            .apple_private_key_path
            .as_ref()
            .context("apple_private_key_path is missing")?;
        let pem = std::fs::read_to_string(path)
            .with_context(|| format!("apple_private_key_path: read {}", path.display()))?;
        let audience = config
            .issuer
            .clone()
            .unwrap_or_else(|| "https://appleid.apple.com".to_owned());
        Self::new(&pem, team_id, key_id, audience).context("apple_private_key_path")
    }

    fn new(pem: &str, team_id: String, key_id: String, audience: String) -> anyhow::Result<Self> {
        let body: String = pem
            .split_once("-----BEGIN PRIVATE KEY-----")
            .and_then(|(_, rest)| rest.split_once("-----END PRIVATE KEY-----"))
            .context("no PKCS#8 key in PEM (BEGIN PRIVATE KEY)")?
            .0
            .split_ascii_whitespace()
            .collect();
        let der = STANDARD.decode(body).map_err(|_| anyhow!("the PEM is damaged"))?;
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der)
            .map_err(|_| anyhow!("not a private key on P-256"))?;
        Ok(Self {
            team_id,
            key_id,
            audience,
            key: Arc::new(key),
        })
    }

    /// A fresh client secret: a JWT signed by ES256.
    pub(super) fn client_secret(&self, client_id: &str, now: OffsetDateTime) -> anyhow::Result<SecretString> {
        let header = json!({ "alg": "ES256", "kid": self.key_id });
        let claims = json!({
            "iss": self.team_id,
            "iat": now.unix_timestamp(),
            "exp": (now + SECRET_TTL).unix_timestamp(),
            "aud": self.audience,
            "sub": client_id,
        });
        let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let input = format!("{}.{}", encode(&header), encode(&claims));
        let signature = self
            .key
            .sign(&SystemRandom::new(), input.as_bytes())
            .map_err(|_| anyhow!("sign the client secret"))?;
        Ok(SecretString::from(format!(
            "{input}.{}",
            URL_SAFE_NO_PAD.encode(signature.as_ref())
        )))
    }
}

/// Adds the name from the callback's `user`. It comes through the browser, unsigned: the person could write anything
/// there, so only the name is taken, which is theirs to choose; the address in it is not.
pub(super) fn add_name(claims: &mut Map<String, Value>, user: Option<&str>) {
    let Some(user) = user.filter(|user| user.len() <= MAX_USER_BYTES) else {
        return;
    };
    let Ok(user) = serde_json::from_str::<Value>(user) else {
        return;
    };
    for (claim, path) in [("given_name", "name.firstName"), ("family_name", "name.lastName")] {
        if let Some(part) = profile::text(profile::at_path(&user, path)) {
            claims.entry(claim).or_insert(Value::String(part));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, KeyPair as _, UnparsedPublicKey};
    use secrecy::ExposeSecret as _;

    fn key() -> AppleKey {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let der = pair.to_pkcs8v1().unwrap();
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            STANDARD.encode(der.as_ref())
        );
        AppleKey::new(
            &pem,
            "TEAM".into(),
            "KEY".into(),
            "https://appleid.apple.com".into(),
        )
        .unwrap()
    }

    #[test]
    fn the_client_secret_is_signed_and_lives_five_minutes() {
        let key = key();
        let now = OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap();
        let secret = key.client_secret("com.example.app", now).unwrap();
        let (input, signature) = secret.expose_secret().rsplit_once('.').unwrap();
        let (header, claims) = input.split_once('.').unwrap();
        let read =
            |part: &str| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
        assert_eq!(read(header), json!({ "alg": "ES256", "kid": "KEY" }));
        let expected = json!({
            "iss": "TEAM", "sub": "com.example.app", "aud": "https://appleid.apple.com",
            "iat": 1_800_000_000, "exp": 1_800_000_300
        });
        assert_eq!(read(claims), expected);
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.key.public_key().as_ref());
        assert!(
            public
                .verify(input.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap())
                .is_ok()
        );
    }

    #[test]
    fn what_is_no_pkcs8_key_is_refused() {
        for pem in [
            "",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
            "-----BEGIN PRIVATE KEY-----\n!\n",
        ] {
            assert!(AppleKey::new(pem, "T".into(), "K".into(), "A".into()).is_err());
        }
    }

    #[test]
    fn of_the_user_parameter_only_the_name_is_taken() {
        let mut claims = Map::new();
        let user =
            r#"{"name":{"firstName":"Ada","lastName":"Lovelace"},"email":"root@example.test","sub":"x"}"#;
        add_name(&mut claims, Some(user));
        assert_eq!(
            Value::Object(claims.clone()),
            json!({ "given_name": "Ada", "family_name": "Lovelace" })
        );
        for nothing in [None, Some("not json"), Some("[]"), Some(r#"{"name":5}"#)] {
            let mut claims = Map::new();
            add_name(&mut claims, nothing);
            assert!(claims.is_empty());
        }
    }
}
