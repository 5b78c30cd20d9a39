use std::vec;
use std::vec::Vec;

use protocol::Generation;

use super::*;

const CRITICAL: usize = 0;
const BULK: usize = 1;

/// Bulk has frames 1 to 9, the other lanes none.
fn rings() -> [RingView; 3] {
    let empty = RingView { said_first: Seq(1), first: Seq(1), next: Seq(1), unsent: Seq(1) };
    [empty, RingView { next: Seq(10), unsent: Seq(10), ..empty }, empty]
}

fn ack(lane: Lane, durable: u64, repeat: bool) -> Ack {
    Ack {
        generation: Generation::FIRST,
        lane,
        durable: Seq(durable),
        tag: FrameTag::default(),
        instance: JournalInstance([7; 8]),
        repeat,
    }
}

fn session() -> Session {
    let config = SessionConfig { window_frames: 4, ..SessionConfig::default() };
    Session::new(config, 1)
}

/// Does what the session asks for, until it waits; what it asked for, and until when it waits.
fn run(session: &mut Session, now_ms: u64, rings: &[RingView; 3]) -> (Vec<Step>, u64) {
    let mut steps = vec![];
    for _ in 0..100 {
        let step = session.step(now_ms, rings);
        match step {
            Step::Wait(until) => return (steps, until),
            Step::Hello => session.said_hello(now_ms, rings),
            Step::Send(lane, seq) => session.sent(now_ms, lane, seq),
            Step::Disconnect => session.down(now_ms, false),
            Step::Connect => {}
        }
        steps.push(step);
    }
    panic!("never waits: {steps:?}");
}

fn hear(session: &mut Session, now_ms: u64, rings: &[RingView; 3], ack: &Ack) {
    session.acknowledged(now_ms, ack, &rings[ack.lane.index()]);
}

/// A session that is connected, greeted and knows that the agent holds `durable` of bulk.
fn greeted(rings: &[RingView; 3], durable: u64) -> Session {
    let mut session = session();
    assert_eq!(run(&mut session, 0, rings).0, [Step::Connect]);
    session.up(0);
    assert_eq!(run(&mut session, 0, rings).0, [Step::Hello]);
    hear(&mut session, 0, rings, &ack(Lane::Bulk, durable, false));
    session
}

fn bulk(seqs: impl IntoIterator<Item = u64>) -> Vec<Step> {
    seqs.into_iter().map(|seq| Step::Send(Lane::Bulk, Seq(seq))).collect()
}

#[test]
fn more_burnt_numbers_than_the_window_do_not_close_it() {
    // Frames 3 to 7 never were: a damaged sector, say. The frame after them covers them.
    let rings = rings();
    let mut session = greeted(&rings, 2);
    session.skip(Lane::Bulk, Seq(7));
    let sent = run(&mut session, 0, &rings).0;
    assert_eq!(sent.first(), Some(&Step::Send(Lane::Bulk, Seq(8))), "{sent:?}");
}

#[test]
fn nothing_already_held_is_sent_and_the_window_bounds_the_rest() {
    let rings = rings();
    let mut session = greeted(&rings, 3);
    assert_eq!(run(&mut session, 0, &rings).0, bulk(4..=7));
    assert_eq!(run(&mut session, 1, &rings).0, []);
    hear(&mut session, 2, &rings, &ack(Lane::Bulk, 5, false));
    assert_eq!(run(&mut session, 2, &rings).0, bulk(8..=9));
}

#[test]
fn a_lane_waits_for_its_own_acknowledgement_and_urgent_ones_go_first() {
    let mut rings = rings();
    let mut session = greeted(&rings, 0);
    rings[CRITICAL].next = Seq(3);
    assert_eq!(run(&mut session, 0, &rings).0, bulk(1..=4), "critical was not acknowledged yet");
    hear(&mut session, 0, &rings, &ack(Lane::Critical, 0, false));
    hear(&mut session, 0, &rings, &ack(Lane::Bulk, 1, false));
    let critical = |seq| Step::Send(Lane::Critical, Seq(seq));
    assert_eq!(run(&mut session, 0, &rings).0, [critical(1), critical(2), bulk([5])[0]]);
}

