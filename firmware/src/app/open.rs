//! From flash to rings: opened or formatted, and named so that no name is used twice.

use embedded_storage::nor_flash::NorFlash;
use protocol::record::Record;
use protocol::{Catalogue, CatalogueId, Lane, keys};

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
) -> Result<Store, StartError<F::Error>> {
    let ring = if let Opened::Existing(ring, _) = Ring::open(flash, region, lane)? {
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
    Ok(Store::new(identity, ring))
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
