//! What an operator has an agent do about devices: done when the agent runs, and tried again until
//! it is; and whether those who are shut out are.

use std::collections::{BTreeMap, VecDeque};

use agent::forward::aside;
use agent::registry::{Credentials, Erasure, RegistryError};
use protocol::topic::Channel;
use protocol::{Counts, DeviceId, Generation};

use super::fault::Order;
use super::host::{Dice, Host, Said};
use super::life::{Life, data_dir};
use super::planted::Planted;
use super::sink::Running;
use super::source::Lineage;
use super::truth::Violation;
use crate::chance::Chance;

/// How often it is looked at what was taken of those who are shut out, in seconds.
const LOOK_EVERY_S: u64 = 60;

/// One order about one device.
#[derive(Clone, Debug)]
pub(super) struct Errand {
    pub device: DeviceId,
    pub of: Lineage,
    pub order: Order,
    /// What it had measured when it was given.
    pub next: u64,
    /// The generation before the first attempt at it.
    before: Option<Generation>,
    /// It is removed already.
    is_removed: bool,
}

/// All of an agent's.
#[derive(Debug, Default)]
pub(super) struct Errands {
    waiting: VecDeque<Errand>,
    /// Done, with what the device is given, by the seed of the order.
    given: BTreeMap<u64, Option<Credentials>>,
    /// Shut out; and what was held of them then, as soon as nothing was waiting any more.
    shut_out: BTreeMap<DeviceId, Option<Counts>>,
}

impl Errands {
    pub(super) fn push(&mut self, device: DeviceId, of: Lineage, order: Order, next: u64) {
        let errand = Errand { device, of, order, next, before: None, is_removed: false };
        self.waiting.push_back(errand);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// What came of the order with this seed, once it is done: a credential, or none.
    pub(super) fn given(&self, seed: u64) -> Option<Vec<Credentials>> {
        self.given.get(&seed).map(|given| given.iter().cloned().collect())
    }

    /// I1: nothing of a device that is shut out is acknowledged, and nothing is taken.
    pub(super) fn check(
        &mut self,
        now_s: u64,
        life: &Life,
        said: &[(u64, Said)],
    ) -> Result<(), Violation> {
        for (session, said) in said {
            let device = life.sessions.get(session).map(|(device, _)| *device);
            let Some(device) = device.filter(|device| self.is_settled(device)) else { continue };
            if matches!(said, Said::Message(message) if message.channel == Channel::Ack) {
                let what = format!("{device} is acknowledged, and was shut out before");
                return Err(Violation::new("I1", what));
            }
        }
        if life.acceptor.is_waiting() {
            return Ok(());
        }
        let is_time = now_s.is_multiple_of(LOOK_EVERY_S);
        for (device, held) in self.shut_out.iter_mut().filter(|(_, held)| is_time || held.is_none())
        {
            // What cannot be read now is read the next time.
            let Ok(sums) = life.acceptor.rings().sums_of(*device) else { continue };
            let (_, now) = sums.unwrap_or_default();
            let before = held.get_or_insert(now);
            if now.samples > before.samples || now.events > before.events {
                let what =
                    format!("{device} is shut out, and {now:?} are held of it, not {before:?}");
                return Err(Violation::new("I1", what));
            }
        }
        Ok(())
    }

    fn is_settled(&self, device: &DeviceId) -> bool {
        self.shut_out.get(device).is_some_and(Option::is_some)
    }
}

/// What came of an attempt.
enum Came {
    Done(Option<Credentials>),
    /// Tried again in the next second.
    Not,
}

impl From<Result<(), RegistryError>> for Came {
    fn from(done: Result<(), RegistryError>) -> Self {
        match done {
            Ok(()) | Err(RegistryError::Unknown(_)) => Self::Done(None),
            Err(_) => Self::Not,
        }
    }
}

impl Host {
    /// Does what is to be done about devices.
    pub(super) fn run_errands(&mut self, now_s: u64) {
        while let Some(mut errand) = self.errands.waiting.pop_front() {
            match self.attempt(now_s, &mut errand) {
                Came::Done(given) => {
                    // A copy of the disk from before knows nothing of it.
                    self.kept = None;
                    if let Order::Rotate { seed } | Order::Renew { seed } = errand.order {
                        self.errands.given.insert(seed, given);
                    }
                    let device = errand.device;
                    match errand.order {
                        Order::Revoke | Order::Decommission | Order::Erase => {
                            self.errands.shut_out.insert(device, None);
                        }
                        Order::Recommission | Order::Renew { .. } => {
                            self.errands.shut_out.remove(&device);
                        }
                        Order::Rotate { .. } => {}
                    }
                }
                Came::Not => {
                    self.errands.waiting.push_front(errand);
                    break;
                }
            }
        }
    }

