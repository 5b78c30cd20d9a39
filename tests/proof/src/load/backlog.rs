//! A backlog, made quickly: sealed frames through the agent's own acceptor into its journal, with
//! nobody to forward them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use agent::accept::{AcceptCounters, Acceptor, Begun};
use agent::catalogues::Catalogues;
use agent::intake::outbox::{Outbox, outbox};
use agent::intake::{Inbound, Message, Outbound, SessionId};
use agent::journal::JournalConfig;
use agent::lock::{DirLock, Owner};
use agent::registry::{Entropy as _, OsEntropy, Registry};
use agent::rings::Rings;
use agent::state;
use agent::storage::{Disk, SharedStorage};
use anyhow::{Context as _, Result, bail};
use clap::Args;
use firmware::session::Acknowledged;
use milepost_proof::light::{Keys, LANE, Ring, Shape, name};
use protocol::Seq;
use protocol::topic::Channel;
use serde_json::json;

use super::clients::secrets;

/// What to make.
#[derive(Args)]
pub struct Backlog {
    /// The agent's data directory; the agent is stopped.
    #[arg(long)]
    data: PathBuf,
    /// The devices' key file.
    #[arg(long)]
    keys: PathBuf,
    /// Devices.
    #[arg(long)]
    devices: u32,
    /// The journal's size in MiB.
    #[arg(long)]
    mib: u64,
}

/// Frames between commits, as under load.
const GROUP: usize = 1024;
/// Bytes between checkpoints: what a start reads again of the journal, at most.
const CHECKPOINT_BYTES: u64 = 64 << 20;
/// As the agent has it.
const OUTBOX_MAX: usize = 64;
const RINGS_CACHED_MAX: usize = 65_536;

struct Device {
    ring: Ring,
    keys: Keys,
    out: Outbox,
}

#[allow(clippy::disallowed_methods, reason = "a driver: what arrives is stamped, and a run timed")]
impl Backlog {
    pub fn run(self) -> Result<()> {
        let _lock = DirLock::take(&self.data, Owner::Agent)?;
        let begun = Instant::now();
        let mut acceptor = self.acceptor()?;
        let mut devices = self.devices(&mut acceptor)?;
        let (mut frames, mut rounds, mut saved) = (0_u64, 0_u64, 0);
        while acceptor.journal_bytes() < self.mib << 20 {
            for group in devices.chunks_mut(GROUP) {
                for device in group.iter_mut() {
                    device.ring.take(u64::MAX, 1);
                    frames += device.send(&mut acceptor)?;
                }
                acceptor.commit(unix_ms())?;
                group.iter_mut().try_for_each(Device::hear)?;
            }
            rounds += 1;
            if acceptor.journal_bytes() >= saved + CHECKPOINT_BYTES {
                saved = acceptor.journal_bytes();
                acceptor.checkpoint()?;
            }
        }
        let (bytes, seconds) = (acceptor.journal_bytes(), begun.elapsed().as_secs_f64());
        println!(
            "{}",
            json!({ "frames": frames, "rounds": rounds, "journal_bytes": bytes, "seconds": seconds })
        );
        Ok(())
    }

    fn acceptor(&self) -> Result<Acceptor> {
        let storage: SharedStorage = Arc::new(Disk);
        let database = state::open_existing(&storage, &self.data.join(state::FILE_NAME))?;
        let key = self.data.join("registry.key");
        let registry = Registry::open_with_key_file(database.clone(), &key, &mut OsEntropy)?;
        let catalogues = Catalogues::open(database.clone())?;
        let rings = Rings::open(database, RINGS_CACHED_MAX)?;
        let config =
            JournalConfig { bytes_max: u64::MAX, ..JournalConfig::new(self.data.join("journal")) };
        let (mut id, mut nonce, mut salt) = ([0; 16], [0; 8], [0; 16]);
        OsEntropy.fill(&mut id)?;
        OsEntropy.fill(&mut nonce)?;
        OsEntropy.fill(&mut salt)?;
        let begun = Begun::open(&storage, config, (id, u64::from_le_bytes(nonce)), rings)?;
        let counters = AcceptCounters::default();
        Ok(Acceptor::new(begun.journal, begun.rings, registry, catalogues, counters, salt))
    }

    /// All devices, connected.
    fn devices(&self, acceptor: &mut Acceptor) -> Result<Vec<Device>> {
        let secrets = secrets(&self.keys)?;
        let mut devices = Vec::new();
        for number in 0..self.devices {
            let device = name(number).context("no such name")?;
            let secret =
                secrets.get(&device).cloned().with_context(|| format!("{device}: no key"))?;
            let (sender, out) = outbox(OUTBOX_MAX);
            let keys = Keys { device, secret };
            let ring = Ring::new(number, Shape::LARGE);
            let hello = keys.hello(&ring, Acknowledged::default(), u64::from(number));
            let session = SessionId(u64::from(number));
            take(acceptor, session, &keys, Message::Opened(sender.into()))?;
            publish(acceptor, session, &keys, Channel::Hello, hello.context("no hello")?)?;
            devices.push(Device { ring, keys, out });
        }
        acceptor.commit(unix_ms())?;
        devices.iter_mut().try_for_each(Device::hear)?;
        Ok(devices)
    }
}

impl Device {
    /// Sends all that it has; how many frames that are.
    fn send(&mut self, acceptor: &mut Acceptor) -> Result<u64> {
        let session = SessionId(u64::from(self.ring.device()));
        let (first, next) = (self.ring.first().0, self.ring.next().0);
        for seq in first..next {
            let frame = self.ring.frame(&self.keys, Seq(seq)).context("no frame")?;
            publish(acceptor, session, &self.keys, Channel::Frames(LANE), frame)?;
        }
        Ok(next - first)
    }

    fn hear(&mut self) -> Result<()> {
        while let Some(said) = self.out.try_recv() {
            if let Outbound::Publish(Channel::Ack, payload) = said {
                let ack = self.keys.ack(self.ring.device(), &payload).context("not authentic")?;
                if ack.lane == LANE {
                    self.ring.release(ack.durable);
                }
            }
        }
        if self.out.is_closed() {
            bail!("{}: the acceptor gave the session up", self.keys.device);
        }
        Ok(())
    }
}

fn publish(
    acceptor: &mut Acceptor,
    session: SessionId,
    keys: &Keys,
    channel: Channel,
    payload: Vec<u8>,
) -> Result<()> {
    take(acceptor, session, keys, Message::Published { channel, payload, packet_id: None })
}

/// Hands over a message; a group as large as a commit may be is committed first.
fn take(acceptor: &mut Acceptor, session: SessionId, keys: &Keys, message: Message) -> Result<()> {
    let mut inbound = Inbound { session, device: keys.device, message, room: None };
    for _ in 0..2 {
        match acceptor.take(unix_ms(), inbound) {
            Ok(()) => return Ok(()),
            Err(refused) => {
                acceptor.commit(unix_ms())?;
                inbound = refused.inbound;
            }
        }
    }
    bail!("{}: refused", keys.device)
}

#[allow(clippy::disallowed_methods, reason = "a driver: what arrives is stamped")]
fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
