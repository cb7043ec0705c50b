//! Accounts, sign-in flows and session cookies in the database: what holds when many requests come at once.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it like the test itself"
)]

#[path = "common/database.rs"]
mod database;

use aws_lc_rs::rand::SystemRandom;
use database::TestDatabase;
use riley_auth::accounts::{self, EndReason, NewAccount, NotCreated};
use riley_auth::db;
use riley_auth::db::Pool;
use riley_auth::db::oauth_links::VerifiedLink;
use riley_auth::db::pending_identities::NewSetup;
use riley_auth::db::sessions::{Login, NewSuccessor};
use riley_auth::db::upstream_flows::NewFlow;
use riley_auth::db::users::{Availability, UpstreamProfile, User};
use riley_auth::protocol::ids::{LinkId, SessionId, UserId};
use riley_auth::protocol::opaque::{Opaque, Salt};
use riley_auth::sealing::Keyring;
use riley_auth::upstream::Identity;
use riley_auth::usernames::{Username, fold};
use secrecy::SecretString;
use serde_json::{Map, json};
use sqlx::postgres::PgPoolOptions;
use time::{Duration, OffsetDateTime};
use tokio::task::JoinSet;
use uuid::Uuid;

/// How many requests come at once.
const AT_ONCE: usize = 12;
const LEEWAY_SECS: u32 = 10;

struct World {
    db: Pool,
    now: OffsetDateTime,
    // After the pool, so that it is dropped last.
    _database: TestDatabase,
}

/// Somebody with an account and a session.
struct Member {
    user: User,
    link_id: LinkId,
    session_id: SessionId,
    cookie: Opaque,
}

fn token() -> Opaque {
    Opaque::generate(&SystemRandom::new())
}

fn name(name: &str) -> Username {
    Username {
        name: name.to_owned(),
        folded: fold(name),
    }
}

fn keyring() -> Keyring {
    Keyring::new(&SecretString::from("a secret of the tests, long enough"), &[])
}

fn identity(subject: &str) -> Identity {
    Identity {
        provider: "google".to_owned(),
        issuer: "https://accounts.google.com".to_owned(),
        subject: subject.to_owned(),
        username_hint: None,
        name: None,
        picture: None,
        email: Some(format!("{subject}@Example.com")),
        email_verified: true,
        hosted_domain: None,
        tenant: None,
        organizations: Vec::new(),
        auth_time: None,
        acr: None,
        amr: None,
        sid: None,
        claims: json!({ "locale": "en", "zoneinfo": "Europe/Berlin" })
            .as_object()
            .unwrap()
            .clone(),
        display: subject.to_owned(),
    }
}

impl World {
    async fn new() -> Self {
        let database = TestDatabase::create().await;
        let db = PgPoolOptions::new()
            .max_connections(AT_ONCE.try_into().unwrap())
            .connect(&database.url)
            .await
            .unwrap();
        Self {
            db: db.into(),
            now: OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap(),
            _database: database,
        }
    }

    async fn join(&self, username: &str, subject: &str) -> Result<(User, LinkId), NotCreated> {
        let mut tx = self.db.begin().await.unwrap();
        let account = NewAccount {
            username: &name(username),
            display_name: None,
            identity: &identity(subject),
            passthrough: &["locale".to_owned()],
        };
        let made = accounts::create(&mut tx, &account, &keyring(), self.now).await?;
        tx.commit().await.unwrap();
        Ok(made)
    }

