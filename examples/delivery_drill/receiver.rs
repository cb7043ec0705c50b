//! A receiver that stops at the step that a drill wants to see.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

/// What it does with requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Answers 200.
    Answer,
    /// Answers 200 after a while.
    Slow(Duration),
    /// One of ten is answered 500, every third late.
    Mixed,
    /// Takes the connection, reads nothing.
    TakeNothing,
    /// Reads the request, answers nothing.
    Read,
}

/// What came: the first time of each id, and how often.
pub(crate) type Seen = HashMap<String, (Instant, usize)>;

pub(crate) struct Receiver {
    pub(crate) url: String,
    mode: watch::Sender<Mode>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Read to its end and not refused.
    seen: Mutex<Seen>,
    requests: Mutex<usize>,
    /// A connection was taken, or a request was read.
    happened: Notify,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Receiver {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/", listener.local_addr()?);
        let (mode, modes) = watch::channel(Mode::Answer);
        let shared = Arc::new(Shared::default());
        let accepting = Arc::clone(&shared);
        tokio::spawn(async move {
            loop {
                if let Ok((stream, _)) = listener.accept().await {
                    let (shared, modes) = (Arc::clone(&accepting), modes.clone());
                    tokio::spawn(async move { shared.serve(stream, modes).await });
                }
            }
        });
        Ok(Self { url, mode, shared })
    }

    /// What is held in the mode before is dropped.
    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Forgets what happened before.
    pub(crate) async fn forget(&self) {
        while self.happens(Duration::ZERO).await {}
    }

    pub(crate) fn seen(&self) -> Seen {
        locked(&self.shared.seen).clone()
    }

    pub(crate) fn count(&self) -> usize {
        locked(&self.shared.seen).len()
    }

    /// Waits until a connection is taken or a request read, at most so long.
    pub(crate) async fn happens(&self, within: Duration) -> bool {
        tokio::time::timeout(within, self.shared.happened.notified())
            .await
            .is_ok()
    }
}

impl Shared {
    async fn serve(&self, mut stream: TcpStream, mut modes: watch::Receiver<Mode>) {
        let mode = *modes.borrow_and_update();
        if mode == Mode::TakeNothing {
            self.happened.notify_one();
            // Dropped unread when the drill goes on.
            let _ = modes.changed().await;
            return;
        }
        let Some(id) = read(&mut stream).await else {
            return;
        };
        let nth = {
            let mut requests = locked(&self.requests);
            *requests += 1;
            *requests
        };
        let refused = mode == Mode::Mixed && nth.is_multiple_of(10);
        if !refused {
            locked(&self.seen).entry(id).or_insert((Instant::now(), 0)).1 += 1;
        }
        self.happened.notify_one();
        match mode {
            Mode::Read => {
                let _ = modes.changed().await;
                return;
            }
            Mode::Slow(after) => tokio::time::sleep(after).await,
            Mode::Mixed if nth.is_multiple_of(3) => tokio::time::sleep(Duration::from_millis(150)).await,
            _ => {}
        }
        let status = if refused { 500 } else { 200 };
        let answer = format!("HTTP/1.1 {status} Status\r\ncontent-length: 0\r\n\r\n");
        let _ = stream.write_all(answer.as_bytes()).await;
    }
}

/// The request's `webhook-id`, once all of it has come.
async fn read(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).ok()?;
    let field = |name: &str| {
        head.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
            .map(str::to_owned)
    };
    let length: usize = field("content-length")?.parse().ok()?;
    while bytes.len() < head_end + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    field("webhook-id")
}
