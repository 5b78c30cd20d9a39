//! The local store's files are damaged or gone; what it says to do mends it.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::world_of_one::World;

/// A world with a store of small files that took everything, stopped; its block files.
fn stored() -> Option<(World, Vec<PathBuf>)> {
    let store = "[[sink]]\nname = \"store\"\ntype = \"store\"\nfile_mib = 1\n";
    let world = World::taxis(store)?;
    let agent = world.home.start().unwrap();
    for _ in 0..3 {
        world.drive(&["--speed", "100000", "--for", "1s"]);
    }
    world.drive(&["--speed", "max"]);
    world.verify();
    World::stop(agent);
    let blocks = fs::read_dir(world.home.data.join("store/blocks")).unwrap();
    let mut blocks: Vec<PathBuf> = blocks.map(|entry| entry.unwrap().path()).collect();
    blocks.sort();
    Some((world, blocks))
}

/// Rebuilds the index, runs the agent, and holds the store to account.
fn mend(world: &World) -> String {
    let said = world.home.call(&["store", "rebuild"]).unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    let agent = world.home.start().unwrap();
    world.verify();
    let ledger = world.path().join("ledger.json");
    World::stop(agent);
    let stored = world.fleet.verify_sink(&world.home, ("store", Path::new("store")), &ledger);
    let stored = stored.unwrap();
    assert!(
        stored.status.success(),
        "{said}\n{}{}",
        String::from_utf8_lossy(&stored.stdout),
        String::from_utf8_lossy(&stored.stderr)
    );
    world.home.call(&["store", "check"]).unwrap();
    said
}

#[test]
fn a_block_file_that_is_gone_is_filled_in_from_the_journal() {
    let Some((world, blocks)) = stored() else { return };
    fs::remove_file(&blocks[0]).unwrap();
    let said = mend(&world);
    assert!(said.contains("come again from the journal"), "{said}");
}

#[test]
fn damage_in_a_block_file_and_a_lost_index_are_filled_in_from_the_journal() {
    let Some((world, blocks)) = stored() else { return };
    for path in &blocks {
        let file = fs::File::options().write(true).open(path).unwrap();
        let len = file.metadata().unwrap().len();
        for part in [3, 2] {
            file.write_all_at(&[0xA5; 8], len / part).unwrap();
        }
    }
    for name in ["store.db", "store.db-wal", "store.db-shm"] {
        drop(fs::remove_file(world.home.data.join("store").join(name)));
    }
    let said = mend(&world);
    assert!(said.contains("fills in what its journal has"), "{said}");
}
