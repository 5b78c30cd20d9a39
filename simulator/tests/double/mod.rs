//! A stand-in for the agent: the device's side of the protocol answered in memory, what comes in
//! kept as documents. No journal, no dedup beyond one watermark per ring; for the fleet's tests.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use protocol::ack::{ACK_LEN_MAX, Ack};
use protocol::codec::Decoder;
use protocol::downlink::{DOWNLINK_LEN_MAX, Downlink, Envelope, Welcome};
use protocol::frame::{Binding, Body, compact, open, tag_of};
use protocol::hello::Hello;
use protocol::record::Record;
use protocol::topic::{Channel, Topic};
use protocol::{
    Catalogue, Counts, DeviceId, FrameTag, JournalInstance, Lane, RingId, Sample, Secret, Seq,
    Step, keys,
};
use recordings::civil::rfc3339_ms;
use recordings::decimal::decimal_of;
use simulator::fleet::keys::DeviceKey;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What every device's catalogue is, and what was taken in.
pub struct Double {
    state: Arc<Mutex<State>>,
    pub address: SocketAddr,
}

struct State {
    catalogue: &'static Catalogue<'static>,
    keys: BTreeMap<DeviceId, DeviceKey>,
    rings: HashMap<(DeviceId, Lane), Ring>,
    /// What each device's latest hello said.
    said: HashMap<DeviceId, compact::Context>,
    documents: Vec<String>,
    /// Frames still to be left unacknowledged, for devices to be cut off with work to do.
    pub deaf_after: u64,
}

struct Ring {
    id: RingId,
    durable: Seq,
    tag: FrameTag,
    counts: Counts,
}

/// Keys for devices, as `milepost devices add` would make them.
pub fn keys_for<'a>(
    devices: impl IntoIterator<Item = &'a DeviceId>,
) -> BTreeMap<DeviceId, DeviceKey> {
    let key = |number: u8| DeviceKey {
        secret: Secret::new([number; 32]),
        generation: protocol::Generation::FIRST,
        registration: None,
    };
    devices
        .into_iter()
        .zip((0..=255).cycle())
        .map(|(device, number)| (*device, key(number)))
        .collect()
}

impl Double {
    /// Listens on a port of its own, in a thread of its own, until the process ends.
    pub fn start(
        catalogue: &'static Catalogue<'static>,
        keys: BTreeMap<DeviceId, DeviceKey>,
    ) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let state = State {
            catalogue,
            keys,
            rings: HashMap::new(),
            said: HashMap::new(),
            documents: Vec::new(),
            deaf_after: u64::MAX,
        };
        let state = Arc::new(Mutex::new(state));
        let shared = state.clone();
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    tokio::spawn(serve(stream, shared.clone()));
                }
            });
        });
        Self { state, address }
    }

    /// Takes this many more frames and then acknowledges nothing any more.
    pub fn go_deaf_after(&self, frames: u64) {
        self.state.lock().unwrap().deaf_after = frames;
    }

    /// The documents so far, as a sink would hold them.
    pub fn documents(&self) -> Vec<String> {
        self.state.lock().unwrap().documents.clone()
    }
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut incoming = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk).await {
            Ok(len @ 1..) => incoming.extend_from_slice(&chunk[..len]),
            _ => return,
        }
        let mut out = Vec::new();
        while let Some((first, body, used)) = packet(&incoming) {
            match first >> 4 {
                1 => out.extend([0x20, 3, 0, 0, 0]),
                3 => state.lock().unwrap().publish(first, body, &mut out),
                8 => out.extend([0x90, 5, body[0], body[1], 0, 0, 0]),
                12 => out.extend([0xd0, 0]),
                _ => return,
            }
            incoming.drain(..used);
        }
        if stream.write_all(&out).await.is_err() {
            return;
        }
    }
}

/// The first whole packet: its first byte, its body, and all its bytes.
fn packet(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (first, rest) = bytes.split_first()?;
    let (len, body) = protocol::varint::read(rest)?;
    let len = usize::try_from(len).unwrap();
    Some((*first, body.get(..len)?, bytes.len() - body.len() + len))
}

fn publish_to(out: &mut Vec<u8>, device: DeviceId, channel: Channel, payload: &[u8]) {
    let name = Topic { device, channel }.name();
    let mut number = [0; 10];
    let body_len = 2 + name.len() + 1 + payload.len();
    let used = protocol::varint::write(u64::try_from(body_len).unwrap(), &mut number).unwrap();
    out.push(0x30);
    out.extend_from_slice(&number[..used]);
    out.extend(u16::try_from(name.len()).unwrap().to_be_bytes());
    out.extend_from_slice(name.as_bytes());
    out.push(0);
    out.extend_from_slice(payload);
}

