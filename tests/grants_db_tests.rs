//! Codes, grants and refresh tokens in the database: what holds when many requests come at once.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it like the test itself"
)]

#[path = "common/database.rs"]
mod database;

use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use database::TestDatabase;
use riley_auth::db;
use riley_auth::db::Pool;
use riley_auth::db::authorization_codes::NewCode;
use riley_auth::db::grants::RevocationReason;
use riley_auth::db::refresh_tokens::{LoadedRefreshToken, NewRefreshToken, NewRotation};
use riley_auth::protocol::claims::ClaimsRequest;
use riley_auth::protocol::client::{Client, ClientType, GrantType};
use riley_auth::protocol::ids::{ClientId, GrantId, SessionId, UserId};
use riley_auth::protocol::opaque::{Opaque, Salt};
use riley_auth::protocol::scope::ScopeSet;
use sqlx::postgres::PgPoolOptions;
use time::{Duration, OffsetDateTime};
use tokio::task::JoinSet;
use uuid::Uuid;

/// How many requests come at once.
const AT_ONCE: usize = 20;

/// One person with one session, and one client.
struct World {
    db: Pool,
    client_id: ClientId,
    user_id: UserId,
    session_id: SessionId,
    now: OffsetDateTime,
    // After the pool, so that it is dropped last.
    _database: TestDatabase,
}

impl World {
    async fn new() -> Self {
        let database = TestDatabase::create().await;
        let db = PgPoolOptions::new()
            .max_connections(AT_ONCE.try_into().unwrap())
            .connect(&database.url)
            .await
            .unwrap();
        let world = Self {
            db: db.into(),
            client_id: ClientId("app".to_owned()),
            user_id: UserId(Uuid::new_v4()),
            session_id: SessionId(Uuid::new_v4()),
            now: OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap(),
            _database: database,
        };
        world
            .run(&format!(
                "INSERT INTO users (user_id, username, username_folded, created_at, updated_at)
             VALUES ('{}', 'Alice', 'alice', now(), now())",
                world.user_id
            ))
            .await;
        world.run(&format!(
            "INSERT INTO sessions (session_id, user_id, provider, auth_time, created_at, last_used_at, expires_at)
             VALUES ('{}', '{}', 'google', 1799999000, now(), now(), now())",
            world.session_id, world.user_id
        ))
        .await;
        let client = client(&world.client_id);
        db::clients::insert(&world.db, &client, world.now).await.unwrap();
        world
    }

    async fn run(&self, statement: &str) -> u64 {
        let statement = sqlx::query(sqlx::AssertSqlSafe(statement.to_owned()));
        statement.execute(&self.db).await.unwrap().rows_affected()
    }

    async fn count(&self, rows: &str) -> i64 {
        let statement = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {rows}"));
        sqlx::query_scalar(statement).fetch_one(&self.db).await.unwrap()
    }

    async fn generation(&self) -> i64 {
        let client = db::clients::find(&self.db, &self.client_id).await.unwrap();
        client.unwrap().generation
    }

    async fn code(&self, scope: &str) -> Opaque {
        let code = Opaque::generate(&SystemRandom::new());
        let new = NewCode {
            code_hash: code.hash(),
            grant_id: GrantId(Uuid::now_v7()),
            client_id: &self.client_id,
            user_id: self.user_id,
            session_id: self.session_id,
            redirect_uri: "https://app.example/callback",
            scope: &ScopeSet::parse(scope).unwrap(),
            nonce: Some("n-1"),
            code_challenge: None,
            auth_time: 1_799_999_000,
            acr: Some("1"),
            amr: Some(&["pwd".to_owned()]),
            claims: Some(&ClaimsRequest::default()),
            issued_at: self.now,
            expires_at: self.now + Duration::minutes(5),
        };
        assert!(db::authorization_codes::insert(&self.db, &new).await.unwrap());
        code
    }

    fn refresh_token(&self, token: &Opaque) -> NewRefreshToken {
        NewRefreshToken {
            token_hash: token.hash(),
            expires_at: self.now + Duration::days(30),
            absolute_expires_at: None,
        }
    }

    /// Redeems the code; whether it was this request that did.
    async fn redeem(&self, code: &Opaque, refresh_token: &Opaque) -> bool {
        let loaded = db::authorization_codes::load(&self.db, &code.hash(), &self.client_id, false).await;
        let loaded = loaded.unwrap().unwrap();
        db::authorization_codes::redeem(
            &self.db,
            &code.hash(),
            loaded.caller_generation.unwrap(),
            &loaded.code.grant.scope,
            Some(&self.refresh_token(refresh_token)),
            self.now,
        )
        .await
        .unwrap()
    }

