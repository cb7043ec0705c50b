//! Two `serve` processes over one database are one provider: whatever one gave, the other takes, and races between them end
//! as races within one do. Nothing but the database is shared.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::collections::HashSet;

use common::{Answer, Browser, Directory, Process, TestClient, TestProvider};
use reqwest::StatusCode;
use riley_auth::db::Pool;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

/// A code or token is presented this many times at once.
const CALLERS: usize = 20;
const ROUNDS: usize = 100;

/// Two processes, and what the kit needs to talk to either.
struct Pair {
    processes: [Process; 2],
    _directory: Directory,
    first: TestProvider,
    second: TestProvider,
    home: TestProvider,
}

impl Pair {
    async fn start() -> Self {
        let home = TestProvider::start().await;
        let directory = Directory::with_key(&home.configuration_text());
        let processes = [directory.serve().await, directory.serve().await];
        Self {
            first: home.served_at(processes[0].address),
            second: home.served_at(processes[1].address),
            processes,
            _directory: directory,
            home,
        }
    }

    /// A browser at the first process, with a session.
    async fn signed_in(&self, person: &str) -> Browser {
        self.home.signed_in(person).await.at(&self.first)
    }

    fn db(&self) -> &Pool {
        self.first.db()
    }

    /// The answers of [`CALLERS`] who refresh one token at once, half of them at each process.
    async fn race(&self, app: &TestClient, refresh_token: &str) -> Vec<Answer> {
        let mut callers = JoinSet::new();
        for caller in 0..CALLERS {
            let app = app.at([&self.first, &self.second][caller % 2]);
            let token = refresh_token.to_owned();
            callers.spawn(async move { app.refresh(&token).await });
        }
        callers.join_all().await
    }

    async fn unconsumed_rows(&self) -> i64 {
        let sql = "SELECT count(*) FROM refresh_tokens WHERE consumed_at IS NULL";
        sqlx::query_scalar(sql).fetch_one(self.db()).await.unwrap()
    }
}

/// OpenID Connect Core §3.1.3: the code's life is in the database, not in the process that made it.
#[tokio::test]
async fn a_code_issued_by_one_is_redeemed_at_the_other() {
    let pair = Pair::start().await;
    let app = pair.first.client().await;
    let browser = pair.signed_in("alice").await;
    let granted = browser
        .authorize(&app)
        .scope("openid offline_access")
        .code()
        .await;
    let tokens = app.at(&pair.second).redeem(&granted).await.tokens();

    app.userinfo(&tokens.access_token).await.is(200);
    let refreshed = app.refresh(tokens.refresh()).await.tokens();
    assert!(app.at(&pair.second).is_active(&refreshed.access_token).await);
    app.at(&pair.second).revoke(refreshed.refresh()).await.is(200);
    app.userinfo(&refreshed.access_token).await.is(401);
    app.refresh(refreshed.refresh()).await.refused("invalid_grant");
}

/// A sign-in at one process signs in at the other: a session is a row.
#[tokio::test]
async fn a_session_of_one_answers_a_request_at_the_other() {
    let pair = Pair::start().await;
    let app = pair.first.client().await;
    let browser = pair.signed_in("alice").await;
    let granted = browser
        .at(&pair.second)
        .authorize(&app.at(&pair.second))
        .prompt("none")
        .code()
        .await;
    app.redeem(&granted).await.tokens();
}

/// A question that one asked is answered at the other, the answer is remembered by both, and so is its withdrawal.
#[tokio::test]
async fn a_consent_asked_for_by_one_is_given_and_withdrawn_at_the_other() {
    let pair = Pair::start().await;
    let app = pair.first.asking_client().await;
    let browser = pair.signed_in("alice").await;
    let request = browser.authorize(&app).scope("openid email");
    let asked = request.send().await.page("/consent");
    let elsewhere = browser.at(&pair.second);
    let visit = elsewhere.decide(&asked, true).await;
    let granted = request.read(visit).await.code();
    let tokens = app.redeem(&granted).await.tokens();

    let silent = browser.authorize(&app).scope("openid email").prompt("none");
    silent.code().await;
    let path = format!("/auth/me/consents/{}", app.client_id());
    let withdrawn = elsewhere.call(reqwest::Method::DELETE, &path, None).await;
    assert!(withdrawn.status.is_success(), "{}", withdrawn.text);
    app.userinfo(&tokens.access_token).await.is(401);
    let again = browser.authorize(&app).scope("openid email");
    again.send().await.page("/consent");
}