impl State {
    fn publish(&mut self, first: u8, body: &[u8], out: &mut Vec<u8>) {
        let name_len = usize::from(u16::from_be_bytes([body[0], body[1]]));
        let topic = Topic::parse(std::str::from_utf8(&body[2..2 + name_len]).unwrap()).unwrap();
        let mut rest = &body[2 + name_len..];
        if first & 6 != 0 {
            out.extend([0x40, 2, rest[0], rest[1]]);
            rest = &rest[2..];
        }
        let (properties, rest) = protocol::varint::read(rest).unwrap();
        let mut payload = rest[usize::try_from(properties).unwrap()..].to_vec();
        match topic.channel {
            Channel::Hello => self.hello(topic.device, &mut payload, out),
            Channel::Frames(lane) => self.frame(topic.device, lane, &mut payload, out),
            _ => panic!("a device published to its downlink"),
        }
    }

    fn hello(&mut self, device: DeviceId, bytes: &mut [u8], out: &mut Vec<u8>) {
        let DeviceKey { secret, generation, .. } = self.keys[&device].clone();
        let hello =
            Hello::open(&keys::hello_key(&secret, &device, generation), &device, bytes).unwrap();
        let said = compact::Context { catalogue: hello.catalogue, boot: hello.time.boot };
        self.said.insert(device, said);
        for said in &hello.rings {
            let known = self.rings.entry((device, said.lane)).or_insert(Ring {
                id: said.ring,
                durable: Seq::ZERO,
                tag: FrameTag::default(),
                counts: Counts::ZERO,
            });
            if known.id != said.ring {
                *known = Ring {
                    id: said.ring,
                    durable: Seq::ZERO,
                    tag: FrameTag::default(),
                    counts: Counts::ZERO,
                };
            }
            if said.first_retained > known.durable.next() {
                let lost = said.before_first.since(known.counts);
                (known.durable, known.tag) = (said.first_retained.prev(), FrameTag::default());
                known.counts = said.before_first;
                let id = format!("{device}/{}/{}/loss", known.id, known.durable);
                let data = loss_data(lost, "unexplained");
                self.documents.push(document(&id, "loss", Some(0), said.lane, None, &data));
            }
            self.acknowledge(device, said.lane, out);
        }
        let envelope = Envelope { generation, salt: [7; 16], number: 1 };
        let welcome = Downlink::Welcome(Welcome {
            unix_ms: 1_800_000_000_000,
            hello_uptime_ms: hello.time.uptime_ms,
            wants_catalogue: false,
        });
        let mut sealed = [0; DOWNLINK_LEN_MAX];
        let len = envelope.seal(&secret, &device, &hello.challenge, &welcome, &mut sealed).unwrap();
        publish_to(out, device, Channel::Downlink, &sealed[..len]);
    }

    fn acknowledge(&self, device: DeviceId, lane: Lane, out: &mut Vec<u8>) {
        let DeviceKey { secret, generation, .. } = self.keys[&device].clone();
        let ring = &self.rings[&(device, lane)];
        let ack = Ack {
            generation,
            lane,
            durable: ring.durable,
            tag: ring.tag,
            instance: JournalInstance([1; 8]),
            repeat: false,
        };
        let mut sealed = [0; ACK_LEN_MAX];
        let key = keys::ack_key(&secret, &device, &ring.id, generation);
        let len = ack.seal(&key, &device, &ring.id, &mut sealed);
        publish_to(out, device, Channel::Ack, &sealed[..len]);
    }

