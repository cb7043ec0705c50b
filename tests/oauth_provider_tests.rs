//! What registered clients may and may not do at authorize, token, revocation and introspection, over HTTP.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use common::app::basic;
use common::checks;
use common::provider::{APP, CALLBACK, ISSUER, PAGES};
use common::{Answer, Browser, Granted, Outcome, TestClient, TestProvider, Tokens, random_text};
use reqwest::Method;
use riley_auth::protocol::scope::ScopeSet;
use serde_json::json;

/// RFC 7636 Appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const OTHER_VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXl";

/// A provider, an app, a person who is signed in.
async fn start() -> (TestProvider, TestClient, Browser) {
    let op = TestProvider::start().await;
    let app = op.client().await;
    let ada = op.signed_in("ada").await;
    (op, app, ada)
}

async fn tokens(app: &TestClient, browser: &Browser, scope: &str) -> Tokens {
    let granted = browser.authorize(app).scope(scope).code().await;
    app.redeem(&granted).await.tokens()
}

fn code_form(granted: &Granted) -> Vec<(&str, &str)> {
    vec![
        ("grant_type", "authorization_code"),
        ("code", &granted.code),
        ("redirect_uri", &granted.redirect_uri),
    ]
}

async fn count(op: &TestProvider, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(op.db()).await.unwrap()
}

const LIVE_REFRESH_TOKENS: &str = "select count(*) from refresh_tokens r join grants g using (grant_id)
    where r.consumed_at is null and g.revoked_at is null";

mod codes {
    use super::*;

    /// RFC 6749 §4.1.2: a code is good for one use; a second one revokes what the first gave.
    #[tokio::test]
    async fn a_replayed_code_is_refused_and_its_tokens_die() {
        let (_op, app, ada) = start().await;
        let granted = ada.authorize(&app).code().await;
        let tokens = app.redeem(&granted).await.tokens();
        app.redeem(&granted).await.refused("invalid_grant");
        app.refresh(tokens.refresh()).await.refused("invalid_grant");
        assert_eq!(app.userinfo(&tokens.access_token).await.status, 401);
        assert!(!app.is_active(&tokens.access_token).await);
    }

    /// A replay after the code has expired, by another instance, still revokes what it gave.
    #[tokio::test]
    async fn a_late_replay_at_another_instance_revokes_too() {
        let (op, app, ada) = start().await;
        let granted = ada.authorize(&app).code().await;
        let tokens = app.redeem(&granted).await.tokens();
        op.advance_secs(600);
        let second = op.second_instance().await;
        app.at(&second).redeem(&granted).await.refused("invalid_grant");
        assert_eq!(app.userinfo(&tokens.access_token).await.status, 401);
    }

    /// RFC 6749 §10.5: a leaked code is no weapon: what others do with it changes nothing.
    #[tokio::test]
    async fn a_replay_by_another_client_revokes_nothing() {
        let (op, app, ada) = start().await;
        let other = op.client().await;
        let granted = ada.authorize(&app).code().await;
        other.redeem(&granted).await.refused("invalid_grant");
        let tokens = app.redeem(&granted).await.tokens();
        other.redeem(&granted).await.refused("invalid_grant");
        op.post("/oauth/token", &code_form(&granted))
            .await
            .is_client_error();
        assert_eq!(app.userinfo(&tokens.access_token).await.status, 200);
    }

    /// A replay that would never have been valid (wrong redirect_uri) does not revoke either.
    #[tokio::test]
    async fn a_replay_with_another_redirect_uri_revokes_nothing() {
        let (_op, app, ada) = start().await;
        let granted = ada.authorize(&app).code().await;
        let tokens = app.redeem(&granted).await.tokens();
        let wrong = Granted {
            redirect_uri: format!("{CALLBACK}/"),
            ..granted
        };
        app.redeem(&wrong).await.refused("invalid_grant");
        assert_eq!(app.userinfo(&tokens.access_token).await.status, 200);
    }

    /// RFC 6749 §4.1.3: the redirect URI of the request, byte for byte.
    #[tokio::test]
    async fn a_code_is_not_redeemed_with_another_redirect_uri_or_none() {
        let (_op, app, ada) = start().await;
        let granted = ada.authorize(&app).code().await;
        for redirect_uri in [
            format!("{CALLBACK}/"),
            format!("{CALLBACK}?x=1"),
            "https://APP.test/callback".into(),
        ] {
            app.redeem(&Granted {
                redirect_uri,
                ..granted.clone()
            })
            .await
            .refused("invalid_grant");
        }
        let form = [
            ("grant_type", "authorization_code"),
            ("code", granted.code.as_str()),
        ];
        app.post("/oauth/token", &form).await.is_client_error();
    }

    #[tokio::test]
    async fn a_code_expires() {
        let (op, app, ada) = start().await;
        let granted = ada.authorize(&app).code().await;
        op.advance_secs(301);
        app.redeem(&granted).await.refused("invalid_grant");
    }

    /// Security rule TK-9.
    #[tokio::test]
    async fn of_twenty_parallel_exchanges_of_one_code_at_most_one_succeeds() {
        let (op, app, ada) = start().await;
        let second = op.second_instance().await;
        let apps = [app.clone(), app.at(&second)];
        let granted = ada.authorize(&app).code().await;
        let calls = (0..20).map(|i| {
            let (app, granted) = (apps[i % 2].clone(), granted.clone());
            tokio::spawn(async move { app.redeem(&granted).await })
        });
        let mut won = 0;
        for call in calls.collect::<Vec<_>>() {
            let answer = call.await.unwrap();
            if answer.status == 200 {
                won += 1;
            } else {
                answer.refused("invalid_grant");
            }
        }
        assert!(won <= 1, "{won} exchanges succeeded");
        assert_eq!(count(&op, "select count(*) from grants").await, 1);
    }

    /// Security rule TK-10.
    #[tokio::test]
    async fn a_code_of_a_person_who_is_gone_is_refused() {
        let (op, app, ada) = start().await;
        let granted = ada.authorize(&app).code().await;
        sqlx::query("update users set disabled_at = now()")
            .execute(op.db())
            .await
            .unwrap();
        app.redeem(&granted).await.refused("invalid_grant");
    }
}

mod pkce {
    use super::*;

