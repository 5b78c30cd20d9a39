//! A disk in memory that fails on request and forgets, at a power cut, what was not synced: as
//! little as POSIX promises, and no more.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "no part of an agent: it stops at the first misuse"
)]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::{File, Room, Storage};

/// What a power cut leaves whole of a write.
const SECTOR_LEN: usize = 512;

/// What goes wrong at a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The disk is full. A write is done by half. A sync loses what it covered.
    NoSpace,
    /// The disk fails. A write is done by half. A sync loses what it covered.
    Io,
    /// The power goes just before the call, and stays off.
    CutBefore,
    /// The power goes just after the call, whose answer nobody gets, and stays off.
    CutAfter,
}

/// How much of what was not synced a power cut leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Leaves {
    /// Nothing.
    Nothing,
    /// All of it.
    All,
    /// Some sectors, lengths and names, drawn from this seed.
    Some(u64),
}

/// The disk. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct Faulty(Arc<Mutex<State>>);

#[derive(Clone, Debug, Default)]
struct State {
    inodes: Vec<Inode>,
    live: BTreeMap<PathBuf, usize>,
    durable: BTreeMap<PathBuf, usize>,
    unsynced: Vec<NameChange>,
    calls: u64,
    faults: Vec<(u64, Fault)>,
    is_off: bool,
    /// Files opened in an earlier life are dead.
    life: u64,
    capacity: Option<usize>,
    lies_in: Option<PathBuf>,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    live: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    SetLen(usize),
}

#[derive(Clone, Debug)]
enum NameChange {
    Create(PathBuf, usize),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
}

impl Faulty {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Calls so far. The first is number 1.
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// Lets the `nth` call from now on go wrong; 1 is the next one.
    pub fn fail(&self, nth: u64, fault: Fault) {
        let mut state = self.state();
        let at = state.calls + nth;
        state.faults.push((at, fault));
    }

    /// Nothing goes wrong any more, unless the power is off.
    pub fn heal(&self) {
        self.state().faults.clear();
    }

    /// Lets all files together take so many bytes at most.
    pub fn set_capacity(&self, bytes: Option<usize>) {
        self.state().capacity = bytes;
    }

    /// Whether the power is off.
    pub fn is_off(&self) -> bool {
        self.state().is_off
    }

    /// Says of every sync of a file below `dir` that it is done, and does none: a fault to be found.
    pub fn lie_in(&self, dir: &Path) {
        self.state().lies_in = Some(dir.to_owned());
    }

    /// Bytes that all files take.
    pub fn used(&self) -> usize {
        self.state().used()
    }

    /// The power goes, if it has not, and comes back.
    pub fn power_cycle(&self, leaves: Leaves) {
        let mut state = self.state();
        let mut draw = Draw(leaves);
        for inode in &mut state.inodes {
            for change in std::mem::take(&mut inode.unsynced) {
                change.tear(&mut inode.durable, &mut draw);
            }
            inode.live = inode.durable.clone();
        }
        for change in std::mem::take(&mut state.unsynced) {
            if draw.keeps() {
                change.apply(&mut state.durable);
            }
        }
        state.live = state.durable.clone();
        state.is_off = false;
        state.faults.clear();
        state.life += 1;
    }

    /// The process dies and starts again; the kernel, and what it holds, lives on.
    pub fn restart(&self) {
        let mut state = self.state();
        state.is_off = false;
        state.faults.clear();
        state.life += 1;
    }

    /// Another disk with the same content, for a copy to be restored from.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self(Arc::new(Mutex::new(self.state().clone())))
    }

    /// The files and what is in them.
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let state = self.state();
        let file =
            |(path, inode): (&PathBuf, &usize)| (path.clone(), state.inodes[*inode].live.clone());
        state.live.iter().map(file).collect()
    }

    /// Changes a file behind everyone's back, durably.
    pub fn edit(&self, path: &Path, edit: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let inode = state.live[path];
        let inode = &mut state.inodes[inode];
        edit(&mut inode.live);
        inode.durable = inode.live.clone();
        inode.unsynced.clear();
    }

    /// Makes a file vanish, durably.
    ///
    /// # Panics
    /// If it is not there.
    pub fn lose(&self, path: &Path) {
        let mut state = self.state();
        state.live.remove(path).unwrap();
        state.durable.remove(path);
    }
}

