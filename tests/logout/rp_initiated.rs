use reqwest::Method;

use crate::common::html;
use crate::common::provider::{APP, ISSUER, PAGES};
use crate::common::{Answer, TestProvider};
use crate::{AFTER, leaving_client, logout_url, signed_in_to};

const FROM_APP: &str = "https://app.test/account";

async fn ended(op: &TestProvider) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM sessions WHERE ended_at IS NOT NULL")
        .fetch_one(op.db())
        .await
        .unwrap()
}

/// RP-Initiated Logout §2, §3: with the hint of this session nobody is asked; state comes back as it was sent.
#[tokio::test]
async fn a_hint_of_this_session_ends_it_and_leads_back_with_state() {
    let op = TestProvider::start().await;
    let app = leaving_client(&op).await;
    let (ada, tokens) = signed_in_to(&app, "ada").await;
    let state = "a b+c&d=e%20é\"<";
    let url = logout_url(&[
        ("id_token_hint", tokens.id()),
        ("client_id", app.client_id()),
        ("post_logout_redirect_uri", AFTER),
        ("state", state),
        ("ui_locales", "de"),
        ("logout_hint", "ada"),
        ("unknown", "parameter"),
    ]);
    let visit = ada.follow(FROM_APP, &url).await;
    assert_eq!(visit.url.as_str().split('?').next(), Some(AFTER));
    assert_eq!(visit.query("state").as_deref(), Some(state));
    assert_eq!(visit.url.query_pairs().count(), 1);
    let answer = &visit.hops[0].1;
    assert_eq!(answer.status, 303);
    answer.is_not_stored();
    assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));

    assert!(
        ada.cookie("refresh").is_none() && ada.cookie("access").is_none() && ada.cookie("browser").is_none()
    );
    let reason: Option<String> = sqlx::query_scalar("SELECT ended_reason FROM sessions")
        .fetch_one(op.db())
        .await
        .unwrap();
    assert_eq!(reason.as_deref(), Some("logout"));
    ada.authorize(&app)
        .prompt("none")
        .send()
        .await
        .refused("login_required");
}

/// RP-Initiated Logout §2: an OP should accept an ID token that has expired; a rotation of cookies changes nothing.
#[tokio::test]
async fn a_hint_that_has_expired_is_good() {
    let op = TestProvider::start().await;
    let app = leaving_client(&op).await;
    let (ada, tokens) = signed_in_to(&app, "ada").await;
    for _ in 0..3 {
        op.advance(time::Duration::days(5));
        ada.renew().await.is(200);
    }
    let url = logout_url(&[
        ("id_token_hint", tokens.id()),
        ("post_logout_redirect_uri", AFTER),
    ]);
    assert_eq!(ada.follow(FROM_APP, &url).await.url.as_str(), AFTER);
    assert_eq!(ended(&op).await, 1);
}

/// RP-Initiated Logout §2: GET and POST. A POST from an app's page shows no `SameSite=Lax` cookie, so it is answered by a 303 to a
/// GET that does, and no token stands in that URL.
#[tokio::test]
async fn a_form_of_the_apps_page_logs_out_too() {
    let op = TestProvider::start().await;
    let app = leaving_client(&op).await;
    let (ada, tokens) = signed_in_to(&app, "ada").await;
    let form = [
        ("id_token_hint", tokens.id()),
        ("post_logout_redirect_uri", AFTER),
        ("state", "s"),
    ];
    let form = form.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let visit = ada
        .post_form(FROM_APP, &format!("{ISSUER}/oauth/logout"), form.to_vec())
        .await;
    assert_eq!(visit.url.as_str(), format!("{AFTER}?state=s"));
    assert_eq!(visit.hops.len(), 2);
    assert_eq!(visit.hops[0].1.status, 303);
    let resumed = visit.hops[1].0.as_str();
    assert!(resumed.starts_with(&format!("{ISSUER}/oauth/logout/resume?request=")));
    assert!(!resumed.contains(tokens.id()));
    assert_eq!(ended(&op).await, 1);
}

