mod handle;
mod losses;
mod origins;
mod set_aside;
mod torture;
mod world;
