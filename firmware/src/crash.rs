//! What a crash leaves: written by the board where RAM survives a reset, read and told after it.
//!
//! ```text
//! run:   check | boot | crashes in a row
//! crash: check | cause | boot | image | pc | lr | psr | length of the reason | of the stack | both
//! ```
//!
//! All are words of 32 bits but the last two. `check` is the CRC-32/ISCSI of what follows it: after the power
//! was gone RAM holds anything. The two parts are apart, because a crash has to outlast the boots in
//! which it could not be told yet.

use core::fmt::{self, Write as _};

use protocol::health::{Crash, ResetReason};
use protocol::time::DeviceTime;

use crate::checksum::CRC;

/// Longest reason, in bytes; what is longer is cut.
pub const REASON_LEN_MAX: usize = 120;
/// Longest excerpt of the stack, in bytes.
pub const STACK_LEN_MAX: usize = 384;

/// What comes before a checksum: memory of zeros is nothing.
const MAGIC: u32 = u32::from_le_bytes(*b"MPcr");
/// So many crashes in a row are started after at once.
const AT_ONCE: u32 = 2;
/// The wait before the start that follows one crash more; it doubles with each.
const WAIT_MS: u64 = 1_000;
/// The longest wait.
const WAIT_MS_MAX: u64 = 300_000;
/// Doublings after which it is reached.
const DOUBLINGS_MAX: u32 = 16;

/// Why there is a crash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// A panic or a fault.
    Fault,
    /// The main loop did not feed the watchdog.
    Watchdog,
}

impl Cause {
    const fn number(self) -> u32 {
        match self {
            Self::Fault => 1,
            Self::Watchdog => 2,
        }
    }
}

/// The run under way, or the last one.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Run {
    check: u32,
    boot: u32,
    in_a_row: u32,
}

impl Run {
    fn checksum(&self) -> u32 {
        checksum([self.boot, self.in_a_row].into_iter(), &[])
    }

    fn is_whole(&self) -> bool {
        self.check == self.checksum()
    }
}

/// What a crash left.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Remains {
    check: u32,
    cause: u32,
    boot: u32,
    image: u32,
    registers: [u32; 3],
    reason_len: u32,
    stack_len: u32,
    reason: [u8; REASON_LEN_MAX],
    stack: [u8; STACK_LEN_MAX],
}

impl Remains {
    fn checksum(&self) -> u32 {
        let [pc, lr, psr] = self.registers;
        let lengths = [self.reason_len, self.stack_len];
        let words = [self.cause, self.boot, self.image, pc, lr, psr].into_iter().chain(lengths);
        checksum(words, &[&self.reason, &self.stack])
    }

    fn is_whole(&self) -> bool {
        self.check == self.checksum()
    }

    fn reason(&self) -> &str {
        let reason = self.reason.get(..length(self.reason_len)).unwrap_or_default();
        // A message that was cut in the midst of a character ends before it.
        reason.utf8_chunks().next().map_or("", |chunk| chunk.valid())
    }

    fn stack(&self) -> &[u8] {
        self.stack.get(..length(self.stack_len)).unwrap_or_default()
    }
}

fn checksum(words: impl Iterator<Item = u32>, more: &[&[u8]]) -> u32 {
    let mut digest = CRC.digest_with_initial(MAGIC);
    words.for_each(|word| digest.update(&word.to_le_bytes()));
    for bytes in more {
        digest.update(bytes);
    }
    digest.finalize()
}

fn length(len: u32) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

/// The memory itself. Any content is one: the board puts it where no start overwrites it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Memory {
    run: Run,
    crash: Remains,
}

impl Memory {
    /// One in which nothing is told.
    pub const fn new() -> Self {
        let run = Run { check: 0, boot: 0, in_a_row: 0 };
        let crash = Remains {
            check: 0,
            cause: 0,
            boot: 0,
            image: 0,
            registers: [0; 3],
            reason_len: 0,
            stack_len: 0,
            reason: [0; REASON_LEN_MAX],
            stack: [0; STACK_LEN_MAX],
        };
        Self { run, crash }
    }

