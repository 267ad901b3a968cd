//! The commands that pages, runbooks and alerts name exist, with their flags.

use std::{
    fs,
    path::{Path, PathBuf},
};

use campaignctl::args::Args;
use clap::{Command, CommandFactory as _};

/// All files below a folder of the repository with one of these endings.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of the repository") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            if path.file_name().is_none_or(|name| name != "node_modules") {
                files(&path, found);
            }
        } else if path
            .extension()
            .is_some_and(|ending| ["md", "txt", "yaml", "proto", "tpl"].iter().any(|known| ending == *known))
        {
            found.push(path);
        }
    }
}

/// The command lines in a text: in blocks of code, and in backquotes, which may go over the end of a line.
fn lines(text: &str) -> Vec<String> {
    const PROGRAM: &str = "campaignctl ";
    let mut found = Vec::new();
    for (number, part) in text.split("```").enumerate() {
        if number % 2 == 1 {
            // The first line says what the block is.
            let joined = part.split_once('\n').map_or("", |(_, code)| code).replace("\\\n", " ");
            found.extend(
                joined.lines().flat_map(|line| line.split(PROGRAM).skip(1).map(str::to_owned).collect::<Vec<_>>()),
            );
        } else {
            let spans =
                part.split('`').skip(1).step_by(2).map(|span| span.split_whitespace().collect::<Vec<_>>().join(" "));
            found.extend(spans.filter_map(|span| span.strip_prefix(PROGRAM).map(str::to_owned)));
        }
    }
    found
}

/// Whether a word of a command line ends it.
fn is_end(word: &str) -> bool {
    ["|", "||", ">", ";", "&&", "#", "\\"].contains(&word)
}

fn has_flag(command: &Command, word: &str) -> bool {
    let name = word.trim_start_matches('-').split(['=', ';', ')', ',']).next().unwrap_or_default();
    let is_it = |argument: &clap::Arg| {
        argument.get_long() == Some(name) || argument.get_short().is_some_and(|short| name == short.to_string())
    };
    command.get_arguments().any(is_it)
}

/// Says what is wrong with a command line.
fn problem(root: &Command, line: &str) -> Option<String> {
    let mut command = root;
    let mut words = line.split_whitespace().take_while(|word| !is_end(word)).peekable();
    while let Some(word) = words.next() {
        if word.starts_with('-') && word.len() > 1 && word.chars().nth(1).is_some_and(|letter| !letter.is_numeric()) {
            if !has_flag(command, word) && !has_flag(root, word) {
                return Some(format!("`{}` has no flag {word}", command.get_name()));
            }
            // The value of a flag is no command.
            if !command.has_subcommands() || matches!(word, "-o" | "-w" | "--output" | "--workspace" | "--server") {
                words.next_if(|value| !value.starts_with('-'));
            }
        } else if command.has_subcommands() {
            match command.find_subcommand(word) {
                Some(below) => command = below,
                None => return Some(format!("`{}` has no command {word}", command.get_name())),
            }
        }
    }
    None
}

#[test]
fn the_commands_that_pages_name_exist_with_their_flags() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut pages = vec![root.join("README.md"), root.join("CHANGELOG.md")];
    for folder in ["docs", "charts/campaign-metrics", "proto/campaign_metrics"] {
        files(&root.join(folder), &mut pages);
    }
    let mut command = Args::command();
    command.build();
    let (mut checked, mut problems) = (0, Vec::new());
    for page in pages {
        let text = fs::read_to_string(&page).expect("a page");
        for line in lines(&text) {
            checked += 1;
            problems.extend(problem(&command, &line).map(|it| format!("{}: campaignctl {line}: {it}", page.display())));
        }
    }
    assert!(checked > 80, "found {checked} command lines");
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn a_command_or_flag_that_does_not_exist_is_found() {
    let mut command = Args::command();
    command.build();
    for line in ["campaigns stop spring", "campaigns pause spring --now", "-o json leads get a -c b --trail"] {
        assert!(problem(&command, line).is_some(), "{line}");
    }
    for line in
        ["-w acme -o csv campaigns list > x.csv", "campaigns", "claims list --campaign ID --state uncertain | wc -l"]
    {
        assert_eq!(problem(&command, line), None, "{line}");
    }
    let text = "a `campaignctl campaigns\n  list` b\n```sh\nx | campaignctl watch \\\n  --plain\n```\ncampaignctl is c";
    assert_eq!(lines(text), ["campaigns list", "watch    --plain"]);
}
