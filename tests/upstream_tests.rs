//! riley-auth as a client of each provider, against the simulated upstream: what a good login gives, and that nothing
//! a provider does wrong becomes an identity.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::time::Duration as StdDuration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use riley_auth::clock::Clock;
use riley_auth::config::Config;
use riley_auth::config::providers::EmailTrust;
use riley_auth::dev::simulated_upstream::{
    Client, Endpoint, Flavour, Misbehaviour, Options, SigningAlgorithm, SimulatedUpstream,
};
use riley_auth::protocol::pkce::CodeVerifier;
use riley_auth::upstream::{
    CallbackParams, Expected, Identity, Limits, Provider, Reauthentication, StartRequest, UpstreamError,
    Upstreams,
};
use serde_json::{Value, json};
use time::Duration;
use url::Url;

const CALLBACK: &str = "https://auth.example.test/auth/it/callback";
const SECRET: &str = "sec ret+/%:";
const NONCE: &str = "nonce-of-this-flow";

/// One upstream, and riley-auth's side of it configured to go there by the name `it`.
struct Setup {
    upstream: SimulatedUpstream,
    upstreams: Upstreams,
    clock: Clock,
    verifier: CodeVerifier,
    _key: Option<tempfile::NamedTempFile>,
}

impl Setup {
    async fn of(flavour: Flavour) -> Self {
        Self::with(flavour, json!({})).await
    }

    /// `more` is added to the provider's table.
    async fn with(flavour: Flavour, more: Value) -> Self {
        Self::with_limits(flavour, more, Limits::default()).await
    }

    async fn with_limits(flavour: Flavour, more: Value, limits: Limits) -> Self {
        let clock = Clock::default();
        let client = Client {
            client_id: "app".to_owned(),
            client_secret: SECRET.to_owned(),
            redirect_uris: vec![CALLBACK.to_owned()],
            backchannel_logout_uri: None,
        };
        let options = Options {
            clients: vec![client],
            require_pkce: true,
            signing_algorithm: SigningAlgorithm::Es256,
            clock: clock.clone(),
            delay: StdDuration::from_secs(5),
            tenant: more["tenant"].as_str().unwrap_or("common").to_owned(),
            ..Options::of(flavour)
        };
        let upstream = SimulatedUpstream::start(options).await.unwrap();
        let key = (flavour == Flavour::Apple).then(apple_key);
        let mut table = provider_table(&upstream, flavour, key.as_ref());
        table
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let upstreams = Upstreams::with_limits(&config(&table), clock.clone(), limits).unwrap();
        let verifier = CodeVerifier::generate(&SystemRandom::new());
        Self {
            upstream,
            upstreams,
            clock,
            verifier,
            _key: key,
        }
    }

    fn provider(&self) -> &Provider {
        self.upstreams.get("it").unwrap()
    }

