//! The running server as it is seen from outside: through the public URL, with whatever stands in front of it.
//!
//! | file | what it looks at |
//! | --- | --- |
//! | [`outside`] | asking: one client, and failures in words |
//! | [`published`] | discovery and keys, byte for byte, and how long caches keep them |
//! | [`forwarding`] | what arrives at the server of a request: scheme, host, client address, headers |
//! | [`cookies`] | whether cookies come out as the server sets them |
//! | [`metrics`] | whether strangers can read them |
//! | [`clocks`] | this machine's clock, the server's, the database's, the providers' |
//! | [`urls`] | the endpoints of the providers, and every app's redirect, post-logout and back-channel URLs |
//!
//! What arrives at the server only the server can tell, and it tells only who proves to hold `database.secret_key`
//! ([`crate::server::probe`]). The other way, an endpoint that tells everybody the address it sees, was not chosen: it
//! would show strangers the addresses of the proxies and let them try which headers are believed.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use aws_lc_rs::rand::SystemRandom;

use crate::clock::Clock;
use crate::config::Config;
use crate::config::finding::Finding;
use crate::db;
use crate::protocol::opaque::Opaque;
use crate::server::probe::{PATH, PROOF, ProofKey, Seen};

mod clocks;
mod cookies;
mod forwarding;
mod metrics;
mod outside;
mod published;
mod urls;

use outside::{Answer, Outside};

/// Everything that is seen from here. `at`: ask the public host there. `seen_as`: this machine's address as others see it.
pub(super) async fn check(config: &Config, at: Option<IpAddr>, seen_as: Option<IpAddr>) -> Vec<Finding> {
    let outside = match Outside::new(config, at) {
        Ok(outside) => outside,
        Err(error) => {
            return vec![Finding::error(
                "jwt.issuer",
                format!("{error:#}"),
                "mend the issuer",
            )];
        }
    };
    let mut findings = match published::check(config, &outside).await {
        Ok(findings) => findings,
        // Nobody answers there; everything else would say the same again.
        Err(finding) => return [vec![finding], urls::check(config).await.findings].concat(),
    };
    let mut clocks = clocks::Clocks::default();
    match ask_server(config, &outside).await {
        Ok(view) => {
            let expected = forwarding::Expected {
                scheme: outside.scheme(),
                authority: outside.authority(),
                forged: FORGED_ADDRESS,
                own_address: outside.own_address().await,
                seen_as,
            };
            findings.extend(forwarding::judge(&view.seen, &expected));
            findings.extend(cookies::judge(config, &view.answer.all("set-cookie")));
            clocks.note(
                "the server",
                view.seen.now_micros,
                view.asked_at_micros,
                view.took,
            );
        }
        Err(finding) => findings.push(finding),
    }
    findings.extend(metrics::check(config, &outside).await);
    findings.extend(outside.plain_http().await);
    if let Ok(pool) = db::connect_commands(&config.database) {
        let (before, started) = (micros(), Instant::now());
        if let Ok(inspection) = db::inspection::inspect(&pool).await {
            let now = i64::try_from(inspection.now.unix_timestamp_nanos() / 1_000).unwrap_or(before);
            clocks.note("the database", now, before, started.elapsed());
        }
        pool.close().await;
    }
    let urls = urls::check(config).await;
    for told in urls.dates {
        // A date of HTTP has whole seconds.
        let took = told.took + Duration::from_secs(1);
        clocks.note(&told.provider, told.date_micros, told.asked_at_micros, took);
    }
    findings.extend(clocks.judge());
    findings.extend(urls.findings);
    findings
}

/// An address of documentation (RFC 5737), which no real client has: sent as `X-Forwarded-For`, it shows whether somebody
/// could invent an address.
const FORGED_ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 77));

/// What the server saw, and when it was asked.
struct View {
    seen: Seen,
    answer: Answer,
    asked_at_micros: i64,
    took: Duration,
}

/// Asks the server what arrives of a request with everything in it that a proxy might change.
async fn ask_server(config: &Config, outside: &Outside) -> Result<View, Finding> {
    let keyring = config.keyring();
    let key = ProofKey::new(&keyring, config.issuer());
    let nonce = Opaque::generate(&SystemRandom::new()).expose();
    let session = crate::http::cookies::Cookies::new(config).name(crate::http::cookies::CookieKind::Refresh);
    let asked_at_micros = micros();
    let started = Instant::now();
    let proof = key.prove(&nonce, Clock::default().now());
    let answer = outside
        .get(
            &format!("{PATH}?live=1"),
            &[
                (PROOF, proof.as_str()),
                ("authorization", "Bearer live"),
                ("cookie", &format!("{session}=live")),
                ("x-forwarded-for", &FORGED_ADDRESS.to_string()),
            ],
        )
        .await
        .map_err(|failure| failure.finding("jwt.issuer"))?;
    let seen: Option<Seen> = answer.json().and_then(|json| serde_json::from_value(json).ok());
    match seen {
        Some(seen) if seen.nonce == nonce => Ok(View {
            seen,
            answer,
            asked_at_micros,
            took: started.elapsed(),
        }),
        Some(_) => Err(Finding::error(
            "caching",
            "a cache in front answers with what it has kept, although the answer says `Cache-Control: no-store`",
            "let the cache keep only /.well-known/, and obey Cache-Control",
        )),
        None => Err(Finding::error(
            "database.secret_key",
            format!(
                "the server does not accept this configuration's proof ({}), so it cannot be asked what it sees",
                answer.status
            ),
            "run this with the server's own configuration; if it is that, the server needs a restart, a proxy removes the \
             header X-Live-Proof, or the clocks are more than ten minutes apart",
        )),
    }
}

/// This machine's clock, in microseconds since the epoch.
fn micros() -> i64 {
    i64::try_from(Clock::default().now().unix_timestamp_nanos() / 1_000).unwrap_or(i64::MAX)
}
