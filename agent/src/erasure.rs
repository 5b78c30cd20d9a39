//! The proof that a subject was forgotten: what was destroyed where, and what is left elsewhere.
//!
//! A proof is one line of JSON. Its digest is the SHA-256 of the same line without the members
//! `device` or `vehicle` (the first) and `digest` (the last), so that what is kept of it, without
//! the name, can be held against what was handed out.

use protocol::{Counts, DeviceId, Lane};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::document::rfc3339;
use crate::forward::aside::Aside;
use crate::journal::{Item, JournalTail, Positions, ReadError};
use crate::registry::{Destroyed, hex};
use crate::sink::Erased;

/// What was done outside the registry about one device.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Swept {
    /// Rings that had its name; none if that could not be done now.
    pub rings: Option<usize>,
    /// What of it is in the journal.
    pub journal: Journaled,
    /// One a sink.
    pub sinks: Vec<SinkErased>,
}

/// What of a device is in the journal: sealed, and with its name on it until the segment is pruned.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Journaled {
    /// Sealed frames, which nobody can open any more.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What was taken out of one sink, and what was set aside for it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SinkErased {
    /// Its name.
    pub sink: String,
    /// What it took out of itself, and what it could not.
    #[serde(flatten)]
    pub erased: Erased,
    /// Dead letters that were written over.
    pub dead_letters: u64,
    /// Frames that waited for a catalogue and were written over.
    pub parked: u64,
    /// Why this is not done; it is tried again at the agent's next start.
    pub failed: Option<String>,
}

impl SinkErased {
    /// Nothing was done, and why.
    pub fn failed(sink: &str, why: &str) -> Self {
        Self { sink: sink.to_owned(), failed: Some(why.to_owned()), ..Self::default() }
    }

    /// Whether there was nothing to do.
    pub fn is_nothing(&self) -> bool {
        let nothing = Self { sink: self.sink.clone(), ..Self::default() };
        *self == nothing
    }

    /// What was set aside for it is done, too.
    #[must_use]
    pub fn with(mut self, aside: Aside) -> Self {
        (self.dead_letters, self.parked) = (aside.dead_letters, aside.parked);
        self
    }
}

/// Who was forgotten.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Name {
    /// A device.
    Device(DeviceId),
    /// A vehicle.
    Vehicle(crate::vehicles::VehicleId),
}

/// What a proof says, without a name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Proof {
    /// The format of this: `milepost.erasure/1`.
    pub proof: String,
    /// The keyed hash under which it is kept.
    pub subject: String,
    /// When, RFC 3339.
    pub at: String,
    /// Whether it is done everywhere; otherwise the next start goes on with it.
    pub complete: bool,
    /// What was destroyed in the registry.
    pub registry: Destroyed,
    /// Rings whose device is nobody now.
    pub rings: Option<usize>,
    /// What lies sealed in the journal.
    pub journal: Journaled,
    /// One a sink.
    pub sinks: Vec<SinkErased>,
    /// What is beyond Milepost's reach, in words.
    pub beyond: Vec<String>,
}

/// A proof as it is handed out.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SignedProof {
    /// Who; not in what is kept.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// What it says.
    #[serde(flatten)]
    pub proof: Proof,
    /// SHA-256 over the proof's JSON without name and digest, in hexadecimal digits.
    pub digest: String,
}

impl Proof {
    const FORMAT: &str = "milepost.erasure/1";

    /// What was destroyed of a device, and where.
    pub fn new(subject: String, at_ms: i64, registry: Destroyed, swept: Swept) -> Self {
        let Swept { rings, journal, sinks } = swept;
        let complete = rings.is_some() && sinks.iter().all(|sink| sink.failed.is_none());
        let mut beyond = vec![
            "copies of the data directory made before: their registry still has the secret, wrapped; \
             `restore` erases it again"
                .to_owned(),
            "free pages of state.redb until they are written over: the wrapped secret, worth something \
             only with registry.key"
                .to_owned(),
        ];
        if journal.frames > 0 {
            beyond.push(
                "the journal: sealed frames that nobody can open, under the device's name, until they \
                 are pruned"
                    .to_owned(),
            );
        }
        if sinks.iter().any(|sink| !sink.erased.remains.is_empty()) {
            beyond.push("the sinks' files named above, and whatever was read from them".to_owned());
        }
        Self {
            proof: Self::FORMAT.to_owned(),
            subject,
            at: rfc3339::shown(at_ms),
            complete,
            registry,
            rings,
            journal,
            sinks,
            beyond,
        }
    }

