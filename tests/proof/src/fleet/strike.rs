//! What each fault does.

use protocol::Lane;

use super::device::Device;
use super::plan::Fault;
use super::planted::Planted;
use super::source::Lineage;
use super::truth::Allowance;
use super::world::World;

/// Copies of a device at most: each is a device more.
const COPIES_MAX: usize = 3;

impl World {
    /// A fault strikes.
    pub(super) fn strike(&mut self, fault: Fault) {
        self.tally.faults += 1;
        self.note(|| fault.to_string());
        let now_s = self.now_s;
        match fault {
            Fault::Cut { .. }
            | Fault::Keep { .. }
            | Fault::RollBack { .. }
            | Fault::Format { .. }
            | Fault::Copy { .. }
            | Fault::Rot { .. }
            | Fault::Rotate { .. } => self.strike_device(fault),
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
            Fault::PowerCut { calls, after, leaves, down_s } => {
                use agent::storage::faulty::Fault as Disk;
                self.cut = (leaves, down_s);
                if let Some(calls) = calls {
                    let how = if after { Disk::CutAfter } else { Disk::CutBefore };
                    self.host.disk.fail(calls, how);
                } else {
                    self.host.cut(leaves, now_s + down_s);
                    self.agent_is_gone();
                }
            }
            Fault::Kill { down_s } => {
                self.host.kill(now_s + down_s);
                self.agent_is_gone();
            }
            Fault::Restart { down_s } => {
                self.host.stop(now_s, now_s + down_s);
                self.agent_is_gone();
            }
            Fault::DiskFails { calls, times, is_full } => {
                use agent::storage::faulty::Fault as Disk;
                let how = if is_full { Disk::NoSpace } else { Disk::Io };
                (calls..calls + times).for_each(|nth| self.host.disk.fail(nth, how));
            }
            Fault::DiskFull { left, for_s } => {
                self.host.disk.set_capacity(Some(self.host.disk.used() + left));
                self.disk_full_until_s = now_s + 1 + for_s;
            }
            Fault::SinkDown { for_s } => {
                self.host.sink.upstream().is_down = true;
                self.sink_down_until_s = now_s + 1 + for_s;
            }
            Fault::SinkDoubtful { times } => self.host.sink.upstream().doubtful += times,
            Fault::KeepDisk => self.host.kept = Some(self.host.disk.copy()),
            Fault::RestoreDisk { down_s } => {
                if self.host.kept.is_some() {
                    self.host.restore(now_s + down_s);
                    self.agent_is_gone();
                    self.was_restored = true;
                    self.allow_two_histories();
                    // Of what the sink has from before nobody knows the counts any more.
                    let mut upstream = self.host.sink.upstream();
                    for device in &self.devices {
                        upstream.truth.may_overstate(device.drive.of);
                    }
                }
            }
            Fault::Clock { by_s } => self.host.leap(by_s),
            Fault::BrokerForgets => self.broker.forget(now_s, &mut self.host),
        }
    }

    fn strike_device(&mut self, fault: Fault) {
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
                    && let (Some(device), Some((flash, _))) = (self.devices.get_mut(at), kept)
                {
                    device.flash = flash;
                }
            }
            Fault::Keep { device } => {
                if let Some(device) = self.devices.get_mut(device) {
                    device.kept = Some((device.flash.clone(), device.drive.next));
                }
            }
            Fault::RollBack { device: at } => {
                let Some(device) = self.devices.get_mut(at) else { return };
                let Some((flash, then)) = device.kept.take() else { return };
                self.switch_off(at, now_s + 1);
                let Some(device) = self.devices.get_mut(at) else { return };
                device.flash = flash;
                let (of, next) = (device.drive.of, device.drive.next);
                device.was_rolled_back = true;
                // What only the newer content had is gone, and what was open when it was kept.
                let from = then.min(next).saturating_sub(2000);
                self.allow(of, from, next, next - from);
                self.host.sink.upstream().truth.may_overstate(of);
                self.allow_two_histories();
            }
            Fault::Format { device: at } => {
                self.switch_off(at, now_s + 1);
                let Some(device) = self.devices.get_mut(at) else { return };
                let sectors = device.flash.erases.len();
                device.flash = super::device::Nor::new(sectors, now_s);
                let (of, next) = (device.drive.of, device.drive.next);
                self.allow(of, 0, next, next);
            }
            Fault::Copy { device: at } => self.copy(at),
            Fault::Rot { device, at } => {
                if let Some(device) = self.devices.get_mut(device) {
                    let bytes = device.flash.bytes_mut();
                    let bits = 8 * bytes.len() as u64;
                    let bit = at.checked_rem(bits).unwrap_or(0);
                    if let Some(byte) =
                        usize::try_from(bit / 8).ok().and_then(|at| bytes.get_mut(at))
                    {
                        *byte ^= 1 << (bit % 8);
                    }
                }
            }
            Fault::Rotate { device } => {
                let Some(id) = self.devices.get(device).map(|device| device.id) else { return };
                let Some((secret, generation)) = self.host.rotate(id) else { return };
                // A copy of the disk without the new secret is of no use to anyone any more.
                self.host.kept = None;
                for device in self.devices.iter_mut().filter(|device| device.id == id) {
                    device.rotated = Some((secret.clone(), generation));
                }
            }
            _ => {}
        }
    }

    /// A device that was rolled back, and an agent too: neither can tell that the other's numbers
    /// are of another history, and the sink knows numbers alone.
    fn allow_two_histories(&mut self) {
        let rolled = self.devices.iter().filter(|device| device.was_rolled_back);
        let rolled: Vec<Lineage> = rolled.map(|device| device.drive.of).collect();
        for of in rolled.into_iter().filter(|_| self.was_restored) {
            self.host.sink.upstream().truth.allow(
                of,
                Lane::Bulk,
                Allowance { from: 0, to: u64::MAX, most: u64::MAX },
            );
        }
    }

    /// A second device of the same name, from a flash that was kept.
    fn copy(&mut self, at: usize) {
        let Some(device) = self.devices.get_mut(at) else { return };
        let Some((flash, _)) = device.kept.take() else { return };
        let copies = self.devices.iter().filter(|device| device.drive.of.copy > 0).count();
        if copies >= COPIES_MAX {
            return;
        }
        let copy = copies as u64 + 1;
        let seed = self.now_s;
        if let Some(original) = self.devices.get(at) {
            let device = Device::copy_of(original, flash, copy, seed);
            let Lineage { vehicle, .. } = device.drive.of;
            let mut upstream = self.host.sink.upstream();
            (0..=copy).for_each(|copy| upstream.truth.may_overstate(Lineage { vehicle, copy }));
            drop(upstream);
            // What is said of a ring that two devices write is said of either.
            for copy in 0..=copy {
                self.allow(Lineage { vehicle, copy }, 0, u64::MAX, u64::MAX);
            }
            self.add(device);
            self.note(|| format!("vehicle {vehicle} has a double"));
        }
    }
}
