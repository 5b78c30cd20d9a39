use protocol::serial::stream::{PACKET_LEN_MAX, Packet, Session, Stream};
use protocol::serial::{CHECKSUM_LEN, Decoder, encode, encoded_len_max};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;

const FIRST: Session = Session(7);
const PATIENCE: Duration = Duration::from_secs(20);

/// Both ends of a line, of which the intake has one.
struct Bench {
    listener: TcpListener,
    visits: mpsc::Receiver<Visit>,
    gauges: Arc<SerialGauges>,
    stop: CancellationToken,
    served: JoinHandle<()>,
}

/// The device's end.
struct Device {
    wire: TcpStream,
    decoder: Decoder<{ PACKET_LEN_MAX + CHECKSUM_LEN }>,
    /// Heard and not yet read.
    heard: Vec<u8>,
}

/// A packet that the device heard; none are borrowed.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Said {
    Accept(Session),
    Data(u8, Vec<u8>),
    Close(Session),
}

impl Bench {
    async fn new(visits_max: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, visits) = mpsc::channel(visits_max);
        let gauges: Arc<SerialGauges> = Arc::default();
        let stop = CancellationToken::new();
        let config = SerialConfig::new("bay-1".into(), format!("tcp://{address}").parse().unwrap());
        let served = tokio::spawn(serve(config, sender, Arc::clone(&gauges), stop.clone()));
        Self { listener, visits, gauges, stop, served }
    }

    /// The device's end, once the intake opened its own.
    async fn plugged(&self) -> Device {
        let (wire, _) = timeout(PATIENCE, self.listener.accept()).await.unwrap().unwrap();
        Device { wire, decoder: Decoder::new(), heard: Vec::new() }
    }

    async fn visit(&mut self) -> DuplexStream {
        timeout(PATIENCE, self.visits.recv()).await.unwrap().unwrap().stream
    }

    async fn until_waiting(&self) -> String {
        let waiting = async {
            loop {
                if let SerialHealth::Waiting(why) = self.gauges.health() {
                    return why;
                }
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, waiting).await.unwrap()
    }
}

impl Device {
    async fn say(&mut self, packet: &Packet<'_>) {
        self.wire.write_all(&encoded(packet)).await.unwrap();
    }

    async fn hear(&mut self) -> Said {
        timeout(PATIENCE, self.next()).await.unwrap()
    }

    async fn next(&mut self) -> Said {
        loop {
            let mut rest = self.heard.as_slice();
            let payload = self.decoder.feed(&mut rest).map(|payload| payload.unwrap().to_vec());
            self.heard = rest.to_vec();
            if let Some(payload) = payload {
                return match Packet::read(&payload).unwrap() {
                    Packet::Accept(session) => Said::Accept(session),
                    Packet::Close(session) => Said::Close(session),
                    Packet::Data { number, bytes, .. } => Said::Data(number, bytes.to_vec()),
                    packet => panic!("no device is told {packet:?}"),
                };
            }
            let mut bytes = [0; 512];
            let len = self.wire.read(&mut bytes).await.unwrap();
            assert!(len > 0, "unplugged");
            self.heard.extend_from_slice(&bytes[..len]);
        }
    }

    /// A stream that is accepted.
    async fn open(&mut self, session: Session) -> Stream {
        self.say(&Packet::Open(session)).await;
        assert_eq!(self.hear().await, Said::Accept(session));
        Stream::new(session)
    }
}

fn encoded(packet: &Packet<'_>) -> Vec<u8> {
    let (mut payload, mut bytes) = ([0; PACKET_LEN_MAX], [0; encoded_len_max(PACKET_LEN_MAX)]);
    let len = packet.write(&mut payload).unwrap();
    let len = encode(&payload[..len], &mut bytes).unwrap();
    bytes[..len].to_vec()
}

async fn read(visit: &mut DuplexStream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    timeout(PATIENCE, visit.read_exact(&mut bytes)).await.unwrap().unwrap();
    bytes
}

/// The end of what a visit is told.
async fn is_over(visit: &mut DuplexStream) -> bool {
    timeout(PATIENCE, visit.read(&mut [0])).await.unwrap().unwrap() == 0
}

#[tokio::test]
async fn bytes_go_both_ways_whatever_packets_they_are_in() {
    let mut bench = Bench::new(1).await;
    let mut device = bench.plugged().await;
    let mut stream = device.open(FIRST).await;
    let mut visit = bench.visit().await;
    let long: Vec<u8> = (0..6_000_u32).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let mut rest = long.as_slice();
    while let Some((packet, len)) = stream.send(rest) {
        device.say(&packet).await;
        rest = &rest[len..];
    }
    assert_eq!(read(&mut visit, long.len()).await, long);
    visit.write_all(&long).await.unwrap();
    let (mut came, mut next) = (Vec::new(), 0);
    while came.len() < long.len() {
        let Said::Data(number, bytes) = device.hear().await else { panic!("bytes were expected") };
        assert_eq!(number, next);
        next = number.wrapping_add(1);
        came.extend_from_slice(&bytes);
    }
    assert_eq!(came, long);
    assert_eq!(bench.gauges.healthy(), Ok(()));
}

