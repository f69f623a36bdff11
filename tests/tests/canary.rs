//! What is written stays between those who may read it: random markers in texts, titles, names and imported lines are
//! sought in the relay's files, in every frame that crossed the wire, and in what the relay logs. None may be found; the
//! same search must find them where they are meant to be.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use suite::binaries::{Binaries, Person, RelayProcess};
use tombolo_client::{Entropy, Identity, Kind, Line, Node};
use tombolo_identity::{AccountKey, DeviceKey};
use tombolo_model::{Class, ConversationId, Header, LogId, RelayAddress};
use tombolo_oplog::{self as oplog, Log, NoFold, Open, Reader};
use tombolo_proto::batch::{Named, Names};
use tombolo_proto::{Frame, batch};
use tombolo_replica::{ConnId, Link, Now, Output, Replica, Scope, Tools, Zstd};
use tombolo_seal::StorageKey;
use tombolo_testkit::rng::Rng;

struct Seeded(Rng);

impl Entropy for Seeded {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }
}

/// A word that nothing else contains, and how it could look elsewhere.
struct Marker {
    word: String,
    shapes: Vec<(&'static str, Vec<u8>)>,
}

impl Marker {
    fn new(rng: &mut Rng) -> Self {
        let letters: Vec<char> = ('a'..='z').chain('A'..='Z').chain('0'..='9').collect();
        let word: String = (0..20).map(|_| *rng.pick(&letters)).collect();
        let bytes = word.as_bytes();
        let lower: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut shapes = vec![
            ("raw", bytes.to_vec()),
            ("lower case", word.to_lowercase().into_bytes()),
            ("hex", lower.to_uppercase().into_bytes()),
            ("hex", lower.into_bytes()),
            ("UTF-16, little end first", word.encode_utf16().flat_map(u16::to_le_bytes).collect()),
            ("UTF-16, big end first", word.encode_utf16().flat_map(u16::to_be_bytes).collect()),
            ("backwards", bytes.iter().rev().copied().collect()),
        ];
        // Base64 depends on where in a group of three the word begins; its ends mix with the neighbours.
        for offset in 0..3 {
            let mut padded = vec![0; offset];
            padded.extend_from_slice(bytes);
            for alphabet in ["+/", "-_"] {
                let text = base64(&padded, alphabet);
                let from = if offset == 0 { 0 } else { offset + 1 };
                shapes.push(("base64", text.as_bytes()[from..text.len() - 3].to_vec()));
            }
        }
        Self { word, shapes }
    }
}

fn base64(bytes: &[u8], last: &str) -> String {
    let alphabet: Vec<char> = ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(last.chars()).collect();
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let value = group.iter().fold(0_u32, |value, byte| value << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..=group.len() {
            text.push(alphabet[(value >> (18 - 6 * place)) as usize & 63]);
        }
    }
    text
}

/// What was found where; empty is good. One pass over the bytes: four of them choose the shapes to compare with.
fn traces(markers: &[Marker], places: &[(String, Vec<u8>)]) -> Vec<String> {
    type Shape<'a> = (&'a Marker, &'static str, &'a [u8]);
    let mut begun: HashMap<[u8; 4], Vec<Shape<'_>>> = HashMap::new();
    for marker in markers {
        for (name, shape) in &marker.shapes {
            begun.entry(shape[..4].try_into().unwrap()).or_default().push((marker, name, shape));
        }
    }
    let mut found = BTreeSet::new();
    for (place, bytes) in places {
        for at in 0..bytes.len().saturating_sub(3) {
            let four: [u8; 4] = bytes[at..at + 4].try_into().unwrap();
            for (marker, name, shape) in begun.get(&four).into_iter().flatten() {
                if bytes[at..].starts_with(shape) {
                    found.insert(format!("{} in {place}, {name}", marker.word));
                }
            }
        }
    }
    found.into_iter().collect()
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
    found
}

