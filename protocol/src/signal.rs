//! The signal catalogue: what a device measures, in which steps.

use heapless::Vec;
use postcard::ser_flavors::{Flavor, Slice};
use postcard::serialize_with_flavor;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::codec::{Hints, SignalHint, Timing};
use crate::thinning::Thinning;

/// A signal's place in its catalogue, from 0.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct SignalIndex(pub u8);

/// The rational step of a signal: physical value = raw * numerator / denominator + offset.
///
/// Rational, because 0.1 and 1/128 must both be exact, and because a device has no floats.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Step {
    /// Numerator, not 0.
    pub numerator: u32,
    /// Denominator, not 0.
    pub denominator: u32,
    /// Added after scaling, in units of the signal.
    pub offset: i32,
}

impl Step {
    /// Steps of one unit.
    pub const ONE: Self = Self::new(1, 1);

    /// Steps of `numerator / denominator`, no offset.
    pub const fn new(numerator: u32, denominator: u32) -> Self {
        Self { numerator, denominator, offset: 0 }
    }
}

/// One catalogue entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Signal<'a> {
    /// VSS path, dotted `PascalCase`, at most [`Signal::PATH_MAX`] bytes.
    /// Source: COVESA Vehicle Signal Specification 6, or a private branch.
    #[serde(borrow)]
    pub path: &'a str,
    /// Unit as VSS writes it (`km/h`, `degrees`, `percent`); empty for none.
    pub unit: &'a str,
    /// Raw to physical.
    pub step: Step,
    /// Least raw value a healthy source gives.
    pub raw_min: i64,
    /// Greatest raw value a healthy source gives.
    pub raw_max: i64,
}

impl Signal<'_> {
    /// The longest path, in bytes.
    pub const PATH_MAX: usize = 96;
}

/// Names a catalogue by its content: the first four bytes of SHA-256 over its encoding.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct CatalogueId(pub u32);

impl core::fmt::Display for CatalogueId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// All the signals of a device and the resolution of its time stamps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Catalogue<'a> {
    /// Length of one tick of a sample's time stamp, in milliseconds: 1 for a bus, 1000 for a fix a
    /// minute. At least 1.
    pub tick_ms: u32,
    /// The signals, at most [`Catalogue::SIGNALS_MAX`].
    pub signals: &'a [Signal<'a>],
    /// What the batch codec is told of them beforehand.
    pub hints: Hints<'a>,
    /// What is left out of them on purpose, in the order of the signals; each at most once.
    pub thinning: &'a [Thinning],
}

/// A catalogue as it was read, for up to `N` signals.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decoded<'a, const N: usize> {
    tick_ms: u32,
    signals: Vec<Signal<'a>, N>,
    timing: Timing,
    hints: Vec<SignalHint, N>,
    levels: &'a [u8],
    thinning: Vec<Thinning, N>,
}

impl<const N: usize> Decoded<'_, N> {
    /// What it says.
    pub fn catalogue(&self) -> Catalogue<'_> {
        let hints = Hints { timing: self.timing, signals: &self.hints, levels: self.levels };
        let (signals, thinning) = (&self.signals, &self.thinning);
        Catalogue { tick_ms: self.tick_ms, signals, hints, thinning }
    }
}

/// Why bytes are no catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// Truncated or malformed.
    #[error("malformed catalogue")]
    Malformed,
    /// A tick or step of zero, a range upside down, an empty or overlong path, too many signals, hints
    /// for another number of them, thinning of what is not there or that says nothing.
    #[error("catalogue entry out of range")]
    Range,
    /// The encoding does not fit the buffer given.
    #[error("catalogue larger than its buffer")]
    Size,
}

/// Compares what is written with bytes; whether they are the same.
struct Same<'a>(&'a [u8]);

impl Flavor for Same<'_> {
    type Output = bool;

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        match self.0.split_first() {
            Some((first, rest)) if *first == byte => self.0 = rest,
            _ => return Err(postcard::Error::SerializeBufferFull),
        }
        Ok(())
    }

    fn finalize(self) -> postcard::Result<bool> {
        Ok(self.0.is_empty())
    }
}

impl<'a> Catalogue<'a> {
    /// The most signals one catalogue holds.
    pub const SIGNALS_MAX: usize = 64;
    /// Bytes of the longest encoding that tools make of a file. A device's must fit one of its frames, too.
    pub const ENCODED_MAX: usize = 4096;

    /// One of which nothing more is known.
    pub const fn new(tick_ms: u32, signals: &'a [Signal<'a>]) -> Self {
        Self { tick_ms, signals, hints: Hints::NONE, thinning: &[] }
    }

    /// The signal at an index.
    pub fn get(&self, index: SignalIndex) -> Option<&Signal<'a>> {
        self.signals.get(usize::from(index.0))
    }

    /// Writes the canonical encoding; returns its length.
    pub fn encode(&self, into: &mut [u8]) -> Result<usize, CatalogueError> {
        if !self.in_range() {
            return Err(CatalogueError::Range);
        }
        let used = self.encode_into(Slice::new(into)).map_err(|_| CatalogueError::Size)?;
        Ok(used.len())
    }

    fn encode_into<F: Flavor>(&self, into: F) -> postcard::Result<F::Output> {
        let Hints { timing, signals, levels } = self.hints;
        let (parts, hints) = ((self.tick_ms, self.signals), (timing, signals, levels));
        match (self.hints == Hints::NONE, self.thinning) {
            (true, []) => serialize_with_flavor(&parts, into),
            (false, []) => serialize_with_flavor(&(parts, hints), into),
            (_, thinning) => serialize_with_flavor(&(parts, hints, thinning), into),
        }
    }

    /// Reads an encoding: the canonical one, so that a catalogue has one id.
    pub fn decode<const N: usize>(bytes: &'a [u8]) -> Result<Decoded<'a, N>, CatalogueError> {
        let malformed = |_| CatalogueError::Malformed;
        let ((tick_ms, signals), rest) = postcard::take_from_bytes(bytes).map_err(malformed)?;
        let ((timing, hints, levels), behind) = if rest.is_empty() {
            ((Timing::Any, Vec::new(), &[][..]), rest)
        } else {
            postcard::take_from_bytes(rest).map_err(malformed)?
        };
        let thinning = if behind.is_empty() {
            Vec::new()
        } else {
            postcard::from_bytes(behind).map_err(malformed)?
        };
        let decoded = Decoded { tick_ms, signals, timing, hints, levels, thinning };
        let catalogue = decoded.catalogue();
        if !catalogue.in_range() {
            return Err(CatalogueError::Range);
        }
        let is_canonical = catalogue.encode_into(Same(bytes)) == Ok(true);
        if is_canonical { Ok(decoded) } else { Err(CatalogueError::Malformed) }
    }

    /// The id of a catalogue from its canonical encoding.
    pub fn id_of(encoded: &[u8]) -> CatalogueId {
        let [a, b, c, d, ..] = <[u8; 32]>::from(Sha256::digest(encoded));
        CatalogueId(u32::from_be_bytes([a, b, c, d]))
    }

    fn in_range(&self) -> bool {
        self.tick_ms > 0
            && self.signals.len() <= Self::SIGNALS_MAX
            && self.hints.fit(self.signals.len())
            && Thinning::fit(self.thinning, self.signals, self.tick_ms)
            && self.signals.iter().all(|signal| {
                signal.step.numerator > 0
                    && signal.step.denominator > 0
                    && signal.raw_min <= signal.raw_max
                    && !signal.path.is_empty()
                    && signal.path.len() <= Signal::PATH_MAX
                    && signal.unit.len() <= 32
            })
    }
}
