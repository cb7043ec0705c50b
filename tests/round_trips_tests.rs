//! What a request costs PostgreSQL, counted on the wire: a proxy between the pool and the server reads the frontend's
//! messages. A round trip ends with Sync or is a simple Query; one without a statement is a ping, and the pool pings each
//! connection exactly once when it is given back, so the pings are the acquires.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use common::app::basic;
use common::{Answer, Browser, Outcome, TestClient, TestProvider, Tokens};
use reqwest::Method;
use riley_auth::db::Connection;
use riley_auth::protocol::opaque::Opaque;
use secrecy::ExposeSecret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

/// The statements of every round trip since the last look.
#[derive(Clone, Default)]
struct Wire(Arc<Mutex<Vec<Vec<String>>>>);

/// What one request cost.
#[derive(Debug, PartialEq, Eq)]
struct Cost {
    statements: usize,
    writes: usize,
    acquires: usize,
}

/// A provider whose connections are counted, of which a request can have one.
struct Counted {
    op: TestProvider,
    wire: Wire,
    _other: Connection,
}

impl Counted {
    async fn start() -> Self {
        let wire = Wire::default();
        let proxied = wire.clone();
        let op = TestProvider::with(move |config| {
            let url = proxied.between(config.database.url.expose_secret());
            config.database.url = url.into();
            config.database.max_connections = 2;
            config.database.acquire_timeout_secs = 5;
        })
        .await;
        // Workers have connections of their own, which are not counted.
        let other = op.db().acquire().await.unwrap();
        Self {
            op,
            wire,
            _other: other,
        }
    }

    /// What answering cost, once the connection is back in the pool.
    async fn cost(&self, request: impl Future<Output = Answer>) -> (Cost, Answer) {
        // A connection that was idle for a second would be pinged first.
        drop(self.op.db().acquire().await.unwrap());
        self.at_rest().await;
        self.wire.take();
        let answer = request.await;
        self.at_rest().await;
        (Cost::of(&self.wire.take()), answer)
    }

    /// The statements that answering took, in their order.
    async fn statements(&self, request: impl Future<Output = Answer>) -> (Vec<String>, Answer) {
        drop(self.op.db().acquire().await.unwrap());
        self.at_rest().await;
        self.wire.take();
        let answer = request.await;
        self.at_rest().await;
        (self.wire.take().into_iter().flatten().collect(), answer)
    }

    /// Until nobody but this test holds a connection.
    async fn at_rest(&self) {
        while self.op.db().idle() + 1 < self.op.db().size() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// A client, tokens of a person, and everything prepared and cached.
    async fn warm(&self) -> (TestClient, Browser, Tokens) {
        let app = self.op.client().await;
        let browser = self.op.signed_in("alice").await;
        let tokens = app
            .tokens_of(&browser, "alice", "openid profile email offline_access")
            .await;
        let tokens = app.refresh(tokens.refresh()).await.tokens();
        app.introspect(&tokens.access_token).await.is(200);
        app.introspect(tokens.refresh()).await.is(200);
        app.userinfo(&tokens.access_token).await.is(200);
        let other = app.tokens_of(&browser, "alice", "openid").await;
        app.revoke(&other.access_token).await.is(200);
        let other = app.tokens_of(&browser, "alice", "openid").await;
        app.revoke(other.refresh()).await.is(200);
        (app, browser, tokens)
    }
}

impl Cost {
    const NOTHING: Self = Self {
        statements: 0,
        writes: 0,
        acquires: 0,
    };
    const ONE_READ: Self = Self {
        statements: 1,
        writes: 0,
        acquires: 1,
    };
    const ONE_WRITE: Self = Self {
        statements: 1,
        writes: 1,
        acquires: 1,
    };
    const READ_AND_WRITE: Self = Self {
        statements: 2,
        writes: 1,
        acquires: 1,
    };

