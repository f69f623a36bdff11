//! What a file is, and what it holds: recognised by content, understood as a whole before anything is brought in.

use super::archive::{Archive, Source};
use super::header::Begins;
use super::limit::{ARCHIVE_TEXTS_MAX, TEXT_BYTES_MAX};
use super::whatsapp::Chat;
use super::{Attach, DateOrder, Entry, Label, attachment, jsonl, whatsapp};
use crate::{Error, Line};
use std::collections::BTreeSet;
use std::fmt;
use std::io::{Cursor, Read, Seek, SeekFrom};
use tombolo_model::limit::FILE_BYTES_MAX;

/// Which program made an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// JSON Lines `{t, who, text}`.
    JsonLines,
    /// A WhatsApp chat, as text or as zip.
    WhatsApp,
}

impl Format {
    /// The name by which an export's people are mapped to members.
    #[must_use]
    pub fn source(self) -> &'static str {
        match self {
            Self::JsonLines => "jsonl",
            Self::WhatsApp => "whatsapp",
        }
    }

    /// Keeps the keys of different programs apart. That of JSON Lines is older than the others and must stay.
    pub(super) fn key_domain(self) -> &'static str {
        match self {
            Self::JsonLines => "tombolo 1 imported line",
            Self::WhatsApp => "tombolo 1 imported from whatsapp",
        }
    }
}

/// How to read what an export leaves open.
#[derive(Clone, Copy)]
pub struct Reading<'a> {
    /// The order of day, month and year, where the person has said it.
    pub dates: Option<DateOrder>,
    /// How many **seconds** the local time of the export is ahead of UTC at a moment (**milliseconds** since 1970).
    pub offset_s: &'a dyn Fn(u64) -> i32,
    /// The wall clock, **milliseconds** since 1970: no message is from tomorrow.
    pub now_ms: u64,
}

impl fmt::Debug for Reading<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading").field("dates", &self.dates).finish_non_exhaustive()
    }
}

/// An export that has been understood and not been brought in yet.
#[derive(Debug)]
pub struct Export {
    format: Format,
    pub(crate) entries: Vec<Entry>,
    pub(crate) system: u64,
    pub(crate) omitted: u64,
    archive: Option<Archive>,
}

impl Export {
    /// Reads a file, or anything else that can be read twice.
    ///
    /// # Errors
    /// `ambiguous-dates` with examples and the orders that are possible; `not-an-export`, `not-text`, `file` with a line;
    /// `dates`, `too-large`, `archive`, `archive-encrypted`, `archive-too-large`. Nothing was changed.
    pub fn read(mut source: impl Read + Seek + Send + 'static, reading: &Reading<'_>) -> Result<Self, Error> {
        let mut magic = Vec::new();
        let unreadable = |error: std::io::Error| Error::new("file", format!("it cannot be read: {error}"), "");
        source.by_ref().take(4).read_to_end(&mut magic).map_err(unreadable)?;
        source.seek(SeekFrom::Start(0)).map_err(unreadable)?;
        if magic.starts_with(b"PK") {
            return Self::of_archive(Box::new(source), reading);
        }
        let mut bytes = Vec::new();
        source.take(TEXT_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        Self::of_text(bytes, reading)
    }

    /// Reads all of something that can be read only once.
    ///
    /// # Errors
    /// As [`Export::read`].
    pub fn read_once(source: impl Read, reading: &Reading<'_>) -> Result<Self, Error> {
        let mut bytes = Vec::new();
        let unreadable = |error: std::io::Error| Error::new("file", format!("it cannot be read: {error}"), "");
        source.take(TEXT_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        Self::read(Cursor::new(bytes), reading)
    }

    fn of_text(bytes: Vec<u8>, reading: &Reading<'_>) -> Result<Self, Error> {
        let text = decode(bytes)?;
        if text.trim_start().starts_with('{') || text.trim().is_empty() {
            let read = jsonl::read(&text)?;
            let entries = read.lines.iter().map(Entry::from).collect();
            let format = Format::JsonLines;
            return Ok(Self { format, entries, system: read.skipped, omitted: 0, archive: None });
        }
        let chat = chat(&text, reading, &|_| false)?;
        Ok(Self::of_chat(chat, None))
    }

    fn of_chat(chat: Chat, archive: Option<Archive>) -> Self {
        let Chat { entries, system, omitted } = chat;
        Self { format: Format::WhatsApp, entries, system, omitted, archive }
    }

    fn of_archive(source: Box<dyn Source>, reading: &Reading<'_>) -> Result<Self, Error> {
        let mut archive = Archive::open(source)?;
        // A chat may hold another one as a file. The right one names the others.
        let mut best: Option<(usize, String)> = None;
        let mut refused = None;
        for name in archive.texts().into_iter().take(ARCHIVE_TEXTS_MAX) {
            let text = match archive.text(&name).and_then(decode) {
                Ok(text) => text,
                Err(error) if error.code() == "not-text" => {
                    refused = refused.or(Some(error));
                    continue;
                }
                Err(error) => return Err(error),
            };
            if !matches!(whatsapp::recognise(&text), Begins::Header(_)) {
                continue;
            }
            let named = text.split_ascii_whitespace().map(|word| word.trim_matches(['<', '>', ':', '\u{200e}']));
            let named = named.filter(|word| word.contains('.') && archive.has(word)).count();
            if best.as_ref().is_none_or(|(most, _)| named > *most) {
                best = Some((named, text));
            }
        }
        let Some((_, text)) = best else {
            let words =
                "there is no chat in this archive: none of its texts begins with a message; nothing was imported";
            return Err(refused.unwrap_or_else(|| Error::new("not-an-export", words, FORMS)));
        };
        let chat = chat(&text, reading, &|name| archive.has(name))?;
        Ok(Self::of_chat(chat, Some(archive)))
    }

    /// Which program made it.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// How many messages it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whom its messages are from, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let names: BTreeSet<&str> = self.entries.iter().map(|entry| entry.who.as_str()).collect();
        names.into_iter().map(str::to_owned).collect()
    }

    /// Its messages as lines, with the texts as they are written.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        let line =
            |entry: &Entry| Line { time_ms: entry.time_ms, who: entry.who.clone(), text: entry.key_text.clone() };
        self.entries.iter().map(line).collect()
    }

