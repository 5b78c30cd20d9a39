//! What a frame holds, once it is open: a device's own bytes, which may be those of a faulty one.

use protocol::Counts;
use protocol::codec::{Decoder, Hints, SamplesHeader};
use protocol::frame::{self, Body, Header, Kind, Origin};
use protocol::record::{Record, Records};
use protocol::{Generation, Seq};

use super::codec;
use super::world::{
    CONTEXT, Sealed, WORLD, binding, loss, origin, records_body, samples_body, whole_samples_body,
};
use crate::bound::bounded;

/// The most samples that are decoded of a body.
const COUNT_MAX: u16 = 256;

/// A kind, and a body: sealed, opened, and read as the agent does.
pub fn run(bytes: &[u8]) {
    let Some((kind, body)) = bytes.split_first() else { return };
    let kinds = [Kind::Samples, Kind::Records, Kind::Loss, Kind::Resealed];
    let seq = Seq(u64::from(*kind >> 3) + 1);
    let header = match kinds[usize::from(*kind & 3)] {
        Kind::Samples if kind & 4 == 0 => Header::of_samples(Generation::FIRST, seq, CONTEXT),
        kind => Header::new(Generation::FIRST, kind, seq),
    };
    let Some(mut sealed) = Sealed::new(&header, body) else { return };
    let (opened, text) =
        bounded(0, || frame::open(&WORLD.frame_key, &binding(), sealed.bytes())).unwrap();
    assert_eq!((opened, &*text), (header, body));
    read(&header, text);
}

fn read(head: &Header, text: &[u8]) {
    let Ok((body, origin)) = bounded(0, || Body::read(head, text)) else { return };
    if let Some(origin) = origin {
        let mut again = [0; Origin::LEN_MAX];
        let len = origin.write(&mut again);
        assert_eq!(again[..len], text[..len], "two forms of one origin");
    }
    let counts = bounded(0, || body.counts());
    match body {
        Body::Samples(header, columns) => {
            let (whole, count) = (header.bytes(), header.count_bytes());
            let again = if head.samples.is_some() { &count[..] } else { &whole };
            assert!(text[..text.len() - columns.len()].ends_with(again));
            assert_eq!(counts, Counts { samples: u64::from(header.count), events: 0 });
            let signals = u8::try_from(header.context.catalogue.0 & 63).unwrap_or_default() + 1;
            // Any columns decode to as many samples as are claimed: few say as much.
            let header = SamplesHeader { count: header.count.min(COUNT_MAX), ..header };
            bounded(0, || {
                let mut decoder = Decoder::<64>::default();
                codec::decode(decoder.behind(&header, Hints::NONE, columns, signals), signals);
            });
        }
        Body::Records(records) => each(records, counts),
        Body::Loss(loss) => {
            let mut again = [0; 128];
            let again = postcard::to_slice(&loss, &mut again).unwrap();
            assert_eq!(postcard::from_bytes(again), Ok(loss));
            assert_eq!(counts, Counts::ZERO);
        }
    }
}

/// Records alone.
pub fn records(bytes: &[u8]) {
    let records = Records::new(bytes);
    let counts = bounded(0, || records.counts());
    each(records, counts);
}

/// Each record that reads can be written, and reads as the same.
fn each(mut records: Records<'_>, counts: Counts) {
    let (mut seen, mut room) = (0_u64, [0; 2 * Record::LEN_MAX]);
    while let Some(record) = bounded(0, || records.next()) {
        let Ok(record) = record else {
            seen += 1;
            continue;
        };
        seen += record.counts().events;
        let Some(end) = record.append(&mut room, 0) else { continue };
        let again = Records::new(&room[..end]).next();
        assert_eq!(again, Some(Ok(record)), "written and read again it is another");
    }
    assert_eq!(counts, Counts { samples: 0, events: seen });
}

pub fn seeds() -> Vec<Vec<u8>> {
    let mut room = [0; 128];
    let loss = postcard::to_slice(&loss(), &mut room).unwrap().to_vec();
    let of = |kind: Kind, body: &[u8]| [&[kind as u8][..], body].concat();
    let resealed =
        |kind: Kind, body: &[u8]| of(Kind::Resealed, &[&origin(kind)[..], body].concat());
    vec![
        of(Kind::Samples, &samples_body()),
        [&[4][..], &whole_samples_body()].concat(),
        of(Kind::Records, &records_body()),
        of(Kind::Loss, &loss),
        resealed(Kind::Samples, &whole_samples_body()),
        resealed(Kind::Records, &records_body()),
        resealed(Kind::Loss, &loss),
    ]
}

pub fn records_seeds() -> Vec<Vec<u8>> {
    let body = records_body();
    let mut single = vec![body.clone()];
    let mut rest = &body[..];
    while let Some((len, after)) = rest.split_first_chunk::<2>() {
        let len = usize::from(u16::from_be_bytes(*len));
        single.push(rest[..len + 2].to_vec());
        rest = &after[len..];
    }
    single
}
