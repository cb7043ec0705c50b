//! The endpoints that clients talk to directly: token, UserInfo, introspection, revocation, discovery.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it like the test itself"
)]

#[path = "common/database.rs"]
mod database;

use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use database::TestDatabase;
use http_body_util::BodyExt;
use riley_auth::clock::Clock;
use riley_auth::config::Config;
use riley_auth::db;
use riley_auth::db::Pool;
use riley_auth::db::authorization_codes::NewCode;
use riley_auth::http::state::AppState;
use riley_auth::jwt::{KeySet, KeySource};
use riley_auth::oauth_provider::{discovery, introspect, revoke, token, userinfo};
use riley_auth::protocol::algorithm::SigningAlgorithm;
use riley_auth::protocol::client::{Client, ClientSecret, ClientType, GrantType};
use riley_auth::protocol::ids::{ClientId, GrantId, SessionId, UserId};
use riley_auth::protocol::opaque::Opaque;
use riley_auth::protocol::scope::ScopeSet;
use riley_auth::server;
use serde_json::Value;
use time::Duration;
use tokio::task::JoinSet;
use tower::ServiceExt;
use uuid::Uuid;

const REDIRECT_URI: &str = "https://app.example/callback";
/// RFC 7636 Appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// A provider without the parts that need a browser: codes are put into the database.
struct Provider {
    routes: Router,
    clock: Clock,
    db: Pool,
    user_id: UserId,
    session_id: SessionId,
    /// Last, so that the database outlives the pool.
    _database: TestDatabase,
}

/// A registered client with its secret.
struct App {
    client_id: ClientId,
    secret: Option<String>,
}

impl App {
    fn form(&self, fields: &[(&str, &str)]) -> String {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(fields);
        form.append_pair("client_id", self.client_id.as_str());
        if let Some(secret) = &self.secret {
            form.append_pair("client_secret", secret);
        }
        form.finish()
    }
}

/// What came back.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: axum::http::HeaderMap,
    body: Value,
}

impl Answer {
    async fn of(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Self {
            status: parts.status,
            headers: parts.headers,
            body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        }
    }

    fn ok(self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{self:?}");
        self.body
    }

    fn refused(&self, status: u16, error: &str) {
        assert_eq!(
            (self.status.as_u16(), self.text("error")),
            (status, error),
            "{self:?}"
        );
        assert_eq!(self.headers[header::CACHE_CONTROL], "no-store");
    }

    fn text(&self, member: &str) -> &str {
        self.body[member].as_str().unwrap_or_default()
    }

    fn header(&self, name: header::HeaderName) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

fn text(body: &Value, member: &str) -> String {
    body[member].as_str().unwrap_or_default().to_owned()
}

impl Provider {
    async fn start() -> Self {
        Self::start_with("").await
    }

    /// `oauth`: further lines of the table `[oauth]`.
    async fn start_with(oauth: &str) -> Self {
        let database = TestDatabase::create().await;
        let config: Config = toml::from_str(&format!(
            "[rate_limiting]\nenabled = false\n[database]\nurl = \"{}\"\nsecret_key = \"a-secret-key-of-the-tests-0123456789\"\n[jwt]\nissuer = \"https://id.example\"\n[oauth]\n{oauth}\n",
            database.url
        ))
        .unwrap();
        let clock = Clock::held();
        let (user_id, session_id) = (UserId(Uuid::new_v4()), SessionId(Uuid::new_v4()));
        let state = server::state(config, keys(), clock.clone()).unwrap();
        let db = state.db.clone();
        let provider = Self {
            routes: routes().with_state(state),
            clock,
            db,
            user_id,
            session_id,
            _database: database,
        };
        provider
            .run(&format!(
                "INSERT INTO users (user_id, username, username_folded, display_name, created_at, updated_at)
                 VALUES ('{user_id}', 'alice', 'alice', 'Alice A.', now(), now())"
            ))
            .await;
        provider
            .run(&format!(
                "INSERT INTO sessions (session_id, user_id, provider, auth_time, created_at, last_used_at, expires_at)
                 VALUES ('{session_id}', '{user_id}', 'google', 1750000000, now(), now(), now())"
            ))
            .await;
        provider
    }

