//! The proofs of the agent's journal, as commands.

use std::fmt::Display;
use std::num::NonZeroUsize;
use std::time::Instant;

use clap::{Subcommand, value_parser};
use milepost_proof::journal::{Flips, Planted, Replay, prove, prove_calls, prove_flips};
use serde_json::Value;

use crate::PROGRESS;

/// What is tried.
#[derive(Subcommand)]
pub(crate) enum JournalProof {
    /// The agent's journal: every state that a crash can leave of small histories.
    Journal {
        /// Go on until there are so many distinct states.
        #[arg(long, default_value_t = 1_000_000)]
        states: u64,
        /// What is drawn; printed, so that a failure can be repeated.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Only this history.
        #[arg(long)]
        history: Option<u64>,
        /// Plant a fault, to see it found.
        #[arg(long, value_parser = |name: &str| Planted::among(&Planted::JOURNAL, name))]
        planted: Option<Planted>,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
    /// The agent's journal: every disk call fails, once and until it is put right.
    Calls {
        /// Only about so many calls of each history.
        #[arg(long, default_value_t = u64::MAX, value_parser = value_parser!(u64).range(1..))]
        calls: u64,
        /// Plant a fault, to see it found.
        #[arg(long, value_parser = |name: &str| Planted::among(&Planted::CALLS, name))]
        planted: Option<Planted>,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
    /// The agent's journal: every single bit of one, turned over.
    Flips {
        /// MiB that it has.
        #[arg(long, default_value_t = NonZeroUsize::MIN)]
        mib: NonZeroUsize,
        /// Only one in so many bits.
        #[arg(long, default_value_t = NonZeroUsize::MIN)]
        every: NonZeroUsize,
        /// One in so many bits of a small journal is followed by the forwarder, to a file.
        #[arg(long, default_value_t = NonZeroUsize::MIN)]
        forwarded_every: NonZeroUsize,
        /// So many bits, drawn, are turned over in front of an open of the whole journal.
        #[arg(long, default_value_t = 10_000)]
        whole: u64,
        /// What is drawn.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Plant a fault, to see it found.
        #[arg(long, value_parser = |name: &str| Planted::among(&Planted::FLIPS, name))]
        planted: Option<Planted>,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
}

impl JournalProof {
    /// Runs it; whether nothing was found.
    pub(crate) fn run(self) -> bool {
        let clock = Clock::start();
        match self {
            Self::Journal { states, seed, history, planted, json } => {
                let mut said = clock;
                let report = prove(&Replay { seed, states, history, planted }, |so_far| {
                    said.now_and_then(|| {
                        let histories = so_far.histories;
                        format!("{} distinct states, {histories} histories", so_far.states_distinct)
                    });
                });
                clock.say(&report, json.then_some(|seconds| report.to_json(seconds)));
                report.found.is_none()
            }
            Self::Calls { calls, planted, json } => {
                let mut said = clock;
                let report = prove_calls(calls, planted, |so_far| {
                    said.now_and_then(|| format!("{} runs", so_far.runs));
                });
                clock.say(&report, json.then_some(|seconds| report.to_json(seconds)));
                report.found.is_none()
            }
            Self::Flips { mib, every, forwarded_every, whole, seed, planted, json } => {
                let mut said = clock;
                let bytes = mib.get().saturating_mul(1 << 20);
                let (every, forwarded_every) = (every.get(), forwarded_every.get());
                let flips = Flips { bytes, every, forwarded_every, whole, seed, planted };
                let report = prove_flips(&flips, |so_far| {
                    said.now_and_then(|| format!("{} bits", so_far.total()));
                });
                clock.say(&report, json.then_some(|seconds| report.to_json(seconds)));
                report.found.is_none()
            }
        }
    }
}

/// When something began.
#[derive(Clone, Copy)]
struct Clock(Instant);

#[allow(clippy::disallowed_methods, reason = "what a run takes is for its reader, not for a proof")]
impl Clock {
    fn start() -> Self {
        Self(Instant::now())
    }

    fn now_and_then(&mut self, what: impl FnOnce() -> String) {
        if self.0.elapsed() >= PROGRESS {
            *self = Self::start();
            eprintln!("{}", what());
        }
    }

    fn say(self, report: &impl Display, to_json: Option<impl FnOnce(f64) -> Value>) {
        let seconds = self.0.elapsed().as_secs_f64();
        match to_json {
            Some(to_json) => println!("{}", to_json(seconds)),
            None => println!("{report}\n  {seconds:.1} s"),
        }
    }
}
