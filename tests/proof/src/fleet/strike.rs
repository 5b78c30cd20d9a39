//! What each fault of a device does.

use protocol::Lane;

use super::device::{Device, Kept, Nor};
use super::fault::{Fault, Order};
use super::planted::Planted;
use super::source::Lineage;
use super::stream::Allowance;
use super::world::World;

/// Copies of a device at most: each is a device more.
const COPIES_MAX: usize = 3;
/// Anything may be missing, anywhere.
const ALL: Allowance = Allowance { from: 0, to: u64::MAX, most: u64::MAX };

impl World {
    /// A fault strikes.
    pub(super) fn strike(&mut self, fault: Fault) {
        self.tally.faults += 1;
        self.note(|| fault.to_string());
        let now_s = self.now_s;
        match fault {
            Fault::Cut { device: at, operations: Some(operations), .. } => {
                if let Some(device) = self.devices.get_mut(at).filter(|device| device.is_on()) {
                    device.flash.cut_after(operations);
                }
            }
            Fault::Cut { device: at, operations: None, off_s } => {
                let kept = self.devices.get(at).and_then(|device| device.kept.clone());
                self.switch_off(at, now_s + off_s);
                if self.planted == Some(Planted::SeqReused)
                    && let (Some(device), Some(kept)) = (self.devices.get_mut(at), kept)
                {
                    device.flash = kept.flash;
                }
            }
            Fault::Keep { device } => {
                if let Some(device) = self.devices.get_mut(device) {
                    device.keep();
                }
            }
            Fault::RollBack { device } => self.roll_back(device),
            Fault::Format { device } => self.format(device),
            Fault::Copy { device } => self.copy(device),
            Fault::Rot { device, at } => self.rot(device, at),
            Fault::Offline { device, for_s } => {
                for (at, other) in self.devices.iter_mut().enumerate() {
                    if device.is_none_or(|device| device == at) {
                        other.offline_until_s = other.offline_until_s.max(now_s + for_s);
                    }
                }
            }
            Fault::HalfOpen { device, for_s } => {
                if let Some(device) = self.devices.get_mut(device) {
                    device.wire.silent_until_s = now_s + for_s;
                }
            }
            Fault::DeviceClock { device, by_s } => {
                if let Some(device) = self.devices.get_mut(device) {
                    device.leap(by_s);
                }
            }
            Fault::Update { device, image } => self.update(device, image),
            Fault::Order { device, order } => self.obey(device, order),
            _ => self.strike_agent(fault),
        }
    }

    fn roll_back(&mut self, at: usize) {
        let Some(device) = self.devices.get_mut(at) else { return };
        let Some(Kept { flash, next: then, is_ended }) = device.kept.take() else { return };
        self.switch_off(at, self.now_s + 1);
        let Some(device) = self.devices.get_mut(at) else { return };
        device.flash = flash;
        let (of, next) = (device.drive.of, device.drive.next);
        device.was_rolled_back = true;
        // What only the newer content had is gone, and what was open when it was kept.
        let from = then.min(next).saturating_sub(2000);
        self.allow(of, from, next, next - from);
        self.each_truth(|truth| truth.may_overstate(of));
        if is_ended {
            self.each_truth(|truth| truth.goes_back(of, then));
        }
        self.allow_two_histories();
    }

    fn format(&mut self, at: usize) {
        self.switch_off(at, self.now_s + 1);
        let Some(device) = self.devices.get_mut(at) else { return };
        let sectors = device.flash.erases.len();
        device.flash = Nor::new(sectors, self.now_s);
        if let Some(kept) = &mut device.kept {
            kept.is_ended = true;
        }
        let (of, next) = (device.drive.of, device.drive.next);
        self.allow(of, 0, next, next);
        // What an agent had of the rings that end here is said all the same, where a sink lacks it.
        self.each_truth(|truth| truth.may_overstate(of));
    }

    fn rot(&mut self, device: usize, at: u64) {
        let Some(device) = self.devices.get_mut(device) else { return };
        let bytes = device.flash.bytes_mut();
        let bit = at.checked_rem(8 * bytes.len() as u64).unwrap_or(0);
        if let Some(byte) = usize::try_from(bit / 8).ok().and_then(|at| bytes.get_mut(at)) {
            *byte ^= 1 << (bit % 8);
        }
    }

    /// Another image, over a boot.
    fn update(&mut self, at: usize, image: u32) {
        let Some(device) = self.devices.get_mut(at) else { return };
        device.image = image;
        let of = device.drive.of;
        self.switch_off(at, self.now_s + 5);
        // An agent that has not met the old image meets its frames all the same.
        self.each_truth(|truth| truth.may_be_aside(of));
    }

    /// What an operator decides about a device goes to every agent; copies of a device are not told
    /// apart.
    fn obey(&mut self, at: usize, order: Order) {
        let Some(device) = self.devices.get_mut(at) else { return };
        let (id, of, is_out) = (device.id, device.drive.of, device.is_out);
        let is_back = matches!(order, Order::Renew { .. });
        if of.copy > 0 || (is_out && !is_back) {
            return;
        }
        let goes = matches!(order, Order::Revoke | Order::Erase);
        for device in self.devices.iter_mut().filter(|device| device.id == id) {
            device.is_out = goes || (device.is_out && !is_back);
            device.is_renewed |= is_back;
        }
        if is_back {
            // What is in the flash and in journals under the old secret nobody reads any more.
            let next = self.devices.get(at).map_or(0, |device| device.drive.next);
            self.allow(of, 0, next, next);
            self.each_truth(|truth| truth.may_overstate(of));
        }
        self.order(id, of, order);
        // A copy of a disk from before knows nothing of it.
        self.hosts.iter_mut().for_each(|host| host.kept = None);
    }

    /// A device that was rolled back, and an agent that was, or that it had not spoken to: neither
    /// can tell that the other's numbers are of another history, and sinks know numbers alone. And of a
    /// ring that a fork left behind, nobody tells the one of two agents that never met it.
    pub(super) fn allow_two_histories(&mut self) {
        if !self.was_restored && self.hosts.len() == 1 {
            return;
        }
        let rolled = self.devices.iter().filter(|device| device.was_rolled_back);
        for of in rolled.map(|device| device.drive.of).collect::<Vec<Lineage>>() {
            self.each_truth(|truth| {
                truth.allow(of, Lane::Bulk, ALL);
                truth.allow(of, Lane::Latest, ALL);
            });
        }
    }

    /// A second device of the same name, from a flash that was kept.
    fn copy(&mut self, at: usize) {
        let Some(device) = self.devices.get_mut(at) else { return };
        let Some(Kept { flash, .. }) = device.kept.take() else { return };
        let copies = self.devices.iter().filter(|device| device.drive.of.copy > 0).count();
        if copies >= COPIES_MAX {
            return;
        }
        let copy = copies as u64 + 1;
        let seed = self.now_s;
        if let Some(original) = self.devices.get(at) {
            let device = Device::copy_of(original, flash, copy, seed);
            let Lineage { vehicle, .. } = device.drive.of;
            // What is said of a ring that two devices write is said of either.
            for copy in 0..=copy {
                let of = Lineage { vehicle, copy };
                self.each_truth(|truth| truth.may_overstate(of));
                self.allow(of, 0, u64::MAX, u64::MAX);
            }
            self.add(device);
            self.note(|| format!("vehicle {vehicle} has a double"));
        }
    }
}
