//! A flipped bit, all the way: the product's forwarder takes the journal to a file, and what is lost
//! stands there as a loss record under its own numbers.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agent::document::OwnedCatalogue;
use agent::forward::{
    CatalogueSource, Forwarder, ForwarderConfig, HeldRing, OpenFrame, RingSource, Step, Unopened,
};
use agent::journal::{Entry, EntryKind, Journal, JournalConfig, Positions};
use agent::privacy::Policy;
use agent::sink::{AnySink, FileSink, FileSinkConfig};
use agent::storage::SharedStorage;
use protocol::event::{Attributes, Event};
use protocol::frame::{self, Binding, HEADER_LEN_MAX, Header, Kind, TAG_LEN};
use protocol::record::Record;
use protocol::{
    CatalogueId, Counts, DeviceId, DeviceTime, Generation, Lane, RingId, Secret, Seq, keys,
};
use serde_json::Value;

use super::bench::JOURNAL;
use super::content::Content;
use super::crash::Image;
use super::disk::Disk;
use super::holding::Holding;
use super::planted::Planted;
use super::torn;
use super::truth::{Violation, must};

/// Frames of each ring, and one more after the bit was turned over.
const FRAMES: u64 = 9;
const EVENT: Counts = Counts { samples: 0, events: 1 };
/// Bytes that an event takes at most, sealed.
const FRAME_ROOM: usize = 256;
/// Steps after which a forwarder that has not ended hangs.
const STEPS_MAX: u32 = 10_000;

/// Opens what [`seal`] sealed.
#[derive(Debug)]
struct Opener;

impl OpenFrame for Opener {
    fn open<'a>(
        &mut self,
        device: DeviceId,
        ring: RingId,
        lane: Lane,
        frame: &'a mut [u8],
    ) -> Result<(Header, &'a [u8]), Unopened> {
        let binding = Binding { device, ring, lane };
        frame::open(&key(&binding), &binding, frame)
            .map(|(header, body)| (header, &*body))
            .map_err(|error| Unopened::Unopenable(error.to_string()))
    }

    fn is_erased(
        &mut self,
        _device: DeviceId,
        _ring: &RingId,
        _received_ms: i64,
    ) -> Result<bool, Unopened> {
        Ok(false)
    }
}

/// Events need none.
#[derive(Debug)]
struct NoCatalogues;

impl CatalogueSource for NoCatalogues {
    fn get(&self, _id: CatalogueId) -> Option<Arc<OwnedCatalogue>> {
        None
    }
}

/// Every ring goes on behind the flipped bit, so that its own entries tell.
#[derive(Debug)]
struct NoRings;

impl RingSource for NoRings {
    fn each(&self, _take: &mut dyn FnMut(HeldRing)) -> std::io::Result<()> {
        Ok(())
    }

    fn known_to(&self) -> std::io::Result<Positions> {
        Ok(Positions::ZERO)
    }
}

fn key(binding: &Binding) -> keys::FrameKey {
    keys::frame_key(&Secret::new([7; 32]), &binding.device, &binding.ring, Generation::FIRST)
}

fn failed(error: impl std::fmt::Display) -> Violation {
    Violation(error.to_string())
}

/// The ring of a lane.
fn binding(lane: Lane) -> Result<Binding, Violation> {
    let mark = u8::try_from(lane.index()).unwrap_or(0);
    let device = format!("van-{mark}").parse().map_err(failed)?;
    Ok(Binding { device, ring: RingId([mark; 16]), lane })
}

