//! Who is there: hello, proof of the device key bound to this connection, and where each side stands.
//!
//! The proof signs a hash over both hellos (each with a fresh nonce), the binding of the transport beneath, and the
//! side that signs, so that it is worthless on any other connection, for any other replica, and for the other side.
//! Nothing about conversations is said before the peer has proved its key.

use super::{Context, Output, Phase, Session, local};
use crate::fault::Fault;
use crate::frame::{Frame, Hello, Resume, Tool};
use crate::limit;
use crate::session::sending::Job;
use crate::source::{Cursor, Source};
use alloc::string::String;
use alloc::vec::Vec;
use tombolo_model::crypto::{DOMAIN_MOVED, DOMAIN_SESSION};
use tombolo_model::digest::Chain;
use tombolo_model::{Proof, Signature};

impl Session {
    pub(super) fn open<S: Source>(&mut self, ctx: &Context<'_, S>) {
        let hello = Hello {
            version: self.config.versions.0,
            version_min: self.config.versions.1,
            replica: ctx.signer.device(),
            nonce: self.config.nonce,
            clock_ms: ctx.now.wall_ms,
            window_bytes: self.config.window_bytes,
        };
        self.send(&Frame::Hello(hello.clone()));
        self.hello = Some(hello);
    }

    pub(super) fn on_hello<S: Source>(&mut self, hello: Hello, ctx: &Context<'_, S>) -> Result<(), Fault> {
        let (newest, oldest) = self.config.versions;
        if hello.version < oldest || hello.version_min > newest {
            return Err(Fault::NoCommonVersion { ours: newest, theirs: hello.version });
        }
        if hello.replica == ctx.signer.device() {
            return Err(Fault::Oneself);
        }
        if let Some(expected) = self.config.expected
            && expected != hello.replica
        {
            return Err(Fault::WrongReplica { expected: expected.short(), found: hello.replica.short() });
        }
        self.peer = hello.replica;
        self.peer_hello = Some(hello);
        let transcript = self.transcript(self.config.initiator)?;
        self.send(&Frame::Prove(ctx.signer.sign(DOMAIN_SESSION, &transcript)));
        self.phase = Phase::Proving;
        Ok(())
    }

