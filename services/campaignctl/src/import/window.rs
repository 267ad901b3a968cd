//! A window onto a file: the bytes from the next record on, as many as were needed so far.

use std::io::{self, BufRead};

/// The bytes of a file that are not consumed yet.
#[derive(Debug)]
pub struct Window<R> {
    inner: R,
    bytes: Vec<u8>,
    at: usize,
    /// Bytes consumed since the beginning of the file.
    offset: u64,
    is_at_end: bool,
}

impl<R: BufRead> Window<R> {
    /// Opens a window at the present place of a reader.
    pub fn new(inner: R) -> Self {
        Self { inner, bytes: Vec::new(), at: 0, offset: 0, is_at_end: false }
    }

    /// Returns the bytes that were read and not consumed.
    pub fn rest(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    /// Whether nothing follows [`Window::rest`].
    pub fn is_at_end(&self) -> bool {
        self.is_at_end
    }

    /// Returns the number of bytes consumed.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads at least as many bytes as there are, or to the end: so a long record is scanned a few times only.
    pub fn more(&mut self) -> io::Result<()> {
        self.bytes.drain(..self.at);
        self.at = 0;
        let enough = self.bytes.len() * 2 + 1;
        while self.bytes.len() < enough && !self.is_at_end {
            let read = self.inner.fill_buf()?;
            self.is_at_end = read.is_empty();
            self.bytes.extend_from_slice(read);
            let count = read.len();
            self.inner.consume(count);
        }
        Ok(())
    }

    /// Moves the beginning of the window. `count` is at most the length of [`Window::rest`].
    pub fn consume(&mut self, count: usize) {
        self.at += count;
        self.offset += count as u64;
    }
}
