//! A line's packets, without a port and a listener.

use super::bridge::{Bridge, Heard};

/// The host's side of a line.
pub struct Host(Bridge);

/// What came, and was answered as it is by whoever has a listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Came {
    /// The device wanted a stream, and got it or not.
    Opens(bool),
    /// It asked again.
    OpensAgain,
    /// Bytes of the stream.
    Bytes(Vec<u8>),
    /// The stream is over.
    Over,
    /// Bytes of one that is not there.
    Stray,
    /// A line of its log.
    Log(String),
    /// Noise.
    Garbled,
    /// Nothing.
    Nothing,
}

impl Default for Host {
    fn default() -> Self {
        Self(Bridge::new())
    }
}

impl Host {
    /// Takes bytes off `input` up to the next thing that somebody may have to hear of, and answers it;
    /// `accepts`: whether there is a stream for who asks.
    pub fn hear(&mut self, input: &mut &[u8], accepts: bool, out: &mut Vec<u8>) -> Option<Came> {
        let heard = match self.0.hear(input)? {
            Heard::Bytes(bytes) => return Some(Came::Bytes(bytes.to_vec())),
            Heard::Log(line) => return Some(Came::Log(line.to_owned())),
            Heard::Garbled => return Some(Came::Garbled),
            Heard::Nothing => return Some(Came::Nothing),
            Heard::Stray(session) => {
                Bridge::deny(session, out);
                return Some(Came::Stray);
            }
            Heard::Opens if accepts => Came::Opens(true),
            Heard::Opens => Came::Opens(false),
            Heard::OpensAgain => Came::OpensAgain,
            Heard::Over => Came::Over,
        };
        match heard {
            Came::Opens(false) | Came::Over => self.0.close(out),
            _ => self.0.accept(out),
        }
        Some(heard)
    }

    /// Says this on the stream.
    pub fn say(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.0.say(bytes, out);
    }
}
