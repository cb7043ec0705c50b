//! The accept loop: hyper with deadlines, bounds on connections, and an end that drains.
//!
//! `axum::serve` installs no timer, so a client that never finishes its headers would hold its connection for ever. hyper's
//! own timer knows one time for a head and for an idle connection; here they differ, so `Watch` follows each connection:
//! it has to finish its first head, may be idle for longer between requests, and has to finish a head that it has begun.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::limits::rules::Prefix;
use crate::metrics::{ConnectionRefusal, Metrics};

const MAX_HEADERS: usize = 100;
/// The request head may take this much memory; hyper enforces it between this and twice this, and `target_limit` the limit of
/// the fields itself.
pub const MAX_HEAD_BYTES: usize = 32 * 1024;
/// After an error of `accept` (no file descriptors left, mostly) the loop waits this long.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// What a listener bears.
#[derive(Clone)]
pub struct Options {
    /// From the first byte of a head, and from the connection's beginning, to the head's end.
    pub head_timeout: Duration,
    /// Between two requests of one connection; at least as long as `head_timeout`.
    pub idle_timeout: Duration,
    /// For a request and its answer, the sending included: what a reader takes who does not read.
    pub exchange_timeout: Duration,
    /// Further connections wait to be accepted.
    pub max_connections: usize,
    /// Further ones of the same source are closed; `None` behind a proxy, which is the source of all.
    pub share: Option<Share>,
    pub metrics: Metrics,
}

impl Options {
    /// What production bears. `behind_proxy`: all connections come from few addresses.
    pub fn new(behind_proxy: bool, metrics: Metrics) -> Self {
        Self {
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_mins(1),
            exchange_timeout: Duration::from_mins(1),
            max_connections: 4096,
            share: (!behind_proxy).then_some(Share {
                of_prefix: 256,
                of_site: 1024,
            }),
            metrics,
        }
    }
}

/// How long after the shutdown connections are still accepted: who balances load by trying has had the time to notice, and
/// what the kernel has accepted already is answered instead of being reset.
const ACCEPT_LINGER: Duration = Duration::from_millis(250);
/// How long after the shutdown a connection without a request is waited for: a request may be on its way.
const REQUEST_LINGER: Duration = Duration::from_millis(500);

/// Serves `router` until `shutdown`; then stops accepting, lets requests in flight finish for `grace`, and returns.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: CancellationToken,
    grace: Duration,
    options: Options,
) {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // The next head may have been read together with the last request, where `Watch` does not see it begin.
        .header_read_timeout(options.idle_timeout)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD_BYTES);
    let connections = Connections {
        builder,
        router,
        places: Arc::new(Semaphore::new(options.max_connections)),
        sources: Sources::default(),
        tasks: TaskTracker::new(),
        shutdown,
        options,
    };
    let mut failing = false;
    let lingered = async {
        connections.shutdown.cancelled().await;
        tokio::time::sleep(ACCEPT_LINGER).await;
    };
    tokio::pin!(lingered);
    loop {
        let place = tokio::select! {
            place = Arc::clone(&connections.places).acquire_owned() => place.expect("the semaphore is never closed"),
            () = &mut lingered => break,
        };
        let (stream, peer) = tokio::select! {
            accepted = accept(&listener, &mut failing, &connections.options.metrics) => accepted,
            () = &mut lingered => break,
        };
        connections.serve(stream, peer, place);
    }
    for (stream, peer) in last_of(listener) {
        let Ok(place) = Arc::clone(&connections.places).try_acquire_owned() else {
            break;
        };
        connections.serve(stream, peer, place);
    }
    connections.tasks.close();
    if tokio::time::timeout(grace, connections.tasks.wait())
        .await
        .is_err()
    {
        tracing::warn!("some connections did not finish within the grace period");
    }
}

/// What the kernel has accepted by now, and closes the listener: whatever it accepts beyond that is reset. The kernel is asked
/// itself, and nothing is done in between: the runtime may not have heard yet of what came last.
fn last_of(listener: TcpListener) -> Vec<(TcpStream, SocketAddr)> {
    let Ok(listener) = listener.into_std() else {
        return Vec::new();
    };
    let mut accepted = Vec::new();
    while let Ok(connection) = listener.accept() {
        accepted.push(connection);
    }
    drop(listener);
    let served = |(stream, peer): (std::net::TcpStream, SocketAddr)| {
        stream.set_nonblocking(true).ok()?;
        Some((TcpStream::from_std(stream).ok()?, peer))
    };
    accepted.into_iter().filter_map(served).collect()
}

