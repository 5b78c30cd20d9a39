mod committing;
mod compacting;
mod cutting;
mod erasing;
mod mending;
mod seats;
pub(crate) mod world;