    /// What a side signs: both hellos, the binding, and which side it is.
    fn transcript(&self, by_initiator: bool) -> Result<[u8; 32], Fault> {
        let (Some(mine), Some(theirs)) = (&self.hello, &self.peer_hello) else {
            return Err(Fault::OutOfTurn { frame: "prove" });
        };
        let mine = Frame::Hello(mine.clone()).to_bytes();
        let theirs = Frame::Hello(theirs.clone()).to_bytes();
        let (first, second) = if self.config.initiator { (mine, theirs) } else { (theirs, mine) };
        let mut hasher = blake3::Hasher::new_derive_key("tombolo 1 session transcript");
        for part in [&first, &second, &self.config.binding] {
            hasher.update(&(part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        hasher.update(&[u8::from(by_initiator)]);
        Ok(*hasher.finalize().as_bytes())
    }

    pub(super) fn on_prove<S: Source>(&mut self, signature: &Signature, ctx: &Context<'_, S>) -> Result<(), Fault> {
        let transcript = self.transcript(!self.config.initiator)?;
        if !ctx.verifier.verify(&self.peer, DOMAIN_SESSION, &transcript, signature) {
            return Err(Fault::Unauthenticated);
        }
        self.phase = Phase::Resuming;
        let clock_ms = self.peer_hello.as_ref().map_or(0, |hello| hello.clock_ms);
        self.out
            .push_back(Output::Authenticated { peer: self.peer, skew_ms: clock_ms as i64 - ctx.now.wall_ms as i64 });
        // Before the resume, so that with the resume each side knows whether the other speaks of registers.
        self.say_reading(ctx)?;
        let cursor = ctx.source.cursor().map_err(local)?;
        let read = ctx.source.peer_cursor(&self.peer).map_err(local)?.filter(|_| self.config.tools.cursor);
        let (proof, count, _) = self.overall(ctx)?;
        let (position, chain) = self.place_shown(&cursor, ctx)?;
        let resume = Resume {
            incarnation: cursor.incarnation,
            position,
            chain,
            read: read.map(|read| (read.position, read.chain)),
            proof: self.salted(&proof, true),
            count,
        };
        self.ask(&Frame::Resume(resume));
        Ok(())
    }

    /// The end of the own order of arrival as the peer is told it. Whoever shares nothing is told its beginning: how much
    /// is held, when something comes, and (by the chain) which op that was, is not for strangers.
    pub(super) fn place_shown<S: Source>(&self, cursor: &Cursor, ctx: &Context<'_, S>) -> Result<(u64, Chain), Fault> {
        if !ctx.source.shared(&self.peer).map_err(local)?.is_empty() {
            return Ok((cursor.position, cursor.chain));
        }
        Ok((0, ctx.source.chain_at(0).map_err(local)?.unwrap_or_default()))
    }

    /// A proof as it is said on this connection: nobody can repeat it without knowing the proof beneath, nor carry it
    /// over from another connection or from the other side.
    pub(super) fn salted(&self, proof: &Proof, by_me: bool) -> Proof {
        let nonce = |hello: &Option<Hello>| hello.as_ref().map_or([0; 32], |hello| hello.nonce);
        let (speaker, listener) = if by_me {
            (nonce(&self.hello), nonce(&self.peer_hello))
        } else {
            (nonce(&self.peer_hello), nonce(&self.hello))
        };
        let mut hasher = blake3::Hasher::new_derive_key("tombolo 1 salted proof");
        hasher.update(&speaker);
        hasher.update(&listener);
        // Which side speaks: a peer that copies our nonce could otherwise send our own proof back to us.
        hasher.update(&[u8::from(self.config.initiator == by_me)]);
        hasher.update(&proof.0);
        Proof(*hasher.finalize().as_bytes())
    }

    pub(super) fn on_resume<S: Source>(&mut self, resume: Resume, ctx: &Context<'_, S>) -> Result<(), Fault> {
        self.phase = Phase::Running;
        if self.asked {
            self.asked = false;
            self.stats.round_trips += 1;
        }
        self.stats.peer_count = resume.count;
        let cursor = ctx.source.cursor().map_err(local)?;
        let (proof, count, conversations) = self.overall(ctx)?;
        let theirs = Cursor { incarnation: resume.incarnation, position: resume.position, chain: resume.chain };
        let equal = self.salted(&proof, false) == resume.proof;
        let known = match resume.read {
            None => None,
            Some((position, chain)) => {
                let ours = ctx.source.chain_at(position).map_err(local)?;
                (ours == Some(chain)).then_some(position)
            }
        };
        let usable = self.config.tools.cursor;
        let read = ctx.source.peer_cursor(&self.peer).map_err(local)?;
        let acked = ctx.source.acked(&self.peer).map_err(local)?;
        // The peer's store is older than what was read of it, or than a cursor that it stored with a batch that it then
        // acknowledged, or it read another history: it was restored.
        let restored = known.unwrap_or(0) < ctx.source.streamed(&self.peer).map_err(local)?
            || read.is_some_and(|read| read.incarnation != theirs.incarnation || read.position > theirs.position)
            || (resume.read.is_some() && known.is_none());
        // A proof counts as acknowledgement, too, but the cursor that goes with it reaches the peer's disk a little later:
        // it may only have been cut off in that moment.
        let doubtful = known.unwrap_or(0) < acked;
        self.names.off = restored || doubtful;
        if restored || doubtful {
            self.out.push_back(Output::AcksLost { restored });
        }
        if equal {
            // The sets are equal, whatever the cursors say: nothing has to travel, not even a frame more.
            self.sent_position = cursor.position;
            if read != Some(theirs) {
                self.out.push_back(Output::Remember(theirs));
            }
            self.told_equal = true;
            self.prove_equal(cursor.position, proof, count, conversations, ctx)?;
        } else if let Some(position) = known.filter(|_| usable) {
            self.sent_position = position;
            // A cursor says what need not be sent again, not what is held: the peer may have refused some of it. What
            // lies between what it acknowledged and its cursor counts once both are proven equal.
            self.owes = restored || doubtful || acked < position;
            self.names.through = ctx.source.held(&self.peer).map_err(local)?.min(position);
            for (conversation, since) in ctx.source.shared(&self.peer).map_err(local)? {
                if since > position {
                    self.names.whole(conversation);
                    self.add_job(Job::granted(conversation, position));
                }
            }
        } else if resume.count == 0 && usable && (restored || doubtful) {
            // It was emptied: what it once brought itself is lost there too, so everything goes back.
            self.sent_position = cursor.position;
            self.owes = true;
            for (conversation, _) in ctx.source.shared(&self.peer).map_err(local)? {
                self.add_job(Job::everything(conversation, Tool::Cursor));
            }
        } else if resume.count == 0 && usable {
            self.sent_position = 0;
            self.owes = false;
        } else {
            self.sent_position = cursor.position;
            self.owes = true;
            self.gap = true;
        }
        // A direction is streamed when its reader's cursor fits or its reader has nothing; otherwise, if its writer has
        // something, only a search can tell what is missing.
        let unstreamed = |read: bool, reader_count: u64, writer_count: u64| {
            writer_count > 0 && !(usable && (read || reader_count == 0))
        };
        let search_now = !equal
            && (unstreamed(known.is_some(), resume.count, count) || unstreamed(read.is_some(), count, resume.count));
        self.peer_resume = Some(resume);
        self.open_registers();
        self.retry_ms = ctx.now.mono_ms + super::RETRY_MS;
        if search_now && self.config.initiator {
            self.start_round(ctx)?;
        }
        Ok(())
    }

    pub(super) fn prove_equal<S: Source>(
        &mut self,
        position: u64,
        proof: Proof,
        count: u64,
        conversations: Vec<tombolo_model::ConversationId>,
        ctx: &Context<'_, S>,
    ) -> Result<(), Fault> {
        self.proven = Some(position);
        self.proven_proof = proof;
        self.stuck = 0;
        self.round_proven = self.round;
        self.owes &= !self.blocked.is_empty();
        self.gap = false;
        self.told_equal |= self.settled.as_ref().is_some_and(|mine| mine.position == position);
        self.claimed_equal = false;
        self.attempts.clear();
        self.differing.clear();
        self.names.proven(position, &conversations);
        self.ask_bodies(&conversations, ctx)?;
        self.out.push_back(Output::Proven { position, count, conversations });
        Ok(())
    }

    pub(super) fn on_moved<S: Source>(
        &mut self,
        url: String,
        at_ms: u64,
        signature: &Signature,
        ctx: &Context<'_, S>,
    ) -> Result<(), Fault> {
        if ctx.verifier.verify(&self.peer, DOMAIN_MOVED, &moved_bytes(&url, at_ms), signature) {
            self.out.push_back(Output::Moved { url, at_ms });
            Ok(())
        } else {
            Err(Fault::Forged("a move that the replica did not sign".into()))
        }
    }
}

/// What a replica signs when it moves.
#[must_use]
pub fn moved_bytes(url: &str, at_ms: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(url.len() + 8);
    out.extend_from_slice(&at_ms.to_be_bytes());
    out.extend_from_slice(url.as_bytes());
    out
}

const _: () = assert!(limit::OPENING_MS < limit::SILENCE_MS);