    /// RFC 7636 §4.6: a code issued with a challenge needs its verifier, and a wrong one spends it.
    #[tokio::test]
    async fn a_code_with_a_challenge_needs_its_verifier() {
        let (_op, app, ada) = start().await;
        for verifier in [None, Some(OTHER_VERIFIER), Some("short"), Some("")] {
            let granted = ada.authorize(&app).pkce(VERIFIER).code().await;
            let wrong = Granted {
                verifier: verifier.map(str::to_owned),
                ..granted
            };
            app.redeem(&wrong).await.refused("invalid_grant");
        }
        let granted = ada.authorize(&app).pkce(VERIFIER).code().await;
        app.redeem(&granted).await.tokens();
    }

    /// RFC 9700 §2.1.1: a verifier without a challenge is a sign of a downgrade.
    #[tokio::test]
    async fn a_code_without_a_challenge_refuses_a_verifier() {
        let (_op, app, ada) = start().await;
        let granted = ada.authorize(&app).code().await;
        let with_one = Granted {
            verifier: Some(VERIFIER.to_owned()),
            ..granted
        };
        app.redeem(&with_one).await.refused("invalid_grant");
    }

    /// S256 alone, said explicitly (RFC 7636 §4.3: an absent method would mean plain).
    #[tokio::test]
    async fn only_s256_is_accepted() {
        let (_op, app, ada) = start().await;
        let request = || ada.authorize(&app).with("code_challenge", VERIFIER);
        request().send().await.refused("invalid_request");
        request()
            .with("code_challenge_method", "plain")
            .send()
            .await
            .refused("invalid_request");
        request()
            .with("code_challenge_method", "s256")
            .send()
            .await
            .refused("invalid_request");
        let short = ada
            .authorize(&app)
            .with("code_challenge", "abc")
            .with("code_challenge_method", "S256");
        short.send().await.refused("invalid_request");
        ada.authorize(&app)
            .with("code_challenge_method", "S256")
            .send()
            .await
            .refused("invalid_request");
    }

    #[tokio::test]
    async fn public_clients_and_those_registered_for_it_have_to_use_pkce() {
        let (op, _app, ada) = start().await;
        for app in [
            op.public_client().await,
            op.client_with(|client| client.require_pkce = true).await,
        ] {
            ada.authorize(&app).send().await.refused("invalid_request");
            let granted = ada.authorize(&app).pkce(VERIFIER).code().await;
            app.redeem(&granted).await.tokens();
        }
    }
}

mod refreshing {
    use super::*;

    /// RFC 9700 §4.14.2: a refresh token is replaced at every use.
    #[tokio::test]
    async fn a_refresh_token_rotates() {
        let (op, app, ada) = start().await;
        let first = tokens(&app, &ada, "openid").await;
        let second = app.refresh(first.refresh()).await.tokens();
        let third = app.refresh(second.refresh()).await.tokens();
        assert_ne!(first.refresh(), second.refresh());
        assert_ne!(second.refresh(), third.refresh());
        assert_eq!(count(&op, LIVE_REFRESH_TOKENS).await, 1);
    }

    /// A lost response: the same token again within the leeway gives the same successor.
    #[tokio::test]
    async fn a_lost_response_can_be_asked_for_again_within_the_leeway() {
        let (op, app, ada) = start().await;
        let first = tokens(&app, &ada, "openid").await;
        let lost = app.refresh(first.refresh()).await.tokens();
        op.advance_secs(9);
        let again = app.refresh(first.refresh()).await.tokens();
        assert_eq!(lost.refresh(), again.refresh());
        app.refresh(again.refresh()).await.tokens();
    }

    /// Two generations back is always reuse, however quick.
    #[tokio::test]
    async fn a_token_whose_successor_was_used_revokes_the_family() {
        let (_op, app, ada) = start().await;
        let first = tokens(&app, &ada, "openid").await;
        let second = app.refresh(first.refresh()).await.tokens();
        let third = app.refresh(second.refresh()).await.tokens();
        app.refresh(first.refresh()).await.refused("invalid_grant");
        app.refresh(third.refresh()).await.refused("invalid_grant");
    }

    /// After the leeway the family ends with its access tokens, for every instance.
    #[tokio::test]
    async fn reuse_after_the_leeway_revokes_the_family_for_good() {
        let (op, app, ada) = start().await;
        let first = tokens(&app, &ada, "openid").await;
        let second = app.refresh(first.refresh()).await.tokens();
        op.advance_secs(11);
        app.refresh(first.refresh()).await.refused("invalid_grant");
        assert_eq!(
            count(&op, "select count(*) from grants where revoked_at is not null").await,
            1
        );
        let other = app.at(&op.second_instance().await);
        other.refresh(second.refresh()).await.refused("invalid_grant");
        assert_eq!(other.userinfo(&second.access_token).await.status, 401);
        assert!(!other.is_active(&first.access_token).await);
    }

    /// RFC 6749 §6, §10.4: bound to its client; an attempt of another costs its owner nothing.
    #[tokio::test]
    async fn another_clients_refresh_token_is_refused_and_stays_good() {
        let (op, app, ada) = start().await;
        let other = op.client().await;
        let first = tokens(&app, &ada, "openid").await;
        other.refresh(first.refresh()).await.refused("invalid_grant");
        let second = app.refresh(first.refresh()).await.tokens();
        op.advance_secs(60);
        other.refresh(first.refresh()).await.refused("invalid_grant");
        app.refresh(second.refresh()).await.tokens();
    }

    /// RFC 6749 §6: a narrower scope narrows the access token, not the refresh token; it is never widened.
    #[tokio::test]
    async fn scope_narrows_the_access_token_alone_and_never_widens() {
        let (_op, app, ada) = start().await;
        let first = tokens(&app, &ada, "openid email").await;
        app.refresh_with_scope(first.refresh(), "openid email phone")
            .await
            .refused("invalid_scope");
        let narrow = app.refresh_with_scope(first.refresh(), "openid").await.tokens();
        assert_eq!(narrow.scope, "openid");
        let userinfo = app.userinfo(&narrow.access_token).await;
        assert_eq!(userinfo.is(200).json().get("email"), None);
        let wide = app.refresh(narrow.refresh()).await.tokens();
        assert!(
            app.userinfo(&wide.access_token)
                .await
                .json()
                .get("email")
                .is_some()
        );
    }

