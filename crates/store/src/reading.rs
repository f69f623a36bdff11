//! What a person has read: the same function on every device of the account.
//!
//! The *frontier* is the set of places (log and seq) that were read on any of the person's devices: their registers merge by
//! union. A message of somebody else is unread if it is not in the frontier, or stands at or behind the mark "unread from
//! here". The tables `seen` (the greatest place of a shown message that is in the frontier) and `message.late` (1 = below
//! that and not in it) are a fast index of that function for what is held here: a list of conversations counts only what is
//! unread. They are kept through a rebuild, since the log does not say what was read.
//! Not here: sealing and sending registers (`client`, `replica`), marking as late when ops come (`views.rs`).

use crate::beside::about;
use crate::views::Views;
use crate::{Place, Section};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use std::collections::BTreeMap;
use tombolo_model::content::MessageRef;
use tombolo_model::reading::Mark;
use tombolo_model::{AccountId, ConversationId, DeviceId, Hlc, LogId, OpId, Register, Seen, Signature};
use tombolo_oplog::{LogError, Reader, Step};

pub(crate) const STEP: Step = Step {
    why: "A conversation can be marked unread, and what was read is told to others without telling it twice.",
    sql: "
-- Unread from here on: the mark with the greatest stamp that this person set on any device. at: NULL = taken away.
CREATE TABLE mark (conversation INTEGER PRIMARY KEY, stamp_ms INTEGER NOT NULL, at INTEGER, id BLOB) STRICT;
-- print: of what this device's register was made from.
CREATE TABLE told (conversation INTEGER PRIMARY KEY, print BLOB NOT NULL) STRICT;
-- Logs with messages that can be unread: in a large conversation most people never write, and nothing is told of them.
CREATE TABLE speaker (
    conversation INTEGER NOT NULL, log INTEGER NOT NULL, PRIMARY KEY (conversation, log)) STRICT, WITHOUT ROWID;
INSERT INTO speaker (conversation, log) SELECT DISTINCT conversation, log FROM message WHERE section = 1;
",
};

/// What a register of one of this person's devices says, for its devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnReading {
    /// What was read.
    pub read: Seen,
    /// The mark.
    pub mark: Mark,
}

/// Whose unread counts are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Me {
    /// The local device.
    pub device: DeviceId,
    /// Its account; what its devices write is never unread. `None` = only the device counts as own.
    pub account: Option<AccountId>,
}

/// Frontiers of the person's registers in one conversation.
#[derive(Debug, Default)]
pub(crate) struct Elsewhere {
    /// Position of each register that was merged.
    positions: BTreeMap<DeviceId, i64>,
    read: Seen,
}

/// A place of section 1 as rows have it.
pub(crate) type At = (i64, OpId);

macro_rules! own_logs {
    ($account:literal, $device:literal) => {
        concat!(
            "(SELECT n FROM log WHERE conversation = ?1 AND author IN (SELECT device FROM member \
             WHERE conversation = ?1 AND account = ",
            $account,
            " UNION ALL SELECT ",
            $device,
            "))"
        )
    };
}

impl Views {
    /// Whether a device is of this person.
    pub(crate) fn is_own(&self, tx: &Connection, n: i64, device: &DeviceId) -> Result<bool, rusqlite::Error> {
        let Some(account) = self.account.filter(|_| *device != self.own()) else { return Ok(*device == self.own()) };
        let mut statement =
            tx.prepare_cached("SELECT 1 FROM member WHERE conversation = ?1 AND device = ?2 AND account = ?3")?;
        statement.exists(params![n, device.as_bytes(), account.as_bytes()])
    }

