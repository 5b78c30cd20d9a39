//! The driver of one connection: socket and timers on one side, channels on the other.
//!
//! An idle connection owns no buffer: reads go through the stack and what is written leaves at
//! once. Bytes stay here only while the acceptor has no room (then nothing is read), while a packet
//! is incomplete (its parser holds it), and while the socket takes nothing (then nothing more is
//! taken from either side, and the write timeout runs).

use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::net::TcpStream;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::deadlines::Deadlines;
use super::directory::Directory;
use super::gauges::ListenGauges;
use super::greeting::{Claim, Greeting};
use super::handshake::shake_hands;
use super::line::{Line, Moved, Wire};
use super::lobby::Arrival;
use super::presence::{Presence, enter};
use super::reason::{End, Refusal, TlsRefusal};
use super::session::{Published, Session, disconnect};
use super::{ListenConfig, Visit, keep_alive_s};
use crate::intake::outbox::Outbox;
use crate::intake::{Admit, Inbound, Message, Outbound, Room};
use crate::tls::{CertificateNames, ServerTls};

/// The most messages of the acceptor that wait for one session.
pub const OUTBOUND_MESSAGES_MAX: usize = 64;

/// With this much unsent nothing more is read from the device or taken from the acceptor.
const UNSENT_LEN_MAX: usize = 8 * 1024;

/// What all connections of a listener share.
pub(super) struct Hub {
    pub config: ListenConfig,
    pub inbound: mpsc::Sender<Inbound>,
    /// Bytes that may still be queued towards the acceptor.
    pub room: Arc<Semaphore>,
    pub directory: Directory,
    pub gauges: Arc<ListenGauges>,
    /// None: what comes is MQTT as it is.
    pub tls: Option<Arc<ServerTls>>,
    pub stop: CancellationToken,
}

/// A connection that has just come.
pub(super) struct Connection {
    pub caller: Caller,
    pub arrival: Arrival,
}

/// Who has come.
pub(super) enum Caller {
    Socket(TcpStream, SocketAddr),
    Visit(Visit),
}

impl Caller {
    /// Where from.
    fn peer(&self) -> String {
        match self {
            Self::Socket(_, address) => address.to_string(),
            Self::Visit(visit) => format!("serial {}", visit.port),
        }
    }
}

/// A publish on its way to an acceptor that has no room now. Boxed so that a session pays for it
/// only then; kept over polls so that it does not lose its place in the queue.
type Queueing = Pin<Box<dyn Future<Output = Result<(), End>> + Send>>;

/// Serves one connection to its end.
pub(super) async fn attend<A: Admit>(hub: Arc<Hub>, admit: A, connection: Connection) {
    let Connection { caller, arrival } = connection;
    let peer = caller.peer();
    let late_at = Instant::now() + hub.config.connect_timeout;
    let (wire, names) = match (caller, &hub.tls) {
        (Caller::Visit(visit), _) => (Wire::Carried(visit.stream), None),
        (Caller::Socket(stream, _), None) => (Wire::Plain(stream), None),
        // Boxed: a handshake is far larger than the session after it, which keeps its memory.
        (Caller::Socket(stream, _), Some(tls)) => {
            match Box::pin(secure(&hub, tls, stream, late_at)).await {
                Ok(secured) => secured,
                Err(reason) => {
                    hub.gauges.count_tls_refused(reason);
                    debug!(%reason, peer, "TLS refused");
                    return;
                }
            }
        }
    };
    let mut line = Line::new(wire);
    let mut unread = Vec::new();
    let mut greeting = Greeting::new();
    let greeted = tokio::select! {
        biased;
        () = hub.stop.cancelled() => Err(Refusal::Unavailable),
        greeted = timeout_at(
            late_at,
            greet(&hub.gauges, &mut greeting, &mut line, &mut unread),
        ) => greeted.unwrap_or(Err(Refusal::Late)),
    };
    // It has spoken, or its time is over.
    drop(arrival);
    let claimed = greeted.and_then(|claim| match &names {
        Some(names) if !names.include(&claim.device) => {
            hub.gauges.count_tls_refused(TlsRefusal::OtherDevice);
            Err(Refusal::Certificate)
        }
        _ => Ok(claim),
    });
    let entered = claimed.and_then(|claim| enter(&hub, &admit, &claim).map(|entry| (claim, entry)));
    match entered {
        Ok((claim, (presence, mut outbound, mut ended))) => {
            debug!(device = %claim.device, session = presence.session.0, peer, "session opened");
            let mut desk = Desk::open(presence, greeting, &claim, unread, &mut line.out);
            drop((claim, names));
            let Err(end) = converse(&mut desk, &mut line, &mut outbound, &mut ended).await;
            desk.close(end, &mut line);
        }
        Err(reason) => {
            hub.gauges.count_refused(reason);
            debug!(%reason, peer, "connection refused");
            greeting.refuse(reason, &mut line.out);
            if reason.is_about_identity() {
                tokio::select! {
                    () = hub.stop.cancelled() => {}
                    () = sleep(hub.config.refusal_delay) => {}
                }
            }
        }
    }
    line.farewell().await;
}

