//! What is counted: every metric's name, unit and labels, and nowhere else.
//!
//! Each server has a recorder of its own, in its state, instead of the one that the `metrics` facade installs for a process:
//! several providers in one process (as in the tests) would otherwise count into each other's figures, and whoever came
//! first would win. The facade's handles and its text format are used all the same.
//!
//! Gauges are read when somebody asks, from what they speak of (the database, the keys, the process), into a recorder that
//! lives for that answer. So they are true after a restart and on every instance, and a key that is gone is gone here, too.
//!
//! Labels have few values: route templates, known methods, fixed words. Never a path, a person, a client or an address.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::{Method, StatusCode};
use metrics::{Counter, Gauge, Key, Label, Level, Metadata, Recorder as _, Unit};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use time::OffsetDateTime;

use crate::jwt::VerifyError;

pub mod key_age;

const HTTP_REQUESTS_TOTAL: &str = "riley_auth_http_requests_total";
const HTTP_REQUEST_DURATION_SECONDS: &str = "riley_auth_http_request_duration_seconds";
const TOKENS_ISSUED_TOTAL: &str = "riley_auth_tokens_issued_total";
const TOKEN_VERIFICATIONS_TOTAL: &str = "riley_auth_token_verifications_total";
const WEBHOOK_DELIVERIES_TOTAL: &str = "riley_auth_webhook_deliveries_total";
const RATE_LIMIT_HITS_TOTAL: &str = "riley_auth_rate_limit_hits_total";
const RATE_LIMIT_FALLBACKS_TOTAL: &str = "riley_auth_rate_limit_fallbacks_total";
const ACTIVE_SESSIONS: &str = "riley_auth_active_sessions";
const SIGNING_KEY_AGE_SECONDS: &str = "riley_auth_signing_key_age_seconds";
const PANICS_TOTAL: &str = "riley_auth_panics_total";
const REQUEST_TIMEOUTS_TOTAL: &str = "riley_auth_request_timeouts_total";
const REQUESTS_SHED_TOTAL: &str = "riley_auth_requests_shed_total";
const CONNECTIONS_REFUSED_TOTAL: &str = "riley_auth_connections_refused_total";
const OPEN_CONNECTIONS: &str = "riley_auth_open_connections";
const DATABASE_CONNECTIONS: &str = "riley_auth_database_connections";
const DATABASE_MAX_CONNECTIONS: &str = "riley_auth_database_max_connections";

/// What the unknown routes share, so that a scanner adds one series and not thousands.
pub const UNMATCHED: &str = "unmatched";

/// The upper bounds of the histogram's buckets, in seconds; the last is the time-out of a request.
const DURATION_BUCKETS_SECONDS: [f64; 14] = [
    0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// For how long a count of the database is repeated: a flood of scrapes costs one count in this time.
const COUNT_LIFETIME: time::Duration = time::Duration::seconds(5);

/// The samples of the histogram are folded this often, whether somebody reads them or not.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

const METADATA: Metadata<'_> = Metadata::new("riley_auth", Level::INFO, Some("riley_auth"));

/// What is asked for at the moment of a scrape, because nothing along the way tells it.
#[derive(Debug, Default)]
pub struct Asked {
    /// `None` when the database does not say.
    pub active_sessions: Option<i64>,
    /// Of the keys that are published now.
    pub key_ages: Vec<KeyAge>,
    /// `None` where there is no pool.
    pub database: Option<DatabaseConnections>,
}

/// The pool that requests share.
#[derive(Debug)]
pub struct DatabaseConnections {
    /// Held by requests, on their way back into the pool, or being opened.
    pub in_use: u32,
    /// Open, and waiting for a request.
    pub idle: u32,
    /// `database.max_connections`.
    pub max: u32,
}

/// A kind of client token, as the label `type` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    Access,
    Refresh,
    Id,
}

/// What a token that somebody presented turned out to be, as the label `result` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verification {
    Ok,
    Expired,
    Invalid,
}

