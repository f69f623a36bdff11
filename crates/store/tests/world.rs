//! Ops of a small group, and a file with views.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;
use tombolo_model::content::{Content, Imported};
use tombolo_model::control::{Certificate, Control, Kind};
use tombolo_model::reading::Kept;
use tombolo_model::{
    AccountId, BodyHash, Class, ConversationId, DeviceId, Header, Hlc, LogId, Op, OpId, Register, Signature, Sound,
};
use tombolo_oplog::{Appended, Incoming, Log, Open};
use tombolo_store::{COMPONENT, Message, Opener, OwnReading, Views, compare, page, rebuild};

pub const NOW_MS: u64 = 1_700_000_000_000;
/// The clock readings of the group begin here.
pub const START_MS: u64 = NOW_MS - 10_000_000;
/// Everybody: device 1 founds, the others join.
pub const PEOPLE: u8 = 4;
/// The device whose views are looked at.
pub const OWN: u8 = 2;

pub fn device(number: u8) -> DeviceId {
    DeviceId([number; 32])
}

/// Device n belongs to account n + 100, but 3 and 4 share one.
pub fn account(device: u8) -> u8 {
    100 + device.min(3)
}

pub fn certificate(device: u8) -> Certificate {
    Certificate { account: [account(device); 32], device: [device; 32], created_ms: 5, signature: [9; 64] }
}

/// A conversation being written.
#[derive(Clone, Debug)]
pub struct Group {
    pub conversation: ConversationId,
    /// Last op of each device's log: seq, id, reading.
    pub tails: BTreeMap<u8, (u64, OpId, Hlc)>,
    /// Genesis, invitation and joins.
    pub founding: Vec<Incoming>,
}

impl Group {
    pub fn new(salt: u8) -> Self {
        let mut group = Self { conversation: ConversationId::ZERO, tails: BTreeMap::new(), founding: Vec::new() };
        let genesis =
            Control::Genesis { certificate: certificate(1), kind: Kind::Group, salt: [salt; 16], relays: vec![] };
        let op = group.control(1, &[], genesis);
        group.conversation = op.op.conversation();
        let mut known = group.control(1, &[], Control::Invite { key: [7; 32], uses: 50, expires_ms: 0 }).op.id;
        for person in 2..=PEOPLE {
            let join =
                Control::Join { certificate: certificate(person), invite: [7; 32], proof: [3; 64], relays: vec![] };
            known = group.control(person, &[known], join).op.id;
        }
        group
    }

    pub fn control(&mut self, author: u8, parents: &[OpId], control: Control) -> Incoming {
        let hlc = Hlc::new(START_MS - 1_000 + self.founding.len() as u64, 0);
        let op = self.write(author, Class::Control, hlc, parents, &control.to_bytes());
        let incoming = Incoming { op, control: Some(control) };
        self.founding.push(incoming.clone());
        incoming
    }

    /// The next op of a log. Its reading is `hlc`, or as much above as it must be.
    pub fn write(&mut self, author: u8, class: Class, hlc: Hlc, parents: &[OpId], body: &[u8]) -> Sound {
        self.write_with(author, class, hlc, parents, body, (&[], 0))
    }

    /// The same, with ids whose bodies go, and when its own does.
    pub fn write_with(
        &mut self,
        author: u8,
        class: Class,
        hlc: Hlc,
        parents: &[OpId],
        body: &[u8],
        (erases, expires_ms): (&[OpId], u64),
    ) -> Sound {
        let mut erases = erases.to_vec();
        erases.sort_unstable();
        erases.dedup();
        let (seq, prev, seen) = self.tails.get(&author).copied().unwrap_or_default();
        let mut parents: Vec<OpId> = parents.iter().copied().filter(|id| *id != prev).collect();
        parents.sort_unstable();
        parents.dedup();
        let header = Header {
            version: 1,
            class,
            conversation: self.conversation,
            author: device(author),
            log: LogId([author; 8]),
            seq: seq + 1,
            prev,
            hlc: if hlc > seen { hlc } else { Hlc(seen.0 + 1) },
            epoch: 0,
            expires_ms,
            parents,
            erases,
            extension: Vec::new(),
            body_len: body.len() as u32,
            body_hash: BodyHash::of(body),
        };
        let op = Sound::join(header, Some(Signature([1; 64])), Some(body.to_vec())).unwrap();
        self.tails.insert(author, (op.header.seq, op.id, op.header.hlc));
        op
    }

    /// Says something at `ms` milliseconds after the start, without having seen what others said.
    pub fn say(&mut self, author: u8, ms: u64, content: &Content) -> Incoming {
        let body = content.to_padded().unwrap();
        let op = self.write(author, Class::Content, Hlc::new(START_MS + ms, 0), &[], &body);
        Incoming { op, control: None }
    }

    pub fn text(&mut self, author: u8, ms: u64, text: &str) -> Incoming {
        self.say(author, ms, &Content::Text(text.into()))
    }
}

/// A line from elsewhere; equal numbers are equal lines.
pub fn line(number: u8) -> Content {
    ranked(number, None)
}