    /// Why the board starts, as far as this tells: after a crash that, [`ResetReason::Power`] if RAM
    /// holds nothing of a run, and [`ResetReason::Unknown`] otherwise.
    pub fn reset(&self) -> ResetReason {
        if !self.run.is_whole() {
            return ResetReason::Power;
        }
        if !self.crash.is_whole() || self.crash.boot != self.run.boot {
            return ResetReason::Unknown;
        }
        let is_watchdog = self.crash.cause == Cause::Watchdog.number();
        if is_watchdog { ResetReason::Watchdog } else { ResetReason::Crash }
    }

    /// How many runs in a row ended in a crash before they were healthy.
    pub fn crashes_in_a_row(&self) -> u32 {
        if self.run.is_whole() { self.run.in_a_row } else { 0 }
    }

    /// How long to wait before the start, in milliseconds: a board that crashes whenever it starts
    /// neither wears its flash out nor floods the agent.
    pub fn wait_ms(&self) -> u64 {
        let Some(more) = self.crashes_in_a_row().checked_sub(AT_ONCE + 1) else { return 0 };
        (WAIT_MS << more.min(DOUBLINGS_MAX)).min(WAIT_MS_MAX)
    }

    /// A run begins. What an earlier one left is kept until it is told.
    pub fn begin(&mut self, boot: u32) {
        self.set_run(boot, self.crashes_in_a_row());
    }

    /// The run has shown that it is none that crashes whenever it starts.
    pub fn healthy(&mut self) {
        if self.run.is_whole() {
            self.set_run(self.run.boot, 0);
        }
    }

    fn set_run(&mut self, boot: u32, in_a_row: u32) {
        let run = Run { check: 0, boot, in_a_row };
        self.run = Run { check: run.checksum(), ..run };
    }

    /// Notes a crash of the run under way, of an image with this hash: program counter, link and status
    /// register, and the stack from its pointer upwards. An earlier one that was not told gives way.
    pub fn crash(
        &mut self,
        cause: Cause,
        image: u32,
        registers: [u32; 3],
        reason: fmt::Arguments<'_>,
        stack: impl Iterator<Item = u8>,
    ) {
        let boot = if self.run.is_whole() { self.run.boot } else { 0 };
        self.set_run(boot, self.crashes_in_a_row().saturating_add(1));
        let crash = &mut self.crash;
        crash.check = 0;
        crash.cause = cause.number();
        crash.boot = boot;
        crash.image = image;
        crash.registers = registers;
        crash.stack = [0; STACK_LEN_MAX];
        let copied = crash.stack.iter_mut().zip(stack).map(|(to, byte)| *to = byte).count();
        crash.stack_len = u32::try_from(copied).unwrap_or_default();
        crash.reason = [0; REASON_LEN_MAX];
        let mut text = Cut { into: &mut crash.reason, len: 0 };
        // What does not fit is cut.
        let _cut = text.write_fmt(reason);
        crash.reason_len = u32::try_from(text.len).unwrap_or_default();
        crash.check = crash.checksum();
    }

    /// The crash that is to be told, if there is one.
    pub fn untold(&self, time: DeviceTime) -> Option<Crash<'_>> {
        let crash = &self.crash;
        crash.is_whole().then(|| Crash {
            time,
            boot: crash.boot,
            image: crash.image,
            registers: crash.registers,
            reason: crash.reason(),
            stack: crash.stack(),
        })
    }

    /// It is told: in flash, from where it cannot be lost any more.
    pub fn told(&mut self) {
        self.crash.check = !self.crash.checksum();
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

/// Text up to the end of the room for it.
struct Cut<'a> {
    into: &'a mut [u8],
    len: usize,
}

impl fmt::Write for Cut<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.into.iter_mut().skip(self.len);
        let copied = room.zip(text.as_bytes()).map(|(to, byte)| *to = *byte).count();
        self.len = self.len.saturating_add(copied);
        if copied == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

#[cfg(test)]
mod tests;
