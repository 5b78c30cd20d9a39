//! The agent as the devices' MQTT 5 server: nothing to install, and a PUBACK only for what is
//! durable.
//!
//! Constraints first: anyone can connect, so every connection is bounded in bytes and in time
//! before and after its CONNECT, and what one peer does harms no other. An idle device costs a few
//! KiB. Nothing here knows what a frame holds.
//!
//! A connection is one task: `connection` drives socket and channels, `handshake` puts TLS on it and
//! `line` carries the bytes either way, `greeting` and `session` are the pure rules of MQTT, `deadlines` those of time, `directory` knows who is there, `presence`
//! vouches for `Opened` and `Closed`, and `reason` names every way in which it ends.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use protocol::frame::FRAME_LEN_MAX;
use tokio::io::DuplexStream;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::intake::{Admit, Inbound};
use crate::tls::ServerTls;

mod connection;
mod deadlines;
mod descriptors;
mod directory;
mod gauges;
mod greeting;
mod handshake;
mod line;
mod lobby;
mod presence;
mod reason;
mod session;
#[cfg(feature = "model")]
pub(crate) mod fuzzing;
#[cfg(test)]
mod tests;

pub use connection::OUTBOUND_MESSAGES_MAX;
pub use gauges::{ListenGauges, ListenHealth};
pub use reason::{End, Refusal, TlsRefusal};
pub use session::{PACKET_LEN_MAX, RECEIVE_MAXIMUM, TOPIC_ALIAS_MAXIMUM};

use connection::{Caller, Connection, Hub, attend};
use descriptors::Bounds;
use directory::Directory;
use lobby::{Arrival, Lobby};

/// Connections that the system holds for us until we accept them.
const BACKLOG: u32 = 4096;

const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
const STOP_MAX: Duration = Duration::from_secs(2);
const SUMMARY_PERIOD: Duration = Duration::from_secs(10);

/// How to listen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListenConfig {
    /// Where. Port 0: any free one.
    pub address: SocketAddr,
    /// The most sessions at a time, one per device. Each takes a file descriptor: if fewer are to be
    /// had, there are fewer sessions.
    pub connections_max: usize,
    /// How long a connection may take until its CONNECT is whole.
    pub connect_timeout: Duration,
    /// How long the device may leave what it was sent in our hands.
    pub write_timeout: Duration,
    /// How long the answer to a wrong name or password is held back.
    pub refusal_delay: Duration,
    /// The longest keep alive, in whole seconds up to 65,535; set for devices that ask for a longer
    /// one or none, since without one nobody notices that a device is gone.
    pub keep_alive_max: Duration,
    /// The most payload bytes that wait for the acceptor, of all devices together; at least a
    /// frame's.
    pub queued_bytes_max: usize,
}

impl ListenConfig {
    /// All that has a default, for this address.
    pub const fn new(address: SocketAddr) -> Self {
        Self {
            address,
            connections_max: 4096,
            connect_timeout: Duration::from_secs(5),
            write_timeout: Duration::from_secs(20),
            refusal_delay: Duration::from_millis(200),
            keep_alive_max: Duration::from_hours(1),
            queued_bytes_max: 4 * 1024 * 1024,
        }
    }
}

/// What a device has to keep to that asked for this keep alive; never zero.
fn keep_alive_s(asked_s: u16, config: &ListenConfig) -> u16 {
    let max = u16::try_from(config.keep_alive_max.as_secs()).unwrap_or(u16::MAX).max(1);
    if asked_s == 0 { max } else { asked_s.min(max) }
}

