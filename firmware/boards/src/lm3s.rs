//! The `LM3S6965`'s peripherals (Texas Instruments, Stellaris LM3S6965 data sheet, SPMS049), as far as the
//! evaluation board needs them: Ethernet controller, SSI with a card's slot, UARTs, I2C, watchdog.

use embedded_hal::delay::DelayNs;
use protocol::health::ResetReason;

use crate::register::Register;

pub mod enet;
pub mod i2c;
pub mod ssi;
pub mod uart;
pub mod watchdog;

/// The core's clock once [`start`] has run: the PLL's 200 MHz by four.
pub const CORE_HZ: u32 = 50_000_000;

const SYSTEM: usize = 0x400F_E000;
const RAW_INTERRUPTS: Register = Register(SYSTEM + 0x50);
const RESET_CAUSE: Register = Register(SYSTEM + 0x5C);
const CLOCK: Register = Register(SYSTEM + 0x60);
const GATES: [Register; 3] =
    [Register(SYSTEM + 0x100), Register(SYSTEM + 0x104), Register(SYSTEM + 0x108)];

/// Clocks for the watchdog; for UART 0 and 1, SSI 0 and I2C 0; for GPIO A, B and D, Ethernet MAC and PHY.
const GATED: [u32; 3] =
    [1 << 3, 1 | 1 << 1 | 1 << 4 | 1 << 12, 1 | 1 << 1 | 1 << 3 | 1 << 28 | 1 << 30];

/// The clock's register: the PLL is passed by; it is off; the divider is used.
const BYPASS: u32 = 1 << 11;
const PLL_OFF: u32 = 1 << 13;
const DIVIDER_ON: u32 = 1 << 22;
/// The divider's field, and four.
const DIVIDER: u32 = 0xf << 23;
const BY_FOUR: u32 = 3 << 23;
/// The crystal's field and the source's; a crystal of 8 MHz as the source.
const CRYSTAL: u32 = 0xf << 6 | 0b11 << 4;
const CRYSTAL_8_MHZ: u32 = 0xE << 6;
const MAIN_OFF: u32 = 1;
/// Of the raw interrupts: the PLL has locked.
const LOCKED: u32 = 1 << 6;

/// Of the reset's cause.
const BY_PIN: u32 = 1;
const BY_POWER: u32 = 1 << 1 | 1 << 2;
const BY_WATCHDOG: u32 = 1 << 3;

const GPIO_A: usize = 0x4000_4000;
const GPIO_B: usize = 0x4000_5000;
const GPIO_D: usize = 0x4000_7000;
const DIRECTION: usize = 0x400;
const ALTERNATE: usize = 0x420;
const OPEN_DRAIN: usize = 0x50C;
const DIGITAL: usize = 0x51C;
/// UART 0's and SSI 0's but its select line, which is port D's; I2C 0's; UART 1's; the card's select line.
const PINS_A: u32 = 0b11_0111;
const PINS_B: u32 = 0b1100;
const PINS_D: u32 = 0b1100;
const CARD_SELECT: u32 = 1;

/// That pin in the address of a write to the port's data.
const CARD_SELECT_MASK: usize = 1 << 2;

/// Runs the core from the PLL (data sheet, "Initialization and Configuration" of system control), gives the
/// peripherals their clocks and takes their pins.
pub fn start() {
    let mut clock = CLOCK.read() | BYPASS;
    clock &= !DIVIDER_ON;
    CLOCK.write(clock);
    clock &= !(CRYSTAL | MAIN_OFF | PLL_OFF);
    clock |= CRYSTAL_8_MHZ;
    CLOCK.write(clock);
    clock = clock & !DIVIDER | BY_FOUR | DIVIDER_ON;
    CLOCK.write(clock);
    while RAW_INTERRUPTS.read() & LOCKED == 0 {}
    CLOCK.write(clock & !BYPASS);
    for (gate, clocks) in GATES.into_iter().zip(GATED) {
        gate.set(clocks);
    }
    // A peripheral takes a few clocks until it can be spoken to.
    cortex_m::asm::delay(16);
    for (port, pins) in [(GPIO_A, PINS_A), (GPIO_B, PINS_B), (GPIO_D, PINS_D)] {
        Register(port + ALTERNATE).set(pins);
        Register(port + DIGITAL).set(pins);
    }
    Register(GPIO_B + OPEN_DRAIN).set(PINS_B);
    Register(GPIO_D + DIRECTION).set(CARD_SELECT);
    Register(GPIO_D + DIGITAL).set(CARD_SELECT);
    select_card(false);
}

/// The card's select line: low is selected.
fn select_card(is_selected: bool) {
    let data = Register(GPIO_D + CARD_SELECT_MASK);
    data.write(if is_selected { 0 } else { CARD_SELECT });
}

/// Why the board started, as far as the part says it: of a reset that software asked for, what RAM holds
/// says more.
pub fn reset() -> Option<ResetReason> {
    let cause = RESET_CAUSE.read();
    RESET_CAUSE.write(0);
    if cause & BY_POWER != 0 {
        Some(ResetReason::Power)
    } else if cause & BY_WATCHDOG != 0 {
        Some(ResetReason::Watchdog)
    } else if cause & BY_PIN != 0 {
        Some(ResetReason::Pin)
    } else {
        None
    }
}

/// Waits by counting the core's clocks: at least as long as it is told.
#[derive(Clone, Copy, Debug)]
pub struct Clocks;

impl DelayNs for Clocks {
    fn delay_ns(&mut self, ns: u32) {
        cortex_m::asm::delay(ns.div_ceil(1_000_000_000 / CORE_HZ));
    }
}
