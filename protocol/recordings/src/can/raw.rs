//! CAN frames kept as they are, as samples.
//!
//! A frame is one instant: `Microsecond` (what a stamp has below the millisecond), then its bytes as
//! words of two, the first byte the greater. The busiest kinds of frame (channel, id, length) have
//! word signals of their own, `Vehicle.Private.Can.CHANNEL.ID.LnBYTES.W0` and so on, so that the path
//! says what the frame was and each word is coded as the difference to its own last value. All
//! others, and frames that are more than an id and up to 8 bytes (remote, FD, error), are a `Header`
//! of their channel with everything else of the frame in its bits, and `Word`s. Nothing is left out,
//! and what a loss tears is whole again from the next `Microsecond` on.

use std::collections::HashMap;
use std::path::Path;

use protocol::{Catalogue, Sample, Signal, SignalIndex, Step};

use super::IDS_MAX;
use super::catalogue::{CATALOGUE_BYTES_MAX, encoded_len, entry, leak};
use super::frame::{CanFrame, FRAME_DATA_MAX, Form};
use crate::lines::Lines;
use crate::{Entry, FileReport, ReadError, Recording, Track};

const PREFIX: &str = "Vehicle.Private.Can.";
const MICROSECOND: &str = "Can.Microsecond";
const WORD: &str = "Can.Word";
const HEADER: &str = "Can.Header.";
const WORD_BYTES: usize = 2;
/// Channels of one log at most.
const CHANNELS_MAX: usize = 8;

/// Reads a log.
pub(super) fn read(
    path: &Path,
    stem: &str,
    report: &mut FileReport,
) -> Result<Vec<Track>, ReadError> {
    let kinds = survey(path, report)?;
    let Some(layout) = Layout::new(&kinds) else { return Ok(Vec::new()) };
    let mut recording = Recording::new(layout.catalogue);
    let mut lines = Lines::open(path)?;
    while let Some((number, line)) = lines.read_line()? {
        let Some(frame) = CanFrame::parse(line) else { continue };
        report.frames += 1;
        let mut push = |signal, raw| {
            let sample = Sample::new(frame.us.div_euclid(1000), signal, raw);
            let pushed = recording.push(sample);
            debug_assert!(pushed.is_ok(), "the layout names signals of its own catalogue");
        };
        if !layout.pack(&frame, &mut push) {
            report.note_malformed(number, || format!("more than {CHANNELS_MAX} channels"));
        }
    }
    Ok(vec![Track { name: stem.to_owned(), recording }])
}

/// Frames that differ only in their bytes and times.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
struct FrameKind {
    channel: String,
    id: u32,
    form: Form,
    len: usize,
}

/// How often each kind occurs.
fn survey(path: &Path, report: &mut FileReport) -> Result<HashMap<FrameKind, u64>, ReadError> {
    let mut kinds: HashMap<FrameKind, u64> = HashMap::new();
    let mut lines = Lines::open(path)?;
    while let Some((number, line)) = lines.read_line()? {
        if line.is_empty() {
            continue;
        }
        report.rows += 1;
        let Some(frame) = CanFrame::parse(line) else {
            report.note_malformed(number, || "no (seconds) channel ID#DATA".to_owned());
            continue;
        };
        let kind = FrameKind {
            channel: frame.channel.to_owned(),
            id: frame.id,
            form: frame.form,
            len: frame.data().len(),
        };
        if kinds.len() < IDS_MAX || kinds.contains_key(&kind) {
            *kinds.entry(kind).or_default() += 1;
        }
    }
    Ok(kinds)
}

/// Which signals frames are packed into.
struct Layout {
    catalogue: &'static Catalogue<'static>,
    headers: HashMap<String, SignalIndex>,
    /// First word signal of each kind that has its own, by channel, then id, form and length.
    own: HashMap<String, HashMap<(u32, Form, usize), SignalIndex>>,
}

const MICROSECOND_AT: SignalIndex = SignalIndex(0);
const WORD_AT: SignalIndex = SignalIndex(1);

