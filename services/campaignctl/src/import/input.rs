//! Opens a file of leads: unpacks it, decodes it, and counts how much was read.
//!
//! A byte order mark wins over the encoding that the caller names. Without either the bytes stay as they are, so that a
//! stray one matters only where it is read.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Cursor, Read},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::{Context as _, ensure};
use encoding_rs::{Encoding, UTF_8};
use encoding_rs_io::DecodeReaderBytesBuilder;
use flate2::read::MultiGzDecoder;

/// Bytes of one read from the file. Larger reads are not faster.
const READ_BYTES: usize = 1 << 18;

/// The text of a file.
pub type Text = Box<dyn BufRead + Send>;

/// A file that is open.
pub struct Input {
    /// Its text, unpacked and decoded.
    pub text: Text,
    /// Its bytes that were read so far.
    pub read_bytes: ReadBytes,
    /// Its size. `None` for a pipe.
    pub size_bytes: Option<u64>,
}

/// A count of bytes.
#[derive(Debug, Clone, Default)]
pub struct ReadBytes(Arc<AtomicU64>);

impl ReadBytes {
    /// Returns the count.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Whether a path stands for the standard input.
pub fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

/// Returns a path for people.
pub fn shown(path: &Path) -> String {
    if is_stdin(path) { "the standard input".to_owned() } else { path.display().to_string() }
}

/// Opens a file, or the standard input.
pub fn open(path: &Path, encoding: Option<&'static Encoding>) -> anyhow::Result<Input> {
    if is_stdin(path) {
        return input(io::stdin(), None, encoding);
    }
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    ensure!(!metadata.is_dir(), "it is a folder");
    let size_bytes = metadata.is_file().then_some(metadata.len());
    input(file, size_bytes, encoding)
}

/// Unpacks and decodes what a file holds.
pub fn input(
    file: impl Read + Send + 'static,
    size_bytes: Option<u64>,
    encoding: Option<&'static Encoding>,
) -> anyhow::Result<Input> {
    let read_bytes = ReadBytes::default();
    let mut file = Counted { inner: file, count: read_bytes.clone() };
    let mut begin = Vec::new();
    file.by_ref().take(4).read_to_end(&mut begin)?;
    ensure!(
        !begin.starts_with(b"PK\x03\x04"),
        "it is an archive or an Excel workbook; save the sheet as CSV, such as \"CSV UTF-8\""
    );
    let is_packed = begin.starts_with(b"\x1f\x8b");
    let bytes = Cursor::new(begin).chain(file);
    let bytes: Box<dyn Read + Send> = if is_packed {
        Box::new(MultiGzDecoder::new(BufReader::with_capacity(READ_BYTES, bytes)))
    } else {
        Box::new(bytes)
    };
    let decoded = DecodeReaderBytesBuilder::new()
        .encoding(encoding.filter(|encoding| *encoding != UTF_8))
        .utf8_passthru(true)
        .strip_bom(true)
        .bom_override(true)
        .build_with_buffer(bytes, vec![0; READ_BYTES])
        .context("can't decode it")?;
    Ok(Input { text: Box::new(BufReader::with_capacity(READ_BYTES, decoded)), read_bytes, size_bytes })
}

/// Counts what is read.
struct Counted<R> {
    inner: R,
    count: ReadBytes,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count.0.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use encoding_rs::{UTF_16LE, WINDOWS_1252};

    use super::*;

    /// Gives one byte at a time, as a slow pipe may.
    struct Slow(Cursor<Vec<u8>>);

    impl Read for Slow {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = buffer.len().min(1);
            self.0.read(&mut buffer[..length])
        }
    }

    fn text(bytes: &[u8], encoding: Option<&'static Encoding>) -> Vec<u8> {
        let mut input = input(Slow(Cursor::new(bytes.to_vec())), None, encoding).unwrap();
        let mut text = Vec::new();
        input.text.read_to_end(&mut text).unwrap();
        assert_eq!(input.read_bytes.get(), bytes.len() as u64);
        text
    }

    #[test]
    fn a_mark_or_the_caller_names_the_encoding_and_without_either_bytes_stay() {
        let utf16 = |mark: &[u8], unit: fn(u16) -> [u8; 2]| {
            let units = "id\nö\n".encode_utf16().flat_map(unit);
            mark.iter().copied().chain(units).collect::<Vec<u8>>()
        };
        let expected = "id\nö\n".as_bytes();
        assert_eq!(text(&utf16(b"\xff\xfe", u16::to_le_bytes), None), expected);
        assert_eq!(text(&utf16(b"\xfe\xff", u16::to_be_bytes), None), expected);
        assert_eq!(text(&utf16(b"", u16::to_le_bytes), Some(UTF_16LE)), expected);
        assert_eq!(text(&utf16(b"\xff\xfe", u16::to_le_bytes), Some(WINDOWS_1252)), expected, "the mark wins");
        assert_eq!(text(b"id\n\xf6\n", Some(WINDOWS_1252)), expected);
        assert_eq!(text(b"\xef\xbb\xbfid\n\xf6\n", None), b"id\n\xf6\n");
        assert_eq!(text(b"id\n\xf6\n", Some(UTF_8)), b"id\n\xf6\n");
        assert_eq!(text(b"", None), b"");
    }

    #[test]
    fn a_packed_file_is_unpacked_before_it_is_decoded() {
        let packed = |bytes: &[u8]| {
            let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            packer.write_all(bytes).unwrap();
            packer.finish().unwrap()
        };
        let two = [packed(b"\xff\xfei\0d\0\n\0"), packed(b"a\0\n\0")].concat();
        assert_eq!(text(&two, None), b"id\na\n");
        let mut cut = input(Cursor::new(two[..two.len() - 9].to_vec()), None, None).unwrap();
        assert!(cut.text.read_to_end(&mut Vec::new()).is_err(), "a part that is missing is told");
    }

    #[test]
    fn a_workbook_is_named_as_such() {
        let error = input(Cursor::new(b"PK\x03\x04..."), None, None).err().expect("an error");
        assert!(error.to_string().contains("save the sheet as CSV"), "{error}");
    }
}