    /// Brings the union of this person's registers up to date. Cost: a look at the registers of the conversation, and
    /// opening those that changed.
    pub(crate) fn load_elsewhere(&mut self, tx: &Connection, n: i64) -> Result<(), rusqlite::Error> {
        let Some(account) = self.account else { return Ok(()) };
        let mut positions = BTreeMap::new();
        {
            let mut statement = tx.prepare_cached(
                "SELECT r.device, r.position FROM register r CROSS JOIN member m ON m.conversation = r.conversation \
                 AND m.device = r.device AND m.account = ?2 WHERE r.conversation = ?1",
            )?;
            let mut rows = statement.query(params![n, account.as_bytes()])?;
            while let Some(row) = rows.next()? {
                positions.insert(DeviceId(row.get(0)?), row.get::<_, i64>(1)?);
            }
        }
        let known = self.elsewhere.remove(&n).unwrap_or_default();
        let mut elsewhere = Elsewhere { positions, read: Seen::new() };
        if elsewhere.positions == known.positions {
            self.elsewhere.insert(n, known);
            return Ok(());
        }
        // Sets only grow, so what was merged before may stay, unless rows were taken back.
        let grown = |(device, position): (&DeviceId, &i64)| elsewhere.positions.get(device) >= Some(position);
        let fresh = known.positions.iter().all(grown);
        let mut open = Vec::new();
        for (device, position) in &elsewhere.positions {
            if !fresh || known.positions.get(device) != Some(position) {
                open.extend(stored(tx, *position)?);
            }
        }
        if fresh {
            elsewhere.read = known.read;
        }
        for register in open {
            if let Some(reading) = self.opener().reading(&register) {
                elsewhere.read.merge(&reading.read);
            }
        }
        self.elsewhere.insert(n, elsewhere);
        Ok(())
    }

    /// Whether a place was read on one of this person's devices, as their registers say. After [`Views::load_elsewhere`].
    pub(crate) fn is_read_elsewhere(&self, n: i64, log: &LogId, seq: u64) -> bool {
        self.elsewhere.get(&n).is_some_and(|elsewhere| elsewhere.read.contains(log, seq))
    }

    /// Raises the seen frontier over messages, of which those that nobody of this person's devices has read become late.
    pub(crate) fn raise_over(&mut self, tx: &Transaction<'_>, n: i64, to: At) -> Result<(), rusqlite::Error> {
        let seen = self.seen(tx, n)?;
        if seen.is_some_and(|seen| seen >= to) {
            return Ok(());
        }
        let (from_at, from_id) = seen.map_or((-1, Vec::new()), |(at, id)| (at, id.0.to_vec()));
        let mut skipped: Vec<At> = Vec::new();
        {
            let mut statement = tx.prepare_cached(
                "SELECT m.at, m.id, l.author, l.log, o.seq FROM message m CROSS JOIN log l ON l.n = m.log \
                 CROSS JOIN op o ON o.arrival = m.arrival WHERE m.conversation = ?1 AND m.section = 1 AND m.late = 0 \
                 AND (m.at, m.sub, m.id) > (?2, 0, ?3) AND (m.at, m.sub, m.id) < (?4, 0, ?5)",
            )?;
            let mut rows = statement.query(params![n, from_at, from_id, to.0, to.1.as_bytes()])?;
            while let Some(row) = rows.next()? {
                let (author, log) = (DeviceId(row.get(2)?), LogId(row.get(3)?));
                let read = self.is_read_elsewhere(n, &log, row.get::<_, i64>(4)? as u64);
                if !read && !self.is_own(tx, n, &author)? {
                    skipped.push((row.get(0)?, OpId(row.get(1)?)));
                }
            }
        }
        let mut late = tx.prepare_cached(
            "UPDATE message SET late = 1, came_ms = ?4 WHERE conversation = ?1 AND section = 1 AND at = ?2 AND sub = 0 \
             AND id = ?3",
        )?;
        for (at, id) in skipped {
            late.execute(params![n, at, id.as_bytes(), self.now_ms() as i64])?;
        }
        self.set_seen(tx, n, to)
    }

    /// Takes what a register of one of this person's devices says.
    pub(crate) fn merge_register(
        &mut self,
        tx: &Transaction<'_>,
        n: i64,
        register: &Register,
    ) -> Result<(), rusqlite::Error> {
        if self.account.is_none() || !self.is_own(tx, n, &register.device)? {
            return Ok(());
        }
        let Some(reading) = self.opener().reading(register) else { return Ok(()) };
        self.write(tx)?;
        put_mark(tx, n, &reading.mark)?;
        self.reread(tx, n)
    }

