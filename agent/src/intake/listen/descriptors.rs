//! Open files: a connection takes one, and there are only so many.

use std::io;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// Connections that may be open beyond the sessions allowed: on their way in or out.
pub(super) const LOBBY_MAX: usize = 256;
/// File descriptors for everything else than connections.
const OTHER_DESCRIPTORS: usize = 128;

/// How many connections there may be at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Bounds {
    /// Sessions.
    pub sessions: usize,
    /// Connections on their way in or out besides.
    pub lobby: usize,
}

impl Bounds {
    /// Raises the limit of open files as far as we may and need: often it is 1,024. What fits under
    /// it: a device that finds no room has to be told so, which takes a file, too.
    pub(super) fn take(sessions_max: usize) -> Self {
        let wanted = sessions_max.saturating_add(LOBBY_MAX).saturating_add(OTHER_DESCRIPTORS);
        let limit = raise(u64::try_from(wanted).unwrap_or(u64::MAX));
        let allowed =
            limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let bounds = Self::within(allowed, sessions_max);
        if bounds.sessions < sessions_max {
            warn!(
                allowed,
                wanted,
                sessions = bounds.sessions,
                "fewer open files are allowed than connections_max needs, so fewer devices are taken \
                 at once and the others told to come again; raise the hard limit (LimitNOFILE= of \
                 the service) or lower connections_max"
            );
        }
        bounds
    }

    /// What fits into so many open files.
    fn within(allowed: usize, sessions_max: usize) -> Self {
        let connections = allowed.saturating_sub(OTHER_DESCRIPTORS).max(2);
        let lobby = LOBBY_MAX.min(connections / 4).max(1);
        Self { sessions: sessions_max.min(connections - lobby), lobby }
    }
}

/// Raises the soft limit; the limit then, if there is one.
fn raise(wanted: u64) -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= wanted) {
        return current;
    }
    let raised = maximum.map_or(wanted, |maximum| maximum.min(wanted));
    match setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum }) {
        Ok(()) => Some(raised),
        Err(_) => current,
    }
}

/// Why no connection can be accepted, and what to do about it.
pub(super) fn explained(error: &io::Error) -> String {
    let raised = |errno: Errno| error.raw_os_error() == Some(errno.raw_os_error());
    if raised(Errno::MFILE) {
        format!("{error}; raise the hard limit of open files (LimitNOFILE= of the service)")
    } else if raised(Errno::NFILE) {
        format!("{error}; raise the system's limit of open files (sysctl fs.file-max)")
    } else {
        error.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_files_are_fewer_sessions() {
        let bounds = |sessions, lobby| Bounds { sessions, lobby };
        assert_eq!(Bounds::within(usize::MAX, 4096), bounds(4096, 256));
        assert_eq!(Bounds::within(20_000, 4096), bounds(4096, 256));
        assert_eq!(Bounds::within(20_000, 20_000), bounds(19_616, 256));
        assert_eq!(Bounds::within(1024, 4096), bounds(672, 224));
        assert_eq!(Bounds::within(1024, 100), bounds(100, 224));
        assert_eq!(Bounds::within(0, 4096), bounds(1, 1));
    }

    #[test]
    fn what_to_raise_is_said() {
        let said = |errno: Errno| explained(&io::Error::from_raw_os_error(errno.raw_os_error()));
        assert!(said(Errno::MFILE).contains("LimitNOFILE"));
        assert!(said(Errno::NFILE).contains("fs.file-max"));
        assert!(!said(Errno::CONNABORTED).contains("raise"));
    }
}
