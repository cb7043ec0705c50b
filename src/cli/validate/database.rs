//! The database: reachable, new enough, migrated, and ours to write to.

use std::time::Duration;

use crate::cli::migrate;
use crate::config::Config;
use crate::config::database::Route;
use crate::config::finding::Finding;
use crate::db::Pool;
use crate::db::inspection::{self, Inspection};
use crate::db::schema::Fit;
use crate::db::{self, MIGRATIONS};

/// The oldest PostgreSQL that is supported, as `server_version_num` has it.
const LEAST_POSTGRES_VERSION: i32 = 140_000;
/// How long two connections may take that look for a pooler.
const PATIENCE: Duration = Duration::from_secs(5);

/// `live`: a deployment is looked at, not a trial, so what is doubtful is said, too.
pub(super) async fn check(config: &Config, live: bool) -> Vec<Finding> {
    let mut findings = check_route(config, Route::Direct, live).await;
    if config.database.direct_url.is_some() && !findings.iter().any(Finding::is_error) {
        findings.extend(check_route(config, Route::Pooled, live).await);
    }
    findings
}

async fn check_route(config: &Config, route: Route, live: bool) -> Vec<Finding> {
    let (key, _) = config.database.url_by(route);
    let db = match route {
        Route::Direct => db::connect_commands(&config.database),
        Route::Pooled => db::connect(&config.database),
    };
    let db = match db {
        Ok(db) => db,
        Err(error) => return vec![Finding::error(key, format!("{error}"), "correct the URL")],
    };
    let asked = match route {
        Route::Direct => ask(&db, key, config, live).await,
        Route::Pooled => ask_as_requests_do(&db, key, config, live).await,
    };
    asked.unwrap_or_else(|error| vec![judge_failure(key, &error)])
}

/// What everybody but requests uses, and requests as well if there is no other URL.
async fn ask(db: &Pool, key: &'static str, config: &Config, live: bool) -> sqlx::Result<Vec<Finding>> {
    let pooling = inspection::pooling(&db.connect_options(), PATIENCE).await?;
    if pooling.shares_sessions {
        return Ok(vec![judge_pooler(key)]);
    }
    let inspection = inspection::inspect(db).await?;
    let mut findings = judge(key, &inspection);
    if live {
        findings.extend(judge_deployment(
            key,
            &inspection,
            connections_at_most(config).await,
        ));
    }
    findings.extend(judge_time_limits(
        key,
        &inspection::missing_time_limits(db).await?,
    ));
    if inspection::may_read_migrations(db).await? == Some(false) {
        findings.push(judge_unreadable_migrations(key));
        return Ok(findings);
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
        let is_too_new = db::schema::fit(db).await? == Fit::TooNew;
        findings.push(judge_unknown(key, unknown, is_too_new));
    }
    if pending > 0 {
        let may_create = inspection::may_create_tables(db).await?;
        findings.push(judge_pending(key, pending, may_create, config.database.migrate));
    } else {
        findings.extend(judge_privileges(key, &inspection::without_privileges(db).await?));
    }
    Ok(findings)
}

/// What requests use where that is another URL.
async fn ask_as_requests_do(
    db: &Pool,
    key: &'static str,
    config: &Config,
    live: bool,
) -> sqlx::Result<Vec<Finding>> {
    let pooling = inspection::pooling(&db.connect_options(), PATIENCE).await?;
    if !pooling.keeps_statements {
        return Ok(vec![judge_statements(key)]);
    }
    let mut findings = Vec::new();
    let there = match db::connect_commands(&config.database) {
        Ok(direct) => inspection::identity(&direct).await,
        Err(_) => None,
    };
    let here = inspection::identity(db).await;
    if here.is_some() && there.is_some() && here != there {
        return Ok(vec![Finding::error(
            key,
            "this leads to another database, or to other tables, than database.direct_url",
            "let both name the same database, and give both roles the same search_path",
        )]);
    }
    let inspection = inspection::inspect(db).await?;
    findings.extend(judge(key, &inspection));
    // Behind a pooler PostgreSQL tells of the pooler's connection, not of ours.
    if live && pooling.shares_sessions {
        findings.extend(judge_role(key, &inspection));
    } else if live {
        findings.extend(judge_connection(key, &inspection));
    }
    findings.extend(judge_time_limits(
        key,
        &inspection::missing_time_limits(db).await?,
    ));
    match inspection::may_read_migrations(db).await? {
        Some(false) => findings.push(judge_unreadable_migrations(key)),
        Some(true) => findings.extend(judge_privileges(key, &inspection::without_privileges(db).await?)),
        None => {}
    }
    Ok(findings)
}

