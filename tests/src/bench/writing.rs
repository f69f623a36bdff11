//! `send` and `ingest`: what durability costs beyond the bare database.
//!
//! * `send`: one [`Node::send`] of one text, as the command line does it, until it is durable and folded, against one
//!   transaction that inserts the very rows (op and message) that it stored. Turn by turn; p50 of each.
//! * `ingest`: a session brings the history to a device that has nothing: the time spent in the receiving replica
//!   (decoding batches, signatures and hash chains, storing, folding, committing, acknowledging), against the same rows
//!   inserted in transactions of the same sizes. The sender's time is not counted. "Searchable later": no text index
//!   exists yet.

use super::baseline::{Raw, SETTINGS, stored_rows};
use super::corpus::{Corpus, incoming};
use super::{AUTHORS, Measured, Row, Scale, TEXT_BYTES, median};
use crate::bench::wire;
use tombolo_client::{Identity, Kind, Node, SystemEntropy};
use tombolo_identity::{AccountKey, DeviceKey};
use tombolo_model::RelayAddress;
use tombolo_oplog::{Log, NoFold, Open};
use tombolo_replica::{Now, Replica, Scope};
use tombolo_seal::StorageKey;
use tombolo_store::Views;
use tombolo_testkit::rng::Rng;

/// A device with its store in `folder`.
///
/// # Errors
/// Those of the store.
pub fn node(folder: &std::path::Path, seed: u8, relays: Vec<RelayAddress>) -> Measured<Node> {
    let identity = Identity {
        account: AccountKey::from_seed([seed; 32]),
        device: DeviceKey::from_seed([seed.wrapping_add(100); 32]),
        certified_ms: 1,
        storage: StorageKey::new([seed; 32]),
        name: format!("device {seed}"),
        relays,
    };
    Ok(Node::open(Open::new(folder.join(format!("{seed}.db")), 0), identity, true, Box::new(SystemEntropy))?)
}

/// See the head of this file.
///
/// # Errors
/// Those of the store.
pub fn send(scale: &Scale) -> Measured<Row> {
    println!("send: raw SQLite, one transaction with the rows of op and message of one send; {SETTINGS}");
    let folder = tempfile::tempdir()?;
    let mut node = node(folder.path(), 1, Vec::new())?;
    let mut rng = Rng::new(1);
    let mut now = Now { mono_ms: 0, wall_ms: super::corpus::BEGINS_MS };
    let conversation = node.create("Bench", Kind::Group, now)?;
    let mut raw: Option<Raw> = None;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let warm = scale.pick(100, 10);
    for run in 0..scale.pick(1_100, 40) {
        let text = super::corpus::text(&mut rng, TEXT_BYTES);
        now = Now { mono_ms: now.mono_ms + 1_000, wall_ms: now.wall_ms + 1_000 };
        let began = std::time::Instant::now();
        node.send(conversation, &[&text], now)?;
        let took = began.elapsed();
        while node.replica().poll().is_some() {}
        let end = node.log().cursor()?.position as i64;
        let (columns, rows) = stored_rows(node.log().connection()?, end - 1, end)?;
        let raw = match &mut raw {
            Some(raw) => raw,
            none => none.insert(Raw::new(&folder.path().join("raw.db"), columns)?),
        };
        let raw_took = raw.insert(&rows)?;
        if run >= warm {
            ours.push(took.as_secs_f64() * 1e6);
            theirs.push(raw_took.as_secs_f64() * 1e6);
        }
    }
    let (value, baseline) = (median(&ours), median(&theirs));
    let ratio = value / baseline;
    Ok(Row {
        name: "send".into(),
        value,
        unit: format!("us, p50 of {}", ours.len()),
        baseline: Some(baseline),
        ratio: Some(ratio),
        bound: "ratio <= 1.5".into(),
        holds: scale.smoke || ratio <= 1.5,
    })
}

