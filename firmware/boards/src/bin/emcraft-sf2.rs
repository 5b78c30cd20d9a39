//! Emcraft's `SmartFusion2` SOM starter kit: Ethernet, and a SPI NOR flash S25FL128S.
#![no_std]
#![no_main]

use core::fmt::Arguments;

use boards::chance::Chance;
use boards::link::{self, Link};
use boards::monitor::{self, SharedLine};
use boards::nor::S25fl;
use boards::sf2::mac::{self, Mac};
use boards::sf2::spi::Spi;
use boards::sf2::{CORE_HZ, uart};
use boards::{Parts, console, crash, executor, layout, net, time};
use cortex_m::Peripherals;
use cortex_m::interrupt::InterruptNumber;
use cortex_m::peripheral::NVIC;
use cortex_m_rt::{entry, exception};
use embassy_net::Runner;
use firmware::provision::{self, LinkChoice};

type Nor = S25fl<Spi>;

/// Interrupts in use (UG0331, table 3-1).
#[derive(Clone, Copy)]
#[repr(u16)]
enum Interrupt {
    Link = 11,
    Mac = 12,
}

#[allow(unsafe_code, reason = "the numbers are the part's")]
// SAFETY: they are, and do not change.
unsafe impl InterruptNumber for Interrupt {
    fn number(self) -> u16 {
        self as u16
    }
}

#[entry]
fn main() -> ! {
    console::begin(uart::put);
    let Some(mut core) = Peripherals::take() else { stop(format_args!("started twice")) };
    time::start(&mut core.SYST, CORE_HZ);
    crash::hold_off();
    let mut flash = match Nor::open(Spi::new()) {
        Ok(flash) => flash,
        Err(error) => stop(format_args!("flash: {error}")),
    };
    let provision = match provision::read(&mut flash, &layout::PROVISIONING) {
        Ok(provision) => provision,
        Err(error) => stop(format_args!("{error}")),
    };
    let mut chance = Chance::new(&provision.seed);
    let line = link::line(uart::link());
    unmask(Interrupt::Link);
    let has_stream = matches!(provision.link, LinkChoice::Serial);
    let (connect, runner) = match provision.link {
        LinkChoice::Ethernet { addressing, agent, port } => {
            let Some(mac) = Mac::take(station_address(&provision.seed)) else {
                stop(format_args!("the MAC is taken"))
            };
            let (tcp, runner) = net::start(mac, (addressing, agent, port), chance.number());
            unmask(Interrupt::Mac);
            (Link::Tcp(tcp), Some(runner))
        }
        LinkChoice::Serial => {
            let [first, second, ..] = chance.number().to_le_bytes();
            (Link::serial(line, u16::from_le_bytes([first, second])), None)
        }
    };
    let parts = Parts { flash, connect, provision, chance, reset: None };
    executor::run(|spawner| {
        if let Some(runner) = runner
            && let (Ok(network), Ok(cable)) = (network(runner), cable())
        {
            spawner.spawn(network);
            spawner.spawn(cable);
        }
        if let (Ok(device), Ok(monitored)) = (device(parts), monitored(line, has_stream)) {
            spawner.spawn(device);
            spawner.spawn(monitored);
        }
    })
}

#[embassy_executor::task]
async fn network(mut runner: Runner<'static, Mac>) -> ! {
    runner.run().await
}

#[embassy_executor::task]
async fn cable() -> ! {
    mac::watch_link().await
}

#[embassy_executor::task]
async fn device(parts: Parts<Nor, Link>) {
    let Err(error) = boards::run(parts).await;
    stop(format_args!("{error}"));
}

#[embassy_executor::task]
async fn monitored(line: SharedLine, has_stream: bool) -> ! {
    monitor::serve(line, has_stream).await
}

#[allow(unsafe_code, reason = "no critical section is begun that masks one")]
fn unmask(interrupt: Interrupt) {
    // SAFETY: what its handler touches is there.
    unsafe {
        NVIC::unmask(interrupt);
    }
}

/// A locally administered address (IEEE 802, 8.4), another one for each device.
fn station_address(seed: &[u8; 32]) -> [u8; 6] {
    let [a, b, c, d, e, ..] = *seed;
    [0x02, a, b, c, d, e]
}

/// Says why, and does nothing any more.
fn stop(why: Arguments<'_>) -> ! {
    console::line(format_args!("stopped: {why}"));
    loop {
        cortex_m::asm::wfi();
    }
}

#[exception]
fn SysTick() {
    time::tick();
}

#[allow(unsafe_code, reason = "the handlers' own signature")]
#[exception]
unsafe fn DefaultHandler(interrupt: i16) {
    if interrupt == Interrupt::Mac as i16 {
        mac::interrupt();
    } else if interrupt == Interrupt::Link as i16 {
        uart::interrupt();
    }
}
