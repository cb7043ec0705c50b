//! What registration refuses, and edges of rules whose main tests stand elsewhere: one test for each.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::person::Authorize;
use common::provider::{CALLBACK, PAGES, start_upstream};
use common::{Answer, Browser, TestClient, TestProvider, app, checks, random_text, raw};
use reqwest::Method;
use riley_auth::clients::{NewClient, validate};
use riley_auth::config::Config;
use riley_auth::db;
use riley_auth::dev::simulated_upstream::Options;
use riley_auth::protocol::client::ClientType;
use sqlx::Row;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

mod registration {
    use super::*;

    fn config() -> Config {
        let text = "[server]\n[database]\nurl = \"postgres://localhost/x\"\nsecret_key = \"a-secret-key-of-the-tests-0123456789\"\n[jwt]\nissuer = \"https://op.test\"\n[oauth]\n";
        toml::from_str(text).unwrap()
    }

    /// A registration without fault.
    fn sound() -> NewClient {
        NewClient {
            name: "The App".to_owned(),
            redirect_uris: vec![CALLBACK.to_owned()],
            ..NewClient::default()
        }
    }

    /// The fields that are found fault with.
    fn refused(new: &NewClient) -> Vec<String> {
        match validate(new, &config()) {
            Ok(_) => Vec::new(),
            Err(findings) => findings.into_iter().map(|finding| finding.key).collect(),
        }
    }

    /// CO-7: the consent page shows the name on one line, and shows the name that was registered.
    #[test]
    fn a_name_that_breaks_its_line_or_turns_its_direction_is_not_registered() {
        let named = |name: &str| {
            refused(&NewClient {
                name: name.to_owned(),
                ..sound()
            })
        };
        for good in ["The App", "Ärzte & Söhne", "برنامج", "アプリ"] {
            assert!(named(good).is_empty(), "{good:?}");
        }
        for mark in [
            '\n', '\r', '\t', '\0', '\u{1b}', '\u{7f}', '\u{85}', '\u{61c}', '\u{200e}', '\u{200f}',
            '\u{2028}', '\u{2029}', '\u{202a}', '\u{202e}', '\u{2066}', '\u{2069}',
        ] {
            assert_eq!(named(&format!("The{mark}App")), ["name"], "{mark:?}");
        }
        assert_eq!(named(" "), ["name"]);
        assert!(named(&"x".repeat(100)).is_empty());
        assert_eq!(named(&"x".repeat(101)), ["name"]);
    }

    /// AZ-4.
    #[test]
    fn a_client_has_fifty_redirect_uris_and_no_more() {
        let uris = |count: usize| (0..count).map(|n| format!("{CALLBACK}/{n}")).collect::<Vec<_>>();
        let with = |count: usize| {
            refused(&NewClient {
                redirect_uris: uris(count),
                ..sound()
            })
        };
        assert!(with(50).is_empty());
        assert_eq!(with(51), ["redirect_uris"]);
        let after_logout = refused(&NewClient {
            post_logout_redirect_uris: uris(51),
            ..sound()
        });
        assert_eq!(after_logout, ["post_logout_redirect_uris"]);
    }

    /// AZ-25, RFC 8252 §8.6: any program on the device can claim such a redirect.
    #[test]
    fn a_native_client_is_not_registered_to_skip_consent() {
        let native = |uri: &str, auto_approve| NewClient {
            client_type: ClientType::Native,
            redirect_uris: vec![uri.to_owned()],
            auto_approve,
            ..sound()
        };
        for uri in ["http://127.0.0.1/callback", "com.example.app:/callback"] {
            assert!(refused(&native(uri, false)).is_empty(), "{uri}");
            assert_eq!(refused(&native(uri, true)), ["auto_approve"], "{uri}");
        }
        assert!(
            refused(&native(CALLBACK, true)).is_empty(),
            "https proves the client"
        );
        let mut one_of_two = native(CALLBACK, true);
        one_of_two
            .redirect_uris
            .push("http://127.0.0.1/callback".to_owned());
        assert_eq!(refused(&one_of_two), ["auto_approve"]);
    }
}

mod sign_in {
    use super::*;

