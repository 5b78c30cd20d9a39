use protocol::frame::Body;

use super::*;

fn keys() -> Keys {
    Keys { device: name(7).unwrap(), secret: Secret::new([3; 32]) }
}

/// Opens a frame as an agent does.
fn opened(ring: &Ring, seq: u64) -> (usize, Header, Vec<u8>) {
    let keys = keys();
    let mut frame = ring.frame(&keys, Seq(seq)).unwrap();
    let len = frame.len();
    let binding = Binding { device: keys.device, ring: ring_id(7, LANE), lane: LANE };
    let key = frame_key(&keys.secret, &keys.device, &binding.ring, Generation::FIRST);
    let (header, body) = frame::open(&key, &binding, &mut frame).unwrap();
    assert_eq!(header.seq, Seq(seq));
    (len, header, body.to_vec())
}

#[test]
fn a_small_frame_is_200_bytes_and_holds_what_its_place_says() {
    let mut ring = Ring::new(7, Shape::SMALL);
    (0..300).for_each(|_| ring.take(1000, 16));
    let mut bytes = 0;
    for seq in 2..302 {
        let (len, head, body) = opened(&ring, seq);
        bytes += len;
        assert_eq!(head.kind, Kind::Samples);
        let (Body::Samples(header, columns), None) = Body::read(&head, &body).unwrap() else {
            panic!("not samples")
        };
        let mut decoder = protocol::codec::Decoder::<SIGNALS>::default();
        let decoded = decoder.behind(&header, CATALOGUE.hints, columns, 10);
        let samples: Vec<Sample> = decoded.map(Result::unwrap).collect();
        let said: Vec<Sample> = Shape::SMALL.all(7, seq - 2).collect();
        assert_eq!(samples, said);
        let last = samples.last().unwrap();
        let second = u64::from(Shape::SMALL.ticks) - 1;
        assert_eq!(Shape::SMALL.index_of(last.tick), Some((seq - 2, second)));
        assert_eq!(Shape::SMALL.second(7, seq - 2, second).last(), last.steps());
        assert!((180..=220).contains(&len), "{len} bytes");
    }
    assert!((195..=205).contains(&(bytes / 300)), "{} bytes a frame", bytes / 300);
}

#[test]
fn a_large_frame_fits() {
    let mut ring = Ring::new(7, Shape::LARGE);
    ring.take(1000, 16);
    let (len, ..) = opened(&ring, 2);
    assert!((3_500..4_500).contains(&len), "{len}");
}

#[test]
fn what_a_full_ring_drops_is_said_and_counted_once() {
    let mut ring = Ring::new(7, Shape::SMALL);
    let n = Shape::SMALL.samples();
    (0..7).for_each(|_| ring.take(8, 4));
    assert_eq!((ring.first(), ring.next(), ring.dropped), (Seq(1), Seq(9), 0));
    // 1 to 4 go, the catalogue among them; 9 says so, 10 is the frame.
    ring.take(8, 4);
    assert_eq!((ring.first(), ring.next(), ring.dropped), (Seq(5), Seq(11), 3));
    let (_, head, body) = opened(&ring, 9);
    assert_eq!(head.kind, Kind::Loss);
    let Ok((Body::Loss(loss), _)) = Body::read(&head, &body) else { panic!("not a loss") };
    assert_eq!((loss.first, loss.last, loss.through.samples), (Seq(1), Seq(4), 3 * n));
    let state = ring.state((Seq::ZERO, JournalInstance::default()));
    assert_eq!((state.before_first.samples, state.before_next.samples), (3 * n, 8 * n));
    assert_eq!(ring.frames(), 8);
    // The frame behind the loss is the eighth.
    assert_eq!(ring.index(10), 7);
    ring.release(Seq(9));
    assert_eq!((ring.first(), ring.losses.len(), ring.losses_gone), (Seq(10), 0, 1));
    assert_eq!(ring.index(10), 7);
    assert_eq!(ring.state((Seq(9), JournalInstance::default())).before_first.samples, 7 * n);
}

#[test]
fn names_are_numbers() {
    assert_eq!(number(name(123_456).unwrap().as_str()), Some(123_456));
    assert_eq!(number("cab-1"), None);
}
