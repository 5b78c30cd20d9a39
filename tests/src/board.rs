//! The firmware's image on a board that QEMU models.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};
use firmware::provision::{self, Addressing, LinkChoice, Provision};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SymbolKind};
use protocol::{DeviceId, Generation, Registration, Secret};
use serde_json::Value;

use crate::binaries::{cargo, root};
use crate::gdb::Core;
use crate::process::{Process, until};

/// Where QEMU's user network has the host's loopback (its documentation, "Network emulation").
const HOST: [u8; 4] = [10, 0, 2, 2];
const QEMU: &str = "qemu-system-arm";
/// Where images are that were built already.
pub const IMAGES: &str = "MILEPOST_BOARDS";
const TARGET: &str = "thumbv7m-none-eabi";
/// What is missing, and how to get it.
pub const COMPILER: &str = "no compiler for the boards: rustup target add thumbv7m-none-eabi, or \
    apt-get install --no-install-recommends rustc-web cargo-web rust-web-src lld";

/// A board.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Board {
    /// Emcraft's `SmartFusion2` SOM starter kit.
    EmcraftSf2,
    /// Texas Instruments' evaluation board for the Stellaris LM3S6965.
    Lm3s6965evb,
}

impl Board {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::EmcraftSf2, Self::Lm3s6965evb];

    /// What QEMU, and the image, call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EmcraftSf2 => "emcraft-sf2",
            Self::Lm3s6965evb => "lm3s6965evb",
        }
    }

    /// What QEMU calls the way to the part that the store is on.
    const fn interface(self) -> &'static str {
        match self {
            Self::EmcraftSf2 => "mtd",
            Self::Lm3s6965evb => "sd",
        }
    }

    /// What is plugged into the board, as QEMU is told it: a sensor, as the image expects it.
    const fn devices(self) -> &'static [&'static str] {
        match self {
            Self::EmcraftSf2 => &[],
            Self::Lm3s6965evb => &["tmp105,id=sensor,bus=i2c,address=0x48"],
        }
    }
}

/// The images of all boards, in the order of [`Board::ALL`]: those in the directory that
/// [`IMAGES`] names, or built now.
pub fn images() -> Result<Vec<PathBuf>> {
    let given = std::env::var_os(IMAGES).map(PathBuf::from);
    let dir = given.map_or_else(build, Ok)?;
    Ok(Board::ALL.map(|board| dir.join(board.name())).to_vec())
}

/// Builds the images of all boards; the directory that they are in, by their boards' names.
///
/// Where rustup has the target's `core`, with that; otherwise `core` is built from source with what
/// Debian's `rustc-web`, `cargo-web` and `rust-web-src` bring, and linked with its `lld`.
pub fn build() -> Result<PathBuf> {
    let dir = root().join("firmware/boards");
    let target_dir = target_dir().join("boards");
    let mut build = if has_target() {
        cargo()
    } else {
        ensure!(has_debians_compiler(), "{COMPILER}");
        let mut debian = Command::new("/usr/bin/cargo");
        debian
            .env("RUSTC", "/usr/bin/rustc")
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_UNSTABLE_BUILD_STD", "core")
            .env("CARGO_TARGET_THUMBV7M_NONE_EABI_LINKER", "ld.lld")
            .env_remove("RUSTUP_TOOLCHAIN");
        debian
    };
    build.current_dir(&dir).args(["build", "--release", "--locked", "--quiet"]);
    build.env("CARGO_TARGET_DIR", &target_dir);
    let status = build.status().context("starting cargo for the boards")?;
    ensure!(status.success(), "the boards' images cannot be built ({status})");
    Ok(target_dir.join(TARGET).join("release"))
}

/// Whether there is what builds the target's `core` from source.
pub fn has_debians_compiler() -> bool {
    const PARTS: [&str; 3] = ["/usr/bin/rustc", "/usr/bin/cargo", "/usr/bin/ld.lld"];
    PARTS.iter().all(|part| Path::new(part).exists())
}

/// Whether the compiler has the target's `core`.
pub fn has_target() -> bool {
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "target-libdir", "--target", TARGET]).current_dir(root());
    let said = rustc.stderr(Stdio::null()).output().map(|output| output.stdout);
    said.is_ok_and(|dir| Path::new(String::from_utf8_lossy(&dir).trim()).is_dir())
}

