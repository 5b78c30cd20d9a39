//! A lane's store by itself: how what is gone is told.

use std::vec::Vec;

use protocol::frame::{HEADER_LEN_MAX, Kind, TAG_LEN};
use protocol::loss::LossReason;
use protocol::{Counts, DeviceTime, Generation, Lane, Loss, RingId, Secret, Seq};

use crate::app::store::{Identity, Store};
use crate::batch::Closed;
use crate::ring::flash_model::FlashModel;
use crate::ring::{Gone, Opened, Region, Ring, RingMeta};
use crate::session::Acknowledged;

type Flash = FlashModel<4, 4, 1024>;

const REGION: Region = Region { start: 0, len: 4 * 1024 };

fn counts(samples: u64) -> Counts {
    Counts { samples, events: 0 }
}

fn gone(first: u64, last: u64, through: u64) -> Gone {
    Gone { first: Seq(first), last: Seq(last), through: counts(through) }
}

fn at(uptime_ms: u64) -> DeviceTime {
    DeviceTime { boot: 1, uptime_ms, ..DeviceTime::default() }
}

struct Device {
    flash: Flash,
    store: Store,
}

impl Device {
    fn new(lane: Lane) -> Self {
        let mut flash = Flash::new(4, 1);
        let meta = RingMeta { ring: RingId([7; 16]), lane, format: 1 };
        let ring = Ring::format(&mut flash, REGION, meta).unwrap();
        Self { flash, store: Store::new(&identity(), ring) }
    }

    /// A frame that adds so many samples.
    fn sample(&mut self, adds: u64) -> Seq {
        let mut buffer = [9; 100];
        let body = HEADER_LEN_MAX..100 - TAG_LEN;
        let closed = Closed { counts: counts(adds), body, samples: None };
        let seq = self.store.ring.next();
        self.store.store(&mut self.flash, at(0), Kind::Samples, &mut buffer, &closed).unwrap();
        assert!(self.store.ring.next() > seq);
        self.store.ring.next().prev()
    }

    fn loss(&mut self, seq: u64) -> Option<Loss> {
        self.store.loss_at(&mut self.flash, Seq(seq), &mut [0; 200])
    }

    fn boot(mut self) -> Self {
        let lane = self.store.lane;
        let Ok(Opened::Existing(ring, _)) = Ring::open(&mut self.flash, REGION, lane) else {
            panic!("the ring was formatted")
        };
        let mut store = Store::new(&identity(), ring);
        store.find_front(&mut self.flash, &mut [0; 200]);
        Self { flash: self.flash, store }
    }

    fn before_first(&self) -> Counts {
        self.store.state(Acknowledged::default()).before_first
    }

    /// Destroys the header in front of a frame.
    fn wipe_header(&mut self, seq: u64) {
        let mut buffer = [0; 200];
        let len = self.store.ring.read(&mut self.flash, Seq(seq), &mut buffer).unwrap().len;
        let bytes = self.flash.bytes_mut();
        let place = bytes.windows(len).position(|window| window == &buffer[..len]).unwrap();
        bytes[place - 40..place].fill(0);
    }
}

fn identity() -> Identity {
    let device = "van-7".parse().unwrap();
    Identity {
        device,
        secret: Secret::new([3; 32]),
        generation: Generation::FIRST,
        registration: None,
    }
}

/// The latest-value lane with frame 1 superseded: the loss that says so is number 2, the newest value 3.
fn with_a_front() -> Device {
    let mut device = Device::new(Lane::Latest);
    device.sample(1);
    device.sample(20);
    let view = device.store.view();
    assert_eq!((view.said_first, view.first, view.next), (Seq(1), Seq(2), Seq(4)));
    device
}

#[test]
fn losses_that_wait_are_said_as_one_from_the_first_number_to_the_last() {
    for swap in [false, true] {
        let mut device = Device::new(Lane::Bulk);
        let mut losses = [gone(3, 4, 40), gone(5, 9, 90)];
        if swap {
            losses.swap(0, 1);
        }
        for loss in losses {
            device.store.lost(loss, LossReason::Full, 100);
        }
        device.store.say_losses(&mut device.flash, at(100), true).unwrap();
        let said = device.loss(1).unwrap();
        assert_eq!((said.first, said.last, said.through), (Seq(3), Seq(9), counts(90)));
    }
}

