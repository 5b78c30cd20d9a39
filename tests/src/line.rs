//! A serial cable whose ends are TCP ports: it passes bytes on, both ways, can be unplugged and have noise.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::Result;

/// The cable, in threads of its own.
#[derive(Debug)]
pub struct Line {
    /// Where the device's end is.
    pub device: SocketAddr,
    /// Where the host's end is.
    pub host: SocketAddr,
    shared: Arc<Shared>,
}

/// An end: the device's, or the host's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Device,
    Host,
}

/// What is plugged in at the ends.
#[derive(Debug, Default)]
struct Plugged {
    device: Option<TcpStream>,
    host: Option<TcpStream>,
}

impl Plugged {
    const fn at(&mut self, end: End) -> &mut Option<TcpStream> {
        match end {
            End::Device => &mut self.device,
            End::Host => &mut self.host,
        }
    }
}

#[derive(Debug, Default)]
struct Shared {
    plugged: Mutex<Plugged>,
    /// Times that the host plugged in.
    plugged_in: AtomicU64,
    /// The next byte from the device is to be turned over.
    garble: AtomicBool,
}

impl Line {
    /// A cable with nothing at its ends.
    pub fn start() -> Result<Self> {
        let shared: Arc<Shared> = Arc::default();
        let device = serve(End::Device, &shared)?;
        let host = serve(End::Host, &shared)?;
        Ok(Self { device, host, shared })
    }

    /// Garbles the next byte that the device says.
    pub fn garble(&self) {
        self.shared.garble.store(true, Ordering::Relaxed);
    }

    /// Pulls the host's end out; it may be plugged in again.
    pub fn unplug(&self) {
        if let Some(wire) = lock(&self.shared).host.take() {
            // It may be gone already.
            wire.shutdown(Shutdown::Both).ok();
        }
    }

    /// How often the host plugged in.
    pub fn plugged_in(&self) -> u64 {
        self.shared.plugged_in.load(Ordering::Relaxed)
    }
}

/// Listens for whoever is at this end.
fn serve(end: End, shared: &Arc<Shared>) -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        for wire in listener.incoming().map_while(Result::ok) {
            // A board that lost its power, or a host that went: the next one takes its place.
            drop(pass_on(wire, end, &shared));
        }
    });
    Ok(address)
}

/// Passes on what comes at one end, until that is gone. What nobody listens to is lost, as on a cable.
fn pass_on(mut wire: TcpStream, end: End, shared: &Shared) -> Result<()> {
    wire.set_nodelay(true)?;
    *lock(shared).at(end) = Some(wire.try_clone()?);
    if end == End::Host {
        shared.plugged_in.fetch_add(1, Ordering::Relaxed);
    }
    let other = if end == End::Device { End::Host } else { End::Device };
    let mut bytes = [0; 4096];
    loop {
        let len = wire.read(&mut bytes)?;
        let Some(heard) = bytes.get_mut(..len).filter(|heard| !heard.is_empty()) else {
            return Ok(());
        };
        if end == End::Device
            && shared.garble.swap(false, Ordering::Relaxed)
            && let Some(byte) = heard.last_mut()
        {
            *byte ^= 0x20;
        }
        let to = lock(shared).at(other).as_ref().map(TcpStream::try_clone).transpose()?;
        if let Some(mut to) = to {
            to.write_all(heard).ok();
        }
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, Plugged> {
    shared.plugged.lock().unwrap_or_else(PoisonError::into_inner)
}
