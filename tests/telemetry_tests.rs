//! Spans as a collector receives them: a real one's part is played by a server that takes OTLP over HTTP and reads the
//! protobuf with a decoder of its own.
//!
//! A target of its own, because it needs the feature `opentelemetry`:
//!
//!     cargo test --features opentelemetry --test telemetry_tests

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it like the test itself"
)]

mod common;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use common::process::PATIENCE;
use common::{Answer, Directory, Process, TestProvider};
use reqwest::Method;
use riley_auth::metrics::Metrics;
use riley_auth::server::accept;
use rustix::process::Signal;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Batches leave at once, so that nobody waits for them here.
const AT_ONCE: (&str, &str) = ("OTEL_BSP_SCHEDULE_DELAY", "20");
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
/// Of `Span.kind` (opentelemetry/proto/trace/v1/trace.proto).
const SERVER: u64 = 2;
/// Of `Status.code`.
const ERROR: u64 = 2;

/// What a field of a protobuf message holds.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a protobuf message, with their numbers.
fn fields(mut rest: &[u8]) -> Vec<(u64, Field<'_>)> {
    fn varint(rest: &mut &[u8]) -> u64 {
        let mut number = 0;
        for shift in (0..).step_by(7) {
            let (first, tail) = rest.split_first().unwrap();
            *rest = tail;
            number |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                break;
            }
        }
        number
    }
    fn take<'a>(rest: &mut &'a [u8], size: usize) -> &'a [u8] {
        let (first, tail) = rest.split_at(size);
        *rest = tail;
        first
    }
    let mut found = Vec::new();
    while !rest.is_empty() {
        let tag = varint(&mut rest);
        let field = match tag & 7 {
            0 => Field::Number(varint(&mut rest)),
            1 => Field::Number(u64::from_le_bytes(take(&mut rest, 8).try_into().unwrap())),
            2 => {
                let size = usize::try_from(varint(&mut rest)).unwrap();
                Field::Bytes(take(&mut rest, size))
            }
            5 => Field::Number(u32::from_le_bytes(take(&mut rest, 4).try_into().unwrap()).into()),
            other => panic!("wire type {other}"),
        };
        found.push((tag >> 3, field));
    }
    found
}

fn messages(message: &[u8], number: u64) -> Vec<&[u8]> {
    let wanted = fields(message).into_iter().filter(|(found, _)| *found == number);
    wanted
        .filter_map(|(_, field)| match field {
            Field::Bytes(bytes) => Some(bytes),
            Field::Number(_) => None,
        })
        .collect()
}

fn number(message: &[u8], number: u64) -> u64 {
    let mut numbers = fields(message).into_iter();
    let found = numbers.find_map(|(found, field)| match field {
        Field::Number(value) if found == number => Some(value),
        _ => None,
    });
    found.unwrap_or(0)
}

