//! What must be true of a store after a power cut, whatever was lost.
//!
//! Responsible for: opening a surviving disk with the shipped code and comparing it with what was promised: nothing
//! acknowledged is lost, nothing was invented, sums and marks fit what is held, writing goes on and never takes a place
//! that a peer has seen taken. Not here: making the states (`power.rs`), the workload (`world.rs`).

use std::collections::{BTreeMap, BTreeSet};

use tombolo_client::{ConversationId, MessageState, Node};
use tombolo_model::digest::Sum;
use tombolo_model::{LogId, OpId};
use tombolo_oplog::{NoFold, Reader};
use tombolo_proto::Refusal;
use tombolo_replica::{ConnId, Event, Now, Replica};
use tombolo_testkit::disk::Disk;
use tombolo_testkit::rng::Rng;

use super::world::{Entry, Flaw, History, link, open_node, open_relay, relay_key};
use crate::pair;

/// What was found in one state.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// Acknowledged arrivals that are gone.
    pub(crate) lost: u64,
    /// Writing went on at a place that a peer has seen taken.
    pub(crate) forked: bool,
    /// Anything else that must never be.
    pub(crate) wrong: Option<String>,
    /// A conversation was promised, so there is something to write to.
    pub(crate) due: bool,
    /// An op was written after recovery.
    pub(crate) wrote: bool,
    /// Every check of the doctor ran.
    pub(crate) deep: bool,
}

impl Verdict {
    pub(crate) fn is_good(&self) -> bool {
        self.lost == 0 && !self.forked && self.wrong.is_none()
    }

    fn of(result: Result<(), String>, mut verdict: Self) -> Self {
        verdict.wrong = result.err();
        verdict
    }
}

/// How a state is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// The last mark before the power failed.
    pub(crate) mark: u64,
    /// Whether the device goes on in its open logs, as after an orderly end; the shipped code begins new ones.
    pub(crate) continue_logs: bool,
    /// Run the doctor's checks.
    pub(crate) deep: bool,
    pub(crate) seed: u64,
}

/// A time after every workload.
pub(crate) fn afterwards(step: u64) -> Now {
    Now { mono_ms: 10_000_000 + step, wall_ms: 1_700_010_000_000 + step }
}

/// Opens what is left of a device and judges it. The node is returned for what else is to be done with it.
pub(crate) fn device(history: &History, disk: &Disk, look: Look) -> (Verdict, Option<Node>) {
    let rng = Rng::new(look.seed).fork("after the cut");
    let mut node = match open_node(disk, 1, look.continue_logs, Flaw::Sound, rng) {
        Ok(node) => node,
        Err(error) => {
            let wrong = Some(format!("does not open: {error}"));
            return (Verdict { wrong, ..Verdict::default() }, None);
        }
    };
    let promised = history.facts[look.mark as usize].device;
    let mut verdict = Verdict { due: promised > 0, ..Verdict::default() };
    let result = judge_device(history, &mut node, promised, look, &mut verdict);
    (Verdict::of(result, verdict), Some(node))
}

fn judge_device(
    history: &History,
    node: &mut Node,
    promised: u64,
    look: Look,
    verdict: &mut Verdict,
) -> Result<(), String> {
    let held = common(node.log(), &history.device, promised, verdict)?;
    let known: BTreeSet<OpId> = history.device[..held].iter().map(|entry| entry.id).collect();
    let gone = history.returned.iter().filter(|(from, id)| *from <= look.mark && !known.contains(id)).count();
    verdict.lost = verdict.lost.max(gone as u64);
    // What this store believes about the relay must hold.
    let peer = node.log().peer(&relay_key().id()).map_err(|error| error.to_string())?;
    if let Some(peer) = peer {
        if let Some(cursor) = peer.cursor {
            let read = history.relay.iter().take(cursor.position as usize);
            let lacking =
                read.filter(|entry| entry.conversation == history.founded && !known.contains(&entry.id)).count();
            if lacking > 0 {
                return Err(format!(
                    "says that it has read the relay up to {}, and lacks {lacking} ops",
                    cursor.position
                ));
            }
        }
        let there: BTreeSet<OpId> = history.relay.iter().map(|entry| entry.id).collect();
        let acked = history.device.iter().take(peer.acked as usize);
        let lacking = acked.filter(|entry| !there.contains(&entry.id)).count();
        if lacking > 0 {
            return Err(format!("believes that the relay holds all up to {}, but {lacking} never came", peer.acked));
        }
    }
    if let Some(invitation) = &history.invitation {
        // Whatever became of accepting it: doing it again is possible until the conversation is there.
        let row = node.log().conversation(&invitation.conversation).map_err(|error| error.to_string())?;
        if row.is_none_or(|row| row.kind.is_none()) {
            node.accept(invitation, afterwards(0)).map_err(|error| format!("cannot accept again: {error}"))?;
        }
    }
    write(history, node, look, verdict)?;
    if look.deep {
        verdict.deep = true;
        findings(node.log())?;
        let (log, views) = node.replica().log_and_fold();
        let different = log.snapshot(|reader| tombolo_store::compare(views, reader, &mut |_, _| {}));
        let different = different.map_err(|error| error.to_string())?;
        if !different.is_empty() {
            return Err(format!("views differ from the log: {different:?}"));
        }
    }
    Ok(())
}

