//! The fuzz targets on a stable compiler: the committed corpus, and 100,000 changed inputs for each, the same every run.
//!
//! The corpus is written by `TOMBOLO_BLESS=1 cargo test -p suite --test main fuzz`; finding new inputs with coverage is
//! for `cargo xtask fuzz`.

#[path = "../fuzz/src/lib.rs"]
#[allow(dead_code, unreachable_pub)]
mod checks;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Instant;
use tombolo_client::Kind;
use tombolo_identity::{AccountKey, DeviceKey, InviteKey, sign_op};
use tombolo_model::content::{
    Content, Delete, Edit, File, Image, Imported, Message, MessageRef, Reaction, Restore, Set, Slot, Splice, Tag,
    TagSet, Target, Value,
};
use tombolo_model::digest::Chain;
use tombolo_model::op::VERSION;
use tombolo_model::{
    AccountId, BodyHash, Class, Control, ConversationId, Header, Hlc, LogId, Op, OpId, Proof, Register, RelayAddress,
    Signature,
};
use tombolo_proto::frame::{Ack, Batch, Difference, Hello, Reading, Registers, Resume, Root, Settled, Wanted};
use tombolo_proto::reconcile::estimator::Estimator;
use tombolo_proto::reconcile::sketch::Sketch;
use tombolo_proto::source::{Height, Run};
use tombolo_proto::{Frame, Refusal, Tool, batch};
use tombolo_replica::Zstd;
use tombolo_seal::{ConversationSecret, Invitation};

const CONVERSATION: ConversationId = ConversationId([0xc0; 16]);
const RUNS: usize = 100_000;