#[test]
fn the_search_finds_every_shape() {
    let mut rng = Rng::new(7);
    let marker = Marker::new(&mut rng);
    let word = marker.word.as_bytes();
    let standard = |before: &[u8]| base64(&[before, word, b"after"].concat(), "+/").into_bytes();
    for bytes in [
        [b"before".as_slice(), word, b"after"].concat(),
        word.iter().map(|byte| format!("{byte:02X}")).collect::<String>().into_bytes(),
        marker.word.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        standard(b""),
        standard(b"1"),
        standard(b"12"),
        standard(b"123"),
    ] {
        let place = [("bytes".to_owned(), bytes)];
        assert!(!traces(std::slice::from_ref(&marker), &place).is_empty(), "{}", String::from_utf8_lossy(&place[0].1));
    }
    let less = [("a part".to_owned(), word[1..].to_vec())];
    assert_eq!(traces(std::slice::from_ref(&marker), &less), Vec::<String>::new());
}

fn now(ms: u64) -> Now {
    Now { mono_ms: ms, wall_ms: 1_700_000_000_000 + ms }
}

fn person(folder: &Path, seed: u8, name: &str) -> Node {
    let identity = Identity {
        account: AccountKey::from_seed([seed; 32]),
        device: DeviceKey::from_seed([seed + 100; 32]),
        certified_ms: 1,
        storage: StorageKey::new([seed; 32]),
        name: name.into(),
        relays: vec![RelayAddress { key: [0; 32], url: "ws://relay".into(), region: String::new() }],
    };
    std::fs::create_dir_all(folder).unwrap();
    Node::open(Open::new(folder.join("device.db"), 0), identity, true, Box::new(Seeded(Rng::new(u64::from(seed)))))
        .unwrap()
}

/// Meets the relay and keeps every byte: frames as they are, and the ops in them as they come out of compression.
/// What a log holds, by name.
struct Held<'a>(&'a Reader);

impl Names for Held<'_> {
    fn conversation(&mut self, begins: &[u8]) -> Option<ConversationId> {
        let rows = self.0.conversations().unwrap();
        rows.iter().map(|row| row.id).find(|id| id.0.starts_with(begins))
    }
    fn op(&mut self, conversation: &ConversationId, prefix: u64) -> Option<Named> {
        let oplog::Named { id, author, log, seq, hlc, .. } = self.0.named(conversation, prefix).unwrap()?;
        Some(Named { id, author, log, seq, hlc })
    }
}

fn sync(node: &mut Node, relay: &mut Replica<NoFold>, at: u64, wire: &mut Vec<(String, Vec<u8>)>) {
    let conn = ConnId(at);
    let link = |initiator, nonce, scope| Link {
        initiator,
        expected: None,
        binding: vec![],
        nonce: [nonce; 32],
        scope,
        tools: Tools::ALL,
    };
    node.replica().connect(conn, link(true, at as u8, Scope::Relay { url: "ws://relay".into(), all: false }), now(at));
    relay.connect(conn, link(false, at as u8 + 1, Scope::Members), now(at));
    loop {
        let mut frames = Vec::new();
        node.replica().flush(now(at)).unwrap();
        while let Some(output) = node.replica().poll() {
            if let Output::Send { frame, .. } = output {
                relay.receive(conn, &frame, now(at));
                frames.push(frame);
            }
        }
        relay.flush(now(at)).unwrap();
        while let Some(output) = relay.poll() {
            if let Output::Send { frame, .. } = output {
                node.replica().receive(conn, &frame, now(at));
                frames.push(frame);
            }
        }
        if frames.is_empty() {
            break;
        }
        for frame in frames {
            if let Frame::Batch(ops) = Frame::from_bytes(&frame).unwrap() {
                let read = batch::decode_brief(&ops.ops, &mut Held(relay.log()), &Zstd).unwrap();
                for op in read.expect("the relay holds what is named").ops {
                    let mut bytes = op.header.to_bytes();
                    bytes.extend(op.into_op().body.unwrap_or_default());
                    wire.push((format!("an op at {at}"), bytes));
                }
            }
            wire.push((format!("a frame at {at}"), frame));
        }
    }
    assert!(node.replica().state(conn).unwrap().unwrap().proven);
    node.replica().disconnected(conn);
    relay.disconnected(conn);
}

