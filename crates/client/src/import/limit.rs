//! Limits of what is read from exports of other programs, each with its reason.

/// **Bytes** of a text: the largest exports that people have are tens of megabytes.
pub(crate) const TEXT_BYTES_MAX: u64 = 256 << 20;
/// Messages of one export.
pub(crate) const MESSAGES_MAX: usize = 2_000_000;
/// **Bytes** at the beginning of a line in which its date, time and name must end; so a line of any length costs the
/// same.
pub(crate) const HEAD_BYTES_MAX: usize = 1024;
/// Messages into which one long message of an export is divided at most; what is longer is left out and counted. Other
/// programs take 65,536 characters, so this is four bytes for each.
pub(crate) const PARTS_MAX: usize = 8;
/// Entries of an archive: a chat with more files than this has not been seen.
pub(crate) const ARCHIVE_ENTRIES_MAX: usize = 65_536;
/// **Bytes** of an archive's directory, which is held in memory.
pub(crate) const ARCHIVE_DIRECTORY_BYTES_MAX: u64 = 32 << 20;
/// How many times its own size all that is read from an archive may come to: texts shrink to a tenth, pictures hardly
/// at all, bombs by a thousand and more.
pub(crate) const ARCHIVE_RATIO_MAX: u64 = 64;
/// **Bytes** that may always be read from an archive, however small it is: a tiny one may well shrink more than others.
pub(crate) const ARCHIVE_BYTES_FREE: u64 = 4 << 20;
/// Texts of an archive that are looked at to find the chat among them.
pub(crate) const ARCHIVE_TEXTS_MAX: usize = 16;