/// What one instance may open at the server itself: behind a pooler the pooler's own number counts for requests.
async fn connections_at_most(config: &Config) -> u32 {
    if config.database.direct_url.is_some()
        && let Ok(db) = db::connect(&config.database)
        && let Ok(pooling) = inspection::pooling(&db.connect_options(), PATIENCE).await
        && pooling.shares_sessions
    {
        db::DIRECT_CONNECTIONS
    } else {
        config.database.max_connections + db::CONNECTIONS_BESIDE_THE_POOL
    }
}

/// What an error means that comes of no answer.
fn judge_failure(key: &'static str, error: &sqlx::Error) -> Finding {
    if inspection::is_about_statements(error) {
        return judge_statements(key);
    }
    let mend = if error.to_string().contains("startup parameter") {
        "let the pooler ignore these startup parameters and the role bear the limits; docs/deployment.md has the lines"
    } else {
        "start it, or correct host, port, user, password and database name"
    };
    Finding::error(key, format!("the database does not answer: {error}"), mend)
}

fn judge_statements(key: &'static str) -> Finding {
    Finding::error(
        key,
        "the pooler in front of the database does not keep prepared statements, so requests would fail",
        "use PgBouncer 1.21 or later with max_prepared_statements = 200; docs/deployment.md has the lines",
    )
}

fn judge_pooler(key: &'static str) -> Finding {
    Finding::error(
        key,
        "this leads through a pooler that lends sessions for one transaction; migrations and workers need a session of their own",
        "name the database itself in database.direct_url",
    )
}

fn judge_time_limits(key: &'static str, missing: &[String]) -> Option<Finding> {
    (!missing.is_empty()).then(|| {
        Finding::warning(
            key,
            format!(
                "a pooler keeps {} from the database, so a statement that hangs is not ended by it",
                missing.join(", ")
            ),
            "give the limits to the role: ALTER ROLE ... SET, as docs/deployment.md has it",
        )
    })
}

fn judge_unreadable_migrations(key: &'static str) -> Finding {
    Finding::error(
        key,
        "this user may not read _sqlx_migrations, so the server could not tell whether the database fits",
        "GRANT SELECT ON _sqlx_migrations to the user",
    )
}

/// What makes the server unfit.
fn judge(key: &'static str, server: &Inspection) -> Vec<Finding> {
    let mut findings = Vec::new();
    if server.server_version < LEAST_POSTGRES_VERSION {
        findings.push(Finding::error(
            key,
            "the server is older than PostgreSQL 14",
            "upgrade it",
        ));
    }
    if server.is_replica {
        findings.push(Finding::error(
            key,
            "the server is a replica and cannot be written to",
            "name the primary",
        ));
    }
    if server.encoding != "UTF8" {
        findings.push(Finding::error(
            key,
            format!(
                "the database stores text as {}, which cannot hold every name",
                server.encoding
            ),
            "make the database with ENCODING 'UTF8' TEMPLATE template0",
        ));
    }
    findings
}

fn judge_role(key: &'static str, server: &Inspection) -> Option<Finding> {
    server.is_superuser.then(|| {
        Finding::warning(
            key,
            "this user is a superuser of PostgreSQL and could read every database of the server",
            "make a role of its own; docs/deployment.md has the statements",
        )
    })
}

/// What is doubtful about this way to the server.
fn judge_connection(key: &'static str, server: &Inspection) -> Vec<Finding> {
    let mut findings = Vec::from_iter(judge_role(key, server));
    if !server.is_local && !server.is_encrypted {
        findings.push(Finding::warning(
            key,
            "the connection to the database crosses a network unencrypted",
            "add ?sslmode=verify-full to the URL, and sslrootcert= with the server's authority",
        ));
    }
    findings
}

