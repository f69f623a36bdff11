//! A batch: one write transaction. Everything in it becomes durable with one commit, or nothing does.
//!
//! Responsible for: beginning, committing, giving up, and the small writes that belong to synchronising (cursors,
//! acknowledgements, proofs, sketches, relays named locally). Not here: appending ops (`append.rs`), delivery
//! (`deliver.rs`), repairs (`repair.rs`).

use crate::append::{Appended, Incoming};
use crate::cache::{Cache, Conversation, LogRow};
use crate::{Cursor, Fold, LogError, Lost, Reader, scrub};
use core::borrow::Borrow;
use core::fmt;
use rusqlite::{CachedStatement, Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use tombolo_model::{ConversationId, DeviceId, LogId, RelayAddress};

/// See the head of this file. Dropping a batch without [`Batch::commit`] rolls it back.
pub struct Batch<'a> {
    pub(crate) reader: &'a Reader,
    pub(crate) conn: &'a Connection,
    pub(crate) cache: &'a mut Cache,
    /// `None` once the batch is over.
    pub(crate) tx: Option<Transaction<'a>>,
    /// The one statement that runs for every op, kept at hand.
    pub(crate) insert: Option<CachedStatement<'a>>,
    /// A step has failed, so rows and memory may differ.
    failed: bool,
    /// Something was let go of that must not stay in the WAL.
    pub(crate) wipes: bool,
}

impl<'a> Batch<'a> {
    pub(crate) fn begin(reader: &'a Reader, cache: &'a mut Cache) -> Result<Self, LogError> {
        let conn = reader.db()?;
        let begun = Transaction::new_unchecked(conn, TransactionBehavior::Immediate);
        let tx = begun.map_err(|error| note(reader, error.into()))?;
        let refreshed = cache.refresh(conn, reader.incarnation());
        let mut batch = Self { reader, conn, cache, tx: Some(tx), insert: None, failed: false, wipes: false };
        batch.guard(|_| refreshed)?;
        Ok(batch)
    }

    /// Runs a step; after a failed one the batch cannot be kept.
    pub(crate) fn guard<T>(&mut self, step: impl FnOnce(&mut Self) -> Result<T, LogError>) -> Result<T, LogError> {
        if self.failed {
            return Err(LogError::Abandoned);
        }
        step(self).map_err(|error| {
            self.failed = true;
            note(self.reader, error)
        })
    }

    /// Appends ops, in the given order. Signatures and certificates have been checked by the caller; everything else is
    /// checked here. An op that is refused changes nothing and is named in the answer.
    ///
    /// `from` is the peer that brought them; `None` = this device has just written them, which opens their log for
    /// further writing. `now_ms` (**milliseconds** since 1970) decides what is early. `fold` is given each op that
    /// becomes delivered, in causal order, inside this transaction.
    ///
    /// # Errors
    /// [`LogError`] of SQLite or of the fold; the batch is lost then.
    pub fn append(
        &mut self,
        ops: impl IntoIterator<Item: Borrow<Incoming>>,
        from: Option<&DeviceId>,
        now_ms: u64,
        fold: &mut dyn Fold,
    ) -> Result<Appended, LogError> {
        self.guard(|batch| batch.append_all(ops, from, now_ms, fold))
    }

    /// Lets early ops go whose time has come, and what waited for them. Returns how many were delivered, and whose bodies
    /// they erased.
    ///
    /// # Errors
    /// As [`Batch::append`].
    pub fn release_early(&mut self, now_ms: u64, fold: &mut dyn Fold) -> Result<(usize, Vec<Lost>), LogError> {
        self.guard(|batch| batch.release(now_ms, fold))
    }

