//! Reading and writing bytes that strangers may have written.
//!
//! Big-endian fixed numbers, LEB128 varints (shortest form only, so that one value has one encoding), length-prefixed
//! byte strings with a bound that the caller states. Nothing here allocates more than the input's own length.

use alloc::vec::Vec;

/// Why bytes are not what they claim to be. The fault is the sender's; what was read is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The input ends inside a field.
    #[error("the bytes end too early")]
    Truncated,
    /// Bytes are left after the last field.
    #[error("bytes are left over at the end")]
    Trailing,
    /// A number, a length or a count is over its bound.
    #[error("{0} is over its limit")]
    TooLarge(&'static str),
    /// A value that the format does not know.
    #[error("{0} has a value that this version does not know")]
    Unknown(&'static str),
    /// A value that has another, shorter or sorted, encoding.
    #[error("{0} is not in its one canonical form")]
    NotCanonical(&'static str),
}

/// Reads fields from the front of a byte slice.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the beginning of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Bytes that are left.
    #[must_use]
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    /// Takes `len` bytes.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] when fewer are left.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        if self.rest.len() < len {
            return Err(Malformed::Truncated);
        }
        let (head, rest) = self.rest.split_at(len);
        self.rest = rest;
        Ok(head)
    }

    /// Takes a fixed number of bytes.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] when fewer are left.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    /// Reads one byte.
    ///
    /// # Errors
    /// [`Malformed::Truncated`].
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    /// Reads two bytes, big-endian.
    ///
    /// # Errors
    /// [`Malformed::Truncated`].
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    /// Reads four bytes, big-endian.
    ///
    /// # Errors
    /// [`Malformed::Truncated`].
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    /// Reads eight bytes, big-endian.
    ///
    /// # Errors
    /// [`Malformed::Truncated`].
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    /// Reads a LEB128 number of at most ten bytes, shortest form only.
    ///
    /// # Errors
    /// [`Malformed::Truncated`], [`Malformed::NotCanonical`], [`Malformed::TooLarge`].
    pub fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value: u64 = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Malformed::TooLarge("number"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(Malformed::NotCanonical("number"));
                }
                return Ok(value);
            }
        }
        Err(Malformed::TooLarge("number"))
    }

    /// Reads a signed number, zigzag over LEB128.
    ///
    /// # Errors
    /// As [`Reader::varint`].
    pub fn zigzag(&mut self) -> Result<i64, Malformed> {
        let raw = self.varint()?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    /// Reads a count or length that is at most `max`; `what` names it in the error.
    ///
    /// # Errors
    /// [`Malformed::TooLarge`] above `max`, and as [`Reader::varint`].
    pub fn count(&mut self, max: usize, what: &'static str) -> Result<usize, Malformed> {
        match usize::try_from(self.varint()?) {
            Ok(count) if count <= max => Ok(count),
            _ => Err(Malformed::TooLarge(what)),
        }
    }

    /// Reads a length-prefixed byte string of at most `max` bytes.
    ///
    /// # Errors
    /// As [`Reader::count`] and [`Reader::take`].
    pub fn bytes(&mut self, max: usize, what: &'static str) -> Result<&'a [u8], Malformed> {
        let len = self.count(max, what)?;
        self.take(len)
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    /// [`Malformed::Trailing`].
    pub fn finish(self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed::Trailing) }
    }
}

/// Appends a LEB128 number.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a signed number, zigzag over LEB128.
pub fn put_zigzag(out: &mut Vec<u8>, value: i64) {
    put_varint(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// Appends a length-prefixed byte string.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_survive(value: u64, signed: i64) {
            let mut out = vec![];
            put_varint(&mut out, value);
            put_zigzag(&mut out, signed);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.varint().unwrap(), value);
            prop_assert_eq!(reader.zigzag().unwrap(), signed);
            prop_assert!(reader.finish().is_ok());
        }

        #[test]
        fn what_decodes_encodes_to_the_same_bytes(bytes: [u8; 10]) {
            let mut reader = Reader::new(&bytes);
            if let Ok(value) = reader.varint() {
                let mut out = vec![];
                put_varint(&mut out, value);
                prop_assert_eq!(&out[..], &bytes[..10 - reader.left()]);
            }
        }
    }

    #[test]
    fn hostile_numbers_are_refused() {
        assert_eq!(Reader::new(&[0x80, 0x00]).varint(), Err(Malformed::NotCanonical("number")));
        assert_eq!(Reader::new(&[0xff; 11]).varint(), Err(Malformed::TooLarge("number")));
        assert_eq!(Reader::new(&[0x80]).varint(), Err(Malformed::Truncated));
        assert_eq!(Reader::new(&[0xff, 0x01, 0]).bytes(10, "text"), Err(Malformed::TooLarge("text")));
    }
}
