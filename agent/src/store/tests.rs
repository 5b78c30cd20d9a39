mod committing;
mod compacting;
mod cutting;
mod erasing;
mod mending;
pub(crate) mod world;
