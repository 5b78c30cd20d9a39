//! Devices of a few dozen bytes: what a frame holds follows from its device and its place, so it is
//! made when it is sent, with the protocol's own codec and seals.
//!
//! For harnesses with more devices than would fit a machine as whole firmware cores. Everything a
//! ring promises is kept: numbers without a hole, the oldest dropped when it is full, a loss frame at
//! once behind what was dropped, cumulative counts in every hello.

use std::sync::LazyLock;

use firmware::session::Acknowledged;
use protocol::ack::Ack;
use protocol::codec::{Encoder, SamplesContext, SamplesHeader};
use protocol::frame::{self, Binding, HEADER_LEN_MAX, Header, Kind, TAG_LEN};
use protocol::hello::{Challenge, Hello, RingState};
use protocol::keys::{ack_key, frame_key, hello_key};
use protocol::loss::LossReason;
use protocol::record::Record;
use protocol::{
    Catalogue, CatalogueId, Clock, Counts, DeviceId, DeviceTime, Generation, JournalInstance, Lane,
    Loss, RingId, Sample, Secret, Seq, Signal, SignalIndex, Step,
};

/// Signals of every device.
pub const SIGNALS: usize = 10;
const SIGNALS_U64: u64 = 10;
/// The lane that they are sent on.
pub const LANE: Lane = Lane::Bulk;
/// 2026-11-21T07:00:00Z in seconds: where every device's history begins.
const BEGIN_S: i64 = 1_795_244_400;
/// Bits of noise in a value: nothing of it can be foretold, so a sample takes as many and some.
const NOISE_BITS: u32 = 6;
/// Bytes that no frame exceeds.
pub const FRAME_LEN_MAX: usize = frame::FRAME_LEN_MAX;
/// The number of the frame that brings the catalogue.
const CATALOGUE_SEQ: u64 = 1;
/// Bytes of a name.
const NAME: &str = "light-";

const fn signal(path: &'static str) -> Signal<'static> {
    Signal { path, unit: "", step: Step::ONE, raw_min: 0, raw_max: (1 << NOISE_BITS) - 1 }
}

static ALL: [Signal<'static>; SIGNALS] = [
    signal("Vehicle.Load.A"),
    signal("Vehicle.Load.B"),
    signal("Vehicle.Load.C"),
    signal("Vehicle.Load.D"),
    signal("Vehicle.Load.E"),
    signal("Vehicle.Load.F"),
    signal("Vehicle.Load.G"),
    signal("Vehicle.Load.H"),
    signal("Vehicle.Load.I"),
    signal("Vehicle.Load.J"),
];

static CATALOGUE: Catalogue<'static> = Catalogue::new(1000, &ALL);

static CATALOGUE_ID: LazyLock<CatalogueId> = LazyLock::new(|| Catalogue::id_of(&catalogue()));

/// The catalogue of all light devices, as it is sent.
pub fn catalogue() -> Vec<u8> {
    let mut bytes = vec![0; Catalogue::ENCODED_MAX];
    let len = CATALOGUE.encode(&mut bytes).unwrap_or(0);
    bytes.truncate(len);
    bytes
}

/// A device's name.
pub fn name(device: u32) -> Option<DeviceId> {
    format!("{NAME}{device:06}").parse().ok()
}

/// Whose name it is.
pub fn number(name: &str) -> Option<u32> {
    name.strip_prefix(NAME)?.parse().ok()
}

/// The id of a device's ring of a lane: one for good, since its flash is never formatted.
pub fn ring_id(device: u32, lane: Lane) -> RingId {
    let mut id = [lane as u8; 16];
    for (slot, byte) in id.iter_mut().zip(device.to_be_bytes()) {
        *slot = byte;
    }
    RingId(id)
}

/// The value of a sample: its place is its device's frame, and its number in there.
fn raw(device: u32, index: u64, at: u64) -> i64 {
    let mut mixed = (u64::from(device) << 40) ^ (index << 12) ^ at;
    mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    i64::try_from(mixed >> (64 - NOISE_BITS)).unwrap_or(0)
}

/// How much a frame holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// Seconds in a frame, each with a sample of every signal.
    pub ticks: u32,
}

impl Shape {
    /// Frames of 200 bytes, nearly.
    pub const SMALL: Self = Self { ticks: 15 };
    /// Frames of about 4 KiB.
    pub const LARGE: Self = Self { ticks: 480 };

    /// Samples in a frame.
    pub fn samples(self) -> u64 {
        u64::from(self.ticks) * SIGNALS_U64
    }

    /// All samples of a device's frame of this index, in order.
    pub fn all(self, device: u32, index: u64) -> impl Iterator<Item = Sample> {
        let begin = BEGIN_S.saturating_add_unsigned(index.saturating_mul(u64::from(self.ticks)));
        (0..self.samples()).map(move |at| Sample {
            tick: begin.saturating_add_unsigned(at / SIGNALS_U64),
            signal: SignalIndex(u8::try_from(at % SIGNALS_U64).unwrap_or(0)),
            value: protocol::Value::Steps(raw(device, index, at)),
        })
    }

