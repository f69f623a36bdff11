//! Why a relay does not start, or stops: what happened, whose fault it is, what to do.
//!
//! Faults of peers are not here: they end one session (`tombolo_proto::Fault`), never the relay.

use std::path::PathBuf;
use tombolo_oplog::LogError;

/// What keeps a relay from running. Every variant ends the process with exit code 1.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RelayError {
    /// The folder cannot be made, read or written.
    #[error("the data folder {path} cannot be used: {source}")]
    DataFolder {
        /// The folder, or the file in it.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Another relay runs on the same folder.
    #[error("another relay is using {path}")]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The key file is not a key.
    #[error("{path} is not a relay key: 64 hex digits are expected")]
    Key {
        /// The file.
        path: PathBuf,
    },
    /// There is a database but no key.
    #[error("{path} is missing, but the folder holds a database: without its key this would be another relay")]
    KeyMissing {
        /// The file.
        path: PathBuf,
    },
    /// The configuration does not make sense.
    #[error("the configuration is wrong: {0}")]
    Config(String),
    /// The configuration file cannot be read.
    #[error("the configuration {path} cannot be read: {reason}")]
    ConfigFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There is already a configuration.
    #[error("{path} exists already and was left as it is")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// No TLS on an address that others can reach.
    #[error(
        "{address} can be reached from outside this machine, and without TLS everybody on the way could see who talks with whom, and when"
    )]
    PlainOnPublic {
        /// The address.
        address: String,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// Certificate or key cannot be used.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    /// The system does not give what every program needs: random numbers, threads, signals.
    #[error("the system failed: {0}")]
    System(String),
    /// The store failed. What was not acknowledged will be sent again by whoever owes it.
    #[error("{0}")]
    Store(#[from] LogError),
    /// The thread that owns the store is gone.
    #[error("the thread that owns the store ended without a word")]
    OwnerLost,
}

impl RelayError {
    /// A stable name for scripts.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::DataFolder { .. } => "data-folder",
            Self::InUse { .. } => "in-use",
            Self::Key { .. } => "key",
            Self::KeyMissing { .. } => "key-missing",
            Self::Config(_) => "config",
            Self::ConfigFile { .. } => "config-file",
            Self::Exists { .. } => "exists",
            Self::PlainOnPublic { .. } => "plain-on-public",
            Self::Listen { .. } => "listen",
            Self::Tls(_) => "tls",
            Self::System(_) => "system",
            Self::Store(error) => error.code(),
            Self::OwnerLost => "owner-lost",
        }
    }

    /// What the operator can do.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::DataFolder { .. } => "choose a folder that this user may write: --data DIR",
            Self::InUse { .. } => "stop the other relay, or give this one a folder of its own: --data DIR",
            Self::Key { .. } => "restore relay.key from a backup; clients know this relay by its key",
            Self::KeyMissing { .. } => "restore relay.key from a backup, or begin anew in an empty folder",
            Self::Config(_) => "`tombolo-relay init` writes a configuration that names every setting",
            Self::ConfigFile { .. } => "`tombolo-relay check-config` checks it without starting anything",
            Self::Exists { .. } => "remove it first if you want a new one",
            Self::PlainOnPublic { .. } => {
                "give certificate files in [tls], or listen on 127.0.0.1 behind a proxy that ends TLS; \
                 --insecure-plain overrides this in a network that you trust"
            }
            Self::Listen { .. } => "choose another address, or port 0 for any free one: --listen HOST:PORT",
            Self::Tls(_) => "both files must be PEM: the certificate chain, leaf first, and its private key",
            Self::System(_) => "this is no fault of the relay; look at the limits of this user and this machine",
            Self::Store(LogError::DiskFull) => {
                "free some space, then start the relay again; nothing acknowledged is lost"
            }
            Self::Store(LogError::ReadOnly) => "allow this user to write the data folder, then start the relay again",
            Self::Store(LogError::Newer { .. }) => "install the newer relay again",
            Self::Store(_) => "check the disk, then start the relay again; nothing acknowledged is lost",
            Self::OwnerLost => "this is a fault of the relay, please report it with its log; then start it again",
        }
    }
}
