//! The registry and the catalogues as forwarders see them.

use std::sync::Arc;

use protocol::frame::{Binding, Header};
use protocol::{CatalogueId, DeviceId, Lane, RingId};

use super::{CatalogueSource, OpenFrame, Unopened};
use crate::catalogues::Catalogues;
use crate::document::OwnedCatalogue;
use crate::open::{OpenError, Opener, Purpose};
use crate::registry::{Registry, RegistryError};
use crate::vehicles::Standing;

/// [`Opener`] as forwarders see it.
#[derive(Debug)]
pub struct ForwardOpener {
    opener: Opener,
    registry: Registry,
}

impl ForwardOpener {
    /// One with this registry's secrets.
    pub fn new(registry: Registry) -> Self {
        Self { opener: Opener::new(registry.clone(), Purpose::Forward), registry }
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

    fn is_erased(&mut self, device: DeviceId, received_ms: i64) -> Result<bool, Unopened> {
        let is_erased = || {
            let Some(at_ms) = self.registry.erased_at(device)? else { return Ok(false) };
            // One that came back under the name has a history of its own since.
            Ok(received_ms <= at_ms || self.registry.standing(device)? == Standing::Unknown)
        };
        is_erased().map_err(|error: RegistryError| Unopened::Unavailable(error.to_string()))
    }
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
    use protocol::{Generation, Secret, Seq, keys};

    use super::*;
    use crate::registry::{Erasure, OsEntropy};
    use crate::storage::{Disk, SharedStorage};

    const ADDED_MS: i64 = 1_000;
    const ERASED_MS: i64 = 2_000;
    const RING: RingId = RingId([7; 16]);

    fn registry(dir: &Path) -> Registry {
        let storage: SharedStorage = Arc::new(Disk);
        let database = crate::state::open(&storage, &dir.join("state.redb")).unwrap();
        Registry::open_with_key_file(database, &dir.join("registry.key"), &mut OsEntropy).unwrap()
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
        let registry = registry(dir.path());
        let mut opener = ForwardOpener::new(registry.clone());
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
        let registry = registry(dir.path());
        let mut opener = ForwardOpener::new(registry.clone());
        let mut erased = |at_ms| opener.is_erased(device(), at_ms).unwrap();
        add(&registry);
        assert!(!erased(ADDED_MS));
        registry.erase(device(), ERASED_MS, |_| String::new()).unwrap();
        for erasure in registry.erasures().unwrap() {
            registry.erased(&Erasure { pending: None, ..erasure }).unwrap();
        }
        assert!([ADDED_MS, ERASED_MS, ERASED_MS + 1].map(&mut erased) == [true; 3]);
        add(&registry);
        assert!([ADDED_MS, ERASED_MS, ERASED_MS + 1].map(&mut erased) == [true, true, false]);
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
