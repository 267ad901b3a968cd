//! Why Postgres does not let this process in, in words for who runs it: what is wrong, and what to do.

use std::{error::Error as _, io};

use rustls::{CertificateError, Error as TlsError};
use tokio_postgres::Error as PgError;

use crate::store::sqlstate::login_refusal;

/// What has to change before a connection can be made. `None` if waiting may help: Postgres is away, starts or stops.
pub(super) fn refusal(error: &PgError) -> Option<&'static str> {
    if let Some(code) = error.code() {
        return login_refusal(code);
    }
    // The library tells its kinds of errors by their texts only.
    match error.to_string().as_str() {
        "authentication error" => {
            Some("the login at Postgres failed; correct the role and the password in the database URL")
        }
        // Such as a password that is missing.
        "invalid configuration" => {
            Some("the database URL lacks what Postgres asks for, or contradicts itself; correct it")
        }
        "error performing TLS handshake" => handshake(error),
        _ => None,
    }
}

fn handshake(error: &PgError) -> Option<&'static str> {
    let Some(cause) = error.source()?.downcast_ref::<io::Error>() else {
        // The only one that comes from no socket.
        return Some(
            "Postgres offers no TLS, and `sslmode` of the database URL asks for it; turn `ssl` on in postgresql.conf, or write \
             sslmode=prefer where everyone in the network may read along",
        );
    };
    // Of a socket: Postgres went away.
    let cause = cause.get_ref()?.downcast_ref::<TlsError>()?;
    let TlsError::InvalidCertificate(problem) = cause else {
        return Some("no TLS with Postgres; it has to speak TLS 1.2 or newer");
    };
    Some(match problem {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "the certificate of Postgres is for another host; connect by a name that it has, or write sslmode=verify-ca"
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "no authority of `sslrootcert` has signed the certificate of Postgres; name the file with the one that did"
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => {
            "the certificate of Postgres has expired or is not valid yet; renew it, and check the clocks"
        }
        other if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            "the certificate of Postgres is one of an authority (CA:TRUE); give the server a certificate of its own that this \
             authority signs"
        }
        _ => "the certificate of Postgres is not valid; give the server another one",
    })
}