/// Every connection of a listener.
struct Connections {
    builder: http1::Builder,
    router: Router,
    places: Arc<Semaphore>,
    sources: Sources,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    options: Options,
}

impl Connections {
    /// Serves one in a task of its own, if its source has no more than its share.
    fn serve(&self, stream: TcpStream, peer: SocketAddr, place: OwnedSemaphorePermit) {
        let Some(source) = self.sources.admit(Some(peer.ip()), self.options.share) else {
            self.options.metrics.connection_refused(ConnectionRefusal::Prefix);
            return;
        };
        let open = self.options.metrics.connection_opened();
        // Small answers go out at once.
        let _ = stream.set_nodelay(true);
        let watch = Watch::new(&self.options);
        let exchange = watch.clone();
        let service =
            self.router
                .clone()
                .map_request(move |mut request: hyper::Request<hyper::body::Incoming>| {
                    request.extensions_mut().insert(ConnectInfo(peer));
                    request.map(axum::body::Body::new)
                });
        let service = tower::service_fn(move |request| {
            let (service, exchange) = (service.clone(), exchange.clone());
            async move {
                exchange.head_is_complete();
                let response = service.oneshot(request).await?;
                // Dropped when hyper has taken the last of the body.
                Ok::<_, std::convert::Infallible>(response.map(|inner| Answer {
                    inner,
                    _exchange: Exchange(exchange),
                }))
            }
        });
        let stream = Watched {
            stream,
            watch: watch.clone(),
        };
        let connection = self
            .builder
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        let shutdown = self.shutdown.clone();
        self.tasks.spawn(async move {
            let mut connection = pin!(connection);
            let to_its_end = async {
                tokio::select! {
                    ended = connection.as_mut() => return ended,
                    () = shutdown.cancelled() => {}
                }
                tokio::select! {
                    ended = connection.as_mut() => return ended,
                    () = watch.request_or(REQUEST_LINGER) => {}
                }
                // The answer that is under way, if one is, says that it is the last.
                connection.as_mut().graceful_shutdown();
                connection.await
            };
            tokio::select! {
                ended = to_its_end => {
                    if let Err(error) = ended {
                        tracing::debug!(error = %error, "a connection ended early");
                    }
                }
                () = watch.expired() => tracing::debug!("a connection that took too long was closed"),
            }
            drop((place, source, open));
        });
    }
}

/// The next connection. A failure is logged when it begins and when it is over, however often it is repeated.
async fn accept(listener: &TcpListener, failing: &mut bool, metrics: &Metrics) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => {
                if std::mem::take(failing) {
                    tracing::info!("connections are accepted again");
                }
                return accepted;
            }
            Err(error) => {
                metrics.connection_refused(ConnectionRefusal::Accept);
                if !std::mem::replace(failing, true) {
                    tracing::error!(
                        error = %error,
                        "connections cannot be accepted; if descriptors have run out, raise the limit on open files"
                    );
                }
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

/// How many connections, or requests, one source may have at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Of an IPv4 address, or an IPv6 /64.
    pub of_prefix: usize,
    /// Of an IPv6 /48: who was given one has 65 536 of the smaller ones.
    pub of_site: usize,
}

/// How many connections, or requests, each source has.
#[derive(Clone, Default)]
pub(super) struct Sources(Arc<Mutex<HashMap<Prefix, usize>>>);

/// The place of one among those of its source.
#[must_use]
pub(super) struct Source {
    sources: Sources,
    prefix: Prefix,
    site: Option<Prefix>,
}

impl Sources {
    /// `None`: the source has its share already, or the larger one around it has.
    pub(super) fn admit(&self, address: Option<IpAddr>, share: Option<Share>) -> Option<Source> {
        let (prefix, site) = Prefix::of(address);
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = |prefix: &Prefix| counts.get(prefix).copied().unwrap_or_default();
        if let Some(share) = share
            && (count(&prefix) >= share.of_prefix || site.is_some_and(|site| count(&site) >= share.of_site))
        {
            return None;
        }
        for prefix in std::iter::once(prefix).chain(site) {
            *counts.entry(prefix).or_default() += 1;
        }
        Some(Source {
            sources: self.clone(),
            prefix,
            site,
        })
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let mut counts = self.sources.0.lock().unwrap_or_else(PoisonError::into_inner);
        for prefix in std::iter::once(self.prefix).chain(self.site) {
            if let Some(count) = counts.get_mut(&prefix) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(&prefix);
                }
            }
        }
    }
}

