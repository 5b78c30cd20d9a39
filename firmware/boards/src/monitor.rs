//! For a technician at the serial line: how the device fares and what it measures, once a second for as
//! long as somebody listens. Whether its frames go that way as well makes no difference.
//!
//! A line is text: `health` and members `name=value`, or `value PATH RAW NUMERATOR/DENOMINATOR OFFSET UNIT`.
//! Whoever reads it does the arithmetic.

use core::cell::{Cell, RefCell};
use core::fmt::{self, Arguments, Write};
use core::future::poll_fn;
use core::task::Poll;

use critical_section::Mutex;
use embassy_time::Timer;
use firmware::mqtt::drive::Clock;
use firmware::mqtt::serial::Line;
use firmware::ports::{Now, Reading, Source};
use protocol::sample::Value;
use protocol::serial::stream::{CHUNK_LEN_MAX, LISTEN_MS};
use protocol::{Catalogue, DeviceId, SignalIndex};

use crate::run::SIGNALS_MAX;
use crate::stack;
use crate::time::Uptime;
use crate::uart::Uart;

/// The line, for who says lines and for who has a stream over it.
pub type SharedLine = &'static RefCell<Line<Uart>>;

/// How often it is looked whether somebody listens, and how often that one is told everything.
const EVERY_MS: u64 = 1_000;
/// How long to wait while the packet before is not out of the way.
const BUSY_MS: u64 = 5;

/// How the device fares.
#[derive(Clone, Copy, Debug)]
pub struct Health {
    /// Who it is.
    pub device: DeviceId,
    /// The number of its boot.
    pub boot: u32,
    /// The image's hash.
    pub image: u32,
    /// Samples taken since the boot.
    pub samples: u64,
    /// Frames sent since the boot.
    pub frames: u64,
    /// Frames that were not acknowledged yet, by lane.
    pub waiting: [u64; 3],
    /// Times that the link came up since the boot.
    pub link_up: u32,
    /// What the flash refused since the boot.
    pub flash_errors: u32,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { device, boot, image, samples, frames, waiting, link_up, .. } = self;
        let [critical, bulk, latest] = waiting;
        write!(f, "device={device} boot={boot} image={image:08x} samples={samples} ")?;
        write!(f, "frames_sent={frames} unacknowledged_critical={critical} ")?;
        write!(f, "unacknowledged_bulk={bulk} unacknowledged_latest={latest} link_up={link_up} ")?;
        write!(f, "flash_errors={} stack_left_bytes={}", self.flash_errors, stack::untouched())
    }
}

static HEALTH: Mutex<Cell<Option<Health>>> = Mutex::new(Cell::new(None));
static VALUES: Mutex<Cell<[Option<i64>; SIGNALS_MAX]>> = Mutex::new(Cell::new([None; SIGNALS_MAX]));

/// Notes how the device fares.
pub fn note(health: Health) {
    critical_section::with(|cs| HEALTH.borrow(cs).set(Some(health)));
}

/// A source whose values can be looked at.
#[derive(Debug)]
pub struct Watched<S>(pub S);

impl<S> Watched<S> {
    fn seen(reading: Option<Reading>) -> Option<Reading> {
        if let Some(Reading { sample, .. }) = &reading {
            critical_section::with(|cs| {
                let mut values = VALUES.borrow(cs).get();
                if let Some(value) = values.get_mut(usize::from(sample.signal.0)) {
                    *value = match sample.value {
                        Value::Steps(steps) => Some(steps),
                        _ => None,
                    };
                }
                VALUES.borrow(cs).set(values);
            });
        }
        reading
    }
}

impl<S: Source> Source for Watched<S> {
    fn next(&mut self, now: &Now) -> Option<Reading> {
        Self::seen(self.0.next(now))
    }

    fn read(&mut self, signal: SignalIndex, now: &Now) -> Option<Reading> {
        Self::seen(self.0.read(signal, now))
    }

    fn content(&self) -> &[u8] {
        self.0.content()
    }

    fn due(&self) -> Option<u64> {
        self.0.due()
    }
}

/// Says lines to who listens, for ever; `has_stream`: somebody else hears what comes.
pub async fn serve(line: SharedLine, has_stream: bool, catalogue: &Catalogue<'_>) -> ! {
    let mut until_ms = 0;
    loop {
        let now_ms = Uptime.now().uptime_ms;
        turn(line, has_stream).await;
        if line.borrow_mut().was_asked() {
            until_ms = now_ms.saturating_add(LISTEN_MS);
        }
        if now_ms < until_ms {
            say_all(line, has_stream, catalogue).await;
        }
        Timer::after_millis(EVERY_MS).await;
    }
}

async fn say_all(line: SharedLine, has_stream: bool, catalogue: &Catalogue<'_>) {
    let (health, values) =
        critical_section::with(|cs| (HEALTH.borrow(cs).get(), VALUES.borrow(cs).get()));
    if let Some(health) = health {
        say(line, has_stream, format_args!("health {health}")).await;
    }
    for (signal, value) in catalogue.signals.iter().zip(values) {
        let Some(raw) = value else { continue };
        let (step, unit) = (signal.step, signal.unit);
        let (numerator, denominator, offset) = (step.numerator, step.denominator, step.offset);
        let text =
            format_args!("value {} {raw} {numerator}/{denominator} {offset} {unit}", signal.path);
        say(line, has_stream, text).await;
    }
}

/// Says one line, once the packet before it is out of the way.
async fn say(line: SharedLine, has_stream: bool, text: Arguments<'_>) {
    let mut room = heapless::String::<CHUNK_LEN_MAX>::new();
    // What does not fit is cut.
    let _cut = room.write_fmt(text);
    while !line.borrow_mut().log(&room) {
        turn(line, has_stream).await;
        Timer::after_millis(BUSY_MS).await;
    }
    turn(line, has_stream).await;
}

/// Moves the line once.
async fn turn(line: SharedLine, has_stream: bool) {
    poll_fn(|cx| {
        let mut line = line.borrow_mut();
        // A UART of this board does not fail.
        let _ = line.push(cx).is_ok() && (has_stream || line.pull(cx).is_ok());
        Poll::Ready(())
    })
    .await;
}