    async fn run(&self, statement: &str) {
        sqlx::query(sqlx::AssertSqlSafe(statement.to_owned()))
            .execute(&self.db)
            .await
            .unwrap();
    }

    async fn confidential(&self, name: &str) -> App {
        let secret = Opaque::generate(&SystemRandom::new());
        self.register(name, Some(secret)).await
    }

    async fn register(&self, name: &str, secret: Option<Opaque>) -> App {
        let client = Client {
            client_id: ClientId(name.to_owned()),
            name: name.to_owned(),
            client_type: if secret.is_some() {
                ClientType::Confidential
            } else {
                ClientType::Public
            },
            secrets: secret
                .iter()
                .map(|secret| ClientSecret {
                    hash: secret.hash(),
                    expires_at: None,
                })
                .collect(),
            redirect_uris: vec![REDIRECT_URI.to_owned()],
            post_logout_redirect_uris: Vec::new(),
            backchannel_logout_uri: None,
            backchannel_logout_session_required: false,
            scope: ScopeSet::parse("offline_access").unwrap(),
            grant_types: GrantType::ALL.to_vec(),
            auto_approve: true,
            require_pkce: true,
            token_endpoint_auth_method: None,
            id_token_signed_response_alg: None,
            claims_in_id_token: false,
            audience: None,
            request_object_jwks: None,
            refresh_reuse_leeway_secs: None,
            disabled: false,
            generation: 0,
        };
        db::clients::insert(&self.db, &client, self.clock.now())
            .await
            .unwrap();
        App {
            client_id: client.client_id,
            secret: secret.map(|secret| secret.expose()),
        }
    }

    async fn code(&self, app: &App, scope: &str) -> String {
        let code = Opaque::generate(&SystemRandom::new());
        let now = self.clock.now();
        let new = NewCode {
            code_hash: code.hash(),
            grant_id: GrantId(Uuid::now_v7()),
            client_id: &app.client_id,
            user_id: self.user_id,
            session_id: self.session_id,
            redirect_uri: REDIRECT_URI,
            scope: &ScopeSet::parse(scope).unwrap(),
            nonce: Some("n-0S6_WzA2Mj"),
            code_challenge: Some(&riley_auth::protocol::pkce::CodeChallenge::from_stored(
                CHALLENGE.to_owned(),
            )),
            auth_time: 1_750_000_000,
            acr: None,
            amr: None,
            claims: None,
            issued_at: now,
            expires_at: now + Duration::minutes(5),
        };
        assert!(db::authorization_codes::insert(&self.db, &new).await.unwrap());
        code.expose()
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        Answer::of(self.routes.clone().oneshot(request).await.unwrap()).await
    }

    /// A form of the client, authenticated by its body.
    async fn post(&self, path: &str, app: &App, fields: &[(&str, &str)]) -> Answer {
        let request = Request::post(path)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from(app.form(fields)));
        self.send(request.unwrap()).await
    }

    async fn redeem(&self, app: &App, code: &str) -> Answer {
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", REDIRECT_URI),
            ("code_verifier", VERIFIER),
        ];
        self.post("/oauth/token", app, &fields).await
    }

    async fn tokens(&self, app: &App, scope: &str) -> Value {
        let code = self.code(app, scope).await;
        self.redeem(app, &code).await.ok()
    }

    async fn refresh(&self, app: &App, refresh_token: &str) -> Answer {
        let fields = [("grant_type", "refresh_token"), ("refresh_token", refresh_token)];
        self.post("/oauth/token", app, &fields).await
    }

    async fn userinfo(&self, access_token: &str) -> Answer {
        let request = Request::get("/oauth/userinfo")
            .header(header::AUTHORIZATION, format!("bearer {access_token}"))
            .body(Body::empty());
        self.send(request.unwrap()).await
    }

    async fn introspect(&self, app: &App, token: &str) -> Value {
        self.post("/oauth/introspect", app, &[("token", token)])
            .await
            .ok()
    }
}