    /// A grant with its first refresh token.
    async fn grant(&self, scope: &str) -> Opaque {
        let refresh_token = Opaque::generate(&SystemRandom::new());
        let code = self.code(scope).await;
        assert!(self.redeem(&code, &refresh_token).await);
        refresh_token
    }

    async fn load(&self, token: &Opaque) -> LoadedRefreshToken {
        let loaded = db::refresh_tokens::load(&self.db, &token.hash(), &self.client_id, true).await;
        loaded.unwrap().unwrap()
    }

    /// Rotates the token; the successor if it was this request that did.
    async fn rotate(&self, token: &Opaque) -> Option<Opaque> {
        let salt = Salt::generate(&SystemRandom::new());
        let successor = token.successor(&salt);
        let rotation = NewRotation {
            token_hash: token.hash(),
            grant_id: self.load(token).await.token.grant.grant_id,
            successor_salt: Some(salt),
            successor: self.refresh_token(&successor),
            generation: self.generation().await,
        };
        let rotated = db::refresh_tokens::rotate(&self.db, &rotation, self.now)
            .await
            .unwrap();
        rotated.then_some(successor)
    }

    /// Refresh tokens that are unused in a family that is not revoked.
    async fn live_tokens(&self) -> i64 {
        self.count(
            "refresh_tokens JOIN grants USING (grant_id) WHERE consumed_at IS NULL AND revoked_at IS NULL",
        )
        .await
    }
}

fn client(client_id: &ClientId) -> Client {
    Client {
        client_id: client_id.clone(),
        name: "App".to_owned(),
        client_type: ClientType::Public,
        secrets: Vec::new(),
        redirect_uris: vec!["https://app.example/callback".to_owned()],
        post_logout_redirect_uris: Vec::new(),
        backchannel_logout_uri: None,
        backchannel_logout_session_required: false,
        scope: ScopeSet::default(),
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
    }
}

/// RFC 6749 §4.1.2: a code is good for one use, also when it is used twenty times at once.
#[tokio::test(flavor = "multi_thread")]
async fn of_parallel_redemptions_of_a_code_one_makes_a_grant() {
    let world = Arc::new(World::new().await);
    let code = world.code("openid offline_access").await;
    let mut requests = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (world, code) = (Arc::clone(&world), code.clone());
        requests.spawn(async move { world.redeem(&code, &Opaque::generate(&SystemRandom::new())).await });
    }
    let won = requests.join_all().await.into_iter().filter(|won| *won).count();

    assert_eq!(won, 1);
    assert_eq!(world.count("grants WHERE offline").await, 1);
    assert_eq!(world.count("refresh_tokens").await, 1);
}

/// RFC 9700 §4.14.2: a family never branches, and everybody who asks in time finds the same successor.
#[tokio::test(flavor = "multi_thread")]
async fn of_parallel_rotations_of_a_token_one_makes_the_successor_and_all_find_it() {
    let world = Arc::new(World::new().await);
    let token = world.grant("openid").await;
    let mut requests = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (world, token) = (Arc::clone(&world), token.clone());
        requests.spawn(async move {
            let own = world.rotate(&token).await;
            let salt = world.load(&token).await.token.successor_salt.unwrap();
            (own, token.successor(&salt))
        });
    }
    let results = requests.join_all().await;

    let winners: Vec<&Opaque> = results.iter().filter_map(|(own, _)| own.as_ref()).collect();
    assert_eq!(winners.len(), 1);
    for (_, found) in &results {
        assert!(found.hash().equals(&winners[0].hash()));
    }
    assert_eq!(world.count("refresh_tokens").await, 2);
    assert_eq!(world.live_tokens().await, 1);
}

/// The first use of a successor ends the leeway of the token before it.
#[tokio::test]
async fn the_salt_is_erased_by_the_first_use_of_the_successor() {
    let world = World::new().await;
    let first = world.grant("openid").await;
    let second = world.rotate(&first).await.unwrap();
    assert!(world.load(&first).await.token.successor_salt.is_some());

    let third = world.rotate(&second).await.unwrap();

    assert!(world.load(&first).await.token.successor_salt.is_none());
    assert!(world.load(&second).await.token.successor_salt.is_some());
    assert!(world.load(&third).await.token.consumed_at.is_none());
    assert_eq!(
        world
            .count("refresh_tokens WHERE successor_salt IS NOT NULL")
            .await,
        1
    );
}

