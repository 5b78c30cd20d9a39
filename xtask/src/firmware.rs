//! `cargo xtask firmware`: the boards' images, their sizes, and one of them at work under QEMU.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::{Subcommand, ValueEnum};
use object::{Object as _, ObjectSection as _, SectionFlags, SectionKind, elf};
use serde_json::{Value, json};
use world::board::{self, Board};

use crate::{needs, prove};

/// Bytes of code, constants and initial values that an image may have: DESIGN's budget.
const FLASH_MAX: u64 = 160 * 1024;
/// The flash of the store, whose wear is said.
const STORE: &str = "S25FL128S";
/// Bytes of RAM that a board has.
const RAM: u64 = 64 * 1024;

#[derive(Subcommand)]
pub enum Firmware {
    /// Build the images of all boards.
    Build,
    /// What each image takes of flash and RAM, and how long the flash of the store lasts; fails if an
    /// image is over its budget.
    Size {
        /// One JSON object per board, and one of the flash's wear.
        #[arg(long)]
        json: bool,
    },
    /// Run an image under QEMU, its console here, until it is interrupted.
    Run {
        /// Which board.
        #[arg(long, value_enum, default_value = "emcraft-sf2")]
        board: BoardName,
        /// Who the device is: a key file with one line, of `milepost devices add NAME --keys FILE`.
        #[arg(long)]
        keys: PathBuf,
        /// Where on this machine the agent or broker listens.
        #[arg(long, default_value = "127.0.0.1:1883")]
        agent: SocketAddr,
        /// The board's flash; made and provisioned if it is not there.
        #[arg(long)]
        flash: PathBuf,
        /// Where on this machine the board's serial line is to be reached
        #[arg(long, value_name = "ADDRESS")]
        line: Option<SocketAddr>,
    },
}

/// A board, by its name.
#[derive(Clone, Copy, ValueEnum)]
pub enum BoardName {
    EmcraftSf2,
    #[value(name = "lm3s6965evb")]
    Lm3s6965evb,
}

impl From<BoardName> for Board {
    fn from(name: BoardName) -> Self {
        match name {
            BoardName::EmcraftSf2 => Self::EmcraftSf2,
            BoardName::Lm3s6965evb => Self::Lm3s6965evb,
        }
    }
}

pub fn run(firmware: Firmware) -> Result<()> {
    match firmware {
        Firmware::Build => {
            let dir = build()?;
            for board in Board::ALL {
                println!("{}", dir.join(board.name()).display());
            }
            Ok(())
        }
        Firmware::Size { json } => size(&build()?, json),
        Firmware::Run { board, keys, agent, flash, line } => {
            at_work(board.into(), &keys, agent, &flash, line)
        }
    }
}

/// Builds the images, with what is needed for it.
pub fn build() -> Result<PathBuf> {
    needs::provide_boards()?;
    eprintln!("== images");
    board::build()
}

/// What an image takes.
#[derive(Clone, Copy, Default)]
struct Size {
    code: u64,
    constants: u64,
    initial: u64,
    zeroed: u64,
}

impl Size {
    fn of(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        let image = object::File::parse(&*bytes).context("an image is an ELF file")?;
        let mut size = Self::default();
        for section in image.sections() {
            let is_loaded = matches!(
                section.flags(),
                SectionFlags::Elf { sh_flags, .. } if sh_flags.contains(elf::SHF_ALLOC)
            );
            let taken = match section.kind() {
                _ if !is_loaded => continue,
                SectionKind::Text => &mut size.code,
                SectionKind::Data => &mut size.initial,
                SectionKind::UninitializedData => &mut size.zeroed,
                _ => &mut size.constants,
            };
            *taken += section.size();
        }
        Ok(size)
    }

    const fn flash(&self) -> u64 {
        self.code + self.constants + self.initial
    }

    const fn ram(&self) -> u64 {
        self.initial + self.zeroed
    }
}

/// Says the sizes; fails beyond the budget.
fn size(dir: &Path, as_json: bool) -> Result<()> {
    let mut over = Vec::new();
    if !as_json {
        println!(
            "board             code KiB  constants KiB  flash KiB  static RAM KiB  for the stack KiB"
        );
    }
    let kib = |bytes: u64| format!("{}.{}", bytes / 1024, bytes % 1024 * 10 / 1024);
    for board in Board::ALL {
        let size = Size::of(&dir.join(board.name()))?;
        let stack = RAM.saturating_sub(size.ram());
        if as_json {
            println!(
                "{}",
                json!({
                    "board": board.name(),
                    "code_bytes": size.code,
                    "constants_bytes": size.constants,
                    "flash_bytes": size.flash(),
                    "flash_budget_bytes": FLASH_MAX,
                    "static_ram_bytes": size.ram(),
                    "stack_room_bytes": stack,
                })
            );
        } else {
            println!(
                "{:<17} {:>8} {:>14} {:>10} {:>15} {:>18}",
                board.name(),
                kib(size.code),
                kib(size.constants),
                kib(size.flash()),
                kib(size.ram()),
                kib(stack),
            );
        }
        if size.flash() > FLASH_MAX {
            over.push(format!("{} takes {} KiB of flash", board.name(), kib(size.flash())));
        }
    }
    let mut wear = prove::wear()?;
    if as_json {
        if let Some(wear) = wear.as_object_mut() {
            wear.insert("flash".to_owned(), STORE.into());
        }
        println!("{wear}");
    } else {
        let years = wear.get("life_years").and_then(Value::as_f64).context("no life")?;
        let of = |name: &str| wear.get(name).map(Value::to_string).unwrap_or_default();
        println!(
            "{STORE}: {years:.0} years at 10 signals a second, day and night, a boot a day, and {} erases a \
             sector; in {} days the busiest sectors were erased {}",
            of("endurance_erases"),
            of("days"),
            of("sector_erases_most"),
        );
    }
    ensure!(over.is_empty(), "{}; {} KiB are the budget", over.join(", "), kib(FLASH_MAX));
    Ok(())
}

fn at_work(
    board: Board,
    keys: &Path,
    agent: SocketAddr,
    flash: &Path,
    line: Option<SocketAddr>,
) -> Result<()> {
    ensure!(line.is_none_or(|line| line.ip().is_loopback()), "a line is for this machine alone");
    ensure!(agent.ip().is_loopback(), "QEMU's network reaches this machine's loopback alone");
    let image = build()?.join(board.name());
    if !flash.exists() {
        let lines =
            fs::read_to_string(keys).with_context(|| format!("reading {}", keys.display()))?;
        let mut lines = lines.lines();
        let (line, more) = (lines.next().context("the key file is empty")?, lines.next());
        ensure!(more.is_none(), "the key file has several devices: give one with a line");
        let seed = std::collections::hash_map::RandomState::new();
        let seed = std::hash::BuildHasher::hash_one(&seed, flash);
        board::write_flash(flash, &board::provision(line, board::ethernet(agent), seed)?)?;
        eprintln!("provisioned {}", flash.display());
    }
    let line = line.map_or_else(
        || "null".to_owned(),
        |line| format!("tcp:{line},server=on,wait=off,nodelay=on"),
    );
    let mut qemu = board::qemu(board, &image, flash);
    let status = qemu.args(["-monitor", "none", "-serial", "stdio", "-serial", &line]).status();
    let status = status.context("starting QEMU")?;
    ensure!(status.success(), "QEMU ended ({status})");
    Ok(())
}