#[test]
fn goes_back_when_asked_but_at_most_once_a_second() {
    let rings = rings();
    let mut session = greeted(&rings, 0);
    assert_eq!(run(&mut session, 0, &rings).0, bulk(1..=4));
    hear(&mut session, 10, &rings, &ack(Lane::Bulk, 1, true));
    assert_eq!(run(&mut session, 10, &rings).0, bulk(2..=5));
    hear(&mut session, 20, &rings, &ack(Lane::Bulk, 1, true));
    let (steps, until) = run(&mut session, 20, &rings);
    assert_eq!((steps, until), (vec![], 1010), "too soon, but not forgotten");
    assert_eq!(run(&mut session, 1010, &rings).0, bulk(2..=5));
    hear(&mut session, 1020, &rings, &ack(Lane::Bulk, 1, true));
    hear(&mut session, 1030, &rings, &ack(Lane::Bulk, 2, false));
    assert_eq!(run(&mut session, 3000, &rings).0, bulk([6]), "a newer one took the wish back");
}

#[test]
fn an_old_acknowledgement_changes_nothing() {
    let rings = rings();
    let mut session = greeted(&rings, 0);
    run(&mut session, 0, &rings);
    hear(&mut session, 0, &rings, &ack(Lane::Bulk, 4, false));
    run(&mut session, 0, &rings);
    hear(&mut session, 0, &rings, &ack(Lane::Bulk, 2, true));
    assert_eq!(run(&mut session, 5000, &rings).0, []);
    assert_eq!(session.acked(Lane::Bulk), Seq(4));
}

#[test]
fn silence_makes_it_ask_twice_and_then_give_up() {
    let rings = rings();
    let mut session = greeted(&rings, 0);
    let (steps, first) = run(&mut session, 0, &rings);
    assert_eq!(steps, bulk(1..=4));
    assert!((10_000..=12_500).contains(&first), "{first}");
    let (steps, second) = run(&mut session, first, &rings);
    assert_eq!(steps, [Step::Hello]);
    let (steps, third) = run(&mut session, second, &rings);
    assert_eq!(steps, [Step::Hello]);
    let (steps, again) = run(&mut session, third, &rings);
    assert_eq!(steps, [Step::Disconnect]);
    assert!((third..=third + 1000).contains(&again), "{again}");
    assert!(!session.is_up());
}

#[test]
fn after_silence_everything_unacknowledged_goes_out_again() {
    let rings = rings();
    let mut session = greeted(&rings, 0);
    let (_, until) = run(&mut session, 0, &rings);
    run(&mut session, until, &rings);
    hear(&mut session, until, &rings, &ack(Lane::Bulk, 2, false));
    assert_eq!(run(&mut session, until, &rings).0, bulk(3..=6));
}

#[test]
fn waits_grow_are_drawn_and_longer_if_the_other_side_is_full() {
    let rings = rings();
    let mut session = session();
    let mut most = vec![];
    for attempt in 0_u32..10 {
        session.down(0, false);
        let Step::Wait(until) = session.step(0, &rings) else { continue };
        assert!(until <= (1000 << attempt).min(60_000), "{attempt}: {until}");
        most.push(until);
    }
    assert!(most.iter().max() > Some(&5_000), "{most:?}");
    session.down(0, true);
    let Step::Wait(until) = session.step(0, &rings) else { panic!("connects at once") };
    assert!((10_000..=70_000).contains(&until), "{until}");
    session.up(0);
    hear(&mut session, 0, &rings, &ack(Lane::Bulk, 0, false));
    session.down(0, false);
    assert!(matches!(session.step(1000, &rings), Step::Connect), "an answer ends the growth");
}

#[test]
fn a_connection_that_does_not_come_up_is_given_up() {
    let rings = rings();
    let mut session = session();
    assert_eq!(run(&mut session, 5, &rings), (vec![Step::Connect], 30_005));
    assert_eq!(session.step(30_005, &rings), Step::Disconnect);
}

#[test]
fn frames_dropped_unsent_are_said_before_more_is_sent() {
    let mut rings = rings();
    let mut session = greeted(&rings, 0);
    run(&mut session, 0, &rings);
    rings[BULK] = RingView { said_first: Seq(7), first: Seq(7), next: Seq(12), unsent: Seq(12) };
    let (steps, until) = run(&mut session, 100, &rings);
    assert_eq!((steps, until), (vec![], 1000), "one hello a second");
    assert_eq!(run(&mut session, 1000, &rings).0, [vec![Step::Hello], bulk(7..=10)].concat(),);
    // Dropped after it was sent: nobody has to be told.
    rings[BULK] = RingView { said_first: Seq(9), first: Seq(9), next: Seq(12), unsent: Seq(12) };
    hear(&mut session, 1100, &rings, &ack(Lane::Bulk, 6, false));
    assert_eq!(run(&mut session, 3000, &rings).0, bulk([11]));
}

#[test]
fn a_loss_at_the_front_stands_for_what_it_covers() {
    let mut rings = rings();
    let mut session = greeted(&rings, 0);
    run(&mut session, 0, &rings);
    rings[BULK] = RingView { said_first: Seq(2), first: Seq(10), next: Seq(12), unsent: Seq(12) };
    assert_eq!(run(&mut session, 100, &rings).0, bulk(10..=11), "no hello needed");
}