impl State {
    /// Counts a call; which fault strikes it, if it is one after which the call still has an effect.
    fn call(&mut self) -> io::Result<Option<Fault>> {
        self.calls += 1;
        let calls = self.calls;
        if self.is_off {
            return Err(power_is_off());
        }
        let fault = self.faults.iter().find(|(at, _)| *at == calls).map(|(_, fault)| *fault);
        match fault {
            Some(Fault::CutBefore) => {
                self.is_off = true;
                Err(power_is_off())
            }
            Some(Fault::CutAfter) => {
                self.is_off = true;
                Ok(fault)
            }
            _ => Ok(fault),
        }
    }

    /// A call that has its effect wholly or not at all.
    fn whole(&mut self) -> io::Result<Option<Fault>> {
        let fault = self.call()?;
        match fault {
            Some(Fault::NoSpace | Fault::Io) => Err(error_of(fault).unwrap()),
            _ => Ok(fault),
        }
    }

    fn used(&self) -> usize {
        self.live.values().map(|inode| self.inodes[*inode].live.len()).sum()
    }

    fn lies_about(&self, inode: usize) -> bool {
        let is_it = |dir: &PathBuf| {
            self.live.iter().any(|(path, other)| *other == inode && path.starts_with(dir))
        };
        self.lies_in.as_ref().is_some_and(is_it)
    }

    fn rename(&mut self, change: NameChange) {
        change.clone().apply(&mut self.live);
        self.unsynced.push(change);
    }
}

fn power_is_off() -> io::Error {
    io::Error::other("the power is off")
}

fn error_of(fault: Option<Fault>) -> Option<io::Error> {
    match fault? {
        Fault::NoSpace => Some(io::ErrorKind::StorageFull.into()),
        Fault::Io => Some(io::Error::other("the disk fails")),
        Fault::CutBefore | Fault::CutAfter => Some(power_is_off()),
    }
}

fn done<T>(value: T, fault: Option<Fault>) -> io::Result<T> {
    error_of(fault).map_or(Ok(value), Err)
}

impl NameChange {
    fn apply(self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Create(path, inode) => drop(names.insert(path, inode)),
            Self::Remove(path) => drop(names.remove(&path)),
            Self::Rename(from, to) => {
                if let Some(inode) = names.remove(&from) {
                    names.insert(to, inode);
                }
            }
        }
    }

    fn is_in(&self, dir: &Path) -> bool {
        let (Self::Create(path, _) | Self::Remove(path) | Self::Rename(path, _)) = self;
        path.parent() == Some(dir)
    }
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::SetLen(len) => content.resize(*len, 0),
            Self::Write(at, bytes) => {
                let end = at + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*at..end].copy_from_slice(bytes);
            }
        }
    }

    /// Applies what the power cut leaves of it.
    fn tear(&self, content: &mut Vec<u8>, draw: &mut Draw) {
        match self {
            Self::SetLen(_) if draw.keeps() => self.apply(content),
            Self::SetLen(_) => {}
            Self::Write(at, bytes) => {
                let (mut at, mut rest) = (*at, bytes.as_slice());
                while !rest.is_empty() {
                    let (sector, after) =
                        rest.split_at(rest.len().min(SECTOR_LEN - at % SECTOR_LEN));
                    if draw.keeps() {
                        Self::Write(at, sector.to_vec()).apply(content);
                    }
                    (at, rest) = (at + sector.len(), after);
                }
            }
        }
    }
}

struct Draw(Leaves);

impl Draw {
    fn keeps(&mut self) -> bool {
        match &mut self.0 {
            Leaves::Nothing => false,
            Leaves::All => true,
            Leaves::Some(state) => {
                // SplitMix64 (Steele, Lea, Flood 2014).
                *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                (mixed ^ (mixed >> 31)) & 1 == 1
            }
        }
    }
}

