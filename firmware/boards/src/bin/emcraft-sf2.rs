//! Emcraft's `SmartFusion2` SOM starter kit: Ethernet, and a SPI NOR flash S25FL128S.
#![no_std]
#![no_main]

use boards::nor::S25fl;
use boards::sf2::mac::{self, Mac};
use boards::sf2::spi::Spi;
use boards::sf2::{CORE_HZ, uart};
use boards::simulated::{Channels, RULES, SIGNALS};
use boards::{Parts, console, crash, interrupt, link, start, time};
use cortex_m::Peripherals;
use cortex_m_rt::{entry, exception};
use protocol::Catalogue;

/// Interrupts in use (UG0331, table 3-1).
const LINK: u16 = 11;
const MAC: u16 = 12;

/// A tick is a millisecond of uptime.
static CATALOGUE: Catalogue<'static> = Catalogue::new(1, &SIGNALS);

boards::tasks! {
    flash: S25fl<Spi>,
    source: Channels,
    mac: Mac,
    watch_link: mac::watch_link,
}

#[entry]
fn main() -> ! {
    console::begin(uart::put);
    let Some(mut core) = Peripherals::take() else { start::stop(format_args!("started twice")) };
    time::start(&mut core.SYST, CORE_HZ);
    crash::hold_off();
    let (flash, provision, mut chance) = start::open(S25fl::open(Spi::new()));
    let line = link::line(uart::link());
    interrupt::unmask(LINK);
    let (connect, runner) = start::link(&provision, &mut chance, line, |address| {
        interrupt::unmask(MAC);
        Mac::take(address)
    });
    let source = Channels::new(provision.simulated_ms);
    let (catalogue, rules) = (&CATALOGUE, &RULES);
    let parts = Parts { flash, source, catalogue, rules, connect, provision, chance, reset: None };
    run_tasks(parts, runner, line)
}

#[allow(unsafe_code, reason = "the handlers' own signature")]
#[exception]
unsafe fn DefaultHandler(number: i16) {
    match u16::try_from(number) {
        Ok(LINK) => uart::interrupt(),
        Ok(MAC) => mac::interrupt(),
        _ => {}
    }
}
