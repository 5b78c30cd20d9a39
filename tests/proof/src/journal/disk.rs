//! A disk in memory that remembers what was not synced, so that every state a power cut can leave
//! of it can be made; that can be told to fail; and that keeps what it was after each call.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agent::storage::{File, Room, Storage};

use super::content::Content;
use super::holding::{Change, Fate, Holding, NameChange};
use super::planted::Planted;

/// How a call fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failing {
    /// The disk is full.
    NoSpace,
    /// The disk fails.
    Io,
}

impl Failing {
    fn error(self) -> io::Error {
        match self {
            Self::NoSpace => io::ErrorKind::StorageFull.into(),
            Self::Io => io::Error::other("the disk fails"),
        }
    }
}

/// What a call is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum CallKind {
    /// Makes a directory.
    MakeDir,
    /// Opens or creates a file.
    Open,
    /// Lists a directory.
    List,
    /// Removes a name.
    Remove,
    /// Renames a file.
    Rename,
    /// Syncs a directory.
    SyncDir,
    /// Asks for room.
    Room,
    /// Writes.
    Write,
    /// Reads.
    Read,
    /// Asks for a length.
    Len,
    /// Cuts or grows a file.
    SetLen,
    /// Syncs a file.
    Sync,
}

/// A call that changed something, and what there was after it.
#[derive(Clone, Debug)]
pub(super) struct Version {
    pub(super) call: u64,
    pub(super) kind: CallKind,
    pub(super) path: Arc<Path>,
    pub(super) holding: Holding,
    pub(super) capacity: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Plan {
    from: u64,
    to: u64,
    failing: Failing,
    has_struck: bool,
}

#[derive(Debug, Default)]
struct State {
    holding: Holding,
    calls: u64,
    plan: Option<Plan>,
    struck: Option<CallKind>,
    /// A sync of a directory has failed: what was removed may come back.
    has_doubtful_names: bool,
    capacity: Option<usize>,
    planted: Option<Planted>,
    versions: Option<Vec<Version>>,
}

/// The disk. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk(Arc<Mutex<State>>);

impl Disk {
    pub(super) fn new(holding: Holding, capacity: Option<usize>, planted: Option<Planted>) -> Self {
        let state = State { holding, capacity, planted, ..State::default() };
        Self(Arc::new(Mutex::new(state)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What there is now.
    pub(super) fn holding(&self) -> Holding {
        self.state().holding.clone()
    }

    /// Turns one bit of a file over, behind everyone's back.
    pub(super) fn flip(&self, path: &Path, at: usize, bit: u8) {
        let mut state = self.state();
        let Some(inode) = state.holding.live.get(path).copied() else { return };
        if let Ok(inode) = state.holding.inode(inode) {
            inode.live.flip(at, bit);
        }
    }

    /// This is what there is from now on. Nothing may be open.
    pub(super) fn replace(&self, holding: Holding) {
        self.state().holding = holding;
    }

    pub(super) fn capacity(&self) -> Option<usize> {
        self.state().capacity
    }

    pub(super) fn used(&self) -> usize {
        self.state().holding.used()
    }

    pub(super) fn set_capacity(&self, bytes: Option<usize>) {
        self.state().capacity = bytes;
    }

    /// Lets the `nth` call from now on go wrong, and as many after it as `more`.
    pub(super) fn fail(&self, nth: u64, more: u64, failing: Failing) {
        let mut state = self.state();
        let from = state.calls.saturating_add(nth);
        let to = from.saturating_add(more);
        state.plan = Some(Plan { from, to, failing, has_struck: false });
    }

    /// Nothing goes wrong any more. Whether something did.
    pub(super) fn heal(&self) -> bool {
        let mut state = self.state();
        state.plan.take_if(|plan| plan.has_struck).is_some()
    }

    /// Whether a call has gone wrong, and it has not been healed since.
    pub(super) fn has_struck(&self) -> bool {
        self.state().plan.is_some_and(|plan| plan.has_struck)
    }

    /// Which call went wrong first.
    pub(super) fn struck(&self) -> Option<CallKind> {
        self.state().struck
    }

    /// Whether a sync of a directory has failed.
    pub(super) fn has_doubtful_names(&self) -> bool {
        self.state().has_doubtful_names
    }

    /// Calls so far.
    pub(super) fn calls(&self) -> u64 {
        self.state().calls
    }

    /// Keeps what there is after each call that changes something, from now on.
    pub(super) fn watch(&self) {
        self.state().versions = Some(Vec::new());
    }

    /// What was kept.
    pub(super) fn versions(&self) -> Vec<Version> {
        self.state().versions.take().unwrap_or_default()
    }
}

impl State {
    /// Counts a call; how it fails, if it does.
    fn call(&mut self, kind: CallKind) -> Option<Failing> {
        self.calls += 1;
        let calls = self.calls;
        let plan = self.plan.as_mut().filter(|plan| (plan.from..=plan.to).contains(&calls))?;
        plan.has_struck = true;
        self.struck.get_or_insert(kind);
        self.has_doubtful_names |= kind == CallKind::SyncDir;
        Some(plan.failing)
    }

    /// A call that has its effect wholly or not at all.
    fn whole(&mut self, kind: CallKind) -> io::Result<()> {
        self.call(kind).map_or(Ok(()), |failing| Err(failing.error()))
    }

    fn changed(&mut self, kind: CallKind, path: &Path) {
        let Self { calls, holding, capacity, versions, .. } = self;
        if let Some(versions) = versions {
            versions.push(Version {
                call: *calls,
                kind,
                path: path.into(),
                holding: holding.clone(),
                capacity: *capacity,
            });
        }
    }
}

impl Storage for Disk {
    fn create_dir_all(&self, _dir: &Path) -> io::Result<()> {
        self.state().whole(CallKind::MakeDir)
    }

    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn File>> {
        let mut state = self.state();
        state.whole(CallKind::Open)?;
        let found = state.holding.live.get_key_value(path);
        let (path, inode) = match found.map(|(path, inode)| (Arc::clone(path), *inode)) {
            Some(found) => found,
            None if create => {
                let (path, inode) = (Arc::from(path), state.holding.inodes.len());
                state.holding.inodes.push(Arc::default());
                state.holding.rename(NameChange::Create(Arc::clone(&path), inode));
                state.changed(CallKind::Open, &path);
                (path, inode)
            }
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(Box::new(Handle { disk: self.clone(), path, inode }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let mut state = self.state();
        state.whole(CallKind::List)?;
        let paths = state.holding.live.keys().filter(|path| path.parent() == Some(dir));
        Ok(paths.map(|path| path.to_path_buf()).collect())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.whole(CallKind::Remove)?;
        let (path, _) = state.holding.live.get_key_value(path).ok_or(io::ErrorKind::NotFound)?;
        let path = Arc::clone(path);
        state.holding.rename(NameChange::Remove(Arc::clone(&path)));
        state.changed(CallKind::Remove, &path);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.whole(CallKind::Rename)?;
        let (from, inode) =
            state.holding.live.get_key_value(from).ok_or(io::ErrorKind::NotFound)?;
        let change = NameChange::Rename(Arc::clone(from), to.into(), *inode);
        state.holding.rename(change);
        state.changed(CallKind::Rename, to);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        let failing = state.call(CallKind::SyncDir);
        if state.planted == Some(Planted::DirNotSynced) && dir.parent() == Some("journal".as_ref())
        {
            return Ok(());
        }
        if state.holding.names.iter().any(|(change, _)| change.is_in(dir)) {
            state.holding.sync_dir(dir, failing.is_none());
            state.changed(CallKind::SyncDir, dir);
        }
        failing.map_or(Ok(()), |failing| Err(failing.error()))
    }

    fn room(&self, _path: &Path) -> io::Result<Room> {
        let mut state = self.state();
        state.whole(CallKind::Room)?;
        let bytes = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        Ok(state.capacity.map_or(Room { free: u64::MAX, total: u64::MAX }, |capacity| Room {
            free: bytes(capacity.saturating_sub(state.holding.used())),
            total: bytes(capacity),
        }))
    }
}

#[derive(Debug)]
struct Handle {
    disk: Disk,
    path: Arc<Path>,
    inode: usize,
}

impl Handle {
    fn content<T>(&self, kind: CallKind, of: impl FnOnce(&Content) -> T) -> io::Result<T> {
        let mut state = self.disk.state();
        state.whole(kind)?;
        let inode = state.holding.inodes.get(self.inode).ok_or(io::ErrorKind::NotFound)?;
        Ok(of(&inode.live))
    }

    fn is_segment(&self) -> bool {
        self.path.ancestors().nth(2) == Some("journal".as_ref())
    }

    fn is_epochs(&self) -> bool {
        self.path.ends_with("epochs")
    }
}

fn offset(at: u64) -> io::Result<usize> {
    usize::try_from(at).map_err(io::Error::other)
}

impl File for Handle {
    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        let mut failing = state.call(CallKind::Write);
        if state.planted == Some(Planted::EpochNotPersisted) && self.is_epochs() {
            return Ok(());
        }
        let at = offset(at)?;
        let mut written = if failing.is_some() { bytes.len() / 2 } else { bytes.len() };
        let reach = state.capacity.map(|capacity| capacity.saturating_sub(state.holding.used()));
        let inode = state.holding.inode(self.inode)?;
        if let Some(free) = reach {
            let reach = inode.live.len().saturating_add(free);
            if at.saturating_add(written) > reach {
                written = reach.saturating_sub(at);
                failing = failing.or(Some(Failing::NoSpace));
            }
        }
        if written > 0 {
            let bytes = bytes.get(..written).unwrap_or_default();
            inode.change(Change::Write { at, bytes: bytes.into() });
            state.changed(CallKind::Write, &self.path);
        }
        failing = failing.filter(|_| state.planted != Some(Planted::WriteFailureHidden));
        failing.map_or(Ok(()), |failing| Err(failing.error()))
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let at = offset(at)?;
        self.content(CallKind::Read, |content| content.read(at, into))
    }

    fn len(&self) -> io::Result<u64> {
        let len = self.content(CallKind::Len, Content::len)?;
        u64::try_from(len).map_err(io::Error::other)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.whole(CallKind::SetLen)?;
        let len = offset(len)?;
        state.holding.inode(self.inode)?.change(Change::SetLen(len));
        state.changed(CallKind::SetLen, &self.path);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let failing = state.call(CallKind::Sync);
        if state.planted == Some(Planted::AckBeforeFsync) && self.is_segment() {
            return Ok(());
        }
        let inode = state.holding.inode(self.inode)?;
        if inode.changes.iter().any(|(_, fate)| *fate == Fate::Unsynced) {
            inode.settle(failing.is_none());
            state.changed(CallKind::Sync, &self.path);
        }
        let failing = failing.filter(|_| state.planted != Some(Planted::SyncFailureHidden));
        failing.map_or(Ok(()), |failing| Err(failing.error()))
    }
}