fn routes() -> Router<AppState> {
    token::routes()
        .merge(userinfo::routes())
        .merge(introspect::routes())
        .merge(revoke::routes())
        .merge(discovery::routes())
}

fn keys() -> KeySet {
    let key = riley_auth::jwt::generate::generate(SigningAlgorithm::Es256, None).unwrap();
    KeySet::new(vec![KeySource {
        algorithm: SigningAlgorithm::Es256,
        private_key_pem: Some(key.private_key_pem),
        public_key_pem: None,
        kid: None,
        signs_from: None,
        origin: "test".to_owned(),
    }])
    .unwrap()
}

/// The payload of a JWT, unverified.
fn payload(token: &str) -> Value {
    use base64::Engine;
    let part = token.split('.').nth(1).unwrap();
    let json = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(part)
        .unwrap();
    serde_json::from_slice(&json).unwrap()
}

/// RFC 6749 §5.1, RFC 9068 §2.2, OpenID Connect Core §3.1.3.3.
#[tokio::test]
async fn a_code_gives_an_access_token_an_id_token_and_a_refresh_token() {
    let op = Provider::start().await;
    let app = op.confidential("app").await;
    let code = op.code(&app, "openid profile").await;
    let answer = op.redeem(&app, &code).await;
    assert_eq!(answer.header(header::CACHE_CONTROL), "no-store");
    let tokens = answer.ok();
    assert_eq!(tokens["token_type"], "Bearer");
    assert_eq!(tokens["expires_in"], 900);
    assert_eq!(tokens["scope"], "openid profile");

    let access = payload(&text(&tokens, "access_token"));
    assert_eq!(access["aud"], "https://id.example/oauth/userinfo");
    assert_eq!(access["sid"], op.session_id.to_string());
    assert!(access.get("username").is_none() && access.get("email").is_none());
    let id = payload(&text(&tokens, "id_token"));
    assert_eq!(
        (&id["aud"], &id["nonce"]),
        (&Value::from("app"), &Value::from("n-0S6_WzA2Mj"))
    );
    assert_eq!(id["auth_time"], 1_750_000_000);
    assert!(id["at_hash"].is_string() && id.get("name").is_none());

    let userinfo = op.userinfo(&text(&tokens, "access_token")).await.ok();
    assert_eq!(userinfo["sub"], op.user_id.to_string());
    assert_eq!(
        (&userinfo["name"], &userinfo["preferred_username"]),
        (&"Alice A.".into(), &"alice".into())
    );
}

/// Without `openid` there is no ID token, and UserInfo wants the scope (RFC 6750 §3.1).
#[tokio::test]
async fn without_openid_there_is_neither_id_token_nor_userinfo() {
    let op = Provider::start().await;
    let app = op.confidential("app").await;
    let tokens = op.tokens(&app, "profile").await;
    assert!(tokens.get("id_token").is_none());
    let answer = op.userinfo(&text(&tokens, "access_token")).await;
    answer.refused(403, "insufficient_scope");
    assert!(
        answer
            .header(header::WWW_AUTHENTICATE)
            .contains("scope=\"openid\"")
    );
}

/// RFC 6749 §4.1.2: a second use is refused and what the first gave is revoked; another client's attempt changes nothing.
#[tokio::test]
async fn a_replayed_code_is_refused_and_its_tokens_die() {
    let op = Provider::start().await;
    let (app, other) = (op.confidential("app").await, op.confidential("other").await);
    let code = op.code(&app, "openid").await;
    op.redeem(&other, &code).await.refused(400, "invalid_grant");
    let tokens = op.redeem(&app, &code).await.ok();
    op.redeem(&other, &code).await.refused(400, "invalid_grant");
    op.userinfo(&text(&tokens, "access_token")).await.ok();

    op.redeem(&app, &code).await.refused(400, "invalid_grant");

    op.userinfo(&text(&tokens, "access_token"))
        .await
        .refused(401, "invalid_token");
    op.refresh(&app, &text(&tokens, "refresh_token"))
        .await
        .refused(400, "invalid_grant");
}

