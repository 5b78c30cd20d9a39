//! What the agent reads of files: blocks of the store, archives of backups, a fleet as CSV.

use agent::fuzzing::{archive, encoded, import_rows, manifest, members, sealed_block};
use agent::store::block::{self, Block, Entry, Run, SAMPLES_MAX, Samples, Stream};
use agent::value::{Amount, Exact};
use protocol::{CatalogueId, Clock, Lane, RingId, Seq};

use crate::bound::bounded;
use crate::input::Input;

/// A block's frames (65,535 at most, and a count each), which are made room for at once: its own head
/// says how many there are, behind a checksum.
pub const BLOCK_MEMORY_MAX: usize = 128 * SAMPLES_MAX;

/// A block's content behind a checksum that is right; or samples as the input says, there and back.
pub fn block(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    if input.byte() < 0x80 {
        let Ok(piece) = sealed_block(input.rest()) else { return };
        read(&piece);
    } else {
        round_trip(&mut input);
    }
}

fn read(piece: &[u8]) {
    bounded(BLOCK_MEMORY_MAX, || {
        let Ok(block) = Block::open(piece.to_vec()) else { return };
        assert!((1..=SAMPLES_MAX).contains(&block.len()));
        let mut samples = block.samples();
        let mut count = 0;
        while let Some(sample) = samples.next() {
            count += 1;
            let Ok(sample) = sample else {
                assert!(samples.next().is_none(), "an error that is not the end");
                return;
            };
            assert!(block.runs().iter().any(|run| run.seq == sample.run.seq));
            // Long enough to have seen everything; the rest is the same again.
            if count == 2048 {
                return;
            }
        }
        assert_eq!(count, block.len(), "fewer samples than were said to be there");
    });
}

fn stream() -> Stream {
    Stream {
        device: "van-7".parse().unwrap(),
        ring: RingId([7; 16]),
        lane: Lane::Bulk,
        catalogue: CatalogueId(0x1234_5678),
        tick_ms: 1,
        boot: None,
        seat: None,
    }
}

fn run(number: u64) -> Run {
    Run {
        seq: Seq(number),
        received_ms: 1_700_000_000_000 + number.cast_signed() * 60_000,
        clock: Clock::Reference,
        boot: 3,
        origin: None,
    }
}

fn round_trip(input: &mut Input<'_>) {
    let runs = u16::from(input.byte() & 7) + 1;
    let mut samples =
        Samples { runs: (1..=runs).map(|at| run(at.into())).collect(), ..Samples::default() };
    let mut last = Entry { tick: 0, amount: Amount::Steps(0), ordinal: 0, run: 0, column: 0 };
    while !input.is_empty() {
        let shape = input.byte();
        // The last of the columns has exact values alone.
        let amount = if shape >> 3 == 31 {
            exact(input).appended(&mut samples.exacts)
        } else {
            let last = last.amount.steps().unwrap_or_default();
            Amount::Steps(last.wrapping_add(input.number()))
        };
        last = Entry {
            tick: if shape & 1 == 0 { last.tick } else { last.tick.wrapping_add(input.number()) },
            amount,
            ordinal: if shape & 2 == 0 { last.ordinal } else { input.short().into() },
            run: (last.run + u16::from(shape & 4 != 0)).min(runs - 1),
            column: (shape >> 3) % block::COLUMNS_MAX,
        };
        samples.entries.push(last);
    }
    let mut piece = Vec::new();
    if block::append(&mut piece, &stream(), &samples).is_err() {
        assert!(samples.entries.is_empty());
        return;
    }
    let block = bounded(BLOCK_MEMORY_MAX, || Block::open(piece)).expect("a block of ours");
    assert_eq!(block.stream(), &stream());
    assert_eq!(block.runs(), samples.runs);
    let back: Result<Vec<_>, _> = block.samples().collect();
    let back = back.expect("a block of ours");
    assert_eq!(back.len(), samples.entries.len());
    for (is, was) in back.iter().zip(&samples.entries) {
        assert_eq!(is.amount.steps(), was.amount.steps());
        assert_eq!(is.amount.exact(block.exacts()), was.amount.exact(&samples.exacts));
        let is = (is.time_ms, is.ordinal, is.column, is.run.seq);
        let seq = samples.runs[usize::from(was.run)].seq;
        assert_eq!(is, (was.tick, was.ordinal, was.column, seq));
    }
}

fn exact(input: &mut Input<'_>) -> Exact {
    match input.byte() % 5 {
        0 => Exact::Missing,
        1 => Exact::Single(u32::from(input.short())),
        2 => Exact::Double(input.number().cast_unsigned()),
        3 => Exact::Bytes(input.piece().into()),
        _ => Exact::Text(String::from_utf8_lossy(input.piece()).into()),
    }
}

