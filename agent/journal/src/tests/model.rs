//! Any sequence of acts, against vectors.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Act {
    Append(Lane, u8),
    Commit,
    /// Reads from the n-th part of what is there.
    ReadFrom(Lane, u8),
    /// Prunes up to the n-th part of what is there.
    Prune(Lane, u8),
    Restart,
    PowerCut(u64),
    Fail(u8, bool),
}

fn act() -> impl Strategy<Value = Act> {
    let lane = prop::sample::select(Lane::ALL.to_vec());
    prop_oneof![
        8 => (lane.clone(), 1..8_u8).prop_map(|(lane, count)| Act::Append(lane, count)),
        8 => Just(Act::Commit),
        3 => (lane.clone(), any::<u8>()).prop_map(|(lane, part)| Act::ReadFrom(lane, part)),
        1 => (lane, any::<u8>()).prop_map(|(lane, part)| Act::Prune(lane, part)),
        1 => Just(Act::Restart),
        1 => any::<u64>().prop_map(Act::PowerCut),
        1 => (1..12_u8, any::<bool>()).prop_map(|(nth, space)| Act::Fail(nth, space)),
    ]
}

#[derive(Debug, Default)]
struct Model {
    /// What was appended and is not known lost, and how much of that is committed.
    lanes: PerLane<(Vec<u64>, usize)>,
    /// Where entries were seen to end.
    points: PerLane<Vec<Point>>,
    pruned: Positions,
    next: u64,
    nonce: u64,
}

impl Model {
    fn committed(&mut self) {
        for (numbers, committed) in &mut self.lanes.0 {
            *committed = numbers.len();
        }
    }

    /// Opens until it works: at most one call is to fail.
    fn open(&mut self, disk: &Faulty) -> Journal {
        self.nonce += 1;
        let opened = try_open(disk, self.nonce).or_else(|_| {
            disk.restart();
            try_open(disk, self.nonce)
        });
        let (journal, _, replayed) = opened.unwrap();
        for lane in Lane::ALL {
            let (numbers, committed) = self.lanes.get_mut(lane);
            let found = replayed.get(lane);
            // What was pruned is gone from the front, but for what a failed sync of the directory
            // brought back.
            let end = found
                .last()
                .map_or(0, |last| numbers.iter().position(|number| number == last).unwrap() + 1);
            let pairs = found.iter().rev().zip(numbers[..end].iter().rev());
            let kept = pairs.take_while(|(found, number)| found == number).count();
            let is_whole = kept == found.len() && kept == end;
            assert!(is_whole || self.pruned.get(lane) > Position::ZERO, "{found:?} {numbers:?}");
            assert!(end >= *committed, "{lane}: {end} of {committed} committed");
            numbers.truncate(end);
            *committed = end;
            assert_eq!(journal.ends().get(lane).totals, total(numbers.iter().copied()));
        }
        journal
    }

    fn perform(&mut self, act: &Act, disk: &Faulty, journal: &mut Journal) {
        match act {
            Act::Append(lane, count) => {
                for _ in 0..*count {
                    self.next += 1;
                    append(journal, *lane, self.next).unwrap();
                    self.lanes.get_mut(*lane).0.push(self.next);
                }
            }
            Act::Commit => {
                if journal.commit().is_ok() {
                    self.committed();
                }
            }
            Act::ReadFrom(lane, part) => self.read(*lane, *part, journal),
            Act::Prune(lane, part) => {
                let Some(point) = self.point(*lane, *part) else { return };
                let mut below = Positions::ZERO;
                below.set(*lane, point.at);
                self.pruned.set(*lane, point.at.max(self.pruned.get(*lane)));
                // It may fail, and is then done by the next one.
                drop(journal.prune(&below));
            }
            Act::Restart => {
                disk.restart();
                *journal = self.open(disk);
            }
            Act::PowerCut(seed) => {
                disk.power_cycle(Leaves::Some(*seed));
                *journal = self.open(disk);
            }
            Act::Fail(nth, space) => {
                disk.fail(u64::from(*nth), if *space { Fault::NoSpace } else { Fault::Io });
            }
        }
    }

    fn point(&self, lane: Lane, part: u8) -> Option<Point> {
        let points = self.points.get(lane);
        points.get(points.len() * usize::from(part) / 256).copied()
    }

    fn read(&mut self, lane: Lane, part: u8, journal: &Journal) {
        let from = self.point(lane, part).unwrap_or_default();
        let mut reader = journal.tail().reader(lane, from.at);
        let (mut found, mut at) = (vec![], from);
        let mut begin = from;
        loop {
            match reader.next() {
                Ok(Some(Item::Entry { entry, end, totals, .. })) => {
                    found.push(number_of(&entry));
                    at = Point { at: end, totals };
                    let points = self.points.get_mut(lane);
                    if points.last().is_none_or(|last| last.at < end) {
                        points.push(at);
                    }
                }
                Ok(Some(Item::Damage(damage))) => {
                    assert!(damage.from < self.pruned.get(lane), "{damage:?}");
                    found.clear();
                    at = Point { at: damage.to, totals: damage.totals };
                    begin = at;
                }
                Ok(None) => break,
                // One call may fail; the reader stays where it is.
                Err(_) => {}
            }
        }
        assert_eq!(at.totals, journal.ends().get(lane).totals);
        let (numbers, committed) = self.lanes.get(lane);
        let skipped = (0..=numbers.len())
            .find(|count| total(numbers[..*count].iter().copied()) == begin.totals)
            .unwrap();
        assert!(skipped + found.len() >= *committed, "{found:?} of {numbers:?}");
        assert_eq!(found, numbers[skipped..skipped + found.len()]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn like_a_naive_model(acts in vec(act(), 1..120)) {
        let disk = Faulty::default();
        let mut model = Model::default();
        let mut journal = model.open(&disk);
        for act in &acts {
            model.perform(act, &disk, &mut journal);
        }
        disk.heal();
        journal.commit().unwrap();
        model.committed();
        for lane in Lane::ALL {
            model.read(lane, 0, &journal);
        }
        disk.power_cycle(Leaves::Nothing);
        model.open(&disk);
    }
}
