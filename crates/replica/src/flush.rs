//! The flush: what sessions have queued becomes durable in one transaction, then they acknowledge it and pass it on.
//!
//! Batches of open conversations go together, checked on a second thread while those before are judged and stored; one
//! that may found or open a conversation goes alone. An error of the log is final (fail-stop): nothing of the
//! transaction was stored or acknowledged. Not here: judging (`admit.rs`), the second thread (`ahead.rs`).

use crate::Scope;
use crate::admit::{Admitted, Checked, signed, to_refusal};
use crate::ahead::Ahead;
use crate::marks::Marks;
use crate::replica::{ConnId, Event, Output, Queued, Replica, store_beside, to_oplog};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use tombolo_model::{Class, ConversationId, DeviceId, OpId};
use tombolo_oplog::{self as oplog, Appended, Fold, LogError, Lost, Reason};
use tombolo_proto::session::{Input, Now};
use tombolo_proto::{Fault, Refusal, Tool};

/// What became of a batch.
struct StoredBatch {
    conn: ConnId,
    number: u64,
    tool: Tool,
    stored: BTreeMap<ConversationId, Vec<OpId>>,
    refused: BTreeMap<ConversationId, Refusal>,
    /// Who gained access to what.
    granted: Vec<(ConversationId, DeviceId)>,
    /// Control ops were among them.
    controls: bool,
    /// Whose bodies went.
    gone: Vec<Lost>,
}

/// What changes with a batch besides the log.
struct Beside<'a, F> {
    fold: &'a mut F,
    marks: &'a mut Marks,
    out: &'a mut VecDeque<Output>,
}

impl<F: Fold> Replica<F> {
    /// Stores everything that sessions have queued in one transaction, then lets them acknowledge and pass it on.
    ///
    /// # Errors
    /// [`LogError`]: nothing of it was stored or acknowledged; final for this object.
    pub fn flush(&mut self, now: Now) -> Result<(), LogError> {
        while !self.queued.is_empty() {
            let open = self.open_batches()?;
            if open == 0 {
                let queued = self.queued.remove(0);
                self.flush_closed(queued, now)?;
            } else {
                let queued = self.queued.drain(..open).collect();
                self.flush_open(queued, now)?;
            }
        }
        self.flush_registers(now)
    }

    /// How many of the queued batches can be judged by what is stored now: up to the first whose peer may not bring ops of
    /// one of its conversations yet. That one may found or open it, so it goes alone, before those behind it are judged.
    fn open_batches(&self) -> Result<usize, LogError> {
        let _held = self.log.hold();
        for (index, queued) in self.queued.iter().enumerate() {
            let mut conversations: Vec<ConversationId> = queued.ops.iter().map(|op| op.conversation()).collect();
            conversations.dedup();
            // Whether the cursor that came with nothing is remembered depends on what its peer shares.
            if conversations.is_empty() {
                return Ok(index);
            }
            for conversation in BTreeSet::from_iter(conversations) {
                if !self.is_open(&conversation, &queued.peer, self.members_only(queued.conn))? {
                    return Ok(index);
                }
            }
        }
        Ok(self.queued.len())
    }

    fn members_only(&self, conn: ConnId) -> bool {
        self.conns.get(&conn).is_none_or(|conn| conn.scope == Scope::Members)
    }

    /// What came behind the op for which a session was ended is not looked at.
    fn is_over(&self, conn: ConnId) -> bool {
        self.conns.get(&conn).is_none_or(|conn| conn.session.is_over())
    }

    /// Stores one batch that may found or open a conversation.
    fn flush_closed(&mut self, mut queued: Queued, now: Now) -> Result<(), LogError> {
        if self.is_over(queued.conn) {
            return Ok(());
        }
        let parts = signed(std::mem::take(&mut queued.ops));
        match self.check(parts, &queued.bare, &queued.peer, self.members_only(queued.conn), now)? {
            Err(fault) => self.step(queued.conn, Input::Fail(fault), now),
            Ok(checked) => {
                let mut batch = self.log.batch()?;
                let beside = Beside { fold: &mut self.fold, marks: &mut self.marks, out: &mut self.out };
                let stored = append(&mut batch, &queued, checked, beside, now)?;
                store_beside(&mut batch, &mut self.marks, &self.memory)?;
                batch.commit()?;
                self.after_commit(vec![stored], Vec::new(), now);
            }
        }
        Ok(())
    }

    /// Stores batches of conversations that are open to those who bring them.
    fn flush_open(&mut self, mut queued: Vec<Queued>, now: Now) -> Result<(), LogError> {
        queued.retain(|queued| !self.is_over(queued.conn));
        if queued.is_empty() {
            return Ok(());
        }
        let mut batches = Vec::with_capacity(queued.len());
        let mut admitted = Vec::with_capacity(queued.len());
        for queued in &mut queued {
            let ops = std::mem::take(&mut queued.ops);
            admitted.push(self.admit(&ops, &queued.peer));
            batches.push(ops);
        }
        let read = self.fold.read_ahead();
        let (stored, failed) =
            Ahead::during(read, batches, |ahead| self.store(queued.into_iter().zip(admitted), ahead, now))?;
        self.after_commit(stored, failed, now);
        Ok(())
    }

