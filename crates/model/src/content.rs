//! What a sealed body says once it is opened.
//!
//! A message is one byte of kind and its text; everything rarer is CBOR with numbered fields. Before sealing the plain
//! bytes are padded to a Padme length (Nikitin and others, "Reducing Metadata Leakage from Encrypted Files", 2019), so
//! that a relay learns only the rough size: at most 12 % more, from 83 to 88 bytes for a text of 80.
//! Not here: what the rarer kinds say (`parts.rs`), sealing (`seal`), folding into views (`store`).

mod parts;

pub use parts::{
    Delete, Edit, File, Image, Imported, Message, MessageRef, Reaction, Restore, Set, Slot, Splice, Tag, TagSet,
    Target, Value,
};

use crate::Malformed;
use crate::limit::{BODY_BYTES_MAX, NAME_BYTES_MAX, TEXT_BYTES_MAX};
use alloc::boxed::Box;
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
    /// A message with more than a text: an answer, quotes, mentions, files.
    Message(Box<Message>),
    /// A change of a text that several hands may change.
    Edit(Edit),
    /// A message is deleted for everyone; its header erases the bodies.
    Delete(Delete),
    /// A deletion is taken back.
    Restore(Box<Restore>),
    /// An account's reaction to a message, as this device's part of a count.
    Reaction(Reaction),
    /// A register gets a value.
    Set(Set),
    /// Something is put into a set or taken out of it.
    Tag(Tag),
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
            Self::Message(message) => write!(f, "Message({} bytes)", message.text.len()),
            Self::Edit(edit) => write!(f, "Edit({} splices)", edit.splices.len()),
            Self::Delete(_) => f.write_str("Delete"),
            Self::Restore(_) => f.write_str("Restore"),
            Self::Reaction(_) => f.write_str("Reaction"),
            Self::Set(_) => f.write_str("Set"),
            Self::Tag(_) => f.write_str("Tag"),
            Self::Unknown(kind) => write!(f, "Unknown({kind})"),
        }
    }
}

const KIND_TEXT: u8 = 1;
const KIND_TITLE: u8 = 2;
const KIND_NAME: u8 = 3;
const KIND_IMPORTED: u8 = 4;
const KIND_MESSAGE: u8 = 5;
const KIND_EDIT: u8 = 6;
const KIND_DELETE: u8 = 7;
const KIND_RESTORE: u8 = 8;
const KIND_REACTION: u8 = 9;
const KIND_SET: u8 = 10;
const KIND_TAG: u8 = 11;
const PAD_MARK: u8 = 0x80;
/// **Bytes** of kind and fields that still fit a sealed body with their padding.
const PLAIN_BYTES_MAX: usize = 56 * 1024;

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
            Self::Imported(imported) => return cbor(KIND_IMPORTED, imported, imported.check()),
            Self::Message(message) => return cbor(KIND_MESSAGE, message.as_ref(), message.check()),
            Self::Edit(edit) => return cbor(KIND_EDIT, edit, edit.check()),
            Self::Delete(delete) => return cbor(KIND_DELETE, delete, delete.check()),
            Self::Restore(restore) => return cbor(KIND_RESTORE, restore.as_ref(), restore.check()),
            Self::Reaction(reaction) => {
                reaction.check()?;
                let mut plain = Vec::from([KIND_REACTION]);
                reaction.put(&mut plain);
                return Ok(pad(plain));
            }
            Self::Set(set) => return cbor(KIND_SET, set, set.check()),
            Self::Tag(tag) => return cbor(KIND_TAG, tag, tag.check()),
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
            KIND_IMPORTED => read(rest, Imported::check).map(Self::Imported),
            KIND_MESSAGE => read(rest, Message::check).map(|message| Self::Message(Box::new(message))),
            KIND_EDIT => read(rest, Edit::check).map(Self::Edit),
            KIND_DELETE => read(rest, Delete::check).map(Self::Delete),
            KIND_RESTORE => read(rest, Restore::check).map(|restore| Self::Restore(Box::new(restore))),
            KIND_REACTION => Reaction::take(rest).map(Self::Reaction),
            KIND_SET => read(rest, Set::check).map(Self::Set),
            KIND_TAG => read(rest, Tag::check).map(Self::Tag),
            kind => Ok(Self::Unknown(kind)),
        }
    }
}

/// A kind, and its fields as CBOR.
fn cbor<T: Encode<()>>(kind: u8, fields: &T, checked: Result<(), Malformed>) -> Result<Vec<u8>, Malformed> {
    checked?;
    let mut plain = Vec::from([kind]);
    // Encoding into a growing vector cannot fail.
    let _ = minicbor::encode(fields, &mut plain);
    if plain.len() > PLAIN_BYTES_MAX {
        return Err(Malformed::TooLarge("content"));
    }
    Ok(pad(plain))
}

