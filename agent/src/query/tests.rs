//! The whole way: a store made up, asked in SQL, held against the same samples in a list.

use std::io;

use protocol::{Catalogue, CatalogueId, Clock, Lane, RingId, Seq, Signal, Step};
use rusqlite::types::{Value, ValueRef};
use tempfile::TempDir;

use super::made::Maker;
use super::*;
use crate::privacy::Seat;
use crate::store::block::{Entry, Run, Samples, Stream};
use crate::value::Amount;
use crate::vehicles::Belonging;

mod damage;
mod exports;
mod plans;
mod properties;
mod records;
mod refusals;
mod seats;
mod written;

const SPEED: &str = "Vehicle.Speed";
const RANGE: &str = "Vehicle.Range";
const DOORS: &str = "Vehicle.Cabin.DoorCount";

/// An answer in memory.
#[derive(Debug, Default)]
struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<Value>>,
}

impl Rows for Table {
    fn begin(&mut self, columns: &[&str]) -> io::Result<()> {
        self.columns = columns.iter().map(|name| (*name).to_owned()).collect();
        Ok(())
    }

    fn row(&mut self, row: &[ValueRef<'_>]) -> io::Result<()> {
        self.rows.push(row.iter().map(|value| (*value).try_into().unwrap()).collect());
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn try_ask(query: &mut Query, sql: &str) -> Result<Vec<Vec<Value>>, QueryError> {
    let mut table = Table::default();
    query.run(sql, &Limits::default(), &mut table)?;
    Ok(table.rows)
}

fn ask(query: &mut Query, sql: &str) -> Vec<Vec<Value>> {
    try_ask(query, sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// One number.
fn number(query: &mut Query, sql: &str) -> i64 {
    match ask(query, sql).as_slice() {
        [row] => match row.as_slice() {
            [Value::Integer(number)] => *number,
            other => panic!("{sql}: {other:?}"),
        },
        other => panic!("{sql}: {other:?}"),
    }
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// How SQLite goes about a query.
fn plan(query: &mut Query, sql: &str) -> String {
    let rows = ask(query, &format!("EXPLAIN QUERY PLAN {sql}"));
    let lines = rows.iter().filter_map(|row| match row.last() {
        Some(Value::Text(line)) => Some(line.as_str()),
        _ => None,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The blocks that a query reads.
fn blocks_read(query: &mut Query, sql: &str) -> u64 {
    let before = query.blocks_read();
    ask(query, sql);
    query.blocks_read() - before
}

fn signal(path: &str, step: Step) -> Signal<'_> {
    Signal { path, unit: "km/h", step, raw_min: i64::MIN, raw_max: i64::MAX }
}

fn stream(device: &str, ring: u8, catalogue: CatalogueId, tick_ms: u32) -> Stream {
    Stream {
        device: device.parse().unwrap(),
        ring: RingId([ring; 16]),
        lane: Lane::Bulk,
        catalogue,
        tick_ms,
        boot: None,
        seat: None,
    }
}

fn seat(vehicle: &str, group: Option<&str>, region: Option<&str>) -> Seat {
    let name = |text: Option<&str>| text.map(|text| text.parse().unwrap());
    let belonging = Belonging { group: name(group), tenant: None, region: name(region) };
    Seat { vehicle: Some(vehicle.into()), belonging }
}

fn run(seq: u64) -> Run {
    Run { seq: Seq(seq), received_ms: 5, clock: Clock::Reference, boot: 1, origin: None }
}

/// 2008-05-18, an instant a minute for a day: speed (a tenth of the minute), doors (the hour).
const DAY: &str = "2008-05-18";
const DAY_MS: i64 = 1_211_068_800_000;

/// Blocks of an hour, for each device a day.
fn fleet(devices: u8) -> (TempDir, Query) {
    let dir = tempfile::tempdir().unwrap();
    let mut maker = Maker::create(dir.path()).unwrap();
    let signals = [signal(SPEED, Step::new(1, 10)), signal(DOORS, Step::ONE)];
    let catalogue = maker.catalogue(&Catalogue::new(1000, &signals)).unwrap();
    for device in 1..=devices {
        let stream = stream(&format!("truck-{device}"), device, catalogue, 1000);
        for hour in 0..24 {
            let mut samples =
                Samples { runs: vec![run(hour + 1)], entries: Vec::new(), exacts: Vec::new() };
            for minute in 0..60_u32 {
                let raw = i64::from(minute);
                let tick = DAY_MS / 1000 + i64::try_from(hour).unwrap() * 3600 + raw * 60;
                let entry = |column, raw| Entry {
                    tick,
                    amount: Amount::Steps(raw),
                    ordinal: minute,
                    run: 0,
                    column,
                };
                samples.entries.push(entry(0, raw));
                samples.entries.push(entry(1, i64::try_from(hour).unwrap()));
            }
            maker.block(&stream, &samples, 1, None).unwrap();
        }
    }
    maker.finish().unwrap();
    let query = Query::open(dir.path()).unwrap();
    (dir, query)
}

#[test]
fn a_sample_says_all_that_is_known_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut maker = Maker::create(dir.path()).unwrap();
    let signals =
        [signal(SPEED, Step::new(1, 10)), Signal { unit: "", ..signal(DOORS, Step::ONE) }];
    let catalogue = maker.catalogue(&Catalogue::new(1000, &signals)).unwrap();
    let stream = stream("truck-1", 7, catalogue, 1000);
    let entry = |tick, raw, ordinal, column| Entry {
        tick,
        amount: Amount::Steps(raw),
        ordinal,
        run: 0,
        column,
    };
    let cell = 0x0872_830c_ffff_ffff_i64 << 4 >> 4;
    let wall = vec![
        entry(1_211_094_008, 415, 3, 0),
        entry(1_211_094_008, 2, 3, 1),
        entry(1_211_094_008, cell, 3, 64),
    ];
    let runs = vec![run(17)];
    maker
        .block(&stream, &Samples { runs: runs.clone(), entries: wall, exacts: Vec::new() }, 1, None)
        .unwrap();
    let seat = maker.seat(&seat("bus 7", Some("night"), Some("north"))).unwrap();
    let booted = Stream { boot: Some(4), seat: Some(seat), ..stream };
    let uptime = Run { clock: Clock::Uptime, boot: 4, ..run(18) };
    let early =
        Samples { runs: vec![uptime], entries: vec![entry(9, 1, 0, 0)], exacts: Vec::new() };
    maker.block(&booted, &early, 1, None).unwrap();
    maker.block(&Stream { boot: Some(5), ..stream }, &early, 1, Some(1_211_094_000_000)).unwrap();
    maker.finish().unwrap();
    let mut query = Query::open(dir.path()).unwrap();
    let rows = ask(&mut query, "SELECT * FROM samples ORDER BY time, signal");
    let ring = text(&RingId([7; 16]).to_string());
    let received = text("1970-01-01T00:00:00.005Z");
    let unplaced = vec![
        text("truck-1"),
        text(SPEED),
        Value::Null,
        Value::Real(0.1),
        text("km/h"),
        Value::Integer(1),
        Value::Null,
        text("uptime"),
        Value::Integer(0),
        Value::Integer(4),
        Value::Integer(9000),
        text("bulk"),
        ring.clone(),
        Value::Integer(18),
        Value::Integer(0),
        received.clone(),
        text("bus 7"),
        text("night"),
        Value::Null,
        text("north"),
    ];
    assert_eq!(rows[0], unplaced);
    let wall = vec![
        text("truck-1"),
        text(DOORS),
        text("2008-05-18T07:00:08.000Z"),
        Value::Integer(2),
        Value::Null,
        Value::Integer(2),
        Value::Integer(1_211_094_008_000),
        text("reference"),
        Value::Integer(0),
        Value::Integer(1),
        Value::Null,
        text("bulk"),
        ring,
        Value::Integer(17),
        Value::Integer(3),
        received,
        Value::Null,
        Value::Null,
        Value::Null,
        Value::Null,
    ];
    assert_eq!(rows[1], wall);
    assert_eq!(
        rows[2][1..4],
        [
            text("Vehicle.CurrentLocation.H3"),
            text("2008-05-18T07:00:08.000Z"),
            text(&format!("{cell:x}"))
        ]
    );
    assert_eq!(rows[3][1..4], [text(SPEED), text("2008-05-18T07:00:08.000Z"), Value::Real(41.5)]);
    assert_eq!(rows[4][1..3], [text(SPEED), text("2008-05-18T07:00:09.000Z")]);
    assert_eq!(rows[4][8], Value::Integer(1), "placed");
    assert_eq!(rows[4][10], Value::Integer(9000), "still says its uptime");
    assert_eq!(rows.len(), 5);
}

#[test]
fn there_must_be_a_store() {
    let dir = tempfile::tempdir().unwrap();
    let error = Query::open(dir.path()).unwrap_err();
    assert!(matches!(error, QueryError::Store(crate::store::StoreError::Missing(_))), "{error}");
}

#[test]
fn devices_and_signals_are_listed() {
    let (_dir, mut query) = fleet(2);
    let rows = ask(&mut query, "SELECT * FROM devices WHERE device = 'truck-2'");
    let want = [
        text("truck-2"),
        text("2008-05-18T00:00:00.000Z"),
        text("2008-05-18T23:59:00.000Z"),
        Value::Integer(24 * 120),
        Value::Integer(0),
    ];
    assert_eq!(rows, [want]);
    let rows = ask(&mut query, "SELECT * FROM signals ORDER BY signal");
    assert_eq!(rows, [[text(DOORS), text("km/h")], [text(SPEED), text("km/h")]]);
}
