//! What doctor looks at of bodies that go, and how it mends: whatever an op erases with the right to must be gone, what
//! expires must be in the index by time, what is missing without a reason must be wanted.
//!
//! Everything is computed from the headers of all ops. Erased, expired and pruned bodies are no damage. Not here: the
//! rules (`gone.rs`), ids and hashes (`check.rs`).

use crate::gone::{self, ERASED, EXPIRED};
use crate::{Batch, LogError, ids, reads, row};
use rusqlite::{Connection, params};
use tombolo_model::{BodyHash, Class, ConversationId, DeviceId, OpId};

/// Something that is not as the headers say.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Its body is here although it should be gone.
    StillHere(u64),
    /// An op erases it, and nothing says so.
    NotErased(u64),
    /// Its body is missing, and nobody is asked for it.
    NotWanted(u64),
    /// It is wanted although it is here or gone.
    WrongWant(u64),
    /// Nothing will erase it when its time is over.
    NoEnd { arrival: u64, at_ms: i64 },
    /// What an op says about the body of another one is not kept.
    NoIntent { target: OpId, by: u64, author: DeviceId, at: Option<u64> },
}

impl Trouble {
    pub(crate) fn words(&self) -> String {
        match self {
            Self::StillHere(arrival) => format!("the body of arrival {arrival} should be gone and is here"),
            Self::NotErased(arrival) => {
                format!("the body of arrival {arrival} was erased by an op, which nothing says")
            }
            Self::NotWanted(arrival) => format!("the body of arrival {arrival} is missing and not asked for"),
            Self::WrongWant(arrival) => format!("the body of arrival {arrival} is asked for without need"),
            Self::NoEnd { arrival, .. } => format!("nothing ends the time of arrival {arrival}"),
            Self::NoIntent { by, target, .. } => format!("arrival {by} erases {target}, which was forgotten"),
        }
    }
}

/// Walks the ops of a conversation and names what is wrong.
pub(crate) fn look(
    conn: &Connection,
    n: i64,
    conversation: &ConversationId,
    each: &mut dyn FnMut(Trouble) -> Result<(), LogError>,
) -> Result<(), LogError> {
    let newest: i64 = conn.query_row("SELECT coalesce(max(arrival), 0) FROM op", [], |row| row.get(0))?;
    let newest = newest as u64;
    let mut statement = conn.prepare_cached(
        "SELECT o.arrival, l.author, o.rest, o.body_len, o.body IS NULL, coalesce(g.why, 0), w.arrival IS NOT NULL, \
         u.arrival IS NOT NULL FROM op o CROSS JOIN log l ON l.n = o.log LEFT JOIN gone g ON g.arrival = o.arrival \
         LEFT JOIN wanted w ON w.arrival = o.arrival LEFT JOIN undelivered u ON u.arrival = o.arrival \
         WHERE o.conversation = ?1 ORDER BY o.arrival",
    )?;
    let mut rows = statement.query([n])?;
    while let Some(row) = rows.next()? {
        let arrival = row::number(row, 0)?;
        let author = DeviceId(row::array(row, 1)?);
        // A damaged header is named by another check.
        let Ok(header) = row::rest_of(row::blob(row, 2)?) else { continue };
        let (has_body, bodiless): (bool, bool) = (row.get::<_, i64>(3)? > 0, row.get(4)?);
        let (why, wanted, undelivered): (i64, bool, bool) = (row.get(5)?, row.get(6)?, row.get(7)?);
        if why != 0 && !bodiless {
            each(Trouble::StillHere(arrival))?;
        }
        if wanted && (why != 0 || !bodiless) {
            each(Trouble::WrongWant(arrival))?;
        }
        if header.class == Class::Content {
            if bodiless && has_body && why == 0 && !wanted {
                each(Trouble::NotWanted(arrival))?;
            }
            let at_ms = i64::try_from(header.expires_ms).unwrap_or(i64::MAX);
            if at_ms != 0 && why & EXPIRED == 0 {
                let mut known = conn.prepare_cached("SELECT 1 FROM expiry WHERE at_ms = ?1 AND arrival = ?2")?;
                if !known.exists([at_ms, arrival as i64])? {
                    each(Trouble::NoEnd { arrival, at_ms })?;
                }
            }
        }
        if undelivered {
            continue;
        }
        for target in header.erases {
            let at = ids::find(conn, n, newest, &target)?;
            let mut known = conn.prepare_cached(
                "SELECT 1 FROM erase WHERE conversation = ?1 AND target = ?2 AND by = ?3 AND at IS ?4",
            )?;
            if !known.exists(params![n, target.as_bytes(), arrival as i64, at.map(|at| at as i64)])? {
                each(Trouble::NoIntent { target, by: arrival, author, at })?;
            }
            let Some(at) = at else { continue };
            if gone::bits(conn, at)? & ERASED == 0
                && reads::load_named(conn, at)?.header.class == Class::Content
                && gone::may_erase(conn, n, newest, conversation, &author, &gone::author_of(conn, at)?)?
            {
                each(Trouble::NotErased(at))?;
            }
        }
    }
    Ok(())
}

