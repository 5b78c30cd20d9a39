//! HTTP for operators: `/` (the page), `/metrics` (Prometheus), `/healthz`, and what the page reads:
//! `/api/v1/status`, `/api/v1/devices` and the live `/api/v1/events`.
//!
//! Reads only, and bounded: [`CONNECTIONS_MAX`] at once, the others wait to be accepted; one on which
//! nothing passes in either direction for [`SILENCE_MAX`] is closed, so that they do not wait for
//! ever.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;

use crate::activity::Activity;
use crate::telemetry::{self, Metric};

mod live;
#[cfg(feature = "model")]
pub(crate) mod fuzzing;
mod page;
mod status;

pub use status::{DeviceRow, JournalStatus, Status, Totals};

/// Most connections at once.
pub const CONNECTIONS_MAX: usize = 32;

/// How long a connection may say nothing.
pub const SILENCE_MAX: Duration = Duration::from_mins(1);

/// How long a request under way may take when the agent stops.
const DRAIN: Duration = Duration::from_secs(2);

/// How the agent is doing, at the moment it is asked. Must not block.
pub trait Snapshot: Send + Sync + 'static {
    /// Every metric.
    fn metrics(&self) -> Vec<Metric>;
    /// Every intake, the journal, every sink.
    fn health(&self) -> Vec<Health>;
    /// What the page shows besides the devices.
    fn status(&self) -> Status;
    /// What each device did.
    fn activity(&self) -> &Activity;
}

/// How one part is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Health {
    /// Which part: `intake listen`, `journal`, `sink documents`.
    pub component: String,
    /// Whether it does its work.
    pub ok: bool,
    /// Why, or why not, in a few words.
    pub reason: String,
}

/// How all parts are doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HealthReport {
    /// Whether all do their work.
    pub ok: bool,
    /// Each.
    pub components: Vec<Health>,
}

impl HealthReport {
    /// The sum of the parts.
    pub fn new(components: Vec<Health>) -> Self {
        Self { ok: components.iter().all(|component| component.ok), components }
    }
}

/// Why there is no HTTP.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Config: the address can't be used.
    #[error(
        "cannot serve HTTP at {address}: {error}; choose another address under [http], or \
         address = \"off\""
    )]
    Bind {
        /// Which.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// Resource: serving failed.
    #[error("HTTP stopped: {0}")]
    Serve(io::Error),
}

/// A bound server that does not answer yet.
#[derive(Debug)]
pub struct Http {
    listener: TcpListener,
    address: SocketAddr,
}

impl Http {
    /// Takes the address; port 0 takes a free one.
    ///
    /// Cancel safe.
    pub async fn bind(address: SocketAddr) -> Result<Self, HttpError> {
        let failed = |error| HttpError::Bind { address, error };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// Where it is.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until told to stop, then finishes what is under way, at most two seconds long.
    ///
    /// Cancel safe: requests under way are dropped.
    pub async fn serve(
        self,
        snapshot: Arc<dyn Snapshot>,
        stop: CancellationToken,
    ) -> Result<(), HttpError> {
        let listener =
            Limited { listener: self.listener, permits: Arc::new(Semaphore::new(CONNECTIONS_MAX)) };
        let stopped = stop.clone().cancelled_owned();
        let live = live::Live::new(Arc::clone(&snapshot), stop.clone());
        let serving = axum::serve(listener, router(snapshot, live)).with_graceful_shutdown(stopped);
        let overdue = async {
            stop.cancelled().await;
            tokio::time::sleep(DRAIN).await;
        };
        tokio::select! {
            served = serving.into_future() => served.map_err(HttpError::Serve),
            () = overdue => Ok(()),
        }
    }
}

fn router(snapshot: Arc<dyn Snapshot>, live: live::Live) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(health))
        .with_state(snapshot)
        .merge(live.routes())
        .merge(page::routes())
        .layer(map_response(last_of_its_connection))
}

/// A connection is for one request: hyper 1.12 never ends one on which many requests came at once, the last
/// of them with a body that nobody reads, and what never ends keeps its permit.
async fn last_of_its_connection(mut response: Response) -> Response {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

async fn metrics(State(snapshot): State<Arc<dyn Snapshot>>) -> impl IntoResponse {
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, telemetry::render(&snapshot.metrics()))
}

async fn health(State(snapshot): State<Arc<dyn Snapshot>>) -> impl IntoResponse {
    let report = HealthReport::new(snapshot.health());
    let status = if report.ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(report))
}

/// Accepts only as long as there are permits.
struct Limited {
    listener: TcpListener,
    permits: Arc<Semaphore>,
}

