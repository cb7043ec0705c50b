//! Two URLs of one database: requests go by one, perhaps through a pooler, and whatever needs a session of its own by the
//! other.

use reqwest::Method;
use rustix::process::Signal;
use secrecy::ExposeSecret as _;
use serde_json::Value;
use sqlx::PgPool;

use crate::common::TestProvider;
use crate::common::database::TestDatabase;
use crate::common::process::PATIENCE;
use crate::common::receiver::Receiver;
use crate::common::roles::{LIMITS, Roles, directory, validated};
use crate::common::silencer::Forgetful;
use crate::common::webhooks::on_loopback;

/// Nobody listens there.
const NOWHERE: &str = "postgres://nobody:hunter2@127.0.0.1:9/nothing";
/// RS-10: `serve` migrates by `direct_url`, while what requests do is done by a role that could not.
#[tokio::test(flavor = "multi_thread")]
async fn serve_migrates_by_the_direct_url_and_serves_requests_as_a_role_that_could_not() {
    let op = TestProvider::start().await;
    let database = TestDatabase::create().await;
    let empty = PgPool::connect(&database.url).await.unwrap();
    sqlx::raw_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        .execute(&empty)
        .await
        .unwrap();
    let roles = Roles::create(&database.url).await;
    let directory = directory(&op, &roles.server_url(), Some(&roles.owner_url()));
    let mut process = directory.serve().await;
    let served = op.served_at(process.address);
    served.get("/ready").await.is(200);
    let registered = directory.run(&[
        "register-client",
        "--json",
        "--name",
        "App",
        "--redirect-uri",
        "https://app.test/cb",
    ]);
    assert!(
        registered.status.success(),
        "{}",
        String::from_utf8_lossy(&registered.stderr)
    );
    let client: Value = serde_json::from_slice(&registered.stdout).unwrap();
    let authorize = format!(
        "/oauth/authorize?client_id={}&redirect_uri=https%3A%2F%2Fapp.test%2Fcb&response_type=code&scope=openid\
         &code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256",
        client["client_id"].as_str().unwrap()
    );
    let answer = served.get(&authorize).await;
    assert!((302..=303).contains(&answer.status.as_u16()), "{}", answer.text);
    let (requests, migrations, others_tables, may_create): (i64, i64, i64, bool) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM authorization_requests), (SELECT count(*) FROM _sqlx_migrations WHERE success),
                (SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND tableowner <> $1),
                has_schema_privilege($2, 'public', 'CREATE')",
    )
    .bind(&roles.owner)
    .bind(&roles.server)
    .fetch_one(&empty)
    .await
    .unwrap();
    let ours = i64::try_from(riley_auth::db::MIGRATIONS.iter().count()).unwrap();
    assert_eq!((requests, migrations, others_tables), (1, ours, 0));
    assert!(!may_create);
    assert_eq!(roles.connected().await, roles.expected());
    assert_eq!(validated(&directory), []);
    process.signal(Signal::TERM);
    assert!(process.ended().await.success());
    assert!(!process.log().contains("\"ERROR\""), "{}", process.log());
    roles.drop().await;
}

/// Everything that people and apps do is done by the role of requests, and the deliveries listen by the other one.
#[tokio::test]
async fn requests_use_the_url_and_workers_the_direct_one() {
    let op = TestProvider::start().await;
    let own = op.state().config.database.url.expose_secret().to_owned();
    let roles = Roles::create(&own).await;
    roles.share_everything().await;
    let op = op
        .reconfigured(|config| {
            config.database.url = roles.server_url().into();
            config.database.direct_url = Some(roles.owner_url().into());
        })
        .await;
    let client = op.client().await;
    let browser = op.signed_in("alice").await;
    let tokens = client.tokens_of(&browser, "alice", "openid offline_access").await;
    op.request(Method::GET, "/oauth/userinfo")
        .bearer_auth(&tokens.access_token)
        .send()
        .await
        .unwrap()
        .error_for_status()
        .unwrap();
    op.get("/ready").await.is(200);
    // The kit's own provider listens, too.
    let listening =
        "SELECT usename::text FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND usename = ANY ($1)";
    let deadline = std::time::Instant::now() + PATIENCE;
    let mut listeners: Vec<String> = Vec::new();
    while listeners.is_empty() {
        assert!(std::time::Instant::now() < deadline, "nobody listens");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        listeners = sqlx::query_scalar(listening)
            .bind([roles.owner.as_str(), roles.server.as_str()])
            .fetch_all(&roles.db)
            .await
            .unwrap();
    }
    assert_eq!(listeners, [roles.owner.as_str()]);
    assert_eq!(roles.connected().await, roles.expected());
    op.stopped().await;
    roles.drop().await;
}

/// A change of the second URL is said to wait for the next start, although both values print alike.
#[tokio::test]
async fn another_direct_url_is_taken_over_at_the_next_start() {
    let op = TestProvider::start().await;
    let own = op.state().config.database.url.expose_secret().to_owned();
    let directory = directory(&op, &own, Some(&own));
    let process = directory.serve().await;
    let edited = format!("direct_url = \"{NOWHERE}\"");
    directory.edit(&format!("direct_url = \"{own}\""), &edited);
    // Files may not be watched yet.
    process.signal(Signal::HUP);
    process
        .logs("[database] has changed and is taken over at the next start")
        .await;
    assert!(!process.log().contains("hunter2"));
}

