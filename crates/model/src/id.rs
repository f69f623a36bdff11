//! Names of things, as fixed bytes that cannot be mixed up.
//!
//! Every id prints as lower-case hex, parses from it, sorts by its bytes, and has a short form for logs.
//! Not here: how the bytes come about (`op` hashes, `identity` makes keys).

use alloc::string::String;
use core::{fmt, str::FromStr};

/// Why a text is not an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not an id: {expected} hex digits are needed; copy it whole from a listing")]
pub struct InvalidId {
    /// How many hex digits the id has.
    pub expected: usize,
}

/// Writes bytes as lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Reads exactly `N` bytes of hex; upper and lower case are accepted.
///
/// # Errors
/// [`InvalidId`] when the text is not `2 N` hex digits.
pub fn unhex<const N: usize>(text: &str) -> Result<[u8; N], InvalidId> {
    let wrong = InvalidId { expected: N * 2 };
    let digits = text.as_bytes();
    if digits.len() != N * 2 {
        return Err(wrong);
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let (Some(high), Some(low)) = (nibble(pair[0]), nibble(pair[1])) else { return Err(wrong) };
        *byte = high << 4 | low;
    }
    Ok(bytes)
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;
            /// All zero: stands for "none" where a field has a fixed place.
            pub const ZERO: Self = Self([0; $len]);

            /// The bytes.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8] {
                &self.0
            }

            /// First eight hex digits, for logs and listings.
            #[must_use]
            pub fn short(&self) -> String {
                hex(&self.0[..4])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.short())
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                unhex(text).map(Self)
            }
        }

        impl<C> minicbor::Encode<C> for $name {
            fn encode<W: minicbor::encode::Write>(
                &self,
                encoder: &mut minicbor::Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                encoder.bytes(&self.0)?.ok()
            }
        }

        impl<'b, C> minicbor::Decode<'b, C> for $name {
            fn decode(decoder: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
                let wrong = |_| minicbor::decode::Error::message("an id of another length");
                decoder.bytes()?.try_into().map(Self).map_err(wrong)
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = InvalidId;
            fn try_from(bytes: &[u8]) -> Result<Self, InvalidId> {
                bytes.try_into().map(Self).map_err(|_| InvalidId { expected: $len * 2 })
            }
        }
    };
}

id! {
    /// An op: BLAKE3 over its canonical header. Everything is keyed by it.
    OpId, 32
}
id! {
    /// A conversation: the first 16 bytes of the id of its genesis op.
    ConversationId, 16
}
id! {
    /// A device, or a relay: its Ed25519 public key. What authenticates a connection and signs ops.
    DeviceId, 32
}
id! {
    /// A person: the Ed25519 public key that certifies devices.
    AccountId, 32
}
id! {
    /// One of the logs of a device in a conversation: eight random bytes, fresh whenever the device cannot show
    /// that its tail is its last.
    LogId, 8
}

id! {
    /// The sealed bytes of a file: BLAKE3 of them. Its address on relays and in a device's folder.
    BlobId, 32
}

impl OpId {
    /// The conversation that this op founds if it is a genesis op.
    #[must_use]
    pub fn founds(&self) -> ConversationId {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.0[..16]);
        ConversationId(bytes)
    }

    /// Bytes 0 to 8 as a number: the second half of the sort key, the index in storage, and the item that sketches and
    /// leaf lists carry. Uniform, since ids are hashes; two ops that share it are told apart by the whole id.
    #[must_use]
    pub fn prefix(&self) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.0[..8]);
        u64::from_be_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn ids_print_and_parse() {
        let id = OpId([0xab; 32]);
        assert_eq!(id.to_string().parse::<OpId>().unwrap(), id);
        assert_eq!(id.short(), "abababab");
        assert!("ab".parse::<OpId>().is_err());
        assert!("zz".repeat(32).parse::<OpId>().is_err());
    }
}
