//! Who can sign in at the simulated upstream: a few built-in people, and anybody whose name is typed in.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::built_in_people::{BUILT_IN, BuiltIn, UPDATED_AT};
use super::flavour::Flavour;

/// Somebody who has signed in, or may.
///
/// The built-in people have every standard claim of OpenID Connect Core §5.1; those typed in have a name and an address.
#[derive(Clone, Debug, PartialEq)]
pub struct Person {
    /// What is typed in, in lower case: the whole identity.
    pub username: String,
    /// The name in full.
    pub name: String,
    /// The e-mail address.
    pub email: String,
    /// Whether the provider says that the address is theirs.
    pub email_verified: bool,
    /// The organisation that manages the account: Google's `hd`, Microsoft's tenant, GitHub's organisation.
    pub organisation: Option<&'static str>,
    details: Option<&'static BuiltIn>,
}

impl Person {
    /// The usernames of the built-in people, in the order of the page.
    pub fn built_in() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|row| row.username)
    }

    /// Who signs in by typing `name`: a username or an e-mail address, in any case. `None` if it is empty, longer than
    /// 100 characters or holds control characters.
    pub fn find(name: &str) -> Option<Self> {
        let username = name.trim().to_lowercase();
        if username.is_empty() || username.chars().count() > 100 || username.chars().any(char::is_control) {
            return None;
        }
        let known = BUILT_IN
            .iter()
            .find(|row| row.username == username || built_in_email(row) == username);
        Some(known.map_or_else(|| Self::typed_in(name.trim(), username), Self::from_row))
    }

    fn from_row(row: &'static BuiltIn) -> Self {
        Self {
            username: row.username.to_owned(),
            name: format!("{} {} {}", row.given_name, row.middle_name, row.family_name),
            email: built_in_email(row),
            email_verified: row.email_verified,
            organisation: row.organisation,
            details: Some(row),
        }
    }

    fn typed_in(name: &str, username: String) -> Self {
        let is_email = username
            .split_once('@')
            .is_some_and(|(local, domain)| !local.is_empty() && domain.contains('.'));
        let email = if is_email {
            username.clone()
        } else {
            let local: String = username
                .chars()
                .map(|c| if c.is_ascii_alphanumeric() { c } else { '.' })
                .collect();
            format!("{local}@example.test")
        };
        Self {
            username,
            name: name.to_owned(),
            email,
            email_verified: true,
            organisation: None,
            details: None,
        }
    }

    /// Google's own mailboxes are at gmail.com; everybody else's address is foreign to it or of a Workspace.
    pub(super) fn email_at(&self, flavour: Flavour) -> String {
        match (flavour, self.organisation, self.details) {
            (Flavour::Google, None, Some(row)) => format!("{}@gmail.com", row.username),
            _ => self.email.clone(),
        }
    }

    /// The standard claims that these scopes give (OpenID Connect Core §5.4), without `sub` and e-mail.
    pub(super) fn claims(&self, scope: &[&str]) -> Map<String, Value> {
        let mut claims = Map::new();
        if scope.contains(&"profile") {
            extend(
                &mut claims,
                json!({ "name": self.name, "preferred_username": self.username }),
            );
            if let Some(row) = self.details {
                extend(&mut claims, profile(row));
            }
        }
        if let Some(row) = self.details {
            if scope.contains(&"address") {
                claims.insert("address".to_owned(), address(row));
            }
            if scope.contains(&"phone") {
                extend(
                    &mut claims,
                    json!({ "phone_number": row.phone_number, "phone_number_verified": true }),
                );
            }
        }
        claims
    }

    /// The given name and the family name, where both are known.
    pub(super) fn given_and_family_name(&self) -> (&str, &str) {
        self.details
            .map_or((self.name.as_str(), ""), |row| (row.given_name, row.family_name))
    }

    /// The language tag, where one is known.
    pub(super) fn locale(&self) -> &'static str {
        self.details.map_or("en", |row| row.locale)
    }

    /// An https URL; nothing is there.
    pub(super) fn picture(&self) -> String {
        picture_of(&self.username)
    }

    /// The stable identifier in the shape that the flavour's real provider uses; `client_id` matters to Microsoft only.
    pub(super) fn subject(&self, flavour: Flavour, client_id: &str) -> String {
        let digest = self.digest();
        let number = self.number();
        match flavour {
            Flavour::Oidc | Flavour::OAuth2 => format!("sim-{}", hex(&digest[..12])),
            Flavour::Google => format!("1{number:020}"),
            Flavour::GitHub | Flavour::GitLab => (number % 100_000_000 + 1).to_string(),
            Flavour::Discord => (100_000_000_000_000_000 + number % 800_000_000_000_000_000).to_string(),
            Flavour::Apple => {
                format!(
                    "{:06}.{}.{:04}",
                    number % 1_000_000,
                    hex(&digest[8..24]),
                    number % 10_000
                )
            }
            // Pairwise: another application sees another subject.
            Flavour::Microsoft => URL_SAFE_NO_PAD.encode(sha256(&format!("{}\n{client_id}", self.username))),
        }
    }

    /// Microsoft's `oid`: the same for all applications of a tenant.
    pub(super) fn object_id(&self) -> String {
        uuid_of(&self.digest())
    }

    /// Microsoft's `tid`; accounts of no organisation belong to the tenant for personal accounts.
    pub(super) fn tenant_id(&self) -> String {
        let personal = || "9188040d-6c67-4c5b-b112-36a304b66dad".to_owned();
        self.organisation.map_or_else(personal, tenant_id_of)
    }

    fn number(&self) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.digest()[..8]);
        u64::from_be_bytes(bytes)
    }

    fn digest(&self) -> [u8; 32] {
        sha256(&self.username)
    }
}

fn built_in_email(row: &BuiltIn) -> String {
    format!("{}@{}", row.username, row.organisation.unwrap_or("example.test"))
}

fn profile(row: &BuiltIn) -> Value {
    json!({
        "given_name": row.given_name,
        "middle_name": row.middle_name,
        "family_name": row.family_name,
        "nickname": row.given_name,
        "profile": format!("https://people.example.test/{}", row.username),
        "picture": picture_of(row.username),
        "website": format!("https://{}.example.test/", row.username),
        "gender": row.gender,
        "birthdate": row.birthdate,
        "zoneinfo": row.zoneinfo,
        "locale": row.locale,
        "updated_at": UPDATED_AT,
    })
}

fn picture_of(username: &str) -> String {
    format!(
        "https://pictures.example.test/{}.png",
        hex(&sha256(username)[..8])
    )
}

fn address(row: &BuiltIn) -> Value {
    json!({
        "formatted": format!("{}\n{} {}\n{}", row.street_address, row.postal_code, row.locality, row.country),
        "street_address": row.street_address,
        "locality": row.locality,
        "region": row.locality,
        "postal_code": row.postal_code,
        "country": row.country,
    })
}

pub(super) fn extend(claims: &mut Map<String, Value>, more: Value) {
    if let Value::Object(more) = more {
        claims.extend(more);
    }
}

pub(super) fn sha256(text: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
    bytes
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The tenant that a domain name stands for.
pub(super) fn tenant_id_of(organisation: &str) -> String {
    uuid_of(&sha256(organisation))
}

fn uuid_of(digest: &[u8; 32]) -> String {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[16..]);
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}
