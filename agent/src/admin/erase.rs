//! Forgetting devices and vehicles: the registry first, so that nothing can be read any more, then
//! everywhere else, then the record that it is done.

use protocol::DeviceId;

use super::{Admin, Response};
use crate::erasure::{Name, Proof, SignedProof, SinkErased, Swept};
use crate::registry::{Destroyed, Erasure, RegistryError};
use crate::vehicles::{VehicleError, VehicleId};

/// An erasure that was begun.
struct Unfinished {
    at_ms: i64,
    /// What was done of it.
    proof: Proof,
}

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
        let subject = self.registry.subject_of_vehicle(vehicle);
        let is_gone = matches!(vehicles.show(vehicle), Err(VehicleError::Unknown(_)));
        let earlier = self.unfinished(&subject)?.map(|mut earlier| {
            if !is_gone {
                // It was only about to go.
                earlier.proof.registry.assignments = 0;
            }
            earlier
        });
        let at_ms = earlier.as_ref().map_or(now_ms, |earlier| earlier.at_ms);
        // Gone from the registry, by an attempt that was cut short or because it was removed, it may
        // still be in the sinks.
        let assigned = if is_gone { Vec::new() } else { vehicles.show(vehicle)?.assignments };
        let (mut own, mut kept) = (Vec::new(), Vec::new());
        for device in assigned.iter().map(|span| span.device) {
            let timeline = vehicles.timeline(device)?;
            let sat_elsewhere = timeline.spans().iter().any(|span| span.vehicle != *vehicle);
            let list = if sat_elsewhere { &mut kept } else { &mut own };
            if !list.contains(&device) {
                list.push(device);
            }
        }
        let mut proofs = self.erase(&own, now_ms)?;
        let prove = |assignments, sinks| {
            let registry = Destroyed { assignments, ..Destroyed::default() };
            let swept = Swept { rings: Some(0), sinks, ..Swept::default() };
            let proof = Proof::new(subject.clone(), at_ms, registry, swept);
            let mut proof = proof.following(earlier.as_ref().map(|earlier| earlier.proof.clone()));
            proof.beyond.clear();
            if !kept.is_empty() {
                proof.beyond.push(format!(
                    "what {} devices recorded in it that sat in other vehicles too",
                    kept.len()
                ));
            }
            if proof.sinks.iter().any(|sink| !sink.erased.remains.is_empty()) {
                proof.beyond.push(
                    "its key in the sinks' files named above, and in whatever was read from them"
                        .to_owned(),
                );
            }
            proof.beyond.push("copies of the data directory made before".to_owned());
            proof
        };
        let name = || Name::Vehicle(vehicle.clone());
        let mut assignments = 0;
        if !is_gone {
            // Before it goes: cut short, the same command goes on.
            let failed = vec![SinkErased::failed("all", "cut short; not done yet")];
            let known = assigned.iter().filter(|span| !own.contains(&span.device)).count();
            self.keep(prove(known, failed), at_ms, name())?;
            assignments = vehicles.remove(vehicle, true)?;
        }
        let sinks = self.hooks.erase_vehicle(vehicle);
        let sinks = sinks.unwrap_or_else(|why| vec![SinkErased::failed("all", &why)]);
        let is_unknown = is_gone && earlier.is_none();
        if is_unknown && sinks.iter().all(SinkErased::is_nothing) {
            return Err(VehicleError::Unknown(vehicle.clone()).into());
        }
        proofs.push(self.keep(prove(assignments, sinks), at_ms, name())?);
        Ok(Response::Erased { proofs, kept })
    }

    /// When an erasure of this subject was begun that is not done, and what was done of it.
    fn unfinished(&self, subject: &str) -> Result<Option<Unfinished>, RegistryError> {
        let of = |erasure: &Erasure| erasure.subject == subject;
        let last = self.registry.erasures()?.into_iter().rfind(of);
        Ok(last.and_then(|last| {
            let signed: SignedProof = serde_json::from_str(&last.proof).ok()?;
            (!signed.proof.complete)
                .then_some(Unfinished { at_ms: last.at_ms, proof: signed.proof })
        }))
    }

    /// Goes on with what was interrupted, or brought back by a backup and erased again; first waits
    /// for the end of a backup that is being made. Blocks.
    pub fn finish_erasures(&self) {
        let _turn = self.turns.erase_when_free();
        let pending = self.registry.erasures().map(|erasures| {
            erasures.into_iter().filter_map(|erasure| Some((erasure.pending?, erasure.at_ms)))
        });
        let finished = pending.and_then(|pending| {
            for (name, at_ms) in pending {
                let proofs = match name {
                    Name::Device(device) => self.erase(&[device], at_ms)?,
                    Name::Vehicle(vehicle) => match self.erase_vehicle(&vehicle, at_ms)? {
                        Response::Erased { proofs, .. } => proofs,
                        _ => Vec::new(),
                    },
                };
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
            let pending = Some(Name::Device(device));
            let kept = earlier.iter().find(|erasure| erasure.pending == pending)?;
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
            tracing::info!(subject = proof.subject, complete = proof.complete, "device erased");
            proofs.push(self.keep(proof, now_ms, Name::Device(*device))?);
        }
        Ok(proofs)
    }

    /// Keeps a proof, without the name once it is done, and hands it out with it.
    fn keep(&self, proof: Proof, at_ms: i64, name: Name) -> Result<SignedProof, RegistryError> {
        let pending = (!proof.complete).then(|| name.clone());
        let subject = proof.subject.clone();
        let mut signed = proof.signed(None);
        let proof = serde_json::to_string(&signed).unwrap_or_default();
        self.registry.erased(&Erasure { subject, at_ms, pending, proof })?;
        signed.name = Some(name);
        Ok(signed)
    }
}
