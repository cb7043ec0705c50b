//! Between the server and its database, when connections die without a word.

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use url::Url;

/// Passes everything on to PostgreSQL, until it is told to fall silent: connections from before then stay open, and nothing
/// comes through any more, as when a firewall has forgotten them.
pub(crate) struct Silencer {
    pub(crate) url: String,
    generation: watch::Sender<u32>,
}

impl Silencer {
    /// In front of the server of this URL.
    pub(crate) fn before(url: &str) -> Self {
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
        let (generation, current) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
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
                        // Held, and never looked at again.
                        std::future::pending::<()>().await;
                    }
                });
            }
        });
        Self {
            url: url.into(),
            generation,
        }
    }

    /// What is open now is never heard of again; new connections are served.
    pub(crate) fn fall_silent(&self) {
        self.generation.send_modify(|generation| *generation += 1);
    }
}
