//! What the page reads: once, or every second as server-sent events (WHATWG HTML, section 9.2).
//!
//! An event `status` holds a [`super::Status`], an event `devices` the rows that changed since the
//! one before: the first has all, as far as [`ROWS_MAX`] goes. At most [`STREAMS_MAX`] streams at
//! once, so that they never take every connection there is; one that reads slowly gets fewer
//! events, never a queue of old ones.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{DeviceRow, Snapshot};

/// Most streams at once.
const STREAMS_MAX: usize = 16;
/// Most devices in one answer.
const ROWS_MAX: usize = 1000;
/// How often.
const EVERY: Duration = Duration::from_secs(1);

/// What the answers are made of.
#[derive(Clone)]
pub(super) struct Live {
    snapshot: Arc<dyn Snapshot>,
    streams: Arc<Semaphore>,
    stop: CancellationToken,
}

/// Which devices.
#[derive(Debug, Deserialize)]
struct Wanted {
    /// Whose names contain this.
    #[serde(default)]
    search: String,
}

/// Some devices.
#[derive(Serialize)]
struct Devices {
    /// Devices that there is something to say of, and how many of them are connected.
    known: usize,
    connected: usize,
    rows: Vec<DeviceRow>,
}

impl Live {
    pub(super) fn new(snapshot: Arc<dyn Snapshot>, stop: CancellationToken) -> Self {
        Self { snapshot, streams: Arc::new(Semaphore::new(STREAMS_MAX)), stop }
    }

    pub(super) fn routes(self) -> Router {
        Router::new()
            .route("/api/v1/status", get(status))
            .route("/api/v1/devices", get(devices))
            .route("/api/v1/events", get(events))
            .with_state(self)
    }

    fn devices(&self, since: u64, search: &str) -> (u64, Devices) {
        let activity = self.snapshot.activity();
        let (turn, rows) = activity.since(since, search, ROWS_MAX);
        let (known, connected) = activity.count();
        let rows = rows.into_iter().map(|(device, doings)| DeviceRow { device, doings }).collect();
        (turn, Devices { known, connected, rows })
    }
}

async fn status(State(live): State<Live>) -> impl IntoResponse {
    Json(live.snapshot.status())
}

async fn devices(State(live): State<Live>, Query(wanted): Query<Wanted>) -> impl IntoResponse {
    Json(live.devices(0, &wanted.search).1)
}

async fn events(State(live): State<Live>, Query(wanted): Query<Wanted>) -> Response {
    let Ok(permit) = Arc::clone(&live.streams).try_acquire_owned() else {
        let retry = [(header::RETRY_AFTER, "5")];
        return (StatusCode::SERVICE_UNAVAILABLE, retry, "too many pages are open\n")
            .into_response();
    };
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let stream =
        Stream { live, search: wanted.search, tick, since: 0, next: Next::Status, _permit: permit };
    Sse::new(stream::unfold(stream, Stream::step)).into_response()
}

/// What a stream says next.
enum Next {
    Status,
    Devices,
}

/// One stream.
struct Stream {
    live: Live,
    search: String,
    tick: Interval,
    /// What it was told of the devices already.
    since: u64,
    next: Next,
    _permit: OwnedSemaphorePermit,
}

impl Stream {
    async fn step(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        let event = match self.next {
            Next::Status => {
                let stop = self.live.stop.clone();
                stop.run_until_cancelled(self.tick.tick()).await?;
                self.next = Next::Devices;
                Event::default().event("status").json_data(self.live.snapshot.status())
            }
            Next::Devices => {
                let (turn, devices) = self.live.devices(self.since, &self.search);
                self.since = turn;
                self.next = Next::Status;
                Event::default().event("devices").json_data(devices)
            }
        };
        let event = event.unwrap_or_else(|error| Event::default().comment(error.to_string()));
        Some((Ok(event), self))
    }
}
