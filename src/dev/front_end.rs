//! The pages that a deployer would write, as small as they can be: sign-in, onboarding, consent, account, errors.
//!
//! They stand on an origin of their own (one of `server.first_party_origins`) and use the public JSON API alone. This
//! module only hands out the files below `front_end/`; everything happens in `pages.js`, which is also the
//! documentation's example.
//!
//! | page | configured as | is handed |
//! | --- | --- | --- |
//! | `/login` | `oauth.login_url` | `request_id` |
//! | `/welcome` | `oauth.onboarding_url` | nothing: a cookie tells who it is |
//! | `/link` | `oauth.link_url` | nothing: the same cookie; `error` when a link came to nothing |
//! | `/consent` | `oauth.consent_url` | `consent_id` |
//! | `/account` | `oauth.default_return_to` | nothing |
//! | `/signed-out` | `oauth.signed_out_url` | nothing |
//! | `/error` | `oauth.error_url` | `error_id` |

use axum::Router;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tower_http::set_header::SetResponseHeaderLayer;

use super::STYLE;
use crate::http::page::escape;

const SCRIPT: &str = include_str!("front_end/pages.js");

/// Path, and what stands between `<main>` and `</main>`.
const PAGES: &[(&str, &str, &str)] = &[
    ("/login", "Sign in", include_str!("front_end/login.html")),
    ("/welcome", "Welcome", include_str!("front_end/welcome.html")),
    (
        "/link",
        "One account, several ways in",
        include_str!("front_end/link.html"),
    ),
    (
        "/consent",
        "Let an app in?",
        include_str!("front_end/consent.html"),
    ),
    ("/account", "Your account", include_str!("front_end/account.html")),
    (
        "/signed-out",
        "Signed out",
        include_str!("front_end/signed_out.html"),
    ),
    (
        "/error",
        "Something went wrong",
        include_str!("front_end/error.html"),
    ),
];

/// The routes of the front end of this issuer.
pub fn router(issuer: &str) -> Router {
    let mut router = Router::new()
        .route(
            "/style.css",
            get(async || typed("text/css; charset=utf-8", STYLE)),
        )
        .route(
            "/pages.js",
            get(async || typed("text/javascript; charset=utf-8", SCRIPT)),
        );
    for (path, title, main) in PAGES {
        let html = page(issuer, path, title, main);
        router = router.route(
            path,
            get(async move || typed("text/html; charset=utf-8", html.clone())),
        );
    }
    let always = |name: HeaderName, value: &str| {
        let value = HeaderValue::from_str(value).unwrap_or(HeaderValue::from_static("default-src 'none'"));
        SetResponseHeaderLayer::overriding(name, value)
    };
    router
        .layer(always(header::CONTENT_SECURITY_POLICY, &policy(issuer)))
        .layer(always(header::CACHE_CONTROL, "no-store"))
        .layer(always(header::REFERRER_POLICY, "no-referrer"))
        .layer(always(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
}

/// Our own script and style, and the API of the one issuer: nothing else loads, nobody frames these pages.
fn policy(issuer: &str) -> String {
    let api = url::Url::parse(issuer)
        .map_or_else(|_| "'none'".to_owned(), |url| url.origin().ascii_serialization());
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src {api}; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'"
    )
}

fn page(issuer: &str, path: &str, title: &str, main: &str) -> String {
    format!(
        r#"<!doctype html>
<html lang="en" data-issuer="{issuer}" data-page="{name}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<link rel="stylesheet" href="/style.css">
<script src="/pages.js" defer></script>
</head>
<body>
<main>
<h1>{title}</h1>
<p id="message" role="status"></p>
<noscript><p>These pages need JavaScript.</p></noscript>
{main}</main>
</body>
</html>
"#,
        issuer = escape(issuer),
        name = path.trim_start_matches('/'),
    )
}

fn typed(content_type: &'static str, body: impl IntoResponse) -> Response {
    let mut response = body.into_response();
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
