//! Who takes part: members, invitations, relays, as the stored control ops add up to.
//!
//! Responsible for: reading these tables, and the judgements that need them (may this author write here, may this join
//! be taken). Control ops count as soon as they are *stored*, whatever their state: what is stored must not depend on
//! a clock, or honest replicas would disagree on digests. Not here: writing the tables (`control.rs`).

use crate::{LogError, Reader};
use crate::{reads, row};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::BTreeSet;
use tombolo_model::control::Certificate;
use tombolo_model::limit::RELAYS_MAX;
use tombolo_model::{AccountId, ConversationId, DeviceId, Op, OpId, RelayAddress};

/// A device that takes part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The device.
    pub device: DeviceId,
    /// The account that certified it.
    pub account: AccountId,
    /// That account's word.
    pub certificate: Certificate,
    /// Arrival here of the op that made it a member.
    pub since: u64,
}

/// An invitation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invite {
    /// Public half of its key.
    pub key: [u8; 32],
    /// The op that made it.
    pub op: OpId,
    /// How many accounts may use it.
    pub uses: u32,
    /// How many have, as far as this replica knows.
    pub used: u32,
    /// When joins by it become void, **milliseconds** since 1970; 0 = never.
    pub expires_ms: u64,
    /// Whether it has been ended.
    pub revoked: bool,
    /// Who made it.
    pub by: DeviceId,
}

/// What is known of the invitations that share a key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InviteTerms {
    /// Most uses that any of them grants.
    pub(crate) uses: u32,
    /// Latest end; `None` = one of them never ends.
    pub(crate) expires_ms: Option<u64>,
    pub(crate) revoked: bool,
}

/// Terms of an invitation; `None` when no op that makes it is stored.
pub(crate) fn invite_terms(conn: &Connection, n: i64, key: &[u8; 32]) -> Result<Option<InviteTerms>, LogError> {
    let mut statement = conn.prepare_cached(
        "SELECT count(*), max(uses), max(expires_ms), min(expires_ms), EXISTS (SELECT 1 FROM revoked r \
         WHERE r.conversation = ?1 AND r.key = ?2) FROM invite WHERE conversation = ?1 AND key = ?2",
    )?;
    Ok(statement.query_row(params![n, key], |row| {
        if row.get::<_, i64>(0)? == 0 {
            return Ok(None);
        }
        let (latest, never): (i64, bool) = (row.get(2)?, row.get::<_, i64>(3)? == 0);
        Ok(Some(InviteTerms {
            uses: row.get(1)?,
            expires_ms: if never { None } else { Some(latest as u64) },
            revoked: row.get(4)?,
        }))
    })?)
}

/// How many accounts other than `account` have used an invitation.
pub(crate) fn used_by_others(conn: &Connection, n: i64, key: &[u8; 32], account: &AccountId) -> Result<u32, LogError> {
    let mut statement =
        conn.prepare_cached("SELECT count(*) FROM invite_use WHERE conversation = ?1 AND key = ?2 AND account <> ?3")?;
    Ok(statement.query_row(params![n, key, account.as_bytes()], |row| row.get(0))?)
}

pub(crate) fn is_member(conn: &Connection, n: i64, device: &DeviceId) -> Result<bool, LogError> {
    let mut statement = conn.prepare_cached("SELECT 1 FROM member WHERE conversation = ?1 AND device = ?2")?;
    Ok(statement.exists(params![n, device.as_bytes()])?)
}

pub(crate) fn is_member_of(conn: &Connection, n: i64, device: &DeviceId, of: &AccountId) -> Result<bool, LogError> {
    let mut statement =
        conn.prepare_cached("SELECT 1 FROM member WHERE conversation = ?1 AND device = ?2 AND account = ?3")?;
    Ok(statement.exists(params![n, device.as_bytes(), of.as_bytes()])?)
}

