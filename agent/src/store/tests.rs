mod committing;
mod compacting;
mod cutting;
mod erasing;
mod mending;
mod seats;
mod wearing;
pub(crate) mod world;