/// No interleaving lets a token survive a revocation that has been answered.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_alive_after_a_revocation_that_raced_rotations() {
    for _ in 0..10 {
        let world = Arc::new(World::new().await);
        let token = world.grant("openid").await;
        let grant_id = world.load(&token).await.token.grant.grant_id;
        let mut requests = JoinSet::new();
        for index in 0..AT_ONCE {
            let (world, token) = (Arc::clone(&world), token.clone());
            requests.spawn(async move {
                if index == AT_ONCE / 2 {
                    let reason = RevocationReason::Client;
                    assert!(
                        db::grants::revoke(&world.db, grant_id, reason, world.now)
                            .await
                            .unwrap()
                            .is_some()
                    );
                } else {
                    world.rotate(&token).await;
                }
            });
        }
        requests.join_all().await;
        assert_eq!(world.live_tokens().await, 0);
        assert!(!world.load(&token).await.token.alive);
    }
}

/// A rotation that waits for a revocation finds the grant revoked and writes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_waited_for_a_revocation_writes_nothing() {
    let world = Arc::new(World::new().await);
    let token = world.grant("openid").await;
    let grant_id = world.load(&token).await.token.grant.grant_id;
    let mut tx = world.db.begin().await.unwrap();
    db::grants::revoke(&mut *tx, grant_id, RevocationReason::Client, world.now)
        .await
        .unwrap();
    let rotation = tokio::spawn({
        let (world, token) = (Arc::clone(&world), token.clone());
        async move { world.rotate(&token).await }
    });
    // The rotation is seen to wait, so that the order is certain.
    while world
        .count("pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()")
        .await
        == 0
    {
        tokio::task::yield_now().await;
    }
    tx.commit().await.unwrap();

    assert!(rotation.await.unwrap().is_none());
    assert_eq!(world.count("refresh_tokens").await, 1);
}

/// An ended session ends what came of it, except what was granted for offline use; an expired one ends nothing.
#[tokio::test]
async fn an_ended_session_ends_online_grants_alone() {
    let world = World::new().await;
    let (online, offline) = (
        world.grant("openid").await,
        world.grant("openid offline_access").await,
    );
    assert!(
        world.load(&online).await.token.alive,
        "the session has run out, but nobody ended it"
    );

    world.run("UPDATE sessions SET ended_at = now()").await;

    assert!(!world.load(&online).await.token.alive);
    assert!(world.rotate(&online).await.is_none());
    assert!(world.load(&offline).await.token.alive);
    assert!(world.rotate(&offline).await.is_some());
}

/// The world is judged again by the statement that writes.
#[tokio::test]
async fn a_code_of_a_dead_session_user_or_changed_client_is_not_redeemed() {
    for change in [
        "UPDATE sessions SET ended_at = now()",
        "UPDATE users SET disabled_at = now()",
        "UPDATE oauth_clients SET disabled_at = now()",
        "UPDATE oauth_clients SET name = 'Other'",
    ] {
        let world = World::new().await;
        let code = world.code("openid").await;
        let (hash, scope) = (code.hash(), ScopeSet::parse("openid").unwrap());
        let generation = world.generation().await;
        world.run(change).await;
        let redeemed =
            db::authorization_codes::redeem(&world.db, &hash, generation, &scope, None, world.now).await;
        assert!(!redeemed.unwrap(), "{change}");
        assert_eq!(world.count("grants").await, 0, "{change}");
        assert_eq!(
            world.count("authorization_codes WHERE used_at IS NULL").await,
            1,
            "{change}"
        );
    }
}

/// Everything that a code carries arrives in the grant, and from there in every refresh.
#[tokio::test]
async fn what_a_code_carries_arrives_in_its_refresh_tokens() {
    let world = World::new().await;
    let first = world.grant("openid email").await;
    let second = world.rotate(&first).await.unwrap();
    let loaded = world.load(&second).await;
    let grant = &loaded.token.grant;
    assert_eq!(grant.nonce.as_deref(), Some("n-1"));
    assert_eq!(grant.auth_time, 1_799_999_000);
    assert_eq!(grant.session_id, Some(world.session_id));
    assert_eq!(grant.scope.to_string(), "openid email");
    assert_eq!(grant.amr.as_deref(), Some(["pwd".to_owned()].as_slice()));
    assert_eq!(loaded.person.username.as_deref(), Some("Alice"));
    assert!(loaded.person.email.is_none());
}

