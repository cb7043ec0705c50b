//! Which origins read which answers: the apps' list and the deployer's own never mix.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::Request;
use hyper::body::Frame;
use reqwest::Method;
use riley_auth::server;
use riley_auth::server::in_flight::SHARE_IN_FLIGHT;
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use crate::common::provider::PAGES;
use crate::common::{Answer, TestProvider};

const SPA: &str = "https://spa.test";
/// The endpoints that apps in browsers talk to.
const FOR_APPS: [&str; 4] = [
    "/oauth/token",
    "/oauth/userinfo",
    "/oauth/introspect",
    "/oauth/revoke",
];
const FOR_FIRST_PARTY: [&str; 6] = [
    "/oauth/consent",
    "/auth/setup",
    "/auth/refresh",
    "/auth/logout",
    "/auth/logout-all",
    "/auth/me",
];
const FOR_EVERYBODY: [&str; 3] = [
    "/.well-known/openid-configuration",
    "/.well-known/oauth-authorization-server",
    "/.well-known/jwks.json",
];
const FOR_NOBODY: [&str; 4] = [
    "/oauth/authorize",
    "/oauth/authorize/resume",
    "/auth/simulated",
    "/auth/simulated/callback",
];
/// Almost [`SPA`] or [`PAGES`].
const OTHERS: [&str; 9] = [
    "null",
    "http://spa.test",
    "https://spa.test:444",
    "https://spa.test.evil.test",
    "https://evilspa.test",
    "https://a.spa.test",
    "https://SPA.test",
    "https://spa.test/",
    "http://pages.op.test",
];

async fn provider() -> TestProvider {
    TestProvider::with(|config| config.server.cors_origins = vec![SPA.to_owned()]).await
}

/// What the headers allow: the origin, and whether with credentials. A preflight and the request itself agree.
async fn allowed(op: &TestProvider, path: &str, origin: &str) -> (Option<String>, bool) {
    let preflight = op
        .request(Method::OPTIONS, path)
        .header("access-control-request-method", "POST");
    let preflight = Answer::of(preflight.header("origin", origin)).await;
    let request = Answer::of(op.request(Method::POST, path).header("origin", origin)).await;
    let read = |answer: &Answer| {
        let origin = answer.header("access-control-allow-origin").map(str::to_owned);
        // Without an origin the other header allows nothing.
        let credentials =
            origin.is_some() && answer.header("access-control-allow-credentials") == Some("true");
        (origin, credentials)
    };
    assert_eq!(read(&preflight), read(&request), "{path} from {origin}");
    read(&request)
}

