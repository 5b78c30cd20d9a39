//! What an operator asks for while no agent runs, and what is asked the same way while one does.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use protocol::{Counts, DeviceId, Lane, Loss};

use super::sinks::{Making, transposed};
use super::{RINGS_CACHED_MAX, open_journal};
use crate::admin::Buffered;
use crate::catalogues::Catalogues;
use crate::config::Config;
use crate::erasure::{self, Journaled, SinkErased, Swept};
use crate::journal::{EntryKind, Item, Journal, JournalCursor, JournalTail, Position, Positions};
use crate::registry::Registry;
use crate::rings::{RingTable, Rings};
use crate::state::{self, State};
use crate::storage::{Disk, SharedStorage};
use crate::store::rebuild::JournalBegins;
use crate::vehicles::VehicleId;

/// A data directory that nobody runs on, opened as a start opens it. The caller has its lock.
struct AtRest {
    storage: SharedStorage,
    journal: Journal,
    rings: Rings,
    ring_table: RingTable,
    catalogues: Catalogues,
}

impl AtRest {
    /// None if no agent ever ran there.
    fn open(config: &Config, database: &State) -> anyhow::Result<Option<Self>> {
        let storage: SharedStorage = Arc::new(Disk);
        if !has_journal(&config.agent.data_dir) {
            return Ok(None);
        }
        let rings = Rings::open(database.clone(), RINGS_CACHED_MAX)?;
        let (journal, rings) = open_journal(&storage, config, rings)?;
        let catalogues = Catalogues::open(database.clone())?;
        let ring_table = rings.table();
        Ok(Some(Self { storage, journal, rings, ring_table, catalogues }))
    }

    /// Takes devices' names off their rings, durably.
    fn disown(&mut self, devices: &[DeviceId]) -> anyhow::Result<Vec<Option<usize>>> {
        let disown = |device: &DeviceId| Ok(Some(self.rings.disown(*device)?));
        let disowned: anyhow::Result<Vec<_>> = devices.iter().map(disown).collect();
        let ends = self.journal.ends();
        self.rings.save(&JournalCursor {
            journal: self.journal.id(),
            epoch: self.journal.epoch(),
            positions: ends.positions,
            totals: ends.totals,
        })?;
        disowned
    }
}

fn has_journal(data_dir: &Path) -> bool {
    data_dir.join("journal").is_dir()
}

/// The first frame of each ring in the journal of an agent that does not run; the caller has the
/// data directory's lock. Empty if no agent ever ran there.
pub fn journal_begins(config: &Config) -> anyhow::Result<JournalBegins> {
    if !has_journal(&config.agent.data_dir) {
        return Ok(JournalBegins::new());
    }
    let storage: SharedStorage = Arc::new(Disk);
    let database = state::open_existing(&storage, &config.agent.data_dir.join(state::FILE_NAME))?;
    let Some(rest) = AtRest::open(config, &database)? else { return Ok(JournalBegins::new()) };
    let tail = rest.journal.tail();
    let mut begins = JournalBegins::new();
    for lane in Lane::ALL {
        let mut reader = tail.reader(lane, Position::ZERO);
        while let Some(item) = reader.next().context("cannot read the journal")? {
            let Item::Entry { entry, .. } = item else { continue };
            let lost = || postcard::from_bytes::<Loss>(entry.payload).ok().map(|loss| loss.first);
            let first = match entry.kind {
                EntryKind::Gap => lost().map_or(entry.seq, |first| first.min(entry.seq)),
                EntryKind::Frame => entry.seq,
            };
            let known = begins.entry(entry.ring).or_insert(first);
            *known = first.min(*known);
        }
    }
    Ok(begins)
}

/// What of a device is in the journal of an agent that does not run, and not in its sinks.
pub fn buffered_at_rest(
    config: &Config,
    database: &State,
    registry: &Registry,
    device: DeviceId,
) -> anyhow::Result<Vec<Buffered>> {
    let Some(rest) = AtRest::open(config, database)? else { return Ok(Vec::new()) };
    let tail = rest.journal.tail();
    let mut reaches = Vec::new();
    for making in
        Making::all(&rest.storage, config, &tail, registry, &rest.catalogues, &rest.ring_table)
    {
        let (name, positions) = making.reach()?;
        reaches.push((name.to_owned(), positions));
    }
    buffered(&tail, reaches.into_iter(), device).map_err(anyhow::Error::msg)
}

/// Takes devices out of all that an agent has that does not run; their secrets must be gone.
pub fn erase_at_rest(
    config: &Config,
    database: &State,
    registry: &Registry,
    devices: &[DeviceId],
) -> anyhow::Result<Vec<Swept>> {
    let Some(mut rest) = AtRest::open(config, database)? else {
        let nothing = vec![(Journaled::default(), Counts::ZERO); devices.len()];
        return Ok(swept(vec![Some(0); devices.len()], nothing, Vec::new()));
    };
    let tail = rest.journal.tail();
    let journaled =
        erasure::journaled(&tail, Positions::ZERO, devices).context("cannot read the journal")?;
    let rings = rest.disown(devices)?;
    let makings =
        Making::all(&rest.storage, config, &tail, registry, &rest.catalogues, &rest.ring_table);
    let sinks = transposed(makings.map(|making| making.erase(devices)), devices.len());
    Ok(swept(rings, journaled, sinks))
}

/// The same for a vehicle's name.
pub fn erase_vehicle_at_rest(
    config: &Config,
    database: &State,
    registry: &Registry,
    vehicle: &VehicleId,
) -> anyhow::Result<Vec<SinkErased>> {
    let Some(rest) = AtRest::open(config, database)? else { return Ok(Vec::new()) };
    let tail = rest.journal.tail();
    let makings =
        Making::all(&rest.storage, config, &tail, registry, &rest.catalogues, &rest.ring_table);
    Ok(makings.map(|making| making.erase_vehicle(vehicle)).collect())
}

/// What each sink has still to get of a device; sinks that have everything are left out.
pub(super) fn buffered(
    tail: &JournalTail,
    reaches: impl Iterator<Item = (String, Positions)>,
    device: DeviceId,
) -> Result<Vec<Buffered>, String> {
    let ends = tail.ends().positions;
    let mut found = Vec::new();
    for (sink, positions) in reaches.filter(|(_, positions)| *positions != ends) {
        let journaled = erasure::journaled(tail, positions, &[device])
            .map_err(|error| format!("cannot read the journal: {error}"))?;
        let Some((Journaled { frames, .. }, counts)) = journaled.first().copied() else { continue };
        if frames > 0 {
            found.push(Buffered { sink, frames, counts });
        }
    }
    Ok(found)
}

/// Puts together what was done, device by device.
pub(super) fn swept(
    rings: Vec<Option<usize>>,
    journaled: Vec<(Journaled, Counts)>,
    sinks: Vec<Vec<SinkErased>>,
) -> Vec<Swept> {
    let sinks = sinks.into_iter().chain(std::iter::repeat(Vec::new()));
    let parts = rings.into_iter().zip(journaled).zip(sinks);
    parts.map(|((rings, (journal, _)), sinks)| Swept { rings, journal, sinks }).collect()
}