fn text(message: &[u8], number: u64) -> String {
    let bytes = messages(message, number).first().copied().unwrap_or_default();
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn hex(message: &[u8], number: u64) -> String {
    let bytes = messages(message, number).first().copied().unwrap_or_default();
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// `repeated KeyValue`, as text: strings and whole numbers are what occurs.
fn attributes(message: &[u8], field: u64) -> BTreeMap<String, String> {
    let pairs = messages(message, field).into_iter();
    pairs
        .map(|pair| {
            let value = messages(pair, 2)[0];
            let shown = match messages(value, 1).first() {
                Some(_) => text(value, 1),
                None => number(value, 3).to_string(),
            };
            (text(pair, 1), shown)
        })
        .collect()
}

#[derive(Clone, Debug)]
struct Span {
    name: String,
    kind: u64,
    trace_id: String,
    parent: String,
    status: u64,
    attributes: BTreeMap<String, String>,
    service: BTreeMap<String, String>,
    events: usize,
}

/// `ExportTraceServiceRequest`.
fn spans_of(batch: &[u8]) -> Vec<Span> {
    let mut spans = Vec::new();
    for of_resource in messages(batch, 1) {
        let service = attributes(messages(of_resource, 1)[0], 1);
        for of_scope in messages(of_resource, 2) {
            spans.extend(messages(of_scope, 2).into_iter().map(|span| Span {
                name: text(span, 5),
                kind: number(span, 6),
                trace_id: hex(span, 1),
                parent: hex(span, 4),
                status: messages(span, 15).first().map_or(0, |status| number(status, 3)),
                attributes: attributes(span, 9),
                service: service.clone(),
                events: messages(span, 11).len(),
            }));
        }
    }
    spans
}

/// What came to the collector.
#[derive(Clone, Default)]
struct Collector {
    batches: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
    /// What it answers; 0: nothing, ever.
    status: Arc<Mutex<u16>>,
}

impl Collector {
    async fn start(status: u16) -> (Self, SocketAddr) {
        let collector = Self::default();
        *collector.status.lock().unwrap() = status;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .route("/v1/traces", post(Self::receive))
            .with_state(collector.clone());
        let options = accept::Options::new(true, Metrics::default());
        let never = CancellationToken::new();
        tokio::spawn(accept::serve(listener, router, never, Duration::ZERO, options));
        (collector, address)
    }

    async fn receive(State(collector): State<Self>, headers: HeaderMap, body: Bytes) -> StatusCode {
        collector.batches.lock().unwrap().push((headers, body));
        let status = *collector.status.lock().unwrap();
        if status == 0 {
            std::future::pending::<()>().await;
        }
        StatusCode::from_u16(status).unwrap()
    }

    fn batches(&self) -> Vec<(HeaderMap, Bytes)> {
        self.batches.lock().unwrap().clone()
    }

    fn spans(&self) -> Vec<Span> {
        let batches = self.batches();
        batches.iter().flat_map(|(_, body)| spans_of(body)).collect()
    }

    /// The span of the request with this id.
    async fn span_of(&self, request_id: &str) -> Span {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self
                .spans()
                .into_iter()
                .find(|span| span.attributes["request.id"] == request_id);
            if let Some(span) = found {
                return span;
            }
            assert!(
                Instant::now() < deadline,
                "no span of {request_id}: {:#?}",
                self.spans()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// A `serve` that sends its spans there.
struct Running {
    op: TestProvider,
    process: Process,
    _directory: Directory,
}

impl Running {
    /// `server`, `telemetry`: lines of these sections.
    async fn start(
        collector: SocketAddr,
        server: &str,
        telemetry: &str,
        environment: &[(&str, &str)],
    ) -> Self {
        let home = TestProvider::start().await;
        let own = home.configuration_text();
        let configuration = own.replacen("[server]", &format!("[server]\n{server}"), 1);
        let configuration =
            format!("{configuration}\n[telemetry]\nendpoint = \"http://{collector}\"\n{telemetry}\n");
        let directory = Directory::with_key(&configuration);
        let process = directory.serve_with(environment).await;
        Self {
            op: home.served_at(process.address),
            process,
            _directory: directory,
        }
    }

    async fn ask(&self, path: &str, request_id: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = self
            .op
            .request(Method::GET, path)
            .header("x-request-id", request_id);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Answer::of(request).await
    }

    async fn ends(&mut self) -> Duration {
        let started = Instant::now();
        self.process.signal(Signal::TERM);
        assert_eq!(
            self.process.ended().await.code(),
            Some(0),
            "{}",
            self.process.log()
        );
        started.elapsed()
    }
}

/// The name and the attributes of OpenTelemetry's conventions for HTTP servers, and nothing else: no path, no query, no
/// header, no log line.
#[tokio::test]
async fn a_request_is_a_span_of_its_route() {
    let (collector, address) = Collector::start(200).await;
    let headers =
        "headers = \"authorization=Bearer of-the-collector, x-tenant=7\"\nservice_name = \"sign-in\"";
    let running = Running::start(address, "", headers, &[AT_ONCE]).await;
    let secrets = [
        ("cookie", "__Host-auth_refresh=a-cookie-of-mine"),
        ("user-agent", "ada@engine.example"),
    ];
    running
        .ask("/.well-known/jwks.json?token=a-token-of-mine", "good.1", &secrets)
        .await
        .is(200);
    let basic = common::app::basic("a-client-of-mine", "a-secret-of-mine");
    let refused = running
        .op
        .request(Method::POST, "/oauth/token")
        .header("x-request-id", "bad.2");
    let form = [("grant_type", "authorization_code"), ("code", "a-code-of-mine")];
    Answer::of(refused.header("authorization", basic).form(&form))
        .await
        .is(401);
    running
        .ask("/ada@engine.example", "nowhere.3", &secrets)
        .await
        .is(404);
    // Its discovery cannot be had.
    running
        .ask("/auth/simulated?state=of-mine", "ours.4", &[])
        .await
        .is(503);

    for (request_id, name, route, status, kind_of_status) in [
        (
            "good.1",
            "GET /.well-known/jwks.json",
            "/.well-known/jwks.json",
            "200",
            0,
        ),
        ("bad.2", "POST /oauth/token", "/oauth/token", "401", 0),
        ("nowhere.3", "GET unmatched", "unmatched", "404", 0),
        ("ours.4", "GET /auth/{provider}", "/auth/{provider}", "503", ERROR),
    ] {
        let span = collector.span_of(request_id).await;
        assert_eq!(
            (span.name.as_str(), span.kind, span.status),
            (name, SERVER, kind_of_status)
        );
        let method = name.split(' ').next().unwrap();
        let mut expected = BTreeMap::from([
            ("http.request.method", method),
            ("http.route", route),
            ("http.response.status_code", status),
            ("request.id", request_id),
            ("trace_id", &span.trace_id),
        ]);
        if kind_of_status == ERROR {
            expected.insert("error.type", status);
        }
        let found = span
            .attributes
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        assert_eq!(found.collect::<BTreeMap<_, _>>(), expected);
        assert_eq!(span.parent, "", "it begins here");
        assert_eq!(span.events, 0, "log lines stay here");
        assert_eq!(span.service["service.name"], "sign-in");
        assert_eq!(span.service["service.version"], env!("CARGO_PKG_VERSION"));
        // The log leads to the trace.
        let log = running.process.log();
        let mut lines = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let line = lines.rfind(|line| line["request.id"] == request_id).unwrap();
        assert_eq!(line["trace_id"], span.trace_id, "{line}");
    }
    for (headers, body) in collector.batches() {
        assert_eq!(headers["authorization"], "Bearer of-the-collector");
        assert_eq!(headers["x-tenant"], "7");
        assert_eq!(headers["content-type"], "application/x-protobuf");
        let sent = String::from_utf8_lossy(&body).into_owned();
        for kept_in in ["of-mine", "ada", "engine", "token=", "auth_refresh"] {
            assert!(!sent.contains(kept_in), "{kept_in} was sent");
        }
    }
}

/// W3C Trace Context: a trace of the proxy's goes on here, its decision not to record one counts, and nobody else's does.
#[tokio::test]
async fn a_traceparent_is_believed_from_a_trusted_proxy_alone() {
    let recorded = format!("00-{TRACE}-{PARENT}-01");
    let passed_over = format!("00-{TRACE}-{PARENT}-00");
    let (collector, address) = Collector::start(200).await;
    let trusted = "behind_proxy = true\ntrusted_proxies = [\"127.0.0.1\"]";
    let believing = "believe_traceparent = true";
    let running = Running::start(address, trusted, believing, &[AT_ONCE]).await;
    running
        .ask("/health", "passed-over.1", &[("traceparent", &passed_over)])
        .await
        .is(200);
    running
        .ask(
            "/health",
            "recorded.2",
            &[("traceparent", &recorded), ("tracestate", "a=of-mine")],
        )
        .await
        .is(200);
    running
        .ask("/health", "garbage.3", &[("traceparent", "00-zz-yy-01")])
        .await
        .is(200);
    let span = collector.span_of("recorded.2").await;
    assert_eq!((span.trace_id.as_str(), span.parent.as_str()), (TRACE, PARENT));
    let span = collector.span_of("garbage.3").await;
    assert_eq!(span.parent, "");
    let passed_over_came = collector
        .spans()
        .iter()
        .any(|span| span.attributes["request.id"] == "passed-over.1");
    assert!(!passed_over_came, "the proxy did not want it");

    for (_, body) in collector.batches() {
        assert!(
            !String::from_utf8_lossy(&body).contains("of-mine"),
            "free text of a header was sent"
        );
    }

    let another = "behind_proxy = true\ntrusted_proxies = [\"192.0.2.1\"]";
    // Nobody asked for it; a stranger; a stranger beside another proxy.
    for (server, telemetry) in [(trusted, ""), ("", believing), (another, believing)] {
        let (collector, address) = Collector::start(200).await;
        let running = Running::start(address, server, telemetry, &[AT_ONCE]).await;
        for flags in [&recorded, &passed_over] {
            running
                .ask("/health", "stranger.1", &[("traceparent", flags)])
                .await
                .is(200);
        }
        let span = collector.span_of("stranger.1").await;
        assert_ne!(span.trace_id, TRACE, "{server}");
        assert_eq!(span.parent, "", "{server}");
    }
}

/// The standard variables win over the file; what is left is sent when the server stops, although its batch is not due.
#[tokio::test]
async fn the_last_spans_are_sent_at_the_end_and_the_standard_variables_win() {
    let (collector, address) = Collector::start(200).await;
    let (unused, other) = Collector::start(200).await;
    let endpoint = format!("http://{address}");
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_SERVICE_NAME", "by-variable"),
        ("OTEL_BSP_SCHEDULE_DELAY", "600000"),
    ];
    let mut running = Running::start(other, "", "", &environment).await;
    running.ask("/health", "last.1", &[]).await.is(200);
    assert!(collector.spans().is_empty(), "the batch is not due");
    running.ends().await;
    assert_eq!(
        collector.span_of("last.1").await.service["service.name"],
        "by-variable"
    );
    assert!(unused.batches().is_empty());
}

/// A collector that is not there, refuses or never answers costs no request anything, is said once, and the end is in time.
#[tokio::test]
async fn a_collector_that_fails_harms_no_request() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = gone.local_addr().unwrap();
    drop(gone);
    let (refusing, refuses) = Collector::start(403).await;
    let (silent, hangs) = Collector::start(0).await;
    for (address, says_so) in [(nobody, true), (refuses, true), (hangs, false)] {
        let mut running = Running::start(address, "", "", &[AT_ONCE]).await;
        for index in 0..50 {
            let started = Instant::now();
            running
                .ask("/health", &format!("request.{index}"), &[])
                .await
                .is(200);
            assert!(
                started.elapsed() < Duration::from_secs(2),
                "{:?}",
                started.elapsed()
            );
        }
        if says_so {
            running.process.logs("the collector does not take spans").await;
        }
        let took = running.ends().await;
        assert!(
            took < Duration::from_secs(6),
            "{took:?}: {}",
            running.process.log()
        );
        let said = running
            .process
            .log()
            .matches("the collector does not take spans")
            .count();
        assert!(said <= 1, "{}", running.process.log());
        assert!(
            !running.process.log().contains(&address.to_string()),
            "the log names no address"
        );
    }
    assert!(!refusing.batches().is_empty() && !silent.batches().is_empty());
}

/// What the file may say is checked by `validate`, which names the key.
#[tokio::test]
async fn a_collector_that_cannot_be_one_is_named() {
    let home = TestProvider::start().await;
    let own = home.configuration_text();
    for (line, key) in [
        ("endpoint = \"grpc://127.0.0.1:4317\"", "telemetry.endpoint"),
        ("headers = \"authorization\"", "telemetry.headers"),
        ("sample_percent = 101", "telemetry.sample_percent"),
        ("service_name = \" \"", "telemetry.service_name"),
    ] {
        let directory = Directory::with_key(&own);
        directory.write(&format!("{}\n[telemetry]\n{line}\n", directory.configuration()));
        let output = directory.run(&["validate", "--offline", "--json"]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let found = report["findings"].as_array().unwrap().iter();
        assert!(
            found.clone().any(|finding| finding["key"] == key),
            "{line}: {report}"
        );
    }
}
