//! `[privacy]`: what may leave, and in which shape; what it means is [`crate::privacy`]'s.

use std::path::PathBuf;

use super::read::{Notes, Section};

/// Most drop rules and the longest, in bytes: what a sink's cursor has room for.
const DROPS_MAX: usize = 64;
const DROP_LEN_MAX: usize = 96;
/// Largest number of a pseudonym key: with it a pseudonym is still a device id.
const KEY_ID_MAX: u64 = 9999;

/// `[privacy]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Privacy {
    /// Signals that no sink gets: paths, in which `*` stands for any characters and `?` for one.
    pub drop: Vec<String>,
    /// `[privacy.location]`: places become cells; none: they stay as they are.
    pub location: Option<Location>,
    /// `[privacy.pseudonym]`: names become pseudonyms; none: they stay as they are.
    pub pseudonym: Option<Pseudonym>,
    /// No document names the vehicle in which a device sat; its group, tenant and region stay.
    pub drop_vehicle: bool,
}

/// `[privacy.location]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// H3 resolution, 0 to 15; 7 is about 5 square kilometres, 9 about 0.1.
    pub resolution: u8,
}

/// `[privacy.pseudonym]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pseudonym {
    /// File with the key: 64 hexadecimal digits, or at least 32 bytes; mode 0600.
    pub key_file: PathBuf,
    /// Number of the key, which every pseudonym begins with, so that a change of key shows.
    pub key_id: u16,
    /// Fields and attributes of events, logs and crashes, besides the device's id.
    pub fields: Vec<String>,
}

pub(super) fn read(mut section: Section<'_>, notes: &Notes) -> Privacy {
    let mut privacy = Privacy::default();
    for (path, glob) in section.texts("drop") {
        if glob.len() > DROP_LEN_MAX || !is_glob(glob) {
            let meant = format!(
                "dotted names of at most {DROP_LEN_MAX} bytes, `*` for any characters, `?` for one"
            );
            notes.wrong_at(&path, format!("`{glob}` matches no signal"), Some(meant));
        }
        privacy.drop.push(glob.to_owned());
    }
    if privacy.drop.len() > DROPS_MAX {
        let meant = format!("at most {DROPS_MAX}; wildcards say more with less");
        section.wrong("drop", "too many rules", Some(meant));
    }
    if let Some(mut location) = section.optional_section("location") {
        if !location.has("resolution") {
            location.missing("resolution", "0 to 15, like 7");
        }
        let resolution = location.whole("resolution", 0..=15);
        let resolution = resolution.and_then(|resolution| u8::try_from(resolution).ok());
        privacy.location = resolution.map(|resolution| Location { resolution });
        location.finish();
    }
    if let Some(mut pseudonym) = section.optional_section("pseudonym") {
        if !pseudonym.has("key_file") {
            pseudonym.missing("key_file", "a file of 64 hexadecimal digits");
        }
        let key_id = pseudonym.whole("key_id", 0..=KEY_ID_MAX).unwrap_or(1);
        privacy.pseudonym = Some(Pseudonym {
            key_file: pseudonym.text("key_file").map(PathBuf::from).unwrap_or_default(),
            key_id: u16::try_from(key_id).unwrap_or(1),
            fields: pseudonym
                .texts("fields")
                .into_iter()
                .map(|(_, field)| field.to_owned())
                .collect(),
        });
        pseudonym.finish();
    }
    let choices = [("keep", false), ("drop", true)];
    privacy.drop_vehicle = section.choice("vehicle", &choices).unwrap_or(false);
    section.finish();
    privacy
}

fn is_glob(glob: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'*' | b'?');
    glob.split('.').all(|part| !part.is_empty() && part.bytes().all(allowed))
}
