//! Arguments, logging; nothing else.
fn main() {}
