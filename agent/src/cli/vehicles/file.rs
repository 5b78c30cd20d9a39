//! A fleet as CSV: in, with every fault named, and out.

use std::fs;
use std::io::{self, BufRead, BufReader, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use csv::StringRecord;
use protocol::DeviceId;

use super::{ask, counted, each_page, parse_time};
use crate::cli::reach::{ANOTHER_ANSWER, Agent, Missing};
use crate::cli::write_json;
use crate::config::Config;
use crate::document::rfc3339;
use crate::registry::{Entropy as _, OsEntropy};
use crate::vehicles::{
    Belonging, Fault, ImportRow, Imported, Name, ROWS_MAX, VehicleAnswer, VehicleEntry, VehicleId,
    VehicleOrder,
};

/// The columns, in the order in which they are written; read in any order.
const COLUMNS: [&str; 8] =
    ["device", "vehicle", "from", "to", "group", "tenant", "region", "label"];
/// Faults shown.
const FAULTS_SHOWN: usize = 100;

pub(super) const FORMAT: &str = "\
The first line names the columns, in any order: device, vehicle, from, to, group, tenant, region,
label. Only `vehicle` must be there. A row without a device is a vehicle alone; without `from` the
device has always sat there, without `to` it still does. Fields are parted by commas, or by
semicolons if the first line is. A row with the same device, vehicle and beginning as one that is
known tells it better; the same file twice changes nothing.

  device,vehicle,from,to,group,region
  unit-0001,WVWZZZ1JZXW000001,2026-01-01,2026-03-04T16:20:00Z,vans,north
  unit-0002,WVWZZZ1JZXW000001,2026-03-04T16:20:00Z,,vans,north";

#[derive(Args, Debug)]
pub(in crate::cli) struct Import {
    /// The file; - for standard input
    #[arg(value_name = "FILE.csv")]
    file: PathBuf,
    /// Only say what it would come to
    #[arg(long)]
    dry_run: bool,
    /// One JSON object: counts and faults
    #[arg(long)]
    json: bool,
}

impl Import {
    pub fn execute(self, config: &Config, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        let name = self.file.display().to_string();
        let imported = if self.file == Path::new("-") {
            self.read(config, io::stdin().lock(), "standard input")
        } else {
            let file = fs::File::open(&self.file).with_context(|| format!("cannot read {name}"))?;
            self.read(config, BufReader::new(file), &name)
        }?;
        let name = if name == "-" { "standard input" } else { &name };
        if self.json {
            write_json(out, &imported)?;
        } else if imported.faults.is_empty() {
            self.tell(&imported, out)?;
        }
        if imported.faults.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        for fault in imported.faults.iter().take(FAULTS_SHOWN) {
            eprintln!("{name}:{}: {}: {}", fault.line, fault.column, fault.reason);
        }
        let all = imported.more_faults.saturating_add(len(imported.faults.len()));
        let more = all.saturating_sub(len(FAULTS_SHOWN));
        if more > 0 {
            eprintln!("{name}: and {more} more");
        }
        eprintln!("milepost: {all} bad rows of {}; nothing was imported", imported.rows);
        Ok(ExitCode::FAILURE)
    }

    fn read(&self, config: &Config, input: impl BufRead, name: &str) -> anyhow::Result<Imported> {
        let mut rows = Rows::new(input, name)?;
        let mut agent = Agent::reach(config, Missing::Make)?;
        let mut token = [0; 8];
        OsEntropy.fill(&mut token)?;
        let import = u64::from_le_bytes(token);
        let mut faults = Vec::new();
        let (mut parts, mut read) = (0_u32, 0_u64);
        loop {
            let mut part = Vec::new();
            while part.len() < ROWS_MAX {
                match rows.next_row()? {
                    None => break,
                    Some(Ok(row)) => part.push(row),
                    Some(Err(found)) => {
                        read += 1;
                        faults.extend(found);
                    }
                }
            }
            read += len(part.len());
            let is_last = part.len() < ROWS_MAX;
            let order = VehicleOrder::ImportPart { import, part: parts, rows: part };
            ask(&mut agent, order)?;
            parts += 1;
            if !is_last {
                progress(&format!("{read} rows read"), false);
            }
            if is_last {
                break;
            }
        }
        progress(&format!("{read} rows read"), parts > 1);
        // With bad rows the others are still looked at, so that everything is told at once.
        let dry_run = self.dry_run || !faults.is_empty();
        let VehicleAnswer::Imported { mut imported } =
            ask(&mut agent, VehicleOrder::Import { import, parts, dry_run })?
        else {
            bail!(ANOTHER_ANSWER)
        };
        imported.rows = read;
        imported.faults.extend(faults);
        imported.faults.sort();
        Ok(imported)
    }

    fn tell(&self, imported: &Imported, out: &mut impl Write) -> anyhow::Result<()> {
        let Imported { rows, vehicles, added, changed, unchanged, .. } = imported;
        let verb = if self.dry_run { "would import" } else { "imported" };
        writeln!(
            out,
            "{verb} {rows} rows: {vehicles} new vehicles, {added} new assignments, {changed} told better, \
             {unchanged} known"
        )?;
        if let Some(first) = imported.first_unregistered {
            eprintln!(
                "milepost: {} rows name a device that is not registered and cannot send, like {first}: \
                 `milepost devices add`",
                imported.unregistered
            );
        }
        Ok(())
    }
}

/// A progress line on a terminal; elsewhere only the last one, if there was anything to wait for.
fn progress(what: &str, is_last: bool) {
    let is_terminal = io::stderr().is_terminal();
    if is_terminal && !is_last {
        eprint!("\r{what} ");
    } else if is_terminal {
        eprintln!("\r{what}; checking");
    } else if is_last {
        eprintln!("{what}");
    }
}

fn len(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// The rows of a file.
pub(super) struct Rows<R> {
    reader: csv::Reader<R>,
    /// Per column of the file, which of [`COLUMNS`] it is.
    columns: Vec<&'static str>,
    record: StringRecord,
    name: String,
}

impl<R: BufRead> Rows<R> {
    pub(super) fn new(mut input: R, name: &str) -> anyhow::Result<Self> {
        let start = input.fill_buf().with_context(|| format!("cannot read {name}"))?;
        let bom = b"\xef\xbb\xbf";
        let skipped = if start.starts_with(bom) { bom.len() } else { 0 };
        let first = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let delimiter = if first.contains(&b';') && !first.contains(&b',') { b';' } else { b',' };
        input.consume(skipped);
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .trim(csv::Trim::All)
            .flexible(true)
            .from_reader(input);
        let header = reader.headers().with_context(|| format!("{name}:1"))?.clone();
        let mut columns = Vec::new();
        for title in &header {
            let lower = title.to_ascii_lowercase();
            let Some(column) = COLUMNS.into_iter().find(|column| *column == lower) else {
                let close =
                    COLUMNS.into_iter().find(|column| strsim::levenshtein(column, &lower) < 3);
                let meant = close.map(|column| format!("; did you mean `{column}`?"));
                bail!(
                    "{name}:1: no column is called `{title}`{}: there are {}",
                    meant.unwrap_or_default(),
                    COLUMNS.join(", ")
                );
            };
            ensure!(!columns.contains(&column), "{name}:1: column `{column}` stands there twice");
            columns.push(column);
        }
        ensure!(
            columns.contains(&"vehicle"),
            "{name}:1: the first line names no column `vehicle`; it names the columns: {}",
            COLUMNS.join(", ")
        );
        Ok(Self { reader, columns, record: StringRecord::new(), name: name.to_owned() })
    }

    /// The next row, or what is wrong with it; none at the end.
    pub(super) fn next_row(&mut self) -> anyhow::Result<Option<Result<ImportRow, Vec<Fault>>>> {
        match self.reader.read_record(&mut self.record) {
            Ok(false) => return Ok(None),
            Ok(true) => {}
            Err(error) => match error.kind() {
                csv::ErrorKind::Utf8 { pos, err } => {
                    let line = pos.as_ref().map_or(0, csv::Position::line);
                    let column = self.columns.get(err.field()).copied().unwrap_or("row");
                    let fault = fault(line, column, "not UTF-8".to_owned());
                    return Ok(Some(Err(vec![fault])));
                }
                _ => return Err(error).with_context(|| format!("cannot read {}", self.name)),
            },
        }
        let line = self.record.position().map_or(0, csv::Position::line);
        Ok(Some(self.row(line)))
    }

    fn row(&self, line: u64) -> Result<ImportRow, Vec<Fault>> {
        let (found, wanted) = (self.record.len(), self.columns.len());
        if found != wanted {
            let reason = format!("{} where the first line has {wanted}", counted(found, "field"));
            return Err(vec![fault(line, "row", reason)]);
        }
        let mut faults = Vec::new();
        let field = |column: &str| {
            let at = self.columns.iter().position(|other| *other == column)?;
            self.record.get(at).filter(|text| !text.is_empty())
        };
        let mut wrong = |column: &str, text: &str, reason: String| {
            faults.push(fault(line, column, format!("`{}`: {reason}", shortened(text))));
        };
        let vehicle = field("vehicle").map(str::parse::<VehicleId>);
        let device = field("device").map(str::parse::<DeviceId>);
        if let (Some(text), Some(Err(error))) = (field("device"), &device) {
            wrong("device", text, error.to_string());
        }
        match &vehicle {
            Some(Err(error)) => {
                wrong("vehicle", field("vehicle").unwrap_or_default(), error.to_string());
            }
            None => wrong("vehicle", "", "which vehicle?".to_owned()),
            Some(Ok(_)) => {}
        }
        let mut time = |column: &str| match field(column).map(|text| (text, parse_time(text))) {
            Some((_, Ok(at_ms))) => Some(at_ms),
            Some((text, Err(_))) => {
                wrong(column, text, "no time like 2026-11-22T07:30:00Z or 2026-11-22".to_owned());
                None
            }
            None => None,
        };
        let (from_ms, to_ms) = (time("from"), time("to"));
        let mut name = |column: &str| match field(column).map(|text| (text, text.parse::<Name>())) {
            Some((_, Ok(name))) => Some(name),
            Some((text, Err(error))) => {
                wrong(column, text, error.to_string());
                None
            }
            None => None,
        };
        let belonging =
            Belonging { group: name("group"), tenant: name("tenant"), region: name("region") };
        let label = name("label");
        match vehicle {
            Some(Ok(vehicle)) if faults.is_empty() => {
                let device = device.and_then(Result::ok);
                Ok(ImportRow { line, vehicle, label, device, from_ms, to_ms, belonging })
            }
            _ => Err(faults),
        }
    }
}

fn fault(line: u64, column: &str, reason: String) -> Fault {
    Fault { line, column: column.to_owned(), reason }
}

/// A field for a message: a whole line of a file that is no CSV need not be repeated.
fn shortened(text: &str) -> String {
    const SHOWN: usize = 40;
    let shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() { format!("{shown}…") } else { shown }
}

/// Writes everything as `import` reads it.
pub(super) fn export(
    config: &Config,
    json: bool,
    output: Option<PathBuf>,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let Some(path) = output else { return write(config, json, out) };
    let shown = path.display().to_string();
    let failed = || format!("cannot write {shown}");
    let mut file = io::BufWriter::new(fs::File::create(&path).with_context(failed)?);
    write(config, json, &mut file)?;
    let file = file.into_inner().map_err(io::IntoInnerError::into_error).with_context(failed)?;
    file.sync_all().with_context(failed)
}

fn write(config: &Config, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    if json {
        return each_page(config, |vehicles| {
            vehicles.iter().try_for_each(|entry| write_json(out, entry))
        });
    }
    let mut csv = csv::WriterBuilder::new().from_writer(out);
    csv.write_record(COLUMNS)?;
    each_page(config, |vehicles| {
        for entry in &vehicles {
            write_rows(&mut csv, entry)?;
        }
        Ok(())
    })?;
    Ok(csv.flush()?)
}

fn write_rows<W: Write>(csv: &mut csv::Writer<W>, entry: &VehicleEntry) -> anyhow::Result<()> {
    let text = |name: Option<&Name>| name.map(ToString::to_string).unwrap_or_default();
    let time = |at_ms: Option<i64>| at_ms.map(rfc3339::shown).unwrap_or_default();
    let mut row = |device: &str, from_ms, to_ms, belonging: &Belonging| {
        csv.write_record([
            device,
            entry.vehicle.as_str(),
            &time(from_ms),
            &time(to_ms),
            &text(belonging.group.as_ref()),
            &text(belonging.tenant.as_ref()),
            &text(belonging.region.as_ref()),
            &text(entry.label.as_ref()),
        ])
    };
    // A vehicle that nothing sits in now says itself what it belongs to.
    if entry.assignments.iter().all(|span| span.to_ms.is_some()) {
        row("", None, None, &entry.belonging)?;
    }
    for span in &entry.assignments {
        row(span.device.as_str(), span.from_ms, span.to_ms, &span.belonging)?;
    }
    Ok(())
}
