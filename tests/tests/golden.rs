//! Golden stores: files of every committed format are opened, checked, rebuilt and proven equal to what they were.
//!
//! `tests/golden/vN/` holds a device's store, a relay's, and what they must show as text. They were made once by
//! [`build`], from fixed seeds, by the program as it was then, and are never made again: a change of the schema adds a
//! migration and a further folder. To add one: `TOMBOLO_WRITE_GOLDEN=v2 cargo test -p suite --test main
//! golden::stores_of_every_format_open -- --test-threads=1`.
//! A store of a newer format is refused, and the file stays as it is, byte for byte.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use suite::bench::wire::exchange;
use tombolo_client::{Entropy, Identity, Kind, Node};
use tombolo_identity::{AccountKey, DeviceKey, verify_batch};
use tombolo_model::{RelayAddress, Sound};
use tombolo_oplog::rusqlite::Connection;
use tombolo_oplog::{Log, LogError, NoFold, Open, Reader};
use tombolo_replica::{Now, Replica, Scope};
use tombolo_seal::StorageKey;

const URL: &str = "ws://relay";

struct Seeded(u64);

impl Entropy for Seeded {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = (self.0 >> 33) as u8;
        }
    }
}

fn try_node(path: &Path, seed: u8) -> Result<Node, tombolo_client::Error> {
    let identity = Identity {
        account: AccountKey::from_seed([seed; 32]),
        device: DeviceKey::from_seed([seed + 100; 32]),
        certified_ms: 1,
        storage: StorageKey::new([seed; 32]),
        name: if seed == 1 { "Ada" } else { "Ben" }.into(),
        relays: vec![RelayAddress { key: [0; 32], url: URL.into(), region: String::new() }],
    };
    Node::open(Open::new(path, 0), identity, true, Box::new(Seeded(u64::from(seed))))
}

fn node(path: &Path, seed: u8) -> Node {
    try_node(path, seed).unwrap()
}

fn now(ms: u64) -> Now {
    Now { mono_ms: ms, wall_ms: 1_700_000_000_000 + ms }
}

/// Writes `client.db` and `relay.db`: groups and a conversation of two, names, titles, texts, an import, invitations used
/// and revoked, a newcomer, cursors, acknowledgements, proofs.
fn build(folder: &Path) {
    let mut ada = node(&folder.join("client.db"), 1);
    let other = tempfile::tempdir().unwrap();
    let mut ben = node(&other.path().join("ben.db"), 2);
    let log = Log::open(Open::new(folder.join("relay.db"), 9)).unwrap();
    let mut relay = Replica::new(log, DeviceKey::from_seed([77; 32]), NoFold);
    let mut connections = 0;
    let mut sync = |node: &mut Node, relay: &mut Replica<NoFold>, at: u64| {
        connections += 1;
        let scope = Scope::Relay { url: URL.into(), all: false };
        exchange((node.replica(), scope), (relay, Scope::Members), connections, now(at)).unwrap();
    };

    let crew = ada.create("Harbour crew", Kind::Group, now(10)).unwrap();
    ada.send(crew, &["The boats are in.", "Gr\u{fc}\u{df}e, \u{6f01}\u{8239} \u{1f6a2}"], now(20)).unwrap();
    let link = ada.invite(Some(crew), 3, 0, now(30)).unwrap();
    let spoiled = ada.invite(Some(crew), 1, 1_800_000_000_000, now(31)).unwrap();
    ada.revoke(&spoiled.key().public(), now(32)).unwrap();
    let two = ada.invite(None, 1, 0, now(33)).unwrap();
    sync(&mut ada, &mut relay, 1_000);
    ben.accept(&link, now(2_000)).unwrap();
    ben.accept(&two, now(2_001)).unwrap();
    sync(&mut ben, &mut relay, 3_000);
    let lines = [("Eve", "Long ago."), ("Ada", "Indeed.")].map(|(who, text)| tombolo_client::Line {
        time_ms: 1_600_000_000_000,
        who: who.into(),
        text: text.into(),
    });
    ada.import(crew, &lines, now(4_000), |_| {}).unwrap();
    // Both write apart: more than two leaves of the digest tree, with signatures that do not travel.
    for index in 0..70_u64 {
        ada.send(crew, &[&format!("Ada {index}")], now(5_000 + 100 * index)).unwrap();
        ben.send(crew, &[&format!("Ben {index}")], now(5_050 + 100 * index)).unwrap();
    }
    ben.send(two.conversation, &["Only for you."], now(20_000)).unwrap();
    sync(&mut ada, &mut relay, 21_000);
    sync(&mut ben, &mut relay, 22_000);
    sync(&mut ada, &mut relay, 23_000);
    ada.messages(&crew, 10, None, true).unwrap();
    ada.close().unwrap();
    relay.close().unwrap();
}