    fn frame(&mut self, device: DeviceId, lane: Lane, bytes: &mut [u8], out: &mut Vec<u8>) {
        self.deaf_after = self.deaf_after.saturating_sub(1);
        if self.deaf_after == 0 {
            return;
        }
        let DeviceKey { secret, generation, .. } = self.keys[&device].clone();
        let ring = self.rings.get_mut(&(device, lane)).unwrap();
        let tag = tag_of(bytes);
        let mut restored;
        let bytes = if compact::is_compact(bytes) {
            let (header, rest) =
                compact::restore(bytes, self.said[&device], ring.durable.next()).unwrap();
            restored = [&header.bytes()[..], rest].concat();
            &mut restored[..]
        } else {
            bytes
        };
        let key = keys::frame_key(&secret, &device, &ring.id, generation);
        let (header, body) = open(&key, &Binding { device, ring: ring.id, lane }, bytes).unwrap();
        let (body, origin) = Body::read(&header, body).unwrap();
        assert!(origin.is_none(), "nothing forks here");
        let covers = matches!(&body, Body::Loss(loss) if loss.first <= ring.durable.next() && loss.last == header.seq.prev());
        if header.seq <= ring.durable || (header.seq != ring.durable.next() && !covers) {
            return self.acknowledge(device, lane, out);
        }
        let id = format!("{device}/{}/{}", ring.id, header.seq);
        match &body {
            Body::Samples(samples, columns) => {
                let hints = self.catalogue.hints;
                let signals = u8::try_from(self.catalogue.signals.len()).unwrap();
                let mut decoder = Decoder::<64>::default();
                let taken = decoder.behind(samples, hints, columns, signals);
                let taken: Vec<Sample> = taken.map(|sample| sample.unwrap()).collect();
                instants(&taken).into_iter().zip(0..).for_each(|(instant, index): (_, u32)| {
                    let id = format!("{id}/{index}");
                    let unix_ms = instant[0].tick * i64::from(self.catalogue.tick_ms);
                    let data = samples_data(self.catalogue, instant);
                    self.documents.push(document(
                        &id,
                        "samples",
                        Some(unix_ms),
                        lane,
                        Some(samples.context.boot),
                        &data,
                    ));
                });
            }
            Body::Records(records) => {
                for (record, index) in records.clone().zip(0..) {
                    let id = format!("{id}/{index}");
                    self.documents.extend(record_document(&id, lane, &record.unwrap()));
                }
            }
            Body::Loss(loss) => {
                let gone = loss.through.since(ring.counts);
                ring.counts += gone;
                let data = loss_data(gone, loss.reason.name());
                self.documents.push(document(
                    &format!("{id}/0"),
                    "loss",
                    Some(0),
                    lane,
                    Some(loss.time.boot),
                    &data,
                ));
            }
        }
        ring.counts += body.counts();
        (ring.durable, ring.tag) = (header.seq, tag);
        self.acknowledge(device, lane, out);
    }
}

/// Runs of one tick in which no signal repeats.
fn instants(samples: &[Sample]) -> Vec<&[Sample]> {
    let mut instants = Vec::new();
    let mut rest = samples;
    while let Some(first) = rest.first() {
        let mut seen = Vec::new();
        let len = rest
            .iter()
            .take_while(|sample| {
                let goes_on = sample.tick == first.tick && !seen.contains(&sample.signal);
                seen.push(sample.signal);
                goes_on
            })
            .count();
        let (instant, after) = rest.split_at(len);
        instants.push(instant);
        rest = after;
    }
    instants
}

fn samples_data(catalogue: &Catalogue<'_>, instant: &[Sample]) -> String {
    let mut data = String::from("{");
    for sample in instant {
        let signal = catalogue.get(sample.signal).unwrap();
        let comma = if data.len() > 1 { "," } else { "" };
        write!(
            data,
            "{comma}\"{}\":{}",
            signal.path,
            decimal(sample.steps().unwrap(), signal.step)
        )
        .unwrap();
    }
    data + "}"
}

/// As an agent writes it: what no decimal is, near enough to tell the step.
fn decimal(raw: i64, step: Step) -> String {
    let text = decimal_of(raw, step);
    let Some((value, denominator)) = text.split_once('/') else { return text };
    let [value, denominator]: [f64; 2] = [value, denominator].map(|text| text.parse().unwrap());
    format!("{:.6}", value / denominator)
}

fn record_document(id: &str, lane: Lane, record: &Record<'_>) -> Option<String> {
    let (kind, time, data) = match record {
        Record::Boot(boot) => (
            "boot",
            boot.time,
            format!(
                r#"{{"unsealed_samples_max":{:?},"unsealed_events_max":{:?}}}"#,
                boot.unsealed_samples_max, boot.unsealed_events_max
            ),
        ),
        Record::Event(event) => {
            let data = simulator::oracle::got::event_members(event);
            ("event", event.time, serde_json::to_string(&data).unwrap())
        }
        Record::Heartbeat(beat) => ("health", beat.time, "{}".to_owned()),
        Record::Log(log) => ("log", log.time, "{}".to_owned()),
        Record::Fork(fork) => ("fork", fork.time, "{}".to_owned()),
        Record::Crash(crash) => ("crash", crash.time, "{}".to_owned()),
        Record::Catalogue(_) => return None,
    };
    Some(document(id, kind, time.wall_ms(), lane, Some(time.boot), &data))
}

fn loss_data(lost: Counts, reason: &str) -> String {
    format!(r#"{{"samples":{},"events":{},"reason":"{reason}"}}"#, lost.samples, lost.events)
}

fn document(
    id: &str,
    kind: &str,
    unix_ms: Option<i64>,
    lane: Lane,
    boot: Option<u32>,
    data: &str,
) -> String {
    let device = id.split('/').next().unwrap();
    let time = unix_ms
        .map_or(r#""uptimems":0"#.to_owned(), |ms| format!(r#""time":"{}""#, rfc3339_ms(ms)));
    let boot = boot.map_or(String::new(), |boot| format!(r#""boot":{boot},"#));
    format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/devices/{device}","type":"milepost.{kind}",{time},"lane":"{lane}","clock":"reference",{boot}"received":"2026-11-22T07:30:00.123Z","data":{data}}}"#
    )
}