/// What works and is no way to run it. `held`: the connections of one instance.
fn judge_deployment(key: &'static str, server: &Inspection, held: u32) -> Vec<Finding> {
    let mut findings = Vec::new();
    if i64::from(held) > i64::from(server.connections) {
        findings.push(Finding::warning(
            "database.max_connections",
            format!(
                "one instance may open {held} connections, but the server admits {} in all",
                server.connections
            ),
            "lower database.max_connections, or raise max_connections of PostgreSQL; all instances together have to fit",
        ));
    }
    findings.extend(judge_connection(key, server));
    if !server.is_durable {
        findings.push(Finding::warning(
            key,
            "fsync is off: a crash of the machine may bring spent tokens back to life",
            "set fsync = on in postgresql.conf",
        ));
    }
    findings
}

/// Migrations of a newer version: those that an older one can live with are only worth a word.
fn judge_unknown(key: &'static str, unknown: usize, is_too_new: bool) -> Finding {
    let mend = "run the newer version of riley-auth that made them";
    if is_too_new {
        let problem = format!("the database has {unknown} migrations that this version cannot live with");
        Finding::error(key, problem, mend)
    } else {
        let problem = format!("the database has {unknown} migrations that this version does not know");
        Finding::warning(key, problem, mend)
    }
}

fn judge_pending(key: &'static str, pending: usize, may_create: bool, migrates: bool) -> Finding {
    if !may_create {
        Finding::error(
            key,
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
    }
}

/// The user of the server may be another than the one who migrates.
fn judge_privileges(key: &'static str, lacking: &[String]) -> Option<Finding> {
    (!lacking.is_empty()).then(|| {
        Finding::error(
            key,
            format!("this user may not read and write {}", lacking.join(", ")),
            "GRANT SELECT, INSERT, UPDATE, DELETE ON the tables, and USAGE ON the sequences, to the user",
        )
    })
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;

    const KEY: &str = "database.url";

    fn sound() -> Inspection {
        Inspection {
            server_version: 170_000,
            is_replica: false,
            encoding: "UTF8".to_owned(),
            connections: 97,
            is_durable: true,
            is_superuser: false,
            is_encrypted: true,
            is_local: false,
            now: OffsetDateTime::UNIX_EPOCH,
        }
    }

    fn all(server: &Inspection, pool: u32) -> Vec<Finding> {
        let held = pool + db::CONNECTIONS_BESIDE_THE_POOL;
        [judge(KEY, server), judge_deployment(KEY, server, held)].concat()
    }

    #[test]
    fn a_sound_server_gives_no_finding() {
        assert_eq!(all(&sound(), 20), []);
        let local = Inspection {
            is_local: true,
            is_encrypted: false,
            ..sound()
        };
        assert_eq!(all(&local, 90), []);
    }

    #[test]
    fn whatever_is_wrong_with_the_server_is_said_with_its_mend() {
        for (server, pool, problem) in [
            (
                Inspection {
                    server_version: 139_999,
                    ..sound()
                },
                20,
                "older than PostgreSQL 14",
            ),
            (
                Inspection {
                    is_replica: true,
                    ..sound()
                },
                20,
                "replica",
            ),
            (
                Inspection {
                    encoding: "LATIN1".to_owned(),
                    ..sound()
                },
                20,
                "LATIN1",
            ),
            (
                Inspection {
                    is_superuser: true,
                    ..sound()
                },
                20,
                "superuser",
            ),
            (
                Inspection {
                    is_encrypted: false,
                    ..sound()
                },
                20,
                "unencrypted",
            ),
            (
                Inspection {
                    is_durable: false,
                    ..sound()
                },
                20,
                "fsync",
            ),
            (sound(), 91, "98 connections"),
        ] {
            let [finding] = &all(&server, pool)[..] else {
                panic!("one finding about {problem}")
            };
            assert!(finding.problem.contains(problem), "{finding}");
            assert!(!finding.mend.is_empty());
        }
    }

    #[test]
    fn a_table_without_privileges_is_named() {
        assert!(judge_privileges(KEY, &[]).is_none());
        let finding = judge_privileges(KEY, &["users".to_owned(), "events".to_owned()]).unwrap();
        assert!(finding.is_error() && finding.problem.contains("users, events"));
    }
}
