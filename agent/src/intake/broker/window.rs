//! What came from the broker and was not acknowledged to it, in its order.
//!
//! MQTT wants a PUBACK for each message in the order of the messages (MQTT 5, 4.6). A message is settled whenever
//! the acceptor has it durable, or right away if nobody wants it; its PUBACK waits for those before.

use std::collections::VecDeque;

use crate::intake::SessionId;

/// The messages of one connection. Numbers them with tickets of our own: a packet id is the
/// broker's, and means something else in the next connection.
#[derive(Debug, Default)]
pub(super) struct Window {
    first: u16,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    packet_id: u16,
    session: Option<SessionId>,
    settled: bool,
}

impl Window {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// A message for this session; its ticket.
    pub(super) fn enter(&mut self, packet_id: u16, session: SessionId) -> u16 {
        let behind = u16::try_from(self.waiting.len()).unwrap_or(u16::MAX);
        self.waiting.push_back(Waiting { packet_id, session: Some(session), settled: false });
        self.first.wrapping_add(behind)
    }

    /// A message that nobody wants.
    pub(super) fn pass(&mut self, packet_id: u16) {
        self.waiting.push_back(Waiting { packet_id, session: None, settled: true });
    }

    /// The message with this ticket is durable; whose it was. None if the ticket is of an earlier
    /// connection, or was settled before.
    pub(super) fn settle(&mut self, ticket: u16) -> Option<SessionId> {
        let at = usize::from(ticket.wrapping_sub(self.first));
        let waiting = self.waiting.get_mut(at).filter(|waiting| !waiting.settled)?;
        waiting.settled = true;
        waiting.session
    }

    /// The packet to acknowledge next, if it is settled.
    pub(super) fn front(&self) -> Option<u16> {
        self.waiting.front().filter(|waiting| waiting.settled).map(|waiting| waiting.packet_id)
    }

    /// That one was acknowledged.
    pub(super) fn advance(&mut self) {
        if self.waiting.pop_front().is_some() {
            self.first = self.first.wrapping_add(1);
        }
    }

    /// The connection is gone: its tickets mean nothing any more.
    pub(super) fn clear(&mut self) {
        let len = u16::try_from(self.waiting.len()).unwrap_or(u16::MAX);
        self.first = self.first.wrapping_add(len);
        self.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: SessionId = SessionId(1);

    fn acknowledged(window: &mut Window) -> Vec<u16> {
        std::iter::from_fn(|| {
            let packet_id = window.front()?;
            window.advance();
            Some(packet_id)
        })
        .collect()
    }

    #[test]
    fn acknowledges_in_the_order_of_arrival_whatever_settles_first() {
        let mut window = Window::default();
        let tickets: Vec<u16> = [7, 9, 8].map(|id| window.enter(id, ONE)).to_vec();
        window.pass(5);
        assert_eq!(window.settle(tickets[2]), Some(ONE));
        assert_eq!(window.settle(tickets[2]), None, "settled once");
        assert_eq!(window.settle(tickets[1]), Some(ONE));
        assert!(acknowledged(&mut window).is_empty());
        window.settle(tickets[0]);
        assert_eq!(acknowledged(&mut window), [7, 9, 8, 5]);
        assert_eq!(window.len(), 0);
    }

    #[test]
    fn tickets_of_an_earlier_connection_settle_nothing() {
        // All the way round the tickets' numbers.
        let mut window = Window::default();
        for round in 0..70_000_u32 {
            let old = window.enter(1, ONE);
            window.clear();
            let new = window.enter(1, ONE);
            assert_eq!(window.settle(old), None, "{round}");
            assert!(acknowledged(&mut window).is_empty());
            assert_eq!(window.settle(new), Some(ONE));
            assert_eq!(acknowledged(&mut window), [1]);
        }
    }
}
