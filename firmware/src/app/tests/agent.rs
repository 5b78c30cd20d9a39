//! An agent without faults: opens, accepts and acknowledges by the rules, keeps everything.

use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec;

use protocol::ack::{ACK_LEN_MAX, Ack};
use protocol::codec::{Decoder, Hints};
use protocol::downlink::{Downlink, Envelope, Welcome};
use protocol::frame::{self, Binding, Body, Kind, Origin, compact};
use protocol::hello::Hello;
use protocol::keys;
use protocol::record::{Record, Records};
use protocol::topic::Channel;
use protocol::{
    CatalogueId, Clock, Counts, DeviceId, FrameTag, Generation, JournalInstance, Lane, Loss,
    RingId, Sample, Secret, Seq,
};

/// What the agent holds of one ring.
#[derive(Clone, Debug)]
pub struct Held {
    pub lane: Lane,
    pub durable: Seq,
    pub tag: FrameTag,
    /// All that is accounted for, lost or not.
    pub through: Counts,
    /// How much of it is lost, by its own hellos' gaps, and by losses that the device said first.
    pub unexplained: Counts,
    pub said_lost: Counts,
    pub samples: Vec<Sample>,
    pub clocks: Vec<Clock>,
    pub losses: Vec<Loss>,
    /// Hellos that left something out.
    pub gaps: usize,
    pub origins: Vec<Origin>,
}

/// The agent, for one device.
#[derive(Clone, Debug)]
pub struct Agent {
    device: DeviceId,
    secret: Secret,
    pub instance: JournalInstance,
    pub unix_ms: i64,
    pub rings: BTreeMap<RingId, Held>,
    current: [Option<RingId>; 3],
    /// What the latest hello said.
    said: Option<compact::Context>,
    /// Frames of which most of the header was left out.
    pub compact_frames: u64,
    pub catalogues: Vec<CatalogueId>,
    pub catalogue_frames: usize,
    /// Boots, forks, events in the order in which they came, in words.
    pub records: Vec<std::string::String>,
    pub duplicates: usize,
    pub repeats: usize,
    sent: u64,
}

type Outgoing = Vec<(Channel, Vec<u8>)>;

impl Agent {
    pub fn new(device: DeviceId, secret: Secret) -> Self {
        Self {
            device,
            secret,
            instance: JournalInstance([3; 8]),
            unix_ms: 1_700_000_000_000,
            rings: BTreeMap::new(),
            current: [None; 3],
            said: None,
            compact_frames: 0,
            catalogues: vec![],
            catalogue_frames: 0,
            records: vec![],
            duplicates: 0,
            repeats: 0,
            sent: 0,
        }
    }

    /// What the agent holds of the ring that a lane has now.
    pub fn held(&self, lane: Lane) -> &Held {
        &self.rings[&self.current[lane.index()].expect("a hello named it")]
    }

    /// All rings a lane ever had.
    pub fn of_lane(&self, lane: Lane) -> impl Iterator<Item = (&RingId, &Held)> {
        self.rings.iter().filter(move |(_, held)| held.lane == lane)
    }

    /// Takes a message; what it answers.
    pub fn take(&mut self, channel: Channel, mut bytes: Vec<u8>) -> Outgoing {
        match channel {
            Channel::Hello => self.hello(&mut bytes),
            Channel::Frames(lane) => self.frame(lane, &mut bytes),
            Channel::Ack | Channel::Downlink => panic!("a device does not publish there"),
        }
    }

