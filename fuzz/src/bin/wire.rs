//! libFuzzer over the targets that need the wire types and the device's core alone.
#![no_main]

milepost_fuzz::program!(milepost_fuzz::wire::TARGETS);