#[test]
fn no_marker_reaches_relay_or_wire() {
    let folder = tempfile::tempdir().unwrap();
    let mut rng = Rng::new(0xca_4a41);
    let mut markers = Vec::new();
    let mut fresh = || {
        let marker = Marker::new(&mut rng);
        let word = marker.word.clone();
        markers.push(marker);
        word
    };
    let (one, two, title, second) = (fresh(), fresh(), fresh(), fresh());
    let words: Vec<String> = (0..40).map(|_| fresh()).collect();
    let lines: Vec<Line> =
        (0..20).map(|at| Line { time_ms: 1_600_000_000_000 + at, who: fresh(), text: fresh() }).collect();
    let there = fresh();

    let log = Log::open(Open::new(folder.path().join("relay.db"), 9)).unwrap();
    let mut relay = Replica::new(log, DeviceKey::from_seed([77; 32]), NoFold);
    let mut alice = person(&folder.path().join("alice"), 1, &one);
    let mut bob = person(&folder.path().join("bob"), 2, &two);
    let mut wire = Vec::new();
    let conversation = alice.create(&title, Kind::Group, now(10)).unwrap();
    let invitation = alice.invite(Some(conversation), 1, 0, now(20)).unwrap();
    sync(&mut alice, &mut relay, 30, &mut wire);
    bob.accept(&invitation, now(40)).unwrap();
    for (at, word) in (100..).zip(&words) {
        let node = if at % 2 == 0 { &mut alice } else { &mut bob };
        // Alone, in the middle, many times over, so that compression would gladly take it up.
        node.send(conversation, &[word, &format!("so {word} it is"), &word.repeat(30)], now(at)).unwrap();
    }
    bob.import(conversation, &lines, now(200), |_| ()).unwrap();
    alice.create(&second, Kind::Group, now(201)).unwrap();
    alice.presence(&conversation, &there, now(202)).unwrap();
    for at in [210, 220, 230, 240] {
        sync(if at % 20 == 10 { &mut alice } else { &mut bob }, &mut relay, at, &mut wire);
    }
    assert_eq!(alice.digest(Some(conversation)).unwrap(), bob.digest(Some(conversation)).unwrap());
    assert!(wire.len() > 150, "frames and ops were looked at: {}", wire.len());

    // With the WAL still there, and once more after it went into the database.
    let relay_files = |_: &str| -> Vec<(String, Vec<u8>)> {
        let found = files(folder.path());
        found.into_iter().filter(|(name, _)| name.contains("relay.db")).collect()
    };
    let open = relay_files("open");
    assert!(open.iter().any(|(name, bytes)| name.ends_with("-wal") && bytes.len() > 10_000));
    assert_eq!(traces(&markers, &open), Vec::<String>::new());
    assert_eq!(traces(&markers, &wire), Vec::<String>::new());

    // The control: the same search finds a body that travels in the clear, in the same store, and in the frame.
    let spilled = markers[5].word.clone();
    let key = DeviceKey::from_seed([101; 32]);
    let header = Header {
        version: tombolo_model::op::VERSION,
        class: Class::Content,
        conversation,
        author: key.id(),
        log: LogId([0xee; 8]),
        seq: 1,
        prev: tombolo_model::OpId::ZERO,
        hlc: tombolo_model::Hlc::tick(tombolo_model::Hlc::ZERO, now(300).wall_ms),
        epoch: 0,
        expires_ms: 0,
        parents: vec![],
        erases: vec![],
        extension: vec![],
        body_len: 0,
        body_hash: tombolo_model::BodyHash::default(),
    };
    let op = tombolo_identity::sign_op(header, &key, spilled.clone().into_bytes());
    let frame = batch::encode(std::slice::from_ref(&op), &Zstd);
    let decoded = batch::decode(&frame, &Zstd).unwrap();
    let bytes = decoded[0].body.clone().unwrap();
    assert_eq!(traces(&markers, &[("the control".into(), bytes)]).len(), 1);
    let mut batch = relay.log_mut().batch().unwrap();
    let incoming = tombolo_oplog::Incoming { op: tombolo_model::Sound::check(op).unwrap(), control: None };
    let appended = batch.append(vec![incoming], Some(&key.id()), now(301).wall_ms, &mut NoFold).unwrap();
    assert_eq!(appended.stored.len(), 1, "{appended:?}");
    batch.commit().unwrap();
    let hits = traces(&markers, &relay_files("spilled"));
    assert!(!hits.is_empty() && hits.iter().all(|hit| hit.starts_with(&spilled)), "{hits:?}");

    relay.close().unwrap();
    let closed: Vec<String> =
        traces(&markers, &relay_files("closed")).into_iter().filter(|hit| !hit.starts_with(&spilled)).collect();
    assert_eq!(closed, Vec::<String>::new());
    // A device shows what it holds, so its own file must answer.
    alice.close().unwrap();
    let own = files(&folder.path().join("alice"));
    assert!(!traces(&markers, &own).is_empty(), "the search looks at real files");
}