    /// Brings the index of what was read up to date with the registers of this person's devices. Cost: the messages that
    /// are unread.
    pub(crate) fn reread(&mut self, tx: &Transaction<'_>, n: i64) -> Result<(), rusqlite::Error> {
        self.forget_seen(n);
        self.load_elsewhere(tx, n)?;
        let mut read: Vec<At> = Vec::new();
        {
            let mut statement = tx.prepare_cached(
                "SELECT m.at, m.id, l.log, o.seq FROM message m CROSS JOIN log l ON l.n = m.log \
                 CROSS JOIN op o ON o.arrival = m.arrival WHERE m.conversation = ?1 AND m.late = 1",
            )?;
            let mut rows = statement.query([n])?;
            while let Some(row) = rows.next()? {
                if self.is_read_elsewhere(n, &LogId(row.get(2)?), row.get::<_, i64>(3)? as u64) {
                    read.push((row.get(0)?, OpId(row.get(1)?)));
                }
            }
        }
        let mut shown = tx.prepare_cached(
            "UPDATE message SET late = 2 WHERE conversation = ?1 AND section = 1 AND at = ?2 AND sub = 0 AND id = ?3",
        )?;
        for (at, id) in read {
            shown.execute(params![n, at, id.as_bytes()])?;
        }
        let (from_at, from_id) = self.seen(tx, n)?.map_or((-1, Vec::new()), |(at, id)| (at, id.0.to_vec()));
        let mut to = None;
        {
            // From the end: the first one that was read is the place to rise to.
            let mut statement = tx.prepare_cached(
                "SELECT m.at, m.id, l.log, o.seq FROM message m CROSS JOIN log l ON l.n = m.log \
                 CROSS JOIN op o ON o.arrival = m.arrival WHERE m.conversation = ?1 AND m.section = 1 \
                 AND (m.at, m.sub, m.id) > (?2, 0, ?3) ORDER BY m.at DESC, m.sub DESC, m.id DESC",
            )?;
            let mut rows = statement.query(params![n, from_at, from_id])?;
            while let Some(row) = rows.next()? {
                if self.is_read_elsewhere(n, &LogId(row.get(2)?), row.get::<_, i64>(3)? as u64) {
                    to = Some((row.get(0)?, OpId(row.get(1)?)));
                    break;
                }
            }
        }
        to.map_or(Ok(()), |to| self.raise_over(tx, n, to))
    }

    /// What this person has read, as far as this device knows. Cost: the logs of the conversation and what is late.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn frontier(&mut self, reader: &Reader, conversation: &ConversationId) -> Result<Seen, LogError> {
        let conn = reader.connection()?;
        let Some(n) = number(conn, conversation)? else { return Ok(Seen::new()) };
        self.load_elsewhere(conn, n)?;
        let mut read = Seen::new();
        if let Some(seen) = crate::seen(reader, conversation)? {
            read = reader.delivered_through(conversation, Some((seen.hlc(), seen.id)))?;
            let mut statement = conn.prepare_cached(
                "SELECT l.log, o.seq FROM message m CROSS JOIN log l ON l.n = m.log \
                 CROSS JOIN op o ON o.arrival = m.arrival WHERE m.conversation = ?1 AND m.late = 1",
            )?;
            let mut rows = statement.query([n])?;
            while let Some(row) = rows.next()? {
                read.remove(&LogId(row.get(0)?), row.get::<_, i64>(1)? as u64);
            }
        }
        if let Some(elsewhere) = self.elsewhere.get(&n) {
            read.merge(&elsewhere.read);
        }
        Ok(read)
    }
}

fn number(conn: &Connection, conversation: &ConversationId) -> Result<Option<i64>, rusqlite::Error> {
    let mut statement = conn.prepare_cached("SELECT n FROM conversation WHERE id = ?1")?;
    statement.query_row([conversation.as_bytes()], |row| row.get(0)).optional()
}

