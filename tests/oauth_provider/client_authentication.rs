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
