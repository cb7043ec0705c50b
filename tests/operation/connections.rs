//! Slow and silent clients, met with little patience so that the tests need little.

use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use riley_auth::server::accept;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// The time for a head here; in production it is longer.
const HEADER_TIMEOUT: Duration = Duration::from_millis(300);
/// It is over by then, on any machine.
const LIMIT: Duration = Duration::from_secs(10);

/// A connection to the accept loop of production, with one route behind it.
async fn connect() -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/", get(|| async { "answered" }));
    let shutdown = CancellationToken::new();
    tokio::spawn(accept::serve_patiently(
        listener,
        router,
        shutdown,
        Duration::ZERO,
        HEADER_TIMEOUT,
    ));
    TcpStream::connect(address).await.unwrap()
}

/// What comes until the server hangs up, and after how long it does.
async fn read_to_end(stream: &mut TcpStream) -> (String, Duration) {
    let (started, mut text) = (Instant::now(), String::new());
    // A reset is an end, too.
    let _ = stream.read_to_string(&mut text).await;
    (text, started.elapsed())
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_cut() {
    let mut stream = connect().await;
    let (text, after) = read_to_end(&mut stream).await;
    assert!(text.is_empty() && after < LIMIT, "{text:?} after {after:?}");
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut() {
    let mut stream = connect().await;
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: op.test\r\nX-Slow: ")
        .await
        .unwrap();
    let (text, after) = read_to_end(&mut stream).await;
    assert!(
        !text.contains("answered") && after < LIMIT,
        "{text:?} after {after:?}"
    );
}

/// A byte now and then does not help: the whole head has a limit, not the time between two bytes.
#[tokio::test]
async fn a_head_that_drips_is_cut() {
    let mut stream = connect().await;
    let started = Instant::now();
    stream.write_all(b"GET / HTTP/1.1\r\nX-Slow: ").await.unwrap();
    while stream.write_all(b"a").await.is_ok() {
        assert!(
            started.elapsed() < LIMIT,
            "it goes on for {:?}",
            started.elapsed()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The limit is the head's: whoever sends one in time is answered, a second time on the same connection as well.
#[tokio::test]
async fn heads_in_time_are_answered_and_an_idle_connection_is_closed() {
    let mut stream = connect().await;
    for _ in 0..2 {
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: op.test\r\n\r\n")
            .await
            .unwrap();
        let mut buffer = [0; 1024];
        let size = stream.read(&mut buffer).await.unwrap();
        assert!(String::from_utf8_lossy(&buffer[..size]).ends_with("answered"));
    }
    let (_, after) = read_to_end(&mut stream).await;
    assert!(after < LIMIT, "{after:?}");
}
