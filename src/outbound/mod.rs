//! Requests to addresses that somebody else chose: webhooks, and back-channel logout URIs of clients.
//!
//! Whoever may name a URL could make this server ask where only it can reach: other services of its network, the metadata of
//! its cloud. So the decision is made on the addresses that a name resolves to, at the moment of the connection, and the
//! connection goes to one of exactly these; IP literals never meet a resolver and are judged as they stand. There are no
//! redirects and no proxy, and hard limits on time and size. What went wrong is told by a fixed code.
//!
//! | file | what |
//! | --- | --- |
//! | [`address`] | which addresses are public, by IANA's registries |
//! | [`target`] | what a URL may look like, and the addresses behind it |
//! | [`client`] | the connection, the request, the limits |

pub mod address;
pub mod client;
pub mod target;

pub use client::{Client, Failure};
pub use target::{Policy, Refused, check_url};
