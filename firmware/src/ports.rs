//! What the core needs from outside: the time, readings, a link, chance. Flash is
//! `embedded_storage`'s `NorFlash`, handed into each call.

use protocol::topic::Channel;
use protocol::{Clock, Sample, SignalIndex};

/// The time, as the driver reads it once per poll (I7: time is an input).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Now {
    /// Milliseconds since this boot, monotonic. Runs the link's timers and the age of batches.
    pub uptime_ms: u64,
    /// The board's own wall clock, if it has one: milliseconds since 1970 UTC and their worth.
    pub wall: Option<(i64, Clock)>,
}

/// What only the board can measure of itself, for the heartbeat.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Vitals {
    /// Least stack left since the boot, in bytes; 0 where it is not measured.
    pub stack_free: u32,
    /// Supply voltage in millivolts; 0 where it is not measured.
    pub supply_mv: u32,
}

/// When a poll is next needed at the latest, in uptime milliseconds. Earlier does no harm.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Deadline(pub u64);

/// One reading of one signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reading {
    /// The value; its tick counts by the source's own clock, backward steps included.
    pub sample: Sample,
    /// What the tick counts from, and its worth.
    pub clock: Clock,
}

/// Where readings come from: drivers of sensors and buses, or a trace.
pub trait Source {
    /// The next reading the source offers by itself, if one is there.
    fn next(&mut self, now: &Now) -> Option<Reading>;
    /// Reads one signal now, for a periodic rule.
    fn read(&mut self, signal: SignalIndex, now: &Now) -> Option<Reading>;
    /// What stands beside the value of the reading that was given last: of bytes and of text.
    fn content(&self) -> &[u8] {
        &[]
    }
    /// When [`Source::next`] has its next reading, in uptime milliseconds, if it knows.
    fn due(&self) -> Option<u64>;
}

/// The link cannot take the message now; it says [`LinkEvent::Published`] when it can again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the link is busy")]
pub struct WouldBlock;

/// The way to an agent. Bounded: it holds a few messages each way, no more.
pub trait Link {
    /// Asks for a connection; [`LinkEvent::Up`] or [`LinkEvent::Down`] tells how it went.
    fn connect(&mut self, now_ms: u64);
    /// Gives the connection up, at once and without an event.
    fn disconnect(&mut self, now_ms: u64);
    /// Whether [`Link::publish`] would take a message: worth reading one from flash.
    fn is_ready(&self) -> bool;
    /// Takes a message, at least once delivered to the next hop (`QoS::AtLeastOnce`).
    fn publish(&mut self, channel: Channel, payload: &[u8]) -> Result<(), WouldBlock>;
    /// What happened since; the bytes of a message are put into `into`.
    fn event(&mut self, now_ms: u64, into: &mut [u8]) -> Option<LinkEvent>;
}

/// What a link tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkEvent {
    /// Connected, and subscribed to the device's own downlink.
    Up,
    /// The connection failed or ended.
    Down {
        /// The other side asked for time: it is full.
        busy: bool,
    },
    /// The next hop took a message over. Paces the link; frees nothing (I1).
    Published,
    /// A message came.
    Message {
        /// Where.
        channel: Channel,
        /// Bytes of it in the buffer.
        len: usize,
    },
}

/// Chance: for ring ids, challenges, nonces and jitter.
pub trait Entropy {
    /// Fills `bytes` with what nobody can foresee.
    fn fill(&mut self, bytes: &mut [u8]);
}

/// Everything a poll works on.
#[derive(Debug)]
pub struct Ports<'a, F, S, L, E> {
    /// The flash that the layout speaks of.
    pub flash: &'a mut F,
    /// Where readings come from.
    pub source: &'a mut S,
    /// The way out.
    pub link: &'a mut L,
    /// Chance.
    pub entropy: &'a mut E,
}
