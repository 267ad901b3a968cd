//! Flags that every command-line client of the service has. The controller checks the URL of the service as they do.
//!
//! The feature `flags` turns them on, so that servers do not need clap for the contract.

use std::str::FromStr;

use clap::Args;

use crate::{invalid::Invalid, name::WorkspaceId};

/// The service to call, and the workspace to work in.
#[derive(Debug, Clone, Args)]
pub struct Connection {
    /// URL of the service.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "CAMPAIGN_METRICS_SERVER",
        hide_env_values = true,
        default_value = "http://127.0.0.1:50051",
        value_parser = service_url
    )]
    pub server: String,
    /// Workspace to work in. A Kubernetes namespace maps to the workspace of the same name.
    #[arg(
        short,
        long,
        global = true,
        env = "CAMPAIGN_METRICS_WORKSPACE",
        hide_env_values = true,
        default_value = "default",
        value_parser = id::<WorkspaceId>
    )]
    pub workspace: WorkspaceId,
}

/// Checks that a URL of the service says how to connect. The error is the problem alone, since clap names the flag.
///
/// Without TLS, an `https` URL can't be served: it must not be taken for one that asks for clear text.
pub fn service_url(url: &str) -> Result<String, String> {
    let rest = match url.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("https") => {
            return Err(
                "this version has no TLS and sends nothing to such a URL; write http://HOST:PORT if everyone in the \
                        network may read along"
                    .to_owned(),
            );
        }
        Some(_) => return Err("a service is reached by http; write http://HOST:PORT".to_owned()),
        None => {
            return Err(format!(
                "the scheme is missing; write http://{}",
                if url.is_empty() { "HOST:PORT" } else { url }
            ));
        }
    };
    if rest.is_empty() || rest.starts_with(['/', ':']) {
        return Err("the host is missing; write http://HOST:PORT".to_owned());
    }
    Ok(url.to_owned())
}

/// Parses an id. The error is the problem alone, since clap names the flag.
pub fn id<T: FromStr<Err = Invalid>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|invalid: Invalid| invalid.problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_of_the_service_says_how_to_connect() {
        for url in ["http://127.0.0.1:50051", "http://[::1]:50051", "HTTP://service", "http://service.campaigns:80"] {
            assert_eq!(service_url(url).as_deref(), Ok(url));
        }
        for (url, problem) in [
            ("https://service:50051", "no TLS"),
            ("HTTPS://service", "no TLS"),
            ("service:50051", "the scheme is missing; write http://service:50051"),
            ("127.0.0.1:50051", "the scheme is missing; write http://127.0.0.1:50051"),
            ("", "the scheme is missing; write http://HOST:PORT"),
            ("grpc://service:50051", "write http://HOST:PORT"),
            ("http://", "the host is missing"),
            ("http://:50051", "the host is missing"),
            ("http:///path", "the host is missing"),
        ] {
            let said = service_url(url).expect_err(url);
            assert!(said.contains(problem), "{url}: {said}");
        }
    }
}
