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
