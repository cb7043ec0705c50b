//! `riley-auth keys`: where each key stands, and when it moves on.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{AlreadyReported, Global, table};
use crate::clock::Clock;
use crate::config::finding::{ConfigFindings, Finding};
use crate::jwt::states::{KeyStage, KeyState, states};
use crate::jwt::{KeyError, KeySet};

pub(super) fn run(global: &Global) -> anyhow::Result<()> {
    let source = global.source()?;
    let jwt = source.load()?.config.jwt;
    let keys = KeySet::load(jwt.key_files(), false).map_err(|errors| {
        let mut findings: Vec<Finding> = errors.iter().map(finding).collect();
        source.locate(&mut findings);
        ConfigFindings(findings)
    })?;
    let now = Clock::default().now();
    let states = states(&keys.facts(), now, jwt.refresh_token_ttl_secs.into());
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
