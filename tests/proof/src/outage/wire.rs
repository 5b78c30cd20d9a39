//! What the two processes say to each other: a length, and postcard behind it.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::planted::Planted;

/// The longest message: secrets of a million devices.
const LEN_MAX: u32 = 64 << 20;

/// To the agent.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Ask {
    /// Start, with as many devices.
    Begin(Begin),
    /// Do all that there is to do now.
    Turn(Turn),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Begin {
    pub dir: PathBuf,
    pub devices: u32,
    pub journal_bytes: u64,
    pub sinks: u8,
    /// Samples in a frame.
    pub samples: u64,
    pub ticks: u32,
    pub planted: Option<Planted>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Turn {
    pub now_s: u64,
    pub sinks_up: bool,
    pub uplinks: Vec<Uplink>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Uplink {
    pub device: u32,
    pub session: u64,
    pub what: What,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum What {
    Opened,
    Closed,
    Hello(Vec<u8>),
    Frame(Vec<u8>),
}

/// From the agent.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// It runs; the devices' secrets, in order.
    Begun(Vec<[u8; 32]>),
    Turned(Turned),
    Failed(String),
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Turned {
    /// Messages that it takes at the next turn.
    pub room: usize,
    pub told: Vec<(u64, Told)>,
    pub delivered: Vec<Delivery>,
    /// Intake stands still.
    pub is_blocked: bool,
    pub journal_bytes: u64,
    /// Per sink.
    pub books: Vec<Book>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Told {
    PubAck,
    Ack(Vec<u8>),
    Close,
}

/// What a sink was given.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Delivery {
    pub sink: u8,
    pub device: u32,
    pub seq: u64,
    pub what: Piece,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum Piece {
    /// A frame of samples, and what they come to.
    Samples { index: u64, count: u32, digest: u64 },
    /// So many samples are lost.
    Lost(u64),
}

/// A sink's ledger, in samples.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Book {
    /// What the journal took.
    pub accepted: u64,
    /// What the sink has.
    pub delivered: u64,
    /// What waits in the journal.
    pub buffered: u64,
    /// What is lost, and said to be.
    pub lost: u64,
    /// Nothing is begun and not taken.
    pub is_at_rest: bool,
    /// All outcomes add up.
    pub balances: bool,
}

pub(super) fn send(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let bytes = postcard::to_extend(message, Vec::new()).map_err(io::Error::other)?;
    let len = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    to.write_all(&len.to_le_bytes())?;
    to.write_all(&bytes)?;
    to.flush()
}

pub(super) fn receive<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<T> {
    let mut len = [0; 4];
    from.read_exact(&mut len)?;
    let len = u32::from_le_bytes(len);
    if len > LEN_MAX {
        return Err(io::Error::other("a message of impossible length"));
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    from.read_exact(&mut bytes)?;
    postcard::from_bytes(&bytes).map_err(io::Error::other)
}
