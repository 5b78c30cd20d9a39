//! libFuzzer over the simulator's targets.
#![no_main]

milepost_fuzz::program!(milepost_fuzz::simulator::TARGETS);
