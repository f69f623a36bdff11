//! What the rarer kinds of content say: fields, limits, and what makes each of them a lattice.
//!
//! Every kind here names what it changes by id and says what it replaces, so that the state is a function of the *set*
//! of ops, whatever order they come in: edits are a multi-value register, sets are observed-remove sets, reactions are
//! counters per device (Shapiro and others, "A comprehensive study of Convergent and Commutative Replicated Data Types",
//! 2011). Not here: who has the right (`store` judges that when it shows), the padding (`content`).

use crate::limit::{
    ADDRESS_BYTES_MAX, BASES_MAX, EMOJI_BYTES_MAX, FILE_BYTES_MAX, FILES_MAX, IMAGE_SIDE_MAX, MENTIONS_MAX,
    NAME_BYTES_MAX, QUOTES_MAX, SPLICES_MAX, TEXT_BYTES_MAX, THUMBNAIL_BYTES_MAX, TIMER_MS_MAX,
};
use crate::{AccountId, ConversationId, Hlc, Malformed, OpId};
use alloc::string::String;
use alloc::vec::Vec;
use minicbor::{Decode, Encode};

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
    /// Place in the source: orders messages of one claimed time. Absent in what older versions imported.
    #[n(4)]
    pub rank: Option<u64>,
    /// Files that came with it.
    #[n(5)]
    pub files: Option<Vec<File>>,
    /// The source's name for it, by which names are mapped to members; absent in what older versions imported.
    #[n(6)]
    pub source: Option<String>,
}

/// Names a message: its id, and its clock reading, which says where it stands without a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct MessageRef {
    /// Clock reading of its op.
    #[cbor(n(0), with = "hlc")]
    pub hlc: Hlc,
    /// Its op.
    #[n(1)]
    pub id: OpId,
}

/// A message with more than a text.
#[derive(Clone, PartialEq, Eq, Default, Encode, Decode)]
pub struct Message {
    /// The text; may be empty where there are files.
    #[n(0)]
    pub text: String,
    /// The message that this one answers.
    #[n(1)]
    pub answers: Option<MessageRef>,
    /// Messages that it quotes, at most [`QUOTES_MAX`].
    #[n(2)]
    pub quotes: Option<Vec<MessageRef>>,
    /// Accounts that it calls upon, at most [`MENTIONS_MAX`].
    #[n(3)]
    pub mentions: Option<Vec<AccountId>>,
    /// Files, at most [`FILES_MAX`].
    #[n(4)]
    pub files: Option<Vec<File>>,
}

/// A file beside the log: where its sealed bytes are, and what opens them.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct File {
    /// Hash of the sealed bytes: its address.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub blob: [u8; 32],
    /// Opens them.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub key: [u8; 32],
    /// **Bytes** of the file as it was, at most [`FILE_BYTES_MAX`].
    #[n(2)]
    pub bytes: u64,
    /// What it was called: a label, never a path.
    #[n(3)]
    pub name: String,
    /// Its media type as the sender saw it, such as `image/jpeg`; never believed.
    #[n(4)]
    pub media: String,
    /// For images.
    #[n(5)]
    pub image: Option<Image>,
}

/// What is shown of an image before it is here.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct Image {
    /// Pixels, at most [`IMAGE_SIDE_MAX`].
    #[n(0)]
    pub width: u32,
    /// Pixels, at most [`IMAGE_SIDE_MAX`].
    #[n(1)]
    pub height: u32,
    /// A small picture of it, at most [`THUMBNAIL_BYTES_MAX`] bytes; may be empty.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub thumbnail: Vec<u8>,
}

