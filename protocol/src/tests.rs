//! What each type says and takes at its limits; the bytes are in `golden`.

mod messages;
mod names;