impl From<&VerifyError> for Verification {
    fn from(error: &VerifyError) -> Self {
        match error {
            VerifyError::Expired => Self::Expired,
            VerifyError::Invalid(_) => Self::Invalid,
        }
    }
}

/// Why a connection was turned away, as the label `reason` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionRefusal {
    /// Its address prefix has too many.
    Prefix,
    /// The server has no descriptors left, or `accept` failed otherwise.
    Accept,
}

/// The counters of one server. A clone is one more reference.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    tokens_issued: [Counter; 3],
    token_verifications: [Counter; 3],
    webhook_deliveries: [Counter; 2],
    rate_limit_fallbacks: Counter,
    panics: Counter,
    request_timeouts: Counter,
    requests_shed: Counter,
    connections_refused: [Counter; 2],
    open_connections: Gauge,
    /// What the database said last, and when.
    counted: Arc<tokio::sync::Mutex<Option<(OffsetDateTime, Counted)>>>,
    process: Mutex<metrics_process::Collector>,
}

/// An open connection, which is counted while this lives.
pub struct OpenConnection(Metrics);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.0.open_connections.decrement(1.0);
    }
}

/// What only the database knows.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    /// Live sessions of live users.
    pub active_sessions: Option<i64>,
    /// When each key was first used, by `kid`.
    pub first_signed_at: Vec<(String, OffsetDateTime)>,
}

/// The age of a key that is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyAge {
    pub kid: String,
    /// Zero for a key that does not sign yet.
    pub age: time::Duration,
}

impl Default for Metrics {
    fn default() -> Self {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(
                Matcher::Full(HTTP_REQUEST_DURATION_SECONDS.to_owned()),
                &DURATION_BUCKETS_SECONDS,
            )
            .expect("there are buckets")
            .build_recorder();
        describe(&recorder);
        let counter = |name, label, value| labelled(&recorder, name, label, value);
        let plain = |name| recorder.register_counter(&Key::from_static_name(name), &METADATA);
        Self(Arc::new(Inner {
            tokens_issued: ["access", "refresh", "id"].map(|kind| counter(TOKENS_ISSUED_TOTAL, "type", kind)),
            token_verifications: ["ok", "expired", "invalid"]
                .map(|result| counter(TOKEN_VERIFICATIONS_TOTAL, "result", result)),
            webhook_deliveries: ["success", "failed"]
                .map(|status| counter(WEBHOOK_DELIVERIES_TOTAL, "status", status)),
            connections_refused: ["prefix", "accept"]
                .map(|reason| counter(CONNECTIONS_REFUSED_TOTAL, "reason", reason)),
            open_connections: recorder.register_gauge(&Key::from_static_name(OPEN_CONNECTIONS), &METADATA),
            rate_limit_fallbacks: plain(RATE_LIMIT_FALLBACKS_TOTAL),
            panics: plain(PANICS_TOTAL),
            request_timeouts: plain(REQUEST_TIMEOUTS_TOTAL),
            requests_shed: plain(REQUESTS_SHED_TOTAL),
            counted: Arc::default(),
            process: Mutex::new(metrics_process::Collector::default()),
            handle: recorder.handle(),
            recorder,
        }))
    }
}

impl Metrics {
    /// A request was answered. `route`: its template; `None` for an unknown one.
    pub fn http_request(&self, method: &Method, route: Option<&str>, status: StatusCode, took: Duration) {
        let method = Label::from_static_parts("method", method_label(method));
        let path = match route {
            Some(route) => Label::new("path", route.to_owned()),
            None => Label::from_static_parts("path", UNMATCHED),
        };
        let key = Key::from_parts(HTTP_REQUEST_DURATION_SECONDS, vec![method.clone(), path.clone()]);
        let recorder = &self.0.recorder;
        recorder
            .register_histogram(&key, &METADATA)
            .record(took.as_secs_f64());
        let status = Label::new("status", status.as_str().to_owned());
        let key = Key::from_parts(HTTP_REQUESTS_TOTAL, vec![method, path, status]);
        recorder.register_counter(&key, &METADATA).increment(1);
    }