/// Checks of device and relay: a prefix of the workload's arrivals, long enough, with the sums that belong to it.
/// Returns its length.
fn common(log: &Reader, order: &[Entry], promised: u64, verdict: &mut Verdict) -> Result<usize, String> {
    let text = |error: tombolo_oplog::LogError| error.to_string();
    let db = log.connection().map_err(text)?;
    let ids: Vec<(u64, OpId)> = {
        let mut statement =
            db.prepare("SELECT arrival, id FROM op ORDER BY arrival").map_err(|error| error.to_string())?;
        let rows = statement.query_map([], |row| Ok((row.get::<_, i64>(0)? as u64, OpId(row.get(1)?))));
        rows.and_then(Iterator::collect).map_err(|error: rusqlite::Error| error.to_string())?
    };
    for (at, (arrival, id)) in ids.iter().enumerate() {
        if *arrival != at as u64 + 1 || order.get(at).is_none_or(|entry| entry.id != *id) {
            return Err(format!("arrival {arrival} is not what was stored there"));
        }
    }
    verdict.lost = promised.saturating_sub(ids.len() as u64);
    let mut sums: BTreeMap<ConversationId, Sum> = BTreeMap::new();
    for entry in &order[..ids.len()] {
        sums.entry(entry.conversation).or_default().add(&entry.id);
    }
    let rows = log.conversations().map_err(text)?;
    if rows.len() != sums.len() {
        return Err(format!("{} conversations instead of {}", rows.len(), sums.len()));
    }
    for row in rows {
        if sums.get(&row.id) != Some(&row.sum) || row.sum.count != row.ops {
            return Err(format!("count or sum of conversation {} are not those of its ops", row.id));
        }
    }
    Ok(ids.len())
}

fn findings(log: &Reader) -> Result<(), String> {
    let found = log.check(&mut |_| {}).map_err(|error| error.to_string())?;
    match found.iter().find(|finding| !finding.ok) {
        Some(finding) => Err(format!("doctor: {}: {}", finding.check, finding.detail)),
        None => Ok(()),
    }
}

/// Writes into every conversation that there is and looks where the op came to stand.
fn write(history: &History, node: &mut Node, look: Look, verdict: &mut Verdict) -> Result<(), String> {
    let taken: BTreeSet<(LogId, u64)> =
        history.left.iter().filter(|(from, ..)| *from <= look.mark).map(|(_, log, seq)| (*log, *seq)).collect();
    for row in node.conversations().map_err(|error| error.to_string())? {
        let now = afterwards(1);
        let sent =
            node.send(row.id, &["after the cut"], now).map_err(|error| format!("cannot go on writing: {error}"))?;
        for op in &sent {
            verdict.wrote = true;
            verdict.forked |= taken.contains(&(op.token.log, op.token.seq));
        }
        let page = node.messages(&row.id, 30, None, false).map_err(|error| error.to_string())?;
        if page.last().is_none_or(|message| message.text != "after the cut") {
            return Err("an own write is not the last message of its writer".into());
        }
        if row.id == history.founded && page.iter().any(|message| message.state == MessageState::Sealed) {
            return Err("a message cannot be opened any more".into());
        }
    }
    Ok(())
}

