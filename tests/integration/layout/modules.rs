//! Keeps the rules about modules: no circles, and a folder shows what its file re-exports or a list here names.
//!
//! A file depends on another when its code names an item of it by a path that begins with `crate`, `self`, `super` or a
//! module it declares. So a child that uses `super::Item` depends on its parent, and a parent that uses `child::Item`
//! depends on its child. Declarations (`mod child;`) and re-exports (`pub use child::Item;`) are no dependencies: a
//! parent may present what its children define. Calls of methods are not seen, since they name no module.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, mem,
    path::{Path, PathBuf},
};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::harness::parts::repository;

/// The roots of the five crates. Their `main.rs` declare no modules.
const ROOTS: [&str; 5] = [
    "proto/lib.rs",
    "services/metrics/src/lib.rs",
    "services/campaignctl/src/lib.rs",
    "services/simulator/src/lib.rs",
    "controller/src/lib.rs",
];

/// Modules of the store that other folders of it use, with all their items.
const SHARED: [&str; 14] = [
    "campaign/counters.rs",
    "campaign/finish.rs",
    "campaign/lock.rs",
    "campaign/row.rs",
    "campaign/serving.rs",
    "campaign/view.rs",
    "hint/cursor.rs",
    "hint/queue.rs",
    "hint/recent.rs",
    "lead/add.rs",
    "lead/reassign.rs",
    "outcome/batch.rs",
    "outcome/opt_out.rs",
    "outcome/telling.rs",
];

/// The names that lead to a module from the root of its crate. The root has none.
type Module = Vec<String>;

fn child(module: &[String], name: &str) -> Module {
    [module, &[name.to_owned()]].concat()
}

/// One item of a file, such as a function or a list of imports.
struct Item(Vec<TokenTree>);

impl Item {
    /// Splits a file into its items: each ends with a semicolon or a block.
    fn all(text: &str) -> Vec<Self> {
        let mut items = Vec::new();
        let mut tokens = Vec::new();
        for token in text.parse::<TokenStream>().expect("the compiler accepts the file") {
            tokens.push(token);
            let item = Self(mem::take(&mut tokens));
            let ends = match &item.0[item.0.len() - 1] {
                TokenTree::Punct(punct) => punct.as_char() == ';',
                TokenTree::Group(group) => {
                    group.delimiter() == Delimiter::Brace && !item.words().contains(&"use".to_owned())
                }
                _ => false,
            };
            if ends { items.push(item) } else { tokens = item.0 }
        }
        items
    }

    /// Its words outside of groups: `pub mod name` or `fn main`.
    fn words(&self) -> Vec<String> {
        let word = |token: &TokenTree| matches!(token, TokenTree::Ident(_)).then(|| token.to_string());
        self.0.iter().filter_map(word).collect()
    }

    fn is_test(&self) -> bool {
        let marks = |token: &TokenTree| match token {
            TokenTree::Group(group) => group.stream().to_string().replace(' ', "") == "cfg(test)",
            _ => false,
        };
        self.0.iter().any(marks)
    }

    fn is_reexport(&self) -> bool {
        self.words().starts_with(&["pub".to_owned(), "use".to_owned()])
    }

    /// The module that `mod name;` declares, which has a file of its own.
    fn declared(&self) -> Option<String> {
        let ends = matches!(self.0.last(), Some(TokenTree::Punct(_)));
        match self.words().iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["mod", name] | ["pub", "mod", name] if ends => Some(name.to_owned()),
            _ => None,
        }
    }
}

/// The files of a crate, without its tests.
struct Crate {
    files: BTreeMap<Module, (PathBuf, Vec<Item>)>,
}

impl Crate {
    fn read(root: &str) -> Self {
        let mut found = Self { files: BTreeMap::new() };
        found.add(Path::new(root), Vec::new());
        found
    }

    /// Adds a file and the files of the modules that it declares.
    fn add(&mut self, path: &Path, module: Module) {
        let text = fs::read_to_string(repository().join(path)).expect("a declared module has a file");
        let mut items = Item::all(&text);
        items.retain(|item| !item.is_test());
        let folder = if module.is_empty() { path.with_file_name("") } else { path.with_extension("") };
        for name in items.iter().filter_map(Item::declared) {
            self.add(&folder.join(format!("{name}.rs")), child(&module, &name));
        }
        self.files.insert(module, (path.to_owned(), items));
    }

    fn file(&self, module: &Module) -> String {
        self.files[module].0.display().to_string()
    }

