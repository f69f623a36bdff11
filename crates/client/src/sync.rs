//! Exchanging until nothing is missing: with every relay of this device and of its conversations, or with whoever is
//! named. Each replica that is reached is proven equal or named with what still differs.

use crate::actor::Actor;
use crate::api::{Progress, SyncReport};
use crate::files::{Folder, Work};
use crate::transport::{noise, tls::Tls, ws};
use crate::{Error, link};
use std::time::{Duration, Instant};
use tombolo_model::DeviceId;
use tombolo_proto::{Fault, Refusal};
use tombolo_replica::{ConnId, ConnState, Event, Link, Scope, Stats, Tools};

/// What to exchange with.
#[derive(Clone, Debug, Default)]
pub struct SyncOptions {
    /// Relays by address. With none and no peer: the relays of this device and of its conversations.
    pub relays: Vec<String>,
    /// Devices by address, `HOST:PORT`.
    pub peers: Vec<String>,
    /// Try each only once. Otherwise what is out of reach is tried again for half a minute.
    pub once: bool,
    /// Accept a relay whose key is another than before.
    pub trust: bool,
    /// Tools to search with; `None` = all. Tests switch some off.
    pub tools: Option<Tools>,
}

/// One replica to reach.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    Relay { url: String, key: Option<DeviceId>, all: bool },
    Peer { address: String },
}

impl Target {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Relay { url, .. } => url,
            Self::Peer { address } => address,
        }
    }
}

/// **Milliseconds** for which what is out of reach is tried again.
const PATIENCE_MS: u64 = 30_000;
/// **Milliseconds** without any progress after which an exchange counts as stuck.
const STUCK_MS: u64 = 20_000;
/// Rounds over all replicas: what the last one brought goes to the first one.
const PASSES_MAX: usize = 3;

pub(crate) async fn targets(actor: &Actor, options: &SyncOptions) -> Result<Vec<Target>, Error> {
    let mut targets = Vec::new();
    for url in &options.relays {
        crate::profile::check_url(url)?;
        let (url, trust) = (url.trim_end_matches('/').to_owned(), options.trust);
        let known = {
            let url = url.clone();
            actor.call(move |node, _| if trust { node.forget_relay(&url).map(|()| None) } else { node.met_relay(&url) })
        };
        targets.push(Target::Relay { url, key: known.await??, all: true });
    }
    targets.extend(options.peers.iter().map(|address| Target::Peer { address: address.clone() }));
    if targets.is_empty() {
        let relays = actor.call(|node, _| node.relays()).await??;
        targets.extend(relays.into_iter().map(|(url, key)| Target::Relay { url, key, all: false }));
    }
    Ok(targets)
}

/// Dials a target and hands the connection to the node.
pub(crate) async fn dial(
    actor: &Actor,
    target: &Target,
    tls: &Tls,
    tools: Option<Tools>,
) -> Result<link::Running, Error> {
    let (to, tls) = (target.clone(), tls.clone());
    let connecting = actor.sockets().spawn(async move {
        match &to {
            Target::Relay { url, .. } => ws::connect(url, &tls, ws::CONNECT_TIMEOUT_MS).await,
            Target::Peer { address } => noise::connect(address, noise::HANDSHAKE_TIMEOUT_MS).await,
        }
    });
    let connected = connecting.await.map_err(|_| Error::stopped())?;
    let transport = connected.map_err(|error| {
        let hint = "what was written is safe here and is sent when it can be reached";
        Error::new(error.code(), error.to_string(), hint)
    })?;
    let nonce = actor.call(|node, _| node.random()).await?;
    let (expected, scope) = match target {
        Target::Relay { url, key, all } => (*key, Scope::Relay { url: url.clone(), all: *all }),
        Target::Peer { .. } => (None, Scope::Dialled),
    };
    let binding = transport.channel_binding().to_vec();
    let link = Link { initiator: true, expected, binding, nonce, scope, tools: tools.unwrap_or(Tools::ALL) };
    link::run(actor, transport, link).await
}

/// What one exchange came to.
pub(crate) struct Outcome {
    stats: Stats,
    state: ConnState,
    bytes_in: u64,
    bytes_out: u64,
    /// Nothing was left hanging.
    finished: bool,
    notes: Vec<String>,
}

