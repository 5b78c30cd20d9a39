//! A fleet in a process: N real firmware cores, traces in, the oracle.