    fn start_request(&self) -> StartRequest<'_> {
        StartRequest {
            redirect_uri: CALLBACK,
            state: "state-of-this-flow",
            nonce: NONCE,
            code_verifier: &self.verifier,
            login_hint: None,
            reauthenticate: false,
            select_account: false,
            max_age_secs: None,
            ui_locales: None,
        }
    }

    fn expected(&self) -> Expected<'_> {
        Expected {
            redirect_uri: CALLBACK,
            nonce: NONCE,
            code_verifier: &self.verifier,
            reauthenticated_since: None,
            require_proof: false,
        }
    }

    /// The person goes where riley-auth sends them, signs in, and comes back with these parameters.
    async fn visit(
        &self,
        person: &str,
        misbehaviours: &[Misbehaviour],
    ) -> Result<CallbackParams, UpstreamError> {
        let url = self.provider().authorization_url(&self.start_request()).await?;
        let mut form = vec![("username", person)];
        for misbehaviour in misbehaviours {
            let (name, _) = Misbehaviour::ALL
                .iter()
                .find(|(_, known)| known == misbehaviour)
                .unwrap();
            form.push(("misbehaviour", name));
        }
        let mut sign_in: Url = format!("{}/sign-in", self.upstream.base_url()).parse().unwrap();
        sign_in.set_query(url.query());
        let browser = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .unwrap();
        let response = browser.post(sign_in).form(&form).send().await.unwrap();
        let location = response
            .headers()
            .get("location")
            .map(|value| value.to_str().unwrap().to_owned());
        let params: Vec<(String, String)> = match location {
            Some(location) => Url::parse(&location)
                .unwrap()
                .query_pairs()
                .into_owned()
                .collect(),
            None => hidden_inputs(&response.text().await.unwrap()),
        };
        let get = |name: &str| {
            params
                .iter()
                .find(|(given, _)| given == name)
                .map(|(_, value)| value.clone())
        };
        Ok(CallbackParams {
            code: get("code"),
            state: get("state"),
            error: get("error"),
            iss: get("iss"),
            user: get("user"),
        })
    }

    async fn finish(&self, callback: &CallbackParams) -> Result<Identity, UpstreamError> {
        self.provider()
            .finish(callback, &self.expected(), self.clock.now())
            .await
    }

    async fn log_in(&self, person: &str) -> Identity {
        self.log_in_amid(person, &[]).await.unwrap()
    }

    async fn log_in_amid(
        &self,
        person: &str,
        misbehaviours: &[Misbehaviour],
    ) -> Result<Identity, UpstreamError> {
        let callback = self.visit(person, misbehaviours).await?;
        self.finish(&callback).await
    }

    /// The code of the refusal, which must be one.
    async fn refusal_amid(&self, misbehaviour: Misbehaviour) -> &'static str {
        self.log_in_amid("ada", &[misbehaviour]).await.unwrap_err().code()
    }
}

fn apple_key() -> tempfile::NamedTempFile {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let der = STANDARD.encode(pair.to_pkcs8v1().unwrap().as_ref());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        file.path(),
        format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n"),
    )
    .unwrap();
    file
}

fn provider_table(
    upstream: &SimulatedUpstream,
    flavour: Flavour,
    key: Option<&tempfile::NamedTempFile>,
) -> Value {
    let mut table = json!({ "client_id": "app", "client_secret": SECRET, "allow_insecure_http": true });
    let by_issuer = |preset: &str| json!({ "preset": preset, "issuer": upstream.issuer() });
    let urls = json!({
        "auth_url": upstream.authorization_endpoint(),
        "token_url": upstream.token_endpoint(),
        "userinfo_url": upstream.userinfo_endpoint(),
    });
    let mut more = match flavour {
        Flavour::Oidc => json!({ "issuer": upstream.issuer() }),
        Flavour::Google => by_issuer("google"),
        Flavour::GitLab => by_issuer("gitlab"),
        Flavour::Microsoft => by_issuer("microsoft"),
        Flavour::Apple => by_issuer("apple"),
        Flavour::GitHub => json!({ "preset": "github", "api_url": upstream.base_url() }),
        Flavour::Discord => json!({ "preset": "discord" }),
        Flavour::OAuth2 => json!({
            "scopes": ["profile", "email"],
            "profile_mapping": { "subject": "id", "username": "login", "name": "name", "picture": "picture",
                "email": "email", "email_verified": "email_verified" },
        }),
    };
    if matches!(flavour, Flavour::OAuth2 | Flavour::Discord | Flavour::GitHub) {
        more.as_object_mut()
            .unwrap()
            .extend(urls.as_object().unwrap().clone());
    }
    if let Some(key) = key {
        let apple =
            json!({ "apple_team_id": "TEAM", "apple_key_id": "KEY", "apple_private_key_path": key.path() });
        more.as_object_mut()
            .unwrap()
            .extend(apple.as_object().unwrap().clone());
        table.as_object_mut().unwrap().remove("client_secret");
    }
    table
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    table
}

fn config(provider: &Value) -> Config {
    serde_json::from_value(json!({
        "server": {},
        "database": { "url": "postgres://nowhere", "secret_key": "a-secret-key-of-the-tests-0123456789" },
        "jwt": { "issuer": "https://auth.example.test" },
        "oauth": { "providers": { "it": provider } },
        "claims": { "passthrough": ["given_name", "locale", "address"] },
    }))
    .unwrap()
}

