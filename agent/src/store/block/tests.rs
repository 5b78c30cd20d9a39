use proptest::prelude::*;

use super::*;
use crate::value::{Amount, Exact};

pub fn stream() -> Stream {
    Stream {
        device: "cab-7".parse().unwrap(),
        ring: RingId([3; 16]),
        lane: Lane::Bulk,
        catalogue: CatalogueId(77),
        tick_ms: 1000,
        boot: None,
        seat: SeatNumber::new(u64::MAX),
    }
}

fn runs(count: usize) -> impl Strategy<Value = Vec<Run>> {
    type Drawn = (u64, i64, u8, u32, Option<([u8; 8], bool, u64)>);
    let origin = prop::option::weighted(0.2, (any::<[u8; 8]>(), any::<bool>(), any::<u64>()));
    let run = (any::<u64>(), any::<i64>(), 0_u8..4, any::<u32>(), origin);
    prop::collection::vec(run, count..=count).prop_map(|runs| {
        let run = |(seq, received_ms, clock, boot, origin): Drawn| Run {
            seq: Seq(seq),
            received_ms,
            clock: Clock::from_number(clock).unwrap(),
            boot,
            origin: origin.map(|(tag, ring, seq)| Origin {
                ring: RingId([u8::from(ring); 16]),
                tag: protocol::FrameTag(tag),
                seq: Seq(seq),
                kind: protocol::frame::Kind::Samples,
            }),
        };
        runs.into_iter().map(run).collect()
    })
}

/// One value of each kind, and some more.
fn exact(of: i64) -> Exact {
    match of.rem_euclid(5) {
        0 => Exact::Missing,
        1 => Exact::Single(u32::try_from(of.unsigned_abs()).unwrap()),
        2 => Exact::Double(of.cast_unsigned()),
        3 => Exact::Bytes(of.to_le_bytes().into()),
        _ => Exact::Text(format!("Größe {of}").into()),
    }
}

/// Samples as devices take them, and quite other ones.
fn samples() -> impl Strategy<Value = Samples> {
    let tick = prop_oneof![0_i64..20, any::<i64>()];
    let raw = prop_oneof![-50_i64..50, any::<i64>()];
    let ordinal = prop_oneof![0_u32..4, any::<u32>()];
    let column = prop_oneof![0_u8..3, 0..COLUMNS_MAX];
    let entry = (tick, raw, ordinal, 0_u16..5, column);
    (runs(5), prop::collection::vec(entry, 1..300)).prop_map(|(runs, mut entries)| {
        entries.sort_by_key(|entry| entry.3);
        let mut exacts = Vec::new();
        let entry = |(tick, raw, ordinal, run, column)| {
            let amount = match raw {
                -50..-40 => exact(raw).appended(&mut exacts),
                _ => Amount::Steps(raw),
            };
            Entry { tick, amount, ordinal, run, column }
        };
        let entries = entries.into_iter().map(entry).collect();
        Samples { runs, entries, exacts }
    })
}

proptest! {
    #[test]
    fn a_block_comes_back(samples in samples(), mask in any::<u128>()) {
        let mut piece = Vec::new();
        append(&mut piece, &stream(), &samples).unwrap();
        let block = Block::open(piece).unwrap();
        prop_assert_eq!(block.stream(), &stream());
        prop_assert_eq!(block.runs(), &samples.runs[..]);
        let read: Vec<Entry> = block.entries(u128::MAX).collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(&read, &samples.entries);
        let some: Vec<Entry> = block.entries(mask).collect::<Result<_, _>>().unwrap();
        let wanted = read.into_iter().filter(|entry| mask & values::bit(entry.column) != 0);
        prop_assert_eq!(some, wanted.collect::<Vec<_>>());
    }

    #[test]
    fn a_hostile_block_is_refused_or_ends(
        samples in samples(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut piece = Vec::new();
        append(&mut piece, &stream(), &samples).unwrap();
        let mut content = piece[piece::HEAD_LEN..].to_vec();
        for (at, byte) in changes {
            let at = at.index(content.len());
            content[at] = byte;
        }
        let mut forged = Vec::new();
        piece::append(&mut forged, PieceKind::Block, |out| out.extend_from_slice(&content)).unwrap();
        if let Ok(block) = Block::open(forged) {
            prop_assert!(block.samples().count() <= SAMPLES_MAX + 1);
        }
    }
}

#[test]
fn the_largest_block_comes_back_and_no_larger_one_is_made() {
    let run = Run { seq: Seq(1), received_ms: 5, clock: Clock::Agent, boot: 1, origin: None };
    let entry = |at: u32| Entry {
        tick: i64::from(at) * 7,
        amount: Amount::Steps(i64::from(at % 91)),
        ordinal: at,
        run: 0,
        column: 0,
    };
    let entries: Vec<Entry> = (0..65_536).map(entry).collect();
    let mut samples = Samples { runs: vec![run], entries, exacts: Vec::new() };
    let mut piece = Vec::new();
    append(&mut piece, &stream(), &samples).unwrap_err();
    samples.entries.pop();
    append(&mut piece, &stream(), &samples).unwrap();
    assert!(piece.len() < 20_000, "{}", piece.len());
    let block = Block::open(piece).unwrap();
    assert!(block.entries(u128::MAX).map(Result::unwrap).eq(samples.entries));
}

#[test]
fn nothing_makes_no_block() {
    append(&mut Vec::new(), &stream(), &Samples::default()).unwrap_err();
}