/// Fields that have been written as CBOR, within their limits.
fn read<'b, T: Decode<'b, ()>>(
    bytes: &'b [u8],
    check: impl FnOnce(&T) -> Result<(), Malformed>,
) -> Result<T, Malformed> {
    if bytes.len() >= PLAIN_BYTES_MAX {
        return Err(Malformed::TooLarge("content"));
    }
    let fields: T = minicbor::decode(bytes).map_err(|_| Malformed::NotCanonical("content"))?;
    check(&fields)?;
    Ok(fields)
}

/// The Padme length for `len`: the next number whose binary form has only as many significant bits as leak the order
/// of magnitude and a little more.
#[must_use]
pub fn padme(len: usize) -> usize {
    // A length that fits memory grows by an eighth at most.
    usize::try_from(padme_long(len as u64)).unwrap_or(len)
}

/// The same for files, which need not fit memory. `len` is at most [`crate::limit::FILE_BYTES_MAX`].
#[must_use]
pub fn padme_long(len: u64) -> u64 {
    if len < 2 {
        return len;
    }
    let exponent = len.ilog2();
    let significant = exponent.ilog2().saturating_add(1);
    let mask = (1u64 << exponent.saturating_sub(significant)) - 1;
    len.saturating_add(mask) & !mask
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
    use alloc::{format, vec};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn content_survives_sealing_form(text in ".{0,200}", kind in 0..11u8, seed in any::<[u8; 32]>()) {
            let content = sample(kind, text, seed);
            let padded = content.to_padded().unwrap();
            prop_assert_eq!(Content::from_padded(&padded).unwrap(), content);
            for len in 0..padded.len() {
                let _ = Content::from_padded(&padded[..len]);
            }
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

    fn sample(kind: u8, text: String, seed: [u8; 32]) -> Content {
        let id = crate::OpId(seed);
        let at = MessageRef { hlc: crate::Hlc(7), id };
        let image = Image { width: 3, height: 4, thumbnail: vec![1; 9] };
        let file =
            File { blob: seed, key: seed, bytes: 9, name: "n".into(), media: "image/png".into(), image: Some(image) };
        let message = Message {
            text: text.clone(),
            answers: Some(at),
            quotes: Some(vec![at]),
            mentions: Some(vec![crate::AccountId(seed)]),
            files: Some(vec![file.clone()]),
        };
        let few: String = text.chars().take(15).collect();
        match kind {
            0 => Content::Text(text),
            1 => Content::Title(few),
            2 => Content::Name(few),
            3 => Content::Imported(Imported {
                time_ms: 5,
                who: "ana".into(),
                text,
                source_key: [3; 16],
                rank: Some(2),
                files: Some(vec![file]),
                source: Some("phone".into()),
            }),
            4 => Content::Message(Box::new(message)),
            5 => Content::Edit(Edit {
                target: Target::Note(few),
                bases: vec![id],
                splices: vec![Splice { at: 1, delete: 2, insert: text.clone() }],
                whole: Some(text),
            }),
            6 => Content::Delete(Delete { message: at, withdrawn: Some(true) }),
            7 => Content::Restore(Box::new(Restore { message: at, tags: vec![id], content: message })),
            8 => Content::Reaction(Reaction { message: Reaction::names(&id), by: -1, emoji: format!("x{few}") }),
            9 => Content::Set(Set {
                slot: Slot::Imported("a".into(), "b".into()),
                bases: vec![],
                value: Value::Text(few),
            }),
            _ => Content::Tag(Tag { set: TagSet::Pins, message: at, removes: Some(vec![id]) }),
        }
    }

    #[test]
    fn what_exceeds_its_limit_is_named() {
        let too_large = [
            Content::Reaction(Reaction { message: [0; 16], by: 1, emoji: "x".repeat(65) }),
            Content::Set(Set { slot: Slot::Timer, bases: vec![], value: Value::Number(u64::MAX) }),
            Content::Message(Box::new(Message { text: "x".repeat(TEXT_BYTES_MAX + 1), ..Message::default() })),
        ];
        for content in too_large {
            assert!(matches!(content.to_padded(), Err(Malformed::TooLarge(_))), "{content:?}");
        }
        let twice = vec![crate::OpId([1; 32]); 2];
        let unsorted = Content::Set(Set { slot: Slot::Title, bases: twice, value: Value::None });
        assert_eq!(unsorted.to_padded(), Err(Malformed::NotCanonical("bases")));
    }

    #[test]
    fn a_reaction_is_sealed_in_24_bytes() {
        let reaction = Content::Reaction(Reaction { message: [9; 16], by: 1, emoji: "\u{1f44d}".into() });
        assert_eq!(reaction.to_padded().unwrap().len(), 24);
    }

    #[test]
    fn a_text_of_80_bytes_pads_to_88() {
        let text: String = core::iter::repeat_n('x', 80).collect();
        assert_eq!(Content::Text(text).to_padded().unwrap().len(), 88);
    }
}
