//! What happened, and what was found.

use std::fmt;

use serde_json::{Value, json};

use super::planted::Planted;
use super::wire::Book;
use crate::light::Shape;

/// How things stand at a moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment {
    /// Virtual seconds.
    pub at_s: u64,
    /// What happens; nothing if it is only the hour.
    pub what: &'static str,
    /// The agent's resident memory.
    pub rss_kib: u64,
    /// Its journal.
    pub journal_bytes: u64,
    /// Intake stands still.
    pub is_blocked: bool,
    /// Frames that devices took so far.
    pub taken: u64,
    /// Frames that they dropped.
    pub dropped: u64,
    /// Frames that sinks were given, all together.
    pub delivered: u64,
}

/// What a run came to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Every hour, and what was worth a word.
    pub moments: Vec<Moment>,
    /// The first violation.
    pub found: Option<String>,
    pub(super) planted: Option<Planted>,
    pub(super) virtual_s: u64,
    pub(super) frames: u64,
    pub(super) dropped: u64,
    pub(super) sent: u64,
    pub(super) hellos: u64,
    pub(super) connections: u64,
    pub(super) delivered: u64,
    pub(super) lost_samples: u64,
    pub(super) losses: u64,
    pub(super) books: Vec<Book>,
    pub(super) rss_most_kib: u64,
    /// Resident memory, when the sinks went and since: least and most.
    begun_kib: u64,
    outage_kib: Option<(u64, u64)>,
    drain_kib: u64,
    blocked_s: u64,
    journal_most: u64,
}

impl Report {
    pub(super) fn new(planted: Option<Planted>) -> Self {
        Self { planted, ..Self::default() }
    }

    pub(super) fn begins(&mut self, rss_kib: u64) {
        self.begun_kib = rss_kib;
        self.outage_kib = Some((rss_kib, rss_kib));
    }

    pub(super) fn outage(&mut self, rss_kib: u64, blocked_s: Option<u64>) {
        let (least, most) = self.outage_kib.unwrap_or((rss_kib, rss_kib));
        self.outage_kib = Some((least.min(rss_kib), most.max(rss_kib)));
        self.blocked_s += blocked_s.unwrap_or(0);
    }

    pub(super) fn drain(&mut self, rss_kib: u64) {
        self.drain_kib = self.drain_kib.max(rss_kib);
    }

    pub(super) fn journal(&mut self, bytes: u64) {
        self.journal_most = self.journal_most.max(bytes);
    }

    pub(super) const fn is_full(&self) -> bool {
        self.blocked_s > 0
    }

    /// By how much resident memory moved during the outage, and by how much it may.
    pub(super) fn growth(&self, percent: u64, kib: u64) -> (u64, u64) {
        let (least, most) = self.outage_kib.unwrap_or_default();
        (most - least, (self.begun_kib * percent / 100).max(kib))
    }

    /// Frames that went to the agent.
    pub(super) const fn known_frames(&self) -> u64 {
        self.sent
    }

    /// One object.
    pub fn to_json(&self, seconds: f64) -> Value {
        let (least, most) = self.outage_kib.unwrap_or_default();
        let hours: Vec<Value> = self.moments.iter().copied().map(Moment::to_json).collect();
        json!({
            "proof": "outage",
            "planted": self.planted.map(Planted::name),
            "violation": self.found,
            "virtual_s": self.virtual_s,
            "blocked_s": self.blocked_s,
            "frames": self.frames,
            "frames_dropped_by_devices": self.dropped,
            "frames_sent": self.sent,
            "hellos": self.hellos,
            "connections": self.connections,
            "frames_delivered_to_all_sinks": self.delivered,
            "samples_lost_to_all_sinks": self.lost_samples,
            "loss_documents": self.losses,
            "sinks": self.books.iter().copied().map(Book::to_json).collect::<Vec<_>>(),
            "journal_mib_most": self.journal_most >> 20,
            "rss_kib_when_the_sinks_went": self.begun_kib,
            "rss_kib_least_in_outage": least,
            "rss_kib_most_in_outage": most,
            "rss_kib_most_in_drain": self.drain_kib,
            "rss_kib_most_ever": self.rss_most_kib,
            "seconds": seconds,
            "moments": hours,
        })
    }
}

impl Book {
    fn to_json(self) -> Value {
        json!({
            "accepted": self.accepted,
            "delivered": self.delivered,
            "buffered": self.buffered,
            "lost": self.lost,
            "balances": self.balances,
        })
    }
}

impl Moment {
    fn to_json(self) -> Value {
        json!({
            "at_s": self.at_s,
            "what": self.what,
            "rss_kib": self.rss_kib,
            "journal_mib": self.journal_bytes >> 20,
            "blocked": self.is_blocked,
            "taken": self.taken,
            "dropped": self.dropped,
            "delivered": self.delivered,
        })
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hours, minutes) = (self.at_s / 3600, self.at_s / 60 % 60);
        let blocked = if self.is_blocked { "  intake stands still" } else { "" };
        write!(
            f,
            "{hours:3} h {minutes:02}  agent {:7} KiB  journal {:5} MiB  frames taken {}, dropped {}, \
             delivered {}{blocked}  {}",
            self.rss_kib,
            self.journal_bytes >> 20,
            self.taken,
            self.dropped,
            self.delivered,
            self.what
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (least, most) = self.outage_kib.unwrap_or_default();
        let samples = Shape::SMALL.samples();
        writeln!(
            f,
            "outage: {} virtual minutes, in {} of them intake stood still",
            self.virtual_s / 60,
            self.blocked_s / 60
        )?;
        writeln!(
            f,
            "  agent: {} KiB when the sinks went, {least} to {most} until they came back",
            self.begun_kib
        )?;
        writeln!(f, "  {} KiB at most while it drained", self.drain_kib)?;
        writeln!(f, "  journal: {} MiB at most", self.journal_most >> 20)?;
        writeln!(f, "  frames: {} taken by devices, {} dropped there", self.frames, self.dropped)?;
        writeln!(
            f,
            "  {} connections, {} hellos, {} frames sent",
            self.connections, self.hellos, self.sent
        )?;
        for (number, book) in self.books.iter().enumerate() {
            let (delivered, lost) = (book.delivered / samples, book.lost / samples);
            writeln!(
                f,
                "  sink {number}: {delivered} frames delivered, {lost} lost and said to be"
            )?;
        }
        match &self.found {
            None => write!(f, "  no violation"),
            Some(found) => write!(f, "  VIOLATION: {found}"),
        }
    }
}
