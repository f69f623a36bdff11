//! The fold: how an op changes what people see.
//!
//! Responsible for: rows of messages, titles and names; equal imports counting once; late marks; the seen frontier.
//! Not here: reading the rows (`read.rs`), rebuilding them (`check.rs`), the tables (`schema.rs`).
//!
//! Rules that do not depend on the order of arrival: a message's row is a function of its op; title and name are those of
//! the greatest (hlc, id); of several imports with one source key the one with the smallest (hlc, id) is shown. Ops may be
//! given twice (a repaired op is): the rows stay the same.

use crate::gone::{self, For};
use crate::read::{KIND_NEWER, KIND_SEALED, KIND_TEXT};
use crate::reading::{At, Elsewhere, Me, OwnReading, clear_mark, put_speaker};
use crate::{Place, beside, search};
use rusqlite::{OptionalExtension, Transaction, params};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use tombolo_model::content::{Content, Imported};
use tombolo_model::{AccountId, Class, ConversationId, DeviceId, Op, OpId, Register};
use tombolo_oplog::{Delivered, Fold, Gone, LogError, Opened, ReadBody, Reader};

/// Opens sealed bodies. The client gives one in; this crate holds no keys.
pub trait Opener: Send + Sync {
    /// What an op of class content says; `None` when it cannot be read (yet): no body, no key, or not as any version
    /// writes it.
    fn open(&self, op: &Op) -> Option<Content>;

    /// What a register of one of this person's own devices says; `None` when it cannot be read.
    fn reading(&self, register: &Register) -> Option<OwnReading> {
        let _ = register;
        None
    }
}

/// Folds delivered ops into the tables of the views.
pub struct Views {
    opener: Arc<dyn Opener>,
    own: DeviceId,
    now_ms: u64,
    /// What was read ahead. Gone when its op is delivered, or the next is given in.
    opened: Opened,
    /// Seen frontiers by number of the conversation, as far as they were looked up since [`Fold::begin`].
    seen: BTreeMap<i64, Option<(i64, OpId)>>,
    /// The account of this person: its devices read together.
    pub(crate) account: Option<AccountId>,
    /// What its registers say, by number of the conversation.
    pub(crate) elsewhere: BTreeMap<i64, Elsewhere>,
    /// Looked up since [`Fold::begin`].
    fresh: BTreeSet<i64>,
    /// Logs of messages since then.
    pub(crate) spoken: BTreeSet<(i64, i64)>,
    /// Messages came that were read elsewhere: the seen frontier rises over them at [`Fold::end`].
    raise: BTreeMap<i64, At>,
    /// Delivered since then, to be written with one statement at [`Fold::end`].
    messages: Vec<Row>,
}

/// A message's row.
struct Row {
    numbers: Numbers,
    at: i64,
    id: OpId,
    kind: i64,
    late: i64,
    came_ms: Option<i64>,
    text: String,
}

impl fmt::Debug for Views {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Views").field("own", &self.own).field("now_ms", &self.now_ms).finish_non_exhaustive()
    }
}

/// What rows name an op by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbers {
    conversation: i64,
    log: i64,
    arrival: i64,
}

impl Numbers {
    pub(crate) fn conversation(&self) -> i64 {
        self.conversation
    }

    pub(crate) fn arrival(&self) -> u64 {
        self.arrival as u64
    }

    fn of(delivered: &Delivered<'_>) -> Self {
        Self { conversation: delivered.n, log: delivered.log, arrival: delivered.arrival as i64 }
    }

    /// Reads them from the op's row.
    pub(crate) fn read(tx: &Transaction<'_>, arrival: u64) -> Result<Self, rusqlite::Error> {
        let arrival = arrival as i64;
        let mut statement = tx.prepare_cached("SELECT conversation, log FROM op WHERE arrival = ?1")?;
        statement.query_row([arrival], |row| Ok(Self { conversation: row.get(0)?, log: row.get(1)?, arrival }))
    }
}

