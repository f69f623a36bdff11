//! Limits of the format, each with its reason. Limits of the wire stand in `proto::limit`.

/// Parents of one op. Bounds the header; with more heads, merge ops come first.
pub const PARENTS_MAX: usize = 32;
/// Ops whose bodies one op may erase. Bounds the header.
pub const ERASES_MAX: usize = 32;
/// **Bytes** of a sealed body: a long text with room; files travel beside the log.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// **Bytes** of the extension: room for one future hash or key.
pub const EXTENSION_BYTES_MAX: usize = 256;
/// **Bytes** of a message text: fits a body with its padding.
pub const TEXT_BYTES_MAX: usize = 32 * 1024;
/// **Bytes** of a title or a name: one line on a screen.
pub const NAME_BYTES_MAX: usize = 256;
/// Versions that one edit may replace, or tags that one removal may name. Like parents: with more, a further op comes.
pub const BASES_MAX: usize = 32;
/// Replaced stretches of one edit: a rewritten text is one stretch, a typed burst some dozens.
pub const SPLICES_MAX: usize = 4096;
/// **Bytes** that a text of several hands may grow to: a message's limit, and as much again for notes.
pub const SHARED_TEXT_BYTES_MAX: usize = 64 * 1024;
/// **Bytes** of one reaction: the longest emoji sequences in use have 35.
pub const EMOJI_BYTES_MAX: usize = 64;
/// Accounts that one message may mention by name.
pub const MENTIONS_MAX: usize = 64;
/// Messages that one message may quote.
pub const QUOTES_MAX: usize = 8;
/// Files of one message: the header's extension holds as many references.
pub const FILES_MAX: usize = 7;
/// **Bytes** of a file: what a relay takes at most by default is its own, lower limit.
pub const FILE_BYTES_MAX: u64 = 4 << 30;
/// **Bytes** of a thumbnail: a few of them fit a body.
pub const THUMBNAIL_BYTES_MAX: usize = 8 * 1024;
/// Pixels of one side of an image that a message may claim.
pub const IMAGE_SIDE_MAX: u32 = 65_535;
/// **Milliseconds** after which messages may be made to disappear at most: ten years.
pub const TIMER_MS_MAX: u64 = 10 * 366 * 86_400_000;
/// Every 32nd op of a log travels with its signature, so that a single op is never further than that from one.
pub const SIGNED_EVERY: u64 = 32;
/// Relays that a conversation may name. More would multiply every write.
pub const RELAYS_MAX: usize = 16;
/// **Bytes** of a relay's address.
pub const ADDRESS_BYTES_MAX: usize = 256;
/// Devices of one account that take part in a conversation.
pub const DEVICES_PER_ACCOUNT_MAX: usize = 64;
/// Uses of one invitation.
pub const INVITE_USES_MAX: u32 = 10_000;
/// Ops of one author that may wait for missing parents on one replica. Above it they are refused, as a named gap.
pub const PENDING_PER_AUTHOR_MAX: usize = 10_000;
/// Ops of unknown authors that may wait for what authorises them, per conversation.
pub const STRANGERS_MAX: usize = 256;
/// Branches (ops that share author, log and seq with another) that one log may have on one replica.
pub const BRANCHES_PER_LOG_MAX: usize = 64;
/// **Bytes** of a register's payload: some 2,000 logs. What does not fit is told as neither held nor read.
pub const REGISTER_BYTES_MAX: usize = 32 * 1024;
/// Logs that one set of places names.
pub const SEEN_LOGS_MAX: usize = 8_192;
/// Intervals of one register over all its sets.
pub const SEEN_INTERVALS_MAX: usize = 16_384;
/// Accounts of a conversation up to which its devices are told what each of the others holds and has read. Above, a
/// device's register goes to the devices of the same account only: everybody to everybody would outweigh the messages.
pub const READERS_MAX: u64 = 50;
