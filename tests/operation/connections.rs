//! Slow and silent clients, met with little patience so that the tests need little.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use riley_auth::metrics::{Asked, Metrics};
use riley_auth::server::accept::{self, Options, Share};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::common::{Directory, TestProvider};

/// The time for a head here; in production it is longer.
const HEAD_TIMEOUT: Duration = Duration::from_millis(300);
/// Between two requests.
const IDLE_TIMEOUT: Duration = Duration::from_millis(1500);
/// It is over by then, on any machine.
const LIMIT: Duration = Duration::from_secs(10);

fn options() -> Options {
    Options {
        head_timeout: HEAD_TIMEOUT,
        idle_timeout: IDLE_TIMEOUT,
        exchange_timeout: IDLE_TIMEOUT,
        share: None,
        ..Options::new(false, Metrics::default())
    }
}

/// The accept loop of production, with two routes behind it.
async fn listen(options: Options) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new()
        .route("/", get(|| async { "answered" }))
        .route("/large", get(|| async { vec![b'a'; 64 * 1024 * 1024] }));
    let shutdown = CancellationToken::new();
    tokio::spawn(accept::serve(listener, router, shutdown, Duration::ZERO, options));
    address
}

async fn connect() -> TcpStream {
    TcpStream::connect(listen(options()).await).await.unwrap()
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

async fn ask(stream: &mut TcpStream) -> bool {
    let sent = stream.write_all(b"GET / HTTP/1.1\r\nHost: op.test\r\n\r\n").await;
    let mut buffer = [0; 1024];
    let size = stream.read(&mut buffer).await.unwrap_or(0);
    sent.is_ok() && String::from_utf8_lossy(&buffer[..size]).ends_with("answered")
}

/// Between two requests a connection may wait for longer than a head may take, and not for ever.
#[tokio::test]
async fn heads_in_time_are_answered_and_an_idle_connection_is_closed_later() {
    let mut stream = connect().await;
    assert!(ask(&mut stream).await);
    tokio::time::sleep(HEAD_TIMEOUT * 2).await;
    assert!(ask(&mut stream).await);
    let (_, after) = read_to_end(&mut stream).await;
    assert!((IDLE_TIMEOUT * 9 / 10..LIMIT).contains(&after), "{after:?}");
}

/// A head that begins on an idle connection has the time of a head, not what is left of the idle one.
#[tokio::test]
async fn a_second_head_that_never_ends_is_cut_as_the_first_is() {
    let mut stream = connect().await;
    assert!(ask(&mut stream).await);
    stream.write_all(b"GET / HTTP/1.1\r\nX-Slow: ").await.unwrap();
    let (_, after) = read_to_end(&mut stream).await;
    assert!(after < IDLE_TIMEOUT * 9 / 10, "{after:?}");
}

/// Who asks and does not read holds no connection, either.
#[tokio::test]
async fn a_reader_that_does_not_read_is_cut() {
    let mut stream = connect().await;
    stream
        .write_all(b"GET /large HTTP/1.1\r\nHost: op.test\r\n\r\n")
        .await
        .unwrap();
    tokio::time::sleep(IDLE_TIMEOUT * 2).await;
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text).await;
    assert!(text.len() < 64 * 1024 * 1024, "{} bytes", text.len());
}

/// RS-1: a source has so many connections and no more, another one its own; what is closed makes room.
#[tokio::test]
async fn a_source_has_a_bounded_number_of_connections() {
    let metrics = Metrics::default();
    let address = listen(Options {
        metrics: metrics.clone(),
        share: Some(Share {
            of_prefix: 3,
            of_site: 3,
        }),
        head_timeout: LIMIT,
        idle_timeout: LIMIT,
        ..options()
    })
    .await;
    let from = async |source: &str| {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(source.parse().unwrap(), 0)).unwrap();
        socket.connect(address).await.unwrap()
    };
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stream = from("127.0.0.1").await;
        assert!(ask(&mut stream).await);
        held.push(stream);
    }
    let told = |line: &str| metrics.render(&Asked::default()).lines().any(|told| told == line);
    assert!(told("riley_auth_open_connections 3"));
    assert!(told("riley_auth_connections_refused_total{reason=\"prefix\"} 0"));
    assert!(!ask(&mut from("127.0.0.1").await).await);
    assert!(told("riley_auth_connections_refused_total{reason=\"prefix\"} 1"));
    assert!(ask(&mut from("127.0.0.2").await).await);
    for stream in &mut held {
        assert!(ask(stream).await);
    }
    held.pop();
    let deadline = Instant::now() + LIMIT;
    while !ask(&mut from("127.0.0.1").await).await {
        assert!(Instant::now() < deadline, "no room is made");
    }
    drop(held);
    while !told("riley_auth_open_connections 0") {
        assert!(Instant::now() < deadline, "what is closed is counted on");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// RS-1: beyond the bound on all, connections wait, and are served when others end.
#[tokio::test]
async fn connections_beyond_the_bound_wait_for_their_turn() {
    let address = listen(Options {
        max_connections: 2,
        ..options()
    })
    .await;
    let mut served = TcpStream::connect(address).await.unwrap();
    assert!(ask(&mut served).await);
    let silent = TcpStream::connect(address).await.unwrap();
    // The silent one is cut after a while, and the third gets its place.
    let mut third = TcpStream::connect(address).await.unwrap();
    assert!(ask(&mut third).await);
    drop((served, silent));
}

/// RS-1: the bound of production, reached by connections that say nothing; who is one too many waits and is not refused.
#[tokio::test]
async fn four_thousand_and_ninety_six_connections_are_held_and_one_more_waits() {
    let production = Options::new(true, Metrics::default());
    assert_eq!(production.max_connections, 4096);
    // Both ends of each are this process's.
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).unwrap();
    let address = listen(Options {
        head_timeout: Duration::from_mins(5),
        ..production
    })
    .await;
    let mut held = Vec::new();
    for _ in 0..4096 {
        held.push(TcpStream::connect(address).await.unwrap());
    }
    assert!(ask(&mut held[0]).await, "the first is served");
    assert!(ask(&mut held[4095]).await, "the last is served");
    let mut one_more = TcpStream::connect(address).await.unwrap();
    let too_early = tokio::time::timeout(Duration::from_millis(500), ask(&mut one_more)).await;
    assert!(too_early.is_err(), "one too many is served: {too_early:?}");
    held.pop();
    // What was asked is answered now.
    let mut answer = [0; 1024];
    let size = tokio::time::timeout(LIMIT, one_more.read(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert!(String::from_utf8_lossy(&answer[..size]).ends_with("answered"));
}

/// RS-1: when no descriptor is left nothing ends, one line says so, and connections are accepted again afterwards.
#[tokio::test]
async fn running_out_of_descriptors_is_survived_and_said_once() {
    let op = TestProvider::start().await;
    let directory = Directory::with_key(&op.configuration_text());
    let process = directory.serve().await;
    let served = op.served_at(process.address);
    served.get("/ready").await.is(200);
    process.limit_descriptors(40);
    let mut held = Vec::new();
    for _ in 0..60 {
        held.push(TcpStream::connect(process.address).await.unwrap());
    }
    process.logs("connections cannot be accepted").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(process.log().matches("connections cannot be accepted").count(), 1);
    drop(held);
    process.logs("connections are accepted again").await;
    served.get("/health").await.is(200);
}
