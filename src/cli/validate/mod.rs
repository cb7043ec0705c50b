//! `riley-auth validate`: configuration, keys, database and upstream providers, everything that is wrong at once; with
//! `--live` also the running server as it is seen from outside.
//!
//! | file | what it looks at |
//! | --- | --- |
//! | [`keys`] | the signing keys, loaded as the server will |
//! | [`database`] | the server's version, role, privileges and migrations |
//! | [`providers`] | discovery of the upstreams |
//! | [`redis`] | the place where instances count requests together |
//! | [`live`] | the view through the public URL, and the URLs of the registered apps |
//!
//! Asking is in one function of each file, judging in others that are handed values, so that every finding can be
//! provoked without a network.

use std::net::IpAddr;

use serde::Serialize;

use super::{AlreadyReported, Global, tally};
use crate::config::Config;
use crate::config::finding::{ConfigFindings, Finding};

mod database;
mod keys;
mod live;
mod providers;
mod redis;

const EXAMPLES: &str = "\
Examples:
  riley-auth validate
  riley-auth validate --offline
  riley-auth validate --live
  riley-auth validate --live --at 203.0.113.10     # before the name points there
  riley-auth validate --json | jq '.findings[] | select(.severity == \"error\")'";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Look only at the configuration and the keys; `env:` and `file:` values that are missing are warnings
    #[arg(long)]
    offline: bool,
    /// Look also at the running server through its public URL: proxies, cookies, caches, clocks, every app's URLs
    #[arg(long, conflicts_with = "offline")]
    live: bool,
    /// Ask the public URL's host at this address instead of the one that its name resolves to
    #[arg(long, value_name = "ADDRESS", requires = "live")]
    at: Option<IpAddr>,
    /// The address under which this machine is seen from outside, which the server has to see, too
    #[arg(long, value_name = "ADDRESS", requires = "live")]
    seen_as: Option<IpAddr>,
}

#[derive(Serialize)]
struct Report {
    valid: bool,
    findings: Vec<Finding>,
}

pub(super) async fn run(global: &Global, args: &Args) -> anyhow::Result<()> {
    let findings = match global.source() {
        Ok(mut source) => {
            source.offline = args.offline;
            let (config, mut findings) = source.check();
            if let Some(config) = config {
                let mut found = check_surroundings(&config, &findings, args).await;
                // What is seen from outside means nothing while the configuration itself is wrong.
                let is_sound = !findings.iter().chain(&found).any(Finding::is_error);
                let mut elsewhere = Vec::new();
                if args.live && is_sound {
                    let view = live::check(&config, args.at, args.seen_as).await;
                    let (about_keys, others) = view.into_iter().partition(is_about_a_key);
                    found.extend::<Vec<Finding>>(about_keys);
                    elsewhere = others;
                } else if args.live {
                    elsewhere.push(Finding::warning(
                        "",
                        "the view from outside was not looked at, because of the errors above",
                        "mend them and run this again",
                    ));
                }
                source.locate(&mut found);
                findings.extend(found);
                findings.extend(elsewhere);
            }
            findings
        }
        Err(ConfigFindings(findings)) => findings,
    };
    let valid = !findings.iter().any(Finding::is_error);
    global.print(&Report { valid, findings }, |report| {
        if report.findings.is_empty() {
            return "everything is in order\n".to_owned();
        }
        format!(
            "{}\n{}\n",
            ConfigFindings(report.findings.clone()),
            tally(&report.findings)
        )
    })?;
    if valid {
        Ok(())
    } else {
        Err(AlreadyReported.into())
    }
}

/// Whether the mend is in the configuration file, so that its line is worth showing.
fn is_about_a_key(finding: &Finding) -> bool {
    ["server.", "jwt.", "database.", "oauth.", "metrics."]
        .iter()
        .any(|section| finding.key.starts_with(section))
}

/// What can be tried out, as far as nothing wrong has been found about it in the configuration.
async fn check_surroundings(config: &Config, known: &[Finding], args: &Args) -> Vec<Finding> {
    let sound = |key: &str| {
        !known
            .iter()
            .any(|finding| finding.is_error() && finding.key.starts_with(key))
    };
    let mut findings = Vec::new();
    if sound("jwt.keys") && sound("jwt.private_key_path") && sound("jwt.public_key_path") {
        findings.extend(keys::check(config));
    }
    if !args.offline && sound("database") {
        findings.extend(database::check(config, args.live).await);
    }
    if !args.offline {
        let about_providers = providers::check(config).await;
        findings.extend(about_providers.into_iter().filter(|finding| sound(&finding.key)));
        if sound("rate_limiting") {
            findings.extend(redis::check(config).await);
        }
    }
    findings
}
