//! Counts bytes where they meet the system's socket: under TLS and Noise, handshakes included.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Running counts of one connection.
#[derive(Debug, Default)]
pub struct Counters {
    incoming: AtomicU64,
    outgoing: AtomicU64,
}

/// A reading of [`Counters`], in **bytes**.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bytes {
    /// Received.
    pub incoming: u64,
    /// Sent.
    pub outgoing: u64,
}

impl Counters {
    /// What was counted until now.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        Bytes { incoming: self.incoming.load(Ordering::Relaxed), outgoing: self.outgoing.load(Ordering::Relaxed) }
    }

    pub(super) fn add_incoming(&self, bytes: usize) {
        self.incoming.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn add_outgoing(&self, bytes: usize) {
        self.outgoing.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// A stream whose bytes are counted.
#[derive(Debug)]
pub(super) struct Counted<S> {
    inner: S,
    counters: Arc<Counters>,
}

impl<S> Counted<S> {
    pub(super) fn new(inner: S) -> (Self, Arc<Counters>) {
        let counters = Arc::new(Counters::default());
        (Self { inner, counters: Arc::clone(&counters) }, counters)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        self.counters.add_incoming(buf.filled().len().saturating_sub(before));
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, buf);
        if let Poll::Ready(Ok(bytes)) = polled {
            self.counters.add_outgoing(bytes);
        }
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        if let Poll::Ready(Ok(bytes)) = polled {
            self.counters.add_outgoing(bytes);
        }
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