/// Opens what is left of a relay and judges it.
pub(crate) fn relay(history: &History, disk: &Disk, look: Look) -> (Verdict, Option<Replica<NoFold>>) {
    let relay = match open_relay(disk, Flaw::Sound, look.seed | 1) {
        Ok(relay) => relay,
        Err(error) => {
            let wrong = Some(format!("does not open: {error}"));
            return (Verdict { wrong, ..Verdict::default() }, None);
        }
    };
    let promised = history.facts[look.mark as usize].relay;
    let mut verdict = Verdict::default();
    let result = judge_relay(history, &relay, promised, look, &mut verdict);
    (Verdict::of(result, verdict), Some(relay))
}

fn judge_relay(
    history: &History,
    relay: &Replica<NoFold>,
    promised: u64,
    look: Look,
    verdict: &mut Verdict,
) -> Result<(), String> {
    let held = common(relay.log(), &history.relay, promised, verdict)?;
    let known: BTreeSet<OpId> = history.relay[..held].iter().map(|entry| entry.id).collect();
    let peer = relay.log().peer(&super::world::device_id()).map_err(|error| error.to_string())?;
    if let Some(cursor) = peer.and_then(|peer| peer.cursor) {
        let read = history.device.iter().take(cursor.position as usize);
        // A conversation that nobody has brought yet is refused, read past, and found again by comparing.
        let lacking = read.filter(|entry| entry.conversation == history.founded && !known.contains(&entry.id)).count();
        if lacking > 0 {
            return Err(format!("says that it has read the device up to {}, and lacks {lacking} ops", cursor.position));
        }
    }
    if look.deep {
        verdict.deep = true;
        findings(relay.log())?;
    }
    Ok(())
}

/// Lets a recovered device and a recovered relay meet: they must end proven equal, and neither may be taken for one that
/// forked or lost own ops. Returns whether the device suspected that the relay had lost something: what a relay remembers
/// of how far it has read waits up to a second for the disk, and a device that was proven equal meanwhile knows more. The
/// suspicion costs a comparison, so it is counted, not condemned.
///
/// # Errors
/// What went wrong.
pub(crate) fn heal(node: &mut Node, relay: &mut Replica<NoFold>) -> Result<bool, String> {
    let (conn, now) = (ConnId(9_000_000), afterwards(1_000));
    let ran = pair::run((node.replica(), link(true, [3; 32])), (relay, link(false, [4; 32])), conn, now);
    let mut suspected = false;
    for event in ran.one.events.iter().chain(&ran.two.events) {
        suspected |= matches!(event, Event::AcksLost { .. });
        if matches!(event, Event::Equivocation { .. } | Event::TailLost) {
            return Err(format!("healing noticed {event:?}"));
        }
    }
    let state = node.replica().state(conn).map_err(|error| error.to_string())?;
    let Some(state) = state else { return Err("healing ended without a session".into()) };
    for (conversation, refusal) in &state.blocked {
        // Whoever has asked to join waits until a member brings the conversation.
        let row = relay.log().conversation(conversation).map_err(|error| error.to_string())?;
        if row.is_some() || *refusal != Refusal::NotHere {
            return Err(format!("healing was refused: {refusal:?} {row:?}"));
        }
    }
    if !state.proven {
        return Err(format!("healing did not end proven: {:?} {:?} {state:?}", ran.one.fault, ran.two.fault));
    }
    for row in node.log().conversations().map_err(|error| error.to_string())? {
        if state.blocked.contains_key(&row.id) {
            continue;
        }
        let (one, two) = (ids(node.log(), &row.id), ids(relay.log(), &row.id));
        let (one, two) = (one.map_err(|error| error.to_string())?, two.map_err(|error| error.to_string())?);
        if one != two || one.is_empty() {
            return Err(format!("proven, but {} ops here and {} there", one.len(), two.len()));
        }
    }
    Ok(suspected)
}

/// Ids of a conversation, in plain SQL.
fn ids(log: &Reader, conversation: &ConversationId) -> Result<Vec<Vec<u8>>, rusqlite::Error> {
    let db = log.connection().map_err(|_| rusqlite::Error::InvalidQuery)?;
    let sql = "SELECT id FROM op WHERE conversation = (SELECT n FROM conversation WHERE id = ?1) ORDER BY id";
    db.prepare(sql)?.query_map([conversation.as_bytes()], |row| row.get(0))?.collect()
}
