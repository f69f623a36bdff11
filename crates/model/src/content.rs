//! What a sealed body says once it is opened.
//!
//! A message is one byte of kind and its text; everything rarer is CBOR with numbered fields. Before sealing the plain
//! bytes are padded to a Padme length (Nikitin and others, "Reducing Metadata Leakage from Encrypted Files", 2019), so
//! that a relay learns only the rough size: at most 12 % more, from 83 to 88 bytes for a text of 80.
//! Not here: sealing (`seal`), folding into views (`store`).

use crate::Malformed;
use crate::limit::{BODY_BYTES_MAX, NAME_BYTES_MAX, TEXT_BYTES_MAX};
use alloc::string::String;
use alloc::vec::Vec;
use minicbor::{Decode, Encode};

/// The content of an op of class content.
#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    /// A message.
    Text(String),
    /// The conversation's title, last writer wins.
    Title(String),
    /// The author's name in this conversation, last writer wins per account.
    Name(String),
    /// A message brought in from elsewhere.
    Imported(Imported),
    /// Of a kind that a newer version writes: kept, shown as "written by a newer version".
    Unknown(u8),
}

impl core::fmt::Debug for Content {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        // What people write never appears in logs.
        match self {
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::Title(text) => write!(f, "Title({} bytes)", text.len()),
            Self::Name(text) => write!(f, "Name({} bytes)", text.len()),
            Self::Imported(imported) => write!(f, "Imported({} bytes)", imported.text.len()),
            Self::Unknown(kind) => write!(f, "Unknown({kind})"),
        }
    }
}

/// A message brought in from elsewhere: claimed time and name, and a key by which equal ones fold once.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct Imported {
    /// Claimed time, milliseconds since 1970.
    #[n(0)]
    pub time_ms: u64,
    /// Claimed author.
    #[n(1)]
    pub who: String,
    /// The text.
    #[n(2)]
    pub text: String,
    /// Hash of source, time, name, text and occurrence: equal keys are one message, whoever imported it.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub source_key: [u8; 16],
}

impl core::fmt::Debug for Imported {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Imported({} bytes)", self.text.len())
    }
}

const KIND_TEXT: u8 = 1;
const KIND_TITLE: u8 = 2;
const KIND_NAME: u8 = 3;
const KIND_IMPORTED: u8 = 4;
const PAD_MARK: u8 = 0x80;

impl Content {
    /// Plain bytes with padding, ready to be sealed.
    ///
    /// # Errors
    /// [`Malformed::TooLarge`] when text, title or name exceed their limit; nothing was written.
    pub fn to_padded(&self) -> Result<Vec<u8>, Malformed> {
        let (kind, text, max, what) = match self {
            Self::Text(text) => (KIND_TEXT, text, TEXT_BYTES_MAX, "text"),
            Self::Title(text) => (KIND_TITLE, text, NAME_BYTES_MAX, "title"),
            Self::Name(text) => (KIND_NAME, text, NAME_BYTES_MAX, "name"),
            Self::Imported(imported) => {
                if imported.text.len() > TEXT_BYTES_MAX || imported.who.len() > NAME_BYTES_MAX {
                    return Err(Malformed::TooLarge("imported message"));
                }
                let mut plain = Vec::from([KIND_IMPORTED]);
                // Encoding into a growing vector cannot fail.
                let _ = minicbor::encode(imported, &mut plain);
                return Ok(pad(plain));
            }
            Self::Unknown(_) => return Err(Malformed::Unknown("content")),
        };
        if text.len() > max {
            return Err(Malformed::TooLarge(what));
        }
        let mut plain = Vec::with_capacity(text.len() + 16);
        plain.push(kind);
        plain.extend_from_slice(text.as_bytes());
        Ok(pad(plain))
    }

    /// Reads what [`Content::to_padded`] wrote.
    ///
    /// # Errors
    /// [`Malformed`] when padding, text or fields are not as written by any version.
    pub fn from_padded(padded: &[u8]) -> Result<Self, Malformed> {
        let plain = unpad(padded)?;
        let (kind, rest) = plain.split_first().ok_or(Malformed::Truncated)?;
        let text = |max: usize, what: &'static str| {
            if rest.len() > max {
                return Err(Malformed::TooLarge(what));
            }
            core::str::from_utf8(rest).map(String::from).map_err(|_| Malformed::NotCanonical(what))
        };
        match *kind {
            KIND_TEXT => text(TEXT_BYTES_MAX, "text").map(Self::Text),
            KIND_TITLE => text(NAME_BYTES_MAX, "title").map(Self::Title),
            KIND_NAME => text(NAME_BYTES_MAX, "name").map(Self::Name),
            KIND_IMPORTED => {
                let imported: Imported =
                    minicbor::decode(rest).map_err(|_| Malformed::NotCanonical("imported message"))?;
                if imported.text.len() > TEXT_BYTES_MAX || imported.who.len() > NAME_BYTES_MAX {
                    return Err(Malformed::TooLarge("imported message"));
                }
                Ok(Self::Imported(imported))
            }
            kind => Ok(Self::Unknown(kind)),
        }
    }
}

/// The Padme length for `len`: the next number whose binary form has only as many significant bits as leak the order
/// of magnitude and a little more.
#[must_use]
pub fn padme(len: usize) -> usize {
    if len < 2 {
        return len;
    }
    let exponent = len.ilog2();
    let significant = exponent.ilog2().saturating_add(1);
    let mask = (1usize << exponent.saturating_sub(significant)) - 1;
    (len + mask) & !mask
}

fn pad(mut plain: Vec<u8>) -> Vec<u8> {
    plain.push(PAD_MARK);
    let len = padme(plain.len()).min(BODY_BYTES_MAX - 16).max(plain.len());
    plain.resize(len, 0);
    plain
}

fn unpad(padded: &[u8]) -> Result<&[u8], Malformed> {
    let end = padded.iter().rposition(|byte| *byte != 0).ok_or(Malformed::NotCanonical("padding"))?;
    if padded[end] != PAD_MARK {
        return Err(Malformed::NotCanonical("padding"));
    }
    Ok(&padded[..end])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn content_survives_sealing_form(text in ".{0,200}", kind in 0..3u8) {
            let content = match kind {
                0 => Content::Text(text),
                1 => Content::Title(text.chars().take(50).collect()),
                _ => Content::Imported(Imported { time_ms: 5, who: "ana".into(), text, source_key: [3; 16] }),
            };
            prop_assert_eq!(Content::from_padded(&content.to_padded().unwrap()).unwrap(), content);
        }

        #[test]
        fn padding_costs_at_most_an_eighth(len in 8usize..60_000) {
            prop_assert!(padme(len) >= len && padme(len) <= len + len / 8 + 1);
        }

        #[test]
        fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Content::from_padded(&bytes);
        }
    }

    #[test]
    fn a_text_of_80_bytes_pads_to_88() {
        let text: String = core::iter::repeat_n('x', 80).collect();
        assert_eq!(Content::Text(text).to_padded().unwrap().len(), 88);
    }
}
