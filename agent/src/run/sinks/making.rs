//! Making a sink of its section of the configuration, and a forwarder to it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use protocol::DeviceId;

use crate::catalogues::Catalogues;
use crate::config::{Config, Keep, Sink, SinkKind};
use crate::erasure::SinkErased;
use crate::forward::aside;
use crate::forward::{
    Change, ForwardOpener, Forwarder, ForwarderConfig, ForwarderHandle, RingSource,
};
use crate::journal::{JournalTail, Positions};
use crate::lock::{DirLock, Owner};
use crate::privacy::{LocationConfig, Policy, PolicyError, PrivacyConfig, PseudonymConfig};
use crate::registry::Registry;
use crate::rings::RingTable;
use crate::run::sink_dir;
use crate::sink::{
    AnySink, FileSink, FileSinkConfig, Resume, SinkError, StdoutSink, StoreSink, StoreSinkConfig,
};
use crate::storage::{Room, SharedStorage};
use crate::store::Retention;
use crate::vehicles::VehicleId;

/// A batch of the local store.
const STORE_BATCH_BYTES: usize = 4 << 20;
/// How long something waits to be in the local store.
const STORE_BATCH_AGE: Duration = Duration::from_secs(1);
const DAY_MS: i64 = 86_400_000;

/// What opening a sink needs.
#[derive(Debug)]
pub struct Making {
    pub(super) storage: SharedStorage,
    pub(super) config: Config,
    pub(super) sink: Sink,
    pub(super) tail: JournalTail,
    pub(super) registry: Registry,
    pub(super) catalogues: Catalogues,
    pub(super) rings: RingTable,
    pub(super) live: Arc<Live>,
}

/// What of the configuration may change while sinks run.
#[derive(Debug)]
pub(super) struct Live(Mutex<LiveSettings>);

#[derive(Clone, Debug)]
pub(super) struct LiveSettings {
    pub privacy: PrivacyConfig,
    pub sinks: Vec<Sink>,
}

impl Live {
    pub fn new(config: &Config) -> Self {
        let (privacy, sinks) = (privacy_config(config), config.sinks.0.clone());
        Self(Mutex::new(LiveSettings { privacy, sinks }))
    }

    pub fn get(&self) -> MutexGuard<'_, LiveSettings> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn rotate_bytes(&self, name: &str) -> Option<u64> {
        let settings = self.get();
        let sink = settings.sinks.iter().find(|sink| sink.name == name)?;
        match sink.kind {
            SinkKind::File { rotate_bytes, .. } => Some(rotate_bytes),
            SinkKind::Stdout | SinkKind::Store { .. } => None,
        }
    }
}

impl Making {
    /// One for each sink that is configured.
    pub fn all(
        storage: &SharedStorage,
        config: &Config,
        tail: &JournalTail,
        registry: &Registry,
        catalogues: &Catalogues,
        rings: &RingTable,
    ) -> impl Iterator<Item = Self> {
        let live = Arc::new(Live::new(config));
        Self::all_with(live, storage, config, tail, registry, catalogues, rings)
    }

    pub(super) fn all_with(
        live: Arc<Live>,
        storage: &SharedStorage,
        config: &Config,
        tail: &JournalTail,
        registry: &Registry,
        catalogues: &Catalogues,
        rings: &RingTable,
    ) -> impl Iterator<Item = Self> {
        config.sinks.0.iter().map(move |sink| Self {
            storage: Arc::clone(storage),
            config: config.clone(),
            sink: sink.clone(),
            tail: tail.clone(),
            registry: registry.clone(),
            catalogues: catalogues.clone(),
            rings: rings.clone(),
            live: Arc::clone(&live),
        })
    }

    pub(super) fn policy(&self) -> Result<Policy, PolicyError> {
        let policy = Policy::from_config(&self.live.get().privacy)?;
        Ok(policy.with_vehicles(self.registry.vehicles().clone()))
    }

    /// What may have changed since it was opened.
    pub(super) fn change(&self) -> Result<Change, PolicyError> {
        let rotate_bytes = self.live.rotate_bytes(&self.sink.name);
        Ok(Change { policy: Some(self.policy()?), rotate_bytes })
    }

    /// The sink's name, and up to where in the journal it has everything; nothing forwards to it.
    pub fn reach(&self) -> Result<(&str, Positions), SinkError> {
        let (_, resume) = self.sink()?;
        let cursor = match resume {
            Resume::At(state) => state.journal,
            Resume::Fresh | Resume::Reconcile(_) => None,
        };
        let positions = cursor.map_or(Positions::ZERO, |cursor| cursor.positions);
        Ok((&self.sink.name, positions))
    }

    /// Takes devices out of the sink and of what was set aside for it; nothing forwards to it.
    pub fn erase(&self, devices: &[DeviceId]) -> Vec<SinkErased> {
        let name = &self.sink.name;
        let data_dir = &self.config.agent.data_dir;
        let policy = self.policy().map_err(|error| error.to_string());
        let mut sink = self.sink().map_err(|error| error.to_string());
        let mut erase = |device: &DeviceId| {
            let aside = aside::erase(&self.storage, data_dir, name, *device);
            let (sink, _) = sink.as_mut().map_err(|error| error.clone())?;
            let shown = policy.as_ref().map_err(Clone::clone)?.shown(*device);
            let erased = sink.erase(&shown).map_err(|error| error.to_string())?;
            let aside = aside.map_err(|error| format!("what was set aside: {error}"))?;
            Ok(SinkErased { sink: name.clone(), erased, ..SinkErased::default() }.with(aside))
        };
        let or_failed = |device: &DeviceId| {
            erase(device).unwrap_or_else(|why: String| SinkErased::failed(name, &why))
        };
        devices.iter().map(or_failed).collect()
    }

