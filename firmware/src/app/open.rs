//! From flash to rings: opened or formatted, and named so that no name is used twice.

use embedded_storage::nor_flash::NorFlash;
use protocol::frame::{self, Binding, Header};
use protocol::record::Record;
use protocol::{Catalogue, CatalogueId, Counts, Lane, keys};

use super::StartError;
use super::store::{Identity, Store};
use super::system::{System, SystemError, SystemState};
use crate::batch::RecordBatch;
use crate::ports::Entropy;
use crate::ring::{Opened, Region, Ring, RingMeta};

/// Finds a lane's ring, or formats one.
pub(super) fn open_store<F: NorFlash>(
    identity: &Identity,
    lane: Lane,
    region: Region,
    system: &mut System,
    flash: &mut F,
    entropy: &mut impl Entropy,
    scratch: &mut [u8],
) -> Result<Store, StartError<F::Error>> {
    let mut abandoned = Counts::ZERO;
    let ours = match Ring::open(flash, region, lane)? {
        Opened::Existing(mut ring, _) => {
            let is_ours = match system.state().registration.zip(identity.registration) {
                Some((was, is)) => was == is,
                None => is_ours(identity, &mut ring, flash, scratch),
            };
            if !is_ours {
                abandoned = ring.before_next().since(ring.before_first());
            }
            is_ours.then_some(ring)
        }
        Opened::Blank => None,
    };
    let ring = if let Some(ring) = ours {
        ring
    } else {
        let ring = next_ring(identity, lane, system, flash, entropy)?;
        Ring::format(flash, region, ring)?
    };
    // The counter is kept apart so that it outlives the rings. If it did not, they know.
    let (state, formats) = (system.state(), ring.meta().format);
    if state.formats < formats {
        system.write(flash, SystemState { formats, ..state })?;
    }
    let mut store = Store::new(identity, ring);
    store.abandoned = abandoned;
    Ok(store)
}

/// Whether a ring is this device's, where no registration says so. Another's, in a flash that was
/// copied or moved, is of no use to anyone here: nobody but its device's keys opens it. Judged by the
/// latest frame; one that cannot be read, or is of an older secret, is no proof against it. One of a
/// generation that only three rotations would lead from to this one is: the device was removed and
/// added again.
fn is_ours<F: NorFlash>(
    identity: &Identity,
    ring: &mut Ring,
    flash: &mut F,
    scratch: &mut [u8],
) -> bool {
    let Ok(read) = ring.read(flash, ring.next().prev(), scratch) else { return true };
    let Some(sealed) = scratch.get_mut(..read.len) else { return true };
    let binding = Binding { device: identity.device, ring: ring.id(), lane: ring.lane() };
    let Ok((Header { generation, .. }, _)) = Header::read(sealed) else { return true };
    if generation == identity.generation {
        let Identity { device, secret, .. } = identity;
        let key = keys::frame_key(secret, device, &ring.id(), generation);
        return frame::open(&key, &binding, sealed).is_ok();
    }
    generation != identity.generation.next()
}

/// Names a ring that never was: the counter is raised before it is used.
pub(super) fn next_ring<F: NorFlash>(
    identity: &Identity,
    lane: Lane,
    system: &mut System,
    flash: &mut F,
    entropy: &mut impl Entropy,
) -> Result<RingMeta, SystemError<F::Error>> {
    let state = system.state();
    let format = state.formats.saturating_add(1);
    system.write(flash, SystemState { formats: format, ..state })?;
    let mut chance = [0; 16];
    entropy.fill(&mut chance);
    let ring = keys::ring_id(&identity.secret, &identity.device, lane, format, &chance);
    Ok(RingMeta { ring, lane, format })
}

/// The id of a catalogue that fits: its record must go into one frame.
pub(super) fn catalogue_id<const FRAME: usize>(
    catalogue: &Catalogue<'_>,
    scratch: &mut [u8; FRAME],
) -> Option<CatalogueId> {
    let len = catalogue.encode(scratch).ok()?;
    let encoded = scratch.get(..len)?;
    RecordBatch::<FRAME>::new().push(&Record::Catalogue(encoded)).ok()?;
    Some(Catalogue::id_of(encoded))
}
