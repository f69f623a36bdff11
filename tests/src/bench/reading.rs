//! `receipts` and `crowd`: what it costs that people are told what was received and read.
//!
//! * `receipts`: registers of 49 people's devices, each 1,500 bytes, come to a device in frames of 49 and are checked,
//!   stored and acknowledged, a sync of the disk a frame; only the time of that device counts. Then a page of 50 own
//!   messages with how far each has come, from the registers of all.
//! * `crowd`: 300 people with two devices each join by one link. Then in every round 20 of them write, and all devices
//!   exchange with the relay, show what came, and tell. Counted are the frames of a device after authentication with what
//!   a WebSocket adds; payload: the texts alone.

use super::corpus::BEGINS_MS;
use super::wire::{Exchange, exchange};
use super::{Measured, Row, Scale, TEXT_BYTES};
use std::path::Path;
use std::time::Instant;
use tombolo_client::{ConversationId, Kind, Node, SystemEntropy};
use tombolo_identity::{AccountKey, DeviceKey};
use tombolo_model::crypto::{DOMAIN_REGISTER, Signer as _};
use tombolo_model::{Register, RelayAddress, Signature};
use tombolo_oplog::{Log, NoFold, Open};
use tombolo_replica::{Now, Replica, Scope};
use tombolo_seal::{Invitation, StorageKey};
use tombolo_testkit::rng::Rng;

const URL: &str = "ws://relay.example";

struct Crowd {
    folder: tempfile::TempDir,
    relay: Replica<NoFold>,
    ms: u64,
    met: u64,
}

fn key(account: u16, device: u8) -> DeviceKey {
    let mut seed = [device; 32];
    seed[..2].copy_from_slice(&account.to_be_bytes());
    DeviceKey::from_seed(seed)
}

fn open(folder: &Path, account: u16, device: u8, sync: bool) -> Measured<Node> {
    let mut seed = [7; 32];
    seed[..2].copy_from_slice(&account.to_be_bytes());
    let identity = tombolo_client::Identity {
        account: AccountKey::from_seed(seed),
        device: key(account, device),
        certified_ms: 1,
        storage: StorageKey::new(seed),
        name: format!("person {account}"),
        relays: vec![RelayAddress { key: [0; 32], url: URL.into(), region: String::new() }],
    };
    let file = folder.join(format!("{account}-{device}.db"));
    let node = Node::open(Open::new(file, 0), identity, true, Box::new(SystemEntropy))?;
    if !sync {
        node.log().connection()?.execute_batch("PRAGMA synchronous = OFF; PRAGMA cache_size = -500")?;
    }
    Ok(node)
}

impl Crowd {
    fn new() -> Measured<Self> {
        let folder = tempfile::tempdir()?;
        let log = Log::open(Open::new(folder.path().join("relay.db"), 9))?;
        log.connection()?.execute_batch("PRAGMA synchronous = OFF")?;
        Ok(Self { folder, relay: Replica::new(log, DeviceKey::from_seed([250; 32]), NoFold), ms: 0, met: 0 })
    }

    fn now(&mut self) -> Now {
        self.ms += 3_000;
        Now { mono_ms: self.ms, wall_ms: BEGINS_MS + self.ms }
    }

    /// An exchange; what is to be told is told in a second one, as a sync tells it at its end.
    fn meet(&mut self, node: &mut Node) -> Measured<Exchange> {
        let now = self.now();
        self.met += 1;
        let scope = Scope::Relay { url: URL.into(), all: true };
        exchange((node.replica(), scope), (&mut self.relay, Scope::Members), self.met, now)
    }

    fn join(&mut self, account: u16, device: u8, link: &Invitation) -> Measured<Node> {
        let mut node = open(self.folder.path(), account, device, false)?;
        let now = self.now();
        node.accept(link, now)?;
        self.meet(&mut node)?;
        Ok(node)
    }

    fn found(&mut self, uses: u32, sync: bool) -> Measured<(Node, ConversationId, Invitation)> {
        let mut founder = open(self.folder.path(), 0, 1, sync)?;
        let now = self.now();
        let id = founder.create("Crowd", Kind::Group, now)?;
        let link = founder.invite(Some(id), uses, 0, now)?;
        self.meet(&mut founder)?;
        Ok((founder, id, link))
    }
}

