//! What answers, without a socket.

use std::sync::Arc;

use axum::Router;
use tokio_util::sync::CancellationToken;

use super::{Snapshot, live};

/// The very router that is served; its live streams end at `stop`.
pub fn router(snapshot: Arc<dyn Snapshot>, stop: CancellationToken) -> Router {
    let live = live::Live::new(Arc::clone(&snapshot), stop);
    super::router(snapshot, live)
}
