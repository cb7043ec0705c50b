//! A copy of the database opens nothing: after a busy run, no table holds a credential in any form that could be used.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::collections::BTreeSet;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use common::linking::{link, linked_providers, sign_in};
use common::receiver::Receiver;
use common::upstreams::with_upstreams;
use common::webhooks::on_loopback;
use common::{Browser, TestClient, TestProvider, Visit, random_text};
use reqwest::Method;
use riley_auth::config::oauth::AccountMergePolicy;
use riley_auth::db;
use riley_auth::dev::simulated_upstream::{Flavour, SimulatedUpstream};
use riley_auth::protocol::opaque::Opaque;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

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

/// Everything that is told to the owner of an account of what is held of them, as the texts that it consists of: without ids and
/// times, which stay and tell nothing, and without what is too short to be told from other text.
async fn texts_of(browser: &Browser) -> BTreeSet<String> {
    let export = browser.read("/auth/me/export").await;
    let mut texts = BTreeSet::new();
    collect_texts(&export, &mut texts);
    texts
}

fn collect_texts(value: &Value, texts: &mut BTreeSet<String>) {
    match value {
        Value::String(text) if text.starts_with('{') => {
            collect_texts(&serde_json::from_str(text).unwrap(), texts);
        }
        // A row's text shows line breaks otherwise.
        Value::String(text) => texts.extend(
            text.lines()
                .filter(|line| tells(line))
                .map(str::to_ascii_lowercase),
        ),
        Value::Array(items) => items.iter().for_each(|item| collect_texts(item, texts)),
        Value::Object(members) => members.values().for_each(|member| collect_texts(member, texts)),
        _ => {}
    }
}

fn tells(text: &str) -> bool {
    let is_id = uuid::Uuid::try_parse(text).is_ok();
    let is_time = OffsetDateTime::parse(text, &Rfc3339).is_ok();
    // A postal code may stand in any hash.
    let is_short = text.len() < 4 || (text.len() < 10 && text.bytes().all(|byte| byte.is_ascii_hexdigit()));
    !is_id && !is_time && !is_short
}

/// Two people of whom everything is held that can be held, and nothing alike but what is not theirs.
struct World {
    op: TestProvider,
    _upstreams: Vec<SimulatedUpstream>,
    root: Browser,
    apps: [TestClient; 2],
    receiver: Receiver,
}

impl World {
    async fn start() -> Self {
        let trusted = json!({ "email_trust": "verified", "scopes": ["openid", "profile", "email", "address", "phone"] });
        let list = [
            ("simulated", Flavour::Oidc, trusted),
            ("github", Flavour::GitHub, json!({})),
            ("google", Flavour::Google, json!({})),
        ];
        let (op, upstreams) = with_upstreams(&list, |config| {
            config.usernames.days_between_changes = 0;
            config.oauth.account_merge_policy = AccountMergePolicy::VerifiedEmail;
            config.server.behind_proxy = true;
            on_loopback(config);
        })
        .await;
        let receiver = Receiver::start().await;
        op.webhook_of(&receiver, None, &[]).await;
        Self {
            root: op.administrator("root").await,
            apps: [op.asking_client().await, op.asking_client().await],
            op,
            _upstreams: upstreams,
            receiver,
        }
    }

