//! The database: where it is, who logs in, and how its connections are encrypted.
//!
//! A database is named as libpq names it, by a URL or by `key=value` pairs. tokio-postgres reads all but the modes of TLS that
//! check a certificate, so [`parameters`] takes those out. What can't be meant is refused here, before anything connects, and
//! no error repeats the URL, because it may carry a password.

mod parameters;
mod refusal;
mod tls;

use std::{fmt, time::Duration};

use anyhow::{Context as _, ensure};
use tokio::{task::JoinHandle, time::timeout};
use tokio_postgres::{
    Client, Config, Error as PgError,
    config::{Host, SslMode},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use self::{parameters::Parameters, refusal::refusal, tls::Mode};
use super::hindrance::Hindrance;

/// Longest wait for a socket, for each address of the database, unless the URL says otherwise.
const SOCKET_MAX: Duration = Duration::from_secs(5);
/// Idle time after which a connection is probed, and longest wait for the acknowledgement of sent data.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
/// Longest time for a connection outside the pools, over all addresses: socket, handshake and login.
const CONNECT_MAX: Duration = Duration::from_secs(30);

/// A database.
#[derive(Clone)]
pub struct Database {
    config: Config,
    tls: MakeRustlsConnect,
}

impl Database {
    /// Reads a URL, or `key=value` pairs, and the file of `sslrootcert`.
    pub fn new(url: &str) -> anyhow::Result<Self> {
        let Parameters { rest, ssl_mode, root_certificates } = Parameters::take(url)?;
        let mut config: Config = rest.parse().context("the database URL is not valid")?;
        if config.get_hosts().is_empty() {
            // The name that a certificate must have, as in libpq.
            for address in config.get_hostaddrs().to_vec() {
                config.host(address.to_string());
            }
        }
        ensure!(
            !config.get_hosts().is_empty(),
            "the database URL names no host; write postgres://USER:PASSWORD@HOST:5432/DATABASE"
        );
        let is_cut = |host: &Host| matches!(host, Host::Tcp(host) if host.contains('@'));
        ensure!(
            !config.get_hosts().iter().any(is_cut),
            "the database URL has more than one `@`; write that of a user or password as %40"
        );
        let mode = Mode::new(ssl_mode.as_deref(), root_certificates.as_deref())?;
        config.ssl_mode(match mode {
            Mode::Disable => SslMode::Disable,
            Mode::Prefer => SslMode::Prefer,
            Mode::Require | Mode::VerifyCa(_) | Mode::VerifyFull(_) => SslMode::Require,
        });
        ensure!(
            config.get_ssl_mode() != SslMode::Require
                || config.get_hosts().iter().all(|host| matches!(host, Host::Tcp(_))),
            "Postgres has no TLS on a Unix socket; leave `sslmode` out of the database URL, or name a TCP host"
        );
        if config.get_application_name().is_none() {
            config.application_name("campaign-metrics-service");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(SOCKET_MAX);
        }
        // So a server that vanished is detected within a minute, and not after the two hours of the kernel.
        config.keepalives_idle(KEEPALIVE_IDLE);
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(KEEPALIVE_IDLE);
        }
        Ok(Self { config, tls: MakeRustlsConnect::new(mode.client()?) })
    }

    /// The settings of its connections.
    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// What encrypts its connections, requests to cancel among them.
    pub(super) fn tls(&self) -> &MakeRustlsConnect {
        &self.tls
    }

    /// Connects outside the pools. The task ends with its connection, and that ends when the client is dropped.
    ///
    /// Fails with a [`Hindrance`] where Postgres will not let this process in until someone changes something.
    pub(super) async fn connect(&self) -> anyhow::Result<(Client, JoinHandle<Result<(), PgError>>)> {
        let connecting = timeout(CONNECT_MAX, self.config.connect(self.tls.clone())).await;
        let connected = connecting.with_context(|| format!("Postgres did not answer within {CONNECT_MAX:?}"))?;
        let (client, connection) = connected.map_err(|error| match refusal(&error) {
            Some(text) => anyhow::Error::new(error).context(Hindrance::Refused(text)),
            None => anyhow::Error::new(error).context("connecting to Postgres"),
        })?;
        Ok((client, tokio::spawn(connection)))
    }

    /// Its addresses, without secrets.
    pub fn addresses(&self) -> String {
        let hosts = self.config.get_hosts().iter().map(|host| match host {
            Host::Tcp(host) => host.clone(),
            Host::Unix(path) => path.display().to_string(),
        });
        let ports = self.config.get_ports().iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        format!("{}:{ports}", hosts.collect::<Vec<_>>().join(","))
    }
}

