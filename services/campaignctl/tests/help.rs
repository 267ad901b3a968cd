//! The help of every command, word by word. `UPDATE_GOLDEN=1 cargo test -p campaignctl` takes over what is meant.

use std::{env, fs, path::Path};

use campaignctl::args::Args;
use clap::{Command, CommandFactory as _};

/// Collects a command and those below it, each with its full name.
fn all(command: &mut Command, name: &str, found: &mut Vec<(String, String)>) {
    found.push((name.to_owned(), command.render_long_help().to_string()));
    for below in command.get_subcommands_mut() {
        let name = format!("{name}-{}", below.get_name());
        all(below, &name, found);
    }
}

#[test]
fn the_help_of_every_command_is_as_written_down() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut command = Args::command();
    command.build();
    let mut found = Vec::new();
    all(&mut command, "campaignctl", &mut found);
    assert_eq!(found.len(), 43, "6 groups, 34 commands in them, watch and completion");
    for (name, help) in found {
        let path = folder.join(format!("{name}.txt"));
        // Trailing blanks would be lost in editors.
        let help: String = help.lines().map(|line| line.trim_end().to_owned() + "\n").collect();
        if env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, &help).expect("the golden file can be written");
        }
        let golden = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(help, golden, "{name}: UPDATE_GOLDEN=1 cargo test -p campaignctl writes it anew");
    }
}

#[test]
fn arguments_that_can_never_be_right_are_refused_before_any_call() {
    let matches = |line: &str| Args::command().try_get_matches_from(line.split(' '));
    for line in [
        "campaignctl campaigns get Spring",
        "campaignctl -w A campaigns list",
        "campaignctl accounts create a --daily-limit -1",
        "campaignctl leads list --campaign a --limit 0",
        "campaignctl leads get a",
        "campaignctl leads import - --campaign a --encoding ebcdic",
        "campaignctl leads import - --campaign a --delimiter a",
        "campaignctl leads import - --campaign a --id-column=",
        "campaignctl leads reassign --campaign a --from b",
        "campaignctl opt-outs add",
        "campaignctl accounts update mail-1",
        "campaignctl accounts update mail-1 --daily-limit 1 --no-daily-limit",
        "campaignctl accounts update mail-1 --daily-limit -1",
        "campaignctl opt-outs add a/b",
        "campaignctl leads import leads.csv",
        "campaignctl claims resolve --account a x",
        "campaignctl campaigns compare spring",
        "campaignctl campaigns compare spring summer --age-days 8",
        "campaignctl campaigns history spring --from 2026-02-30",
        "campaignctl accounts history mail-1 --by-account",
        "campaignctl campaigns diagnose spring --fail-on error",
        "campaignctl -o yaml campaigns list",
        "campaignctl claims resolve --account a --sent --not-sent x",
        "campaignctl campaigns pause",
        "campaignctl campaigns pause spring --all",
        "campaignctl campaigns pause --all --all-workspaces",
        "campaignctl campaigns pause spring --reason x",
        "campaignctl campaigns pause --all --etag x",
        "campaignctl accounts update mail-1 --etag x",
        "campaignctl campaigns create spring --steps 17",
        "campaignctl campaigns create spring --follow-up-delay 2w",
        "campaignctl campaigns create spring --active-hours 09:00",
        "campaignctl campaigns create spring --settle-seconds 2592001",
        "campaignctl campaigns create spring --attribution-days 366",
        "campaignctl campaigns update spring",
        "campaignctl campaigns update spring --etag x",
        "campaignctl campaigns update spring --steps 2",
        "campaignctl campaigns update spring --account a --add-account b",
        "campaignctl campaigns update spring --lead-list-open --lead-list-complete",
        "campaignctl campaigns update spring --no-daily-limit --daily-limit 1",
        "campaignctl campaigns update spring --no-active-hours --active-hours 09:00-10:00",
        "campaignctl completion",
    ] {
        assert!(matches(line).is_err(), "{line}");
    }
    for line in [
        "campaignctl leads list --campaign a --status FAILED -o json -w b",
        "campaignctl campaigns compare spring summer autumn --age-days 30 -o csv",
        "campaignctl campaigns history spring --from 2026-02-01 --to 2026-02-28 --by-account --plain",
        "campaignctl accounts diagnose mail-1 --fail-on CRITICAL",
    ] {
        assert!(matches(line).is_ok(), "{line}");
    }
}
