//! Which relays' certificates are believed: those of the public authorities, and of one file that a person may add.
//!
//! One TLS library, one provider (ring), named here rather than taken from the process, so that nothing depends on who
//! installed what first.

use super::TransportError;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::sync::Arc;

/// What TLS connections are checked against; made once, cheap to clone.
#[derive(Clone, Debug)]
pub struct Tls {
    pub(crate) config: Arc<ClientConfig>,
}

impl Tls {
    /// Believes the public authorities, and the certificates in the PEM file `extra`: issuers, or a relay's own
    /// certificate if it is not marked as an issuer itself.
    ///
    /// # Errors
    /// [`TransportError::Certificates`].
    pub fn new(extra: Option<&Path>) -> Result<Self, TransportError> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        if let Some(path) = extra {
            let wrong = |why: String| TransportError::Certificates { path: path.to_owned(), why };
            let certificates = CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?;
            let before = roots.len();
            for certificate in certificates {
                let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
                roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
            }
            if roots.len() == before {
                return Err(wrong("it holds none".to_owned()));
            }
        }
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| TransportError::Crypto { why: error.to_string() })?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { config: Arc::new(config) })
    }
}