/// Shows no password.
impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Database").field(&self.config).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(url: &str) -> String {
        format!("{:#}", Database::new(url).expect_err(url))
    }

    #[test]
    fn a_url_that_can_not_be_meant_is_refused_with_the_remedy_and_without_its_secrets() {
        for (url, remedy) in [
            ("ann:secret@db:5432/campaigns", "write postgres://"),
            ("postgresq://ann:secret@db/campaigns?sslmode=require", "write postgres://"),
            ("db:5432", "write postgres://"),
            ("secret", "write postgres://"),
            ("", "write postgres://"),
            ("postgres:///campaigns?password=secret", "names no host"),
            ("dbname=campaigns password=secret", "names no host"),
            ("postgres://ann:sec@secret@db/campaigns", "%40"),
            ("postgres://ann:secret@db/campaigns?sslcert=mine", "unknown option `sslcert`"),
            ("postgres://ann:secret@db:no/campaigns", "invalid value for option `port`"),
            (
                "postgres://ann:secret@db/campaigns?sslmode=allow",
                "one of disable, prefer, require, verify-ca, verify-full",
            ),
            ("postgres://ann:secret@db/campaigns?sslmode=verify-full", "sslrootcert"),
            ("postgres://ann:secret@db/campaigns?sslmode=verify-ca&sslrootcert=", "sslrootcert"),
            ("postgres://ann:secret@db/campaigns?sslrootcert=ca.crt", "verify-full"),
            ("postgres://ann:secret@db/campaigns?sslmode=prefer&sslrootcert=ca.crt", "verify-full"),
            ("host=db password=secret sslmode=disable sslrootcert=ca.crt", "verify-full"),
            ("postgres://ann:secret@db/campaigns?sslmode=verify-full&sslrootcert=system", "ca-certificates.crt"),
            ("postgres://ann:secret@db/campaigns?sslmode=verify-full&sslrootcert=no/such/file", "`no/such/file`"),
            ("postgres://ann:secret@db/campaigns?sslmode=verify-full&sslrootcert=Cargo.toml", "no certificate"),
            ("postgres://ann:secret@%2Frun%2Fpostgresql/campaigns?sslmode=require", "Unix socket"),
        ] {
            let said = problem(url);
            assert!(said.contains(remedy), "{url}: {said}");
            assert!(!said.contains("secret"), "{url}: {said}");
        }
    }

    #[test]
    fn urls_and_pairs_say_how_to_encrypt() {
        for (url, mode) in [
            ("postgres://db/campaigns", SslMode::Prefer),
            ("postgres://db/campaigns?sslmode=disable", SslMode::Disable),
            ("postgresql://ann:why?@db/campaigns?connect_timeout=3&sslm%6Fde=require", SslMode::Require),
            ("host = db sslmode = 'require' dbname=campaigns", SslMode::Require),
        ] {
            let database = Database::new(url).expect(url);
            assert_eq!(
                (database.config.get_ssl_mode(), database.config.get_dbname()),
                (mode, Some("campaigns")),
                "{url}"
            );
            assert_eq!(database.addresses(), if url.starts_with("host") { "db:" } else { "db:5432" });
        }
    }

    #[test]
    fn an_address_without_a_name_is_the_name_that_a_certificate_must_have() {
        let database = Database::new("hostaddr=10.0.0.7,10.0.0.8 sslmode=require").unwrap();
        let names = ["10.0.0.7", "10.0.0.8"].map(|name| Host::Tcp(name.to_owned()));
        assert_eq!(database.config.get_hosts(), names);
        let both = Database::new("host=one,two hostaddr=10.0.0.7,10.0.0.8").unwrap();
        assert_eq!(both.config.get_hosts(), ["one", "two"].map(|name| Host::Tcp(name.to_owned())));
    }
}