impl Layout {
    fn new(kinds: &HashMap<FrameKind, u64>) -> Option<Self> {
        let mut signals = Vec::new();
        let bit_field = |name: &str, unit, raw_max| entry(name, unit, Step::ONE, (0, raw_max));
        signals.push(bit_field(MICROSECOND, "us", 999)?);
        signals.push(bit_field(WORD, "", 0xffff)?);
        let mut channels: Vec<_> = kinds.keys().map(|kind| kind.channel.clone()).collect();
        channels.sort();
        channels.dedup();
        let mut headers = HashMap::new();
        for channel in channels.into_iter().take(CHANNELS_MAX) {
            headers.insert(channel.clone(), SignalIndex(u8::try_from(signals.len()).ok()?));
            signals.push(bit_field(&format!("{HEADER}{channel}"), "", i64::MAX)?);
        }
        let mut bytes = 8 + signals.iter().map(encoded_len).sum::<usize>();
        let mut own: HashMap<String, HashMap<_, _>> = HashMap::new();
        let mut busiest: Vec<_> = kinds.iter().collect();
        busiest.sort_by(|(a, a_count), (b, b_count)| b_count.cmp(a_count).then_with(|| a.cmp(b)));
        for (kind, _) in busiest {
            let plain = Form { extended: kind.form.extended, ..Form::default() } == kind.form;
            if !plain || !(1..=8).contains(&kind.len) || !headers.contains_key(&kind.channel) {
                continue;
            }
            let words = word_names(kind)
                .map(|name| bit_field(&name, "", 0xffff))
                .collect::<Option<Vec<_>>>()?;
            let more = words.iter().map(encoded_len).sum::<usize>();
            if signals.len() + words.len() > Catalogue::SIGNALS_MAX
                || bytes + more > CATALOGUE_BYTES_MAX
            {
                break;
            }
            bytes += more;
            let first = SignalIndex(u8::try_from(signals.len()).ok()?);
            let of_channel = own.entry(kind.channel.clone()).or_default();
            of_channel.insert((kind.id, kind.form, kind.len), first);
            signals.extend(words);
        }
        (!headers.is_empty()).then(|| Self { catalogue: leak(signals), headers, own })
    }

    /// Gives a frame's samples away, in order; false if its channel has no place.
    fn pack(&self, frame: &CanFrame<'_>, push: &mut impl FnMut(SignalIndex, i64)) -> bool {
        let key = (frame.id, frame.form, frame.data().len());
        let own = self.own.get(frame.channel).and_then(|kinds| kinds.get(&key)).copied();
        let Some(header) = self.headers.get(frame.channel).copied() else { return false };
        push(MICROSECOND_AT, frame.us.rem_euclid(1000));
        if own.is_none() {
            push(header, pack_header(frame));
        }
        for (word, at) in frame.data().chunks(WORD_BYTES).zip(0_u8..) {
            let raw = word.iter().fold(0, |raw, byte| (raw << 8) | i64::from(*byte));
            push(own.map_or(WORD_AT, |first| SignalIndex(first.0.saturating_add(at))), raw);
        }
        true
    }
}

fn word_names(kind: &FrameKind) -> impl Iterator<Item = String> {
    let id =
        if kind.form.extended { format!("{:08X}", kind.id) } else { format!("{:03X}", kind.id) };
    let front = format!("Can.{}.{id}.L{}", kind.channel, kind.len);
    (0..kind.len.div_ceil(WORD_BYTES)).map(move |at| format!("{front}.W{at}"))
}

/// Bits from 0: id (30), extended, remote, its length (4), FD, its flags (4), DLC (4), length (7).
fn pack_header(frame: &CanFrame<'_>) -> i64 {
    let form = frame.form;
    let optional = |part: Option<u8>| {
        let value = part.map_or(0, |value| i64::from(value & 15));
        i64::from(part.is_some()) | (value << 1)
    };
    let len = i64::try_from(frame.data().len()).unwrap_or_default();
    i64::from(frame.id)
        | (i64::from(form.extended) << 30)
        | (optional(form.remote) << 31)
        | (optional(form.fd_flags) << 36)
        | (i64::from(form.dlc.unwrap_or(0)) << 41)
        | (len << 45)
}