fn stored(tx: &Connection, position: i64) -> Result<Option<Register>, rusqlite::Error> {
    let mut statement = tx.prepare_cached(
        "SELECT c.id, r.device, r.version, r.payload, r.signature FROM register r \
         JOIN conversation c ON c.n = r.conversation WHERE r.position = ?1",
    )?;
    let register = |row: &rusqlite::Row<'_>| {
        Ok(Register {
            conversation: ConversationId(row.get(0)?),
            device: DeviceId(row.get(1)?),
            version: row.get::<_, i64>(2)? as u64,
            payload: row.get(3)?,
            signature: Signature(row.get(4)?),
        })
    };
    statement.query_row([position], register).optional()
}

/// Notes that a log has messages.
pub(crate) fn put_speaker(tx: &Transaction<'_>, n: i64, log: i64) -> Result<(), rusqlite::Error> {
    let mut statement = tx.prepare_cached("INSERT OR IGNORE INTO speaker (conversation, log) VALUES (?1, ?2)")?;
    statement.execute([n, log])?;
    Ok(())
}

/// What of a set of places is worth telling: the logs that have messages.
///
/// # Errors
/// [`LogError`] of SQLite.
pub fn of_speakers(reader: &Reader, conversation: &ConversationId, seen: &Seen) -> Result<Seen, LogError> {
    let conn = reader.connection()?;
    let mut statement = conn.prepare_cached(
        "SELECT l.log FROM speaker s CROSS JOIN log l ON l.n = s.log \
         WHERE s.conversation = (SELECT n FROM conversation WHERE id = ?1)",
    )?;
    let mut rows = statement.query([conversation.as_bytes()])?;
    let mut found = Seen::new();
    while let Some(row) = rows.next()? {
        let log = LogId(row.get(0)?);
        for (first, last) in seen.of(&log).map_or(&[][..], |seqs| seqs.intervals()) {
            found.insert(log, *first, *last);
        }
    }
    Ok(found)
}

/// Keeps the greater of a mark and the one that is there.
fn put_mark(tx: &Transaction<'_>, n: i64, mark: &Mark) -> Result<bool, rusqlite::Error> {
    let known = stored_mark(tx, n)?;
    if known >= *mark {
        return Ok(false);
    }
    let (at, id) = (mark.from.map(|from| from.hlc.0 as i64), mark.from.map(|from| from.id.0));
    let mut statement =
        tx.prepare_cached("INSERT OR REPLACE INTO mark (conversation, stamp_ms, at, id) VALUES (?1, ?2, ?3, ?4)")?;
    statement.execute(params![n, mark.stamp_ms as i64, at, id])?;
    Ok(true)
}

fn stored_mark(conn: &Connection, n: i64) -> Result<Mark, rusqlite::Error> {
    let mut statement = conn.prepare_cached("SELECT stamp_ms, at, id FROM mark WHERE conversation = ?1")?;
    let found = statement.query_row([n], |row| {
        let (at, id): (Option<i64>, Option<[u8; 32]>) = (row.get(1)?, row.get(2)?);
        let from = at.zip(id).map(|(at, id)| MessageRef { hlc: Hlc(at as u64), id: OpId(id) });
        Ok(Mark { stamp_ms: row.get::<_, i64>(0)? as u64, from })
    });
    Ok(found.optional()?.unwrap_or_default())
}

/// The mark "unread from here on" of a conversation.
///
/// # Errors
/// [`LogError`] of SQLite.
pub fn mark(reader: &Reader, conversation: &ConversationId) -> Result<Mark, LogError> {
    let conn = reader.connection()?;
    Ok(number(conn, conversation)?.map_or(Ok(Mark::default()), |n| stored_mark(conn, n))?)
}

