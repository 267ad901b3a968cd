//! The scratch copy of the repository in which mutants are compiled, and the compiler's errors.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::{
    mutant::{Change, Genre, Mutant},
    results::Dropped,
    select::tracked,
    switch::{SWITCH, Switched, switch},
};

/// The copy.
#[derive(Debug)]
pub struct Tree {
    pub root: PathBuf,
    repository: PathBuf,
}

/// What was built.
#[derive(Debug, Default)]
pub struct Built {
    /// Test binaries by `PACKAGE` or `PACKAGE/TEST`, with the directory they run in.
    pub tests: BTreeMap<String, (PathBuf, PathBuf)>,
    /// Our programs.
    pub programs: Vec<PathBuf>,
}

/// An error of the compiler.
#[derive(Debug)]
pub struct Refused {
    pub code: String,
    /// Files and bytes that it names.
    places: Vec<(String, std::ops::Range<usize>)>,
    pub rendered: String,
}

#[derive(Debug, Deserialize)]
struct Line {
    reason: String,
    package_id: Option<String>,
    manifest_path: Option<PathBuf>,
    target: Option<Target>,
    profile: Option<Profile>,
    executable: Option<PathBuf>,
    message: Option<Message>,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Profile {
    test: bool,
}

#[derive(Debug, Deserialize)]
struct Message {
    level: String,
    code: Option<Code>,
    spans: Vec<Span>,
    rendered: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Code {
    code: String,
}

#[derive(Debug, Deserialize)]
struct Span {
    file_name: String,
    byte_start: usize,
    byte_end: usize,
    is_primary: bool,
    expansion: Option<Box<Expansion>>,
}

#[derive(Debug, Deserialize)]
struct Expansion {
    span: Span,
}

impl Tree {
    /// Copies the repository, and those parts of its build that don't depend on its path.
    pub fn prepare(repository: &Path, directory: &Path) -> Result<Self> {
        let tree = Self { root: directory.join("tree"), repository: repository.to_owned() };
        fs::create_dir_all(&tree.root)?;
        let target = tree.root.join("target/debug");
        if !target.exists() {
            fs::create_dir_all(&target)?;
            for part in ["deps", "build", ".fingerprint"] {
                let from = repository.join("target/debug").join(part);
                if from.exists() {
                    let copied = std::process::Command::new("cp").arg("-rp").arg(from).arg(&target).status()?;
                    ensure!(copied.success(), "can't copy the build");
                }
            }
        }
        let list = tree.root.join("target/copied");
        let before = fs::read_to_string(&list).unwrap_or_default();
        let files = tracked(repository)?;
        for gone in before.lines().filter(|file| !files.iter().any(|kept| kept == file)) {
            fs::remove_file(tree.root.join(gone))
                .or_else(|error| if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) })?;
        }
        for file in files.iter().filter(|file| *file != "proto/lib.rs") {
            tree.put(file, &fs::read(repository.join(file))?)?;
        }
        fs::write(list, files.join("\n"))?;
        Ok(tree)
    }

    /// Writes a file if it differs. An unchanged file keeps its time, so that Cargo does not rebuild it.
    pub fn put(&self, file: &str, bytes: &[u8]) -> Result<()> {
        let path = self.root.join(file);
        if fs::read(&path).is_ok_and(|present| present == bytes) {
            return Ok(());
        }
        fs::create_dir_all(path.parent().context("a file has a directory")?)?;
        fs::write(&path, bytes)?;
        let mode = fs::metadata(self.repository.join(file))?.permissions();
        Ok(fs::set_permissions(path, mode)?)
    }

    /// The text of a file of the repository, with the function of the switch where it belongs.
    pub fn original(&self, file: &str) -> Result<String> {
        let mut text = fs::read_to_string(self.repository.join(file)).with_context(|| file.to_owned())?;
        if file == "proto/lib.rs" {
            text.push_str(SWITCH);
        }
        Ok(text)
    }

    /// Writes every file with its switches; returns them, for what the compiler will say.
    pub fn put_switches(&self, mutants: &[Mutant], dropped: &Dropped) -> Result<HashMap<String, Switched>> {
        let mut of_files = HashMap::<&str, Vec<&Mutant>>::from([("proto/lib.rs", Vec::new())]);
        for mutant in mutants.iter().filter(|mutant| matches!(mutant.change, Change::Rust { .. })) {
            let switched = of_files.entry(&mutant.file).or_default();
            if !dropped.contains(&mutant.key) {
                switched.push(mutant);
            }
        }
        let mut all = HashMap::new();
        for (file, mutants) in of_files {
            let text = self.original(file)?;
            let path = if file.starts_with("proto/") { "crate::mutant" } else { "::campaign_metrics::mutant" };
            let switched = switch(&text, &mutants, path).with_context(|| file.to_owned())?;
            self.put(file, switched.text.as_bytes())?;
            all.insert(file.to_owned(), switched);
        }
        Ok(all)
    }

    /// Builds programs and tests; `Err` inside are the compiler's errors.
    pub async fn build(&self) -> Result<Result<Built, Vec<Refused>>> {
        let mut built = Built::default();
        for arguments in [
            &["build", "--workspace", "--bins", "--lib", "--keep-going"][..],
            &["test", "--no-run", "--workspace", "--lib", "--bins", "--test", "*"],
        ] {
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let output = tokio::process::Command::new(cargo)
                .args(arguments)
                .args(["--locked", "--quiet", "--message-format=json"])
                .current_dir(&self.root)
                .env_remove("CARGO_TARGET_DIR")
                .stdin(Stdio::null())
                .kill_on_drop(true)
                .output()
                .await?;
            let text = String::from_utf8_lossy(&output.stdout);
            let lines = text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
            let mut refused = Vec::new();
            for line in lines {
                match line.reason.as_str() {
                    "compiler-artifact" => built.add(line),
                    "compiler-message" => refused.extend(line.message.and_then(refusal)),
                    _ => {}
                }
            }
            if !output.status.success() {
                ensure!(!refused.is_empty(), "cargo: {}", String::from_utf8_lossy(&output.stderr));
                return Ok(Err(refused));
            }
        }
        Ok(Ok(built))
    }
}