fn unpack_header(header: i64) -> Option<(u32, Form, usize)> {
    let part = |at: u32, bits: u32| (header >> at) & ((1 << bits) - 1);
    let small = |at, bits| u8::try_from(part(at, bits)).ok();
    let optional = |at| if part(at, 1) == 1 { small(at + 1, 4) } else { None };
    let form = Form {
        extended: part(30, 1) == 1,
        remote: optional(31),
        fd_flags: optional(36),
        dlc: small(41, 4).filter(|dlc| *dlc > 0),
    };
    let len = usize::try_from(part(45, 7)).ok().filter(|len| *len <= FRAME_DATA_MAX)?;
    Some((u32::try_from(part(0, 30)).ok()?, form, len))
}

/// How many frames a recording holds, if it holds raw frames.
pub fn frames_of(recording: &Recording) -> u64 {
    if Unpacker::new(recording.catalogue()).is_none() {
        return 0;
    }
    let mut cursor = recording.cursor();
    let entries = std::iter::from_fn(|| cursor.next(recording));
    let begun = entries.filter(
        |entry| matches!(entry, Entry::Sample(_, sample) if sample.signal == MICROSECOND_AT),
    );
    u64::try_from(begun.count()).unwrap_or(u64::MAX)
}

/// What a signal of a catalogue of raw frames is.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Role {
    Microsecond,
    Word,
    Header { channel: String },
    Own { kind: FrameKind, at: usize },
}

impl Role {
    fn of(signal: &Signal<'_>) -> Option<Self> {
        let name = signal.path.strip_prefix(PREFIX)?;
        if let Some(channel) = name.strip_prefix("Header.") {
            return Some(Self::Header { channel: channel.to_owned() });
        }
        match name {
            "Microsecond" => return Some(Self::Microsecond),
            "Word" => return Some(Self::Word),
            _ => {}
        }
        let mut parts = name.rsplitn(4, '.');
        let at = parts.next()?.strip_prefix('W')?.parse().ok()?;
        let len = parts.next()?.strip_prefix('L')?.parse().ok()?;
        let id = parts.next()?;
        let form = Form { extended: id.len() == 8, ..Form::default() };
        let (id, channel) = (u32::from_str_radix(id, 16).ok()?, parts.next()?.to_owned());
        Some(Self::Own { kind: FrameKind { channel, id, form, len }, at })
    }
}

/// Turns samples of raw frames into lines of a log again.
#[derive(Debug)]
pub struct Unpacker {
    roles: Vec<Option<Role>>,
    open: Option<Open>,
}

/// A frame whose words are still coming.
#[derive(Debug)]
struct Open {
    us: i64,
    kind: Option<FrameKind>,
    data: Vec<u8>,
}

impl Unpacker {
    /// For recordings of this catalogue; nothing if it is none of raw frames.
    pub fn new(catalogue: &Catalogue<'_>) -> Option<Self> {
        let roles: Vec<_> = catalogue.signals.iter().map(Role::of).collect();
        roles.contains(&Some(Role::Microsecond)).then_some(Self { roles, open: None })
    }

    /// Takes the next sample; the line of the frame that it completes.
    pub fn take(&mut self, sample: Sample) -> Option<String> {
        let role = self.roles.get(usize::from(sample.signal.0))?.as_ref()?;
        match role {
            Role::Microsecond => {
                let us = sample.tick.checked_mul(1000)?.checked_add(sample.steps()?)?;
                self.open = Some(Open { us, kind: None, data: Vec::new() });
            }
            Role::Header { channel } => {
                let (id, form, len) = unpack_header(sample.steps()?)?;
                let kind = FrameKind { channel: channel.clone(), id, form, len };
                self.open.as_mut()?.kind = Some(kind);
            }
            Role::Own { kind, at } => {
                let open = self.open.as_mut()?;
                if *at == 0 {
                    open.kind = Some(kind.clone());
                }
                open.push_word(sample.steps()?);
            }
            Role::Word => self.open.as_mut()?.push_word(sample.steps()?),
        }
        let whole = self.open.as_ref()?.line()?;
        self.open = None;
        Some(whole)
    }
}

