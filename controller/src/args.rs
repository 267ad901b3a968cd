//! The command line.

use std::net::SocketAddr;

use campaign_metrics::flags::service_url;
use clap::{Args, Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;

use crate::Options;

/// Applies Campaign resources to the campaign service and mirrors their progress back into Kubernetes.
#[derive(Debug, Parser)]
#[command(
    version = campaign_metrics::VERSION,
    after_help = "Examples:\n  \
    campaign-controller crd | kubectl apply --server-side -f -\n      \
    installs or updates the resource definition\n  \
    campaign-controller run --service http://127.0.0.1:50051\n      \
    controls the cluster of the current kubectl context\n  \
    campaign-controller run --namespace team-a\n      \
    watches one namespace, for which a Role is enough\n\n\
    Kubernetes is found as kubectl finds it (KUBECONFIG, ~/.kube/config), in a pod by its service account."
)]
pub struct Cli {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run until SIGTERM or SIGINT. A second signal aborts.
    Run(RunArgs),
    /// Print the CustomResourceDefinition as YAML.
    Crd,
    /// Remove the controller's finalizer from all resources, so that they can be deleted when no controller runs any more.
    ///
    /// For an uninstall. The resources stay. Campaigns of the service stay as they are: active ones keep sending. A
    /// controller that still runs puts the finalizers back.
    RemoveFinalizers(RemoveFinalizersArgs),
}

/// Flags of `remove-finalizers`.
#[derive(Debug, Args)]
pub struct RemoveFinalizersArgs {
    /// Namespace of the resources. Default: all namespaces.
    #[arg(long, value_name = "NS")]
    pub namespace: Option<String>,
}

/// Flags of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// URL of the campaign service, `http://HOST:PORT`.
    #[arg(
        long,
        env = "CAMPAIGN_METRICS_SERVICE",
        default_value = "http://127.0.0.1:50051",
        value_name = "URL",
        value_parser = service_url
    )]
    pub service: String,
    /// Address of /livez, /readyz and /metrics. Port 0 chooses a free port and prints it.
    #[arg(long, default_value = "127.0.0.1:9465", value_name = "ADDR")]
    pub admin_listen: SocketAddr,
    /// Namespace to watch. Default: all namespaces.
    #[arg(long, value_name = "NS")]
    pub namespace: Option<String>,
    /// Format of the log, on standard error. RUST_LOG filters it (default `info`).
    #[arg(long, value_enum, default_value = "human", value_name = "FORMAT")]
    pub log_format: LogFormat,
}

impl RunArgs {
    /// Returns the options for the library.
    pub fn options(&self) -> Options {
        Options { service: self.service.clone(), namespace: self.namespace.clone() }
    }
}

/// Format of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Human,
    /// One JSON object per line.
    Json,
}

impl LogFormat {
    /// Starts logging to stderr.
    pub fn init(self) {
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
        let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        match self {
            Self::Human => log.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init(),
            Self::Json => log.json().init(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed_and_has_its_documented_defaults() {
        Cli::command().debug_assert();
        let cli = Cli::parse_from(["campaign-controller", "run", "--service", "http://localhost:1"]);
        let Command::Run(args) = cli.command else { panic!("parsed another command") };
        assert_eq!(args.admin_listen.to_string(), "127.0.0.1:9465");
        assert_eq!(args.service, "http://localhost:1");
        assert_eq!((args.namespace, args.log_format), (None, LogFormat::Human));
    }

    #[test]
    fn a_url_that_asks_for_tls_or_says_no_scheme_is_refused() {
        for (url, says) in [("https://service:50051", "no TLS"), ("service:50051", "write http://service:50051")] {
            let error = Cli::try_parse_from(["campaign-controller", "run", "--service", url]).unwrap_err();
            assert!(error.to_string().contains(says), "{url}: {error}");
        }
    }

    #[test]
    fn what_is_said_on_the_command_line_is_what_the_controller_is_told() {
        let run = ["campaign-controller", "run", "--service", "http://localhost:1", "--namespace", "team-a"];
        let Command::Run(args) = Cli::parse_from(run).command else { panic!("parsed another command") };
        let options = args.options();
        assert_eq!((options.service.as_str(), options.namespace.as_deref()), ("http://localhost:1", Some("team-a")));
    }
}
