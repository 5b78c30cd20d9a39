//! What may leave. Only the privacy stage can write into it: the fields are its own.

/// Documents that went through a policy, one line each.
#[derive(Debug, Default)]
pub struct Cleared {
    pub(super) lines: Vec<u8>,
    pub(super) documents: u64,
}

/// A point in [`Cleared`] to go back to.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    len: usize,
    documents: u64,
}

impl Cleared {
    /// The lines, each ended by a line feed.
    pub fn lines(&self) -> &[u8] {
        &self.lines
    }

    /// How many.
    pub fn documents(&self) -> u64 {
        self.documents
    }

    /// Where it ends now.
    pub fn mark(&self) -> Mark {
        Mark { len: self.lines.len(), documents: self.documents }
    }

    /// Takes back what came after a mark.
    pub fn cut_back(&mut self, mark: Mark) {
        self.lines.truncate(mark.len);
        self.documents = mark.documents;
    }

    /// Empties it and gives back what it holds beyond `room` bytes.
    pub fn clear(&mut self, room: usize) {
        self.lines.clear();
        self.lines.shrink_to(room);
        self.documents = 0;
    }
}
