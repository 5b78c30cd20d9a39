//! The link session: when to connect, to say hello, to send which frame, to go back, to give up.
//!
//! Pure: events and the time in, one [`Step`] at a time out. It holds no frame and no byte; the
//! rings are its memory, and what it knows of an agent ends with the connection. What it stands on:
//!
//! - A hello opens every connection. A lane's frames go out only after its ring was acknowledged in
//!   this connection, from there on, so that nothing already held is sent again.
//! - Acknowledgements are cumulative. What the next hop takes over (PUBACK) only paces.
//! - Frames that were dropped unsent leave a gap that the agent can account for only by the counts
//!   in a hello, so the lane waits until one was said.
//! - Two agents may have the same devices, behind one broker both at once. One that lacks what the
//!   other has acknowledged is served from what is still here, and told of what is not.
//! - No progress for a while: another hello, and from its answer on everything unacknowledged is
//!   sent again. Two hellos without an answer: the connection is given up.

use protocol::ack::Ack;
use protocol::health::ForkReason;
use protocol::{FrameTag, JournalInstance, Lane, Seq};

/// The least time between two hellos that were not forced by silence, and between two turns back.
const PACE_MS: u64 = 1_000;
/// Hellos without an answer after which the connection is given up.
const UNANSWERED_MAX: u8 = 2;

/// How patient the session is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionConfig {
    /// Frames sent and not acknowledged, at most, per lane.
    pub window_frames: u32,
    /// Time without progress after which the device asks again; up to a quarter more, by chance.
    pub ack_timeout_ms: u32,
    /// Time a connection may take to come up.
    pub connect_timeout_ms: u32,
    /// The first wait before a new connection is between 0 and this; it doubles each time.
    pub backoff_ms_base: u32,
    /// Most that it grows to.
    pub backoff_ms_max: u32,
    /// Added to the wait when the other side said that it is full.
    pub busy_ms_min: u32,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            window_frames: 32,
            ack_timeout_ms: 10_000,
            connect_timeout_ms: 30_000,
            backoff_ms_base: 1_000,
            backoff_ms_max: 60_000,
            busy_ms_min: 10_000,
        }
    }
}

/// What the session must know of a ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RingView {
    /// What the hello says is the first one kept: below it, the device accounts by counts alone.
    pub said_first: Seq,
    /// The first frame that can be read. Above `said_first` only where that frame is a loss which
    /// covers everything from `said_first` on.
    pub first: Seq,
    /// The next that will be assigned.
    pub next: Seq,
    /// The first that no agent can have: never sent, nor said to be gone. At most `next`.
    pub unsent: Seq,
}

/// What to do now. The driver does it, reports, and asks again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Ask for a connection.
    Connect,
    /// Give the connection up; report [`Session::down`].
    Disconnect,
    /// Say hello; report [`Session::said_hello`].
    Hello,
    /// Send a frame; report [`Session::sent`], or [`Session::hold`] if it cannot be read.
    Send(Lane, Seq),
    /// Nothing before this time in uptime milliseconds, unless something happens.
    Wait(u64),
}

/// Why an authentic acknowledgement is not of this ring's history: then it frees nothing. `own`: the
/// tag of the ring's own frame `ack.durable`, if it still has it.
pub fn fork_reason(ack: &Ack, ring: &RingView, own: Option<FrameTag>) -> Option<ForkReason> {
    let says_tag = ack.tag != FrameTag::default();
    if ack.durable >= ring.unsent {
        Some(ForkReason::Ahead)
    } else if says_tag && own.is_some_and(|own| own != ack.tag) {
        Some(ForkReason::Mismatch)
    } else {
        None
    }
}

/// The session.
#[derive(Clone, Debug)]
pub struct Session {
    config: SessionConfig,
    phase: Phase,
    lanes: [LaneLink; 3],
    /// Failures in a row; sets the wait.
    attempts: u32,
    chance: u64,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Resting { until_ms: u64 },
    Connecting { since_ms: u64 },
    Up(Connection),
}

#[derive(Clone, Copy, Debug, Default)]
struct Connection {
    /// When the last hello was said.
    hello_ms: Option<u64>,
    /// One is to be said as soon as the pace allows.
    hello_wanted: bool,
    unanswered: u8,
    up_ms: u64,
    /// Patience, drawn anew with each hello.
    timeout_ms: u64,
}

/// What somebody said they hold of a ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Acknowledged {
    /// Everything up to here; zero if nothing.
    pub through: Seq,
    /// Whose journal holds it.
    pub by: JournalInstance,
}

