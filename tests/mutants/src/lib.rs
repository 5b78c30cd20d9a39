//! Mutation testing of the pure stages, made cheap enough to be complete.
//!
//! cargo-mutants says which mutants there are. Building each of them would take a day; here all of
//! them are woven into one copy of the sources, each behind a switch, and that is built once. A run
//! of a test with no mutant on says which mutants the test reaches; each mutant then has only the
//! tests run that reach it, until one fails. What cannot be woven is built on its own.
//! `docs/decisions/0006-mutants.md` says why.
#![forbid(unsafe_code)]

pub mod areas;
pub mod list;
pub mod weave;
pub mod tree;
pub mod build;
pub mod settle;
pub mod reach;
pub mod trial;
pub mod alone;
pub mod memory;
pub mod justified;
pub mod changed;
pub mod report;
