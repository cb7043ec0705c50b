//! `serve` as a process: how it begins, drains and ends.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use secrecy::ExposeSecret as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::common::process::PATIENCE;
use crate::common::silencer::Silencer;
use crate::common::{Directory, TestProvider};

/// A directory whose grace period is longer than any test.
fn directory(op: &TestProvider) -> Directory {
    let directory = Directory::with_key(&op.configuration_text());
    directory.edit("shutdown_grace_secs = 1", "shutdown_grace_secs = 60");
    directory
}

/// A request whose body is still to come.
async fn half_a_request(address: std::net::SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = "POST /oauth/token HTTP/1.1\r\nHost: op.test\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\
                Content-Type: application/x-www-form-urlencoded\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    // The server asks for the body: the request is in flight.
    let mut buffer = [0; 64];
    let size = stream.read(&mut buffer).await.unwrap();
    assert!(
        buffer[..size].starts_with(b"HTTP/1.1 100"),
        "{:?}",
        String::from_utf8_lossy(&buffer[..size])
    );
    stream
}

#[tokio::test]
async fn sigterm_lets_a_slow_request_finish_and_ends_with_0() {
    let op = TestProvider::start().await;
    let mut process = directory(&op).serve().await;
    let mut slow = half_a_request(process.address).await;
    let mut idle = TcpStream::connect(process.address).await.unwrap();
    process.signal(Signal::TERM);
    process.logs("stopping").await;
    // Nobody new is let in, and whoever asks for nothing is shown out.
    assert_eq!(idle.read(&mut [0; 1]).await.unwrap_or(0), 0);
    while TcpStream::connect(process.address).await.is_ok() {
        tokio::task::yield_now().await;
    }

    slow.write_all(b"grant_type").await.unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    assert_eq!(process.ended().await.code(), Some(0));
    assert!(process.log().contains("stopped"));
}

/// RS-7: the grace period ends what does not finish, requests and a database that has fallen silent alike; that is an orderly end
/// all the same, and the process is gone when the period is over.
#[tokio::test]
async fn a_request_that_hangs_is_cut_off_within_the_grace_period() {
    let op = TestProvider::start().await;
    let silencer = Silencer::before(op.state().config.database.url.expose_secret());
    let own = op.configuration_text();
    let directory =
        Directory::with_key(&own.replace(op.state().config.database.url.expose_secret(), &silencer.url));
    directory.edit("shutdown_grace_secs = 1", "shutdown_grace_secs = 4");
    let mut process = directory.serve().await;
    op.served_at(process.address).get("/ready").await.is(200);
    let _slow = half_a_request(process.address).await;
    silencer.fall_silent();
    let started = Instant::now();
    process.signal(Signal::TERM);
    assert_eq!(process.ended().await.code(), Some(0));
    let took = started.elapsed();
    assert!(
        (Duration::from_secs(3)..Duration::from_millis(4500)).contains(&took),
        "{took:?}"
    );
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let op = TestProvider::start().await;
    let mut process = directory(&op).serve().await;
    let _slow = half_a_request(process.address).await;
    process.signal(Signal::TERM);
    process.logs("stopping").await;
    process.signal(Signal::INT);
    assert_eq!(process.ended().await.code(), Some(1));
}

/// What one run gave is good in the next: nothing lives in memory only.
#[tokio::test]
async fn a_restart_logs_nobody_out() {
    let op = TestProvider::start().await;
    let directory = directory(&op);
    let app = op.client().await;
    let browser = op.signed_in("alice").await;
    let mut first = directory.serve().await;
    let at_first = op.served_at(first.address);
    let app = app.at(&at_first);
    let granted = browser
        .at(&at_first)
        .authorize(&app)
        .scope("openid offline_access")
        .code()
        .await;
    let tokens = app.redeem(&granted).await.tokens();
    first.signal(Signal::TERM);
    assert!(first.ended().await.success());

    let second = directory.serve().await;
    let at_second = op.served_at(second.address);
    let app = app.at(&at_second);
    app.userinfo(&tokens.access_token).await.is(200);
    app.refresh(tokens.refresh()).await.tokens();
    browser.at(&at_second).authorize(&app).prompt("none").code().await;
}

#[tokio::test]
async fn a_port_in_use_is_told_in_one_sentence() {
    let op = TestProvider::start().await;
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let directory = directory(&op);
    directory.edit("port = 0", &format!("port = {port}"));
    let output = tokio::task::spawn_blocking(move || directory.run(&["serve"]))
        .await
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        told.contains(&format!(
            "error: cannot listen on 127.0.0.1:{port}: is another program using the port?"
        )),
        "{told}"
    );
    assert!(
        !told.contains("panicked") && !told.contains("RUST_BACKTRACE"),
        "{told}"
    );
}

/// What is logged while a request is worked on names it, so that an answer's id finds all of it.
#[tokio::test]
async fn lines_within_a_request_bear_its_id() {
    let op = TestProvider::start().await;
    let process = directory(&op).serve().await;
    let served = op.served_at(process.address);
    let request = served.request(reqwest::Method::GET, "/auth/simulated");
    let answer = crate::common::Answer::of(request.header("x-request-id", "find-me.7")).await;
    // The upstream of this process is out of reach.
    assert_eq!(answer.status, 503);
    process.logs("a flow could not be started at an upstream").await;
    let log = process.log();
    let line = log
        .lines()
        .find(|line| line.contains("a flow could not be started"))
        .unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["span"]["request.id"], "find-me.7", "{line}");
    assert_eq!(line["span"]["http.route"], "/auth/{provider}", "{line}");
}

