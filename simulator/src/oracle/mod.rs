//! The oracle: what the sources said against what the sink holds.
//!
//! It reads the sink's documents once, in order, and follows each vehicle's streams beside its
//! source: every reading must be delivered once, in order and equal to the last digit, or be covered
//! by a loss document, or lie within what a boot states as its open batch. It knows nothing of the
//! agent but the documents.
//!
//! Rings of a lane are taken in the order in which they appear. Memory is bounded by vehicles and
//! their rings and boots, whatever the sink's size.

pub mod document;
pub mod fault;
pub mod got;
pub mod track;
pub mod device;
pub mod verdict;

pub mod sink;
pub mod ledger;

use std::collections::HashMap;

use protocol::DeviceId;

use crate::vehicle::Vehicle;
use device::{DeviceCheck, Found};
use document::Document;
use fault::{Context, FaultKind, Faults};
pub use verdict::Verdict;

/// Follows a whole fleet.
#[derive(Debug)]
pub struct Oracle {
    places: HashMap<String, usize>,
    checks: Vec<DeviceCheck>,
    /// Where the last document's device is: documents of a frame stand together.
    last: usize,
    documents: u64,
    malformed: u64,
    foreign: u64,
    /// What stands in documents of other devices, if there may be any.
    others: Option<Found>,
    faults: Faults,
}

impl Oracle {
    /// Expects what these vehicles' sources say; of each no more readings than `admitted` tells, if
    /// it does.
    pub fn new(vehicles: Vec<Vehicle>, admitted: impl Fn(&DeviceId) -> Option<u64>) -> Self {
        let checks: Vec<_> = vehicles
            .into_iter()
            .map(|vehicle| {
                let admitted = admitted(&vehicle.device).unwrap_or(u64::MAX);
                DeviceCheck::new(vehicle, admitted)
            })
            .collect();
        let places = checks.iter().map(|check| check.device().to_string()).zip(0..).collect();
        Self {
            places,
            checks,
            last: 0,
            documents: 0,
            malformed: 0,
            foreign: 0,
            others: None,
            faults: Faults::default(),
        }
    }

    /// Other devices may be with the agent: their documents are counted, and held against nothing but a ledger.
    #[must_use]
    pub fn beside_others(self) -> Self {
        Self { others: Some(Found::default()), ..self }
    }

    /// Takes the next line of the sink, without its end.
    pub fn read(&mut self, file: usize, file_name: &str, line: u64, text: &[u8]) {
        self.documents += 1;
        let mut context = Context { file, file_name, line, ..Context::default() };
        let Some(document) = Document::parse(text) else {
            self.malformed += 1;
            let start = text.get(..text.len().min(120)).unwrap_or_default();
            self.faults.note(FaultKind::Malformed, &context, || {
                format!("no document: {}", String::from_utf8_lossy(start))
            });
            return;
        };
        context.id = document.id;
        context.boot = document.boot.unwrap_or_default();
        context.resealed = document.origin.is_some();
        self.find(document.device);
        match self.checks.get_mut(self.last) {
            Some(check) if check.device().as_str() == document.device => {
                check.read(&document, &context, &mut self.faults);
            }
            _ => {
                self.foreign += 1;
                let others = self.others.as_mut();
                if others.is_none_or(|others| others.take_any(&document).is_none()) {
                    self.faults.note(FaultKind::Foreign, &context, || {
                        "no vehicle of the fleet has this name".to_owned()
                    });
                }
            }
        }
    }

    /// Everything was read.
    pub fn finish(mut self) -> Verdict {
        let mut verdict = Verdict {
            devices: self.checks.len(),
            documents: self.documents,
            malformed: self.malformed,
            foreign: self.foreign,
            ..Verdict::default()
        };
        for check in &mut self.checks {
            let before = self.faults.count();
            let name = check.device().to_string();
            let end = Context { file: usize::MAX, id: &name, ..Context::default() };
            let summary = check.finish(&end, &mut self.faults);
            verdict.add(name, &summary, self.faults.count() > before);
        }
        if let Some(others) = &self.others {
            verdict.add_found(others);
        }
        verdict.set_faults(&self.faults);
        verdict
    }

    /// Turns to a device, if it is in the fleet.
    fn find(&mut self, device: &str) {
        let is_last =
            self.checks.get(self.last).is_some_and(|check| check.device().as_str() == device);
        if let (false, Some(place)) = (is_last, self.places.get(device)) {
            self.last = *place;
        }
    }
}

#[cfg(test)]
mod tests;
