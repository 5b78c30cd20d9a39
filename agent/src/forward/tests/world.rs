//! A journal, a sink, and devices that seal real frames; every disk can fail.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use protocol::codec::{Encoder, Hints, SamplesContext, SamplesHeader};
use protocol::frame::{self, Binding, HEADER_LEN_MAX, Header, Kind, Origin, TAG_LEN};
use protocol::loss::{Loss, LossReason};
use protocol::record::Record;
use protocol::{
    CatalogueId, Clock, Counts, DeviceId, DeviceTime, FrameTag, Generation, Lane, RingId, Sample,
    Secret, Seq, SignalIndex, Step as SignalStep, keys,
};
use serde_json::Value as Json;

use super::super::{
    CatalogueSource, Condition, Forwarder, ForwarderConfig, HeldRing, OpenFrame, RingSource, Step,
    Unopened,
};
use crate::document::{OwnedCatalogue, OwnedHints, OwnedSignal};
use crate::journal::{Entry, EntryKind, Journal, JournalConfig, Position, Positions};
use crate::ledger::LedgerReport;
use crate::privacy::Policy;
use crate::sink::{FileSink, FileSinkConfig, Sink as _, SinkError};
use crate::storage::SharedStorage;
use crate::storage::faulty::Faulty;

pub const KNOWN: CatalogueId = CatalogueId(1);
pub const LATE: CatalogueId = CatalogueId(2);

/// One device's secret does for all.
fn key(device: DeviceId, ring: RingId) -> keys::FrameKey {
    keys::frame_key(&Secret::new([7; 32]), &device, &ring, Generation::FIRST)
}

#[derive(Clone, Debug, Default)]
pub struct Opener {
    /// How often from now on it cannot say.
    pub unavailable: Arc<Mutex<u32>>,
    /// Who was erased, and when.
    pub erased: Arc<Mutex<HashMap<DeviceId, i64>>>,
}

impl OpenFrame for Opener {
    fn open<'a>(
        &mut self,
        device: DeviceId,
        ring: RingId,
        lane: Lane,
        frame: &'a mut [u8],
    ) -> Result<(Header, &'a [u8]), Unopened> {
        let mut unavailable = self.unavailable.lock().unwrap();
        if *unavailable > 0 {
            *unavailable -= 1;
            return Err(Unopened::Unavailable("the registry is busy".to_owned()));
        }
        if self.erased.lock().unwrap().contains_key(&device) {
            return Err(Unopened::Unopenable("no secret".to_owned()));
        }
        let binding = Binding { device, ring, lane };
        frame::open(&key(device, ring), &binding, frame)
            .map(|(header, body)| (header, &*body))
            .map_err(|error| Unopened::Unopenable(error.to_string()))
    }

    fn is_erased(
        &mut self,
        device: DeviceId,
        _ring: &RingId,
        received_ms: i64,
    ) -> Result<bool, Unopened> {
        Ok(self.erased.lock().unwrap().get(&device).is_some_and(|at_ms| received_ms <= *at_ms))
    }
}

#[derive(Clone, Debug, Default)]
pub struct Catalogues {
    known: Arc<Mutex<HashMap<CatalogueId, Arc<OwnedCatalogue>>>>,
    /// How often one was asked for.
    pub asked: Arc<AtomicU32>,
}

impl Catalogues {
    pub fn learn(&self, id: CatalogueId) {
        let signal = |path: &str| OwnedSignal {
            path: path.to_owned(),
            unit: String::new(),
            step: SignalStep::ONE,
            raw_min: 0,
            raw_max: 1,
        };
        let signals = ["Vehicle.Speed", "Vehicle.Cabin.Door"].map(signal).to_vec();
        let (hints, thinning) = (OwnedHints::default(), Vec::new());
        let catalogue = OwnedCatalogue { id, tick_ms: 1, signals, hints, thinning };
        self.known.lock().unwrap().insert(id, Arc::new(catalogue));
    }
}

impl CatalogueSource for Catalogues {
    fn get(&self, id: CatalogueId) -> Option<Arc<OwnedCatalogue>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.known.lock().unwrap().get(&id).cloned()
    }
}

/// The table of rings; empty unless a test says what is in it.
#[derive(Clone, Debug, Default)]
pub struct RingRows(pub Arc<Mutex<Vec<HeldRing>>>);

