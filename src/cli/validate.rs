//! `riley-auth validate`: configuration, keys, database and upstream providers, everything that is wrong at once.

use serde::Serialize;
use sqlx::PgPool;

use super::{AlreadyReported, Global, keys, migrate, tally};
use crate::clock::Clock;
use crate::config::Config;
use crate::config::finding::{ConfigFindings, Finding};
use crate::db::MIGRATIONS;
use crate::jwt::KeySet;
use crate::protocol::algorithm::SigningAlgorithm;
use crate::upstream::Upstreams;

/// The oldest PostgreSQL that is supported, as `server_version_num` has it.
const LEAST_POSTGRES_VERSION: i32 = 140_000;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Look only at the configuration and the keys; `env:` and `file:` values that are missing are warnings
    #[arg(long)]
    offline: bool,
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
                let mut found = check_surroundings(&config, &findings, args.offline).await;
                source.locate(&mut found);
                findings.extend(found);
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

/// What can be tried out, as far as nothing wrong has been found about it in the configuration.
async fn check_surroundings(config: &Config, known: &[Finding], offline: bool) -> Vec<Finding> {
    let sound = |key: &str| {
        !known
            .iter()
            .any(|finding| finding.is_error() && finding.key.starts_with(key))
    };
    let mut findings = Vec::new();
    if sound("jwt.keys") && sound("jwt.private_key_path") && sound("jwt.public_key_path") {
        findings.extend(check_keys(config));
    }
    if !offline && sound("database") {
        findings.extend(check_database(config).await);
    }
    if !offline {
        let about_providers = check_providers(config).await;
        findings.extend(about_providers.into_iter().filter(|finding| sound(&finding.key)));
    }
    findings
}

fn check_keys(config: &Config) -> Vec<Finding> {
    let keys = match KeySet::load(config.jwt.key_files(), false) {
        Ok(keys) => keys,
        Err(errors) => return errors.iter().map(keys::finding).collect(),
    };
    let mut findings: Vec<Finding> = keys
        .require_signer(Clock::default().now())
        .err()
        .iter()
        .map(keys::finding)
        .collect();
    if !keys.algorithms().contains(&SigningAlgorithm::Rs256) {
        findings.push(Finding::warning(
            "jwt.keys",
            "no RS256 key is configured; OpenID Connect Discovery §3 wants RS256 listed, and some libraries know nothing else",
            "add one behind the others: `riley-auth generate-keys --algorithm rs256`",
        ));
    }
    findings
}

async fn check_database(config: &Config) -> Vec<Finding> {
    let db = match crate::db::connect(&config.database) {
        Ok(db) => db,
        Err(error) => {
            return vec![Finding::error(
                "database.url",
                format!("{error}"),
                "correct the URL",
            )];
        }
    };
    match ask_database(&db, config.database.migrate).await {
        Ok(findings) => findings,
        Err(error) => vec![Finding::error(
            "database.url",
            format!("the database does not answer: {error}"),
            "start it, or correct host, port, user, password and database name",
        )],
    }
}

async fn ask_database(db: &PgPool, migrates: bool) -> sqlx::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let version: i32 = sqlx::query_scalar("SELECT current_setting('server_version_num')::int")
        .fetch_one(db)
        .await?;
    if version < LEAST_POSTGRES_VERSION {
        findings.push(Finding::error(
            "database.url",
            "the server is older than PostgreSQL 14",
            "upgrade it",
        ));
    }
    let read_only: bool = sqlx::query_scalar("SELECT pg_is_in_recovery()")
        .fetch_one(db)
        .await?;
    if read_only {
        findings.push(Finding::error(
            "database.url",
            "the server is a replica and cannot be written to",
            "name the primary",
        ));
    }
    let applied = migrate::applied(db).await?;
    let pending = MIGRATIONS
        .iter()
        .filter(|migration| !applied.contains(&migration.version))
        .count();
    let unknown = applied
        .iter()
        .filter(|version| !MIGRATIONS.version_exists(**version))
        .count();
    if unknown > 0 {
        findings.push(Finding::warning(
            "database.url",
            format!("the database has {unknown} migrations that this version does not know"),
            "run the newer version of riley-auth that made them",
        ));
    }
    if pending > 0 {
        findings.push(check_pending(db, pending, migrates).await?);
    }
    if pending == 0 {
        findings.extend(check_privileges(db).await?);
    }
    Ok(findings)
}

async fn check_pending(db: &PgPool, pending: usize, migrates: bool) -> sqlx::Result<Finding> {
    let may_create: bool =
        sqlx::query_scalar("SELECT coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)")
            .fetch_one(db)
            .await?;
    Ok(if !may_create {
        Finding::error(
            "database.url",
            format!("{pending} migrations are missing and this user may not create tables"),
            "GRANT CREATE ON SCHEMA to the user, or run `riley-auth migrate` as one who may",
        )
    } else if migrates {
        Finding::warning(
            "database.migrate",
            format!("{pending} migrations are missing; `serve` will apply them"),
            "nothing, or run `riley-auth migrate` first",
        )
    } else {
        Finding::error(
            "database.migrate",
            format!("{pending} migrations are missing"),
            "run `riley-auth migrate`",
        )
    })
}

/// The user of the server may be another than the one who migrates.
async fn check_privileges(db: &PgPool) -> sqlx::Result<Vec<Finding>> {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text
         FROM pg_class
         WHERE relnamespace = current_schema()::regnamespace
           AND relkind = 'r'
           AND relname NOT LIKE '\\_sqlx%'
           AND NOT (has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT')
                    AND has_table_privilege(oid, 'UPDATE') AND has_table_privilege(oid, 'DELETE'))
         ORDER BY relname",
    )
    .fetch_all(db)
    .await?;
    if tables.is_empty() {
        return Ok(Vec::new());
    }
    Ok(vec![Finding::error(
        "database.url",
        format!("this user may not read and write {}", tables.join(", ")),
        "GRANT SELECT, INSERT, UPDATE, DELETE ON the tables to the user",
    )])
}

/// Asks every provider that has a discovery document for it, as the server will. Providers without one (GitHub, Discord,
/// plain OAuth 2.0) cannot be asked anything before somebody signs in.
async fn check_providers(config: &Config) -> Vec<Finding> {
    let upstreams = match Upstreams::new(config, Clock::default()) {
        Ok(upstreams) => upstreams,
        Err(error) => {
            let problem = format!("{error:#}");
            return vec![Finding::error(
                "oauth.providers",
                problem,
                "mend the key that is named",
            )];
        }
    };
    let mut findings = Vec::new();
    for provider in upstreams.list() {
        if let Err(error) = provider.probe().await {
            // An upstream that is down does not stop the server, so it does not make the configuration wrong either.
            findings.push(Finding::warning(
                format!("oauth.providers.{}", provider.name()),
                format!("the provider cannot be used now: {}", error.detail()),
                "see that this machine reaches the provider, and that the issuer is written as the provider writes it",
            ));
        }
    }
    findings
}
