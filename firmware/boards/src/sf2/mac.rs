//! The Ethernet MAC, with its DMA (UG0331, chapter 8): a ring of buffers to receive into, one to send
//! from.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering, fence};
use core::task::Context;

use embassy_net::driver::{Capabilities, Driver, HardwareAddress, LinkState, RxToken, TxToken};
use embassy_sync::waitqueue::AtomicWaker;

use crate::register::Register;

const MAC: usize = 0x4004_1000;
const CONFIG: Register = Register(MAC);
const FRAME_LEN: Register = Register(MAC + 0x10);
const PHY_COMMAND: Register = Register(MAC + 0x24);
const PHY_ADDRESS: Register = Register(MAC + 0x28);
const PHY_STATUS: Register = Register(MAC + 0x30);
const STATION_HIGH: Register = Register(MAC + 0x40);
const STATION_LOW: Register = Register(MAC + 0x44);
const FIFO: Register = Register(MAC + 0x48);
const SEND: Register = Register(MAC + 0x180);
const SEND_DESCRIPTOR: Register = Register(MAC + 0x184);
const SEND_STATUS: Register = Register(MAC + 0x188);
const RECEIVE: Register = Register(MAC + 0x18C);
const RECEIVE_DESCRIPTOR: Register = Register(MAC + 0x190);
const RECEIVE_STATUS: Register = Register(MAC + 0x194);
const INTERRUPTS: Register = Register(MAC + 0x198);

/// Receive and transmit.
const ENABLE_BOTH: u32 = 1 << 2 | 1;
/// Every part of the FIFO.
const FIFO_ENABLE: u32 = 0x1f << 8;
const DMA_ENABLE: u32 = 1;
/// Of a status: a packet was sent, or received; each write of it counts one of them down.
const DONE: u32 = 1;
/// Of the receive status: there was no empty buffer, and the DMA stopped.
const OVERFLOW: u32 = 1 << 2;
/// Interrupts: sent; received; no buffer.
const INTERRUPT_ON: u32 = 1 | 1 << 4 | 1 << 6;

/// The transceiver's own address on the management bus, and its status register (IEEE 802.3, 22.2.4.2).
const PHY: u32 = 1 << 8;
const PHY_BASIC_STATUS: u32 = 1;
const PHY_READ: u32 = 1;
const PHY_LINK: u32 = 1 << 2;

/// The longest frame, without its checksum.
const FRAME_MAX: usize = 1514;
const BUFFER_LEN: usize = 1536;
/// Buffers to receive into.
const RECEIVE_BUFFERS: usize = 3;
/// In a descriptor's size: the buffer is the MAC's to fill, or was sent.
const EMPTY: u32 = 1 << 31;
const SIZE: u32 = 0x7ff;

/// What the DMA follows.
#[repr(C, align(4))]
struct Descriptor {
    address: u32,
    size: u32,
    next: u32,
}

#[repr(C, align(4))]
struct Buffer([u8; BUFFER_LEN]);

/// All memory that the DMA works on.
struct Memory {
    receive: [UnsafeCell<Descriptor>; RECEIVE_BUFFERS],
    send: UnsafeCell<Descriptor>,
    received: [UnsafeCell<Buffer>; RECEIVE_BUFFERS],
    sent: UnsafeCell<Buffer>,
}

#[allow(unsafe_code, reason = "the driver alone works on it, and there is one: see `Mac::take`")]
// SAFETY: see there.
unsafe impl Sync for Memory {}

const NO_DESCRIPTOR: Descriptor = Descriptor { address: 0, size: 0, next: 0 };

static MEMORY: Memory = Memory {
    receive: [const { UnsafeCell::new(NO_DESCRIPTOR) }; RECEIVE_BUFFERS],
    send: UnsafeCell::new(NO_DESCRIPTOR),
    received: [const { UnsafeCell::new(Buffer([0; BUFFER_LEN])) }; RECEIVE_BUFFERS],
    sent: UnsafeCell::new(Buffer([0; BUFFER_LEN])),
};

static TAKEN: AtomicBool = AtomicBool::new(false);
static WAKER: AtomicWaker = AtomicWaker::new();
/// The DMA stopped for want of a buffer.
static STARVED: AtomicBool = AtomicBool::new(false);

/// To be called by the MAC's interrupt.
pub fn interrupt() {
    while RECEIVE_STATUS.read() & DONE != 0 {
        RECEIVE_STATUS.write(DONE);
    }
    while SEND_STATUS.read() & DONE != 0 {
        SEND_STATUS.write(DONE);
    }
    if RECEIVE_STATUS.read() & OVERFLOW != 0 {
        RECEIVE_STATUS.write(OVERFLOW);
        STARVED.store(true, Ordering::Release);
    }
    WAKER.wake();
}

/// The MAC.
#[derive(Debug)]
pub struct Mac {
    address: [u8; 6],
    /// The buffer that is filled next.
    next: usize,
}

/// The address of what the DMA is to find.
#[allow(clippy::cast_possible_truncation, reason = "an address has 32 bits here")]
fn bus_address<T>(cell: &UnsafeCell<T>) -> u32 {
    cell.get().expose_provenance() as u32
}

#[allow(
    unsafe_code,
    reason = "descriptors and buffers are shared with the DMA: who may touch one, its size says"
)]
impl Memory {
    fn size(descriptor: &UnsafeCell<Descriptor>) -> u32 {
        // SAFETY: aligned and initialised; the DMA may write it at any time, hence volatile.
        let size = unsafe { (&raw const (*descriptor.get()).size).read_volatile() };
        // What the DMA wrote before it is seen after it.
        fence(Ordering::Acquire);
        size
    }

