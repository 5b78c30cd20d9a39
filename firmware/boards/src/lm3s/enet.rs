//! The Ethernet controller (data sheet, chapter 16): a FIFO each way, which the core fills and empties word
//! by word. A frame stands in it behind two bytes that say how long it is.

use core::sync::atomic::{AtomicBool, Ordering};
use core::task::Context;

use embassy_net::driver::{Capabilities, Driver, HardwareAddress, LinkState, RxToken, TxToken};
use embassy_sync::waitqueue::AtomicWaker;
use static_cell::ConstStaticCell;

use crate::register::Register;

const ENET: usize = 0x4004_8000;
const INTERRUPTS: Register = Register(ENET);
const INTERRUPT_MASK: Register = Register(ENET + 0x04);
const RECEIVE: Register = Register(ENET + 0x08);
const TRANSMIT: Register = Register(ENET + 0x0C);
const DATA: Register = Register(ENET + 0x10);
const STATION_LOW: Register = Register(ENET + 0x14);
const STATION_HIGH: Register = Register(ENET + 0x18);
const MANAGEMENT: Register = Register(ENET + 0x20);
const MANAGEMENT_CLOCK: Register = Register(ENET + 0x24);
const MANAGEMENT_READ: Register = Register(ENET + 0x30);
const PACKETS: Register = Register(ENET + 0x34);
const SEND: Register = Register(ENET + 0x38);

/// A frame came; it was sent; the receiver's FIFO ran over.
const INTERRUPT_ON: u32 = 1 | 1 << 2 | 1 << 3;
const OVERRUN: u32 = 1 << 3;
/// The receiver: on; frames with a wrong checksum are dropped; its FIFO emptied.
const RECEIVE_ON: u32 = 1 | 1 << 3;
const RECEIVE_RESET: u32 = 1 << 4;
/// The transmitter: on; short frames are padded; it makes the checksum; both ways at once.
const TRANSMIT_ON: u32 = 1 | 1 << 1 | 1 << 2 | 1 << 4;
/// 50 MHz by twice ten, at most 2.5 MHz, for the management bus.
const MANAGEMENT_DIVIDER: u32 = 9;
const START: u32 = 1;
/// The transceiver's status register, of its 32 (IEEE 802.3, 22.2.4.2), and in it whether it has a link.
const PHY_STATUS: u32 = 1 << 3;
const PHY_LINK: u32 = 1 << 2;

/// The longest frame, without its checksum.
const FRAME_MAX: usize = 1514;
const HEADER_LEN: usize = 14;
/// Beside the frame, in the receiver's FIFO: the length itself, and the checksum.
const LENGTH_LEN: usize = 2;
const CHECKSUM_LEN: usize = 4;
const WORD: usize = 4;

static TAKEN: AtomicBool = AtomicBool::new(false);
static WAKER: AtomicWaker = AtomicWaker::new();

/// To be called by the controller's interrupt.
pub fn interrupt() {
    let raised = INTERRUPTS.read();
    INTERRUPTS.write(raised);
    if raised & OVERRUN != 0 {
        // What is left of a frame cannot be told from the next one: they are sent again.
        RECEIVE.set(RECEIVE_RESET);
    }
    WAKER.wake();
}

/// The controller.
#[derive(Debug)]
pub struct Enet {
    address: [u8; 6],
    received: &'static mut [u8; FRAME_MAX],
    sent: &'static mut [u8; FRAME_MAX],
}

