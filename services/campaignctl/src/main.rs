//! Parses the arguments, runs the command, and turns the result into an exit code.

use std::process::ExitCode;

use campaignctl::{args::Args, run};
use clap::{Parser as _, error::ErrorKind};

#[tokio::main]
async fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Nothing can be done when the terminal is gone.
            drop(error.print());
            // Not clap's 2, which says that leads were refused.
            return match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
                _ => ExitCode::FAILURE,
            };
        }
    };
    match run(args).await {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
