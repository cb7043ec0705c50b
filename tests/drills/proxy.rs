//! The least that a load balancer does: hands each connection to the next instance that takes it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, TcpStream};

/// A balancer over instances that come and go.
#[derive(Clone)]
pub(crate) struct Balancer {
    pub(crate) address: SocketAddr,
    instances: Arc<Mutex<Vec<SocketAddr>>>,
    open: Open,
}

/// How many connections are open to each instance, and how many it has taken in all.
type Open = Arc<Mutex<HashMap<SocketAddr, Taken>>>;

#[derive(Clone, Copy, Default)]
pub(crate) struct Taken {
    pub(crate) open: u64,
    pub(crate) in_all: u64,
}

impl Balancer {
    pub(crate) async fn start(instances: Vec<SocketAddr>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let balancer = Self {
            address: listener.local_addr().unwrap(),
            instances: Arc::new(Mutex::new(instances)),
            open: Open::default(),
        };
        let (instances, turn) = (Arc::clone(&balancer.instances), Arc::new(AtomicUsize::new(0)));
        let open = Arc::clone(&balancer.open);
        tokio::spawn(async move {
            loop {
                let Ok((client, _)) = listener.accept().await else {
                    continue;
                };
                let (instances, turn, open) = (Arc::clone(&instances), Arc::clone(&turn), Arc::clone(&open));
                tokio::spawn(async move {
                    let known = instances.lock().unwrap().clone();
                    let first = turn.fetch_add(1, Ordering::Relaxed);
                    for offset in 0..known.len() {
                        let instance = known[(first + offset) % known.len()];
                        // One that refuses the connection has seen nothing of the request: the next one may have it.
                        if let Ok(server) = TcpStream::connect(instance).await {
                            let count =
                                |by: fn(&mut Taken)| by(open.lock().unwrap().entry(instance).or_default());
                            count(|taken| {
                                taken.open += 1;
                                taken.in_all += 1;
                            });
                            pass(client, server).await;
                            count(|taken| taken.open -= 1);
                            return;
                        }
                    }
                });
            }
        });
        balancer
    }

    /// The connections to this instance.
    pub(crate) fn taken_by(&self, instance: SocketAddr) -> Taken {
        self.open
            .lock()
            .unwrap()
            .get(&instance)
            .copied()
            .unwrap_or_default()
    }

    /// The instance in the place of another.
    pub(crate) fn replace(&self, old: SocketAddr, new: SocketAddr) {
        let mut instances = self.instances.lock().unwrap();
        instances.retain(|instance| *instance != old);
        instances.push(new);
    }
}

async fn pass(mut client: TcpStream, mut server: TcpStream) {
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
}
