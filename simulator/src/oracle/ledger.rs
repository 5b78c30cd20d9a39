//! The agent's own ledger (`milepost ledger --json`) against the documents that the oracle read.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::fault::FaultKind;
use super::verdict::{Stated, Verdict};

/// What is compared of a sink's ledger.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct SinkLedger {
    /// Which sink.
    pub sink: String,
    accepted: Counts,
    delivered: Counts,
    buffered: Counts,
    dead_lettered: Counts,
    quarantined: Counts,
    lost_by_reason: Vec<(String, Counts)>,
    excluded_by_rule: Vec<(String, Counts)>,
    documents: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
struct Counts {
    samples: u64,
    events: u64,
}

/// Why a ledger cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// It cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is no ledger.
    #[error("{path}: no ledger as `milepost ledger --json` prints it: {source}")]
    Malformed {
        /// Which file.
        path: String,
        /// Why.
        source: serde_json::Error,
    },
    /// It has more sinks than one, or not the one asked for.
    #[error("{path}: has the sinks {sinks:?}; choose one of them with --ledger-sink")]
    Choose {
        /// Which file.
        path: String,
        /// What it has.
        sinks: Vec<String>,
    },
}

/// Reads the ledger of one sink: the only one in the file, or the one named.
pub fn read(path: &Path, sink: Option<&str>) -> Result<SinkLedger, LedgerError> {
    let shown = || path.display().to_string();
    let bytes =
        std::fs::read(path).map_err(|source| LedgerError::Read { path: shown(), source })?;
    let all: Ledger = serde_json::from_slice(&bytes)
        .map_err(|source| LedgerError::Malformed { path: shown(), source })?;
    let ledgers = all.sinks;
    let sinks = ledgers.iter().map(|ledger| ledger.sink.clone()).collect();
    let mut wanted =
        ledgers.into_iter().filter(|ledger| sink.is_none_or(|sink| sink == ledger.sink));
    match (wanted.next(), wanted.next()) {
        (Some(ledger), None) => Ok(ledger),
        _ => Err(LedgerError::Choose { path: shown(), sinks }),
    }
}

/// The ledgers of all sinks.
#[derive(Deserialize)]
struct Ledger {
    sinks: Vec<SinkLedger>,
}

impl SinkLedger {
    /// Samples and events that the sink had not got yet when the ledger was drawn.
    pub fn buffered(&self) -> u64 {
        self.buffered.samples + self.buffered.events
    }
}

/// Notes where the ledger and the documents say different things.
pub fn compare(ledger: &SinkLedger, verdict: &mut Verdict) {
    let documents = &verdict.found;
    let mut rows = vec![
        ("delivered".to_owned(), ledger.delivered, (*documents).into()),
        ("buffered".to_owned(), ledger.buffered, Counts::default()),
        ("dead-lettered".to_owned(), ledger.dead_lettered, Counts::default()),
        ("quarantined".to_owned(), ledger.quarantined, Counts::default()),
    ];
    // Superseded values stand under `excluded` there, and in loss documents here.
    let mut stated: BTreeMap<&str, Counts> =
        verdict.losses.iter().map(|(reason, stated)| (reason.as_str(), (*stated).into())).collect();
    let mut accounted: Counts = (*documents).into();
    for (reason, counts) in ledger.lost_by_reason.iter().chain(&ledger.excluded_by_rule) {
        // What is taken out by a rule leaves no document: only losses state theirs.
        let found = match stated.remove(reason.as_str()) {
            None if ledger.excluded_by_rule.iter().any(|(rule, _)| rule == reason) => *counts,
            found => found.unwrap_or_default(),
        };
        rows.push((format!("lost or excluded, {reason}"), *counts, found));
        accounted.samples += found.samples;
        accounted.events += found.events;
    }
    for (reason, found) in stated {
        if found != Counts::default() {
            rows.push((format!("lost or excluded, {reason}"), Counts::default(), found));
        }
        accounted.samples += found.samples;
        accounted.events += found.events;
    }
    rows.push(("accepted".to_owned(), ledger.accepted, accounted));
    let differences: Vec<_> = rows
        .into_iter()
        .filter(|(_, ledger, documents)| ledger != documents)
        .map(|(name, ledger, documents)| {
            format!(
                "{name}: the ledger says {} samples and {} events, the documents {} and {}",
                ledger.samples, ledger.events, documents.samples, documents.events
            )
        })
        .chain((ledger.documents != verdict.documents).then(|| {
            format!(
                "the ledger says {} documents, there are {}",
                ledger.documents, verdict.documents
            )
        }))
        .collect();
    for text in differences {
        verdict.add_difference(FaultKind::Ledger, &format!("ledger of {}", ledger.sink), text);
    }
}