#[test]
fn an_unreadable_frame_holds_its_lane_until_all_before_it_is_held() {
    let rings = rings();
    let mut session = greeted(&rings, 0);
    assert_eq!(session.step(0, &rings), bulk([1])[0]);
    session.sent(0, Lane::Bulk, Seq(1));
    session.hold(Lane::Bulk, Seq(2));
    assert_eq!(run(&mut session, 0, &rings).0, []);
    hear(&mut session, 1, &rings, &ack(Lane::Bulk, 1, false));
    assert_eq!(session.step(1, &rings), bulk([2])[0], "for the driver to decide");
}

#[test]
fn another_history_is_known_by_its_tag_and_by_numbers_that_nobody_can_have() {
    let ring = RingView { unsent: Seq(8), ..rings()[BULK] };
    let (own, tag) = (Some(FrameTag([2; 8])), FrameTag([1; 8]));
    let of = |durable, tag, own| {
        fork_reason(&Ack { tag, ..ack(Lane::Bulk, durable, false) }, &ring, own)
    };
    assert_eq!(of(10, tag, None), Some(ForkReason::Ahead), "never given out");
    assert_eq!(of(8, tag, None), Some(ForkReason::Ahead), "never sent");
    assert_eq!(of(7, tag, None), None, "it is no longer here: no tag to compare");
    assert_eq!(of(7, tag, own), Some(ForkReason::Mismatch));
    assert_eq!(of(7, FrameTag([2; 8]), own), None);
    // A loss covers it there: no tag to compare.
    assert_eq!(of(2, FrameTag::default(), own), None);
}

#[test]
fn a_ring_that_was_left_is_followed_by_a_hello() {
    let rings = rings();
    let mut session = greeted(&rings, 2);
    run(&mut session, 0, &rings);
    session.reopened(Lane::Bulk);
    assert_eq!(session.acked(Lane::Bulk), Seq::ZERO);
    assert_eq!(run(&mut session, 1000, &rings).0, [Step::Hello]);
}

/// An acknowledgement of another agent's.
fn of_another(durable: u64, repeat: bool) -> Ack {
    Ack { instance: JournalInstance([8; 8]), ..ack(Lane::Bulk, durable, repeat) }
}

#[test]
fn an_agent_that_lacks_what_the_other_has_is_served_from_what_is_here() {
    let rings = rings();
    let mut session = greeted(&rings, 5);
    assert_eq!(run(&mut session, 0, &rings).0, bulk(6..=9));
    hear(&mut session, 10, &rings, &ack(Lane::Bulk, 9, false));
    hear(&mut session, 10, &rings, &of_another(3, false));
    assert_eq!(run(&mut session, 10, &rings).0, [], "it does not ask");
    hear(&mut session, 20, &rings, &of_another(3, true));
    assert_eq!(run(&mut session, 20, &rings).0, bulk(4..=9));
    // The same words once more, and once more: it was served, or is an old one that is replayed.
    hear(&mut session, 2_000, &rings, &of_another(3, true));
    assert_eq!(run(&mut session, 2_000, &rings).0, []);
    // It came further, and lacks something again.
    hear(&mut session, 3_000, &rings, &of_another(7, true));
    assert_eq!(run(&mut session, 3_000, &rings).0, bulk(8..=9));
    // It was not served after all. The other lanes, of which nothing was heard, are asked about.
    hear(&mut session, 13_000, &rings, &of_another(7, true));
    let steps = run(&mut session, 13_000, &rings).0;
    assert_eq!(steps, [vec![Step::Hello], bulk(8..=9)].concat());
    // An earlier word of the agent that is furthest is nobody's wish.
    hear(&mut session, 15_000, &rings, &ack(Lane::Bulk, 2, true));
    assert_eq!(run(&mut session, 15_000, &rings).0, []);
}

#[test]
fn an_agent_that_lacks_what_is_no_longer_here_is_told_so() {
    let mut rings = rings();
    let mut session = greeted(&rings, 9);
    assert_eq!(run(&mut session, 0, &rings).0, []);
    rings[BULK].said_first = Seq(6);
    rings[BULK].first = Seq(6);
    hear(&mut session, 2_000, &rings, &of_another(3, true));
    let steps = run(&mut session, 2_000, &rings).0;
    assert_eq!(steps.first(), Some(&Step::Hello), "{steps:?}");
    assert_eq!(steps.get(1..), Some(bulk(6..=9).as_slice()), "{steps:?}");
}
