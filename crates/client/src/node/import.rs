//! Bringing histories in: what is new is written, in transactions of a thousand; what is here already is counted.
//!
//! Not here: reading exports (`import`), folding them (`store`).

use super::Node;
use crate::Error;
use crate::api::Line;
use crate::import::{Attach, Entry, Export, Format, Imports, NOTES_MAX, PER_TRANSACTION, Planned, plan};
use std::collections::{BTreeMap, BTreeSet};
use tombolo_model::content::{Content, File, Imported, Slot, Value};
use tombolo_model::{AccountId, ConversationId};
use tombolo_replica::{Now, Rest};

/// Hex digits by which an account may be named at least, and those that are shown of it.
const PERSON_DIGITS_MIN: usize = 4;
const PERSON_DIGITS_SHOWN: usize = 8;

impl Node {
    /// Brings messages in from elsewhere. Lines that are here already, whoever imported them, are skipped. Returns how many
    /// were new and how many were not.
    ///
    /// # Errors
    /// Those of the store; what was imported before the error stays.
    pub fn import(
        &mut self,
        conversation: ConversationId,
        lines: &[Line],
        now: Now,
        progress: impl FnMut(usize),
    ) -> Result<(u64, u64), Error> {
        let entries: Vec<Entry> = lines.iter().map(Entry::from).collect();
        let (planned, too_long) = plan(&entries, Format::JsonLines);
        let mut done = Imports { too_long, ..Imports::default() };
        self.bring_in(conversation, planned, &mut |_| Ok(None), &mut done, now, progress)?;
        Ok((done.imported, done.known + done.too_long))
    }

    /// Brings an export in. `attach` takes its files; of those that do not come along the names stay in the texts. Whatever is repeated after an error goes on where it stopped.
    ///
    /// # Errors
    /// `unknown-conversation`, `archive` and others for a file that is not as it says; those of the store. What was
    /// imported before the error stays.
    pub fn import_export(
        &mut self,
        conversation: ConversationId,
        export: &mut Export,
        attach: &mut Attach<'_>,
        now: Now,
        progress: impl FnMut(usize),
    ) -> Result<Imports, Error> {
        self.log().conversation(&conversation)?.ok_or_else(|| self.no_conversation(&conversation))?;
        let (planned, too_long) = plan(&export.entries, export.format());
        let mut done = Imports { too_long, system: export.system, omitted: export.omitted, ..Imports::default() };
        let mut notes = Vec::new();
        let mut file = |name: &str| match export.attach(name, attach) {
            // A file that is not as the archive says does not come along; what people wrote does.
            Err(error) if error.code().starts_with("archive") => {
                if notes.len() < NOTES_MAX {
                    notes.push(format!("{name}: {}", error.message().replace("; nothing was imported", "")));
                }
                Ok(None)
            }
            other => other,
        };
        self.bring_in(conversation, planned, &mut file, &mut done, now, progress)?;
        done.notes = notes;
        Ok(done)
    }

    /// Says which member a name of an import is, for everybody in the conversation; `person` is a member's name, the
    /// beginning of an account's id that no other has, or `None` for this account.
    ///
    /// # Errors
    /// `unknown-person` and `ambiguous`, with who there is; `too-large`; those of the store.
    pub fn map_imported(
        &mut self,
        conversation: ConversationId,
        source: Format,
        name: &str,
        person: Option<&str>,
        now: Now,
    ) -> Result<AccountId, Error> {
        let account = match person {
            Some(person) => self.person(&conversation, person)?,
            None => self.account(),
        };
        let slot = Slot::Imported(source.source().to_owned(), name.to_owned());
        self.set(conversation, slot, Value::Account(account), now)?;
        Ok(account)
    }

