//! Base64 with the URL alphabet and without padding (RFC 4648, section 5), one text per value: bits that stand for
//! nothing must be zero.

use core::fmt::Write;

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Writes `bytes` as text.
///
/// # Errors
/// Those of `out`.
pub fn encode(bytes: &[u8], out: &mut impl Write) -> core::fmt::Result {
    for chunk in bytes.chunks(3) {
        let number = chunk.iter().fold(0u32, |number, byte| number << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..=chunk.len() {
            let value = (number >> (18 - 6 * digit)) & 63;
            out.write_char(char::from(DIGITS[value as usize]))?;
        }
    }
    Ok(())
}

/// Reads what [`encode`] wrote, appending to `out`; `None` when the text is not of that form.
#[must_use]
pub fn decode(text: &[u8], out: &mut impl Extend<u8>) -> Option<()> {
    for chunk in text.chunks(4) {
        let mut number: u32 = 0;
        for digit in chunk {
            number = number << 6 | value(*digit)?;
        }
        let bytes = match chunk.len() {
            4 => 3,
            3 if number & 3 == 0 => 2,
            2 if number & 15 == 0 => 1,
            _ => return None,
        };
        number <<= 6 * (4 - chunk.len());
        out.extend(number.to_be_bytes()[1..=bytes].iter().copied());
    }
    Some(())
}

fn value(digit: u8) -> Option<u32> {
    let value = match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'-' => 62,
        b'_' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bytes_survive_and_every_value_has_one_text(bytes: Vec<u8>, noise in "[A-Za-z0-9_-]{0,12}") {
            let (mut text, mut back) = (String::new(), vec![]);
            encode(&bytes, &mut text).unwrap();
            decode(text.as_bytes(), &mut back).unwrap();
            prop_assert_eq!(back, bytes);
            let (mut back, mut again) = (vec![], String::new());
            if decode(noise.as_bytes(), &mut back).is_some() {
                encode(&back, &mut again).unwrap();
                prop_assert_eq!(again, noise);
            }
        }
    }

    #[test]
    fn the_text_is_the_standard_one() {
        for (bytes, text) in [(&b"f"[..], "Zg"), (b"fo", "Zm8"), (b"foob", "Zm9vYg"), (b"\xfb\xff", "-_8")] {
            let mut out = String::new();
            encode(bytes, &mut out).unwrap();
            assert_eq!(out, text);
        }
        for wrong in ["Z", "Zh", "Zm9", "Zm9vY", "Zm+v", "Zg=="] {
            assert_eq!(decode(wrong.as_bytes(), &mut vec![]), None, "{wrong}");
        }
    }
}