impl Storage for Faulty {
    fn create_dir_all(&self, _dir: &Path) -> io::Result<()> {
        let fault = self.state().whole()?;
        done((), fault)
    }

    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn File>> {
        let mut state = self.state();
        let fault = state.whole()?;
        let inode = match state.live.get(path) {
            Some(inode) => *inode,
            None if create => {
                let inode = state.inodes.len();
                state.inodes.push(Inode::default());
                state.rename(NameChange::Create(path.to_owned(), inode));
                inode
            }
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        let file = FaultyFile { disk: self.clone(), inode, life: state.life };
        done(Box::new(file), fault)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let mut state = self.state();
        let fault = state.whole()?;
        let paths = state.live.keys().filter(|path| path.parent() == Some(dir)).cloned().collect();
        done(paths, fault)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let fault = state.whole()?;
        if !state.live.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.rename(NameChange::Remove(path.to_owned()));
        done((), fault)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        let fault = state.whole()?;
        if !state.live.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.rename(NameChange::Rename(from.to_owned(), to.to_owned()));
        done((), fault)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        let fault = state.call()?;
        let changes = std::mem::take(&mut state.unsynced);
        let (here, elsewhere) = changes.into_iter().partition(|change| change.is_in(dir));
        state.unsynced = elsewhere;
        if !matches!(fault, Some(Fault::NoSpace | Fault::Io)) {
            let here: Vec<NameChange> = here;
            for change in here {
                change.apply(&mut state.durable);
            }
        }
        done((), fault)
    }

    fn room(&self, _path: &Path) -> io::Result<Room> {
        let mut state = self.state();
        let fault = state.whole()?;
        let bytes = |count: usize| u64::try_from(count).unwrap();
        let room = state.capacity.map(|capacity| Room {
            free: bytes(capacity.saturating_sub(state.used())),
            total: bytes(capacity),
        });
        done(room.unwrap_or(Room { free: u64::MAX, total: u64::MAX }), fault)
    }
}

#[derive(Debug)]
struct FaultyFile {
    disk: Faulty,
    inode: usize,
    life: u64,
}

impl FaultyFile {
    fn state(&self) -> MutexGuard<'_, State> {
        let state = self.disk.state();
        assert_eq!(state.life, self.life, "a file outlived the power");
        state
    }
}

impl File for FaultyFile {
    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let mut fault = state.call()?;
        let at = usize::try_from(at).unwrap();
        let mut written = match fault {
            Some(Fault::NoSpace | Fault::Io) => bytes.len() / 2,
            _ => bytes.len(),
        };
        if let Some(capacity) = state.capacity {
            let own = state.inodes[self.inode].live.len();
            let reach = own + capacity.saturating_sub(state.used());
            if at + written > reach {
                written = reach.saturating_sub(at);
                fault = Some(Fault::NoSpace);
            }
        }
        let change = Change::Write(at, bytes[..written].to_vec());
        let inode = &mut state.inodes[self.inode];
        change.apply(&mut inode.live);
        inode.unsynced.push(change);
        done((), fault)
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut state = self.state();
        let fault = state.whole()?;
        let content = &state.inodes[self.inode].live;
        let content = content.get(usize::try_from(at).unwrap()..).unwrap_or_default();
        let read = into.len().min(content.len());
        into[..read].copy_from_slice(&content[..read]);
        done(read, fault)
    }

    fn len(&self) -> io::Result<u64> {
        let mut state = self.state();
        let fault = state.whole()?;
        done(state.inodes[self.inode].live.len().try_into().unwrap(), fault)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state();
        let fault = state.whole()?;
        let change = Change::SetLen(usize::try_from(len).unwrap());
        let inode = &mut state.inodes[self.inode];
        change.apply(&mut inode.live);
        inode.unsynced.push(change);
        done((), fault)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state();
        let fault = state.call()?;
        if state.lies_about(self.inode) {
            return done((), fault);
        }
        let inode = &mut state.inodes[self.inode];
        // A failed sync leaves the pages clean, and the disk without them.
        for change in std::mem::take(&mut inode.unsynced) {
            if !matches!(fault, Some(Fault::NoSpace | Fault::Io)) {
                change.apply(&mut inode.durable);
            }
        }
        done((), fault)
    }
}
