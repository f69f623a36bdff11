//! To a relay: one WebSocket, one frame a binary message, path `/v1/sync`.
//!
//! TLS is ours (one configuration for everything), not the WebSocket library's. Where the relay ends TLS itself, keying
//! material of the TLS connection is the binding; behind a proxy that ends TLS both ends share nothing of that channel,
//! and the binding is empty: the session pins the relay's key in either case.

use super::counted::Counted;
use super::tls::Tls;
use super::{About, FRAME_BYTES_MAX, ReceiveHalf, SendHalf, Socket, Transport, TransportError};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use rustls::pki_types::ServerName;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Uri};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// **Milliseconds** for everything until frames can flow: name, connection, TLS, upgrade.
pub const CONNECT_TIMEOUT_MS: u64 = 10_000;
/// Where relays speak the protocol.
pub const PATH: &str = "/v1/sync";

/// Name of the keying material that ties a session to its TLS connection (RFC 5705).
const EXPORTER_LABEL: &[u8] = b"EXPORTER-tombolo-session";
/// Offered with TLS; a relay that ends TLS itself answers with the same.
const BINDING: &str = "tombolo-binding";
const TLS_EXPORTER: HeaderValue = HeaderValue::from_static("tls-exporter");

/// **Bytes** read at once; the library allocates them for every connection.
const READ_BYTES: usize = 32 * 1024;

type Stream = WebSocketStream<Box<dyn Socket>>;

/// Connects to the relay at `url`: `ws://HOST:PORT`, `wss://HOST[:PORT]`, or either with a path in front of [`PATH`].
///
/// # Errors
/// [`TransportError`]: of the address, the network, TLS, or because something else answers there.
pub async fn connect(url: &str, tls: &Tls, timeout_ms: u64) -> Result<Transport, TransportError> {
    let target = Target::parse(url)?;
    let timed_out = |_| TransportError::TimedOut { to: target.to_string(), timeout_ms };
    let connecting = target.connect(tls);
    tokio::time::timeout(Duration::from_millis(timeout_ms), connecting).await.map_err(timed_out)?
}

/// The parts of a relay's address.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    tls: bool,
    /// Without brackets.
    host: String,
    port: u16,
    /// What the WebSocket library asks for.
    request: Uri,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{open}{}{close}:{}", self.host, self.port)
    }
}

impl Target {
    fn parse(url: &str) -> Result<Self, TransportError> {
        let wrong = || TransportError::Address { url: url.chars().take(300).collect() };
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let tls = match uri.scheme_str() {
            Some("ws") => false,
            Some("wss") => true,
            _ => return Err(wrong()),
        };
        let authority = uri.authority().ok_or_else(wrong)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() || authority.as_str().contains('@') || uri.query().is_some() {
            return Err(wrong());
        }
        // A port that is no number is not there for the library: compare what it understood with what was written.
        let port = match (authority.port_u16(), authority.as_str() == authority.host()) {
            (Some(port), _) if port != 0 => port,
            (None, true) => {
                if tls {
                    443
                } else {
                    80
                }
            }
            _ => return Err(wrong()),
        };
        let path = format!("{}{PATH}", uri.path().trim_end_matches('/'));
        let request = Uri::builder().scheme(if tls { "wss" } else { "ws" }).authority(authority.clone());
        let request = request.path_and_query(path).build().map_err(|_| wrong())?;
        Ok(Self { tls, host, port, request })
    }

    async fn connect(&self, tls: &Tls) -> Result<Transport, TransportError> {
        let unreachable = |source| TransportError::Unreachable { to: self.to_string(), source };
        let tcp = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(unreachable)?;
        // Frames are small and wait for answers.
        tcp.set_nodelay(true).map_err(unreachable)?;
        let remote = tcp.peer_addr().ok();
        let (tcp, counters) = Counted::new(tcp);
        let mut exported = Vec::new();
        let socket: Box<dyn Socket> = if self.tls {
            let stream = self.encrypt(tcp, tls).await?;
            exported = stream.get_ref().1.export_keying_material(vec![0; 32], EXPORTER_LABEL, None).unwrap_or_default();
            Box::new(stream)
        } else {
            Box::new(tcp)
        };
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BYTES)
            .max_message_size(Some(FRAME_BYTES_MAX))
            .max_frame_size(Some(FRAME_BYTES_MAX));
        let request = self.request.clone().into_client_request().map(|mut request| {
            if !exported.is_empty() {
                request.headers_mut().insert(BINDING, TLS_EXPORTER);
            }
            request
        });
        let request = request.map_err(|error| self.not_upgraded(error))?;
        let upgraded = client_async_with_config(request, socket, Some(config)).await;
        let (stream, response) = upgraded.map_err(|error| self.not_upgraded(error))?;
        if response.headers().get(BINDING) != Some(&TLS_EXPORTER) {
            exported.clear();
        }
        let (to, from) = stream.split();
        let about = About { binding: exported, counters, remote };
        Ok(Transport::new(SendHalf::Ws(Sending { to }), ReceiveHalf::Ws(Receiving { from }), about))
    }

    async fn encrypt<S: Socket>(
        &self,
        stream: S,
        tls: &Tls,
    ) -> Result<tokio_rustls::client::TlsStream<S>, TransportError> {
        let failed = |source| TransportError::Tls { host: self.host.clone(), source };
        let name = ServerName::try_from(self.host.clone()).map_err(|error| failed(io::Error::other(error)))?;
        TlsConnector::from(Arc::clone(&tls.config)).connect(name, stream).await.map_err(failed)
    }

    fn not_upgraded(&self, error: Error) -> TransportError {
        let to = self.to_string();
        match error {
            Error::Http(response) => match response.status().as_u16() {
                status @ (429 | 503) => TransportError::Busy { to, status },
                status => TransportError::NotARelay { to, why: format!("HTTP status {status}") },
            },
            Error::Io(source) => TransportError::Broken { source },
            Error::Protocol(ProtocolError::HandshakeIncomplete) => TransportError::cut(),
            other => TransportError::NotARelay { to, why: other.to_string() },
        }
    }
}

