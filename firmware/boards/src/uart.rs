//! What a UART's interrupt and the tasks have in common: bytes that came, and bytes that are to go.

use core::cell::RefCell;
use core::convert::Infallible;
use core::future::poll_fn;
use core::task::Poll;

use critical_section::Mutex;
use embassy_sync::waitqueue::AtomicWaker;
use embedded_io_async::{ErrorType, Read, Write};
use heapless::Deque;

/// Bytes each way.
const LEN: usize = 512;

struct Bytes {
    came: Deque<u8, LEN>,
    to_go: Deque<u8, LEN>,
}

/// The bytes of one UART.
#[allow(missing_debug_implementations, reason = "what waits in it is nobody's business")]
pub struct Queues {
    bytes: Mutex<RefCell<Bytes>>,
    came: AtomicWaker,
    gone: AtomicWaker,
}

impl Queues {
    /// Empty ones.
    #[allow(clippy::new_without_default, reason = "for statics")]
    pub const fn new() -> Self {
        let bytes = Bytes { came: Deque::new(), to_go: Deque::new() };
        let bytes = Mutex::new(RefCell::new(bytes));
        Self { bytes, came: AtomicWaker::new(), gone: AtomicWaker::new() }
    }

    /// A byte came. Beyond what there is room for it is lost, and with it the packet that it is of.
    pub fn received(&self, byte: u8) {
        critical_section::with(|cs| self.bytes.borrow_ref_mut(cs).came.push_back(byte).ok());
        self.came.wake();
    }

    /// The next byte to go; nothing if the transmitter may rest.
    pub fn next_to_go(&self) -> Option<u8> {
        let byte = critical_section::with(|cs| self.bytes.borrow_ref_mut(cs).to_go.pop_front());
        self.gone.wake();
        byte
    }
}

/// A UART as tasks see it.
#[allow(missing_debug_implementations, reason = "nothing of its own")]
pub struct Uart {
    queues: &'static Queues,
    /// Lets the interrupt ask for bytes to go.
    transmit: fn(),
}

impl Uart {
    /// One whose interrupt works on `queues`.
    pub const fn new(queues: &'static Queues, transmit: fn()) -> Self {
        Self { queues, transmit }
    }
}

impl ErrorType for Uart {
    type Error = Infallible;
}

impl Read for Uart {
    async fn read(&mut self, into: &mut [u8]) -> Result<usize, Infallible> {
        poll_fn(|cx| {
            self.queues.came.register(cx.waker());
            let len = critical_section::with(|cs| {
                let came = &mut self.queues.bytes.borrow_ref_mut(cs).came;
                let slots = into.iter_mut();
                slots.map_while(|slot| came.pop_front().map(|byte| *slot = byte)).count()
            });
            if len == 0 { Poll::Pending } else { Poll::Ready(Ok(len)) }
        })
        .await
    }
}

impl Write for Uart {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        poll_fn(|cx| {
            self.queues.gone.register(cx.waker());
            let len = critical_section::with(|cs| {
                let to_go = &mut self.queues.bytes.borrow_ref_mut(cs).to_go;
                bytes.iter().take_while(|byte| to_go.push_back(**byte).is_ok()).count()
            });
            if len == 0 {
                return Poll::Pending;
            }
            (self.transmit)();
            Poll::Ready(Ok(len))
        })
        .await
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}
