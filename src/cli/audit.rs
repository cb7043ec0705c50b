//! `riley-auth audit` and `audit verify`: who did what; whether the trail is whole.

use std::fmt::Write as _;
use std::str::FromStr;

use anyhow::Context as _;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{AlreadyReported, Global, moment, person, table};
use crate::audit::Action;
use crate::audit::verify::{AuditFinding, Outcome, Remembered, Walk};
use crate::audit::view::EntryView;
use crate::db::audit::EntryFilter;
use crate::db::{self, Pool};
use crate::protocol::ids::UserId;

/// Entries that are read at once.
const BATCH: i64 = 1000;

const EXAMPLES: &str = "\
Examples:
  riley-auth audit --action user_role_changed --from 2026-01-01T00:00:00Z
  riley-auth audit --actor ada --json
  riley-auth audit verify --expect 4711:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Option<Subcommand>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, clap::Subcommand)]
enum Subcommand {
    /// Walk the whole trail: which entries were changed, are missing or were put in
    Verify(Verify),
}

#[derive(Debug, clap::Args)]
struct List {
    /// Only what this person did (id or username), or `command_line`, or `system`
    #[arg(long, value_name = "WHO")]
    actor: Option<String>,
    /// Only this action, such as `client_deleted`
    #[arg(long, value_name = "ACTION", value_parser = action)]
    action: Option<Action>,
    /// Only what was done to the account, client or other thing of this id
    #[arg(long, value_name = "ID")]
    target: Option<String>,
    /// From this moment on (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = moment)]
    from: Option<OffsetDateTime>,
    /// Before this moment (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<OffsetDateTime>,
    /// At most this many, the newest
    #[arg(long, value_name = "NUMBER", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

#[derive(Debug, clap::Args)]
struct Verify {
    /// What an earlier verification printed, kept elsewhere: that entry has to be there as it was
    #[arg(long, value_name = "SEQUENCE:MAC")]
    expect: Option<Expected>,
}

/// An entry that the operator remembers.
#[derive(Clone, Debug)]
struct Expected(Remembered);

impl FromStr for Expected {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = "write the number of an entry, a colon, and the 64 hexadecimal digits of its mac";
        let (sequence, mac) = text.split_once(':').ok_or(malformed)?;
        let sequence = sequence.parse().map_err(|_| malformed)?;
        let is_hex = mac.len() == 64 && mac.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_hex {
            return Err(malformed);
        }
        let byte = |at: usize| u8::from_str_radix(&mac[2 * at..2 * at + 2], 16).map_err(|_| malformed);
        let mac = (0..32).map(byte).collect::<Result<_, _>>()?;
        Ok(Self(Remembered { sequence, mac }))
    }
}

fn action(name: &str) -> Result<Action, &'static str> {
    Action::parse(name).ok_or("there is no such action")
}

pub(super) async fn run(global: &Global, args: &Args) -> anyhow::Result<()> {
    match &args.command {
        Some(Subcommand::Verify(args)) => verify(global, args).await,
        None => list(global, &args.list).await,
    }
}

async fn list(global: &Global, args: &List) -> anyhow::Result<()> {
    let (_, db) = global.database()?;
    let (actor, actor_user_id) = match args.actor.as_deref() {
        None => (None, None),
        Some(kind @ ("command_line" | "system")) => (Some(kind), None),
        Some(who) => (None, Some(who_acted(&db, who).await?)),
    };
    let filter = EntryFilter {
        actor,
        actor_user_id,
        action: args.action.map(Action::as_str),
        target_id: args.target.as_deref(),
        from: args.from,
        until: args.until,
    };
    let mut tx = db.begin().await.context("the database cannot be asked")?;
    let entries = db::audit::list(&mut tx, &filter, None, i64::from(args.limit))
        .await
        .context("the trail cannot be read")?;
    let entries: Vec<EntryView> = entries.into_iter().map(EntryView::from).collect();
    global.print(&entries, |entries| {
        if entries.is_empty() {
            return "no entry is found\n".to_owned();
        }
        let rows: Vec<Vec<String>> = entries.iter().map(row).collect();
        table::render(
            &["NUMBER", "TIME", "ACTOR", "FROM", "ACTION", "TARGET", "DETAILS"],
            &rows,
        )
    })
}

/// An id may be that of somebody who is gone.
async fn who_acted(db: &Pool, who: &str) -> anyhow::Result<UserId> {
    match who.parse::<UserId>() {
        Ok(user_id) => Ok(user_id),
        Err(_) => Ok(person::find(db, who).await?.user.user_id),
    }
}

fn row(entry: &EntryView) -> Vec<String> {
    let at = entry.created_at.replace_nanosecond(0).unwrap_or(entry.created_at);
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let target = match (&entry.target_username, &entry.target_id) {
        (Some(username), Some(id)) => Some(format!("{username} ({id})")),
        (None, id) => id.clone(),
        (Some(username), None) => Some(username.clone()),
    };
    vec![
        entry.sequence.to_string(),
        at.format(&Rfc3339).unwrap_or_default(),
        entry
            .actor_user_id
            .map_or_else(|| entry.actor.clone(), |user_id| user_id.to_string()),
        or_dash(entry.ip_address.clone()),
        entry.action.clone(),
        or_dash(target),
        entry.details.to_string(),
    ]
}

/// What a verification came to.
#[derive(Serialize)]
struct Verified {
    entries: u64,
    /// Entries of which a deletion has emptied personal fields.
    emptied: u64,
    /// `null`: there is no entry yet.
    last: Option<Last>,
    findings: Vec<AuditFinding>,
}

#[derive(Serialize)]
struct Last {
    sequence: i64,
    mac: String,
}

async fn verify(global: &Global, args: &Verify) -> anyhow::Result<()> {
    let (config, db) = global.database()?;
    let keyring = config.keyring();
    let expected = args.expect.as_ref().map(|expected| expected.0.clone());
    let mut walk = Walk::new(&keyring, expected);
    let mut after = i64::MIN;
    loop {
        let entries = db::audit::read_on(&db, after, BATCH)
            .await
            .context("the trail cannot be read")?;
        let Some(last) = entries.last() else { break };
        after = last.sequence;
        for entry in &entries {
            walk.step(entry);
        }
    }
    let verified = Verified::from(walk.finish());
    global.print(&verified, describe)?;
    if verified.findings.is_empty() {
        Ok(())
    } else {
        verified
            .findings
            .iter()
            .for_each(|finding| eprintln!("error: {finding}"));
        Err(AlreadyReported.into())
    }
}

impl From<Outcome> for Verified {
    fn from(outcome: Outcome) -> Self {
        Self {
            entries: outcome.entries,
            emptied: outcome.emptied,
            last: (!outcome.last.mac.is_empty()).then(|| Last {
                sequence: outcome.last.sequence,
                mac: hexadecimal(&outcome.last.mac),
            }),
            findings: outcome.findings,
        }
    }
}

fn describe(verified: &Verified) -> String {
    let mut text = format!("{} entries were read", verified.entries);
    if verified.emptied > 0 {
        let _ = write!(text, ", {} of them emptied by deletions", verified.emptied);
    }
    text.push('\n');
    match &verified.last {
        Some(last) if verified.findings.is_empty() => {
            let _ = writeln!(
                text,
                "The trail is whole up to its last entry. Keep this elsewhere and hand it to the next verification, \
                 which then also finds what was cut off at the end:\n--expect {}:{}",
                last.sequence, last.mac
            );
        }
        Some(_) => text.push_str("The trail is not as it was written.\n"),
        None => {}
    }
    text
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
