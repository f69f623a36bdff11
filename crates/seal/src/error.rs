//! Why something cannot be sealed or opened. Nothing of the content is ever in a message.

/// Why sealing or opening failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The tag does not fit: another key, another place, or changed bytes.
    #[error(
        "this cannot be opened with the key at hand: its author used another key, or it was changed on the way; nothing was read"
    )]
    NotOpened,
    /// The plain bytes are over the limit of a body.
    #[error("a body of {bytes} bytes is too large, at most {max} fit: send less at once")]
    TooLarge {
        /// Bytes given.
        bytes: usize,
        /// Bytes that fit.
        max: usize,
    },
    /// Wrapped by a version that this one does not know.
    #[error("a stored secret is of a newer version (format {0}): use the newer version of the program")]
    Newer(u8),
}
