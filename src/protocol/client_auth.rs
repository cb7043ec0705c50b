//! How a client says who it is (RFC 6749 §2.3.1): Basic header or form fields, to [`ClientCredentials`].

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use time::OffsetDateTime;

use super::authorization::{OAuthErrorCode, OAuthRefusal};
use super::client::{Client, ClientType, TokenEndpointAuthMethod};
use super::ids::ClientId;
use super::opaque::{Opaque, TokenHash};
use super::params::Params;

/// What a request presents: an id, perhaps a secret, and by which method. No `Debug`: it holds the secret.
#[derive(Clone)]
pub struct ClientCredentials {
    pub client_id: ClientId,
    pub secret: Option<String>,
    pub method: TokenEndpointAuthMethod,
}

/// What is compared where there is no secret to compare with. Nobody knows a value with this hash.
const NO_SECRET: TokenHash = TokenHash([0; 32]);

/// The secrets of a client: its own, and the one before while a rotation overlaps. The table has room for no more.
const MAX_SECRETS: usize = 2;

/// The one answer to an unknown client, a wrong secret and a disabled client: nobody learns which it was.
const AUTHENTICATION_FAILED: OAuthRefusal = invalid_client("client authentication failed");

/// Reads the credentials from all `Authorization` header values and the form. Header wins; a differing `client_id` or
/// `client_secret` in the body is `invalid_request`; two headers, or another scheme beside body credentials, too; a broken
/// Basic header is `invalid_client` and never falls back to the body; no id at all is `invalid_client`.
pub fn extract(authorization: &[&str], form: &Params) -> Result<ClientCredentials, OAuthRefusal> {
    let (body_id, body_secret) = (form.get("client_id")?, form.get("client_secret")?);
    match authorization {
        [] => from_body(body_id, body_secret),
        [header] => match basic_credentials(header) {
            Some(encoded) => from_basic(encoded, body_id, body_secret),
            None if body_id.is_some() || body_secret.is_some() => Err(OAuthRefusal::invalid_request(
                "client credentials in the body come with an Authorization header of another scheme",
            )),
            None => Err(invalid_client("the Authorization scheme has to be Basic")),
        },
        _ => Err(OAuthRefusal::invalid_request(
            "there is more than one Authorization header",
        )),
    }
}

/// Whether the credentials prove `client`. `client` is `None` when no such client is registered: the same work is done, the
/// same refusal comes out (`invalid_client`), as for a wrong secret and a disabled client.
pub fn authenticate(
    credentials: &ClientCredentials,
    client: Option<&Client>,
    now: OffsetDateTime,
) -> Result<(), OAuthRefusal> {
    let secret_is_right = secret_is_right(credentials, client, now);
    let Some(client) = client.filter(|client| !client.disabled) else {
        return Err(AUTHENTICATION_FAILED);
    };
    if client.client_type != ClientType::Confidential {
        // A secret from a client that has none is somebody's mistake or somebody's guess.
        return match credentials.secret {
            None => Ok(()),
            Some(_) => Err(AUTHENTICATION_FAILED),
        };
    }
    if !secret_is_right {
        return Err(AUTHENTICATION_FAILED);
    }
    // Said only to a client that has proved itself: it helps whoever set the library up.
    match client.token_endpoint_auth_method {
        None => Ok(()),
        Some(registered) if registered == credentials.method => Ok(()),
        Some(TokenEndpointAuthMethod::ClientSecretBasic) => Err(invalid_client(
            "this client is registered with token_endpoint_auth_method client_secret_basic",
        )),
        Some(TokenEndpointAuthMethod::ClientSecretPost) => Err(invalid_client(
            "this client is registered with token_endpoint_auth_method client_secret_post",
        )),
        Some(TokenEndpointAuthMethod::None) => Err(AUTHENTICATION_FAILED),
    }
}

/// Compares the presented secret with as many hashes whoever is asked for, without stopping at one that fits.
fn secret_is_right(credentials: &ClientCredentials, client: Option<&Client>, now: OffsetDateTime) -> bool {
    let presented = credentials.secret.as_deref().and_then(Opaque::parse);
    let hash = presented.as_ref().map_or(NO_SECRET, Opaque::hash);
    let fits = good_secrets(client, now)
        .iter()
        .fold(false, |fits, good| hash.equals(good) | fits);
    // The filling fits exactly where nothing was presented.
    presented.is_some() && fits
}

/// The hashes that are good at `now`, filled up to the number that a client has at most: two, while a rotation overlaps.
/// Nobody tells by the time it takes whether there is such a client, whether it has a secret, or how many.
fn good_secrets(client: Option<&Client>, now: OffsetDateTime) -> [TokenHash; MAX_SECRETS] {
    let mut hashes = [NO_SECRET; MAX_SECRETS];
    let good = client
        .iter()
        .flat_map(|client| &client.secrets)
        .filter(|secret| secret.expires_at.is_none_or(|expires_at| now < expires_at));
    for (slot, secret) in hashes.iter_mut().zip(good) {
        *slot = secret.hash;
    }
    hashes
}

