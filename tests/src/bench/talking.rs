//! `page` and `reaction`: what it costs to look at messages with all that stands beside them, and to react to one.
//!
//! * `page`: the newest 50 messages of a conversation of 1,000,000 (the store of `open`, copied), each edited and with three
//!   reactions, read again and again by a node that is open; p50.
//! * `reaction`: frames after authentication with what a WebSocket adds. In batches: reactions that were made without a
//!   connection come to a relay at once; frames both ways, resuming, proving and acknowledgements counted. Live: one after
//!   the other over a connection that stands; what the device sends, and beside it the same with what comes back.

use super::corpus::{self, BEGINS_MS};
use super::wire::exchange;
use super::writing::node;
use super::{Measured, Row, Scale, TEXT_BYTES, homes, median, opening};
use crate::pair;
use std::time::Instant;
use tombolo_client::{ConversationId, Kind, Node, OpId};
use tombolo_identity::DeviceKey;
use tombolo_model::RelayAddress;
use tombolo_oplog::{Log, NoFold, Open};
use tombolo_replica::{ConnId, Link, Now, Replica, Scope, Tools};
use tombolo_testkit::rng::Rng;

const URL: &str = "ws://relay.example";
/// Messages of a page.
const WINDOW: usize = 50;
/// Reactions of a batch.
const BATCH: usize = 32;
const SIGNS: [&str; 3] = ["\u{1f44d}", "\u{2764}", "\u{1f602}"];

/// See the head of this file.
///
/// # Errors
/// Those of the client.
pub fn page(scale: &Scale) -> Measured<Row> {
    println!("page: the newest {WINDOW} messages, each edited and with {} reactions", SIGNS.len());
    let count = scale.pick(1_000_000, 3_000);
    let (built, conversation) = opening::built(scale, count)?;
    let folder = tempfile::tempdir_in(&scale.cache)?;
    homes::copy(&built, folder.path())?;
    let mut node = homes::node(folder.path(), "Reader")?;
    node.log().connection()?.execute_batch("PRAGMA synchronous = OFF")?;
    let newest = node.messages(&conversation, 1, None, false)?;
    let wall_ms = newest.first().map_or(BEGINS_MS, |message| message.time_ms);
    let mut now = Now { mono_ms: 0, wall_ms };
    let mut rng = Rng::new(11);
    for _ in 0..WINDOW {
        now = Now { mono_ms: now.mono_ms + 1_000, wall_ms: now.wall_ms + 1_000 };
        let (text, edited) = (corpus::text(&mut rng, TEXT_BYTES), corpus::text(&mut rng, TEXT_BYTES));
        let id = node.send(conversation, &[&text], now)?.first().ok_or("nothing was sent")?.id;
        node.edit(conversation, &id, &edited, now)?;
        for sign in SIGNS {
            node.react(conversation, &id, sign, true, now)?;
        }
    }
    let mut times_ms = Vec::new();
    for run in 0..scale.pick(220, 12) {
        let began = Instant::now();
        let page = node.messages(&conversation, WINDOW, None, false)?;
        let took_ms = began.elapsed().as_secs_f64() * 1e3;
        let whole = |it: &tombolo_client::Message| it.beside.edits == 1 && it.beside.reactions.len() == SIGNS.len();
        if page.len() != WINDOW || !page.iter().all(whole) {
            return Err("the page is not as it was written".into());
        }
        if run >= scale.pick(20, 2) {
            times_ms.push(took_ms);
        }
    }
    let value = median(&times_ms);
    Ok(Row {
        name: "page".into(),
        value,
        unit: format!("ms, p50 of {}, of {} messages", times_ms.len(), count + WINDOW),
        baseline: None,
        ratio: None,
        bound: "<= 5 ms".into(),
        holds: scale.smoke || value <= 5.0,
    })
}

/// A device and a relay that hold a conversation with as many messages as there will be reactions.
struct Two {
    device: Node,
    relay: Replica<NoFold>,
    conversation: ConversationId,
    messages: Vec<OpId>,
    now: Now,
    _folder: tempfile::TempDir,
}