    /// The module whose item a path in `from` names; `None` for a path that leads out of the crate.
    fn target(&self, from: &Module, path: &[String]) -> Option<Module> {
        let (mut module, mut rest) = (from.clone(), path);
        match path.first()?.as_str() {
            "crate" => (module, rest) = (Vec::new(), &path[1..]),
            "self" | "super" => {}
            name if self.files.contains_key(&child(from, name)) => {}
            _ => return None,
        }
        while let Some(name) = rest.first() {
            match name.as_str() {
                "self" => {}
                "super" => drop(module.pop()),
                name if self.files.contains_key(&child(&module, name)) => module.push(name.to_owned()),
                _ => break,
            }
            rest = &rest[1..];
        }
        Some(module)
    }

    /// The modules on which one depends, each with a path that says so.
    fn dependencies(&self, module: &Module) -> BTreeMap<Module, String> {
        let mut paths = BTreeSet::new();
        for item in self.files[module].1.iter().filter(|item| !item.is_reexport()) {
            collect(item.0.iter().cloned().collect(), &[], &mut paths);
        }
        let targets = paths.iter().filter_map(|path| Some((self.target(module, path)?, path.join("::"))));
        targets.filter(|(target, _)| target != module).collect()
    }

    /// The dependencies that are part of a circle, one a line.
    fn circles(&self) -> Vec<String> {
        let dependencies: BTreeMap<_, _> = self.files.keys().map(|from| (from, self.dependencies(from))).collect();
        let reaches = |from: &Module, goal: &Module| {
            let (mut reached, mut open) = (BTreeSet::new(), vec![from]);
            while let Some(module) = open.pop() {
                if reached.insert(module) {
                    open.extend(dependencies[module].keys());
                }
            }
            reached.contains(goal)
        };
        let mut lines = Vec::new();
        for (from, named) in &dependencies {
            for (to, path) in named.iter().filter(|(to, _)| reaches(to, from)) {
                lines.push(format!("{} names `{path}` of {}", self.file(from), self.file(to)));
            }
        }
        lines
    }
}

/// Collects the paths in some code, macros included. `use a::{b, c::D}` has two: `a::b` and `a::c::D`.
fn collect(code: TokenStream, prefix: &[String], paths: &mut BTreeSet<Vec<String>>) {
    let (mut path, mut colons) = (prefix.to_vec(), 2);
    let mut end = |path: &mut Vec<String>| {
        let path = mem::take(path);
        if path.len() > prefix.len().max(1) {
            paths.insert(path);
        }
    };
    let mut groups = Vec::new();
    for token in code {
        let before = mem::take(&mut colons);
        match token {
            TokenTree::Punct(punct) if punct.as_char() == ':' => colons = before + 1,
            TokenTree::Punct(punct) if punct.as_char() == '*' && before == 2 => path.push("*".to_owned()),
            TokenTree::Punct(punct) => {
                end(&mut path);
                if punct.as_char() == ',' {
                    (path, colons) = (prefix.to_vec(), 2);
                }
            }
            TokenTree::Ident(name) => {
                if before != 2 {
                    end(&mut path);
                }
                path.push(name.to_string());
            }
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace && before == 2 => {
                groups.push((group.stream(), mem::take(&mut path)));
            }
            // The path in `pub(in crate::name)` says who may use the item, not what the item uses.
            TokenTree::Group(_) if path == ["pub"] => path.clear(),
            TokenTree::Group(group) => {
                end(&mut path);
                groups.push((group.stream(), Vec::new()));
            }
            TokenTree::Literal(_) => end(&mut path),
        }
    }
    end(&mut path);
    for (code, prefix) in groups {
        collect(code, &prefix, paths);
    }
}

#[test]
fn no_modules_form_a_circle() {
    let broken: Vec<String> = ROOTS.iter().flat_map(|root| Crate::read(root).circles()).collect();
    assert!(broken.is_empty(), "move what both need into a module that needs neither:\n{}", broken.join("\n"));
}

#[test]
fn a_folder_shows_only_what_its_file_re_exports_or_the_list_names() {
    let mut broken = Vec::new();
    for root in ROOTS {
        let Crate { files } = Crate::read(root);
        for (module, (path, items)) in files.iter().filter(|(module, _)| !module.is_empty()) {
            let visible = items.iter().filter(|item| item.words().starts_with(&["pub".to_owned(), "mod".to_owned()]));
            for name in visible.filter_map(Item::declared) {
                let shown = files[&child(module, &name)].0.display().to_string();
                let inside = shown.strip_prefix("services/metrics/src/store/");
                if !inside.is_some_and(|inside| SHARED.contains(&inside)) {
                    broken.push(format!("{} shows all of its module `{name}`", path.display()));
                }
            }
        }
    }
    // A private module can't be named outside of its folder: the compiler keeps the rest of the rule.
    assert!(
        broken.is_empty(),
        "re-export the items that others use, or add the module to SHARED:\n{}",
        broken.join("\n")
    );
}