    /// The index of the frame that a tick is in, and its place in there.
    pub fn index_of(self, tick: i64) -> Option<(u64, u64)> {
        let since = u64::try_from(tick.checked_sub(BEGIN_S)?).ok()?;
        Some((since.checked_div(u64::from(self.ticks))?, since % u64::from(self.ticks)))
    }

    /// The values of a second of a frame, signal by signal.
    pub fn second(self, device: u32, index: u64, second: u64) -> impl Iterator<Item = i64> {
        let first = second * SIGNALS_U64;
        (first..first + SIGNALS_U64).map(move |at| raw(device, index, at))
    }
}

/// The paths of the signals, by column.
pub fn paths() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|signal| signal.path)
}

/// What samples come to, whoever holds them.
pub fn digest(so_far: u64, (tick, column, raw): (i64, u8, i64)) -> u64 {
    [tick.cast_unsigned(), u64::from(column), raw.cast_unsigned()]
        .into_iter()
        .fold(so_far, |digest, part| (digest.rotate_left(5) ^ part).wrapping_mul(0x0100_0000_01b3))
}

/// What was dropped, as a loss frame says it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Lost {
    /// The loss frame's number.
    seq: u64,
    first: u64,
    last: u64,
    through: Counts,
}

/// A device's ring: numbers, and nothing of what they stand for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ring {
    device: u32,
    shape: Shape,
    first: u64,
    next: u64,
    /// Loss frames below `first`.
    losses_gone: u64,
    /// Those that are kept.
    losses: Vec<Lost>,
    /// Frames with samples that were dropped.
    pub dropped: u64,
}

/// Who seals: a device's name and secret.
#[derive(Clone, Debug)]
pub struct Keys {
    /// The name.
    pub device: DeviceId,
    /// The secret, of the first generation.
    pub secret: Secret,
}

impl Ring {
    /// A new device's: the catalogue stands in it.
    pub const fn new(device: u32, shape: Shape) -> Self {
        let next = CATALOGUE_SEQ + 1;
        Self { device, shape, first: 1, next, losses_gone: 0, losses: Vec::new(), dropped: 0 }
    }

    /// Whose it is.
    pub const fn device(&self) -> u32 {
        self.device
    }

    /// The first number that is kept.
    pub const fn first(&self) -> Seq {
        Seq(self.first)
    }

    /// The next that will be given out.
    pub const fn next(&self) -> Seq {
        Seq(self.next)
    }

    /// Frames with samples that were taken so far.
    pub fn frames(&self) -> u64 {
        self.index(self.next)
    }

    /// Takes a frame more. If that are more than `kept_max`, the oldest `sector` are dropped, and a
    /// loss frame says so first.
    pub fn take(&mut self, kept_max: u64, sector: u64) {
        if self.next.saturating_sub(self.first) >= kept_max {
            self.drop_oldest(sector);
        }
        self.next += 1;
    }

    fn drop_oldest(&mut self, sector: u64) {
        let (first, last) = (self.first, self.first.saturating_add(sector).min(self.next) - 1);
        let through = self.before(last + 1);
        self.dropped += self.index(last + 1) - self.index(first);
        self.free(last);
        self.losses.push(Lost { seq: self.next, first, last, through });
        self.next += 1;
    }

    /// All up to this number is held by an agent.
    pub fn release(&mut self, through: Seq) {
        self.free(through.0.min(self.next - 1));
    }

    fn free(&mut self, through: u64) {
        if through < self.first {
            return;
        }
        self.first = through + 1;
        let kept = self.losses.len();
        self.losses.retain(|lost| lost.seq > through);
        self.losses_gone += u64::try_from(kept - self.losses.len()).unwrap_or(0);
        if self.losses.is_empty() {
            self.losses = Vec::new();
        }
    }

    /// Frames with samples below a number that is kept, or the first that is not.
    fn index(&self, seq: u64) -> u64 {
        let kept = self.losses.iter().filter(|lost| lost.seq < seq).count();
        let losses = self.losses_gone + u64::try_from(kept).unwrap_or(0);
        seq.saturating_sub(CATALOGUE_SEQ + 1).saturating_sub(losses)
    }

    fn before(&self, seq: u64) -> Counts {
        Counts { samples: self.index(seq) * self.shape.samples(), events: 0 }
    }

    /// What a hello says of it.
    pub fn state(&self, acknowledged: (Seq, JournalInstance)) -> RingState {
        RingState {
            lane: LANE,
            ring: ring_id(self.device, LANE),
            first_retained: Seq(self.first),
            next: Seq(self.next),
            before_first: self.before(self.first),
            before_next: self.before(self.next),
            acknowledged: acknowledged.0,
            acknowledged_by: acknowledged.1,
        }
    }

