//! The acceptor's thread: its queue, its clock, its pace. Decides nothing about frames.
//!
//! One thread, because one owner needs no locks, and because a sync blocks: what arrives while the
//! disk works queues up and goes into the next group commit.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use protocol::DeviceId;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use super::{Acceptor, Blocked};
use crate::intake::Inbound;
use crate::journal::{AppendError, Positions};
use crate::notify::Pulse;
use crate::telemetry::Gauge;

/// Messages taken before a commit, at most: bounds what a crash lets devices send again.
pub(super) const GROUP_MAX: usize = 1024;
/// How often housekeeping is done, and a blocked message tried again.
pub(super) const TICK: Duration = Duration::from_millis(250);
/// How often the watermarks' checkpoint is written while frames arrive.
pub(super) const CHECKPOINT_EVERY: Duration = Duration::from_secs(10);

/// The same while a message waits for the journal to be pruned.
pub(super) const CHECKPOINT_WHEN_HELD: Duration = Duration::from_millis(500);

/// What was declared and what is held; none of a device without rings.
type Sums = Option<(protocol::Counts, protocol::Counts)>;

/// What else the acceptor is told.
#[derive(Debug)]
pub enum Control {
    /// A device was revoked, rotated or removed: close its sessions, forget its keys.
    Forget(DeviceId),
    /// A device is to be forgotten: take its name off its rings. How many there were.
    Erase(DeviceId, tokio::sync::oneshot::Sender<Option<usize>>),
    /// Sum up all rings: (declared by devices, held or accounted for).
    Sums(tokio::sync::oneshot::Sender<Option<(protocol::Counts, protocol::Counts)>>),
    /// The same of one device's rings, if it has any.
    SumsOf(DeviceId, tokio::sync::oneshot::Sender<Option<Sums>>),
}

/// Why the acceptor stands still, if it does; for `/healthz`.
#[derive(Clone, Debug, Default)]
pub struct AcceptStatus {
    blocked: Arc<Mutex<Option<String>>>,
    journal_bytes: Gauge,
    pulse: Pulse,
}

impl AcceptStatus {
    /// The reason, if it stands still.
    pub fn blocked(&self) -> Option<String> {
        self.blocked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Bytes of the journal's files.
    pub fn journal_bytes(&self) -> u64 {
        self.journal_bytes.get()
    }

    /// Whether its thread moves.
    pub fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    fn set(&self, reason: Option<String>) {
        let mut blocked = self.blocked.lock().unwrap_or_else(PoisonError::into_inner);
        if *blocked != reason {
            if let Some(reason) = &reason {
                tracing::warn!(reason, "intake stands still; devices keep their frames");
            } else {
                tracing::info!("intake goes on");
            }
            *blocked = reason;
        }
    }
}

/// What the thread is given.
pub struct Ports {
    /// From the intakes; when the last of them is gone, the thread drains, commits and ends.
    pub inbound: mpsc::Receiver<Inbound>,
    /// From the operator.
    pub control: mpsc::Receiver<Control>,
    /// Up to where the journal is needed by nobody any more; told whether the journal is full, when sinks that may lose do not count.
    pub floor: Box<dyn Fn(bool) -> Option<Positions> + Send>,
    /// Where it says why it stands still.
    pub status: AcceptStatus,
    /// Told when the intakes have ended: what cannot be taken then is not waited for; its device
    /// has it.
    pub stop: CancellationToken,
}

/// Starts the thread. It gives the acceptor back when it has ended in order.
pub fn spawn(acceptor: Acceptor, ports: Ports) -> io::Result<thread::JoinHandle<Acceptor>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    thread::Builder::new()
        .name("accept".to_owned())
        .spawn(move || runtime.block_on(drive(acceptor, ports)))
}

