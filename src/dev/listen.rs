//! Loopback listeners, taken before anything is started, and plain serving on them.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use axum::Router;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::loopback_only::loopback_only;
use crate::metrics::Metrics;
use crate::server::accept;

/// How long requests in flight are waited for when everything stops.
const GRACE: Duration = Duration::from_secs(3);

/// Listens on `port` at 127.0.0.1 and, where the machine has it, at ::1, which browsers try first for `localhost`.
///
/// Connections queue up from now on and are answered once [`serve`] is called. A port in use is an error whose text
/// says what to do; `what` names the server.
pub async fn listen(port: u16, what: &str) -> anyhow::Result<Vec<TcpListener>> {
    let in_use = |error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => anyhow!(
            "port {port}, which {what} needs, is in use: stop the program that has it, or choose four other ports \
             with --port"
        ),
        _ => anyhow!(error).context(format!("listen on port {port} for {what}")),
    };
    let ipv4 = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .map_err(in_use)?;
    // With port 0 (in tests) the second listener takes the port that the first one was given.
    let port = ipv4
        .local_addr()
        .context("read the address of a listener")?
        .port();
    match TcpListener::bind(SocketAddr::from((Ipv6Addr::LOCALHOST, port))).await {
        Ok(ipv6) => Ok(vec![ipv4, ipv6]),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(in_use(error)),
        // A machine without IPv6 has no ::1 either.
        Err(_) => Ok(vec![ipv4]),
    }
}

/// Serves the routes on all listeners, to loopback host names alone, until `stop`.
pub async fn serve(router: Router, listeners: Vec<TcpListener>, stop: CancellationToken) {
    let router = loopback_only(router);
    // One machine is the only source.
    let options = accept::Options::new(true, Metrics::default());
    let mut servers = JoinSet::new();
    for listener in listeners {
        let (router, stop, options) = (router.clone(), stop.clone(), options.clone());
        servers.spawn(accept::serve(listener, router, stop, GRACE, options));
    }
    while servers.join_next().await.is_some() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_in_use_is_named_together_with_the_way_out() {
        let taken = listen(0, "the first").await.unwrap();
        let port = taken[0].local_addr().unwrap().port();
        let error = listen(port, "the second").await.unwrap_err().to_string();
        assert!(error.contains(&format!("port {port}")), "{error}");
        assert!(error.contains("--port"), "{error}");
        assert!(error.contains("the second"), "{error}");
    }
}
