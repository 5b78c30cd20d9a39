//! The board in a demo: the real image under QEMU, among simulated vehicles.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use world::agent::AgentHome;
use world::board::{self, Board, Running};
use world::process::until;
use world::rows::Rows;

use crate::{firmware, needs};

/// Which, and what its device is called.
const BOARD: Board = Board::EmcraftSf2;
const DEVICE: &str = "board-1";
/// A board closes a frame of its bulk lane after a minute.
const PATIENCE: Duration = Duration::from_mins(3);

/// A board that runs.
pub struct InDemo {
    running: Running,
    console: PathBuf,
}

impl fmt::Display for InDemo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, console) = (BOARD.name(), self.console.display());
        write!(f, "{DEVICE}, {name} under QEMU, 10 signals a second; its console: {console}")
    }
}

/// Builds the image, provisions a board and starts it.
pub fn start(home: &AgentHome, dir: &Path, seed: u64) -> Result<InDemo> {
    needs::provide(false)?;
    ensure!(board::has_qemu(), "no QEMU: apt-get install --no-install-recommends qemu-system-arm");
    let image = firmware::build()?.join(BOARD.name());
    let keys = dir.join("board.keys");
    home.add_devices(&format!("{DEVICE}\n"), &keys)?;
    let line = fs::read_to_string(&keys).with_context(|| keys.display().to_string())?;
    let (flash, console) = (dir.join("board.nor"), dir.join("board.console"));
    let provision = board::provision(line.trim(), board::ethernet(home.listen), seed)?;
    board::write_flash(&flash, &provision)?;
    let running = Running::start(BOARD, &image, &flash, &console, None)?;
    Ok(InDemo { running, console })
}

impl InDemo {
    /// Waits until something of it has come, and takes its power.
    pub fn end(self, home: &AgentHome) -> Result<()> {
        let has_come = || Ok(Rows::read(&home.sink(), DEVICE)?.of(1) > 0);
        until("what the board measured", PATIENCE, has_come)
            .with_context(|| format!("its console: {}", self.console.display()))?;
        self.running.kill()
    }
}

/// Every row of it came once, and none is missing.
pub fn verify(home: &AgentHome) -> Result<()> {
    let rows = Rows::read(&home.sink(), DEVICE)?;
    println!("board:   rows of {DEVICE}: {}, each once and none missing", rows.of(1));
    Ok(())
}
