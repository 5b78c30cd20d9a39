//! How a connection becomes a session, and that it ends as one: `Opened` first, `Closed` last.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use protocol::DeviceId;
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;

use super::connection::{Hub, OUTBOUND_MESSAGES_MAX};
use super::greeting::Claim;
use super::reason::{End, Refusal};
use crate::intake::outbox::{Outbox, outbox};
use crate::intake::{Admission, Admit, Inbound, Message, Room, SessionId};

/// Makes a session of a claim that holds: first its place in the acceptor's queue, then in the
/// directory, so that `Opened` is said of every session in it.
pub(super) fn enter<A: Admit>(
    hub: &Arc<Hub>,
    admit: &A,
    claim: &Claim,
) -> Result<(Presence, Outbox, oneshot::Receiver<End>), Refusal> {
    match admit.admit(&claim.device, &claim.password) {
        Admission::Admitted => {}
        Admission::Unknown => return Err(Refusal::Unknown),
        Admission::Revoked => return Err(Refusal::Revoked),
        Admission::WrongPassword => return Err(Refusal::WrongPassword),
        Admission::Unavailable => return Err(Refusal::Unavailable),
    }
    let queued = hub.inbound.try_reserve().map_err(|error| match error {
        TrySendError::Full(()) => Refusal::Busy,
        TrySendError::Closed(()) => Refusal::Unavailable,
    })?;
    let session = SessionId::next();
    let ended = hub.directory.enter(claim.device, session)?;
    let (to_session, outbound) = outbox(OUTBOUND_MESSAGES_MAX);
    let presence = Presence { hub: Arc::clone(hub), device: claim.device, session };
    hub.gauges.accepted.fetch_add(1, Relaxed);
    hub.gauges.connections.fetch_add(1, Relaxed);
    queued.send(presence.says(Message::Opened(to_session.into()), None));
    Ok((presence, outbound, ended))
}

/// A session's entry in the directory and with the acceptor. Dropped, whatever the reason, it
/// leaves the one and says `Closed` to the other.
pub(super) struct Presence {
    pub hub: Arc<Hub>,
    pub device: DeviceId,
    pub session: SessionId,
}

impl Presence {
    /// A message of this session.
    pub(super) fn says(&self, message: Message, room: Option<Room>) -> Inbound {
        Inbound { session: self.session, device: self.device, message, room }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.hub.directory.leave(&self.device, self.session);
        self.hub.gauges.connections.fetch_sub(1, Relaxed);
        let closed = self.hub.inbound.try_send(self.says(Message::Closed, None));
        // Said later rather than never; bounded by the number of sessions.
        if let (Err(TrySendError::Full(closed)), Ok(runtime)) = (closed, Handle::try_current()) {
            let inbound = self.hub.inbound.clone();
            runtime.spawn(async move {
                // An error means that the acceptor is gone.
                drop(inbound.send(closed).await);
            });
        }
    }
}
