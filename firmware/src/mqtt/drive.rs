//! The driver, for a board and for the simulator alike: it owns the transport and the clock, and
//! decides nothing. Everything happens in [`App::poll`].

use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::task::{Context, Poll};

use embedded_io_async::{Read, Write};
use embedded_storage::nor_flash::NorFlash;

use super::{Mqtt, PACKET_OVERHEAD, Transport};
use crate::app::App;
use crate::batch::Batches;
use crate::ports::{Deadline, Entropy, Now, Ports, Source};

/// Opens transports to the agent or broker.
#[allow(async_fn_in_trait, reason = "one executor, no Send needed on a board")]
pub trait Connect {
    /// A byte stream. `read` and `write` must be safe to drop and start anew at any time, and what
    /// is written must go out without a flush.
    type Io: Read + Write;
    /// Why it could not be opened.
    type Error;
    /// Opens one. Dropped when the session gives up waiting for it.
    async fn connect(&mut self) -> Result<Self::Io, Self::Error>;
}

/// The time, and waiting for it.
#[allow(async_fn_in_trait, reason = "one executor, no Send needed on a board")]
pub trait Clock {
    /// The time now.
    fn now(&self) -> Now;
    /// Waits until then; may return earlier, because a sensor has something. Cancel safe.
    async fn sleep_until(&self, uptime_ms: u64);
}

/// What an [`App`] runs on, besides its link.
#[derive(Debug)]
pub struct Board<F, S, E, C, T> {
    /// The flash of the app's layout.
    pub flash: F,
    /// Where readings come from.
    pub source: S,
    /// Chance.
    pub entropy: E,
    /// The way to the agent.
    pub connect: C,
    /// The time.
    pub clock: T,
}

/// Runs an app until `until` says so. It is asked after every poll and may use the app, to record
/// an event or to flush what is open.
///
/// Cancel safe: what was going on is taken up at the next call, over a new connection; call
/// [`App::stop`] to write out open batches.
pub async fn run<
    'a,
    F,
    S,
    E,
    C,
    T,
    B,
    const SIGNALS: usize,
    const FRAME: usize,
    const TX: usize,
    const RX: usize,
>(
    app: &mut App<'a, SIGNALS, FRAME, B>,
    mqtt: &mut Mqtt<TX, RX>,
    board: &mut Board<F, S, E, C, T>,
    mut until: impl FnMut(Now, &mut App<'a, SIGNALS, FRAME, B>, &mut F) -> bool,
) where
    F: NorFlash,
    S: Source,
    E: Entropy,
    C: Connect,
    T: Clock,
    B: core::borrow::BorrowMut<Batches<'a, SIGNALS, FRAME>>,
{
    const { assert!(TX >= FRAME + PACKET_OVERHEAD, "the largest frame must fit the client") };
    let Board { flash, source, entropy, connect, clock } = board;
    // A client that thinks it has a transport has lost it with the last run.
    mqtt.closed();
    let mut poll = |mqtt: &mut Mqtt<TX, RX>| {
        let now = clock.now();
        let deadline = app.poll(now, &mut Ports { flash, source, link: mqtt, entropy });
        let wake_ms = earlier(deadline, mqtt.deadline());
        (!until(now, app, flash)).then_some(wake_ms)
    };
    let mut transport: Option<C::Io> = None;
    loop {
        let Some(wake_ms) = poll(mqtt) else { return };
        match (mqtt.transport(), &mut transport) {
            (Transport::Keep, Some(io)) => exchange(io, mqtt, clock.sleep_until(wake_ms)).await,
            (Transport::Keep, None) => mqtt.closed(),
            (Transport::Close, _) => {
                transport = None;
                idle(clock.sleep_until(wake_ms)).await;
            }
            (Transport::Open, _) => {
                transport = None;
                let mut connecting = pin!(connect.connect());
                let mut wake_ms = wake_ms;
                while mqtt.transport() == Transport::Open {
                    match first_of(connecting.as_mut(), clock.sleep_until(wake_ms)).await {
                        Some(Ok(io)) => {
                            transport = Some(io);
                            mqtt.opened(clock.now().uptime_ms);
                        }
                        Some(Err(_)) => mqtt.closed(),
                        None => {
                            let Some(later_ms) = poll(mqtt) else { return };
                            wake_ms = later_ms;
                        }
                    }
                }
            }
        }
    }
}

fn earlier(deadline: Deadline, other: Option<u64>) -> u64 {
    other.map_or(deadline.0, |other| other.min(deadline.0))
}

/// Moves bytes both ways until some moved, the transport ended, or the time has come.
async fn exchange<IO: Read + Write, const TX: usize, const RX: usize>(
    io: &mut IO,
    mqtt: &mut Mqtt<TX, RX>,
    sleep: impl Future<Output = ()>,
) {
    let sleep = pin!(sleep);
    let mut nap = Nap::new(sleep);
    poll_fn(|cx| {
        let wrote = poll_write(io, mqtt, cx);
        let read = poll_read(io, mqtt, cx);
        if wrote || read { Poll::Ready(()) } else { nap.poll(cx) }
    })
    .await;
}

/// What `work` ends with, or nothing if the time comes first.
pub(super) async fn first_of<W: Future>(
    mut work: Pin<&mut W>,
    sleep: impl Future<Output = ()>,
) -> Option<W::Output> {
    let sleep = pin!(sleep);
    let mut nap = Nap::new(sleep);
    poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => nap.poll(cx).map(|()| None),
    })
    .await
}

async fn idle(sleep: impl Future<Output = ()>) {
    let sleep = pin!(sleep);
    let mut nap = Nap::new(sleep);
    poll_fn(|cx| nap.poll(cx)).await;
}

/// A sleep that lets others run at least once, even if its time has passed.
struct Nap<'a, Z> {
    sleep: Pin<&'a mut Z>,
    passed: bool,
    yielded: bool,
}

impl<'a, Z: Future<Output = ()>> Nap<'a, Z> {
    fn new(sleep: Pin<&'a mut Z>) -> Self {
        Self { sleep, passed: false, yielded: false }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.passed = self.passed || self.sleep.as_mut().poll(cx).is_ready();
        let over = self.passed && self.yielded;
        if self.passed && !over {
            cx.waker().wake_by_ref();
        }
        self.yielded = true;
        if over { Poll::Ready(()) } else { Poll::Pending }
    }
}

fn poll_write<IO: Write, const TX: usize, const RX: usize>(
    io: &mut IO,
    mqtt: &mut Mqtt<TX, RX>,
    cx: &mut Context<'_>,
) -> bool {
    if mqtt.outgoing().is_empty() {
        return false;
    }
    let polled = pin!(io.write(mqtt.outgoing())).poll(cx);
    match polled {
        Poll::Ready(Ok(0) | Err(_)) => mqtt.closed(),
        Poll::Ready(Ok(len)) => mqtt.written(len),
        Poll::Pending => return false,
    }
    true
}

fn poll_read<IO: Read, const TX: usize, const RX: usize>(
    io: &mut IO,
    mqtt: &mut Mqtt<TX, RX>,
    cx: &mut Context<'_>,
) -> bool {
    if mqtt.transport() != Transport::Keep || mqtt.room().is_empty() {
        return false;
    }
    let polled = pin!(io.read(mqtt.room())).poll(cx);
    match polled {
        Poll::Ready(Ok(0) | Err(_)) => mqtt.closed(),
        Poll::Ready(Ok(len)) => mqtt.received(len),
        Poll::Pending => return false,
    }
    true
}

#[cfg(test)]
mod tests;