    /// A token was made for a client.
    pub fn token_issued(&self, kind: TokenKind) {
        self.0.tokens_issued[kind as usize].increment(1);
    }

    /// A token that a client or a resource server presented was judged, its grant included.
    pub fn token_verified(&self, result: Verification) {
        self.0.token_verifications[result as usize].increment(1);
    }

    /// An attempt to deliver a webhook or a logout token came to its end.
    pub fn webhook_delivery(&self, success: bool) {
        self.0.webhook_deliveries[usize::from(!success)].increment(1);
    }

    /// There is a limit of this name: it is told from the start, since the first refusal would otherwise be no increase.
    pub fn rate_limit_exists(&self, tier: &'static str) {
        labelled(&self.0.recorder, RATE_LIMIT_HITS_TOTAL, "tier", tier).increment(0);
    }

    /// A request was refused by the limit of this name.
    pub fn rate_limit_hit(&self, tier: &'static str) {
        labelled(&self.0.recorder, RATE_LIMIT_HITS_TOTAL, "tier", tier).increment(1);
    }

    /// A limit was judged by this instance's memory, because the store that the instances share did not answer.
    pub fn rate_limit_fallback(&self) {
        self.0.rate_limit_fallbacks.increment(1);
    }

    /// A handler or a worker panicked.
    pub fn panicked(&self) {
        self.0.panics.increment(1);
    }

    /// A request took too long, the client's part or ours.
    pub fn request_timed_out(&self) {
        self.0.request_timeouts.increment(1);
    }

    /// A request was turned away because too many were in flight.
    pub fn request_shed(&self) {
        self.0.requests_shed.increment(1);
    }

    /// A connection was turned away.
    pub fn connection_refused(&self, reason: ConnectionRefusal) {
        self.0.connections_refused[reason as usize].increment(1);
    }

    /// A connection is open until the returned value is dropped.
    pub fn connection_opened(&self) -> OpenConnection {
        self.0.open_connections.increment(1.0);
        OpenConnection(self.clone())
    }

    /// What the database says, asked at most once in `COUNT_LIFETIME` and by one scrape at a time.
    pub async fn counted(
        &self,
        now: OffsetDateTime,
        count: impl Future<Output = Counted> + Send + 'static,
    ) -> Counted {
        let mut last = Arc::clone(&self.0.counted).lock_owned().await;
        if let Some((at, counted)) = &*last
            && now - *at < COUNT_LIFETIME
        {
            return counted.clone();
        }
        // In a task of its own: who hangs up must not take along what has been counted so far, and have the next one begin anew.
        let counting = tokio::spawn(async move {
            let counted = count.await;
            *last = Some((now, counted.clone()));
            counted
        });
        match counting.await {
            Ok(counted) => counted,
            Err(error) => {
                if error.is_panic() {
                    self.panicked();
                }
                Counted::default()
            }
        }
    }

    /// Everything in Prometheus' text format: what was counted along the way, and `asked`.
    pub fn render(&self, asked: &Asked) -> String {
        let gauges = PrometheusBuilder::new().build_recorder();
        describe_gauges(&gauges);
        if let Some(sessions) = asked.active_sessions {
            #[expect(clippy::cast_precision_loss, reason = "nobody has 2^53 sessions")]
            gauges
                .register_gauge(&Key::from_static_name(ACTIVE_SESSIONS), &METADATA)
                .set(sessions as f64);
        }
        for KeyAge { kid, age } in &asked.key_ages {
            let key = Key::from_parts(SIGNING_KEY_AGE_SECONDS, vec![Label::new("kid", kid.clone())]);
            gauges.register_gauge(&key, &METADATA).set(age.as_seconds_f64());
        }
        if let Some(connections) = &asked.database {
            for (state, count) in [("in_use", connections.in_use), ("idle", connections.idle)] {
                let key = Key::from_parts(DATABASE_CONNECTIONS, vec![Label::new("state", state)]);
                gauges.register_gauge(&key, &METADATA).set(count);
            }
            gauges
                .register_gauge(&Key::from_static_name(DATABASE_MAX_CONNECTIONS), &METADATA)
                .set(connections.max);
        }
        metrics::with_local_recorder(&gauges, || {
            let process = self.0.process.lock().unwrap_or_else(PoisonError::into_inner);
            process.describe();
            process.collect();
        });
        self.0.handle.render() + &gauges.handle().render()
    }

