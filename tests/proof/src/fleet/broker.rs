//! What a broker has for one agent, and does to it: as bad as one may be.

use std::collections::{BTreeMap, VecDeque};

use protocol::DeviceId;

use super::host::{Arriving, Host};
use super::network::{Message, Weather};
use crate::chance::Chance;

/// Messages that it keeps for an agent that is away; then the oldest go, as with any broker.
const QUEUED_MAX: usize = 400;
/// Old messages that it remembers, to send them again.
const RECORDED_MAX: usize = 64;
/// Messages on the agent's side that it has not taken, at most.
const INBOX_MAX: usize = 256;

/// The broker.
#[derive(Clone, Debug, Default)]
pub(super) struct Broker {
    queue: VecDeque<(u64, DeviceId, Message)>,
    /// Delivered, and not yet acknowledged by the agent.
    unacked: BTreeMap<u16, (DeviceId, Message)>,
    sessions: BTreeMap<DeviceId, u64>,
    recorded: Vec<(DeviceId, Message)>,
    packet: u16,
}

/// A bit of it is another.
pub(super) fn garble(chance: &mut Chance, message: &mut Message) {
    let at = chance.index(message.payload.len());
    let bit = 1 << chance.below(8);
    if let Some(byte) = message.payload.get_mut(at) {
        *byte ^= bit;
    }
}

/// One time in 10,000, so often.
pub(super) fn happens(chance: &mut Chance, rate: u64) -> bool {
    rate > 0 && chance.below(10_000) < rate
}

impl Broker {
    /// Takes a message over from a device.
    pub(super) fn publish(
        &mut self,
        now_s: u64,
        (weather, chance): (&Weather, &mut Chance),
        mut device: DeviceId,
        mut message: Message,
        others: &[DeviceId],
    ) {
        if self.recorded.len() < RECORDED_MAX {
            self.recorded.push((device, message.clone()));
        } else if let Some(old) = self.recorded.get_mut(chance.index(RECORDED_MAX)) {
            *old = (device, message.clone());
        }
        if happens(chance, weather.replay)
            && let Some((device, message)) = self.recorded.get(chance.index(self.recorded.len()))
        {
            self.queue.push_back((now_s, *device, message.clone()));
        }
        if happens(chance, weather.lose) {
            return;
        }
        if happens(chance, weather.garble) {
            garble(chance, &mut message);
        }
        if happens(chance, weather.misplace) {
            device = chance.pick(others).unwrap_or(device);
        }
        let late = if happens(chance, weather.late) { chance.below(30) } else { 0 };
        if happens(chance, weather.twice) {
            self.queue.push_back((now_s + chance.below(60), device, message.clone()));
        }
        self.queue.push_back((now_s + late, device, message));
        while self.queue.len() > QUEUED_MAX {
            self.queue.pop_front();
        }
    }

    /// Hands over to the agent what has arrived.
    pub(super) fn deliver(&mut self, now_s: u64, host: &mut Host) {
        if !host.is_up() {
            return;
        }
        let mut later = VecDeque::new();
        while let Some((due, device, message)) = self.queue.pop_front() {
            if due > now_s || host.inbox.len() >= INBOX_MAX {
                later.push_back((due, device, message));
                continue;
            }
            let session = match self.sessions.get(&device) {
                Some(session) => *session,
                None => match host.open_session(now_s, device, None) {
                    Some(session) => {
                        self.sessions.insert(device, session);
                        session
                    }
                    None => continue,
                },
            };
            self.packet = self.packet.wrapping_add(1);
            let packet = self.packet;
            self.unacked.insert(packet, (device, message.clone()));
            host.inbox.push_back(Arriving { session, device, message, packet });
        }
        self.queue = later;
    }

    /// The agent has it.
    pub(super) fn taken(&mut self, packet: u16) {
        self.unacked.remove(&packet);
    }

    /// The agent ended a session.
    pub(super) fn closed(&mut self, now_s: u64, session: u64, host: &mut Host) {
        self.sessions.retain(|_, other| *other != session);
        host.close_session(now_s, session);
    }

    /// The device of a session.
    pub(super) fn device_of(&self, session: u64) -> Option<DeviceId> {
        self.sessions.iter().find(|(_, other)| **other == session).map(|(device, _)| *device)
    }

    /// The agent is gone: what it had not acknowledged comes again, in no order.
    pub(super) fn agent_gone(&mut self, now_s: u64) {
        self.sessions.clear();
        for (_, (device, message)) in std::mem::take(&mut self.unacked).into_iter().rev() {
            self.queue.push_front((now_s, device, message));
        }
    }

    /// Nothing is left of it.
    pub(super) fn forget(&mut self, now_s: u64, host: &mut Host) {
        self.queue.clear();
        self.unacked.clear();
        for (_, session) in std::mem::take(&mut self.sessions) {
            host.close_session(now_s, session);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}
