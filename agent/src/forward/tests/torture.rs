//! Exactly once in effect, whatever the disk does, and the ledger balances each time.

use protocol::event::{Attributes, Event};
use protocol::loss::LossReason;
use protocol::record::Record;
use protocol::{DeviceTime, Lane};

use super::world::{LATE, Ring, World, samples};
use crate::storage::faulty::{Fault, Leaves};

fn event() -> Record<'static> {
    Record::Event(Event {
        time: DeviceTime::default(),
        actor: "driver",
        action: "open",
        object: "door",
        context: "",
        resource: "",
        attributes: Attributes::new(),
    })
}

/// Three rings with everything in them that can be: samples, records, losses, gaps, a frame that
/// nobody can open, frames whose catalogue comes late.
struct Story {
    world: World,
    bulk: Ring,
    late: Ring,
    critical: Ring,
    loses: u64,
}

impl Story {
    fn new() -> Self {
        let world = World::new();
        let (bulk, late) = (Ring::new(1, Lane::Bulk), Ring::new(2, Lane::Bulk));
        Self { world, bulk, late, critical: Ring::new(3, Lane::Critical), loses: 0 }
    }

    fn first_half(&mut self) {
        let Self { world, bulk, late, critical, .. } = self;
        world.samples(bulk, 7);
        world.samples_of(late, LATE, 5);
        world.records(critical, &[event(), event()]);
        world.loss(bulk, 2, 3, samples(30), LossReason::Full);
        world.append(bulk, samples(4), b"not a frame that anybody sealed");
        world.samples(late, 6);
        world.samples(bulk, 5);
        world.commit();
    }

    fn second_half(&mut self) {
        let Self { world, bulk, late, critical, .. } = self;
        world.catalogues.learn(LATE);
        world.samples_of(late, LATE, 4);
        world.gap(critical, 2, samples(9));
        world.records(critical, &[event()]);
        world.samples(bulk, 8);
        world.commit();
        self.loses = 2;
    }

    /// Everything is there, once, in order.
    fn check(&mut self) {
        let report = self.world.forward();
        let raws = [0..7, 18..23, 27..35].into_iter().flatten().collect::<Vec<i64>>();
        assert_eq!(self.world.delivered(&self.bulk), raws);
        let raws: Vec<i64> = [7..12, 12..18, 23..27].into_iter().flatten().collect();
        assert_eq!(self.world.delivered(&self.late), raws);
        assert_eq!(self.world.of_type("event").len(), 3);
        assert_eq!(self.world.of_type("loss").len(), 2);
        assert_eq!(self.world.dead_letters().len(), 1);
        assert_eq!((report.delivered.samples, report.delivered.events), (35, 3));
        assert_eq!(report.lost, samples(39));
        assert_eq!(report.dead_lettered, samples(4));
        assert!(report.quarantined.is_zero() && report.excluded.is_zero());
        assert_eq!(report.documents, self.world.documents().len() as u64);
    }

    /// Opens and forwards, a new life for each time the power goes.
    fn live(&mut self, leaves: Leaves) {
        loop {
            if let Ok(mut forwarder) = self.world.open()
                && self.world.drive(&mut forwarder, 4)
            {
                return;
            }
            self.world.disk.power_cycle(leaves);
        }
    }
}

/// How many calls the story makes.
fn calls() -> u64 {
    let mut story = Story::new();
    story.first_half();
    story.live(Leaves::All);
    story.second_half();
    story.live(Leaves::All);
    let calls = story.world.disk.calls();
    story.check();
    calls
}

#[test]
fn a_power_cut_at_any_call_loses_nothing_and_doubles_nothing() {
    let calls = calls();
    assert!(calls > 50, "{calls}");
    for nth in 1..=calls {
        for fault in [Fault::CutBefore, Fault::CutAfter] {
            for leaves in [Leaves::Nothing, Leaves::All, Leaves::Some(nth)] {
                let mut story = Story::new();
                story.world.disk.fail(nth, fault);
                story.first_half();
                story.live(leaves);
                story.second_half();
                story.live(leaves);
                // Once more at rest: what was said to be durable is.
                story.world.disk.power_cycle(leaves);
                story.check();
            }
        }
    }
}

#[test]
fn a_fault_at_any_call_heals_without_a_start() {
    for nth in 1..=calls() {
        for fault in [Fault::Io, Fault::NoSpace] {
            let mut story = Story::new();
            story.world.disk.fail(nth, fault);
            story.first_half();
            for half in 0..2 {
                let mut forwarder = story.world.open().or_else(|_| story.world.open()).unwrap();
                assert!(story.world.drive(&mut forwarder, 4), "{nth} {fault:?}");
                if half == 0 {
                    story.second_half();
                }
            }
            // What a power cut would leave is what counts.
            story.world.disk.power_cycle(Leaves::Nothing);
            story.check();
        }
    }
}

#[test]
fn a_full_disk_holds_and_goes_on_when_there_is_room() {
    let mut story = Story::new();
    story.first_half();
    let mut forwarder = story.world.open().unwrap();
    let used: usize = story.world.disk.files().iter().map(|(_, content)| content.len()).sum();
    story.world.disk.set_capacity(Some(used + 1500));
    assert!(!story.world.drive(&mut forwarder, 20));
    let status = forwarder.status();
    assert!(format!("{:?}", status.condition()).contains("the disk is full"));
    let ends = story.world.journal.ends();
    assert!(status.ledger(&ends).balanced() && !status.ledger(&ends).buffered.is_zero());
    assert!(status.lag(&ends, 1_795_332_600_000 + 5000).samples > 0);
    story.world.disk.set_capacity(None);
    assert!(story.world.drive(&mut forwarder, 20));
    drop(forwarder);
    story.second_half();
    story.check();
}

#[test]
fn a_second_start_reads_on_from_the_cursor() {
    let mut story = Story::new();
    story.first_half();
    story.live(Leaves::All);
    story.world.reopen_journal();
    story.second_half();
    let forwarder = story.world.open().unwrap();
    assert_eq!(forwarder.status().snapshot().reconciled, 0);
    drop(forwarder);
    story.check();
}

#[test]
fn the_rings_are_known_again_without_their_snapshot() {
    let mut story = Story::new();
    story.first_half();
    story.live(Leaves::All);
    story.world.disk.lose("/data/cursors/files.rings".as_ref());
    story.second_half();
    story.check();
}
