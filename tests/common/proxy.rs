//! A reverse proxy in front of a server: well-behaved unless a test says what it does wrong.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use tokio::net::TcpListener;

/// A request on its way to the server.
pub(crate) struct Forwarded {
    pub(crate) path_and_query: String,
    pub(crate) headers: HeaderMap,
    /// Whom the proxy sees.
    pub(crate) client: SocketAddr,
}

/// An answer on its way back.
pub(crate) struct Returned {
    /// What was asked for.
    pub(crate) path_and_query: String,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

type OnRequest = dyn Fn(&mut Forwarded) + Send + Sync;
type OnAnswer = dyn Fn(&mut Returned) + Send + Sync;

/// What a proxy does. It overwrites `X-Forwarded-For`, as the documentation asks, and then what the test says.
pub(crate) struct Conduct {
    on_request: Box<OnRequest>,
    on_answer: Box<OnAnswer>,
}

impl Conduct {
    /// As the documentation asks.
    pub(crate) fn good() -> Self {
        Self::request(|_| ())
    }

    /// Does this to requests.
    pub(crate) fn request(change: impl Fn(&mut Forwarded) + Send + Sync + 'static) -> Self {
        Self {
            on_request: Box::new(change),
            on_answer: Box::new(|_| ()),
        }
    }

    /// Does this to answers.
    pub(crate) fn answer(change: impl Fn(&mut Returned) + Send + Sync + 'static) -> Self {
        Self {
            on_request: Box::new(|_| ()),
            on_answer: Box::new(change),
        }
    }
}

struct Proxy {
    upstream: SocketAddr,
    conduct: Conduct,
    http: reqwest::Client,
}

/// Forwards what arrives at `listener` to `upstream` until the runtime ends.
pub(crate) fn start(listener: TcpListener, upstream: SocketAddr, conduct: Conduct) {
    let http = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .expect("an HTTP client can be made");
    let proxy = Arc::new(Proxy {
        upstream,
        conduct,
        http,
    });
    let router = Router::new().fallback(forward).with_state(proxy);
    serve(listener, router);
}

/// Plain serving, for what stands around a server and is none of ours.
pub(crate) fn serve(listener: TcpListener, router: Router) {
    #[expect(clippy::disallowed_methods, reason = "only the clients of a test call it")]
    let serving = axum::serve(
        listener,
        router.into_make_service_with_connect_info::<SocketAddr>(),
    );
    tokio::spawn(async move { serving.await });
}

async fn forward(
    State(proxy): State<Arc<Proxy>>,
    ConnectInfo(client): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response<axum::body::Body> {
    let (parts, body) = request.into_parts();
    let body: Bytes = axum::body::to_bytes(body, 1 << 20).await.expect("a small body");
    let asked = parts
        .uri
        .path_and_query()
        .map_or("/", |path| path.as_str())
        .to_owned();
    let mut forwarded = Forwarded {
        path_and_query: asked.clone(),
        headers: parts.headers,
        client,
    };
    let address = HeaderValue::from_str(&client.ip().to_string()).expect("an address is ASCII");
    forwarded
        .headers
        .insert(HeaderName::from_static("x-forwarded-for"), address);
    (proxy.conduct.on_request)(&mut forwarded);
    let url = format!("http://{}{}", proxy.upstream, forwarded.path_and_query);
    let sent = proxy
        .http
        .request(parts.method, url)
        .headers(forwarded.headers)
        .body(body)
        .send();
    let mut returned = match sent.await {
        Ok(answer) => Returned {
            path_and_query: asked,
            status: answer.status(),
            headers: answer.headers().clone(),
            body: answer.bytes().await.expect("the answer can be read").to_vec(),
        },
        Err(_) => Returned {
            path_and_query: asked,
            status: StatusCode::BAD_GATEWAY,
            headers: HeaderMap::new(),
            body: Vec::new(),
        },
    };
    for hop_by_hop in [
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        header::CONTENT_LENGTH,
    ] {
        returned.headers.remove(hop_by_hop);
    }
    (proxy.conduct.on_answer)(&mut returned);
    let mut response = Response::new(axum::body::Body::from(returned.body));
    *response.status_mut() = returned.status;
    *response.headers_mut() = returned.headers;
    response
}
