//! The completion scripts: that of bash runs in bash.

use super::{assert_exit, campaignctl};
use crate::harness::run::run;

/// Completes the last word of a command line as bash does when TAB is pressed.
async fn complete(script: &str, words: &str) -> Vec<String> {
    let words: Vec<&str> = words.split(' ').collect();
    let program = format!(
        "{script}
        COMP_WORDS=({}); COMP_CWORD={}; COMP_LINE=\"${{COMP_WORDS[*]}}\"; COMP_POINT=${{#COMP_LINE}}
        function=$(complete -p campaignctl | sed 's/.*-F \\([^ ]*\\).*/\\1/')
        $function campaignctl \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"
        printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" "),
        words.len() - 1,
    );
    let mut bash = tokio::process::Command::new("bash");
    bash.args(["--norc", "--noprofile", "-c", &program]);
    let output = run(bash, "").await.expect("bash runs");
    assert_eq!(output.stderr, "", "bash has nothing to complain about");
    output.stdout.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[tokio::test]
async fn bash_completes_commands_flags_and_values() {
    // It needs no service.
    let script = assert_exit(campaignctl("http://127.0.0.1:1", "acme", "completion bash").await, 0).stdout;
    for (words, expected) in [
        ("campaignctl campaigns pa", &["pause"][..]),
        ("campaignctl campaigns re", &["resume"]),
        ("campaignctl opt-outs ", &["list", "add", "delete"]),
        ("campaignctl campaigns create spring --fol", &["--follow-up-delay"]),
        ("campaignctl campaigns list --state ", &["active", "paused", "finished"]),
        ("campaignctl -o ", &["table", "json", "ndjson", "csv"]),
        ("campaignctl completion z", &["zsh"]),
    ] {
        let completed = complete(&script, words).await;
        let found = expected.iter().all(|word| completed.iter().any(|completed| completed == word));
        let typed = words.rsplit(' ').next().unwrap_or_default();
        assert!(found, "`{words}` is completed by {completed:?}");
        assert!(completed.iter().all(|word| word.starts_with(typed)), "`{words}` is completed by {completed:?}");
    }
}

#[tokio::test]
async fn every_shell_has_a_script_that_knows_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = assert_exit(campaignctl("http://127.0.0.1:1", "acme", &format!("completion {shell}")).await, 0);
        for word in ["opt-outs", "reinstate", "follow-up-delay"] {
            assert!(script.stdout.contains(word), "that of {shell} knows {word}");
        }
    }
    let said = assert_exit(campaignctl("http://127.0.0.1:1", "acme", "completion tcsh").await, 1).stderr;
    assert!(said.contains("bash, elvish, fish, powershell, zsh"), "{said}");
}