    fn login(&self, user_id: UserId, link_id: LinkId) -> Login<'static> {
        Login {
            user_id,
            link_id,
            provider: "google",
            upstream_sid: None,
            auth_time: self.now.unix_timestamp(),
            acr: None,
            amr: None,
            user_agent: None,
            ip_address: None,
            expires_at: self.now + Duration::days(30),
            absolute_expires_at: Some(self.now + Duration::days(31)),
        }
    }

    async fn member(&self) -> Member {
        let (user, link_id) = self.join("alice", "1").await.unwrap();
        let (session_id, cookie) = (SessionId(Uuid::new_v4()), token());
        let mut tx = self.db.begin().await.unwrap();
        let login = self.login(user.user_id, link_id);
        db::sessions::insert(&mut tx, session_id, &cookie.hash(), &login, self.now)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        Member {
            user,
            link_id,
            session_id,
            cookie,
        }
    }

    /// The successor, if the rotation wrote.
    async fn rotate(&self, cookie: &Opaque, at: OffsetDateTime) -> Option<Opaque> {
        rotate(&self.db, cookie, at).await
    }

    async fn is_live(&self, cookie: &Opaque, at: OffsetDateTime) -> bool {
        db::sessions::find_live_by_token(&self.db, &cookie.hash(), LEEWAY_SECS, at)
            .await
            .unwrap()
            .is_some()
    }

    async fn start(&self, state: &Opaque, browser: &Opaque, at: OffsetDateTime) {
        let flow = NewFlow {
            state_hash: &state.hash(),
            browser_hash: &browser.hash(),
            provider: "google",
            sealed: b"sealed",
            expires_at: at + Duration::minutes(10),
        };
        db::upstream_flows::insert_login(&self.db, &flow, 5, at)
            .await
            .unwrap();
    }

    async fn count(&self, rows: &str) -> i64 {
        let statement = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {rows}"));
        sqlx::query_scalar(statement).fetch_one(&self.db).await.unwrap()
    }

    async fn run(&self, statement: &'static str) {
        sqlx::query(statement).execute(&self.db).await.unwrap();
    }
}

async fn rotate(db: &Pool, cookie: &Opaque, at: OffsetDateTime) -> Option<Opaque> {
    let salt = Salt::generate(&SystemRandom::new());
    let successor = cookie.successor(&salt);
    let rotation = NewSuccessor {
        token_hash: &cookie.hash(),
        salt,
        successor_hash: &successor.hash(),
        expires_at: at + Duration::days(30),
    };
    db::sessions::rotate(db, &rotation, at)
        .await
        .unwrap()
        .map(|_| successor)
}

#[tokio::test]
async fn a_cookie_value_rotates_once_and_its_salt_lasts_until_the_successor_rotates() {
    let world = World::new().await;
    let alice = world.member().await;

    let second = world.rotate(&alice.cookie, world.now).await.unwrap();
    assert!(world.rotate(&alice.cookie, world.now).await.is_none());
    let spent = db::sessions::load_token(&world.db, &alice.cookie.hash(), world.now)
        .await
        .unwrap()
        .unwrap();
    assert!(spent.alive && spent.consumed_at.is_some());
    let again = alice.cookie.successor(&spent.successor_salt.unwrap());
    assert!(again.hash().equals(&second.hash()));
    assert!(
        world
            .is_live(&alice.cookie, world.now + Duration::seconds(9))
            .await
    );
    assert!(
        !world
            .is_live(&alice.cookie, world.now + Duration::seconds(10))
            .await
    );

    world.rotate(&second, world.now).await.unwrap();
    let spent = db::sessions::load_token(&world.db, &alice.cookie.hash(), world.now)
        .await
        .unwrap()
        .unwrap();
    assert!(spent.successor_salt.is_none());
    assert!(!world.is_live(&alice.cookie, world.now).await);
}

#[tokio::test]
async fn of_many_renewals_at_once_one_writes() {
    let world = World::new().await;
    let alice = world.member().await;

    let mut requests = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (db, cookie, now) = (world.db.clone(), alice.cookie.clone(), world.now);
        requests.spawn(async move { rotate(&db, &cookie, now).await.is_some() });
    }
    let written = requests
        .join_all()
        .await
        .into_iter()
        .filter(|wrote| *wrote)
        .count();
    assert_eq!(written, 1);
    assert_eq!(world.count("session_tokens").await, 2);
    assert_eq!(world.count("session_tokens WHERE consumed_at IS NULL").await, 1);
}

#[tokio::test]
async fn the_end_slides_with_use_up_to_the_absolute_one() {
    let world = World::new().await;
    let alice = world.member().await;
    let later = world.now + Duration::days(20);

    let second = world.rotate(&alice.cookie, later).await.unwrap();
    assert!(world.is_live(&second, world.now + Duration::days(30)).await);
    assert!(!world.is_live(&second, world.now + Duration::days(31)).await);
    assert!(
        world
            .rotate(&second, world.now + Duration::days(31))
            .await
            .is_none()
    );
}