/// One of three lines of a second, with what its importer says of its place among them.
pub fn ranked(number: u8, rank: Option<u64>) -> Content {
    Content::Imported(Imported {
        time_ms: 1_000_000_000_000 + u64::from(number / 3) * 1_000,
        who: format!("p{number}"),
        text: format!("line {number}"),
        source_key: [number; 16],
        rank,
        files: None,
        source: None,
    })
}

/// Bodies here are plain; the switch stands for the key.
struct Plain(Arc<AtomicBool>);

impl Opener for Plain {
    fn open(&self, op: &Op) -> Option<Content> {
        if self.0.load(Ordering::Relaxed) { Content::from_padded(op.body.as_deref()?).ok() } else { None }
    }

    fn reading(&self, register: &Register) -> Option<OwnReading> {
        let Kept { read, mark } = Kept::from_bytes(&register.payload).ok()?;
        self.0.load(Ordering::Relaxed).then_some(OwnReading { read, mark })
    }
}

pub struct Store {
    pub _folder: TempDir,
    pub log: Log,
    pub views: Views,
    pub has_key: Arc<AtomicBool>,
    pub now_ms: u64,
}

impl Store {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let log = Log::open(Open { path, vfs: None, random: 5, components: &[COMPONENT] }).unwrap();
        // Nothing here is about power cuts, and hundreds of stores are made.
        log.connection().unwrap().execute_batch("PRAGMA synchronous = OFF").unwrap();
        let has_key = Arc::new(AtomicBool::new(true));
        let views = Views::new(Box::new(Plain(has_key.clone())), device(OWN));
        Self { _folder: folder, log, views, has_key, now_ms: NOW_MS }
    }

    /// Another device's, which knows its account.
    pub fn of_device(group: &Group, own: u8) -> Self {
        let mut store = Self::new();
        let plain = Plain(store.has_key.clone());
        store.views = Views::new(Box::new(plain), device(own)).of_account(AccountId([account(own); 32]));
        for op in &group.founding {
            let from = (op.op.header.author != device(own)).then(|| device(250));
            store.append(std::slice::from_ref(op), from);
        }
        store
    }

    /// With the group's founding ops, of which this device writes its own, so that its log is open.
    pub fn of(group: &Group) -> Self {
        let mut store = Self::new();
        for op in &group.founding {
            let from = (op.op.header.author != device(OWN)).then(|| device(250));
            store.append(std::slice::from_ref(op), from);
        }
        store
    }

    fn append(&mut self, ops: &[Incoming], from: Option<DeviceId>) -> Appended {
        self.views.set_now(self.now_ms);
        let mut batch = self.log.batch().unwrap();
        let appended = batch.append(ops.to_vec(), from.as_ref(), self.now_ms, &mut self.views).unwrap();
        batch.commit().unwrap();
        assert_eq!(appended.refused, []);
        appended
    }

    /// From a peer that is nobody's author.
    pub fn take(&mut self, ops: &[Incoming]) -> Appended {
        self.append(ops, Some(device(250)))
    }

    /// Written on this device.
    pub fn write(&mut self, ops: &[Incoming]) -> Appended {
        self.append(ops, None)
    }

    pub fn all(&self, conversation: &ConversationId) -> Vec<Message> {
        page(&self.log, conversation, None, usize::MAX).unwrap()
    }

    pub fn texts(&self, conversation: &ConversationId) -> Vec<String> {
        self.all(conversation).into_iter().map(|message| message.text).collect()
    }

    /// All rows of all views, as text.
    pub fn dump(&self) -> Vec<String> {
        self.dump_of(&["message", "title", "name", "seen", "mark", "beside"])
    }

    /// All rows of some tables, as text.
    pub fn dump_of(&self, tables: &[&str]) -> Vec<String> {
        let conn = self.log.connection().unwrap();
        let mut rows = Vec::new();
        for table in tables {
            let mut statement = conn.prepare(&format!("SELECT * FROM {table}")).unwrap();
            let columns = statement.column_count();
            let mut found = statement.query([]).unwrap();
            while let Some(row) = found.next().unwrap() {
                let values: Vec<String> =
                    (0..columns).map(|column| format!("{:?}", row.get_ref(column).unwrap())).collect();
                rows.push(format!("{table} {}", values.join("|")));
            }
        }
        rows.sort();
        rows
    }

    pub fn rebuild(&mut self) {
        let mut batch = self.log.batch().unwrap();
        rebuild(&mut self.views, &mut batch, &mut |_, _| {}).unwrap();
        batch.commit().unwrap();
    }

    /// Rebuilt equals live: by comparison, and by doing it.
    pub fn assert_rebuilt_equals_live(&mut self) {
        assert_eq!(compare(&self.views, &self.log, &mut |_, _| {}).unwrap(), []);
        let live = (self.dump(), self.dump_of(&["candidate"]));
        self.rebuild();
        assert_eq!((self.dump(), self.dump_of(&["candidate"])), live);
    }
}
