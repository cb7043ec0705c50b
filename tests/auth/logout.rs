use std::collections::BTreeSet;

use reqwest::Method;
use time::Duration;

use crate::common::checks;
use crate::common::provider::{APP, ISSUER, PAGES};
use crate::common::{Answer, Browser, TestProvider, Tokens};

async fn ended_reasons(op: &TestProvider) -> Vec<Option<String>> {
    let sql = "SELECT ended_reason FROM sessions ORDER BY created_at, session_id";
    sqlx::query_scalar(sql).fetch_all(op.db()).await.unwrap()
}

/// Signs in afresh at the upstream, whoever was there before.
async fn sign_in_anew(browser: &Browser, person: &str) {
    browser.op.upstream().sign_everybody_out();
    let visit = browser.sign_in_amid("simulated", person, &[]).await;
    assert_eq!(visit.url.as_str(), format!("{PAGES}/home"), "{}", visit.text());
}

fn sid(browser: &Browser) -> String {
    checks::peek(&browser.cookie("access").unwrap())["sid"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// SE-2: the removal repeats name, path and attributes of every cookie, and the browser is left with none.
#[tokio::test]
async fn a_logout_leaves_no_cookie_behind() {
    let op = TestProvider::start().await;
    let ada = op.signed_in("ada").await;
    let answer = ada.call(Method::POST, "/auth/logout", None).await;
    assert_eq!(
        answer.is(200).json()["redirect_to"],
        format!("{PAGES}/signed-out")
    );
    let lines: BTreeSet<_> = answer
        .headers
        .get_all("set-cookie")
        .iter()
        .map(|line| line.to_str().unwrap().to_owned())
        .collect();
    let removed = |name| format!("__Host-auth_{name}=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0");
    let expected: BTreeSet<_> = ["access", "browser", "refresh", "setup"].map(removed).into();
    assert_eq!(lines, expected);
    let left: Vec<_> = ada
        .jar()
        .live(op.clock().now())
        .map(|cookie| cookie.name.clone())
        .collect();
    assert!(left.iter().all(|name| !name.contains("auth_")), "{left:?}");
    ada.call(Method::POST, "/auth/logout", None).await.is(200);
}

/// SE-4, §4.4: the session's tokens die with it at once, everywhere; what was granted `offline_access` lives on.
#[tokio::test]
async fn a_logout_ends_the_sessions_grants_at_once_and_spares_the_offline_ones() {
    let op = TestProvider::start().await;
    let other = op.second_instance().await;
    let (app, second) = (op.client().await, op.client().await);
    let ada = op.signed_in("ada").await;
    let stolen = ada.copy();
    let online = app.tokens_of(&ada, "ada", "openid").await;
    let offline = second.tokens_of(&ada, "ada", "openid offline_access").await;
    let alive = async |app: &crate::common::TestClient, tokens: &Tokens| {
        let userinfo = app.userinfo(&tokens.access_token).await.status == 200;
        let tokens = [tokens.access_token.as_str(), tokens.refresh()];
        (
            userinfo,
            app.is_active(tokens[0]).await,
            app.is_active(tokens[1]).await,
        )
    };
    assert_eq!(alive(&app, &online).await, (true, true, true));

    ada.call(Method::POST, "/auth/logout", None).await.is(200);
    assert!(!stolen.is_signed_in().await);
    for instance in [&op, &other] {
        assert_eq!(alive(&app.at(instance), &online).await, (false, false, false));
        assert_eq!(alive(&second.at(instance), &offline).await, (true, true, true));
    }
    app.refresh(online.refresh()).await.refused("invalid_grant");
    second.refresh(offline.refresh()).await.tokens();
    assert_eq!(ended_reasons(&op).await, [Some("logout".to_owned())]);
}

/// §4.4: a session that merely ran out ends no grant.
#[tokio::test]
async fn an_expired_session_ends_no_grant() {
    let op = TestProvider::start().await;
    let app = op.client().await;
    let ada = op.signed_in("ada").await;
    let mut tokens = app.tokens_of(&ada, "ada", "openid").await;
    for _ in 0..2 {
        op.advance(Duration::days(20));
        tokens = app.refresh(tokens.refresh()).await.tokens();
    }
    assert!(
        !ada.is_signed_in().await,
        "an app at work keeps no browser signed in"
    );
    assert!(app.is_active(&tokens.access_token).await);
    app.refresh(tokens.refresh()).await.tokens();
}

/// `POST /auth/logout-all`: every session of the person, and nobody else's.
#[tokio::test]
async fn logging_out_everywhere_ends_all_sessions_of_one_person() {
    let op = TestProvider::start().await;
    let app = op.client().await;
    let (here, there) = (op.signed_in("ada").await, op.signed_in("ada").await);
    let alan = op.signed_in("alan").await;
    let tokens = app.tokens_of(&there, "ada", "openid").await;
    here.call(Method::POST, "/auth/logout-all", None).await.is(200);
    assert!(!here.is_signed_in().await && !there.is_signed_in().await);
    assert!(alan.is_signed_in().await);
    assert!(!app.is_active(&tokens.access_token).await);
    assert_eq!(here.cookie("refresh"), None);
    there.call(Method::POST, "/auth/logout-all", None).await.is(401);
}

/// §4.2: the same person keeps session and apps, with new cookie values and a new `auth_time`; earlier grants keep theirs.
#[tokio::test]
async fn the_same_person_keeps_the_session_and_moves_its_auth_time() {
    let op = TestProvider::start().await;
    let app = op.client().await;
    let ada = op.browser();
    let before = app.tokens_of(&ada, "ada", "openid").await;
    let (session, value) = (sid(&ada), ada.cookie("refresh").unwrap());
    let stolen = ada.copy();
    op.advance_secs(3600);
    sign_in_anew(&ada, "ada").await;

    assert_eq!(sid(&ada), session);
    assert_ne!(ada.cookie("refresh").unwrap(), value);
    assert!(
        !stolen.is_signed_in().await,
        "the value from before the login is dead at once"
    );
    let first = checks::peek(before.id());
    let second = app.redeem(&ada.authorize(&app).code().await).await.tokens();
    let second = checks::peek(second.id());
    assert_eq!(second["sid"], first["sid"]);
    assert!(second["auth_time"].as_i64().unwrap() - first["auth_time"].as_i64().unwrap() >= 3600);
    let renewed = app.refresh(before.refresh()).await.tokens();
    assert_eq!(
        checks::peek(renewed.id())["auth_time"],
        first["auth_time"],
        "of the grant, not of the session"
    );
    assert_eq!(ended_reasons(&op).await, [None]);
}

/// §4.2, SE-3: another person's login ends the session that was there, as by logout.
#[tokio::test]
async fn another_person_ends_the_session_that_was_there() {
    let op = TestProvider::start().await;
    let app = op.client().await;
    let browser = op.browser();
    let tokens = app.tokens_of(&browser, "ada", "openid").await;
    let (session, stolen) = (sid(&browser), browser.copy());
    sign_in_anew(&browser, "alan").await;
    assert_ne!(sid(&browser), session);
    assert_eq!(browser.me().await.json()["username"], "alan");
    assert!(!stolen.is_signed_in().await);
    assert!(!app.is_active(&tokens.access_token).await);
    app.refresh(tokens.refresh()).await.refused("invalid_grant");
    assert_eq!(ended_reasons(&op).await, [Some("other_person".to_owned()), None]);
}

/// SE-5, as a table: what the browser says of the request, and whether it may change anything.
#[tokio::test]
async fn forged_requests_change_nothing() {
    let op = TestProvider::start().await;
    let ada = op.signed_in("ada").await;
    let cookie = format!("__Host-auth_refresh={}", ada.cookie("refresh").unwrap());
    let fetch = ("x-requested-with", "fetch");
    let evil = ("origin", "https://evil.example");
    let refused: &[&[(&str, &str)]] = &[
        &[],
        &[evil],
        &[("origin", PAGES)],
        &[("origin", ISSUER)],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
        &[("sec-fetch-site", "none")],
        &[("sec-fetch-site", "cross-site"), fetch, evil],
        &[fetch, evil],
        &[fetch, ("origin", "null")],
        &[fetch, ("origin", APP)],
        &[fetch, ("origin", "https://pages.op.test.evil.example")],
        &[fetch, ("origin", "http://pages.op.test")],
        &[fetch, ("origin", "https://PAGES.op.test")],
        &[("x-requested-with", ""), ("origin", PAGES)],
        &[("x-http-method-override", "POST"), ("origin", PAGES)],
    ];
    for headers in refused {
        for path in [
            "/auth/refresh",
            "/auth/logout",
            "/auth/logout-all",
            "/auth/setup",
            "/oauth/consent",
        ] {
            let mut request = op.request(Method::POST, path).header("cookie", &cookie);
            for (name, value) in *headers {
                request = request.header(*name, *value);
            }
            let answer = Answer::of(request.json(&serde_json::json!({ "username": "ada" }))).await;
            let is_refused = answer.status == 403 || (path == "/auth/setup" && answer.status == 404);
            assert!(
                is_refused,
                "{path} {headers:?}: {} {}",
                answer.status, answer.text
            );
            assert!(answer.header("set-cookie").is_none(), "{path} {headers:?}");
        }
    }
    assert!(ada.is_signed_in().await);

    let passes: &[&[(&str, &str)]] = &[
        &[("sec-fetch-site", "same-origin")],
        &[("sec-fetch-site", "same-origin"), ("origin", ISSUER)],
        &[("sec-fetch-site", "same-site"), fetch, ("origin", PAGES)],
        &[("sec-fetch-site", "cross-site"), fetch, ("origin", PAGES)],
        &[fetch, ("origin", ISSUER)],
        &[fetch],
    ];
    for headers in passes {
        let mut request = op
            .request(Method::POST, "/auth/refresh")
            .header("cookie", &cookie);
        for (name, value) in *headers {
            request = request.header(*name, *value);
        }
        Answer::of(request).await.is(200);
    }
}

/// SE-5: a form cannot say that it is JSON, and a method cannot be smuggled into a GET.
#[tokio::test]
async fn no_get_and_no_form_logs_anybody_out() {
    let op = TestProvider::start().await;
    let ada = op.signed_in("ada").await;
    let cookie = format!("__Host-auth_refresh={}", ada.cookie("refresh").unwrap());
    for path in ["/auth/logout?_method=POST", "/auth/refresh", "/auth/logout-all"] {
        let request = op
            .request(Method::GET, path)
            .header("cookie", &cookie)
            .header("x-http-method-override", "POST");
        assert_eq!(
            Answer::of(request).await.is(405).header("allow"),
            Some("POST"),
            "{path}"
        );
    }
    let form = vec![("_method".to_owned(), "POST".to_owned())];
    let visit = ada
        .post_form("https://evil.example/", &format!("{ISSUER}/auth/logout"), form)
        .await;
    assert_eq!(visit.status().unwrap(), 403);
    assert!(ada.is_signed_in().await);
}

/// §3.2: only the protocol's own GETs change anything; a link checker's HEAD does not use a flow up.
#[tokio::test]
async fn head_is_not_allowed_where_a_get_changes_something() {
    let op = TestProvider::start().await;
    let app = op.client().await;
    let browser = op.browser();
    let request = browser.authorize(&app);
    let page = request.send().await.page("/login");
    let resume = format!(
        "/oauth/authorize/resume?request={}",
        crate::common::browser::query(&page, "request_id").unwrap()
    );
    let callback = browser.up_to_callback("simulated", "ada").await;
    let authorize = request.url();
    let ours = |url: &str| url.strip_prefix(ISSUER).unwrap().to_owned();
    for path in [
        ours(&authorize),
        resume,
        ours(callback.as_str()),
        "/auth/simulated".to_owned(),
        "/auth/logout".to_owned(),
    ] {
        let cookie = format!("__Host-auth_browser={}", browser.cookie("browser").unwrap());
        let answer = Answer::of(op.request(Method::HEAD, &path).header("cookie", cookie)).await;
        assert_eq!(answer.status, 405, "{path}");
        assert!(answer.header("allow").is_some(), "{path}");
        assert!(answer.header("set-cookie").is_none(), "{path}");
    }
    assert_eq!(
        browser.open(callback.as_str()).await.url.as_str(),
        format!("{PAGES}/home")
    );
}
