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

/// How many connections are open to each instance.
type Open = Arc<Mutex<HashMap<SocketAddr, u64>>>;

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
                            *open.lock().unwrap().entry(instance).or_default() += 1;
                            pass(client, server).await;
                            *open.lock().unwrap().entry(instance).or_default() -= 1;
                            return;
                        }
                    }
                });
            }
        });
        balancer
    }

    /// How many connections are open to this instance.
    pub(crate) fn open_to(&self, instance: SocketAddr) -> u64 {
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
