//! What is mutated, and which tests have to notice.

/// A part of the product, and the tests that are to notice when it is changed.
#[derive(Clone, Copy, Debug)]
pub struct Area {
    /// What reports call it.
    pub name: &'static str,
    /// The package that has it.
    pub package: &'static str,
    /// Its files: a path is one, a path with a slash at its end all below it.
    pub files: &'static [&'static str],
    /// What of these is not part of it: what only tests and fuzzing are built with.
    pub without: &'static [&'static str],
}

/// The pure stages, in the order of the flow.
pub const AREAS: [Area; 5] = [
    Area {
        name: "protocol",
        package: "milepost-protocol",
        files: &["protocol/src/"],
        without: &["protocol/src/golden.rs"],
    },
    Area {
        name: "store",
        package: "milepost-firmware",
        files: &[
            "firmware/src/ring.rs",
            "firmware/src/ring/",
            "firmware/src/checksum.rs",
            "firmware/src/app/store.rs",
            "firmware/src/app/system.rs",
        ],
        without: &["firmware/src/ring/flash_model.rs"],
    },
    Area {
        name: "dedup",
        package: "milepost",
        files: &[
            "agent/src/dedup.rs",
            "agent/src/rings.rs",
            "agent/src/accept.rs",
            "agent/src/accept/",
        ],
        without: &[],
    },
    Area {
        name: "journal",
        package: "milepost-journal",
        files: &["agent/journal/src/"],
        without: &["agent/journal/src/fuzzing.rs"],
    },
    Area {
        name: "forward",
        package: "milepost",
        files: &["agent/src/forward.rs", "agent/src/forward/"],
        without: &[],
    },
];

impl Area {
    /// Whether this file belongs to it.
    pub fn has(&self, file: &str) -> bool {
        let within =
            |part: &&str| file == *part || (part.ends_with('/') && file.starts_with(*part));
        self.files.iter().any(&within) && !self.without.iter().any(within)
    }

    /// The area of a file.
    pub fn of(file: &str) -> Option<&'static Self> {
        AREAS.iter().find(|area| area.has(file))
    }

    /// Its files, as cargo-mutants takes them.
    pub fn globs(&self) -> Vec<String> {
        let glob =
            |part: &&str| if part.ends_with('/') { format!("{part}**") } else { (*part).into() };
        self.files.iter().map(glob).collect()
    }
}

/// Whether a file is mutated: it is of an area, and not of its tests.
pub fn is_mutated(file: &str) -> bool {
    Area::of(file).is_some() && !file.contains("/tests")
}

/// The packages that have areas, each once, in the order of the flow.
pub fn packages() -> Vec<&'static str> {
    let mut packages = Vec::new();
    for Area { package, .. } in AREAS {
        if !packages.contains(&package) {
            packages.push(package);
        }
    }
    packages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_area_is_in_a_package_that_is_run_once() {
        let packages = packages();
        for area in AREAS {
            assert_eq!(packages.iter().filter(|package| **package == area.package).count(), 1);
        }
    }

    #[test]
    fn a_file_has_one_area_at_most() {
        let area = |file| Area::of(file).map(|area| area.name);
        assert_eq!(area("protocol/src/codec/range.rs"), Some("protocol"));
        assert_eq!(area("firmware/src/ring/walk.rs"), Some("store"));
        assert_eq!(area("firmware/src/ring/flash_model.rs"), None);
        assert_eq!(area("agent/src/accept/driver.rs"), Some("dedup"));
        assert_eq!(area("agent/journal/src/reader.rs"), Some("journal"));
        assert_eq!(area("agent/src/forward.rs"), Some("forward"));
        assert_eq!(area("agent/src/sink/file.rs"), None);
    }
}
