//! Where an export goes: stdout, or a file that gets its name only when it is complete.

use std::{
    fs::{self, File},
    io::{self, Stdout, Write},
    path::{Path, PathBuf},
    process,
};

use anyhow::{Context as _, ensure};

/// Where an export goes.
#[derive(Debug)]
pub enum Sink {
    /// To stdout.
    Stdout(Stdout),
    /// To a file.
    File(Partial),
}

/// A file that is not complete yet, beside the one that it will replace. It is removed when it is dropped.
#[derive(Debug)]
pub struct Partial {
    file: File,
    path: PathBuf,
    of: PathBuf,
}

impl Drop for Partial {
    fn drop(&mut self) {
        // After the renaming there is none.
        let _ = fs::remove_file(&self.path);
    }
}

impl Sink {
    /// Opens the file, or stdout if there is none.
    pub fn open(file: Option<&Path>) -> anyhow::Result<Self> {
        let Some(of) = file else { return Ok(Self::Stdout(io::stdout())) };
        let shown = of.display();
        let name = of.file_name().with_context(|| format!("{shown} is no name of a file"))?;
        ensure!(
            of.is_file() || !of.exists(),
            "{shown} is no regular file; name another one, or leave out --file to write to stdout"
        );
        let path = of.with_file_name(format!(".{}.{}.partial", name.display(), process::id()));
        let file = File::create(&path).with_context(|| format!("can't write beside {shown}"))?;
        Ok(Self::File(Partial { file, path, of: of.to_owned() }))
    }

    /// Gives the complete file its name.
    pub fn finish(self) -> anyhow::Result<()> {
        match self {
            Self::Stdout(mut out) => Ok(out.flush()?),
            Self::File(partial) => {
                let shown = partial.of.display();
                partial.file.sync_all().with_context(|| format!("can't write {shown}"))?;
                fs::rename(&partial.path, &partial.of).with_context(|| format!("can't write {shown}"))
            }
        }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(out) => out.write(bytes),
            Self::File(partial) => partial.file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(out) => out.flush(),
            Self::File(partial) => partial.file.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(directory: &Path) -> Vec<String> {
        let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    }

    #[test]
    fn a_file_is_replaced_when_the_new_one_is_complete_and_not_before() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("leads.csv");
        fs::write(&path, "old").unwrap();
        let mut broken = Sink::open(Some(&path)).unwrap();
        broken.write_all(b"half").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        drop(broken);
        assert_eq!(entries(directory.path()), ["leads.csv"], "nothing is left of what broke off");
        let mut whole = Sink::open(Some(&path)).unwrap();
        whole.write_all(b"new").unwrap();
        whole.finish().unwrap();
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), entries(directory.path()).len()), ("new", 1));
    }

    #[test]
    fn a_directory_is_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let error = Sink::open(Some(directory.path())).unwrap_err().to_string();
        assert!(error.contains("no regular file"), "{error}");
        let nowhere = directory.path().join("missing").join("leads.csv");
        assert!(Sink::open(Some(&nowhere)).unwrap_err().to_string().contains("can't write beside"));
    }
}
