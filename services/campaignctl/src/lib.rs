//! The command-line tool of Campaign Metrics. It is a pure client of the API.
//!
//! | module | holds |
//! |---|---|
//! | [`args`] | the command line and its help |
//! | [`call`] | the connection, and a deadline for each call |
//! | [`completion`] | completion scripts of shells |
//! | [`failure`] | errors of calls, rendered for people |
//! | [`command`] | one function per command, by noun |
//! | [`listing`] | lists of any length, page by page |
//! | [`answer`] | the commands that answer how a campaign or account performs, and their texts |
//! | [`stop`] | pauses campaigns, one or all, and makes them send again |
//! | [`target`] | the service and workspace of a command, and its output |
//! | [`exit`] | exit codes of commands that did not fail |
//! | [`import`] | leads from a file of any size |
//! | [`export`] | all leads or outcomes of a campaign as of one moment |
//! | [`watch`] | the live view of all campaigns |
//! | [`view`] | resources as tables, JSON, NDJSON and CSV |

pub mod answer;
pub mod args;
pub mod call;
pub mod command;
pub mod completion;
pub mod exit;
pub mod export;
pub mod failure;
pub mod import;
pub mod listing;
pub mod stop;
pub mod target;
pub mod view;
pub mod watch;

use crate::{
    args::{Args, Command, Workspace},
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
        Command::OptOuts(opt_outs) => command::opt_outs(&target, opt_outs).await,
        Command::Workspace(Workspace::Totals) => answer::workspace_totals(&target).await,
        Command::Watch(command) => watch::run(&target, &command).await,
        Command::Completion(command) => completion::print_script(&command),
    }
}
