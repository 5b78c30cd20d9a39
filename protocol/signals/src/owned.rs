//! A catalogue that owns its texts: what a decoder and a document writer need of it.

use protocol::codec::{Hints, SignalHint, Timing};
use protocol::thinning::{Thin, Thinning, Window};
use protocol::{Catalogue, CatalogueId, Signal, SignalIndex, Step};

/// All the signals of a device and the resolution of its time stamps.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnedCatalogue {
    /// Names it by its content.
    pub id: CatalogueId,
    /// Length of one tick, in milliseconds.
    pub tick_ms: u32,
    /// The signals, by index; at most [`Catalogue::SIGNALS_MAX`].
    pub signals: Vec<OwnedSignal>,
    /// What the batch codec is told of them beforehand.
    pub hints: OwnedHints,
    /// What is left out of them on purpose, in their order.
    pub thinning: Vec<Thinning>,
}

/// [`Hints`] of its own.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OwnedHints {
    /// How samples follow each other.
    pub timing: Timing,
    /// One a signal, or none.
    pub signals: Vec<SignalHint>,
    /// The start table, or nothing.
    pub levels: Vec<u8>,
}

impl OwnedHints {
    /// As the codec takes them.
    pub fn borrowed(&self) -> Hints<'_> {
        Hints { timing: self.timing, signals: &self.signals, levels: &self.levels }
    }
}

impl From<Hints<'_>> for OwnedHints {
    fn from(hints: Hints<'_>) -> Self {
        let Hints { timing, signals, levels } = hints;
        Self { timing, signals: signals.to_vec(), levels: levels.to_vec() }
    }
}

/// One entry of an [`OwnedCatalogue`]; the fields are those of [`Signal`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnedSignal {
    /// VSS path.
    pub path: String,
    /// Unit as VSS writes it; empty for none.
    pub unit: String,
    /// Raw to physical.
    pub step: Step,
    /// Least raw value a healthy source gives.
    pub raw_min: i64,
    /// Greatest raw value a healthy source gives.
    pub raw_max: i64,
}

impl OwnedCatalogue {
    /// Takes over what a catalogue with the id `id` says.
    pub fn new(id: CatalogueId, catalogue: &Catalogue<'_>) -> Self {
        Self {
            id,
            tick_ms: catalogue.tick_ms,
            signals: catalogue.signals.iter().map(OwnedSignal::from).collect(),
            hints: catalogue.hints.into(),
            thinning: catalogue.thinning.to_vec(),
        }
    }
}

impl OwnedCatalogue {
    /// The path of the signal whose readings another one is made of, if it is.
    pub fn window_of(&self, signal: SignalIndex) -> Option<&str> {
        let thinning = self.thinning.iter().find(|thinning| thinning.signal == signal)?;
        let Thin::Window(Window { of, .. }) = thinning.how else { return None };
        Some(&self.signals.get(usize::from(of.0))?.path)
    }

    /// Calls `with` with what it says.
    pub fn with<T>(&self, with: impl FnOnce(&Catalogue<'_>) -> T) -> T {
        let signals: Vec<Signal<'_>> = self.signals.iter().map(OwnedSignal::borrowed).collect();
        let (tick_ms, hints) = (self.tick_ms, self.hints.borrowed());
        with(&Catalogue { tick_ms, signals: &signals, hints, thinning: &self.thinning })
    }
}

impl OwnedSignal {
    /// As the device has it.
    pub fn borrowed(&self) -> Signal<'_> {
        let Self { path, unit, step, raw_min, raw_max } = self;
        Signal { path, unit, step: *step, raw_min: *raw_min, raw_max: *raw_max }
    }
}

impl From<&Signal<'_>> for OwnedSignal {
    fn from(signal: &Signal<'_>) -> Self {
        Self {
            path: signal.path.to_owned(),
            unit: signal.unit.to_owned(),
            step: signal.step,
            raw_min: signal.raw_min,
            raw_max: signal.raw_max,
        }
    }
}
