//! What is wrong, and where it was seen first.

use std::fmt;

/// Kinds of difference.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// Neither delivered nor explained.
    Missing,
    /// Delivered twice.
    Doubled,
    /// Delivered too late.
    OutOfOrder,
    /// Another value, another time, or never said.
    Unequal,
    /// A loss document counts what was delivered.
    Overstated,
    /// An id that was there before, or comes before one that was.
    Identity,
    /// A line that is no document.
    Malformed,
    /// A device that is not in the fleet.
    Foreign,
    /// The agent's ledger says something else.
    Ledger,
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "missing silently",
            Self::Doubled => "doubled",
            Self::OutOfOrder => "out of order",
            Self::Unequal => "unequal",
            Self::Overstated => "loss overstated",
            Self::Identity => "id not ascending",
            Self::Malformed => "malformed line",
            Self::Foreign => "unknown device",
            Self::Ledger => "ledger differs",
        })
    }
}

/// The document at hand, borrowed from its line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Context<'a> {
    /// Number of the file in the order of reading.
    pub file: usize,
    /// Its name; empty behind the end of the last.
    pub file_name: &'a str,
    /// The line in it, from 1.
    pub line: u64,
    /// The document's id, or the device's alone where there is no document.
    pub id: &'a str,
    /// The boot in which the document's readings were taken.
    pub boot: u32,
    /// Whether the frame was sealed anew and names its origin.
    pub resealed: bool,
}

/// Where something was seen, to keep.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    order: (usize, u64),
    shown: String,
    id: String,
}

impl From<&Context<'_>> for Place {
    fn from(context: &Context<'_>) -> Self {
        let shown = match context.file_name {
            "" => "end of the sink".to_owned(),
            file => format!("{file}:{}", context.line),
        };
        Self { order: (context.file, context.line), shown, id: context.id.to_owned() }
    }
}

/// One difference.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Fault {
    /// What kind.
    pub kind: FaultKind,
    /// `file:line` of the document.
    pub place: String,
    /// The document's id, `device/ring/seq/index`; the device alone where no document is there.
    pub id: String,
    /// Expected and got.
    pub text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}: {}", self.place, self.kind, self.id, self.text)
    }
}

/// Collects differences: how many, and the first one in the order of the files.
#[derive(Debug)]
pub struct Faults {
    first: Option<((usize, u64), Fault)>,
    count: u64,
    search_left: u64,
}

impl Default for Faults {
    fn default() -> Self {
        Self { first: None, count: 0, search_left: Self::SEARCH_MAX }
    }
}

impl Faults {
    /// Readings looked at in all searches together: a sink full of nonsense must not take for ever.
    pub const SEARCH_MAX: u64 = 2_000_000_000;

    /// Notes a difference at the document at hand.
    pub fn note(&mut self, kind: FaultKind, context: &Context<'_>, text: impl FnOnce() -> String) {
        self.count += 1;
        if self.is_first((context.file, context.line)) {
            self.set_first(kind, Place::from(context), text());
        }
    }

    /// Notes a difference that was seen earlier.
    pub fn note_at(&mut self, kind: FaultKind, place: Place, text: String) {
        self.count += 1;
        if self.is_first(place.order) {
            self.set_first(kind, place, text);
        }
    }

    fn is_first(&self, order: (usize, u64)) -> bool {
        self.first.as_ref().is_none_or(|(first, _)| order < *first)
    }

    fn set_first(&mut self, kind: FaultKind, place: Place, text: String) {
        let Place { order, shown, id } = place;
        self.first = Some((order, Fault { kind, place: shown, id, text }));
    }

    /// How many were noted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The first one.
    pub fn first(&self) -> Option<&Fault> {
        self.first.as_ref().map(|(_, fault)| fault)
    }

    /// Whether one more reading may be looked at in a search.
    pub fn may_search(&mut self) -> bool {
        let left = self.search_left.checked_sub(1);
        self.search_left = left.unwrap_or_default();
        left.is_some()
    }
}
