//! A catalogue that owns its texts: what a decoder and a document writer need of it.

use protocol::{Catalogue, CatalogueId, Signal, Step};

/// All the signals of a device and the resolution of its time stamps.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnedCatalogue {
    /// Names it by its content.
    pub id: CatalogueId,
    /// Length of one tick, in milliseconds.
    pub tick_ms: u32,
    /// The signals, by index; at most [`Catalogue::SIGNALS_MAX`].
    pub signals: Vec<OwnedSignal>,
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
        }
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
