//! What a debugger does to a board: its core stopped, its registers set. A crash is made that way, without
//! a word about it in the image.
//!
//! The remote serial protocol (GDB's documentation, appendix E), as far as QEMU's stub needs it.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::process::until;

/// How long QEMU may take to listen, and to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// The program status register's number, and in it that of the exception that is handled (Armv7-M
/// Architecture Reference Manual, B1.4.2).
const XPSR: u8 = 25;
const EXCEPTION: u32 = 0x1FF;
/// How often a core is stopped that handles one, and how long it goes on in between.
const STOPS_MAX: usize = 1_000;
const A_MOMENT: Duration = Duration::from_millis(3);
/// What stops a core that goes on.
const INTERRUPT: u8 = 3;

/// A Cortex-M core, stopped for as long as this is there.
#[derive(Debug)]
pub struct Core {
    stub: UnixStream,
}

impl Core {
    /// Stops the core of the board whose stub listens there, at a moment at which it handles no interrupt.
    pub fn stop(socket: &Path) -> Result<Self> {
        until("QEMU's stub", PATIENCE, || Ok(UnixStream::connect(socket).is_ok()))?;
        let stub = UnixStream::connect(socket).context("connecting to QEMU's stub")?;
        stub.set_read_timeout(Some(PATIENCE))?;
        let mut core = Self { stub };
        // Until it was asked which registers there are, QEMU sets none.
        core.ask("qXfer:features:read:target.xml:0,1")?;
        ensure!(core.ask("?")?.starts_with('T'), "the core does not stop");
        for _ in 0..STOPS_MAX {
            let status = core.ask(&format!("p{XPSR:x}"))?;
            let status = u32::from_str_radix(&status, 16).context("the core's status")?;
            if status.swap_bytes() & EXCEPTION == 0 {
                return Ok(core);
            }
            core.say("c")?;
            std::thread::sleep(A_MOMENT);
            core.stub.write_all(&[INTERRUPT])?;
            ensure!(core.hear()?.starts_with('T'), "the core does not stop again");
        }
        bail!("the core does nothing but handle interrupts")
    }

    /// Sets one of r0 to r15.
    pub fn set(&mut self, register: u8, value: u32) -> Result<()> {
        // As the core has it in memory: the lowest byte first.
        let value = value.swap_bytes();
        let answer = self.ask(&format!("P{register:x}={value:08x}"))?;
        ensure!(answer == "OK", "r{register} cannot be set: {answer}");
        Ok(())
    }

    /// Writes to memory.
    pub fn write(&mut self, address: u32, bytes: &[u8]) -> Result<()> {
        let mut asked = format!("M{address:x},{:x}:", bytes.len());
        for byte in bytes {
            write!(asked, "{byte:02x}")?;
        }
        let answer = self.ask(&asked)?;
        ensure!(answer == "OK", "{address:#010x} cannot be written: {answer}");
        Ok(())
    }

    /// Lets the core go on.
    pub fn go_on(mut self) -> Result<()> {
        ensure!(self.ask("D")? == "OK", "the core does not go on");
        Ok(())
    }

    fn ask(&mut self, what: &str) -> Result<String> {
        self.say(what)?;
        self.hear()
    }

    fn say(&mut self, what: &str) -> Result<()> {
        let sum = what.bytes().fold(0_u8, u8::wrapping_add);
        Ok(write!(self.stub, "${what}#{sum:02x}")?)
    }

    fn hear(&mut self) -> Result<String> {
        let mut byte = [0];
        // Acknowledgements of what was asked are passed over.
        while byte != *b"$" {
            self.stub.read_exact(&mut byte).context("QEMU's stub does not answer")?;
        }
        let mut answer = String::new();
        loop {
            self.stub.read_exact(&mut byte)?;
            if byte == *b"#" {
                break;
            }
            answer.push(char::from(byte[0]));
        }
        self.stub.read_exact(&mut [0; 2])?;
        self.stub.write_all(b"+")?;
        Ok(answer)
    }
}
