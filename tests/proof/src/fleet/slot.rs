//! A sink as an agent's configuration has it, and the upstream behind it, which outlives the agent.

use agent::forward::{ForwardOpener, Forwarder, ForwarderConfig, RingSource};
use agent::privacy::{Policy, PrivacyConfig};
use agent::sink::{AnySink, FileSink, FileSinkConfig, Resume, SinkError};
use agent::storage::faulty::Faulty;

use super::documents;
use super::fault::Kind;
use super::life::{Life, data_dir, shared, sinks_dir};
use super::sink::{ModelSink, Work};
use super::source::{Lineage, PATHS};
use super::truth::Truth;

/// Bytes of a file of the file sink: so few that there are many.
const ROTATE_BYTES: u64 = 1 << 20;

/// One sink.
#[derive(Debug)]
pub(super) struct Slot {
    pub name: String,
    pub kind: Kind,
    /// When the journal is full it may lose, with a word.
    pub may_lose: bool,
    pub model: ModelSink,
    /// The disk that its files are on, if it has any.
    pub disk: Faulty,
    /// Where on it: what it was called first.
    pub home: String,
    /// What was erased while files, which keep what they have, were so long.
    pub erased: Vec<Erased>,
}

/// A device that was erased.
#[derive(Clone, Copy, Debug)]
pub(super) struct Erased {
    pub of: Lineage,
    /// The place of its next sample.
    pub next: u64,
    /// How long all files of the sink were.
    pub behind: usize,
}

/// The policy that lets everything out but these signals.
pub(super) fn policy(drops: u16) -> Option<Policy> {
    if drops == 0 {
        return Some(Policy::none());
    }
    let is_dropped = |(signal, _): &(usize, &&str)| drops >> signal & 1 == 1;
    let drop = PATHS.iter().enumerate().filter(is_dropped).map(|(_, path)| (*path).to_owned());
    Policy::from_config(&PrivacyConfig { drop: drop.collect(), ..PrivacyConfig::default() }).ok()
}

impl Slot {
    pub(super) fn new(
        name: String,
        kind: Kind,
        may_lose: bool,
        disk: Faulty,
        mut truth: Truth,
    ) -> Self {
        let model = ModelSink::default();
        truth.may_lose = may_lose;
        model.upstream().truth = truth;
        Self { home: name.clone(), name, kind, may_lose, model, disk, erased: Vec::new() }
    }

    /// From here on nothing comes of what a device has measured before this sample.
    pub(super) fn erase(&mut self, of: Lineage, next: u64) {
        match self.kind {
            Kind::Model => self.model.upstream().truth.erased(of, next),
            Kind::File if self.erased.iter().any(|erased| erased.of == of) => {}
            Kind::File => {
                let behind = documents::logs(self).iter().map(|(_, bytes)| bytes.len()).sum();
                self.erased.push(Erased { of, next, behind });
            }
        }
    }

    /// Whether it had everything from the beginning, and its upstream says at once what came.
    pub(super) fn is_whole(&self) -> bool {
        self.kind == Kind::Model && !self.model.upstream().truth.begins_late
    }

    /// One attempt to open it.
    pub(super) fn open(&self, life: &Life, drops: u16, trusts: bool) -> Option<Work> {
        let (sink, resume) = self.sink(life, trusts).ok()?;
        self.model.upstream().begins(&resume, &life.tail, drops);
        let config = ForwarderConfig::new(&self.name, data_dir());
        let opener = ForwardOpener::new(life.registry.clone(), life.ring_table.clone());
        let catalogues = life.catalogues.clone();
        let rings: Box<dyn RingSource> = Box::new(life.ring_table.clone());
        let parts = (opener, catalogues, rings, policy(drops)?);
        Forwarder::open(&life.storage, config, life.tail.clone(), (sink, resume), parts).ok()
    }

    fn sink(&self, life: &Life, trusts: bool) -> Result<(AnySink, Resume), SinkError> {
        match self.kind {
            Kind::Model => {
                let resume = self.model.resume(&life.tail, trusts);
                Ok((Box::new(self.model.clone()), resume))
            }
            Kind::File => {
                let dir = sinks_dir(&self.home);
                let config = FileSinkConfig { dir, rotate_bytes: ROTATE_BYTES };
                let (sink, resume) =
                    FileSink::open(&shared(&self.disk), &config, None, &life.tail)?;
                Ok((Box::new(sink), resume))
            }
        }
    }
}
