//! What the commands that change accounts and apps have in common: a transaction in which the command line is the actor.

use anyhow::Context as _;
use aws_lc_rs::rand::SystemRandom;
use sqlx::{PgPool, PgTransaction};

use super::{Global, person};
use crate::accounts::administration::Refused as AccountRefused;
use crate::audit::{Actor, Recorder};
use crate::clients::operations::Refused as ClientRefused;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::finding::ConfigFindings;
use crate::db::users::Account;
use crate::sealing::Keyring;

/// Configuration, database, and what an operation writes into the trail with.
pub(super) struct Administration {
    pub(super) config: Config,
    pub(super) db: PgPool,
    keyring: Keyring,
    rng: SystemRandom,
}

impl Administration {
    pub(super) fn open(global: &Global) -> anyhow::Result<Self> {
        let (config, db) = global.database()?;
        Ok(Self {
            keyring: config.keyring(),
            config,
            db,
            rng: SystemRandom::new(),
        })
    }

    /// The command line acts, now.
    pub(super) fn recorder(&self) -> Recorder<'_> {
        Recorder {
            keyring: &self.keyring,
            rng: &self.rng,
            actor: &Actor::CommandLine,
            now: Clock::default().now(),
        }
    }

    pub(super) async fn begin(&self) -> anyhow::Result<PgTransaction<'static>> {
        self.db.begin().await.context("the database cannot be asked")
    }

    /// The live account of this id or username.
    pub(super) async fn person(&self, text: &str) -> anyhow::Result<Account> {
        person::find(&self.db, text).await
    }
}

/// What stands against an operation on an account, in words.
pub(super) fn account_refused(refused: AccountRefused) -> anyhow::Error {
    match refused {
        AccountRefused::NoSuchUser => anyhow::anyhow!("nobody has this id or username"),
        AccountRefused::LastAdministrator => {
            anyhow::anyhow!("this is the last administrator; promote somebody else first")
        }
        AccountRefused::NotAnAdministrator => anyhow::anyhow!("only administrators may do this"),
        AccountRefused::Database(error) => {
            anyhow::Error::from(error).context("the account cannot be changed")
        }
    }
}

/// What stands against an operation on an app, in words.
pub(super) fn client_refused(refused: ClientRefused) -> anyhow::Error {
    match refused {
        ClientRefused::NoSuchClient => {
            anyhow::anyhow!("there is no such client; `riley-auth list-clients` lists them")
        }
        ClientRefused::NoSuchDelivery => super::redeliver::no_such_delivery(),
        ClientRefused::NotConfidential => anyhow::anyhow!(
            "there is no confidential client of this id; `riley-auth list-clients` lists them"
        ),
        ClientRefused::Invalid(findings) => ConfigFindings(findings).into(),
        ClientRefused::Database(error) => anyhow::Error::from(error).context("the app cannot be changed"),
    }
}