    /// Folds the samples of the histogram until dropped; without it they would pile up while nobody reads.
    pub async fn keep_up(&self) {
        let mut timer = tokio::time::interval(UPKEEP_INTERVAL);
        loop {
            timer.tick().await;
            self.0.handle.run_upkeep();
        }
    }
}

/// Methods that anybody knows by their name, all others by one: a method is any word that a client likes to send.
pub fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

fn labelled(
    recorder: &PrometheusRecorder,
    name: &'static str,
    label: &'static str,
    value: &'static str,
) -> Counter {
    let key = Key::from_parts(name, vec![Label::from_static_parts(label, value)]);
    recorder.register_counter(&key, &METADATA)
}

fn describe(recorder: &PrometheusRecorder) {
    let counters = [
        (
            HTTP_REQUESTS_TOTAL,
            "Requests answered, by method, route and status; 499: the client hung up first",
        ),
        (TOKENS_ISSUED_TOTAL, "Tokens made for clients"),
        (
            TOKEN_VERIFICATIONS_TOTAL,
            "Tokens judged at UserInfo and introspection",
        ),
        (
            WEBHOOK_DELIVERIES_TOTAL,
            "Attempts to deliver a webhook or a logout token",
        ),
        (RATE_LIMIT_HITS_TOTAL, "Requests refused by a rate limit"),
        (
            RATE_LIMIT_FALLBACKS_TOTAL,
            "Rate limits judged by this instance alone because the shared store did not answer",
        ),
        (
            PANICS_TOTAL,
            "Handlers and workers that panicked; each is a defect",
        ),
        (REQUEST_TIMEOUTS_TOTAL, "Requests that took too long"),
        (
            REQUESTS_SHED_TOTAL,
            "Requests turned away because too many were in flight",
        ),
        (CONNECTIONS_REFUSED_TOTAL, "Connections turned away"),
    ];
    for (name, description) in counters {
        recorder.describe_counter(name.into(), None, description.into());
    }
    recorder.describe_gauge(
        OPEN_CONNECTIONS.into(),
        None,
        "Connections that are open; beyond 4096 of a listener newcomers wait".into(),
    );
    recorder.describe_histogram(
        HTTP_REQUEST_DURATION_SECONDS.into(),
        Some(Unit::Seconds),
        "Time from the request's head to the answer's".into(),
    );
}

