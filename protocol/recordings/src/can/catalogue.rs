//! Signals of a DBC as entries of a catalogue: their paths, and how many there is room for.

use std::collections::HashMap;

use protocol::{Catalogue, Signal, Step};

/// What a device's frame has room for, less than [`Catalogue::ENCODED_MAX`].
pub const CATALOGUE_BYTES_MAX: usize = 3700;
/// Longest unit of a catalogue, in bytes.
pub const UNIT_MAX: usize = 32;

/// What a catalogue still has room for.
#[derive(Debug)]
pub struct Room {
    signals: usize,
    bytes: usize,
    is_full: bool,
}

impl Default for Room {
    fn default() -> Self {
        // What a catalogue of no signals takes, at most.
        Self { signals: 0, bytes: 8, is_full: false }
    }
}

impl Room {
    /// Takes one more, if it fits. What does not ends it: no smaller one slips in behind.
    pub fn takes(&mut self, entry: &Signal<'_>) -> bool {
        self.bytes += encoded_len(entry);
        self.is_full |= self.signals >= Catalogue::SIGNALS_MAX || self.bytes > CATALOGUE_BYTES_MAX;
        self.signals += usize::from(!self.is_full);
        !self.is_full
    }
}

/// What the paths of a message's signals begin with: its name; where another one has that, with what
/// differs behind it, channel or id.
pub fn label(name: &str, channel: &str, id: u32, taken: &mut HashMap<String, String>) -> String {
    let by_channel = taken.get(name).is_some_and(|owner| owner != channel);
    let first = if by_channel { channel.to_owned() } else { format!("{id:X}") };
    let mut candidates =
        [name.to_owned(), format!("{name}_{first}"), format!("{name}_{channel}_{id:X}")]
            .into_iter()
            .chain((2..).map(|number: u64| format!("{name}_{channel}_{id:X}_{number}")));
    let free = candidates.find(|label| !taken.contains_key(label)).unwrap_or_default();
    taken.insert(free.clone(), channel.to_owned());
    free
}

/// The path of `MESSAGE.SIGNAL`.
pub fn path(name: &str) -> String {
    format!("Vehicle.Private.{name}")
}

/// A catalogue entry that lives as long as the process, as recordings do; none if its names are too
/// long for one.
pub fn entry(name: &str, unit: &str, step: Step, range: (i64, i64)) -> Option<Signal<'static>> {
    let path = path(name);
    let unit = if unit.len() > UNIT_MAX { "" } else { unit };
    let (raw_min, raw_max) = range;
    (path.len() <= Signal::PATH_MAX).then(|| Signal {
        path: Box::leak(path.into_boxed_str()),
        unit: Box::leak(unit.to_owned().into_boxed_str()),
        step,
        raw_min,
        raw_max,
    })
}

/// At most the bytes that an entry takes in a catalogue's encoding.
pub fn encoded_len(signal: &Signal<'_>) -> usize {
    let mut bytes = [0; 512];
    let signals = [*signal];
    let alone = Catalogue::new(1, &signals);
    alone.encode(&mut bytes).unwrap_or(bytes.len())
}

/// A catalogue that lives as long as the process, as recordings do.
pub fn leak(signals: Vec<Signal<'static>>) -> &'static Catalogue<'static> {
    Box::leak(Box::new(Catalogue::new(1, Box::leak(signals.into_boxed_slice()))))
}
