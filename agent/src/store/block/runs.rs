//! The frames of a block.

use protocol::codec::CodecError;
use protocol::frame::{Kind, Origin};
use protocol::{Clock, FrameTag, RingId, Seq};

use super::Run;
use crate::store::coding::{Bit, Decoder, Encoder, Number};

/// What encoder and decoder know alike.
struct Model {
    seq: Number,
    received: Number,
    clock: Number,
    boot: Number,
    instants: Number,
    is_resealed: Bit,
    same_ring: Bit,
    origin_seq: Number,
    last: Run,
    last_instants: i64,
    last_origin: (RingId, Seq),
}

impl Model {
    fn new() -> Self {
        let last = Run { seq: Seq(0), received_ms: 0, clock: Clock::Uptime, boot: 0, origin: None };
        Self {
            seq: Number::new(),
            received: Number::new(),
            clock: Number::new(),
            boot: Number::new(),
            instants: Number::new(),
            is_resealed: Bit::EVEN,
            same_ring: Bit::EVEN,
            origin_seq: Number::new(),
            last,
            last_instants: 0,
            last_origin: (RingId([0; 16]), Seq(0)),
        }
    }

    /// The sequence numbers that come next as a rule.
    fn expected(&self) -> (i64, i64) {
        (
            self.last.seq.0.cast_signed().wrapping_add(1),
            self.last_origin.1.0.cast_signed().wrapping_add(1),
        )
    }
}

pub fn encode(runs: &[Run], instants: &[u32], out: &mut Vec<u8>) {
    let start = out.len();
    let (mut to, mut model) = (Encoder::new(), Model::new());
    for (run, count) in runs.iter().zip(instants) {
        let (seq, origin_seq) = model.expected();
        let last = model.last;
        model.seq.put(&mut to, out, run.seq.0.cast_signed().wrapping_sub(seq));
        model.received.put(&mut to, out, run.received_ms.wrapping_sub(last.received_ms));
        model.clock.put(&mut to, out, run.clock as i64 - last.clock as i64);
        model.boot.put(&mut to, out, i64::from(run.boot) - i64::from(last.boot));
        model.instants.put(&mut to, out, i64::from(*count) - model.last_instants);
        to.bit(out, &mut model.is_resealed, run.origin.is_some());
        if let Some(Origin { ring, tag, seq, kind: _ }) = run.origin {
            let is_same = ring == model.last_origin.0;
            to.bit(out, &mut model.same_ring, is_same);
            if !is_same {
                ring.0.iter().for_each(|byte| to.flat(out, u64::from(*byte), 8));
            }
            to.flat(out, u64::from_le_bytes(tag.0), 64);
            model.origin_seq.put(&mut to, out, seq.0.cast_signed().wrapping_sub(origin_seq));
            model.last_origin = (ring, seq);
        }
        model.last_instants = i64::from(*count);
        model.last = *run;
    }
    to.finish(out, start);
}

/// The runs, and how many instants each has: together at most `samples`.
pub fn decode(
    coded: &[u8],
    runs: usize,
    samples: usize,
) -> Result<(Vec<Run>, Vec<u32>), CodecError> {
    let (mut from, mut model) = (Decoder::new(coded), Model::new());
    let (mut read, mut instants) = (Vec::with_capacity(runs), Vec::with_capacity(runs));
    let mut left = samples;
    for _ in 0..runs {
        let (seq, origin_seq) = model.expected();
        let seq = Seq(model.seq.take(&mut from).wrapping_add(seq).cast_unsigned());
        let received_ms = model.received.take(&mut from).wrapping_add(model.last.received_ms);
        let clock = model.clock.take(&mut from).wrapping_add(model.last.clock as i64);
        let clock = u8::try_from(clock).ok().and_then(Clock::from_number);
        let boot = model.boot.take(&mut from).wrapping_add(i64::from(model.last.boot));
        let count = model.instants.take(&mut from).wrapping_add(model.last_instants);
        model.last_instants = count;
        let count = u32::try_from(count).map_err(|_| CodecError::Malformed)?;
        left = left.checked_sub(count as usize).ok_or(CodecError::Malformed)?;
        let origin = from.bit(&mut model.is_resealed).then(|| {
            let ring = if from.bit(&mut model.same_ring) {
                model.last_origin.0
            } else {
                RingId([0; 16].map(|_: u8| from.flat(8).to_le_bytes()[0]))
            };
            let tag = FrameTag(from.flat(64).to_le_bytes());
            let seq = model.origin_seq.take(&mut from).wrapping_add(origin_seq).cast_unsigned();
            model.last_origin = (ring, Seq(seq));
            Origin { ring, tag, seq: Seq(seq), kind: Kind::Samples }
        });
        let run = Run {
            seq,
            received_ms,
            clock: clock.ok_or(CodecError::Malformed)?,
            boot: u32::try_from(boot).map_err(|_| CodecError::Malformed)?,
            origin,
        };
        model.last = run;
        read.push(run);
        instants.push(count);
    }
    Ok((read, instants))
}
