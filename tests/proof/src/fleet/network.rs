//! The way between devices and an agent: what is under way, and how it goes wrong.

use std::collections::VecDeque;

use firmware::ports::{Link, LinkEvent, WouldBlock};
use protocol::topic::Channel;

/// Messages that the next hop has not taken over, at most.
const IN_FLIGHT_MAX: usize = 16;

/// How bad the way is, of 10,000 messages each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Weather {
    /// Behind a broker, which takes a message over before the agent has it.
    pub is_broker: bool,
    pub lose: u64,
    pub twice: u64,
    pub late: u64,
    /// Bits flipped on the way.
    pub garble: u64,
    /// Delivered as if another device had sent it, or to another one.
    pub misplace: u64,
    /// An old message comes again, whoever it was for.
    pub replay: u64,
    /// The connection ends.
    pub cut: u64,
}

/// One message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Message {
    pub channel: Channel,
    pub payload: Vec<u8>,
}

/// A device's end of its link.
#[derive(Clone, Debug, Default)]
pub(super) struct Wire {
    pub is_up: bool,
    pub asked: bool,
    /// Sent, and when it arrives.
    pub uplink: VecDeque<(u64, Message)>,
    pub downlink: VecDeque<(u64, Message)>,
    pub events: VecDeque<LinkEvent>,
    pub in_flight: usize,
    pub now_s: u64,
    /// Until then nothing arrives, either way, and nobody is told.
    pub silent_until_s: u64,
}

impl Wire {
    /// The connection is gone, and the device is told.
    pub(super) fn drop_it(&mut self, busy: bool) {
        if self.is_up || self.asked {
            self.clear();
            self.events.push_back(LinkEvent::Down { busy });
        }
    }

    /// As a device finds it at its start.
    pub(super) fn clear(&mut self) {
        let (now_s, silent_until_s) = (self.now_s, self.silent_until_s);
        *self = Self { now_s, silent_until_s, ..Self::default() };
    }

    pub(super) fn open(&mut self) {
        (self.is_up, self.asked) = (true, false);
        self.events.push_back(LinkEvent::Up);
    }

    /// The next hop has it.
    pub(super) fn took_over(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.events.push_back(LinkEvent::Published);
    }

    pub(super) const fn is_silent(&self) -> bool {
        self.now_s < self.silent_until_s
    }
}

impl Link for Wire {
    fn connect(&mut self, _now_ms: u64) {
        self.asked = true;
    }

    fn disconnect(&mut self, _now_ms: u64) {
        self.clear();
    }

    fn is_ready(&self) -> bool {
        self.is_up && self.in_flight < IN_FLIGHT_MAX
    }

    fn publish(&mut self, channel: Channel, payload: &[u8]) -> Result<(), WouldBlock> {
        if !self.is_ready() {
            return Err(WouldBlock);
        }
        self.in_flight += 1;
        self.uplink.push_back((self.now_s, Message { channel, payload: payload.to_vec() }));
        Ok(())
    }

    fn event(&mut self, _now_ms: u64, into: &mut [u8]) -> Option<LinkEvent> {
        if let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        if self.is_silent() || self.downlink.front()?.0 > self.now_s {
            return None;
        }
        let (_, message) = self.downlink.pop_front()?;
        let len = message.payload.len().min(into.len());
        let (into, payload) = (into.get_mut(..len)?, message.payload.get(..len)?);
        into.copy_from_slice(payload);
        Some(LinkEvent::Message { channel: message.channel, len })
    }
}
