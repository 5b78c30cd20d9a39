//! The oracle: what every sink was given of every device, in a few bytes each.

use super::wire::{Delivery, Piece};
use crate::light::{Shape, digest};

/// A device, as one sink sees it.
#[derive(Clone, Copy, Debug, Default)]
struct Stream {
    /// The index of the next frame of samples, if nothing is missing.
    next: u64,
    /// Samples said to be lost, and not yet matched with a gap.
    credit: u64,
    /// The last number that anything came under.
    seq: u64,
}

/// What sinks were given.
#[derive(Debug)]
pub(super) struct Truth {
    shape: Shape,
    devices: usize,
    /// Sink by sink.
    streams: Vec<Stream>,
    /// Frames of samples, of all sinks together.
    pub delivered: u64,
    /// Samples said to be lost.
    pub lost: u64,
    /// Loss documents.
    pub losses: u64,
}

impl Truth {
    pub(super) fn new(shape: Shape, devices: u32, sinks: u8) -> Self {
        let devices = usize::try_from(devices).unwrap_or(0);
        let streams = vec![Stream::default(); devices * usize::from(sinks)];
        Self { shape, devices, streams, delivered: 0, lost: 0, losses: 0 }
    }

    /// Holds a delivery against what the device measured, and what came before.
    pub(super) fn take(&mut self, delivery: &Delivery) -> Result<(), String> {
        let Delivery { sink, device, seq, what } = *delivery;
        let at = usize::from(sink) * self.devices + usize::try_from(device).unwrap_or(usize::MAX);
        let Some(stream) = self.streams.get_mut(at) else {
            return Err(format!("sink {sink}: device {device} is nobody"));
        };
        let said = match what {
            Piece::Lost(samples) => {
                self.losses += 1;
                self.lost += samples;
                stream.credit += samples;
                // A hello's gap has the number of its last frame, and so may a loss.
                stream.reach(seq, seq >= stream.seq)
            }
            Piece::Samples { index, count, digest: found } => {
                self.delivered += 1;
                let all = self.shape.all(device, index);
                let expected = all.fold(0, |so_far, sample| {
                    digest(
                        so_far,
                        (sample.tick, sample.signal.0, sample.steps().unwrap_or_default()),
                    )
                });
                if u64::from(count) != self.shape.samples() || found != expected {
                    Err(format!("frame {index} is not what was measured"))
                } else {
                    let in_order = seq > stream.seq;
                    stream.reach(seq, in_order).and_then(|()| stream.deliver(index, self.shape))
                }
            }
        };
        said.map_err(|why| format!("sink {sink}, device {device}, number {seq}: {why}"))
    }

    /// At the end: nothing is missing of the frames that each device took.
    pub(super) fn finish(&mut self, frames: impl Fn(usize) -> u64) -> Result<(), String> {
        for (at, stream) in self.streams.iter_mut().enumerate() {
            let (sink, device) = (at / self.devices, at % self.devices);
            let taken = frames(device);
            let said = match stream.next.checked_sub(taken) {
                None | Some(0) => stream.close(taken, self.shape),
                Some(more) => Err(format!("{more} frames more came than were taken")),
            };
            said.map_err(|why| format!("sink {sink}, device {device}, at the end: {why}"))?;
        }
        Ok(())
    }
}

impl Stream {
    fn reach(&mut self, seq: u64, in_order: bool) -> Result<(), String> {
        if !in_order {
            return Err(format!("came after number {}", self.seq));
        }
        self.seq = seq;
        Ok(())
    }

    fn deliver(&mut self, index: u64, shape: Shape) -> Result<(), String> {
        if index < self.next {
            return Err(format!("frame {index} comes again, or after {}", self.next - 1));
        }
        self.close(index, shape)?;
        self.next = index + 1;
        Ok(())
    }

    /// All frames up to this one are delivered, or said to be lost, exactly.
    fn close(&mut self, to: u64, shape: Shape) -> Result<(), String> {
        let gap = (to - self.next) * shape.samples();
        if gap != self.credit {
            let (from, credit) = (self.next, self.credit);
            return Err(format!(
                "of frames {from} to {to}, {gap} samples are missing, and {credit} said to be lost"
            ));
        }
        (self.next, self.credit) = (to, 0);
        Ok(())
    }
}
