//! Through the blocks asked for, in the order asked for.
//!
//! Without an order, or device by device, one block is open at a time. By time, a block is open from
//! when its first sample could be next until its last was: as many as overlap.

use std::cmp::{Ordering, Reverse};
use std::collections::binary_heap::PeekMut;
use std::collections::{BinaryHeap, HashSet, VecDeque};
use std::sync::Arc;

use super::super::plan::Order;
use super::super::selection::Selection;
use super::super::source::{CELL, Columns, Device, Source};
use super::slice::{Slice, Way};
use crate::store::read::BlockRow;

/// Samples that all open blocks hold decoded, roughly; 32 bytes each.
const HITS_MAX: usize = 256 * 1024;
/// The fewest samples that a block is decoded for at a time.
const SLICE_MIN: usize = 64;

/// A way through the samples asked for.
#[derive(Debug)]
pub(super) struct Walk {
    source: Arc<Source>,
    selection: Selection,
    /// None for all.
    paths: Option<HashSet<String>>,
    order: Order,
    /// Whether anything of a sample is asked but that it is there.
    is_decoded: bool,
    /// Groups of devices still to come: one each, or all of them at once.
    groups: VecDeque<Vec<Device>>,
    devices: Vec<Device>,
    /// Blocks of the group still to be opened, the next first, with their device's index.
    queue: VecDeque<(BlockRow, usize)>,
    open: BinaryHeap<Open>,
}

/// An open block; the greatest is the one whose sample is next.
#[derive(Debug)]
struct Open {
    /// The time of its next sample.
    next_ms: Option<i64>,
    descends: bool,
    device: usize,
    slice: Slice,
}

/// The sample at hand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Here<'a> {
    pub device: &'a Arc<str>,
    pub slice: &'a Slice,
}

impl Walk {
    /// Goes to the first sample.
    pub fn start(
        source: Arc<Source>,
        mut selection: Selection,
        order: Order,
        is_decoded: bool,
    ) -> rusqlite::Result<Self> {
        let mut groups = VecDeque::new();
        let mut paths = None;
        if !selection.is_empty() {
            paths = source.paths(&selection.signals)?;
            source.find_seats(&mut selection)?;
            let devices = source.devices(&selection, order.device_descends())?;
            if order.by_time() && !order.by_device() {
                groups.push_back(devices);
            } else {
                groups = devices.into_iter().map(|device| vec![device]).collect();
            }
        }
        let mut walk = Self {
            source,
            selection,
            paths,
            order,
            is_decoded,
            groups,
            devices: Vec::new(),
            queue: VecDeque::new(),
            open: BinaryHeap::new(),
        };
        walk.settle()?;
        Ok(walk)
    }

    /// The sample at hand; none behind the last.
    pub fn here(&self) -> Option<Here<'_>> {
        let open = self.open.peek()?;
        Some(Here { device: &self.devices.get(open.device)?.name, slice: &open.slice })
    }

    /// Goes on to the next sample.
    pub fn advance(&mut self) -> rusqlite::Result<()> {
        let hits_max = self.hits_max();
        {
            let Some(mut open) = self.open.peek_mut() else { return Ok(()) };
            open.slice.advance(&self.source, &self.selection, hits_max)?;
            if open.slice.is_over() {
                PeekMut::pop(open);
            } else if self.order.by_time() {
                open.next_ms = open.slice.time_ms();
            } else {
                // One block alone, in its own order.
                return Ok(());
            }
        }
        self.settle()
    }

    /// Opens what has to be open for the next sample to be the right one.
    fn settle(&mut self) -> rusqlite::Result<()> {
        loop {
            let head = self.open.peek().map(|open| open.next_ms);
            match (self.queue.front(), head) {
                (Some((row, _)), Some(head)) if !self.could_precede(row, head) => {
                    return Ok(());
                }
                (Some(_), _) => self.open_next()?,
                (None, Some(_)) => return Ok(()),
                (None, None) => {
                    let Some(devices) = self.groups.pop_front() else { return Ok(()) };
                    self.begin(devices)?;
                }
            }
        }
    }

    /// Whether a sample of a block that is not open comes before the one at hand.
    fn could_precede(&self, row: &BlockRow, head: Option<i64>) -> bool {
        if !self.order.by_time() {
            return false;
        }
        // Nulls come first, or last if time descends.
        match self.way() {
            Way::Descending => row.to_ms() > head,
            _ => row.from_ms < head,
        }
    }

    fn begin(&mut self, devices: Vec<Device>) -> rusqlite::Result<()> {
        let mut queue = Vec::new();
        for (at, device) in devices.iter().enumerate() {
            let chosen = self.source.choose(device.id, &self.selection)?;
            queue.extend(chosen.into_iter().map(|row| (row, at)));
        }
        match self.way() {
            Way::Identity => {}
            Way::Ascending => {
                queue.sort_by_key(|(row, _)| (row.from_ms, row.id));
            }
            Way::Descending => {
                queue.sort_by_key(|(row, _)| Reverse((row.to_ms(), row.id)));
            }
        }
        self.devices = devices;
        self.queue = queue.into();
        Ok(())
    }

    fn open_next(&mut self) -> rusqlite::Result<()> {
        let Some((row, device)) = self.queue.pop_front() else { return Ok(()) };
        let signals = self.source.signals(row.catalogue)?;
        let columns = signals.columns(self.paths.as_ref());
        if columns & occurring(&row) == 0 {
            return Ok(());
        }
        // What is only counted may be damaged all the same: then it is not to be counted.
        let is_decoded = self.is_decoded || self.source.skips_damaged();
        let slice = if is_decoded || !self.is_whole(&row, columns) {
            let hits_max = self.hits_max();
            Slice::open(&self.source, &self.selection, row, columns, self.way(), hits_max)?
        } else {
            Slice::count(&self.source, row)?
        };
        if !slice.is_over() {
            let next_ms = slice.time_ms();
            let descends = self.order.time_descends();
            self.open.push(Open { next_ms, descends, device, slice });
        }
        Ok(())
    }

    /// Whether every sample of a block is asked for.
    fn is_whole(&self, row: &BlockRow, columns: Columns) -> bool {
        let is_in_time = match (row.from_ms, row.to_ms()) {
            (Some(from), Some(to)) => self.selection.holds(from) && self.selection.holds(to),
            _ => !self.selection.is_timed,
        };
        is_in_time && occurring(row) & !columns == 0
    }

    fn way(&self) -> Way {
        match (self.order.by_time(), self.order.time_descends()) {
            (false, _) => Way::Identity,
            (true, false) => Way::Ascending,
            (true, true) => Way::Descending,
        }
    }

    fn hits_max(&self) -> usize {
        (HITS_MAX / (self.open.len() + 1)).max(SLICE_MIN)
    }
}

/// The columns that occur in a block.
fn occurring(row: &BlockRow) -> Columns {
    Columns::from(row.columns) | Columns::from(row.has(CELL)) << CELL
}

impl Ord for Open {
    fn cmp(&self, other: &Self) -> Ordering {
        let ascending = self.next_ms.cmp(&other.next_ms);
        let by_time = if self.descends { ascending } else { ascending.reverse() };
        by_time.then_with(|| other.slice.row().id.cmp(&self.slice.row().id))
    }
}

impl PartialOrd for Open {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Open {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Open {}
