//! Golden files: a test's output must equal a checked-in file. `make update` rewrites the files; review the diff.

use std::{env, fs};

use super::parts::repository;

/// Compares with a checked-in file (by its path in the repository), or rewrites that under `UPDATE_GOLDEN`.
pub fn assert_golden(path: &str, actual: &str) {
    let file = repository().join(path);
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(file.parent().expect("a file has a directory")).expect("the directory can be made");
        fs::write(&file, actual).expect("the golden file can be written");
    }
    let expected = fs::read_to_string(&file).unwrap_or_default();
    let differs = || {
        let at = expected.lines().zip(actual.lines()).take_while(|(one, other)| one == other).count();
        let line = |text: &str| text.lines().nth(at).unwrap_or("(its end)").to_owned();
        format!("line {}\n  checked in: {}\n  made now:   {}", at + 1, line(&expected), line(actual))
    };
    assert!(expected == actual, "{path} differs; if that is right, run `make update`: {}", differs());
}
