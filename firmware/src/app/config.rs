//! What an app is given at its start, and what it counts.

use core::ops::Range;

use protocol::health::ResetReason;
use protocol::{Catalogue, Counts, DeviceId, Generation, Registration, Secret};

use super::system::SystemError;
use crate::batch::BatchConfig;
use crate::campaign::{Campaign, CampaignError};
use crate::ring::{Region, RingError};
use crate::session::SessionConfig;

/// Everything an app is told, once.
#[derive(Clone, Debug)]
pub struct AppConfig<'a> {
    /// Who the device is.
    pub device: DeviceId,
    /// Its secret.
    pub secret: Secret,
    /// Which of its secrets that is.
    pub generation: Generation,
    /// In which registration, if that is known: what the flash holds of another one is given up, as
    /// no agent can read it.
    pub registration: Option<Registration>,
    /// What it measures; at most `SIGNALS` signals, and its encoding must fit one frame.
    pub catalogue: &'a Catalogue<'a>,
    /// What to sample.
    pub campaign: Campaign<'a>,
    /// First four bytes of the image's hash; 0 where there is none.
    pub image: u32,
    /// Why it started.
    pub reset: ResetReason,
    /// Where things are in flash.
    pub layout: Layout,
    /// When batches are closed.
    pub batch: BatchConfig,
    /// How patient the link session is.
    pub session: SessionConfig,
    /// Time between two heartbeats in milliseconds; 0 for none.
    pub heartbeat_ms: u32,
}

/// Which part of the flash is for what. Nothing may overlap; erase boundaries throughout.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    /// Two sectors for what outlives the rings.
    pub system: Range<u32>,
    /// The rings' regions by lane number, at least three sectors each.
    pub rings: [Region; 3],
}

/// Why an app cannot start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StartError<E> {
    /// Config: the campaign does not fit the catalogue.
    #[error("campaign: {0}")]
    Campaign(#[from] CampaignError),
    /// Config: the catalogue is invalid, has too many signals, or its record is longer than a
    /// frame.
    #[error("the catalogue is invalid or too large")]
    Catalogue,
    /// Config: a ring's sectors are too small for `FRAME`.
    #[error("a frame does not fit a sector")]
    FrameLen,
    /// Config or Resource: the system area.
    #[error("system area: {0}")]
    System(#[from] SystemError<E>),
    /// Config or Resource: a ring.
    #[error("ring: {0}")]
    Ring(#[from] RingError<E>),
}

/// What an app counts since its start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// By lane number: admitted by the campaign, and records taken.
    pub accepted: [Counts; 3],
    /// Readings that no rule admitted.
    pub refused: u32,
    /// Readings that the catalogue's thinning left out.
    pub thinned: u32,
    /// By lane number: frames stored, losses included.
    pub stored_frames: [u64; 3],
    /// By lane number: frames that a full ring dropped unacknowledged.
    pub dropped_frames: [u64; 3],
    /// Frames given to the link, again ones included.
    pub sent_frames: u64,
    /// Hellos said.
    pub hellos: u32,
    /// Times the link came up.
    pub link_up: u32,
    /// Messages from the other side that failed authentication.
    pub rejected: u32,
    /// Rings left because the agent knew another history.
    pub forks: u32,
    /// What the flash refused: a write, an erase, a read.
    pub flash_errors: u32,
    /// What was accepted and could not even be given a number, because the flash failed.
    pub unstored: Counts,
}
