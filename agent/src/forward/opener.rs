//! The registry and the catalogues as forwarders see them.

use std::sync::Arc;

use protocol::frame::{Binding, Header};
use protocol::{CatalogueId, DeviceId, Lane, RingId};

use super::{CatalogueSource, OpenFrame, Unopened};
use crate::catalogues::Catalogues;
use crate::document::OwnedCatalogue;
use crate::open::{OpenError, Opener, Purpose};
use crate::registry::Registry;
use crate::rings::{Owner, RingTable};
use crate::vehicles::Standing;

/// [`Opener`] as forwarders see it.
#[derive(Debug)]
pub struct ForwardOpener {
    opener: Opener,
    registry: Registry,
    rings: RingTable,
}

impl ForwardOpener {
    /// One with this registry's secrets, and what is known of whose each ring is.
    pub fn new(registry: Registry, rings: RingTable) -> Self {
        Self { opener: Opener::new(registry.clone(), Purpose::Forward), registry, rings }
    }
}

impl OpenFrame for ForwardOpener {
    fn open<'a>(
        &mut self,
        device: DeviceId,
        ring: RingId,
        lane: Lane,
        frame: &'a mut [u8],
    ) -> Result<(Header, &'a [u8]), Unopened> {
        match self.opener.open(&Binding { device, ring, lane }, frame) {
            Ok((header, body)) => Ok((header, body)),
            Err(OpenError::Registry(error)) => Err(Unopened::Unavailable(error.to_string())),
            Err(error) => Err(Unopened::Unopenable(error.to_string())),
        }
    }

    fn is_erased(
        &mut self,
        device: DeviceId,
        ring: &RingId,
        received_ms: i64,
    ) -> Result<bool, Unopened> {
        let erased_at = self.registry.erased_at(device).map_err(unavailable)?;
        let Some(at_ms) = erased_at else { return Ok(false) };
        if self.registry.standing(device).map_err(unavailable)? == Standing::Unknown {
            return Ok(true);
        }
        // One came back under the name, and has rings of its own since: clocks are set back (I7). Only
        // a ring that is not in the table yet is told by when it was heard of.
        Ok(match self.rings.owner(ring).map_err(unavailable)? {
            Some(Owner::Nobody) => true,
            Some(Owner::Device(_)) => false,
            None => received_ms <= at_ms,
        })
    }
}

fn unavailable(error: impl std::fmt::Display) -> Unopened {
    Unopened::Unavailable(error.to_string())
}

