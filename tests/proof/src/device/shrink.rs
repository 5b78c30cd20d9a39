//! From a history that fails to a short one that fails.

use super::cuts::{Failure, Prover};
use super::history::History;
use super::planted::Planted;

/// How many states of shorter histories are tried.
const STATES: u64 = 100_000;

/// Leaves out operations while it still fails, whatever with.
pub(super) fn shrink(history: &History, failure: &Failure, planted: Option<Planted>) -> History {
    let last = failure.at.operation;
    let mut shortest = history.clone();
    shortest.operations.truncate(last + 1);
    shortest.cut_from = last;
    // A second cut that is left out here or there would be missed by chance.
    shortest.is_thorough |= failure.at.second.is_some();
    let mut states = 0;
    let mut len = last.div_ceil(2);
    while len > 0 {
        let mut from = 0;
        while from + len < shortest.operations.len() && states < STATES {
            let mut shorter = shortest.clone();
            shorter.operations.drain(from..from + len);
            shorter.cut_from = shorter.operations.len().saturating_sub(1);
            let mut prover = Prover::seeking(planted);
            let outcome = prover.run(&shorter);
            states += prover.report.states + 1;
            match outcome {
                Err(failure) => {
                    // It may fail earlier now.
                    shorter.operations.truncate(failure.at.operation + 1);
                    shorter.cut_from = failure.at.operation;
                    shortest = shorter;
                }
                Ok(()) => from += len,
            }
        }
        len = if len == 1 { 0 } else { len.div_ceil(2) };
    }
    shortest
}