type Corpus = BTreeMap<(&'static str, String), Vec<u8>>;

fn key(seed: u8) -> DeviceKey {
    DeviceKey::from_seed([seed; 32])
}

fn header(class: Class, seq: u64, prev: OpId, author: &DeviceKey) -> Header {
    Header {
        version: VERSION,
        class,
        conversation: CONVERSATION,
        author: author.id(),
        log: LogId([author.id().0[0]; 8]),
        seq,
        prev,
        hlc: Hlc::new(1_700_000_000_000 + seq, 0),
        epoch: 0,
        expires_ms: 0,
        parents: vec![],
        erases: vec![],
        extension: vec![],
        body_len: 0,
        body_hash: BodyHash::of(&[]),
    }
}

fn controls() -> Vec<(&'static str, Control)> {
    let account = AccountKey::from_seed([1; 32]);
    let certificate = account.certify(key(2).id(), 1_700_000_000_000);
    let invite = InviteKey::from_seed([3; 32]);
    let relay = RelayAddress { key: [4; 32], url: "wss://relay.example.org".into(), region: "eu".into() };
    let kind = Kind::Group;
    let proof = invite.prove(&CONVERSATION, &certificate);
    vec![
        (
            "genesis",
            Control::Genesis { certificate: certificate.clone(), kind, salt: [5; 16], relays: vec![relay.clone()] },
        ),
        ("invite", Control::Invite { key: invite.public(), uses: 3, expires_ms: 9 }),
        ("revoke", Control::Revoke { key: invite.public() }),
        ("join", Control::Join { certificate: certificate.clone(), invite: invite.public(), proof, relays: vec![] }),
        ("device", Control::Device { certificate }),
        ("relays", Control::Relays { add: vec![relay.clone(), relay] }),
    ]
}

/// A small conversation with everything that a header can have.
fn ops() -> Vec<Op> {
    let (alice, bob) = (key(2), key(6));
    let mut genesis = header(Class::Control, 1, OpId::ZERO, &alice);
    genesis.conversation = ConversationId::ZERO;
    let mut ops = vec![sign_op(genesis, &alice, controls()[0].1.to_bytes())];
    let mut prev = OpId::ZERO;
    for seq in 1..=4 {
        let mut next = header(Class::Content, seq, prev, &bob);
        next.parents = ops.last().filter(|last| last.id != prev).map(|last| last.id).into_iter().collect();
        let op = sign_op(next, &bob, vec![seq as u8; 40]);
        prev = op.id;
        ops.push(op);
    }
    let mut rare = header(Class::Content, 9, OpId([0x0f; 32]), &alice);
    (rare.epoch, rare.expires_ms, rare.extension) = (7, 1_800_000_000_000, vec![1, 2, 3]);
    rare.parents = vec![OpId([1; 32]), OpId([2; 32])];
    rare.erases = vec![OpId([3; 32])];
    let mut rare = sign_op(rare, &alice, vec![9; 20]);
    rare.body = None;
    ops.push(rare);
    ops.push(sign_op(header(Class::Merge, 5, prev, &bob), &bob, vec![]));
    ops
}

fn frames() -> Vec<Frame> {
    let signature = Signature([0x51; 64]);
    let (chain, proof) = (Chain([0xc1; 16]), Proof([0xd1; 32]));
    let mut sketch = Sketch::new(40);
    let mut estimator = Estimator::new();
    for item in 0..5u64 {
        sketch.insert(item << 40 | 77);
        estimator.insert(item << 40 | 77);
    }
    let conversation = CONVERSATION;
    let tool = Tool::Ranges;
    let want = |wanted| Frame::Want { conversation, tool, wanted };
    let batch = |ops| Frame::Batch(Batch { number: 1, tool: Tool::Cursor, through: Some((9, chain)), ops });
    let height = Height { log: LogId([0x11; 8]), height: 300, ragged: true };
    vec![
        Frame::Hello(Hello {
            version: 1,
            version_min: 1,
            replica: key(2).id(),
            nonce: [0xbb; 32],
            clock_ms: 1_700_000_000_000,
            window_bytes: 2_097_152,
        }),
        Frame::Prove(signature),
        Frame::Resume(Resume { incarnation: 5, position: 200, chain, read: Some((7, chain)), proof, count: 128 }),
        Frame::Resume(Resume { incarnation: 5, position: 0, chain, read: None, proof, count: 0 }),
        batch(checks::plain_batch(&ops())),
        batch(batch::encode(&ops(), &Zstd)),
        Frame::Ack(Ack { number: 130, signature, refused: vec![(conversation, Refusal::TooMany)] }),
        Frame::Settled(Settled { position: 3, chain, proof, seen: 5, round: 2 }),
        Frame::Roots(vec![Root { conversation, count: 300, tag: [0x71; 8] }; 3]),
        Frame::Differ(vec![Difference {
            conversation,
            count: 4,
            heights: vec![height; 2],
            estimator: estimator.to_bytes().to_vec(),
        }]),
        want(Wanted::All),
        want(Wanted::Runs(vec![Run { log: LogId([0x11; 8]), from: 4, to: 200 }; 2])),
        want(Wanted::Prefixes(vec![1, u64::MAX])),
        Frame::Cells { conversation, cells: sketch.to_bytes() },
        Frame::Decoded { conversation, want: None },
        Frame::Decoded { conversation, want: Some(vec![1, 2]) },
        Frame::Ranges { conversation, want: vec![2], ranges: vec![0x3c] },
        // A fingerprint up to a bound, then two items up to the end.
        Frame::Ranges {
            conversation,
            want: vec![],
            ranges: [&[0x05, 0x90, 0x01, 0x07][..], &[0xfe; 12], &[0x3e, 0x02], &[0x0a; 16]].concat(),
        },
        Frame::Ping(300),
        Frame::Pong(300),
        Frame::Bye { code: "done".into(), words: "See you.".into() },
        Frame::Presence { conversation, payload: vec![7; 20] },
        Frame::Moved { url: "wss://new.example.org".into(), at_ms: 1_700_000_000_000, signature },
        Frame::Ignored(0x7f),
        Frame::Reading(Reading { read: 300, digest: [0x61; 6] }),
        Frame::Registers(Registers { through: 200, last: true, registers: vec![register(1), register(129)] }),
        Frame::Registered(300),
    ]
}

fn register(version: u64) -> Register {
    let (device, signature) = (key(2).id(), Signature([0x52; 64]));
    Register { conversation: CONVERSATION, device, version, payload: vec![3; 20], signature }
}

fn invitation(relays: usize) -> Invitation {
    let relay = RelayAddress { key: [4; 32], url: "wss://relay.example.org:8443".into(), region: "eu".into() };
    Invitation {
        conversation: CONVERSATION,
        invite_op: OpId([2; 32]),
        invite_hlc: Hlc::new(1_700_000_000_000, 3),
        invite_seed: [0xa1; 32].into(),
        secret: ConversationSecret::new([0xa2; 32]),
        kind: Kind::Direct,
        relays: vec![relay; relays],
    }
}

/// What the corpus must hold.
fn corpus() -> Corpus {
    let mut all = Corpus::new();
    for (at, frame) in frames().iter().enumerate() {
        all.insert(("frame", format!("{at:02}-{}", frame.name().replace(' ', "-"))), frame.to_bytes());
    }
    all.insert(("frame", "90-unknown".into()), vec![0x3f, 1, 2]);
    all.insert(("frame", "91-number-too-long".into()), [&[0x0c][..], &[0xff; 11]].concat());
    all.insert(("batch", "empty".into()), checks::plain_batch(&[]));
    all.insert(("batch", "plain".into()), checks::plain_batch(&ops()));
    all.insert(("batch", "packed".into()), batch::encode(&ops(), &Zstd));
    let many: Vec<Op> = (0..40).flat_map(|_| ops()).collect();
    all.insert(("batch", "packed-many".into()), batch::encode(&many, &Zstd));
    let bomb = checks::plain_batch(&[]);
    all.insert(("batch", "trailing".into()), [&bomb[..], &[0]].concat());
    for (at, op) in ops().iter().enumerate() {
        all.insert(("op", format!("{at}")), op.header.to_bytes());
    }
    for (name, control) in controls() {
        all.insert(("control", name.into()), control.to_bytes());
    }
    let imported = Imported {
        time_ms: 5,
        who: "ana".into(),
        text: "Hello.".into(),
        source_key: [3; 16],
        rank: None,
        files: None,
        source: None,
    };
    let at = MessageRef { hlc: Hlc(7), id: OpId([4; 32]) };
    let image = Image { width: 3, height: 4, thumbnail: vec![1; 9] };
    let (name, media) = ("a.png".into(), "image/png".into());
    let file = File { blob: [5; 32], key: [6; 32], bytes: 9, name, media, image: Some(image) };
    let message = Message {
        text: "See this.".into(),
        answers: Some(at),
        quotes: Some(vec![at]),
        mentions: Some(vec![AccountId([8; 32])]),
        files: Some(vec![file]),
    };
    let splices = vec![Splice { at: 1, delete: 2, insert: "x".into() }];
    let edit = Edit { target: Target::Message(at), bases: vec![at.id], splices, whole: Some("axb".into()) };
    let contents = [
        ("text", Content::Text("The boats are in.".into())),
        ("title", Content::Title("Harbour".into())),
        ("name", Content::Name("Ana".into())),
        ("imported", Content::Imported(imported)),
        ("message", Content::Message(Box::new(message.clone()))),
        ("edit", Content::Edit(edit)),
        ("delete", Content::Delete(Delete { message: at, withdrawn: None })),
        ("restore", Content::Restore(Box::new(Restore { message: at, tags: vec![at.id], content: message }))),
        ("reaction", Content::Reaction(Reaction { message: [7; 16], by: 1, emoji: "+".into() })),
        ("set", Content::Set(Set { slot: Slot::Timer, bases: vec![at.id], value: Value::Number(9) })),
        ("tag", Content::Tag(Tag { set: TagSet::Pins, message: at, removes: Some(vec![at.id]) })),
    ];
    for (name, content) in contents {
        all.insert(("content", name.into()), content.to_padded().unwrap());
    }
    all.insert(("content", "newer".into()), vec![200, 1, 2, 0x80, 0, 0]);
    for relays in 0..3 {
        all.insert(("invitation", format!("inside-{relays}")), checks::inside(&invitation(relays)));
        all.insert(("invitation", format!("link-{relays}")), invitation(relays).to_string().into_bytes());
    }
    all
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join("corpus")
}

/// The inputs of one target as they are committed: the made ones and whatever fuzzing has found since.
fn committed(target: &str) -> Vec<(String, Vec<u8>)> {
    let mut found: Vec<(String, Vec<u8>)> = std::fs::read_dir(folder().join(target))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap()))
        .collect();
    found.sort();
    found
}

