//! What is known of files: which messages carry them, which blobs are here, which relays hold them.
//!
//! Rows of files are read from the log in the order of arrival, like any view: they can be dropped and read again. What is
//! shown of a blob is decided by the folder; the rows save looking there for what came long ago. Not here: the bytes (`folder.rs`, `part.rs`).

use super::folder::Folder;
use super::{FileRow, FileSettings, FileState};
use crate::{Error, Node};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use tombolo_model::content::{Content, File, Image, MessageRef};
use tombolo_model::{BlobId, ConversationId, DeviceId, Hlc, Op, OpId, extension};
use tombolo_oplog::rusqlite::{OptionalExtension as _, Row, Transaction, params};
use tombolo_oplog::{Gone, LogError, State, Step};
use tombolo_store::{Look, Opener as _};

/// Ops that are looked at together.
const SCAN_OPS: usize = 1_000;

/// Tables of this module, a step of the client's part of the database.
pub(crate) const STEP: Step = Step {
    why: "files of messages, blobs and where they are",
    sql: "
-- Files that messages carry, from the log. author: the device that wrote the message.
CREATE TABLE file (
    conversation BLOB NOT NULL, hlc INTEGER NOT NULL, message BLOB NOT NULL, n INTEGER NOT NULL, author BLOB NOT NULL,
    blob BLOB NOT NULL, key BLOB NOT NULL, bytes INTEGER NOT NULL, name TEXT NOT NULL, media TEXT NOT NULL,
    width INTEGER, height INTEGER, thumbnail BLOB, UNIQUE (message, n)) STRICT;
CREATE INDEX file_place ON file (conversation, hlc, message);
CREATE INDEX file_blob ON file (blob);
-- here: it was put into the folder. wanted: 0 = when it is small enough, 1 = somebody asked for it. failed: why it is
-- not asked for any more.
CREATE TABLE blob (
    id BLOB NOT NULL PRIMARY KEY, here INTEGER NOT NULL, wanted INTEGER NOT NULL, failed TEXT) STRICT, WITHOUT ROWID;
CREATE INDEX blob_absent ON blob (id) WHERE here = 0;
-- Relays that hold a blob whole, by address.
CREATE TABLE blob_relay (
    id BLOB NOT NULL, url TEXT NOT NULL, PRIMARY KEY (id, url)) STRICT, WITHOUT ROWID;
-- One row: up to this arrival files were read from the log.
CREATE TABLE file_scan (n INTEGER PRIMARY KEY, arrival INTEGER NOT NULL) STRICT;
CREATE TABLE file_setting (name TEXT NOT NULL PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
",
};

/// A blob that is to go somewhere or to come, with all that is needed for it.
#[derive(Clone, Debug)]
pub(crate) struct Errand {
    pub(crate) id: BlobId,
    pub(crate) file: File,
}

/// Files that a content carries.
fn files_of(content: &Content) -> &[File] {
    match content {
        Content::Message(message) => message.files(),
        Content::Imported(imported) => imported.files.as_deref().unwrap_or_default(),
        Content::Restore(restore) => restore.content.files(),
        _ => &[],
    }
}

const FILE: &str = "SELECT conversation, hlc, message, n, author, blob, key, bytes, name, media, width, height, thumbnail \
                    FROM file";

struct Found {
    conversation: ConversationId,
    hlc: Hlc,
    message: OpId,
    n: u32,
    author: DeviceId,
    file: File,
}

fn read(row: &Row<'_>) -> Result<Found, tombolo_oplog::rusqlite::Error> {
    let image = match (row.get::<_, Option<u32>>(10)?, row.get::<_, Option<u32>>(11)?) {
        (Some(width), Some(height)) => Some(Image { width, height, thumbnail: row.get(12)? }),
        _ => None,
    };
    Ok(Found {
        conversation: ConversationId(row.get(0)?),
        hlc: Hlc(row.get::<_, i64>(1)? as u64),
        message: OpId(row.get(2)?),
        n: row.get(3)?,
        author: DeviceId(row.get(4)?),
        file: File {
            blob: row.get(5)?,
            key: row.get(6)?,
            bytes: row.get::<_, i64>(7)? as u64,
            name: row.get(8)?,
            media: row.get(9)?,
            image,
        },
    })
}

fn put(tx: &Transaction<'_>, op: &Op, content: &Content) -> Result<(), LogError> {
    let files = files_of(content);
    // What takes a deletion back carries the message's files again, for the message.
    let (message, hlc) = match content {
        Content::Restore(restore) => (restore.message.id, restore.message.hlc),
        _ => (op.id, op.header.hlc),
    };
    let again = message != op.id;
    let named = extension::blobs(&op.header.extension).unwrap_or_default();
    let mut statement = tx.prepare_cached(
        "INSERT INTO file (conversation, hlc, message, n, author, blob, key, bytes, name, media, width, height, thumbnail) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13) ON CONFLICT DO NOTHING",
    )?;
    for (n, file) in files.iter().enumerate() {
        // What the header does not name, no relay keeps.
        if !named.contains(&BlobId(file.blob)) {
            continue;
        }
        let (conversation, image) = (op.conversation(), file.image.as_ref());
        statement.execute(params![
            conversation.as_bytes(),
            hlc.0 as i64,
            message.as_bytes(),
            n as i64 + 1,
            op.header.author.as_bytes(),
            file.blob,
            file.key,
            file.bytes as i64,
            file.name,
            file.media,
            image.map(|image| image.width),
            image.map(|image| image.height),
            image.map(|image| &image.thumbnail),
        ])?;
        tx.execute("INSERT INTO blob (id, here, wanted) VALUES (?1, 0, 0) ON CONFLICT DO NOTHING", [&file.blob])?;
        if again {
            // Relays may have let it go with the deletion: they are asked, and get it once more.
            tx.execute("DELETE FROM blob_relay WHERE id = ?1", [&file.blob])?;
        }
    }
    Ok(())
}

impl Node {
    /// Reads files from what has arrived since the last time.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn scan_files(&mut self) -> Result<(), Error> {
        loop {
            let sql = "SELECT arrival FROM file_scan";
            let from: i64 = self.log().connection()?.query_row(sql, [], |row| row.get(0)).optional()?.unwrap_or(0);
            let (found, last) = self.log().extended_after(from as u64, SCAN_OPS)?;
            if last == from as u64 {
                return Ok(());
            }
            let mut files = Vec::new();
            for extended in found {
                let Some(op) = self.log().op(&extended.conversation, &extended.id)? else { continue };
                if let Some(content) = self.opener().open(&op) {
                    files.push((op, content));
                }
            }
            // Many ops without files need not cost a sync of the disk each time.
            if files.is_empty() && last - (from as u64) < SCAN_OPS as u64 {
                return Ok(());
            }
            let batch = self.replica().log_mut().batch()?;
            let tx = batch.transaction()?;
            for (op, content) in &files {
                put(tx, op, content)?;
            }
            tx.execute("INSERT OR REPLACE INTO file_scan (n, arrival) VALUES (1, ?1)", [last as i64])?;
            batch.commit()?;
        }
    }

    /// Lets go of the files of messages whose bodies were erased or have expired, as soon as that cannot be taken back on
    /// this device: names, keys and small pictures, and the sealed bytes.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn sweep_files(&mut self) -> Result<(), Error> {
        let Some(folder) = self.folder.clone().filter(|_| std::mem::take(&mut self.files_due)) else { return Ok(()) };
        let found: Vec<(ConversationId, OpId)> = {
            let mut statement = self.log().connection()?.prepare_cached(
                "SELECT DISTINCT conversation, message FROM file f \
                 WHERE NOT EXISTS (SELECT 1 FROM undo u WHERE u.message = f.message)",
            )?;
            let rows = statement.query_map([], |row| Ok((ConversationId(row.get(0)?), OpId(row.get(1)?))))?;
            rows.collect::<Result<_, _>>()?
        };
        for (conversation, message) in found {
            let Some((_, arrival)) = self.log().state(&conversation, &message)? else { continue };
            let gone = tombolo_oplog::gone_at(self.log().connection()?, arrival)?;
            if !matches!(gone, Some(Gone::Erased | Gone::Expired)) {
                continue;
            }
            // What was deleted and taken back has its files still.
            let carries = match self.message(&conversation, &message) {
                Ok(shown) => shown.beside.deleted.is_none() && !shown.beside.files.is_empty(),
                Err(error) if error.code() == "unknown-message" => false,
                Err(error) => return Err(error),
            };
            if !carries {
                self.release_files(&message)?.iter().for_each(|blob| folder.remove(blob));
            }
        }
        Ok(())
    }

    /// The files of one message are no longer known. Returns blobs that no message carries any more.
    fn release_files(&mut self, message: &OpId) -> Result<Vec<BlobId>, Error> {
        let batch = self.replica().log_mut().batch()?;
        let tx = batch.transaction()?;
        let mut gone = Vec::new();
        {
            let mut statement = tx.prepare_cached("DELETE FROM file WHERE message = ?1 RETURNING blob")?;
            let rows = statement.query_map([message.as_bytes()], |row| Ok(BlobId(row.get(0)?)))?;
            let blobs: BTreeSet<BlobId> = rows.collect::<Result<_, _>>()?;
            for id in blobs {
                let mut left = tx.prepare_cached("SELECT 1 FROM file WHERE blob = ?1 LIMIT 1")?;
                if !left.exists([id.as_bytes()])? {
                    tx.execute("DELETE FROM blob WHERE id = ?1", [id.as_bytes()])?;
                    tx.execute("DELETE FROM blob_relay WHERE id = ?1", [id.as_bytes()])?;
                    gone.push(id);
                }
            }
        }
        batch.commit()?;
        Ok(gone)
    }

    fn files_where(&self, tail: &str, values: impl tombolo_oplog::rusqlite::Params) -> Result<Vec<Found>, Error> {
        let mut statement = self.log().connection()?.prepare_cached(&format!("{FILE} {tail}"))?;
        let rows = statement.query_map(values, read)?;
        let mut found: Vec<Found> = rows.collect::<Result<_, _>>()?;
        let mut failed = None;
        // What looks at a conversation is made once for each.
        let mut looks = BTreeMap::new();
        found.retain(|row| {
            self.is_shown(row, &mut looks).unwrap_or_else(|error| {
                failed.get_or_insert(error);
                false
            })
        });
        failed.map_or(Ok(found), Err)
    }

    /// A message that waits for what it depends on is not shown, nor is one that was deleted, nor is what they carry.
    fn is_shown<'a>(
        &'a self,
        row: &Found,
        looks: &mut BTreeMap<ConversationId, Option<Look<'a>>>,
    ) -> Result<bool, Error> {
        let state = self.log().state(&row.conversation, &row.message)?;
        if state.is_none_or(|(state, _)| state != State::Delivered) {
            return Ok(false);
        }
        let look = match looks.entry(row.conversation) {
            Entry::Occupied(look) => look.into_mut(),
            Entry::Vacant(none) => none.insert(Look::at(self.log(), &row.conversation)?),
        };
        let Some(look) = look else { return Ok(false) };
        let Some(message) = look.message(&MessageRef { hlc: row.hlc, id: row.message })? else { return Ok(true) };
        Ok(look.facets(&message)?.deleted.is_none())
    }

    /// Files of a conversation, of one message (by a beginning of its id), or all, in display order.
    pub(crate) fn files(
        &mut self,
        folder: &Folder,
        conversation: Option<ConversationId>,
        message: Option<&str>,
    ) -> Result<Vec<FileRow>, Error> {
        self.scan_files()?;
        let found = match (conversation, message) {
            (Some(of), _) => self.files_where("WHERE conversation = ?1 ORDER BY hlc, message, n", [of.as_bytes()])?,
            (None, Some(begin)) => {
                let digits = begin.bytes().all(|digit| digit.is_ascii_hexdigit()) && !begin.is_empty();
                let begin = if digits { begin } else { "-" };
                self.files_where("WHERE hex(message) LIKE ?1 || '%' ORDER BY hlc, message, n", [begin])?
            }
            (None, None) => self.files_where("ORDER BY conversation, hlc, message, n", [])?,
        };
        let settings = self.file_settings()?;
        found.into_iter().map(|row| self.shown(folder, &settings, row)).collect()
    }

    fn shown(&self, folder: &Folder, settings: &FileSettings, row: Found) -> Result<FileRow, Error> {
        let id = BlobId(row.file.blob);
        let sql = "SELECT wanted, failed FROM blob WHERE id = ?1";
        let known = |row: &Row<'_>| Ok((row.get::<_, i64>(0)? > 0, row.get::<_, Option<String>>(1)?));
        let known = self.log().connection()?.prepare_cached(sql)?.query_row([id.as_bytes()], known).optional()?;
        let (wanted, failed) = known.unwrap_or_default();
        let sql = "SELECT count(*) FROM blob_relay WHERE id = ?1";
        let relays: i64 = self.log().connection()?.prepare_cached(sql)?.query_row([id.as_bytes()], |row| row.get(0))?;
        let own = row.author == self.device();
        let state = match failed {
            _ if folder.has(&id) && own && relays == 0 => FileState::Local,
            _ if folder.has(&id) => FileState::Here,
            Some(why) => FileState::Failed(why),
            None if folder.come(&id) > 0 => FileState::Coming(folder.come(&id)),
            None if wanted || row.file.bytes <= settings.automatic_bytes => FileState::Wanted,
            None => FileState::Elsewhere,
        };
        Ok(FileRow {
            conversation: row.conversation,
            message: row.message,
            n: row.n,
            hlc: row.hlc.0,
            author: row.author,
            own,
            state,
            relays: relays as u64,
            file: row.file,
        })
    }

    /// Blobs that this device wrote about and that a relay does not hold yet.
    pub(crate) fn uploads(
        &mut self,
        folder: &Folder,
        url: &str,
        key: &DeviceId,
        all: bool,
    ) -> Result<Vec<Errand>, Error> {
        self.scan_files()?;
        let tail = "WHERE author = ?1 AND NOT EXISTS (SELECT 1 FROM blob_relay r WHERE r.id = file.blob AND r.url = ?2) \
                    ORDER BY hlc, message, n";
        let device = self.device();
        let found = self.files_where(tail, params![device.as_bytes(), url])?;
        let mut errands = self.of_relay(found, url, key, all)?;
        errands.retain(|errand| folder.has(&errand.id));
        Ok(errands)
    }

    /// Blobs that are to come here and that a relay may hold.
    pub(crate) fn downloads(
        &mut self,
        folder: &Folder,
        url: &str,
        key: &DeviceId,
        all: bool,
    ) -> Result<Vec<Errand>, Error> {
        self.scan_files()?;
        let settings = self.file_settings()?;
        let tail = "WHERE EXISTS (SELECT 1 FROM blob b WHERE b.id = file.blob AND b.here = 0 AND b.failed IS NULL \
                    AND (b.wanted > 0 OR file.bytes <= ?1)) ORDER BY hlc DESC, message, n";
        let automatic = i64::try_from(settings.automatic_bytes).unwrap_or(i64::MAX);
        let found = self.files_where(tail, [automatic])?;
        let mut errands = self.of_relay(found, url, key, all)?;
        for errand in &errands {
            if folder.has(&errand.id) {
                self.note_here(&errand.id)?;
            }
        }
        errands.retain(|errand| !folder.has(&errand.id));
        // What comes by itself stays within a sum; what was asked for always comes.
        let wanted = self.asked_for()?;
        let mut room = settings.automatic_total_bytes.saturating_sub(self.come_by_itself(folder, &wanted)?);
        errands.retain(|errand| {
            let fits = wanted.contains(&errand.id) || errand.file.bytes <= room;
            if fits && !wanted.contains(&errand.id) {
                room -= errand.file.bytes;
            }
            fits
        });
        Ok(errands)
    }

    fn asked_for(&self) -> Result<BTreeSet<BlobId>, Error> {
        let mut statement = self.log().connection()?.prepare_cached("SELECT id FROM blob WHERE wanted > 0")?;
        let rows = statement.query_map([], |row| Ok(BlobId(row.get(0)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// **Bytes** of files of others that are here although nobody asked for them.
    fn come_by_itself(&self, folder: &Folder, wanted: &BTreeSet<BlobId>) -> Result<u64, Error> {
        let sql = "SELECT blob, max(bytes) FROM file WHERE author <> ?1 GROUP BY blob";
        let mut statement = self.log().connection()?.prepare_cached(sql)?;
        let device = self.device();
        let mut rows = statement.query([device.as_bytes()])?;
        let mut sum = 0;
        while let Some(row) = rows.next()? {
            let (id, bytes) = (BlobId(row.get(0)?), row.get::<_, i64>(1)? as u64);
            if !wanted.contains(&id) && folder.has(&id) {
                sum += bytes;
            }
        }
        Ok(sum)
    }

    /// Each blob once, of the conversations that a relay is named for.
    fn of_relay(&self, found: Vec<Found>, url: &str, key: &DeviceId, all: bool) -> Result<Vec<Errand>, Error> {
        let mut seen = BTreeSet::new();
        let mut known: BTreeMap<ConversationId, bool> = BTreeMap::new();
        let mut errands = Vec::new();
        for row in found {
            let named = match known.get(&row.conversation) {
                Some(named) => *named,
                None => {
                    let relays = self.log().relays(&row.conversation)?;
                    let named = all || relays.iter().any(|relay| relay.url == url || relay.key == key.0);
                    known.insert(row.conversation, named);
                    named
                }
            };
            let id = BlobId(row.file.blob);
            if named && seen.insert(id) {
                errands.push(Errand { id, file: row.file });
            }
        }
        Ok(errands)
    }

    /// A blob is in the folder.
    pub(crate) fn note_here(&mut self, id: &BlobId) -> Result<(), Error> {
        self.set_blob("UPDATE blob SET here = 1 WHERE id = ?1", id, None)
    }

    /// A relay holds a blob whole, or does so no longer.
    pub(crate) fn note_relay(&mut self, id: &BlobId, url: &str, holds: bool) -> Result<(), Error> {
        let batch = self.replica().log_mut().batch()?;
        let sql = if holds {
            "INSERT INTO blob_relay (id, url) VALUES (?1, ?2) ON CONFLICT DO NOTHING"
        } else {
            "DELETE FROM blob_relay WHERE id = ?1 AND url = ?2"
        };
        batch.transaction()?.execute(sql, params![id.as_bytes(), url])?;
        Ok(batch.commit()?)
    }

    /// Somebody wants a blob; what was wrong with it before is forgotten.
    pub(crate) fn want_blob(&mut self, id: &BlobId) -> Result<(), Error> {
        self.set_blob("UPDATE blob SET here = 0, wanted = 1, failed = NULL WHERE id = ?1", id, None)
    }

    /// A blob is not what was said of it: nobody asks for it by itself any more.
    pub(crate) fn fail_blob(&mut self, id: &BlobId, why: &str) -> Result<(), Error> {
        self.set_blob("UPDATE blob SET failed = ?2 WHERE id = ?1", id, Some(why))
    }

    fn set_blob(&mut self, sql: &str, id: &BlobId, why: Option<&str>) -> Result<(), Error> {
        let batch = self.replica().log_mut().batch()?;
        match why {
            Some(why) => batch.transaction()?.execute(sql, params![id.as_bytes(), why])?,
            None => batch.transaction()?.execute(sql, params![id.as_bytes()])?,
        };
        Ok(batch.commit()?)
    }

    /// Limits that the person set, or those that hold without a word.
    pub(crate) fn file_settings(&self) -> Result<FileSettings, Error> {
        let mut settings = FileSettings::default();
        let mut statement = self.log().connection()?.prepare_cached("SELECT name, value FROM file_setting")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (name, value): (String, i64) = (row.get(0)?, row.get(1)?);
            let value = value as u64;
            match name.as_str() {
                "largest" => settings.largest_bytes = value,
                "automatic" => settings.automatic_bytes = value,
                "automatic-total" => settings.automatic_total_bytes = value,
                _ => {}
            }
        }
        Ok(settings)
    }

    /// Sets the limits.
    pub(crate) fn set_file_settings(&mut self, settings: &FileSettings) -> Result<(), Error> {
        let batch = self.replica().log_mut().batch()?;
        for (name, value) in [
            ("largest", settings.largest_bytes),
            ("automatic", settings.automatic_bytes),
            ("automatic-total", settings.automatic_total_bytes),
        ] {
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            let sql = "INSERT OR REPLACE INTO file_setting (name, value) VALUES (?1, ?2)";
            batch.transaction()?.execute(sql, params![name, value])?;
        }
        Ok(batch.commit()?)
    }
}
