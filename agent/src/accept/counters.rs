//! What the acceptor counts.

use protocol::frame::FrameError;
use protocol::{Counts, Lane};

use crate::activity::Activity;
use crate::telemetry::Counter;

/// Shared between the acceptor, which counts, and the metrics, which read.
#[derive(Clone, Debug, Default)]
pub struct AcceptCounters {
    /// Frames put into the journal, by lane number.
    pub frames: [Counter; 3],
    /// Their sealed bytes.
    pub frame_bytes: Counter,
    /// Samples in them, lost ones that a loss record names included.
    pub samples: Counter,
    /// Events in them, likewise.
    pub events: Counter,
    /// Hellos answered.
    pub hellos: Counter,
    /// Frames held already, and acknowledged again.
    pub duplicates: Counter,
    /// Frames that came before one that is missing; the device goes back.
    pub ahead: Counter,
    /// Gaps that a hello showed, written down as lost or acknowledged elsewhere.
    pub gaps: Counter,
    /// Rejected: truncated, oversized or malformed.
    pub rejected_malformed: Counter,
    /// Rejected: another wire version.
    pub rejected_version: Counter,
    /// Rejected: did not authenticate.
    pub rejected_unauthentic: Counter,
    /// Rejected: no secret for the device and generation.
    pub rejected_key: Counter,
    /// Rejected: a frame before the session's hello.
    pub rejected_before_hello: Counter,
    /// Rejected: a ring that belongs to another device.
    pub rejected_ring: Counter,
    /// Signal catalogues that were malformed or too many.
    pub catalogues_refused: Counter,
    /// Group commits.
    pub commits: Counter,
    /// The same, device by device, for the page.
    pub activity: Activity,
}

impl AcceptCounters {
    pub(super) fn reject(&self, error: FrameError) {
        let counter = match error {
            FrameError::Version => &self.rejected_version,
            FrameError::Unauthentic => &self.rejected_unauthentic,
            _ => &self.rejected_malformed,
        };
        counter.add(1);
    }

    pub(super) fn accepted(&self, lane: Lane, bytes: usize, adds: Counts) {
        if let Some(frames) = self.frames.get(lane.index()) {
            frames.add(1);
        }
        self.frame_bytes.add(u64::try_from(bytes).unwrap_or(u64::MAX));
        self.samples.add(adds.samples);
        self.events.add(adds.events);
    }
}
