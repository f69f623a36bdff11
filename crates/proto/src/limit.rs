//! Limits of the wire, each with its reason. Limits of the format stand in `model::limit`.

/// **Bytes** of one frame. Bounds what a stranger can make us hold before the first check.
pub const FRAME_BYTES_MAX: usize = 1024 * 1024;
/// **Bytes** of bodies and signatures that a batch aims at: large enough that dictionaries of logs cost little, small
/// enough that a broken link loses little.
pub const BATCH_BYTES: usize = 256 * 1024;
/// Ops in one batch.
pub const BATCH_OPS_MAX: usize = 4096;
/// **Bytes** of the columns of one batch after decompression. A bomb stops here.
pub const COLUMN_BYTES_MAX: usize = 2 * 1024 * 1024;
/// **Bytes** of unacknowledged batches that a sender may have on the way: the credit that a receiver grants.
pub const WINDOW_BYTES: u64 = 2 * 1024 * 1024;
/// Batches that may be on the way, however small.
pub const WINDOW_BATCHES: usize = 64;
/// Conversations in one roots frame.
pub const ROOTS_MAX: usize = 16_384;
/// Logs whose heights one conversation names; with more, heights are left out and the sketch decides.
pub const HEIGHTS_MAX: usize = 2048;
/// Runs or prefixes that one frame asks for.
pub const WANTS_MAX: usize = 65_536;
/// Cells of a sketch on the wire (13 bytes each).
pub const CELLS_MAX: usize = 65_536;
/// Digest rounds of one session before a difference is named instead of searched for.
pub const ROUNDS_MAX: u64 = 8;
/// Range messages for one conversation in one round: log16 of anything that fits a disk, with room for cuts by budget.
pub const RANGE_MESSAGES_MAX: u32 = 512;
/// **Bytes** of ranges in one message; payload has its own budget.
pub const RANGE_BYTES: usize = 64 * 1024;
/// **Bytes** of a presence payload.
pub const PRESENCE_BYTES_MAX: usize = 1024;
/// **Bytes** of the words in a farewell.
pub const WORDS_BYTES_MAX: usize = 512;
/// **Milliseconds** within which a connection must have authenticated.
pub const OPENING_MS: u64 = 10_000;
/// **Milliseconds** of silence after which a ping is sent.
pub const PING_MS: u64 = 20_000;
/// **Milliseconds** of silence after which a connection counts as broken.
pub const SILENCE_MS: u64 = 60_000;
/// **Milliseconds** for which a quiet live session waits before it compares proofs again.
pub const SETTLE_MS: u64 = 1_000;
/// **Bytes** of registers that one frame aims at; the next one waits until it is stored.
pub const REGISTERS_BYTES: usize = 128 * 1024;
/// Registers in one frame.
pub const REGISTERS_MAX: usize = 4_096;
/// **Bytes** of registers that wait for the disk: an honest peer has one frame on the way.
pub const REGISTERS_STORING_MAX: usize = 2 * 1024 * 1024;
/// **Milliseconds** between two frames of registers that changed live: what changes in between goes together.
pub const REGISTERS_MS: u64 = 1_000;
/// How often one connection compares registers.
pub const READINGS_MAX: u32 = 64;
/// Bodies that lack and are asked for at once: a few batches' worth of messages.
pub const BODIES_AT_ONCE: usize = 256;
/// Bodies that one connection asks for at most, each remembered with 24 bytes.
pub const BODIES_ASKED_MAX: usize = 65_536;
/// **Milliseconds** for which bodies that were asked for are waited for after the last one came.
pub const BODIES_MS: u64 = 5_000;
