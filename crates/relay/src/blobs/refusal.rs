//! Why a request about a blob was not done: a stable code, the HTTP status, and words for the person on the other side.
//!
//! Whoever may not know that a blob is here hears what is said of one that is not.

use axum::http::StatusCode;
use tombolo_oplog::LogError;

/// See the head of this file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the request is not as the protocol says: {0}")]
    Malformed(&'static str),
    #[error("the signature is not that of this device for this relay and this request")]
    Signature,
    #[error("the request was made too long ago, or the clocks differ; the relay's time is in the answer")]
    Clock,
    #[error("this device takes part in no conversation that is kept here")]
    Stranger,
    #[error("there is no such blob here")]
    NotHere,
    #[error("{have} bytes of it are kept; go on from there")]
    Offset { have: u64 },
    #[error("another request is sending this blob just now")]
    Busy,
    #[error("too many blobs are on their way; try again in a moment")]
    TooMany,
    #[error("this account has as many unfinished uploads as it may have")]
    TooManyUploads,
    #[error("a blob may have {max} bytes here, this one has {bytes}")]
    TooLarge { bytes: u64, max: u64 },
    #[error("a piece may have {max} bytes")]
    PieceTooLarge { max: u64 },
    #[error("the relay has no room left for this account")]
    Quota,
    #[error("the piece was changed on the way; send it again")]
    PieceChanged,
    #[error("the bytes do not have the hash that they were announced with; they were dropped")]
    HashDiffers,
    #[error("an upload of this blob was begun with another length; it was dropped")]
    LengthDiffers,
    #[error("the piece did not come whole")]
    Cut,
    #[error("the relay's disk failed: {0}")]
    Disk(String),
    #[error("the relay is stopping")]
    Stopping,
}

impl Refusal {
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Signature => "signature",
            Self::Clock => "clock",
            Self::Stranger => "stranger",
            Self::NotHere => "not-here",
            Self::Offset { .. } => "offset",
            Self::Busy => "busy",
            Self::TooMany => "too-many",
            Self::TooManyUploads => "too-many-uploads",
            Self::TooLarge { .. } => "too-large",
            Self::PieceTooLarge { .. } => "piece-too-large",
            Self::Quota => "quota",
            Self::PieceChanged => "piece-changed",
            Self::HashDiffers => "hash-differs",
            Self::LengthDiffers => "length-differs",
            Self::Cut => "cut",
            Self::Disk(_) => "disk",
            Self::Stopping => "stopping",
        }
    }

    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Signature | Self::Clock => StatusCode::UNAUTHORIZED,
            Self::Stranger => StatusCode::FORBIDDEN,
            Self::NotHere => StatusCode::NOT_FOUND,
            Self::Offset { .. } | Self::Busy => StatusCode::CONFLICT,
            Self::TooMany => StatusCode::SERVICE_UNAVAILABLE,
            Self::TooManyUploads => StatusCode::TOO_MANY_REQUESTS,
            Self::TooLarge { .. } | Self::PieceTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Quota => StatusCode::INSUFFICIENT_STORAGE,
            Self::PieceChanged | Self::HashDiffers | Self::LengthDiffers => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Cut => StatusCode::BAD_REQUEST,
            Self::Disk(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl From<LogError> for Refusal {
    fn from(error: LogError) -> Self {
        Self::Disk(error.code().to_owned())
    }
}

impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Self {
        Self::Disk(error.kind().to_string())
    }
}
