//! Intakes: bytes in, PUBACK out. What stands behind them is one pipeline: see [`crate::accept`].
//!
//! An intake owns connections and decides nothing about frames. It hands each message to the
//! acceptor with a way back to its session, and passes on what comes back.

use std::sync::atomic::{AtomicU64, Ordering};

use protocol::DeviceId;
use protocol::topic::Channel;
use tokio::sync::OwnedSemaphorePermit;

pub mod broker;
pub mod listen;
pub mod outbox;
mod replies;
pub mod serial;

pub use replies::{Deaf, Replies, Reply, SessionReplies, SharedReceiver, SharedReplies};

/// Says who may connect: the registry, or a map in tests.
pub trait Admit: Clone + Send + 'static {
    /// Whether this device may connect with this password.
    ///
    /// Called once per CONNECT, from the task of the connection: it must not block.
    fn admit(&self, device: &DeviceId, password: &[u8]) -> Admission;

    /// Whether this device, for which a broker vouches, may be heard at all.
    ///
    /// Called once per session, from an async task: it must not block.
    fn recognise(&self, device: &DeviceId) -> Admission;
}

/// What [`Admit::admit`] answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admission {
    /// Known, not revoked, and the password is right.
    Admitted,
    /// No such device.
    Unknown,
    /// The device was revoked.
    Revoked,
    /// Not this device's password.
    WrongPassword,
    /// Cannot be told now: the registry does not answer. The device is to come back.
    Unavailable,
}

/// One live connection of one device. Numbers are never used twice in one life of the agent.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct SessionId(pub u64);

impl SessionId {
    /// One that was never used, by any intake.
    pub fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// What an intake tells the acceptor.
#[derive(Debug)]
pub struct Inbound {
    /// From which session.
    pub session: SessionId,
    /// Whose session; authenticated by the intake.
    pub device: DeviceId,
    /// What happened.
    pub message: Message,
    /// The room that the payload takes in the intake's bound on queued bytes: given back when this
    /// is dropped, so drop it once the payload is journaled or thrown away. None without a payload.
    pub room: Option<Room>,
}

/// A share of an intake's bound on bytes that wait for the acceptor.
#[derive(Debug)]
pub struct Room(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

/// What can happen in a session: `Opened` comes first, `Closed` last, each exactly once.
///
/// When a device takes its own session over, the new one's `Opened` may come before the old one's
/// `Closed`: tell them apart by [`SessionId`], which only grows.
#[derive(Debug)]
pub enum Message {
    /// It began; everything for it goes this way. If that fails the session is given up: the device
    /// comes back and starts over from its hello.
    Opened(Replies),
    /// The device published.
    Published {
        /// Where to: one of the uplink channels, on the device's own topic.
        channel: Channel,
        /// The sealed bytes, at most [`protocol::frame::FRAME_LEN_MAX`].
        payload: Vec<u8>,
        /// For the PUBACK, once what it holds is durable; none at QoS 0.
        packet_id: Option<u16>,
    },
    /// It ended.
    Closed,
}

/// What the acceptor tells a session.
#[derive(Debug, PartialEq, Eq)]
pub enum Outbound {
    /// Acknowledge this packet.
    PubAck(u16),
    /// Publish to the device, at QoS 0, on its own topic.
    Publish(Channel, Vec<u8>),
    /// Close the connection; the device was revoked or a newer session took over.
    Close,
}
