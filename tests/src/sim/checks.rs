//! Questions put to one or two nodes by plain SQL and by the public reads, independent of how the product answers them
//! on the wire.

use crate::sim::machine::{Body, Machine};
use std::collections::{BTreeMap, BTreeSet};
use tombolo_client::{ConversationId, DeviceId, Message, MessageState, OpId};
use tombolo_model::{BodyHash, Control, Op};
use tombolo_oplog::rusqlite::{self, params};
use tombolo_oplog::{ArrivalQuery, Reader};
use tombolo_store::Place;

/// Ids of a conversation and the hashes of their bodies, up to an arrival position.
///
/// # Errors
/// What SQLite says.
pub fn dump(log: &Reader, conversation: &ConversationId, through: u64) -> Result<BTreeMap<[u8; 32], [u8; 32]>, String> {
    let read = || -> Result<_, rusqlite::Error> {
        let conn = log.connection().map_err(|_| rusqlite::Error::InvalidQuery)?;
        let mut statement = conn.prepare_cached(
            "SELECT o.id, o.body, o.body_hash FROM op o JOIN conversation c ON c.n = o.conversation \
             WHERE c.id = ?1 AND o.arrival <= ?2",
        )?;
        let through = i64::try_from(through).unwrap_or(i64::MAX);
        let mut rows = statement.query(params![conversation.as_bytes(), through])?;
        let mut found = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let body: Option<Vec<u8>> = row.get(1)?;
            let hash: Option<[u8; 32]> = row.get(2)?;
            let hash = hash.unwrap_or_else(|| BodyHash::of(&body.unwrap_or_default()).0);
            found.insert(row.get(0)?, hash);
        }
        Ok(found)
    };
    read().map_err(|error| error.to_string())
}

/// Every op of a disk's node, whatever the conversation.
///
/// # Errors
/// What SQLite says.
pub fn all_ids(log: &Reader) -> Result<BTreeSet<OpId>, String> {
    let read = || -> Result<_, rusqlite::Error> {
        let conn = log.connection().map_err(|_| rusqlite::Error::InvalidQuery)?;
        let mut statement = conn.prepare_cached("SELECT id FROM op")?;
        statement.query_map([], |row| Ok(OpId(row.get(0)?)))?.collect()
    };
    read().map_err(|error| error.to_string())
}

/// Ids that arrived up to a position, of one conversation.
///
/// # Errors
/// What SQLite says.
pub fn ids_through(log: &Reader, conversation: &ConversationId, through: u64) -> Result<BTreeSet<[u8; 32]>, String> {
    Ok(dump(log, conversation, through)?.into_keys().collect())
}

/// Whether a device holds the secret of a conversation.
#[must_use]
pub fn has_secret(log: &Reader, conversation: &ConversationId) -> bool {
    let Ok(conn) = log.connection() else { return false };
    let Ok(mut statement) = conn.prepare_cached("SELECT 1 FROM secret WHERE conversation = ?1") else { return false };
    statement.exists([conversation.as_bytes()]).unwrap_or(false)
}

/// Number of ops that are not delivered.
///
/// # Errors
/// What SQLite says.
pub fn waiting(log: &Reader, conversation: &ConversationId) -> Result<u64, String> {
    let conn = log.connection().map_err(|error| error.to_string())?;
    let sql = "SELECT count(*) FROM undelivered u JOIN conversation c ON c.n = u.conversation WHERE c.id = ?1";
    conn.query_row(sql, [conversation.as_bytes()], |row| row.get::<_, i64>(0))
        .map(|count| count as u64)
        .map_err(|error| error.to_string())
}

/// The same of a machine; 0 where it is not running.
///
/// # Errors
/// What SQLite says.
pub fn waiting_of(machine: &Machine, conversation: &ConversationId) -> Result<u64, String> {
    machine.body.as_ref().map_or(Ok(0), |body| waiting(body.log(), conversation))
}

/// Keys of the invitations by which a device has asked to join.
#[must_use]
pub fn joins(log: &Reader, conversation: &ConversationId, device: &DeviceId) -> BTreeSet<[u8; 32]> {
    let ops = ops(log, conversation).unwrap_or_default();
    let own = ops.iter().filter(|op| op.header.author == *device);
    own.filter_map(|op| match Control::from_bytes(op.body.as_ref()?) {
        Ok(Control::Join { invite, .. }) => Some(invite),
        _ => None,
    })
    .collect()
}

/// All ops of a conversation.
fn ops(log: &Reader, conversation: &ConversationId) -> Result<Vec<Op>, String> {
    let found = log.arrivals(&ArrivalQuery {
        after: 0,
        through: u64::MAX,
        conversations: &[(*conversation, 0)],
        not_from: None,
        limit_ops: 1_000_000,
        limit_bytes: 1 << 30,
    });
    Ok(found.map_err(|error| error.to_string())?.into_iter().map(|(_, op)| op).collect())
}

