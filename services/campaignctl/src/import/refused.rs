//! The file of refused lines: their content, line number and reason, to be repaired and imported again.
//!
//! It exists only if something was refused: an import replaces or removes the file of an earlier import. It never
//! overwrites any other file. It has the delimiter of the file that was read. The bytes of lines are kept unchanged, even if
//! they are not UTF-8; a file that was decoded gives UTF-8.

use std::{
    fs::{self, File},
    io::{self, BufWriter, ErrorKind, Read as _, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use csv::ByteRecord;
use serde::Serialize;

use super::{
    csv_header::{REMARK_COLUMNS, remark_columns},
    csv_records::is_stray,
    source::Columns,
};

/// The first bytes of a file of refused NDJSON lines.
const REMARK_BEGIN: &str = "{\"line\":";

#[derive(Serialize)]
struct Remark<'a> {
    line: u64,
    reason: &'a str,
}

/// The file of refused lines of one import.
#[derive(Debug)]
pub struct RefusedFile {
    path: PathBuf,
    columns: Columns,
    file: Option<BufWriter<File>>,
    exists: bool,
}

impl RefusedFile {
    /// Checks that the file may be written. The first refused line creates it.
    pub fn new(path: PathBuf, input: &Path, columns: Columns) -> anyhow::Result<Self> {
        let shown = path.display().to_string();
        ensure!(
            // A pipe has no path.
            path.canonicalize().ok().is_none_or(|path| input.canonicalize().ok() != Some(path)),
            "{shown} can't be read and hold the refused lines at once; name another file with --refused"
        );
        let exists = match begin_of(&path) {
            Ok(begin) => {
                // The delimiter may be another one than last time.
                let begin = begin.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&begin);
                let [line, reason] = REMARK_COLUMNS;
                let is_ours = match columns {
                    Columns::Csv(..) => begin
                        .strip_prefix(line.as_bytes())
                        .is_some_and(|rest| rest.get(1..).is_some_and(|rest| rest.starts_with(reason.as_bytes()))),
                    Columns::Ndjson => begin.starts_with(REMARK_BEGIN.as_bytes()),
                };
                ensure!(
                    begin.is_empty() || is_ours,
                    "{shown} exists and holds no refused lines; move it, or name another file with --refused"
                );
                true
            }
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(error) => return Err(error).with_context(|| format!("can't look at {shown}")),
        };
        Ok(Self { path, columns, file: None, exists })
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes one refused line.
    pub fn write(&mut self, line: u64, reason: &str, raw: &[u8]) -> anyhow::Result<()> {
        self.try_write(line, reason, raw)
            .with_context(|| format!("can't write the refused lines to {}", self.path.display()))
    }

    fn try_write(&mut self, line: u64, reason: &str, raw: &[u8]) -> anyhow::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let mut file = BufWriter::new(File::create(&self.path)?);
                if let Columns::Csv(header, delimiter) = &self.columns {
                    csv_line(&mut file, REMARK_COLUMNS, header, remark_columns(header), *delimiter)?;
                }
                none.insert(file)
            }
        };
        match &self.columns {
            Columns::Csv(header, delimiter) => {
                // A stray quote stays part of its cell.
                let is_quoted = !is_stray(raw, *delimiter);
                let mut reader = csv::ReaderBuilder::new()
                    .delimiter(*delimiter)
                    .has_headers(false)
                    .flexible(true)
                    .quoting(is_quoted)
                    .from_reader(raw);
                let mut fields = ByteRecord::new();
                reader.read_byte_record(&mut fields)?;
                csv_line(file, [&line.to_string(), reason], &fields, remark_columns(header), *delimiter)
            }
            Columns::Ndjson => {
                serde_json::to_writer(&mut *file, &Remark { line, reason })?;
                file.write_all(b"\n")?;
                // Only blanks between the parts of an object are line breaks.
                let one_line: Vec<u8> =
                    raw.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }).collect();
                file.write_all(&one_line)?;
                Ok(file.write_all(b"\n")?)
            }
        }
    }

    /// Writes the refused lines so far to disk.
    pub fn flush(&mut self) -> anyhow::Result<()> {
        match &mut self.file {
            Some(file) => file.flush().with_context(|| format!("can't write {}", self.path.display())),
            None => Ok(()),
        }
    }

    /// Ends an import that read all lines. Removes the file of an earlier import, since its lines were imported again.
    pub fn finish(&mut self) -> anyhow::Result<()> {
        self.flush()?;
        if self.file.is_none() && self.exists {
            fs::remove_file(&self.path).with_context(|| format!("can't remove {}", self.path.display()))?;
        }
        Ok(())
    }
}