/// How a message's late mark comes about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mark {
    /// By what has been seen.
    Judge {
        /// The local device has just written it: it has seen everything up to there.
        written: bool,
    },
    /// As it was.
    Keep { late: i64, came_ms: Option<i64> },
}

impl Views {
    /// Views of the device `own`.
    #[must_use]
    pub fn new(opener: Box<dyn Opener>, own: DeviceId) -> Self {
        Self {
            opener: opener.into(),
            own,
            now_ms: 0,
            opened: Opened::new(),
            seen: BTreeMap::new(),
            account: None,
            elsewhere: BTreeMap::new(),
            fresh: BTreeSet::new(),
            spoken: BTreeSet::new(),
            raise: BTreeMap::new(),
            messages: Vec::new(),
        }
    }

    /// Of the account that this device belongs to: what its devices have read and written counts as own.
    #[must_use]
    pub fn of_account(mut self, account: AccountId) -> Self {
        self.account = Some(account);
        self
    }

    pub(crate) fn opener(&self) -> &dyn Opener {
        &*self.opener
    }

    /// The wall clock as it was set last, **milliseconds** since 1970.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Whose unread counts these views hold.
    #[must_use]
    pub fn me(&self) -> Me {
        Me { device: self.own, account: self.account }
    }

    /// Sets the wall clock (**milliseconds** since 1970) that late messages get as the time at which they came. To be
    /// called before ops are stored; 0 = not known.
    pub fn set_now(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
    }

    /// The device whose views these are.
    #[must_use]
    pub fn own(&self) -> DeviceId {
        self.own
    }

    /// What an op says; `None` when it cannot be read.
    #[must_use]
    pub fn open(&self, op: &Op) -> Option<Content> {
        open(&*self.opener, op)
    }

    /// The same, once, from what was read ahead.
    fn take(&mut self, op: &Op) -> Option<Content> {
        // What was read ahead of an op that is stored without its body is not to be shown.
        op.body.as_ref()?;
        // Nearly always the first one.
        match self.opened.iter().position(|(id, _)| *id == op.id) {
            Some(at) => self.opened.remove(at).map(|(_, content)| content),
            None => self.open(op),
        }
    }