    /// OpenID Connect Core §12.2.
    #[tokio::test]
    async fn a_refreshed_id_token_keeps_subject_session_and_auth_time() {
        let (op, app, ada) = start().await;
        let first = tokens(&app, &ada, "openid").await;
        op.advance_secs(100);
        let second = app.refresh(first.refresh()).await.tokens();
        let (before, after) = (checks::peek(first.id()), checks::peek(second.id()));
        for claim in ["iss", "sub", "aud", "sid", "auth_time", "nonce"] {
            assert_eq!(before[claim], after[claim], "{claim}");
        }
        assert!(after["iat"].as_i64() > before["iat"].as_i64());
    }

    #[tokio::test]
    async fn an_unused_refresh_token_expires_and_use_puts_that_off() {
        let op = TestProvider::with(|config| config.jwt.refresh_token_ttl_secs = 1000).await;
        let (app, ada) = (op.client().await, op.signed_in("ada").await);
        let first = tokens(&app, &ada, "openid").await;
        op.advance_secs(900);
        let second = app.refresh(first.refresh()).await.tokens();
        op.advance_secs(900);
        let third = app.refresh(second.refresh()).await.tokens();
        op.advance_secs(1001);
        app.refresh(third.refresh()).await.refused("invalid_grant");
    }

    #[tokio::test]
    async fn a_client_that_is_not_registered_for_the_grant_gets_no_refresh_token() {
        let (op, _app, ada) = start().await;
        let app = op.client_with(|client| client.grant_types.truncate(1)).await;
        let first = tokens(&app, &ada, "openid").await;
        assert_eq!(first.refresh_token, None);
        app.refresh(&random_text(43)).await.refused("unauthorized_client");
    }

    /// Security rule RT-12: what a client lost is missing from the next token.
    #[tokio::test]
    async fn a_scope_that_the_client_lost_vanishes_from_refreshed_tokens() {
        let (op, app, ada) = start().await;
        let first = tokens(&app, &ada, "openid phone").await;
        let lost = "update oauth_clients set scope = 'offline_access'";
        sqlx::query(lost).execute(op.db()).await.unwrap();
        let second = app.refresh(first.refresh()).await.tokens();
        assert_eq!(second.scope, "openid");
    }

    /// A session that is ended ends its online refresh tokens, and spares those that are offline.
    #[tokio::test]
    async fn the_end_of_a_session_ends_online_grants_alone() {
        let (op, app, ada) = start().await;
        let online = tokens(&app, &ada, "openid").await;
        let offline = tokens(&app, &ada, "openid offline_access").await;
        sqlx::query("update sessions set ended_at = now()")
            .execute(op.db())
            .await
            .unwrap();
        app.refresh(online.refresh()).await.refused("invalid_grant");
        assert_eq!(app.userinfo(&online.access_token).await.status, 401);
        app.refresh(offline.refresh()).await.tokens();
    }
}

mod races {
    use super::*;

    /// All answers to `count` refreshes at once, spread over both instances.
    async fn race(apps: &[TestClient; 2], refresh_token: &str, count: usize) -> Vec<Answer> {
        let calls = (0..count).map(|i| {
            let (app, token) = (apps[i % 2].clone(), refresh_token.to_owned());
            tokio::spawn(async move { app.refresh(&token).await })
        });
        let mut answers = Vec::new();
        for call in calls.collect::<Vec<_>>() {
            answers.push(call.await.unwrap());
        }
        answers
    }

    /// Racing tabs, lost answers, two servers: everybody gets the same successor, and the family has one live token.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn racing_refreshes_at_two_instances_all_get_the_same_successor() {
        let (op, app, ada) = start().await;
        let apps = [app.clone(), app.at(&op.second_instance().await)];
        let mut current = tokens(&app, &ada, "openid").await.refresh().to_owned();
        for round in 0..100 {
            let answers = race(&apps, &current, 20).await;
            let next = answers[0].tokens().refresh().to_owned();
            for answer in &answers {
                assert_eq!(answer.tokens().refresh(), next, "round {round}");
            }
            assert_eq!(count(&op, LIVE_REFRESH_TOKENS).await, 1, "round {round}");
            current = next;
        }
    }

    /// With leeway 0 one use succeeds, the others are reuse, and the family ends.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn without_leeway_exactly_one_racing_refresh_succeeds() {
        let (op, _, ada) = start().await;
        let app = op
            .client_with(|client| client.refresh_reuse_leeway_secs = Some(0))
            .await;
        let apps = [app.clone(), app.at(&op.second_instance().await)];
        for round in 0..20 {
            let first = tokens(&app, &ada, "openid").await;
            let answers = race(&apps, first.refresh(), 10).await;
            let (won, lost): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
            assert_eq!(won.len(), 1, "round {round}");
            for answer in lost {
                answer.refused("invalid_grant");
            }
            app.refresh(won[0].tokens().refresh())
                .await
                .refused("invalid_grant");
            assert_eq!(count(&op, LIVE_REFRESH_TOKENS).await, 0, "round {round}");
        }
    }

    /// Security rule RT-3: no token survives a revocation that has been answered.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_refresh_survives_a_revocation_that_races_it() {
        let (op, app, ada) = start().await;
        for _ in 0..20 {
            let first = tokens(&app, &ada, "openid").await;
            let (racing, token) = (app.clone(), first.refresh().to_owned());
            let refresh = tokio::spawn(async move { racing.refresh(&token).await });
            app.revoke(first.refresh()).await.is(200);
            if let Ok(answer) = refresh.await
                && answer.status == 200
            {
                app.refresh(answer.tokens().refresh())
                    .await
                    .refused("invalid_grant");
            }
            assert_eq!(count(&op, LIVE_REFRESH_TOKENS).await, 0);
        }
    }
}

mod client_authentication {
    use super::*;

    async fn redeem_with(op: &TestProvider, authorization: &[&str], form: &[(&str, &str)]) -> Answer {
        let mut request = op.request(Method::POST, "/oauth/token");
        for value in authorization {
            request = request.header("authorization", *value);
        }
        Answer::of(request.form(form)).await
    }