/// Why nothing listens.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address is taken.
    #[error(
        "cannot listen for devices on {0}: address already in use; stop what listens there \
         (`ss -ltnp` shows it) or choose another address"
    )]
    InUse(SocketAddr),
    /// The port needs privileges.
    #[error(
        "cannot listen for devices on {0}: permission denied; choose a port from 1024 or allow \
         this one (CAP_NET_BIND_SERVICE)"
    )]
    Denied(SocketAddr),
    /// No interface has the address.
    #[error(
        "cannot listen for devices on {0}: no interface of this machine has that address; choose \
         one that it has, or 0.0.0.0 for all"
    )]
    NoSuchAddress(SocketAddr),
    /// Anything else.
    #[error("cannot listen for devices on {address}: {source}")]
    Other {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// Listens for devices and serves them until `stop`: [`Listener::bind`], then [`Listener::serve`].
///
/// Not cancel safe: stop it by `stop`.
pub async fn serve<A: Admit>(
    config: ListenConfig,
    admit: A,
    inbound: mpsc::Sender<Inbound>,
    gauges: Arc<ListenGauges>,
    stop: CancellationToken,
) -> Result<(), ListenError> {
    Listener::bind(config)?.serve(admit, inbound, gauges, stop).await;
    Ok(())
}

/// Most visits that wait to be let in.
const VISITS_MAX: usize = 64;

/// A connection that another intake carries, under the rules of those over TCP; without TLS, whatever
/// that is for the others: it is no network that it came over.
#[derive(Debug)]
pub struct Visit {
    /// Its bytes.
    pub stream: DuplexStream,
    /// The serial line that they come over.
    pub port: Arc<str>,
}

/// A bound socket: from here on, devices can connect and wait to be served. Without one, for visits alone.
#[derive(Debug)]
pub struct Listener {
    config: ListenConfig,
    bounds: Bounds,
    socket: Option<TcpListener>,
    tls: Option<Arc<ServerTls>>,
    to_visit: mpsc::Sender<Visit>,
    visits: mpsc::Receiver<Visit>,
}

impl Listener {
    /// Takes the address. In a tokio runtime only.
    pub fn bind(config: ListenConfig) -> Result<Self, ListenError> {
        let address = config.address;
        let socket = bind(address).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => ListenError::InUse(address),
            io::ErrorKind::PermissionDenied => ListenError::Denied(address),
            io::ErrorKind::AddrNotAvailable => ListenError::NoSuchAddress(address),
            _ => ListenError::Other { address, source },
        })?;
        Ok(Self { socket: Some(socket), ..Self::unbound(config) })
    }

    /// One to which nobody can connect.
    pub fn unbound(config: ListenConfig) -> Self {
        let bounds = Bounds::take(config.connections_max);
        let (to_visit, visits) = mpsc::channel(VISITS_MAX);
        Self { config, bounds, socket: None, tls: None, to_visit, visits }
    }

    /// Takes visits in.
    pub fn visits(&self) -> mpsc::Sender<Visit> {
        self.to_visit.clone()
    }

    /// The same with TLS on every connection.
    #[must_use]
    pub fn with_tls(self, tls: Arc<ServerTls>) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// Where it listens: the port that was chosen, if none was set.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.as_ref().ok_or(io::ErrorKind::NotConnected)?.local_addr()
    }

    /// Serves devices until `stop`; then says so to all of them and waits up to two seconds for
    /// their connections to close. Every session's `Closed` was sent or will be, also after this
    /// returns if the queue is full then.
    ///
    /// Not cancel safe: stop it by `stop`.
    pub async fn serve<A: Admit>(
        self,
        admit: A,
        inbound: mpsc::Sender<Inbound>,
        gauges: Arc<ListenGauges>,
        stop: CancellationToken,
    ) {
        let address = self.local_addr().unwrap_or(self.config.address);
        let Self { config, bounds, socket, tls, to_visit, mut visits } = self;
        drop(to_visit);
        let tasks_max = bounds.sessions.saturating_add(bounds.lobby);
        let room = config.queued_bytes_max.clamp(FRAME_LEN_MAX, Semaphore::MAX_PERMITS);
        let hub = Arc::new(Hub {
            inbound,
            room: Arc::new(Semaphore::new(room)),
            directory: Directory::new(bounds.sessions),
            gauges: Arc::clone(&gauges),
            tls,
            stop: stop.clone(),
            config,
        });
        let mut tasks = JoinSet::new();
        let mut lobby = Lobby::default();
        let mut summary = Summary::default();
        let mut summary_due = interval(SUMMARY_PERIOD);
        summary_due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        gauges.set_health(ListenHealth::Listening);
        if socket.is_some() {
            info!(%address, tls = hub.tls.is_some(), "listening for devices");
        }
        loop {
            let caller = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(ended) = tasks.join_next() => {
                    report(ended);
                    continue;
                }
                _ = summary_due.tick() => {
                    summary.log(&gauges);
                    continue;
                }
                visit = next_visit(&mut visits) => Caller::Visit(visit),
                accepted = accept(socket.as_ref()) => match accepted {
                    Ok((stream, peer)) => {
                        // Without it PUBACKs wait for the device's delayed ACKs, no more than that.
                        if let Err(error) = stream.set_nodelay(true) {
                            debug!(%peer, %error, "TCP_NODELAY not set");
                        }
                        gauges.set_health(ListenHealth::Listening);
                        Caller::Socket(stream, peer)
                    }
                    Err(error) => {
                        // Mostly: out of file descriptors. It passes when a connection ends.
                        let error = descriptors::explained(&error);
                        if gauges.set_health(ListenHealth::Failing(error.clone())) {
                            warn!(error, "cannot accept a connection; going on");
                        }
                        sleep(ACCEPT_BACKOFF).await;
                        continue;
                    }
                },
            };
            if has_room(&mut tasks, &mut lobby, &gauges, tasks_max).await {
                let arrival = Arrival::new();
                let watch = arrival.watch();
                let connection = Connection { caller, arrival };
                let task = tasks.spawn(attend(Arc::clone(&hub), admit.clone(), connection));
                lobby.enter(watch, task, tasks_max);
            }
        }
        drop(socket);
        gauges.set_health(ListenHealth::Stopped);
        hub.directory.stop();
        let all_closed = async {
            while let Some(ended) = tasks.join_next().await {
                report(ended);
            }
        };
        if timeout(STOP_MAX, all_closed).await.is_err() {
            debug!(connections = tasks.len(), "connections cut off");
            tasks.shutdown().await;
        }
        summary.log(&gauges);
        info!(%address, "stopped listening for devices");
    }
}

