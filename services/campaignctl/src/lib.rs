//! The command-line tool of Campaign Metrics. It is a pure client of the API.
//!
//! | module | holds |
//! |---|---|
//! | [`args`] | the command line and its help |
//! | [`call`] | the connection, and a deadline for each call |
//! | [`failure`] | errors of calls, rendered for people |
//! | [`command`] | one function per command |
//! | [`target`] | the service and workspace of a command, and its output |
//! | [`exit`] | exit codes of commands that did not fail |
//! | [`import`] | leads from a file of any size |
//! | [`view`] | resources as tables and as JSON |

pub mod args;
pub mod call;
pub mod command;
pub mod exit;
pub mod failure;
pub mod import;
pub mod target;
pub mod view;

use crate::{
    args::{Args, Command},
    exit::Exit,
    target::Target,
};

/// Runs one command.
pub async fn run(args: Args) -> anyhow::Result<Exit> {
    let target = Target::new(&args)?;
    match args.command {
        Command::Campaigns(campaigns) => command::campaigns(&target, campaigns).await,
        Command::Accounts(accounts) => command::accounts(&target, accounts).await,
        Command::Leads(leads) => command::leads(&target, leads).await,
        Command::Claims(claims) => command::claims(&target, claims).await,
    }
}
