//! Whether the database serves: asked on a connection of its own, and told to whoever asks within half a second.
//!
//! Everybody may ask without limit, since a supervisor that is refused takes it for an outage. So the questions neither take a
//! connection from the requests nor wait for one of theirs, and a flood of them is two statements a second.

use std::sync::Arc;
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
    asked: Arc<Mutex<Asked>>,
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
            asked: Arc::default(),
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
        let mut asked = Arc::clone(&self.asked).lock_owned().await;
        if let Some((at, answer)) = asked.answer
            && at.elapsed() < ANSWER_LIFETIME
        {
            return answer;
        }
        let options = self.options.clone();
        // In a task of its own: who hangs up must not take along the connection and the answer, which are everybody's.
        let question = tokio::spawn(async move {
            // A connection that did not answer is not used again: it may be half open.
            let connection = asked.connection.take();
            let found = timeout(BUDGET, ask(&options, connection)).await;
            let answer = found.ok().and_then(Result::ok).map(|(fit, connection)| {
                asked.connection = Some(connection);
                fit
            });
            asked.answer = Some((Instant::now(), answer));
            answer
        });
        question.await.ok().flatten()
    }
}

/// A database that was restarted has closed the old connection, which says nothing about whether it serves now.
async fn ask(
    options: &PgConnectOptions,
    connection: Option<PgConnection>,
) -> sqlx::Result<(Fit, PgConnection)> {
    if let Some(mut connection) = connection
        && let Ok(fit) = schema::fit(&mut connection).await
    {
        return Ok((fit, connection));
    }
    let mut connection = options.connect().await?;
    let fit = schema::fit(&mut connection).await?;
    Ok((fit, connection))
}