/// A replica that holds a corpus's setup and `messages`, without views.
///
/// # Errors
/// Those of the store.
pub fn holder(path: &std::path::Path, corpus: &Corpus, ops: Vec<tombolo_model::Op>) -> Measured<Replica<NoFold>> {
    let mut log = Log::open(Open::new(path, 7))?;
    let stranger = DeviceKey::from_seed([200; 32]).id();
    let mut batch = log.batch()?;
    let appended = batch.append(corpus.setup.clone(), Some(&stranger), corpus.wall_ms(), &mut NoFold)?;
    if !appended.refused.is_empty() {
        return Err(format!("the setup was refused: {:?}", appended.refused).into());
    }
    let expected = ops.len();
    let appended = batch.append(incoming(ops), Some(&stranger), corpus.wall_ms(), &mut NoFold)?;
    if appended.stored.len() != expected || appended.waiting > 0 {
        return Err(format!("{} of {expected} stored, {:?}", appended.stored.len(), appended.refused.first()).into());
    }
    batch.commit()?;
    Ok(Replica::new(log, DeviceKey::from_seed([77; 32]), NoFold))
}

/// See the head of this file.
///
/// # Errors
/// Those of the store.
pub fn ingest(scale: &Scale) -> Measured<Row> {
    println!("ingest: raw SQLite, rows of op and message, same transaction sizes; {SETTINGS}");
    let folder = tempfile::tempdir()?;
    let mut corpus = Corpus::founded(2, AUTHORS + 1);
    let messages = corpus.messages(scale.pick(100_000, 2_000), 0..AUTHORS)?;
    let mut relay = holder(&folder.path().join("relay.db"), &corpus, messages)?;
    let now = Now { mono_ms: 0, wall_ms: corpus.wall_ms() + 1_000 };
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..scale.pick(5, 1) {
        // A member who has joined and read nothing yet.
        let path = folder.path().join(format!("receiver-{run}.db"));
        let components = tombolo_client::node::COMPONENTS;
        let log = Log::open(Open { components, random: run as u64, ..Open::new(&path, 0) })?;
        let views = Views::new(corpus.opener(), corpus.device(AUTHORS).id());
        let mut device = Replica::new(log, corpus.device(AUTHORS), views);
        let scope = Scope::Relay { url: String::new(), all: true };
        let ran = wire::exchange((&mut device, scope), (&mut relay, Scope::Members), run as u64 + 1, now)?;
        let stored: usize = ran.commits.iter().sum();
        let (columns, rows) = stored_rows(device.log().connection()?, 0, stored as i64)?;
        let mut raw = Raw::new(&folder.path().join(format!("raw-{run}.db")), columns)?;
        let (mut at, mut raw_s) = (0, 0.0);
        for size in &ran.commits {
            let (mut end, mut ops) = (at, 0);
            while end < rows.len() && (ops < *size || rows[end].0 == 1) {
                ops += usize::from(rows[end].0 == 0);
                end += 1;
            }
            raw_s += raw.insert(&rows[at..end])?.as_secs_f64();
            at = end;
        }
        if at != rows.len() || stored < scale.pick(100_000, 2_000) {
            return Err(format!("{stored} ops came, {at} of {} rows were compared", rows.len()).into());
        }
        let (rate, raw_rate) = (stored as f64 / ran.one_s, stored as f64 / raw_s);
        println!("ingest: run {run}: {rate:.0} ops/s in {} transactions, raw {raw_rate:.0} ops/s", ran.commits.len());
        ours.push(rate);
        theirs.push(raw_rate);
        ratios.push(rate / raw_rate);
    }
    let ratio = median(&ratios);
    Ok(Row {
        name: "ingest".into(),
        value: median(&ours),
        unit: "ops/s, median".into(),
        baseline: Some(median(&theirs)),
        ratio: Some(ratio),
        bound: "ratio >= 0.4".into(),
        holds: scale.smoke || ratio >= 0.4,
    })
}