impl RingSource for RingRows {
    fn each(&self, take: &mut dyn FnMut(HeldRing)) -> io::Result<()> {
        self.0.lock().unwrap().iter().copied().for_each(take);
        Ok(())
    }

    fn known_to(&self) -> io::Result<Positions> {
        Ok(Positions([Position(u64::MAX); 3]))
    }
}

/// A device's ring, as the acceptor follows it.
#[derive(Clone, Debug)]
pub struct Ring {
    pub device: DeviceId,
    pub id: RingId,
    pub lane: Lane,
    pub next: u64,
    pub through: Counts,
}

impl Ring {
    pub fn new(number: u8, lane: Lane) -> Self {
        let device = format!("cab-{number}").parse().unwrap();
        let id = RingId([number; 16]);
        Self { device, id, lane, next: 1, through: Counts::ZERO }
    }

    pub fn seal(&self, kind: Kind, seq: u64, body: &[u8]) -> Vec<u8> {
        let mut header = Header::new(Generation::FIRST, kind, Seq(seq));
        let mut body = body;
        if let (Kind::Samples, Ok((context, rest))) = (kind, SamplesContext::read(body)) {
            (header.samples, body) = (Some(context), rest);
        }
        let mut buffer = vec![0; HEADER_LEN_MAX];
        buffer.extend_from_slice(body);
        let end = buffer.len();
        buffer.resize(end + TAG_LEN, 0);
        let binding = Binding { device: self.device, ring: self.id, lane: self.lane };
        let key = key(self.device, self.id);
        let (range, _) =
            frame::seal(&key, &binding, &header, &mut buffer, HEADER_LEN_MAX..end).unwrap();
        buffer[range].to_vec()
    }
}

/// A body of samples of signal 0 with these raw values, a millisecond apart.
pub fn samples_body(catalogue: CatalogueId, raws: std::ops::Range<i64>) -> Vec<u8> {
    body_of(catalogue, 2, SignalIndex(0), raws)
}

/// One of a signal that no catalogue here has.
pub fn alien_body(raws: std::ops::Range<i64>) -> Vec<u8> {
    body_of(KNOWN, 64, SignalIndex(63), raws)
}

fn body_of(
    catalogue: CatalogueId,
    signals: u8,
    signal: SignalIndex,
    raws: std::ops::Range<i64>,
) -> Vec<u8> {
    let mut columns = vec![0; 10_000];
    let mut encoder = Encoder::<64>::new(Hints::NONE, signals);
    for raw in raws {
        let sample = Sample::new(1_211_094_008_000 + raw, signal, raw);
        encoder.push(&mut columns, sample).unwrap();
    }
    let header = SamplesHeader {
        context: SamplesContext {
            catalogue,
            clock: Clock::Agent,
            coding: protocol::codec::Coding::Learning,
            boot: 1,
        },
        count: encoder.count(),
    };
    let len = encoder.finish(&mut columns).unwrap();
    let body = header.bytes();
    [&body[..], &columns[..len]].concat()
}

pub fn samples(samples: u64) -> Counts {
    Counts { samples, events: 0 }
}

pub type TestForwarder = Forwarder<Opener, Catalogues>;

/// Everything around a forwarder.
pub struct World {
    pub journal_disk: Faulty,
    pub disk: Faulty,
    pub journal: Journal,
    pub catalogues: Catalogues,
    pub opener: Opener,
    pub rings: RingRows,
    pub config: ForwarderConfig,
    pub drop: Vec<String>,
    pub rotate_bytes: u64,
    /// The next raw value.
    pub raw: i64,
    pub now: Duration,
    pub lives: u64,
}

impl World {
    pub fn new() -> Self {
        let journal_disk = Faulty::default();
        let mut config = ForwarderConfig::new("files", PathBuf::from("/data"));
        config.batch_bytes = 1;
        let catalogues = Catalogues::default();
        catalogues.learn(KNOWN);
        Self {
            journal: open_journal(&journal_disk, 1),
            journal_disk,
            disk: Faulty::default(),
            catalogues,
            opener: Opener::default(),
            rings: RingRows::default(),
            config,
            drop: Vec::new(),
            rotate_bytes: 4000,
            raw: 0,
            now: Duration::ZERO,
            lives: 1,
        }
    }

    /// The agent starts again: the journal begins a new life.
    pub fn reopen_journal(&mut self) {
        self.lives += 1;
        self.journal = open_journal(&self.journal_disk, self.lives);
    }

