//! `wire` and `reconnect`: bytes of the protocol, exact, through two real replicas without a socket.
//!
//! Counted are the frames of both sides after authentication (hello and prove are left out, resume is in) and what a
//! WebSocket puts around each: 2 to 8 bytes, 4 of them the client's mask.
//! * `wire`: a device that was proven equal before the messages were written catches up from a relay. Payload is the
//!   text alone: kind, seal, headers, signatures, cursors, acknowledgements and proofs are overhead; padding inside the
//!   seal (7 bytes for a text of 80) is counted apart.
//! * `reconnect`: a device and a relay with nothing new between them.

use super::corpus::{Corpus, incoming};
use super::writing::{holder, node};
use super::{AUTHORS, Measured, Row, Scale, TEXT_BYTES};
use std::time::Instant;
use tombolo_client::Kind;
use tombolo_identity::DeviceKey;
use tombolo_model::RelayAddress;
use tombolo_oplog::{Fold, Log, NoFold, Open};
use tombolo_replica::{ConnId, Event, Link, Now, Output, Replica, Scope, Stats, Tools};
use tombolo_store::Views;

/// What an exchange came to.
#[derive(Debug, Default)]
pub struct Exchange {
    /// Type and size of the first side's frames.
    pub one: Vec<(u8, usize)>,
    /// Of the second side's.
    pub two: Vec<(u8, usize)>,
    /// **Seconds** spent in the first replica.
    pub one_s: f64,
    /// Ops stored by each commit of the first replica.
    pub commits: Vec<usize>,
    /// Whether the first side was proven equal.
    pub proven: bool,
    /// What the first side's session counted.
    pub stats: Stats,
}

impl Exchange {
    /// **Bytes** of all frames after authentication, without what a WebSocket adds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.one.iter().chain(&self.two).filter(|(kind, _)| *kind > 1).map(|(_, len)| len).sum()
    }

    /// **Bytes** that WebSocket frames add to them, the first side being the client.
    #[must_use]
    pub fn framing(&self) -> usize {
        let around = |len: usize| {
            2 + if len > 65_535 {
                8
            } else if len > 125 {
                2
            } else {
                0
            }
        };
        let sum = |frames: &[(u8, usize)], mask: usize| -> usize {
            frames.iter().filter(|(kind, _)| *kind > 1).map(|(_, len)| around(*len) + mask).sum()
        };
        sum(&self.one, 4) + sum(&self.two, 0)
    }
}

/// Connects two replicas, carries frames until both are quiet, and disconnects them. The first dials.
///
/// # Errors
/// Those of the stores, and a session that ends or does not come to rest.
pub fn exchange<A: Fold, B: Fold>(
    (one, one_scope): (&mut Replica<A>, Scope),
    (two, two_scope): (&mut Replica<B>, Scope),
    number: u64,
    now: Now,
) -> Measured<Exchange> {
    let conn = ConnId(number);
    let link = |initiator: bool, scope: Scope| {
        let mut nonce = [if initiator { 1 } else { 2 }; 32];
        nonce[..8].copy_from_slice(&number.to_be_bytes());
        Link { initiator, expected: None, binding: Vec::new(), nonce, scope, tools: Tools::ALL }
    };
    let mut ran = Exchange::default();
    one.connect(conn, link(true, one_scope), now);
    two.connect(conn, link(false, two_scope), now);
    loop {
        let began = Instant::now();
        one.flush(now)?;
        ran.one_s += began.elapsed().as_secs_f64();
        let mut moved = false;
        let mut stored = 0;
        while let Some(output) = one.poll() {
            moved = true;
            match output {
                Output::Send { frame, .. } => {
                    ran.one.push((frame[0], frame.len()));
                    two.receive(conn, &frame, now);
                }
                Output::Event(Event::Stored { ids, .. }) => stored += ids.len(),
                Output::Event(Event::Proven { .. }) => ran.proven = true,
                Output::Event(_) => {}
                Output::Close { fault, .. } => return Err(format!("the session ended: {fault}").into()),
            }
        }
        if stored > 0 {
            ran.commits.push(stored);
        }
        two.flush(now)?;
        while let Some(output) = two.poll() {
            moved = true;
            match output {
                Output::Send { frame, .. } => {
                    ran.two.push((frame[0], frame.len()));
                    let began = Instant::now();
                    one.receive(conn, &frame, now);
                    ran.one_s += began.elapsed().as_secs_f64();
                }
                Output::Event(_) => {}
                Output::Close { fault, .. } => return Err(format!("the session ended: {fault}").into()),
            }
        }
        if !moved {
            break;
        }
    }
    ran.stats = one.stats(conn).unwrap_or_default();
    one.disconnected(conn);
    two.disconnected(conn);
    Ok(ran)
}