impl From<Stated> for Counts {
    fn from(stated: Stated) -> Self {
        Self { samples: stated.samples, events: stated.events }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEDGER: &str = r#"{"sink":"files","accepted":{"samples":110,"events":5},"delivered":{"samples":100,"events":5},"buffered":{"samples":0,"events":0},"lost":{"samples":7,"events":0},"excluded":{"samples":3,"events":0},"dead_lettered":{"samples":0,"events":0},"quarantined":{"samples":0,"events":0},"lost_by_reason":[["full",{"samples":7,"events":0}]],"excluded_by_rule":[["superseded",{"samples":3,"events":0}]],"documents":60,"unsealed_max":{"samples":0,"events":0},"declared":null}"#;

    fn all(sinks: &[&str]) -> String {
        let sinks = sinks.join(",");
        format!(r#"{{"at_ms":1,"running":true,"balanced":true,"sinks":[{sinks}]}}"#)
    }

    fn verdict() -> Verdict {
        let stated = |samples| Stated { samples, events: 0 };
        Verdict {
            documents: 60,
            found: Stated { samples: 100, events: 5 },
            losses: [("full".to_owned(), stated(7)), ("superseded".to_owned(), stated(3))].into(),
            ..Verdict::default()
        }
    }

    fn differences(ledger: &str, mut verdict: Verdict) -> u64 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.json");
        std::fs::write(&path, all(&[ledger])).unwrap();
        compare(&read(&path, None).unwrap(), &mut verdict);
        verdict.differences
    }

    #[test]
    fn equal_books_agree_and_any_change_is_noted() {
        assert_eq!(differences(LEDGER, verdict()), 0);
        for (from, to) in [
            (r#""delivered":{"samples":100"#, r#""delivered":{"samples":99"#),
            (r#""buffered":{"samples":0"#, r#""buffered":{"samples":1"#),
            (r#""full",{"samples":7"#, r#""full",{"samples":8"#),
            (r#""superseded""#, r#""other""#),
            (r#""documents":60"#, r#""documents":61"#),
            (r#""accepted":{"samples":110"#, r#""accepted":{"samples":111"#),
        ] {
            assert!(differences(&LEDGER.replace(from, to), verdict()) > 0, "{to}");
        }
        let unsaid = Verdict { losses: BTreeMap::new(), ..verdict() };
        assert!(differences(LEDGER, unsaid) > 0);
    }

    #[test]
    fn a_sink_must_be_chosen_where_there_are_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.json");
        let other = LEDGER.replace("files", "other");
        std::fs::write(&path, all(&[LEDGER, &other])).unwrap();
        assert!(matches!(read(&path, None), Err(LedgerError::Choose { .. })));
        assert_eq!(read(&path, Some("other")).unwrap().sink, "other");
        assert!(matches!(read(&path, Some("none")), Err(LedgerError::Choose { .. })));
        std::fs::write(&path, "{}").unwrap();
        assert!(matches!(read(&path, None), Err(LedgerError::Malformed { .. })));
    }
}