    /// The frame of a number that is kept, sealed.
    pub fn frame(&self, keys: &Keys, seq: Seq) -> Option<Vec<u8>> {
        let mut buffer = vec![0; HEADER_LEN_MAX + FRAME_LEN_MAX];
        let (kind, len) = self.body(seq.0, buffer.get_mut(HEADER_LEN_MAX..)?)?;
        let binding = Binding { device: keys.device, ring: ring_id(self.device, LANE), lane: LANE };
        let key = frame_key(&keys.secret, &keys.device, &binding.ring, Generation::FIRST);
        let samples = (kind == Kind::Samples).then(context);
        let header = Header { samples, ..Header::new(Generation::FIRST, kind, seq) };
        let body = HEADER_LEN_MAX..HEADER_LEN_MAX + len;
        let (at, _) = frame::seal(&key, &binding, &header, &mut buffer, body).ok()?;
        buffer.truncate(at.end);
        buffer.drain(..at.start);
        Some(buffer)
    }

    fn body(&self, seq: u64, into: &mut [u8]) -> Option<(Kind, usize)> {
        if seq < self.first || seq >= self.next {
            return None;
        }
        if seq == CATALOGUE_SEQ {
            return Some((Kind::Records, Record::Catalogue(&catalogue()).append(into, 0)?));
        }
        if let Some(lost) = self.losses.iter().find(|lost| lost.seq == seq) {
            let loss = Loss {
                first: Seq(lost.first),
                last: Seq(lost.last),
                through: lost.through,
                reason: LossReason::Full,
                time: DeviceTime::default(),
            };
            return Some((Kind::Loss, postcard::to_slice(&loss, into).ok()?.len()));
        }
        Some((Kind::Samples, samples(self.device, self.index(seq), self.shape, into)?))
    }
}

/// What a hello says of a ring that nothing was ever put into.
fn empty(device: u32, lane: Lane) -> RingState {
    RingState {
        lane,
        ring: ring_id(device, lane),
        first_retained: Seq::FIRST,
        next: Seq::FIRST,
        before_first: Counts::ZERO,
        before_next: Counts::ZERO,
        acknowledged: Seq::ZERO,
        acknowledged_by: JournalInstance::default(),
    }
}

fn context() -> SamplesContext {
    SamplesContext {
        catalogue: *CATALOGUE_ID,
        clock: Clock::Reference,
        coding: protocol::codec::Coding::Learning,
        boot: 1,
    }
}

/// Codes the samples of a frame; the length of its body.
fn samples(device: u32, index: u64, shape: Shape, into: &mut [u8]) -> Option<usize> {
    let header = SamplesHeader { context: context(), count: u16::try_from(shape.samples()).ok()? };
    let count = header.count_bytes();
    let head = count.len();
    into.get_mut(..head)?.copy_from_slice(&count);
    let columns =
        into.get_mut(head..)?.get_mut(..FRAME_LEN_MAX - TAG_LEN - HEADER_LEN_MAX - head)?;
    let mut encoder = Encoder::<SIGNALS>::new(CATALOGUE.hints, u8::try_from(SIGNALS).ok()?);
    for sample in shape.all(device, index) {
        encoder.push(columns, sample).ok()?;
    }
    Some(head + encoder.finish(columns).ok()?)
}

impl Keys {
    /// A hello that says this of the ring, and that the other lanes' are empty; sealed.
    pub fn hello(&self, ring: &Ring, acknowledged: Acknowledged, draw: u64) -> Option<Vec<u8>> {
        let mut rings = protocol::hello::Rings::new();
        for lane in Lane::ALL {
            let state = if lane == LANE {
                ring.state((acknowledged.through, acknowledged.by))
            } else {
                empty(ring.device, lane)
            };
            rings.push(state).ok()?;
        }
        let mut random = [0; 16];
        for (slot, byte) in random.iter_mut().zip(draw.to_le_bytes().into_iter().cycle()) {
            *slot = byte;
        }
        let hello = Hello {
            time: DeviceTime { boot: 1, ..DeviceTime::default() },
            challenge: Challenge(random),
            catalogue: *CATALOGUE_ID,
            campaign: 0,
            image: 0,
            rings,
        };
        let key = hello_key(&self.secret, &self.device, Generation::FIRST);
        let nonce = random.first_chunk::<12>().copied()?;
        let mut bytes = vec![0; protocol::hello::HELLO_LEN_MAX];
        let len = hello.seal(&key, &self.device, Generation::FIRST, nonce, &mut bytes).ok()?;
        bytes.truncate(len);
        Some(bytes)
    }

    /// An acknowledgement of one of the device's rings, if it is authentic.
    pub fn ack(&self, device: u32, bytes: &[u8]) -> Option<Ack> {
        let ring = ring_id(device, Ack::peek(bytes).ok()?.lane);
        let key = ack_key(&self.secret, &self.device, &ring, Generation::FIRST);
        Ack::open(&key, &self.device, &ring, bytes).ok()
    }
}

#[cfg(test)]
mod tests;