/// The fields of a form_post page.
fn hidden_inputs(page: &str) -> Vec<(String, String)> {
    let between = |text: &str, start: &str| {
        let rest = text.split_once(start)?.1;
        Some(rest.split_once('"')?.0.to_owned())
    };
    let unescape = |text: String| {
        let entities = [
            ("&quot;", "\""),
            ("&#34;", "\""),
            ("&#39;", "'"),
            ("&lt;", "<"),
            ("&gt;", ">"),
            ("&amp;", "&"),
        ];
        entities
            .iter()
            .fold(text, |text, (entity, plain)| text.replace(entity, plain))
    };
    page.split("<input type=\"hidden\" ")
        .skip(1)
        .filter_map(|input| Some((between(input, "name=\"")?, unescape(between(input, "value=\"")?))))
        .collect()
}

fn query_of(url: &Url, name: &str) -> Option<String> {
    url.query_pairs()
        .find(|(given, _)| given == name)
        .map(|(_, value)| value.into_owned())
}

#[tokio::test]
async fn a_login_at_an_openid_provider_gives_a_complete_identity() {
    let setup = Setup::with(Flavour::Oidc, json!({ "acr_map": { "1": "urn:example:basic" } })).await;
    let ada = setup.log_in("ada").await;

    assert_eq!(ada.issuer, setup.upstream.issuer());
    assert_eq!(ada.subject, setup.upstream.subject_of("ada"));
    assert_eq!(ada.provider, "it");
    assert!(ada.email.is_some() && ada.email_verified);
    assert_eq!(ada.username_hint.as_deref(), Some("ada"));
    assert_eq!(ada.acr.as_deref(), Some("urn:example:basic"));
    assert_eq!(ada.amr, Some(vec!["pwd".to_owned()]));
    assert!(ada.sid.is_some() && ada.auth_time.is_some());
    assert_eq!(ada.claims["given_name"], "Ada");
    assert_eq!(ada.claims["locale"], "en-GB");
    assert!(ada.picture.unwrap().starts_with("https://"));
}

#[tokio::test]
async fn every_flavour_logs_in_under_the_subject_of_the_provider() {
    for flavour in Flavour::ALL {
        let setup = Setup::of(flavour).await;
        let ada = setup.log_in("ada").await;
        assert_eq!(ada.subject, setup.upstream.subject_of("ada"), "{flavour:?}");
        assert!(ada.email.is_some(), "{flavour:?}");
        assert_eq!(
            ada.email_verified,
            !matches!(flavour, Flavour::Microsoft),
            "{flavour:?}"
        );
        assert!(!ada.display.is_empty(), "{flavour:?}");
        let again = setup.log_in("ada").await;
        assert_eq!(
            (ada.issuer, ada.subject),
            (again.issuer, again.subject),
            "{flavour:?}"
        );
    }
}

/// RFC 6749 §2.3.1; GitHub, Discord and Apple take the secret in the body.
#[tokio::test]
async fn the_secret_travels_as_the_provider_wants_it() {
    for (flavour, in_header) in [
        (Flavour::Oidc, true),
        (Flavour::OAuth2, true),
        (Flavour::GitHub, false),
        (Flavour::Discord, false),
        (Flavour::Apple, false),
    ] {
        let setup = Setup::of(flavour).await;
        setup.log_in("ada").await;
        let request = setup.upstream.requests_to(Endpoint::Token).remove(0);
        assert_eq!(
            request.header("authorization").is_some(),
            in_header,
            "{flavour:?}"
        );
        assert_eq!(request.form("client_secret").is_some(), !in_header, "{flavour:?}");
        assert_eq!(
            request.form("code_verifier"),
            Some(setup.verifier.expose()),
            "{flavour:?}"
        );
    }
}