/// Marks a conversation unread from a message on, or (`None`) takes the mark away. `now_ms`: **milliseconds** since 1970;
/// the mark wins over every one that is known, whatever the clock says.
///
/// # Errors
/// Of SQLite: the batch is to be given up.
pub fn mark_unread(
    tx: &Transaction<'_>,
    conversation: &ConversationId,
    from: Option<&Place>,
    now_ms: u64,
) -> Result<bool, rusqlite::Error> {
    let Some(n) = number(tx, conversation)? else { return Ok(false) };
    let from = match from {
        Some(place) if place.section == Section::Imported => return Ok(false),
        from => from.map(|place| MessageRef { hlc: place.hlc(), id: place.id }),
    };
    let known = stored_mark(tx, n)?;
    if known.from == from {
        return Ok(false);
    }
    put_mark(tx, n, &Mark { stamp_ms: now_ms.max(known.stamp_ms + 1), from })
}

/// Takes the mark away if what was shown reaches behind it.
pub(crate) fn clear_mark(
    tx: &Transaction<'_>,
    conversation: &ConversationId,
    to: &Place,
    now_ms: u64,
) -> Result<bool, rusqlite::Error> {
    let Some(n) = number(tx, conversation)? else { return Ok(false) };
    match stored_mark(tx, n)?.from {
        Some(from) if (from.hlc, from.id) <= (to.hlc(), to.id) => mark_unread(tx, conversation, None, now_ms),
        _ => Ok(false),
    }
}

/// Messages of others that are unread. Imported ones never count. Cost: the messages above the seen frontier or behind the
/// mark, and the members of the conversation.
///
/// # Errors
/// [`LogError`] of SQLite.
pub fn unread_of(reader: &Reader, conversation: &ConversationId, me: &Me) -> Result<u64, LogError> {
    let conn = reader.connection()?;
    let Some(n) = number(conn, conversation)? else { return Ok(0) };
    let (at, id, inclusive) = border(reader, conn, conversation, n)?;
    let mut above = conn.prepare_cached(concat!(
        "SELECT count(*) FROM message WHERE conversation = ?1 AND section = 1 AND (at, sub, id) >= (?2, 0, ?3) \
         AND NOT (?6 AND at = ?2 AND id = ?3) AND log NOT IN ",
        own_logs!("?5", "?4")
    ))?;
    let account = me.account.map(|account| account.0);
    let count: i64 =
        above.query_row(params![n, at, id, me.device.as_bytes(), account, !inclusive], |row| row.get(0))?;
    let mut late = conn.prepare_cached(
        "SELECT count(*) FROM message WHERE conversation = ?1 AND late = 1 AND (at, sub, id) < (?2, 0, ?3)",
    )?;
    let late: i64 = late.query_row(params![n, at, id], |row| row.get(0))?;
    Ok((count + late) as u64)
}

/// The unread ones among them that call upon this person. Cost: what is unread and calls upon it.
///
/// # Errors
/// [`LogError`] of SQLite.
pub fn unread_mentions(reader: &Reader, conversation: &ConversationId, me: &Me) -> Result<u64, LogError> {
    let conn = reader.connection()?;
    let (Some(n), Some(account)) = (number(conn, conversation)?, me.account) else { return Ok(0) };
    let (at, id, inclusive) = border(reader, conn, conversation, n)?;
    let from = if inclusive { at } else { at.max(0) };
    let begin = about::mention(&account, Hlc(from as u64));
    let mut end = about::mention(&account, Hlc(u64::MAX));
    end.push(0);
    let mut above = conn.prepare_cached(concat!(
        "SELECT count(*) FROM beside b CROSS JOIN message m ON m.conversation = b.conversation AND m.section = 1 \
         AND m.at = b.hlc AND m.sub = 0 AND m.id = b.id WHERE b.conversation = ?1 AND b.about >= ?7 AND b.about < ?8 \
         AND (m.at, m.sub, m.id) >= (?2, 0, ?3) AND NOT (?6 AND m.at = ?2 AND m.id = ?3) AND m.log NOT IN ",
        own_logs!("?5", "?4")
    ))?;
    let values = params![n, at, id, me.device.as_bytes(), account.as_bytes(), !inclusive, begin, end];
    let count: i64 = above.query_row(values, |row| row.get(0))?;
    // Those that came late stand below.
    let mut late = conn.prepare_cached(
        "SELECT at, id FROM message WHERE conversation = ?1 AND late = 1 AND (at, sub, id) < (?2, 0, ?3)",
    )?;
    let mut called = conn.prepare_cached("SELECT 1 FROM beside WHERE conversation = ?1 AND about = ?2 AND id = ?3")?;
    let mut rows = late.query(params![n, at, id])?;
    let mut below = 0;
    while let Some(row) = rows.next()? {
        let about = about::mention(&account, Hlc(row.get::<_, i64>(0)? as u64));
        below += u64::from(called.exists(params![n, about, row.get::<_, Vec<u8>>(1)?])?);
    }
    Ok(count as u64 + below)
}

