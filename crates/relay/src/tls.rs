//! TLS from certificate files, and new files taken over while the relay runs.
//!
//! TLS 1.3 only: all clients are ours, and its exporter is safe to tie sessions to.

use crate::RelayError;
use crate::config::Tls;
use axum_server::tls_rustls::RustlsConfig;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How often the files are looked at.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Reads both files.
pub(crate) fn load(files: &Tls) -> Result<Arc<ServerConfig>, RelayError> {
    let failed = |path: &Path, why: String| RelayError::Tls(format!("{}: {why}", path.display()));
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(|certificates| certificates.collect::<Result<Vec<_>, _>>())
        .map_err(|error| failed(&files.certificate, error.to_string()))?;
    if chain.is_empty() {
        return Err(failed(&files.certificate, "it holds no certificate".into()));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| failed(&files.key, error.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| failed(&files.certificate, error.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Takes over new files; keeps the old certificate, and says why, where they cannot be used.
pub(crate) fn reload(files: &Tls, live: &RustlsConfig) {
    match load(files) {
        Ok(config) => {
            live.reload_from_config(config);
            tracing::info!("certificate read again");
        }
        Err(error) => tracing::error!("the new certificate cannot be used, the old one stays: {error}"),
    }
}

/// Watches the files until dropped.
pub(crate) async fn watch(files: Tls, live: RustlsConfig, every: Duration) {
    let mut seen = changed_at(&files);
    loop {
        tokio::time::sleep(every).await;
        let now = changed_at(&files);
        if now != seen {
            seen = now;
            reload(&files, &live);
        }
    }
}

fn changed_at(files: &Tls) -> [Option<SystemTime>; 2] {
    [&files.certificate, &files.key].map(|path| std::fs::metadata(path).and_then(|file| file.modified()).ok())
}