/// Nothing of what a request carries stands in the log, at any place.
#[tokio::test]
async fn the_log_holds_no_credential_and_no_address() {
    let op = TestProvider::start().await;
    let directory = directory(&op);
    directory.write(&format!(
        "{}\n[log]\nlevel = \"trace\"\n",
        directory.configuration()
    ));
    let process = directory.serve().await;
    let served = op.served_at(process.address);
    let app = op.client().await.at(&served);
    let browser = op.signed_in("alice").await.at(&served);
    let verifier = crate::common::random_text(50);
    let request = browser
        .authorize(&app)
        .scope("openid email offline_access")
        .pkce(&verifier);
    let granted = request.code().await;
    let tokens = app.redeem(&granted).await.tokens();
    app.refresh(tokens.refresh()).await.tokens();
    app.userinfo(&tokens.access_token).await.is(200);
    process.logs_times("\"request\"", 4).await;
    let log = process.log();
    assert!(log.contains("\"TRACE\""), "everything is logged that can be");
    let cookies = browser.jar();
    let cookies = cookies.live(op.clock().now()).map(|cookie| cookie.value.as_str());
    let state = request.param("state").unwrap();
    for secret in [
        &granted.code,
        &tokens.access_token,
        tokens.refresh(),
        tokens.id(),
        app.secret(),
        &verifier,
        &state,
    ] {
        assert!(!log.contains(secret), "{secret} is logged");
    }
    cookies.for_each(|cookie| assert!(!log.contains(cookie), "a cookie is logged"));
    assert!(!log.contains("alice@"), "an address is logged");
}

/// UP-12: what the environment says of proxies concerns this program's own requests to nobody: a variable that somebody left
/// there must not send client secrets and codes by way of it.
#[tokio::test]
async fn no_proxy_of_the_environment_is_used() {
    let op = TestProvider::start().await;
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", proxy.local_addr().unwrap());
    let names = [
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
    ];
    let environment = names.map(|name| (name, url.as_str()));
    let process = directory(&op).serve_with(&environment).await;
    // Discovery of the upstream, which a proxy would be asked to reach.
    op.served_at(process.address).get("/auth/simulated").await.is(503);
    process.logs("a flow could not be started at an upstream").await;
    let came = tokio::time::timeout(std::time::Duration::from_millis(200), proxy.accept()).await;
    assert!(came.is_err(), "the proxy was asked");
}

/// Whose identities are those of a tenant that is named by a domain, only its document tells: it is asked for before anybody is
/// answered, and again if there is no answer, which no start waits long for.
#[tokio::test]
async fn a_tenant_named_by_a_domain_is_asked_for_before_anybody_is_answered() {
    let op = TestProvider::start().await;
    // It takes connections and says nothing.
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tenant = format!(
        "[oauth.providers.tenant]
        preset = \"microsoft\"
        tenant = \"engine.example\"
        issuer = \"https://{}/engine.example/v2.0\"
        client_id = \"client\"
        client_secret = \"secret\"

        [claims]",
        upstream.local_addr().unwrap()
    );
    let directory = directory(&op);
    directory.edit("[claims]", &tenant);
    let process = directory.serve().await;
    op.served_at(process.address).get("/health").await.is(200);
    let asked = tokio::time::timeout(Duration::from_millis(500), upstream.accept()).await;
    let first = asked.expect("nobody asked before serving").unwrap();
    let again = tokio::time::timeout(PATIENCE, upstream.accept()).await;
    again.expect("nobody asked again").unwrap();
    drop(first);
}

/// OB-3: what a stranger writes into a head is read back from the log as one line of JSON at most, with everything escaped
/// that could begin another line or command a terminal.
#[tokio::test]
async fn hostile_values_cannot_start_a_log_line() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let op = TestProvider::start().await;
    let directory = directory(&op);
    directory.write(&format!(
        "{}\n[log]\nlevel = \"trace\"\n",
        directory.configuration()
    ));
    let process = directory.serve().await;
    let forged = "{\"level\":\"ERROR\",\"message\":\"forged\"}";
    for head in [
        // Percent-encoded in the path, as bytes in headers, and as a method nobody knows.
        "GET /auth/a%0d%0a%7B%22message%22:%22forged%22%7D%1b%5b2J?state=%0aforged HTTP/1.1\r\n".to_owned(),
        "GET /health HTTP/1.1\r\nX-Request-Id: a\u{1b}[31mforged\r\n".to_owned(),
        format!("GET /health HTTP/1.1\r\nX-Request-Id: {forged}\r\nUser-Agent: \u{9b}31m{forged}\r\n"),
        format!("{} /health HTTP/1.1\r\n", "FORGED".repeat(2000)),
        format!("POST /oauth/token HTTP/1.1\r\nAuthorization: Basic {forged}\r\nContent-Length: 0\r\n"),
        "GET /oauth/authorize?client_id=%1b%5b2J%0aforged&redirect_uri=%0d%0aforged HTTP/1.1\r\n".to_owned(),
    ] {
        let mut stream = tokio::net::TcpStream::connect(process.address).await.unwrap();
        let request = format!("{head}Host: op.test\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(!answer.is_empty(), "{head:?} is answered");
    }
    op.served_at(process.address)
        .request(reqwest::Method::GET, "/health")
        .header("x-request-id", "the-last.1")
        .send()
        .await
        .unwrap();
    process.logs("the-last.1").await;
    for line in process.log().lines() {
        let read: serde_json::Value = serde_json::from_str(line).expect(line);
        assert_ne!(read["message"], "forged", "{line}");
        assert!(!line.chars().any(char::is_control), "{line:?}");
        assert!(line.len() < 4096, "{line}");
    }
}