/// Above which place everything of others is unread, and whether it counts itself.
fn border(
    reader: &Reader,
    conn: &Connection,
    conversation: &ConversationId,
    n: i64,
) -> Result<(i64, Vec<u8>, bool), LogError> {
    let seen = crate::seen(reader, conversation)?;
    let from = stored_mark(conn, n)?.from;
    Ok(match (seen, from) {
        // Readings begin at 0 and ids are never empty, so this is below every message.
        (None, _) => (-1, Vec::new(), false),
        (Some(seen), Some(from)) if (from.hlc, from.id) <= (seen.hlc(), seen.id) => {
            (from.hlc.0 as i64, from.id.0.to_vec(), true)
        }
        (Some(seen), _) => (seen.at as i64, seen.id.0.to_vec(), false),
    })
}

/// A few bytes that change whenever the frontier, the mark, or (`with_held`) what is held may have: what a register is made
/// from. Cost: what is late.
///
/// # Errors
/// [`LogError`] of SQLite.
pub fn print(reader: &Reader, conversation: &ConversationId, with_held: bool) -> Result<Vec<u8>, LogError> {
    let conn = reader.connection()?;
    let Some(row) = reader.conversation(conversation)? else { return Ok(Vec::new()) };
    let Some(n) = number(conn, conversation)? else { return Ok(Vec::new()) };
    let mut print = Vec::with_capacity(96);
    if with_held {
        print.extend_from_slice(&row.last_arrival.to_be_bytes());
        print.extend_from_slice(&row.waiting.to_be_bytes());
    }
    if let Some(seen) = crate::seen(reader, conversation)? {
        print.extend_from_slice(&seen.at.to_be_bytes());
        print.extend_from_slice(&seen.id.0);
    }
    let mark = stored_mark(conn, n)?;
    print.extend_from_slice(&mark.stamp_ms.to_be_bytes());
    let mut statement = conn.prepare_cached(
        "SELECT count(*), coalesce(sum(arrival), 0) FROM message WHERE conversation = ?1 AND late = 1",
    )?;
    let (late, sum): (i64, i64) = statement.query_row([n], |row| Ok((row.get(0)?, row.get(1)?)))?;
    print.extend_from_slice(&late.to_be_bytes());
    print.extend_from_slice(&sum.to_be_bytes());
    Ok(print)
}

/// Whether the register of this device was made from exactly that.
///
/// # Errors
/// [`LogError`] of SQLite.
pub fn is_told(reader: &Reader, conversation: &ConversationId, print: &[u8]) -> Result<bool, LogError> {
    let mut statement = reader.connection()?.prepare_cached(
        "SELECT 1 FROM told WHERE conversation = (SELECT n FROM conversation WHERE id = ?1) AND print = ?2",
    )?;
    Ok(statement.exists(params![conversation.as_bytes(), print])?)
}

/// Remembers what the register of this device was made from.
///
/// # Errors
/// Of SQLite: the batch is to be given up.
pub fn set_told(tx: &Transaction<'_>, conversation: &ConversationId, print: &[u8]) -> Result<(), rusqlite::Error> {
    let mut statement = tx.prepare_cached(
        "INSERT OR REPLACE INTO told (conversation, print) SELECT n, ?2 FROM conversation WHERE id = ?1",
    )?;
    statement.execute(params![conversation.as_bytes(), print])?;
    Ok(())
}