/// Exchanges with one replica until nothing is missing.
pub(crate) async fn exchange(
    actor: &Actor,
    target: &Target,
    tls: &Tls,
    options: &SyncOptions,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Outcome, Error> {
    let events = actor.events();
    let mut running = dial(actor, target, tls, options.tools).await?;
    let conn = running.conn;
    let own_before: u64 =
        actor.call(|node, _| node.conversations().map(|rows| rows.iter().map(|row| row.ops).sum())).await??;
    let mut changes = actor.changes();
    let mut moved = Instant::now();
    let mut last = None;
    let mut all_told = false;
    let (stats, state, note) = loop {
        if let Some(ended) = actor.ended(conn) {
            let fault = ended.fault.unwrap_or(Fault::Silent(0));
            if ended.state.proven && matches!(fault, Fault::Farewell { .. }) {
                break (ended.stats, ended.state, None);
            }
            let words = match fault {
                Fault::Silent(0) => Error::new(
                    "link-lost",
                    format!("the connection to {} was lost", target.name()),
                    "what was exchanged is safe; try again",
                ),
                fault => fault.into(),
            };
            return Err(words);
        }
        let found = actor.call(move |node, _| (node.replica().stats(conn), node.replica().state(conn))).await?;
        if let (Some(stats), Ok(Some(state))) = found {
            let done = stats.ops_in.iter().chain(&stats.ops_out).sum();
            let expected = stats.peer_count.abs_diff(own_before).max(done);
            progress(Progress { with: target.name().to_owned(), ops: done, expected });
            if last != Some((stats, running.bytes().incoming)) {
                last = Some((stats, running.bytes().incoming));
                moved = Instant::now();
            }
            if state.peer.is_some() && state.quiet && (state.proven || state.unproven.is_some()) {
                if all_told {
                    break (stats, state, None);
                }
                // What came and what was read goes at the very end, once.
                actor.call(|node, now| node.tell_all(now)).await??;
                all_told = true;
                continue;
            }
            if moved.elapsed() > Duration::from_millis(STUCK_MS) {
                let words = format!("{} stopped answering; what was exchanged so far is safe", target.name());
                break (stats, state, Some(words));
            }
        }
        let _ = tokio::time::timeout(Duration::from_millis(100), changes.changed()).await;
    };
    if let (Target::Relay { url, key: None, .. }, Some(peer)) = (target, state.peer) {
        let url = url.clone();
        actor.call(move |node, _| node.remember_relay(&url, &peer, 0)).await??;
    }
    leave(actor, conn).await?;
    let _ = tokio::time::timeout(Duration::from_secs(2), running.finished()).await;
    let bytes = running.bytes();
    actor.told().await?;
    let mut notes = told(conn, events);
    notes.extend(note.clone());
    let finished = note.is_none();
    Ok(Outcome { stats, state, bytes_in: bytes.incoming, bytes_out: bytes.outgoing, finished, notes })
}

/// What was told along the way that a person should know.
fn told(conn: ConnId, mut events: tokio::sync::broadcast::Receiver<crate::actor::Happened>) -> Vec<String> {
    let mut notes = Vec::new();
    while let Ok(event) = events.try_recv() {
        match &event.event {
            Event::Moved { conn: of, peer, url, .. } if *of == conn => {
                notes.push(format!("relay {} has moved to {url}; it is used from now on", peer.short()));
            }
            Event::Authenticated { conn: of, peer, skew_ms } if *of == conn && skew_ms.unsigned_abs() > SKEW_MS => {
                let apart_s = skew_ms.unsigned_abs() / 1000;
                notes.push(format!(
                    "the clocks here and at {} are {apart_s} s apart; check which one is wrong before you write",
                    peer.short()
                ));
            }
            Event::AcksLost { peer } => {
                notes.push(format!("{} no longer had what it once confirmed; it was filled again", peer.short()));
            }
            Event::TailLost => {
                notes.push("messages of this device that were missing here (a restored backup?) came back".into());
            }
            Event::Equivocation { conversation, author } => notes.push(format!(
                "device {} has written two messages for one place in conversation {}; both are kept",
                author.short(),
                conversation.short()
            )),
            _ => {}
        }
    }
    notes
}

/// Clocks that differ by more **milliseconds** than this are worth a warning.
pub(crate) const SKEW_MS: u64 = 60_000;

pub(crate) async fn leave(actor: &Actor, conn: ConnId) -> Result<(), Error> {
    actor.call(move |node, now| node.replica().leave(conn, now)).await
}

/// Exchanges with all targets; with a folder, files follow.
pub(crate) async fn sync(
    actor: &Actor,
    folder: Option<&Folder>,
    options: &SyncOptions,
    tls: &Tls,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<SyncReport, Error> {
    let mut report = SyncReport::default();
    let mut passes = 0;
    loop {
        let targets = targets(actor, options).await?;
        if targets.is_empty() {
            let hint = "name one with `tombolo sync --relay URL`, or a device with `--peer HOST:PORT`";
            return Err(Error::new("no-relay", "there is no relay to exchange with", hint));
        }
        let mut proven = true;
        let mut brought = 0;
        report.notes.clear();
        report.asked.clear();
        let mut failures = Vec::new();
        let mut away = Vec::new();
        for (index, target) in targets.iter().enumerate() {
            match patiently(actor, target, tls, options, progress).await {
                Ok(outcome) => {
                    proven &= outcome.state.proven && outcome.state.blocked.is_empty() && outcome.finished;
                    if index > 0 {
                        brought += outcome.stats.ops_in.iter().sum::<u64>();
                    }
                    add(&mut report, &outcome, target);
                }
                Err(error) => {
                    proven = false;
                    report.notes.push(format!("{}: {error}", target.name()));
                    failures.push(error);
                    away.push(index);
                }
            }
        }
        report.proven = proven;
        if failures.len() == targets.len()
            && let Some(error) = failures.into_iter().next()
        {
            return Err(error);
        }
        passes += 1;
        if brought == 0 || passes >= PASSES_MAX {
            if let Some(folder) = folder {
                let reached = targets.iter().enumerate().filter(|(index, _)| !away.contains(index));
                let reached: Vec<&Target> = reached.map(|(_, target)| target).collect();
                carry(actor, folder, &reached, tls, progress, &mut report).await?;
            }
            return Ok(report);
        }
    }
}

/// Files follow the words: what is to go up or to come down, relay by relay.
async fn carry(
    actor: &Actor,
    folder: &Folder,
    reached: &[&Target],
    tls: &Tls,
    progress: &(dyn Fn(Progress) + Send + Sync),
    report: &mut SyncReport,
) -> Result<(), Error> {
    for target in reached {
        let Target::Relay { url, key, all } = target else { continue };
        let met = url.clone();
        let met = actor.call(move |node, _| node.met_relay(&met)).await??;
        let Some(key) = key.or(met) else { continue };
        let work = Work { actor, folder, url, progress };
        let carried = work.exchange(key, *all, tls).await?;
        report.files_out += carried.up;
        report.files_in += carried.down;
        report.bytes_out += carried.bytes_up;
        report.bytes_in += carried.bytes_down;
        report.notes.extend(carried.notes);
    }
    Ok(())
}

async fn patiently(
    actor: &Actor,
    target: &Target,
    tls: &Tls,
    options: &SyncOptions,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Outcome, Error> {
    let began = Instant::now();
    let mut wait_ms = 200;
    loop {
        match exchange(actor, target, tls, options, progress).await {
            Err(error)
                if !options.once
                    && began.elapsed() < Duration::from_millis(PATIENCE_MS)
                    && is_passing(error.code()) =>
            {
                tokio::time::sleep(Duration::from_millis(wait_ms)).await;
                wait_ms = (wait_ms * 2).min(3_000);
            }
            outcome => return outcome,
        }
    }
}

/// Failures that may be over in a moment.
pub(crate) fn is_passing(code: &str) -> bool {
    matches!(code, "unreachable" | "timed-out" | "link-lost" | "link_silent" | "opening_timeout" | "broken")
}

fn add(report: &mut SyncReport, outcome: &Outcome, target: &Target) {
    let both = |tool: usize| outcome.stats.ops_in[tool] + outcome.stats.ops_out[tool];
    report.ops_in += outcome.stats.ops_in.iter().sum::<u64>();
    report.ops_out += outcome.stats.ops_out.iter().sum::<u64>();
    report.bytes_in += outcome.bytes_in;
    report.bytes_out += outcome.bytes_out;
    report.round_trips += outcome.stats.round_trips;
    report.found_by.cursor += both(0);
    report.found_by.heights += both(1);
    report.found_by.sketch += both(2);
    report.found_by.ranges += both(3);
    report.notes.extend(outcome.notes.iter().cloned());
    for (conversation, refusal) in &outcome.state.blocked {
        if *refusal == Refusal::NotHere {
            report.asked.push(*conversation);
        }
        report.notes.push(format!("{}: conversation {}: {}", target.name(), conversation.short(), refused(*refusal)));
    }
    for conversation in outcome.state.unproven.iter().flatten() {
        report.notes.push(format!("{}: conversation {} still differs", target.name(), conversation.short()));
    }
}

/// Words for a refusal.
pub(crate) fn refused(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::NotHere => "asked to join; waits for a member who brings the conversation",
        Refusal::InviteUsedUp => "the invitation has been used as often as it may be; ask for a new one",
        Refusal::InviteRevoked => "the invitation was revoked; ask for a new one",
        Refusal::InviteExpired => "the invitation has expired; ask for a new one",
        Refusal::QuotaExceeded => "the relay has no room left for this account",
        Refusal::TooMany => "the other side has reached a limit for this conversation",
        Refusal::Waits => "some of it waits for what authorises it",
        Refusal::Unnamed => "it was named by what the other side does not hold; whole names travel now",
    }
}
