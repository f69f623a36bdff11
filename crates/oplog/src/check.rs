//! What doctor looks at: SQLite itself, every op's id, the chains, the digest tree, counts, heads, waits.
//!
//! Everything is computed from the rows of `op` and compared with what was kept up along the way. Not here: repairing
//! (`repair.rs`), signatures (`identity`), views (`store`).

use crate::repair::{recount_heads, recount_log, sorted_items, waits_of};
use crate::row;
use crate::tree::{NodeRow, Tree};
use crate::{LogError, Reader, State, bodies, ids, newest, pages};
use rusqlite::Connection;
use std::collections::BTreeSet;
use tombolo_model::digest::Chain;
use tombolo_model::{ConversationId, Hlc, OpId};

/// Answer of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Stable name: `sqlite`, `ids`, `arrivals`, `index`, `logs`, `digest`, `heads`, `waiting`,
    /// `bodies`.
    pub check: &'static str,
    /// Whether everything is as it should be.
    pub ok: bool,
    /// What was looked at, or what is wrong (the first few, and how many more).
    pub detail: String,
}

/// How far a check is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Name as in [`Finding::check`].
    pub check: &'static str,
    /// Steps done.
    pub done: u64,
    /// Steps in all.
    pub total: u64,
}

/// Complaints that a finding spells out.
const SPELLED_OUT: usize = 5;

#[derive(Default)]
struct Complaints {
    texts: Vec<String>,
    more: usize,
}

impl Complaints {
    fn add(&mut self, text: impl FnOnce() -> String) {
        if self.texts.len() < SPELLED_OUT {
            self.texts.push(text());
        } else {
            self.more += 1;
        }
    }

    fn finding(self, check: &'static str, looked_at: impl FnOnce() -> String) -> Finding {
        let ok = self.texts.is_empty();
        let mut detail = if ok { looked_at() } else { self.texts.join("; ") };
        if self.more > 0 {
            detail.push_str(&format!("; and {} more", self.more));
        }
        Finding { check, ok, detail }
    }
}

impl Reader {
    /// Runs every check on one snapshot and says how it goes.
    ///
    /// # Errors
    /// [`LogError`] when the file cannot be read at all; what is merely wrong is a finding.
    pub fn check(&self, progress: &mut dyn FnMut(Progress)) -> Result<Vec<Finding>, LogError> {
        // On the writer between batches, and on readers: no transaction is open then.
        self.snapshot(|reader| reader.check_all(progress))
    }

    fn check_all(&self, progress: &mut dyn FnMut(Progress)) -> Result<Vec<Finding>, LogError> {
        let conn = self.db()?;
        let mut statement = conn.prepare_cached("SELECT n, id FROM conversation ORDER BY n")?;
        let mut rows = statement.query([])?;
        let mut conversations = Vec::new();
        while let Some(row) = rows.next()? {
            conversations.push((row.get::<_, i64>(0)?, ConversationId(row::array(row, 1)?)));
        }
        drop(rows);
        Ok(vec![
            check_sqlite(conn, progress)?,
            self.check_ids(progress)?,
            check_arrivals(conn, self.incarnation(), progress)?,
            check_index(conn, progress)?,
            per_conversation("logs", &conversations, progress, |n, complain| check_logs(conn, n, complain))?,
            per_conversation("digest", &conversations, progress, |n, complain| check_digest(conn, n, complain))?,
            per_conversation("heads", &conversations, progress, |n, complain| check_heads(conn, n, complain))?,
            per_conversation("waiting", &conversations, progress, |n, complain| check_waiting(conn, n, complain))?,
            per_conversation("bodies", &conversations, progress, |n, complain| check_bodies(conn, n, complain))?,
        ])
    }

    fn check_ids(&self, progress: &mut dyn FnMut(Progress)) -> Result<Finding, LogError> {
        let total: i64 = self.db()?.query_row("SELECT count(*) FROM op", [], |row| row.get(0))?;
        let total = total as u64;
        let mut complaints = Complaints::default();
        let mut done = 0;
        self.each_damaged(
            |damaged, what| complaints.add(|| format!("op {} of {}: {what}", damaged.id, damaged.conversation)),
            |_| {
                done += 1;
                if done % 1024 == 0 || done == total {
                    progress(Progress { check: "ids", done, total });
                }
            },
        )?;
        Ok(complaints.finding("ids", || format!("{total} ops have the id that header and body give")))
    }
}

fn check_sqlite(conn: &Connection, progress: &mut dyn FnMut(Progress)) -> Result<Finding, LogError> {
    let mut complaints = Complaints::default();
    let mut statement = conn.prepare("PRAGMA integrity_check(20)")?;
    let mut rows = statement.query([])?;
    loop {
        match rows.next() {
            Ok(Some(row)) => {
                let text: String = row.get(0)?;
                if text != "ok" {
                    complaints.add(|| text);
                }
            }
            Ok(None) => break,
            Err(error) => {
                complaints.add(|| error.to_string());
                break;
            }
        }
    }
    progress(Progress { check: "sqlite", done: 1, total: 1 });
    Ok(complaints.finding("sqlite", || "pages, rows and indexes fit each other".into()))
}