    /// Somebody with two apps, three names, a linked provider and one that was merged, who was an administrator for a while.
    async fn somebody_with_a_past(&self, person: &str, names: [&str; 2], address: &str) -> Browser {
        let (op, [app, other_app]) = (&self.op, &self.apps);
        let elsewhere = op.signed_in(person).await;
        app.tokens_of(&elsewhere, person, "openid profile email offline_access")
            .await;
        let browser = op.signed_in(person).await;
        browser.authorize(app).code().await;
        // One that waits, and a sign-in under way.
        browser.authorize(other_app).visit().await;
        browser.open("https://op.test/auth/simulated").await;
        for name in names {
            let body = json!({ "username": name });
            browser
                .send(Method::PATCH, "/auth/me/username", &body)
                .await
                .is(200);
        }
        let body = json!({ "display_name": format!("{} the Great", names[0]) });
        browser.send(Method::PATCH, "/auth/me", &body).await.is(200);
        let mailbox = format!("{person}.elsewhere@gmail.com");
        link(&browser, "github", &mailbox).await;
        // Ends every session, since whoever has them has not proved this identity.
        sign_in(&op.browser(), "google", &mailbox).await;
        let browser = op.signed_in(person).await;
        assert_eq!(
            linked_providers(&browser).await,
            ["simulated", "github", "google"]
        );
        self.rule_for_a_while(&browser, address).await;
        sqlx::query(
            "WITH person AS (UPDATE users SET picture = 'https://pictures.example/' || username WHERE username = $1
                             RETURNING user_id)
             UPDATE sessions SET user_agent = 'Engine of ' || $1, ip_address = $2, upstream_sid = 'sid of ' || $1
             WHERE user_id IN (SELECT user_id FROM person)",
        )
        .bind(names[1])
        .bind(address)
        .execute(op.db())
        .await
        .unwrap();
        browser
    }

    /// Done by an administrator and to one: entries of the trail that name the person on either side.
    async fn rule_for_a_while(&self, browser: &Browser, address: &str) {
        let role = format!("/admin/users/{}/role", browser.user_id().await);
        for turn in ["admin", "user"] {
            let body = json!({ "role": turn });
            self.root.send(Method::PATCH, &role, &body).await.is(200);
            if turn == "admin" {
                let url = "https://op.test/admin/reserved-usernames";
                let headers = [("x-requested-with", "fetch"), ("x-forwarded-for", address)];
                let body = json!({ "username": "pope" });
                let page = "https://op.test/";
                let reserved = browser
                    .fetch(page, Method::POST, url, &headers, Some(&body))
                    .await;
                reserved.unwrap().is(201);
                self.root.remove("/admin/reserved-usernames/pope").await.is(204);
            }
        }
    }
}

/// AC-10, WH-11: once an account is deleted, nothing that its owner was told to be held of them is in the database: no name, no
/// address, no identity, no session, in no table and no payload. What others have stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_dump_after_a_deletion_holds_nothing_of_the_person() {
    let world = World::start().await;
    let op = &world.op;
    let emmy = world
        .somebody_with_a_past("emmy", ["Princess_of_rings", "Noether_1882"], "203.0.113.82")
        .await;
    let grace = world
        .somebody_with_a_past("grace", ["Amazing_of_ships", "Hopper_1906"], "203.0.113.106")
        .await;
    let user_id = grace.user_id().await;
    // Some of it has been delivered.
    op.wake_workers().await;
    world.receiver.waits_for(5).await;

    let others = texts_of(&emmy).await;
    let own: Vec<String> = texts_of(&grace).await.difference(&others).cloned().collect();
    let before = dump(op).await;
    for text in &own {
        assert!(before.contains(text), "{text}: the search finds what is there");
    }
    for kind in [
        "grace",
        "amazing_of_ships",
        "amazing_of_ships the great",
        "hopper_1906",
        "grace.elsewhere@gmail.com",
        "https://pictures.example/hopper_1906",
        "engine of hopper_1906",
        "203.0.113.106",
        "sid of hopper_1906",
    ] {
        assert!(
            own.iter().any(|text| text.contains(kind)),
            "{kind} is not exported: {own:#?}"
        );
    }
    grace.remove("/auth/me").await.is(200);
    let after = dump(op).await;
    for text in &own {
        assert!(!after.contains(text), "{text} is still there");
    }
    // What happened, and to which account, is still known; ids tell nothing of the person.
    assert!(after.contains(&user_id));
    let emmys: Vec<&String> = others.iter().filter(|text| !after.contains(*text)).collect();
    assert!(emmys.is_empty(), "of somebody else: {emmys:?}");
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