/// Whether two devices belong to one account in a conversation.
pub(crate) fn share_account(conn: &Connection, n: i64, one: &DeviceId, other: &DeviceId) -> Result<bool, LogError> {
    let mut statement = conn.prepare_cached(
        "SELECT 1 FROM member a JOIN member b ON b.conversation = a.conversation AND b.account = a.account \
         WHERE a.conversation = ?1 AND a.device = ?2 AND b.device = ?3",
    )?;
    Ok(statement.exists(params![n, one.as_bytes(), other.as_bytes()])?)
}

/// How many accounts have certified a device in a conversation.
pub(crate) fn accounts_of(conn: &Connection, n: i64, device: &DeviceId) -> Result<u64, LogError> {
    let mut statement = conn.prepare_cached("SELECT count(*) FROM member WHERE conversation = ?1 AND device = ?2")?;
    Ok(statement.query_row(params![n, device.as_bytes()], |row| row.get::<_, i64>(0))? as u64)
}

/// Devices of an account in a conversation, `except` not counted.
pub(crate) fn other_devices(
    conn: &Connection,
    n: i64,
    account: &AccountId,
    except: &DeviceId,
) -> Result<usize, LogError> {
    let mut statement =
        conn.prepare_cached("SELECT count(*) FROM member WHERE conversation = ?1 AND account = ?2 AND device <> ?3")?;
    let count: i64 = statement.query_row(params![n, account.as_bytes(), except.as_bytes()], |row| row.get(0))?;
    Ok(count as usize)
}

/// A certificate as one blob: creation time and signature; account and device stand in columns of their own.
pub(crate) fn certificate_to_sql(certificate: &Certificate) -> Vec<u8> {
    let mut bytes = certificate.created_ms.to_be_bytes().to_vec();
    bytes.extend_from_slice(&certificate.signature);
    bytes
}

fn certificate_from_sql(account: [u8; 32], device: [u8; 32], bytes: &[u8]) -> Result<Certificate, LogError> {
    let (created, signature) = bytes.split_at_checked(8).ok_or_else(|| LogError::damaged("certificate of a member"))?;
    Ok(Certificate {
        account,
        device,
        created_ms: u64::from_be_bytes(row::fixed(created)?),
        signature: row::fixed(signature)?,
    })
}