    /// RFC 6749 §5.2: the same refusal for everything that is wrong, naming the scheme that was tried.
    #[tokio::test]
    async fn wrong_unknown_and_disabled_clients_are_refused_alike() {
        let (op, app, _ada) = start().await;
        let gone = op.client().await;
        sqlx::query("update oauth_clients set disabled_at = now() where client_id = $1")
            .bind(gone.client_id())
            .execute(op.db())
            .await
            .unwrap();
        let form = [("grant_type", "refresh_token"), ("refresh_token", "x")];
        let mut bodies = Vec::new();
        for header in [
            basic(app.client_id(), &random_text(43)),
            basic("app-unknown", app.secret()),
            basic(gone.client_id(), gone.secret()),
        ] {
            let answer = redeem_with(&op, &[&header], &form).await;
            answer.refused("invalid_client");
            assert!(answer.header("www-authenticate").unwrap().starts_with("Basic "));
            bodies.push(answer.text);
        }
        bodies.dedup();
        assert_eq!(bodies.len(), 1, "{bodies:?}");
    }

    /// RFC 6749 §2.3: one way to authenticate; nothing falls back from a broken header to the body.
    #[tokio::test]
    async fn a_broken_header_never_falls_back_to_the_body() {
        let (op, app, _ada) = start().await;
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", "x"),
            ("client_id", app.client_id()),
            ("client_secret", app.secret()),
        ];
        let no_colon = format!("Basic {}", STANDARD.encode(app.client_id()));
        let bad_escape = format!("Basic {}", STANDARD.encode(format!("{}:%zz", app.client_id())));
        for header in ["Basic", "Basic !!!", "Bearer x", &no_colon, &bad_escape] {
            let answer = redeem_with(&op, &[header], &form).await;
            answer.is_client_error();
            assert_ne!(answer.json()["error"], "invalid_grant", "{header}");
        }
        let header = basic(app.client_id(), app.secret());
        redeem_with(&op, &[&header, &header], &form)
            .await
            .is_client_error();
    }

    /// A repeated equal client_id is fine; a differing id or secret is invalid_request.
    #[tokio::test]
    async fn header_and_body_may_repeat_but_not_contradict_each_other() {
        let (op, app, ada) = start().await;
        let header = basic(app.client_id(), app.secret());
        let granted = ada.authorize(&app).code().await;
        for (name, value) in [("client_id", "somebody-else"), ("client_secret", "another")] {
            let mut form = code_form(&granted);
            form.push((name, value));
            redeem_with(&op, &[&header], &form)
                .await
                .refused("invalid_request");
        }
        let mut form = code_form(&granted);
        form.push(("client_id", app.client_id()));
        redeem_with(&op, &[&header], &form).await.tokens();
    }

    /// RFC 6749 §2.3.1: both halves are form-encoded before base64.
    #[tokio::test]
    async fn the_halves_of_basic_are_form_decoded() {
        let (op, app, ada) = start().await;
        let granted = ada.authorize(&app).code().await;
        let escape = |text: &str| {
            text.bytes()
                .fold(String::new(), |text, byte| text + &format!("%{byte:02X}"))
        };
        let halves = format!("{}:{}", escape(app.client_id()), escape(app.secret()));
        let header = format!("Basic {}", STANDARD.encode(halves));
        redeem_with(&op, &[&header], &code_form(&granted)).await.tokens();
    }

    #[tokio::test]
    async fn a_confidential_client_cannot_skip_its_secret_and_a_public_one_cannot_have_any() {
        let (op, app, _ada) = start().await;
        let public = op.public_client().await;
        let form = |id| {
            [
                ("grant_type", "refresh_token"),
                ("refresh_token", "x"),
                ("client_id", id),
            ]
        };
        op.post("/oauth/token", &form(app.client_id()))
            .await
            .refused("invalid_client");
        op.post("/oauth/token", &form(public.client_id()))
            .await
            .refused("invalid_grant");
        let mut with_secret = form(public.client_id()).to_vec();
        with_secret.push(("client_secret", "x"));
        op.post("/oauth/token", &with_secret)
            .await
            .refused("invalid_client");
    }

    /// RFC 7662 §2.1: public clients have nothing to prove who they are with.
    #[tokio::test]
    async fn public_clients_may_not_introspect() {
        let (op, app, ada) = start().await;
        let tokens = tokens(&app, &ada, "openid").await;
        let public = op.public_client().await;
        public
            .introspect(&tokens.access_token)
            .await
            .refused("invalid_client");
    }
}

mod token_requests {
    use super::*;

    /// RFC 6749 §3.2: POST of a form, nothing else.
    #[tokio::test]
    async fn only_a_posted_form_is_read() {
        let (op, app, ada) = start().await;
        let granted = ada.authorize(&app).code().await;
        assert_eq!(op.get("/oauth/token").await.status, 405);
        let header = basic(app.client_id(), app.secret());
        let post = |path: &str| op.request(Method::POST, path).header("authorization", &header);
        let body = json!({ "grant_type": "authorization_code", "code": granted.code });
        let answer = Answer::of(post("/oauth/token").json(&body)).await;
        assert!(matches!(answer.status.as_u16(), 400 | 415), "{}", answer.status);
        let query = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(code_form(&granted))
            .finish();
        let in_query = post(&format!("/oauth/token?{query}")).form(&[("x", "y")]);
        Answer::of(in_query).await.refused("invalid_request");
        app.redeem(&granted).await.tokens();
    }

    /// RFC 6749 §5.2.
    #[tokio::test]
    async fn a_missing_unknown_or_doubled_parameter_is_named_right() {
        let (_op, app, ada) = start().await;
        let granted = ada.authorize(&app).code().await;
        app.post("/oauth/token", &[]).await.refused("invalid_request");
        app.post("/oauth/token", &[("grant_type", "password")])
            .await
            .refused("unsupported_grant_type");
        app.post("/oauth/token", &[("grant_type", "authorization_code")])
            .await
            .refused("invalid_request");
        app.post("/oauth/token", &[("grant_type", "refresh_token")])
            .await
            .refused("invalid_request");
        for doubled in code_form(&granted) {
            let mut form = code_form(&granted);
            form.push(doubled);
            app.post("/oauth/token", &form).await.refused("invalid_request");
        }
        app.redeem(&granted).await.tokens();
    }

