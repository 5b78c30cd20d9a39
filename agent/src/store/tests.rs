mod committing;
mod compacting;
mod cutting;
mod mending;
mod world;
