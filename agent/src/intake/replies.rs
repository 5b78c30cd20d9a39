//! The way back from the acceptor to a session: a channel of its own, or one that many share.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::outbox::OutboxSender;
use super::{Outbound, SessionId};
use crate::telemetry::Counter;

/// Most messages for devices that wait in a shared channel; more than a group commit makes.
const SHARED_MAX: usize = 4096;

/// The way back to one session.
#[derive(Debug)]
pub enum Replies {
    /// A queue of its own; if it is full, the session is to be given up.
    Own(OutboxSender),
    /// One that it shares.
    Shared(SessionReplies),
}

/// Nobody listens, or not fast enough: the session is to be given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deaf;

impl Replies {
    /// Says something to the session, without waiting.
    pub fn say(&self, message: Outbound) -> Result<(), Deaf> {
        match self {
            Self::Own(sender) => sender.try_send(message).map_err(|_| Deaf),
            Self::Shared(shared) => shared.say(message),
        }
    }

    /// Whether others have the same way.
    pub const fn is_shared(&self) -> bool {
        matches!(self, Self::Shared(_))
    }
}

impl From<OutboxSender> for Replies {
    fn from(sender: OutboxSender) -> Self {
        Self::Own(sender)
    }
}

/// What comes out of a shared channel, for one session.
#[derive(Debug)]
pub enum Reply {
    /// The acceptor says this.
    Said(Outbound),
    /// The acceptor says nothing more: it gave the session up, or was told of its end.
    GivenUp,
}

type Shared = (SessionId, Reply, Option<OwnedSemaphorePermit>);

/// A channel that many sessions share. PUBACKs, of which there are never more than messages in
/// flight, always find room; publishes beyond a limit are dropped and counted, since the device
/// asks again.
#[derive(Clone, Debug)]
pub struct SharedReplies {
    sender: mpsc::UnboundedSender<Shared>,
    room: Arc<Semaphore>,
    unsent: Counter,
}

/// The other end of a shared channel.
#[derive(Debug)]
pub struct SharedReceiver(mpsc::UnboundedReceiver<Shared>);

impl SharedReplies {
    /// A channel; `unsent` counts what found no room.
    pub fn new(unsent: Counter) -> (Self, SharedReceiver) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let room = Arc::new(Semaphore::new(SHARED_MAX));
        (Self { sender, room, unsent }, SharedReceiver(receiver))
    }

    /// The way back to this session.
    pub fn of(&self, session: SessionId) -> SessionReplies {
        SessionReplies { session, shared: self.clone() }
    }
}

impl SharedReceiver {
    /// The next, once there is one; none when all senders are gone.
    ///
    /// Cancel safe.
    pub async fn recv(&mut self) -> Option<(SessionId, Reply)> {
        self.0.recv().await.map(|(session, reply, _)| (session, reply))
    }
}

/// One session's share of a channel. Dropped, it says so at the other end.
#[derive(Debug)]
pub struct SessionReplies {
    session: SessionId,
    shared: SharedReplies,
}

impl SessionReplies {
    fn say(&self, message: Outbound) -> Result<(), Deaf> {
        let SharedReplies { sender, room, unsent } = &self.shared;
        let permit = match message {
            Outbound::PubAck(_) | Outbound::Close => None,
            Outbound::Publish(..) => {
                let Ok(permit) = Arc::clone(room).try_acquire_owned() else {
                    unsent.add(1);
                    return Ok(());
                };
                Some(permit)
            }
        };
        sender.send((self.session, Reply::Said(message), permit)).map_err(|_| Deaf)
    }
}

impl Drop for SessionReplies {
    fn drop(&mut self) {
        // An error means that nobody is interested any more.
        drop(self.shared.sender.send((self.session, Reply::GivenUp, None)));
    }
}

#[cfg(test)]
mod tests {
    use protocol::topic::Channel;

    use super::*;

    #[tokio::test]
    async fn publishes_beyond_the_limit_are_dropped_and_pubacks_never() {
        let unsent = Counter::default();
        let (shared, mut receiver) = SharedReplies::new(unsent.clone());
        let replies = Replies::Shared(shared.of(SessionId(7)));
        for _ in 0..SHARED_MAX + 3 {
            replies.say(Outbound::Publish(Channel::Ack, vec![1])).unwrap();
        }
        assert_eq!(unsent.get(), 3);
        replies.say(Outbound::PubAck(5)).unwrap();
        drop(replies);
        for _ in 0..SHARED_MAX {
            let (session, reply) = receiver.recv().await.unwrap();
            assert!(matches!(reply, Reply::Said(Outbound::Publish(..))) && session == SessionId(7));
        }
        assert!(matches!(receiver.recv().await, Some((_, Reply::Said(Outbound::PubAck(5))))));
        assert!(matches!(receiver.recv().await, Some((_, Reply::GivenUp))));
        let room = shared.of(SessionId(8));
        room.say(Outbound::Publish(Channel::Ack, vec![1])).unwrap();
        assert_eq!(unsent.get(), 3, "what was received made room");
    }
}