fn begin_of(path: &Path) -> io::Result<Vec<u8>> {
    let mut begin = Vec::new();
    File::open(path)?.take(64).read_to_end(&mut begin)?;
    Ok(begin)
}

/// Writes a line with new remarks. They replace the first `skipped` fields, which are old remarks.
fn csv_line(
    file: &mut BufWriter<File>,
    remarks: [&str; 2],
    fields: &ByteRecord,
    skipped: usize,
    delimiter: u8,
) -> anyhow::Result<()> {
    let mut writer = csv::WriterBuilder::new().delimiter(delimiter).flexible(true).from_writer(file);
    let kept = fields.iter().skip(skipped);
    writer.write_record(remarks.map(str::as_bytes).into_iter().chain(kept))?;
    Ok(writer.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(columns: &[&str]) -> Columns {
        Columns::Csv(ByteRecord::from(columns.to_vec()), b',')
    }

    #[test]
    fn refused_lines_keep_their_bytes_and_old_remarks_give_way_to_new_ones() {
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join("leads.csv");
        fs::write(&input, "").unwrap();
        let path = folder.path().join("leads.csv.refused.csv");
        let mut file = RefusedFile::new(path.clone(), &input, header(&["id", "note"])).unwrap();
        file.write(7, "is bad, \"very\"", b"a\xff,\"x\ny\"").unwrap();
        file.finish().unwrap();
        let written = fs::read(&path).unwrap();
        assert_eq!(written, b"line,reason,id,note\n7,\"is bad, \"\"very\"\"\",a\xff,\"x\ny\"\n");

        let german = folder.path().join("german.csv");
        let columns = Columns::Csv(ByteRecord::from(vec!["id", "note"]), b';');
        let mut file = RefusedFile::new(german.clone(), &input, columns).unwrap();
        file.write(3, "is bad; very", b"a;\"x;y\"").unwrap();
        file.write(4, "stray", b"b;\"5 pipe").unwrap();
        file.finish().unwrap();
        let written = fs::read_to_string(&german).unwrap();
        assert_eq!(written, "line;reason;id;note\n3;\"is bad; very\";a;\"x;y\"\n4;stray;b;\"\"\"5 pipe\"\n");

        let again = folder.path().join("again.csv");
        let mut file = RefusedFile::new(again.clone(), &path, header(&["line", "reason", "id", "note"])).unwrap();
        file.write(2, "still", b"7,old,a,b,c").unwrap();
        file.finish().unwrap();
        assert_eq!(fs::read_to_string(&again).unwrap(), "line,reason,id,note\n2,still,a,b,c\n");
    }

    #[test]
    fn ndjson_lines_stand_behind_their_remarks() {
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join("leads.ndjson");
        fs::write(&input, "").unwrap();
        let path = folder.path().join("refused");
        let mut file = RefusedFile::new(path.clone(), &input, Columns::Ndjson).unwrap();
        file.write(3, "is \"x\"", b"{\xff").unwrap();
        file.write(4, "y", b"{\r\n\"id\":\n7}").unwrap();
        file.finish().unwrap();
        let expected =
            b"{\"line\":3,\"reason\":\"is \\\"x\\\"\"}\n{\xff\n{\"line\":4,\"reason\":\"y\"}\n{  \"id\": 7}\n";
        assert_eq!(fs::read(&path).unwrap(), expected);
    }

    #[test]
    fn a_clean_import_removes_what_an_earlier_one_refused_and_touches_no_other_file() {
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join("leads.csv");
        let path = folder.path().join("refused.csv");
        fs::write(&input, "id\n").unwrap();
        fs::write(&path, "line,reason,id\n").unwrap();
        RefusedFile::new(path.clone(), &input, header(&["id"])).unwrap().finish().unwrap();
        assert!(!path.exists());

        for ours in ["line;reason;id\n", "\u{feff}line\treason\tid\n"] {
            fs::write(&path, ours).unwrap();
            RefusedFile::new(path.clone(), &input, header(&["id"]))
                .expect("another delimiter, or a mark, is ours, too");
        }
        fs::write(&path, "id,mine\n").unwrap();
        let error = RefusedFile::new(path.clone(), &input, header(&["id"])).unwrap_err();
        assert!(error.to_string().contains("--refused"), "{error}");
        let error = RefusedFile::new(input.clone(), &input, header(&["id"])).unwrap_err();
        assert!(error.to_string().contains("--refused"), "{error}");
        assert!(path.exists() && input.exists());
    }
}
