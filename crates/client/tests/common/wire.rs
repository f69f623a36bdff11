//! A TCP connection with somebody in the middle, who counts, flips a bit, cuts, or hands on byte by byte.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// What happens to the bytes of one direction; offsets count from the first byte of the connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spoil {
    /// Flips the lowest bit of the byte at this offset.
    pub(crate) flip: Option<u64>,
    /// Ends the connection before this offset.
    pub(crate) cut: Option<u64>,
    /// One byte at a time.
    pub(crate) crumbs: bool,
}

/// Bytes that passed.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    up: AtomicU64,
    down: AtomicU64,
}

impl Passed {
    /// From the one who connected to the one who listens, and back.
    pub(crate) fn up_and_down(&self) -> (u64, u64) {
        (self.up.load(Ordering::SeqCst), self.down.load(Ordering::SeqCst))
    }
}

/// Forwards every connection to the returned address to `to`.
pub(crate) async fn wire(to: SocketAddr, up: Spoil, down: Spoil) -> (SocketAddr, Arc<Passed>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let passed = Arc::new(Passed::default());
    let counts = Arc::clone(&passed);
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(to).await.unwrap();
            near.set_nodelay(true).unwrap();
            far.set_nodelay(true).unwrap();
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            let (a, b) = (Arc::clone(&counts), Arc::clone(&counts));
            tokio::spawn(async move { forward(near_in, far_out, up, &a.up).await });
            tokio::spawn(async move { forward(far_in, near_out, down, &b.down).await });
        }
    });
    (at, passed)
}

async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, spoil: Spoil, passed: &AtomicU64) {
    let mut buffer = vec![0; if spoil.crumbs { 1 } else { 16 * 1024 }];
    loop {
        let read = match from.read(&mut buffer).await {
            Ok(read) if read > 0 => read,
            _ => return,
        };
        let at = passed.load(Ordering::SeqCst);
        let mut bytes = &mut buffer[..read];
        if let Some(cut) = spoil.cut.filter(|cut| at + bytes.len() as u64 > *cut) {
            bytes = &mut bytes[..(cut - at) as usize];
        }
        if let Some(flip) = spoil.flip.filter(|flip| (at..at + bytes.len() as u64).contains(flip)) {
            bytes[(flip - at) as usize] ^= 1;
        }
        if to.write_all(bytes).await.is_err() {
            return;
        }
        let len = bytes.len();
        passed.fetch_add(len as u64, Ordering::SeqCst);
        if len < read {
            return;
        }
    }
}
