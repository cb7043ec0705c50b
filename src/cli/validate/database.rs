//! The database: reachable, new enough, migrated, and ours to write to.

use crate::cli::migrate;
use crate::config::Config;
use crate::config::finding::Finding;
use crate::db::Pool;
use crate::db::inspection::{self, Inspection};
use crate::db::schema::Fit;
use crate::db::{self, MIGRATIONS};

/// The oldest PostgreSQL that is supported, as `server_version_num` has it.
const LEAST_POSTGRES_VERSION: i32 = 140_000;

/// `live`: a deployment is looked at, not a trial, so what is doubtful is said, too.
pub(super) async fn check(config: &Config, live: bool) -> Vec<Finding> {
    let db = match db::connect(&config.database) {
        Ok(db) => db,
        Err(error) => {
            return vec![Finding::error(
                "database.url",
                format!("{error}"),
                "correct the URL",
            )];
        }
    };
    match ask(&db, config, live).await {
        Ok(findings) => findings,
        Err(error) => vec![Finding::error(
            "database.url",
            format!("the database does not answer: {error}"),
            "start it, or correct host, port, user, password and database name",
        )],
    }
}

async fn ask(db: &Pool, config: &Config, live: bool) -> sqlx::Result<Vec<Finding>> {
    let inspection = inspection::inspect(db).await?;
    let mut findings = judge(&inspection);
    if live {
        findings.extend(judge_deployment(&inspection, config.database.max_connections));
    }
    if inspection::may_read_migrations(db).await? == Some(false) {
        findings.push(Finding::error(
            "database.url",
            "this user may not read _sqlx_migrations, so the server could not tell whether the database fits",
            "GRANT SELECT ON _sqlx_migrations to the user",
        ));
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
        findings.push(judge_unknown(unknown, is_too_new));
    }
    if pending > 0 {
        let may_create = inspection::may_create_tables(db).await?;
        findings.push(judge_pending(pending, may_create, config.database.migrate));
    } else {
        findings.extend(judge_privileges(&inspection::without_privileges(db).await?));
    }
    Ok(findings)
}

/// What makes the server unfit.
fn judge(server: &Inspection) -> Vec<Finding> {
    let mut findings = Vec::new();
    if server.server_version < LEAST_POSTGRES_VERSION {
        findings.push(Finding::error(
            "database.url",
            "the server is older than PostgreSQL 14",
            "upgrade it",
        ));
    }
    if server.is_replica {
        findings.push(Finding::error(
            "database.url",
            "the server is a replica and cannot be written to",
            "name the primary",
        ));
    }
    if server.encoding != "UTF8" {
        findings.push(Finding::error(
            "database.url",
            format!(
                "the database stores text as {}, which cannot hold every name",
                server.encoding
            ),
            "make the database with ENCODING 'UTF8' TEMPLATE template0",
        ));
    }
    findings
}

/// What works and is no way to run it. `pool`: `database.max_connections`; an instance holds some more for itself.
fn judge_deployment(server: &Inspection, pool: u32) -> Vec<Finding> {
    let mut findings = Vec::new();
    let held = pool + db::CONNECTIONS_BESIDE_THE_POOL;
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
    if server.is_superuser {
        findings.push(Finding::warning(
            "database.url",
            "this user is a superuser of PostgreSQL and could read every database of the server",
            "make a role of its own; docs/deployment.md has the statements",
        ));
    }
    if !server.is_local && !server.is_encrypted {
        findings.push(Finding::warning(
            "database.url",
            "the connection to the database crosses a network unencrypted",
            "add ?sslmode=verify-full to the URL, and sslrootcert= with the server's authority",
        ));
    }
    if !server.is_durable {
        findings.push(Finding::warning(
            "database.url",
            "fsync is off: a crash of the machine may bring spent tokens back to life",
            "set fsync = on in postgresql.conf",
        ));
    }
    findings
}

/// Migrations of a newer version: those that an older one can live with are only worth a word.
fn judge_unknown(unknown: usize, is_too_new: bool) -> Finding {
    let mend = "run the newer version of riley-auth that made them";
    if is_too_new {
        let problem = format!("the database has {unknown} migrations that this version cannot live with");
        Finding::error("database.url", problem, mend)
    } else {
        let problem = format!("the database has {unknown} migrations that this version does not know");
        Finding::warning("database.url", problem, mend)
    }
}

fn judge_pending(pending: usize, may_create: bool, migrates: bool) -> Finding {
    if !may_create {
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
    }
}

/// The user of the server may be another than the one who migrates.
fn judge_privileges(lacking: &[String]) -> Option<Finding> {
    (!lacking.is_empty()).then(|| {
        Finding::error(
            "database.url",
            format!("this user may not read and write {}", lacking.join(", ")),
            "GRANT SELECT, INSERT, UPDATE, DELETE ON the tables, and USAGE ON the sequences, to the user",
        )
    })
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;

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
        [judge(server), judge_deployment(server, pool)].concat()
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
        assert!(judge_privileges(&[]).is_none());
        let finding = judge_privileges(&["users".to_owned(), "events".to_owned()]).unwrap();
        assert!(finding.is_error() && finding.problem.contains("users, events"));
    }
}