#[derive(Clone, Copy, Debug, Default)]
struct LaneLink {
    /// Acknowledged since the hello that opened this connection, or that silence forced.
    heard: bool,
    acked: Seq,
    /// When something last went forward.
    progress_ms: u64,
    /// The next to send.
    cursor: Seq,
    /// What the last hello said is kept.
    told_first: Seq,
    /// Cannot be read: wait until everything before it is acknowledged.
    held: Option<Seq>,
    /// The last of the numbers that never were a frame and were stepped over.
    skipped: Seq,
    /// The agent asked to go back, and when the last turn back was.
    repeat_wanted: bool,
    repeated_ms: Option<u64>,
    /// Another agent lacks what comes behind this, and how far and when one was last served: the
    /// same again only after a while, so that an old acknowledgement that is replayed costs little.
    behind: Option<Seq>,
    served: Option<(Seq, u64)>,
    /// Highest acknowledged since the boot, and by whom.
    acknowledged: Acknowledged,
}

impl Session {
    /// A session that connects at once. `seed`: any random number, for jitter.
    pub fn new(config: SessionConfig, seed: u64) -> Self {
        let phase = Phase::Resting { until_ms: 0 };
        Self { config, phase, lanes: [LaneLink::default(); 3], attempts: 0, chance: seed | 1 }
    }

    /// The next step. `rings` by lane number.
    pub fn step(&mut self, now_ms: u64, rings: &[RingView; 3]) -> Step {
        match self.phase {
            Phase::Resting { until_ms } if now_ms >= until_ms => {
                self.phase = Phase::Connecting { since_ms: now_ms };
                Step::Connect
            }
            Phase::Resting { until_ms } => Step::Wait(until_ms),
            Phase::Connecting { since_ms } => {
                let until = since_ms.saturating_add(u64::from(self.config.connect_timeout_ms));
                if now_ms >= until { Step::Disconnect } else { Step::Wait(until) }
            }
            Phase::Up(connection) => self.step_up(now_ms, connection, rings),
        }
    }

    fn step_up(&mut self, now_ms: u64, connection: Connection, rings: &[RingView; 3]) -> Step {
        let mut wake_ms = u64::MAX;
        if let Some(silent_ms) = self.silent_since_ms(&connection) {
            if now_ms >= connection.given_up_ms(silent_ms) {
                return Step::Disconnect;
            }
            wake_ms = connection.asked_again_ms(silent_ms);
            if now_ms >= wake_ms {
                return self.ask_again(now_ms, &connection);
            }
        }
        let Some(hello_ms) = connection.hello_ms else { return Step::Hello };
        let gap = self.lanes.iter().zip(rings).any(|(lane, ring)| lane.has_gap(ring));
        if connection.hello_wanted || gap {
            let from = hello_ms.saturating_add(PACE_MS);
            if now_ms >= from {
                return Step::Hello;
            }
            wake_ms = wake_ms.min(from);
        }
        let window = u64::from(self.config.window_frames.max(1));
        for lane in Lane::BY_URGENCY {
            let (Some(link), Some(ring)) =
                (self.lanes.get_mut(lane.index()), rings.get(lane.index()))
            else {
                continue;
            };
            if let Some(turn_ms) = link.turn_back(now_ms) {
                wake_ms = wake_ms.min(turn_ms);
            }
            if let Some(seq) = link.sendable(ring, window) {
                return Step::Send(lane, seq);
            }
        }
        Step::Wait(wake_ms)
    }

    fn ask_again(&mut self, now_ms: u64, connection: &Connection) -> Step {
        if connection.unanswered >= UNANSWERED_MAX {
            return Step::Disconnect;
        }
        // What such a lane has on its way may be lost: the answer says from where to send again.
        for lane in &mut self.lanes {
            let silent_ms = lane.silent_since_ms(connection.hello_ms.unwrap_or_default());
            let silent = silent_ms.is_some_and(|at| now_ms >= connection.asked_again_ms(at));
            lane.heard &= !silent;
        }
        Step::Hello
    }

    /// Since when an answer is overdue to begin with: to a hello, or to some lane's frames.
    fn silent_since_ms(&self, connection: &Connection) -> Option<u64> {
        let Some(hello_ms) = connection.hello_ms else { return Some(connection.up_ms) };
        let hello = (connection.unanswered > 0).then_some(hello_ms);
        self.lanes.iter().filter_map(|lane| lane.silent_since_ms(hello_ms)).chain(hello).min()
    }

    /// The connection is up.
    pub fn up(&mut self, now_ms: u64) {
        let timeout_ms = u64::from(self.config.ack_timeout_ms);
        self.phase = Phase::Up(Connection { up_ms: now_ms, timeout_ms, ..Connection::default() });
        for lane in &mut self.lanes {
            let acknowledged = lane.acknowledged;
            *lane = LaneLink { acknowledged, ..LaneLink::default() };
        }
    }