impl Built {
    fn add(&mut self, line: Line) {
        let (Some(executable), Some(target), Some(manifest)) = (line.executable, line.target, line.manifest_path)
        else {
            return;
        };
        if !line.profile.is_some_and(|profile| profile.test) {
            self.programs.push(executable);
            return;
        }
        let directory = manifest.parent().unwrap_or(&manifest).to_owned();
        // `path+file:///.../NAME#VERSION` or `...#NAME@VERSION`.
        let id = line.package_id.unwrap_or_default();
        let (path, version) = id.split_once('#').unwrap_or((&id, ""));
        let package = version.split_once('@').map_or_else(|| path.rsplit('/').next().unwrap_or(path), |(name, _)| name);
        let name = match target.kind.first().map(String::as_str) {
            Some("test") => format!("{package}/{}", target.name),
            Some("lib") => package.to_owned(),
            // Programs have no tests of their own: they are a `main` over their library.
            _ => return,
        };
        self.tests.insert(name, (executable, directory));
    }
}

fn refusal(message: Message) -> Option<Refused> {
    if message.level != "error" || message.spans.is_empty() {
        return None;
    }
    let mut places = Vec::new();
    for span in message.spans.iter().filter(|span| span.is_primary) {
        let mut span = Some(span);
        while let Some(place) = span {
            places.push((place.file_name.clone(), place.byte_start..place.byte_end));
            span = place.expansion.as_ref().map(|expansion| &expansion.span);
        }
    }
    Some(Refused {
        code: message.code.map(|code| code.code).unwrap_or_default(),
        places,
        rendered: message.rendered.unwrap_or_default(),
    })
}

impl Refused {
    /// Returns the mutants that the error is about, and whether their edit itself does not compile.
    pub fn about(&self, switched: &HashMap<String, Switched>) -> (Vec<u32>, bool) {
        for (file, bytes) in &self.places {
            let Some(file) = switched.get(file) else {
                continue;
            };
            let holds = |range: &std::ops::Range<usize>| {
                range.start <= bytes.start && bytes.start < range.end.max(range.start + 1)
            };
            // The edit itself, then the smallest switch around it.
            let edit = file.edits.iter().filter(|(range, _)| holds(range)).min_by_key(|(range, _)| range.len());
            if let Some((_, id)) = edit {
                return (vec![*id], true);
            }
            let around = || file.wholes.iter().filter(|(range, _)| holds(range));
            if let Some(smallest) = around().map(|(range, _)| range.len()).min() {
                return (around().filter(|(range, _)| range.len() == smallest).map(|(_, id)| *id).collect(), false);
            }
        }
        (Vec::new(), false)
    }
}

/// Builds all mutants with a switch. Those that the compiler refuses are left out, and the build is repeated.
pub async fn build_with_switches(tree: &Tree, mutants: &[Mutant], dropped: &mut Dropped) -> Result<Built> {
    let begun = Instant::now();
    println!("building the workspace with all Rust mutants in it, each behind a switch");
    loop {
        let switched = tree.put_switches(mutants, dropped)?;
        for id in switched.values().flat_map(|file| &file.without) {
            mutants.iter().filter(|mutant| mutant.id == *id).for_each(|mutant| dropped.add_alone(&mutant.key));
        }
        for id in switched.values().flat_map(|file| &file.unviable) {
            let of_id = mutants.iter().filter(|mutant| mutant.id == *id);
            of_id.for_each(|mutant| dropped.add_unviable(&mutant.key, "let chain"));
        }
        let refused = match tree.build().await? {
            Ok(built) => {
                dropped.save()?;
                println!("built in {} s", begun.elapsed().as_secs());
                return Ok(built);
            }
            Err(refused) => refused,
        };
        println!(
            "  {} s: the compiler refuses {} places; building without them",
            begun.elapsed().as_secs(),
            refused.len()
        );
        let mut progressed = false;
        for error in &refused {
            let (ids, is_edit) = error.about(&switched);
            for mutant in mutants.iter().filter(|mutant| ids.contains(&mutant.id)) {
                progressed = true;
                if is_edit && is_certain(error, mutant) {
                    dropped.add_unviable(&mutant.key, &error.code);
                } else {
                    dropped.add_alone(&mutant.key);
                }
            }
        }
        ensure!(progressed, "the code does not compile:\n{}", refused[0].rendered);
        dropped.save()?;
    }
}

/// Compiler errors about a type, a bound, an operator, a missing method or name, and deny-by-default lints.
const SETTLING: [&str; 12] = [
    "E0308",
    "E0277",
    "E0369",
    "E0368",
    "E0599",
    "E0600",
    "E0061",
    "E0282",
    "E0283",
    "E0433",
    "arithmetic_overflow",
    "unconditional_panic",
];

/// Returns whether this error means that the edit is wrong at any place. `return` can't have another type than the body
/// of a function that returns `impl Trait`; without the switch it could.
fn is_certain(error: &Refused, mutant: &Mutant) -> bool {
    let Change::Rust { genre, return_type, .. } = &mutant.change else {
        return false;
    };
    let is_opaque = *genre == Genre::FnValue && return_type.contains("impl ");
    !is_opaque && SETTLING.contains(&error.code.as_str())
}