/// Puts TLS on a connection, in the time that it has for its CONNECT.
async fn secure(
    hub: &Hub,
    tls: &ServerTls,
    stream: TcpStream,
    late_at: Instant,
) -> Result<(Wire, Option<CertificateNames>), TlsRefusal> {
    tokio::select! {
        biased;
        () = hub.stop.cancelled() => Err(TlsRefusal::Other),
        secured = timeout_at(late_at, shake_hands(tls, stream)) => {
            secured.unwrap_or(Err(TlsRefusal::Late))
        }
    }
}

/// Reads until the CONNECT is whole; what came after it goes into `unread`.
async fn greet(
    gauges: &ListenGauges,
    greeting: &mut Greeting,
    line: &mut Line,
    unread: &mut Vec<u8>,
) -> Result<Claim, Refusal> {
    loop {
        let fed = line.read(|mut input| {
            gauges.count_bytes_in(input);
            let fed = greeting.feed(&mut input);
            unread.extend_from_slice(input);
            fed
        });
        match fed.await {
            Ok(Some(fed)) => {
                if let Some(claim) = fed? {
                    return Ok(claim);
                }
            }
            Ok(None) | Err(_) => return Err(Refusal::Left),
        }
    }
}

/// A session and what waits around it.
struct Desk {
    presence: Presence,
    session: Session,
    deadlines: Deadlines,
    /// Read but not parsed, while a publish before it waits for room.
    unread: Vec<u8>,
}

impl Desk {
    fn open(
        presence: Presence,
        greeting: Greeting,
        claim: &Claim,
        unread: Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Self {
        let ListenConfig { write_timeout, .. } = presence.hub.config;
        let keep_alive_s = keep_alive_s(claim.keep_alive_s, &presence.hub.config);
        let session = Session::open(greeting, claim, keep_alive_s, out);
        let deadlines = Deadlines::new(keep_alive_s, write_timeout, Instant::now());
        Self { presence, session, deadlines, unread }
    }

    /// Takes what was read, up to a publish that finds no room: the rest stays unread.
    fn take(&mut self, mut input: &[u8], out: &mut Vec<u8>) -> Result<Option<Queueing>, End> {
        let mut queueing = None;
        while queueing.is_none() {
            match self.session.feed(&mut input, out)? {
                Some(published) => queueing = self.hand_over(published)?,
                None => break,
            }
        }
        self.unread = input.to_vec();
        if self.session.take_heard() {
            self.deadlines.heard(Instant::now());
        }
        Ok(queueing)
    }

    fn take_read(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Option<Queueing>, End> {
        self.presence.hub.gauges.count_bytes_in(input);
        self.take(input, out)
    }

    fn take_unread(&mut self, out: &mut Vec<u8>) -> Result<Option<Queueing>, End> {
        let unread = std::mem::take(&mut self.unread);
        self.take(&unread, out)
    }

    /// Hands a publish to the acceptor, or says how to wait until that is possible.
    fn hand_over(&mut self, published: Published) -> Result<Option<Queueing>, End> {
        let Published { channel, payload, packet_id } = published;
        let hub = &self.presence.hub;
        let len = u32::try_from(payload.len().max(1)).unwrap_or(u32::MAX);
        let message = Message::Published { channel, payload, packet_id };
        hub.gauges.publishes.fetch_add(1, Relaxed);
        let mut inbound = self.presence.says(message, None);
        if let Ok(room) = Arc::clone(&hub.room).try_acquire_many_owned(len) {
            inbound.room = Some(Room(room));
            match hub.inbound.try_send(inbound) {
                Ok(()) => return Ok(None),
                Err(TrySendError::Closed(_)) => return Err(End::Stopping),
                Err(TrySendError::Full(full)) => inbound = full,
            }
        }
        let (room, sender) = (Arc::clone(&hub.room), hub.inbound.clone());
        Ok(Some(Box::pin(async move {
            if inbound.room.is_none() {
                let room = room.acquire_many_owned(len).await.map_err(|_| End::Stopping)?;
                inbound.room = Some(Room(room));
            }
            sender.send(inbound).await.map_err(|_| End::Stopping)
        })))
    }

    /// Writes all that the acceptor has for the device now, into one packet of TCP if it fits.
    fn answer(
        &mut self,
        first: Outbound,
        outbound: &mut Outbox,
        out: &mut Vec<u8>,
    ) -> Result<(), End> {
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Outbound::PubAck(packet_id) => self.session.puback(packet_id, out),
                Outbound::Publish(channel, payload) => {
                    if !self.session.publish(channel, payload, out) {
                        self.presence.hub.gauges.unsent.fetch_add(1, Relaxed);
                    }
                }
                Outbound::Close => return Err(End::Closed),
            }
            next = if out.len() < UNSENT_LEN_MAX { outbound.try_recv() } else { None };
        }
        Ok(())
    }