/// What the stores in a folder show: conversations with digests, who takes part, every text.
fn dump(folder: &Path) -> String {
    let mut out = String::new();
    let ada = node(&folder.join("client.db"), 1);
    describe(&mut out, "client", ada.log());
    let mut conversations = ada.conversations().unwrap();
    conversations.sort_by_key(|row| row.id);
    for row in conversations {
        writeln!(out, "title {} {:?} unread {}", row.id, row.title, row.unread).unwrap();
        ada.export(&row.id, |line| {
            writeln!(out, "text {} {} {:?}: {:?}", row.id, line.time_ms, line.name, line.text).unwrap();
            Ok(())
        })
        .unwrap();
    }
    describe(&mut out, "relay", &Log::open(Open::new(folder.join("relay.db"), 0)).unwrap());
    out
}

fn describe(out: &mut String, name: &str, log: &Reader) {
    let mut rows = log.conversations().unwrap();
    rows.sort_by_key(|row| row.id);
    for row in rows {
        let (digest, members) = (log.proof(&row.id).unwrap(), log.members(&row.id).unwrap().len());
        let invites: Vec<_> =
            log.invites(&row.id).unwrap().iter().map(|invite| (invite.uses, invite.used, invite.revoked)).collect();
        let relays = log.relays(&row.id).unwrap().len();
        writeln!(
            out,
            "{name} {} ops {} digest {digest} sum {:?} members {members} invites {invites:?} relays {relays}",
            row.id, row.ops, row.sum
        )
        .unwrap();
    }
    let cursor = log.cursor().unwrap();
    let acked: Vec<u64> = log.peers().unwrap().iter().map(|peer| peer.acked).collect();
    writeln!(out, "{name} cursor {} {:?} acked {acked:?}", cursor.position, cursor.chain).unwrap();
}

