//! Rate limits are not there yet. What they will count by is: the client's address, which no header can forge unless a
//! proxy is configured.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderValue};
use common::TestProvider;
use riley_auth::http::client_ip::ClientIp;

const PEER: &str = "192.0.2.7";

fn address(lines: &[&str], behind_proxy: bool) -> Option<IpAddr> {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append("x-forwarded-for", HeaderValue::from_str(line).unwrap());
    }
    ClientIp::of(&headers, Some(PEER.parse().unwrap()), behind_proxy).0
}

/// A session says where it was opened from: the peer of the connection.
#[tokio::test]
async fn a_session_records_the_address_of_the_connection() {
    let op = TestProvider::start().await;
    op.signed_in("ada").await;
    let recorded: String = sqlx::query_scalar("SELECT ip_address FROM sessions")
        .fetch_one(op.db())
        .await
        .unwrap();
    assert_eq!(
        recorded.parse::<IpAddr>().unwrap(),
        "127.0.0.1".parse::<IpAddr>().unwrap()
    );
}

/// Without a proxy the header is anybody's to write.
#[test]
fn a_forwarded_address_is_ignored_without_a_proxy() {
    assert_eq!(address(&["203.0.113.9"], false), PEER.parse().ok());
}

/// A proxy appends, so the last entry of all lines is the one that it wrote.
#[test]
fn behind_a_proxy_the_rightmost_entry_counts() {
    assert_eq!(
        address(&["198.51.100.1, 203.0.113.9"], true),
        "203.0.113.9".parse().ok()
    );
    assert_eq!(
        address(&["198.51.100.1", "203.0.113.9"], true),
        "203.0.113.9".parse().ok()
    );
    assert_eq!(address(&["203.0.113.9, rubbish"], true), PEER.parse().ok());
}