#[test]
fn no_marker_reaches_the_real_relays_folder_and_log() {
    let binaries = Binaries::find().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("relay");
    std::fs::create_dir(&data).unwrap();
    // Everything that it could ever say.
    std::fs::write(data.join("relay.toml"), "log = \"trace\"\n").unwrap();
    let relay = RelayProcess::start(&binaries, &data, "127.0.0.1:0", &data.join("log")).unwrap();
    let mut rng = Rng::new(0xca_4a42);
    let markers: Vec<Marker> = (0..12).map(|_| Marker::new(&mut rng)).collect();
    let word = |at: usize| markers[at].word.as_str();
    let people = [Person::new(&binaries, folder.path().join("ann")), Person::new(&binaries, folder.path().join("bob"))];
    people[0].call(&["init", "--name", word(0), "--relay", &relay.url]).unwrap();
    people[1].call(&["init", "--name", word(1), "--relay", &relay.url]).unwrap();
    let conversation = people[0].text(&["new", word(2)], "conversation").unwrap();
    let link = people[0].text(&["invite", "--conversation", &conversation], "link").unwrap();
    people[0].call(&["sync"]).unwrap();
    people[1].call(&["accept", &link]).unwrap();
    for (at, who) in [(3, 0), (4, 1), (5, 0), (6, 1)] {
        people[who].call(&["send", &conversation, word(at)]).unwrap();
    }
    let input = format!("{{\"t\":1400000000,\"who\":\"{}\",\"text\":\"{}\"}}\n", word(7), word(8));
    people[0].call_with(&["import", &conversation, "-"], &input).unwrap();
    for who in [0, 1, 0] {
        assert_eq!(people[who].call(&["sync"]).unwrap()[0]["proven"], true);
    }
    let shown = people[1].call(&["messages", &conversation]).unwrap();
    assert_eq!(shown.len(), 5, "{shown:?}");
    let running = files(&data);
    assert!(running.iter().any(|(name, bytes)| name.ends_with("log") && bytes.len() > 200), "the relay logs");
    assert_eq!(traces(&markers, &running), Vec::<String>::new());
    relay.stop().unwrap();
    assert_eq!(traces(&markers, &files(&data)), Vec::<String>::new());
    // The control: the device that reads them has them.
    assert!(traces(&markers, &files(&people[1].home)).len() >= 5);
    // Nor does the relay hold the secret that the link carries.
    let secret = link.strip_prefix("tombolo:").unwrap();
    let whole: Vec<u8> = files(&data).into_iter().flat_map(|(_, bytes)| bytes).collect();
    assert!(!whole.windows(24).any(|window| secret.as_bytes().windows(24).any(|part| part == window)));
}