    /// The same, with what an earlier attempt at it did.
    #[must_use]
    pub fn following(mut self, earlier: Option<Self>) -> Self {
        let Some(earlier) = earlier else { return self };
        self.registry.registered |= earlier.registry.registered;
        self.registry.assignments += earlier.registry.assignments;
        self.registry.secrets.splice(..0, earlier.registry.secrets);
        self.rings = self.rings.map(|rings| rings + earlier.rings.unwrap_or(0));
        for sink in &mut self.sinks {
            let Some(before) = earlier.sinks.iter().find(|before| before.sink == sink.sink) else {
                continue;
            };
            sink.erased.samples += before.erased.samples;
            sink.erased.records += before.erased.records;
            sink.erased.bytes += before.erased.bytes;
            sink.dead_letters += before.dead_letters;
            sink.parked += before.parked;
        }
        self
    }

    /// With its digest, and with a name or without.
    pub fn signed(self, name: Option<Name>) -> SignedProof {
        let json = serde_json::to_vec(&self).unwrap_or_default();
        let digest = hex(&Sha256::digest(&json));
        SignedProof { name, proof: self, digest }
    }
}

/// Counts what the journal has of devices, from some positions on: frames, bytes, and what they add.
pub fn journaled(
    tail: &JournalTail,
    from: Positions,
    devices: &[DeviceId],
) -> Result<Vec<(Journaled, Counts)>, ReadError> {
    let mut found = vec![(Journaled::default(), Counts::ZERO); devices.len()];
    for lane in Lane::ALL {
        let mut reader = tail.reader(lane, from.get(lane));
        while let Some(item) = reader.next()? {
            let Item::Entry { entry, .. } = item else { continue };
            let of = devices.iter().zip(&mut found).find(|(device, _)| **device == entry.device);
            if let Some((_, (journaled, counts))) = of {
                journaled.frames += 1;
                journaled.bytes += u64::try_from(entry.payload.len()).unwrap_or_default();
                *counts += entry.adds;
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::Remains;

    #[test]
    fn the_digest_is_over_the_line_without_name_and_digest() {
        let remains =
            vec![Remains { place: "out/milepost-000001.ndjson".into(), documents: Some(3) }];
        let erased = Erased { samples: 7, remains, ..Erased::default() };
        let sink = SinkErased { sink: "file".to_owned(), erased, ..SinkErased::default() };
        let swept = Swept { rings: Some(2), sinks: vec![sink], ..Swept::default() };
        let proof = Proof::new("ab".to_owned(), 5, Destroyed::default(), swept);
        let name = Name::Device("unit-1".parse().unwrap());
        let line = serde_json::to_string(&proof.clone().signed(Some(name))).unwrap();
        let kept = serde_json::to_string(&proof.signed(None)).unwrap();
        let bare = line.replacen("\"device\":\"unit-1\",", "", 1);
        assert_eq!(bare, kept, "what is kept is the same but for the name");
        let (text, digest) = bare.rsplit_once(",\"digest\":\"").unwrap();
        let expected = hex(&Sha256::digest(format!("{text}}}")));
        assert_eq!(digest, format!("{expected}\"}}"));
        assert!(
            line.starts_with("{\"device\":\"unit-1\",\"proof\":\"milepost.erasure/1\""),
            "{line}"
        );
        let back: SignedProof = serde_json::from_str(&line).unwrap();
        assert_eq!(serde_json::to_string(&back).unwrap(), line);
    }

    #[test]
    fn what_failed_somewhere_is_not_complete() {
        let of = |rings, failed: Option<&str>| {
            let sinks = failed.map(|why| SinkErased::failed("s", why)).into_iter().collect();
            let swept = Swept { rings, sinks, ..Swept::default() };
            Proof::new(String::new(), 0, Destroyed::default(), swept).complete
        };
        assert!(of(Some(0), None));
        assert!(!of(None, None));
        assert!(!of(Some(0), Some("locked")));
    }
}
