//! Selects mutants to run: those of changed lines, of some files, or all of `proto/` and a sample of the rest.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::RangeInclusive,
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    Args,
    coverage::{Step, steps},
    mutant::{Mutant, Part, hash},
};

/// The files of the repository, also those that git does not know yet.
pub fn tracked(root: &Path) -> Result<Vec<String>> {
    let list = git(root, &["ls-files", "--cached", "--others", "--exclude-standard"])?;
    let mut files: Vec<_> = list.lines().filter(|file| root.join(file).is_file()).map(str::to_owned).collect();
    files.sort();
    files.dedup();
    Ok(files)
}

fn git(root: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new("git").arg("-C").arg(root).args(arguments).output().context("git does not start")?;
    ensure!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// Lines that changed by file: in the working tree, or in the last commit where nothing changed there.
fn changed(root: &Path) -> Result<HashMap<String, Vec<RangeInclusive<usize>>>> {
    let status = git(root, &["status", "--porcelain", "--untracked-files=all"])?;
    let since = if status.is_empty() { "HEAD~1" } else { "HEAD" };
    let mut changed = hunks(&git(root, &["diff", "--unified=0", "--no-color", since])?);
    for file in status.lines().filter_map(|line| line.strip_prefix("?? ")) {
        changed.insert(file.to_owned(), vec![1..=usize::MAX]);
    }
    Ok(changed)
}

fn hunks(diff: &str) -> HashMap<String, Vec<RangeInclusive<usize>>> {
    let mut changed = HashMap::<String, Vec<_>>::new();
    let mut file = String::new();
    for line in diff.lines() {
        if let Some(name) = line.strip_prefix("+++ b/") {
            name.clone_into(&mut file);
        } else if let Some(hunk) = line.strip_prefix("@@ ") {
            // `-1,2 +3,4 @@`: where nothing was put in the count is 0.
            let Some(new) = hunk.split(' ').find_map(|part| part.strip_prefix('+')) else {
                continue;
            };
            let (start, count) = new.split_once(',').unwrap_or((new, "1"));
            if let (Ok(start), Ok(count)) = (start.parse::<usize>(), count.parse::<usize>())
                && count > 0
            {
                changed.entry(file.clone()).or_default().push(start..=start + count - 1);
            }
        }
    }
    changed
}

/// Whether a file matches a pattern, in which `*` is any text.
fn matches(file: &str, pattern: &str) -> bool {
    match pattern.split_once('*') {
        None => file == pattern,
        Some((start, rest)) => file
            .strip_prefix(start)
            .is_some_and(|file| (0..=file.len()).any(|at| file.is_char_boundary(at) && matches(&file[at..], rest))),
    }
}

/// Orders mutants: files take turns; files, and the mutants of a file, are in random order. The draw of a mutant does
/// not depend on the others, so the order stays nearly the same while the code changes.
fn draw(mutants: Vec<Mutant>, seed: u64) -> Vec<Mutant> {
    let lot = |text: &str| hash(&format!("{seed} {text}"));
    let mut of_files = BTreeMap::<(u64, String, bool), Vec<Mutant>>::new();
    for mutant in mutants {
        let file = (lot(&format!("{} {}", mutant.file, mutant.is_sql())), mutant.file.clone(), mutant.is_sql());
        of_files.entry(file).or_default().push(mutant);
    }
    let mut queues: Vec<_> = of_files
        .into_values()
        .map(|mut of_file| {
            of_file.sort_by_key(|mutant| lot(&mutant.key));
            of_file.into_iter()
        })
        .collect();
    let mut drawn = Vec::new();
    while !queues.is_empty() {
        queues.retain_mut(|queue| queue.next().map(|mutant| drawn.push(mutant)).is_some());
    }
    drawn
}

/// Splits into what always runs and what is drawn from.
fn split(mutants: Vec<Mutant>) -> (Vec<Mutant>, Vec<Mutant>) {
    mutants.into_iter().partition(|mutant| mutant.part == Part::Proto)
}

/// What to run.
pub struct Plan {
    /// Run whatever SAMPLE says.
    pub always: Vec<Mutant>,
    /// Run in this order, as far as SAMPLE goes.
    pub drawn: Vec<Mutant>,
    /// How many of the drawn ones to run, of those that compile.
    pub sample: usize,
}

impl Plan {
    /// Selects from all mutants.
    pub fn new(args: &Args, root: &Path, mutants: &[Mutant]) -> Result<Self> {
        let mut selected = mutants.to_vec();
        if !args.files.is_empty() {
            let patterns: Vec<_> = args.files.split_whitespace().collect();
            selected.retain(|mutant| patterns.iter().any(|pattern| matches(&mutant.file, pattern)));
        }
        if args.changed == "1" {
            let changed = changed(root)?;
            selected.retain(|mutant| {
                let lines = changed.get(&mutant.file);
                lines.is_some_and(|lines| {
                    lines.iter().any(|lines| lines.start() <= mutant.lines.end() && mutant.lines.start() <= lines.end())
                })
            });
        }
        let (always, rest) = split(selected);
        let is_all = args.sample == "all" || args.changed == "1";
        let sample = if is_all { usize::MAX } else { args.sample.parse().context("SAMPLE is a number or `all`")? };
        Ok(Self { always: draw(always, args.seed), drawn: draw(rest, args.seed), sample })
    }

    /// How many there are, for people.
    pub fn text(&self) -> String {
        let sample = self.sample.min(self.drawn.len());
        format!("{} of proto/, {sample} drawn from {} others", self.always.len(), self.drawn.len())
    }

    /// The tests that it takes, module by module.
    pub fn steps(&self) -> BTreeSet<Step> {
        let all = self.always.iter().chain(self.drawn.iter().take(if self.sample == 0 { 0 } else { usize::MAX }));
        let steps = all.flat_map(|mutant| steps(&mutant.file, mutant.is_sql()).unwrap_or_default());
        steps.flat_map(|step| step.parts()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hunks_name_the_lines_that_are_new() {
        let diff = "+++ b/a.rs\n@@ -1,2 +3,2 @@ fn f\n@@ -9 +9 @@\n@@ -12,3 +11,0 @@\n+++ b/b.sql\n@@ -0,0 +1 @@\n";
        let found = hunks(diff);
        assert_eq!(found["a.rs"], [3..=4, 9..=9]);
        assert_eq!(found["b.sql"], [1..=1]);
    }

    #[test]
    fn a_star_is_any_text() {
        assert!(matches("proto/wire/lead.rs", "proto/*"));
        assert!(matches("proto/lead.rs", "*lead.rs"));
        assert!(!matches("proto/lead.rs", "lead*"));
        assert!(!matches("proto/lead.rs", "proto/*.sql"));
    }
}