    /// Security rule TK-12: no input makes the server fail.
    #[tokio::test]
    async fn nul_bytes_invalid_utf8_and_huge_values_are_the_callers_fault() {
        let (op, app, _ada) = start().await;
        let header = basic(app.client_id(), app.secret());
        let huge = format!("grant_type=refresh_token&refresh_token={}", "a".repeat(1 << 20));
        let many = "grant_type=refresh_token&".to_owned() + &"x=y&".repeat(10_000);
        let bodies: [&[u8]; 8] = [
            b"grant_type=authorization_code&code=%00&redirect_uri=%00",
            b"grant_type=authorization_code&code=%ff%fe&redirect_uri=x",
            b"grant_type=refresh_token&refresh_token=\xff\xfe",
            b"grant_type=refresh_token&refresh_token=%ED%A0%80",
            b"grant_type=%00",
            b"%",
            huge.as_bytes(),
            many.as_bytes(),
        ];
        for path in ["/oauth/token", "/oauth/introspect", "/oauth/revoke"] {
            for body in bodies {
                let request = op.request(Method::POST, path).header("authorization", &header);
                let request = request
                    .header("content-type", "application/x-www-form-urlencoded")
                    .body(body.to_vec());
                Answer::of(request).await.is_client_error();
            }
        }
    }

    #[tokio::test]
    async fn strange_credentials_are_refused_not_stumbled_over() {
        let (op, _app, _ada) = start().await;
        for credentials in [&b"a\0b:c\0"[..], b"\xff\xfe:\xff", b":", b"a:", b":b", b"%00:%00"] {
            let header = format!("Basic {}", STANDARD.encode(credentials));
            let request = op
                .request(Method::POST, "/oauth/token")
                .header("authorization", header);
            let answer =
                Answer::of(request.form(&[("grant_type", "refresh_token"), ("refresh_token", "x")])).await;
            answer.is_client_error();
        }
    }

    /// OpenID Connect Core §3.1.2.1: without `openid` it is plain OAuth.
    #[tokio::test]
    async fn without_openid_there_is_no_id_token() {
        let (_op, app, ada) = start().await;
        let tokens = tokens(&app, &ada, "profile").await;
        assert_eq!(tokens.id_token, None);
        assert_eq!(tokens.scope, "profile");
    }

    /// RFC 9068 §2.2; product: never a client id, never the issuer.
    #[tokio::test]
    async fn an_access_token_names_its_resource_and_nothing_personal() {
        let (_op, app, ada) = start().await;
        let tokens = tokens(&app, &ada, "openid profile email").await;
        let claims = checks::peek(&tokens.access_token);
        assert_eq!(claims["aud"], format!("{ISSUER}/oauth/userinfo"));
        assert_eq!(claims["client_id"], app.client_id());
        for name in ["iss", "sub", "exp", "iat", "jti", "scope", "sid", "auth_time"] {
            assert!(claims.get(name).is_some(), "{name}");
        }
        for name in ["username", "role", "email", "name", "preferred_username"] {
            assert!(claims.get(name).is_none(), "{name}");
        }
    }

    /// A client may insist on RS256 while the first key is ES256.
    #[tokio::test]
    async fn an_id_token_is_signed_with_the_algorithm_that_the_client_registered() {
        let (op, _app, ada) = start().await;
        let rs256 = riley_auth::protocol::algorithm::SigningAlgorithm::Rs256;
        let app = op
            .client_with(|client| client.id_token_signed_response_alg = Some(rs256))
            .await;
        let tokens = tokens(&app, &ada, "openid").await;
        let header = jsonwebtoken::decode_header(tokens.id()).unwrap();
        assert_eq!(header.alg, jsonwebtoken::Algorithm::RS256);
        checks::id_token_is_sound(&app, &checks::preamble(&op).await, &tokens);
    }
}

mod revocation_and_introspection {
    use super::*;

    /// RFC 7009 §2.1: either token ends the whole grant; unknown tokens are answered 200.
    #[tokio::test]
    async fn revoking_either_token_ends_both() {
        let (_op, app, ada) = start().await;
        for pick in [
            |tokens: &Tokens| tokens.access_token.clone(),
            |tokens: &Tokens| tokens.refresh().to_owned(),
        ] {
            let tokens = tokens(&app, &ada, "openid").await;
            app.revoke(&pick(&tokens)).await.is(200);
            assert_eq!(app.userinfo(&tokens.access_token).await.status, 401);
            assert!(!app.is_active(&tokens.access_token).await);
            app.refresh(tokens.refresh()).await.refused("invalid_grant");
        }
        app.revoke("unknown").await.is(200);
    }

    #[tokio::test]
    async fn nobody_revokes_anothers_token_and_a_wrong_hint_hides_none() {
        let (op, app, ada) = start().await;
        let other = op.client().await;
        let tokens = tokens(&app, &ada, "openid").await;
        other.revoke(&tokens.access_token).await.is(200);
        other.revoke(tokens.refresh()).await.is(200);
        assert!(app.is_active(&tokens.access_token).await);
        let hinted = [("token", tokens.refresh()), ("token_type_hint", "access_token")];
        app.post("/oauth/revoke", &hinted).await.is(200);
        assert!(!app.is_active(&tokens.access_token).await);
    }

    #[tokio::test]
    async fn both_endpoints_need_a_client_and_a_token() {
        let (op, app, _ada) = start().await;
        for path in ["/oauth/revoke", "/oauth/introspect"] {
            assert!(matches!(
                op.post(path, &[("token", "x")]).await.status.as_u16(),
                400 | 401
            ));
            app.post(path, &[]).await.refused("invalid_request");
            assert_eq!(op.get(path).await.status, 405);
        }
    }

    /// RFC 7662 §2.2: any confidential client may ask about access tokens, about refresh tokens only its own.
    #[tokio::test]
    async fn introspection_tells_resource_servers_about_access_tokens_alone() {
        let (op, app, ada) = start().await;
        let other = op.client().await;
        let tokens = tokens(&app, &ada, "openid profile").await;
        let seen = other.introspect(&tokens.access_token).await;
        seen.is_not_stored();
        let seen = seen.is(200).json();
        assert_eq!(
            (&seen["active"], &seen["client_id"]),
            (&json!(true), &json!(app.client_id()))
        );
        for name in [
            "sub",
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
        ] {
            assert!(seen.get(name).is_some(), "{name}");
        }
        assert!(app.is_active(tokens.refresh()).await);
        assert_eq!(
            other.introspect(tokens.refresh()).await.is(200).text,
            r#"{"active":false}"#
        );
    }

