//! TLS: certificate files, new ones without a restart, and sessions tied to their TLS connection.
//!
//! The certificates in this folder are for these tests alone; their keys are worth nothing.

use crate::probe::Probe;
use crate::world::{World, config};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{self, ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tombolo_proto::Frame;
use tombolo_relay::{Relay, Tls};

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/relay/certificates").join(name)
}

/// Trusts exactly one certificate.
#[derive(Debug)]
struct Exactly(CertificateDer<'static>, Arc<CryptoProvider>);

impl ServerCertVerifier for Exactly {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *certificate == self.0 {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::Error::General("another certificate".into()))
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.1.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.1.signature_verification_algorithms.supported_schemes()
    }
}

async fn secure(relay: &Relay, certificate: &str) -> std::io::Result<TlsStream<TcpStream>> {
    let provider = Arc::new(ring::default_provider());
    let trusted = CertificateDer::from_pem_file(file(certificate)).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Exactly(trusted, provider)))
        .with_no_client_auth();
    let socket = TcpStream::connect(relay.address()).await.unwrap();
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), socket).await
}

fn exported(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    stream.get_ref().1.export_keying_material(vec![0; 32], b"EXPORTER-tombolo-session", None).unwrap()
}

/// Upgrades; says whether the relay ties the session to the TLS connection.
async fn upgrade(stream: TlsStream<TcpStream>, ask: bool) -> (WebSocketStream<TlsStream<TcpStream>>, bool) {
    let mut request = "wss://localhost/v1/sync".into_client_request().unwrap();
    if ask {
        request.headers_mut().insert("tombolo-binding", "tls-exporter".parse().unwrap());
    }
    let (socket, response) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    (socket, response.headers().get("tombolo-binding").is_some_and(|value| value == "tls-exporter"))
}

async fn world() -> World {
    let mut settings = config();
    settings.tls = Some(Tls { certificate: file("one.pem"), key: file("one.key.pem") });
    World::new(settings).await
}

#[tokio::test]
async fn sessions_are_tied_to_their_tls_connection() {
    let world = world().await;
    assert!(world.relay.listening().starts_with("wss://"));
    for (ask, bind, accepted) in [(true, true, true), (false, false, true), (true, false, false), (false, true, false)]
    {
        let stream = secure(&world.relay, "one.pem").await.unwrap();
        let binding = if bind { exported(&stream) } else { Vec::new() };
        let (socket, bound) = upgrade(stream, ask).await;
        assert_eq!(bound, ask);
        let mut probe = Probe::over(socket, 7, |config| config.binding = binding);
        let fault = probe.open().await;
        if accepted {
            assert_eq!(fault, None);
            probe.hear_until_pong(1).await;
        } else {
            // Each side finds that the other has signed something else.
            assert_eq!(fault.map(|fault| fault.code()), Some("unauthenticated"));
        }
    }
    // Keying material of another connection is no better than none: a machine in the middle has only that.
    let (one, other) = (secure(&world.relay, "one.pem").await.unwrap(), secure(&world.relay, "one.pem").await.unwrap());
    assert_ne!(exported(&one), exported(&other));
    let binding = exported(&other);
    let (socket, _) = upgrade(one, true).await;
    let mut probe = Probe::over(socket, 7, |config| config.binding = binding);
    assert_eq!(probe.open().await.map(|fault| fault.code()), Some("unauthenticated"));
}

#[tokio::test]
async fn a_new_certificate_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str| {
        std::fs::copy(file(&format!("{name}.pem")), dir.path().join("chain.pem")).unwrap();
        std::fs::copy(file(&format!("{name}.key.pem")), dir.path().join("key.pem")).unwrap();
    };
    put("one");
    let mut settings = config();
    settings.tls = Some(Tls { certificate: dir.path().join("chain.pem"), key: dir.path().join("key.pem") });
    let world = World::new(settings).await;
    let before = secure(&world.relay, "one.pem").await.unwrap();
    assert!(secure(&world.relay, "two.pem").await.is_err());
    put("two");
    world.relay.reload_certificate();
    assert!(secure(&world.relay, "one.pem").await.is_err());
    secure(&world.relay, "two.pem").await.unwrap();
    // A file that is no certificate changes nothing.
    std::fs::write(dir.path().join("chain.pem"), "soon").unwrap();
    world.relay.reload_certificate();
    secure(&world.relay, "two.pem").await.unwrap();
    // Nobody who was connected was cut off.
    let mut probe = Probe::over(upgrade(before, false).await.0, 7, |_| ());
    assert_eq!(probe.open().await, None);
    probe.say(&Frame::Ping(1)).await;
    probe.hear_until_pong(2).await;
}

#[tokio::test]
async fn wrong_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = config();
    for (certificate, key, named) in [
        (file("none.pem"), file("one.key.pem"), "none.pem"),
        (file("one.pem"), file("one.pem"), "one.pem"),
        (file("one.pem"), file("two.key.pem"), "one.pem"),
    ] {
        settings.tls = Some(Tls { certificate, key });
        let error = Relay::start(&tombolo_relay::Place::new(dir.path()), settings.clone()).await.unwrap_err();
        assert_eq!(error.code(), "tls");
        assert!(error.to_string().contains(named), "{error}");
    }
}