#[test]
fn a_loss_is_said_when_it_is_due_and_not_before() {
    let mut device = Device::new(Lane::Bulk);
    device.store.lost(gone(1, 1, 5), LossReason::Full, 100);
    let due = device.store.losses_due_ms().unwrap();
    device.store.say_losses(&mut device.flash, at(due - 1), false).unwrap();
    assert_eq!(device.store.ring.next(), Seq(1), "not yet");
    device.store.say_losses(&mut device.flash, at(due), false).unwrap();
    assert_eq!(device.loss(1).map(|loss| loss.last), Some(Seq(1)));
    assert_eq!(device.store.losses_due_ms(), None);
}

#[test]
fn burnt_numbers_in_a_row_are_one_gap_from_the_first() {
    let mut device = Device::new(Lane::Bulk);
    for adds in [1, 20, 300] {
        drop(device.store.ring.reserve(&mut device.flash, 10, counts(adds)).unwrap());
    }
    device.sample(4000);
    let first = gone(1, 1, 1);
    let whole = device.store.whole_gap(&mut device.flash, first, &mut [0; 200]);
    assert_eq!(whole, gone(1, 3, 321));
}

#[test]
fn a_front_counts_no_more_when_its_loss_cannot_be_read() {
    let said_at = with_a_front().store.view().first.0;
    for (first, last, within) in [
        (said_at, said_at, true),
        (said_at - 1, said_at, true),
        (said_at, said_at + 1, true),
        (said_at - 1, said_at + 1, true),
        (said_at - 1, said_at - 1, false),
        (said_at + 1, said_at + 1, false),
        (said_at + 1, said_at + 2, false),
    ] {
        let mut device = with_a_front();
        assert_eq!(device.store.unreadable(&gone(first, last, 0)), within, "{first} to {last}");
        let kept = device.store.view().first == Seq(said_at);
        assert_eq!(kept, !within, "{first} to {last}");
        assert_eq!(device.store.unreadable(&gone(1, 99, 0)), !within, "gone only once");
    }
    assert!(!Device::new(Lane::Latest).store.unreadable(&gone(1, 9, 0)), "there is none");
}

#[test]
fn a_boot_finds_what_the_ring_had_taken_before_the_front() {
    let mut device = Device::new(Lane::Latest);
    device.sample(1);
    device.store.release(Seq(1));
    device.sample(20);
    device.sample(300);
    assert_eq!((device.store.view().said_first, device.before_first()), (Seq(2), counts(1)));
    let device = device.boot();
    assert_eq!((device.store.view().said_first, device.before_first()), (Seq(2), counts(1)));
}

#[test]
fn a_front_from_the_first_number_on_has_nothing_before_it_whatever_can_be_read() {
    let mut device = Device::new(Lane::Latest);
    let first = device.sample(1);
    device.sample(20);
    device.wipe_header(first.0);
    let device = device.boot();
    assert_eq!((device.store.view().said_first, device.before_first()), (Seq(1), Counts::ZERO));
}

#[test]
fn what_is_superseded_from_the_first_frame_on_counts_from_there_although_it_cannot_be_read() {
    let mut device = Device::new(Lane::Latest);
    let first = device.sample(1);
    // So that more was taken when it is superseded.
    device.store.lost(gone(1, 1, 1), LossReason::Forked, 0);
    device.store.say_losses(&mut device.flash, at(0), true).unwrap();
    device.wipe_header(first.0);
    device.sample(20);
    assert_eq!(device.before_first(), Counts::ZERO);
    let said = (1..5).filter_map(|seq| device.loss(seq));
    let superseded: Vec<Loss> = said.filter(|loss| loss.reason == LossReason::Superseded).collect();
    assert_eq!(superseded.first().map(|loss| loss.first), Some(Seq(1)), "{superseded:?}");
}

#[test]
fn what_was_dropped_is_said_to_be_gone_before_an_answer_only_once_all_of_it_was_sent() {
    let mut device = Device::new(Lane::Bulk);
    while device.store.view().first == Seq::FIRST {
        device.sample(1);
    }
    let first = device.store.view().first;
    let last = first.prev();
    for (sent, said) in [(None, Seq::FIRST), (Some(last.prev()), Seq::FIRST), (Some(last), first)] {
        if let Some(sent) = sent {
            device.store.sent(sent);
        }
        assert_eq!(device.store.view().said_first, said, "{sent:?} of {last:?}");
    }
}