    fn set_size(descriptor: &UnsafeCell<Descriptor>, size: u32) {
        // What was written to the buffer is there before the DMA may look.
        fence(Ordering::Release);
        // SAFETY: as above.
        unsafe { (&raw mut (*descriptor.get()).size).write_volatile(size) }
    }

    /// A buffer that is the driver's.
    ///
    /// SAFETY: its descriptor says that the DMA is done with it, and nobody has it already.
    #[allow(clippy::mut_from_ref, reason = "the caller says that it is alone")]
    unsafe fn buffer(buffer: &UnsafeCell<Buffer>) -> &mut [u8; BUFFER_LEN] {
        // SAFETY: as the caller says.
        unsafe { &mut (*buffer.get()).0 }
    }

    fn link(&self) {
        let receive = self.receive.iter().zip(self.receive.iter().cycle().skip(1));
        for ((descriptor, next), buffer) in receive.zip(&self.received) {
            // SAFETY: the DMA is switched off.
            let descriptor = unsafe { &mut *descriptor.get() };
            *descriptor =
                Descriptor { address: bus_address(buffer), size: EMPTY, next: bus_address(next) };
        }
        // SAFETY: the same. It follows itself: once it was sent it is empty, and that ends the list.
        let send = unsafe { &mut *self.send.get() };
        let next = bus_address(&self.send);
        *send = Descriptor { address: bus_address(&self.sent), size: EMPTY, next };
    }
}

impl Mac {
    /// The MAC, switched on with this station address; nothing if somebody has it.
    pub fn take(address: [u8; 6]) -> Option<Self> {
        if TAKEN.swap(true, Ordering::AcqRel) {
            return None;
        }
        CONFIG.write(1 << 31);
        CONFIG.write(0);
        MEMORY.link();
        let [a, b, c, d, e, f] = address;
        STATION_HIGH.write(u32::from_be_bytes([a, b, c, d]));
        STATION_LOW.write(u32::from_be_bytes([e, f, 0, 0]));
        FRAME_LEN.write(u32::try_from(BUFFER_LEN).unwrap_or(0));
        FIFO.write(FIFO_ENABLE);
        let mac = Self { address, next: 0 };
        mac.receive_on();
        INTERRUPTS.write(INTERRUPT_ON);
        CONFIG.write(ENABLE_BOTH);
        Some(mac)
    }

    /// Lets the DMA receive, into the buffer that is read next.
    fn receive_on(&self) {
        if let Some(descriptor) = MEMORY.receive.get(self.next) {
            RECEIVE_DESCRIPTOR.write(bus_address(descriptor));
            RECEIVE.write(DMA_ENABLE);
        }
    }

    fn can_send() -> bool {
        Memory::size(&MEMORY.send) & EMPTY != 0
    }

    fn link_is_up() -> bool {
        PHY_ADDRESS.write(PHY | PHY_BASIC_STATUS);
        PHY_COMMAND.write(PHY_READ);
        let status = PHY_STATUS.read();
        PHY_COMMAND.write(0);
        status & PHY_LINK != 0
    }
}

impl Driver for Mac {
    type RxToken<'a> = Received<'a>;
    type TxToken<'a> = Sending;

    fn receive(&mut self, cx: &mut Context<'_>) -> Option<(Received<'_>, Sending)> {
        WAKER.register(cx.waker());
        let descriptor = MEMORY.receive.get(self.next)?;
        if Memory::size(descriptor) & EMPTY != 0 {
            if STARVED.swap(false, Ordering::AcqRel) {
                self.receive_on();
            }
            return None;
        }
        Self::can_send().then_some((Received { mac: self }, Sending(())))
    }

    fn transmit(&mut self, cx: &mut Context<'_>) -> Option<Sending> {
        WAKER.register(cx.waker());
        Self::can_send().then_some(Sending(()))
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

/// The transceiver says nothing by itself: looks twice a second whether it has a link.
pub async fn watch_link() -> ! {
    loop {
        embassy_time::Timer::after_millis(500).await;
        WAKER.wake();
    }
}

/// A frame that came.
#[derive(Debug)]
pub struct Received<'a> {
    mac: &'a mut Mac,
}

impl RxToken for Received<'_> {
    #[allow(unsafe_code, reason = "the buffer is the driver's until it is said to be empty")]
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, use_it: F) -> R {
        let Self { mac } = self;
        let at = mac.next;
        let (Some(descriptor), Some(buffer)) = (MEMORY.receive.get(at), MEMORY.received.get(at))
        else {
            return use_it(&mut []);
        };
        let len = usize::try_from(Memory::size(descriptor) & SIZE).unwrap_or(0);
        // SAFETY: its descriptor is not empty, so that the DMA is done with it; `mac` is borrowed.
        let bytes = unsafe { Memory::buffer(buffer) };
        let used = use_it(bytes.get_mut(..len).unwrap_or_default());
        Memory::set_size(descriptor, EMPTY);
        mac.next = (at + 1) % RECEIVE_BUFFERS;
        used
    }
}

/// Leave to send a frame.
#[derive(Debug)]
pub struct Sending(());

impl TxToken for Sending {
    #[allow(unsafe_code, reason = "the buffer is the driver's until its size is said")]
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, fill: F) -> R {
        // SAFETY: it was sent, or this token would not be; the stack uses one token at a time.
        let bytes = unsafe { Memory::buffer(&MEMORY.sent) };
        let filled = fill(bytes.get_mut(..len).unwrap_or_default());
        Memory::set_size(&MEMORY.send, u32::try_from(len).unwrap_or(0) & SIZE);
        SEND_DESCRIPTOR.write(bus_address(&MEMORY.send));
        SEND.write(DMA_ENABLE);
        filled
    }
}
