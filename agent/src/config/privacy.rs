//! `[privacy]`: what may leave, and in which shape.

use std::path::PathBuf;

use super::read::{Notes, Section, suggestion};

/// `[privacy]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Privacy {
    /// The key of pseudonyms: a file of 64 hexadecimal digits, mode 0600. Needed by
    /// [`Rule::Pseudonym`].
    pub pseudonym_key_file: Option<PathBuf>,
    /// Names the key in documents, so that pseudonyms of different keys are told apart.
    pub pseudonym_key_id: String,
    /// `[[privacy.rule]]`, applied in the order of the file.
    pub rules: Vec<Rule>,
}

/// One `[[privacy.rule]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Samples of these signals are excluded.
    Drop {
        /// Signal paths; `*` stands for any characters.
        signals: Vec<String>,
    },
    /// A position becomes the centre of the H3 cell that it is in.
    Coarsen {
        /// The signal with the latitude, in degrees.
        latitude: String,
        /// The signal with the longitude, in degrees.
        longitude: String,
        /// H3 resolution, 0 to 15; 7 is about 5 square kilometres, 9 about 0.1.
        h3_resolution: u8,
    },
    /// Values are replaced by keyed pseudonyms, stable across replays.
    Pseudonym {
        /// Which.
        fields: Vec<Field>,
    },
}

/// What a pseudonym can replace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// The device id, wherever it stands.
    Device,
    /// An event's actor.
    EventActor,
    /// An event's attribute of this name.
    Attribute(String),
}

#[derive(Clone, Copy)]
enum Action {
    Drop,
    Coarsen,
    Pseudonym,
}

const ACTIONS: [(&str, Action); 3] =
    [("drop", Action::Drop), ("coarsen", Action::Coarsen), ("pseudonym", Action::Pseudonym)];

pub(super) fn read(mut section: Section<'_>, notes: &Notes) -> Privacy {
    let mut privacy = Privacy {
        pseudonym_key_file: section.text("pseudonym_key_file").map(PathBuf::from),
        pseudonym_key_id: section.text("pseudonym_key_id").unwrap_or("1").to_owned(),
        rules: Vec::new(),
    };
    for mut rule in section.sections("rule").unwrap_or_default() {
        if !rule.has("action") {
            rule.missing("action", "drop, coarsen or pseudonym");
        }
        let read = match rule.choice("action", &ACTIONS) {
            Some(Action::Drop) => read_drop(&mut rule, notes),
            Some(Action::Coarsen) => read_coarsen(&mut rule),
            Some(Action::Pseudonym) => {
                let path = rule.path("action");
                if privacy.pseudonym_key_file.is_none() {
                    let meant = "set pseudonym_key_file in [privacy]".to_owned();
                    notes.wrong_at(&path, "a pseudonym needs a key", Some(meant));
                }
                read_pseudonym(&mut rule, notes)
            }
            // Which keys such a rule may have is unknown; its action is reported.
            None => continue,
        };
        rule.finish();
        privacy.rules.extend(read);
    }
    section.finish();
    privacy
}

fn read_drop(rule: &mut Section<'_>, notes: &Notes) -> Option<Rule> {
    if !rule.has("signals") {
        rule.missing("signals", r#"like signals = ["Vehicle.CurrentLocation.*"]"#);
    }
    let mut signals = Vec::new();
    for (path, glob) in rule.texts("signals") {
        if is_signal(&glob.replace('*', "x")) {
            signals.push(glob.to_owned());
        } else {
            let meant = "dotted names, `*` for any characters".to_owned();
            notes.wrong_at(&path, format!("`{glob}` matches no signal"), Some(meant));
        }
    }
    Some(Rule::Drop { signals })
}

fn read_coarsen(rule: &mut Section<'_>) -> Option<Rule> {
    for key in ["latitude", "longitude", "h3_resolution"] {
        if !rule.has(key) {
            rule.missing(key, "coarsen needs latitude, longitude and h3_resolution");
        }
    }
    let mut signal = |key| {
        let path = rule.text(key)?;
        if !is_signal(path) {
            let meant = "like Vehicle.CurrentLocation.Latitude".to_owned();
            rule.wrong(key, format!("`{path}` is no signal's path"), Some(meant));
        }
        Some(path.to_owned())
    };
    let (latitude, longitude) = (signal("latitude"), signal("longitude"));
    let resolution = rule.whole("h3_resolution", 0..=15);
    if latitude.is_some() && latitude == longitude {
        rule.wrong("longitude", "latitude and longitude are the same signal", None);
    }
    let h3_resolution = u8::try_from(resolution?).ok()?;
    Some(Rule::Coarsen { latitude: latitude?, longitude: longitude?, h3_resolution })
}

fn read_pseudonym(rule: &mut Section<'_>, notes: &Notes) -> Option<Rule> {
    const FIELDS: [&str; 3] = ["device", "event.actor", "attributes.NAME"];
    if !rule.has("fields") {
        rule.missing("fields", r#"like fields = ["device", "attributes.driver"]"#);
    }
    let mut fields = Vec::new();
    for (path, field) in rule.texts("fields") {
        match field.split_once('.') {
            None if field == "device" => fields.push(Field::Device),
            Some(("event", "actor")) => fields.push(Field::EventActor),
            Some(("attributes", name)) if !name.is_empty() => {
                fields.push(Field::Attribute(name.to_owned()));
            }
            _ => {
                let meant = Some(suggestion(field, &FIELDS));
                notes.wrong_at(&path, format!("`{field}` can't be a pseudonym"), meant);
            }
        }
    }
    Some(Rule::Pseudonym { fields })
}

fn is_signal(path: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    path.split('.').all(part)
}
