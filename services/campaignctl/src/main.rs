//! Parses the arguments, runs the command, and turns the result into an exit code.

use std::process::ExitCode;

use campaignctl::{args::Args, run, view::visible};
use clap::{Parser as _, error::ErrorKind};

#[tokio::main]
async fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // An error of the terminal can't be reported.
            drop(error.print());
            // The exit code 2 of clap means that leads were refused here.
            return match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
                _ => ExitCode::FAILURE,
            };
        }
    };
    match run(args).await {
        Ok(exit) => exit.into(),
        Err(error) => {
            // It may name what a file holds.
            eprintln!("error: {}", visible(&format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}