    /// RFC 7662 §2.2, §4: nothing else is active, and nothing is said why.
    #[tokio::test]
    async fn what_is_no_token_of_a_client_is_inactive_and_nothing_more() {
        let (op, app, ada) = start().await;
        let tokens = tokens(&app, &ada, "openid").await;
        let now = op.clock().now();
        let cookie = |name: &str| ada.jar().find(name, now).map(|cookie| cookie.value.clone());
        let access_cookie = cookie("__Host-auth_access").expect("the access cookie is there");
        let session_cookie = cookie("__Host-auth_refresh").expect("the session cookie is there");
        let forged = format!("{}x", tokens.access_token);
        for token in [
            tokens.id(),
            &access_cookie,
            &session_cookie,
            &forged,
            "x",
            "a.b.c",
        ] {
            assert_eq!(app.introspect(token).await.is(200).text, r#"{"active":false}"#);
        }
        op.advance_secs(901);
        assert!(!app.is_active(&tokens.access_token).await);
    }

    #[tokio::test]
    async fn a_person_who_is_disabled_has_no_active_token() {
        let (op, app, ada) = start().await;
        let tokens = tokens(&app, &ada, "openid offline_access").await;
        sqlx::query("update users set disabled_at = now()")
            .execute(op.db())
            .await
            .unwrap();
        assert!(!app.is_active(&tokens.access_token).await);
        assert!(!app.is_active(tokens.refresh()).await);
        app.refresh(tokens.refresh()).await.refused("invalid_grant");
    }
}

mod authorize {
    use super::*;

    /// RFC 6749 §4.1.2.1: nobody is sent to a URI that is not known to be the client's.
    #[tokio::test]
    async fn who_asks_and_where_to_answer_are_settled_without_a_redirect() {
        let (_op, app, ada) = start().await;
        let request = || ada.authorize(&app);
        request().with("client_id", "unknown").send().await.error_page();
        request().without("client_id").send().await.error_page();
        request()
            .also("client_id", app.client_id())
            .send()
            .await
            .error_page();
        request().without("redirect_uri").send().await.error_page();
        request().also("redirect_uri", CALLBACK).send().await.error_page();
        for near in [
            "https://app.test/callback/",
            "https://app.test:443/callback",
            "https://APP.test/callback",
            "https://app.test/callback?x=1",
            "https://app.test/./callback",
            "http://app.test/callback",
            "https://app.test/%63allback",
            "https://app.test/callback#x",
            "https://app.test@evil.test/callback",
        ] {
            request().with("redirect_uri", near).send().await.error_page();
        }
    }

    #[tokio::test]
    async fn every_later_error_goes_to_the_app_with_state_and_iss() {
        let (_op, app, ada) = start().await;
        let cases = [
            ("response_type", "token", "unsupported_response_type"),
            ("response_type", "code id_token", "unsupported_response_type"),
            ("response_mode", "fragment", "invalid_request"),
            ("prompt", "unknown", "invalid_request"),
            ("prompt", "none login", "invalid_request"),
            ("max_age", "-1", "invalid_request"),
            ("max_age", "1.5", "invalid_request"),
            ("scope", "unknown-to-all", "invalid_scope"),
            (
                "request_uri",
                "https://app.test/object",
                "request_uri_not_supported",
            ),
            ("registration", "{}", "registration_not_supported"),
            ("id_token_hint", "x", "invalid_request"),
            ("claims", "[", "invalid_request"),
        ];
        for (name, value, error) in cases {
            let request = ada.authorize(&app).with(name, value);
            let refused = request.send().await.refused(error);
            checks::error_redirect_is_sound(&refused, request.param("state").as_deref(), &[error]);
        }
    }

    #[tokio::test]
    async fn a_doubled_parameter_is_refused_at_the_app() {
        let (_op, app, ada) = start().await;
        for name in ["scope", "nonce", "prompt", "response_type"] {
            let request = ada.authorize(&app).with(name, "openid");
            request
                .also(name, "openid")
                .send()
                .await
                .refused("invalid_request");
        }
        let twice = ada
            .authorize(&app)
            .also("state", "another")
            .send()
            .await
            .refused("invalid_request");
        assert_eq!(twice.error, "invalid_request");
    }

    /// OpenID Connect Core §3.1.2.1: unknown scopes are ignored, known ones that the client may not have are refused.
    #[tokio::test]
    async fn scopes_that_nobody_defined_are_ignored_and_withheld_ones_refused() {
        let (op, app, ada) = start().await;
        let granted = ada.authorize(&app).scope("openid nobody:knows").code().await;
        assert_eq!(app.redeem(&granted).await.tokens().scope, "openid");
        let poor = op.client_with(|client| client.scope = ScopeSet::default()).await;
        ada.authorize(&poor)
            .scope("openid phone")
            .send()
            .await
            .refused("invalid_scope");
    }

    /// `state` and `nonce` come back byte for byte, and cannot add anything to the URL.
    #[tokio::test]
    async fn state_and_nonce_come_back_untouched() {
        let (_op, app, ada) = start().await;
        for value in [
            "a b+c%20d",
            "&code=evil&x=",
            "\u{1F600} \"\\'<>#",
            "\r\nSet-Cookie: a=b",
            "-._~",
        ] {
            let request = ada.authorize(&app).with("state", value).with("nonce", value);
            let granted = request.code().await;
            assert_eq!(granted.state.as_deref(), Some(value));
            let tokens = app.redeem(&granted).await.tokens();
            assert_eq!(checks::peek(tokens.id())["nonce"], value);
        }
    }

    #[tokio::test]
    async fn nul_bytes_and_invalid_utf8_are_the_callers_fault() {
        let (op, app, ada) = start().await;
        for garbage in [
            "state=%00",
            "nonce=%FF%FE",
            "scope=%00",
            "client_id=%00",
            "prompt=%ED%A0%80",
            "%",
        ] {
            let path = format!("/oauth/authorize?{garbage}");
            assert!(op.get(&path).await.status.is_client_error(), "{garbage}");
        }
        let long = "x".repeat(20_000);
        let visit = ada.authorize(&app).with("state", &long).visit().await;
        assert!(visit.status().is_none_or(|status| status.is_client_error()));
        op.get("/oauth/authorize/resume?request=%00")
            .await
            .is_client_error();
    }

