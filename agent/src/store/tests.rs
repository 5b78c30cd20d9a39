mod committing;
mod compacting;
mod world;
