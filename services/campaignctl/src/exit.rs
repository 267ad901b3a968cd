//! Exit codes of commands that did not fail. A failed command exits with 1.

use std::process::ExitCode;

/// The result of a command that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Everything was done: exit code 0.
    Done,
    /// Some leads or claims were refused, and the rest was done: exit code 2.
    SomeRefused,
    /// The diagnosis has findings as severe as `--fail-on` says: exit code 3.
    Found,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => Self::SUCCESS,
            Exit::SomeRefused => Self::from(2),
            Exit::Found => Self::from(3),
        }
    }
}