    /// The connection is gone, or did not come up.
    pub fn down(&mut self, now_ms: u64, busy: bool) {
        let doubled = 1_u64.checked_shl(self.attempts).unwrap_or(u64::MAX);
        let most = u64::from(self.config.backoff_ms_base)
            .saturating_mul(doubled)
            .min(u64::from(self.config.backoff_ms_max));
        self.attempts = self.attempts.saturating_add(1).min(32);
        let floor = if busy { u64::from(self.config.busy_ms_min) } else { 0 };
        let wait = floor.saturating_add(self.draw(most));
        self.phase = Phase::Resting { until_ms: now_ms.saturating_add(wait) };
    }

    /// The hello is on its way; it said what `rings` says.
    pub fn said_hello(&mut self, now_ms: u64, rings: &[RingView; 3]) {
        let timeout = u64::from(self.config.ack_timeout_ms);
        let timeout_ms = timeout.saturating_add(self.draw(timeout / 4));
        if let Phase::Up(connection) = &mut self.phase {
            connection.hello_ms = Some(now_ms);
            connection.hello_wanted = false;
            connection.unanswered = connection.unanswered.saturating_add(1);
            connection.timeout_ms = timeout_ms;
        }
        for (lane, ring) in self.lanes.iter_mut().zip(rings) {
            lane.told_first = ring.said_first;
        }
    }

    /// The frame is on its way.
    pub fn sent(&mut self, now_ms: u64, lane: Lane, seq: Seq) {
        if let Some(link) = self.lanes.get_mut(lane.index()) {
            if !link.is_waiting() {
                link.progress_ms = now_ms;
            }
            link.cursor = seq.next();
        }
    }

    /// The frame cannot be read; the lane waits until everything before it is acknowledged.
    pub fn hold(&mut self, lane: Lane, seq: Seq) {
        if let Some(link) = self.lanes.get_mut(lane.index()) {
            link.held = Some(seq);
        }
    }

    /// The frame cannot be read and the one behind it covers it: go on there.
    pub fn skip(&mut self, lane: Lane, seq: Seq) {
        if let Some(link) = self.lanes.get_mut(lane.index()) {
            link.cursor = link.cursor.max(seq.next());
            link.skipped = link.skipped.max(seq);
        }
    }

    /// The ring has older frames to send after all: go back to what is not acknowledged.
    pub fn rewind(&mut self, lane: Lane) {
        if let Some(link) = self.lanes.get_mut(lane.index()) {
            link.cursor = link.acked.next();
        }
    }

    /// An authentic acknowledgement of a lane's ring, and of its history ([`fork_reason`]).
    pub fn acknowledged(&mut self, now_ms: u64, ack: &Ack, ring: &RingView) {
        self.answered();
        let patience_ms = u64::from(self.config.ack_timeout_ms);
        if let Some(link) = self.lanes.get_mut(ack.lane.index()) {
            link.falls_behind(now_ms, ack, patience_ms);
            if !link.heard {
                link.heard = true;
                link.acked = ack.durable;
                link.cursor = ack.durable.next();
                link.progress_ms = now_ms;
                link.repeat_wanted = false;
            } else if ack.durable > link.acked {
                link.acked = ack.durable;
                link.progress_ms = now_ms;
                link.cursor = link.cursor.max(ack.durable.next());
            }
            // Only the acknowledgement that is up to date says what the agent wants now.
            if ack.durable >= link.acked {
                link.repeat_wanted = ack.repeat && link.is_waiting();
            }
            if ack.durable >= link.acknowledged.through && ack.durable > Seq::ZERO {
                link.acknowledged = Acknowledged { through: ack.durable, by: ack.instance };
            }
        }
        if self.lanes.get(ack.lane.index()).is_some_and(|link| link.is_gone_for_one(ring))
            && let Phase::Up(connection) = &mut self.phase
        {
            connection.hello_wanted = true;
        }
    }

    /// The other side said something authentic.
    pub fn answered(&mut self) {
        self.attempts = 0;
        if let Phase::Up(connection) = &mut self.phase {
            connection.unanswered = 0;
        }
    }

    /// The lane has another ring now: nothing is known of it.
    pub fn reopened(&mut self, lane: Lane) {
        if let Some(link) = self.lanes.get_mut(lane.index()) {
            *link = LaneLink::default();
        }
        if let Phase::Up(connection) = &mut self.phase {
            connection.hello_wanted = true;
        }
    }