/// What the library's errors mean once frames flow.
fn failed(error: Error) -> TransportError {
    match error {
        Error::Io(source) => TransportError::Broken { source },
        Error::Capacity(_) => TransportError::TheirFrameTooLarge,
        Error::ConnectionClosed | Error::AlreadyClosed => {
            TransportError::Broken { source: io::ErrorKind::BrokenPipe.into() }
        }
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => TransportError::cut(),
        // It was closed by either side before: nothing goes out any more.
        Error::Protocol(ProtocolError::SendAfterClosing) => {
            TransportError::Broken { source: io::ErrorKind::BrokenPipe.into() }
        }
        _ => TransportError::Misbehaved { why: "a message that no WebSocket has" },
    }
}

pub(super) struct Sending {
    to: SplitSink<Stream, Message>,
}

impl Sending {
    pub(super) async fn send(&mut self, frame: Vec<u8>) -> Result<(), TransportError> {
        self.to.send(Message::Binary(frame.into())).await.map_err(failed)
    }

    pub(super) async fn close(&mut self) -> Result<(), TransportError> {
        match self.to.close().await {
            Err(Error::ConnectionClosed | Error::AlreadyClosed) => Ok(()),
            closed => closed.map_err(failed),
        }
    }
}

impl std::fmt::Debug for Sending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ws::Sending")
    }
}

pub(super) struct Receiving {
    from: SplitStream<Stream>,
}

impl Receiving {
    pub(super) async fn receive(&mut self) -> Result<Option<Vec<u8>>, TransportError> {
        loop {
            match self.from.next().await {
                None => return Ok(None),
                Some(Ok(Message::Binary(frame))) => return Ok(Some(frame.into())),
                Some(Ok(Message::Text(_))) => return Err(TransportError::Misbehaved { why: "a text message" }),
                // Answered by the library; the protocol has its own pings.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(_))) | Some(Err(Error::ConnectionClosed)) => return Ok(None),
                Some(Err(error)) => return Err(failed(error)),
            }
        }
    }
}

impl std::fmt::Debug for Receiving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ws::Receiving")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        for (url, shown, tls, asked) in [
            ("ws://127.0.0.1:9", "127.0.0.1:9", false, "ws://127.0.0.1:9/v1/sync"),
            ("ws://relay/", "relay:80", false, "ws://relay/v1/sync"),
            ("wss://relay.example.org", "relay.example.org:443", true, "wss://relay.example.org/v1/sync"),
            ("wss://[::1]:8443", "[::1]:8443", true, "wss://[::1]:8443/v1/sync"),
            ("ws://[::1]", "[::1]:80", false, "ws://[::1]/v1/sync"),
            ("wss://Relay.org/chat/", "Relay.org:443", true, "wss://Relay.org/chat/v1/sync"),
        ] {
            let target = Target::parse(url).unwrap();
            assert_eq!((target.to_string().as_str(), target.tls), (shown, tls), "{url}");
            assert_eq!(target.request.to_string(), asked);
        }
    }

    #[test]
    fn addresses_that_are_none_are_named() {
        let long = format!("ws://{}", "x".repeat(70_000));
        for url in [
            "",
            "relay",
            "relay:9",
            "http://relay",
            "ws://",
            "ws:///v1",
            "ws://a b",
            "ws://relay:0",
            "ws://relay:70000",
            "ws://relay:",
            "ws://relay:x",
            "ws://user@relay",
            "ws://relay/?q=1",
            "ws://rel\u{1b}ay",
            &long,
        ] {
            let error = Target::parse(url).unwrap_err();
            assert_eq!(error.code(), "relay_address", "{url}");
            assert!(error.to_string().len() < 1_000 && !error.to_string().contains('\u{1b}'));
        }
    }
}
