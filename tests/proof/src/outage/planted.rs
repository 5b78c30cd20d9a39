//! Faults planted in what stands around the cores, to see that the oracle can fail.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Planted {
    /// What the acceptor does not take is held for it, however much that is.
    QueueUnbounded,
    /// A sink takes a batch without keeping it, once it is back.
    BatchForgotten,
    /// A sink takes a batch twice, once it is back.
    BatchTwice,
    /// A sink keeps no losses.
    LossForgotten,
}

impl Planted {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::QueueUnbounded, Self::BatchForgotten, Self::BatchTwice, Self::LossForgotten];

    /// As the command line has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::QueueUnbounded => "queue-unbounded",
            Self::BatchForgotten => "batch-forgotten",
            Self::BatchTwice => "batch-twice",
            Self::LossForgotten => "loss-forgotten",
        }
    }
}

impl fmt::Display for Planted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Planted {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|fault| fault.name() == name).ok_or_else(|| {
            let all = Self::ALL.map(Self::name).join(", ");
            format!("one of {all}")
        })
    }
}
