//! What there is on a disk and in the kernel: files, names, and what was done to them and is not
//! synced.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::content::Content;

/// Names and the files behind them.
pub(super) type Names = BTreeMap<Arc<Path>, usize>;

/// What will become of a change at a power cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    /// It may be kept or not; the next sync makes it sure.
    Unsynced,
    /// A sync that covered it failed: it may be kept or not, and no sync changes that any more.
    Doubtful,
    /// It was synced, and stands behind something doubtful.
    Sure,
}

/// What was done to a file.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Write { at: usize, bytes: Arc<[u8]> },
    SetLen(usize),
}

impl Change {
    pub(super) fn apply(&self, content: &mut Content) {
        match self {
            Self::Write { at, bytes } => content.write(*at, bytes),
            Self::SetLen(len) => content.set_len(*len),
        }
    }
}

/// What was done to a directory.
#[derive(Clone, Debug)]
pub(super) enum NameChange {
    Create(Arc<Path>, usize),
    Remove(Arc<Path>),
    Rename(Arc<Path>, Arc<Path>, usize),
}

impl NameChange {
    pub(super) fn apply(&self, names: &mut Names) {
        match self {
            Self::Create(path, inode) => drop(names.insert(Arc::clone(path), *inode)),
            Self::Remove(path) => drop(names.remove(path)),
            Self::Rename(from, to, inode) => {
                names.remove(from);
                names.insert(Arc::clone(to), *inode);
            }
        }
    }

    pub(super) fn is_in(&self, dir: &Path) -> bool {
        let (Self::Create(path, _) | Self::Remove(path) | Self::Rename(path, ..)) = self;
        path.parent() == Some(dir)
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    pub(super) live: Content,
    pub(super) durable: Content,
    pub(super) changes: Vec<(Change, Fate)>,
}

impl Inode {
    pub(super) fn change(&mut self, change: Change) {
        change.apply(&mut self.live);
        self.changes.push((change, Fate::Unsynced));
    }

    pub(super) fn settle(&mut self, as_it_went: bool) {
        decide(&mut self.changes, as_it_went, |_| true);
        let sure = self.changes.iter().take_while(|(_, fate)| *fate == Fate::Sure).count();
        for (change, _) in self.changes.drain(..sure) {
            change.apply(&mut self.durable);
        }
    }
}

fn decide<T>(changes: &mut [(T, Fate)], as_it_went: bool, covers: impl Fn(&T) -> bool) {
    for (change, fate) in changes {
        if *fate == Fate::Unsynced && covers(change) {
            *fate = if as_it_went { Fate::Sure } else { Fate::Doubtful };
        }
    }
}

/// All there is on the disk, and in the kernel.
#[derive(Clone, Debug, Default)]
pub(super) struct Holding {
    pub(super) inodes: Vec<Arc<Inode>>,
    pub(super) live: Names,
    pub(super) durable: Names,
    pub(super) names: Vec<(NameChange, Fate)>,
}

impl Holding {
    /// A disk at rest with these files.
    pub(super) fn at_rest(files: impl IntoIterator<Item = (Arc<Path>, Content)>) -> Self {
        let mut holding = Self::default();
        for (path, content) in files {
            let inode = Inode { live: content.clone(), durable: content, changes: Vec::new() };
            holding.live.insert(path, holding.inodes.len());
            holding.inodes.push(Arc::new(inode));
        }
        holding.durable.clone_from(&holding.live);
        holding
    }

    /// The files, as the kernel shows them.
    pub(super) fn files(&self) -> impl Iterator<Item = (&Arc<Path>, &Content)> {
        self.live.iter().filter_map(|(path, inode)| Some((path, &self.inodes.get(*inode)?.live)))
    }

    pub(super) fn rename(&mut self, change: NameChange) {
        change.apply(&mut self.live);
        self.names.push((change, Fate::Unsynced));
    }

    pub(super) fn sync_dir(&mut self, dir: &Path, as_it_went: bool) {
        decide(&mut self.names, as_it_went, |change| change.is_in(dir));
        // What is sure and not behind anything of the same directory that is not.
        let mut waiting: Vec<(NameChange, Fate)> = Vec::new();
        for (change, fate) in std::mem::take(&mut self.names) {
            let is_behind = waiting.iter().any(|(earlier, _)| is_same_dir(earlier, &change));
            if fate == Fate::Sure && !is_behind {
                change.apply(&mut self.durable);
            } else {
                waiting.push((change, fate));
            }
        }
        self.names = waiting;
    }

    pub(super) fn used(&self) -> usize {
        self.files().map(|(_, content)| content.len()).sum()
    }

    pub(super) fn inode(&mut self, inode: usize) -> io::Result<&mut Inode> {
        let inode = self.inodes.get_mut(inode).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::make_mut(inode))
    }
}

fn is_same_dir(one: &NameChange, other: &NameChange) -> bool {
    let (NameChange::Create(path, _) | NameChange::Remove(path) | NameChange::Rename(path, ..)) =
        one;
    path.parent().is_some_and(|dir| other.is_in(dir))
}
