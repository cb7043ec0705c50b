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
