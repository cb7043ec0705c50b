//! Answers for loopback host names alone.
//!
//! The listeners are on loopback addresses already. But a web page may let its own name resolve to 127.0.0.1 (DNS
//! rebinding) and then read, as its own origin, whatever answers there. Such a request carries the page's name in `Host`.

use axum::Router;
use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};

/// The same routes, refused with 421 (RFC 9110 §15.5.20) under any name that is not this machine's own.
pub fn loopback_only(router: Router) -> Router {
    router.layer(middleware::from_fn(require_loopback_host))
}

async fn require_loopback_host(request: Request, next: Next) -> Response {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    // RFC 9112 §3.2: an absolute request target outranks `Host`; both have to be ours.
    let target_is_ours = request.uri().authority().is_none_or(is_loopback);
    let host_is_ours = match (hosts.next(), hosts.next()) {
        (Some(host), None) => {
            Authority::try_from(host.as_bytes()).is_ok_and(|authority| is_loopback(&authority))
        }
        _ => false,
    };
    if host_is_ours && target_is_ours {
        return next.run(request).await;
    }
    let text = "This server is for development and answers only under localhost or a loopback address.\n";
    (StatusCode::MISDIRECTED_REQUEST, text).into_response()
}

/// `localhost` and the names below it (RFC 6761 §6.3), 127.0.0.0/8, ::1.
fn is_loopback(authority: &Authority) -> bool {
    if authority.as_str().contains('@') {
        return false;
    }
    let host = authority.host();
    let name = host.to_ascii_lowercase();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    name == "localhost"
        || name.ends_with(".localhost")
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_this_machine_are_told_from_all_others() {
        let is_ours = |text: &str| is_loopback(&text.parse().unwrap());
        for ours in [
            "localhost",
            "localhost:8081",
            "LOCALHOST:1",
            "a.localhost:8082",
            "127.0.0.1",
            "127.8.9.1:80",
            "[::1]:8081",
        ] {
            assert!(is_ours(ours), "{ours}");
        }
        for foreign in [
            "evil.example",
            "localhost.evil.example",
            "evillocalhost",
            "127.0.0.1.evil.example:8081",
            "10.0.0.1",
            "0.0.0.0:8081",
            "[::]:8081",
            "localhost@evil.example",
        ] {
            assert!(!is_ours(foreign), "{foreign}");
        }
    }
}
