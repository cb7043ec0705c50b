//! A copy of the database opens nothing: after a busy run, no table holds a credential in any form that could be used.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use common::receiver::Receiver;
use common::webhooks::on_loopback;
use common::{Browser, TestProvider, Visit, random_text};
use riley_auth::db;
use riley_auth::protocol::opaque::Opaque;
use sqlx::AssertSqlSafe;
use time::Duration;

/// Every row of every table as PostgreSQL prints it, with `bytea` in hex.
async fn dump(op: &TestProvider) -> String {
    let tables = "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public'";
    let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(op.db()).await.unwrap();
    assert!(tables.len() > 10, "{tables:?}");
    let mut dump = tables.join("\n");
    for table in tables {
        let rows = format!("SELECT t::text FROM \"{table}\" t");
        let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(rows))
            .fetch_all(op.db())
            .await
            .unwrap();
        dump.push_str(&rows.join("\n"));
    }
    dump.to_ascii_lowercase()
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// The secret itself, and what it might be kept as by somebody who meant well.
fn forms(secret: &str) -> Vec<String> {
    let mut forms = vec![secret.to_owned(), hex(secret.as_bytes()), STANDARD.encode(secret)];
    if let Ok(bytes) = URL_SAFE_NO_PAD.decode(secret) {
        forms.extend([hex(&bytes), STANDARD.encode(&bytes)]);
    }
    forms.iter().map(|form| form.to_ascii_lowercase()).collect()
}