fn from_body(client_id: Option<&str>, secret: Option<&str>) -> Result<ClientCredentials, OAuthRefusal> {
    let client_id = client_id.ok_or(invalid_client("the request says of no client who it is"))?;
    Ok(ClientCredentials {
        client_id: ClientId(client_id.to_owned()),
        method: match secret {
            Some(_) => TokenEndpointAuthMethod::ClientSecretPost,
            None => TokenEndpointAuthMethod::None,
        },
        secret: secret.map(str::to_owned),
    })
}

fn from_basic(
    encoded: &str,
    body_id: Option<&str>,
    body_secret: Option<&str>,
) -> Result<ClientCredentials, OAuthRefusal> {
    let (client_id, secret) =
        decode_basic(encoded).ok_or(invalid_client("the Basic credentials are malformed"))?;
    // RFC 6749 §2.3: one method per request. Repeating the same is harmless, contradicting is not.
    if body_id.is_some_and(|id| id != client_id) || body_secret.is_some_and(|other| other != secret) {
        return Err(OAuthRefusal::invalid_request(
            "the body names other client credentials than the Authorization header",
        ));
    }
    // RFC 6749 §2.3.1: an empty secret is no secret; so some libraries send a public client's id.
    let secret = Some(secret).filter(|secret| !secret.is_empty());
    Ok(ClientCredentials {
        client_id: ClientId(client_id),
        method: match secret {
            Some(_) => TokenEndpointAuthMethod::ClientSecretBasic,
            None => TokenEndpointAuthMethod::None,
        },
        secret,
    })
}

/// What follows the scheme name, when the scheme is Basic (RFC 9110 §11.1: in any case).
fn basic_credentials(header: &str) -> Option<&str> {
    let (scheme, credentials) = header.split_once(' ').unwrap_or((header, ""));
    scheme
        .eq_ignore_ascii_case("Basic")
        .then(|| credentials.trim_matches(' '))
}

/// Id and secret of Basic credentials: padded standard base64, split at the first colon, each half form-decoded
/// (RFC 7617 §2, RFC 6749 §2.3.1). `None` for anything else.
fn decode_basic(encoded: &str) -> Option<(String, String)> {
    let decoded = STANDARD.decode(encoded).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let client_id = form_decode(&decoded[..colon])?;
    let secret = form_decode(&decoded[colon + 1..])?;
    (!client_id.is_empty()).then_some((client_id, secret))
}

/// `application/x-www-form-urlencoded` of one value, where a malformed escape is an error and not itself.
fn form_decode(encoded: &[u8]) -> Option<String> {
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let (digits, after) = after.split_first_chunk::<2>()?;
                rest = after;
                16 * hex_value(digits[0])? + hex_value(digits[1])?
            }
            byte => *byte,
        });
    }
    String::from_utf8(decoded)
        .ok()
        .filter(|text| !text.contains(char::is_control))
}