    /// When [`Session::step`] has something to say even if the link takes nothing.
    pub fn patience_ms(&self, now_ms: u64) -> u64 {
        match self.phase {
            Phase::Up(connection) => {
                let Some(silent_ms) = self.silent_since_ms(&connection) else { return u64::MAX };
                let asked_again_ms = connection.asked_again_ms(silent_ms);
                if now_ms < asked_again_ms {
                    asked_again_ms
                } else {
                    connection.given_up_ms(silent_ms)
                }
            }
            Phase::Resting { .. } | Phase::Connecting { .. } => now_ms,
        }
    }

    /// Everything up to here was acknowledged in this connection; zero if nothing was.
    pub fn acked(&self, lane: Lane) -> Seq {
        self.lanes.get(lane.index()).filter(|link| link.heard).map_or(Seq::ZERO, |link| link.acked)
    }

    /// What was acknowledged since the boot.
    pub fn acknowledged_since_boot(&self, lane: Lane) -> Acknowledged {
        self.lanes.get(lane.index()).map(|link| link.acknowledged).unwrap_or_default()
    }

    /// Whether a connection is up.
    pub fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Up(_))
    }

    /// A number from 0 to `most`, both included.
    fn draw(&mut self, most: u64) -> u64 {
        // xorshift64*: jitter needs spread, not secrecy.
        let mut x = self.chance;
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.chance = x;
        let mixed = x.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16;
        mixed.checked_rem(most.saturating_add(1)).unwrap_or_default()
    }
}

impl Connection {
    fn asked_again_ms(&self, silent_ms: u64) -> u64 {
        silent_ms.saturating_add(self.timeout_ms)
    }

    /// Even if the link is so stuck that no hello goes out.
    fn given_up_ms(&self, silent_ms: u64) -> u64 {
        silent_ms.saturating_add(self.timeout_ms.saturating_mul(3))
    }
}

impl LaneLink {
    /// Whether something was sent and not acknowledged.
    fn is_waiting(&self) -> bool {
        self.heard && self.cursor > self.acked.next()
    }

    /// Since when the agent owes the lane something.
    fn silent_since_ms(&self, hello_ms: u64) -> Option<u64> {
        if !self.heard {
            return Some(hello_ms);
        }
        self.is_waiting().then_some(hello_ms.max(self.progress_ms))
    }

    /// Whether frames were dropped that were never sent, and no hello has said so.
    fn has_gap(&self, ring: &RingView) -> bool {
        self.heard && self.cursor < ring.said_first && self.told_first < ring.said_first
    }

    /// Notes that another agent than the one that is furthest asks for what this one has.
    fn falls_behind(&mut self, now_ms: u64, ack: &Ack, patience_ms: u64) {
        let is_other = ack.instance != self.acknowledged.by;
        let again = self.served.is_some_and(|(durable, at)| {
            ack.durable <= durable && now_ms < at.saturating_add(patience_ms)
        });
        if self.heard && ack.repeat && is_other && ack.durable < self.acked && !again {
            self.behind = Some(self.behind.map_or(ack.durable, |other| other.min(ack.durable)));
        }
    }

    /// Whether an agent lacks what is no longer here: only a hello lets it pass.
    fn is_gone_for_one(&self, ring: &RingView) -> bool {
        self.behind.is_some_and(|durable| durable.next() < ring.said_first)
    }

    /// Goes back if an agent asked for it; when to try again, if that is too soon now.
    fn turn_back(&mut self, now_ms: u64) -> Option<u64> {
        if !self.repeat_wanted && self.behind.is_none() {
            return None;
        }
        let from = self.repeated_ms.map_or(0, |at| at.saturating_add(PACE_MS));
        if now_ms < from {
            return Some(from);
        }
        self.repeated_ms = Some(now_ms);
        if core::mem::take(&mut self.repeat_wanted) {
            self.cursor = self.acked.next();
        }
        if let Some(durable) = self.behind.take() {
            self.served = Some((durable, now_ms));
            self.cursor = self.cursor.min(durable.next());
        }
        None
    }

    fn sendable(&mut self, ring: &RingView, window: u64) -> Option<Seq> {
        if !self.heard || self.has_gap(ring) {
            return None;
        }
        self.cursor = self.cursor.max(ring.first);
        if self.held == Some(self.cursor) {
            if self.acked.next() < self.cursor {
                return None;
            }
            self.held = None;
        }
        // What was dropped after it was sent, or never was a frame, the window does not wait for.
        let from = self.acked.max(ring.first.prev()).max(self.skipped);
        let waiting = self.cursor.0.saturating_sub(from.0).saturating_sub(1);
        (self.cursor < ring.next && waiting < window).then_some(self.cursor)
    }
}

#[cfg(test)]
mod tests;
