//! How a board comes to its main loop: what it was told, and the way to the agent that this says.

use core::fmt::{self, Arguments};

use embassy_net::Runner;
use embassy_net::driver::Driver;
use embedded_storage::nor_flash::NorFlash;
use firmware::provision::{self, LinkChoice, Provision};

use crate::chance::Chance;
use crate::link::Link;
use crate::monitor::SharedLine;
use crate::{console, layout, net, watchdog};

/// Says why, and does nothing any more.
pub fn stop(why: Arguments<'_>) -> ! {
    watchdog::stopped();
    console::line(format_args!("stopped: {why}"));
    loop {
        cortex_m::asm::wfi();
    }
}

/// The flash, and what stands in it about the device; chance, from its seed. Without either the board stops.
pub fn open<F: NorFlash, E: fmt::Display>(flash: Result<F, E>) -> (F, Provision, Chance) {
    let mut flash = match flash {
        Ok(flash) => flash,
        Err(error) => stop(format_args!("flash: {error}")),
    };
    let provision = match provision::read(&mut flash, &layout::PROVISIONING) {
        Ok(provision) => provision,
        Err(error) => stop(format_args!("{error}")),
    };
    let chance = Chance::new(&provision.seed);
    (flash, provision, chance)
}

/// The way to the agent, and the network's runner if that is over Ethernet: `take` gives the driver, for a
/// station address.
pub fn link<D: Driver>(
    provision: &Provision,
    chance: &mut Chance,
    line: SharedLine,
    take: impl FnOnce([u8; 6]) -> Option<D>,
) -> (Link, Option<Runner<'static, D>>) {
    match provision.link {
        LinkChoice::Ethernet { addressing, agent, port } => {
            let Some(mac) = take(station_address(&provision.seed)) else {
                stop(format_args!("the MAC is taken"))
            };
            let (tcp, runner) = net::start(mac, (addressing, agent, port), chance.number());
            (Link::Tcp(tcp), Some(runner))
        }
        LinkChoice::Serial => {
            let [first, second, ..] = chance.number().to_le_bytes();
            (Link::serial(line, u16::from_le_bytes([first, second])), None)
        }
    }
}

/// A locally administered address (IEEE 802, 8.4), another one for each device.
fn station_address(seed: &[u8; 32]) -> [u8; 6] {
    let [a, b, c, d, e, ..] = *seed;
    [0x02, a, b, c, d, e]
}

/// The tasks of a board, and the function that runs them, `run_tasks(parts, runner, line)`, for ever: a
/// task has a place of its own in memory, which no generic function can give it.
#[macro_export]
macro_rules! tasks {
    (flash: $flash:ty, source: $source:ty, mac: $mac:ty, watch_link: $watch:path $(,)?) => {
        #[embassy_executor::task]
        async fn network(mut runner: embassy_net::Runner<'static, $mac>) -> ! {
            runner.run().await
        }

        #[embassy_executor::task]
        async fn cable() -> ! {
            $watch().await
        }

        #[embassy_executor::task]
        async fn device(parts: $crate::Parts<$flash, $source, $crate::link::Link>) {
            let Err(error) = $crate::run(parts).await;
            $crate::start::stop(format_args!("{error}"));
        }

        #[embassy_executor::task]
        async fn monitored(
            line: $crate::monitor::SharedLine,
            has_stream: bool,
            catalogue: &'static protocol::Catalogue<'static>,
        ) -> ! {
            $crate::monitor::serve(line, has_stream, catalogue).await
        }

        fn run_tasks(
            parts: $crate::Parts<$flash, $source, $crate::link::Link>,
            runner: Option<embassy_net::Runner<'static, $mac>>,
            line: $crate::monitor::SharedLine,
        ) -> ! {
            let (catalogue, has_stream) = (parts.catalogue, runner.is_none());
            $crate::executor::run(|spawner| {
                if let Some(runner) = runner
                    && let (Ok(network), Ok(cable)) = (network(runner), cable())
                {
                    spawner.spawn(network);
                    spawner.spawn(cable);
                }
                let monitored = monitored(line, has_stream, catalogue);
                if let (Ok(device), Ok(monitored)) = (device(parts), monitored) {
                    spawner.spawn(device);
                    spawner.spawn(monitored);
                }
            })
        }
    };
}