#[tokio::test]
async fn the_authorization_request_asks_for_what_the_provider_honours() {
    let mut start_by_flavour = Vec::new();
    for flavour in [
        Flavour::Oidc,
        Flavour::Google,
        Flavour::Microsoft,
        Flavour::GitHub,
        Flavour::Apple,
    ] {
        let setup = Setup::of(flavour).await;
        let mut start = setup.start_request();
        start.reauthenticate = true;
        start.login_hint = Some("ada@example.test");
        let url = setup.provider().authorization_url(&start).await.unwrap();
        assert_eq!(query_of(&url, "code_challenge_method").as_deref(), Some("S256"));
        assert_eq!(query_of(&url, "state").as_deref(), Some("state-of-this-flow"));
        let is_oidc = flavour != Flavour::GitHub;
        assert_eq!(query_of(&url, "nonce").is_some(), is_oidc);
        assert_eq!(query_of(&url, "login_hint").is_some(), is_oidc);
        let mode = query_of(&url, "response_mode");
        assert_eq!(
            mode.as_deref(),
            (flavour == Flavour::Apple).then_some("form_post")
        );
        start_by_flavour.push((query_of(&url, "prompt"), query_of(&url, "max_age")));
    }
    let text = |text: &str| Some(text.to_owned());
    let expected = [
        (text("login"), text("0")),
        (text("select_account"), None),
        (text("login"), None),
        (None, None),
        (None, None),
    ];
    assert_eq!(start_by_flavour, expected);
}

#[tokio::test]
async fn a_misbehaving_openid_provider_gives_no_identity_but_a_code_of_ours() {
    let setup = Setup::of(Flavour::Oidc).await;
    for (misbehaviour, code) in [
        (Misbehaviour::WrongNonce, "id_token_nonce"),
        (Misbehaviour::MissingNonce, "id_token_nonce"),
        (Misbehaviour::WrongIssuer, "id_token_issuer"),
        (Misbehaviour::WrongAudience, "id_token_audience"),
        (Misbehaviour::WrongAuthorizedParty, "id_token_authorized_party"),
        (Misbehaviour::ExpiredIdToken, "id_token_expired"),
        (Misbehaviour::FutureIat, "id_token_issued_at"),
        (Misbehaviour::AlgNone, "token_algorithm_not_allowed"),
        (
            Misbehaviour::SignedWithClientSecret,
            "token_algorithm_not_allowed",
        ),
        (Misbehaviour::UnpublishedKey, "token_key_unknown"),
        (Misbehaviour::MissingIdToken, "id_token_missing"),
        (Misbehaviour::Cancelled, "access_denied"),
        (Misbehaviour::HostileErrorDescription, "upstream_unavailable"),
        (Misbehaviour::WrongIssParameter, "iss_mismatch"),
        (Misbehaviour::MissingIssParameter, "iss_missing"),
        (Misbehaviour::UserinfoOtherSubject, "userinfo_subject"),
        (Misbehaviour::SubjectAsFloat, "subject_invalid"),
        (Misbehaviour::SubjectEmpty, "subject_invalid"),
        (Misbehaviour::SubjectAsObject, "subject_invalid"),
        (Misbehaviour::SubjectMissing, "subject_invalid"),
        (Misbehaviour::TokenFails, "upstream_unavailable"),
        (Misbehaviour::TokenNotJson, "token_response_invalid"),
        (Misbehaviour::TokenRedirects, "token_response_invalid"),
        (Misbehaviour::CodeRefused, "code_refused"),
        (Misbehaviour::HugeBody, "upstream_unavailable"),
    ] {
        let refused = setup.log_in_amid("ada", &[misbehaviour]).await;
        assert_eq!(
            refused.err().map(|error| error.code()),
            Some(code),
            "{misbehaviour:?}"
        );
    }
    assert_eq!(
        setup.log_in("ada").await.subject,
        setup.upstream.subject_of("ada"),
        "it recovers"
    );
}