/// A frame with one event, whose object is the frame's number.
fn seal(binding: &Binding, seq: u64) -> Result<Vec<u8>, Violation> {
    let object = seq.to_string();
    let event = Record::Event(Event {
        time: DeviceTime::default(),
        actor: "driver",
        action: "open",
        object: &object,
        context: "",
        resource: "",
        attributes: Attributes::new(),
    });
    let mut buffer = vec![0; FRAME_ROOM];
    let end = event.append(&mut buffer, HEADER_LEN_MAX);
    let end = end.ok_or_else(|| failed("no room for an event"))?;
    buffer.truncate(end + TAG_LEN);
    let header = Header::new(Generation::FIRST, Kind::Records, Seq(seq));
    let sealed = frame::seal(&key(binding), binding, &header, &mut buffer, HEADER_LEN_MAX..end);
    let (range, _) = sealed.map_err(failed)?;
    Ok(buffer.get(range).unwrap_or_default().to_vec())
}

fn open(disk: &Disk, nonce: u64) -> Result<Journal, Violation> {
    let config = JournalConfig { segment_bytes: 1700, ..JournalConfig::new("journal".into()) };
    let storage: SharedStorage = Arc::new(disk.clone());
    Journal::open(storage, config, JOURNAL, nonce, &Positions::ZERO, &mut |_, _, _| {})
        .map(|(journal, _)| journal)
        .map_err(failed)
}

fn append(journal: &mut Journal, lane: Lane, seq: u64) -> Result<(), Violation> {
    let binding = binding(lane)?;
    let payload = seal(&binding, seq)?;
    let entry = Entry {
        kind: EntryKind::Frame,
        received_ms: 1_795_332_600_000,
        device: binding.device,
        ring: binding.ring,
        seq: Seq(seq),
        adds: EVENT,
        through: Counts { samples: 0, events: seq },
        payload: &payload,
    };
    journal.append(lane, &entry).map_err(failed)
}

/// A small journal, and its files.
pub(super) struct Forwarded {
    files: Vec<(Arc<Path>, Content)>,
}

impl Forwarded {
    pub(super) fn write() -> Result<Self, Violation> {
        let disk = Disk::default();
        let mut journal = open(&disk, 1)?;
        for seq in 1..=FRAMES {
            for lane in Lane::ALL {
                append(&mut journal, lane, seq)?;
            }
            if seq % 2 == 0 || seq == FRAMES {
                journal.commit().map_err(failed)?;
            }
        }
        drop(journal);
        let holding = disk.holding();
        let files = holding.files().map(|(path, content)| (Arc::clone(path), content.clone()));
        Ok(Self { files: files.collect() })
    }

    /// Bits of its segments.
    pub(super) fn bits(&self) -> usize {
        self.segments().map(|(_, content)| content.len() * 8).sum()
    }

    fn segments(&self) -> impl Iterator<Item = &(Arc<Path>, Content)> {
        self.files.iter().filter(|(path, _)| path.extension().is_some_and(|end| end == "seg"))
    }

    /// Turns this bit over, starts again, and forwards all of it. How many frames it cost.
    pub(super) fn flip(&self, mut bit: usize, planted: Option<Planted>) -> Result<u64, Violation> {
        let disk = Disk::new(Holding::at_rest(self.files.iter().cloned()), None, None);
        for (path, content) in self.segments() {
            if let Some(rest) = bit.checked_sub(content.len() * 8) {
                bit = rest;
                continue;
            }
            let number = u8::try_from(bit % 8).unwrap_or(0);
            disk.flip(path, bit / 8, number);
            if planted == Some(Planted::ChecksumFits) {
                disk.replace(fitting(&disk));
            }
            return forward(&disk, planted).map_err(|Violation(violation)| {
                let path = path.display();
                Violation(format!("{path} byte {} bit {number}, forwarded: {violation}", bit / 8))
            });
        }
        Ok(0)
    }
}

/// The disk with checksums that fit.
fn fitting(disk: &Disk) -> Holding {
    let holding = disk.holding();
    let mut image =
        Image(holding.files().map(|(path, file)| (Arc::clone(path), file.clone())).collect());
    torn::accept(&mut image);
    Holding::at_rest(image.0)
}

