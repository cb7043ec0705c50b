//! What the commands that change accounts and apps have in common: a transaction in which the command line is the actor.

use anyhow::Context as _;
use aws_lc_rs::rand::SystemRandom;
use uuid::Uuid;

use super::{Global, person};
use crate::accounts::administration::Refused as AccountRefused;
use crate::audit::{Actor, Recorder};
use crate::clients::operations::Refused as ClientRefused;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::finding::ConfigFindings;
use crate::db::retry::retrying;
use crate::db::users::Account;
use crate::db::{Pool, Transaction};
use crate::sealing::Keyring;
use crate::webhooks::NotDone;

/// Configuration, database, and what an operation writes into the trail with.
pub(super) struct Administration {
    pub(super) config: Config,
    pub(super) db: Pool,
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
    fn recorder(&self) -> Recorder<'_> {
        Recorder {
            keyring: &self.keyring,
            rng: &self.rng,
            actor: &Actor::CommandLine,
            now: Clock::default().now(),
        }
    }

    /// What the command does, in one transaction that is tried again as a whole when the database gives it up.
    pub(super) async fn perform<T>(
        &self,
        operation: impl AsyncFn(&mut Transaction, &Recorder<'_>) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        retrying(&self.rng, || async {
            let mut tx = self.db.begin().await.context("the database cannot be asked")?;
            let done = operation(&mut tx, &self.recorder()).await?;
            tx.commit().await.context("the change cannot be stored")?;
            Ok(done)
        })
        .await
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

/// What stands against an operation on a webhook, in words.
pub(super) fn webhook_refused(error: NotDone) -> anyhow::Error {
    match error {
        NotDone::Invalid(findings) => ConfigFindings(findings).into(),
        NotDone::NotFound => {
            anyhow::anyhow!("there is no such webhook; `riley-auth list-webhooks` lists them")
        }
        NotDone::Database(error) => {
            anyhow::Error::new(error).context("the webhook cannot be read or written")
        }
    }
}

/// Reads an id: what is no id at all is none of a webhook.
pub(super) fn webhook_id(text: &str) -> anyhow::Result<Uuid> {
    text.parse().map_err(|_| webhook_refused(NotDone::NotFound))
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
