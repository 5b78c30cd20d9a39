//! Who owns what is written: commands run as root, the agent mostly does not.
//!
//! Constraint: the agent's user owns its directory and may put anything there. So links are never
//! followed, and a file that has a second name somewhere is left as it is.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt as _, lchown};
use std::path::{Path, PathBuf};
use std::thread;

use rustix::process::{getegid, geteuid};
use tokio::signal::unix::{SignalKind, signal};

/// Gives what root made at `made`, a file or a tree, to the owner of `dir`. Does nothing as another
/// user, in a directory of root's, and with what somebody else owns.
pub fn give_to_owner_of(dir: &Path, made: &Path) -> io::Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let owner = fs::metadata(dir)?;
    if owner.uid() == 0 { Ok(()) } else { give(made, &owner) }
}

fn give(path: &Path, owner: &Metadata) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if found.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), owner)?;
        }
    }
    if found.uid() == 0 && (found.is_dir() || found.nlink() == 1) {
        lchown(path, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(())
}

/// Gives what a command made in some directories to their owners when it is done, also where it
/// failed; and, at its begin, what an earlier one left that was killed.
#[derive(Clone, Debug)]
pub struct HandOver(Vec<PathBuf>);

impl HandOver {
    /// Of what is made from now on in these directories.
    pub fn of(dirs: impl IntoIterator<Item = PathBuf>) -> Self {
        let hand_over = Self(dirs.into_iter().collect());
        hand_over.give();
        hand_over
    }

    /// Does so too when a signal ends the command, which takes long. Does nothing where there is
    /// nothing to hand over.
    ///
    /// Errors: the system gives no thread.
    pub fn also_when_stopped(&self) -> io::Result<()> {
        let is_others = |dir: &PathBuf| fs::metadata(dir).is_ok_and(|found| found.uid() != 0);
        if !geteuid().is_root() || !self.0.iter().any(is_others) {
            return Ok(());
        }
        let hand_over = self.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (mut interrupt, mut terminate) = {
            let _entered = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        // Not joined: it ends with the process.
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            let signal = runtime.block_on(async {
                tokio::select! {
                    _ = interrupt.recv() => SignalKind::interrupt(),
                    _ = terminate.recv() => SignalKind::terminate(),
                }
            });
            drop(hand_over);
            std::process::exit(128_i32.saturating_add(signal.as_raw_value()));
        })?;
        Ok(())
    }

    fn give(&self) {
        for dir in self.0.iter().filter(|dir| dir.exists()) {
            if let Err(error) = give_to_owner_of(dir, dir) {
                let dir = dir.display();
                tracing::warn!(%error, %dir, "cannot give what root made there to its owner");
            }
        }
    }
}

impl Drop for HandOver {
    fn drop(&mut self) {
        self.give();
    }
}

/// Who is refused, for an error that says so; nothing for any other.
pub fn refused(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::PermissionDenied {
        format!(": user {} may not", geteuid().as_raw())
    } else {
        String::new()
    }
}

/// Gives `file` the owner, group and mode of the file whose place it takes.
pub fn like(file: &fs::File, replaced: &Metadata) -> io::Result<()> {
    let own = (geteuid().as_raw(), getegid().as_raw());
    if (replaced.uid(), replaced.gid()) != own {
        std::os::unix::fs::fchown(file, Some(replaced.uid()), Some(replaced.gid()))?;
    }
    // After the owner, whose change takes bits of the mode away.
    file.set_permissions(replaced.permissions())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    use super::*;

    /// Somebody else, if we may be; ourselves otherwise, for whom all of this does nothing.
    fn other() -> (u32, u32) {
        if geteuid().is_root() { (4321, 8765) } else { (geteuid().as_raw(), getegid().as_raw()) }
    }

    fn owner(path: &Path) -> (u32, u32) {
        let found = fs::symlink_metadata(path).unwrap();
        (found.uid(), found.gid())
    }

    #[test]
    fn what_root_makes_in_anothers_directory_is_that_users_also_after_a_failure() {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("secret"), "").unwrap();
        let store = dir.path().join("store");
        fs::create_dir(&store).unwrap();
        let (uid, gid) = other();
        chown(&store, Some(uid), Some(gid)).unwrap();
        fs::write(store.join("left by a killed one"), "").unwrap();
        let failed = || -> io::Result<()> {
            let _hand_over = HandOver::of([store.clone(), dir.path().join("none")]);
            assert_eq!(owner(&store.join("left by a killed one")), (uid, gid));
            fs::create_dir(store.join("blocks"))?;
            fs::write(store.join("blocks/000001.blk"), "")?;
            symlink(&outside, store.join("link"))?;
            fs::hard_link(outside.join("secret"), store.join("second name"))?;
            Err(io::ErrorKind::StorageFull.into())
        };
        let ours = owner(&outside);
        failed().unwrap_err();
        for made in ["blocks", "blocks/000001.blk", "link"] {
            assert_eq!(owner(&store.join(made)), (uid, gid), "{made}");
        }
        for others in ["", "secret"] {
            assert_eq!(owner(&outside.join(others)), ours, "{others}");
        }
    }

    #[test]
    fn a_file_in_anothers_place_has_its_owner_group_and_mode() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("old"), dir.path().join("new"));
        fs::write(&old, "").unwrap();
        let (uid, gid) = other();
        chown(&old, Some(uid), Some(gid)).unwrap();
        fs::set_permissions(&old, fs::Permissions::from_mode(0o604)).unwrap();
        let file = fs::File::create(&new).unwrap();
        like(&file, &fs::metadata(&old).unwrap()).unwrap();
        let found = fs::metadata(&new).unwrap();
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (uid, gid, 0o604));
    }
}