fn hex_value(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

const fn invalid_client(description: &'static str) -> OAuthRefusal {
    OAuthRefusal::new(OAuthErrorCode::InvalidClient, description)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use proptest::prelude::*;
    use url::form_urlencoded;

    use super::super::client::ClientSecret;
    use super::super::fixtures::{NOW, at, client, params, public_client};
    use super::*;

    fn basic(text: &str) -> String {
        format!("Basic {}", STANDARD.encode(text))
    }

    fn extract_code(authorization: &[&str], form: &[(&str, &str)]) -> OAuthErrorCode {
        let refusal = extract(authorization, &params(form)).err();
        refusal.expect("the credentials are refused").code
    }

    fn credentials(secret: Option<&str>, method: TokenEndpointAuthMethod) -> ClientCredentials {
        ClientCredentials {
            client_id: ClientId("app".to_owned()),
            secret: secret.map(str::to_owned),
            method,
        }
    }

    /// A confidential client and its secret.
    fn with_secret() -> (Client, String) {
        let secret = Opaque::generate(&SystemRandom::new());
        let mut client = client();
        client.secrets = vec![ClientSecret {
            hash: secret.hash(),
            expires_at: None,
        }];
        (client, secret.expose())
    }

    /// RFC 6749 §2.3.1.
    #[test]
    fn basic_credentials_are_form_decoded_after_the_first_colon() {
        for (text, id, secret) in [
            ("app:se:cret", "app", "se:cret"),
            ("a%3Ab+c:p%2Bq%25", "a:b c", "p+q%"),
            ("%C3%A9:x-_.", "\u{e9}", "x-_."),
        ] {
            let found = extract(&[&basic(text)], &Params::default()).unwrap();
            assert_eq!(
                (found.client_id.as_str(), found.secret.as_deref()),
                (id, Some(secret))
            );
            assert_eq!(found.method, TokenEndpointAuthMethod::ClientSecretBasic);
        }
    }

    #[test]
    fn the_scheme_name_is_read_in_any_case() {
        let header = basic("app:s").replace("Basic", "bASIC");
        assert!(extract(&[&header], &Params::default()).is_ok());
    }

    #[test]
    fn a_broken_basic_header_is_refused_and_the_body_is_not_looked_at() {
        let body = [("client_id", "app"), ("client_secret", "s")];
        for header in [
            "Basic".to_owned(),
            "Basic ".to_owned(),
            "Basic !!!!".to_owned(),
            "Basic YXBwOnM".to_owned(),
            "Basic YXBwOnN=".to_owned(),
            "Basic YXBwOnM= x".to_owned(),
            "Basic YXBw_-8=".to_owned(),
            basic("no colon"),
            basic(":secret"),
            basic("app:%4"),
            basic("app:%zz"),
            basic("app:%00"),
            basic("app:%ff"),
            basic("app:%+1"),
        ] {
            assert_eq!(
                extract_code(&[&header], &body),
                OAuthErrorCode::InvalidClient,
                "{header}"
            );
        }
    }

    #[test]
    fn the_header_wins_over_an_equal_body_and_contradiction_is_refused() {
        let header = basic("app:s");
        for form in [
            &[][..],
            &[("client_id", "app")],
            &[("client_id", "app"), ("client_secret", "s")],
        ] {
            let found = extract(&[&header], &params(form)).unwrap();
            assert_eq!(found.method, TokenEndpointAuthMethod::ClientSecretBasic);
        }
        for form in [
            &[("client_id", "other")][..],
            &[("client_secret", "t")],
            &[("client_id", "app"), ("client_id", "app")],
        ] {
            assert_eq!(
                extract_code(&[&header], form),
                OAuthErrorCode::InvalidRequest,
                "{form:?}"
            );
        }
    }

    #[test]
    fn two_headers_or_another_scheme_beside_the_body_are_refused() {
        let header = basic("app:s");
        assert_eq!(
            extract_code(&[&header, &header], &[]),
            OAuthErrorCode::InvalidRequest
        );
        let bearer = ["Bearer abc"];
        assert_eq!(
            extract_code(&bearer, &[("client_id", "app")]),
            OAuthErrorCode::InvalidRequest
        );
        assert_eq!(
            extract_code(&bearer, &[("client_secret", "s")]),
            OAuthErrorCode::InvalidRequest
        );
        assert_eq!(extract_code(&bearer, &[]), OAuthErrorCode::InvalidClient);
    }

    #[test]
    fn the_body_identifies_with_or_without_a_secret() {
        let post = extract(&[], &params(&[("client_id", "app"), ("client_secret", "s")])).unwrap();
        assert_eq!(post.method, TokenEndpointAuthMethod::ClientSecretPost);
        let none = extract(&[], &params(&[("client_id", "app")])).unwrap();
        assert_eq!((none.method, none.secret), (TokenEndpointAuthMethod::None, None));
        let empty = extract(&[&basic("app:")], &Params::default()).unwrap();
        assert_eq!(
            (empty.method, empty.secret),
            (TokenEndpointAuthMethod::None, None)
        );
    }

    #[test]
    fn a_request_without_an_id_is_refused() {
        assert_eq!(extract_code(&[], &[]), OAuthErrorCode::InvalidClient);
        assert_eq!(
            extract_code(&[], &[("client_secret", "s")]),
            OAuthErrorCode::InvalidClient
        );
    }

    #[test]
    fn a_confidential_client_proves_itself_by_its_secret() {
        let (client, secret) = with_secret();
        for method in [
            TokenEndpointAuthMethod::ClientSecretBasic,
            TokenEndpointAuthMethod::ClientSecretPost,
        ] {
            let right = credentials(Some(&secret), method);
            assert_eq!(authenticate(&right, Some(&client), at(NOW)), Ok(()));
        }
    }

    #[test]
    fn unknown_disabled_and_wrong_are_refused_in_the_same_words() {
        let (client, secret) = with_secret();
        let (_, other) = with_secret();
        let basic = TokenEndpointAuthMethod::ClientSecretBasic;
        let disabled = Client {
            disabled: true,
            ..client.clone()
        };
        let zeros = Opaque::parse(&"A".repeat(43)).unwrap().expose();
        for (presented, method, client) in [
            (Some(secret.as_str()), basic, None),
            (Some(secret.as_str()), basic, Some(&disabled)),
            (Some(other.as_str()), basic, Some(&client)),
            (Some("not of our making"), basic, Some(&client)),
            (Some(zeros.as_str()), basic, Some(&client)),
            (None, TokenEndpointAuthMethod::None, Some(&client)),
        ] {
            let refused = authenticate(&credentials(presented, method), client, at(NOW));
            assert_eq!(refused, Err(AUTHENTICATION_FAILED));
        }
    }

    /// CA-4: unknown, disabled, public, with one secret or with two: the comparisons are as many.
    #[test]
    fn there_are_as_many_comparisons_whoever_is_asked_for() {
        let (one, _) = with_secret();
        let mut two = one.clone();
        two.secrets.extend(with_secret().0.secrets);
        let mut run_out = two.clone();
        run_out.secrets[0].expires_at = Some(at(NOW));
        let disabled = Client {
            disabled: true,
            ..two.clone()
        };
        for (client, real) in [
            (None, 0),
            (Some(public_client()), 0),
            (Some(one), 1),
            (Some(run_out), 1),
            (Some(two), 2),
            (Some(disabled), 2),
        ] {
            let compared = good_secrets(client.as_ref(), at(NOW));
            assert_eq!(compared.len(), MAX_SECRETS);
            let dummies = compared.iter().filter(|hash| **hash == NO_SECRET).count();
            assert_eq!(dummies, MAX_SECRETS - real);
        }
    }

    #[test]
    fn a_client_without_secrets_is_not_opened_by_the_dummy() {
        let mut client = client();
        client.secrets = vec![ClientSecret {
            hash: NO_SECRET,
            expires_at: None,
        }];
        for presented in [None, Some("x")] {
            let credentials = credentials(presented, TokenEndpointAuthMethod::ClientSecretPost);
            assert!(authenticate(&credentials, Some(&client), at(NOW)).is_err());
        }
    }

    #[test]
    fn during_a_rotation_both_secrets_are_good_until_the_old_one_runs_out() {
        let (mut client, old) = with_secret();
        let (newer, new) = with_secret();
        client.secrets[0].expires_at = Some(at(NOW));
        client.secrets.extend(newer.secrets);
        let proves = |secret: &str, now: i64| {
            let credentials = credentials(Some(secret), TokenEndpointAuthMethod::ClientSecretBasic);
            authenticate(&credentials, Some(&client), at(now)).is_ok()
        };
        assert!(proves(&old, NOW - 1) && proves(&new, NOW - 1));
        assert!(!proves(&old, NOW) && proves(&new, NOW));
    }

    #[test]
    fn a_public_client_with_any_secret_is_refused() {
        let (with_secret, secret) = with_secret();
        for client_type in [ClientType::Public, ClientType::Native] {
            let client = Client {
                client_type,
                secrets: with_secret.secrets.clone(),
                ..public_client()
            };
            let alone = credentials(None, TokenEndpointAuthMethod::None);
            assert_eq!(authenticate(&alone, Some(&client), at(NOW)), Ok(()));
            let guess = credentials(Some(&secret), TokenEndpointAuthMethod::ClientSecretPost);
            assert_eq!(
                authenticate(&guess, Some(&client), at(NOW)),
                Err(AUTHENTICATION_FAILED)
            );
        }
    }

    #[test]
    fn a_registered_method_is_named_only_to_who_knows_the_secret() {
        let (mut client, secret) = with_secret();
        client.token_endpoint_auth_method = Some(TokenEndpointAuthMethod::ClientSecretBasic);
        let post = TokenEndpointAuthMethod::ClientSecretPost;
        let refusal = authenticate(&credentials(Some(&secret), post), Some(&client), at(NOW)).unwrap_err();
        assert_eq!(refusal.code, OAuthErrorCode::InvalidClient);
        assert!(refusal.description.contains("client_secret_basic"));
        let (_, other) = with_secret();
        let refused = authenticate(&credentials(Some(&other), post), Some(&client), at(NOW));
        assert_eq!(refused, Err(AUTHENTICATION_FAILED));
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(header in ".{0,60}", decoded in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = extract(&[&header], &Params::default()).is_ok();
            let _ = extract(&[&format!("Basic {}", STANDARD.encode(decoded))], &Params::default()).is_ok();
        }

        #[test]
        fn what_a_client_form_encodes_is_read_back(id in "[^\\p{Cc}]{1,20}", secret in "[^\\p{Cc}]{1,20}") {
            let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            let header = basic(&format!("{}:{}", encode(&id), encode(&secret)));
            let found = extract(&[&header], &Params::default()).map_err(|refusal| refusal.code);
            let found = found.expect("the header is well formed");
            prop_assert_eq!(found.client_id.0, id);
            prop_assert_eq!(found.secret, Some(secret));
        }
    }
}