/// Where cargo puts what it builds for this checkout.
pub fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Whether there is a QEMU for these boards.
pub fn has_qemu() -> bool {
    let version = Command::new(QEMU).arg("--version").stdout(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}

/// The way over Ethernet to an agent on this machine's loopback.
pub const fn ethernet(agent: SocketAddr) -> LinkChoice {
    LinkChoice::Ethernet { addressing: Addressing::Dhcp, agent: HOST, port: agent.port() }
}

/// What a key line says (`milepost devices add --keys`), and the way to the agent.
pub fn provision(key_line: &str, link: LinkChoice, seed: u64) -> Result<Provision> {
    let line: Value = serde_json::from_str(key_line).context("a key line is JSON")?;
    let text = |name: &str| line.get(name).and_then(Value::as_str).context("a key line");
    let number = |name: &str| line.get(name).and_then(Value::as_u64);
    let device: DeviceId = text("device")?.parse().map_err(anyhow::Error::msg)?;
    let secret = from_hex(text("secret")?).context("a secret is 64 hexadecimal digits")?;
    let generation = u8::try_from(number("generation").unwrap_or(0))?;
    let generation = Generation::new(generation).context("a generation is 0 to 3")?;
    let registration = number("registration").map(u32::try_from).transpose()?.map(Registration);
    let mut bytes = [0; 32];
    for (chunk, step) in bytes.chunks_mut(8).zip(1_u64..) {
        chunk.copy_from_slice(
            &seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(step).to_le_bytes(),
        );
    }
    let (secret, seed) = (Secret::new(secret), bytes);
    Ok(Provision {
        device,
        secret,
        generation,
        registration,
        seed,
        link,
        heartbeat_s: 30,
        simulated_ms: 0,
    })
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    let mut bytes = [0; 32];
    if digits.len() != 2 * bytes.len() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// Writes a new flash with this and nothing else to a file.
pub fn write_flash(path: &Path, provision: &Provision) -> Result<()> {
    let mut flash = Flash(vec![0xff; FLASH_LEN]);
    let Err(error) = provision::write(&mut flash, &PROVISIONING, provision) else {
        return fs::write(path, flash.0).with_context(|| format!("writing {}", path.display()));
    };
    bail!("provisioning: {error}");
}

const FLASH_LEN: usize = 16 << 20;
const SECTOR_LEN: usize = 64 << 10;
/// As the boards have it (`firmware/boards/src/layout.rs`).
const PROVISIONING: std::ops::Range<u32> = 0..128 << 10;

/// The part's content.
struct Flash(Vec<u8>);

impl ErrorType for Flash {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for Flash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        check_read(self, offset, bytes.len())?;
        let part = self.0.iter().skip(usize::try_from(offset).unwrap_or(usize::MAX));
        bytes.iter_mut().zip(part).for_each(|(byte, stored)| *byte = *stored);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.0.len()
    }
}

impl NorFlash for Flash {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = SECTOR_LEN;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        check_erase(self, from, to)?;
        let at = |offset| usize::try_from(offset).unwrap_or(usize::MAX);
        let part = self.0.iter_mut().take(at(to)).skip(at(from));
        part.for_each(|byte| *byte = 0xff);
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        check_write(self, offset, bytes.len())?;
        let part = self.0.iter_mut().skip(usize::try_from(offset).unwrap_or(usize::MAX));
        part.zip(bytes).for_each(|(stored, byte)| *stored &= *byte);
        Ok(())
    }
}

/// Where an image has the first function whose name has this in it, and its code.
pub fn function(image: &Path, name: &str) -> Result<(u32, Vec<u8>)> {
    let bytes = fs::read(image).with_context(|| format!("reading {}", image.display()))?;
    let file = object::File::parse(&*bytes).context("an image is an ELF file")?;
    let mut symbols = file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text);
    let found = symbols.find(|symbol| symbol.name().is_ok_and(|found| found.contains(name)));
    let found = found.with_context(|| format!("{} has no function {name}", image.display()))?;
    // The lowest bit says that it is Thumb code.
    let at = found.address() & !1;
    let code = file.section_by_name(".text").context("an image has code")?;
    let code = code.data_range(at, found.size())?.context("a function is code")?;
    Ok((u32::try_from(at)?, code.to_vec()))
}

/// Where an image's stack ends: the last of its RAM that is used.
pub fn stack_end(image: &Path) -> Result<u32> {
    let bytes = fs::read(image).with_context(|| format!("reading {}", image.display()))?;
    let file = object::File::parse(&*bytes).context("an image is an ELF file")?;
    let end = file.symbol_by_name("_stack_end").context("an image has a stack")?;
    Ok(u32::try_from(end.address())?)
}

/// Where the first call in a function returns to: behind BL (Armv7-M Architecture Reference Manual, A7.7.18).
pub fn return_address(image: &Path, name: &str) -> Result<u32> {
    let (at, code) = function(image, name)?;
    let is_call =
        |words: &[u8]| matches!(words, [_, a, _, b] if a >> 3 == 0x1E && b >> 4 & 0xD == 0xD);
    let found = (at..).step_by(2).zip(code.windows(4).step_by(2)).find(|(_, words)| is_call(words));
    let (call, _) = found.with_context(|| format!("{name} calls nothing"))?;
    Ok((call + 4) | 1)
}

