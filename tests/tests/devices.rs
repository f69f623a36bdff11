//! What people do with messages, between real nodes: devices of one account that agree, rights, conflicts, undoing, the
//! queue, and bad input.
//!
//! Here: the stage. `own` is about devices of one account, `changes` about edits, deletions and reactions, `queue` about
//! what has not left, `limits` about what is too much or does not exist. Not here: what ops add up to (`tombolo_store`),
//! faults and partitions (`sim`).

mod changes;
mod limits;
mod own;
mod queue;

use suite::bench::wire::exchange;
use tempfile::TempDir;
use tombolo_client::{ConversationId, Entropy, Identity, Kind, Message, Node, OpId};
use tombolo_identity::{AccountKey, DeviceKey};
use tombolo_model::RelayAddress;
use tombolo_oplog::{Log, NoFold, Open};
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

/// Some devices, their clock, and a relay.
pub(crate) struct Stage {
    pub(crate) folder: TempDir,
    pub(crate) nodes: Vec<Node>,
    pub(crate) relay: Replica<NoFold>,
    accounts: Vec<u8>,
    ms: u64,
    conns: u64,
}

impl Stage {
    /// A device for each number, which is that of its account.
    pub(crate) fn of(accounts: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::open(Open::new(folder.path().join("relay.db"), 9)).unwrap();
        let relay = Replica::new(log, DeviceKey::from_seed([99; 32]), NoFold);
        let mut stage = Self { folder, nodes: vec![], relay, accounts: accounts.to_vec(), ms: 1_000, conns: 0 };
        stage.nodes = (0..accounts.len()).map(|index| stage.node(index)).collect();
        stage
    }

    fn node(&self, index: usize) -> Node {
        let account = self.accounts[index];
        let identity = Identity {
            account: AccountKey::from_seed([account; 32]),
            device: DeviceKey::from_seed([index as u8 + 100; 32]),
            certified_ms: 1,
            storage: StorageKey::new([index as u8; 32]),
            name: format!("person {account}"),
            relays: vec![RelayAddress { key: [0; 32], url: URL.into(), region: String::new() }],
        };
        let path = self.folder.path().join(format!("{index}.db"));
        let random = Seeded(self.ms * 100 + index as u64);
        let node = Node::open(Open::new(path, 0), identity, true, Box::new(random)).unwrap();
        // Nothing here is about power cuts.
        node.log().connection().unwrap().execute_batch("PRAGMA synchronous = OFF").unwrap();
        node
    }

    /// Stops a device in order and starts it again.
    pub(crate) fn restart(&mut self, index: usize) {
        let old = self.nodes.remove(index);
        old.close().unwrap();
        let new = self.node(index);
        self.nodes.insert(index, new);
    }

    /// The time; it goes on with every question.
    pub(crate) fn now(&mut self) -> Now {
        self.wait(10)
    }

    pub(crate) fn wait(&mut self, ms: u64) -> Now {
        self.ms += ms;
        Now { mono_ms: self.ms, wall_ms: 1_700_000_000_000 + self.ms }
    }

    /// Does something with a device, at the time that it is.
    pub(crate) fn on<T>(&mut self, index: usize, act: impl FnOnce(&mut Node, Now) -> T) -> T {
        let now = self.now();
        act(&mut self.nodes[index], now)
    }

    /// The first device dials the second, and they exchange everything that they share.
    pub(crate) fn meet(&mut self, one: usize, other: usize) {
        let now = self.wait(100);
        self.conns += 1;
        let (left, right) = self.nodes.split_at_mut(one.max(other));
        let (low, high) = (&mut left[one.min(other)], &mut right[0]);
        let (dials, answers) = if one < other { (low, high) } else { (high, low) };
        exchange((dials.replica(), Scope::Dialled), (answers.replica(), Scope::Members), self.conns, now).unwrap();
        self.settle(one);
        self.settle(other);
    }

    /// Time passes until a device has put to its disk what it learned of others.
    fn settle(&mut self, index: usize) {
        let (now, later) = (self.now(), self.wait(1_000));
        for now in [now, later] {
            self.nodes[index].replica().tick(now).unwrap();
        }
    }

    /// Everybody meets everybody, twice.
    pub(crate) fn meet_all(&mut self) {
        for _ in 0..2 {
            for one in 0..self.nodes.len() {
                for other in one + 1..self.nodes.len() {
                    self.meet(one, other);
                }
            }
        }
    }

    /// A device exchanges with the relay.
    pub(crate) fn upload(&mut self, index: usize) {
        let now = self.wait(100);
        self.conns += 1;
        let scope = Scope::Relay { url: URL.into(), all: false };
        let replica = self.nodes[index].replica();
        exchange((replica, scope), (&mut self.relay, Scope::Members), self.conns, now).unwrap();
        self.settle(index);
    }

    /// A group of all devices, founded by the first.
    pub(crate) fn group(&mut self) -> ConversationId {
        let group = self.on(0, |node, now| node.create("group", Kind::Group, now)).unwrap();
        self.share(group);
        group
    }

    /// The conversation that the first account has with itself, on all of its devices.
    pub(crate) fn own(&mut self) -> ConversationId {
        let own = self.on(0, |node, now| node.own(now)).unwrap();
        self.share(own);
        own
    }

    fn share(&mut self, conversation: ConversationId) {
        let invitation = self.on(0, |node, now| node.invite(Some(conversation), 20, 0, now)).unwrap();
        for index in 1..self.nodes.len() {
            if self.nodes[index].log().conversation(&conversation).unwrap().is_some() {
                continue;
            }
            self.on(index, |node, now| node.accept(&invitation, now)).unwrap();
            self.meet(index, 0);
        }
        self.meet_all();
    }

    /// Writes a message; its op.
    pub(crate) fn say(&mut self, index: usize, conversation: ConversationId, text: &str) -> OpId {
        self.on(index, |node, now| node.send(conversation, &[text], now)).unwrap()[0].id
    }

    pub(crate) fn message(&self, index: usize, conversation: &ConversationId, id: &OpId) -> Message {
        self.nodes[index].message(conversation, id).unwrap()
    }

    /// What all devices show of a conversation; they must show the same.
    pub(crate) fn agreed(&mut self, conversation: &ConversationId) -> Vec<(OpId, String, String)> {
        let mut first = None;
        for node in &mut self.nodes {
            let page = node.messages(conversation, 1_000, None, false).unwrap();
            let shown: Vec<(OpId, String, String)> = page
                .into_iter()
                .map(|message| {
                    let mut beside = message.beside;
                    // Whose reaction it is depends on who looks.
                    beside.reactions.iter_mut().for_each(|reaction| reaction.own = false);
                    (message.id, message.text, format!("{beside:?}"))
                })
                .collect();
            assert_eq!(*first.get_or_insert_with(|| shown.clone()), shown);
        }
        first.unwrap()
    }

    /// Rebuilt views are what they were.
    pub(crate) fn sound(&mut self) {
        for node in &mut self.nodes {
            let (log, views) = node.replica().log_and_fold();
            assert_eq!(tombolo_store::compare(views, log, &mut |_, _| {}).unwrap(), []);
            let findings = log.check(&mut |_| {}).unwrap();
            assert!(findings.iter().all(|finding| finding.ok), "{findings:?}");
        }
    }
}

/// The code of the error that a call must have.
pub(crate) fn code<T: std::fmt::Debug>(result: Result<T, tombolo_client::Error>) -> &'static str {
    result.unwrap_err().code()
}
