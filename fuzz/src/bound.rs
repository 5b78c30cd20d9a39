//! How much memory a parser takes at once, counted by the allocator.

use std::sync::atomic::{AtomicUsize, Ordering};

use peak_alloc::PeakAlloc;
use protocol::frame::FRAME_LEN_MAX;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// The bound of what parses bytes from the network: twice the largest frame.
pub const NETWORK_MAX: usize = 2 * FRAME_LEN_MAX;

/// The most that was taken, of all calls of [`bounded`].
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// Runs a parser; panics if it has more than `most` bytes more allocated at any time than when it
/// began. A buffer that grows counts twice while it is moved.
///
/// Counts whatever any thread allocates meanwhile: call it from one thread at a time.
pub fn bounded<T>(most: usize, parser: impl FnOnce() -> T) -> T {
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    let parsed = parser();
    let taken = MEMORY.peak_usage().saturating_sub(before);
    PEAK.fetch_max(taken, Ordering::Relaxed);
    assert!(taken <= most, "{taken} bytes were allocated at once, and {most} may be");
    parsed
}

/// The most bytes that a parser took at once so far.
pub fn peak() -> usize {
    PEAK.load(Ordering::Relaxed)
}

/// Begins anew: another target follows in the same process.
pub fn reset() {
    PEAK.store(0, Ordering::Relaxed);
}