/// See the head of this file.
///
/// # Errors
/// Those of the stores.
pub fn receipts(scale: &Scale) -> Measured<Vec<Row>> {
    println!(
        "receipts: one session, a frame of 49 registers at a time; synchronous=FULL on the device that is measured"
    );
    let people = 49;
    let rounds = scale.pick(205, 4);
    let mut crowd = Crowd::new()?;
    let (mut founder, id, link) = crowd.found(people, true)?;
    let mut others = Vec::new();
    for account in 1..=people as u16 {
        others.push(crowd.join(account, 1, &link)?);
    }
    crowd.meet(&mut founder)?;
    let mut rng = Rng::new(5);
    let (mut spent_s, mut applied) = (0.0, 0);
    for round in 0..rounds {
        let mut batch = crowd.relay.log_mut().batch()?;
        for account in 1..=people as u16 {
            let key = key(account, 1);
            let mut payload = vec![0; 1_500];
            rng.fill(&mut payload);
            let version = 1 + round as u64;
            let mut register =
                Register { conversation: id, device: key.id(), version, payload, signature: Signature([0; 64]) };
            register.signature = key.sign(DOMAIN_REGISTER, &register.signed_bytes());
            batch.put_register(&register, None, &mut NoFold)?;
            applied += 1;
        }
        batch.commit()?;
        spent_s += crowd.meet(&mut founder)?.one_s;
    }
    let last = founder.log().registers(&id)?;
    if last.len() != people as usize || last.iter().any(|register| register.version != rounds as u64) {
        return Err("not every register came".into());
    }
    let each_us = spent_s * 1e6 / f64::from(applied);
    let of_10_000_s = each_us / 100.0;
    let mut rows = vec![Row {
        name: "receipts".into(),
        value: of_10_000_s,
        unit: format!("s for 10,000 receipts ({applied} taken, {each_us:.0} us each)"),
        baseline: None,
        ratio: None,
        bound: "<= 1 s".into(),
        holds: scale.smoke || of_10_000_s <= 1.0,
    }];
    // A page with what everybody told, from the disk and then from memory.
    let now = crowd.now();
    let texts: Vec<String> = (0..50).map(|at| format!("message {at}")).collect();
    founder.send(id, &texts.iter().map(String::as_str).collect::<Vec<_>>(), now)?;
    crowd.meet(&mut founder)?;
    for node in &mut others {
        crowd.meet(node)?;
        node.messages(&id, 60, None, true)?;
        // Above what was made up before.
        for _ in 0..2 {
            let now = crowd.now();
            node.tell_all(now)?;
            crowd.meet(node)?;
        }
    }
    crowd.meet(&mut founder)?;
    let mut times_ms = Vec::new();
    for _ in 0..2 {
        let began = Instant::now();
        let page = founder.messages(&id, 50, None, false)?;
        times_ms.push(began.elapsed().as_secs_f64() * 1e3);
        if page.iter().any(|message| message.reach.others != u64::from(people)) {
            return Err("the page does not know who takes part".into());
        }
        let read: u64 = page.iter().map(|message| message.reach.read).sum();
        println!("receipts: a page of {} messages, read {read} times", page.len());
    }
    rows.push(Row {
        name: "receipts page".into(),
        value: times_ms[1],
        unit: format!("ms for a page of 50 with 49 readers each, {:.2} ms the first time", times_ms[0]),
        baseline: None,
        ratio: None,
        bound: "<= 5 ms".into(),
        holds: scale.smoke || times_ms.iter().all(|ms| *ms <= 5.0),
    });
    Ok(rows)
}

/// See the head of this file.
///
/// # Errors
/// Those of the stores.
pub fn crowd(scale: &Scale) -> Measured<Vec<Row>> {
    println!("crowd: two devices a person, all by one link; synchronous=OFF everywhere, since only bytes are counted");
    // Above the number up to which everybody is told of everybody, also in a smoke run.
    let people = scale.pick(300, 60) as u16;
    let (rounds, writers) = (scale.pick(5, 2), 20);
    let mut crowd = Crowd::new()?;
    // The founder's second device comes by the link, too, and uses it once for its account.
    let (founder, id, link) = crowd.found(u32::from(people), false)?;
    let mut nodes = vec![founder, crowd.join(0, 2, &link)?];
    for account in 1..people {
        for device in 1..=2 {
            nodes.push(crowd.join(account, device, &link)?);
        }
    }
    let (accounts, devices) = (crowd.relay.log().accounts(&id)?, crowd.relay.log().devices(&id)?);
    for node in &mut nodes {
        crowd.meet(node)?;
        let now = crowd.now();
        node.tell_all(now)?;
        crowd.meet(node)?;
    }
    let mut rng = Rng::new(11);
    let mut bytes = vec![0; nodes.len()];
    let mut registers = 0;
    for _ in 0..rounds {
        for _ in 0..writers {
            let at = rng.index(nodes.len());
            let text: String = (0..TEXT_BYTES).map(|_| char::from(b'!' + rng.below(90) as u8)).collect();
            let now = crowd.now();
            nodes[at].send(id, &[&text], now)?;
            let ran = crowd.meet(&mut nodes[at])?;
            bytes[at] += ran.bytes() + ran.framing();
        }
        for (at, node) in nodes.iter_mut().enumerate() {
            let came = crowd.meet(node)?;
            node.messages(&id, 200, None, true)?;
            let now = crowd.now();
            node.tell_all(now)?;
            let told = crowd.meet(node)?;
            for ran in [came, told] {
                bytes[at] += ran.bytes() + ran.framing();
                let of = |kind: u8| ran.one.iter().chain(&ran.two).filter(move |frame| frame.0 == kind);
                registers += (0x42..=0x44).flat_map(of).map(|frame| frame.1).sum::<usize>();
            }
        }
    }
    let payload = rounds * writers * TEXT_BYTES;
    let mean = bytes.iter().sum::<usize>() as f64 / nodes.len() as f64;
    let most = bytes.iter().max().copied().unwrap_or(0);
    let overhead = (mean - payload as f64) / payload as f64;
    let unread: u64 = nodes
        .iter()
        .map(|node| Ok(node.conversations()?.iter().map(|row| row.unread).sum::<u64>()))
        .sum::<Measured<u64>>()?;
    Ok(vec![
        Row {
            name: "crowd joins".into(),
            value: accounts as f64,
            unit: format!("people with {devices} devices, by one link"),
            baseline: None,
            ratio: None,
            bound: format!("{people} and {}, none lost", 2 * people),
            holds: accounts == u64::from(people) && devices == 2 * u64::from(people),
        },
        Row {
            name: "crowd".into(),
            value: mean,
            unit: format!(
                "bytes a device for {} messages, at most {most}; {:.0} of them registers; {unread} left unread",
                rounds * writers,
                registers as f64 / nodes.len() as f64
            ),
            baseline: Some(payload as f64),
            ratio: Some(overhead),
            bound: "overhead <= 4 x payload".into(),
            holds: overhead <= 4.0,
        },
    ])
}