    /// Judges and stores batches in one transaction; sessions that brought a forgery are named.
    #[allow(clippy::type_complexity, reason = "the two outcomes, used once")]
    fn store(
        &mut self,
        batches: impl Iterator<Item = (Queued, Admitted)>,
        ahead: &Ahead,
        now: Now,
    ) -> Result<(Vec<StoredBatch>, Vec<(ConnId, Fault)>), LogError> {
        let (mut results, mut failed) = (Vec::new(), Vec::<(ConnId, Fault)>::new());
        let mut batch = self.log.batch()?;
        for (at, (queued, admitted)) in batches.enumerate() {
            let (parts, opened) = ahead.take(at);
            if failed.iter().any(|(conn, _)| *conn == queued.conn) {
                continue;
            }
            match admitted.judge(parts, &queued.bare, &mut batch)? {
                Err(fault) => failed.push((queued.conn, fault)),
                Ok(checked) => {
                    self.fold.was_read(opened);
                    let beside = Beside { fold: &mut self.fold, marks: &mut self.marks, out: &mut self.out };
                    results.push(append(&mut batch, &queued, checked, beside, now)?);
                }
            }
        }
        self.fold.was_read(oplog::Opened::new());
        store_beside(&mut batch, &mut self.marks, &self.memory)?;
        batch.commit()?;
        Ok((results, failed))
    }

    /// Tells sessions what is on the disk now, those that brought a forgery first that they are over.
    fn after_commit(&mut self, results: Vec<StoredBatch>, failed: Vec<(ConnId, Fault)>, now: Now) {
        self.marks_since_ms = None;
        // Who shares what changes by control ops alone. A newcomer's own session is told what it may see before its batch
        // is acknowledged, so that it is not told that all was sent: every step begins with that.
        if results.iter().any(|stored| stored.controls) {
            self.memory.forget_shared();
        }
        for (conn, fault) in failed {
            self.step(conn, Input::Fail(fault), now);
        }
        let mut grew = false;
        let mut all_granted = Vec::new();
        for StoredBatch { conn, number, tool, stored, refused, granted, gone, .. } in results {
            all_granted.extend(granted);
            self.tell_gone(gone);
            grew |= !stored.is_empty();
            let count = stored.values().map(Vec::len).sum::<usize>() as u64;
            for (conversation, ids) in stored {
                let event = Event::Stored { conn: Some(conn), conversation, ids, tool: Some(tool) };
                self.out.push_back(Output::Event(event));
            }
            let refused = refused.into_iter().collect();
            self.step(conn, Input::Persisted { number, stored: count, refused }, now);
        }
        for (conversation, device) in all_granted {
            self.out.push_back(Output::Event(Event::Granted { conversation, device }));
        }
        if grew {
            self.changed(now);
        }
    }
}

/// Stores what was judged of one batch in the transaction that is open.
fn append<F: Fold>(
    batch: &mut oplog::Batch<'_>,
    queued: &Queued,
    checked: Checked,
    beside: Beside<'_, F>,
    now: Now,
) -> Result<StoredBatch, LogError> {
    let Beside { fold, marks, out } = beside;
    let mut stored: BTreeMap<ConversationId, Vec<OpId>> = BTreeMap::new();
    let Checked { ops, mut refused, members, remember } = checked;
    let mut granted = Vec::new();
    let mut controls = false;
    let mut gone = Vec::new();
    for (conversation, ops, vouchers) in ops {
        controls |= ops.iter().any(|incoming| incoming.op.header.class == Class::Control);
        let appended = batch.append(&ops, Some(&queued.peer), now.wall_ms, fold)?;
        let Appended { stored: new, refused: not_taken, granted: access, equivocations, tail_lost, gone: went, .. } =
            appended;
        gone.extend(went);
        for of_one in new.chunk_by(|a, b| a.conversation == b.conversation) {
            stored.entry(of_one[0].conversation).or_default().extend(of_one.iter().map(|op| op.id));
        }
        let streamed = queued.through.is_some();
        let member = members.contains(&conversation);
        for refusal in not_taken {
            let unknown = refusal.reason == Reason::UnknownAuthor;
            if unknown && stored.values().flatten().any(|id| *id == refusal.id) {
                continue;
            }
            // An op that waits for what authorises it. A search knows no order: that may come in the next batch. It waits
            // uncounted, so the proofs tell whether it came.
            if unknown && member && !streamed {
                refused.entry(conversation).or_insert(Refusal::Waits);
                continue;
            }
            // That nobody knows the author is the consequence; why it may not join is what it wants to know.
            let said = refused.entry(conversation).or_insert(Refusal::NotHere);
            if matches!(*said, Refusal::NotHere | Refusal::Waits) {
                *said = to_refusal(&refusal.reason, member);
            }
        }
        granted.extend(access);
        if !vouchers.is_empty() {
            batch.put_vouchers(&conversation, vouchers)?;
        }
        for found in equivocations {
            let event = Event::Equivocation { conversation: found.conversation, author: found.author };
            out.push_back(Output::Event(event));
        }
        if tail_lost {
            out.push_back(Output::Event(Event::TailLost));
        }
    }
    if let Some(cursor) = queued.through.filter(|_| remember) {
        marks.read(queued.peer, to_oplog(cursor));
    }
    let Queued { conn, number, tool, .. } = *queued;
    Ok(StoredBatch { conn, number, tool, stored, refused, granted, controls, gone })
}
