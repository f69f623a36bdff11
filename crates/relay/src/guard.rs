//! The bottom of every connection: counts bytes, ends what may not go on, and closes politely.
//!
//! Beneath TLS and HTTP, so that it also holds against those who never finish a handshake or a header: until the
//! protocol runs, a connection has `opening_ms` in all. While it runs, at most one message with a little extra may be
//! read without becoming whole, which bounds how finely a message can be cut into fragments.
//! Not here: who may come in (`admission.rs`), frames (`socket.rs`).

use crate::admission::{Admission, Guest};
use crate::meters::Meters;
use axum_server::accept::Accept;
use axum_server::tls_rustls::RustlsAcceptor;
use std::future::{Future, Ready, ready};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, timeout};
use tokio_rustls::server::TlsStream;
use tombolo_proto::limit::FRAME_BYTES_MAX;

/// **Bytes** that may be read before a message is whole: the largest frame, its TLS records, and fragment headers
/// enough for some 10,000 fragments.
const UNREAD_BYTES_MAX: usize = FRAME_BYTES_MAX + 128 * 1024;
/// How long the other side gets to read a farewell while what it still sends is thrown away.
const LINGER: Duration = Duration::from_secs(1);
/// **Bytes** that are thrown away at most meanwhile.
const LINGER_BYTES: u64 = 4 * 1024 * 1024;
/// Name of the keying material that ties a session to its TLS connection (RFC 5705).
pub(crate) const EXPORTER_LABEL: &[u8] = b"EXPORTER-tombolo-session";

/// A socket with a guest's limits.
#[derive(Debug)]
pub(crate) struct Guarded {
    /// `None` only while being dropped.
    socket: Option<TcpStream>,
    guest: Arc<Guest>,
    admission: Arc<Admission>,
    meters: Arc<Meters>,
    opening: Pin<Box<Sleep>>,
}

impl Guarded {
    /// Why nothing more may be read, if so.
    fn stopped(&mut self, cx: &mut Context<'_>) -> Option<io::Error> {
        self.guest.waker.register(cx.waker());
        if self.guest.is_cut() {
            return Some(io::Error::new(io::ErrorKind::ConnectionAborted, "the connection made room or was cut"));
        }
        if self.guest.upgraded.load(Ordering::Acquire) {
            if self.guest.unread_bytes.load(Ordering::Relaxed) > UNREAD_BYTES_MAX {
                return Some(io::Error::new(io::ErrorKind::InvalidData, "a message in too many fragments"));
            }
        } else if self.opening.as_mut().poll(cx).is_ready() {
            return Some(io::Error::new(io::ErrorKind::TimedOut, "not opened in time"));
        }
        None
    }

    fn socket(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        self.socket.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl AsyncRead for Guarded {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(error) = this.stopped(cx) {
            return Poll::Ready(Err(error));
        }
        let before = buf.filled().len();
        let result = this.socket()?.poll_read(cx, buf);
        let read = buf.filled().len() - before;
        this.guest.unread_bytes.fetch_add(read, Ordering::Relaxed);
        this.meters.bytes_in.increment(read as u64);
        result
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = this.socket()?.poll_write(cx, bytes);
        if let Poll::Ready(Ok(written)) = &result {
            this.meters.bytes_out.increment(*written as u64);
        }
        result
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().socket()?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().socket()?.poll_shutdown(cx)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let Some(mut socket) = self.socket.take() else { return };
        let (guest, admission) = (Arc::clone(&self.guest), Arc::clone(&self.admission));
        let polite = guest.farewell.load(Ordering::Acquire) && !guest.is_cut();
        match tokio::runtime::Handle::try_current() {
            // Closing a socket with unread bytes resets it, and the farewell would be lost on the way.
            Ok(runtime) if polite => {
                runtime.spawn(async move {
                    let _ = timeout(LINGER, async {
                        let _ = socket.shutdown().await;
                        let mut rest = socket.take(LINGER_BYTES);
                        let mut waste = vec![0; 16 * 1024];
                        while matches!(rest.read(&mut waste).await, Ok(read) if read > 0) {}
                    })
                    .await;
                    admission.leave(&guest);
                });
            }
            _ => admission.leave(&guest),
        }
    }
}

/// Takes sockets in.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    pub(crate) admission: Arc<Admission>,
    pub(crate) meters: Arc<Meters>,
    pub(crate) opening: Duration,
}

impl<S> Accept<TcpStream, S> for Door {
    type Stream = Guarded;
    type Service = S;
    type Future = Ready<io::Result<(Guarded, S)>>;

    fn accept(&self, socket: TcpStream, service: S) -> Self::Future {
        ready(self.take_in(socket).map(|guarded| (guarded, service)))
    }
}

impl Door {
    fn take_in(&self, socket: TcpStream) -> io::Result<Guarded> {
        // A frame is one write: waiting for more only costs latency.
        socket.set_nodelay(true)?;
        let peer = socket.peer_addr()?;
        let guest = self.admission.enter(peer).ok_or_else(|| io::Error::other("too many connections"))?;
        Ok(Guarded {
            socket: Some(socket),
            guest,
            admission: Arc::clone(&self.admission),
            meters: Arc::clone(&self.meters),
            opening: Box::pin(tokio::time::sleep(self.opening)),
        })
    }
}

/// [`Door`] under TLS; remembers what ties a session to the TLS connection.
#[derive(Clone, Debug)]
pub(crate) struct TlsDoor(pub(crate) RustlsAcceptor<Door>);

impl<S: Send + 'static> Accept<TcpStream, S> for TlsDoor {
    type Stream = TlsStream<Guarded>;
    type Service = S;
    type Future = Pin<Box<dyn Future<Output = io::Result<(Self::Stream, S)>> + Send>>;

    fn accept(&self, socket: TcpStream, service: S) -> Self::Future {
        let accepted = self.0.accept(socket, service);
        Box::pin(async move {
            let (stream, service) = accepted.await?;
            let (guarded, tls) = stream.get_ref();
            let exported = tls.export_keying_material(vec![0; 32], EXPORTER_LABEL, None);
            // A connection is accepted once.
            let _ = guarded.guest.binding.set(exported.map_err(io::Error::other)?);
            Ok((stream, service))
        })
    }
}
