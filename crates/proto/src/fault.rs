//! What can go wrong in a session, and whose fault it is. The reaction follows from the variant alone.

use alloc::string::String;
use tombolo_model::Malformed;

/// Whose fault a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The other side broke the protocol or lied.
    Peer,
    /// Both are honest, but have no version in common.
    Versions,
    /// The link: lost, silent, too slow.
    Link,
    /// This side: its disk, its limits.
    Local,
}

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A frame that is no frame of the protocol.
    #[error("the peer sent a malformed frame ({0}); nothing of it was kept")]
    Malformed(#[from] Malformed),
    /// A frame over the limit.
    #[error("the peer sent a frame of {bytes} bytes, over the limit of {max}; nothing of it was kept")]
    FrameTooLarge {
        /// Its length.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// A frame that does not belong here.
    #[error("the peer sent {frame} out of turn")]
    OutOfTurn {
        /// The frame.
        frame: &'static str,
    },
    /// More unacknowledged data than granted.
    #[error("the peer sent more than the granted credit")]
    CreditExceeded,
    /// No version in common.
    #[error("the peer speaks protocol {theirs}, this side {ours}; update the older one")]
    NoCommonVersion {
        /// Newest version here.
        ours: u8,
        /// Newest version there.
        theirs: u8,
    },
    /// The proof of the opening does not hold.
    #[error("the peer could not prove that it holds its key; do not trust this address")]
    Unauthenticated,
    /// The peer is another one than expected.
    #[error(
        "another replica answered than the one expected ({expected} expected, {found} found); if the relay was replaced on purpose, accept its new key first"
    )]
    WrongReplica {
        /// Short form of the expected key.
        expected: String,
        /// Short form of the key found.
        found: String,
    },
    /// Connected to oneself.
    #[error("this is a connection to oneself")]
    Oneself,
    /// An acknowledgement whose signature does not hold, or for nothing that was sent.
    #[error("the peer sent an acknowledgement that is not genuine")]
    FalseAcknowledgement,
    /// Ops whose author, chain or signature does not hold.
    #[error("the peer sent an op that is not genuine: {0}")]
    Forged(String),
    /// Claims that contradict each other.
    #[error("the peer says that nothing differs while its proof differs; it is damaged or lies")]
    Inconsistent,
    /// No authentication in time.
    #[error("the peer did not authenticate in time")]
    OpeningTimeout,
    /// Nothing heard for too long.
    #[error("nothing was heard from the peer for {0} seconds; the link counts as broken")]
    Silent(u64),
    /// The peer said goodbye with a reason.
    #[error("the peer ended the session: {words}")]
    Farewell {
        /// Its code.
        code: String,
        /// Its words.
        words: String,
    },
    /// The local store failed.
    #[error("the local store failed: {0}")]
    Local(String),
}

impl Fault {
    /// A stable code for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "frame_malformed",
            Self::FrameTooLarge { .. } => "frame_too_large",
            Self::OutOfTurn { .. } => "frame_out_of_turn",
            Self::CreditExceeded => "credit_exceeded",
            Self::NoCommonVersion { .. } => "no_common_version",
            Self::Unauthenticated => "unauthenticated",
            Self::WrongReplica { .. } => "wrong_replica",
            Self::Oneself => "oneself",
            Self::FalseAcknowledgement => "false_acknowledgement",
            Self::Forged(_) => "op_forged",
            Self::Inconsistent => "peer_inconsistent",
            Self::OpeningTimeout => "opening_timeout",
            Self::Silent(_) => "link_silent",
            Self::Farewell { .. } => "farewell",
            Self::Local(_) => "local_store",
        }
    }

    /// Whose fault it is.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            Self::Malformed(_) => Blame::Peer,
            Self::FrameTooLarge { .. } => Blame::Peer,
            Self::OutOfTurn { .. } => Blame::Peer,
            Self::CreditExceeded => Blame::Peer,
            Self::NoCommonVersion { .. } => Blame::Versions,
            Self::Unauthenticated => Blame::Peer,
            Self::WrongReplica { .. } => Blame::Peer,
            Self::Oneself => Blame::Local,
            Self::FalseAcknowledgement => Blame::Peer,
            Self::Forged(_) => Blame::Peer,
            Self::Inconsistent => Blame::Peer,
            Self::OpeningTimeout => Blame::Link,
            Self::Silent(_) => Blame::Link,
            Self::Farewell { .. } => Blame::Peer,
            Self::Local(_) => Blame::Local,
        }
    }
}
