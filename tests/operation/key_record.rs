//! The life of keys is recorded once, whoever sees it, and told of.

use riley_auth::jwt::{KeySet, KeySource, generate};
use riley_auth::protocol::algorithm::SigningAlgorithm;
use riley_auth::server::key_record;
use serde_json::{Value, json};

use crate::common::process::PATIENCE;
use crate::common::{Directory, TestProvider};

/// The payloads of the `key.rotated` events so far, oldest first.
async fn announced(op: &TestProvider) -> Vec<Value> {
    sqlx::query_scalar(
        "SELECT data FROM events WHERE event_type = 'key.rotated' ORDER BY created_at, event_id",
    )
    .fetch_all(op.db())
    .await
    .unwrap()
}

async fn record(op: &TestProvider) {
    key_record::record(op.state(), op.clock().now()).await.unwrap();
}

/// Two instances that record when the test says so alone.
async fn without_recorders() -> (TestProvider, TestProvider) {
    let op = TestProvider::start().await.stopped().await;
    let other = op.served_at(op.address());
    (op, other)
}

/// One ES256 key that signs at once.
fn another_key() -> KeySet {
    let key = generate::generate(SigningAlgorithm::Es256, None).unwrap();
    KeySet::new(vec![KeySource {
        algorithm: SigningAlgorithm::Es256,
        kid: None,
        private_key_pem: Some(key.private_key_pem),
        public_key_pem: None,
        signs_from: None,
        origin: "a test".to_owned(),
    }])
    .unwrap()
}

#[tokio::test]
async fn a_key_that_begins_to_sign_is_recorded_and_announced_once_by_all_instances_together() {
    let (op, other) = without_recorders().await;
    tokio::join!(record(&op), record(&other), record(&op));
    let first = announced(&op).await;
    let algorithms: Vec<&Value> = first.iter().map(|data| &data["algorithm"]).collect();
    assert_eq!(algorithms.len(), 2, "{first:?}");
    assert!(algorithms.contains(&&json!("ES256")) && algorithms.contains(&&json!("RS256")));
    assert!(first.iter().all(|data| data.get("previous_kid").is_none()));

    let before = op.clock().now();
    op.advance_secs(3600);
    let old = op.state().keys.current();
    let old = old
        .active(Some(SigningAlgorithm::Es256), before)
        .unwrap()
        .kid()
        .to_owned();
    op.state().keys.replace(another_key());
    let new = op.state().keys.current().entries()[0].kid().to_owned();
    tokio::join!(record(&op), record(&op));
    let all = announced(&op).await;
    assert_eq!(
        all[2..],
        [json!({ "algorithm": "ES256", "kid": new, "previous_kid": old })]
    );
    let recorded = riley_auth::db::signing_keys::list(op.db()).await.unwrap();
    let find = |kid: &str| recorded.iter().find(|key| key.kid == kid).unwrap();
    assert!(find(&old).first_signed_at.unwrap() < find(&new).first_signed_at.unwrap());
    assert_eq!(find(&old).last_signed_at, find(&new).first_signed_at);
    assert_eq!(find(&new).last_signed_at, None);
}

/// Another instance that still signs with the old key, or a key that is put back, changes what is recorded; nothing is lost.
#[tokio::test]
async fn a_key_that_signs_again_after_another_one_is_announced_again_with_its_first_use_kept() {
    let (op, other) = without_recorders().await;
    record(&op).await;
    let first_use = riley_auth::db::signing_keys::list(op.db()).await.unwrap();
    op.state().keys.replace(another_key());
    op.advance_secs(60);
    record(&op).await;
    record(&other).await;
    let es256: Vec<Value> = announced(&op)
        .await
        .into_iter()
        .filter(|data| data["algorithm"] == "ES256")
        .collect();
    assert_eq!(es256.len(), 3);
    assert_eq!(es256[2]["kid"], es256[0]["kid"]);
    let recorded = riley_auth::db::signing_keys::list(op.db()).await.unwrap();
    for key in first_use {
        let now = recorded.iter().find(|other| other.kid == key.kid).unwrap();
        assert_eq!(now.first_signed_at, key.first_signed_at);
        assert_eq!(now.last_signed_at, None);
    }
}

/// A list of keys that apps fetched under a larger max-age is kept for that long: after the number was lowered, and while a
/// server runs that still sends the larger one, a new key waits for the larger one all the same.
#[tokio::test]
async fn a_lowered_max_age_does_not_let_a_new_key_sign_too_soon() {
    let op = TestProvider::start().await;
    let noted = "SELECT last_served_at FROM jwks_max_ages WHERE max_age_secs = 3600";
    let deadline = std::time::Instant::now() + PATIENCE;
    let at: time::OffsetDateTime = loop {
        if let Some(at) = sqlx::query_scalar(noted).fetch_optional(op.db()).await.unwrap() {
            break at;
        }
        assert!(std::time::Instant::now() < deadline, "the max-age is never noted");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    };
    let signs_from = |directory: &Directory| {
        let made = directory.run(&["--json", "generate-keys", "--prepend-to", "riley-auth.toml"]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let told: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
        let from = told["signs_from"].as_str().unwrap();
        time::OffsetDateTime::parse(from, &time::format_description::well_known::Rfc3339).unwrap()
    };
    let lowered = || {
        let directory = Directory::with_key(&op.configuration_text());
        directory.edit("[jwt]", "[jwt]\n        jwks_cache_max_age_secs = 60");
        directory
    };
    let from = signs_from(&lowered());
    assert!(from >= at + time::Duration::seconds(3600), "{from}");

    // Nobody keeps a list of back then any more.
    sqlx::query("UPDATE jwks_max_ages SET last_served_at = last_served_at - interval '2 hours'")
        .execute(op.db())
        .await
        .unwrap();
    let from = signs_from(&lowered());
    assert!(from < at + time::Duration::seconds(600), "{from}");
}

/// Numbers that nobody serves go by themselves.
#[tokio::test]
async fn a_max_age_of_long_ago_is_forgotten() {
    let op = TestProvider::start().await;
    let now = op.clock().now();
    let serve = async |secs, at| {
        riley_auth::db::signing_keys::serve_max_age(op.db(), secs, at)
            .await
            .unwrap();
    };
    let known = async || -> Vec<i32> {
        sqlx::query_scalar("SELECT max_age_secs FROM jwks_max_ages ORDER BY 1")
            .fetch_all(op.db())
            .await
            .unwrap()
    };
    serve(7200, now).await;
    serve(60, now + time::Duration::hours(25)).await;
    assert!(known().await.contains(&7200));
    serve(60, now + time::Duration::hours(27)).await;
    assert!(!known().await.contains(&7200));
}
