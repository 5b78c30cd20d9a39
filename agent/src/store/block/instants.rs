//! The instants of a block: when, which of their frame, which columns in which order.
//!
//! A device says the same few sets of columns over and over, one after the other in the same turn:
//! a set that is the one that followed last time costs next to nothing, and its distance in time is
//! predicted by the one it had last time.

use protocol::codec::CodecError;

use super::{COLUMNS_MAX, Entry};
use crate::store::coding::{Bit, Decoder, Encoder, Number};

/// Sets that are remembered; further ones are written out each time.
const KNOWN_MAX: usize = 256;

/// Columns that occur together, in this order.
#[derive(Debug)]
struct Set {
    columns: Vec<u8>,
    /// The set that came after this one last time.
    follower: usize,
    /// How long before it the instant before it was, last time.
    interval: i64,
}

/// What encoder and decoder know alike.
#[derive(Debug)]
struct Model {
    known: Vec<Set>,
    /// The set at hand.
    current: usize,
    is_follower: Bit,
    index: Number,
    interval: Number,
    step: Number,
    /// None before the first instant.
    tick: Option<i64>,
    /// The next ordinal, as a rule.
    ordinal: u32,
}

impl Model {
    fn new() -> Self {
        Self {
            known: vec![Set { columns: Vec::new(), follower: 0, interval: 0 }],
            current: 0,
            is_follower: Bit::EVEN,
            index: Number::new(),
            interval: Number::new(),
            step: Number::new(),
            tick: None,
            ordinal: 0,
        }
    }

    fn follower(&self) -> usize {
        self.known.get(self.current).map_or(0, |set| set.follower)
    }

    fn follow(&mut self, set: usize) {
        if let Some(last) = self.known.get_mut(self.current) {
            last.follower = set;
        }
        self.current = set;
    }

    /// Remembers a set; the first one, which stands for none, gives way if there is no room.
    fn learn(&mut self, columns: Vec<u8>) -> usize {
        let set = Set { columns, follower: 0, interval: 0 };
        if self.known.len() < KNOWN_MAX {
            self.known.push(set);
            return self.known.len() - 1;
        }
        if let Some(first) = self.known.first_mut() {
            *first = set;
        }
        0
    }

    /// What to expect of the tick: the last one, and how much later this set's was.
    fn expected(&self) -> i64 {
        let interval = self.known.get(self.current).map_or(0, |set| set.interval);
        self.tick.map_or(0, |tick| tick.wrapping_add(interval))
    }

    fn pass(&mut self, tick: i64) {
        let interval = self.tick.map_or(0, |last| tick.wrapping_sub(last));
        if let Some(set) = self.known.get_mut(self.current) {
            set.interval = interval;
        }
        self.tick = Some(tick);
    }
}

/// Appends the instants of `entries`; how many each of the `runs` has.
pub fn encode(entries: &[Entry], runs: usize, out: &mut Vec<u8>) -> Vec<u32> {
    let start = out.len();
    let (mut to, mut model) = (Encoder::new(), Model::new());
    let mut counts = vec![0; runs];
    let mut columns = Vec::with_capacity(usize::from(COLUMNS_MAX));
    let mut last_run = None;
    for instant in entries.chunk_by(belong_together).flat_map(|all| all.chunks(COLUMNS_MAX.into()))
    {
        let Some(Entry { tick, ordinal, run, .. }) = instant.first().copied() else { continue };
        if last_run != Some(run) {
            model.ordinal = 0;
        }
        last_run = Some(run);
        if let Some(count) = counts.get_mut(usize::from(run)) {
            *count += 1;
        }
        columns.clear();
        columns.extend(instant.iter().map(|entry| entry.column));
        put_set(&mut model, &mut to, out, &columns);
        model.step.put(&mut to, out, i64::from(ordinal) - i64::from(model.ordinal));
        model.ordinal = ordinal.wrapping_add(1);
        let expected = model.expected();
        model.interval.put(&mut to, out, tick.wrapping_sub(expected));
        model.pass(tick);
    }
    to.finish(out, start);
    counts
}

fn belong_together(a: &Entry, b: &Entry) -> bool {
    a.tick == b.tick && a.ordinal == b.ordinal && a.run == b.run
}

fn put_set(model: &mut Model, to: &mut Encoder, out: &mut Vec<u8>, columns: &[u8]) {
    let follower = model.follower();
    let is_it = |set: &Set| set.columns == columns;
    let is_follower = model.known.get(follower).is_some_and(is_it);
    to.bit(out, &mut model.is_follower, is_follower);
    if is_follower {
        model.follow(follower);
        return;
    }
    let known = model.known.iter().position(is_it);
    model.index.put(to, out, known.map_or(-1, |at| i64::try_from(at).unwrap_or_default()));
    let set = known.unwrap_or_else(|| {
        to.flat(out, columns.len() as u64, 7);
        for column in columns {
            to.flat(out, u64::from(*column), 7);
        }
        model.learn(columns.to_vec())
    });
    model.follow(set);
}

/// Reads the instants.
#[derive(Debug)]
pub struct Instants<'a> {
    model: Box<Model>,
    from: Decoder<'a>,
}

impl<'a> Instants<'a> {
    pub fn new(coded: &'a [u8]) -> Self {
        Self { model: Box::new(Model::new()), from: Decoder::new(coded) }
    }

    /// What is read next belongs to another run.
    pub fn begin_run(&mut self) {
        self.model.ordinal = 0;
    }

    /// The columns of the instant at hand.
    pub fn columns(&self) -> &[u8] {
        self.model.known.get(self.model.current).map_or(&[], |set| &set.columns)
    }

    /// The next instant's ordinal and tick. There always is a next one: how many there are is known
    /// elsewhere.
    pub fn next(&mut self) -> Result<(u32, i64), CodecError> {
        let Self { model, from } = self;
        let set = if from.bit(&mut model.is_follower) {
            model.follower()
        } else if let Ok(known) = usize::try_from(model.index.take(from)) {
            known
        } else {
            let len = from.flat(7);
            let columns = (0..len).map(|_| from.flat(7).to_le_bytes()[0]).collect();
            model.learn(columns)
        };
        model.follow(set);
        if self.columns().is_empty() {
            return Err(CodecError::Malformed);
        }
        let Self { model, from } = self;
        let ordinal = model.step.take(from).wrapping_add(i64::from(model.ordinal));
        let ordinal = u32::try_from(ordinal).map_err(|_| CodecError::Malformed)?;
        model.ordinal = ordinal.wrapping_add(1);
        let tick = model.interval.take(from).wrapping_add(model.expected());
        model.pass(tick);
        Ok((ordinal, tick))
    }
}
