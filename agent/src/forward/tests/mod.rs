mod handle;
mod losses;
mod origins;
mod pace;
mod renamed;
mod set_aside;
mod torture;
mod world;