/// RFC 6749 §4.1.2: single use holds over all processes; whoever loses the race has replayed the code.
#[tokio::test]
async fn a_code_that_races_over_both_is_redeemed_at_most_once() {
    let pair = Pair::start().await;
    let app = pair.first.client().await;
    let browser = pair.signed_in("alice").await;
    for _ in 0..ROUNDS {
        let granted = browser.authorize(&app).code().await;
        let mut callers = JoinSet::new();
        for caller in 0..CALLERS {
            let (app, granted) = (app.at([&pair.first, &pair.second][caller % 2]), granted.clone());
            callers.spawn(async move { app.redeem(&granted).await });
        }
        let answers = callers.join_all().await;
        let redeemed: Vec<&Answer> = answers
            .iter()
            .filter(|answer| answer.status == StatusCode::OK)
            .collect();
        assert_eq!(redeemed.len(), 1);
        // The others were second uses: what the first one gave is revoked.
        app.refresh(redeemed[0].tokens().refresh())
            .await
            .refused("invalid_grant");
    }
}

/// RFC 9700 §4.14.2 with a leeway: everybody gets the same successor, and the family never branches.
#[tokio::test]
async fn a_hundred_races_over_both_leave_one_successor_each() {
    let pair = Pair::start().await;
    let app = pair.first.client().await;
    let browser = pair.signed_in("alice").await;
    let mut token = app
        .tokens_of(&browser, "alice", "openid offline_access")
        .await
        .refresh()
        .to_owned();
    for _ in 0..ROUNDS {
        let answers = pair.race(&app, &token).await;
        let successors: HashSet<String> = answers
            .iter()
            .map(|answer| answer.tokens().refresh().to_owned())
            .collect();
        assert_eq!(successors.len(), 1, "every caller gets the same successor");
        token = successors.into_iter().next().unwrap();
        assert_eq!(pair.unconsumed_rows().await, 1, "one token is alive");
    }
    app.refresh(&token).await.tokens();
}

/// RFC 9700 §4.14.2 without: one success. The losers presented a spent token, so the family is revoked every time.
#[tokio::test]
async fn a_race_without_leeway_has_one_winner_and_ends_the_family() {
    let pair = Pair::start().await;
    let app = pair
        .first
        .client_with(|client| client.refresh_reuse_leeway_secs = Some(0))
        .await;
    let browser = pair.signed_in("alice").await;
    for _ in 0..ROUNDS {
        let tokens = app.tokens_of(&browser, "alice", "openid offline_access").await;
        let answers = pair.race(&app, tokens.refresh()).await;
        let won: Vec<&Answer> = answers
            .iter()
            .filter(|answer| answer.status == StatusCode::OK)
            .collect();
        assert_eq!(won.len(), 1);
        for answer in answers.iter().filter(|answer| answer.status != StatusCode::OK) {
            answer.refused("invalid_grant");
        }
        app.refresh(won[0].tokens().refresh())
            .await
            .refused("invalid_grant");
        app.userinfo(&won[0].tokens().access_token).await.is(401);
    }
}

/// The response is lost on the way: the request, repeated at the other process, gives what the first would have brought.
#[tokio::test]
async fn a_lost_response_is_asked_for_again_at_the_other_process() {
    let pair = Pair::start().await;
    let app = pair.first.client().await;
    let browser = pair.signed_in("alice").await;
    let tokens = app.tokens_of(&browser, "alice", "openid offline_access").await;

    send_and_hang_up(&app, tokens.refresh()).await;
    let again = app.at(&pair.second).refresh(tokens.refresh()).await.tokens();
    let and_again = app.refresh(tokens.refresh()).await.tokens();
    assert_eq!(again.refresh(), and_again.refresh());
    assert_eq!(pair.unconsumed_rows().await, 1);
    app.refresh(again.refresh()).await.tokens();
}

/// The leeway is what heals a lost response: without the salt that leads to the successor, the second request is reuse.
#[tokio::test]
async fn a_lost_response_without_its_salt_is_seen_to_end_the_family() {
    let pair = Pair::start().await;
    let app = pair.first.client().await;
    let browser = pair.signed_in("alice").await;
    let tokens = app.tokens_of(&browser, "alice", "openid offline_access").await;

    send_and_hang_up(&app, tokens.refresh()).await;
    sqlx::raw_sql("UPDATE refresh_tokens SET successor_salt = NULL")
        .execute(pair.db())
        .await
        .unwrap();
    app.at(&pair.second)
        .refresh(tokens.refresh())
        .await
        .refused("invalid_grant");
}

/// RT-4, RT-9: each repetition within the leeway and each reuse is one line of the log, a warning, with ids alone, at the
/// process that saw it.
#[tokio::test]
async fn every_repetition_and_every_reuse_is_one_security_event() {
    let pair = Pair::start().await;
    let app = pair.first.client().await;
    let browser = pair.signed_in("alice").await;
    let first = app.tokens_of(&browser, "alice", "openid offline_access").await;
    let second = app.refresh(first.refresh()).await.tokens();
    assert_eq!(
        events(&pair.processes[0]),
        Vec::<String>::new(),
        "a rotation is none"
    );
    app.refresh(first.refresh()).await.tokens();
    app.refresh(first.refresh()).await.tokens();
    app.at(&pair.second).refresh(first.refresh()).await.tokens();
    app.refresh(second.refresh()).await.tokens();
    app.at(&pair.second)
        .refresh(first.refresh())
        .await
        .refused("invalid_grant");

    let (repeated, reused) = ("refresh_token.repeated", "refresh_token.reused");
    // A line is read a moment after it is written.
    pair.processes[0].logs_times(repeated, 2).await;
    pair.processes[1].logs(reused).await;
    assert_eq!(events(&pair.processes[0]), [repeated, repeated]);
    assert_eq!(events(&pair.processes[1]), [repeated, reused]);
    for process in &pair.processes {
        assert!(!process.log().contains(first.refresh()) && !process.log().contains(second.refresh()));
    }
}