#[tokio::test]
async fn a_provider_without_id_tokens_is_held_to_the_same_subjects() {
    for flavour in [Flavour::OAuth2, Flavour::GitHub, Flavour::Discord] {
        let setup = Setup::of(flavour).await;
        for misbehaviour in [
            Misbehaviour::SubjectAsFloat,
            Misbehaviour::SubjectEmpty,
            Misbehaviour::SubjectAsObject,
            Misbehaviour::SubjectMissing,
        ] {
            assert_eq!(
                setup.refusal_amid(misbehaviour).await,
                "subject_invalid",
                "{flavour:?} {misbehaviour:?}"
            );
        }
        for misbehaviour in [
            Misbehaviour::UserinfoFails,
            Misbehaviour::TokenFails,
            Misbehaviour::HugeBody,
        ] {
            assert_eq!(
                setup.refusal_amid(misbehaviour).await,
                "upstream_unavailable",
                "{flavour:?} {misbehaviour:?}"
            );
        }
        assert_eq!(
            setup.refusal_amid(Misbehaviour::CodeRefused).await,
            "code_refused",
            "{flavour:?}"
        );
    }
}

#[tokio::test]
async fn what_an_upstream_writes_beside_an_error_is_repeated_nowhere() {
    let setup = Setup::of(Flavour::Oidc).await;
    let error = setup
        .log_in_amid("ada", &[Misbehaviour::HostileErrorDescription])
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "upstream_unavailable");
    assert!(
        error.detail().chars().all(|c| c.is_ascii_lowercase() || c == ' '),
        "{}",
        error.detail()
    );
}

#[tokio::test]
async fn a_wrong_client_secret_is_told_from_a_wrong_code() {
    let setup = Setup::with(Flavour::Oidc, json!({ "client_secret": "another" })).await;
    assert_eq!(
        setup.log_in_amid("ada", &[]).await.unwrap_err().code(),
        "client_refused"
    );
}

/// Handlers run on any thread: what they wait for must be able to move.
#[tokio::test]
async fn a_login_can_be_finished_on_another_thread() {
    let setup = Setup::of(Flavour::Oidc).await;
    let finished = tokio::spawn(async move { setup.log_in("ada").await.subject }).await;
    assert!(finished.is_ok());
}

/// The 307 would take the client secret along.
#[tokio::test]
async fn no_redirect_is_followed() {
    let setup = Setup::of(Flavour::Oidc).await;
    setup.refusal_amid(Misbehaviour::TokenRedirects).await;
    assert!(setup.upstream.requests_to(Endpoint::Elsewhere).is_empty());
}

#[tokio::test]
async fn a_response_of_another_issuer_never_carries_our_code_away() {
    let setup = Setup::of(Flavour::Oidc).await;
    setup.refusal_amid(Misbehaviour::WrongIssParameter).await;
    setup.refusal_amid(Misbehaviour::MissingIssParameter).await;
    assert!(setup.upstream.requests_to(Endpoint::Token).is_empty());
}

#[tokio::test]
async fn an_address_is_verified_only_if_the_provider_says_so_in_json() {
    let setup = Setup::of(Flavour::Oidc).await;
    let unverified = setup
        .log_in_amid("ada", &[Misbehaviour::UnverifiedEmail])
        .await
        .unwrap();
    assert!(!unverified.email_verified && unverified.email.is_some());
    let as_string = setup
        .log_in_amid("ada", &[Misbehaviour::EmailVerifiedAsString])
        .await
        .unwrap();
    assert!(!as_string.email_verified);
    let none = setup.log_in_amid("ada", &[Misbehaviour::NoEmail]).await.unwrap();
    assert!(none.email.is_none() && !none.email_verified);

    let admitting = Setup::with(Flavour::Oidc, json!({ "email_verified_as_string": true })).await;
    let admitted = admitting
        .log_in_amid("ada", &[Misbehaviour::EmailVerifiedAsString])
        .await
        .unwrap();
    assert!(admitted.email_verified);
}

#[tokio::test]
async fn without_githubs_list_of_addresses_none_is_verified() {
    let setup = Setup::of(Flavour::GitHub).await;
    let ada = setup
        .log_in_amid("ada", &[Misbehaviour::EmailsFail])
        .await
        .unwrap();
    assert!(!ada.email_verified);
}