#[tokio::test]
async fn a_session_that_ended_renews_nothing() {
    let world = World::new().await;
    let alice = world.member().await;

    let mut tx = world.db.begin().await.unwrap();
    let end = |reason| (alice.session_id, reason);
    let (session_id, reason) = end(EndReason::Logout);
    assert!(
        accounts::end_session(&mut tx, session_id, reason, world.now)
            .await
            .unwrap()
    );
    assert!(
        !accounts::end_session(&mut tx, session_id, reason, world.now)
            .await
            .unwrap()
    );
    tx.commit().await.unwrap();
    assert!(world.rotate(&alice.cookie, world.now).await.is_none());
    assert!(!world.is_live(&alice.cookie, world.now).await);
    assert_eq!(world.count("sessions WHERE ended_reason = 'logout'").await, 1);
}

#[tokio::test]
async fn a_disabled_account_has_no_live_session() {
    let world = World::new().await;
    let alice = world.member().await;

    world.run("UPDATE users SET disabled_at = now()").await;
    assert!(!world.is_live(&alice.cookie, world.now).await);
    assert!(world.rotate(&alice.cookie, world.now).await.is_none());
    let mut tx = world.db.begin().await.unwrap();
    let linked = db::oauth_links::lock_user_of(&mut tx, "https://accounts.google.com", "1")
        .await
        .unwrap()
        .unwrap();
    assert!(linked.disabled);
    assert!(
        db::users::lock_live(&mut tx, alice.user.user_id)
            .await
            .unwrap()
            .is_none()
    );
}

/// The same person in the same browser: the session goes on, older values of its cookie do not.
#[tokio::test]
async fn a_second_login_keeps_the_session_and_moves_auth_time() {
    let world = World::new().await;
    let alice = world.member().await;
    let spent_and_live = world.rotate(&alice.cookie, world.now).await.unwrap();
    let (fresh, later) = (token(), world.now + Duration::minutes(5));

    let mut tx = world.db.begin().await.unwrap();
    let login = Login {
        auth_time: later.unix_timestamp(),
        ..world.login(alice.user.user_id, alice.link_id)
    };
    let renewed = db::sessions::renew(&mut tx, alice.session_id, &fresh.hash(), &login, later)
        .await
        .unwrap();
    tx.commit().await.unwrap();

    assert!(renewed);
    assert!(!world.is_live(&alice.cookie, later).await);
    assert!(!world.is_live(&spent_and_live, later).await);
    let session = db::sessions::find_live_by_token(&world.db, &fresh.hash(), LEEWAY_SECS, later)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(session.session_id, alice.session_id);
    assert_eq!(session.auth_time, later.unix_timestamp());
}

#[tokio::test]
async fn a_session_is_renewed_for_its_own_person_only() {
    let world = World::new().await;
    let alice = world.member().await;
    let (bob, link_id) = world.join("bob", "2").await.unwrap();

    let mut tx = world.db.begin().await.unwrap();
    let login = world.login(bob.user_id, link_id);
    let renewed = db::sessions::renew(&mut tx, alice.session_id, &token().hash(), &login, world.now)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert!(!renewed);
    assert!(world.is_live(&alice.cookie, world.now).await);
}

