//! The command line of completion scripts.

use clap::Args as ClapArgs;
use clap_complete::Shell;

pub(super) const COMPLETION_EXAMPLES: &str = "\
To install it, for yourself:
  bash  mkdir -p ~/.local/share/bash-completion/completions
        campaignctl completion bash > ~/.local/share/bash-completion/completions/campaignctl
        (with the package bash-completion; without it, add to ~/.bashrc: source <(campaignctl completion bash))
  zsh   mkdir -p ~/.zfunc
        campaignctl completion zsh > ~/.zfunc/_campaignctl
        (and in ~/.zshrc: fpath=(~/.zfunc $fpath); autoload -Uz compinit; compinit)
  fish  mkdir -p ~/.config/fish/completions
        campaignctl completion fish > ~/.config/fish/completions/campaignctl.fish

Then open a new shell. Run it again after an update of campaignctl.";

/// The shell whose script is wanted.
#[derive(Debug, ClapArgs)]
pub struct Completion {
    /// The shell.
    #[arg(value_enum)]
    pub shell: Shell,
}
