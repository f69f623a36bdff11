//! What conversations take on this device, as it is shown.

use tombolo_model::ConversationId;

/// What one conversation takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageRow {
    /// The conversation.
    pub conversation: ConversationId,
    /// Its title as it is shown.
    pub title: String,
    /// Messages that are shown.
    pub messages: u64,
    /// The oldest and the newest of them, **milliseconds** since 1970; 0 without any.
    pub oldest_ms: u64,
    /// See above.
    pub newest_ms: u64,
    /// Ops, with or without bodies.
    pub ops: u64,
    /// **Bytes** of sealed bodies.
    pub body_bytes: u64,
    /// **Bytes** of texts that are shown.
    pub text_bytes: u64,
    /// Messages that this device has let go of.
    pub pruned: u64,
    /// All of them are older than this: **milliseconds** since 1970; 0 = none.
    pub pruned_before_ms: u64,
}

/// What packing the file gave back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packed {
    /// **Bytes** of the file before.
    pub before_bytes: u64,
    /// **Bytes** of the file afterwards.
    pub after_bytes: u64,
}
