//! Arguments, logging, signals; nothing else.
fn main() {}