impl CatalogueSource for Catalogues {
    fn get(&self, id: CatalogueId) -> Option<Arc<OwnedCatalogue>> {
        Self::get(self, id)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use protocol::frame::{self, HEADER_LEN_MAX, Kind, TAG_LEN};
    use protocol::{Counts, Generation, Secret, Seq, keys};

    use super::*;
    use crate::dedup::Watermark;
    use crate::journal::{Epoch, JournalCursor, Positions};
    use crate::registry::{Erasure, OsEntropy};
    use crate::rings::{Ring, Rings};
    use crate::storage::{Disk, SharedStorage};

    const ADDED_MS: i64 = 1_000;
    const ERASED_MS: i64 = 2_000;
    const RING: RingId = RingId([7; 16]);

    fn parts(dir: &Path) -> (Registry, Rings) {
        let storage: SharedStorage = Arc::new(Disk);
        let database = crate::state::open(&storage, &dir.join("state.redb")).unwrap();
        let rings = Rings::open(database.clone(), 8).unwrap();
        let key = dir.join("registry.key");
        (Registry::open_with_key_file(database, &key, &mut OsEntropy).unwrap(), rings)
    }

    fn put(rings: &mut Rings, ring: RingId) {
        let ring_of_it = Ring {
            device: device(),
            lane: Lane::Bulk,
            watermark: Watermark::default(),
            declared: Counts::ZERO,
        };
        rings.put(ring, ring_of_it);
        save(rings);
    }

    fn save(rings: &mut Rings) {
        let at = JournalCursor {
            journal: [1; 16],
            epoch: Epoch::default(),
            positions: Positions::ZERO,
            totals: [Counts::ZERO; 3],
        };
        rings.save(&at).unwrap();
    }

    fn device() -> DeviceId {
        "van-1".parse().unwrap()
    }

    fn add(registry: &Registry) -> Secret {
        registry.add(device(), ADDED_MS, &mut OsEntropy).unwrap().secret
    }

    #[test]
    fn a_frame_opens_with_the_secret_that_is_registered() {
        let dir = tempfile::tempdir().unwrap();
        let (registry, rings) = parts(dir.path());
        let mut opener = ForwardOpener::new(registry.clone(), rings.table());
        let secret = add(&registry);
        let binding = Binding { device: device(), ring: RING, lane: Lane::Bulk };
        let key = keys::frame_key(&secret, &device(), &RING, Generation::FIRST);
        let header = Header::new(Generation::FIRST, Kind::Records, Seq(3));
        let mut buffer = [5; HEADER_LEN_MAX + 4 + TAG_LEN];
        let body = HEADER_LEN_MAX..HEADER_LEN_MAX + 4;
        let (at, _) = frame::seal(&key, &binding, &header, &mut buffer, body).unwrap();
        let (mut sealed, mut forged) = (buffer[at.clone()].to_vec(), buffer[at].to_vec());
        let opened = opener.open(device(), RING, Lane::Bulk, &mut sealed);
        assert!(matches!(opened, Ok((found, [5, 5, 5, 5])) if found == header));
        forged[3] ^= 1;
        let opened = opener.open(device(), RING, Lane::Bulk, &mut forged);
        assert!(matches!(opened, Err(Unopened::Unopenable(_))));
    }

    #[test]
    fn what_an_erased_device_left_is_erased_until_one_comes_back_under_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let (registry, mut rings) = parts(dir.path());
        let mut opener = ForwardOpener::new(registry.clone(), rings.table());
        let mut is_erased = |ring, at_ms| opener.is_erased(device(), &ring, at_ms).unwrap();
        let times = [0, ADDED_MS, ERASED_MS, ERASED_MS + 1];
        let mut erased = |ring| times.map(|at_ms| is_erased(ring, at_ms));
        let (old, unknown, new) = (RING, RingId([8; 16]), RingId([9; 16]));
        add(&registry);
        put(&mut rings, old);
        assert_eq!(erased(old), [false; 4]);
        registry.erase(device(), ERASED_MS, |_| String::new()).unwrap();
        for erasure in registry.erasures().unwrap() {
            registry.erased(&Erasure { pending: None, ..erasure }).unwrap();
        }
        assert_eq!((erased(old), erased(unknown)), ([true; 4], [true; 4]));
        assert_eq!(rings.disown(device()).unwrap(), 1);
        save(&mut rings);
        add(&registry);
        put(&mut rings, new);
        // Whatever the clock showed then, and shows now.
        assert_eq!((erased(old), erased(new)), ([true; 4], [false; 4]));
        assert_eq!(erased(unknown), [true, true, true, false], "nothing but the time tells");
    }

    #[test]
    fn a_catalogue_is_known_once_it_was_learnt() {
        let dir = tempfile::tempdir().unwrap();
        let storage: SharedStorage = Arc::new(Disk);
        let database = crate::state::open(&storage, &dir.path().join("state.redb")).unwrap();
        let catalogues = Catalogues::open(database).unwrap();
        let mut encoded = [0; 64];
        let len = protocol::Catalogue::new(5, &[]).encode(&mut encoded).unwrap();
        let id = protocol::Catalogue::id_of(&encoded[..len]);
        assert!(CatalogueSource::get(&catalogues, id).is_none());
        catalogues.learn(&encoded[..len]).unwrap();
        assert_eq!(CatalogueSource::get(&catalogues, id).unwrap().tick_ms, 5);
    }
}