/// What doctor looks at: rows, ids, chains, digests, and every signature.
fn examine(log: &Reader) {
    for finding in log.check(&mut |_| {}).unwrap() {
        assert!(finding.ok, "{}: {}", finding.check, finding.detail);
    }
    for row in log.conversations().unwrap() {
        for height in log.heights(&row.id).unwrap() {
            let run = log.run(&row.id, &height.author, &height.log, 1, height.max, usize::MAX >> 1).unwrap();
            assert_eq!(run.len() as u64, height.max);
            let run = run.into_iter().map(|op| Sound::check(op).unwrap()).collect();
            let (verified, refused) = verify_batch(run, |_, _, _| None);
            assert_eq!((verified.len() as u64, refused), (height.max, vec![]));
        }
    }
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

fn versions() -> Vec<PathBuf> {
    if let Ok(version) = std::env::var("TOMBOLO_WRITE_GOLDEN") {
        let folder = golden().join(version);
        std::fs::create_dir_all(&folder).unwrap();
        assert!(!folder.join("client.db").exists(), "a committed format is never written again");
        build(&folder);
        let expected = dump(copy(&folder).path());
        std::fs::write(folder.join("expected.txt"), expected).unwrap();
    }
    let mut found: Vec<PathBuf> = std::fs::read_dir(golden()).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    assert!(!found.is_empty());
    found
}

fn copy(folder: &Path) -> tempfile::TempDir {
    let copied = tempfile::tempdir().unwrap();
    for name in ["client.db", "relay.db"] {
        std::fs::copy(folder.join(name), copied.path().join(name)).unwrap();
    }
    copied
}

#[test]
fn stores_of_every_format_open_and_rebuild_to_what_they_were() {
    for version in versions() {
        println!("{}", version.display());
        let expected = std::fs::read_to_string(version.join("expected.txt")).unwrap();
        let folder = copy(&version);
        assert_eq!(dump(folder.path()), expected);

        let mut ada = node(&folder.path().join("client.db"), 1);
        examine(ada.log());
        let (log, views) = ada.replica().log_and_fold();
        assert_eq!(tombolo_store::compare(views, log, &mut |_, _| {}).unwrap(), vec![]);
        let mut batch = log.batch().unwrap();
        tombolo_store::rebuild(views, &mut batch, &mut |_, _| {}).unwrap();
        batch.commit().unwrap();
        assert_eq!(tombolo_store::compare(views, log, &mut |_, _| {}).unwrap(), vec![]);
        ada.close().unwrap();
        let log = Log::open(Open::new(folder.path().join("relay.db"), 0)).unwrap();
        examine(&log);
        log.close().unwrap();
        assert_eq!(dump(folder.path()), expected);
    }
}

/// An old store goes on: it is written to, meets its relay, and both end equal.
#[test]
fn stores_of_every_format_go_on() {
    for version in versions() {
        let folder = copy(&version);
        let mut ada = node(&folder.path().join("client.db"), 1);
        let log = Log::open(Open::new(folder.path().join("relay.db"), 0)).unwrap();
        let mut relay = Replica::new(log, DeviceKey::from_seed([77; 32]), NoFold);
        let crew = ada.conversations().unwrap().into_iter().find(|row| row.title == "Harbour crew").unwrap();
        ada.send(crew.id, &["Still here."], now(100_000)).unwrap();
        let scope = Scope::Relay { url: URL.into(), all: false };
        let ran = exchange((ada.replica(), scope), (&mut relay, Scope::Members), 9, now(101_000)).unwrap();
        assert!(ran.proven);
        assert_eq!(ran.stats.ops_out, [1, 0, 0, 0], "only what is new travels");
        assert_eq!(ada.log().proof(&crew.id).unwrap(), relay.log().proof(&crew.id).unwrap());
        assert_eq!(relay.log().conversation(&crew.id).unwrap().unwrap().ops, crew.ops + 1);
        examine(ada.log());
        examine(relay.log());
    }
}

#[test]
fn a_store_of_a_newer_format_is_refused_and_left_as_it_is() {
    for version in versions() {
        for component in ["oplog", "store", "client"] {
            let folder = copy(&version);
            for name in ["client.db", "relay.db"] {
                let path = folder.path().join(name);
                let conn = Connection::open(&path).unwrap();
                let raised =
                    conn.execute("UPDATE schema SET version = 1000 WHERE component = ?1", [component]).unwrap();
                conn.close().unwrap();
                let before = std::fs::read(&path).unwrap();
                let opened = if name == "client.db" {
                    assert_eq!(raised, 1);
                    try_node(&path, 1).map(drop).map_err(|error| error.code().to_owned())
                } else if raised == 1 {
                    let opened = Log::open(Open::new(&path, 0));
                    assert!(matches!(opened, Err(LogError::Newer { .. })));
                    opened.map(drop).map_err(|error| error.code().to_owned())
                } else {
                    continue;
                };
                assert_eq!(opened.unwrap_err(), "newer", "{component} in {name}");
                assert!(std::fs::read(&path).unwrap() == before, "{name} was changed");
            }
        }
    }
}