/// A text that several hands may change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum Target {
    /// A message's text, which is the root of its document.
    #[n(0)]
    Message(#[n(0)] MessageRef),
    /// The conversation's topic.
    #[n(1)]
    Topic,
    /// A shared note, by its name (at most [`NAME_BYTES_MAX`] bytes).
    #[n(2)]
    Note(#[n(0)] String),
    /// What this person is writing for a conversation; in the conversation of the own devices only.
    #[n(3)]
    Draft(#[n(0)] ConversationId),
}

/// Replaces a stretch of a text by another.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct Splice {
    /// Where, in Unicode scalar values from the beginning, of the text as the splices before it left it.
    #[n(0)]
    pub at: u32,
    /// How many of them go.
    #[n(1)]
    pub delete: u32,
    /// What comes in their place.
    #[n(2)]
    pub insert: String,
}

/// A new version of a text: splices against the versions that it replaces. What several of them add up to is what
/// automerge makes of them.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct Edit {
    /// Which text.
    #[n(0)]
    pub target: Target,
    /// Edits that this one replaces, sorted, unique, at most [`BASES_MAX`]; none = the text as it was at first.
    #[n(1)]
    pub bases: Vec<OpId>,
    /// In order, at most [`SPLICES_MAX`].
    #[n(2)]
    pub splices: Vec<Splice>,
    /// The version as a whole, for a message: should the text that the splices begin from be deleted meanwhile, this is
    /// what can still be shown and chosen. Left out where both together would not fit.
    #[n(3)]
    pub whole: Option<String>,
}

/// Deletes a message for everyone. The op's header names the bodies that go.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct Delete {
    /// Which.
    #[n(0)]
    pub message: MessageRef,
    /// It had not left its author's device: nothing is shown in its place.
    #[n(1)]
    pub withdrawn: Option<bool>,
}

/// Takes deletions of a message back. The deleted body is gone, so this carries it again.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct Restore {
    /// Which.
    #[n(0)]
    pub message: MessageRef,
    /// Deletions that are taken back, sorted, unique, at most [`BASES_MAX`]: those that its author had seen.
    #[n(1)]
    pub tags: Vec<OpId>,
    /// What it said.
    #[n(2)]
    pub content: Message,
}

/// A device's change of its account's reaction: the account shows it if the sum over its devices is above 0.
#[derive(Clone, PartialEq, Eq)]
pub struct Reaction {
    /// First 16 bytes of the message's id: a reaction is the smallest op there is, and must stay so.
    pub message: [u8; 16],
    /// By how much: whoever reacts raises the sum to 1, whoever takes it back lowers it to 0.
    pub by: i8,
    /// Which, at most [`EMOJI_BYTES_MAX`] bytes.
    pub emoji: String,
}

