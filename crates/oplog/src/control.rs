//! Who may write, and what control ops change.
//!
//! Authorisation depends on nothing but the set of stored ops, and only ever grows with it; so whatever the order of
//! arrival, the same ops are taken in the end:
//! - a genesis by the device that its certificate names;
//! - a join whose invitation's op is stored and had not expired by the join's own clock;
//! - a device op by a member device of the same account, or by the very device that its certificate names, where the
//!   account is a member by any other device: the account's key outranks its devices, and that certificate is its word;
//! - everything else by any member device.
//!
//! Control ops therefore count when they are stored, not when they are delivered. The limits of an invitation that only
//! a moment can enforce (revoked meanwhile, used up, expired by the wall clock) bind the replica to which the newcomer
//! itself brings its join. Not here: certificates and proofs (`identity`), reading the tables (`roster.rs`).

use crate::append::{Reason, Run, Via};
use crate::deliver::control_of;
use crate::{Batch, LogError, roster, row};
use rusqlite::{Connection, params};
use tombolo_model::control::{Certificate, Kind};
use tombolo_model::limit::{DEVICES_PER_ACCOUNT_MAX, STRANGERS_MAX};
use tombolo_model::{Control, ConversationId, Header, Op, OpId, RelayAddress, Signature, Sound};

/// Whether an op may be stored.
pub(crate) enum Verdict {
    Authorised,
    /// Not yet: what would authorise it may come.
    Stranger,
    Refused(Reason),
}