    fn of(round_trips: &[Vec<String>]) -> Self {
        let statements: Vec<&str> = round_trips.iter().flatten().map(String::as_str).collect();
        Self {
            statements: statements.len(),
            writes: statements.iter().filter(|sql| writes(sql)).count(),
            acquires: round_trips
                .iter()
                .filter(|statements| statements.is_empty())
                .count(),
        }
    }
}

fn writes(sql: &str) -> bool {
    ["INSERT INTO", "UPDATE ", "DELETE FROM"]
        .iter()
        .any(|verb| sql.replace("FOR UPDATE", "").contains(verb))
}

impl Wire {
    /// The URL of a listener that passes everything on to the server of `url`.
    fn between(&self, url: &str) -> String {
        let mut url = Url::parse(url).unwrap();
        let server = (url.host_str().unwrap().to_owned(), url.port().unwrap_or(5432));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let (listener, wire) = (TcpListener::from_std(listener).unwrap(), self.clone());
        tokio::spawn(async move {
            while let Ok((frontend, _)) = listener.accept().await {
                let backend = TcpStream::connect(server.clone()).await.unwrap();
                tokio::spawn(wire.clone().pass(frontend, backend));
            }
        });
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(address.port())).unwrap();
        if !url.query().unwrap_or_default().contains("sslmode=") {
            url.query_pairs_mut().append_pair("sslmode", "disable");
        }
        url.into()
    }

    async fn pass(self, frontend: TcpStream, backend: TcpStream) {
        let _ = (frontend.set_nodelay(true), backend.set_nodelay(true));
        let (mut from_client, mut to_client) = frontend.into_split();
        let (mut from_server, mut to_server) = backend.into_split();
        tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
        let (mut reader, mut buffer) = (Messages::default(), vec![0; 64 * 1024]);
        while let Ok(size @ 1..) = from_client.read(&mut buffer).await {
            self.0.lock().unwrap().extend(reader.read(&buffer[..size]));
            if to_server.write_all(&buffer[..size]).await.is_err() {
                break;
            }
        }
    }

    fn take(&self) -> Vec<Vec<String>> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// The frontend's messages of one connection (PostgreSQL, "Message Formats").
#[derive(Default)]
struct Messages {
    unread: Vec<u8>,
    started: bool,
    of_workers: bool,
    prepared: HashMap<String, String>,
    /// Executed since the last Sync.
    bound: Option<String>,
    executed: Vec<String>,
}

impl Messages {
    /// The round trips that end within these bytes.
    fn read(&mut self, bytes: &[u8]) -> Vec<Vec<String>> {
        self.unread.extend_from_slice(bytes);
        let mut ended = Vec::new();
        loop {
            let tag_size = usize::from(self.started); // the startup message alone has no tag
            let Some(length) = self.unread.get(tag_size..tag_size + 4) else {
                return ended;
            };
            let size = tag_size + usize::try_from(u32::from_be_bytes(length.try_into().unwrap())).unwrap();
            if self.unread.len() < size {
                return ended;
            }
            let message: Vec<u8> = self.unread.drain(..size).collect();
            if self.started && !self.of_workers {
                ended.extend(self.message(message[0], &message[5..]));
            } else if !self.started {
                // What workers ask for on connections of their own is no request's cost.
                let name = b"riley-auth-workers";
                self.of_workers = message.windows(name.len()).any(|window| window == name);
            }
            self.started = true;
        }
    }

