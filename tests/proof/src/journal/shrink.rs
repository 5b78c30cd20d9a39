//! From a history that fails to a short one that fails.

use super::history::History;
use super::planted::Planted;
use super::states::{Failure, Prover};

/// How many states of shorter histories are recovered from.
const STATES: u64 = 50_000;

/// Leaves out acts while it still fails, whatever with.
pub(super) fn shrink(history: &History, failure: &Failure, planted: Option<Planted>) -> History {
    let mut shortest = history.clone();
    shortest.acts.truncate(failure.act + 1);
    let mut states = 0;
    let mut len = shortest.acts.len().div_ceil(2);
    while len > 0 {
        let mut from = 0;
        while from + len <= shortest.acts.len() && states < STATES {
            let mut shorter = shortest.clone();
            shorter.acts.drain(from..from + len);
            let mut prover = Prover::seeking(planted);
            let outcome = prover.run(&shorter);
            states += prover.report.recovered + 1;
            match outcome {
                Err(failure) => {
                    shorter.acts.truncate(failure.act + 1);
                    shortest = shorter;
                }
                Ok(()) => from += len,
            }
        }
        len = if len == 1 { 0 } else { len.div_ceil(2) };
    }
    shortest
}