pub(super) async fn drive(mut acceptor: Acceptor, mut ports: Ports) -> Acceptor {
    let mut tick = interval_at(Instant::now() + TICK, TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut held: Option<Inbound> = None;
    let mut saved_at = Instant::now();
    // What the last life took may not be in its checkpoint.
    let mut moved = true;
    loop {
        ports.status.pulse.beat();
        tokio::select! {
            inbound = ports.inbound.recv(), if held.is_none() => match inbound {
                Some(inbound) => {
                    held = take_group(&mut acceptor, &mut ports, Some(inbound));
                    moved = true;
                }
                None => break,
            },
            () = ports.stop.cancelled(), if held.is_some() => break,
            Some(control) = ports.control.recv() => obey(&mut acceptor, control),
            _ = tick.tick() => {
                // Only what the checkpoint has can be pruned: one that waits for room is early.
                let every = if held.is_some() { CHECKPOINT_WHEN_HELD } else { CHECKPOINT_EVERY };
                if moved && !acceptor.is_waiting() && saved_at.elapsed() >= every {
                    moved = !checkpoint(&mut acceptor);
                    saved_at = Instant::now();
                }
                if let Some(positions) = (ports.floor)(held.is_some())
                    && let Err(error) = acceptor.prune(&positions)
                {
                    tracing::warn!(%error, "cannot remove old journal segments; trying again");
                }
                ports.status.journal_bytes.set(acceptor.journal_bytes());
                if held.is_some() {
                    held = take_group(&mut acceptor, &mut ports, held);
                    moved = true;
                }
            }
        }
        commit(&mut acceptor, &ports.status, held.is_some());
    }
    commit(&mut acceptor, &ports.status, false);
    checkpoint(&mut acceptor);
    ports.status.pulse.rest();
    acceptor
}

/// Takes what is there, up to a group; what could not be taken comes back.
fn take_group(
    acceptor: &mut Acceptor,
    ports: &mut Ports,
    first: Option<Inbound>,
) -> Option<Inbound> {
    let mut next = first;
    for _ in 0..GROUP_MAX {
        let Some(inbound) = next.take().or_else(|| ports.inbound.try_recv().ok()) else { break };
        let refused = match acceptor.take(unix_ms(), inbound) {
            // The group is as large as a commit may be: one commit, and it goes on.
            Err(refused) if matches!(refused.reason, Blocked::Journal(AppendError::Pending)) => {
                commit(acceptor, &ports.status, true);
                acceptor.take(unix_ms(), refused.inbound)
            }
            taken => taken,
        };
        if let Err(refused) = refused {
            ports.status.set(Some(refused.reason.to_string()));
            return Some(refused.inbound);
        }
    }
    None
}

fn commit(acceptor: &mut Acceptor, status: &AcceptStatus, held: bool) {
    match acceptor.commit(unix_ms()) {
        Ok(()) if !held => status.set(None),
        Ok(()) => {}
        Err(error) => {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            status.set(Some(format!("{error}: {}", source.unwrap_or_default())));
        }
    }
}

/// Whether it was written; if not, it costs time at the next start, and no segment goes until then.
fn checkpoint(acceptor: &mut Acceptor) -> bool {
    let saved = acceptor.checkpoint();
    if let Err(error) = &saved {
        tracing::warn!(%error, "cannot write the watermarks' checkpoint");
    }
    saved.is_ok()
}

fn obey(acceptor: &mut Acceptor, control: Control) {
    match control {
        Control::Forget(device) => acceptor.forget(&device),
        Control::Erase(device, reply) => tell(acceptor.erase(unix_ms(), &device), reply),
        Control::Sums(reply) => tell(acceptor.rings().sums(), reply),
        Control::SumsOf(device, reply) => tell(acceptor.rings().sums_of(device), reply),
    }
}

fn tell<T, E: std::error::Error>(
    found: Result<T, E>,
    reply: tokio::sync::oneshot::Sender<Option<T>>,
) {
    if let Err(error) = &found {
        tracing::warn!(%error, "cannot read or write the rings");
    }
    if reply.send(found.ok()).is_err() {
        tracing::debug!("whoever asked about the rings has given up");
    }
}

#[allow(clippy::disallowed_methods, reason = "driver: stamps what arrives")]
fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
