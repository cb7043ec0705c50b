use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::post;
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// How long a notice may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// An app's server. It ends with this value.
pub(crate) struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    serving: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    received: Mutex<Vec<Received>>,
    arrived: Notify,
    /// Statuses for the next requests; then 200.
    answers: Mutex<VecDeque<u16>>,
}

/// A notice as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) content_type: String,
    pub(crate) form: Vec<(String, String)>,
}

impl Received {
    pub(crate) fn token(&self) -> &str {
        &self.form[0].1
    }
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .route("/logged-out", post(receive))
            .with_state(Arc::clone(&shared));
        #[expect(clippy::disallowed_methods, reason = "a server of the test's own")]
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            address,
            shared,
            serving,
        }
    }

    pub(crate) fn uri(&self) -> String {
        format!("http://{}/logged-out", self.address)
    }

    /// What the next requests are answered, one after the other.
    pub(crate) fn answer(&self, statuses: &[u16]) {
        self.shared.answers.lock().unwrap().extend(statuses);
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }

    /// Waits until so many notices have arrived.
    pub(crate) async fn wait_for(&self, count: usize) -> Vec<Received> {
        let all = async {
            loop {
                let arrived = self.shared.arrived.notified();
                let received = self.received();
                if received.len() >= count {
                    return received;
                }
                arrived.await;
            }
        };
        tokio::time::timeout(PATIENCE, all)
            .await
            .unwrap_or_else(|_| panic!("{} of {count} notices arrived", self.received().len()))
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn receive(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> impl IntoResponse {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    let form = url::form_urlencoded::parse(&body).into_owned().collect();
    shared
        .received
        .lock()
        .unwrap()
        .push(Received { content_type, form });
    shared.arrived.notify_waiters();
    let status = shared.answers.lock().unwrap().pop_front().unwrap_or(200);
    let location = [(header::LOCATION, "/logged-out")];
    (StatusCode::from_u16(status).unwrap(), location)
}