fn two(messages: usize) -> Measured<Two> {
    let folder = tempfile::tempdir()?;
    let relays = vec![RelayAddress { key: [0; 32], url: URL.into(), region: String::new() }];
    let mut device = node(folder.path(), 1, relays)?;
    device.log().connection()?.execute_batch("PRAGMA synchronous = OFF")?;
    let log = Log::open(Open::new(folder.path().join("relay.db"), 9))?;
    let relay = Replica::new(log, DeviceKey::from_seed([77; 32]), NoFold);
    let now = Now { mono_ms: 0, wall_ms: BEGINS_MS };
    let conversation = device.create("Reactions", Kind::Group, now)?;
    let mut rng = Rng::new(12);
    let texts: Vec<String> = (0..messages).map(|_| corpus::text(&mut rng, TEXT_BYTES)).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let messages = device.send(conversation, &texts, now)?.iter().map(|sent| sent.id).collect();
    let mut two = Two { device, relay, conversation, messages, now, _folder: folder };
    while two.device.replica().poll().is_some() {}
    two.meet(1)?;
    two.meet(2)?;
    Ok(two)
}

impl Two {
    /// **Bytes** of an exchange.
    fn meet(&mut self, number: u64) -> Measured<f64> {
        self.now = Now { mono_ms: self.now.mono_ms + 5_000, wall_ms: self.now.wall_ms + 5_000 };
        let scope = Scope::Relay { url: URL.into(), all: false };
        let ran = exchange((self.device.replica(), scope), (&mut self.relay, Scope::Members), number, self.now)?;
        if !ran.proven {
            return Err("the two were not proven equal".into());
        }
        Ok((ran.bytes() + ran.framing()) as f64)
    }

    fn react(&mut self, number: usize) -> Measured<()> {
        self.now = Now { mono_ms: self.now.mono_ms + 2_000, wall_ms: self.now.wall_ms + 2_000 };
        let id = self.messages[number];
        Ok(self.device.react(self.conversation, &id, SIGNS[number % SIGNS.len()], true, self.now)?)
    }
}

/// See the head of this file.
///
/// # Errors
/// Those of the stores.
pub fn reaction(scale: &Scale) -> Measured<Vec<Row>> {
    println!("reaction: WebSocket framing included; in batches also acknowledgements, resuming and proving");
    let rounds = scale.pick(10, 2);
    let mut stage = two(BATCH * rounds)?;
    let mut batches = Vec::new();
    for round in 0..rounds {
        (0..BATCH).try_for_each(|number| stage.react(round * BATCH + number))?;
        batches.push(stage.meet(round as u64 + 3)? / BATCH as f64);
    }
    let count = scale.pick(200, 20);
    let mut stage = two(count)?;
    let conn = ConnId(9);
    let link = |initiator: bool, scope: Scope| {
        let nonce = [if initiator { 31 } else { 32 }; 32];
        Link { initiator, expected: None, binding: Vec::new(), nonce, scope, tools: Tools::ALL }
    };
    let here = link(true, Scope::Relay { url: URL.into(), all: false });
    let there = link(false, Scope::Members);
    pair::run((stage.device.replica(), here), (&mut stage.relay, there), conn, stage.now);
    let (mut live, mut acknowledged) = (Vec::new(), Vec::new());
    for number in 0..count {
        stage.react(number)?;
        let ran = pair::settle(stage.device.replica(), &mut stage.relay, conn, stage.now);
        if ran.one.frames.is_empty() || ran.two.frames.is_empty() {
            return Err("a reaction was not sent or not acknowledged".into());
        }
        let around = |mask: usize, frames: &[(u8, usize)]| -> f64 {
            frames.iter().map(|(_, len)| len + 2 + if *len > 125 { 2 } else { 0 } + mask).sum::<usize>() as f64
        };
        let (out, back) = (around(4, &ran.one.frames), around(0, &ran.two.frames));
        live.push(out);
        acknowledged.push(out + back);
    }
    let row = |name: &str, values: &[f64], bound: f64| Row {
        name: name.into(),
        value: median(values),
        unit: format!("bytes each, p50 of {}", values.len()),
        baseline: None,
        ratio: None,
        bound: format!("<= {bound} bytes"),
        holds: median(values) <= bound,
    };
    let both = Row {
        bound: "watched: the signed acknowledgement vouches that it is on the relay's disk".into(),
        holds: true,
        ..row("reaction, live, and its acknowledgement", &acknowledged, 0.0)
    };
    Ok(vec![row("reaction, batches of 32", &batches, 60.0), row("reaction, live", &live, 160.0), both])
}