/// No op is delivered before what it depends on. `own`: the device, whose own join may run ahead of the invitation.
///
/// # Errors
/// The op that is.
pub fn causal(log: &Reader, own: &DeviceId) -> Result<(), String> {
    for row in log.conversations().map_err(|error| error.to_string())? {
        let ops = ops(log, &row.id)?;
        let conn = log.connection().map_err(|error| error.to_string())?;
        let mut settled = BTreeSet::new();
        let mut delivered = BTreeSet::new();
        {
            let text = |error: rusqlite::Error| error.to_string();
            let sql = "SELECT o.id, coalesce(u.state, 0) FROM op o LEFT JOIN undelivered u ON u.arrival = o.arrival \
                       WHERE coalesce(u.state, 0) IN (0, 3)";
            let mut statement = conn.prepare_cached(sql).map_err(text)?;
            let mut rows = statement.query([]).map_err(text)?;
            while let Some(row) = rows.next().map_err(text)? {
                let id = OpId(row.get(0).map_err(text)?);
                if row.get::<_, i64>(1).map_err(text)? == 0 {
                    delivered.insert(id);
                } else {
                    return Err(format!("op {} is void, and nobody writes such ops", id.short()));
                }
                settled.insert(id);
            }
        }
        for op in ops.iter().filter(|op| delivered.contains(&op.id)) {
            let body = op.body.as_deref().unwrap_or_default();
            let own_join = op.header.author == *own
                && op.header.class == tombolo_model::Class::Control
                && matches!(Control::from_bytes(body), Ok(Control::Join { .. }));
            if let Some(missing) = op.header.depends_on().find(|id| !settled.contains(*id))
                && !own_join
            {
                return Err(format!("op {} is delivered before {} that it depends on", op.id.short(), missing.short()));
            }
        }
    }
    Ok(())
}

/// The product's own checks, and views against a rebuild.
///
/// # Errors
/// What is not as it should be.
pub fn doctor(machine: &mut Machine) -> Result<(), String> {
    let Some(body) = &mut machine.body else { return Ok(()) };
    let findings = body.log().check(&mut |_| {}).map_err(|error| error.to_string())?;
    if let Some(bad) = findings.iter().find(|finding| !finding.ok) {
        return Err(format!("doctor: {}: {}", bad.check, bad.detail));
    }
    if let Body::Device(node) = body {
        let (log, views) = node.replica().log_and_fold();
        let mismatches = tombolo_store::compare(views, log, &mut |_, _| {}).map_err(|error| error.to_string())?;
        if let Some(first) = mismatches.first() {
            return Err(format!("rebuilt differs from live: {first:?}, {} in all", mismatches.len()));
        }
    }
    for row in body.log().conversations().map_err(|error| error.to_string())? {
        let forks = body.log().equivocations(&row.id).map_err(|error| error.to_string())?;
        if let Some(fork) = forks.first() {
            return Err(format!("device {} forked its log at {}", fork.author.short(), fork.seq));
        }
    }
    causal(body.log(), &machine.device)
}

/// Everything that a device shows of a conversation, read in pages of `page`, checked for order and doubles.
///
/// # Errors
/// What is not as it should be.
pub fn shown(machine: &mut Machine, conversation: &ConversationId, page: usize) -> Result<Vec<Message>, String> {
    let Some(node) = machine.node_mut() else { return Ok(Vec::new()) };
    let mut all: Vec<Message> = Vec::new();
    let mut before: Option<String> = None;
    loop {
        let part = node.messages(conversation, page, before.as_deref(), false).map_err(|error| error.to_string())?;
        let Some(first) = part.first() else { break };
        before = Some(first.cursor.clone());
        all.splice(0..0, part);
        if all.len() > 1_000_000 {
            return Err("paging goes in circles".into());
        }
    }
    let ids: BTreeSet<OpId> = all.iter().map(|message| message.id).collect();
    if ids.len() != all.len() {
        return Err("a message is shown twice".into());
    }
    let place = |message: &Message| {
        let imported = message.state == MessageState::Imported;
        // Imported ones stand by claimed time and then by their rank in the source, which only the cursor says.
        let at = message.cursor.parse::<Place>().map_or(0, |place| place.at);
        (!imported, if imported { at } else { 0 }, message.hlc, message.id)
    };
    if let Some(pair) = all.windows(2).find(|pair| place(&pair[0]) >= place(&pair[1])) {
        return Err(format!("{} is shown before {}, against the order", pair[0].id.short(), pair[1].id.short()));
    }
    Ok(all)
}
