//! The operators' HTTP port: bytes through the very server and router, over a pipe in memory.
//!
//! Whatever is asked, the server says something well formed or nothing, and is there for the next one; and of
//! a connection that ended it keeps nothing.

use std::cell::RefCell;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use agent::activity::Activity;
use agent::fuzzing::router;
use agent::http::{Health, HealthReport, Snapshot, Status};
use agent::telemetry::{self, Metric};
use axum::serve::Listener;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::bound::bounded;
use crate::input::{Input, pieces};

/// hyper's buffer for a head, its answer's, and the page itself, which is 20 KiB.
pub const MEMORY_MAX: usize = 512 * 1024;
/// What the pipe holds in each direction.
const PIPE: usize = 64 * 1024;
/// Live streams at once: they end with the word that they say next, which nobody hears any more.
const STREAMS_MAX: usize = 16;
/// Turns that a connection gets before it is given up: a live stream has no end.
const TURNS_MAX: usize = 64;

struct Parts(Activity);

impl Snapshot for Parts {
    fn metrics(&self) -> Vec<Metric> {
        vec![telemetry::DEVICES.reads(12)]
    }

    fn health(&self) -> Vec<Health> {
        let health = |component: &str, ok| Health {
            component: component.to_owned(),
            ok,
            reason: "listening".to_owned(),
        };
        vec![health("intake listen", true), health("journal", false)]
    }

    fn status(&self) -> Status {
        Status { health: HealthReport::new(self.health()), ..Status::default() }
    }

    fn activity(&self) -> &Activity {
        &self.0
    }
}

/// Accepts what is handed to it.
struct Handed(mpsc::UnboundedReceiver<DuplexStream>);

impl Listener for Handed {
    type Io = DuplexStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (DuplexStream, SocketAddr) {
        match self.0.recv().await {
            Some(stream) => (stream, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }
}

/// A server on one thread, for all inputs.
struct Server {
    runtime: Runtime,
    hand: mpsc::UnboundedSender<DuplexStream>,
}

impl Server {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (hand, handed) = mpsc::unbounded_channel();
        let parts: Arc<dyn Snapshot> = Arc::new(Parts(Activity::default()));
        let router = router(parts, CancellationToken::new());
        runtime.spawn(async move { axum::serve(Handed(handed), router).await });
        Self { runtime, hand }
    }

    /// Says these bytes, piece by piece, and hears the answer.
    fn ask<'a>(&self, pieces: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
        let (mut client, server) = tokio::io::duplex(PIPE);
        self.hand.send(server).expect("the server is there");
        let mut answer = Vec::new();
        self.runtime.block_on(async {
            for piece in pieces {
                if client.write_all(piece).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            // Errors here are the server's end, closed already.
            drop(client.shutdown().await);
            let mut turns = TURNS_MAX;
            while turns > 0 {
                tokio::select! {
                    biased;
                    read = client.read_buf(&mut answer) => match read {
                        Ok(0) | Err(_) => return,
                        Ok(_) => {}
                    },
                    () = tokio::task::yield_now() => turns -= 1,
                }
            }
        });
        drop(client);
        // It sees the end, and lets go of everything.
        self.runtime.block_on(async {
            for _ in 0..4 {
                tokio::task::yield_now().await;
            }
        });
        answer
    }
}

thread_local! {
    static SERVER: RefCell<Server> = RefCell::new(Server::new());
}

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let cuts = std::array::from_fn(|_| input.byte());
    let asked = input.rest();
    SERVER.with_borrow(|server| {
        let answer = bounded(MEMORY_MAX, || server.ask(pieces(asked, cuts)));
        let status = answer.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(2..5));
        let known: &[&[u8]] =
            &[b"200", b"400", b"404", b"405", b"414", b"417", b"431", b"503", b"505"];
        assert!(
            answer.is_empty() || status.is_some_and(|status| known.contains(&status)),
            "answered with {}",
            answer[..answer.len().min(200)].escape_ascii()
        );
        let connections = server.runtime.metrics().num_alive_tasks() - 1;
        assert!(connections <= STREAMS_MAX, "{connections} connections that nobody has any more");
    });
}

pub fn seeds() -> Vec<Vec<u8>> {
    let request = |text: &str| [&[255, 255, 9, 90][..], text.as_bytes()].concat();
    [
        "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\nGET /healthz HTTP/1.1\r\nhost: x\r\n\r\n",
        "GET /api/v1/status HTTP/1.0\r\n\r\n",
        "GET /api/v1/devices?search=van%2D7 HTTP/1.1\r\nhost: x\r\n\r\n",
        "GET /api/v1/events HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\n\r\n",
        "POST /healthz HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "HEAD /page.js HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc",
    ]
    .map(request)
    .to_vec()
}

pub const WORDS: &[&[u8]] = &[
    b"GET ",
    b"HEAD ",
    b"POST ",
    b"OPTIONS ",
    b" HTTP/1.1\r\n",
    b" HTTP/1.0\r\n",
    b"/metrics",
    b"/healthz",
    b"/api/v1/status",
    b"/api/v1/devices?search=",
    b"/api/v1/events",
    b"/page.css",
    b"host: ",
    b"content-length: ",
    b"transfer-encoding: chunked\r\n",
    b"connection: close\r\n",
    b"connection: upgrade\r\n",
    b"upgrade: h2c\r\n",
    b"expect: 100-continue\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\r\n\r\n",
    b"%00",
    b"%ff",
];