    fn hello(&mut self, bytes: &mut [u8]) -> Outgoing {
        let key = keys::hello_key(&self.secret, &self.device, Generation::FIRST);
        let hello = Hello::open(&key, &self.device, bytes).expect("authentic");
        self.said = Some(compact::Context { catalogue: hello.catalogue, boot: hello.time.boot });
        let mut outgoing = vec![];
        for state in &hello.rings {
            assert!(state.first_retained <= state.next, "{state:?}");
            self.current[state.lane.index()] = Some(state.ring);
            let held = self.rings.entry(state.ring).or_insert_with(|| Held {
                lane: state.lane,
                durable: Seq::ZERO,
                tag: FrameTag::default(),
                through: Counts::ZERO,
                unexplained: Counts::ZERO,
                said_lost: Counts::ZERO,
                samples: vec![],
                clocks: vec![],
                losses: vec![],
                gaps: 0,
                origins: vec![],
            });
            if state.first_retained > held.durable.next() {
                // Never backwards: a device whose counters were damaged may claim less.
                let lost = state.before_first.since(held.through);
                held.unexplained += lost;
                held.gaps += 1;
                held.through += lost;
                held.durable = state.first_retained.prev();
                held.tag = FrameTag::default();
            }
            outgoing.push(self.ack(state.ring, false));
        }
        let welcome = Welcome {
            unix_ms: self.unix_ms,
            hello_uptime_ms: hello.time.uptime_ms,
            wants_catalogue: !self.catalogues.contains(&hello.catalogue),
        };
        self.sent += 1;
        let envelope = Envelope { generation: Generation::FIRST, salt: [9; 16], number: self.sent };
        let mut into = [0; 256];
        let len = envelope
            .seal(
                &self.secret,
                &self.device,
                &hello.challenge,
                &Downlink::Welcome(welcome),
                &mut into,
            )
            .unwrap();
        outgoing.push((Channel::Downlink, into[..len].to_vec()));
        outgoing
    }

    fn frame(&mut self, lane: Lane, bytes: &mut [u8]) -> Outgoing {
        // The ring that the lane had in the latest hello; an older one's frame opens under none.
        let Some(ring) = self.current[lane.index()] else { return vec![] };
        let binding = Binding { device: self.device, ring, lane };
        let key = keys::frame_key(&self.secret, &self.device, &ring, Generation::FIRST);
        let tag = frame::tag_of(bytes);
        let mut restored;
        let bytes = if compact::is_compact(bytes) {
            self.compact_frames += 1;
            let next = self.rings[&ring].durable.next();
            let restored_header = compact::restore(bytes, self.said.unwrap(), next);
            let Ok((header, rest)) = restored_header else { return vec![] };
            restored = [&header.bytes()[..], rest].concat();
            &mut restored[..]
        } else {
            bytes
        };
        let Ok((header, body)) = frame::open(&key, &binding, bytes) else { return vec![] };
        let (parsed, origin) = Body::read(&header, body).expect("well formed");
        let held = self.rings.get_mut(&ring).unwrap();
        if header.seq <= held.durable {
            self.duplicates += 1;
            return vec![self.ack(ring, false)];
        }
        let first_missing = held.durable.next();
        let covered = matches!(&parsed, Body::Loss(loss)
            if loss.first <= first_missing && loss.last >= header.seq.prev());
        if header.seq != first_missing && !covered {
            self.repeats += 1;
            return vec![self.ack(ring, true)];
        }
        if let Body::Loss(loss) = &parsed {
            let lost = loss.through.since(held.through);
            held.said_lost += lost;
            held.through += lost;
            held.losses.push(*loss);
        }
        held.through += parsed.counts();
        (held.durable, held.tag) = (header.seq, tag);
        held.origins.extend(origin);
        match parsed {
            Body::Samples(header, columns) => {
                let mut decoder = Decoder::<4>::default();
                let samples = decoder.behind(&header, Hints::NONE, columns, 4);
                held.samples.extend(samples.map(|sample| sample.expect("decodes")));
                held.clocks.push(header.context.clock);
            }
            Body::Records(records) => self.records(records),
            Body::Loss(_) => assert_eq!(header.kind, Kind::Loss),
        }
        vec![self.ack(ring, false)]
    }

    fn records(&mut self, records: Records<'_>) {
        for record in records {
            match record.expect("known") {
                Record::Catalogue(encoded) => {
                    self.catalogues.push(protocol::Catalogue::id_of(encoded));
                    self.catalogue_frames += 1;
                }
                record => self.records.push(std::format!("{record:?}")),
            }
        }
    }

    fn ack(&self, ring: RingId, repeat: bool) -> (Channel, Vec<u8>) {
        let held = &self.rings[&ring];
        let ack = Ack {
            generation: Generation::FIRST,
            lane: held.lane,
            durable: held.durable,
            tag: held.tag,
            instance: self.instance,
            repeat,
        };
        let key = keys::ack_key(&self.secret, &self.device, &ring, Generation::FIRST);
        let mut into = [0; ACK_LEN_MAX];
        let len = ack.seal(&key, &self.device, &ring, &mut into);
        (Channel::Ack, into[..len].to_vec())
    }
}