    /// OAuth 2.0 Form Post Response Mode §2.
    #[tokio::test]
    async fn form_post_brings_code_and_error_by_a_form() {
        let (_op, app, ada) = start().await;
        let request = ada
            .authorize(&app)
            .with("response_mode", "form_post")
            .with("state", "\"><script>&");
        let granted = request.code().await;
        assert!(granted.posted);
        checks::callback_is_sound(&granted, Some("\"><script>&"));
        app.redeem(&granted).await.tokens();
        let refused = ada
            .authorize(&app)
            .with("response_mode", "form_post")
            .prompt("bad")
            .send()
            .await;
        assert!(refused.refused("invalid_request").posted);
    }

    /// A cross-site POST comes without cookies; it is stored and goes on by a GET that has them.
    #[tokio::test]
    async fn a_request_posted_from_another_site_finds_the_session() {
        let (_op, app, ada) = start().await;
        let visit = ada.authorize(&app).post().visit().await;
        assert_eq!(visit.hops.len(), 2);
        assert_eq!(visit.hops[0].1.status, 303);
        assert!(visit.hops[1].0.path().ends_with("/oauth/authorize/resume"));
        let granted = ada.authorize(&app).post().prompt("none").code().await;
        app.redeem(&granted).await.tokens();
    }

    /// A parameter that stands in the query and in the body was sent twice.
    #[tokio::test]
    async fn a_parameter_split_over_query_and_body_was_sent_twice() {
        let (op, app, ada) = start().await;
        let params = [
            ("client_id", app.client_id()),
            ("redirect_uri", CALLBACK),
            ("response_type", "code"),
        ];
        let form = params
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec();
        let url = format!("{ISSUER}/oauth/authorize?client_id={}", app.client_id());
        let visit = ada.post_form(&format!("{APP}/"), &url, form).await;
        assert_eq!(visit.status().unwrap(), 400);
        assert_eq!(
            Answer::of(op.request(Method::HEAD, "/oauth/authorize"))
                .await
                .status,
            405
        );
    }

    /// Security rules AZ-13, AZ-15, AZ-22.
    #[tokio::test]
    async fn a_redirect_to_the_app_is_remembered_by_nobody() {
        let (_op, app, ada) = start().await;
        let visit = ada.authorize(&app).visit().await;
        let (_, answer) = &visit.hops[0];
        assert!(matches!(answer.status.as_u16(), 302 | 303));
        answer.is_not_stored();
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }

    /// RFC 8252 §7.3: any port of loopback, for native clients alone.
    #[tokio::test]
    async fn a_native_client_may_listen_on_any_port() {
        let (op, _app, ada) = start().await;
        let native = op
            .client_with(|client| {
                client.client_type = riley_auth::protocol::client::ClientType::Native;
                client.redirect_uris = vec!["http://127.0.0.1/callback".to_owned()];
            })
            .await;
        let at_port = |uri: &str| ada.authorize(&native).pkce(VERIFIER).with("redirect_uri", uri);
        let visit = at_port("http://127.0.0.1:1/callback").visit().await;
        assert!(
            visit.url.as_str().starts_with("http://127.0.0.1:1/callback?"),
            "{}",
            visit.url
        );
        at_port("http://127.0.0.1:1/other").send().await.error_page();
        at_port("http://localhost:1/callback").send().await.error_page();
    }
}

mod request_objects {
    use super::*;

    fn unsigned(claims: &serde_json::Value) -> String {
        let part = |text: String| URL_SAFE_NO_PAD.encode(text);
        format!(
            "{}.{}.",
            part(json!({ "alg": "none" }).to_string()),
            part(claims.to_string())
        )
    }

    /// OpenID Connect Core §6.1: what the object says replaces what the query says.
    #[tokio::test]
    async fn the_object_wins_over_the_query() {
        let (_op, app, ada) = start().await;
        let object = unsigned(&json!({ "state": "from-the-object", "scope": "openid email" }));
        let granted = ada.authorize(&app).with("request", &object).code().await;
        assert_eq!(granted.state.as_deref(), Some("from-the-object"));
        assert_eq!(app.redeem(&granted).await.tokens().scope, "openid email");
    }

    /// Security rule AZ-9: every redirect still goes only to a registered URI.
    #[tokio::test]
    async fn an_object_cannot_redirect_to_a_uri_that_is_not_registered() {
        let (_op, app, ada) = start().await;
        let object = unsigned(&json!({ "redirect_uri": "https://evil.test/callback" }));
        ada.authorize(&app)
            .with("request", &object)
            .send()
            .await
            .error_page();
    }

