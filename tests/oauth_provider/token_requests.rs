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