    pub fn append(&mut self, ring: &mut Ring, adds: Counts, payload: &[u8]) -> u64 {
        ring.through += adds;
        let seq = ring.next;
        ring.next += 1;
        let entry = Entry {
            kind: EntryKind::Frame,
            received_ms: 1_795_332_600_000,
            device: ring.device,
            ring: ring.id,
            seq: Seq(seq),
            adds,
            through: ring.through,
            payload,
        };
        self.journal.append(ring.lane, &entry).unwrap();
        seq
    }

    /// A frame of so many samples.
    pub fn samples(&mut self, ring: &mut Ring, count: u32) -> Vec<u8> {
        self.samples_of(ring, KNOWN, count)
    }

    pub fn samples_of(&mut self, ring: &mut Ring, catalogue: CatalogueId, count: u32) -> Vec<u8> {
        let raws = self.raw..self.raw + i64::from(count);
        self.raw = raws.end;
        let frame = ring.seal(Kind::Samples, ring.next, &samples_body(catalogue, raws));
        self.append(ring, samples(count.into()), &frame);
        frame
    }

    /// A frame of records.
    pub fn records(&mut self, ring: &mut Ring, records: &[Record<'_>]) {
        let mut body = vec![0; 4000];
        let mut end = 0;
        let mut counts = Counts::ZERO;
        for record in records {
            end = record.append(&mut body, end).unwrap();
            counts += record.counts();
        }
        let frame = ring.seal(Kind::Records, ring.next, &body[..end]);
        self.append(ring, counts, &frame);
    }

    /// A loss frame: the device has lost `gone` in frames from `first` on up to before it.
    pub fn loss(
        &mut self,
        ring: &mut Ring,
        first: u64,
        skip: u64,
        gone: Counts,
        reason: LossReason,
    ) {
        ring.next += skip;
        let through = ring.through + gone;
        let (first, last) = (Seq(first), Seq(ring.next - 1));
        let said = Loss { first, last, through, reason, time: DeviceTime::default() };
        let mut body = [0; 128];
        let body = postcard::to_slice(&said, &mut body).unwrap();
        let frame = ring.seal(Kind::Loss, ring.next, body);
        self.append(ring, gone, &frame);
    }

    /// The agent's word that the ring's next `skip` frames are gone.
    pub fn gap(&mut self, ring: &mut Ring, skip: u64, gone: Counts) {
        let first = Seq(ring.next);
        ring.next += skip;
        ring.through += gone;
        let last = Seq(ring.next - 1);
        let reason = LossReason::Unexplained;
        let said = Loss { first, last, through: ring.through, reason, time: DeviceTime::default() };
        let mut payload = [0; 128];
        let entry = Entry {
            kind: EntryKind::Gap,
            received_ms: 1_795_332_600_000,
            device: ring.device,
            ring: ring.id,
            seq: last,
            adds: gone,
            through: ring.through,
            payload: postcard::to_slice(&said, &mut payload).unwrap(),
        };
        self.journal.append(ring.lane, &entry).unwrap();
    }

    /// A frame sealed anew from another ring.
    pub fn resealed(
        &mut self,
        ring: &mut Ring,
        from: &Ring,
        seq: u64,
        tag: FrameTag,
        body: &[u8],
        adds: Counts,
    ) {
        let origin = Origin { ring: from.id, tag, seq: Seq(seq), kind: Kind::Samples };
        let mut head = [0; Origin::LEN_MAX];
        let len = origin.write(&mut head);
        let body = [&head[..len], body].concat();
        let frame = ring.seal(Kind::Resealed, ring.next, &body);
        self.append(ring, adds, &frame);
    }

    pub fn commit(&mut self) {
        self.journal.commit().unwrap();
    }

    pub fn policy(&self) -> Policy {
        let config =
            crate::privacy::PrivacyConfig { drop: self.drop.clone(), ..Default::default() };
        if self.drop.is_empty() { Policy::none() } else { Policy::from_config(&config).unwrap() }
    }

    /// What a forwarder works with.
    pub fn parts(&self) -> (Opener, Catalogues, Box<dyn RingSource>, Policy) {
        let rings = Box::new(self.rings.clone());
        (self.opener.clone(), self.catalogues.clone(), rings, self.policy())
    }

    /// The table has this ring as it is now.
    pub fn checkpoint(&self, ring: &Ring) {
        let (device, last) = (Some(ring.device), Seq(ring.next - 1));
        let (id, lane, through) = (ring.id, ring.lane, ring.through);
        let mut rows = self.rings.0.lock().unwrap();
        rows.retain(|row| row.ring != id);
        rows.push(HeldRing { ring: id, device, lane, last, through });
    }

    pub fn storage(&self) -> SharedStorage {
        Arc::new(self.disk.clone())
    }

    pub fn open(&self) -> Result<TestForwarder, String> {
        self.open_with(Box::new(self.rings.clone()))
    }

    /// The same, with this table of rings.
    pub fn open_with(&self, rings: Box<dyn RingSource>) -> Result<TestForwarder, String> {
        let storage = self.storage();
        let tail = self.journal.tail();
        let config = FileSinkConfig { dir: "/out".into(), rotate_bytes: 1 << 20 };
        let (mut sink, resume) = FileSink::open(&storage, &config, None, &tail)
            .map_err(|error: SinkError| error.to_string())?;
        sink.rotate_after(self.rotate_bytes);
        Forwarder::open(
            &storage,
            self.config.clone(),
            tail,
            (Box::new(sink), resume),
            (self.opener.clone(), self.catalogues.clone(), rings, self.policy()),
        )
        .map_err(|error| error.to_string())
    }

    /// Steps until everything durable has been forwarded, or so many attempts have failed.
    pub fn drive(&mut self, forwarder: &mut TestForwarder, failures_max: u64) -> bool {
        let before = forwarder.status().snapshot().retries;
        loop {
            match forwarder.step(self.now, true) {
                Step::Again => {}
                Step::Ended => return forwarder.status().condition() == Condition::Running,
                Step::Wait(wait) => {
                    self.now += wait;
                    if forwarder.status().snapshot().retries >= before + failures_max {
                        return false;
                    }
                }
            }
        }
    }

    /// Opens, forwards everything, ends in order; the ledger.
    pub fn forward(&mut self) -> LedgerReport {
        let mut forwarder = self.open().unwrap();
        assert!(self.drive(&mut forwarder, 100), "{:?}", forwarder.status().condition());
        forwarder.end(None);
        let report = forwarder.status().ledger(&self.journal.ends());
        assert!(report.balanced(), "{}", report.table());
        assert!(report.buffered.is_zero(), "{}", report.table());
        report
    }

    /// All documents of the sink, in order.
    pub fn documents(&self) -> Vec<Json> {
        let mut documents = Vec::new();
        for (path, content) in self.disk.files() {
            if path.starts_with("/out") && path.extension().is_some_and(|suffix| suffix == "ndjson")
            {
                let text = String::from_utf8(content).unwrap();
                assert!(text.is_empty() || text.ends_with('\n'), "{path:?} ends in a line");
                documents
                    .extend(text.lines().map(|line| serde_json::from_str::<Json>(line).unwrap()));
            }
        }
        documents
    }

    /// The raw values delivered for a ring, in the order of the files; every id occurs once.
    pub fn delivered(&self, ring: &Ring) -> Vec<i64> {
        let ids = self.documents().into_iter().map(|document| document["id"].to_string());
        let mut seen = std::collections::HashSet::new();
        for id in ids {
            assert!(seen.insert(id.clone()), "{id} twice");
        }
        let mine =
            |document: &Json| document["id"].as_str().unwrap().contains(&ring.id.to_string());
        let documents = self.documents().into_iter().filter(mine);
        documents.filter_map(|document| document["data"]["Vehicle.Speed"].as_i64()).collect()
    }

    /// The documents of one type.
    pub fn of_type(&self, kind: &str) -> Vec<Json> {
        let mut documents = self.documents();
        documents.retain(|document| document["type"] == format!("milepost.{kind}"));
        documents
    }

    pub fn dead_letters(&self) -> Vec<Json> {
        let files = self
            .disk
            .files()
            .into_iter()
            .filter(|(path, _)| path.starts_with("/data/dead-letters"));
        let text: Vec<u8> = files.flat_map(|(_, content)| content).collect();
        let text = String::from_utf8(text).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

pub fn open_journal(disk: &Faulty, life: u64) -> Journal {
    let mut config = JournalConfig::new(PathBuf::from("/journal"));
    config.segment_bytes = 2000;
    let storage: SharedStorage = Arc::new(disk.clone());
    Journal::open(storage, config, [9; 16], life, &Positions::ZERO, &mut |_, _, _| {}).unwrap().0
}
