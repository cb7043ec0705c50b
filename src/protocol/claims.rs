//! The claims of tokens and of UserInfo (OpenID Connect Core §2, §5.1, §5.4, §5.5; RFC 9068 §2.2; Back-Channel Logout §2.4).

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::algorithm::SigningAlgorithm;
use super::authorization::OAuthRefusal;
use super::client::Client;
use super::grant::Grant;
use super::ids::{ClientId, GrantId, SessionId, UserId};
use super::scope::ScopeSet;

/// `typ` of client access tokens (RFC 9068 §2.1).
pub const ACCESS_TOKEN_TYP: &str = "at+jwt";
/// `typ` of ID tokens.
pub const ID_TOKEN_TYP: &str = "JWT";
/// `typ` of the session access cookie: ours alone, so that it passes for nothing else.
pub const SESSION_TOKEN_TYP: &str = "session+jwt";
/// `typ` of logout tokens (OpenID Connect Back-Channel Logout §2.4).
pub const LOGOUT_TOKEN_TYP: &str = "logout+jwt";

/// A client access token (RFC 9068 §2.2).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AccessTokenClaims {
    pub iss: String,
    pub sub: UserId,
    pub aud: String,
    pub client_id: ClientId,
    pub exp: i64,
    pub iat: i64,
    pub jti: String,
    pub scope: ScopeSet,
    pub grant: GrantId,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sid: Option<SessionId>,
    pub auth_time: i64,
}

/// The session access cookie, for apps on sibling hosts; it opens nothing here.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SessionTokenClaims {
    pub iss: String,
    pub sub: UserId,
    /// The issuer.
    pub aud: String,
    pub exp: i64,
    pub iat: i64,
    pub jti: String,
    pub sid: SessionId,
    pub auth_time: i64,
    pub username: String,
    pub role: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub picture: Option<String>,
}

/// An ID token (OpenID Connect Core §2); `extra` holds the profile claims where the client has them there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IdTokenClaims {
    pub iss: String,
    pub sub: UserId,
    pub aud: ClientId,
    pub exp: i64,
    pub iat: i64,
    pub auth_time: i64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub nonce: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub at_hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sid: Option<SessionId>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub acr: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub amr: Option<Vec<String>>,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The `claims` request parameter (OpenID Connect Core §5.5): which claims, by place; values that are asked for are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimsRequest {
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub userinfo: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub id_token: Map<String, Value>,
}

/// A person as claims are made of them.
#[derive(Clone, Debug)]
pub struct Person {
    pub user_id: UserId,
    pub username: String,
    pub display_name: Option<String>,
    pub picture: Option<String>,
    /// Seconds since the epoch.
    pub updated_at: i64,
    pub email: Option<PersonEmail>,
    /// The upstream's claims that `[claims] passthrough` lists.
    pub upstream_claims: Map<String, Value>,
}

/// The primary address, and whether we vouch for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonEmail {
    pub email: String,
    pub verified: bool,
}

impl ClaimsRequest {
    /// Reads the JSON of the parameter; members that are not known are ignored.
    pub fn parse(json: &str) -> Result<Self, OAuthRefusal> {
        const MALFORMED: OAuthRefusal =
            OAuthRefusal::invalid_request("claims has to be a JSON object as in OpenID Connect Core 5.5");
        let Ok(Value::Object(mut members)) = serde_json::from_str(json) else {
            return Err(MALFORMED);
        };
        let mut read = |place: &str| match members.remove(place) {
            None | Some(Value::Null) => Ok(Map::new()),
            Some(Value::Object(claims)) if claims.values().all(is_claim_wish) => Ok(claims
                .into_iter()
                .filter(|(name, _)| is_known_claim(name))
                .collect()),
            Some(_) => Err(MALFORMED),
        };
        Ok(Self {
            userinfo: read("userinfo")?,
            id_token: read("id_token")?,
        })
    }