/// Twenty at once: at most one is answered with tokens.
#[tokio::test(flavor = "multi_thread")]
async fn of_parallel_exchanges_of_one_code_at_most_one_succeeds() {
    let op = Arc::new(Provider::start().await);
    let app = Arc::new(op.confidential("app").await);
    let code = op.code(&app, "openid").await;
    let mut requests = JoinSet::new();
    for _ in 0..20 {
        let (op, app, code) = (Arc::clone(&op), Arc::clone(&app), code.clone());
        requests.spawn(async move { op.redeem(&app, &code).await.status });
    }
    let statuses = requests.join_all().await;
    assert_eq!(
        statuses
            .iter()
            .filter(|status| **status == StatusCode::OK)
            .count(),
        1
    );
    assert!(
        statuses
            .iter()
            .all(|status| [200, 400].contains(&status.as_u16())),
        "{statuses:?}"
    );
}

/// A lost response is asked for again: the same refresh token, other access tokens, nothing branches.
#[tokio::test(flavor = "multi_thread")]
async fn everybody_within_the_leeway_gets_the_same_successor() {
    let op = Arc::new(Provider::start().await);
    let app = Arc::new(op.confidential("app").await);
    let token = text(&op.tokens(&app, "openid").await, "refresh_token");
    let mut requests = JoinSet::new();
    for _ in 0..20 {
        let (op, app, token) = (Arc::clone(&op), Arc::clone(&app), token.clone());
        requests.spawn(async move { op.refresh(&app, &token).await.ok() });
    }
    let answers = requests.join_all().await;
    let successor = text(&answers[0], "refresh_token");
    assert!(
        answers
            .iter()
            .all(|answer| text(answer, "refresh_token") == successor)
    );
    assert_ne!(
        text(&answers[0], "access_token"),
        text(&answers[1], "access_token")
    );

    // Its first use ends the leeway of the one before.
    let third = text(&op.refresh(&app, &successor).await.ok(), "refresh_token");
    op.refresh(&app, &token).await.refused(400, "invalid_grant");
    op.refresh(&app, &third).await.refused(400, "invalid_grant");
}

/// RFC 9700 §4.14.2: after the leeway, a second use revokes the family with its access tokens.
#[tokio::test]
async fn reuse_after_the_leeway_revokes_the_family() {
    let op = Provider::start().await;
    let app = op.confidential("app").await;
    let first = op.tokens(&app, "openid").await;
    let second = op.refresh(&app, &text(&first, "refresh_token")).await.ok();
    op.clock.advance(Duration::seconds(11));

    op.refresh(&app, &text(&first, "refresh_token"))
        .await
        .refused(400, "invalid_grant");

    op.refresh(&app, &text(&second, "refresh_token"))
        .await
        .refused(400, "invalid_grant");
    op.userinfo(&text(&second, "access_token"))
        .await
        .refused(401, "invalid_token");
}

/// A leeway of zero is strict: of many uses one succeeds, and the family is revoked every time.
#[tokio::test(flavor = "multi_thread")]
async fn without_leeway_one_of_parallel_uses_succeeds_and_the_family_dies() {
    let op = Arc::new(Provider::start_with("refresh_reuse_leeway_secs = 0").await);
    let app = Arc::new(op.confidential("app").await);
    let token = text(&op.tokens(&app, "openid").await, "refresh_token");
    let mut requests = JoinSet::new();
    for _ in 0..20 {
        let (op, app, token) = (Arc::clone(&op), Arc::clone(&app), token.clone());
        requests.spawn(async move { op.refresh(&app, &token).await });
    }
    let answers = requests.join_all().await;
    let won: Vec<&Answer> = answers
        .iter()
        .filter(|answer| answer.status == StatusCode::OK)
        .collect();
    assert_eq!(won.len(), 1);
    op.refresh(&app, won[0].text("refresh_token"))
        .await
        .refused(400, "invalid_grant");
}

