//! The ring against a list.

use proptest::prelude::*;
use protocol::{Counts, Seq};

use super::store::Store;
use crate::ring::RingError;

#[derive(Clone, Debug)]
enum Step {
    Push { len: usize, samples: u64, events: u64 },
    Read { seq: u64 },
    ReadAll,
    Release { back: u64 },
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..700_usize, 0..1000_u64, 0..5_u64)
            .prop_map(|(len, samples, events)| Step::Push { len, samples, events }),
        3 => (0..60_u64).prop_map(|seq| Step::Read { seq }),
        1 => Just(Step::ReadAll),
        1 => (0..10_u64).prop_map(|back| Step::Release { back }),
        1 => Just(Step::Reopen),
    ]
}

fn agrees<const U: usize, const S: usize>(sectors: u32, steps: &[Step]) {
    let mut store = Store::<U, S>::new(sectors, 1);
    for (index, step) in steps.iter().enumerate() {
        match *step {
            Step::Push { len, samples, events } => {
                let len = len.min(store.ring.frame_len_max());
                store.push(len, Counts { samples, events }, index as u64).unwrap();
            }
            Step::Read { seq } => {
                let seq = Seq(seq);
                let mut bytes = [0; 2048];
                let known = store.oracle.assigned.get(&seq);
                let known = known.filter(|_| seq >= store.ring.first_retained());
                let read = store.ring.read(&mut store.flash, seq, &mut bytes);
                match known {
                    Some(known) => assert_eq!(bytes[..read.unwrap().len], known.bytes),
                    None => assert_eq!(read, Err(RingError::NotRetained)),
                }
            }
            Step::ReadAll => drop(store.deliver()),
            Step::Release { back } => {
                let before = store.ring.released();
                store.ring.release(Seq(store.ring.next().0.saturating_sub(back)));
                assert!(store.ring.released() >= before);
                store.oracle.released = store.oracle.released.max(store.ring.released());
            }
            Step::Reopen => {
                let recovery = store.reopen();
                assert_eq!(recovery.torn, None);
                store.recover(&recovery).unwrap();
            }
        }
        let (next, before) = store.oracle.next();
        assert_eq!((store.ring.next(), store.ring.before_next()), (next, before));
    }
    store.check();
    let erases = &store.flash.erases[1..];
    let wear = erases.iter().max().unwrap() - erases.iter().min().unwrap();
    assert!(wear <= 1, "strictly in a circle: {erases:?}");
    assert_eq!(store.flash.erases[0], 0, "outside the region");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_ring_is_a_list_that_forgets_its_oldest(steps in prop::collection::vec(step(), 1..80)) {
        agrees::<1, 512>(3, &steps);
        agrees::<4, 1024>(4, &steps);
        agrees::<8, 2048>(6, &steps);
    }
}