impl Reader {
    /// Devices that take part, by device.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn members(&self, conversation: &ConversationId) -> Result<Vec<Member>, LogError> {
        let Some(n) = self.number(conversation)? else { return Ok(Vec::new()) };
        let mut statement = self.db()?.prepare_cached(
            "SELECT device, account, certificate, since FROM member WHERE conversation = ?1 ORDER BY device, account",
        )?;
        let mut rows = statement.query([n])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let (device, account) = (row::array(row, 0)?, row::array(row, 1)?);
            found.push(Member {
                device: DeviceId(device),
                account: AccountId(account),
                certificate: certificate_from_sql(account, device, row::blob(row, 2)?)?,
                since: row::number(row, 3)?,
            });
        }
        Ok(found)
    }

    /// The ops by which devices take part, by clock and id: the genesis, invitations, joins. At most `limit`: the first
    /// ones, on which the others rest, and the last ones, since whoever has just come needs its own.
    ///
    /// # Errors
    /// [`LogError`] of SQLite, [`LogError::Damaged`].
    pub fn entitling(&self, conversation: &ConversationId, limit: usize) -> Result<Vec<Op>, LogError> {
        let Some(n) = self.number(conversation)? else { return Ok(Vec::new()) };
        let conn = self.db()?;
        let mut arrivals: BTreeSet<u64> = BTreeSet::new();
        let mut statement = conn.prepare_cached("SELECT since FROM member WHERE conversation = ?1")?;
        let mut rows = statement.query([n])?;
        while let Some(row) = rows.next()? {
            arrivals.insert(row::number(row, 0)?);
        }
        let mut statement = conn.prepare_cached("SELECT op FROM invite WHERE conversation = ?1")?;
        let mut rows = statement.query([n])?;
        while let Some(row) = rows.next()? {
            arrivals.extend(reads::find(conn, n, &OpId(row::array(row, 0)?))?);
        }
        let left_out = arrivals.len().saturating_sub(limit);
        let first = limit / 2;
        let chosen = arrivals.into_iter().enumerate().filter(|(at, _)| *at < first || *at >= first + left_out);
        let mut ops = Vec::new();
        for (_, arrival) in chosen {
            ops.extend(reads::load(conn, arrival)?);
        }
        ops.sort_by_key(|op| (op.header.hlc, op.id));
        Ok(ops)
    }

    /// Whether a device takes part.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn is_member(&self, conversation: &ConversationId, device: &DeviceId) -> Result<bool, LogError> {
        let Some(n) = self.number(conversation)? else { return Ok(false) };
        is_member(self.db()?, n, device)
    }

    /// Conversations that a device or relay may see, by id: those where it is a member or a named relay, each with the
    /// arrival that gave it access, or after which a relay was named locally.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn shared_with(&self, device: &DeviceId) -> Result<Vec<(ConversationId, u64)>, LogError> {
        let mut statement = self.db()?.prepare_cached(
            "SELECT c.id, min(s.since) FROM (SELECT conversation, since FROM member WHERE device = ?1 \
             UNION ALL SELECT conversation, since FROM relay WHERE key = ?1) s \
             JOIN conversation c ON c.n = s.conversation GROUP BY c.id ORDER BY c.id",
        )?;
        let mut rows = statement.query([device.as_bytes()])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push((ConversationId(row::array(row, 0)?), row::number(row, 1)?));
        }
        Ok(found)
    }

    /// Invitations, by key and op.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn invites(&self, conversation: &ConversationId) -> Result<Vec<Invite>, LogError> {
        let Some(n) = self.number(conversation)? else { return Ok(Vec::new()) };
        let mut statement = self.db()?.prepare_cached(
            "SELECT i.key, i.op, i.uses, (SELECT count(*) FROM invite_use u WHERE u.conversation = i.conversation \
             AND u.key = i.key), i.expires_ms, EXISTS (SELECT 1 FROM revoked r WHERE r.conversation = i.conversation \
             AND r.key = i.key), i.by FROM invite i WHERE i.conversation = ?1 ORDER BY i.key, i.op",
        )?;
        let mut rows = statement.query([n])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(Invite {
                key: row::array(row, 0)?,
                op: OpId(row::array(row, 1)?),
                uses: row.get(2)?,
                used: row.get(3)?,
                expires_ms: row::number(row, 4)?,
                revoked: row.get(5)?,
                by: DeviceId(row::array(row, 6)?),
            });
        }
        Ok(found)
    }

    /// Relays of a conversation, in the order in which they were named; at most [`RELAYS_MAX`].
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn relays(&self, conversation: &ConversationId) -> Result<Vec<RelayAddress>, LogError> {
        Ok(self.relays_since(conversation)?.into_iter().map(|(relay, _)| relay).collect())
    }

    /// As [`Reader::relays`], each with the arrival at which it was named.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn relays_since(&self, conversation: &ConversationId) -> Result<Vec<(RelayAddress, u64)>, LogError> {
        let Some(n) = self.number(conversation)? else { return Ok(Vec::new()) };
        let mut statement = self.db()?.prepare_cached(
            "SELECT key, url, region, since FROM relay WHERE conversation = ?1 ORDER BY hlc, id, key, url LIMIT ?2",
        )?;
        let mut rows = statement.query(params![n, RELAYS_MAX as i64])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let relay = RelayAddress { key: row::array(row, 0)?, url: row.get(1)?, region: row.get(2)? };
            found.push((relay, row::number(row, 3)?));
        }
        Ok(found)
    }

    /// How many ops of unknown authors wait in a conversation.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn strangers(&self, conversation: &ConversationId) -> Result<usize, LogError> {
        let Some(n) = self.number(conversation)? else { return Ok(0) };
        let mut statement = self.db()?.prepare_cached("SELECT count(*) FROM stranger WHERE conversation = ?1")?;
        let count: Option<i64> = statement.query_row([n], |row| row.get(0)).optional()?;
        Ok(count.unwrap_or(0) as usize)
    }
}
