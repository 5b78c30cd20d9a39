//! The devices: a ring and a session each, and who of them has something to say.

use std::collections::{HashMap, VecDeque};

use firmware::session::Acknowledged;
use protocol::{Secret, Seq};

use super::wire::{Told, Uplink, What};
use crate::chance::Chance;
use crate::light::{Keys, LANE, Ring, Shape, name};

/// Messages that the other side has not taken over, at most: as the agent's port grants.
const IN_FLIGHT_MAX: u8 = 16;
/// Messages that a device says at once, at most.
pub(super) const SAID_MAX: usize = 20;

/// A device's flash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Flash {
    /// Frames that it keeps.
    pub kept_max: u64,
    /// Frames that go at once when it is full.
    pub sector: u64,
}

#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct Device {
    ring: Ring,
    secret: Secret,
    /// None: 0.
    session: u64,
    /// Its ring was acknowledged in this session.
    is_heard: bool,
    /// The next to send.
    cursor: u64,
    acked: u64,
    /// What the last hello said is the first that is kept.
    told_first: u64,
    in_flight: u8,
    /// Sent when it last measured, and nothing was acknowledged since: it connects anew.
    is_stuck: bool,
    has_progressed: bool,
    /// It is in the queue of those that have something to say.
    is_queued: bool,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Fleet {
    devices: Vec<Device>,
    flash: Flash,
    /// Whose session it is.
    sessions: HashMap<u64, u32>,
    /// Who has something to say.
    queue: VecDeque<u32>,
    next_session: u64,
    chance: Chance,
    pub hellos: u64,
    pub connections: u64,
    pub sent: u64,
}

impl Fleet {
    pub(super) fn new(secrets: &[[u8; 32]], shape: Shape, flash: Flash, seed: u64) -> Self {
        let device = |(number, secret): (u32, &[u8; 32])| Device {
            ring: Ring::new(number, shape),
            secret: Secret::new(*secret),
            session: 0,
            is_heard: false,
            cursor: 1,
            acked: 0,
            told_first: 0,
            in_flight: 0,
            is_stuck: false,
            has_progressed: false,
            is_queued: false,
        };
        Self {
            devices: (0_u32..).zip(secrets).map(device).collect(),
            flash,
            sessions: HashMap::new(),
            queue: VecDeque::new(),
            next_session: 1,
            chance: Chance::new(seed, 1),
            hellos: 0,
            connections: 0,
            sent: 0,
        }
    }

    /// A device measured for a frame; if nothing that it sent before the last one is acknowledged,
    /// it connects anew.
    pub(super) fn measure(&mut self, number: u32) {
        let flash = self.flash;
        let Some(device) = self.device(number) else { return };
        device.ring.take(flash.kept_max, flash.sector);
        let waits = device.session != 0 && (device.in_flight > 0 || !device.is_heard);
        device.is_stuck |= waits && !device.has_progressed;
        device.has_progressed = false;
        self.enqueue(number);
    }

    /// What the next devices in the queue say, of as many as find room.
    pub(super) fn say(&mut self, room: usize) -> Vec<Uplink> {
        let mut uplinks = Vec::new();
        while uplinks.len() + SAID_MAX <= room {
            let Some(number) = self.queue.pop_front() else { break };
            if let Some(device) = self.device(number) {
                device.is_queued = false;
            }
            self.speak(number, &mut uplinks);
        }
        uplinks
    }