    /// Without the claims that belong to a scope that `client` may not ask for. What is left may be given although the scope
    /// itself was not asked for: that is what the parameter is for (§5.5).
    #[must_use]
    pub fn limited_to(mut self, client: &Client) -> Self {
        let allowed =
            |name: &String, _: &mut Value| scope_of(name).is_none_or(|scope| client.may_request(scope));
        self.userinfo.retain(allowed);
        self.id_token.retain(allowed);
        self
    }

    /// The scopes to which the claims belong that are asked for one by one.
    pub fn scopes(&self) -> impl Iterator<Item = &'static str> {
        let names = self.userinfo.keys().chain(self.id_token.keys());
        names.filter_map(|name| scope_of(name))
    }

    /// The `sub` that the ID token has to have, when one is asked for by value (§5.5.1).
    pub fn subject(&self) -> Option<&str> {
        self.id_token.get("sub")?.get("value")?.as_str()
    }
}

/// The claims that `scope` and the `claims` parameter give (§5.4, §5.5), typed as §5.1 says, left out rather than empty.
/// Without `sub`.
pub fn person_claims(
    person: &Person,
    scope: &ScopeSet,
    requested: Option<&Map<String, Value>>,
) -> Map<String, Value> {
    PERSON_CLAIMS
        .iter()
        .filter(|(name, claim_scope, _)| {
            scope.contains(claim_scope) || requested.is_some_and(|requested| requested.contains_key(*name))
        })
        .filter_map(|(name, _, kind)| Some(((*name).to_owned(), person_claim(person, name, *kind)?)))
        .collect()
}

/// UserInfo (§5.3.2): `sub` and what scope and the `claims` parameter give.
pub fn userinfo(person: &Person, scope: &ScopeSet, requested: Option<&ClaimsRequest>) -> Map<String, Value> {
    let mut claims = person_claims(person, scope, requested.map(|requested| &requested.userinfo));
    claims.insert("sub".to_owned(), person.user_id.to_string().into());
    claims
}

/// The ID token of `grant` (§2, §3.1.3.6). `person` only where profile claims go in: the client is registered with
/// `claims_in_id_token`, or the `claims` parameter asks.
#[expect(
    clippy::too_many_arguments,
    reason = "each is a fact of its own, from a place of its own"
)]
pub fn id_token(
    issuer: &str,
    grant: &Grant,
    person: Option<&Person>,
    claims_in_id_token: bool,
    default_acr: &str,
    at_hash: String,
    now: i64,
    ttl_secs: i64,
) -> IdTokenClaims {
    let requested = grant.claims.as_ref().map(|claims| &claims.id_token);
    // §5.4: with an access token at hand, the claims of the scopes are UserInfo's.
    let scope_in_id_token = if claims_in_id_token {
        grant.scope.clone()
    } else {
        ScopeSet::default()
    };
    IdTokenClaims {
        iss: issuer.to_owned(),
        sub: grant.user_id,
        aud: grant.client_id.clone(),
        exp: now.saturating_add(ttl_secs),
        iat: now,
        auth_time: grant.auth_time,
        nonce: grant.nonce.clone(),
        at_hash: Some(at_hash),
        sid: grant.session_id,
        acr: Some(grant.acr.clone().unwrap_or_else(|| default_acr.to_owned())),
        amr: grant.amr.clone().filter(|amr| !amr.is_empty()),
        extra: person
            .map(|person| person_claims(person, &scope_in_id_token, requested))
            .unwrap_or_default(),
    }
}

/// `at_hash` (§3.1.3.6): the left half of SHA-256 over the token, base64url. Both of our algorithms use SHA-256.
pub fn at_hash(access_token: &str, algorithm: SigningAlgorithm) -> String {
    let hash_algorithm = match algorithm {
        SigningAlgorithm::Es256 | SigningAlgorithm::Rs256 => &digest::SHA256,
    };
    let hash = digest::digest(hash_algorithm, access_token.as_bytes());
    let (left_half, _) = hash.as_ref().split_at(hash.as_ref().len() / 2);
    URL_SAFE_NO_PAD.encode(left_half)
}

