//! `riley-auth keys`: where each key stands, and when it moves on.

use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{AlreadyReported, Global, table};
use crate::clock::Clock;
use crate::config::Config;
use crate::config::finding::{ConfigFindings, Finding};
use crate::db;
use crate::db::signing_keys::RecordedKey;
use crate::jwt::states::{KeyStage, KeyState, states};
use crate::jwt::{KeyError, KeySet};

/// The database is given this long to say what it recorded.
const DATABASE_BUDGET: Duration = Duration::from_secs(2);

pub(super) async fn run(global: &Global) -> anyhow::Result<()> {
    let source = global.source()?;
    let config = source.load()?.config;
    let jwt = &config.jwt;
    let keys = KeySet::load(jwt.key_files(), false).map_err(|errors| {
        let mut findings: Vec<Finding> = errors.iter().map(finding).collect();
        source.locate(&mut findings);
        ConfigFindings(findings)
    })?;
    let now = Clock::default().now();
    let recorded = recorded(&config).await;
    let first_signed_at = |kid: &str| {
        let key = recorded.iter().find(|key| key.kid == kid);
        key.and_then(|key| key.first_signed_at)
    };
    let states = states(
        &keys.facts(first_signed_at),
        now,
        jwt.refresh_token_ttl_secs.into(),
    );
    global.print(&states, |states| {
        let rows: Vec<Vec<String>> = states.iter().map(|state| row(state, now)).collect();
        table::render(&["KID", "ALGORITHM", "STATE", "MOVES ON"], &rows)
    })?;
    if let Err(error) = keys.require_signer(now) {
        eprintln!("{}", finding(&error));
        return Err(AlreadyReported.into());
    }
    Ok(())
}

/// What servers have recorded of the keys. Without the database the files have to do: a key that was put in front by hand
/// is then not known to have signed.
async fn recorded(config: &Config) -> Vec<RecordedKey> {
    let Ok(pool) = db::connect_commands(&config.database) else {
        return Vec::new();
    };
    let said = tokio::time::timeout(DATABASE_BUDGET, db::signing_keys::list(&pool)).await;
    if let Ok(Ok(recorded)) = said {
        return recorded;
    }
    eprintln!("note: the database does not say when each key first signed; the files alone are read");
    Vec::new()
}

/// A finding about a key as one about the configuration.
pub(super) fn finding(error: &KeyError) -> Finding {
    let key = error
        .entry
        .map_or_else(|| "jwt.keys".to_owned(), |index| format!("jwt.keys[{index}]"));
    let problem = if error.origin.is_empty() {
        error.problem.clone()
    } else {
        format!("{}: {}", error.origin, error.problem)
    };
    Finding::error(key, problem, error.mend.clone())
}

fn row(state: &KeyState, now: OffsetDateTime) -> Vec<String> {
    let stage = match state.stage {
        KeyStage::Next => "next",
        KeyStage::Active if state.signs_by_default => "active (default)",
        KeyStage::Active => "active",
        KeyStage::Retiring => "retiring",
        KeyStage::Removable => "removable",
    };
    let when = state.moves_on_at.map(|at| {
        let days = (at - now).whole_days();
        let text = at
            .replace_nanosecond(0)
            .unwrap_or(at)
            .format(&Rfc3339)
            .unwrap_or_default();
        let what = match state.stage {
            KeyStage::Next => "signs from",
            KeyStage::Active => "signs until",
            KeyStage::Retiring | KeyStage::Removable => "removable from",
        };
        format!(
            "{what} {text}{}",
            if days > 0 {
                format!(" (in {days} days)")
            } else {
                String::new()
            }
        )
    });
    let otherwise = match state.stage {
        KeyStage::Removable => "now: remove its entry",
        KeyStage::Retiring => "unknown: nothing says when it last signed",
        _ => "-",
    };
    vec![
        state.kid.clone(),
        state.algorithm.to_string(),
        stage.to_owned(),
        when.unwrap_or_else(|| otherwise.to_owned()),
    ]
}