impl axum::serve::Listener for Limited {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let permit = self.permits.clone().acquire_owned().await.ok();
        let (stream, address) = axum::serve::Listener::accept(&mut self.listener).await;
        let silence = Box::pin(tokio::time::sleep(SILENCE_MAX));
        (Connection { stream, silence, _permit: permit }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection, its permit, and how long it has left to say something.
struct Connection {
    stream: TcpStream,
    silence: Pin<Box<Sleep>>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, into);
        if read.is_ready() {
            let end = Instant::now() + SILENCE_MAX;
            self.silence.as_mut().reset(end);
            return read;
        }
        let silence = self.silence.as_mut().poll(context);
        silence.map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        // Whoever takes what it is sent is there.
        if written.is_ready() {
            let end = Instant::now() + SILENCE_MAX;
            self.silence.as_mut().reset(end);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[derive(Default)]
    struct Parts(AtomicBool, Activity);

    impl Snapshot for Parts {
        fn metrics(&self) -> Vec<Metric> {
            vec![telemetry::DEVICES.reads(12)]
        }

        fn health(&self) -> Vec<Health> {
            let health = |component: &str, ok, reason: &str| Health {
                component: component.to_owned(),
                ok,
                reason: reason.to_owned(),
            };
            let full = self.0.load(Ordering::Relaxed);
            vec![health("intake listen", true, "listening"), health("journal", !full, "full")]
        }

        fn status(&self) -> Status {
            Status { health: HealthReport::new(self.health()), ..Status::default() }
        }

        fn activity(&self) -> &Activity {
            &self.1
        }
    }

    const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    async fn ask(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn answers_until_it_is_stopped() {
        let http = Http::bind(ANY).await.unwrap();
        let address = http.address();
        let parts = Arc::new(Parts::default());
        let stop = CancellationToken::new();
        let serving = tokio::spawn(http.serve(parts.clone(), stop.clone()));

        let page = ask(address, "/").await;
        assert!(page.contains("<title>Milepost</title>"), "{page}");
        assert!(page.contains("content-security-policy: default-src 'self'"), "{page}");
        let metrics = ask(address, "/metrics").await;
        assert!(metrics.contains("content-type: text/plain; version=0.0.4"), "{metrics}");
        assert!(metrics.ends_with("agent_device_count 12\n"), "{metrics}");
        let health = ask(address, "/healthz").await;
        assert!(health.starts_with("HTTP/1.1 200"), "{health}");
        assert!(health.contains(r#"{"ok":true,"components":[{"component":"intake listen""#));
        parts.0.store(true, Ordering::Relaxed);
        let health = ask(address, "/healthz").await;
        assert!(health.starts_with("HTTP/1.1 503"), "{health}");
        assert!(health.contains(r#"{"component":"journal","ok":false,"reason":"full"}"#));
        assert!(ask(address, "/other").await.starts_with("HTTP/1.1 404"));

        // A connection that says nothing does not hold up the end.
        let _silent = TcpStream::connect(address).await.unwrap();
        stop.cancel();
        serving.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_connection_is_for_one_request() {
        let http = Http::bind(ANY).await.unwrap();
        let address = http.address();
        let serving = http.serve(Arc::new(Parts::default()), CancellationToken::new());
        let serving = tokio::spawn(serving);
        let mut stream = TcpStream::connect(address).await.unwrap();
        let requests = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n".repeat(3);
        stream.write_all(requests.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
        serving.abort();
    }

    #[tokio::test]
    async fn connections_beyond_the_limit_wait() {
        let http = Http::bind(ANY).await.unwrap();
        let address = http.address();
        let serving = http.serve(Arc::new(Parts::default()), CancellationToken::new());
        let serving = tokio::spawn(serving);
        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let waiting = tokio::spawn(ask(address, "/"));
        // Every task has had its turn many times over, and the late one no answer.
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        assert!(!waiting.is_finished());
        silent.pop();
        assert!(waiting.await.unwrap().starts_with("HTTP/1.1 200"));
        serving.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_says_nothing_is_closed() {
        let http = Http::bind(ANY).await.unwrap();
        let address = http.address();
        let serving = http.serve(Arc::new(Parts::default()), CancellationToken::new());
        let serving = tokio::spawn(serving);
        let mut silent = TcpStream::connect(address).await.unwrap();
        let mut answer = Vec::new();
        // Time is paused: it goes on to whatever is waited for.
        silent.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"");
        serving.abort();
    }

    #[tokio::test]
    async fn an_address_in_use_is_a_clear_error() {
        let taken = Http::bind(ANY).await.unwrap();
        let error = Http::bind(taken.address()).await.unwrap_err().to_string();
        assert!(
            error.contains(&taken.address().to_string()) && error.contains("[http]"),
            "{error}"
        );
    }
}