impl Batch<'_> {
    /// Judges an op that is not stored. `n`: its conversation, if known; `in_log`: ops of its log are stored.
    pub(crate) fn judge(
        &mut self,
        op: &Op,
        control: Option<&Control>,
        n: Option<i64>,
        in_log: bool,
        via: Via,
        run: &Run<'_>,
    ) -> Result<Verdict, LogError> {
        let author = &op.header.author;
        let about_author = |certificate: &Certificate| certificate.device() == *author;
        if op.header.is_genesis() {
            return Ok(match control {
                Some(Control::Genesis { certificate, .. }) if about_author(certificate) => Verdict::Authorised,
                _ => Verdict::Refused(Reason::NotEntitled),
            });
        }
        match control {
            Some(Control::Genesis { .. }) => return Ok(Verdict::Refused(Reason::NotEntitled)),
            Some(Control::Join { certificate, .. }) if !about_author(certificate) => {
                return Ok(Verdict::Refused(Reason::NotEntitled));
            }
            // A newcomer asks to join before it knows anything of the conversation.
            Some(Control::Join { .. }) if run.from.is_none() && via.source == 0 => return Ok(Verdict::Authorised),
            _ => {}
        }
        let Some(n) = n else { return Ok(Verdict::Refused(Reason::UnknownConversation)) };
        match control {
            Some(Control::Join { certificate, invite, .. }) => self.judge_join(op, n, certificate, invite, via, run),
            Some(Control::Device { certificate }) => {
                let (account, device) = (certificate.account(), certificate.device());
                let others = roster::other_devices(self.conn, n, &account, &device)?;
                // Nobody else can bring a device in by its certificate: the op bears its own signature. And the account
                // must be here by another one, or a certificate alone would open every conversation.
                let by_itself = device == *author && others > 0;
                if !by_itself && !roster::is_member_of(self.conn, n, author, &account)? {
                    return Ok(Verdict::Stranger);
                }
                let room = others < DEVICES_PER_ACCOUNT_MAX;
                Ok(if room { Verdict::Authorised } else { Verdict::Refused(Reason::TooManyDevices) })
            }
            // Whoever has a stored op in the log was authorised for it, and nobody is ever removed.
            _ if in_log => Ok(Verdict::Authorised),
            _ if roster::is_member(self.conn, n, author)? => Ok(Verdict::Authorised),
            _ => Ok(Verdict::Stranger),
        }
    }

    fn judge_join(
        &mut self,
        op: &Op,
        n: i64,
        certificate: &Certificate,
        invite: &[u8; 32],
        via: Via,
        run: &Run<'_>,
    ) -> Result<Verdict, LogError> {
        // Whoever was refused once and came in by another invitation brings that first join, too, and what follows it.
        if roster::is_member_of(self.conn, n, &op.header.author, &certificate.account())? {
            return Ok(Verdict::Authorised);
        }
        let Some(terms) = roster::invite_terms(self.conn, n, invite)? else { return Ok(Verdict::Stranger) };
        let expired = |at_ms: u64| terms.expires_ms.is_some_and(|expires_ms| at_ms > expires_ms);
        let too_late = expired(op.header.hlc.ms());
        if !via.by_author {
            // Another op might give the same key longer: it waits, as for an invitation that is not here.
            return Ok(if too_late { Verdict::Stranger } else { Verdict::Authorised });
        }
        if terms.revoked {
            return Ok(Verdict::Refused(Reason::InviteRevoked));
        }
        if too_late || expired(run.now_ms) {
            return Ok(Verdict::Refused(Reason::InviteExpired));
        }
        if roster::used_by_others(self.conn, n, invite, &certificate.account())? >= terms.uses {
            return Ok(Verdict::Refused(Reason::InviteUsedUp));
        }
        Ok(Verdict::Authorised)
    }

    /// Does what a control op says, now that it is stored.
    pub(crate) fn apply_control(
        &mut self,
        op: &Op,
        control: &Control,
        n: i64,
        arrival: u64,
        run: &mut Run<'_>,
    ) -> Result<(), LogError> {
        let conn = self.conn;
        let id = op.conversation();
        let (hlc, author) = (op.header.hlc.0 as i64, op.header.author);
        match control {
            Control::Genesis { kind, .. } => {
                let kind = match kind {
                    Kind::Group => 0,
                    Kind::Direct => 1,
                    Kind::Own => 2,
                };
                if let Some(entry) = self.conversation(&id)? {
                    entry.kind = Some(kind);
                }
                self.cache.dirty_conversations.insert(id);
            }
            Control::Invite { key, uses, expires_ms } => {
                let mut statement = conn.prepare_cached(
                    "INSERT OR IGNORE INTO invite (conversation, key, op, uses, expires_ms, by) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                )?;
                // An end beyond what a row can hold is no end that anyone will see.
                let expires_ms = i64::try_from(*expires_ms).unwrap_or(i64::MAX);
                statement.execute(params![n, key, op.id.as_bytes(), uses, expires_ms, author.as_bytes()])?;
                run.opened.insert(id);
            }
            Control::Revoke { key } => {
                let mut statement =
                    conn.prepare_cached("INSERT OR IGNORE INTO revoked (conversation, key) VALUES (?1, ?2)")?;
                statement.execute(params![n, key])?;
            }
            Control::Join { certificate, invite, .. } => {
                let mut statement = conn.prepare_cached(
                    "INSERT OR IGNORE INTO invite_use (conversation, key, account) VALUES (?1, ?2, ?3)",
                )?;
                statement.execute(params![n, invite, certificate.account])?;
            }
            Control::Device { .. } | Control::Relays { .. } => {}
        }
        if let Some(certificate) = control.certificate() {
            let mut statement = conn.prepare_cached(
                "INSERT OR IGNORE INTO member (conversation, device, account, certificate, since) \
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?;
            let blob = roster::certificate_to_sql(certificate);
            let changed =
                statement.execute(params![n, certificate.device, certificate.account, blob, arrival as i64])?;
            if changed > 0 {
                run.out.granted.push((id, certificate.device()));
                run.opened.insert(id);
            }
            // Whoever founded it may erase anything; a device that came to another account, whatever that one wrote.
            // Before a device's first account nothing of it was stored.
            let device = certificate.device();
            if op.header.is_genesis() || (changed > 0 && roster::accounts_of(conn, n, &device)? > 1) {
                self.review_erasures(n, &id, run)?;
            }
        }
        let relays: &[RelayAddress] = match control {
            Control::Genesis { relays, .. } | Control::Join { relays, .. } => relays,
            Control::Relays { add } => add,
            Control::Invite { .. } | Control::Revoke { .. } | Control::Device { .. } => &[],
        };
        for relay in relays {
            self.put_relay(n, relay, hlc, op.id.as_bytes(), arrival)?;
        }
        Ok(())
    }

    /// Names a relay. Where several ops name the same one, the first in display order counts.
    pub(crate) fn put_relay(
        &mut self,
        n: i64,
        relay: &RelayAddress,
        hlc: i64,
        id: &[u8],
        since: u64,
    ) -> Result<(), LogError> {
        let mut statement = self.conn.prepare_cached(
            "INSERT INTO relay (conversation, key, url, region, hlc, id, since) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
             ON CONFLICT DO UPDATE SET region = excluded.region, hlc = excluded.hlc, id = excluded.id, \
             since = min(since, excluded.since) WHERE (excluded.hlc, excluded.id) < (hlc, id)",
        )?;
        statement.execute(params![n, relay.key, relay.url, relay.region, hlc, id, since as i64])?;
        Ok(())
    }

    /// Keeps an op of an unknown author aside, if there is room.
    pub(crate) fn keep_stranger(&mut self, op: &Op, understood: bool, via: Via) -> Result<Reason, LogError> {
        let conn = self.conn;
        let id = op.conversation();
        let Some(entry) = self.conversation(&id)? else { return Ok(Reason::UnknownConversation) };
        let mut known =
            conn.prepare_cached("SELECT 1 FROM stranger WHERE conversation = ?1 AND hlc = ?2 AND id = ?3")?;
        let hlc = op.header.hlc.0 as i64;
        if known.exists(params![entry.n, hlc, op.id.as_bytes()])? {
            return Ok(Reason::UnknownAuthor);
        }
        if entry.strangers >= STRANGERS_MAX {
            return Ok(Reason::TooManyStrangers);
        }
        // An author brings its log in order. What stood before this was refused, then, and may never come: should the
        // author be let in by other means, this would wait for it for ever. It will be sent again.
        let (n, prev) = (entry.n, op.header.prev);
        let headless = via.by_author
            && op.header.seq > 1
            && !is_stranger(conn, n, &prev)?
            && self.cache.look_up(conn, n, &prev)?.is_none();
        if headless {
            return Ok(Reason::UnknownAuthor);
        }
        let mut statement = conn.prepare_cached(
            "INSERT INTO stranger (conversation, hlc, id, source, by_author, control, header, signature, body, expires_ms) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?;
        statement.execute(params![
            n,
            hlc,
            op.id.as_bytes(),
            via.source,
            via.by_author,
            understood,
            op.header.to_bytes(),
            op.signature.as_ref().map(|signature| signature.0),
            op.body,
            // Of what it may be erased for is judged when its author is known; its time passes here, too.
            i64::try_from(op.header.expires_ms).unwrap_or(i64::MAX),
        ])?;
        if let Some(entry) = self.conversation(&id)? {
            entry.strangers += 1;
        }
        Ok(Reason::UnknownAuthor)
    }

    /// Judges those that wait in a conversation once more, until none of them moves.
    pub(crate) fn retry_strangers(&mut self, id: ConversationId, run: &mut Run<'_>) -> Result<(), LogError> {
        let Some(n) = self.conversation(&id)?.filter(|entry| entry.strangers > 0).map(|entry| entry.n) else {
            return Ok(());
        };
        for (op, control, via) in self.strangers(n)? {
            let (refusals, gone) = (run.out.refused.len(), run.out.gone.len());
            let over = match Sound::check(op.clone()) {
                Ok(sound) => self.take(&sound, control.as_ref(), via, run)?,
                // Its row was damaged.
                Err(_) => {
                    run.refuse(&op, Reason::Malformed);
                    true
                }
            };
            if over {
                // What waited here with its body may be stored without it.
                self.wipes |= run.out.gone.len() > gone;
                let mut statement = self
                    .conn
                    .prepare_cached("DELETE FROM stranger WHERE conversation = ?1 AND hlc = ?2 AND id = ?3")?;
                statement.execute(params![n, op.header.hlc.0 as i64, op.id.as_bytes()])?;
                if let Some(entry) = self.conversation(&id)? {
                    entry.strangers = entry.strangers.saturating_sub(1);
                }
            } else {
                // Still a stranger: that is no news.
                run.out.refused.truncate(refusals);
            }
        }
        Ok(())
    }

    fn strangers(&mut self, n: i64) -> Result<Vec<(Op, Option<Control>, Via)>, LogError> {
        let mut statement = self.conn.prepare_cached(
            "SELECT id, source, by_author, header, signature, body, control FROM stranger WHERE conversation = ?1 \
             ORDER BY hlc, id",
        )?;
        let mut rows = statement.query([n])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let header = Header::from_bytes(row::blob(row, 3)?)
                .map_err(|_| LogError::damaged("header of an op that waits for its author"))?;
            let signature = row::blob_or_none(row, 4)?.map(row::fixed).transpose()?.map(Signature);
            let body = row::blob_or_none(row, 5)?.map(<[u8]>::to_vec);
            let op = Op { id: OpId(row::array(row, 0)?), header, signature, body };
            let control = if row.get(6)? { control_of(&op) } else { None };
            found.push((op, control, Via { source: row.get(1)?, by_author: row.get(2)? }));
        }
        Ok(found)
    }
}

/// Whether an op waits for its author.
pub(crate) fn is_stranger(conn: &Connection, n: i64, id: &OpId) -> Result<bool, LogError> {
    let mut statement = conn.prepare_cached("SELECT 1 FROM stranger WHERE conversation = ?1 AND id = ?2")?;
    Ok(statement.exists(params![n, id.as_bytes()])?)
}
