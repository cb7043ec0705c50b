//! Who an upstream says somebody is, as the rest of the program sees it and as a pending flow keeps it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Somebody whom an upstream vouches for. (`issuer`, `subject`) is the identity; everything else is description.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// The provider's name in the configuration.
    pub provider: String,
    /// The issuer of the ID token, or a fixed id of a provider that has none (`https://github.com`).
    pub issuer: String,
    /// Stable, never reused, 1 to 255 characters.
    pub subject: String,
    /// What the username could be made from; not checked against any rule.
    pub username_hint: Option<String>,
    pub name: Option<String>,
    /// An https URL.
    pub picture: Option<String>,
    /// As the upstream writes it; see [`normalised_email`](super::normalised_email) for comparisons.
    pub email: Option<String>,
    /// Whether the upstream says that it verified the address.
    pub email_verified: bool,
    /// Google's `hd`.
    pub hosted_domain: Option<String>,
    /// Microsoft's `tid`.
    pub tenant: Option<String>,
    /// GitHub's organisations, asked for only if the allow list names any.
    pub organizations: Vec<String>,
    /// When the upstream says the person logged in, in seconds since the epoch.
    pub auth_time: Option<i64>,
    /// After `acr_map`; `None` if that does not know it.
    pub acr: Option<String>,
    pub amr: Option<Vec<String>>,
    /// The upstream's session, for its back-channel logout.
    pub sid: Option<String>,
    /// Standard claims of the right type (OpenID Connect Core §5.1), without `sub` and the address.
    pub claims: Map<String, Value>,
    /// How the person would recognise the account: username, else name, else subject.
    pub display: String,
}

impl std::fmt::Debug for Identity {
    /// Personal data stays out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("provider", &self.provider)
            .finish_non_exhaustive()
    }
}