    /// Hands a file on to whoever keeps files.
    ///
    /// # Errors
    /// `archive` and others, when the archive is not as it says.
    pub(crate) fn attach(
        &mut self,
        name: &str,
        attach: &mut Attach<'_>,
    ) -> Result<Option<tombolo_model::content::File>, Error> {
        let Some(archive) = &mut self.archive else { return Ok(None) };
        let (label, mut found) = (attachment::label(name), Ok(None));
        let about = Label { name: &label, media: attachment::media_type(&label) };
        archive.read(name, FILE_BYTES_MAX, &mut |source, bytes| {
            found = attach(&about, bytes, source);
            Ok(matches!(found, Ok(Some(_))))
        })?;
        found
    }
}

/// What can be read, for hints.
const FORMS: &str = "a chat exported from WhatsApp (.txt or .zip), or JSON Lines {t, who, text}, can be imported";

fn chat(text: &str, reading: &Reading<'_>, known: &dyn Fn(&str) -> bool) -> Result<Chat, Error> {
    match whatsapp::recognise(text) {
        Begins::Header(_) => whatsapp::parse(text, reading, known),
        Begins::UnknownHalf(word) => {
            let words =
                format!("the times of this export say `{word}`, and this version does not know what that means");
            Err(Error::new(
                "dates",
                format!("{words}; nothing was imported"),
                "please report it with the language of the phone",
            ))
        }
        Begins::Text => {
            Err(Error::new("not-an-export", "this file is no export that can be read; nothing was imported", FORMS))
        }
    }
}

/// Bytes as text.
fn decode(bytes: Vec<u8>) -> Result<String, Error> {
    if bytes.len() as u64 > TEXT_BYTES_MAX {
        let words = format!("a text may have {TEXT_BYTES_MAX} bytes, this one has more; nothing was imported");
        return Err(Error::new("too-large", words, "divide it"));
    }
    let wrong = |at: usize, what: &str| {
        Error::new("not-text", format!("byte {at} is {what}, so this is no text; nothing was imported"), FORMS)
    };
    if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
        return Err(wrong(at, "zero"));
    }
    match String::from_utf8(bytes) {
        Ok(text) if text.starts_with('\u{feff}') => Ok(text['\u{feff}'.len_utf8()..].to_owned()),
        Ok(text) => Ok(text),
        Err(error) => Err(wrong(error.utf8_error().valid_up_to(), "no UTF-8")),
    }
}