/// What a POST hands on is good for a minute, for what it says, and cannot be made by anybody else.
#[tokio::test]
async fn what_a_post_hands_on_is_short_lived_and_sealed() {
    let op = TestProvider::start().await;
    let app = leaving_client(&op).await;
    let (ada, tokens) = signed_in_to(&app, "ada").await;
    let sent = op
        .post(
            "/oauth/logout",
            &[
                ("id_token_hint", tokens.id()),
                ("post_logout_redirect_uri", AFTER),
            ],
        )
        .await;
    let resume = sent.is(303).header("location").unwrap().to_owned();
    let altered = resume.replace("request=", "request=A");
    for url in [
        altered.as_str(),
        "https://op.test/oauth/logout/resume",
        "https://op.test/oauth/logout/resume?request=",
        "https://op.test/oauth/logout/resume?request=x&request=x",
    ] {
        assert_eq!(ada.open(url).await.status().unwrap(), 400, "{url}");
    }
    op.advance_secs(61);
    assert_eq!(ada.open(&resume).await.status().unwrap(), 400);
    assert_eq!(ended(&op).await, 0);
}

/// RP-Initiated Logout §2: without a hint of this session the person must be asked; the yes counts, and leads to the app.
#[tokio::test]
async fn whoever_proves_nothing_has_the_person_asked() {
    let op = TestProvider::start().await;
    let app = leaving_client(&op).await;
    let (ada, own) = signed_in_to(&app, "ada").await;
    let (_elsewhere, other_session) = signed_in_to(&app, "ada").await;
    let (_alan, other_person) = signed_in_to(&app, "alan").await;
    let target = ("post_logout_redirect_uri", AFTER);
    for params in [
        vec![],
        vec![("state", "s")],
        vec![("client_id", app.client_id()), target],
        vec![("id_token_hint", other_session.id()), target],
        vec![("id_token_hint", other_person.id()), target],
    ] {
        let visit = ada.follow(FROM_APP, &logout_url(&params)).await;
        assert_eq!(visit.status().unwrap(), 200, "{params:?}");
        assert!(visit.form().is_some(), "{}", visit.text());
        assert_eq!(html::text_of(visit.text(), "username").as_deref(), Some("ada"));
        assert!(ada.is_signed_in().await);
    }
    assert_eq!(ended(&op).await, 0);

    let url = logout_url(&[("client_id", app.client_id()), target, ("state", "s")]);
    let page = ada.follow(FROM_APP, &url).await;
    let visit = ada.submit(&page, &[]).await;
    assert_eq!(visit.url.as_str(), format!("{AFTER}?state=s"));
    assert!(!ada.is_signed_in().await);
    assert_eq!(ended(&op).await, 1);
    app.refresh(own.refresh()).await.refused("invalid_grant");
    app.refresh(other_session.refresh()).await.tokens();
}

/// Where the app names no place: the deployer's page, or one of ours.
#[tokio::test]
async fn a_logout_without_a_place_to_go_ends_at_the_deployers_page_or_ours() {
    let op = TestProvider::start().await;
    let app = leaving_client(&op).await;
    let (ada, tokens) = signed_in_to(&app, "ada").await;
    let url = logout_url(&[("id_token_hint", tokens.id()), ("state", "s")]);
    let visit = ada.follow(FROM_APP, &url).await;
    assert_eq!(visit.url.as_str(), format!("{PAGES}/signed-out"));

    let own = op.reconfigured(|config| config.oauth.signed_out_url = None).await;
    let (ada, tokens) = signed_in_to(&app.at(&own), "ada").await;
    let visit = ada
        .follow(FROM_APP, &logout_url(&[("id_token_hint", tokens.id())]))
        .await;
    assert_eq!(visit.status().unwrap(), 200);
    assert!(html::text_of(visit.text(), "signed-out").is_some());
    assert!(!ada.is_signed_in().await);
    assert_eq!(ended(&op).await, 2);
}

/// Whoever is not signed in is sent on all the same: the app is waiting.
#[tokio::test]
async fn without_a_session_the_way_goes_on_to_what_is_registered() {
    let op = TestProvider::start().await;
    let app = leaving_client(&op).await;
    let (ada, tokens) = signed_in_to(&app, "ada").await;
    ada.call(Method::POST, "/auth/logout", None).await.is(200);
    let target = ("post_logout_redirect_uri", AFTER);
    for params in [
        [("id_token_hint", tokens.id()), target],
        [("client_id", app.client_id()), target],
    ] {
        let visit = ada.follow(FROM_APP, &logout_url(&params)).await;
        assert_eq!(visit.url.as_str(), AFTER);
    }
    let nowhere = ada.open(&logout_url(&[])).await;
    assert_eq!(nowhere.url.as_str(), format!("{PAGES}/signed-out"));
}