/// RFC 6749 §6: another client's token is refused unspent; a wider scope too.
#[tokio::test]
async fn a_refused_refresh_leaves_the_token_unspent() {
    let op = Provider::start().await;
    let (app, other) = (op.confidential("app").await, op.confidential("other").await);
    let token = text(&op.tokens(&app, "openid").await, "refresh_token");
    op.refresh(&other, &token).await.refused(400, "invalid_grant");
    let wider = [
        ("grant_type", "refresh_token"),
        ("refresh_token", &token),
        ("scope", "openid email"),
    ];
    op.post("/oauth/token", &app, &wider)
        .await
        .refused(400, "invalid_scope");
    op.refresh(&app, &token).await.ok();
}

/// A narrower scope narrows the access token alone.
#[tokio::test]
async fn a_narrower_scope_does_not_shrink_the_refresh_token() {
    let op = Provider::start().await;
    let app = op.confidential("app").await;
    let token = text(&op.tokens(&app, "openid profile").await, "refresh_token");
    let fields = [
        ("grant_type", "refresh_token"),
        ("refresh_token", token.as_str()),
        ("scope", "openid"),
    ];
    let narrowed = op.post("/oauth/token", &app, &fields).await.ok();
    assert_eq!(narrowed["scope"], "openid");
    let again = op.refresh(&app, &text(&narrowed, "refresh_token")).await.ok();
    assert_eq!(again["scope"], "openid profile");
}

/// The copy in memory decides nothing that the row would decide otherwise.
#[tokio::test]
async fn a_changed_registration_counts_at_once() {
    let op = Provider::start().await;
    let app = op.confidential("app").await;
    let token = text(&op.tokens(&app, "openid").await, "refresh_token");
    op.run("UPDATE oauth_clients SET refresh_reuse_leeway_secs = 0")
        .await;
    let second = text(&op.refresh(&app, &token).await.ok(), "refresh_token");

    op.run("UPDATE oauth_clients SET grant_types = '{authorization_code}'")
        .await;
    op.refresh(&app, &second)
        .await
        .refused(400, "unauthorized_client");
    op.run("UPDATE oauth_clients SET grant_types = '{authorization_code,refresh_token}'")
        .await;
    let third = text(&op.refresh(&app, &second).await.ok(), "refresh_token");

    op.run("UPDATE oauth_clients SET disabled_at = now()").await;
    op.refresh(&app, &third).await.refused(401, "invalid_client");
    let code = op.code(&app, "openid").await;
    op.redeem(&app, &code).await.refused(401, "invalid_client");
}

/// A new secret works as soon as it is stored, an old one stops.
#[tokio::test]
async fn a_rotated_secret_counts_at_once() {
    let op = Provider::start().await;
    let mut app = op.confidential("app").await;
    let token = text(&op.tokens(&app, "openid").await, "refresh_token");
    let secret = Opaque::generate(&SystemRandom::new());
    let now = op.clock.now();
    let rotated = db::clients::rotate_secret(&op.db, &app.client_id, &secret.hash(), now, now).await;
    assert!(rotated.unwrap());

    op.refresh(&app, &token).await.refused(401, "invalid_client");
    app.secret = Some(secret.expose());
    op.refresh(&app, &token).await.ok();
}

