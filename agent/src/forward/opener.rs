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
