//! What came of the mutants, per area.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;

use crate::areas::AREAS;
use crate::list::{Mutant, Name};
use crate::trial::Outcome;

/// One area's figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// Mutants.
    pub mutants: usize,
    /// Of these: a test fails.
    pub caught: usize,
    /// A test does not come to an end.
    pub timeout: usize,
    /// They do not compile.
    pub unviable: usize,
    /// No test notices, and the reason is committed.
    pub justified: usize,
    /// No test notices.
    pub missed: usize,
    /// Not tried.
    pub left: usize,
}

/// The figures, and what is wrong.
#[derive(Debug, Default)]
pub struct Report {
    areas: BTreeMap<usize, Figures>,
    missed: Vec<String>,
    rotten: Vec<String>,
}

impl Report {
    /// Of these mutants. A reason that is for none of `all`, or for one that is caught, is wrong.
    pub fn new<'a>(
        all: &[Mutant],
        tried: &[&Mutant],
        reasons: &BTreeMap<Name, String>,
        outcome: impl Fn(&Name) -> Option<&'a Outcome>,
    ) -> Self {
        let mut report = Self::default();
        for mutant in tried {
            let area = AREAS.iter().position(|area| area.has(&mutant.name.file));
            let figures = report.areas.entry(area.unwrap_or(AREAS.len())).or_default();
            figures.mutants += 1;
            let reason = reasons.contains_key(&mutant.name);
            match outcome(&mutant.name) {
                Some(Outcome::Caught(_)) => figures.caught += 1,
                Some(Outcome::Timeout(_)) => figures.timeout += 1,
                Some(Outcome::Unviable) => figures.unviable += 1,
                Some(Outcome::Missed(_)) if reason => figures.justified += 1,
                Some(Outcome::Missed(tests)) => {
                    figures.missed += 1;
                    let line = mutant.start.line;
                    report.missed.push(format!("{} (line {line}; {tests} tests)", mutant.name));
                }
                Some(Outcome::Alone) | None => figures.left += 1,
            }
            if let (true, Some(Outcome::Caught(by) | Outcome::Timeout(by))) =
                (reason, outcome(&mutant.name))
            {
                report.rotten.push(format!("{}: {by} notices it", mutant.name));
            }
            if let (true, Some(Outcome::Unviable)) = (reason, outcome(&mutant.name)) {
                report.rotten.push(format!("{}: does not compile", mutant.name));
            }
        }
        for name in reasons.keys() {
            if !all.iter().any(|mutant| mutant.name == *name) {
                report.rotten.push(format!("{name}: there is no such mutant"));
            }
        }
        report
    }

    /// Whether all that was tried is caught or justified, and every reason is good.
    pub fn holds(&self) -> bool {
        self.missed.is_empty() && self.rotten.is_empty()
    }

    /// Mutants that were not tried.
    pub fn left(&self) -> usize {
        self.areas.values().map(|figures| figures.left).sum()
    }

    /// Prints it.
    pub fn print(&self, json: bool) -> Result<()> {
        for line in &self.missed {
            eprintln!("missed: {line}");
        }
        for line in &self.rotten {
            eprintln!("{}: {line}", crate::justified::FILE);
        }
        if !json && !self.areas.is_empty() {
            println!("area       mutants  caught timeout unviable justified  missed    left");
        }
        for (at, figures) in &self.areas {
            let name = AREAS.get(*at).map_or("other", |area| area.name);
            let Figures { mutants, caught, timeout, unviable, justified, missed, left } = figures;
            if json {
                let mut object = serde_json::to_value(figures)?;
                if let Some(object) = object.as_object_mut() {
                    object.insert("area".into(), name.into());
                }
                println!("{object}");
            } else {
                println!(
                    "{name:<10} {mutants:>7} {caught:>7} {timeout:>7} {unviable:>8} {justified:>9} \
                     {missed:>7} {left:>7}"
                );
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list::{Genre, Place};

    fn mutant(number: u32) -> Mutant {
        let place = Place { line: 1, column: 1 };
        let file = "protocol/src/ack.rs".to_owned();
        Mutant {
            number,
            name: Name { file, change: "x".into(), text: String::new(), nth: number },
            start: place,
            end: place,
            genre: Genre::FnValue,
            replacement: String::new(),
            return_type: String::new(),
        }
    }

    fn report(outcomes: &[Option<Outcome>], reasons: &[u32]) -> Report {
        let all: Vec<Mutant> = (1..).take(outcomes.len()).map(mutant).collect();
        let tried: Vec<&Mutant> = all.iter().collect();
        let reasons = reasons.iter().map(|at| (mutant(*at).name, String::new())).collect();
        Report::new(&all, &tried, &reasons, |name| outcomes[name.nth as usize - 1].as_ref())
    }

    #[test]
    fn a_survivor_needs_a_reason() {
        let missed = Some(Outcome::Missed(3));
        assert!(!report(std::slice::from_ref(&missed), &[]).holds());
        assert!(report(&[missed, Some(Outcome::Unviable), None], &[1]).holds());
        assert!(report(&[Some(Outcome::Caught("a".into()))], &[]).holds());
    }

    #[test]
    fn a_reason_for_what_is_caught_or_gone_is_wrong() {
        assert!(!report(&[Some(Outcome::Caught("a".into()))], &[1]).holds());
        assert!(!report(&[Some(Outcome::Timeout("a".into()))], &[1]).holds());
        assert!(!report(&[Some(Outcome::Unviable)], &[1]).holds());
        assert!(!report(&[Some(Outcome::Caught("a".into()))], &[2]).holds());
        assert!(report(&[None], &[1]).holds());
    }
}