/// RFC 6749 §5.2: the 401 names Basic when that was tried.
#[tokio::test]
async fn a_failed_basic_authentication_names_the_scheme() {
    let op = Provider::start().await;
    op.confidential("app").await;
    let request = Request::post("/oauth/token")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(header::AUTHORIZATION, "Basic YXBwOndyb25n")
        .body(Body::from("grant_type=authorization_code"));
    let answer = op.send(request.unwrap()).await;
    answer.refused(401, "invalid_client");
    assert!(answer.header(header::WWW_AUTHENTICATE).starts_with("Basic"));
}

/// RFC 7662 §2.2: members of an active token, nothing of an inactive one; refresh tokens only to their own client.
#[tokio::test]
async fn introspection_tells_the_active_apart_from_the_rest() {
    let op = Provider::start().await;
    let (app, api) = (op.confidential("app").await, op.confidential("api").await);
    let tokens = op.tokens(&app, "openid profile").await;
    let (access, refresh) = (text(&tokens, "access_token"), text(&tokens, "refresh_token"));
    let inactive = serde_json::json!({ "active": false });

    let seen = op.introspect(&api, &access).await;
    assert_eq!(
        (&seen["active"], &seen["username"]),
        (&true.into(), &"alice".into())
    );
    assert_eq!(
        (&seen["client_id"], &seen["token_type"]),
        (&"app".into(), &"Bearer".into())
    );
    assert_eq!(op.introspect(&app, &refresh).await["active"], true);
    assert_eq!(op.introspect(&api, &refresh).await, inactive);
    for other in [text(&tokens, "id_token").as_str(), "garbage", &"A".repeat(43)] {
        assert_eq!(op.introspect(&api, other).await, inactive);
    }

    op.run("UPDATE sessions SET ended_at = now()").await;
    assert_eq!(op.introspect(&api, &access).await, inactive);
    assert_eq!(op.introspect(&app, &refresh).await, inactive);
}

/// RFC 7662 §2.1: who asks has to prove who it is; a public client cannot.
#[tokio::test]
async fn a_public_client_may_not_introspect_but_may_revoke() {
    let op = Provider::start().await;
    let app = op.register("spa", None).await;
    let tokens = op.tokens(&app, "openid").await;
    let access = text(&tokens, "access_token");
    let answer = op.post("/oauth/introspect", &app, &[("token", &access)]).await;
    answer.refused(401, "invalid_client");

    op.post("/oauth/revoke", &app, &[("token", &access)]).await.ok();
    op.userinfo(&access).await.refused(401, "invalid_token");
    op.refresh(&app, &text(&tokens, "refresh_token"))
        .await
        .refused(400, "invalid_grant");
}

/// RFC 7009 §2.1, §2.2: unknown tokens are answered alike, another client's stay alive.
#[tokio::test]
async fn revocation_ends_the_family_of_the_clients_own_token_alone() {
    let op = Provider::start().await;
    let (app, other) = (op.confidential("app").await, op.confidential("other").await);
    let tokens = op.tokens(&app, "openid").await;
    let (access, refresh) = (text(&tokens, "access_token"), text(&tokens, "refresh_token"));
    for token in [access.as_str(), &refresh, "unknown", &"A".repeat(43)] {
        let fields = [("token", token), ("token_type_hint", "nonsense")];
        op.post("/oauth/revoke", &other, &fields).await.ok();
    }
    op.userinfo(&access).await.ok();
    op.post("/oauth/revoke", &app, &[])
        .await
        .refused(400, "invalid_request");

    op.post("/oauth/revoke", &app, &[("token", &refresh)]).await.ok();
    op.userinfo(&access).await.refused(401, "invalid_token");
}

