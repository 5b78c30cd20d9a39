//! Forgetting devices and vehicles: the registry first, so that nothing can be read any more, then
//! everywhere else, then the record that it is done.

use protocol::DeviceId;

use super::{Admin, Response};
use crate::erasure::{Name, Proof, SignedProof, SinkErased, Swept};
use crate::registry::{Destroyed, Erasure, RegistryError};
use crate::vehicles::VehicleId;

impl Admin {
    /// Erases a device; one that is not registered any more too, if anything of it is known.
    pub(super) fn erase_device(
        &self,
        device: DeviceId,
        now_ms: i64,
    ) -> Result<Response, RegistryError> {
        let is_known = self.registry.show(device)?.is_some()
            || !self.registry.vehicles().timeline(device)?.spans().is_empty()
            || self.registry.erased_at(device)?.is_some()
            || self.hooks.unsent(device).is_some();
        if !is_known {
            return Err(RegistryError::Unknown(device));
        }
        let proofs = self.erase(&[device], now_ms)?;
        Ok(Response::Erased { proofs, kept: Vec::new() })
    }

    /// Erases a vehicle and the devices that sat in no other; the others stay and are named.
    pub(super) fn erase_vehicle(
        &self,
        vehicle: &VehicleId,
        now_ms: i64,
    ) -> Result<Response, RegistryError> {
        let vehicles = self.registry.vehicles();
        let entry = vehicles.show(vehicle)?;
        let (mut own, mut kept) = (Vec::new(), Vec::new());
        for device in entry.assignments.iter().map(|span| span.device) {
            let timeline = vehicles.timeline(device)?;
            let sat_elsewhere = timeline.spans().iter().any(|span| span.vehicle != *vehicle);
            let list = if sat_elsewhere { &mut kept } else { &mut own };
            if !list.contains(&device) {
                list.push(device);
            }
        }
        let mut proofs = self.erase(&own, now_ms)?;
        let assignments = vehicles.remove(vehicle, true)?;
        let registry = Destroyed { assignments, ..Destroyed::default() };
        let swept = Swept { rings: Some(0), ..Swept::default() };
        let subject = self.registry.subject_of_vehicle(vehicle);
        let mut proof = Proof::new(subject, now_ms, registry, swept);
        proof.beyond.clear();
        if !kept.is_empty() {
            proof.beyond.push(format!(
                "what {} devices recorded in it that sat in other vehicles too",
                kept.len()
            ));
        }
        proof.beyond.push("its key in documents that were written before".to_owned());
        proofs.push(self.keep(proof, now_ms, None, Name::Vehicle(vehicle.clone()))?);
        Ok(Response::Erased { proofs, kept })
    }

    /// Goes on with what was interrupted, or brought back by a backup and erased again.
    pub fn finish_erasures(&self) {
        let pending = self.registry.erasures().map(|erasures| {
            erasures.into_iter().filter_map(|erasure| Some((erasure.pending?, erasure.at_ms)))
        });
        let finished = pending.and_then(|pending| {
            for (device, at_ms) in pending {
                let proofs = self.erase(&[device], at_ms)?;
                let is_complete = proofs.iter().all(|proof| proof.proof.complete);
                tracing::info!(complete = is_complete, "went on with an erasure");
            }
            Ok(())
        });
        if let Err(error) = finished {
            tracing::error!(%error, "cannot go on with an erasure; the next start tries again");
        }
    }

    fn erase(&self, devices: &[DeviceId], now_ms: i64) -> Result<Vec<SignedProof>, RegistryError> {
        if devices.is_empty() {
            return Ok(Vec::new());
        }
        // What an earlier attempt did is told again.
        let earlier = self.registry.erasures()?;
        let earlier = |device: DeviceId| {
            let kept = earlier.iter().find(|erasure| erasure.pending == Some(device))?;
            serde_json::from_str::<SignedProof>(&kept.proof).ok().map(|kept| kept.proof)
        };
        let mut destroyed = Vec::with_capacity(devices.len());
        for device in devices {
            let subject = self.registry.subject_of(*device);
            let so_far = |destroyed: &Destroyed| {
                let nothing_else = Swept::default();
                let proof = Proof::new(subject, now_ms, destroyed.clone(), nothing_else);
                let proof = proof.following(earlier(*device)).signed(None);
                serde_json::to_string(&proof).unwrap_or_default()
            };
            destroyed.push(self.registry.erase(*device, now_ms, so_far)?);
            self.hooks.shut_out(*device);
        }
        let swept = self.hooks.erase(devices).unwrap_or_else(|why| {
            let sinks = vec![SinkErased::failed("all", &why)];
            vec![Swept { sinks, ..Swept::default() }; devices.len()]
        });
        let mut proofs = Vec::with_capacity(devices.len());
        for ((device, destroyed), swept) in devices.iter().zip(destroyed).zip(swept) {
            let proof = Proof::new(self.registry.subject_of(*device), now_ms, destroyed, swept);
            let proof = proof.following(earlier(*device));
            let pending = (!proof.complete).then_some(*device);
            tracing::info!(subject = proof.subject, complete = proof.complete, "device erased");
            proofs.push(self.keep(proof, now_ms, pending, Name::Device(*device))?);
        }
        Ok(proofs)
    }

    /// Keeps a proof without the name, and hands it out with it.
    fn keep(
        &self,
        proof: Proof,
        at_ms: i64,
        pending: Option<DeviceId>,
        name: Name,
    ) -> Result<SignedProof, RegistryError> {
        let subject = proof.subject.clone();
        let mut signed = proof.signed(None);
        let proof = serde_json::to_string(&signed).unwrap_or_default();
        self.registry.erased(&Erasure { subject, at_ms, pending, proof })?;
        signed.name = Some(name);
        Ok(signed)
    }
}
