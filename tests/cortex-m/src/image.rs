//! The image's flow: all of the work into memory, then the codec alone against the clock, then a line
//! of JSON to the host.

use cortex_m_rt::entry;
use heapless::Vec;
use protocol::Catalogue;
use protocol::codec::{Encoder, Full};
use protocol::frame::FRAME_LEN_MAX;
use semihosting::fs::File;
use semihosting::io::Read as _;
use semihosting::{eprintln, println, process};
use workload::{FILE, LEN_MAX, Piece, SAMPLES_MAX, parts};

use crate::stopwatch::Stopwatch;

/// One encoder for whatever is measured: a second one in the same image would make both slower, as the
/// compiler then inlines less. Of a smaller one a sample takes 1 % less.
const SIGNALS: usize = Catalogue::SIGNALS_MAX;

/// Why there is no count.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("no file with work that fits")]
    Unreadable,
    #[error("the work is malformed")]
    Malformed,
    #[error("a sample or a batch does not fit")]
    Full(#[from] Full),
    #[error("the clock does not tell instructions: is QEMU's -icount shift=0?")]
    Clock,
}

#[entry]
fn main() -> ! {
    static mut BYTES: [u8; LEN_MAX + 1] = [0; LEN_MAX + 1];
    static mut PIECES: Vec<Piece, SAMPLES_MAX> = Vec::new();
    match run(BYTES, PIECES) {
        Ok(()) => process::exit(0),
        Err(failure) => {
            eprintln!("milepost-cortex-m: {failure}");
            process::exit(1)
        }
    }
}

fn run(bytes: &mut [u8], pieces: &mut Vec<Piece, SAMPLES_MAX>) -> Result<(), Failure> {
    let (catalogue, read) = parts(file(bytes)?).ok_or(Failure::Malformed)?;
    for piece in read {
        let piece = Piece::read(piece).ok_or(Failure::Malformed)?;
        pieces.push(piece).map_err(|_| Failure::Unreadable)?;
    }
    let catalogue = Catalogue::decode::<SIGNALS>(catalogue).map_err(|_| Failure::Malformed)?;
    let Catalogue { signals, hints, .. } = catalogue.catalogue();
    let signals = u8::try_from(signals.len()).map_err(|_| Failure::Malformed)?;

    let stopwatch = Stopwatch::new().ok_or(Failure::Clock)?;
    let bytes = encode(Encoder::new(hints, signals), pieces)?;
    let instructions = stopwatch.instructions().ok_or(Failure::Clock)?;

    let samples = pieces.len();
    println!(r#"{{"samples":{samples},"bytes":{bytes},"instructions":{instructions}}}"#);
    Ok(())
}

/// All of the work.
fn file(into: &mut [u8]) -> Result<&[u8], Failure> {
    let mut file = File::open(FILE).map_err(|_| Failure::Unreadable)?;
    let mut len = 0;
    while let Some(rest) = into.get_mut(len..).filter(|rest| !rest.is_empty()) {
        match file.read(rest).map_err(|_| Failure::Unreadable)? {
            0 => return into.get(..len).ok_or(Failure::Unreadable),
            read => len += read,
        }
    }
    Err(Failure::Unreadable)
}

/// Bytes of all batches' columns.
fn encode(mut encoder: Encoder<'_, SIGNALS>, pieces: &[Piece]) -> Result<usize, Failure> {
    let mut buffer = [0; FRAME_LEN_MAX];
    let mut bytes = 0;
    for Piece { sample, is_last } in pieces {
        encoder.push(&mut buffer, *sample)?;
        if *is_last {
            bytes += encoder.finish(&mut buffer)?;
        }
    }
    Ok(bytes)
}