/// RFC 6750 §2: one way to send the token, and the query is none.
#[tokio::test]
async fn userinfo_takes_the_token_by_header_or_form_and_no_other_way() {
    let op = Provider::start().await;
    let app = op.confidential("app").await;
    let tokens = op.tokens(&app, "openid").await;
    let access = text(&tokens, "access_token");
    let form = |authorization: Option<&str>| {
        let mut request = Request::post("/oauth/userinfo")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        if let Some(value) = authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        request
    };
    let body = format!("access_token={access}");
    let bearer = format!("Bearer {access}");

    let by_form = form(None).body(Body::from(body.clone())).unwrap();
    op.send(by_form).await.ok();
    let by_header = form(Some(&bearer)).body(Body::empty()).unwrap();
    op.send(by_header).await.ok();
    let by_both = form(Some(&bearer)).body(Body::from(body.clone())).unwrap();
    op.send(by_both).await.refused(400, "invalid_request");
    let by_query = Request::get(format!("/oauth/userinfo?{body}"))
        .body(Body::empty())
        .unwrap();
    op.send(by_query).await.refused(400, "invalid_request");
    let without = op
        .send(Request::get("/oauth/userinfo").body(Body::empty()).unwrap())
        .await;
    assert_eq!(without.status, StatusCode::UNAUTHORIZED);
    assert!(!without.header(header::WWW_AUTHENTICATE).contains("error"));
    op.userinfo(&text(&tokens, "id_token"))
        .await
        .refused(401, "invalid_token");
    op.userinfo(&text(&tokens, "refresh_token"))
        .await
        .refused(401, "invalid_token");

    op.clock.advance(Duration::seconds(901));
    let expired = op.userinfo(&access).await;
    expired.refused(401, "invalid_token");
    assert!(expired.header(header::WWW_AUTHENTICATE).contains("token expired"));
}

/// TK-1: POST alone; the query is never read.
#[tokio::test]
async fn the_token_endpoint_is_post_alone() {
    let op = Provider::start().await;
    let answer = op
        .send(Request::get("/oauth/token").body(Body::empty()).unwrap())
        .await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.header(header::ALLOW), "POST");
}

/// RFC 7009 §2.2.1: a failure of storage is 503, never a success.
#[tokio::test]
async fn an_unreachable_database_is_503_everywhere() {
    let op = Provider::start().await;
    let app = op.confidential("app").await;
    let tokens = op.tokens(&app, "openid").await;
    op.db.close().await;
    let token = text(&tokens, "refresh_token");
    op.refresh(&app, &token)
        .await
        .refused(503, "temporarily_unavailable");
    op.post("/oauth/revoke", &app, &[("token", &token)])
        .await
        .refused(503, "temporarily_unavailable");
    op.post("/oauth/introspect", &app, &[("token", &token)])
        .await
        .refused(503, "temporarily_unavailable");
    let userinfo = op.userinfo(&text(&tokens, "access_token")).await;
    userinfo.refused(503, "temporarily_unavailable");
    assert_eq!(userinfo.header(header::RETRY_AFTER), "1");
    let keys = op
        .send(
            Request::get("/.well-known/jwks.json")
                .body(Body::empty())
                .unwrap(),
        )
        .await;
    keys.ok();
}

/// OpenID Connect Discovery §4: the same document for everybody, by both names.
#[tokio::test]
async fn discovery_is_the_same_under_both_names_and_is_not_sent_twice() {
    let op = Provider::start().await;
    let get = async |path: &str, etag: &str| {
        let request = Request::get(path)
            .header(header::IF_NONE_MATCH, etag)
            .header(header::HOST, "evil.example");
        op.send(request.body(Body::empty()).unwrap()).await
    };
    let one = get("/.well-known/openid-configuration", "").await;
    let two = get("/.well-known/oauth-authorization-server", "").await;
    assert_eq!(one.body, two.body);
    assert_eq!(one.body["issuer"], "https://id.example");
    assert_eq!(one.header(header::CONTENT_TYPE), "application/json");
    let jwks = get("/.well-known/jwks.json", "").await;
    assert_eq!(jwks.header(header::CACHE_CONTROL), "public, max-age=3600");
    let etag = jwks.header(header::ETAG).to_owned();
    assert_eq!(
        get("/.well-known/jwks.json", &etag).await.status,
        StatusCode::NOT_MODIFIED
    );
}