fn describe_gauges(recorder: &PrometheusRecorder) {
    recorder.describe_gauge(
        ACTIVE_SESSIONS.into(),
        None,
        "Browser sessions that are alive, in the database that all instances share".into(),
    );
    recorder.describe_gauge(
        SIGNING_KEY_AGE_SECONDS.into(),
        Some(Unit::Seconds),
        "Time since the key came into use".into(),
    );
    recorder.describe_gauge(
        DATABASE_CONNECTIONS.into(),
        None,
        "Connections to the database that requests of this instance have open".into(),
    );
    recorder.describe_gauge(
        DATABASE_MAX_CONNECTIONS.into(),
        None,
        "Connections that requests of this instance may have open".into(),
    );
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::Notify;

    use super::*;

    fn method(name: &str) -> Method {
        Method::from_bytes(name.as_bytes()).unwrap()
    }

    #[test]
    fn unknown_methods_and_routes_share_a_series() {
        let metrics = Metrics::default();
        for n in 0..1000 {
            let status = StatusCode::NOT_FOUND;
            metrics.http_request(&method(&format!("M{n}")), None, status, Duration::ZERO);
        }
        let text = metrics.render(&Asked::default());
        let series = text.lines().filter(|line| line.starts_with(HTTP_REQUESTS_TOTAL));
        let expected =
            format!("{HTTP_REQUESTS_TOTAL}{{method=\"other\",path=\"unmatched\",status=\"404\"}} 1000");
        assert_eq!(series.collect::<Vec<_>>(), [expected]);
    }

    #[test]
    fn a_gauge_that_nobody_knows_is_left_out_and_a_key_that_is_gone_is_gone() {
        let metrics = Metrics::default();
        let age = KeyAge {
            kid: "old".to_owned(),
            age: time::Duration::hours(1),
        };
        let text = metrics.render(&Asked {
            active_sessions: Some(7),
            key_ages: vec![age],
            database: None,
        });
        assert!(text.contains("\nriley_auth_active_sessions 7\n"), "{text}");
        assert!(
            text.contains("\nriley_auth_signing_key_age_seconds{kid=\"old\"} 3600\n"),
            "{text}"
        );
        let text = metrics.render(&Asked::default());
        assert!(
            !text.contains("\nriley_auth_active_sessions") && !text.contains("kid="),
            "{text}"
        );
    }

    /// A count that is noted, and waits for `gate`.
    fn counting(
        asked: &Arc<AtomicU32>,
        gate: &Arc<Notify>,
        active_sessions: i64,
    ) -> impl Future<Output = Counted> + use<> {
        let (asked, gate) = (Arc::clone(asked), Arc::clone(gate));
        async move {
            asked.fetch_add(1, Ordering::SeqCst);
            gate.notified().await;
            gate.notify_one();
            Counted {
                active_sessions: Some(active_sessions),
                ..Counted::default()
            }
        }
    }

    /// A scrape flood costs one count.
    #[tokio::test]
    async fn the_database_is_asked_once_in_a_while() {
        let metrics = Metrics::default();
        let start = OffsetDateTime::UNIX_EPOCH;
        let (asked, gate) = (Arc::default(), Arc::new(Notify::new()));
        gate.notify_one();
        for millis in 0..100 {
            let now = start + time::Duration::milliseconds(millis);
            metrics.counted(now, counting(&asked, &gate, 1)).await;
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        let later = metrics.counted(start + COUNT_LIFETIME, counting(&asked, &gate, 3));
        assert_eq!(later.await.active_sessions, Some(3));
    }

    /// In a task of its own, where no layer sees it.
    #[tokio::test]
    async fn a_count_that_panics_is_counted() {
        let metrics = Metrics::default();
        let now = OffsetDateTime::UNIX_EPOCH;
        let broken = async { panic!("as a defect does") };
        assert_eq!(metrics.counted(now, broken).await.active_sessions, None);
        let text = metrics.render(&Asked::default());
        assert!(text.contains("\nriley_auth_panics_total 1\n"), "{text}");
    }

    /// Whoever hangs up while the database counts leaves the count to those who come after.
    #[tokio::test]
    async fn a_scrape_that_is_given_up_wastes_no_count() {
        let metrics = Metrics::default();
        let now = OffsetDateTime::UNIX_EPOCH;
        let (asked, gate) = (Arc::<AtomicU32>::default(), Arc::new(Notify::new()));
        for _ in 0..3 {
            let hung_up = metrics.counted(now, counting(&asked, &gate, 7));
            let waited = tokio::time::timeout(Duration::from_millis(20), hung_up).await;
            assert!(waited.is_err());
        }
        gate.notify_one();
        let told = metrics.counted(now, counting(&asked, &gate, 8)).await;
        assert_eq!(told.active_sessions, Some(7));
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }
}