#[tokio::test]
async fn a_packet_that_noise_changed_ends_its_stream_on_both_sides_and_the_next_is_as_good() {
    let mut bench = Bench::new(1).await;
    let mut device = bench.plugged().await;
    let mut stream = device.open(FIRST).await;
    let mut visit = bench.visit().await;
    let mut noisy = encoded(&stream.send(b"one").unwrap().0);
    noisy[2] ^= 0x20;
    device.wire.write_all(&noisy).await.unwrap();
    device.say(&stream.send(b"two").unwrap().0).await;
    assert_eq!(device.hear().await, Said::Close(FIRST));
    assert!(is_over(&mut visit).await);
    assert_eq!(bench.gauges.garbled.load(Relaxed), 1);
    // What it says before it hears of that is answered alike.
    device.say(&stream.send(b"three").unwrap().0).await;
    assert_eq!(device.hear().await, Said::Close(FIRST));
    let mut stream = device.open(Session(8)).await;
    device.say(&stream.send(b"four").unwrap().0).await;
    assert_eq!(read(&mut bench.visit().await, 4).await, b"four");
    assert_eq!(bench.gauges.streams.load(Relaxed), 2);
}

#[tokio::test]
async fn whoever_asks_again_has_one_stream() {
    let mut bench = Bench::new(4).await;
    let mut device = bench.plugged().await;
    device.open(FIRST).await;
    let mut stream = device.open(FIRST).await;
    device.say(&stream.send(b"once").unwrap().0).await;
    let mut first = bench.visit().await;
    assert_eq!(read(&mut first, 4).await, b"once");
    assert_eq!(bench.gauges.streams.load(Relaxed), 1);
    // One that it has used: it forgot that, as after a boot.
    device.open(FIRST).await;
    bench.visit().await;
    assert!(is_over(&mut first).await);
    assert_eq!(bench.gauges.streams.load(Relaxed), 2);
}

#[tokio::test]
async fn what_the_listener_ends_is_over_for_the_device() {
    let mut bench = Bench::new(1).await;
    let mut device = bench.plugged().await;
    device.open(FIRST).await;
    let mut visit = bench.visit().await;
    visit.write_all(b"bye").await.unwrap();
    drop(visit);
    assert_eq!(device.hear().await, Said::Data(0, b"bye".to_vec()));
    assert_eq!(device.hear().await, Said::Close(FIRST));
}

#[tokio::test]
async fn a_listener_that_is_behind_turns_streams_away() {
    let bench = Bench::new(1).await;
    let mut device = bench.plugged().await;
    device.open(FIRST).await;
    device.say(&Packet::Open(Session(8))).await;
    assert_eq!(device.hear().await, Said::Close(Session(8)));
}

#[tokio::test]
async fn a_port_that_is_unplugged_is_opened_again() {
    let mut bench = Bench::new(1).await;
    let mut device = bench.plugged().await;
    device.open(FIRST).await;
    let mut visit = bench.visit().await;
    drop(device);
    assert!(bench.until_waiting().await.ends_with("gone; unplugged?"));
    assert!(is_over(&mut visit).await);
    let mut device = bench.plugged().await;
    device.open(FIRST).await;
    bench.visit().await;
    assert_eq!(bench.gauges.healthy(), Ok(()));
    assert_eq!(bench.gauges.failed.load(Relaxed), 1);
}

#[tokio::test]
async fn a_stop_leaves_time_for_the_last_words() {
    let mut bench = Bench::new(1).await;
    let mut device = bench.plugged().await;
    device.open(FIRST).await;
    let mut visit = bench.visit().await;
    bench.stop.cancel();
    visit.write_all(b"stopping").await.unwrap();
    drop(visit);
    assert_eq!(device.hear().await, Said::Data(0, b"stopping".to_vec()));
    assert_eq!(device.hear().await, Said::Close(FIRST));
    timeout(PATIENCE, bench.served).await.unwrap().unwrap();
    assert_eq!(bench.gauges.health(), SerialHealth::Stopped);
}

#[tokio::test]
async fn a_port_that_is_not_there_is_said_with_what_to_do() {
    let place: Place = "/dev/nowhere".parse().unwrap();
    let error = place.open(9_600).await.map(drop).unwrap_err();
    let said = place.explained(&error);
    assert!(said.starts_with("/dev/nowhere: ") && said.ends_with("is it plugged in?"), "{said}");
}

#[test]
fn a_place_is_a_path_or_a_socket() {
    for text in ["/dev/ttyUSB0", "tcp://127.0.0.1:4000", "tcp://[::1]:4000", "tcp://server:1"] {
        assert_eq!(text.parse::<Place>().unwrap().to_string(), text);
    }
    for text in [
        "",
        "ttyUSB0",
        "tcp://",
        "tcp://:1",
        "tcp://a",
        "tcp://a:0",
        "tcp://a:65536",
        "tcp://a/b:1",
    ] {
        assert_eq!(text.parse::<Place>(), Err(NoPlace), "{text}");
    }
}

#[test]
fn noise_is_heard_as_noise() {
    let mut bridge = Bridge::new();
    let mut out = Vec::new();
    let mut noise = 1_u32;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        u8::try_from(noise >> 24).unwrap()
    })
    .take(100_000)
    .collect();
    let mut rest = bytes.as_slice();
    let mut garbled = 0;
    while let Some(heard) = bridge.hear(&mut rest) {
        assert_eq!(heard, Heard::Garbled);
        garbled += 1;
    }
    assert!(garbled > 100);
    let open = encoded(&Packet::Open(FIRST));
    // What came before a packet ends with its first delimiter.
    let mut rest = [&[0], open.as_slice()].concat();
    let mut rest = rest.as_mut_slice() as &[u8];
    let heard = std::iter::from_fn(|| Some(bridge.hear(&mut rest)? == Heard::Opens));
    assert_eq!(heard.filter(|opens| *opens).count(), 1);
    bridge.accept(&mut out);
    assert_eq!(out, encoded(&Packet::Accept(FIRST)));
}