#[tokio::test]
async fn userinfo_that_fails_costs_the_description_and_not_the_login() {
    let setup = Setup::of(Flavour::Oidc).await;
    let ada = setup
        .log_in_amid("ada", &[Misbehaviour::UserinfoFails])
        .await
        .unwrap();
    assert_eq!(ada.subject, setup.upstream.subject_of("ada"));
}

#[tokio::test]
async fn a_numeric_subject_is_the_same_as_its_digits() {
    let setup = Setup::of(Flavour::Oidc).await;
    let somebody = setup
        .log_in_amid("ada", &[Misbehaviour::SubjectAsNumber])
        .await
        .unwrap();
    assert_eq!(somebody.subject, "12345678");
}

#[tokio::test]
async fn a_rotated_key_is_fetched_at_once_and_forged_ones_cost_one_request_a_minute() {
    let setup = Setup::of(Flavour::Oidc).await;
    let fetches = || setup.upstream.requests_to(Endpoint::Jwks).len();
    setup.log_in("ada").await;
    assert_eq!(fetches(), 1);
    setup.upstream.rotate_key().unwrap();
    setup.log_in("ada").await;
    assert_eq!(fetches(), 2);

    for _ in 0..3 {
        assert_eq!(
            setup.refusal_amid(Misbehaviour::UnpublishedKey).await,
            "token_key_unknown"
        );
    }
    assert_eq!(fetches(), 2, "within a minute of the last");
    setup.clock.advance(Duration::seconds(61));
    for _ in 0..3 {
        setup.refusal_amid(Misbehaviour::UnpublishedKey).await;
    }
    assert_eq!(fetches(), 3);
}

#[tokio::test]
async fn discovery_is_lazy_cached_and_tried_again_after_a_failure() {
    let setup = Setup::of(Flavour::Oidc).await;
    let fetches = || setup.upstream.requests_to(Endpoint::Discovery).len();
    assert_eq!(fetches(), 0);

    setup.upstream.misbehave(Misbehaviour::DiscoveryFails);
    for _ in 0..3 {
        let down = setup
            .provider()
            .authorization_url(&setup.start_request())
            .await
            .unwrap_err();
        assert!(matches!(down, UpstreamError::Unavailable(_)));
    }
    assert_eq!(fetches(), 1, "a failure is believed for a few seconds");

    setup.upstream.behave();
    setup.clock.advance(Duration::seconds(6));
    setup.log_in("ada").await;
    setup.log_in("ada").await;
    assert_eq!(fetches(), 2);

    setup.upstream.misbehave(Misbehaviour::DiscoveryFails);
    setup.clock.advance(Duration::hours(2));
    setup.log_in("ada").await;
    assert_eq!(
        fetches(),
        3,
        "renewed after an hour, and the old one outlives the failure"
    );
}

/// OpenID Connect Discovery 1.0 §4.3.
#[tokio::test]
async fn a_discovery_document_of_another_issuer_is_not_used() {
    let setup = Setup::of(Flavour::Oidc).await;
    setup.upstream.misbehave(Misbehaviour::DiscoveryOtherIssuer);
    let error = setup.provider().probe().await.unwrap_err();
    assert_eq!(error.code(), "upstream_unavailable");
    assert!(error.detail().contains("another issuer"));
}

#[tokio::test]
async fn keys_that_cannot_be_fetched_make_the_provider_unavailable() {
    let setup = Setup::of(Flavour::Oidc).await;
    setup.upstream.misbehave(Misbehaviour::JwksFails);
    assert_eq!(
        setup.log_in_amid("ada", &[]).await.unwrap_err().code(),
        "upstream_unavailable"
    );
    setup.upstream.behave();
    setup.clock.advance(Duration::seconds(6));
    setup.log_in("ada").await;
}

#[tokio::test]
async fn a_slow_provider_is_given_up_at_the_limit() {
    let limits = Limits {
        total: StdDuration::from_millis(300),
        ..Limits::default()
    };
    let setup = Setup::with_limits(Flavour::OAuth2, json!({}), limits).await;
    assert_eq!(
        setup.refusal_amid(Misbehaviour::Slow).await,
        "upstream_unavailable"
    );
}