/// Cancel safe. Pending without a socket.
async fn accept(socket: Option<&TcpListener>) -> io::Result<(TcpStream, SocketAddr)> {
    match socket {
        Some(socket) => socket.accept().await,
        None => std::future::pending().await,
    }
}

/// Cancel safe. Pending once there can be none.
async fn next_visit(visits: &mut mpsc::Receiver<Visit>) -> Visit {
    match visits.recv().await {
        Some(visit) => visit,
        None => std::future::pending().await,
    }
}

/// Whether there is room for one more connection; who has been silent longest makes it, if it must.
async fn has_room(
    tasks: &mut JoinSet<()>,
    lobby: &mut Lobby,
    gauges: &ListenGauges,
    tasks_max: usize,
) -> bool {
    if tasks.len() < tasks_max {
        return true;
    }
    gauges.turned_away.fetch_add(1, Relaxed);
    if !lobby.make_room() {
        return false;
    }
    if let Some(ended) = tasks.join_next().await {
        report(ended);
    }
    true
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restart must not wait for the connections of the last run to time out.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        warn!(%error, "a connection's task failed; its device will come back");
    }
}

/// Tells of refused connections in one line per period, however many there are.
#[derive(Default)]
struct Summary {
    refused: [u64; Refusal::ALL.len()],
    tls_refused: [u64; TlsRefusal::ALL.len()],
    malformed: u64,
    turned_away: u64,
}

impl Summary {
    fn log(&mut self, gauges: &ListenGauges) {
        let last = std::mem::replace(
            self,
            Self {
                refused: Refusal::ALL.map(|reason| gauges.refused(reason)),
                tls_refused: TlsRefusal::ALL.map(|reason| gauges.tls_refused(reason)),
                malformed: gauges.malformed(),
                turned_away: gauges.turned_away.load(Relaxed),
            },
        );
        // Who connects and says nothing is a health check, mostly.
        let refused = Refusal::ALL.map(|reason| (reason != Refusal::Left).then(|| reason.name()));
        let refused = told(&refused, &self.refused, &last.refused);
        let tls = TlsRefusal::ALL.map(|reason| (reason != TlsRefusal::Left).then(|| reason.name()));
        let tls = told(&tls, &self.tls_refused, &last.tls_refused);
        let malformed = self.malformed - last.malformed;
        let turned_away = self.turned_away - last.turned_away;
        if !refused.is_empty() || !tls.is_empty() || malformed > 0 || turned_away > 0 {
            warn!(refused, tls, malformed, turned_away, "connections refused");
        }
    }
}

/// How often each of these happened since then, where it did and is worth a word.
fn told(names: &[Option<&str>], now: &[u64], then: &[u64]) -> String {
    let counts = now.iter().zip(then).map(|(now, then)| now.saturating_sub(*then));
    let told = names.iter().zip(counts).filter_map(|(name, count)| {
        name.filter(|_| count > 0).map(|name| format!("{name} {count}"))
    });
    told.collect::<Vec<_>>().join(", ")
}