    /// Where an op stands in display order, so that an id can be used as a cursor. `None` when it is not held.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn place_of(
        &self,
        reader: &Reader,
        conversation: &ConversationId,
        id: &OpId,
    ) -> Result<Option<Place>, LogError> {
        Ok(reader.op(conversation, id)?.map(|op| match self.open(&op) {
            Some(Content::Imported(imported)) => place_of_import(&op, &imported),
            _ => Place::native(op.header.hlc, op.id),
        }))
    }

    /// Reads again whatever was sealed when it came, e.g. because its key was not here yet. Returns how many messages
    /// could be read now. Cost: all messages of the conversation.
    ///
    /// # Errors
    /// [`LogError`] of SQLite: the batch is to be given up.
    pub fn reopen(
        &mut self,
        reader: &Reader,
        tx: &Transaction<'_>,
        conversation: &ConversationId,
    ) -> Result<usize, LogError> {
        let sealed: Vec<(u64, Vec<u8>)> = {
            let mut statement = tx.prepare_cached(
                "SELECT arrival, id FROM message WHERE kind = 1 AND section = 1 \
                 AND conversation = (SELECT n FROM conversation WHERE id = ?1)",
            )?;
            let rows = statement
                .query_map([conversation.as_bytes()], |row| Ok((row.get::<_, i64>(0)? as u64, row.get(1)?)))?;
            rows.collect::<Result<_, _>>()?
        };
        self.seen.clear();
        let mut opened = 0;
        for (arrival, id) in sealed {
            let id = OpId::try_from(id.as_slice()).map_err(|_| LogError::Damaged("id of a message".into()))?;
            let Some(op) = reader.op(conversation, &id)? else { continue };
            if self.open(&op).is_some() {
                self.fold_again(tx, &op, Numbers::read(tx, arrival)?)?;
                opened += 1;
            }
        }
        // Registers that came before the key did.
        let sql = "SELECT n FROM conversation WHERE id = ?1";
        let n: Option<i64> =
            tx.prepare_cached(sql)?.query_row([conversation.as_bytes()], |row| row.get(0)).optional()?;
        if let Some(n) = n {
            self.elsewhere.remove(&n);
            self.reread(tx, n)?;
        }
        Ok(opened)
    }

    /// Folds one delivered op. Its message is written by [`Views::write`].
    pub(crate) fn fold(
        &mut self,
        tx: &Transaction<'_>,
        op: &Op,
        numbers: Numbers,
        mark: Mark,
    ) -> Result<(), rusqlite::Error> {
        if op.header.class != Class::Content {
            return Ok(());
        }
        match self.take(op) {
            Some(Content::Text(text)) => {
                self.put_message(tx, op, numbers, (KIND_TEXT, text), mark)?;
                if let Mark::Judge { written: true } = mark {
                    self.raise_seen_to(tx, op, numbers)?;
                }
                Ok(())
            }
            Some(Content::Message(mut message)) => {
                let text = std::mem::take(&mut message.text);
                beside::put(tx, numbers.conversation, numbers.log, op, &Content::Message(message))?;
                self.put_message(tx, op, numbers, (KIND_TEXT, text), mark)?;
                if let Mark::Judge { written: true } = mark {
                    self.raise_seen_to(tx, op, numbers)?;
                }
                Ok(())
            }
            Some(
                content @ (Content::Edit(_)
                | Content::Delete(_)
                | Content::Restore(_)
                | Content::Reaction(_)
                | Content::Set(_)
                | Content::Tag(_)),
            ) => {
                beside::put(tx, numbers.conversation, numbers.log, op, &content)?;
                match content {
                    Content::Delete(delete) => self.stand_in(tx, numbers.conversation, &delete.message.id),
                    _ => Ok(()),
                }
            }
            Some(Content::Unknown(_)) => self.put_message(tx, op, numbers, (KIND_NEWER, String::new()), mark),
            Some(Content::Imported(imported)) => {
                put_imported(tx, op, numbers, &imported)?;
                beside::put(tx, numbers.conversation, numbers.log, op, &Content::Imported(imported))
            }
            Some(Content::Title(title)) => put_title(tx, op, numbers, &title),
            Some(Content::Name(name)) => put_name(tx, op, numbers, &name),
            None if op.body.is_none() => match gone::kind_without_body(tx, op, numbers)? {
                Some(kind) => self.put_message(tx, op, numbers, (kind, String::new()), mark),
                None => Ok(()),
            },
            None => self.put_message(tx, op, numbers, (KIND_SEALED, String::new()), mark),
        }
    }

    /// Folds an op whose row says "sealed", keeping its late mark.
    fn fold_again(&mut self, tx: &Transaction<'_>, op: &Op, numbers: Numbers) -> Result<(), rusqlite::Error> {
        self.write(tx)?;
        let mut statement = tx.prepare_cached(
            "DELETE FROM message WHERE conversation = ?1 AND section = 1 AND at = ?2 AND sub = 0 AND id = ?3 \
             RETURNING late, came_ms",
        )?;
        let kept = statement
            .query_row(params![numbers.conversation, op.header.hlc.0 as i64, op.id.as_bytes()], |row| {
                Ok(Mark::Keep { late: row.get(0)?, came_ms: row.get(1)? })
            })
            .optional()?;
        self.fold(tx, op, numbers, kept.unwrap_or(Mark::Judge { written: false }))?;
        search::came_later(tx, numbers.arrival)?;
        self.write(tx)
    }

    pub(crate) fn put_message(
        &mut self,
        tx: &Transaction<'_>,
        op: &Op,
        numbers: Numbers,
        (kind, text): (i64, String),
        mark: Mark,
    ) -> Result<(), rusqlite::Error> {
        let at = op.header.hlc.0 as i64;
        let (late, came_ms) = match mark {
            Mark::Keep { late, came_ms } => (late, came_ms),
            // What this device wrote itself is never late for it.
            Mark::Judge { .. } if op.header.author == self.own => (0, None),
            Mark::Judge { .. } => self.judge(tx, numbers.conversation, op)?,
        };
        self.messages.push(Row { numbers, at, id: op.id, kind, late, came_ms, text });
        Ok(())
    }

    /// Whether a message comes late: below what this person has seen, and not read on another of its devices.
    fn judge(&mut self, tx: &Transaction<'_>, n: i64, op: &Op) -> Result<(i64, Option<i64>), rusqlite::Error> {
        let at = (op.header.hlc.0 as i64, op.id);
        if self.fresh.insert(n) {
            self.load_elsewhere(tx, n)?;
        }
        let read = self.is_read_elsewhere(n, &op.header.log, op.header.seq);
        Ok(match self.seen(tx, n)? {
            Some(seen) if at < seen && read => (0, None),
            // Own words from another device are slotted in, but never unread.
            Some(seen) if at < seen => {
                (if self.is_own(tx, n, &op.header.author)? { 2 } else { 1 }, Some(self.now_ms as i64))
            }
            _ => {
                if read {
                    let raise = self.raise.entry(n).or_insert(at);
                    *raise = (*raise).max(at);
                }
                (0, None)
            }
        })
    }

    /// Writes what was put off: one plain insert per message. One that is shown already, as after a repair, keeps its late
    /// mark.
    pub(crate) fn write(&mut self, tx: &Transaction<'_>) -> Result<(), rusqlite::Error> {
        if self.messages.is_empty() {
            return Ok(());
        }
        let mut statement = tx.prepare_cached(
            "INSERT INTO message (conversation, section, at, sub, id, arrival, log, kind, late, came_ms, text) \
             VALUES (?1, 1, ?2, 0, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING",
        )?;
        for row in self.messages.drain(..) {
            let Row { numbers: Numbers { conversation, log, arrival }, at, id, kind, late, came_ms, text } = row;
            if self.spoken.insert((conversation, log)) {
                put_speaker(tx, conversation, log)?;
            }
            let id = id.as_bytes();
            if statement.execute(params![conversation, at, id, arrival, log, kind, late, came_ms, text])? == 0 {
                let mut statement = tx.prepare_cached(
                    "UPDATE message SET arrival = ?4, log = ?5, kind = ?6, text = ?7 \
                     WHERE conversation = ?1 AND section = 1 AND at = ?2 AND sub = 0 AND id = ?3",
                )?;
                statement.execute(params![conversation, at, id, arrival, log, kind, text])?;
            }
        }
        Ok(())
    }

    /// The newest place that this person has seen, of section 1.
    pub(crate) fn seen(
        &mut self,
        tx: &Transaction<'_>,
        conversation: i64,
    ) -> Result<Option<(i64, OpId)>, rusqlite::Error> {
        if let Some(seen) = self.seen.get(&conversation) {
            return Ok(*seen);
        }
        let mut statement = tx.prepare_cached("SELECT at, id FROM seen WHERE conversation = ?1")?;
        let seen = statement.query_row([conversation], |row| Ok((row.get(0)?, OpId(row.get(1)?)))).optional()?;
        self.seen.insert(conversation, seen);
        Ok(seen)
    }

    /// What this device has just written, it has seen, with everything below.
    fn raise_seen_to(&mut self, tx: &Transaction<'_>, op: &Op, numbers: Numbers) -> Result<(), rusqlite::Error> {
        let place = (op.header.hlc.0 as i64, op.id);
        if self.seen(tx, numbers.conversation)?.is_none_or(|seen| seen < place) {
            self.set_seen(tx, numbers.conversation, place)?;
        }
        Ok(())
    }

    pub(crate) fn set_seen(&mut self, tx: &Transaction<'_>, n: i64, to: At) -> Result<(), rusqlite::Error> {
        let mut statement =
            tx.prepare_cached("INSERT OR REPLACE INTO seen (conversation, at, id) VALUES (?1, ?2, ?3)")?;
        statement.execute(params![n, to.0, to.1.as_bytes()])?;
        self.seen.insert(n, Some(to));
        Ok(())
    }

    pub(crate) fn forget_seen(&mut self, n: i64) {
        self.seen.remove(&n);
    }
}

