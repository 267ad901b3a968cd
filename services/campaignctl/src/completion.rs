//! Completion scripts of shells, generated from the command line itself.

use clap::CommandFactory as _;
use clap_complete::generate;

use crate::{
    args::{Args, Completion},
    exit::Exit,
    target::write,
};

/// Prints the script of a shell. Calls no service.
pub fn print_script(command: &Completion) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    generate(command.shell, &mut Args::command(), "campaignctl", &mut script);
    write(&String::from_utf8(script)?)?;
    Ok(Exit::Done)
}
