//! The `SmartFusion2`'s peripherals (Microchip UG0331, Microcontroller Subsystem User Guide), as far as
//! Emcraft's SOM starter kit needs them: MAC, SPI master, UART.

pub mod mac;
pub mod spi;
pub mod uart;

/// The core's clock on the kit.
pub const CORE_HZ: u32 = 142_000_000;
