//! An upstream that is away, and then is not: what it is given goes to the oracle.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agent::privacy::{Cleared, Piece as Given, RecordKind};
use agent::sink::{CursorState, Erased, Sink, SinkError};
use protocol::DeviceId;

use super::planted::Planted;
use super::wire::{Delivery, Piece};
use crate::light::{Shape, digest, number};

/// What all sinks of an agent share.
#[derive(Debug)]
pub(super) struct Upstreams {
    pub is_up: bool,
    /// Not yet told to the oracle.
    pub delivered: Vec<Delivery>,
    /// What a sink was given that it cannot be given.
    pub wrong: Option<String>,
    shape: Shape,
    planted: Option<Planted>,
    /// Batches since they came back.
    batches: u64,
    was_up: bool,
}

/// The agent's end of one.
#[derive(Clone, Debug)]
pub(super) struct PipeSink {
    number: u8,
    all: Arc<Mutex<Upstreams>>,
}

/// The batch that a planted fault is about.
const PLANTED_BATCH: u64 = 3;

impl Upstreams {
    pub(super) fn new(shape: Shape, planted: Option<Planted>) -> Self {
        Self {
            is_up: false,
            delivered: Vec::new(),
            wrong: None,
            shape,
            planted,
            batches: 0,
            was_up: false,
        }
    }

    pub(super) fn switch(&mut self, is_up: bool) {
        self.was_up |= self.is_up && !is_up;
        self.is_up = is_up;
    }

    fn take(&mut self, sink: u8, piece: &Given<'_>) {
        let (from, what) = match piece {
            Given::Samples(frame, samples) => {
                let index = samples.first().and_then(|first| self.shape.index_of(first.tick));
                let digest = samples.iter().fold(0, |so_far, sample| {
                    digest(
                        so_far,
                        (sample.tick, sample.column, sample.amount.steps().unwrap_or_default()),
                    )
                });
                let index = index.map_or(u64::MAX, |(index, _)| index);
                let count = u32::try_from(samples.len()).unwrap_or(u32::MAX);
                (&frame.from, Piece::Samples { index, count, digest })
            }
            Given::Record(record, document) if record.kind == RecordKind::Loss => {
                let lost = serde_json::from_slice::<serde_json::Value>(document).ok();
                let lost = lost.and_then(|said| said.pointer("/data/samples")?.as_u64());
                let Some(lost) = lost else {
                    self.wrong.get_or_insert_with(|| String::from_utf8_lossy(document).into());
                    return;
                };
                (&record.from, Piece::Lost(lost))
            }
            // Nothing else was sent.
            Given::Record(_, document) => {
                self.wrong.get_or_insert_with(|| String::from_utf8_lossy(document).into());
                return;
            }
        };
        if self.planted == Some(Planted::LossForgotten) && matches!(what, Piece::Lost(_)) {
            return;
        }
        let Some(device) = number(from.device.as_str()) else {
            self.wrong.get_or_insert_with(|| format!("{} is nobody", from.device));
            return;
        };
        self.delivered.push(Delivery { sink, device, seq: from.seq.0, what });
    }
}

impl PipeSink {
    pub(super) fn new(number: u8, all: &Arc<Mutex<Upstreams>>) -> Self {
        Self { number, all: Arc::clone(all) }
    }
}

pub(super) fn lock(all: &Mutex<Upstreams>) -> MutexGuard<'_, Upstreams> {
    all.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sink for PipeSink {
    fn write(&mut self, batch: &Cleared, _cursor: &CursorState) -> Result<(), SinkError> {
        let mut all = lock(&self.all);
        if !all.is_up {
            return Err(SinkError::Retry("away".to_owned()));
        }
        all.batches += u64::from(all.was_up);
        let is_planted = self.number == 0 && all.batches == PLANTED_BATCH;
        let times = match all.planted {
            Some(Planted::BatchForgotten) if is_planted => 0,
            Some(Planted::BatchTwice) if is_planted => 2,
            _ => 1,
        };
        for _ in 0..times {
            batch.pieces().for_each(|piece| all.take(self.number, &piece));
        }
        Ok(())
    }

    fn erase(&mut self, _device: &DeviceId) -> Result<Erased, SinkError> {
        Ok(Erased::default())
    }

    fn erase_vehicle(&mut self, _vehicle: &str) -> Result<Erased, SinkError> {
        Ok(Erased::default())
    }
}