    /// Takes a vehicle's name out of the sink; nothing forwards to it.
    pub fn erase_vehicle(&self, vehicle: &VehicleId) -> SinkErased {
        let name = &self.sink.name;
        let erase = || {
            let shown = self.policy().map_err(|error| error.to_string())?.shown_vehicle(vehicle);
            let (mut sink, _) = self.sink().map_err(|error| error.to_string())?;
            sink.erase_vehicle(&shown).map_err(|error| error.to_string())
        };
        match erase() {
            Ok(erased) => SinkErased { sink: name.clone(), erased, ..SinkErased::default() },
            Err(why) => SinkErased::failed(name, &why),
        }
    }

    pub(super) fn open(&self) -> Result<ForwarderHandle, String> {
        let sink = self.sink().map_err(|error| error.to_string())?;
        let policy = self.policy().map_err(|error| error.to_string())?;
        let opener = ForwardOpener::new(self.registry.clone(), self.rings.clone());
        let mut config = ForwarderConfig::new(&self.sink.name, self.config.agent.data_dir.clone());
        if matches!(self.sink.kind, SinkKind::Store { .. }) {
            // Fewer and larger blocks; the journal holds the rest meanwhile.
            config.batch_bytes = STORE_BATCH_BYTES;
            config.batch_age = STORE_BATCH_AGE;
        }
        let stride = |dir: &Path| Room::at(&*self.storage, dir).stride();
        config.snapshot_bytes = config.snapshot_bytes.min(stride(&config.data_dir));
        if let SinkKind::Store { path, .. } | SinkKind::File { path, .. } = &self.sink.kind {
            let most = usize::try_from(stride(&sink_dir(&self.config, path)));
            config.batch_bytes = config.batch_bytes.min(most.unwrap_or(usize::MAX));
        }
        let rings: Box<dyn RingSource> = Box::new(self.rings.clone());
        let parts = (opener, self.catalogues.clone(), rings, policy);
        let forwarder = Forwarder::open(&self.storage, config, self.tail.clone(), sink, parts)
            .map_err(|error| error.to_string())?;
        ForwarderHandle::spawn(forwarder).map_err(|error| error.to_string())
    }

    pub(super) fn sink(&self) -> Result<(AnySink, Resume), SinkError> {
        match &self.sink.kind {
            SinkKind::File { path, rotate_bytes } => {
                let dir = sink_dir(&self.config, path);
                let failed = |error: String| SinkError::Retry(error);
                self.storage
                    .create_dir_all(&dir)
                    .map_err(|error| failed(format!("{}: {error}", dir.display())))?;
                let lock =
                    DirLock::take(&dir, Owner::Sink).map_err(|error| failed(error.to_string()))?;
                let config = FileSinkConfig { dir, rotate_bytes: *rotate_bytes };
                let (sink, resume) =
                    FileSink::open(&self.storage, &config, Some(lock), &self.tail)?;
                Ok((Box::new(sink), resume))
            }
            SinkKind::Store { path, file_bytes, keep } => {
                let dir = sink_dir(&self.config, path);
                let retention = retention(keep);
                let config = StoreSinkConfig { dir, file_bytes: *file_bytes, retention };
                let failed = |error: String| SinkError::Retry(error);
                self.storage
                    .create_dir_all(&config.dir)
                    .map_err(|error| failed(format!("{}: {error}", config.dir.display())))?;
                let lock = DirLock::take(&config.dir, Owner::Sink)
                    .map_err(|error| failed(error.to_string()))?;
                let (mut sink, resume) =
                    StoreSink::open(&self.storage, &config, Some(lock), &self.tail)?;
                sink.compact(&self.storage, &config)?;
                Ok((Box::new(sink), resume))
            }
            SinkKind::Stdout => {
                let cursor: PathBuf =
                    self.config.agent.data_dir.join("cursors").join(&self.sink.name);
                let out = Box::new(io::stdout());
                let (sink, resume) = StdoutSink::open(&self.storage, &cursor, &self.tail, out)?;
                Ok((Box::new(sink), resume))
            }
        }
    }
}

fn retention(keep: &Keep) -> Retention {
    let ms = |days: Option<u64>| {
        days.map(|days| i64::try_from(days).unwrap_or(i64::MAX).saturating_mul(DAY_MS))
    };
    Retention {
        samples_ms: ms(keep.samples_days),
        rollups_ms: ms(keep.rollups_days),
        events_ms: ms(keep.events_days),
        logs_ms: ms(keep.logs_days),
        health_ms: ms(keep.health_days),
        bytes_max: keep.bytes_max,
    }
}

pub(super) fn privacy_config(config: &Config) -> PrivacyConfig {
    let privacy = &config.privacy;
    PrivacyConfig {
        drop: privacy.drop.clone(),
        location: privacy
            .location
            .as_ref()
            .map(|location| LocationConfig { resolution: location.resolution }),
        pseudonym: privacy.pseudonym.as_ref().map(|pseudonym| PseudonymConfig {
            key_file: pseudonym.key_file.clone(),
            key_id: pseudonym.key_id,
            fields: pseudonym.fields.clone(),
        }),
        drop_vehicle: privacy.drop_vehicle,
    }
}