/// RP-Initiated Logout §3, §4: what is wrong is said on a page with an id for the operator. Nobody is redirected, nothing ends.
#[tokio::test]
async fn what_cannot_be_followed_is_refused_on_a_page_and_ends_nothing() {
    let op = TestProvider::start().await;
    let app = leaving_client(&op).await;
    let other = leaving_client(&op).await;
    let bare = op.client().await;
    let disabled = leaving_client(&op).await;
    sqlx::query("UPDATE oauth_clients SET disabled_at = now() WHERE client_id = $1")
        .bind(disabled.client_id())
        .execute(op.db())
        .await
        .unwrap();
    let (ada, tokens) = signed_in_to(&app, "ada").await;
    let hint = ("id_token_hint", tokens.id());
    let target = ("post_logout_redirect_uri", AFTER);
    let parts: Vec<&str> = tokens.id().split('.').collect();
    let forged = format!("{}.{}.{}", parts[0], parts[1], "A".repeat(parts[2].len()));
    let unsigned = format!("eyJhbGciOiJub25lIn0.{}.", parts[1]);
    let with_query = format!("{AFTER}?foo=bar");
    let with_slash = format!("{AFTER}/");
    for params in [
        vec![target],
        vec![hint, ("post_logout_redirect_uri", "https://evil.example/")],
        vec![hint, ("post_logout_redirect_uri", with_query.as_str())],
        vec![hint, ("post_logout_redirect_uri", with_slash.as_str())],
        vec![hint, ("post_logout_redirect_uri", app.redirect_uri())],
        vec![hint, ("post_logout_redirect_uri", "javascript:alert(1)")],
        vec![hint, ("client_id", other.client_id()), target],
        vec![("client_id", bare.client_id()), target],
        vec![("client_id", disabled.client_id()), target],
        vec![("client_id", "nobody"), target],
        vec![("client_id", "nobody")],
        vec![("id_token_hint", forged.as_str()), target],
        vec![("id_token_hint", unsigned.as_str()), target],
        vec![("id_token_hint", tokens.access_token.as_str()), target],
        vec![("id_token_hint", "nonsense")],
        vec![hint, hint, target],
        vec![hint, target, target],
        vec![hint, target, ("state", "a"), ("state", "b")],
    ] {
        let by_get = ada.follow(FROM_APP, &logout_url(&params)).await;
        let form = params
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let by_post = ada
            .post_form(FROM_APP, &format!("{ISSUER}/oauth/logout"), form)
            .await;
        for visit in [by_get, by_post] {
            assert_eq!(visit.status().unwrap(), 400, "{params:?}");
            let answer = visit.answer.as_ref().unwrap();
            assert_eq!(answer.header("location"), None);
            assert_eq!(answer.header("set-cookie"), None);
            answer.is_not_stored();
            assert!(html::text_of(visit.text(), "error-id").is_some_and(|id| id.len() >= 8));
            assert!(!visit.text().contains("evil.example") && !visit.text().contains(tokens.id()));
        }
    }
    assert!(ada.is_signed_in().await);
    assert_eq!(ended(&op).await, 0);
}