    /// Who a name of an import is, where somebody has said it.
    pub(super) fn imported_as(&self, conversation: &ConversationId, name: &str) -> Result<Option<AccountId>, Error> {
        for format in [Format::WhatsApp, Format::JsonLines] {
            let slot = Slot::Imported(format.source().to_owned(), name.to_owned());
            if let Value::Account(account) = tombolo_store::register(self.log(), conversation, &slot)?.value() {
                return Ok(Some(account));
            }
        }
        Ok(None)
    }

    /// The member that somebody means.
    fn person(&self, conversation: &ConversationId, person: &str) -> Result<AccountId, Error> {
        let names = tombolo_store::names(self.log(), conversation)?;
        let mut people: BTreeMap<AccountId, String> = BTreeMap::new();
        for known in names.people.into_values() {
            if let Some(account) = known.account {
                people.entry(account).or_default().clone_from(&known.name.unwrap_or_default());
            }
        }
        let wanted = person.trim();
        let begins = |account: &AccountId| {
            wanted.len() >= PERSON_DIGITS_MIN && account.to_string().starts_with(&wanted.to_ascii_lowercase())
        };
        let mut found: Vec<AccountId> =
            people.iter().filter(|(_, name)| name.trim() == wanted).map(|(account, _)| *account).collect();
        if found.is_empty() {
            found = people.keys().copied().filter(begins).collect();
        }
        let all: Vec<String> = people
            .iter()
            .map(|(account, name)| format!("{name} ({})", &account.to_string()[..PERSON_DIGITS_SHOWN]))
            .collect();
        match found.as_slice() {
            [one] => Ok(*one),
            [] => {
                let words = format!("nobody in this conversation is called `{wanted}`");
                Err(Error::new("unknown-person", words, format!("there are: {}", all.join(", "))))
            }
            _ => {
                let words = format!("several people in this conversation are called `{wanted}`");
                Err(Error::new("ambiguous", words, format!("name one by the beginning of the id: {}", all.join(", "))))
            }
        }
    }

    fn bring_in(
        &mut self,
        conversation: ConversationId,
        planned: Vec<Planned>,
        file: &mut dyn FnMut(&str) -> Result<Option<File>, Error>,
        done: &mut Imports,
        now: Now,
        mut progress: impl FnMut(usize),
    ) -> Result<(), Error> {
        let total = planned.len();
        let mut planned = planned.into_iter().peekable();
        while planned.peek().is_some() {
            let part: Vec<Planned> = planned.by_ref().take(PER_TRANSACTION).collect();
            let keys: Vec<[u8; 16]> = part.iter().map(|one| one.content.source_key).collect();
            let known: BTreeSet<[u8; 16]> = self.known_imports(&conversation, &keys)?;
            let mut fresh: Vec<(Content, Rest)> = Vec::new();
            for one in part {
                if known.contains(&one.content.source_key) {
                    done.known += 1;
                } else {
                    let imported = with_files(one, file, done)?;
                    let extension = match imported.files.as_deref() {
                        Some(files) => crate::files::named(files)?,
                        None => Vec::new(),
                    };
                    fresh.push((Content::Imported(imported), Rest { extension, ..Rest::default() }));
                }
            }
            if !fresh.is_empty() {
                self.write_with(conversation, &fresh, now)?;
            }
            done.imported += fresh.len() as u64;
            progress(total - planned.len());
        }
        Ok(())
    }
}

/// Reads the files of a message. Where none could be had the text names them.
fn with_files(
    planned: Planned,
    file: &mut dyn FnMut(&str) -> Result<Option<File>, Error>,
    done: &mut Imports,
) -> Result<Imported, Error> {
    let Planned { mut content, files, without_files } = planned;
    let mut held = Vec::new();
    for name in &files {
        match file(name)? {
            Some(file) => held.push(file),
            None => done.not_attached += 1,
        }
    }
    done.attached += held.len() as u64;
    if held.len() < files.len() {
        content.text = without_files;
    }
    if !held.is_empty() {
        content.files = Some(held);
    }
    Ok(content)
}
