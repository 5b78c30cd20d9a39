//! What waits for one session: a bounded queue whose memory is what is in it.
//!
//! A channel of tokio keeps a block of 32 messages for each session, used or not; of thousands of
//! sessions nearly all have nothing waiting.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::Outbound;

/// What an empty queue may keep, in messages.
const KEPT_MAX: usize = 4;

/// A queue of at most so many messages: the acceptor's end, and the session's.
pub fn outbox(messages_max: usize) -> (OutboxSender, Outbox) {
    let shared = Arc::new(Mutex::new(Shared { messages_max, ..Shared::default() }));
    (OutboxSender(Arc::clone(&shared)), Outbox(shared))
}

/// The end that says something.
#[derive(Debug)]
pub struct OutboxSender(Arc<Mutex<Shared>>);

/// The session's end.
#[derive(Debug)]
pub struct Outbox(Arc<Mutex<Shared>>);

#[derive(Debug, Default)]
struct Shared {
    messages_max: usize,
    waiting: VecDeque<Outbound>,
    /// Who waits for the next one.
    waker: Option<Waker>,
    /// One of the ends is gone.
    is_closed: bool,
}

impl OutboxSender {
    /// Says something without waiting; given back if there is no room, or nobody to hear it.
    pub fn try_send(&self, message: Outbound) -> Result<(), Outbound> {
        let mut shared = lock(&self.0);
        if shared.is_closed || shared.waiting.len() >= shared.messages_max {
            return Err(message);
        }
        shared.waiting.push_back(message);
        wake(shared);
        Ok(())
    }

    /// How many more find room.
    #[cfg(test)]
    pub fn capacity(&self) -> usize {
        let shared = lock(&self.0);
        shared.messages_max.saturating_sub(shared.waiting.len())
    }
}

impl Drop for OutboxSender {
    fn drop(&mut self) {
        let mut shared = lock(&self.0);
        shared.is_closed = true;
        wake(shared);
    }
}

impl Outbox {
    /// The next message; none once the other end is gone and all was taken.
    ///
    /// Cancel safe: a message is taken when it is returned.
    pub async fn recv(&mut self) -> Option<Outbound> {
        std::future::poll_fn(|context| self.poll_recv(context)).await
    }

    /// Whether the other end is gone; what waits may still be taken.
    pub fn is_closed(&self) -> bool {
        lock(&self.0).is_closed
    }

    /// The next message, if one waits.
    pub fn try_recv(&mut self) -> Option<Outbound> {
        take(&mut lock(&self.0))
    }

    fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<Outbound>> {
        let mut shared = lock(&self.0);
        if let Some(message) = take(&mut shared) {
            return Poll::Ready(Some(message));
        }
        if shared.is_closed {
            return Poll::Ready(None);
        }
        if !shared.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            shared.waker = Some(context.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        let mut shared = lock(&self.0);
        shared.is_closed = true;
        shared.waiting = VecDeque::new();
        shared.waker = None;
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn take(shared: &mut Shared) -> Option<Outbound> {
    let message = shared.waiting.pop_front();
    if shared.waiting.is_empty() && shared.waiting.capacity() > KEPT_MAX {
        shared.waiting = VecDeque::new();
    }
    message
}

/// Wakes whoever waits, with the lock given back before.
fn wake(mut shared: MutexGuard<'_, Shared>) {
    let waker = shared.waker.take();
    drop(shared);
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_holds_so_many_in_order_and_wakes_who_waits() {
        let (sender, mut outbox) = outbox(2);
        let waiting = tokio::spawn(async move {
            let mut seen = Vec::new();
            while let Some(Outbound::PubAck(id)) = outbox.recv().await {
                seen.push(id);
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            seen
        });
        tokio::time::sleep(Duration::from_millis(10)).await;
        sender.try_send(Outbound::PubAck(1)).unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
        for id in [2, 3] {
            sender.try_send(Outbound::PubAck(id)).unwrap();
        }
        assert_eq!(sender.capacity(), 0);
        sender.try_send(Outbound::PubAck(4)).unwrap_err();
        // What was said before it went is heard.
        drop(sender);
        assert_eq!(waiting.await.unwrap(), [1, 2, 3]);
    }

    #[tokio::test]
    async fn a_session_that_is_gone_hears_nothing() {
        let (sender, outbox) = outbox(2);
        drop(outbox);
        sender.try_send(Outbound::Close).unwrap_err();
        let (sender, mut outbox) = super::outbox(2);
        drop(sender);
        assert!(outbox.recv().await.is_none());
        assert!(outbox.try_recv().is_none());
    }
}