    /// Whether somebody has something to say.
    pub(super) fn has_queued(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Takes what the agent told a session.
    pub(super) fn hear(&mut self, session: u64, told: &Told) -> Result<(), String> {
        // Of an older session: nobody listens.
        let Some(number) = self.sessions.get(&session).copied() else { return Ok(()) };
        let Some(device) = self.device(number) else { return Ok(()) };
        match told {
            Told::PubAck => device.in_flight = device.in_flight.saturating_sub(1),
            Told::Close => device.is_stuck = true,
            Told::Ack(bytes) => {
                let ack =
                    device.keys()?.ack(number, bytes).ok_or("an ack that is not authentic")?;
                if ack.lane == LANE {
                    device.acknowledged(ack.durable, ack.repeat)?;
                }
            }
        }
        if device.may_say() {
            self.enqueue(number);
        }
        Ok(())
    }

    /// Whether an agent holds all that any device has.
    pub(super) fn is_idle(&self) -> bool {
        self.devices.iter().all(|device| device.ring.first() == device.ring.next())
    }

    /// All that are not idle say something again, in a session of their own.
    pub(super) fn rouse(&mut self) {
        for number in (0_u32..).take(self.devices.len()) {
            let Some(device) = self.device(number) else { continue };
            if device.ring.first() != device.ring.next() && !device.has_progressed {
                device.is_stuck = true;
                self.enqueue(number);
            } else {
                device.has_progressed = false;
            }
        }
    }

    /// Frames of samples that a device took.
    pub(super) fn frames(&self, number: usize) -> u64 {
        self.devices.get(number).map_or(0, |device| device.ring.frames())
    }

    /// Frames of samples that were taken, and that were dropped.
    pub(super) fn totals(&self) -> (u64, u64) {
        let add = |(taken, dropped): (u64, u64), device: &Device| {
            (taken + device.ring.frames(), dropped + device.ring.dropped)
        };
        self.devices.iter().fold((0, 0), add)
    }

    /// How many have said hello and were answered.
    pub(super) fn known(&self) -> usize {
        self.devices.iter().filter(|device| device.acked > 0).count()
    }

    fn device(&mut self, number: u32) -> Option<&mut Device> {
        self.devices.get_mut(usize::try_from(number).ok()?)
    }

    fn enqueue(&mut self, number: u32) {
        let Some(device) = self.device(number) else { return };
        if !std::mem::replace(&mut device.is_queued, true) {
            self.queue.push_back(number);
        }
    }

    fn speak(&mut self, number: u32, uplinks: &mut Vec<Uplink>) {
        let (draw, next_session) = (self.chance.draw(), self.next_session);
        let Some(device) = self.device(number) else { return };
        let older = device.session;
        let connects = older == 0 || device.is_stuck;
        let mut said = Vec::new();
        if connects {
            device.open(next_session);
        }
        let session = device.session;
        let says_hello = connects || device.has_gap();
        if says_hello {
            said.extend(device.hello(draw).map(What::Hello));
        } else {
            device.send(&mut said);
        }
        let uplink = |session, what| Uplink { device: number, session, what };
        if connects {
            if older != 0 {
                uplinks.push(uplink(older, What::Closed));
                self.sessions.remove(&older);
            }
            uplinks.push(uplink(session, What::Opened));
            self.sessions.insert(session, number);
            self.next_session += 1;
            self.connections += 1;
        }
        self.hellos += u64::from(says_hello);
        self.sent += if says_hello { 0 } else { said.len() as u64 };
        uplinks.extend(said.into_iter().map(|what| uplink(session, what)));
    }
}

impl Device {
    fn keys(&self) -> Result<Keys, String> {
        let device = name(self.ring.device()).ok_or("no such name")?;
        Ok(Keys { device, secret: self.secret.clone() })
    }

    fn open(&mut self, session: u64) {
        self.session = session;
        self.is_heard = false;
        self.is_stuck = false;
        self.in_flight = 0;
        self.told_first = 0;
    }

    /// Frames went that were never sent: only the counts of a hello account for them.
    fn has_gap(&self) -> bool {
        let first = self.ring.first().0;
        self.is_heard && self.cursor < first && self.told_first < first
    }

    fn hello(&mut self, draw: u64) -> Option<Vec<u8>> {
        self.told_first = self.ring.first().0;
        self.in_flight = self.in_flight.saturating_add(1);
        let acknowledged = Acknowledged { through: Seq(self.acked), ..Acknowledged::default() };
        self.keys().ok()?.hello(&self.ring, acknowledged, draw)
    }

    fn send(&mut self, said: &mut Vec<What>) {
        let Ok(keys) = self.keys() else { return };
        if !self.is_heard {
            return;
        }
        self.cursor = self.cursor.max(self.ring.first().0);
        while self.in_flight < IN_FLIGHT_MAX
            && let Some(frame) = self.ring.frame(&keys, Seq(self.cursor))
        {
            said.push(What::Frame(frame));
            self.cursor += 1;
            self.in_flight += 1;
        }
    }

    fn may_say(&self) -> bool {
        let has_more = self.cursor < self.ring.next().0 && self.in_flight < IN_FLIGHT_MAX;
        self.is_stuck || (self.is_heard && has_more)
    }

    fn acknowledged(&mut self, durable: Seq, repeat: bool) -> Result<(), String> {
        if durable >= self.ring.next() {
            return Err(format!("number {durable} is acknowledged and was never given out"));
        }
        self.has_progressed |= durable.0 > self.acked || !self.is_heard;
        self.acked = self.acked.max(durable.0);
        if !self.is_heard || repeat {
            self.cursor = durable.0 + 1;
        }
        self.is_heard = true;
        self.ring.release(durable);
        Ok(())
    }
}
