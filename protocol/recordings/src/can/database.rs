//! A DBC file: messages by id, their signals, who is present when.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use can_dbc::{
    AttributeValue, ByteOrder, Dbc, MessageId, MultiplexIndicator, NumericValue,
    SignalExtendedValueType, ValueType,
};

use super::bits::Field;
use super::frame::CanFrame;
use super::step::{NoSteps, Scale};
use crate::ReadError;

/// The replies to OBD-II mode 01 that a log may hold without a DBC that knows them.
const OBD2: &str = include_str!("../../dbc/obd2.dbc");
/// The ids under which units reply.
const OBD2_REPLIES: (u32, u32) = (0x7e8, 0x7ef);
/// Messages deeper than this in switches of switches are not followed.
const SWITCH_DEPTH_MAX: u32 = 8;

/// Messages of one file.
#[derive(Clone, Debug)]
pub struct Database {
    /// The channel it is for; none for all.
    pub channel: Option<String>,
    messages: Vec<Arc<Message>>,
    by_id: HashMap<(bool, u32), usize>,
    by_pgn: HashMap<u32, usize>,
}

/// One message.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its name in the file.
    pub name: String,
    /// Its id, without what says that it is one of 29 bits.
    pub id: u32,
    /// Found by its parameter group, whoever sends it.
    pub is_j1939: bool,
    /// Its signals, in the order of the file.
    pub signals: Vec<CanSignal>,
}

/// One signal.
#[derive(Clone, Debug)]
pub struct CanSignal {
    /// Its name in the file.
    pub name: String,
    /// The unit as the file writes it.
    pub unit: String,
    /// Where it lies.
    pub field: Field,
    /// What becomes of its bits. What has no steps (a float, a factor of 0) can be a switch, no more.
    pub scale: Result<Scale, NoSteps>,
    /// Least and greatest raw value that the file states; if it states none, that fit the bits.
    pub range: (i64, i64),
    gate: Option<Gate>,
}

/// Present only while a switch has one of these values.
#[derive(Clone, Debug)]
struct Gate {
    switch: usize,
    values: Vec<(u64, u64)>,
}

/// What a frame says of one signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Value {
    /// Not in this frame.
    Absent,
    /// J1939: the sender has none, or its sensor failed.
    NotAvailable,
    /// A raw value of the catalogue.
    Raw(i64),
    /// A number that no raw value holds.
    OutOfRange,
}

impl Database {
    /// Reads a file; `CHANNEL=FILE` makes it count for one channel alone.
    pub fn open(argument: &Path) -> Result<Self, ReadError> {
        let text = argument.to_string_lossy();
        let (channel, path) = match text.split_once('=') {
            Some((channel, path)) if !argument.exists() => {
                (Some(channel.to_owned()), PathBuf::from(path))
            }
            _ => (None, argument.to_owned()),
        };
        let text = read_text(&path)?;
        let mut database = Self::parse(&text).map_err(|reason| ReadError::Dbc { path, reason })?;
        database.channel = channel;
        Ok(database)
    }

    /// The built-in one: OBD-II mode 01, replies of eight units (7E8 to 7EF).
    pub fn obd2() -> Result<Self, ReadError> {
        let path = || PathBuf::from("the built-in obd2.dbc");
        let mut database =
            Self::parse(OBD2).map_err(|reason| ReadError::Dbc { path: path(), reason })?;
        if let Some(at) = database.by_id.get(&(false, OBD2_REPLIES.0)).copied() {
            let ids = OBD2_REPLIES.0..=OBD2_REPLIES.1;
            database.by_id.extend(ids.map(|id| ((false, id), at)));
        }
        Ok(database)
    }