/// Where an image has a place of its source that a panic can name, and the file that it names.
pub fn location(image: &Path) -> Result<(u32, String)> {
    let bytes = fs::read(image).with_context(|| format!("reading {}", image.display()))?;
    let file = object::File::parse(&*bytes).context("an image is an ELF file")?;
    let constants = file.section_by_name(".rodata").context("an image has constants")?;
    let (base, bytes) = (u32::try_from(constants.address())?, constants.data()?);
    // Two words are the file's name, its address and length; two more are line and column.
    for (at, words) in (base..).step_by(4).zip(bytes.windows(16).step_by(4)) {
        let word = |at: usize| words.get(at..)?.first_chunk().map(|word| u32::from_le_bytes(*word));
        let name = word(0).zip(word(4)).and_then(|(address, len)| {
            let from = usize::try_from(address.checked_sub(base)?).ok()?;
            let name = bytes.get(from..from.checked_add(usize::try_from(len).ok()?)?)?;
            std::str::from_utf8(name).ok()
        });
        if let Some(name) =
            name.filter(|name| name.starts_with("src/") && Path::new(name).extension().is_some())
        {
            return Ok((at, name.to_owned()));
        }
    }
    bail!("{} has no place of its source", image.display())
}

/// QEMU with a board, an image and a flash; where its console goes is for the caller to say.
pub fn qemu(board: Board, image: &Path, flash: &Path) -> Command {
    let mut qemu = Command::new(QEMU);
    qemu.args(["-M", board.name(), "-display", "none", "-nic", "user,id=net"]);
    qemu.arg("-kernel").arg(image);
    let (interface, file) = (board.interface(), flash.display());
    qemu.arg("-drive").arg(format!("if={interface},format=raw,file={file}"));
    for device in board.devices() {
        qemu.args(["-device", device]);
    }
    qemu
}

/// Gives the port that QEMU has just made a name that stays the same, as udev does for adapters.
fn name_port(printed: &Path, name: &Path) -> Result<()> {
    let made = || {
        let printed = fs::read_to_string(printed).unwrap_or_default();
        let line = printed.lines().find_map(|line| line.split_once("redirected to "))?;
        Some(PathBuf::from(line.1.split(' ').next()?))
    };
    until("QEMU's serial port", PATIENCE, || Ok(made().is_some()))?;
    let port = made().context("no serial port")?;
    // That of the board before.
    fs::remove_file(name).ok();
    symlink(&port, name).with_context(|| format!("naming {}", port.display()))
}

/// Where the other end of a board's serial line is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Serial {
    /// At a TCP port, to which QEMU connects.
    Tcp(SocketAddr),
    /// At a port of this machine, which gets this name.
    Port(PathBuf),
}

/// What the sockets to QEMU's debugger stub and to its monitor are called, beside the console.
const STUB: &str = "gdb";
const MONITOR: &str = "monitor";
/// How long QEMU may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A board that runs.
#[derive(Debug)]
pub struct Running {
    process: Process,
    console: PathBuf,
}

impl Running {
    /// Starts an image with a flash; its console is appended to `console`.
    pub fn start(
        board: Board,
        image: &Path,
        flash: &Path,
        console: &Path,
        serial: Option<Serial>,
    ) -> Result<Self> {
        let mut qemu = qemu(board, image, flash);
        qemu.arg("-serial").arg(format!("file:{}", console.display()));
        let printed = console.with_extension("qemu.out");
        match &serial {
            Some(Serial::Tcp(address)) => {
                qemu.arg("-serial").arg(format!("tcp:{address},nodelay=on"));
            }
            Some(Serial::Port(_)) => {
                qemu.args(["-serial", "pty"]).stdout(fs::File::create(&printed)?);
            }
            // The board has a UART there, and QEMU none without this.
            None => {
                qemu.args(["-serial", "null"]);
            }
        }
        for (option, extension) in [("-gdb", STUB), ("-monitor", MONITOR)] {
            let socket = console.with_extension(extension);
            // That of the board before.
            fs::remove_file(&socket).ok();
            qemu.arg(option).arg(format!("unix:{},server=on,wait=off", socket.display()));
        }
        let log = console.with_extension("qemu.log");
        let process = Process::start(QEMU, &mut qemu, &log)?;
        if let Some(Serial::Port(name)) = serial {
            name_port(&printed, &name)?;
        }
        Ok(Self { process, console: console.to_owned() })
    }

    /// Stops its core.
    pub fn stop_core(&self) -> Result<Core> {
        Core::stop(&self.console.with_extension(STUB))
    }

    /// Has QEMU's monitor do something.
    pub fn monitor(&self, command: &str) -> Result<()> {
        let socket = self.console.with_extension(MONITOR);
        let mut monitor = UnixStream::connect(socket).context("connecting to QEMU's monitor")?;
        monitor.set_read_timeout(Some(PATIENCE))?;
        let mut heard = String::new();
        // It asks for a command at first, and again when it has done this one.
        for line in ["", command] {
            if !line.is_empty() {
                writeln!(monitor, "{line}")?;
            }
            heard.clear();
            let mut byte = [0];
            while !heard.ends_with("(qemu) ") {
                monitor.read_exact(&mut byte).context("QEMU's monitor does not answer")?;
                heard.push(char::from(byte[0]));
            }
        }
        ensure!(!heard.contains("Error"), "{command}: {heard}");
        Ok(())
    }

    /// What it has said so far.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.console).unwrap_or_default()
    }

    /// The power goes.
    pub fn kill(self) -> Result<()> {
        self.process.kill()
    }
}