/// The form of a claim (§5.1).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    /// Text that is an http or https URL.
    Url,
    /// `YYYY-MM-DD`, `0000-MM-DD` or `YYYY`.
    Birthdate,
    Boolean,
    Number,
    /// §5.1.1.
    Address,
}

/// Every claim about a person that is known here: its name, the scope that asks for it (§5.4), its form (§5.1).
const PERSON_CLAIMS: [(&str, &str, Kind); 19] = [
    ("name", "profile", Kind::Text),
    ("family_name", "profile", Kind::Text),
    ("given_name", "profile", Kind::Text),
    ("middle_name", "profile", Kind::Text),
    ("nickname", "profile", Kind::Text),
    ("preferred_username", "profile", Kind::Text),
    ("profile", "profile", Kind::Url),
    ("picture", "profile", Kind::Url),
    ("website", "profile", Kind::Url),
    ("gender", "profile", Kind::Text),
    ("birthdate", "profile", Kind::Birthdate),
    ("zoneinfo", "profile", Kind::Text),
    ("locale", "profile", Kind::Text),
    ("updated_at", "profile", Kind::Number),
    ("email", "email", Kind::Text),
    ("email_verified", "email", Kind::Boolean),
    ("address", "address", Kind::Address),
    ("phone_number", "phone", Kind::Text),
    ("phone_number_verified", "phone", Kind::Boolean),
];

/// The members of `address` (§5.1.1).
const ADDRESS_MEMBERS: [&str; 6] = [
    "formatted",
    "street_address",
    "locality",
    "region",
    "postal_code",
    "country",
];

/// Claims of the ID token that may be asked for and are no claims about a person.
const TOKEN_CLAIMS: [&str; 4] = ["sub", "acr", "auth_time", "amr"];

/// Longer texts are nobody's name.
const MAX_TEXT_BYTES: usize = 2048;

/// The scope that asks for `claim` (§5.4); `None` for claims that no scope asks for.
pub fn scope_of(claim: &str) -> Option<&'static str> {
    PERSON_CLAIMS
        .iter()
        .find(|(name, ..)| *name == claim)
        .map(|(_, scope, _)| *scope)
}

/// Whether `[claims] passthrough` may name `claim`: it is one of §5.1, and not one that the account itself answers for.
pub fn may_pass_through(claim: &str) -> bool {
    scope_of(claim).is_some()
        && !matches!(
            claim,
            "preferred_username" | "updated_at" | "email" | "email_verified"
        )
}

fn is_known_claim(name: &str) -> bool {
    scope_of(name).is_some() || TOKEN_CLAIMS.contains(&name)
}

/// §5.5.1: null, or an object that says more. It is kept as JSON, and PostgreSQL has none with NUL.
fn is_claim_wish(value: &Value) -> bool {
    value.is_null() || (value.is_object() && !has_nul(value))
}

