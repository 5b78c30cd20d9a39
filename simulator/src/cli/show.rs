//! `show`.

use std::io::{BufWriter, ErrorKind, Write as _};

use anyhow::Context as _;
use recordings::can::raw::Unpacker;

use super::args::ShowArgs;
use super::{DONE, made};
use crate::oracle::got::Shown;
use crate::source::Reading;
use crate::vehicle::Vehicle;

pub(super) fn show(args: &ShowArgs) -> anyhow::Result<u8> {
    let options = args.traces.options();
    let vehicles = made::vehicles(&args.files, &options, None, 1, &args.made_from)?;
    for vehicle in &vehicles {
        let shown = if args.candump { frames(vehicle)? } else { readings(vehicle) };
        match shown {
            Ok(()) => {}
            // Whoever read it has seen enough.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => break,
            Err(error) => return Err(error).context("cannot write to standard output"),
        }
    }
    Ok(DONE)
}

fn readings(vehicle: &Vehicle) -> std::io::Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let catalogue = vehicle.source.catalogue();
    let mut cursor = vehicle.source.cursor();
    while let Some(reading) = cursor.next(&vehicle.source) {
        writeln!(out, "{}\t{}", vehicle.device, Shown(&reading, catalogue))?;
    }
    out.flush()
}

fn frames(vehicle: &Vehicle) -> anyhow::Result<std::io::Result<()>> {
    let mut unpacker = Unpacker::new(vehicle.source.catalogue()).with_context(|| {
        format!("{} has no raw frames: read a CAN log with --raw-can", vehicle.device)
    })?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut cursor = vehicle.source.cursor();
    while let Some(reading) = cursor.next(&vehicle.source) {
        let Reading::Sample(_, sample) = reading else { continue };
        if let Some(line) = unpacker.take(sample)
            && let Err(error) = writeln!(out, "{line}")
        {
            return Ok(Err(error));
        }
    }
    Ok(out.flush())
}