    fn message(&mut self, tag: u8, body: &[u8]) -> Option<Vec<String>> {
        let mut texts = body
            .split(|byte| *byte == 0)
            .map(|text| String::from_utf8_lossy(text).into_owned());
        let mut text = || texts.next().unwrap_or_default();
        match tag {
            b'P' => drop(self.prepared.insert(text(), text())),
            b'B' => self.bound = text().is_empty().then(text),
            b'E' => self.executed.extend(
                self.bound
                    .as_ref()
                    .and_then(|name| self.prepared.get(name))
                    .cloned(),
            ),
            b'Q' => return Some(vec![text()]),
            b'S' => return Some(std::mem::take(&mut self.executed)),
            _ => {}
        }
        None
    }
}

/// The harness can tell: the same work in one transaction of single statements is counted as what it is.
#[tokio::test]
async fn a_transaction_of_single_statements_is_counted_as_one() {
    let counted = Counted::start().await;
    // What a new connection begins with is not counted.
    drop(counted.op.db().acquire().await.unwrap());
    counted.at_rest().await;
    counted.wire.take();
    let mut transaction = counted.op.db().begin().await.unwrap();
    sqlx::raw_sql("UPDATE grants SET nonce = 'x'")
        .execute(&mut *transaction)
        .await
        .unwrap();
    sqlx::raw_sql("DELETE FROM grants")
        .execute(&mut *transaction)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    counted.at_rest().await;
    let cost = Cost::of(&counted.wire.take());
    assert_eq!(
        cost,
        Cost {
            statements: 4,
            writes: 2,
            acquires: 1
        }
    );
}

/// A refresh loads, decides and writes: two statements, one of which writes, on one connection.
#[tokio::test]
async fn a_refresh_is_one_read_and_one_write() {
    let counted = Counted::start().await;
    let (app, _, tokens) = counted.warm().await;
    let (cost, answer) = counted.cost(app.refresh(tokens.refresh())).await;
    answer.tokens();
    assert_eq!(cost, Cost::READ_AND_WRITE);
}

/// RFC 6749 §4.1.2: using the code up and making the grant is one statement, so there is nothing between to be torn.
#[tokio::test]
async fn a_code_exchange_is_one_read_and_one_write() {
    let counted = Counted::start().await;
    let (app, browser, _) = counted.warm().await;
    let granted = browser
        .authorize(&app)
        .scope("openid offline_access")
        .code()
        .await;
    let (cost, answer) = counted.cost(app.redeem(&granted)).await;
    answer.tokens();
    assert_eq!(cost, Cost::READ_AND_WRITE);
}

/// A response that is asked for again within the leeway costs a read.
#[tokio::test]
async fn a_repeated_refresh_writes_nothing() {
    let counted = Counted::start().await;
    let (app, _, tokens) = counted.warm().await;
    app.refresh(tokens.refresh()).await.tokens();
    let (cost, answer) = counted.cost(app.refresh(tokens.refresh())).await;
    answer.tokens();
    assert_eq!(cost, Cost::ONE_READ);
}

#[tokio::test]
async fn userinfo_is_one_read() {
    let counted = Counted::start().await;
    let (app, _, tokens) = counted.warm().await;
    let (cost, answer) = counted.cost(app.userinfo(&tokens.access_token)).await;
    answer.is(200);
    assert_eq!(cost, Cost::ONE_READ);
}

#[tokio::test]
async fn introspection_is_one_read_for_either_kind_of_token() {
    let counted = Counted::start().await;
    let (app, _, tokens) = counted.warm().await;
    for token in [&tokens.access_token, tokens.refresh()] {
        let (cost, answer) = counted.cost(app.introspect(token)).await;
        assert_eq!((cost, &answer.json()["active"]), (Cost::ONE_READ, &true.into()));
    }
}

#[tokio::test]
async fn a_revocation_is_one_write_for_either_kind_of_token() {
    let counted = Counted::start().await;
    let (app, browser, tokens) = counted.warm().await;
    let other = app.tokens_of(&browser, "alice", "openid").await;
    for token in [&other.access_token, tokens.refresh()] {
        let (cost, answer) = counted.cost(app.revoke(token)).await;
        answer.is(200);
        assert_eq!(cost, Cost::ONE_WRITE);
        assert!(!app.is_active(token).await);
    }
}

/// Metadata and liveness do not need the database at all.
#[tokio::test]
async fn discovery_keys_and_liveness_ask_nothing() {
    let counted = Counted::start().await;
    for path in [
        "/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server",
        "/.well-known/jwks.json",
        "/health",
    ] {
        let (cost, answer) = counted.cost(counted.op.get(path)).await;
        answer.is(200);
        assert_eq!(cost, Cost::NOTHING, "{path}");
    }
}

/// What cannot be a token of ours is refused before anybody asks the database.
#[tokio::test]
async fn forged_tokens_ask_nothing() {
    let counted = Counted::start().await;
    let (app, _, tokens) = counted.warm().await;
    let forged = format!("{}x", tokens.access_token);
    let (cost, answer) = counted.cost(app.userinfo(&forged)).await;
    answer.is(401);
    assert_eq!(cost, Cost::NOTHING);
    let (cost, answer) = counted.cost(app.introspect(&forged)).await;
    assert_eq!((cost, &answer.json()["active"]), (Cost::NOTHING, &false.into()));
    let malformed = counted
        .op
        .request(Method::GET, "/oauth/userinfo")
        .bearer_auth("x");
    assert_eq!(counted.cost(Answer::of(malformed)).await.0, Cost::NOTHING);
}

/// What an answer says, all of it but when it was given and which request it was.
fn told(answer: &Answer) -> (u16, String, BTreeMap<String, Vec<String>>) {
    let mut headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in &answer.headers {
        if !["date", "x-request-id"].contains(&name.as_str()) {
            headers
                .entry(name.to_string())
                .or_default()
                .push(value.to_str().unwrap().to_owned());
        }
    }
    (answer.status.as_u16(), answer.text.clone(), headers)
}

/// CO-2: an id that is another's, another session's, expired, decided or made up costs the same statements and gets the same
/// answer, to the last header: neither words nor time tell them apart.
#[tokio::test]
async fn ids_of_consents_that_are_not_ones_own_cost_and_say_the_same() {
    let counted = Counted::start().await;
    let app = counted.op.asking_client().await;
    let ada = counted.op.signed_in("ada").await;
    let (alan, elsewhere) = (
        counted.op.signed_in("alan").await,
        counted.op.signed_in("ada").await,
    );
    let replaced = counted.op.signed_in("ada").await;
    let ask = async |browser: &Browser| match browser.authorize(&app).send().await {
        Outcome::Page(page) => page,
        other => panic!("consent is asked for: {other:?}"),
    };
    let (open, decided, expired) = (ask(&ada).await, ask(&ada).await, ask(&ada).await);
    ada.send_decision(&decided, false).await.is(200);
    let of_predecessor = ask(&replaced).await;
    counted.op.upstream().sign_everybody_out();
    replaced.sign_in("alan").await;
    let mut made_up = open.clone();
    made_up
        .query_pairs_mut()
        .clear()
        .append_pair("consent_id", &Opaque::generate(&SystemRandom::new()).expose());

    let mut seen = Vec::new();
    for (case, browser, page) in [
        ("made up", &ada, &made_up),
        ("another's", &alan, &open),
        ("of another session", &elsewhere, &open),
        ("of another session of this browser", &replaced, &of_predecessor),
        ("decided", &ada, &decided),
        ("expired", &ada, &expired),
    ] {
        if case == "expired" {
            counted.op.advance_secs(601);
        }
        let (read, answer) = counted.statements(browser.consent_context(page)).await;
        let (written, refused) = counted.statements(browser.send_decision(page, true)).await;
        answer.is(404);
        assert!(!read.is_empty(), "{case}: the statements are seen");
        seen.push((case, read, told(&answer), written, told(&refused)));
    }
    let (_, read, answer, written, refused) = seen[0].clone();
    for (case, read_then, answer_then, written_then, refused_then) in seen {
        assert_eq!(read_then, read, "{case}");
        assert_eq!(answer_then, answer, "{case}");
        assert_eq!(written_then, written, "{case}");
        assert_eq!(refused_then, refused, "{case}");
    }
    // The check can fail: an id that is one's own costs more.
    let (own, answer) = counted.statements(ada.consent_context(&ask(&ada).await)).await;
    answer.is(200);
    assert_ne!(own, read);
}

/// CA-4: an unknown client, a wrong secret and a disabled client cost the same statement and get the same answer.
#[tokio::test]
async fn clients_that_are_refused_cost_and_say_the_same() {
    let counted = Counted::start().await;
    let (app, _, _) = counted.warm().await;
    let disabled = counted.op.client().await;
    sqlx::query("UPDATE oauth_clients SET disabled_at = now() WHERE client_id = $1")
        .bind(disabled.client_id())
        .execute(counted.op.db())
        .await
        .unwrap();
    let as_if = |client_id: &str, secret: &str| {
        let request = counted.op.request(Method::POST, "/oauth/token");
        let request = request.header("authorization", basic(client_id, secret));
        Answer::of(request.form(&[("grant_type", "refresh_token"), ("refresh_token", "x")]))
    };
    let other = common::random_text(43);
    let (statements, unknown) = counted
        .statements(as_if(&common::random_text(22), app.secret()))
        .await;
    unknown.refused("invalid_client");
    assert_eq!(statements.len(), 1);
    for (case, client_id, secret) in [
        ("wrong secret", app.client_id(), other.as_str()),
        ("wrong secret of a disabled one", disabled.client_id(), &other),
        ("disabled", disabled.client_id(), disabled.secret()),
    ] {
        let (then, answer) = counted.statements(as_if(client_id, secret)).await;
        assert_eq!((&then, told(&answer)), (&statements, told(&unknown)), "{case}");
    }
}

/// A registration that changed is loaded anew, and once only.
#[tokio::test]
async fn a_changed_registration_costs_two_reads_once() {
    let counted = Counted::start().await;
    let (app, _, tokens) = counted.warm().await;
    let touch = "UPDATE oauth_clients SET name = 'Renamed'";
    sqlx::raw_sql(touch).execute(counted.op.db()).await.unwrap();
    let (cost, answer) = counted.cost(app.refresh(tokens.refresh())).await;
    let tokens = answer.tokens();
    assert_eq!(
        cost,
        Cost {
            statements: 4,
            writes: 1,
            acquires: 1
        }
    );
    let (cost, _) = counted.cost(app.refresh(tokens.refresh())).await;
    assert_eq!(cost, Cost::READ_AND_WRITE);
}
