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
