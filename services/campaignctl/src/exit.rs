//! Exit codes of commands that did not fail. A failed command exits with 1.

use std::process::ExitCode;

/// How a command that did not fail ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All was done: exit code 0.
    Done,
    /// All was done but for the leads or claims that were refused: exit code 2.
    SomeRefused,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => Self::SUCCESS,
            Exit::SomeRefused => Self::from(2),
        }
    }
}
