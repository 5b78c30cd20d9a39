//! Fewer and fewer faults, until each that is left is needed.

use super::plan::Plan;
use super::planted::Planted;
use super::truth::Violation;
use super::world::run;

/// Worlds that are run to find them, at most.
const RUNS_MAX: u32 = 120;

/// The numbers of the faults that are not needed for a violation, those included that were left out
/// already.
pub(super) fn shrink(
    plan: &Plan,
    without: &[usize],
    planted: Option<Planted>,
    found: &Violation,
) -> Vec<usize> {
    let all = 0..plan.faults.len();
    let mut needed: Vec<usize> = all.clone().filter(|number| !without.contains(number)).collect();
    let mut runs = 0;
    let mut part = needed.len().div_ceil(2);
    while part > 0 && runs < RUNS_MAX {
        let mut at = 0;
        while at < needed.len() && runs < RUNS_MAX {
            let fewer: Vec<usize> = needed
                .iter()
                .enumerate()
                .filter(|(index, _)| !(at..at + part).contains(index))
                .map(|(_, number)| *number)
                .collect();
            runs += 1;
            let again = run(&plan.with_only(&fewer), planted, false).violation;
            // Another one may be nearer, and is another one.
            if again.is_some_and(|again| again.invariant == found.invariant) {
                needed = fewer;
            } else {
                at += part;
            }
        }
        part /= 2;
    }
    all.filter(|number| !needed.contains(number)).collect()
}