/// Whether a text or a name in `value` holds NUL, however deep (the JSON reader bounds the depth).
fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(members) => members
            .iter()
            .any(|(name, value)| name.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// What the account says, else the upstream, where it may: an address that the upstream merely names is never ours.
fn person_claim(person: &Person, name: &str, kind: Kind) -> Option<Value> {
    let own = match name {
        "name" => person.display_name.clone().map(Value::from),
        "preferred_username" => Some(person.username.clone().into()),
        "picture" => person.picture.clone().map(Value::from),
        "updated_at" => Some(person.updated_at.into()),
        "email" => person.email.as_ref().map(|own| own.email.clone().into()),
        "email_verified" => person.email.as_ref().map(|own| own.verified.into()),
        _ => None,
    };
    let upstream = || {
        person
            .upstream_claims
            .get(name)
            .filter(|_| may_pass_through(name))
    };
    own.and_then(|own| well_formed(&own, kind))
        .or_else(|| upstream().and_then(|value| well_formed(value, kind)))
}

/// The value as it may go out; `None` where it is not of its kind, or empty.
fn well_formed(value: &Value, kind: Kind) -> Option<Value> {
    let fits = match kind {
        Kind::Text => text(value).is_some(),
        Kind::Url => text(value).is_some_and(is_web_url),
        Kind::Birthdate => text(value).is_some_and(is_birthdate),
        Kind::Boolean => value.is_boolean(),
        Kind::Number => value.is_number(),
        Kind::Address => return address(value),
    };
    fits.then(|| value.clone())
}

/// A text that says something: some upstreams send the word null where they know nothing.
fn text(value: &Value) -> Option<&str> {
    value
        .as_str()
        .filter(|text| !text.trim().is_empty() && *text != "null" && text.len() <= MAX_TEXT_BYTES)
}

/// The members of §5.1.1 that say something; nothing if none does.
fn address(value: &Value) -> Option<Value> {
    let members = value.as_object()?;
    let said: Map<String, Value> = ADDRESS_MEMBERS
        .iter()
        .filter_map(|name| {
            let said = members.get(*name).filter(|member| text(member).is_some())?;
            Some(((*name).to_owned(), said.clone()))
        })
        .collect();
    (!said.is_empty()).then_some(Value::Object(said))
}

fn is_web_url(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
}

/// §5.1: `YYYY-MM-DD`, with `0000` for a year that is kept private, or `YYYY` alone.
fn is_birthdate(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    match parts[..] {
        [year] => number(year, 4).is_some_and(is_year_of_birth),
        [year, month, day] => {
            let (Some(year), Some(month), Some(day)) = (number(year, 4), number(month, 2), number(day, 2))
            else {
                return false;
            };
            // Without a year, 29 February has to be possible.
            let calendar_year = if year == 0 { 2000 } else { i32::from(year) };
            let month = u8::try_from(month)
                .ok()
                .and_then(|month| time::Month::try_from(month).ok());
            let is_date = month.zip(u8::try_from(day).ok()).is_some_and(|(month, day)| {
                time::Date::from_calendar_date(calendar_year, month, day).is_ok()
            });
            is_date && (year == 0 || is_year_of_birth(year))
        }
        _ => false,
    }
}

/// Earlier years are mistakes of an upstream, as 0001 is.
fn is_year_of_birth(year: u16) -> bool {
    year >= 1850
}

/// A decimal number of exactly `digits` digits.
fn number(text: &str, digits: usize) -> Option<u16> {
    let well_formed = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    well_formed.then(|| text.parse().ok()).flatten()
}

/// The names of all claims that UserInfo or an ID token can hold, given what is passed through: `claims_supported`.
pub fn supported_claims(passthrough: &[String]) -> Vec<&'static str> {
    const PROTOCOL: [&str; 11] = [
        "iss",
        "sub",
        "aud",
        "exp",
        "iat",
        "auth_time",
        "nonce",
        "at_hash",
        "sid",
        "acr",
        "amr",
    ];
    const OWN: [&str; 6] = [
        "name",
        "preferred_username",
        "picture",
        "updated_at",
        "email",
        "email_verified",
    ];
    let is_given = |name: &&str| OWN.contains(name) || passthrough.iter().any(|listed| listed == name);
    let about_person = PERSON_CLAIMS.iter().map(|(name, ..)| *name).filter(is_given);
    PROTOCOL.into_iter().chain(about_person).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixtures::{ISSUER, NOW, client, grant, person, scope};
    use super::*;

    fn given(upstream: Value, scopes: &str) -> Value {
        Value::Object(person_claims(&person(upstream), &scope(scopes), None))
    }

    fn names(claims: &Map<String, Value>) -> Vec<&str> {
        claims.keys().map(String::as_str).collect()
    }

    fn token_of(grant: &Grant, upstream: Option<Value>, claims_in_id_token: bool) -> Value {
        let person = upstream.map(person);
        let claims = id_token(
            ISSUER,
            grant,
            person.as_ref(),
            claims_in_id_token,
            "0",
            "half".to_owned(),
            NOW,
            900,
        );
        serde_json::to_value(claims).unwrap()
    }

    /// OpenID Connect Core A.3.
    #[test]
    fn the_published_access_token_has_the_published_at_hash() {
        let token = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y";
        for algorithm in SigningAlgorithm::ALL.iter().copied() {
            assert_eq!(at_hash(token, algorithm), "77QmUPtjPfzWtF2AnpK9RQ");
        }
    }

    /// OpenID Connect Core §5.4.
    #[test]
    fn each_scope_gives_its_claims_and_openid_none() {
        assert_eq!(given(json!({}), "openid api"), json!({}));
        assert_eq!(
            given(json!({}), "openid profile"),
            json!({"name": "Alice A", "preferred_username": "alice",
                "picture": "https://pics.example/a.png", "updated_at": NOW - 5000})
        );
        assert_eq!(
            given(json!({}), "openid email"),
            json!({"email": "alice@mail.example", "email_verified": true})
        );
    }

    #[test]
    fn upstream_claims_are_passed_on_where_their_scope_was_granted() {
        let upstream = json!({"given_name": "Alice", "birthdate": "1970-01-31", "locale": "de-DE",
            "address": {"country": "DE", "planet": "Earth"}, "phone_number": "+49 1", "phone_number_verified": false,
            "department": "sales"});
        assert_eq!(
            given(upstream.clone(), "address phone"),
            json!({"address": {"country": "DE"}, "phone_number": "+49 1", "phone_number_verified": false})
        );
        let profile = given(upstream, "profile");
        assert_eq!(profile["given_name"], "Alice");
        assert_eq!(profile["birthdate"], "1970-01-31");
        assert_eq!(profile.get("department"), None);
    }

    #[test]
    fn what_the_account_says_wins_over_the_upstream() {
        let upstream = json!({"name": "Other", "preferred_username": "other", "email": "x@y.example",
            "email_verified": true, "updated_at": 1, "picture": "https://other.example/p"});
        let claims = given(upstream.clone(), "profile email");
        assert_eq!(
            (&claims["name"], &claims["preferred_username"]),
            (&json!("Alice A"), &json!("alice"))
        );
        assert_eq!(claims["email"], "alice@mail.example");
        let nameless = Person {
            display_name: None,
            picture: None,
            email: None,
            ..person(upstream)
        };
        let claims = person_claims(&nameless, &scope("profile email"), None);
        assert_eq!(
            (&claims["name"], &claims["picture"]),
            (&json!("Other"), &json!("https://other.example/p"))
        );
        assert!(!claims.contains_key("email") && !claims.contains_key("email_verified"));
    }

    /// OpenID Connect Core §5.1, §5.3.2: a claim without a value is left out.
    #[test]
    fn claims_of_the_wrong_form_are_left_out() {
        for (name, value) in [
            ("given_name", json!(null)),
            ("given_name", json!("")),
            ("given_name", json!("  ")),
            ("given_name", json!("null")),
            ("given_name", json!(7)),
            ("given_name", json!("a".repeat(2049))),
            ("website", json!("not a url")),
            ("website", json!("javascript:alert(1)")),
            ("birthdate", json!("1970-02-30")),
            ("birthdate", json!("1970-1-1")),
            ("birthdate", json!("31.01.1970")),
            ("birthdate", json!("0001-01-01")),
            ("birthdate", json!("1849")),
            ("birthdate", json!("+970")),
            ("birthdate", json!("1970-13-01")),
            ("address", json!({})),
            ("address", json!("Street 1")),
            ("address", json!({"country": ""})),
            ("address", json!({"country": 49})),
            ("phone_number", json!(49)),
            ("phone_number_verified", json!("true")),
        ] {
            let claims = given(json!({name: value}), "profile address phone");
            assert_eq!(claims.get(name), None, "{name} {claims}");
        }
    }

    #[test]
    fn a_birthdate_may_hide_its_year_or_be_one() {
        for birthdate in ["1850", "2001", "0000-02-29", "2000-02-29", "1999-12-31"] {
            let claims = given(json!({"birthdate": birthdate}), "profile");
            assert_eq!(claims["birthdate"], birthdate);
        }
    }

    /// OpenID Connect Core §5.5.
    #[test]
    fn single_claims_are_given_where_they_are_asked_for() {
        let request =
            ClaimsRequest::parse(r#"{"userinfo":{"name":{"essential":true}},"id_token":{"email":null}}"#)
                .unwrap();
        let claims = userinfo(&person(json!({})), &scope("openid"), Some(&request));
        assert_eq!(names(&claims), ["name", "sub"]);
        let grant = Grant {
            scope: scope("openid profile"),
            claims: Some(request),
            ..grant()
        };
        let token = token_of(&grant, Some(json!({})), false);
        assert_eq!(token["email"], "alice@mail.example");
        assert!(token.get("name").is_none() && token.get("email_verified").is_none());
    }

    #[test]
    fn a_claims_request_keeps_what_is_known_and_knows_its_scopes() {
        let json =
            r#"{"userinfo":{"address":null,"nonsense":null},"id_token":{"acr":{"values":["1"]}},"other":1}"#;
        let request = ClaimsRequest::parse(json).unwrap();
        assert_eq!(
            (names(&request.userinfo), names(&request.id_token)),
            (vec!["address"], vec!["acr"])
        );
        assert_eq!(request.scopes().collect::<Vec<_>>(), ["address"]);
        let without_address = Client {
            scope: ScopeSet::default(),
            ..client()
        };
        assert!(request.clone().limited_to(&without_address).userinfo.is_empty());
        assert_eq!(request.clone().limited_to(&client()), request);
        let stored = serde_json::to_string(&request).unwrap();
        assert_eq!(serde_json::from_str::<ClaimsRequest>(&stored).unwrap(), request);
    }

    #[test]
    fn userinfo_always_has_sub_and_it_is_nobodys_to_overwrite() {
        let claims = userinfo(&person(json!({"sub": "other"})), &scope("openid profile"), None);
        assert_eq!(claims["sub"], json!(person(json!({})).user_id));
    }

    /// OpenID Connect Core §2, §5.4.
    #[test]
    fn an_id_token_holds_protocol_claims_alone_unless_asked() {
        let token = token_of(&grant(), Some(json!({})), false);
        let members = token.as_object().unwrap();
        let expected = [
            "acr",
            "at_hash",
            "aud",
            "auth_time",
            "exp",
            "iat",
            "iss",
            "nonce",
            "sid",
            "sub",
        ];
        let mut found = names(members);
        found.sort_unstable();
        assert_eq!(found, expected);
        assert_eq!((&token["aud"], &token["acr"]), (&json!("app"), &json!("0")));
        assert_eq!((&token["exp"], &token["iat"]), (&json!(NOW + 900), &json!(NOW)));
        assert_eq!(token["auth_time"], NOW - 100);
    }

    #[test]
    fn what_is_not_known_is_not_in_the_id_token() {
        let grant = Grant {
            nonce: None,
            session_id: None,
            amr: Some(Vec::new()),
            acr: Some("urn:mfa".to_owned()),
            ..grant()
        };
        let token = token_of(&grant, None, true);
        for name in ["nonce", "sid", "amr", "name"] {
            assert_eq!(token.get(name), None, "{name}");
        }
        assert_eq!(token["acr"], "urn:mfa");
    }

    #[test]
    fn a_client_registered_for_it_has_the_claims_of_its_scope_in_the_id_token() {
        let token = token_of(&grant(), Some(json!({})), true);
        assert_eq!(token["preferred_username"], "alice");
        assert_eq!(token.get("email"), None);
    }

    #[test]
    fn an_id_token_reads_back() {
        let token = token_of(&grant(), Some(json!({"given_name": "A"})), true);
        let read: IdTokenClaims = serde_json::from_value(token).unwrap();
        assert_eq!(
            (read.aud, &read.extra["given_name"]),
            (grant().client_id, &json!("A"))
        );
    }

    #[test]
    fn the_account_answers_for_its_own_claims() {
        for own in [
            "email",
            "email_verified",
            "preferred_username",
            "updated_at",
            "sub",
            "department",
        ] {
            assert!(!may_pass_through(own), "{own}");
        }
        assert!(may_pass_through("given_name") && may_pass_through("address"));
    }
}
