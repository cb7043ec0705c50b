//! What the integration tests are written with: a provider on a database of its own, people with browsers, apps with verbs.
//!
//! Everything is what production runs: the router, the accept loop, the queries. Only the upstream is simulated, and the
//! clock is shared and moves when a test says so. The issuer is an https name while the socket is plain http on loopback,
//! so that cookies, prefixes and `Secure` are those of a deployment; [`browser`] obeys them as browsers do.
//!
//! | file | what |
//! | --- | --- |
//! | [`provider`] | `TestProvider`: the server, its upstream, its clock, its clients |
//! | [`browser`] | navigation, redirects, forms, `fetch` with CORS |
//! | [`person`] | what people do: sign in, authorize, agree |
//! | [`front_end`] | what the scripts of the deployer's pages call, and a sign-in taken apart |
//! | [`upstreams`] | several upstreams at once |
//! | [`linking`] | another identity for an account, and one less |
//! | [`log`] | what the log says |
//! | [`cookies`] | the rules by which cookies are kept and sent |
//! | [`html`] | forms as a browser reads them |
//! | [`app`] | a registered client: redeem, refresh, ask, revoke |
//! | [`administration`] | administrators and what they call |
//! | [`answer`] | an HTTP answer and what is asserted of it |
//! | [`process`] | `riley-auth serve` as a process of its own, with files and signals |
//! | [`proxy`] | a reverse proxy that behaves, or misbehaves as a test says |
//! | [`races`] | requests that set out at the same moment |
//! | [`raw`] | requests as bytes |
//! | [`receiver`] | who is told of events: slow, dead, redirecting, huge |
//! | [`roles`] | who owns a schema, and who may only read and write rows |
//! | [`schema`] | whether something is what the API document says |
//! | [`silencer`] | a database whose connections die without a word |
//! | [`spoiled`] | bodies that nobody should send |
//! | [`tables`] | the whole database, to be compared |
//! | [`webhooks`] | webhooks and what became of their deliveries |
//! | [`routes`] | every route of the router |
//! | [`checks`] | the checks of the conformance suite that many tests share |

#![allow(
    dead_code,
    unused_imports,
    reason = "every test target uses a part of the kit"
)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

pub(crate) mod administration;
pub(crate) mod answer;
pub(crate) mod app;
pub(crate) mod browser;
pub(crate) mod checks;
pub(crate) mod cookies;
pub(crate) mod database;
pub(crate) mod front_end;
pub(crate) mod html;
pub(crate) mod linking;
pub(crate) mod log;
pub(crate) mod person;
pub(crate) mod process;
pub(crate) mod provider;
pub(crate) mod proxy;
pub(crate) mod races;
pub(crate) mod raw;
pub(crate) mod receiver;
pub(crate) mod roles;
pub(crate) mod routes;
pub(crate) mod schema;
pub(crate) mod silencer;
pub(crate) mod spoiled;
pub(crate) mod tables;
pub(crate) mod upstreams;
pub(crate) mod webhooks;

pub(crate) use answer::{Answer, Tokens};
pub(crate) use app::TestClient;
pub(crate) use browser::{Browser, Visit};
pub(crate) use person::{Granted, Outcome};
pub(crate) use process::{Directory, Process};
pub(crate) use provider::TestProvider;

/// Letters and digits that nobody has used before.
pub(crate) fn random_text(length: usize) -> String {
    let mut text = String::new();
    while text.len() < length {
        text.push_str(&uuid::Uuid::new_v4().simple().to_string());
    }
    text.truncate(length);
    text
}