/// The security events of refresh tokens in the log, all of them warnings that name the grant and the client.
fn events(process: &Process) -> Vec<String> {
    let lines = process.log();
    let events = lines.lines().filter_map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        let event = line["event"].as_str()?.to_owned();
        if !event.starts_with("refresh_token.") {
            return None;
        }
        assert_eq!(line["level"], "WARN", "{line}");
        assert!(
            line["grant.id"].is_string() && line["client.id"].is_string(),
            "{line}"
        );
        Some(event)
    });
    events.collect()
}

/// Sends a refresh until the server must have read it, and never reads the answer.
async fn send_and_hang_up(app: &TestClient, refresh_token: &str) {
    let body = format!("grant_type=refresh_token&refresh_token={refresh_token}");
    let request = format!(
        "POST /oauth/token HTTP/1.1\r\nHost: op.test\r\nAuthorization: {}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        common::app::basic(app.client_id(), app.secret()),
        body.len()
    );
    let mut stream = tokio::net::TcpStream::connect(app.op.address()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    // The row tells when it was read; the answer goes to a socket whose reading half is closed.
    let consumed = "SELECT count(*) FROM refresh_tokens WHERE consumed_at IS NOT NULL";
    while sqlx::query_scalar::<_, i64>(consumed)
        .fetch_one(app.op.db())
        .await
        .unwrap()
        == 0
    {
        tokio::task::yield_now().await;
    }
    drop(stream);
}

/// The schema itself refuses a second live token (partial unique index), whatever a program does.
#[tokio::test]
async fn the_schema_refuses_a_second_live_token() {
    let pair = Pair::start().await;
    let app = pair.first.client().await;
    let browser = pair.signed_in("alice").await;
    app.tokens_of(&browser, "alice", "openid offline_access").await;
    let refused = second_live_token(pair.db()).await.unwrap_err();
    assert_eq!(
        refused.as_database_error().unwrap().constraint(),
        Some("refresh_tokens_one_live")
    );
}

/// The races above can fail: the textbook sequence (look, insert, mark) without the schema's guards branches the family.
#[tokio::test]
async fn the_textbook_sequence_without_guards_is_seen_to_branch() {
    let pair = Pair::start().await;
    let app = pair.first.client().await;
    let browser = pair.signed_in("alice").await;
    app.tokens_of(&browser, "alice", "openid offline_access").await;
    let drop_guards = "DROP INDEX refresh_tokens_one_live;
                       ALTER TABLE refresh_tokens DROP CONSTRAINT refresh_tokens_parent_unique";
    sqlx::raw_sql(drop_guards).execute(pair.db()).await.unwrap();
    let barrier = std::sync::Arc::new(tokio::sync::Barrier::new(2));
    let mut callers = JoinSet::new();
    for _ in 0..2 {
        callers.spawn(rotate_naively(pair.db().clone(), std::sync::Arc::clone(&barrier)));
    }
    callers.join_all().await;
    assert_eq!(
        pair.unconsumed_rows().await,
        2,
        "two tokens are alive, and the check of the races sees it"
    );
}

async fn rotate_naively(db: Pool, both_have_looked: std::sync::Arc<tokio::sync::Barrier>) {
    let live = "SELECT token_hash FROM refresh_tokens WHERE consumed_at IS NULL";
    let parent: Vec<u8> = sqlx::query_scalar(live).fetch_one(&db).await.unwrap();
    both_have_looked.wait().await;
    second_live_token(&db).await.unwrap();
    let mark = "UPDATE refresh_tokens SET consumed_at = now() WHERE token_hash = $1";
    sqlx::query(mark).bind(parent).execute(&db).await.unwrap();
}

/// A sibling of the first token of the family, alive like it.
async fn second_live_token(db: &Pool) -> sqlx::Result<()> {
    let insert = "INSERT INTO refresh_tokens (token_hash, grant_id, auth_time, parent_hash, issued_at, expires_at)
                  SELECT sha256(gen_random_uuid()::text::bytea), grant_id, auth_time, token_hash, issued_at, expires_at
                  FROM refresh_tokens ORDER BY issued_at LIMIT 1";
    sqlx::query(insert).execute(db).await.map(drop)
}