    #[tokio::test]
    async fn objects_that_contradict_nest_or_cannot_be_read_are_refused() {
        let (_op, app, ada) = start().await;
        let objects = [
            unsigned(&json!({ "client_id": "another" })),
            unsigned(&json!({ "response_type": "token" })),
            unsigned(&json!({ "request": "x" })),
            unsigned(&json!({ "exp": 1 })),
            unsigned(&json!({ "aud": "https://another.test" })),
            unsigned(&json!({ "iss": "another" })),
            "not-a-jwt".to_owned(),
            "a.b.c".to_owned(),
        ];
        for object in objects {
            let outcome = ada.authorize(&app).with("request", &object).send().await;
            assert!(
                !matches!(outcome, Outcome::Code(_) | Outcome::Page(_)),
                "{object}: {outcome:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_client_with_registered_keys_accepts_only_signed_objects() {
        let (op, _app, ada) = start().await;
        let jwks = op.get("/.well-known/jwks.json").await.json();
        let app = op
            .client_with(|client| client.request_object_jwks = Some(jwks))
            .await;
        let object = unsigned(&json!({ "state": "x" }));
        ada.authorize(&app)
            .with("request", &object)
            .send()
            .await
            .refused("invalid_request_object");
    }
}

mod prompts {
    use super::*;

    /// OpenID Connect Core §3.1.2.1: `none` shows nothing and goes nowhere but to the app.
    #[tokio::test]
    async fn prompt_none_never_redirects_elsewhere() {
        let (op, app, ada) = start().await;
        let asking = op.asking_client().await;
        let nobody = op.browser();
        for (browser, app, error) in [
            (&nobody, &app, "login_required"),
            (&ada, &asking, "consent_required"),
        ] {
            for post in [false, true] {
                let request = browser.authorize(app).prompt("none");
                let request = if post { request.post() } else { request };
                let visit = request.visit().await;
                assert!(visit.hops.iter().all(|(url, _)| url.as_str().starts_with(ISSUER)));
                request.read(visit).await.refused(error);
            }
        }
        ada.authorize(&app)
            .prompt("none")
            .max_age(0)
            .send()
            .await
            .refused("login_required");
        assert_eq!(count(&op, "select count(*) from consents").await, 0);
    }

    #[tokio::test]
    async fn an_id_token_hint_of_somebody_else_is_login_required_under_none() {
        let (op, app, ada) = start().await;
        let first = tokens(&app, &ada, "openid").await;
        let alan = op.signed_in("alan").await;
        let hinted = alan.authorize(&app).with("id_token_hint", first.id());
        hinted.send().await.page("/login");
        alan.authorize(&app)
            .prompt("none")
            .with("id_token_hint", first.id())
            .send()
            .await
            .refused("login_required");
    }

    /// A session that is old enough demands a login; one that is not does not.
    #[tokio::test]
    async fn max_age_is_judged_once_at_arrival() {
        let (op, app, ada) = start().await;
        op.advance_secs(100);
        ada.authorize(&app).max_age(200).code().await;
        let request = ada.authorize(&app).max_age(50);
        let login = request.send().await.page("/login");
        // The person takes longer than max_age allows, and is not asked again.
        let visit = ada.sign_in_at(&login, "ada").await;
        let granted = request.read(visit).await.code();
        let auth_time = checks::peek(app.redeem(&granted).await.tokens().id())["auth_time"]
            .as_i64()
            .unwrap();
        assert!(auth_time >= op.now() - 5);
        ada.authorize(&app).max_age(0).code_as("ada").await;
    }

    /// Security rule AZ-17: only a sign-in started for the request satisfies it.
    #[tokio::test]
    async fn prompt_login_cannot_be_walked_around() {
        let (op, app, ada) = start().await;
        for request in [
            ada.authorize(&app).prompt("login"),
            ada.authorize(&app).max_age(0),
        ] {
            let login = request.send().await.page("/login");
            let id = login.query_pairs().next().unwrap().1.into_owned();
            let resume = format!("{ISSUER}/oauth/authorize/resume?request={id}");
            // Straight on, twice; after a sign-in for something else; with another request's id.
            for _ in 0..2 {
                let visit = ada.follow(PAGES, &resume).await;
                request.read(visit).await.page("/login");
            }
            op.advance_secs(5);
            ada.sign_in("ada").await;
            let visit = ada.follow(PAGES, &resume).await;
            request.read(visit).await.page("/login");
            let other = ada.authorize(&app).prompt("login").send().await.page("/login");
            ada.sign_in_at(&other, "ada").await;
            let visit = ada.follow(PAGES, &resume).await;
            request.read(visit).await.page("/login");
        }
    }

    /// A request that is answered is gone: its URL, replayed, gives no second code.
    #[tokio::test]
    async fn a_resume_url_gives_one_code_and_only_to_its_browser() {
        let (op, app, ada) = start().await;
        let request = ada.authorize(&app).prompt("login");
        let login = request.send().await.page("/login");
        let id = login.query_pairs().next().unwrap().1.into_owned();
        let resume = format!("{ISSUER}/oauth/authorize/resume?request={id}");
        let thief = op.signed_in("alan").await;
        assert_eq!(thief.follow(PAGES, &resume).await.status().unwrap(), 400);
        let visit = ada.sign_in_at(&login, "ada").await;
        request.read(visit).await.code();
        assert_eq!(ada.follow(PAGES, &resume).await.status().unwrap(), 400);
        assert_eq!(count(&op, "select count(*) from authorization_requests").await, 0);
    }

    /// The upstream is asked for a login, too.
    #[tokio::test]
    async fn a_demanded_login_is_asked_of_the_upstream() {
        let (op, app, ada) = start().await;
        let request = ada
            .authorize(&app)
            .prompt("login")
            .with("login_hint", "ada@example.test");
        request.code_as("ada").await;
        let asked = op.upstream().requests();
        let last = asked
            .iter()
            .rfind(|request| request.path.ends_with("/authorize"))
            .expect("the upstream was asked");
        assert!(last.query("prompt") == Some("login") || last.query("max_age") == Some("0"));
        assert_eq!(last.query("login_hint"), Some("ada@example.test"));
    }

    /// A cancelled sign-in leads back to the login page.
    #[tokio::test]
    async fn a_cancelled_sign_in_leads_back_to_the_login_page() {
        let op = TestProvider::start().await;
        let (app, nobody) = (op.client().await, op.browser());
        let request = nobody.authorize(&app);
        let login = request.send().await.page("/login");
        let id = login.query_pairs().next().unwrap().1.into_owned();
        let start = format!("{ISSUER}/auth/simulated?request_id={id}");
        let upstream = nobody.follow(login.as_str(), &start).await;
        let visit = nobody.submit(&upstream, &[("action", "cancel")]).await;
        let again = request.read(visit).await.page("/login");
        let visit = nobody.sign_in_at(&again, "ada").await;
        request.read(visit).await.code();
    }

    /// A new login of the same person keeps the session, with a new auth_time (security rule SE-3).
    #[tokio::test]
    async fn a_second_login_keeps_the_session() {
        let (op, app, ada) = start().await;
        let first = tokens(&app, &ada, "openid").await;
        op.advance_secs(10);
        let granted = ada.authorize(&app).prompt("login").code_as("ada").await;
        let second = app.redeem(&granted).await.tokens();
        let (before, after) = (checks::peek(first.id()), checks::peek(second.id()));
        assert_eq!(before["sid"], after["sid"]);
        assert!(after["auth_time"].as_i64() > before["auth_time"].as_i64());
        let refreshed = app.refresh(first.refresh()).await.tokens();
        assert_eq!(checks::peek(refreshed.id())["auth_time"], before["auth_time"]);
    }

    #[tokio::test]
    async fn without_any_page_to_sign_in_it_is_login_required() {
        let op = TestProvider::with(|config| {
            config.oauth.login_url = None;
            config.oauth.default_provider = Some("none".to_owned());
        })
        .await;
        let (app, nobody) = (op.client().await, op.browser());
        nobody.authorize(&app).send().await.refused("login_required");
    }

    #[tokio::test]
    async fn without_a_login_page_the_only_upstream_is_it() {
        let op = TestProvider::with(|config| config.oauth.login_url = None).await;
        let (app, nobody) = (op.client().await, op.browser());
        let request = nobody.authorize(&app);
        let visit = request.visit().await;
        let visit = nobody.pass_upstream(visit, "ada").await;
        request.read(visit).await.code();
    }
}
