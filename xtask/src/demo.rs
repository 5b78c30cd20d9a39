//! `cargo xtask demo`: the whole house in one command.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use world::agent::AgentHome;
use world::binaries::{Binaries, root};
use world::fleet::Fleet;
use world::process::{Process, now};

mod board;

/// What to show.
pub struct Demo {
    pub stop_after: Option<Duration>,
    pub headless: bool,
    pub vehicles: u32,
    pub seed: u64,
    /// One board more, under QEMU.
    pub qemu: bool,
}

pub fn run(demo: &Demo) -> Result<()> {
    println!("building milepost and milepost-sim (the first time takes a few minutes) ...");
    let binaries = Binaries::build(false)?;
    let dir = root().join("target/demo");
    if dir.exists() {
        std::fs::remove_dir_all(&dir).with_context(|| format!("clearing {}", dir.display()))?;
    }
    let home = AgentHome::new(&binaries, &dir, "")?;
    // Without an end of its own it drives for a week, or until Ctrl-C.
    let length = demo.stop_after.unwrap_or(Duration::from_hours(24 * 7));
    let mut fleet =
        Fleet::synthetic(&binaries, &dir.join("fleet"), demo.vehicles, demo.seed, length)?;
    home.add_devices(&fleet.names()?, &fleet.keys())?;
    let agent = home.start()?;
    let board = if demo.qemu {
        fleet = fleet.beside_others();
        Some(board::start(&home, &dir, demo.seed)?)
    } else {
        None
    };
    println!(
        "agent:   devices at mqtt://{}, health and metrics at http://{}",
        home.listen, home.http
    );
    println!("page:    http://{}/", home.http);
    println!("fleet:   {} simulated vehicles, seed {}", demo.vehicles, demo.seed);
    if let Some(board) = &board {
        println!("board:   {board}");
    }
    println!("sink:    {}", home.sink().display());
    let summary = dir.join("fleet.json");
    let mut vehicles = fleet.start(&home.listen.to_string(), &[], &summary)?;
    if demo.stop_after.is_none() {
        println!(
            "stop it with Ctrl-C; the ledger so far: milepost ledger --config {}",
            home.config.display()
        );
    }
    watch(demo, &home, &mut vehicles)?;
    let status = vehicles.wait(Duration::from_mins(1))?;
    if !status.success() {
        bail!("the fleet ended with {status}; see {}", fleet.log().display());
    }
    board.map_or(Ok(()), |board| board.end(&home))?;
    home.wait_delivered(Duration::from_mins(1))?;
    if demo.qemu {
        board::verify(&home)?;
    }
    settle(&home, &fleet, &dir)?;
    let status = agent.stop(Duration::from_secs(30))?;
    if !status.success() {
        bail!("the agent ended with {status}; see {}", home.log().display());
    }
    Ok(())
}

/// Shows what goes by until the fleet ends.
fn watch(demo: &Demo, home: &AgentHome, vehicles: &mut Process) -> Result<()> {
    let live = !demo.headless && std::io::stdout().is_terminal();
    let start = now();
    let bound = demo.stop_after.map(|length| length + Duration::from_mins(3));
    while vehicles.ended()?.is_none() {
        if bound.is_some_and(|bound| start.elapsed() > bound) {
            bail!("the fleet does not end");
        }
        std::thread::sleep(Duration::from_millis(500));
        if live && let Ok(samples) = home.metric("agent_sample_accepted_total") {
            print!("\r{:6} s  {samples:.0} samples accepted ", start.elapsed().as_secs());
            std::io::stdout().flush()?;
        }
    }
    if live {
        println!();
    }
    Ok(())
}

/// Prints the ledger and holds the sink against what the vehicles admitted.
fn settle(home: &AgentHome, fleet: &Fleet, dir: &std::path::Path) -> Result<()> {
    let table = home.call(&["ledger"])?;
    println!("\n{}", String::from_utf8_lossy(&table.stdout));
    let ledger = home.ledger()?;
    let file = dir.join("ledger.json");
    std::fs::write(&file, serde_json::to_vec(&ledger)?)?;
    let verdict = fleet.verify(&home.sink(), Some(&file), true)?;
    let said: serde_json::Value = serde_json::from_slice(&verdict.stdout).unwrap_or_default();
    let figure = |at: &str| said.pointer(at).and_then(serde_json::Value::as_u64).unwrap_or(0);
    println!(
        "verify:  {} devices, {} documents: {} samples delivered, {} lost and said so, {} missing, \
         {} doubled, {} out of order, {} unequal",
        figure("/devices"),
        figure("/documents"),
        figure("/samples/delivered"),
        figure("/samples/lost"),
        figure("/samples/missing"),
        figure("/samples/doubled"),
        figure("/samples/out_of_order"),
        figure("/samples/unequal"),
    );
    if !verdict.status.success() {
        bail!(
            "the sink differs from what the vehicles admitted:\n{}",
            String::from_utf8_lossy(&verdict.stderr)
        );
    }
    if ledger.get("balanced") != Some(&serde_json::Value::Bool(true)) {
        bail!("the ledger does not balance");
    }
    println!("the ledger balances; every sample is accounted for");
    Ok(())
}