/// While requests reach no database, whatever goes on beside them does: deliveries are sent, and what has expired is removed.
#[tokio::test]
async fn without_a_way_for_requests_workers_go_on() {
    let kit = TestProvider::with(on_loopback).await;
    let own = kit.state().config.database.url.expose_secret().to_owned();
    let asking = kit.asking_client().await;
    kit.browser().authorize(&asking).send().await.page("/login");
    // The kit's own workers are gone; its connections are looked through.
    let kit = kit.stopped().await;
    let cut_off = kit
        .reconfigured(|config| {
            config.database.url = NOWHERE.to_owned().into();
            config.database.direct_url = Some(own.into());
            config.database.acquire_timeout_secs = 1;
        })
        .await;
    cut_off.get("/health").await.is(200);
    cut_off.get("/ready").await.is(503);
    let answer = cut_off
        .get("/oauth/authorize?client_id=app&response_type=code")
        .await;
    answer.is(503);
    assert!(answer.headers.contains_key("retry-after"));
    let receiver = Receiver::start().await;
    let webhook = kit.webhook(&receiver).await;
    kit.ping(webhook.id()).await;
    receiver.waits_for(1).await;
    let waiting = "SELECT count(*) FROM authorization_requests";
    let count = async || -> i64 { sqlx::query_scalar(waiting).fetch_one(kit.db()).await.unwrap() };
    assert_eq!(count().await, 1);
    kit.advance(time::Duration::days(1));
    while riley_auth::maintenance::clean_up(cut_off.state(), kit.clock().now())
        .await
        .unwrap()
        .shared
    {}
    assert_eq!(count().await, 0);
}

/// A command does not depend on a pooler; `validate` looks at both URLs and says which it means.
#[tokio::test]
async fn commands_use_the_direct_url_and_validate_looks_at_both() {
    let op = TestProvider::start().await;
    let own = op.state().config.database.url.expose_secret().to_owned();
    let around = directory(&op, NOWHERE, Some(&own));
    for command in [
        &["migrate"][..],
        &["keys"],
        &["list-clients"],
        &["list-users"],
        &["audit"],
        &["audit", "verify"],
        &["reserve-username", "webmaster"],
    ] {
        let output = around.run(command);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{command:?}: {said}");
    }
    let through = directory(&op, &own, Some(NOWHERE));
    for command in [&["migrate"][..], &["list-clients"]] {
        assert!(!through.run(command).status.success(), "{command:?}");
    }
    for (directory, key) in [(around, "database.url"), (through, "database.direct_url")] {
        let [(severity, found, problem)] = &validated(&directory)[..] else {
            panic!("one finding about {key}")
        };
        assert_eq!((severity.as_str(), found.as_str()), ("error", key));
        assert!(
            problem.contains("does not answer") && !problem.contains("hunter2"),
            "{problem}"
        );
    }
}

/// DB-5: a pooler that keeps the limits of time from the database is found, and giving them to the role mends it.
#[tokio::test(flavor = "multi_thread")]
async fn limits_that_a_pooler_swallows_are_found_until_the_role_has_them() {
    let op = TestProvider::start().await;
    let own = op.state().config.database.url.expose_secret().to_owned();
    let roles = Roles::create(&own).await;
    roles.share_everything().await;
    let pooler = Forgetful::before(&roles.server_url());
    let directory = directory(&op, &pooler.url, Some(&own));
    let validate = || {
        // The one in front runs on this thread.
        let directory = &directory;
        tokio::task::block_in_place(|| validated(directory))
    };
    let [(severity, key, problem)] = &validate()[..] else {
        panic!("one finding")
    };
    assert_eq!((severity.as_str(), key.as_str()), ("warning", "database.url"));
    for limit in LIMITS {
        let (name, _) = limit.split_once(' ').unwrap();
        assert!(problem.contains(name), "{problem}");
    }
    for limit in LIMITS {
        roles
            .run(&format!("ALTER ROLE {} SET {limit}", roles.server))
            .await;
    }
    assert_eq!(validate(), []);
    roles.drop().await;
}

/// What requests would find by `url` is not what workers find, or may not be used.
#[tokio::test]
async fn two_urls_that_do_not_belong_together_are_found() {
    let op = TestProvider::start().await;
    let own = op.state().config.database.url.expose_secret().to_owned();
    let other = TestDatabase::create().await;
    let findings = validated(&directory(&op, &other.url, Some(&own)));
    let [(severity, key, problem)] = &findings[..] else {
        panic!("one finding: {findings:?}")
    };
    assert_eq!((severity.as_str(), key.as_str()), ("error", "database.url"));
    assert!(problem.contains("another database"), "{problem}");

    let roles = Roles::create(&own).await;
    roles.share_everything().await;
    roles
        .run(&format!("REVOKE UPDATE ON sessions FROM {}", roles.server))
        .await;
    let findings = validated(&directory(&op, &roles.server_url(), Some(&own)));
    let [(severity, key, problem)] = &findings[..] else {
        panic!("one finding: {findings:?}")
    };
    assert_eq!((severity.as_str(), key.as_str()), ("error", "database.url"));
    assert!(problem.contains("may not read and write sessions"), "{problem}");
    roles.drop().await;
}
