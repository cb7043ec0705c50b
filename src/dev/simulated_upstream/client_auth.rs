//! How clients prove themselves at the token endpoint (RFC 6749 §2.3.1; Apple's signed secrets).

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use percent_encoding::percent_decode_str;
use serde_json::Value;
use time::Duration;

use super::flavour::Flavour;
use super::options::Client;
use super::request_log::LoggedRequest;
use super::simulation::Simulation;

/// Apple: "the expiration time must not be greater than 15777000 (6 months in seconds)".
const APPLE_MAX_SECRET_LIFETIME: Duration = Duration::seconds(15_777_000);

/// The client that sent the request; `Err` says what is wrong.
pub(super) fn authenticate(
    simulation: &Simulation,
    received: &LoggedRequest,
) -> Result<Client, &'static str> {
    let (client_id, secret) = match (received.authorization("Basic"), simulation.flavour()) {
        (Some(_), Flavour::Apple) => return Err("client_secret_basic is not supported"),
        (Some(credentials), _) => basic(credentials).ok_or("the Basic credentials are malformed")?,
        (None, _) => {
            let client_id = received.form("client_id").ok_or("client_id is missing")?;
            (
                client_id.to_owned(),
                received.form("client_secret").unwrap_or_default().to_owned(),
            )
        }
    };
    let client = simulation
        .find_client(&client_id)
        .ok_or("the client is unknown")?;
    if simulation.flavour() == Flavour::Apple {
        verify_apple_secret(simulation, &client_id, &secret)?;
    } else if !simulation.options().clients.is_empty() && client.client_secret != secret {
        return Err("the client secret is wrong");
    }
    Ok(Client {
        client_secret: secret,
        ..client
    })
}

/// Both halves are form-encoded before they are joined (RFC 6749 §2.3.1, Appendix B).
fn basic(credentials: &str) -> Option<(String, String)> {
    let decoded = String::from_utf8(STANDARD.decode(credentials).ok()?).ok()?;
    let (client_id, secret) = decoded.split_once(':')?;
    let decode = |part: &str| {
        percent_decode_str(&part.replace('+', " "))
            .decode_utf8()
            .ok()
            .map(String::from)
    };
    Some((decode(client_id)?, decode(secret)?))
}

/// <https://developer.apple.com/documentation/accountorganizationaldatasharing/creating-a-client-secret>
fn verify_apple_secret(simulation: &Simulation, client_id: &str, secret: &str) -> Result<(), &'static str> {
    let parts: Vec<&str> = secret.split('.').collect();
    let [header, claims, signature] = parts[..] else {
        return Err("client_secret is not a signed token");
    };
    let header = object(header).ok_or("the header of client_secret is not JSON")?;
    let claims = object(claims).ok_or("the claims of client_secret are not JSON")?;
    if header["alg"] != "ES256" {
        return Err("alg of client_secret must be ES256");
    }
    if header["kid"].as_str().is_none_or(str::is_empty) {
        return Err("kid of client_secret is missing");
    }
    if claims["iss"].as_str().is_none_or(str::is_empty) {
        return Err("iss of client_secret must be the team id");
    }
    if claims["sub"] != client_id {
        return Err("sub of client_secret must be the client id");
    }
    if claims["aud"] != "https://appleid.apple.com" && claims["aud"] != simulation.issuer().as_str() {
        return Err("aud of client_secret must be the issuer");
    }
    let now = simulation.now().unix_timestamp();
    let (Some(issued_at), Some(expires_at)) = (claims["iat"].as_i64(), claims["exp"].as_i64()) else {
        return Err("iat and exp of client_secret must be numbers");
    };
    if issued_at > now + 60 || expires_at <= now {
        return Err("client_secret is not valid now");
    }
    if expires_at - now > APPLE_MAX_SECRET_LIFETIME.whole_seconds() {
        return Err("client_secret lives longer than six months");
    }
    // ES256 signatures are 64 bytes (RFC 7518 §3.4).
    if URL_SAFE_NO_PAD.decode(signature).map(|bytes| bytes.len()) != Ok(64) {
        return Err("the signature of client_secret is not one of ES256");
    }
    match &simulation.options().apple_public_key_pem {
        Some(pem) => verify_signature(pem, secret),
        None => Ok(()),
    }
}

fn verify_signature(public_key_pem: &str, secret: &str) -> Result<(), &'static str> {
    let key = DecodingKey::from_ec_pem(public_key_pem.as_bytes())
        .map_err(|_| "apple_public_key_pem is no EC key")?;
    let mut validation = Validation::new(Algorithm::ES256);
    // Times and audience were judged above, by the simulation's own clock.
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    jsonwebtoken::decode::<Value>(secret, &key, &validation)
        .map(|_| ())
        .map_err(|_| "the signature of client_secret does not verify")
}

fn object(part: &str) -> Option<Value> {
    let value: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()?;
    value.is_object().then_some(value)
}
