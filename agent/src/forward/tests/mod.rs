mod handle;
mod losses;
mod origins;
mod pace;
mod set_aside;
mod torture;
mod world;
