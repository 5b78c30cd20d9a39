//! The main loop: what a board brings, and what is made of it.

use embedded_storage::nor_flash::NorFlash;
use firmware::App;
use firmware::app::{AppConfig, StartError, batches};
use firmware::batch::{BatchConfig, Batches};
use firmware::campaign::{Campaign, Rule};
use firmware::crash::Memory;
use firmware::mqtt::drive::{self, Board, Clock, Connect};
use firmware::mqtt::{Mqtt, PACKET_OVERHEAD};
use firmware::ports::{Now, Source, Vitals};
use firmware::provision::Provision;
use firmware::session::SessionConfig;
use protocol::health::{Crash, ResetReason};
use protocol::record::Record;
use protocol::time::DeviceTime;
use protocol::{Catalogue, Lane};
use static_cell::StaticCell;

use crate::chance::Chance;
use crate::monitor::{Health, Watched};
use crate::time::Uptime;
use crate::{console, crash, image, layout, monitor, stack, watchdog};

/// Most signals that a board here has.
pub const SIGNALS_MAX: usize = 11;
/// Longest frame in flash, sealed anew included.
const FRAME: usize = 1024;
const TX: usize = FRAME + PACKET_OVERHEAD;
const RX: usize = 512;
/// How often the console is told how the device fares.
const REPORT_MS: u64 = 10_000;
/// How long a run lasts, at least, that is not one of a row of crashes.
const HEALTHY_MS: u64 = 60_000;

type Core = App<'static, SIGNALS_MAX, FRAME, &'static mut Batches<'static, SIGNALS_MAX, FRAME>>;

/// What the main loop is given.
#[derive(Debug)]
pub struct Parts<F, S, C> {
    /// The flash of [`layout`].
    pub flash: F,
    /// What is measured.
    pub source: S,
    /// What that is.
    pub catalogue: &'static Catalogue<'static>,
    /// What is recorded of it. The source has something at least every few seconds: see
    /// [`watchdog::LIMIT_MS`].
    pub rules: &'static [Rule],
    /// The way to the agent.
    pub connect: C,
    /// What the device was told.
    pub provision: Provision,
    /// Chance.
    pub chance: Chance,
    /// Why the board started, if the part can tell: otherwise what RAM holds of the last run does.
    pub reset: Option<ResetReason>,
}

/// Runs the device, for ever.
///
/// Fails if the flash cannot be used, or the catalogue does not fit.
pub async fn run<F: NorFlash, S: Source, C: Connect>(
    parts: Parts<F, S, C>,
) -> Result<core::convert::Infallible, StartError<F::Error>> {
    static MQTT: StaticCell<Mqtt<TX, RX>> = StaticCell::new();
    let Parts { mut flash, source, catalogue, rules, connect, provision, mut chance, reset } =
        parts;
    let clock = Uptime;
    let reset = reset.unwrap_or_else(|| crash::with(|memory| memory.reset()));
    let does = (catalogue, rules);
    let core = start(&provision, does, reset, &clock.now(), &mut flash, &mut chance)?;
    crash::with(|memory| memory.begin(core.boot()));
    // Before anything that may crash in its turn, and overwrite it.
    tell_crash(&clock.now(), core, &mut flash);
    core.note(vitals());
    let mqtt = MQTT.init_with(|| Mqtt::new(provision.device, &provision.secret));
    let source = Watched(source);
    let (begun_ms, mut due_ms, mut is_healthy) = (clock.now().uptime_ms, 0, false);
    let mut begins = Some(reset);
    let mut board = Board { flash, source, entropy: chance, connect, clock };
    loop {
        drive::run(core, mqtt, &mut board, |now, core, _| {
            watchdog::feed(now.uptime_ms);
            // Whoever reads it knows that this boot stands in flash: a poll was before it.
            if let Some(reset) = begins.take() {
                let (boot, image) = (core.boot(), image::hash());
                let device = provision.device;
                console::line(format_args!(
                    "boot {boot} of {device}, image {image:08x}, reset {reset:?}"
                ));
            }
            monitor::note(health(&provision, core));
            if !is_healthy && now.uptime_ms >= begun_ms.saturating_add(HEALTHY_MS) {
                crash::with(Memory::healthy);
                is_healthy = true;
            }
            if now.uptime_ms >= due_ms {
                console::line(format_args!("{}", health(&provision, core)));
                core.note(vitals());
                due_ms = now.uptime_ms.saturating_add(REPORT_MS);
            }
            false
        })
        .await;
    }
}

/// Takes what a crash left into the store, if it left anything: from there it cannot be lost any more. What
/// the store has no room for is told by a later boot.
fn tell_crash<F: NorFlash>(now: &Now, core: &mut Core, flash: &mut F) {
    let is_taken = crash::with(|memory| {
        let crash = memory.untold(DeviceTime::default())?;
        Some(core.record(now, |time| Record::Crash(Crash { time, ..crash })).is_ok())
    });
    if is_taken == Some(true) {
        core.flush(*now, flash);
        crash::with(Memory::told);
    }
}

/// What the board measures of itself. Looks at much of the stack: now and then.
fn vitals() -> Vitals {
    let stack_free = u32::try_from(stack::untouched()).unwrap_or(u32::MAX);
    Vitals { stack_free, supply_mv: 0 }
}

/// How the device fares.
fn health(provision: &Provision, core: &Core) -> Health {
    let counters = core.counters();
    Health {
        device: provision.device,
        boot: core.boot(),
        image: image::hash(),
        samples: counters.accepted.iter().map(|counts| counts.samples).sum(),
        frames: counters.sent_frames,
        waiting: Lane::ALL.map(|lane| core.outstanding(lane)),
        link_up: counters.link_up,
        flash_errors: counters.flash_errors,
    }
}

/// Starts the core where it stays. Never part of what is called later: its frame holds the core as it
/// is put together, and is gone when the device runs.
#[inline(never)]
fn start<F: NorFlash>(
    provision: &Provision,
    (catalogue, rules): (&'static Catalogue<'static>, &'static [Rule]),
    reset: ResetReason,
    now: &Now,
    flash: &mut F,
    chance: &mut Chance,
) -> Result<&'static mut Core, StartError<F::Error>> {
    static CORE: StaticCell<Option<Core>> = StaticCell::new();
    let config = AppConfig {
        device: provision.device,
        secret: provision.secret.clone(),
        generation: provision.generation,
        registration: provision.registration,
        catalogue,
        campaign: Campaign { id: 1, rules },
        image: image::hash(),
        reset,
        layout: layout::app(),
        batch: BatchConfig::default(),
        session: SessionConfig::default(),
        heartbeat_ms: u32::from(provision.heartbeat_s).saturating_mul(1_000),
    };
    Core::start_in(CORE.init(None), open_batches(&config), config, now, flash, chance)
}

/// The batches where they stay. A function of its own, as [`start`] is.
#[inline(never)]
fn open_batches(config: &AppConfig<'static>) -> &'static mut Batches<'static, SIGNALS_MAX, FRAME> {
    static BATCHES: StaticCell<Batches<'static, SIGNALS_MAX, FRAME>> = StaticCell::new();
    BATCHES.init_with(|| batches(config))
}