/// Everything secret that people and apps got to see.
#[derive(Default)]
struct Seen(Vec<(&'static str, String)>);

impl Seen {
    fn add(&mut self, what: &'static str, secret: &str) {
        assert!(
            secret.len() >= 10,
            "{what} is too short to be told from other text"
        );
        self.0.push((what, secret.to_owned()));
    }

    fn add_cookies(&mut self, op: &TestProvider, browser: &Browser) {
        for cookie in browser.jar().live(op.clock().now()) {
            self.add("a cookie", &cookie.value);
        }
    }

    /// What the URLs of a journey carry: handles, states, nonces.
    fn add_urls(&mut self, visit: &Visit) {
        let urls = visit.hops.iter().map(|(url, _)| url).chain([&visit.url]);
        for (name, value) in urls.flat_map(|url| url.query_pairs().into_owned().collect::<Vec<_>>()) {
            if ["state", "nonce", "code", "request_id", "consent_id", "request"].contains(&name.as_str()) {
                self.add("a parameter of a URL", &value);
            }
        }
    }

    fn assert_absent_from(&self, dump: &str) {
        assert!(self.0.len() > 20, "{} secrets were seen", self.0.len());
        for (what, secret) in &self.0 {
            for form in forms(secret) {
                assert!(
                    !dump.contains(&form),
                    "{what} is in the database: {secret} as {form}"
                );
            }
        }
    }
}

/// Signs in, exchanges, refreshes, and leaves one of each kind in flight.
async fn busy_run(op: &TestProvider) -> Seen {
    let mut seen = Seen::default();
    let app = op.asking_client().await;
    let browser = op.browser();
    let verifier = random_text(60);
    let request = browser
        .authorize(&app)
        .scope("openid email offline_access")
        .pkce(&verifier);
    let granted = request.without("nonce").code_as("alice").await;
    let first = app.redeem(&granted).await.tokens();
    let second = app.refresh(first.refresh()).await.tokens();
    for tokens in [&first, &second] {
        seen.add("an access token", &tokens.access_token);
        seen.add("a signature", tokens.access_token.rsplit('.').next().unwrap());
        seen.add("a refresh token", tokens.refresh());
        seen.add("an ID token", tokens.id());
    }
    seen.add("a code", &granted.code);
    seen.add("a PKCE verifier", &verifier);
    seen.add("a state", granted.state.as_ref().unwrap());
    seen.add("a client secret", app.secret());
    seen.add_cookies(op, &browser);
    browser
        .authorize(&app)
        .scope("openid")
        .with("nonce", "")
        .code()
        .await;
    in_flight(op, &mut seen).await;
    add_upstream(op, &mut seen);
    rotate_secret(op, &app, &mut seen).await;
    seen
}

/// A sign-in, a request, a consent, an onboarding and a code that wait.
async fn in_flight(op: &TestProvider, seen: &mut Seen) {
    let app = op.asking_client().await;
    let at_upstream = op.browser();
    seen.add_urls(&at_upstream.open("https://op.test/auth/simulated").await);
    seen.add_cookies(op, &at_upstream);
    let browser = op.browser();
    let at_login = browser.authorize(&app).visit().await;
    seen.add_urls(&at_login);
    let at_consent = browser.sign_in_at(&at_login.url, "bob").await;
    seen.add_urls(&at_consent);
    assert!(at_consent.url.path() == "/consent", "{}", at_consent.url);
    let session = browser.fetch(
        "https://op.test/",
        reqwest::Method::POST,
        "https://op.test/auth/refresh",
        &[("x-requested-with", "x")],
        None,
    );
    session.await.unwrap().is(200);
    seen.add_cookies(op, &browser);
    let unused = browser
        .authorize(&op.client().await)
        .without("nonce")
        .code()
        .await;
    seen.add("an unused code", &unused.code);
}

/// UP-15: what the upstream gave, as it was shown to it again, and what we proved ourselves to it with. ID tokens are not
/// shown again; no JWT at all may be in the database.
fn add_upstream(op: &TestProvider, seen: &mut Seen) {
    let mut bearers = 0;
    for request in op.upstream().requests() {
        if let Some(token) = request
            .header("authorization")
            .and_then(|field| field.strip_prefix("Bearer "))
        {
            seen.add("an upstream's access token", token);
            bearers += 1;
        }
        for name in ["code", "code_verifier"] {
            if let Some(value) = request.form(name) {
                seen.add("a code of an upstream, or our verifier", value);
            }
        }
    }
    assert!(bearers >= 2, "alice and bob signed in");
}

async fn rotate_secret(op: &TestProvider, app: &common::TestClient, seen: &mut Seen) {
    let secret = Opaque::generate(&aws_lc_rs::rand::SystemRandom::new());
    let now = op.clock().now();
    let (client_id, until) = (&app.client.client_id, now + Duration::days(1));
    assert!(
        db::clients::rotate_secret(op.db(), client_id, &secret.hash(), until, now)
            .await
            .unwrap()
    );
    seen.add("a new client secret", &secret.expose());
}

/// Everything that the database says of a person beyond ids and times: texts and what is in JSON, lines of four characters
/// at least.
async fn personal_values(op: &TestProvider, user_id: uuid::Uuid) -> Vec<String> {
    let sources = [
        "SELECT to_jsonb(u) - '{user_id,role,created_at,updated_at,username_changed_at,primary_link_id,display_name_link_id,picture_link_id,claims_link_id}'::text[] FROM users u WHERE user_id = $1",
        "SELECT to_jsonb(username_folded) FROM held_usernames WHERE user_id = $1",
        "SELECT jsonb_build_array(subject, display, email, email_folded) FROM oauth_links WHERE user_id = $1",
        "SELECT jsonb_build_array(user_agent, ip_address, upstream_sid) FROM sessions WHERE user_id = $1",
        "SELECT jsonb_build_array(nonce) FROM grants WHERE user_id = $1",
        "SELECT jsonb_build_array(nonce) FROM authorization_codes WHERE user_id = $1",
        "SELECT actor_personal::jsonb FROM audit_entries WHERE actor_user_id = $1",
        "SELECT target_personal::jsonb FROM audit_entries WHERE target_user_id = $1",
        "SELECT e.data - '{user_id,session_id,link_id,client_id,grant_id,scope,provider,reason,changed}'::text[] FROM events e JOIN deliveries d USING (event_id)
         WHERE e.data->>'user_id' = $1::text",
    ];
    let mut values = Vec::new();
    for source in sources {
        let rows: Vec<serde_json::Value> = sqlx::query_scalar(source)
            .bind(user_id)
            .fetch_all(op.db())
            .await
            .unwrap();
        assert!(!rows.is_empty(), "{source}");
        for row in &rows {
            collect_texts(row, &mut values);
        }
    }
    values.sort();
    values.dedup();
    values
}

fn collect_texts(value: &serde_json::Value, texts: &mut Vec<String>) {
    use serde_json::Value;
    match value {
        // A row's text shows line breaks otherwise.
        Value::String(text) => texts.extend(
            text.lines()
                .filter(|line| line.len() >= 4)
                .map(str::to_ascii_lowercase),
        ),
        Value::Array(items) => items.iter().for_each(|item| collect_texts(item, texts)),
        Value::Object(members) => members.values().for_each(|member| collect_texts(member, texts)),
        _ => {}
    }
}

/// Somebody of whom a lot is held, under names that are nothing else.
async fn somebody_with_a_past(op: &TestProvider) -> Browser {
    let app = op.asking_client().await;
    let elsewhere = op.signed_in("ada").await;
    app.tokens_of(&elsewhere, "ada", "openid profile email offline_access")
        .await;
    let ada = op.signed_in("ada").await;
    ada.authorize(&app).code().await;
    ada.authorize(&op.asking_client().await).visit().await;
    ada.open("https://op.test/auth/simulated").await;
    for name in ["Countess_of", "Lovelace_1815"] {
        let body = serde_json::json!({ "username": name });
        let renamed = ada
            .call(reqwest::Method::PATCH, "/auth/me/username", Some(&body))
            .await;
        renamed.is(200);
    }
    for fill in [
        "UPDATE users SET picture = 'https://pictures.example/1815.png' WHERE username = 'Lovelace_1815'",
        "UPDATE sessions SET user_agent = 'Difference Engine No. 2', ip_address = '203.0.113.18', upstream_sid = 'upstream-1815'
         WHERE user_id = (SELECT user_id FROM users WHERE username = 'Lovelace_1815')",
    ] {
        sqlx::query(fill).execute(op.db()).await.unwrap();
    }
    ada
}

/// AC-10, WH-11: once an account is deleted, nothing that the database held of its owner is in it: no name, no address, no
/// identity, no session, in no table and no payload. What others have stays.
#[tokio::test]
async fn a_dump_after_a_deletion_holds_nothing_of_the_person() {
    use riley_auth::audit::{Action, Actor, Entry, Target, record};
    let op = TestProvider::with(|config| {
        config.usernames.days_between_changes = 0;
        on_loopback(config);
    })
    .await;
    // Hears of everything, and is told of nothing yet.
    let receiver = Receiver::start().await;
    op.webhook_of(&receiver, None, &[]).await;
    // Of whom the upstream says nothing that it says of the other one, too.
    let _bertha = op.signed_in("bertha").await;
    let ada = somebody_with_a_past(&op).await;
    let user_id = ada.user_id().await.parse().unwrap();
    let entry = Entry {
        action: Action::UserExported,
        target: Target::user(user_id, "Lovelace_1815"),
        details: serde_json::json!({}),
    };
    let actor = Actor::User {
        user_id,
        ip_address: Some("203.0.113.19".to_owned()),
    };
    let (state, mut tx) = (op.state(), op.db().begin().await.unwrap());
    record(
        &mut tx,
        &state.keyring,
        &state.rng,
        &actor,
        &entry,
        op.clock().now(),
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();

    let (values, before) = (personal_values(&op, user_id.0).await, dump(&op).await);
    assert!(values.len() > 20, "{values:?}");
    for value in &values {
        assert!(
            before.contains(value.as_str()),
            "{value}: the search finds what is there"
        );
    }
    let deleted = ada.call(reqwest::Method::DELETE, "/auth/me", None).await;
    deleted.is(200);
    let after = dump(&op).await;
    for value in &values {
        assert!(!after.contains(value.as_str()), "{value} is still there");
    }
    // What happened, and to which account, is still known; ids tell nothing of the person.
    assert!(after.contains("bertha") && after.contains(&user_id.0.to_string()));
}

/// A header that starts with `{"`, and a payload.
fn holds_a_jwt(dump: &str) -> bool {
    let jwt = regex::Regex::new(r"eyj[a-z0-9_-]{8,}\.[a-z0-9_-]{8,}").unwrap();
    jwt.is_match(dump)
}

#[tokio::test]
async fn a_dump_after_a_busy_run_holds_no_credential() {
    let op = TestProvider::start().await;
    let seen = busy_run(&op).await;
    let dump = dump(&op).await;
    seen.assert_absent_from(&dump);
    assert!(!holds_a_jwt(&dump));
}

/// The search finds what is there: the hash of a refresh token, and a token that is stored as it is.
#[tokio::test]
async fn the_search_would_find_a_stored_token() {
    let op = TestProvider::start().await;
    let app = op.client().await;
    let tokens = app
        .tokens_of(&op.signed_in("alice").await, "alice", "openid")
        .await;
    let raw = URL_SAFE_NO_PAD.decode(tokens.refresh()).unwrap();
    let found = |dump: &str| forms(tokens.refresh()).iter().any(|form| dump.contains(form));
    let before = dump(&op).await;
    let hashes = [
        digest(&SHA256, &raw),
        digest(&SHA256, tokens.refresh().as_bytes()),
    ];
    assert!(
        hashes.iter().any(|hash| before.contains(&hex(hash.as_ref()))),
        "the hash is there"
    );
    assert!(!found(&before));
    sqlx::query("UPDATE refresh_tokens SET successor_salt = $1")
        .bind(&raw)
        .execute(op.db())
        .await
        .unwrap();
    assert!(found(&dump(&op).await));
    sqlx::query("UPDATE users SET display_name = $1")
        .bind(tokens.id())
        .execute(op.db())
        .await
        .unwrap();
    assert!(holds_a_jwt(&dump(&op).await));
}