#[tokio::test]
async fn names_are_unique_without_case_held_for_a_while_and_reserved() {
    let world = World::new().await;
    world.join("Alice", "1").await.unwrap();
    world
        .run("INSERT INTO held_usernames VALUES ('bob', NULL, to_timestamp(1800000000) + interval '1 day')")
        .await;
    world
        .run("INSERT INTO reserved_usernames VALUES ('root', now())")
        .await;

    assert!(matches!(
        world.join("ALICE", "2").await,
        Err(NotCreated::UsernameTaken)
    ));
    assert!(matches!(
        world.join("Bob", "2").await,
        Err(NotCreated::UsernameTaken)
    ));
    assert!(matches!(
        world.join("Root", "2").await,
        Err(NotCreated::UsernameReserved)
    ));
    let later = world.now + Duration::days(1);
    let after = accounts::names::availability(&world.db, &keyring(), "bob", None, later)
        .await
        .unwrap();
    assert_eq!(after, Availability::Free);
    let wanted = ["alice", "bob", "root", "carol"].map(name).to_vec();
    let free = accounts::names::free(&world.db, &keyring(), wanted, world.now)
        .await
        .unwrap();
    let free: Vec<&str> = free.iter().map(|name| name.folded.as_str()).collect();
    assert_eq!(free, ["carol"]);
}

/// Two newcomers with one name, and one newcomer twice: exactly one account each time.
#[tokio::test]
async fn of_many_newcomers_at_once_one_gets_the_name_and_the_identity() {
    let world = World::new().await;
    let world = std::sync::Arc::new(world);
    let mut requests = JoinSet::new();
    for number in 0..AT_ONCE {
        let world = std::sync::Arc::clone(&world);
        requests.spawn(async move {
            if number % 2 == 0 {
                world.join("alice", &number.to_string()).await.is_ok()
            } else {
                world.join(&format!("bob{number}"), "same").await.is_ok()
            }
        });
    }
    let made = requests.join_all().await.into_iter().filter(|made| *made).count();
    assert_eq!(made, 2);
    assert_eq!(world.count("users").await, 2);
    assert_eq!(world.count("oauth_links").await, 2);
}

#[tokio::test]
async fn a_profile_follows_the_upstream_within_what_is_passed_on() {
    let world = World::new().await;
    let (user, link_id) = world.join("alice", "1").await.unwrap();
    assert_eq!(
        world
            .count("users WHERE upstream_claims = '{\"locale\": \"en\"}'")
            .await,
        1
    );

    let later = world.now + Duration::hours(1);
    let mut tx = world.db.begin().await.unwrap();
    let profile = UpstreamProfile {
        link_id,
        name: Some("Ada"),
        picture: Some("https://example.com/a.png"),
        claims: &Map::new(),
        passthrough: &[],
    };
    let (fresh, changed) = db::users::refresh_profile(&mut tx, user.user_id, &profile, later)
        .await
        .unwrap()
        .unwrap();
    assert!(changed.display_name && changed.picture && changed.claims);
    assert_eq!(fresh.display_name.as_deref(), Some("Ada"));
    assert_eq!(fresh.picture.as_deref(), Some("https://example.com/a.png"));
    let other = UpstreamProfile {
        name: Some("Somebody else"),
        picture: None,
        ..profile
    };
    let (same, unchanged) =
        db::users::refresh_profile(&mut tx, user.user_id, &other, later + Duration::hours(1))
            .await
            .unwrap()
            .unwrap();
    assert_eq!(unchanged, db::users::Refreshed::default());
    assert_eq!(same.display_name.as_deref(), Some("Ada"));
    assert_eq!(same.picture.as_deref(), Some("https://example.com/a.png"));
    tx.commit().await.unwrap();
    assert_eq!(
        world
            .count("users WHERE upstream_claims = '{}' AND updated_at = to_timestamp(1800003600)")
            .await,
        1
    );
}

#[tokio::test]
async fn a_verified_address_leads_to_its_account_without_case() {
    let world = World::new().await;
    let (user, _) = world.join("alice", "ada").await.unwrap();
    let links = db::oauth_links::find_verified_by_email(
        &world.db,
        "ada@example.com",
        "github",
        &["https://accounts.google.com".to_owned()],
        None,
    )
    .await
    .unwrap();
    assert!(matches!(
        links.as_slice(),
        [VerifiedLink { user_id, live: true, has_provider: false, .. }] if *user_id == user.user_id
    ));
}

#[tokio::test]
async fn a_flow_counts_once_in_its_own_browser() {
    let world = World::new().await;
    let (state, browser) = (token(), token());
    world.start(&state, &browser, world.now).await;

    let consume = |browser: Opaque| {
        let (db, state) = (world.db.clone(), state.hash());
        async move {
            db::upstream_flows::consume(&db, &state, &browser.hash())
                .await
                .unwrap()
                .is_some()
        }
    };
    assert!(!consume(token()).await);
    assert!(consume(browser.clone()).await);
    assert!(!consume(browser).await);
}