    /// Reads a file's text, for all channels.
    pub fn parse(text: &str) -> Result<Self, can_dbc::DbcError> {
        let dbc = Dbc::try_from(text)?;
        let mut database = Self {
            channel: None,
            messages: Vec::new(),
            by_id: HashMap::new(),
            by_pgn: HashMap::new(),
        };
        for message in &dbc.messages {
            let (extended, id) = match message.id {
                MessageId::Standard(id) => (false, u32::from(id)),
                MessageId::Extended(id) => (true, id),
            };
            let is_j1939 = extended && is_j1939(&dbc, message.id);
            let signals = signals(&dbc, message);
            let at = database.messages.len();
            database.by_id.entry((extended, id)).or_insert(at);
            if is_j1939 {
                database.by_pgn.entry(pgn(id)).or_insert(at);
            }
            let name = message.name.clone();
            database.messages.push(Arc::new(Message { name, id, is_j1939, signals }));
        }
        Ok(database)
    }

    /// All messages, in the order of the file.
    pub fn messages(&self) -> impl Iterator<Item = &Message> {
        self.messages.iter().map(Arc::as_ref)
    }

    /// The message of this id, by its parameter group if not by the id itself, and its place in the
    /// file.
    pub fn find(&self, channel: &str, extended: bool, id: u32) -> Option<(usize, Arc<Message>)> {
        if self.channel.as_deref().is_some_and(|only| only != channel) {
            return None;
        }
        let exact = self.by_id.get(&(extended, id));
        let at = exact.or_else(|| self.by_pgn.get(&pgn(id)).filter(|_| extended))?;
        Some((*at, self.messages.get(*at)?.clone()))
    }
}

/// The text of a file, whatever it is coded in.
pub(super) fn read_text(path: &Path) -> Result<String, ReadError> {
    let failed = |source| ReadError::Open { path: path.to_owned(), source };
    let bytes = std::fs::read(path).map_err(failed)?;
    // Most are Windows-1252 where they are not UTF-8; of that, units need the part in Latin-1.
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| error.as_bytes().iter().copied().map(char::from).collect()))
}

/// The parameter group of a 29-bit id (SAE J1939-21): without priority and source, and below 240
/// without the destination.
pub fn pgn(id: u32) -> u32 {
    let group = (id >> 8) & 0x3_ffff;
    if (group >> 8) & 0xff < 240 { group & 0x3_ff00 } else { group }
}

impl Message {
    /// What a frame says of the signal at this place.
    pub fn value(&self, at: usize, frame: &CanFrame<'_>) -> Value {
        let Some(signal) = self.signals.get(at) else { return Value::Absent };
        let Ok(scale) = signal.scale else { return Value::Absent };
        let Some(bits) = self.bits(at, frame.data(), SWITCH_DEPTH_MAX) else {
            return Value::Absent;
        };
        if self.is_j1939 && !signal.field.signed && is_not_available(signal.field.len, bits) {
            return Value::NotAvailable;
        }
        scale.raw(signal.field.number(bits)).map_or(Value::OutOfRange, Value::Raw)
    }

    /// The bits of a signal, if its switches let it be there.
    fn bits(&self, at: usize, data: &[u8], depth: u32) -> Option<u64> {
        let signal = self.signals.get(at)?;
        if let Some(gate) = &signal.gate {
            let switch = self.bits(gate.switch, data, depth.checked_sub(1)?)?;
            if !gate.values.iter().any(|(low, high)| (*low..=*high).contains(&switch)) {
                return None;
            }
        }
        signal.field.bits(data)
    }
}

/// SAE J1939-71 table 1: of 2 bits and more all ones, of 8 and more a first byte of ones; one less
/// than that is a failed sensor.
fn is_not_available(len: u32, bits: u64) -> bool {
    match len {
        0 | 1 => false,
        2..=7 => bits >= (1 << len) - 2,
        8.. => bits >> (len - 8) >= 0xfe,
    }
}