fn check_arrivals(
    conn: &Connection,
    incarnation: u64,
    progress: &mut dyn FnMut(Progress),
) -> Result<Finding, LogError> {
    let mut complaints = Complaints::default();
    let mut statement = conn.prepare_cached(
        "SELECT arrival, id, chain FROM op UNION ALL SELECT arrival, id, chain FROM dropped ORDER BY arrival",
    )?;
    let mut rows = statement.query([])?;
    let (mut last, mut chain) = (0, Chain::start(incarnation));
    while let Some(row) = rows.next()? {
        let (arrival, id) = (row::number(row, 0)?, OpId(row::array(row, 1)?));
        let stored = Chain(row::array(row, 2)?);
        if arrival != last + 1 {
            complaints.add(|| format!("arrivals {} to {} are gone", last + 1, arrival - 1));
        } else if chain.next(&id) != stored {
            complaints.add(|| format!("the chain breaks at arrival {arrival}"));
        }
        (last, chain) = (arrival, stored);
    }
    progress(Progress { check: "arrivals", done: 1, total: 1 });
    Ok(complaints.finding("arrivals", || format!("{last} arrivals hang together")))
}

/// Ops that may wait to be listed without being a finding: more than ever do.
const UNLISTED_MAX: u64 = 1_024;

/// Greatest arrival among dropped ops.
fn dropped_last(conn: &Connection) -> Result<u64, LogError> {
    let last: Option<i64> = conn.query_row("SELECT max(arrival) FROM dropped", [], |row| row.get(0))?;
    Ok(last.unwrap_or(0) as u64)
}

/// Every op must be listed once under its place and once under its id, and nothing else.
fn check_index(conn: &Connection, progress: &mut dyn FnMut(Progress)) -> Result<Finding, LogError> {
    let mut complaints = Complaints::default();
    let unlisted = newest::count(conn)?;
    if unlisted > UNLISTED_MAX {
        // Each look-up below would walk all of them.
        complaints.add(|| format!("{unlisted} ops are listed neither by place nor by id"));
        return Ok(complaints.finding("index", String::new));
    }
    let mut statement = conn.prepare_cached("SELECT arrival, log, seq, id FROM op ORDER BY arrival")?;
    let mut rows = statement.query([])?;
    let (mut ops, mut last) = (0_u64, dropped_last(conn)?);
    while let Some(row) = rows.next()? {
        let (arrival, seq) = (row::number(row, 0)?, row::number(row, 2)?);
        let id = OpId(row::array(row, 3)?);
        (ops, last) = (ops + 1, last.max(arrival));
        let mut placed = false;
        pages::walk(conn, row.get(1)?, seq, seq, |entry| {
            placed |= entry.arrival == arrival;
            Ok(!placed)
        })?;
        if !placed {
            complaints.add(|| format!("op {id} is not listed at its place"));
        }
        if !ids::has(conn, &id, arrival)? {
            complaints.add(|| format!("op {id} is not listed under its id"));
        }
    }
    let mut places = 0;
    let mut logs = conn.prepare_cached("SELECT log FROM log_page UNION SELECT n FROM log")?;
    for log in logs.query_map([], |row| row.get(0))?.collect::<Result<Vec<i64>, _>>()? {
        places += pages::all(conn, log)?.len() as u64;
    }
    if newest::listed(conn)? > last {
        complaints.add(|| "ops are said to be listed that never came".into());
    }
    let listed = ids::count(conn)? + newest::count(conn)?;
    if (places, listed) != (ops, ops) {
        complaints.add(|| format!("{ops} ops are stored, {places} places and {listed} ids are listed"));
    }
    progress(Progress { check: "index", done: 1, total: 1 });
    Ok(complaints.finding("index", || format!("{ops} ops are listed by place and by id")))
}

fn per_conversation(
    check: &'static str,
    conversations: &[(i64, ConversationId)],
    progress: &mut dyn FnMut(Progress),
    mut look: impl FnMut(i64, &mut dyn FnMut(String)) -> Result<(), LogError>,
) -> Result<Finding, LogError> {
    let mut complaints = Complaints::default();
    let total = conversations.len() as u64;
    for (done, (n, id)) in (1..).zip(conversations) {
        let looked = look(*n, &mut |text| complaints.add(|| format!("conversation {id}: {text}")));
        match looked {
            // A row that cannot be read is a finding, not the end of the search.
            Err(LogError::Damaged(what)) => complaints.add(|| format!("conversation {id}: {what}")),
            other => other?,
        }
        progress(Progress { check, done, total });
    }
    Ok(complaints.finding(check, || format!("{total} conversations are as their ops say")))
}

