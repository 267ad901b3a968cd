//! Which ids of a file occur in it more than once, in little memory.
//!
//! Keeps 16 bytes for each lead: a hash of its id, and its line. Up to about a million leads they stay in memory; more go to
//! files without a name in the folder for temporary files, divided by hash, and are compared part by part. Two ids of one
//! hash would count as a repeat: in a file of 10 million ids that happens once in 400 000 files.

use std::{
    fs::File,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::{Read as _, Seek as _, Write as _},
};

use anyhow::Context as _;

/// Parts: each is compared in memory, a hundred million leads in parts of 25 MB.
const PARTS: usize = 64;
/// Bytes of a part that wait in memory: 16 MiB for all of them.
const WAITING_BYTES: usize = 1 << 18;

/// The ids seen so far.
#[derive(Debug)]
pub struct Seen {
    parts: Vec<Part>,
}

#[derive(Debug, Default)]
struct Part {
    waiting: Vec<u8>,
    file: Option<File>,
}

/// The repeats of a file.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Repeats {
    /// Lines whose id an earlier line has.
    pub count: u64,
    /// The first such line, and the line that it repeats.
    pub first: Option<(u64, u64)>,
}

impl Seen {
    /// Begins with none.
    pub fn new() -> Self {
        Self { parts: std::iter::repeat_with(Part::default).take(PARTS).collect() }
    }

    /// Notes the id of a line.
    pub fn note(&mut self, id: &str, line: u64) -> anyhow::Result<()> {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        let hash = hasher.finish();
        let place = usize::try_from(hash % PARTS as u64).expect("it is less than PARTS");
        let part = &mut self.parts[place];
        part.waiting.extend_from_slice(&hash.to_le_bytes());
        part.waiting.extend_from_slice(&line.to_le_bytes());
        if part.waiting.len() >= WAITING_BYTES {
            part.write()
                .context("can't note which leads repeat in the folder for temporary files; TMPDIR names another")?;
        }
        Ok(())
    }

    /// Counts the repeats.
    pub fn repeats(self) -> anyhow::Result<Repeats> {
        let mut repeats = Repeats::default();
        for part in self.parts {
            let notes = part.notes().context("can't read what was noted in the folder for temporary files")?;
            // Of one id, by line.
            for ids in notes.chunk_by(|one, other| one.0 == other.0) {
                repeats.count += ids.len() as u64 - 1;
                if let [(_, line), (_, repeat), ..] = ids {
                    let first = repeats.first.get_or_insert((*repeat, *line));
                    *first = (*first).min((*repeat, *line));
                }
            }
        }
        Ok(repeats)
    }
}

impl Part {
    fn write(&mut self) -> anyhow::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(tempfile::tempfile()?),
        };
        file.write_all(&self.waiting)?;
        self.waiting.clear();
        Ok(())
    }

    /// Returns hash and line of each lead of the part, sorted.
    fn notes(self) -> anyhow::Result<Vec<(u64, u64)>> {
        let mut bytes = self.waiting;
        if let Some(mut file) = self.file {
            file.rewind()?;
            file.read_to_end(&mut bytes)?;
        }
        let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        let mut notes: Vec<_> = bytes.chunks_exact(16).map(|note| (number(&note[..8]), number(&note[8..]))).collect();
        notes.sort_unstable();
        Ok(notes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_counted_in_memory_and_in_files() {
        let mut seen = Seen::new();
        for (line, id) in (2..).zip(["a", "b", "a", "c", "b", "a"]) {
            seen.note(id, line).unwrap();
        }
        assert_eq!(seen.repeats().unwrap(), Repeats { count: 3, first: Some((4, 2)) });

        let mut seen = Seen::new();
        let many = (PARTS * WAITING_BYTES / 16) as u64 * 2;
        for line in 1..=many {
            seen.note(&format!("lead-{line}"), line).unwrap();
        }
        assert!(seen.parts.iter().all(|part| part.file.is_some() && part.waiting.len() < WAITING_BYTES));
        seen.note("lead-77", many + 1).unwrap();
        seen.note("lead-5", many + 2).unwrap();
        seen.note("lead-77", many + 3).unwrap();
        assert_eq!(seen.repeats().unwrap(), Repeats { count: 3, first: Some((many + 1, 77)) });
        assert_eq!(Seen::new().repeats().unwrap(), Repeats::default());
    }
}
