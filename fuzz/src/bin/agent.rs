//! libFuzzer over the agent's targets.
#![no_main]

milepost_fuzz::program!(milepost_fuzz::agent::TARGETS);