fn is_j1939(dbc: &Dbc, id: MessageId) -> bool {
    let of_message = dbc
        .attribute_values_message
        .iter()
        .find(|value| value.message_id == id && value.name == "VFrameFormat")
        .map(|value| &value.value);
    let by_default = dbc
        .attribute_defaults
        .iter()
        .find(|default| default.name == "VFrameFormat")
        .map(|default| &default.value);
    match of_message.or(by_default) {
        // The fourth of StandardCAN, ExtendedCAN, reserved, J1939PG.
        Some(AttributeValue::Uint(3) | AttributeValue::Int(3)) => true,
        Some(AttributeValue::String(format)) => format == "J1939PG",
        Some(_) => false,
        None => dbc.attribute_values_database.iter().any(|value| {
            value.name == "ProtocolType"
                && matches!(&value.value, AttributeValue::String(text) if text == "J1939")
        }),
    }
}

fn signals(dbc: &Dbc, message: &can_dbc::Message) -> Vec<CanSignal> {
    let place = |name: &str| message.signals.iter().position(|signal| signal.name == name);
    let switch = message
        .signals
        .iter()
        .position(|signal| matches!(signal.multiplexer_indicator, MultiplexIndicator::Multiplexor));
    let gate = |signal: &can_dbc::Signal| {
        let extended = dbc
            .extended_multiplex
            .iter()
            .find(|mapping| mapping.message_id == message.id && mapping.signal_name == signal.name);
        if let Some(mapping) = extended {
            let values = mapping.mappings.iter().map(|pair| (pair.min_value, pair.max_value));
            let switch = place(&mapping.multiplexor_signal_name)?;
            return Some(Gate { switch, values: values.collect() });
        }
        match signal.multiplexer_indicator {
            MultiplexIndicator::MultiplexedSignal(value)
            | MultiplexIndicator::MultiplexorAndMultiplexedSignal(value) => {
                // A file without the switch itself: never present, rather than always.
                let switch = switch.unwrap_or(usize::MAX);
                Some(Gate { switch, values: vec![(value, value)] })
            }
            MultiplexIndicator::Multiplexor | MultiplexIndicator::Plain => None,
        }
    };
    let is_float = |signal: &can_dbc::Signal| {
        dbc.signal_extended_value_type_list.iter().any(|listed| {
            listed.message_id == message.id
                && listed.signal_name == signal.name
                && listed.signal_extended_value_type
                    != SignalExtendedValueType::SignedOrUnsignedInteger
        })
    };
    let whole = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let signals = message.signals.iter().map(|signal| {
        let field = Field {
            start: whole(signal.start_bit),
            len: whole(signal.size),
            big_endian: signal.byte_order == ByteOrder::BigEndian,
            signed: signal.value_type == ValueType::Signed,
        };
        let scale = match field.len {
            _ if is_float(signal) => Err(NoSteps::Float),
            1..=64 => Scale::new(signal.factor, signal.offset),
            len => Err(NoSteps::Length(len)),
        };
        CanSignal {
            name: signal.name.clone(),
            unit: signal.unit.clone(),
            field,
            scale,
            range: range(signal, field, scale),
            gate: gate(signal),
        }
    });
    signals.collect()
}

/// The range that the file states, or that the bits hold.
fn range(signal: &can_dbc::Signal, field: Field, scale: Result<Scale, NoSteps>) -> (i64, i64) {
    let Ok(scale) = scale else { return (0, 0) };
    let (low, high) = (float(signal.min), float(signal.max));
    let stated = scale.raw_of_physical(low).zip(scale.raw_of_physical(high));
    let (low, high) = stated.filter(|_| low < high).unwrap_or_else(|| {
        let (low, high) = field.range();
        (scale.raw(low).unwrap_or(i64::MIN), scale.raw(high).unwrap_or(i64::MAX))
    });
    (low.min(high), low.max(high))
}

#[allow(clippy::cast_precision_loss, reason = "a stated range, which says nothing to the digit")]
fn float(value: NumericValue) -> f64 {
    match value {
        NumericValue::Uint(value) => value as f64,
        NumericValue::Int(value) => value as f64,
        NumericValue::Double(value) => value,
    }
}
