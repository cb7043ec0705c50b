//! Between the server and its database, when connections die without a word.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use url::Url;

/// Passes everything on to PostgreSQL, until it is told to fall silent: connections from before then stay open, and nothing
/// comes through any more, as when a firewall has forgotten them.
pub(crate) struct Silencer {
    pub(crate) url: String,
    generation: watch::Sender<u32>,
    away: Arc<AtomicBool>,
}

impl Silencer {
    /// In front of the server of this URL.
    pub(crate) fn before(url: &str) -> Self {
        let (url, server, listener) = in_front_of(url);
        let (generation, current) = watch::channel(0);
        let away = Arc::new(AtomicBool::new(false));
        let silent = Arc::clone(&away);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                if silent.load(Ordering::SeqCst) {
                    tokio::spawn(held(near));
                    continue;
                }
                let mut far = TcpStream::connect(server.clone()).await.unwrap();
                let (mut current, mine) = (current.clone(), *current.borrow());
                tokio::spawn(async move {
                    let silenced = async {
                        let _ = current.wait_for(|generation| *generation != mine).await;
                    };
                    let broken = tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => true,
                        () = silenced => false,
                    };
                    if !broken {
                        held((near, far)).await;
                    }
                });
            }
        });
        Self {
            url: url.into(),
            generation,
            away,
        }
    }

    /// As when the host is gone: what is open now is never heard of again, and newcomers are not answered until
    /// [`Self::come_back`], nor later.
    pub(crate) fn vanish(&self) {
        self.away.store(true, Ordering::SeqCst);
        self.fall_silent();
    }

    /// Newcomers are served again.
    pub(crate) fn come_back(&self) {
        self.away.store(false, Ordering::SeqCst);
    }

    /// What is open now is never heard of again; new connections are served.
    pub(crate) fn fall_silent(&self) {
        self.generation.send_modify(|generation| *generation += 1);
    }
}

/// Keeps what is open, and never looks at it again.
async fn held<T>(_open: T) {
    std::future::pending::<()>().await;
}

/// A listener, the URL by which a client comes to it, and the server that the client meant.
fn in_front_of(url: &str) -> (Url, (String, u16), TcpListener) {
    let mut url = Url::parse(url).unwrap();
    let server = (url.host_str().unwrap().to_owned(), url.port().unwrap_or(5432));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    url.set_host(Some("127.0.0.1")).unwrap();
    url.set_port(Some(listener.local_addr().unwrap().port())).unwrap();
    if !url.query().unwrap_or_default().contains("sslmode=") {
        url.query_pairs_mut().append_pair("sslmode", "disable");
    }
    let listener = TcpListener::from_std(listener).unwrap();
    (url, server, listener)
}

/// Passes everything on to PostgreSQL, until it is told to lose the answer to a statement of a request: the statement
/// arrives and is done, and the connection ends before anybody is told.
pub(crate) struct AnswerLoser {
    pub(crate) url: String,
    /// How many statements from now it is; 0: none is to be lost.
    countdown: Arc<AtomicU32>,
}

impl AnswerLoser {
    /// In front of the server of this URL.
    pub(crate) fn before(url: &str) -> Self {
        let (url, server, listener) = in_front_of(url);
        let countdown = Arc::new(AtomicU32::new(0));
        let statements = Arc::clone(&countdown);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(server.clone()).await.unwrap();
                let statements = Arc::clone(&statements);
                tokio::spawn(async move {
                    let (mut from_near, mut to_near) = near.into_split();
                    let (mut from_far, mut to_far) = far.into_split();
                    let answers = tokio::spawn(async move {
                        let _ = tokio::io::copy(&mut from_far, &mut to_near).await;
                    });
                    let mut buffer = vec![0; 64 * 1024];
                    let mut of_requests = false;
                    while let Ok(size) = from_near.read(&mut buffer).await
                        && size > 0
                    {
                        let part = &buffer[..size];
                        // Workers have another name; it stands in what a connection begins with.
                        let name = b"application_name\0riley-auth\0";
                        of_requests |= part.windows(name.len()).any(|window| window == name);
                        // What is prepared is bound and executed in one message.
                        let is_statement = part.starts_with(b"B");
                        if of_requests
                            && is_statement
                            && statements
                                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                                == Ok(1)
                        {
                            answers.abort();
                            let _ = answers.await;
                            to_far.write_all(part).await.unwrap();
                            // PostgreSQL finishes what has arrived before it notices the end.
                            to_far.shutdown().await.unwrap();
                            return;
                        }
                        if to_far.write_all(part).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self {
            url: url.into(),
            countdown,
        }
    }

    /// Loses the answer to the `nth` statement from now on, counted from 1.
    pub(crate) fn lose(&self, nth: u32) {
        self.countdown.store(nth, Ordering::SeqCst);
    }

    /// Whether it has.
    pub(crate) fn has_lost(&self) -> bool {
        self.countdown.load(Ordering::SeqCst) == 0
    }
}
