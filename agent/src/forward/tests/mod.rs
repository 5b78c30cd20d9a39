mod losses;
mod set_aside;
mod torture;
mod world;