impl Fold for Views {
    fn begin(&mut self) {
        self.seen.clear();
        self.messages.clear();
        self.fresh.clear();
        self.spoken.clear();
        self.raise.clear();
    }

    fn end(&mut self, tx: &Transaction<'_>) -> Result<(), rusqlite::Error> {
        self.write(tx)?;
        for (n, to) in std::mem::take(&mut self.raise) {
            self.raise_over(tx, n, to)?;
        }
        Ok(())
    }

    fn register(&mut self, tx: &Transaction<'_>, n: i64, register: &Register) -> Result<(), rusqlite::Error> {
        self.merge_register(tx, n, register)
    }

    fn read_ahead(&self) -> Option<ReadBody> {
        let opener = Arc::clone(&self.opener);
        Some(Arc::new(move |op| open(&*opener, op)))
    }

    fn was_read(&mut self, contents: Opened) {
        self.opened = contents;
    }

    fn deliver(&mut self, tx: &Transaction<'_>, delivered: &Delivered<'_>) -> Result<(), rusqlite::Error> {
        self.fold(tx, delivered.op, Numbers::of(delivered), Mark::Judge { written: delivered.own })
    }

    fn body(&mut self, tx: &Transaction<'_>, delivered: &Delivered<'_>) -> Result<(), rusqlite::Error> {
        self.fold_again(tx, delivered.op, Numbers::of(delivered))
    }