#[test]
fn the_corpus_is_what_this_version_writes() {
    let bless = std::env::var_os("TOMBOLO_BLESS").is_some();
    for ((target, name), bytes) in corpus() {
        let path = folder().join(target).join(&name);
        if bless {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &bytes).unwrap();
        }
        // Compressed bytes may differ from one version of the compressor to the next; what they say may not.
        let stored = std::fs::read(&path).unwrap();
        let packed = target == "batch" && name.starts_with("packed") || target == "frame" && name == "05-batch";
        assert!(stored == bytes || packed, "{target}/{name}: the format has changed");
    }
}

#[test]
fn every_kind_of_input_in_the_corpus_is_accepted() {
    for (target, check) in checks::TARGETS {
        let inputs = committed(target);
        let accepted: BTreeSet<u8> =
            inputs.iter().filter(|(_, bytes)| check(bytes)).map(|(_, bytes)| bytes[0]).collect();
        assert!(!accepted.is_empty(), "{target}");
        if target == "frame" {
            let all: BTreeSet<u8> = (0x00..=0x0e).chain(0x40..=0x44).chain([0x7f]).collect();
            assert_eq!(accepted, all, "one of each type");
        }
        println!("{target}: {} inputs, {} first bytes accepted", inputs.len(), accepted.len());
    }
}

