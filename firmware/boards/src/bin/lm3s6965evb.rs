//! Texas Instruments' evaluation board for the Stellaris LM3S6965: Ethernet, an SD card, and a TMP105 on its
//! I2C bus.
#![no_std]
#![no_main]

use boards::lm3s::enet::{self, Enet};
use boards::lm3s::i2c::Master;
use boards::lm3s::ssi::{CardSelect, Ssi};
use boards::lm3s::{self, CORE_HZ, Clocks, uart};
use boards::sd::{BLOCK_LEN, SdNor};
use boards::simulated::{CHANNELS, Channels, RULES, SIGNALS};
use boards::tmp105::Tmp105;
use boards::{Parts, console, crash, interrupt, link, start, time, watchdog};
use cortex_m::Peripherals;
use cortex_m_rt::{entry, exception};
use firmware::campaign::{Rule, When};
use firmware::ports::{Now, Reading, Source};
use protocol::{Catalogue, Clock, Lane, Sample, Signal, SignalIndex, Step};
use static_cell::ConstStaticCell;

/// Interrupts in use (data sheet, table 2-9).
const LINK: u16 = 6;
const ENET: u16 = 42;

/// Of the card, the one that was used last.
static BLOCK: ConstStaticCell<[u8; BLOCK_LEN]> = ConstStaticCell::new([0; BLOCK_LEN]);

/// The sensor's address: its pins A0 to A2 are low.
const SENSOR: u8 = 0x48;
/// The temperature's place behind the channels, and how often it is measured.
const TEMPERATURE: SignalIndex = SignalIndex(10);
const PERIOD_MS: u32 = 10_000;

/// A tick is a millisecond of uptime.
static CATALOGUE: Catalogue<'static> = Catalogue::new(1, &ALL);
static ALL: [Signal<'static>; CHANNELS + 1] = {
    let temperature = Signal {
        path: "Milepost.Board.Temperature",
        unit: "celsius",
        step: Step { numerator: 1, denominator: 16, offset: 0 },
        raw_min: -880,
        raw_max: 2047,
    };
    let [a, b, c, d, e, f, g, h, i, j] = SIGNALS;
    [a, b, c, d, e, f, g, h, i, j, temperature]
};
static DOES: [Rule; CHANNELS + 2] = {
    let when = When::Periodic { period_ms: PERIOD_MS };
    let temperature = Rule { signal: TEMPERATURE, lane: Some(Lane::Bulk), when };
    let [a, b, c, d, e, f, g, h, i, j, k] = RULES;
    [a, b, c, d, e, f, g, h, i, j, k, temperature]
};

/// The channels, and the sensor if it answers.
struct Sensors {
    channels: Channels,
    sensor: Option<Tmp105<Master>>,
}

impl Source for Sensors {
    fn next(&mut self, now: &Now) -> Option<Reading> {
        self.channels.next(now)
    }

    fn read(&mut self, signal: SignalIndex, now: &Now) -> Option<Reading> {
        if signal != TEMPERATURE {
            return None;
        }
        let value = self.sensor.as_mut()?.read().ok()?;
        let (tick, clock) = match now.wall {
            Some(wall) => wall,
            None => (i64::try_from(now.uptime_ms).ok()?, Clock::Uptime),
        };
        Some(Reading { sample: Sample::new(tick, signal, i64::from(value)), clock })
    }

    fn due(&self) -> Option<u64> {
        self.channels.due()
    }
}

boards::tasks! {
    flash: SdNor<Ssi, CardSelect, Clocks>,
    source: Sensors,
    mac: Enet,
    watch_link: enet::watch_link,
}

#[entry]
fn main() -> ! {
    lm3s::start();
    uart::console();
    console::begin(uart::put);
    let Some(mut core) = Peripherals::take() else { start::stop(format_args!("started twice")) };
    time::start(&mut core.SYST, CORE_HZ);
    lm3s::watchdog::start();
    watchdog::hardware(lm3s::watchdog::feed);
    crash::hold_off();
    let card = (Ssi::new(), CardSelect, Clocks);
    let (flash, provision, mut chance) = start::open(SdNor::open(card, Ssi::hurry, BLOCK.take()));
    let line = link::line(uart::link());
    interrupt::unmask(LINK);
    let (connect, runner) = start::link(&provision, &mut chance, line, |address| {
        interrupt::unmask(ENET);
        Enet::take(address)
    });
    let sensor = Tmp105::open(Master::new(), SENSOR).ok();
    if sensor.is_none() {
        console::line(format_args!("no TMP105 answers: no temperature"));
    }
    let source = Sensors { channels: Channels::new(provision.simulated_ms), sensor };
    let (catalogue, rules, reset) = (&CATALOGUE, &DOES, lm3s::reset());
    let parts = Parts { flash, source, catalogue, rules, connect, provision, chance, reset };
    run_tasks(parts, runner, line)
}

#[allow(unsafe_code, reason = "the handlers' own signature")]
#[exception]
unsafe fn DefaultHandler(number: i16) {
    match u16::try_from(number) {
        Ok(LINK) => uart::interrupt(),
        Ok(ENET) => enet::interrupt(),
        _ => {}
    }
}