    fn attempt(&mut self, now_s: u64, errand: &mut Errand) -> Came {
        let now_ms = self.now_ms(now_s);
        let heeds = self.planted != Some(Planted::RevokedHeard);
        let Some(life) = &mut self.life else { return Came::Not };
        let device = errand.device;
        let came = match errand.order {
            Order::Revoke if !heeds => Came::Done(None),
            Order::Revoke => life.registry.revoke(device, now_ms).into(),
            Order::Decommission => life.registry.decommission(device, now_ms).map(drop).into(),
            Order::Recommission => life.registry.recommission(device).into(),
            Order::Rotate { seed } => rotate(life, errand, seed),
            Order::Renew { seed } => renew(life, errand, seed, now_ms),
            Order::Erase => return self.erase(now_ms, errand),
        };
        if heeds && !matches!(errand.order, Order::Rotate { .. } | Order::Recommission) {
            life.acceptor.forget(&device);
        }
        came
    }

    /// As the agent does it: the registry first, then everywhere else, then the record of it.
    fn erase(&mut self, now_ms: i64, errand: &Errand) -> Came {
        let device = errand.device;
        let Some(life) = &mut self.life else { return Came::Not };
        if life.registry.erase(device, now_ms, |_| String::new()).is_err() {
            return Came::Not;
        }
        life.acceptor.forget(&device);
        for slot in self.slots.iter_mut().chain(&mut self.retired) {
            slot.erase(errand.of, errand.next);
        }
        if life.acceptor.erase(now_ms, &device).is_err() {
            return Came::Not;
        }
        let mut is_whole = true;
        for (sink, slot) in life.sinks.iter_mut().zip(&self.slots) {
            // It stands still meanwhile, and what it was given and had not taken is read anew.
            sink.end();
            *sink = Running::new();
            let aside = aside::erase(&life.storage, &data_dir(), &slot.name, device);
            is_whole &= aside.is_ok();
        }
        let subject = life.registry.subject_of(device);
        let erasure = Erasure { subject, at_ms: now_ms, pending: None, proof: String::new() };
        if is_whole && life.registry.erased(&erasure).is_ok() {
            Came::Done(None)
        } else {
            Came::Not
        }
    }
}

/// A new secret; the same for the same seed, whichever agent draws it, and drawn once.
fn rotate(life: &Life, errand: &mut Errand, seed: u64) -> Came {
    let device = errand.device;
    let current = match life.registry.show(device) {
        Ok(Some(entry)) => entry.current,
        Ok(None) => return Came::Done(None),
        Err(_) => return Came::Not,
    };
    if *errand.before.get_or_insert(current) != current {
        return secret(life, device, current);
    }
    match life.registry.rotate(device, &mut Dice(Chance::new(seed, 9))) {
        Ok(rotated) => Came::Done(Some(rotated)),
        Err(
            RegistryError::GenerationsLive(_)
            | RegistryError::Revoked(_)
            | RegistryError::Decommissioned(_)
            | RegistryError::Unknown(_),
        ) => Came::Done(None),
        Err(_) => Came::Not,
    }
}

/// Removed, and added again.
fn renew(life: &Life, errand: &mut Errand, seed: u64, now_ms: i64) -> Came {
    let device = errand.device;
    if !errand.is_removed {
        match life.registry.remove(device) {
            Ok(()) | Err(RegistryError::Unknown(_)) => errand.is_removed = true,
            Err(_) => return Came::Not,
        }
    }
    match life.registry.add(device, now_ms, &mut Dice(Chance::new(seed, 9))) {
        Ok(added) => Came::Done(Some(added)),
        Err(RegistryError::Exists(_)) => secret(life, device, Generation::FIRST),
        Err(_) => Came::Not,
    }
}

fn secret(life: &Life, device: DeviceId, generation: Generation) -> Came {
    let given = life.registry.secret_to_read(device, generation).and_then(|secret| {
        let registration = life.registry.show(device)?.and_then(|entry| entry.registration);
        Ok(secret.map(|secret| Credentials { device, generation, registration, secret }))
    });
    given.map_or(Came::Not, Came::Done)
}