fn check_logs(conn: &Connection, n: i64, complain: &mut dyn FnMut(String)) -> Result<(), LogError> {
    let mut statement = conn.prepare_cached(
        "SELECT n, max_seq, count, contiguous, tip, tip_hlc, branched, branches, tip_arrival FROM log \
         WHERE conversation = ?1",
    )?;
    let mut rows = statement.query([n])?;
    while let Some(row) = rows.next()? {
        let log = row.get(0)?;
        let counts = recount_log(conn, log)?;
        let stored = (row::number(row, 1)?, row::number(row, 2)?, row::number(row, 3)?, OpId(row::array(row, 4)?));
        let tip_arrival = row::number(row, 8)?;
        if stored != (counts.max_seq, counts.count, counts.contiguous, counts.tip) || tip_arrival != counts.tip_arrival
        {
            complain(format!("log {log}: heights, count or tip are not those of its ops"));
        }
        let flags = (Hlc(row::number(row, 5)?), row.get::<_, bool>(6)?, row::number(row, 7)?);
        if flags != (counts.tip_hlc, counts.branched, counts.branches) {
            complain(format!("log {log}: the op before is not the one that an op names, or a branch is not flagged"));
        }
        let mut evidence = conn.prepare_cached("SELECT 1 FROM equivocation WHERE log = ?1 AND seq = ?2 AND id = ?3")?;
        for (seq, ids) in &counts.conflicts {
            for id in ids {
                if !evidence.exists(rusqlite::params![log, *seq as i64, id.as_bytes()])? {
                    complain(format!("log {log}: evidence of the branches at {seq} is gone"));
                }
            }
        }
    }
    Ok(())
}

fn check_digest(conn: &Connection, n: i64, complain: &mut dyn FnMut(String)) -> Result<(), LogError> {
    let items = sorted_items(conn, n)?;
    let tree = Tree::build(&items);
    let mut wanted: BTreeSet<NodeRow> = tree.rows().collect();
    let mut statement =
        conn.prepare_cached("SELECT depth, prefix, count, sum, items FROM node WHERE conversation = ?1")?;
    let mut rows = statement.query([n])?;
    let mut wrong = 0_usize;
    while let Some(row) = rows.next()? {
        let items = row::blob_or_none(row, 4)?.map(<[u8]>::to_vec);
        let stored = (row.get(0)?, row::blob(row, 1)?.to_vec(), row::number(row, 2)?, row::array(row, 3)?, items);
        wrong += usize::from(!wanted.remove(&stored));
    }
    if wrong > 0 || !wanted.is_empty() {
        complain(format!("digest tree: {wrong} nodes are wrong, {} lack", wanted.len()));
    }
    let (ops, sum): (i64, Vec<u8>) = conn
        .prepare_cached("SELECT ops, sum FROM conversation WHERE n = ?1")?
        .query_row([n], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if (ops as u64, sum.as_slice()) != (tree.sum().count, tree.sum().to_bytes().as_slice()) {
        complain("count or sum are not those of its ops".into());
    }
    Ok(())
}

fn check_heads(conn: &Connection, n: i64, complain: &mut dyn FnMut(String)) -> Result<(), LogError> {
    let mut statement = conn.prepare_cached("SELECT heads FROM conversation WHERE n = ?1")?;
    let stored: Vec<u8> = statement.query_row([n], |row| row.get(0))?;
    if row::decode_heads(&stored)? != recount_heads(conn, n)? {
        complain("the heads are not the delivered ops that no delivered op names".into());
    }
    Ok(())
}

fn check_waiting(conn: &Connection, n: i64, complain: &mut dyn FnMut(String)) -> Result<(), LogError> {
    let mut statement = conn.prepare_cached(
        "SELECT arrival FROM undelivered WHERE conversation = ?1 UNION \
         SELECT waiter FROM missing WHERE conversation = ?1 ORDER BY 1",
    )?;
    let mut rows = statement.query([n])?;
    let mut waiting = 0;
    while let Some(row) = rows.next()? {
        let arrival: i64 = row.get(0)?;
        let state = crate::reads::state_of(conn, arrival as u64)?;
        if state == State::Void {
            continue;
        }
        waiting += 1;
        let Some(op) = crate::reads::load(conn, arrival as u64)? else { continue };
        let mut named = conn.prepare_cached("SELECT id FROM missing WHERE waiter = ?1")?;
        let mut names = named.query([arrival])?;
        let mut stored = BTreeSet::new();
        while let Some(name) = names.next()? {
            stored.insert(OpId(row::array(name, 0)?));
        }
        let wanted = waits_of(conn, n, &op)?;
        if stored != wanted || (state == State::Pending && wanted.is_empty()) {
            complain(format!("op {} waits for other ops than it names", op.id));
        }
    }
    let counted: i64 = conn.query_row("SELECT waiting FROM conversation WHERE n = ?1", [n], |row| row.get(0))?;
    if counted != waiting {
        complain(format!("{waiting} ops wait, {counted} were counted"));
    }
    Ok(())
}

/// Bodies that should be gone, or asked for, and are not.
fn check_bodies(conn: &Connection, n: i64, complain: &mut dyn FnMut(String)) -> Result<(), LogError> {
    let id: [u8; 16] = conn.query_row("SELECT id FROM conversation WHERE n = ?1", [n], |row| row.get(0))?;
    bodies::look(conn, n, &ConversationId(id), &mut |trouble| {
        complain(trouble.words());
        Ok(())
    })
}
