//! Why a connection could not be made or did not last. Each message says whose fault it is and what to do.

use super::FRAME_BYTES_MAX;
use std::io;
use std::path::PathBuf;

/// Why a transport failed.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The address cannot be one.
    #[error("{url:?} is not the address of a relay: write ws://HOST:PORT or wss://HOST[:PORT]")]
    Address {
        /// What was given.
        url: String,
    },
    /// The name is unknown, or nothing answers there.
    #[error("{to} cannot be reached ({source}): check the address and the network")]
    Unreachable {
        /// Host and port.
        to: String,
        /// What the system said.
        source: io::Error,
    },
    /// Connecting or introducing took too long.
    #[error(
        "{to} did not finish connecting within {timeout_ms} ms: it is overloaded, behind a firewall, or not what it should be"
    )]
    TimedOut {
        /// Who.
        to: String,
        /// For how long was waited, **milliseconds**.
        timeout_ms: u64,
    },
    /// The file of further certificates cannot be used.
    #[error("the file of certificates {path} cannot be used ({why}): it must hold certificates in PEM form")]
    Certificates {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// TLS was refused by either side.
    #[error(
        "no safe connection to {host} ({source}): if the relay has a certificate of its own, name the file of its issuer"
    )]
    Tls {
        /// Host.
        host: String,
        /// What TLS said.
        source: io::Error,
    },
    /// Something else than a relay answered.
    #[error("{to} answers, but not as a relay ({why}): check the address")]
    NotARelay {
        /// Host and port.
        to: String,
        /// What it said.
        why: String,
    },
    /// The relay answered that it does not want us now.
    #[error("{to} is too busy or refuses connections (HTTP status {status}): it will be tried again")]
    Busy {
        /// Host and port.
        to: String,
        /// 429 or 503.
        status: u16,
    },
    /// The other side did not introduce itself as a device does.
    #[error("the other side did not introduce itself as a device of this program ({why}): check address and version")]
    NotADevice {
        /// What was wrong.
        why: &'static str,
    },
    /// Bytes were changed on the way.
    #[error(
        "bytes were changed on the way or sent by someone who listens in: the connection was dropped; nothing was taken"
    )]
    Tampered,
    /// The other side sends something that a correct program does not.
    #[error("the other side broke the rules of the transport ({why}): the connection was dropped")]
    Misbehaved {
        /// What.
        why: &'static str,
    },
    /// The other side sends a frame over the limit.
    #[error("the other side sent a frame of more than {FRAME_BYTES_MAX} bytes: the connection was dropped")]
    TheirFrameTooLarge,
    /// This side was asked to send one.
    #[error(
        "a frame of {bytes} bytes was to be sent, at most {FRAME_BYTES_MAX} are allowed: a fault of this program, please report it"
    )]
    FrameTooLarge {
        /// Its length.
        bytes: usize,
    },
    /// The connection ended in the middle or is gone.
    #[error("the connection broke ({source}): it will be tried again")]
    Broken {
        /// What the system said.
        source: io::Error,
    },
    /// The system gives no random numbers, or a library failed.
    #[error("encryption cannot start on this system ({why}): please report it")]
    Crypto {
        /// What failed.
        why: String,
    },
}

impl TransportError {
    pub(super) fn cut() -> Self {
        Self::Broken { source: io::Error::new(io::ErrorKind::UnexpectedEof, "it ended in the middle") }
    }

    /// A stable name for `--json`, logs and tests.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Address { .. } => "relay_address",
            Self::Unreachable { .. } => "unreachable",
            Self::TimedOut { .. } => "connect_timed_out",
            Self::Certificates { .. } => "certificates",
            Self::Tls { .. } => "tls",
            Self::NotARelay { .. } => "not_a_relay",
            Self::Busy { .. } => "relay_busy",
            Self::NotADevice { .. } => "not_a_device",
            Self::Tampered => "tampered",
            Self::Misbehaved { .. } => "transport_misbehaved",
            Self::TheirFrameTooLarge => "their_frame_too_large",
            Self::FrameTooLarge { .. } => "frame_too_large",
            Self::Broken { .. } => "connection_broke",
            Self::Crypto { .. } => "crypto",
        }
    }

    /// Whether the same attempt may succeed later without anybody changing anything.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::Busy { .. } | Self::Broken { .. } => true,
            // A proxy in between answers so while the relay behind it restarts.
            Self::NotARelay { .. } | Self::Tls { .. } | Self::NotADevice { .. } => true,
            Self::Tampered | Self::Misbehaved { .. } | Self::TheirFrameTooLarge => true,
            Self::Address { .. } | Self::Certificates { .. } | Self::FrameTooLarge { .. } | Self::Crypto { .. } => {
                false
            }
        }
    }
}