    fn hinted<'a>(browser: &'a Browser, client: &'a TestClient, id_token: &str) -> Authorize<'a> {
        let request = browser.authorize(client).prompt("none");
        request.with("id_token_hint", id_token)
    }

    /// AZ-21, OpenID Connect Core §3.1.2.1: an app asks with what it has kept, however old that is.
    #[tokio::test]
    async fn a_hint_that_has_expired_still_tells_who_is_meant() {
        let op = TestProvider::start().await;
        let (client, ada) = (op.client().await, op.signed_in("ada").await);
        let tokens = client.tokens_of(&ada, "ada", "openid").await;
        let claims = checks::peek(tokens.id());
        op.advance_secs(claims["exp"].as_i64().unwrap() - op.now() + 3600);
        let granted = hinted(&ada, &client, tokens.id()).code().await;
        let again = client.redeem(&granted).await.tokens();
        assert_eq!(checks::peek(again.id())["sub"], claims["sub"]);
        // It is still read: somebody else is not who is meant.
        let alan = op.signed_in("alan").await;
        hinted(&alan, &client, tokens.id())
            .send()
            .await
            .refused("login_required");
    }

    /// CO-9: the page that carries an answer runs its one script and nothing else. Without `form-action`, since Chromium
    /// applies that to where the app itself redirects to.
    #[tokio::test]
    async fn the_form_post_page_admits_its_one_script_by_hash() {
        let op = TestProvider::start().await;
        let (client, ada) = (op.client().await, op.signed_in("ada").await);
        let request = ada.authorize(&client).with("response_mode", "form_post");
        let visit = request.with("state", "<script>alert(1)</script>").visit().await;
        assert_eq!(visit.form().unwrap().action, CALLBACK);
        let page = visit.answer.unwrap();
        let script = page.is(200).text.split("<script>").nth(1).unwrap();
        let script = script.split("</script>").next().unwrap();
        assert_eq!(page.text.matches("<script").count(), 1, "{}", page.text);
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, script.as_bytes());
        let mut policy: Vec<&str> = page
            .header("content-security-policy")
            .unwrap()
            .split(';')
            .map(str::trim)
            .collect();
        policy.sort_unstable();
        let admitted = format!("script-src 'sha256-{}'", STANDARD.encode(hash.as_ref()));
        assert_eq!(
            policy,
            [
                "base-uri 'none'",
                "default-src 'none'",
                "frame-ancestors 'none'",
                &admitted
            ]
        );
    }

    /// JW-8, OpenID Connect Core §8: RFC 9562 §5.4, so that it tells nothing of the person, not even when they came.
    #[tokio::test]
    async fn a_newcomers_subject_is_random() {
        let op = TestProvider::start().await;
        let client = op.client().await;
        let mut subjects = Vec::new();
        for person in ["ada", "alan"] {
            let browser = op.signed_in(person).await;
            let tokens = client.tokens_of(&browser, person, "openid profile email").await;
            let subject = checks::peek(tokens.id())["sub"].as_str().unwrap().to_owned();
            let id = uuid::Uuid::parse_str(&subject).unwrap();
            assert_eq!(id.get_version_num(), 4, "{subject}");
            assert_eq!(id.get_variant(), uuid::Variant::RFC4122, "{subject}");
            assert_eq!(subject, id.to_string(), "in one spelling");
            assert_eq!(browser.user_id().await, subject);
            assert_ne!(subject, op.upstream().subject_of(person));
            subjects.push(subject);
        }
        assert_ne!(subjects[0], subjects[1]);
    }

    /// UP-7: what another issuer calls by the same subject is another person, even under the same provider name.
    #[tokio::test]
    async fn another_issuer_under_the_same_name_orphans_the_old_links() {
        let op = TestProvider::start().await;
        let before = op.signed_in("ada").await.user_id().await;
        let other = start_upstream(
            Options {
                cookie_name: "session_at_the_other".to_owned(),
                ..Options::default()
            },
            op.clock(),
        )
        .await;
        assert_eq!(other.subject_of("ada"), op.upstream().subject_of("ada"));
        let moved = op
            .reconfigured(|config| {
                let provider = config.oauth.providers.get_mut("simulated").unwrap();
                provider.issuer = Some(other.issuer());
            })
            .await;
        let ada = moved.browser();
        let visit = ada.sign_in_amid("simulated", "ada", &[]).await;
        // Both say that this address is verified, but nobody vouches for the old issuer any more: a newcomer, who is not even
        // told of the account of before.
        assert_eq!(visit.url.as_str(), format!("{PAGES}/home"), "{}", visit.text());
        let after = ada.user_id().await;
        assert_ne!(after, before);
        let mut links: Vec<(String, String)> =
            sqlx::query("SELECT issuer, subject FROM oauth_links ORDER BY created_at")
                .fetch_all(op.db())
                .await
                .unwrap()
                .iter()
                .map(|row| (row.get("issuer"), row.get("subject")))
                .collect();
        let subject = op.upstream().subject_of("ada");
        let mut expected = vec![
            (op.upstream().issuer(), subject.clone()),
            (other.issuer(), subject),
        ];
        links.sort_unstable();
        expected.sort_unstable();
        assert_eq!(links, expected);
        // Set back, the old link leads where it did.
        assert_eq!(op.signed_in("ada").await.user_id().await, before);
    }
}