    fn gone(&mut self, tx: &Transaction<'_>, delivered: &Delivered<'_>, _: Gone) -> Result<(), rusqlite::Error> {
        self.let_go(tx, delivered.op, Numbers::of(delivered))
    }
}

fn open(opener: &dyn Opener, op: &Op) -> Option<Content> {
    if op.header.class == Class::Content && op.body.is_some() { opener.open(op) } else { None }
}

/// Notes that this person has been shown the places from `from` to `to`, both included: the seen frontier rises to `to`
/// (it never falls), late messages between them are no longer unread, and a mark "unread from here" up to `to` goes.
/// `now_ms`: **milliseconds** since 1970, for the stamp of that. Says whether anything changed.
///
/// # Errors
/// Of SQLite: the batch is to be given up.
pub fn mark_seen(
    tx: &Transaction<'_>,
    conversation: &ConversationId,
    from: &Place,
    to: &Place,
    now_ms: u64,
) -> Result<bool, rusqlite::Error> {
    use crate::Section::Native;
    if to.section != Native {
        return Ok(false);
    }
    let (from_at, from_id) = if from.section == Native { (from.at, from.id) } else { (0, OpId::ZERO) };
    let mut raise = tx.prepare_cached(
        "INSERT INTO seen (conversation, at, id) SELECT n, ?2, ?3 FROM conversation WHERE id = ?1 \
         ON CONFLICT (conversation) DO UPDATE SET at = excluded.at, id = excluded.id \
         WHERE (excluded.at, excluded.id) > (seen.at, seen.id)",
    )?;
    let raised = raise.execute(params![conversation.as_bytes(), to.at as i64, to.id.as_bytes()])?;
    let mut shown = tx.prepare_cached(
        "UPDATE message SET late = 2 WHERE late = 1 AND conversation = (SELECT n FROM conversation WHERE id = ?1) \
         AND section = 1 AND at BETWEEN ?2 AND ?4 AND (at, id) >= (?2, ?3) AND (at, id) <= (?4, ?5)",
    )?;
    let shown = shown.execute(params![
        conversation.as_bytes(),
        from_at as i64,
        from_id.as_bytes(),
        to.at as i64,
        to.id.as_bytes()
    ])?;
    let cleared = clear_mark(tx, conversation, to, now_ms)?;
    Ok(raised + shown > 0 || cleared)
}