/// The address that its owner chose, else the oldest verified one, else the oldest.
#[tokio::test]
async fn the_primary_address_is_the_chosen_else_the_oldest_verified_else_the_oldest() {
    let world = World::new().await;
    let token = world.grant("openid email").await;
    let email = async || world.load(&token).await.person.email.unwrap().email;
    for (index, (provider, address, verified)) in [
        ("a", "'oldest@x'", false),
        ("b", "'verified@x'", true),
        ("c", "'younger@x'", true),
        ("d", "NULL", true),
    ]
    .into_iter()
    .enumerate()
    {
        world.run(&format!(
            "INSERT INTO oauth_links (link_id, user_id, provider, issuer, subject, email, email_verified, created_at,
                                      last_login_at)
             VALUES (gen_random_uuid(), '{}', '{provider}', '{provider}', 's', {address}, {verified},
                     to_timestamp({index}), now())",
            world.user_id
        ))
        .await;
        if index == 0 {
            assert_eq!(email().await, "oldest@x");
        }
    }
    assert_eq!(email().await, "verified@x");

    world
        .run("UPDATE users SET primary_link_id = (SELECT link_id FROM oauth_links WHERE provider = 'c')")
        .await;
    assert_eq!(email().await, "younger@x");
    // A chosen link without an address chooses nothing.
    world
        .run("UPDATE users SET primary_link_id = (SELECT link_id FROM oauth_links WHERE provider = 'd')")
        .await;
    assert_eq!(email().await, "verified@x");
}

/// RFC 7009 §2.1: the token was issued to the client that asks, or nothing happens.
#[tokio::test]
async fn a_family_is_revoked_by_its_own_client_of_the_current_registration_alone() {
    let world = World::new().await;
    let token = world.grant("openid").await;
    let stranger = ClientId("stranger".to_owned());
    db::clients::insert(&world.db, &client(&stranger), world.now)
        .await
        .unwrap();
    let strangers = db::clients::find(&world.db, &stranger)
        .await
        .unwrap()
        .unwrap()
        .generation;
    let current = world.generation().await;
    let revoke = async |client_id: &ClientId, generation: i64| {
        let hash = token.hash();
        db::refresh_tokens::revoke_family(&world.db, &hash, client_id, generation, world.now)
            .await
            .unwrap()
    };

    let foreign = revoke(&stranger, strangers).await;
    assert_eq!(
        (foreign.grant_id, foreign.caller_generation),
        (None, Some(strangers))
    );
    let stale = revoke(&world.client_id, current + 1000).await;
    assert_eq!((stale.grant_id, stale.caller_generation), (None, Some(current)));
    assert_eq!(world.live_tokens().await, 1);

    assert!(revoke(&world.client_id, current).await.grant_id.is_some());
    assert_eq!(world.live_tokens().await, 0);
}

/// UserInfo and introspection see the end of a grant at once, whatever ended it.
#[tokio::test]
async fn a_grant_is_dead_to_userinfo_and_introspection_as_soon_as_anything_ends_it() {
    for change in [
        "UPDATE sessions SET ended_at = now()",
        "UPDATE users SET disabled_at = now()",
        "UPDATE oauth_clients SET disabled_at = now()",
        "UPDATE grants SET revoked_at = now()",
    ] {
        let world = World::new().await;
        let token = world.grant("openid").await;
        let grant_id = world.load(&token).await.token.grant.grant_id;
        let (db, client_id, user_id) = (&world.db, &world.client_id, world.user_id);
        let status = async || {
            let status = db::grants::find_status(db, client_id, grant_id, client_id, user_id).await;
            status.unwrap().unwrap()
        };
        let userinfo = async || {
            db::grants::find_for_userinfo(db, grant_id, user_id, true)
                .await
                .unwrap()
        };
        assert!(status().await.alive && userinfo().await.is_some());

        world.run(change).await;

        assert!(!status().await.alive, "{change}");
        assert!(userinfo().await.is_none(), "{change}");
    }
}

/// Where a cap ends a family early, its last access token outlives its last refresh token: the grant stays for as long as that
/// token runs, since UserInfo and introspection judge it by the grant.
#[tokio::test]
async fn a_grant_is_kept_while_the_last_access_token_of_a_capped_family_runs() {
    let world = World::new().await;
    let access_token_ttl = Duration::minutes(15);
    world.grant("openid").await;
    let long_ago = world.now - Duration::days(30);
    world
        .run(&format!("UPDATE grants SET created_at = '{long_ago}'"))
        .await;
    world
        .run(&format!(
            "UPDATE refresh_tokens SET issued_at = '{}', expires_at = '{}'",
            world.now,
            world.now + Duration::seconds(5)
        ))
        .await;
    let clean_up = async |after: Duration| {
        let now = world.now + after;
        db::maintenance::delete_dead_grants(&world.db, now - access_token_ttl, now)
            .await
            .unwrap()
    };
    assert_eq!(clean_up(Duration::seconds(6)).await, 0);
    assert_eq!(clean_up(access_token_ttl).await, 0);
    assert_eq!(clean_up(access_token_ttl + Duration::seconds(1)).await, 1);
}
