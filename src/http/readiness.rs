//! Whether the database serves: asked on a connection of its own, and told to whoever asks within half a second.
//!
//! Everybody may ask without limit, since a supervisor that is refused takes it for an outage. So the questions neither take a
//! connection from the requests nor wait for one of theirs, and a flood of them is two statements a second.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::db::schema::{self, Fit};

/// How long the database may take to answer, connecting included.
const BUDGET: Duration = Duration::from_secs(1);
/// For how long an answer is told to others.
const ANSWER_LIFETIME: Duration = Duration::from_millis(500);

/// Asks, one question at a time.
pub struct Readiness {
    options: PgConnectOptions,
    asked: Mutex<Asked>,
}

#[derive(Default)]
struct Asked {
    connection: Option<PgConnection>,
    answer: Option<(Instant, Option<Fit>)>,
}

impl Readiness {
    /// Connects when it is first asked.
    pub fn new(options: PgConnectOptions) -> Self {
        Self {
            options,
            asked: Mutex::default(),
        }
    }

    /// Ends the connection.
    pub async fn close(&self) {
        if let Some(connection) = self.asked.lock().await.connection.take() {
            let _ = connection.close().await;
        }
    }

    /// What the schema is to this program; `None`: the database does not answer within a second.
    pub async fn database(&self) -> Option<Fit> {
        let mut asked = self.asked.lock().await;
        if let Some((at, answer)) = asked.answer
            && at.elapsed() < ANSWER_LIFETIME
        {
            return answer;
        }
        let connection = asked.connection.take();
        // A connection that did not answer is not used again: it may be half open.
        let found = timeout(BUDGET, self.ask(connection))
            .await
            .ok()
            .and_then(Result::ok);
        let answer = match found {
            Some((fit, connection)) => {
                asked.connection = Some(connection);
                Some(fit)
            }
            None => None,
        };
        asked.answer = Some((Instant::now(), answer));
        answer
    }

    /// A database that was restarted has closed the old connection, which says nothing about whether it serves now.
    async fn ask(&self, connection: Option<PgConnection>) -> sqlx::Result<(Fit, PgConnection)> {
        if let Some(mut connection) = connection
            && let Ok(fit) = schema::fit(&mut connection).await
        {
            return Ok((fit, connection));
        }
        let mut connection = self.options.connect().await?;
        let fit = schema::fit(&mut connection).await?;
        Ok((fit, connection))
    }
}
