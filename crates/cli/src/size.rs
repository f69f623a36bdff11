//! Sizes of files as people write and read them: `16M` in, `16 MB` out. Units are powers of 1,024.

use crate::show::grouped;

/// Reads `16M`, `700k`, `2G` or plain bytes.
///
/// # Errors
/// A sentence that says what is expected.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let expected = || "a number of bytes is needed, or one such as 700k, 16M, 2G".to_owned();
    let text = text.trim().trim_end_matches(['b', 'B']).trim_end_matches('i');
    let (number, shift) = match text.char_indices().next_back() {
        Some((at, 'k' | 'K')) => (&text[..at], 10),
        Some((at, 'm' | 'M')) => (&text[..at], 20),
        Some((at, 'g' | 'G')) => (&text[..at], 30),
        _ => (text, 0),
    };
    let number: u64 = number.trim().parse().map_err(|_| expected())?;
    number.checked_mul(1 << shift).filter(|bytes| *bytes <= 1 << 50).ok_or_else(expected)
}

/// As people read it: whole numbers of the greatest unit that leaves two digits or more.
pub(crate) fn words(bytes: u64) -> String {
    match bytes {
        bytes if bytes >= 10 << 30 => format!("{} GB", bytes >> 30),
        bytes if bytes >= 10 << 20 => format!("{} MB", bytes >> 20),
        bytes if bytes >= 10 << 10 => format!("{} kB", bytes >> 10),
        bytes => format!("{} B", grouped(bytes)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes) in [("0", 0), ("700k", 716_800), ("16M", 16 << 20), ("16 MB", 16 << 20), ("2GiB", 2 << 30)] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for wrong in ["", "M", "-1", "16X", "99999999999G", "1.5M"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(words(9_999), "9,999 B");
        assert_eq!(words(16 << 20), "16 MB");
    }
}