fn forward(disk: &Disk, planted: Option<Planted>) -> Result<u64, Violation> {
    let mut journal = open(disk, 2)?;
    for lane in Lane::ALL {
        append(&mut journal, lane, FRAMES + 1)?;
    }
    journal.commit().map_err(failed)?;
    let out = Disk::default();
    let storage: SharedStorage = Arc::new(out.clone());
    let tail = journal.tail();
    let config = FileSinkConfig { dir: "out".into(), rotate_bytes: 1 << 20 };
    let (sink, resume) = FileSink::open(&storage, &config, None, &tail).map_err(failed)?;
    let config = ForwarderConfig::new("files", "data".into());
    let sink: (AnySink, _) = (Box::new(sink), resume);
    let rings: Box<dyn RingSource> = Box::new(NoRings);
    let stages = (Opener, NoCatalogues, rings, Policy::none());
    let mut forwarder = Forwarder::open(&storage, config, tail, sink, stages).map_err(failed)?;
    let mut now = Duration::ZERO;
    let mut steps = 0;
    loop {
        match forwarder.step(now, true) {
            Step::Ended => break,
            Step::Again => {}
            Step::Wait(wait) => now += wait,
        }
        steps += 1;
        let condition = forwarder.status().condition();
        must(steps < STEPS_MAX, || format!("the forwarder hangs: {condition:?}"))?;
    }
    forwarder.end(None);
    let ledger = forwarder.status().ledger(&journal.ends());
    let is_whole = ledger.balanced() && ledger.buffered.is_zero();
    must(is_whole, || format!("the ledger does not balance:\n{}", ledger.table()))?;
    let lost = check(&out, planted)?;
    let is_said = ledger.lost == Counts { samples: 0, events: lost };
    must(is_said, || format!("{lost} are missing, and the ledger says:\n{}", ledger.table()))?;
    Ok(lost)
}

/// What the sink has of each ring: its frames in order, each once, and in place of the one that is
/// not there a loss with its number and counts.
fn check(out: &Disk, planted: Option<Planted>) -> Result<u64, Violation> {
    let mut documents = Vec::new();
    for (path, content) in out.holding().files() {
        if path.extension().is_some_and(|end| end == "ndjson") {
            let bytes = content.bytes();
            for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                documents.push(serde_json::from_slice::<Value>(line).map_err(failed)?);
            }
        }
    }
    if planted == Some(Planted::LossUntold) {
        let kind = |document: &Value| document.pointer("/type").cloned();
        documents.retain(|document| kind(document) != Some("milepost.loss".into()));
    }
    let mut lost = 0;
    for lane in Lane::ALL {
        let ring = binding(lane)?.ring.to_string();
        let mut next = 1;
        let own = |document: &&Value| {
            document.pointer("/id").and_then(Value::as_str).is_some_and(|id| id.contains(&ring))
        };
        for document in documents.iter().filter(own) {
            let number = |at: &str| document.pointer(at).and_then(Value::as_u64);
            let is_next = match document.pointer("/type").and_then(Value::as_str) {
                Some("milepost.loss") => {
                    lost += 1;
                    let range = (number("/data/first"), number("/data/last"));
                    let counts = (number("/data/samples"), number("/data/events"));
                    let reason = document.pointer("/data/reason").and_then(Value::as_str);
                    range == (Some(next), Some(next))
                        && counts == (Some(0), Some(1))
                        && reason == Some("journal")
                }
                Some("milepost.event") => {
                    let object = document.pointer("/data/object").and_then(Value::as_str);
                    object == Some(next.to_string().as_str())
                }
                _ => false,
            };
            must(is_next, || format!("{lane}: after frame {} stands {document}", next - 1))?;
            next += 1;
        }
        must(next == FRAMES + 2, || format!("{lane}: the last frame is {}", next - 1))?;
    }
    must(lost <= 1, || format!("{lost} frames are lost"))?;
    Ok(lost)
}
