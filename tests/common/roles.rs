//! Roles of one database: who owns the schema, and who may only read and write rows; and what `validate` says of them.

use std::collections::BTreeSet;

use serde_json::Value;
use sqlx::{AssertSqlSafe, PgPool};
use url::Url;

use super::{Directory, TestProvider, random_text};

/// What the guide gives the role of requests.
pub(crate) const LIMITS: [&str; 3] = [
    "statement_timeout = '5s'",
    "lock_timeout = '2s'",
    "idle_in_transaction_session_timeout = '10s'",
];

/// One role that owns the schema, and one that may read and write rows.
pub(crate) struct Roles {
    pub(crate) db: PgPool,
    database_url: String,
    pub(crate) owner: String,
    pub(crate) server: String,
}

impl Roles {
    /// In this database. What the owner makes from now on, the server may use.
    pub(crate) async fn create(database_url: &str) -> Self {
        let name = random_text(12).to_lowercase();
        let roles = Self {
            db: PgPool::connect(database_url).await.unwrap(),
            database_url: database_url.to_owned(),
            owner: format!("riley_auth_owner_{name}"),
            server: format!("riley_auth_server_{name}"),
        };
        let (owner, server) = (&roles.owner, &roles.server);
        roles
            .run(&format!(
                "CREATE ROLE {owner} LOGIN PASSWORD 'of-a-test';
                 CREATE ROLE {server} LOGIN PASSWORD 'of-a-test';
                 REVOKE CREATE ON SCHEMA public FROM PUBLIC;
                 GRANT CREATE, USAGE ON SCHEMA public TO {owner};
                 GRANT USAGE ON SCHEMA public TO {server};
                 ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {server};
                 ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT USAGE ON SEQUENCES TO {server}"
            ))
            .await;
        roles
    }

    /// What is there already may be used by both.
    pub(crate) async fn share_everything(&self) {
        self.run(&format!(
            "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {0}, {1};
             GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {0}, {1}",
            self.owner, self.server
        ))
        .await;
    }

    pub(crate) async fn run(&self, statements: &str) {
        sqlx::raw_sql(AssertSqlSafe(statements.to_owned()))
            .execute(&self.db)
            .await
            .unwrap();
    }

    pub(crate) fn url(&self, role: &str) -> String {
        let mut url = Url::parse(&self.database_url).unwrap();
        url.set_username(role).unwrap();
        url.set_password(Some("of-a-test")).unwrap();
        url.into()
    }

    pub(crate) fn server_url(&self) -> String {
        self.url(&self.server)
    }

    pub(crate) fn owner_url(&self) -> String {
        self.url(&self.owner)
    }

    /// Who is connected by which name, without what comes and goes.
    pub(crate) async fn connected(&self) -> BTreeSet<(String, String)> {
        let mine = "SELECT DISTINCT application_name, usename::text FROM pg_stat_activity
                    WHERE datname = current_database() AND usename = ANY ($1)";
        let names = [self.owner.as_str(), self.server.as_str()];
        sqlx::query_as(mine)
            .bind(names)
            .fetch_all(&self.db)
            .await
            .unwrap()
            .into_iter()
            .collect()
    }

    /// What is connected while the server runs.
    pub(crate) fn expected(&self) -> BTreeSet<(String, String)> {
        let by = |name: &str, role: &str| (name.to_owned(), role.to_owned());
        [
            by("riley-auth", &self.server),
            by("riley-auth-ready", &self.server),
            by("riley-auth-workers", &self.owner),
        ]
        .into()
    }

    /// Roles outlive a database.
    pub(crate) async fn drop(self) {
        for role in [&self.server, &self.owner] {
            let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = $1";
            sqlx::query(end).bind(role).execute(&self.db).await.unwrap();
            self.run(&format!("DROP OWNED BY {role} CASCADE")).await;
            self.run(&format!("DROP ROLE {role}")).await;
        }
    }
}

/// A directory whose configuration has these URLs.
pub(crate) fn directory(op: &TestProvider, url: &str, direct_url: Option<&str>) -> Directory {
    let text = op.configuration_text();
    let own = text
        .lines()
        .find(|line| line.trim().starts_with("url = "))
        .unwrap();
    let direct_url = direct_url.map_or_else(String::new, |url| format!("\ndirect_url = \"{url}\""));
    let both = format!("url = \"{url}\"{direct_url}");
    let changed = text.replace(own, &both);
    // A URL where nobody answers is given up soon.
    Directory::with_key(&changed.replace("acquire_timeout_secs = 30", "acquire_timeout_secs = 2"))
}

/// What `validate` says of the database: severity, key, problem.
pub(crate) fn validated(directory: &Directory) -> Vec<(String, String, String)> {
    let output = directory.run(&["validate", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |finding: &Value, member: &str| finding[member].as_str().unwrap().to_owned();
    let findings = report["findings"].as_array().unwrap().iter();
    findings
        .map(|finding| {
            let [severity, key, problem] = ["severity", "key", "problem"].map(|member| text(finding, member));
            (severity, key, problem)
        })
        .filter(|(_, key, _)| key.starts_with("database."))
        .collect()
}