fn put_title(tx: &Transaction<'_>, op: &Op, numbers: Numbers, title: &str) -> Result<(), rusqlite::Error> {
    let mut statement = tx.prepare_cached(
        "INSERT INTO title (conversation, title, hlc, id) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT (conversation) DO UPDATE SET title = excluded.title, hlc = excluded.hlc, id = excluded.id \
         WHERE (excluded.hlc, excluded.id) > (title.hlc, title.id)",
    )?;
    statement.execute(params![numbers.conversation, title, op.header.hlc.0 as i64, op.id.as_bytes()])?;
    gone::list(tx, op, numbers, &For::Title)
}

fn put_name(tx: &Transaction<'_>, op: &Op, numbers: Numbers, name: &str) -> Result<(), rusqlite::Error> {
    let mut statement = tx.prepare_cached(
        "INSERT INTO name (conversation, device, name, hlc, id) VALUES (?1, ?5, ?2, ?3, ?4) \
         ON CONFLICT (conversation, device) DO UPDATE SET name = excluded.name, hlc = excluded.hlc, id = excluded.id \
         WHERE (excluded.hlc, excluded.id) > (name.hlc, name.id)",
    )?;
    let (hlc, author) = (op.header.hlc.0 as i64, op.header.author.as_bytes());
    statement.execute(params![numbers.conversation, name, hlc, op.id.as_bytes(), author])?;
    gone::list(tx, op, numbers, &For::Name)
}

pub(crate) fn place_of_import(op: &Op, imported: &Imported) -> Place {
    Place::imported(imported.time_ms, imported.rank, op.header.hlc, op.id)
}

fn put_imported(tx: &Transaction<'_>, op: &Op, numbers: Numbers, imported: &Imported) -> Result<(), rusqlite::Error> {
    if insert_imported(tx, op, numbers, imported)? {
        return Ok(());
    }
    // The key is taken. The op that was written first by (hlc, id) is shown; this one, if it is the same, moves its row
    // to the arrival that it has now.
    let mut statement = tx.prepare_cached(
        "DELETE FROM message WHERE source_key = ?2 AND conversation = ?1 AND (sub, id) >= (?3, ?4) \
         RETURNING sub, id, arrival",
    )?;
    let sub = place_of_import(op, imported).sub as i64;
    let gives_way: Option<(i64, Vec<u8>, i64)> = statement
        .query_row(params![numbers.conversation, imported.source_key, sub, op.id.as_bytes()], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    match gives_way {
        None => gone::list(tx, op, numbers, &For::Line(&imported.source_key)),
        Some(other) => {
            if other.1 != op.id.as_bytes() {
                gone::list_line(tx, numbers.conversation, &imported.source_key, other)?;
            }
            insert_imported(tx, op, numbers, imported)?;
            Ok(())
        }
    }
}

/// Says whether the key was free.
fn insert_imported(
    tx: &Transaction<'_>,
    op: &Op,
    numbers: Numbers,
    imported: &Imported,
) -> Result<bool, rusqlite::Error> {
    let place = place_of_import(op, imported);
    let mut statement = tx.prepare_cached(
        "INSERT INTO message (conversation, section, at, sub, id, arrival, log, kind, late, source_key, who, text) \
         VALUES (?1, 0, ?2, ?3, ?4, ?5, ?6, 0, 0, ?7, ?8, ?9) ON CONFLICT DO NOTHING",
    )?;
    let inserted = statement.execute(params![
        numbers.conversation,
        place.at as i64,
        place.sub as i64,
        op.id.as_bytes(),
        numbers.arrival,
        numbers.log,
        imported.source_key,
        imported.who,
        imported.text
    ])?;
    Ok(inserted > 0)
}