mod clients {
    use super::*;

    /// TK-10, RFC 6749 §5.2: its codes and grants go with it. An instance that remembers the client finds no code; one that
    /// does not finds no client.
    #[tokio::test]
    async fn the_code_of_a_removed_client_is_refused() {
        let op = TestProvider::start().await;
        let ada = op.signed_in("ada").await;
        for client in [op.client().await, op.public_client().await] {
            let authorized = async || {
                let verifier = random_text(50);
                ada.authorize(&client).pkce(&verifier).code().await
            };
            let used = authorized().await;
            let tokens = client.redeem(&used).await.tokens();
            let granted = authorized().await;
            let removed = db::clients::delete(op.db(), &client.client.client_id).await;
            assert!(removed.unwrap());
            client.redeem(&granted).await.refused("invalid_grant");
            client.refresh(tokens.refresh()).await.refused("invalid_grant");
            client.userinfo(&tokens.access_token).await.is(401);
            let elsewhere = client.at(&op.second_instance().await);
            elsewhere.redeem(&granted).await.refused("invalid_client");
            elsewhere
                .refresh(tokens.refresh())
                .await
                .refused("invalid_client");
            let outcome = ada.authorize(&client).send().await;
            outcome.error_page();
        }
    }

    /// RV-8, RFC 7662 §5: the answer goes to a party that the person may never have heard of.
    #[tokio::test]
    async fn introspection_tells_no_address_and_a_name_only_with_profile() {
        let op = TestProvider::start().await;
        let (client, ada) = (op.client().await, op.signed_in("ada").await);
        for (scope, named) in [
            ("openid email address phone", false),
            ("openid profile email address phone", true),
        ] {
            let tokens = client.tokens_of(&ada, "ada", scope).await;
            for token in [&tokens.access_token, tokens.refresh()] {
                let answer = client.introspect(token).await;
                let told = answer.is(200).json();
                assert_eq!((&told["active"], &told["scope"]), (&true.into(), &scope.into()));
                assert_eq!(told["username"].is_string(), named, "{told}");
                assert!(!answer.text.contains('@'), "{told}");
                let known = [
                    "active",
                    "sub",
                    "client_id",
                    "scope",
                    "aud",
                    "iss",
                    "exp",
                    "iat",
                    "jti",
                    "token_type",
                    "sid",
                    "auth_time",
                    "username",
                ];
                let more = told
                    .as_object()
                    .unwrap()
                    .keys()
                    .find(|name| !known.contains(&name.as_str()));
                assert_eq!(more, None);
            }
        }
    }
}

mod resources {
    use super::*;

    /// DB-5: what hangs is ended by the database, and an operator sees in `pg_stat_activity` whose it is.
    #[tokio::test]
    async fn every_connection_has_its_timeouts_and_its_name() {
        let op = TestProvider::start().await;
        let mut held = vec![op.db().acquire().await.unwrap(), op.db().acquire().await.unwrap()];
        for connection in &mut held {
            for (setting, expected) in [
                ("statement_timeout", "5s"),
                ("lock_timeout", "2s"),
                ("idle_in_transaction_session_timeout", "10s"),
                ("application_name", "riley-auth"),
                ("TimeZone", "UTC"),
            ] {
                let value: String = sqlx::query_scalar("SELECT current_setting($1)")
                    .bind(setting)
                    .fetch_one(&mut **connection)
                    .await
                    .unwrap();
                assert_eq!(value, expected, "{setting}");
            }
        }
    }

