//! A catalogue, looked at through the rules: what becomes of each signal, settled once.

use std::sync::Arc;

use h3o::{CellIndex, LatLng, Resolution};
use protocol::{Catalogue, Lane, SignalIndex};

use super::Policy;
use crate::document::{Decimal, OwnedCatalogue, SignalThinning, member, thinning};
use crate::value::{Amount, Exact};

/// What becomes of a signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Act {
    /// It leaves as it is.
    Keep,
    /// It does not leave.
    Drop {
        /// By which rule.
        rule: usize,
    },
    /// It is half of a place.
    Latitude,
    /// It is the other half.
    Longitude,
}

/// One signal.
#[derive(Debug)]
pub(super) struct View {
    pub act: Act,
    /// `,"path":`
    pub member: Box<[u8]>,
    pub decimal: Decimal,
    /// What was left out of it on purpose, as documents say it.
    pub thinning: Option<SignalThinning>,
    /// One bit for each path: two signals of one path may not meet in one document.
    pub path_bit: u64,
}

/// What becomes of each signal of one catalogue under one policy.
#[derive(Debug)]
pub struct Lens {
    catalogue: Arc<OwnedCatalogue>,
    tick_ms: i64,
    signals: u8,
    views: Box<[View]>,
    cell_member: Box<[u8]>,
}

const _: () = assert!(Lens::CELL as usize >= Catalogue::SIGNALS_MAX, "no signal has its index");

impl Lens {
    /// The column of a coarse place, in the place of a signal's index: its path is
    /// [`Policy::CELL_PATH`], its raw value the bits of an H3 cell index.
    pub const CELL: u8 = 64;

    pub(super) fn new(
        catalogue: &Arc<OwnedCatalogue>,
        act: impl Fn(SignalIndex, &str) -> Act,
    ) -> Self {
        let signals = catalogue.signals.get(..Catalogue::SIGNALS_MAX).unwrap_or(&catalogue.signals);
        let thinning = |signal| catalogue.with(|catalogue| thinning(catalogue, signal));
        let view = |signal, path: &str, step| {
            let first = signals.iter().position(|other| other.path == path).unwrap_or_default();
            View {
                act: act(signal, path),
                member: member(path),
                decimal: Decimal::new(step),
                thinning: thinning(signal),
                path_bit: 1_u64.rotate_left(u32::try_from(first).unwrap_or_default()),
            }
        };
        let views: Box<[View]> = (0..)
            .map(SignalIndex)
            .zip(signals)
            .map(|(at, signal)| view(at, &signal.path, signal.step))
            .collect();
        Self {
            catalogue: Arc::clone(catalogue),
            tick_ms: i64::from(catalogue.tick_ms),
            signals: u8::try_from(views.len()).unwrap_or_default(),
            views,
            cell_member: member(Policy::CELL_PATH),
        }
    }

    /// The catalogue whose columns these are.
    pub fn catalogue(&self) -> &Arc<OwnedCatalogue> {
        &self.catalogue
    }

    /// Length of one tick, in milliseconds.
    pub fn tick_ms(&self) -> i64 {
        self.tick_ms
    }

    /// Appends `,"path":value` of a column, as it stands in a document. `exacts`: what its amount may
    /// stand for.
    pub fn write_member(&self, out: &mut Vec<u8>, column: u8, amount: Amount, exacts: &[Exact]) {
        if let (Self::CELL, Amount::Steps(cell)) = (column, amount) {
            out.extend_from_slice(&self.cell_member);
            crate::document::cell(out, cell.cast_unsigned());
        } else if let Some(view) = self.view(SignalIndex(column)) {
            out.extend_from_slice(&view.member);
            view.decimal.write_amount(out, amount, exacts);
        }
    }

    /// What was left out of a column's signal on purpose, in a lane.
    pub fn thinning(&self, column: u8, lane: Lane) -> Option<&str> {
        self.view(SignalIndex(column))?.thinning.as_ref()?.of(lane)
    }

    pub(super) fn signals(&self) -> u8 {
        self.signals
    }

    pub(super) fn view(&self, signal: SignalIndex) -> Option<&View> {
        self.views.get(usize::from(signal.0))
    }
}

/// The place of an instant, in degrees, as far as it is known.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    pub latitude: Option<f64>,
    pub longitude: Option<f64>,
}

impl Place {
    /// The cell it lies in; none for a lone half or a place that is none.
    pub fn cell(&self, resolution: Resolution) -> Option<CellIndex> {
        let (latitude, longitude) = (self.latitude?, self.longitude?);
        let on_earth = (-90.0..=90.0).contains(&latitude) && (-180.0..=180.0).contains(&longitude);
        let place = on_earth.then(|| LatLng::new(latitude, longitude).ok()).flatten()?;
        Some(place.to_cell(resolution))
    }

    /// How many samples it was made of.
    pub fn halves(&self) -> u64 {
        u64::from(self.latitude.is_some()) + u64::from(self.longitude.is_some())
    }
}
