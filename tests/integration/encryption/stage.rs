//! A Postgres server with TLS, which lets the roles of the service in by TLS and password only, and its certificates.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::PathBuf,
};

use campaign_metrics_service::migrate;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use tempfile::TempDir;

use crate::harness::postgres::{ROLES, Role, Server, TestDatabase, connect, separate_server};

/// The name in the server's certificate. No name service knows it: the URLs have its address.
pub const HOST: &str = "db.example";

/// Who may connect: the superuser of the tests without TLS, all others with TLS and a password.
const RULES: &str = "host all campaign_metrics 127.0.0.1/32 trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n";

/// What the server shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certificate {
    /// A certificate for [`HOST`] that the authority has signed.
    Valid,
    /// Such a one of the year 2020.
    Expired,
    /// The authority's own.
    OfAuthority,
    /// Nothing: it has no TLS.
    None,
}

/// The server.
pub struct Stage {
    pub server: Server,
    directory: TempDir,
    authority: CertificateParams,
    key: KeyPair,
}

/// Makes an authority.
fn authority(name: &str) -> (CertificateParams, KeyPair) {
    let mut parameters = CertificateParams::new([HOST.to_owned()]).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.distinguished_name.push(DnType::CommonName, name);
    (parameters, KeyPair::generate().unwrap())
}

impl Stage {
    /// Starts the server with a migrated database `campaigns`.
    pub async fn start() -> Self {
        let (server, directory) = separate_server().await.unwrap();
        let admin = connect(&server.url("postgres")).await.unwrap();
        admin.batch_execute("CREATE DATABASE campaigns").await.unwrap();
        admin.batch_execute("REVOKE CONNECT ON DATABASE postgres FROM PUBLIC").await.unwrap();
        let sql = connect(&server.url("campaigns")).await.unwrap();
        sql.batch_execute(ROLES).await.unwrap();
        for role in [Role::Owner, Role::App].map(Role::name) {
            sql.batch_execute(&format!("ALTER ROLE {role} PASSWORD '{role}'")).await.unwrap();
        }
        let (authority, key) = authority("the authority of the tests");
        let mut stage = Self { server, directory, authority, key };
        fs::write(stage.ca(), stage.authority.self_signed(&stage.key).unwrap().pem()).unwrap();
        let (other, other_key) = self::authority("another authority");
        fs::write(stage.other_ca(), other.self_signed(&other_key).unwrap().pem()).unwrap();
        stage.show(Certificate::Valid).await;
        migrate(&stage.url(Role::Owner, "sslmode=require")).await.unwrap();
        stage
    }

    /// The file of the authority that signed the server's certificate.
    pub fn ca(&self) -> PathBuf {
        self.directory.path().join("ca.crt")
    }

    /// The file of an authority that did not.
    pub fn other_ca(&self) -> PathBuf {
        self.directory.path().join("other-ca.crt")
    }

    /// The URL of the database for a role, with more parameters; `$ca` and `$other` stand for the files.
    pub fn url(&self, role: Role, parameters: &str) -> String {
        let url = role.url(&self.server.url("campaigns")).replace("@127.0.0.1", &format!("@{HOST}"));
        let parameters = parameters.replace("$ca", self.ca().to_str().unwrap());
        let parameters = parameters.replace("$other", self.other_ca().to_str().unwrap());
        format!("{url}?hostaddr=127.0.0.1&{parameters}")
    }

    /// The database for a service.
    pub fn database(&self, parameters: &str) -> TestDatabase {
        TestDatabase { url: self.url(Role::App, parameters), admin_url: self.server.url("campaigns") }
    }

    /// Starts the server again with another certificate.
    pub async fn show(&mut self, certificate: Certificate) {
        let (mut parameters, key) = (CertificateParams::new([HOST.to_owned()]).unwrap(), KeyPair::generate().unwrap());
        if certificate == Certificate::Expired {
            (parameters.not_before, parameters.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2020, 12, 31));
        }
        let signed = parameters.signed_by(&key, &Issuer::from_params(&self.authority, &self.key)).unwrap();
        let (signed, key) = match certificate {
            Certificate::OfAuthority => (fs::read_to_string(self.ca()).unwrap(), self.key.serialize_pem()),
            _ => (signed.pem(), key.serialize_pem()),
        };
        self.server.stop().await.unwrap();
        let ssl = if certificate == Certificate::None { "off" } else { "on" };
        let log = "log_line_prefix = '%u '\n";
        for (file, text) in [
            ("server.crt", signed),
            ("server.key", key),
            ("pg_hba.conf", RULES.to_owned()),
            ("postgresql.auto.conf", format!("ssl = {ssl}\n{log}")),
        ] {
            let path = self.directory.path().join("data").join(file);
            fs::write(&path, text).unwrap();
            let data = fs::metadata(path.parent().unwrap()).unwrap();
            chown(&path, Some(data.uid()), Some(data.gid())).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        self.server.start_again().await.unwrap();
    }
}