    /// RS-4: who waits in vain for a connection is told so, soon, and told when to come back.
    #[tokio::test]
    async fn an_exhausted_pool_is_503_with_retry_after() {
        let op = TestProvider::start().await;
        let client = op.client().await;
        let ada = op.signed_in("ada").await;
        let tokens = client.tokens_of(&ada, "ada", "openid offline_access").await;
        let busy = op
            .reconfigured(|config| {
                config.database.max_connections = 1;
                config.database.acquire_timeout_secs = 1;
            })
            .await;
        // Its workers use the pool, too; once it is ours, they wait like everybody.
        let held = loop {
            if let Ok(connection) = busy.db().acquire().await {
                break connection;
            }
        };
        let post = |path: &str| {
            let credentials = app::basic(client.client_id(), client.secret());
            busy.request(Method::POST, path)
                .header("authorization", credentials)
        };
        let refresh = [
            ("grant_type", "refresh_token"),
            ("refresh_token", tokens.refresh()),
        ];
        let started = Instant::now();
        let answers: JoinSet<Answer> = [
            post("/oauth/introspect").form(&[("token", &tokens.access_token)]),
            post("/oauth/token").form(&refresh),
            busy.request(Method::GET, "/oauth/userinfo")
                .bearer_auth(&tokens.access_token),
            busy.request(Method::GET, "/auth/simulated"),
        ]
        .into_iter()
        .map(Answer::of)
        .collect();
        for answer in answers.join_all().await {
            let seconds: u64 = answer.is(503).header("retry-after").unwrap().parse().unwrap();
            assert!((1..=60).contains(&seconds), "{seconds}");
        }
        assert!(
            started.elapsed() < Duration::from_secs(5),
            "{:?}",
            started.elapsed()
        );
        // To be busy is not to be unready: whoever took a busy instance out would overload the others.
        busy.get("/ready").await.is(200);
        busy.get("/health").await.is(200);
        drop(held);
        client.at(&busy).refresh(tokens.refresh()).await.tokens();
    }

    /// RS-4: no request waits for a second connection while it holds the first, which would stop a full pool for good.
    #[tokio::test]
    async fn one_connection_is_enough_for_a_whole_sign_in() {
        let op = TestProvider::with(|config| {
            config.database.max_connections = 1;
            config.database.acquire_timeout_secs = 5;
        })
        .await;
        let browser = op.browser();
        // Somebody new who is asked, then somebody known who is not.
        for client in [op.asking_client().await, op.client().await] {
            let tokens = client.tokens_of(&browser, "ada", "openid offline_access").await;
            let tokens = client.refresh(tokens.refresh()).await.tokens();
            client.userinfo(&tokens.access_token).await.is(200);
            assert!(client.is_active(&tokens.access_token).await);
            assert!(client.is_active(tokens.refresh()).await);
            client.revoke(tokens.refresh()).await.is(200);
        }
        browser.renew().await.is(200);
        browser.sign_in("ada").await;
        browser.call(Method::POST, "/auth/logout", None).await;
        assert!(!browser.is_signed_in().await);
    }

    /// RS-7: whoever is asked while the process drains says so. A connection that is idle is closed and nobody new is let
    /// in; one whose request is on its way is answered.
    #[tokio::test]
    async fn readiness_is_false_while_the_process_drains() {
        let op = TestProvider::start().await;
        op.get("/ready").await.is(200);
        let mut stream = TcpStream::connect(op.address()).await.unwrap();
        let head = b"GET /ready HTTP/1.1\r\nHost: op.test\r\n";
        stream.write_all(head).await.unwrap();
        // Accepted after the one above, so that it is accepted, too.
        let last = raw::Reply::to(
            op.address(),
            b"GET /health HTTP/1.1\r\nHost: op.test\r\nConnection: close\r\n\r\n",
        );
        assert_eq!(last.await.status, 200);
        op.state().shutdown.cancel();
        stream.write_all(b"\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains(r#""reason":"shutting down""#), "{answer}");
    }
}