impl Enet {
    /// The controller, switched on with this station address; nothing if somebody has it.
    pub fn take(address: [u8; 6]) -> Option<Self> {
        static RECEIVED: ConstStaticCell<[u8; FRAME_MAX]> = ConstStaticCell::new([0; FRAME_MAX]);
        static SENT: ConstStaticCell<[u8; FRAME_MAX]> = ConstStaticCell::new([0; FRAME_MAX]);
        if TAKEN.swap(true, Ordering::AcqRel) {
            return None;
        }
        let [a, b, c, d, e, f] = address;
        STATION_LOW.write(u32::from_le_bytes([a, b, c, d]));
        STATION_HIGH.write(u32::from_le_bytes([e, f, 0, 0]));
        MANAGEMENT_CLOCK.write(MANAGEMENT_DIVIDER);
        RECEIVE.write(RECEIVE_RESET);
        RECEIVE.write(RECEIVE_ON);
        TRANSMIT.write(TRANSMIT_ON);
        INTERRUPTS.write(u32::MAX);
        INTERRUPT_MASK.write(INTERRUPT_ON);
        Some(Self { address, received: RECEIVED.take(), sent: SENT.take() })
    }

    fn can_send() -> bool {
        SEND.read() & 1 == 0
    }

    fn link_is_up() -> bool {
        MANAGEMENT.write(PHY_STATUS | START);
        while MANAGEMENT.read() & START != 0 {}
        let status = MANAGEMENT_READ.read();
        // Nobody answers on the management bus of QEMU's model, and zero is no transceiver's status.
        status == 0 || status & PHY_LINK != 0
    }
}

impl Driver for Enet {
    type RxToken<'a> = Received<'a>;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, cx: &mut Context<'_>) -> Option<(Received<'_>, Sending<'_>)> {
        WAKER.register(cx.waker());
        let is_there = PACKETS.read() != 0 && Self::can_send();
        is_there.then_some((Received(self.received), Sending(self.sent)))
    }

    fn transmit(&mut self, cx: &mut Context<'_>) -> Option<Sending<'_>> {
        WAKER.register(cx.waker());
        Self::can_send().then_some(Sending(self.sent))
    }

    fn link_state(&mut self, cx: &mut Context<'_>) -> LinkState {
        // Whoever watches the link wakes the stack: see `watch_link`.
        WAKER.register(cx.waker());
        if Self::link_is_up() { LinkState::Up } else { LinkState::Down }
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.max_transmission_unit = FRAME_MAX;
        capabilities.max_burst_size = Some(1);
        capabilities
    }

    fn hardware_address(&self) -> HardwareAddress {
        HardwareAddress::Ethernet(self.address)
    }
}

/// Looks twice a second whether there is a link: the transceiver's interrupt is not used.
pub async fn watch_link() -> ! {
    loop {
        embassy_time::Timer::after_millis(500).await;
        WAKER.wake();
    }
}

/// A frame that came.
#[derive(Debug)]
pub struct Received<'a>(&'a mut [u8; FRAME_MAX]);

impl RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, use_it: F) -> R {
        let Self(buffer) = self;
        let [low, high, first, second] = DATA.read().to_le_bytes();
        let total = usize::from(u16::from_le_bytes([low, high]));
        let len = total.saturating_sub(LENGTH_LEN + CHECKSUM_LEN);
        let words = total.div_ceil(WORD).saturating_sub(1);
        let rest = (0..words).flat_map(|_| DATA.read().to_le_bytes());
        // To the end of what the FIFO has of this frame, whatever there is room for.
        let mut slots = buffer.iter_mut();
        for byte in [first, second].into_iter().chain(rest) {
            if let Some(slot) = slots.next() {
                *slot = byte;
            }
        }
        use_it(buffer.get_mut(..len).unwrap_or_default())
    }
}

/// Leave to send a frame.
#[derive(Debug)]
pub struct Sending<'a>(&'a mut [u8; FRAME_MAX]);

impl TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, fill: F) -> R {
        let Self(buffer) = self;
        let frame = buffer.get_mut(..len).unwrap_or_default();
        let filled = fill(frame);
        // The length does not count the header.
        let length = u16::try_from(frame.len().saturating_sub(HEADER_LEN)).unwrap_or(0);
        let mut bytes = length.to_le_bytes().into_iter().chain(frame.iter().copied());
        while let Some(first) = bytes.next() {
            let mut next = || bytes.next().unwrap_or(0);
            DATA.write(u32::from_le_bytes([first, next(), next(), next()]));
        }
        SEND.write(1);
        filled
    }
}
