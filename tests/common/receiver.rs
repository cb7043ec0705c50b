//! A receiver of webhooks and logout notices that can be slow, dead, redirecting, huge.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::process::PATIENCE;

/// How it answers.
#[derive(Clone, Debug)]
pub(crate) enum Behaviour {
    /// At once, with this status.
    Status(u16),
    /// With 200, after a while.
    Slow(Duration),
    /// Never.
    Silent,
    /// By closing the connection.
    Hangup,
    /// By leading elsewhere.
    Redirect(String),
    /// With 200 and a body that never ends.
    EndlessBody,
    /// With 200 after `head`, and the body so much later.
    SlowBody { head: Duration, body: Duration },
    /// With a line of headers of so many bytes.
    HugeHead(usize),
    /// With what is no HTTP.
    Garbage,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    pub(crate) at: Instant,
}

impl Received {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("the body is JSON")
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().expect("the header is text")
    }

    /// What a receiver knows repetitions by.
    pub(crate) fn id(&self) -> &str {
        self.header("webhook-id")
    }

    pub(crate) fn event_type(&self) -> String {
        self.json()["type"].as_str().expect("there is a type").to_owned()
    }
}

/// A running receiver.
pub(crate) struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    behaviour: Mutex<Behaviour>,
    received: Mutex<Vec<Received>>,
    arrived: Notify,
    /// The most requests that were here at once, and those that are now.
    at_once: Mutex<(usize, usize)>,
}

impl Receiver {
    /// One that answers 200 at once.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            behaviour: Mutex::new(Behaviour::Status(200)),
            received: Mutex::default(),
            arrived: Notify::new(),
            at_once: Mutex::default(),
        });
        let task = tokio::spawn({
            let shared = Arc::clone(&shared);
            async move {
                loop {
                    let Ok((stream, _)) = listener.accept().await else {
                        continue;
                    };
                    let shared = Arc::clone(&shared);
                    tokio::spawn(async move { shared.serve(stream).await });
                }
            }
        });
        Self {
            address,
            shared,
            task,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub(crate) fn behave(&self, behaviour: Behaviour) {
        *self.shared.behaviour.lock().unwrap() = behaviour;
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }

    pub(crate) fn most_at_once(&self) -> usize {
        self.shared.at_once.lock().unwrap().0
    }

    /// Waits until so many requests have come.
    pub(crate) async fn waits_for(&self, count: usize) -> Vec<Received> {
        let enough = async {
            loop {
                let arrived = self.shared.arrived.notified();
                let received = self.received();
                if received.len() >= count {
                    return received;
                }
                arrived.await;
            }
        };
        tokio::time::timeout(PATIENCE, enough).await.unwrap_or_else(|_| {
            panic!(
                "{count} requests are expected, {:?} came",
                self.received()
                    .iter()
                    .map(|one| one.body.clone())
                    .collect::<Vec<_>>()
            )
        })
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    async fn serve(&self, mut stream: TcpStream) {
        let Some(received) = read(&mut stream).await else {
            return;
        };
        {
            let mut at_once = self.at_once.lock().unwrap();
            at_once.1 += 1;
            at_once.0 = at_once.0.max(at_once.1);
        }
        self.received.lock().unwrap().push(received);
        self.arrived.notify_waiters();
        let behaviour = self.behaviour.lock().unwrap().clone();
        let _ = answer(&mut stream, behaviour).await;
        self.at_once.lock().unwrap().1 -= 1;
    }
}

async fn read(stream: &mut TcpStream) -> Option<Received> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).ok()?;
    let mut lines = head.split("\r\n");
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(": ")?;
        headers.append(
            name.parse::<HeaderName>().ok()?,
            value.parse::<HeaderValue>().ok()?,
        );
    }
    let length: usize = headers["content-length"].to_str().ok()?.parse().ok()?;
    while bytes.len() < head_end + 4 + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    Some(Received {
        path,
        headers,
        body: String::from_utf8(bytes[head_end + 4..].to_vec()).ok()?,
        at: Instant::now(),
    })
}

async fn answer(stream: &mut TcpStream, behaviour: Behaviour) -> std::io::Result<()> {
    let plain = |status: u16| format!("HTTP/1.1 {status} Status\r\ncontent-length: 0\r\n\r\n");
    match behaviour {
        Behaviour::Status(status) => stream.write_all(plain(status).as_bytes()).await,
        Behaviour::Slow(after) => {
            tokio::time::sleep(after).await;
            stream.write_all(plain(200).as_bytes()).await
        }
        Behaviour::Silent => {
            // Until the other end gives up.
            let mut nothing = [0; 1];
            stream.read(&mut nothing).await.map(drop)
        }
        Behaviour::Hangup => Ok(()),
        Behaviour::Redirect(to) => {
            let head = format!("HTTP/1.1 307 Elsewhere\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(head.as_bytes()).await
        }
        Behaviour::EndlessBody => {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                .await?;
            loop {
                stream.write_all(b"400\r\n").await?;
                stream.write_all(&[b'a'; 1024]).await?;
                stream.write_all(b"\r\n").await?;
            }
        }
        Behaviour::SlowBody { head, body } => {
            tokio::time::sleep(head).await;
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n")
                .await?;
            tokio::time::sleep(body).await;
            stream.write_all(b"ok").await
        }
        Behaviour::HugeHead(bytes) => {
            let head = format!(
                "HTTP/1.1 200 OK\r\nx-huge: {}\r\ncontent-length: 0\r\n\r\n",
                "a".repeat(bytes)
            );
            stream.write_all(head.as_bytes()).await
        }
        Behaviour::Garbage => stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await,
    }
}