impl Batch<'_> {
    /// Does what the headers of a conversation say about bodies. Views are to be rebuilt afterwards.
    pub(crate) fn rebuild_bodies(&mut self, n: i64, conversation: &ConversationId) -> Result<(), LogError> {
        let conn = self.conn;
        let mut troubles = Vec::new();
        look(conn, n, conversation, &mut |trouble| {
            troubles.push(trouble);
            Ok(())
        })?;
        for trouble in troubles {
            match trouble {
                Trouble::StillHere(arrival) => self.forget_body(arrival)?,
                Trouble::NotErased(arrival) => {
                    conn.prepare_cached(
                        "INSERT INTO gone (arrival, why) VALUES (?1, ?2) \
                         ON CONFLICT (arrival) DO UPDATE SET why = why | excluded.why",
                    )?
                    .execute([arrival as i64, ERASED])?;
                    self.forget_body(arrival)?;
                }
                Trouble::NotWanted(arrival) => {
                    // Unless an op that erases it was found, too.
                    if gone::bits(conn, arrival)? == 0 {
                        conn.prepare_cached("INSERT OR IGNORE INTO wanted (arrival, conversation) VALUES (?1, ?2)")?
                            .execute([arrival as i64, n])?;
                    }
                }
                Trouble::WrongWant(arrival) => {
                    conn.prepare_cached("DELETE FROM wanted WHERE arrival = ?1")?.execute([arrival as i64])?;
                }
                Trouble::NoEnd { arrival, at_ms } => {
                    conn.prepare_cached("INSERT OR IGNORE INTO expiry (at_ms, arrival) VALUES (?1, ?2)")?
                        .execute([at_ms, arrival as i64])?;
                }
                Trouble::NoIntent { target, by, author, at } => {
                    let mut statement = conn.prepare_cached(
                        "INSERT OR REPLACE INTO erase (conversation, target, by, author, at) \
                         VALUES (?1, ?2, ?3, ?4, ?5)",
                    )?;
                    let at = at.map(|at| at as i64);
                    statement.execute(params![n, target.as_bytes(), by as i64, author.as_bytes(), at])?;
                }
            }
        }
        Ok(())
    }

    /// Drops a body without asking or telling anybody.
    fn forget_body(&mut self, arrival: u64) -> Result<(), LogError> {
        let conn = self.conn;
        let header = reads::load_named(conn, arrival)?.header;
        let hash = (header.body_hash != BodyHash::EMPTY).then_some(header.body_hash.0);
        conn.prepare_cached("UPDATE op SET body = NULL, body_hash = ?2 WHERE arrival = ?1")?
            .execute(params![arrival as i64, hash])?;
        conn.prepare_cached("DELETE FROM wanted WHERE arrival = ?1")?.execute([arrival as i64])?;
        self.wipes = true;
        Ok(())
    }

    /// An op's row goes, since it is damaged: what is said of its body goes with it. Intents stay: it comes back.
    pub(crate) fn forget_fate(&mut self, arrival: u64) -> Result<(), LogError> {
        for sql in [
            "DELETE FROM gone WHERE arrival = ?1",
            "DELETE FROM wanted WHERE arrival = ?1",
            "DELETE FROM expiry WHERE arrival = ?1",
            "UPDATE erase SET at = NULL WHERE at = ?1",
        ] {
            self.conn.prepare_cached(sql)?.execute([arrival as i64])?;
        }
        self.wipes = true;
        Ok(())
    }
}