#[tokio::test]
async fn apps_read_the_four_endpoints_and_never_with_credentials() {
    let op = provider().await;
    for path in FOR_APPS {
        assert_eq!(
            allowed(&op, path, SPA).await,
            (Some(SPA.to_owned()), false),
            "{path}"
        );
        assert_eq!(allowed(&op, path, PAGES).await, (None, false), "{path}");
        let answer = Answer::of(op.request(Method::POST, path).header("origin", SPA)).await;
        assert!(
            answer.header("vary").unwrap_or_default().contains("origin"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn the_deployers_pages_read_the_cookie_apis_with_credentials() {
    let op = provider().await;
    for path in FOR_FIRST_PARTY {
        assert_eq!(
            allowed(&op, path, PAGES).await,
            (Some(PAGES.to_owned()), true),
            "{path}"
        );
        assert_eq!(allowed(&op, path, SPA).await, (None, false), "{path}");
        let answer = Answer::of(op.request(Method::POST, path).header("origin", PAGES)).await;
        assert!(
            answer.header("vary").unwrap_or_default().contains("origin"),
            "{path}"
        );
    }
}

/// Compared as a string: no suffix, prefix, scheme, port or case slack, and never `null`.
#[tokio::test]
async fn an_origin_that_is_almost_listed_is_not() {
    let op = provider().await;
    for path in FOR_APPS.iter().chain(&FOR_FIRST_PARTY) {
        for origin in OTHERS {
            assert_eq!(
                allowed(&op, path, origin).await,
                (None, false),
                "{path} from {origin}"
            );
        }
    }
}

/// `["*"]` opens the four endpoints to everybody, without credentials, and nothing else.
#[tokio::test]
async fn a_star_opens_the_four_endpoints_only() {
    let op = TestProvider::with(|config| config.server.cors_origins = vec!["*".to_owned()]).await;
    for path in FOR_APPS {
        assert_eq!(
            allowed(&op, path, "https://any.test").await,
            (Some("*".to_owned()), false),
            "{path}"
        );
    }
    for path in FOR_FIRST_PARTY.iter().chain(&FOR_NOBODY) {
        assert_eq!(
            allowed(&op, path, "https://any.test").await,
            (None, false),
            "{path}"
        );
    }
}

#[tokio::test]
async fn discovery_and_keys_are_everybodys_and_navigation_is_nobodys() {
    let op = provider().await;
    for path in FOR_EVERYBODY {
        assert_eq!(
            allowed(&op, path, "https://any.test").await,
            (Some("*".to_owned()), false),
            "{path}"
        );
    }
    for path in FOR_NOBODY {
        for origin in [SPA, PAGES, "https://any.test"] {
            assert_eq!(
                allowed(&op, path, origin).await,
                (None, false),
                "{path} from {origin}"
            );
        }
    }
}

/// A body of which nothing ever comes; it counts by how many handlers it is waited for.
struct Silent(Arc<AtomicUsize>);

impl HttpBody for Silent {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Poll::Pending
    }
}

/// A browser app is told that it has to wait. The layer that turns away is also the one that cuts off.
#[tokio::test]
async fn what_is_turned_away_can_be_read_by_allowed_origins() {
    let op = provider().await;
    let router = server::build(op.state().clone());
    let waiting = Arc::new(AtomicUsize::new(0));
    let ask = |method: &str, path: &str, origin: &str, body: Body| {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "op.test")
            .header("origin", origin);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        router.clone().oneshot(request.body(body).unwrap())
    };
    let mut held = JoinSet::new();
    for _ in 0..SHARE_IN_FLIGHT.of_prefix {
        held.spawn(ask(
            "POST",
            "/oauth/token",
            SPA,
            Body::new(Silent(Arc::clone(&waiting))),
        ));
    }
    while waiting.load(Ordering::SeqCst) < SHARE_IN_FLIGHT.of_prefix {
        tokio::task::yield_now().await;
    }
    for (method, path, origin, credentials) in [
        ("POST", "/oauth/token", SPA, false),
        ("GET", "/oauth/userinfo", SPA, false),
        ("GET", "/auth/me", PAGES, true),
        ("GET", "/admin/users", PAGES, true),
    ] {
        let shed = ask(method, path, origin, Body::empty()).await.unwrap();
        assert_eq!(shed.status(), 503, "{path}");
        assert_eq!(shed.headers()["access-control-allow-origin"], origin, "{path}");
        let with_credentials = shed.headers().contains_key("access-control-allow-credentials");
        assert_eq!(with_credentials, credentials, "{path}");
        assert_eq!(shed.headers()["retry-after"], "1", "{path}");
    }
    let shed = ask("GET", "/.well-known/jwks.json", SPA, Body::empty())
        .await
        .unwrap();
    assert_eq!(
        (
            shed.status().as_u16(),
            &shed.headers()["access-control-allow-origin"]
        ),
        (503, &"*".parse().unwrap())
    );
    held.abort_all();
}

/// A browser app is told of an outage, and of a mistake of ours, too; whoever may not read stays out.
#[tokio::test]
async fn failures_can_be_read_by_allowed_origins() {
    let op = provider().await;
    let ada = op.signed_in("ada").await;
    let refresh = ada.cookie("refresh").unwrap();
    let ask = async |op: &TestProvider, path: &str, origin: &str, status: u16| {
        let request = op.request(Method::POST, path).header("origin", origin);
        let request = match path {
            "/oauth/token" => {
                let form = [
                    ("grant_type", "refresh_token"),
                    ("refresh_token", "x"),
                    ("client_id", "x"),
                ];
                request.form(&form)
            }
            _ => request
                .header("x-requested-with", "fetch")
                .header("cookie", format!("__Host-auth_refresh={refresh}")),
        };
        let answer = Answer::of(request).await.is(status).clone();
        let read = answer.header("access-control-allow-origin").map(str::to_owned);
        let with_credentials = answer.header("access-control-allow-credentials") == Some("true");
        (read, with_credentials)
    };
    let away = op.second_instance().await;
    away.state().db.close().await;
    let both = async |op: &TestProvider, status: u16| {
        let apps = ask(op, "/oauth/token", SPA, status).await;
        assert_eq!(apps, (Some(SPA.to_owned()), false), "{status}");
        let pages = ask(op, "/auth/refresh", PAGES, status).await;
        assert_eq!(pages, (Some(PAGES.to_owned()), true), "{status}");
        for (path, origin) in [("/oauth/token", PAGES), ("/oauth/token", "https://evil.test")] {
            assert_eq!(
                ask(op, path, origin, status).await.0,
                None,
                "{path} from {origin}"
            );
        }
    };
    both(&away, 503).await;
    sqlx::raw_sql(
        "ALTER TABLE oauth_clients RENAME TO elsewhere; ALTER TABLE session_tokens RENAME TO nowhere",
    )
    .execute(op.db())
    .await
    .unwrap();
    both(&op, 500).await;
}
