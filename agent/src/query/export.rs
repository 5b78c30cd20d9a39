//! All that a store holds, as the documents that the file sink writes.
//!
//! Ring by ring, in the order of their identity: what the oracle of the simulator can hold against
//! what the devices took, and what any other sink can be compared with.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use protocol::{CatalogueId, Clock, DeviceId, RingId};

use super::error::QueryError;
use super::limit::{Stop, Stopped};
use super::selection::{Comparison, NameTerm, Selection};
use super::source::{CELL, CELL_PATH, Source};
use crate::document::{self, Decimal, Envelope, SignalThinning, Writer, member};
use crate::privacy::Seat;
use crate::value::Amount;

use self::ring::{Merge, Next, Ring, RingSample};

mod ring;

/// How the columns of a catalogue are written: `,"path":`, the number, and what was left out.
type Views = Vec<View>;

struct View {
    member: Box<[u8]>,
    decimal: Decimal,
    thinning: Option<SignalThinning>,
}

/// Bytes that are put together before they are written.
const PART: usize = 64 * 1024;

/// Writes all documents of a store, or of one device; how many.
pub fn export(
    dir: &Path,
    device: Option<DeviceId>,
    stop: &Stop,
    out: &mut dyn Write,
) -> Result<u64, QueryError> {
    let source = Source::open(dir, stop.clone())?;
    let mut export = Export { source: &source, out, views: HashMap::new(), documents: 0 };
    let exported = export.all(device);
    match exported {
        Err(QueryError::Index(_)) if stop.why().is_some() => {
            Err(QueryError::Stopped(Stopped::Asked))
        }
        Err(error) => Err(error),
        Ok(()) => Ok(export.documents),
    }
}

struct Export<'a> {
    source: &'a Source,
    out: &'a mut dyn Write,
    views: HashMap<CatalogueId, Views>,
    documents: u64,
}

impl Export<'_> {
    fn all(&mut self, device: Option<DeviceId>) -> Result<(), QueryError> {
        let terms = device.map(|device| NameTerm {
            comparison: Comparison::Equal,
            values: vec![rusqlite::types::Value::Text(device.to_string())],
        });
        let selection = Selection { devices: terms.into_iter().collect(), ..Selection::default() };
        for device in self.source.devices(&selection, false).map_err(QueryError::of_table)? {
            let name: DeviceId = device.name.parse().map_err(|error| {
                crate::store::StoreError::damaged(format!("device `{}`: {error}", device.name))
            })?;
            for (id, ring) in self.rings(device.id).map_err(QueryError::of_table)? {
                // One moment of the index for each ring, not for all: merging of blocks goes on
                // meanwhile, and what was merged is kept for a reader only for so long.
                self.source.hold().map_err(QueryError::of_table)?;
                let written = self.ring(&name, ring, Ring { id, device: device.id });
                self.source.let_go();
                written?;
            }
        }
        Ok(self.out.flush()?)
    }

    /// Of which rings there is anything under a device's name. `rings.device` is not asked: it is
    /// the name of the last commit, and a ring has others from before a change of pseudonyms.
    fn rings(&self, device: i64) -> rusqlite::Result<Vec<(i64, RingId)>> {
        self.source.index(|index| {
            let sql = "SELECT id, ring FROM rings WHERE id IN (\
                         SELECT ring FROM blocks WHERE device = ?1 \
                         UNION SELECT ring FROM records WHERE device = ?1) ORDER BY ring";
            let mut statement = index.prepare(sql)?;
            let rows =
                statement.query_map([device], |row| Ok((row.get(0)?, RingId(row.get(1)?))))?;
            rows.collect()
        })
    }

    fn ring(&mut self, device: &DeviceId, ring: RingId, of: Ring) -> Result<(), QueryError> {
        let mut merge = Merge::start(self.source, of).map_err(QueryError::of_table)?;
        let mut writer = Writer::default();
        let mut part = Vec::with_capacity(PART + 4096);
        // The sample before, while its document is not ended.
        let mut before: Option<RingSample> = None;
        loop {
            let next = merge.next().map_err(QueryError::of_table)?;
            let same = match (&next, &before) {
                (Some(Next::Sample(sample)), Some(before)) => sample.place() == before.place(),
                _ => false,
            };
            if before.is_some() && !same {
                writer.end_instant(&mut part);
                self.documents += 1;
            }
            if part.len() >= PART {
                self.out.write_all(&part)?;
                part.clear();
            }
            match next {
                None => break,
                Some(Next::Record(document)) => {
                    before = None;
                    part.extend_from_slice(document.as_bytes());
                    part.push(b'\n');
                    self.documents += 1;
                }
                Some(Next::Sample(sample)) => {
                    if !same {
                        let is_same_frame = before.as_ref().is_some_and(|before| {
                            before.run == sample.run && before.seat == sample.seat
                        });
                        if !is_same_frame {
                            let seat =
                                self.source.seat(sample.seat).map_err(QueryError::of_table)?;
                            let envelope = envelope(device, ring, &sample, seat.as_deref());
                            writer.start_samples(&envelope, sample.run.clock, sample.run.boot);
                        }
                        let is_uptime = sample.run.clock == Clock::Uptime;
                        let (ordinal, at_ms) = (sample.ordinal, sample.own_ms);
                        writer.begin_instant(&mut part, ordinal, at_ms, is_uptime);
                    }
                    self.member(&mut writer, &mut part, &sample, same)?;
                    before = Some(sample);
                }
            }
        }
        Ok(self.out.write_all(&part)?)
    }

    fn member(
        &mut self,
        writer: &mut Writer,
        part: &mut Vec<u8>,
        sample: &RingSample,
        has_comma: bool,
    ) -> Result<(), QueryError> {
        let views = match self.views.entry(sample.catalogue) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(unknown) => {
                let signals =
                    self.source.signals(sample.catalogue).map_err(QueryError::of_table)?;
                let view = |signal: &super::source::SignalView| View {
                    member: member(&signal.path),
                    decimal: Decimal::new(signal.step),
                    thinning: signal.thinning.clone(),
                };
                unknown.insert(signals.all().map(view).collect())
            }
        };
        if let (CELL, Amount::Steps(cell)) = (sample.column, sample.amount) {
            let name = member(CELL_PATH);
            part.extend_from_slice(name.get(usize::from(!has_comma)..).unwrap_or_default());
            document::cell(part, cell.cast_unsigned());
        } else if let Some(view) = views.get(usize::from(sample.column)) {
            let name = view.member.get(usize::from(!has_comma)..).unwrap_or_default();
            part.extend_from_slice(name);
            view.decimal.write_amount(part, sample.amount, &sample.exacts.values);
            if let Some(thinning) = view.thinning.as_ref().and_then(|said| said.of(sample.lane)) {
                writer.thinned(thinning);
            }
        }
        Ok(())
    }
}

fn envelope<'a>(
    device: &'a DeviceId,
    ring: RingId,
    sample: &'a RingSample,
    seat: Option<&'a Seat>,
) -> Envelope<'a> {
    Envelope {
        device,
        ring,
        seq: sample.run.seq,
        lane: sample.lane,
        received_ms: sample.run.received_ms,
        origin: sample.run.origin.as_ref(),
        seat,
    }
}
