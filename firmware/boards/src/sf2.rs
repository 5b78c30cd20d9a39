//! The `SmartFusion2`'s peripherals (Microchip UG0331, Microcontroller Subsystem User Guide), as far as
//! Emcraft's SOM starter kit needs them: MAC, SPI master, UART.

pub mod mac;
pub mod spi;
pub mod uart;

/// The core's clock on the kit.
pub const CORE_HZ: u32 = 142_000_000;

/// A register.
#[derive(Clone, Copy, Debug)]
struct Register(usize);

#[allow(
    unsafe_code,
    reason = "addresses of the part's registers, and of nothing else, are made into one"
)]
impl Register {
    fn read(self) -> u32 {
        // SAFETY: the address is a register's, which is always mapped and aligned.
        unsafe { core::ptr::with_exposed_provenance::<u32>(self.0).read_volatile() }
    }

    fn write(self, value: u32) {
        // SAFETY: the same; what a write does to memory (DMA) is the driver's to say.
        unsafe { core::ptr::with_exposed_provenance_mut::<u32>(self.0).write_volatile(value) }
    }
}
