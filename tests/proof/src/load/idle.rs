//! Clients that hold a connection and say nothing, or a byte a second.

use std::cell::Cell;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use milepost_proof::light::name;
use protocol::keys::mqtt_password;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use tokio::time::{interval, sleep};

use super::Way;
use super::clients::secrets;
use super::tally::add;

/// How many, and of which kind.
#[derive(Args)]
pub struct Idle {
    #[command(flatten)]
    way: Way,
    /// The key file of those that are devices.
    #[arg(long)]
    keys: Option<PathBuf>,
    /// How many.
    #[arg(long)]
    clients: u32,
    /// What they do; named more than once, they take turns.
    #[arg(long, value_enum, required = true)]
    kind: Vec<Kind>,
    /// The first device's number.
    #[arg(long, default_value_t = 0)]
    first: u32,
}

/// What a client does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Kind {
    /// A device's whole CONNECT, and nothing more.
    Connected,
    /// Nothing at all.
    Silent,
    /// Half a CONNECT, and nothing more.
    Half,
    /// A CONNECT, a byte a second.
    Dribble,
    /// Noise that is no MQTT, a byte a second.
    Noise,
}

#[derive(Default)]
struct Counts {
    open: Cell<u64>,
    opened: Cell<u64>,
    failed: Cell<u64>,
    ended: Cell<u64>,
}

const SAID_EVERY: Duration = Duration::from_millis(200);
/// Wait of whom nobody answers.
const AGAIN: Duration = Duration::from_secs(1);

impl Idle {
    pub fn run(self) -> Result<()> {
        super::raise_descriptor_limit()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        LocalSet::new().block_on(&runtime, self.serve())
    }

    async fn serve(self) -> Result<()> {
        let counts = Rc::new(Counts::default());
        let secrets = self.keys.as_deref().map(secrets).transpose()?.unwrap_or_default();
        for (number, kind) in (0..self.clients).zip(self.kind.iter().copied().cycle()) {
            let device = name(self.first + number).context("no such name")?;
            let secret = secrets.get(&device);
            let password = secret.map(|secret| mqtt_password(secret, &device)).unwrap_or_default();
            let hello = connect(device.as_str(), &password);
            tokio::task::spawn_local(be_idle(self.way, kind, hello, Rc::clone(&counts)));
        }
        let mut lines = super::lines_of_stdin()?;
        let mut due = interval(SAID_EVERY);
        loop {
            tokio::select! {
                line = lines.recv() => if line.is_none() { return Ok(()) },
                _ = due.tick() => println!("{}", json!({
                    "open": counts.open.get(),
                    "opened": counts.opened.get(),
                    "failed": counts.failed.get(),
                    "ended": counts.ended.get(),
                })),
            }
        }
    }
}

/// A CONNECT of MQTT 5: clean start, a user name, a keep alive of a minute.
fn connect(name: &str, password: &[u8]) -> Vec<u8> {
    let mut body = b"\x00\x04MQTT\x05\xc2\x00\x3c\x00".to_vec();
    for text in [name.as_bytes(), name.as_bytes(), password] {
        body.extend(u16::try_from(text.len()).unwrap_or(0).to_be_bytes());
        body.extend_from_slice(text);
    }
    let mut packet = vec![0x10, u8::try_from(body.len()).unwrap_or(0)];
    packet.extend(body);
    packet
}

/// Comes back as often as it is put out.
async fn be_idle(way: Way, kind: Kind, hello: Vec<u8>, counts: Rc<Counts>) {
    loop {
        let Ok(mut stream) = way.open().await else {
            add(&counts.failed, 1);
            sleep(AGAIN).await;
            continue;
        };
        add(&counts.open, 1);
        add(&counts.opened, 1);
        hold(&mut stream, kind, &hello).await;
        counts.open.set(counts.open.get() - 1);
        add(&counts.ended, 1);
        sleep(AGAIN).await;
    }
}

/// Holds the connection until the other side ends it.
async fn hold(stream: &mut TcpStream, kind: Kind, hello: &[u8]) {
    let noise = [0xff; 64];
    let mut said = match kind {
        Kind::Silent => &[][..],
        Kind::Half => hello.get(..hello.len() / 2).unwrap_or_default(),
        Kind::Connected | Kind::Dribble => hello,
        Kind::Noise => &noise,
    }
    .iter()
    .copied();
    if matches!(kind, Kind::Half | Kind::Connected) {
        let at_once: Vec<u8> = said.by_ref().collect();
        if stream.write_all(&at_once).await.is_err() {
            return;
        }
    }
    let mut second = interval(Duration::from_secs(1));
    let mut into = [0; 64];
    loop {
        tokio::select! {
            read = stream.read(&mut into) => if read.unwrap_or(0) == 0 { return },
            _ = second.tick() => if let Some(byte) = said.next()
                && stream.write_all(&[byte]).await.is_err()
            {
                return;
            },
        }
    }
}