    /// The log as this batch has made it so far.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn reads(&mut self) -> Result<&'a Reader, LogError> {
        self.guard(|batch| batch.cache.flush(batch.conn))?;
        Ok(self.reader)
    }

    /// The transaction, for tables of other parts of the file.
    ///
    /// # Errors
    /// [`LogError::Abandoned`] when a step has failed.
    pub fn transaction(&self) -> Result<&Transaction<'a>, LogError> {
        if self.failed { Err(LogError::Abandoned) } else { self.tx.as_ref().ok_or(LogError::Abandoned) }
    }

    /// Makes everything durable. When this returns `Ok`, it survives a power cut; when not, nobody knows, and the store
    /// must be opened again.
    ///
    /// # Errors
    /// [`LogError::Abandoned`] when a step had failed; otherwise [`LogError`] of the commit, after which everything says
    /// [`LogError::Poisoned`].
    pub fn commit(mut self) -> Result<(), LogError> {
        self.guard(|batch| batch.cache.flush(batch.conn))?;
        if self.wipes {
            self.guard(|batch| scrub::begin(batch.conn))?;
        }
        self.insert = None;
        let tx = self.tx.take().ok_or(LogError::Abandoned)?;
        if let Err(error) = tx.commit() {
            self.failed = true;
            self.reader.poison();
            return Err(error.into());
        }
        self.cache.trim();
        if self.wipes {
            self.reader.set_unwiped(true);
        }
        Ok(())
    }

    /// Remembers how far a peer's order of arrival has been read.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn set_peer_cursor(&mut self, peer: &DeviceId, cursor: Cursor) -> Result<(), LogError> {
        self.guard(|batch| {
            let n = batch.peer(peer)?;
            let mut statement = batch.conn.prepare_cached(
                "UPDATE peer SET their_incarnation = ?2, their_position = ?3, their_chain = ?4 WHERE n = ?1",
            )?;
            let (incarnation, position) = (cursor.incarnation as i64, cursor.position as i64);
            statement.execute(params![n, incarnation, position, cursor.chain.0])?;
            Ok(())
        })
    }

    /// Forgets how far a peer's order of arrival has been read: it turned out to be another history.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn forget_peer_cursor(&mut self, peer: &DeviceId) -> Result<(), LogError> {
        self.guard(|batch| {
            let n = batch.peer(peer)?;
            let mut statement = batch.conn.prepare_cached(
                "UPDATE peer SET their_incarnation = NULL, their_position = NULL, their_chain = NULL WHERE n = ?1",
            )?;
            statement.execute([n])?;
            Ok(())
        })
    }

    /// Forgets how far every peer was read and what each of them was known to hold: the store is another replica's from
    /// now on, which nobody has met yet. Who brought which op is kept.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn forget_peers(&mut self) -> Result<(), LogError> {
        self.guard(|batch| {
            batch.conn.execute(
                "UPDATE peer SET their_incarnation = NULL, their_position = NULL, their_chain = NULL, acked = 0, \
                 streamed = 0",
                [],
            )?;
            batch.conn.execute_batch("DELETE FROM proven; DELETE FROM register_peer;")?;
            Ok(())
        })
    }

    /// Remembers that a peer durably holds what it may see up to our arrival `position`. Never goes back.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn set_acked(&mut self, peer: &DeviceId, position: u64) -> Result<(), LogError> {
        self.guard(|batch| {
            let n = batch.peer(peer)?;
            let mut statement = batch.conn.prepare_cached("UPDATE peer SET acked = max(acked, ?2) WHERE n = ?1")?;
            statement.execute(params![n, position as i64])?;
            Ok(())
        })
    }

    /// As [`Batch::set_acked`], by an acknowledgement of a batch that carried our cursor: the peer has stored that cursor
    /// together with the ops, so a later one of its cursors below `position` means that it has lost them.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn set_streamed(&mut self, peer: &DeviceId, position: u64) -> Result<(), LogError> {
        self.guard(|batch| {
            let n = batch.peer(peer)?;
            let mut statement = batch
                .conn
                .prepare_cached("UPDATE peer SET acked = max(acked, ?2), streamed = max(streamed, ?2) WHERE n = ?1")?;
            statement.execute(params![n, position as i64])?;
            Ok(())
        })
    }

    /// Counts everything that a peer acknowledged as lost: it was restored, emptied or replaced.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn reset_acked(&mut self, peer: &DeviceId) -> Result<(), LogError> {
        self.guard(|batch| {
            let n = batch.peer(peer)?;
            batch.conn.prepare_cached("UPDATE peer SET acked = 0, streamed = 0 WHERE n = ?1")?.execute([n])?;
            Ok(())
        })
    }

    /// Remembers when a peer was met.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn set_peer_seen(&mut self, peer: &DeviceId, at_ms: u64) -> Result<(), LogError> {
        self.guard(|batch| {
            let n = batch.peer(peer)?;
            let mut statement =
                batch.conn.prepare_cached("UPDATE peer SET last_seen_ms = max(last_seen_ms, ?2) WHERE n = ?1")?;
            statement.execute(params![n, at_ms as i64])?;
            Ok(())
        })
    }

    /// Remembers an equal comparison.
    ///
    /// # Errors
    /// [`LogError::UnknownConversation`], [`LogError`] of SQLite.
    pub fn set_proven(
        &mut self,
        conversation: &ConversationId,
        peer: &DeviceId,
        at_ms: u64,
        position: u64,
        ops: u64,
    ) -> Result<(), LogError> {
        self.guard(|batch| {
            let (n, peer) = (batch.known_conversation(conversation)?, batch.peer(peer)?);
            let mut statement = batch.conn.prepare_cached(
                "INSERT OR REPLACE INTO proven (conversation, peer, at_ms, position, ops) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?;
            statement.execute(params![n, peer, at_ms as i64, position as i64, ops as i64])?;
            Ok(())
        })
    }

    /// Stores a conversation's sketch, current up to arrival `through`.
    ///
    /// # Errors
    /// [`LogError::UnknownConversation`], [`LogError`] of SQLite.
    pub fn put_sketch(
        &mut self,
        conversation: &ConversationId,
        cells: &[u8],
        estimator: &[u8],
        through: u64,
    ) -> Result<(), LogError> {
        self.guard(|batch| {
            let n = batch.known_conversation(conversation)?;
            let mut statement = batch.conn.prepare_cached(
                "INSERT OR REPLACE INTO sketch (conversation, cells, estimator, through) VALUES (?1, ?2, ?3, ?4)",
            )?;
            statement.execute(params![n, cells, estimator, through as i64])?;
            Ok(())
        })
    }

    /// Stores a small named value. `incarnation` is the log's own name.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn put_meta(&mut self, key: &str, value: &[u8]) -> Result<(), LogError> {
        self.guard(|batch| {
            let mut statement =
                batch.conn.prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)")?;
            statement.execute(params![key, value])?;
            Ok(())
        })
    }

    /// Names a relay of a conversation locally, as an invitation says; it comes before those that ops name.
    ///
    /// # Errors
    /// [`LogError::UnknownConversation`], [`LogError`] of SQLite.
    pub fn add_relay(&mut self, conversation: &ConversationId, relay: &RelayAddress) -> Result<(), LogError> {
        self.guard(|batch| {
            let n = batch.known_conversation(conversation)?;
            let since = batch.cache.position;
            batch.put_relay(n, relay, 0, &[], since)
        })
    }

    /// Closes all own logs: the next own op of every conversation begins a new log. For whenever this device cannot show
    /// that its tail is its last.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn begin_new_logs(&mut self) -> Result<(), LogError> {
        self.guard(|batch| {
            batch.conn.prepare_cached("UPDATE own_log SET open = 0 WHERE open = 1")?.execute([])?;
            for log in batch.cache.logs.values_mut() {
                log.open = false;
            }
            Ok(())
        })
    }

    /// Number of a peer; it is made when it is new.
    pub(crate) fn peer(&mut self, device: &DeviceId) -> Result<i64, LogError> {
        let mut statement = self.conn.prepare_cached("SELECT n FROM peer WHERE device = ?1")?;
        let found: Option<i64> = statement.query_row([device.as_bytes()], |row| row.get(0)).optional()?;
        match found {
            Some(n) => Ok(n),
            None => {
                let mut statement =
                    self.conn.prepare_cached("INSERT INTO peer (device, acked, last_seen_ms) VALUES (?1, 0, 0)")?;
                Ok(statement.insert([device.as_bytes()])?)
            }
        }
    }

    /// Brings a conversation into memory.
    pub(crate) fn conversation(&mut self, id: &ConversationId) -> Result<Option<&mut Conversation>, LogError> {
        if !self.cache.conversations.contains_key(id)
            && let Some(loaded) = Conversation::load(self.conn, id)?
        {
            self.cache.conversations.insert(*id, loaded);
        }
        Ok(self.cache.conversations.get_mut(id))
    }

    /// Brings a log into memory.
    pub(crate) fn log(&mut self, n: i64, author: &DeviceId, log: &LogId) -> Result<Option<&mut LogRow>, LogError> {
        let key = (n, *author, *log);
        if !self.cache.logs.contains_key(&key)
            && let Some(loaded) = LogRow::load(self.conn, n, author, log)?
        {
            self.cache.logs.insert(key, loaded);
        }
        Ok(self.cache.logs.get_mut(&key))
    }

    pub(crate) fn known_conversation(&mut self, id: &ConversationId) -> Result<i64, LogError> {
        let found = self.conversation(id)?;
        found.map(|conversation| conversation.n).ok_or(LogError::UnknownConversation(*id))
    }
}

impl fmt::Debug for Batch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("position", &self.cache.position).field("failed", &self.failed).finish()
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.insert = None;
        // The transaction rolls back by itself; what memory says is then ahead of the rows.
        if self.failed || self.tx.is_some() {
            *self.cache = Cache::default();
            self.reader.proofs.borrow_mut().clear();
        }
    }
}

/// An error of the disk leaves open what is on it.
fn note(reader: &Reader, error: LogError) -> LogError {
    if matches!(error, LogError::Io(_)) {
        reader.poison();
    }
    error
}
