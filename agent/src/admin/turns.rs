//! Backups and erasures keep out of each other's way.
//!
//! A backup copies the store's index first and the registry last. An erasure that ended in between
//! would be recorded in it as done, beside rows that it was to take out, and nobody would take them
//! out again. So one refuses while the other runs: either takes minutes, and whoever asks knows best
//! whether to wait. Erasures may run beside each other.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Who is at it.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    running: Mutex<Running>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct Running {
    backup: bool,
    erasures: usize,
}

/// One's turn, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Turns,
    is_backup: bool,
}

impl Turns {
    /// For a backup, or why not now.
    pub fn back_up(&self) -> Result<Turn, String> {
        let mut running = self.0.running();
        if running.backup {
            return Err("another backup is being made: try again once it is done".to_owned());
        }
        if running.erasures > 0 {
            return Err(
                "a device or vehicle is being forgotten, and a backup made meanwhile might \
                        have it: try again once that is done"
                    .to_owned(),
            );
        }
        running.backup = true;
        Ok(Turn { turns: self.clone(), is_backup: true })
    }

    /// For an erasure, or why not now.
    pub fn erase(&self) -> Result<Turn, String> {
        let running = self.0.running();
        if running.backup {
            return Err(
                "a backup is being made, and might have what was to be forgotten: nothing \
                        was erased; try again once the backup is done"
                    .to_owned(),
            );
        }
        Ok(self.erasing(running))
    }

    /// For an erasure, as soon as no backup is being made. Blocks.
    pub fn erase_when_free(&self) -> Turn {
        let running = self.0.running();
        let free = self.0.ended.wait_while(running, |running| running.backup);
        self.erasing(free.unwrap_or_else(PoisonError::into_inner))
    }

    fn erasing(&self, mut running: MutexGuard<'_, Running>) -> Turn {
        running.erasures += 1;
        Turn { turns: self.clone(), is_backup: false }
    }
}

impl Shared {
    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut running = self.turns.0.running();
        if self.is_backup {
            running.backup = false;
        } else {
            running.erasures -= 1;
        }
        drop(running);
        self.turns.0.ended.notify_all();
    }
}
