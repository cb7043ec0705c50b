//! Names of things, each a type of its own, so that one cannot be passed for another.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

/// The public name of a registered client, chosen by us (RFC 6749 §2.2).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct ClientId(pub String);

impl ClientId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for ClientId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! uuid_id {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

uuid_id!(
    /// An account: the `sub` of every token. Random (v4), never given to anybody else.
    UserId
);
uuid_id!(
    /// A browser session: the `sid` of tokens. Random (v4).
    SessionId
);
uuid_id!(
    /// What a person let a client have: the `grant` claim of access tokens, the head of a family of refresh tokens.
    GrantId
);
uuid_id!(
    /// One provider identity of an account. Time-ordered (v7).
    LinkId
);

/// A UUIDv7 of this moment: rows that are made one after the other lie side by side in their index.
pub fn time_ordered_id(now: OffsetDateTime) -> Uuid {
    let secs = u64::try_from(now.unix_timestamp()).unwrap_or(0);
    Uuid::new_v7(uuid::Timestamp::from_unix(
        uuid::NoContext,
        secs,
        now.nanosecond(),
    ))
}
