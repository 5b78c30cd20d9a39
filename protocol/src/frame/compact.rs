//! The compact header: what a frame of samples has in place of its own on its way to the agent.
//!
//! ```text
//! | 1:1 version:3 generation:2 0:2 | clock:2 coding:2 seq:12 (big endian) | body, encrypted | tag (16) |
//! ```
//!
//! What it leaves out both sides know: the hello of the connection named catalogue and boot, and of
//! the sequence number the low bits are enough, as of QUIC's packet numbers (RFC 9000, appendix A),
//! because the agent knows what it holds. The seal is over the whole header: a frame that was put
//! together wrongly does not open, is not acknowledged, and comes again behind another hello.
//! Whoever cannot be sure sends the frame as it is kept.

use super::{FrameError, Header, Kind, TAG_LEN};
use crate::WIRE_VERSION;
use crate::codec::{Coding, SamplesContext};
use crate::identity::{Generation, Seq};
use crate::signal::CatalogueId;

/// Bytes of the header.
pub const LEN: usize = 3;

const COMPACT: u8 = 0x80;
const SEQ_BITS: u32 = 12;
/// Sequence numbers that the low bits tell apart.
const WINDOW: u64 = 1 << SEQ_BITS;
/// How far behind the last acknowledged number a frame may be sent like this: half of the window,
/// less what may be acknowledged meanwhile and not have been heard of.
const AHEAD_MAX: u64 = WINDOW / 4;

/// What the hello of a connection says of the samples behind it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Context {
    /// The catalogue of the device.
    pub catalogue: CatalogueId,
    /// Its boot.
    pub boot: u32,
}

/// Puts the compact header in front of a sealed frame's body, in place of its own, and returns the
/// message; the frame as it is, if that is how it must be sent.
pub fn shorten(frame: &mut [u8], context: Context, acknowledged: Seq) -> &[u8] {
    let at = shortened(frame, context, acknowledged).unwrap_or(0);
    frame.get(at..).unwrap_or_default()
}

/// Where in the frame the message begins.
fn shortened(frame: &mut [u8], context: Context, acknowledged: Seq) -> Option<usize> {
    let (header, rest) = Header::read(frame).ok()?;
    let body_at = frame.len() - rest.len();
    let samples = header
        .samples
        .filter(|samples| (samples.catalogue, samples.boot) == (context.catalogue, context.boot))?;
    if !(1..=AHEAD_MAX).contains(&header.seq.0.wrapping_sub(acknowledged.0)) {
        return None;
    }
    let [.., high, low] = header.seq.0.to_be_bytes();
    let first = COMPACT | (WIRE_VERSION << 4) | (header.generation.number() << 2);
    let second = (samples.clock as u8) << 6 | (samples.coding as u8) >> 2 | high & 0x0f;
    let at = body_at.checked_sub(LEN)?;
    frame.get_mut(at..body_at)?.copy_from_slice(&[first, second, low]);
    Some(at)
}

/// Whether a message has a compact header.
pub fn is_compact(message: &[u8]) -> bool {
    message.first().is_some_and(|first| first & COMPACT != 0)
}

/// The header that the frame is kept with, and its body and tag. `next`: the number that the agent
/// waits for.
pub fn restore(message: &[u8], context: Context, next: Seq) -> Result<(Header, &[u8]), FrameError> {
    let (&[first, second, low], rest) =
        message.split_first_chunk::<LEN>().ok_or(FrameError::Truncated)?;
    if first >> 4 != COMPACT >> 4 | WIRE_VERSION {
        return Err(FrameError::Version);
    }
    let (clock, coding) =
        Coding::with_clock(second >> 6 | (second & 0x30) << 2).ok_or(FrameError::Malformed)?;
    if first & 3 != Kind::Samples as u8 {
        return Err(FrameError::Malformed);
    }
    if rest.len() < TAG_LEN {
        return Err(FrameError::Truncated);
    }
    let Context { catalogue, boot } = context;
    let samples = SamplesContext { catalogue, clock, coding, boot };
    let seq = nearest(u64::from(second & 0x0f) << 8 | u64::from(low), next.0);
    if seq == 0 {
        return Err(FrameError::Malformed);
    }
    Ok((Header::of_samples(Generation::from_bits(first >> 2), Seq(seq), samples), rest))
}

/// Of all numbers with these low bits the one that is nearest to what is expected.
const fn nearest(low: u64, expected: u64) -> u64 {
    let near = expected & !(WINDOW - 1) | low;
    if near.wrapping_add(WINDOW / 2) <= expected {
        near.wrapping_add(WINDOW)
    } else if near > expected.wrapping_add(WINDOW / 2) && near > WINDOW {
        near - WINDOW
    } else {
        near
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_number_is_found_on_both_sides_of_every_edge() {
        for expected in [1, 2, 2_047, 2_048, 4_095, 4_096, 4_097, 1_u64 << 40] {
            for seq in expected.saturating_sub(2_047).max(1)..=expected + 2_047 {
                assert_eq!(nearest(seq & (WINDOW - 1), expected), seq, "from {expected}");
            }
        }
    }

    #[test]
    fn of_two_that_are_as_near_the_later_one_is_meant() {
        for expected in [4_096, 5_000, 6_143, 6_144, 7_000, 8_191, 1_u64 << 40] {
            for low in [expected + WINDOW / 2, expected - WINDOW / 2] {
                assert_eq!(nearest(low & (WINDOW - 1), expected), expected + WINDOW / 2);
            }
        }
    }

    #[test]
    fn numbers_at_the_end_of_all_numbers_do_not_overflow() {
        for low in [0, 1, WINDOW - 1] {
            nearest(low, u64::MAX);
        }
    }
}