/// Until when a connection has to come further, by what it is doing.
#[derive(Clone)]
struct Watch {
    phase: Arc<Mutex<Phase>>,
    /// A request has begun.
    begun: Arc<Notify>,
    head_timeout: Duration,
    idle_timeout: Duration,
    exchange_timeout: Duration,
}

#[derive(Clone, Copy)]
struct Phase {
    is_idle: bool,
    /// A request is being answered.
    is_busy: bool,
    deadline: Instant,
}

impl Watch {
    fn new(options: &Options) -> Self {
        let phase = Phase {
            is_idle: false,
            is_busy: false,
            deadline: Instant::now() + options.head_timeout,
        };
        Self {
            phase: Arc::new(Mutex::new(phase)),
            begun: Arc::default(),
            head_timeout: options.head_timeout,
            idle_timeout: options.idle_timeout,
            exchange_timeout: options.exchange_timeout,
        }
    }

    fn enter(&self, is_idle: bool, is_busy: bool, within: Duration) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = Phase {
            is_idle,
            is_busy,
            deadline: Instant::now() + within,
        };
    }

    /// Returns when a request is being answered, or after this time.
    async fn request_or(&self, patience: Duration) {
        let begins = async {
            while !self.phase().is_busy {
                self.begun.notified().await;
            }
        };
        let _ = tokio::time::timeout(patience, begins).await;
    }

    fn phase(&self) -> Phase {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something was read: of an idle connection that is the beginning of a head.
    fn has_read(&self) {
        if self.phase().is_idle {
            self.enter(false, false, self.head_timeout);
        }
    }

    fn head_is_complete(&self) {
        self.enter(false, true, self.exchange_timeout);
        self.begun.notify_one();
    }

    fn answer_is_sent(&self) {
        self.enter(true, false, self.idle_timeout);
    }

    /// Returns when a deadline has passed. No deadline is set that is nearer than the head's, so it is enough to look again
    /// after that time, and nobody has to be woken when one changes.
    async fn expired(&self) {
        loop {
            let (now, deadline) = (Instant::now(), self.phase().deadline);
            if deadline <= now {
                return;
            }
            tokio::time::sleep_until(deadline.min(now + self.head_timeout)).await;
        }
    }
}

/// The stream, which tells when something is read.
struct Watched {
    stream: TcpStream,
    watch: Watch,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.watch.has_read();
        }
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }
}

/// A request whose answer is not out yet.
struct Exchange(Watch);

impl Drop for Exchange {
    fn drop(&mut self) {
        self.0.answer_is_sent();
    }
}

/// An answer's body, which tells by its end that the connection is idle.
struct Answer {
    inner: axum::body::Body,
    _exchange: Exchange,
}

impl hyper::body::Body for Answer {
    type Data = axum::body::Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RS-1: the numbers of production.
    #[test]
    fn a_public_listener_bears_what_is_documented() {
        let options = Options::new(false, Metrics::default());
        let secs = [
            options.head_timeout,
            options.idle_timeout,
            options.exchange_timeout,
        ]
        .map(|time| time.as_secs());
        assert_eq!(secs, [10, 60, 60]);
        assert_eq!(options.max_connections, 4096);
        assert_eq!(
            options.share,
            Some(Share {
                of_prefix: 256,
                of_site: 1024
            })
        );
        assert_eq!(Options::new(true, Metrics::default()).share, None);
        assert_eq!((MAX_HEADERS, MAX_HEAD_BYTES), (100, 32 * 1024));
    }

    /// RS-1: two subnets of one customer are two sources, and together they have the customer's share and no more.
    #[test]
    fn a_delegated_prefix_has_a_bounded_number_of_connections() {
        let sources = Sources::default();
        let share = Some(Share {
            of_prefix: 2,
            of_site: 3,
        });
        let admit = |address: &str| sources.admit(address.parse().ok(), share);
        let held = [
            admit("2001:db8:1:1::1").unwrap(),
            admit("2001:db8:1:1::2").unwrap(),
            admit("2001:db8:1:2::1").unwrap(),
        ];
        assert!(admit("2001:db8:1:1::3").is_none(), "the /64 has its share");
        assert!(admit("2001:db8:1:3::1").is_none(), "the /48 has its share");
        assert!(admit("2001:db8:2:1::1").is_some(), "a neighbour has its own");
        drop(held);
        assert!(admit("2001:db8:1:3::1").is_some(), "what is closed makes room");
    }
}
