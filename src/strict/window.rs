//! Bytes that are looked at in place: what passes moves to the front, what does not is left out.

/// `bytes[..written]` has passed, `bytes[read..]` is still to be looked at.
pub struct Window<'a> {
    bytes: &'a mut [u8],
    read: usize,
    written: usize,
}

impl<'a> Window<'a> {
    pub fn new(bytes: &'a mut [u8]) -> Self {
        Self {
            bytes,
            read: 0,
            written: 0,
        }
    }

    pub fn rest(&self) -> &[u8] {
        &self.bytes[self.read..]
    }

    /// Lets so many bytes through. Nothing moves as long as nothing was left out.
    pub fn pass(&mut self, length: usize) {
        let end = self.read + length;
        if self.read != self.written {
            self.bytes.copy_within(self.read..end, self.written);
        }
        self.read = end;
        self.written += length;
    }

    pub fn leave_out(&mut self, length: usize) {
        self.read += length;
    }

    /// How much has passed, and where the rest starts.
    pub fn position(&self) -> (usize, usize) {
        (self.written, self.read)
    }

    /// What has passed from here on, as if it had not; returns it.
    pub fn take_back(&mut self, written: usize) -> &[u8] {
        let taken = &self.bytes[written..self.written];
        self.written = written;
        taken
    }
}
