//! Links that can be cut: a TCP proxy between devices and agent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use anyhow::Result;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Passes connections on to a target until told to cut them.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    open: Arc<AtomicBool>,
    cuts: watch::Sender<u64>,
    passed: Arc<AtomicU64>,
}

impl Proxy {
    /// Starts it on a free loopback port.
    pub fn start(target: SocketAddr) -> Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let open = Arc::new(AtomicBool::new(true));
        let passed = Arc::new(AtomicU64::new(0));
        let (cuts, seen) = watch::channel(0);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (is_open, count) = (Arc::clone(&open), Arc::clone(&passed));
        thread::Builder::new().name("proxy".to_owned()).spawn(move || {
            runtime.block_on(async move {
                let Ok(listener) = TcpListener::from_std(listener) else { return };
                while let Ok((device, _)) = listener.accept().await {
                    if is_open.load(Ordering::Relaxed) {
                        count.fetch_add(1, Ordering::Relaxed);
                        tokio::spawn(pass(device, target, seen.clone()));
                    }
                }
            });
        })?;
        Ok(Self { address, open, cuts, passed })
    }

    /// Where devices connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections passed on so far.
    pub fn passed(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }

    /// Cuts every connection, and refuses new ones until [`Proxy::mend`].
    pub fn cut(&self) {
        self.open.store(false, Ordering::Relaxed);
        self.cuts.send_modify(|cut| *cut += 1);
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.open.store(true, Ordering::Relaxed);
    }
}

/// Copies both ways until one side ends or the link is cut.
async fn pass(mut device: TcpStream, target: SocketAddr, mut cuts: watch::Receiver<u64>) {
    cuts.mark_unchanged();
    let Ok(mut agent) = TcpStream::connect(target).await else { return };
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut device, &mut agent) => {}
        _ = cuts.changed() => {}
    }
}