#[tokio::test]
async fn the_oldest_flow_of_a_browser_gives_way() {
    let world = World::new().await;
    let browser = token();
    let states: Vec<Opaque> = (0..7).map(|_| token()).collect();
    for (second, state) in (0..).zip(&states) {
        world
            .start(state, &browser, world.now + Duration::seconds(second))
            .await;
    }
    world.start(&token(), &token(), world.now).await;
    assert_eq!(world.count("upstream_flows").await, 6);
    for (number, state) in states.iter().enumerate() {
        let found = db::upstream_flows::consume(&world.db, &state.hash(), &browser.hash())
            .await
            .unwrap();
        assert_eq!(found.is_some(), number >= 2, "{number}");
    }
}

#[tokio::test]
async fn an_answer_by_form_post_is_kept_once_for_its_provider() {
    let world = World::new().await;
    let (state, browser) = (token(), token());
    world.start(&state, &browser, world.now).await;

    for (provider, minutes, expected) in [
        ("github", 0, false),
        ("google", 10, false),
        ("google", 1, true),
        ("google", 1, false),
    ] {
        let at = world.now + Duration::minutes(minutes);
        let kept = db::upstream_flows::store_posted(&world.db, &state.hash(), provider, b"answer", at)
            .await
            .unwrap();
        assert_eq!(kept, expected, "{provider} after {minutes}");
    }
    let flow = db::upstream_flows::consume(&world.db, &state.hash(), &browser.hash())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(flow.posted.as_deref(), Some(b"answer".as_slice()));
}

/// A username that is refused costs nothing; one that is taken uses the handle up.
#[tokio::test]
async fn an_onboarding_is_used_up_by_its_commit_alone() {
    let world = World::new().await;
    let (handle, browser) = (token(), token());
    let setup = NewSetup {
        handle_hash: &handle.hash(),
        browser_hash: &browser.hash(),
        sealed: b"sealed",
        expires_at: world.now + Duration::minutes(30),
    };
    db::pending_identities::insert_setup(&world.db, &setup, 5, world.now)
        .await
        .unwrap();

    for (browser, at, commit, expected) in [
        (token(), world.now, true, false),
        (browser.clone(), world.now + Duration::minutes(30), true, false),
        (browser.clone(), world.now, false, true),
        (browser.clone(), world.now, true, true),
        (browser, world.now, true, false),
    ] {
        let mut tx = world.db.begin().await.unwrap();
        let found = db::pending_identities::consume_setup(&mut tx, &handle.hash(), &browser.hash(), at)
            .await
            .unwrap();
        assert_eq!(found.is_some(), expected);
        if commit {
            tx.commit().await.unwrap();
        }
    }
}

/// §4.7: a provider's name can be pointed at another issuer, whose sessions may be called as those of the one before: a notice
/// of one issuer ends no session of another.
#[tokio::test]
async fn a_notice_of_another_issuer_ends_nothing() {
    let world = World::new().await;
    let member = world.member().await;
    world.run("UPDATE sessions SET upstream_sid = 'session-1'").await;
    let ended_by = async |issuer: &str, subject: Option<&str>| {
        let mut tx = world.db.begin().await.unwrap();
        let (provider, sid, reason) = ("google", "session-1", "upstream_logout");
        let ended = db::upstream_logout::end_of_upstream_session(
            &mut tx, provider, sid, issuer, subject, reason, world.now,
        )
        .await
        .unwrap();
        ended.len()
    };
    for subject in [None, Some("1")] {
        assert_eq!(ended_by("https://other.example", subject).await, 0);
        assert_eq!(ended_by("https://accounts.google.com", subject).await, 1);
    }
    assert_eq!(ended_by("https://accounts.google.com", Some("2")).await, 0);
    assert!(
        world.is_live(&member.cookie, world.now).await,
        "nothing was committed"
    );
}