/// Seeded randomness (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    /// Changes bytes in one of the ways that formats suffer from.
    fn mutate(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        let at = self.below(bytes.len());
        match self.below(9) {
            _ if bytes.is_empty() => bytes.push(self.next() as u8),
            0 => bytes[at] ^= 1 << self.below(8),
            1 => bytes[at] = self.next() as u8,
            2 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff, 0x20, 0x21][self.below(7)],
            3 => bytes.insert(at, self.next() as u8),
            4 => {
                bytes.remove(at);
            }
            5 => bytes.truncate(at),
            6 => {
                let end = (at + self.below(40)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            7 => {
                let from = self.below(other.len());
                let end = (from + self.below(60)).min(other.len());
                let stop = (at + end - from).min(bytes.len());
                bytes.splice(at..stop, other[from..end].iter().copied());
            }
            _ => {
                let end = (at + 8).min(bytes.len());
                let number = [0, 1, u64::MAX, 1 << 63, (1 << 63) - 1, 1 << 32, 0x8080_8080_8080_8080][self.below(7)];
                bytes[at..end].copy_from_slice(&number.to_be_bytes()[..end - at]);
            }
        }
    }
}

#[test]
fn changed_inputs_break_no_promise() {
    for (number, (target, check)) in checks::TARGETS.into_iter().enumerate() {
        let mut random = Random(number as u64 + 1);
        let mut pool: Vec<Vec<u8>> = committed(target).into_iter().map(|(_, bytes)| bytes).collect();
        let seeds = pool.len();
        let (mut accepted, mut bytes_in) = (0u64, 0);
        let begun = Instant::now();
        for _ in 0..RUNS {
            let mut input = pool[random.below(pool.len())].clone();
            let other = &pool[random.below(pool.len())];
            for _ in 0..=random.below(3) {
                random.mutate(&mut input, other);
            }
            bytes_in += input.len();
            if check(&input) {
                accepted += 1;
                // Accepted ones are changed further; a bounded number of them, so that runs stay equally long.
                if input.len() < 4_000 {
                    let at = seeds + random.below(200);
                    if at < pool.len() { pool[at] = input } else { pool.push(input) }
                }
            }
        }
        let seconds = begun.elapsed().as_secs_f64();
        println!(
            "fuzz {target}: {RUNS} execs, {accepted} accepted, {bytes_in} bytes, {:.0} execs/s",
            RUNS as f64 / seconds
        );
        assert!(accepted > 100, "{target}: changes must get beyond the first check");
    }
}