/// The operator sees which URI was asked for and which are registered.
#[tokio::test]
async fn the_report_of_a_refused_logout_names_the_nearest_uri() {
    let op = TestProvider::start().await;
    let app = leaving_client(&op).await;
    let url = logout_url(&[
        ("client_id", app.client_id()),
        ("post_logout_redirect_uri", "https://app.test/signed-out/"),
        ("id_token_hint", ""),
    ]);
    let visit = op.browser().open(&url).await;
    let id = html::text_of(visit.text(), "error-id").unwrap();
    let report = riley_auth::db::error_reports::find(op.db(), &id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(report["nearest_redirect_uri"], AFTER);
    assert!(report["rule"].as_str().unwrap().contains("not registered"));
    assert!(report["received"].as_array().unwrap().iter().any(|entry| {
        entry["name"] == "post_logout_redirect_uri" && entry["value"] == "https://app.test/signed-out/"
    }));
}

/// SE-5: a HEAD or another method changes nothing.
#[tokio::test]
async fn other_methods_are_not_offered() {
    let op = TestProvider::start().await;
    let app = leaving_client(&op).await;
    let (ada, tokens) = signed_in_to(&app, "ada").await;
    let cookie = format!("__Host-auth_refresh={}", ada.cookie("refresh").unwrap());
    let path = logout_url(&[("id_token_hint", tokens.id())]);
    let path = path.strip_prefix(ISSUER).unwrap();
    for (method, path, allow) in [
        (Method::HEAD, path, "GET, POST"),
        (Method::PUT, path, "GET, POST"),
        (Method::DELETE, path, "GET, POST"),
        (Method::HEAD, "/oauth/logout/resume?request=x", "GET"),
        (Method::POST, "/oauth/logout/resume?request=x", "GET"),
        (Method::GET, "/oauth/logout/confirm", "POST"),
        (Method::HEAD, "/oauth/logout/confirm", "POST"),
    ] {
        let answer = Answer::of(op.request(method.clone(), path).header("cookie", &cookie)).await;
        assert_eq!(answer.is(405).header("allow"), Some(allow), "{method} {path}");
    }
    assert_eq!(ended(&op).await, 0);
}

/// SE-5: the answer to the question has to come from our own page, shown to this very session, within ten minutes.
#[tokio::test]
async fn nobody_else_can_answer_the_question() {
    let op = TestProvider::start().await;
    let (ada, alan) = (op.signed_in("ada").await, op.signed_in("alan").await);
    let page = ada.open(&logout_url(&[])).await;
    let form = page.form().unwrap();
    let foreign = alan.open(&logout_url(&[])).await.form().unwrap();
    let action = form.action.clone();
    assert_eq!(action, format!("{ISSUER}/oauth/logout/confirm"));

    let evil = "https://evil.example/";
    let visit = ada.post_form(evil, &action, form.fields.clone()).await;
    assert_eq!(visit.status().unwrap(), 400, "another site's form");
    for fields in [
        Vec::new(),
        foreign.fields,
        vec![("question".to_owned(), "x".to_owned())],
    ] {
        let visit = ada
            .post_form(&format!("{ISSUER}/oauth/logout"), &action, fields)
            .await;
        assert_eq!(visit.status().unwrap(), 400);
    }
    // A page of a sibling host sends the cookies, and the browser says whose page it is.
    let visit = ada
        .post_form(&format!("{PAGES}/x"), &action, form.fields.clone())
        .await;
    assert_eq!(visit.status().unwrap(), 400);
    let cookie = format!("__Host-auth_refresh={}", ada.cookie("refresh").unwrap());
    for (name, value) in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("sec-fetch-site", "none"),
        ("origin", APP),
        ("origin", "null"),
        ("x-requested-with", "fetch"),
    ] {
        let request = op
            .request(Method::POST, "/oauth/logout/confirm")
            .header("cookie", &cookie)
            .header(name, value);
        let answer = Answer::of(request.form(&form.fields)).await;
        assert_eq!(answer.status, 400, "{name}: {value}");
    }
    assert_eq!(ended(&op).await, 0);
    op.advance_secs(601);
    assert_eq!(ada.submit(&page, &[]).await.status().unwrap(), 400, "too late");
    assert!(ada.is_signed_in().await);
}

/// The page is inert: nothing loads or runs, nobody frames it, and the form may lead where Chromium would ask the policy about.
#[tokio::test]
async fn the_question_is_a_page_of_plain_html_under_a_strict_policy() {
    let op = TestProvider::start().await;
    let ada = op.signed_in("ada").await;
    let page = ada.open(&logout_url(&[])).await;
    let answer = page.answer.as_ref().unwrap();
    let policy = answer.header("content-security-policy").unwrap();
    for part in ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("script-src") && !page.text().contains("<script"));
    assert_eq!(answer.header("referrer-policy"), Some("same-origin"));
    assert_eq!(answer.header("x-frame-options"), Some("DENY"));
    answer.is_not_stored();
    assert!(!page.text().to_lowercase().contains("riley"));
}

/// A registration that was withdrawn while the person thought about it leads nowhere; the session ends all the same.
#[tokio::test]
async fn a_uri_that_was_withdrawn_meanwhile_is_not_gone_to() {
    let op = TestProvider::start().await;
    let app = leaving_client(&op).await;
    let ada = op.signed_in("ada").await;
    let url = logout_url(&[
        ("client_id", app.client_id()),
        ("post_logout_redirect_uri", AFTER),
    ]);
    let page = ada.follow(FROM_APP, &url).await;
    sqlx::query("UPDATE oauth_clients SET post_logout_redirect_uris = '{}' WHERE client_id = $1")
        .bind(app.client_id())
        .execute(op.db())
        .await
        .unwrap();
    let visit = ada.submit(&page, &[]).await;
    assert_eq!(visit.url.as_str(), format!("{PAGES}/signed-out"));
    assert!(!ada.is_signed_in().await);
}
