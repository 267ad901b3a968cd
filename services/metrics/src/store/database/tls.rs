//! The modes of TLS: what is encrypted, and what of the server's certificate is checked.
//!
//! | mode | encrypted | certificate |
//! |---|---|---|
//! | `disable` | no | |
//! | `prefer` | where the server offers it | any |
//! | `require` | yes | any; with `sslrootcert` as `verify-ca`, as in libpq |
//! | `verify-ca` | yes | signed by an authority of `sslrootcert` |
//! | `verify-full` | yes | so, and it has the name of the host |

use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
    server::ParsedCertificate,
};

/// How connections are encrypted.
#[derive(Debug)]
pub(super) enum Mode {
    /// Not at all.
    Disable,
    /// If the server offers it.
    Prefer,
    /// Always.
    Require,
    /// Always, with a server that an authority vouches for.
    VerifyCa(RootCertStore),
    /// Always, with the server that the host names.
    VerifyFull(RootCertStore),
}

impl Mode {
    /// Reads `sslmode` and the file that `sslrootcert` names.
    pub fn new(mode: Option<&str>, root_certificates: Option<&str>) -> anyhow::Result<Self> {
        let roots = root_certificates.filter(|path| !path.is_empty());
        match (mode.unwrap_or("prefer"), roots) {
            ("disable", None) => Ok(Self::Disable),
            ("prefer", None) => Ok(Self::Prefer),
            ("require", None) => Ok(Self::Require),
            ("require" | "verify-ca", Some(path)) => Ok(Self::VerifyCa(authorities(path)?)),
            ("verify-full", Some(path)) => Ok(Self::VerifyFull(authorities(path)?)),
            ("disable" | "prefer", Some(_)) => bail!(
                "`sslrootcert` of the database URL checks nothing without an `sslmode` that does; add sslmode=verify-full"
            ),
            ("verify-ca" | "verify-full", None) => bail!(
                "this `sslmode` of the database URL needs the certificate of the authority that signed the server's; add \
                 sslrootcert=FILE"
            ),
            (other, _) => bail!(
                "`sslmode` of the database URL is one of disable, prefer, require, verify-ca, verify-full, not `{other}`"
            ),
        }
    }

    /// The client's side of TLS.
    pub fn client(self) -> anyhow::Result<ClientConfig> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
        let mut client = match self {
            Self::VerifyFull(roots) => builder.with_root_certificates(roots),
            Self::VerifyCa(roots) => nameless(builder, Nameless { roots: Some(roots), provider }),
            Self::Disable | Self::Prefer | Self::Require => nameless(builder, Nameless { roots: None, provider }),
        }
        .with_no_client_auth();
        // `sslnegotiation=direct` needs it.
        client.alpn_protocols = vec![b"postgresql".to_vec()];
        Ok(client)
    }
}

type Builder<State> = rustls::ConfigBuilder<ClientConfig, State>;

fn nameless(builder: Builder<rustls::WantsVerifier>, verifier: Nameless) -> Builder<rustls::client::WantsClientCert> {
    builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
}

/// Reads the certificates of authorities from a PEM file.
fn authorities(path: &str) -> anyhow::Result<RootCertStore> {
    ensure!(
        path != "system",
        "sslrootcert=system is not supported: the images have no certificates of a system; name a file, such as \
         /etc/ssl/certs/ca-certificates.crt of Debian"
    );
    let mut roots = RootCertStore::empty();
    let file = || format!("`{path}`, the `sslrootcert` of the database URL");
    for certificate in CertificateDer::pem_file_iter(path).with_context(|| format!("reading {}", file()))? {
        let certificate = certificate.with_context(|| format!("reading {}", file()))?;
        roots.add(certificate).with_context(|| format!("{} holds a certificate that is not valid", file()))?;
    }
    ensure!(!roots.is_empty(), "{} holds no certificate; it must be a PEM file of authorities", file());
    Ok(roots)
}

/// Checks everything but the name of the server: that it holds the key of its certificate, and who signed that.
#[derive(Debug)]
struct Nameless {
    /// Who may have signed it; `None` takes any certificate.
    roots: Option<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Nameless {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(roots) = &self.roots {
            let certificate = ParsedCertificate::try_from(end_entity)?;
            let algorithms = self.provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&certificate, roots, intermediates, now, algorithms)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