/// See the head of this file.
///
/// # Errors
/// Those of the stores.
pub fn catch_up(scale: &Scale) -> Measured<Row> {
    println!("wire: frames both ways after authentication, framing included, padding apart; payload: the texts alone");
    let count = scale.pick(10_000, 1_000);
    let folder = tempfile::tempdir()?;
    let mut corpus = Corpus::founded(3, AUTHORS + 1);
    let mut relay = holder(&folder.path().join("relay.db"), &corpus, Vec::new())?;
    let reader = AUTHORS;
    let components = tombolo_client::node::COMPONENTS;
    let log = Log::open(Open { components, ..Open::new(folder.path().join("device.db"), 1) })?;
    let views = Views::new(corpus.opener(), corpus.device(reader).id());
    let mut device = Replica::new(log, corpus.device(reader), views);
    let scope = || Scope::Relay { url: String::new(), all: true };
    let now = Now { mono_ms: 0, wall_ms: corpus.wall_ms() };
    exchange((&mut device, scope()), (&mut relay, Scope::Members), 1, now)?;

    let messages = corpus.messages(count, 0..AUTHORS)?;
    let padded: usize = messages.iter().map(|op| op.header.body_len as usize).sum();
    let author = DeviceKey::from_seed([201; 32]).id();
    let mut batch = relay.log_mut().batch()?;
    batch.append(incoming(messages), Some(&author), corpus.wall_ms(), &mut NoFold)?;
    batch.commit()?;
    let now = Now { mono_ms: 10_000, wall_ms: corpus.wall_ms() };
    let ran = exchange((&mut device, scope()), (&mut relay, Scope::Members), 2, now)?;
    if !ran.proven || ran.commits.iter().sum::<usize>() != count {
        return Err(format!("{:?} ops came, proven: {}", ran.commits, ran.proven).into());
    }
    // What is sealed of a text: its kind, itself, the padding, and the seal's own bytes.
    let padding = padded - count * (1 + TEXT_BYTES + tombolo_seal::OVERHEAD_BYTES);
    let wire = ran.bytes() + ran.framing() - padding;
    let payload = count * TEXT_BYTES;
    let overhead = (wire as f64 - payload as f64) / count as f64;
    let pad = padding as f64 / count as f64;
    Ok(Row {
        name: "wire".into(),
        value: wire as f64,
        unit: format!("bytes for {count} messages: {overhead:.2} over payload each, and {pad:.2} of padding apart"),
        baseline: Some(payload as f64),
        ratio: Some(wire as f64 / payload as f64),
        bound: "payload + 28 a message".into(),
        holds: wire <= payload + 28 * count,
    })
}

/// See the head of this file.
///
/// # Errors
/// Those of the stores.
pub fn reconnect(scale: &Scale) -> Measured<Row> {
    println!(
        "reconnect: frames both ways after authentication (both resume frames, both readings of registers), WebSocket framing included"
    );
    let count = scale.pick(1_000, 50);
    let folder = tempfile::tempdir()?;
    let url = "ws://relay.example";
    let relays = vec![RelayAddress { key: [0; 32], url: url.into(), region: String::new() }];
    let mut device = node(folder.path(), 1, relays)?;
    let mut now = Now { mono_ms: 0, wall_ms: super::corpus::BEGINS_MS };
    for index in 0..count {
        let conversation = device.create(&format!("Conversation {index}"), Kind::Group, now)?;
        device.send(conversation, &["Here."], now)?;
        now = Now { mono_ms: now.mono_ms + 10, wall_ms: now.wall_ms + 10 };
    }
    while device.replica().poll().is_some() {}
    let log = Log::open(Open::new(folder.path().join("relay.db"), 9))?;
    let mut relay = Replica::new(log, DeviceKey::from_seed([77; 32]), NoFold);
    let scope = || Scope::Relay { url: url.into(), all: false };
    let first = exchange((device.replica(), scope()), (&mut relay, Scope::Members), 1, now)?;
    now.mono_ms += 5_000;
    let again = exchange((device.replica(), scope()), (&mut relay, Scope::Members), 2, now)?;
    let held = relay.log().cursor()?.position;
    if !first.proven || !again.proven || held != device.log().cursor()?.position {
        return Err("the two were not proven equal".into());
    }
    let bytes = again.bytes() + again.framing();
    let round_trips = again.stats.round_trips;
    Ok(Row {
        name: "reconnect".into(),
        value: bytes as f64,
        unit: format!("bytes, {round_trips} round trip(s), {count} conversations of {} ops", held / count as u64),
        baseline: None,
        ratio: None,
        bound: "<= 200 bytes and 1 round trip".into(),
        holds: bytes <= 200 && round_trips <= 1 && again.one.len() == 4 && again.two.len() == 4,
    })
}