impl Open {
    fn push_word(&mut self, raw: i64) {
        let Some(kind) = &self.kind else { return };
        let bytes = raw.to_be_bytes();
        let wanted = (kind.len.saturating_sub(self.data.len())).min(WORD_BYTES);
        self.data.extend(bytes.iter().skip(bytes.len() - wanted));
    }

    /// The line, once all bytes are there.
    fn line(&self) -> Option<String> {
        let kind = self.kind.as_ref().filter(|kind| kind.len == self.data.len())?;
        Some(CanFrame::new(self.us, &kind.channel, kind.id, kind.form, &self.data)?.line())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    const LOG: &str = "(1627275155.016000) can2 009#993410C100069080\n\
        (1627275155.016001) can2 009#9D2C10C100\n\
        (1627275155.025950) can2 009#9D2C10C1000E9080\n\
        (1627275155.025950) can1 17F00010#2010000000000000\n\
        (1627275155.099999) can1 123#\n\
        (1627275155.100000) can1 123#R4\n\
        (1627275155.100000) can1 123#0102030405060708_F\n\
        (1627275154.100000) can1 123##5000102030405060708090A\n\
        (1627275155.100000) can1 20000004#0000000000000001\n";

    fn lines(recording: &Recording) -> String {
        let mut unpacker = Unpacker::new(recording.catalogue()).unwrap();
        let samples = crate::recording::samples(recording).into_iter();
        samples.filter_map(|sample| unpacker.take(sample)).map(|line| line + "\n").collect()
    }

    #[test]
    fn every_frame_comes_out_as_it_went_in() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.log");
        std::fs::write(&path, LOG).unwrap();
        let mut report = FileReport::new(&path, Kind::Candump);
        let tracks = read(&path, "x", &mut report).unwrap();
        assert_eq!(lines(&tracks[0].recording), LOG);
        assert_eq!((report.frames, report.malformed), (9, 0));
        assert!(Unpacker::new(&crate::taxi::CATALOGUE).is_none());
    }

    #[test]
    fn a_torn_frame_is_left_out_and_the_next_one_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.log");
        std::fs::write(&path, LOG).unwrap();
        let tracks = read(&path, "x", &mut FileReport::new(&path, Kind::Candump)).unwrap();
        let recording = &tracks[0].recording;
        let mut unpacker = Unpacker::new(recording.catalogue()).unwrap();
        let samples = crate::recording::samples(recording);
        // Without the third sample, a word of the first frame.
        let torn = samples.iter().enumerate().filter(|(at, _)| *at != 2);
        let lines: Vec<_> = torn.filter_map(|(_, sample)| unpacker.take(*sample)).collect();
        assert_eq!(lines.len(), 8);
        assert_eq!(lines[0], "(1627275155.016001) can2 009#9D2C10C100");
    }

    #[test]
    fn the_real_logs_come_out_as_they_went_in() {
        let Some(data) = crate::recordings_dir() else {
            eprintln!("SKIPPED: no recordings (set MILEPOST_DATA to the folder that has small/)");
            return;
        };
        let path = data.join("small/car_obd_gps_imu_60s.log.gz");
        let tracks = read(&path, "x", &mut FileReport::new(&path, Kind::Candump)).unwrap();
        let mut log = String::new();
        let mut reader = Lines::open(&path).unwrap();
        while let Some((_, line)) = reader.read_line().unwrap() {
            log.push_str(std::str::from_utf8(line).unwrap());
            log.push('\n');
        }
        assert_eq!(lines(&tracks[0].recording), log);
    }
}