/// What a register says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum Slot {
    /// The conversation's title.
    #[n(0)]
    Title,
    /// After how many **milliseconds** messages of this conversation disappear; none = never.
    #[n(1)]
    Timer,
    /// Who a name of an import is: source and name.
    #[n(2)]
    Imported(#[n(0)] String, #[n(1)] String),
    /// Own devices: until when (**milliseconds** since 1970) a conversation is mute.
    #[n(3)]
    Mute(#[n(0)] ConversationId),
    /// Own devices: whether a conversation is archived.
    #[n(4)]
    Archive(#[n(0)] ConversationId),
    /// Own devices: the folder of a conversation.
    #[n(5)]
    Folder(#[n(0)] ConversationId),
    /// Own devices: whether a conversation stands on top.
    #[n(6)]
    Favourite(#[n(0)] ConversationId),
    /// Own devices: whether an account is blocked.
    #[n(7)]
    Block(#[n(0)] AccountId),
    /// Own devices: whether others are told what was read; none = yes.
    #[n(8)]
    Receipts,
}

/// The value of a register.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum Value {
    /// Nothing: as if it had never been set.
    #[n(0)]
    None,
    /// Words, at most [`NAME_BYTES_MAX`] bytes.
    #[n(1)]
    Text(#[n(0)] String),
    /// A number.
    #[n(2)]
    Number(#[n(0)] u64),
    /// Yes or no.
    #[n(3)]
    Flag(#[n(0)] bool),
    /// A person.
    #[n(4)]
    Account(#[n(0)] AccountId),
}

/// Gives a register a value. Values that do not replace each other are a conflict: the greater (clock reading, id) wins,
/// the others stay readable.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct Set {
    /// Which.
    #[n(0)]
    pub slot: Slot,
    /// Ops whose values it replaces, sorted, unique, at most [`BASES_MAX`].
    #[n(1)]
    pub bases: Vec<OpId>,
    /// What it says from now on.
    #[n(2)]
    pub value: Value,
}

/// A set of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum TagSet {
    /// Those that are pinned.
    #[n(0)]
    Pins,
    /// Own devices: those of another conversation that this person does not want to see any more.
    #[n(1)]
    Hidden(#[n(0)] ConversationId),
}

/// Puts a message into a set, or takes it out: an observed-remove set, so what is put in again while another takes it out
/// stays in.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct Tag {
    /// Which set.
    #[n(0)]
    pub set: TagSet,
    /// Which message.
    #[n(1)]
    pub message: MessageRef,
    /// None: it is put in, by this op as its tag. Some: these tags are taken out, sorted, unique, at most [`BASES_MAX`].
    #[n(2)]
    pub removes: Option<Vec<OpId>>,
}

/// Clock readings as plain numbers.
mod hlc {
    use crate::Hlc;
    use minicbor::decode::{Decoder, Error as DecodeError};
    use minicbor::encode::{Encoder, Error as EncodeError, Write};

    pub(super) fn encode<C, W: Write>(
        hlc: &Hlc,
        encoder: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        encoder.u64(hlc.0)?.ok()
    }

    pub(super) fn decode<C>(decoder: &mut Decoder<'_>, _: &mut C) -> Result<Hlc, DecodeError> {
        decoder.u64().map(Hlc)
    }
}

/// Whether something has at most so many bytes or entries.
fn at_most(len: usize, max: usize, what: &'static str) -> Result<(), Malformed> {
    if len > max { Err(Malformed::TooLarge(what)) } else { Ok(()) }
}

fn ids(ids: &[OpId], what: &'static str) -> Result<(), Malformed> {
    at_most(ids.len(), BASES_MAX, what)?;
    if ids.is_sorted_by(|a, b| a < b) { Ok(()) } else { Err(Malformed::NotCanonical(what)) }
}

impl Imported {
    pub(super) fn check(&self) -> Result<(), Malformed> {
        at_most(self.text.len(), TEXT_BYTES_MAX, "imported message")?;
        at_most(self.who.len(), NAME_BYTES_MAX, "imported message")?;
        at_most(self.source.as_ref().map_or(0, String::len), NAME_BYTES_MAX, "source of an import")?;
        files(self.files.as_deref().unwrap_or_default())
    }
}

impl MessageRef {
    fn check(&self) -> Result<(), Malformed> {
        if self.hlc.0 > i64::MAX as u64 { Err(Malformed::TooLarge("hlc")) } else { Ok(()) }
    }
}

impl Message {
    pub(super) fn check(&self) -> Result<(), Malformed> {
        at_most(self.text.len(), TEXT_BYTES_MAX, "text")?;
        at_most(self.quotes().len(), QUOTES_MAX, "quotes")?;
        at_most(self.mentions().len(), MENTIONS_MAX, "mentions")?;
        for message in self.answers.iter().chain(self.quotes()) {
            message.check()?;
        }
        files(self.files())
    }

    /// Messages that it quotes.
    #[must_use]
    pub fn quotes(&self) -> &[MessageRef] {
        self.quotes.as_deref().unwrap_or_default()
    }

    /// Accounts that it calls upon.
    #[must_use]
    pub fn mentions(&self) -> &[AccountId] {
        self.mentions.as_deref().unwrap_or_default()
    }

    /// Its files.
    #[must_use]
    pub fn files(&self) -> &[File] {
        self.files.as_deref().unwrap_or_default()
    }

    /// Whether a plain text would say the same.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.answers.is_none() && self.quotes().is_empty() && self.mentions().is_empty() && self.files().is_empty()
    }
}

fn files(files: &[File]) -> Result<(), Malformed> {
    at_most(files.len(), FILES_MAX, "files")?;
    for file in files {
        at_most(file.name.len(), NAME_BYTES_MAX, "name of a file")?;
        at_most(file.media.len(), ADDRESS_BYTES_MAX, "media type")?;
        if file.bytes > FILE_BYTES_MAX {
            return Err(Malformed::TooLarge("file"));
        }
        if let Some(image) = &file.image {
            at_most(image.thumbnail.len(), THUMBNAIL_BYTES_MAX, "thumbnail")?;
            if image.width > IMAGE_SIDE_MAX || image.height > IMAGE_SIDE_MAX {
                return Err(Malformed::TooLarge("image"));
            }
        }
    }
    Ok(())
}

impl Edit {
    pub(super) fn check(&self) -> Result<(), Malformed> {
        match &self.target {
            Target::Message(message) => message.check()?,
            Target::Note(name) => at_most(name.len(), NAME_BYTES_MAX, "name of a note")?,
            Target::Topic | Target::Draft(_) => {}
        }
        ids(&self.bases, "bases")?;
        at_most(self.splices.len(), SPLICES_MAX, "splices")?;
        at_most(self.whole.as_ref().map_or(0, String::len), TEXT_BYTES_MAX, "edit")?;
        at_most(self.splices.iter().map(|splice| splice.insert.len()).sum(), TEXT_BYTES_MAX, "edit")
    }
}

impl Delete {
    pub(super) fn check(&self) -> Result<(), Malformed> {
        self.message.check()
    }
}

impl Restore {
    pub(super) fn check(&self) -> Result<(), Malformed> {
        self.message.check()?;
        ids(&self.tags, "tags")?;
        self.content.check()
    }
}

impl Reaction {
    pub(super) fn check(&self) -> Result<(), Malformed> {
        at_most(self.emoji.len(), EMOJI_BYTES_MAX, "reaction")?;
        if self.emoji.is_empty() || self.by == 0 { Err(Malformed::NotCanonical("reaction")) } else { Ok(()) }
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.message);
        out.push(self.by.cast_unsigned());
        out.extend_from_slice(self.emoji.as_bytes());
    }

    pub(super) fn take(bytes: &[u8]) -> Result<Self, Malformed> {
        let (message, rest) = bytes.split_first_chunk().ok_or(Malformed::Truncated)?;
        let (by, emoji) = rest.split_first().ok_or(Malformed::Truncated)?;
        let emoji = core::str::from_utf8(emoji).map_err(|_| Malformed::NotCanonical("reaction"))?;
        let reaction = Self { message: *message, by: by.cast_signed(), emoji: emoji.into() };
        reaction.check()?;
        Ok(reaction)
    }

    /// How a reaction names a message.
    #[must_use]
    pub fn names(id: &OpId) -> [u8; 16] {
        let mut first = [0; 16];
        first.copy_from_slice(&id.0[..16]);
        first
    }
}

impl Set {
    pub(super) fn check(&self) -> Result<(), Malformed> {
        if let Slot::Imported(source, name) = &self.slot {
            at_most(source.len(), NAME_BYTES_MAX, "source of an import")?;
            at_most(name.len(), NAME_BYTES_MAX, "name of an import")?;
        }
        match (&self.slot, &self.value) {
            (Slot::Timer, Value::Number(after_ms)) if *after_ms > TIMER_MS_MAX => {
                return Err(Malformed::TooLarge("timer"));
            }
            (_, Value::Text(text)) => at_most(text.len(), NAME_BYTES_MAX, "value")?,
            _ => {}
        }
        ids(&self.bases, "bases")
    }
}

impl Tag {
    pub(super) fn check(&self) -> Result<(), Malformed> {
        self.message.check()?;
        ids(self.removes.as_deref().unwrap_or_default(), "tags")
    }
}

macro_rules! quiet {
    ($($name:ident),*) => {$(
        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                // What people write never appears in logs.
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )*};
}
quiet!(Imported, Message, File, Image, Splice, Edit, Delete, Restore, Reaction, Set, Tag);