    /// Leaves with the line what is still to be written.
    fn close(self, end: End, line: &mut Line) {
        let Presence { hub, device, session } = &self.presence;
        hub.gauges.count_ended(end);
        debug!(%device, session = session.0, reason = %end, "session ended");
        match end.code() {
            Some(code) => disconnect(code, &mut line.out),
            None => line.abandon(),
        }
    }
}

/// Passes on what comes, either way, until the session ends.
async fn converse(
    desk: &mut Desk,
    line: &mut Line,
    outbound: &mut Outbox,
    ended: &mut oneshot::Receiver<End>,
) -> Result<std::convert::Infallible, End> {
    let mut queueing = desk.take_unread(&mut line.out)?;
    let mut timer = pin!(sleep_until(desk.deadlines.next()));
    loop {
        line.flush_now().await.map_err(|_| End::Lost)?;
        desk.deadlines.stalled(line.is_stalled(), Instant::now());
        let due = desk.deadlines.next();
        if due < timer.deadline() {
            timer.as_mut().reset(due);
        }
        let may_write_more = line.out.len() < UNSENT_LEN_MAX;
        let may_read = queueing.is_none() && may_write_more;
        tokio::select! {
            biased;
            end = &mut *ended => return Err(end.unwrap_or(End::Stopping)),
            message = outbound.recv(), if may_write_more => {
                // None: the acceptor gave the session up.
                desk.answer(message.ok_or(End::Closed)?, outbound, &mut line.out)?;
            }
            queued = until_queued(&mut queueing), if queueing.is_some() => {
                queued?;
                desk.deadlines.heard(Instant::now());
                queueing = desk.take_unread(&mut line.out)?;
            }
            () = timer.as_mut() => {
                let now = Instant::now();
                if !may_read {
                    // It may have spoken; we did not listen.
                    desk.deadlines.heard(now);
                }
                if let Some(end) = desk.deadlines.missed(now) {
                    return Err(end);
                }
                timer.as_mut().reset(desk.deadlines.next());
            }
            moved = line.exchange(may_read, |input, out| desk.take_read(input, out)),
                if may_read || line.is_stalled() =>
            {
                if let Moved::Read(taken) = moved.map_err(|_| End::Lost)? {
                    queueing = taken.ok_or(End::Lost)??;
                }
            }
        }
    }
}

async fn until_queued(queueing: &mut Option<Queueing>) -> Result<(), End> {
    match queueing {
        Some(queueing) => queueing.await,
        None => std::future::pending().await,
    }
}
