//! tmp
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
/// c
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);
impl Counter {
    /// a
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }
    /// g
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
