//! The command-line tool of Campaign Metrics: a client of the API and nothing more.
//!
//! | module | holds |
//! |---|---|
//! | [`args`] | what can be said on the command line, and its help |
//! | [`call`] | the connection, and a deadline for each call |
//! | [`failure`] | errors of calls as people read them |
//! | [`command`] | one function per command |
//! | [`import`] | leads from a file of any size |
//! | [`view`] | resources as tables and as JSON |

pub mod args;
pub mod call;
pub mod command;
pub mod failure;
pub mod import;
pub mod view;

use std::process::ExitCode;

use crate::args::{Args, Command};

/// How a command that did not fail ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All was done: exit code 0.
    Done,
    /// All was done but for the leads or claims that were refused: exit code 2.
    SomeRefused,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::SUCCESS,
            Outcome::SomeRefused => Self::from(2),
        }
    }
}

/// Runs one command.
pub async fn run(args: Args) -> anyhow::Result<Outcome> {
    let target = command::Target::new(&args)?;
    match args.command {
        Command::Campaigns(campaigns) => command::campaigns(&target, campaigns).await,
        Command::Accounts(accounts) => command::accounts(&target, accounts).await,
        Command::Leads(leads) => command::leads(&target, leads).await,
        Command::Claims(claims) => command::claims(&target, claims).await,
    }
}
