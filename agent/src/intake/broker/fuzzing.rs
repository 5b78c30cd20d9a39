//! What a broker's messages come to, without a broker.

use std::sync::Arc;

use super::desk::{Arrival, Broken, Desk};
use super::gauges::BrokerGauges;
use crate::intake::{Admit, Inbound, Outbound, Reply, SessionId, SharedReceiver, SharedReplies};

/// A desk, and both its ends.
pub struct Office<A> {
    desk: Desk<A>,
    _replies: SharedReceiver,
}

impl<A: Admit> Office<A> {
    /// One of a connection that was just made.
    pub fn new(admit: A, in_flight_max: u16, sessions_max: usize) -> Self {
        let gauges = Arc::new(BrokerGauges::default());
        let (shared, replies) = SharedReplies::new(gauges.unsent.clone());
        let desk = Desk::new(admit, gauges, shared, in_flight_max, sessions_max);
        Self { desk, _replies: replies }
    }

    /// A message of the broker's; whether the connection may go on.
    pub fn arrive(&mut self, topic: &[u8], payload: &[u8], packet_id: Option<u16>) -> bool {
        self.desk.arrive(Arrival { topic, payload, packet_id }).is_ok()
    }

    /// What the acceptor is told next.
    pub fn next_inbound(&mut self) -> Option<Inbound> {
        self.desk.next_inbound()
    }

    /// The acceptor says something to a session; whether the connection may go on.
    pub fn said(&mut self, session: SessionId, outbound: Outbound) -> bool {
        !matches!(self.desk.reply(session, Reply::Said(outbound)), Err(Broken::GivenUp))
    }

    /// The packet that is acknowledged next.
    pub fn next_puback(&mut self) -> Option<u16> {
        let next = self.desk.next_puback();
        if next.is_some() {
            self.desk.acknowledged();
        }
        next
    }

    /// The connection is gone, and another one made.
    pub fn disconnected(&mut self) {
        self.desk.disconnected();
    }
}