pub fn block_seeds() -> Vec<Vec<u8>> {
    let entry = |at: u32| Entry {
        tick: 1_211_094_008_000 + i64::from(at / 3) * 60_000,
        amount: Amount::Steps(3_777_833 + i64::from(at) * 11),
        ordinal: at / 3 % 7,
        run: u16::try_from(at / 21).unwrap(),
        column: u8::try_from(at % 3).unwrap(),
    };
    let samples = Samples {
        runs: (1..=3).map(run).collect(),
        entries: (0..63).map(entry).collect(),
        ..Samples::default()
    };
    let mut piece = Vec::new();
    block::append(&mut piece, &stream(), &samples).unwrap();
    // Without the head: magic, kind, length, checksum.
    let content = &piece[13..];
    vec![
        [&[0][..], content].concat(),
        [&[0][..], &content[..content.len() / 2]].concat(),
        vec![0x80, 1, 3, 0, 7, 1, 0, 1, 11, 0x80, 9, 0, 6, 2, 3, 4, 5, 0xff, 7, 8, 9, 10, 11, 12],
        vec![0x80, 7, 5, 3, 1, 2, 3, 4, 0, 9, 13, 0, 1, 0, 200, 5, 0, 1, 0, 201, 0xf9, 0, 1, 0, 1],
    ]
}

/// An archive's headers and a manifest: names, numbers and JSON, a few times over while they are read.
pub const BACKUP_MEMORY_MAX: usize = 256 * 1024;

/// An archive whose members are read, or a manifest.
pub fn backup(bytes: &[u8]) {
    let Some((mode, rest)) = bytes.split_first() else { return };
    if *mode < 0x80 {
        let Ok(members) = bounded(BACKUP_MEMORY_MAX, || members(rest)) else { return };
        let whole: u64 = members.iter().map(|(_, len)| len.div_ceil(512) * 512 + 512).sum();
        assert!(whole < rest.len() as u64, "members beyond the end");
        return;
    }
    // With the checksum put right, or as it is.
    let mut text = rest.to_vec();
    if *mode < 0xc0 {
        let body = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let seal = format!("\n{{\"crc32c\":\"{:08x}\"}}\n", crc32c::crc32c(body));
        text = [body, seal.as_bytes()].concat();
    }
    let Ok(read) = bounded(BACKUP_MEMORY_MAX, || manifest(&text)) else { return };
    let again = encoded(&read).expect("a manifest can be written");
    assert_eq!(manifest(&again).as_ref(), Ok(&read));
}

pub fn backup_seeds() -> Vec<Vec<u8>> {
    let long = format!("{}/{}", "d".repeat(80), "f".repeat(60));
    let tar = archive(&[("format.json", 30), (&long, 0)]).unwrap();
    let manifest = r#"{"backup":1,"agent":"0.1.0","made_ms":5,"running":true,"with_key":false,"formats":{"journal":1},"journal":{"id":"00","epoch":{"number":1,"nonce":2},"ends":[1,2,3],"samples":4,"events":5},"files":[{"path":"a/b","bytes":3,"crc32c":"00000000"}],"left_out":[{"path":"x","why":"y"}]}"#;
    vec![
        [&[0][..], &tar].concat(),
        [&[0][..], &tar[..700]].concat(),
        [&[0x80][..], manifest.as_bytes()].concat(),
        [&[0xc0][..], manifest.as_bytes()].concat(),
    ]
}

/// A kilobyte of rows, each a dozen times as long once it is taken apart, or said to be wrong.
pub const VEHICLES_MEMORY_MAX: usize = 1024 * 1024;

/// A fleet's file: every row is a row, or is told what is wrong with it.
pub fn vehicles(bytes: &[u8]) {
    let Ok(rows) = bounded(VEHICLES_MEMORY_MAX, || import_rows(bytes)) else { return };
    let lines = bytes.split(|byte| *byte == b'\n' || *byte == b'\r').count();
    assert!(rows.len() <= lines);
    let mut last = 0;
    for row in rows {
        let line = match row {
            Ok(row) => row.line,
            Err(faults) => {
                assert!(faults.iter().all(|fault| !fault.reason.is_empty()));
                faults.first().expect("a row that is wrong in no way").line
            }
        };
        assert!(line >= last, "lines go back");
        last = line;
    }
}

pub fn vehicles_seeds() -> Vec<Vec<u8>> {
    [
        "device,vehicle,from,to,group,region\nunit-1,WVWZZZ1JZXW000001,2026-01-01,2026-03-04T16:20:00Z,vans,north\n",
        "\u{feff}vehicle;label\r\nv-1;\"a;b\"\"c\"\r\nv-2;\r\n",
        "vehicle,device,tenant\nv 1,unit/1,\n,,\nv,u,t,x\n",
        "vehicel\n1\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

pub const VEHICLES_WORDS: &[&[u8]] = &[
    b"device",
    b"vehicle",
    b"from",
    b"to",
    b"group",
    b"tenant",
    b"region",
    b"label",
    b"2026-03-04T16:20:00Z",
    b"2026-02-29",
    b"\xef\xbb\xbf",
    b"\"\"",
];
