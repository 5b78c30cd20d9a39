//! Where in a data directory sinks keep what is theirs: at any depth, as they were configured.
//!
//! What the agent keeps itself is not looked into, and no link is followed: what lies behind one lies
//! elsewhere, like the folder of a sink with an absolute path.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{BackupError, store};

/// What the agent keeps itself, in folders that no sink can have.
const OWN: [&str; 4] = ["journal", "cursors", "dead-letters", "parked"];

/// What something is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// A local store.
    Store,
    /// A file sink's folder.
    Sink,
    /// A link to one of them.
    Link,
    /// Neither, nor any of them below it.
    Other,
}

/// Something in a data directory that the agent does not keep itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Found {
    /// From the data directory on, `/` between the parts.
    pub name: String,
    pub path: PathBuf,
    pub kind: Kind,
}

/// All that is there beside the agent's own folders, by name; of a folder with something of a
/// sink's below it the parts, of any other the whole.
pub(super) fn places(data_dir: &Path) -> Result<Vec<Found>, BackupError> {
    let mut found = Vec::new();
    look_into(data_dir, "", &mut found).map_err(BackupError::file("list", data_dir))?;
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

fn look_into(dir: &Path, name: &str, found: &mut Vec<Found>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let last = entry.file_name().to_string_lossy().into_owned();
        if name.is_empty() && OWN.contains(&last.as_str()) {
            continue;
        }
        let name = if name.is_empty() { last } else { format!("{name}/{last}") };
        let path = entry.path();
        // Of the entry itself, not of what a link leads to.
        let file_type = match entry.file_type() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            file_type => file_type?,
        };
        let kind = match kind_of(&path) {
            kind if file_type.is_dir() => kind,
            Kind::Store | Kind::Sink if file_type.is_symlink() => Kind::Link,
            _ => Kind::Other,
        };
        let mut below = Vec::new();
        if file_type.is_dir() {
            match look_into(&path, &name, &mut below) {
                // Not ours, like `lost+found`: then no sink of ours is in it either.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => below.clear(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                looked => looked?,
            }
        }
        let has_some = below.iter().any(|found| found.kind != Kind::Other);
        if kind != Kind::Other || !has_some {
            found.push(Found { name, path, kind });
        }
        match kind {
            Kind::Other if has_some => found.append(&mut below),
            // Files in there are the sink's or the store's.
            _ => found.extend(below.into_iter().filter(|found| found.kind != Kind::Other)),
        }
    }
    Ok(())
}

/// What a folder is.
pub(super) fn kind_of(dir: &Path) -> Kind {
    let has = |name: &str| dir.join(name).exists();
    if store::is_store(dir) {
        Kind::Store
    } else if has(".milepost-cursor") || has(".milepost-lock") {
        Kind::Sink
    } else {
        Kind::Other
    }
}