#[tokio::test]
async fn a_provider_that_is_gone_is_unavailable_and_does_not_stop_the_start() {
    let table = json!({ "client_id": "app", "issuer": "http://127.0.0.1:1", "allow_insecure_http": true });
    let upstreams = Upstreams::new(&config(&table), Clock::default()).unwrap();
    // Nothing has to be known of it beforehand.
    upstreams.learn_issuers().await;
    let error = upstreams.get("it").unwrap().probe().await.unwrap_err();
    assert!(matches!(error, UpstreamError::Unavailable(_)));
}

#[tokio::test]
async fn a_demanded_login_that_the_provider_did_not_make_is_not_fresh() {
    let setup = Setup::of(Flavour::Oidc).await;
    let callback = setup.visit("ada", &[]).await.unwrap();
    let demanded_later = setup.clock.now().unix_timestamp() + 120;
    let expected = Expected {
        reauthenticated_since: Some(demanded_later),
        ..setup.expected()
    };
    let stale = setup
        .provider()
        .finish(&callback, &expected, setup.clock.now())
        .await;
    assert!(matches!(stale, Err(UpstreamError::NotFresh)));

    let callback = setup.visit("ada", &[]).await.unwrap();
    let now = setup.clock.now().unix_timestamp();
    let expected = Expected {
        reauthenticated_since: Some(now),
        require_proof: true,
        ..setup.expected()
    };
    assert!(
        setup
            .provider()
            .finish(&callback, &expected, setup.clock.now())
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_provider_that_states_no_auth_time_proves_nothing() {
    let setup = Setup::of(Flavour::GitHub).await;
    let now = setup.clock.now();
    for (require_proof, passes) in [(false, true), (true, false)] {
        let callback = setup.visit("ada", &[]).await.unwrap();
        let since = Some(now.unix_timestamp());
        let expected = Expected {
            reauthenticated_since: since,
            require_proof,
            ..setup.expected()
        };
        assert_eq!(
            setup.provider().finish(&callback, &expected, now).await.is_ok(),
            passes
        );
    }
    assert_eq!(setup.provider().reauthentication(), Reauthentication::NONE);
}

#[tokio::test]
async fn google_is_authoritative_for_its_own_domains_and_its_customers() {
    let setup = Setup::of(Flavour::Google).await;
    let workspace = setup.log_in("ada").await;
    assert_eq!(workspace.hosted_domain.as_deref(), Some("engine.example"));
    assert_eq!(
        setup.provider().email_trust_of(&workspace),
        EmailTrust::Authoritative
    );
    let gmail = setup.log_in("alan").await;
    assert!(gmail.email.as_deref().unwrap().ends_with("@gmail.com"));
    assert_eq!(setup.provider().email_trust_of(&gmail), EmailTrust::Authoritative);
    let elsewhere = setup.log_in("somebody").await;
    assert_eq!(setup.provider().email_trust_of(&elsewhere), EmailTrust::Verified);
    assert_eq!(setup.provider().email_trust(), EmailTrust::Verified);

    let capped = Setup::with(Flavour::Google, json!({ "email_trust": "none" })).await;
    let ada = capped.log_in("ada").await;
    assert_eq!(capped.provider().email_trust_of(&ada), EmailTrust::None);
}

#[tokio::test]
async fn microsoft_identities_belong_to_their_tenant() {
    let setup = Setup::of(Flavour::Microsoft).await;
    let (ada, alan) = (setup.log_in("ada").await, setup.log_in("alan").await);
    assert!(ada.issuer.contains(ada.tenant.as_deref().unwrap()));
    assert_ne!(ada.tenant, alan.tenant);
    assert!(!ada.email_verified);
    assert_eq!(setup.provider().email_trust_of(&ada), EmailTrust::None);
    assert_eq!(
        setup.refusal_amid(Misbehaviour::WrongIssuer).await,
        "id_token_issuer"
    );
}

/// A tenant that is configured by a domain name is the one that its discovery document names. What links of other tenants say of
/// an address is not believed, and of its own not before the document is there, which a server fetches at its start.
#[tokio::test]
async fn a_tenant_that_is_named_by_a_domain_is_the_one_of_its_document() {
    let tenant = Setup::of(Flavour::Microsoft).await.log_in("ada").await.tenant;
    let more = json!({ "tenant": "engine.example", "email_trust": "verified" });
    let setup = Setup::with(Flavour::Microsoft, more).await;
    let issuer = |tenant: &str| format!("{}/{tenant}/v2.0", setup.upstream.base_url());
    let (own, other) = (
        issuer(&tenant.unwrap()),
        issuer("99999999-2222-4333-8444-555555555555"),
    );
    let believed = |issuer: &str| {
        let believed = setup.upstreams.vouches_for_email("it", issuer);
        assert_eq!(believed, setup.provider().speaks_for(issuer), "{issuer}");
        believed
    };
    assert!(!believed(&own) && !believed(&other));
    // Neither is a link of a former issuer as long as nobody knows better.
    assert!(setup.provider().may_speak_for(&own) && setup.provider().may_speak_for(&other));
    setup.upstreams.learn_issuers().await;
    assert!(believed(&own) && !believed(&other));
    // By now everybody does: the tenant of before gives way.
    assert!(setup.provider().may_speak_for(&own) && !setup.provider().may_speak_for(&other));
    assert_eq!(setup.log_in("ada").await.issuer, own);
}

#[tokio::test]
async fn apples_name_comes_with_the_first_callback_alone() {
    let setup = Setup::of(Flavour::Apple).await;
    assert_eq!(setup.log_in("ada").await.name.as_deref(), Some("Ada Lovelace"));
    assert_eq!(setup.log_in("ada").await.name, None);
}

#[tokio::test]
async fn githubs_organisations_are_asked_for_only_if_the_allow_list_names_some() {
    let open = Setup::of(Flavour::GitHub).await;
    open.log_in("ada").await;
    assert!(open.upstream.requests_to(Endpoint::Organisations).is_empty());

    let listed =
        json!({ "signup": "allow_list", "allow_list": { "github_organizations": ["engine.example"] } });
    let closed = Setup::with(Flavour::GitHub, listed).await;
    let (ada, alan) = (closed.log_in("ada").await, closed.log_in("alan").await);
    assert!(!ada.organizations.is_empty(), "ada belongs to an organisation");
    assert!(!closed.provider().signup_allowed(&alan));
}

#[tokio::test]
async fn a_code_redeemed_with_another_verifier_or_redirect_is_refused() {
    let setup = Setup::of(Flavour::Oidc).await;
    let other = CodeVerifier::generate(&SystemRandom::new());
    let callback = setup.visit("ada", &[]).await.unwrap();
    let expected = Expected {
        code_verifier: &other,
        ..setup.expected()
    };
    let refused = setup
        .provider()
        .finish(&callback, &expected, setup.clock.now())
        .await;
    assert_eq!(refused.unwrap_err().code(), "code_refused");
}

#[test]
fn mistakes_in_the_configuration_name_provider_and_key() {
    for (table, key) in [
        (json!({ "client_id": "app" }), "auth_url"),
        (json!({ "client_id": "", "preset": "google" }), "client_id"),
        (
            json!({ "client_id": "app", "issuer": "http://op.test" }),
            "issuer",
        ),
        (json!({ "client_id": "app", "issuer": "op.test" }), "issuer"),
        (
            json!({ "client_id": "app", "preset": "github", "token_url": "http://x.test/t" }),
            "token_url",
        ),
        (
            json!({ "client_id": "app", "preset": "github", "issuer": "https://github.com" }),
            "issuer",
        ),
        (json!({ "client_id": "app", "preset": "apple" }), "apple_team_id"),
        (
            json!({ "client_id": "app", "auth_url": "https://x.test/a", "token_url": "https://x.test/t",
                "userinfo_url": "https://x.test/u" }),
            "profile_mapping",
        ),
    ] {
        let error = Upstreams::new(&config(&table), Clock::default()).err().unwrap();
        let text = format!("{error:#}");
        assert!(
            text.contains("oauth.providers.it") && text.contains(key),
            "{text}"
        );
    }
}
