//! Writing ops by hand, and a log in a temporary folder.

use std::collections::BTreeMap;
use tempfile::TempDir;
use tombolo_model::control::{Certificate, Kind};
use tombolo_model::{
    BodyHash, Class, Control, ConversationId, DeviceId, Header, Hlc, LogId, OpId, RelayAddress, Signature, Sound,
};
use tombolo_oplog::{Appended, Fold, Gone, Incoming, Log, NoFold, Open};

/// The wall clock of the tests, **milliseconds** since 1970.
pub const NOW_MS: u64 = 1_700_000_000_000;

pub fn device(number: u8) -> DeviceId {
    DeviceId([number; 32])
}

pub fn certificate(account: u8, device: u8) -> Certificate {
    Certificate { account: [account; 32], device: [device; 32], created_ms: 5, signature: [9; 64] }
}

pub fn relay(key: u8) -> RelayAddress {
    RelayAddress { key: [key; 32], url: format!("wss://relay-{key}"), region: "north".into() }
}

/// What stands in a header beside author, log and place.
#[derive(Clone, Debug)]
pub struct Draft {
    pub author: u8,
    pub log: u8,
    pub seq: u64,
    pub prev: OpId,
    pub hlc: Hlc,
    pub parents: Vec<OpId>,
    pub body: Vec<u8>,
    pub class: Class,
    pub conversation: ConversationId,
    pub erases: Vec<OpId>,
    pub expires_ms: u64,
}

impl Draft {
    pub fn op(self) -> Sound {
        let mut parents = self.parents;
        parents.sort();
        parents.dedup();
        parents.retain(|parent| *parent != self.prev);
        let mut erases = self.erases;
        erases.sort();
        erases.dedup();
        let header = Header {
            version: 1,
            class: self.class,
            conversation: self.conversation,
            author: device(self.author),
            log: LogId([self.log; 8]),
            seq: self.seq,
            prev: self.prev,
            hlc: self.hlc,
            epoch: 0,
            expires_ms: self.expires_ms,
            parents,
            erases,
            extension: Vec::new(),
            body_len: self.body.len() as u32,
            body_hash: BodyHash::of(&self.body),
        };
        let body = (self.class != Class::Merge).then_some(self.body);
        Sound::join(header, Some(Signature([1; 64])), body).unwrap()
    }
}

/// A conversation being written: knows the tail of every log, and ticks.
#[derive(Clone, Debug)]
pub struct Script {
    pub conversation: ConversationId,
    pub genesis: OpId,
    pub tails: BTreeMap<(u8, u8), (u64, OpId)>,
    pub clock_ms: u64,
    pub written: Vec<Incoming>,
}

impl Script {
    /// Founded by device 1 of account 1.
    pub fn new(salt: u8) -> Self {
        let control = Control::Genesis {
            certificate: certificate(1, 1),
            kind: Kind::Group,
            salt: [salt; 16],
            relays: vec![relay(200)],
        };
        let op = Draft {
            author: 1,
            log: 1,
            seq: 1,
            prev: OpId::ZERO,
            hlc: Hlc::new(NOW_MS - 1_000_000, 0),
            parents: vec![],
            body: control.to_bytes(),
            class: Class::Control,
            conversation: ConversationId::ZERO,
            erases: vec![],
            expires_ms: 0,
        }
        .op();
        let (conversation, genesis) = (op.conversation(), op.id);
        Self {
            conversation,
            genesis,
            tails: BTreeMap::from([((1, 1), (1, op.id))]),
            clock_ms: NOW_MS - 1_000_000,
            written: vec![Incoming { op, control: Some(control) }],
        }
    }

    /// The next op of a log, one millisecond later than everything before.
    pub fn draft(&mut self, author: u8, log: u8, parents: &[OpId], body: &[u8]) -> Draft {
        self.clock_ms += 1;
        let (seq, prev) = self.tails.get(&(author, log)).copied().unwrap_or((0, OpId::ZERO));
        Draft {
            author,
            log,
            seq: seq + 1,
            prev,
            hlc: Hlc::new(self.clock_ms, 0),
            parents: parents.to_vec(),
            body: body.to_vec(),
            class: Class::Content,
            conversation: self.conversation,
            erases: vec![],
            expires_ms: 0,
        }
    }

    pub fn push(&mut self, draft: Draft, control: Option<Control>) -> Incoming {
        let (author, log) = (draft.author, draft.log);
        let op = draft.op();
        self.tails.insert((author, log), (op.header.seq, op.id));
        let incoming = Incoming { op, control };
        self.written.push(incoming.clone());
        incoming
    }

    pub fn text(&mut self, author: u8, parents: &[OpId], body: &str) -> Incoming {
        let draft = self.draft(author, author, parents, body.as_bytes());
        self.push(draft, None)
    }

    /// Says that the bodies of other ops go.
    pub fn erase(&mut self, author: u8, targets: &[OpId]) -> Incoming {
        let mut draft = self.draft(author, author, &[], b"erases");
        draft.erases = targets.to_vec();
        self.push(draft, None)
    }

    /// Says something that ends.
    pub fn fleeting(&mut self, author: u8, expires_ms: u64, body: &str) -> Incoming {
        let mut draft = self.draft(author, author, &[], body.as_bytes());
        draft.expires_ms = expires_ms;
        self.push(draft, None)
    }

    pub fn control(&mut self, author: u8, parents: &[OpId], control: Control) -> Incoming {
        let mut draft = self.draft(author, author, parents, &control.to_bytes());
        draft.class = Class::Control;
        self.push(draft, Some(control))
    }

    pub fn invite(&mut self, author: u8, key: u8, uses: u32, expires_ms: u64) -> Incoming {
        self.control(author, &[], Control::Invite { key: [key; 32], uses, expires_ms })
    }

    pub fn join(&mut self, account: u8, device: u8, key: u8, parents: &[OpId]) -> Incoming {
        let certificate = certificate(account, device);
        let join = Control::Join { certificate, invite: [key; 32], proof: [3; 64], relays: vec![] };
        self.control(device, parents, join)
    }
}

/// A log in a folder that goes away with it.
pub struct Store {
    pub folder: TempDir,
    pub log: Log,
}

impl Store {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::open(Open::new(folder.path().join("log.db"), 77)).unwrap();
        Self { folder, log }
    }

    pub fn reopen(self) -> Self {
        let Self { folder, log } = self;
        log.close().unwrap();
        let log = Log::open(Open::new(folder.path().join("log.db"), 78)).unwrap();
        Self { folder, log }
    }

    pub fn append_with(&mut self, ops: &[Incoming], from: Option<u8>, now_ms: u64, fold: &mut dyn Fold) -> Appended {
        let mut batch = self.log.batch().unwrap();
        let appended = batch.append(ops.to_vec(), from.map(device).as_ref(), now_ms, fold).unwrap();
        batch.commit().unwrap();
        appended
    }

    /// Brought by a peer that is nobody's author.
    pub fn take(&mut self, ops: &[Incoming]) -> Appended {
        self.append_with(ops, Some(250), NOW_MS, &mut NoFold)
    }

    pub fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("log.db")
    }

    /// Changes rows behind the log's back, then opens the file again.
    pub fn tamper(self, sql: &str) -> Self {
        let Self { folder, log } = self;
        log.close().unwrap();
        let path = folder.path().join("log.db");
        let conn = tombolo_oplog::rusqlite::Connection::open(&path).unwrap();
        assert!(conn.execute(sql, []).unwrap() > 0, "nothing was changed by {sql}");
        drop(conn);
        let log = Log::open(Open::new(path, 79)).unwrap();
        Self { folder, log }
    }

    /// Every check must be fine.
    pub fn assert_healthy(&self) {
        for finding in self.log.check(&mut |_| {}).unwrap() {
            assert!(finding.ok, "{}: {}", finding.check, finding.detail);
        }
    }

    /// All nodes of the digest tree.
    pub fn nodes(&self) -> Vec<(i64, Vec<u8>, i64, Vec<u8>)> {
        let conn = self.log.connection().unwrap();
        let mut statement =
            conn.prepare("SELECT depth, prefix, count, sum FROM node ORDER BY conversation, depth, prefix").unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))).unwrap();
        rows.map(Result::unwrap).collect()
    }
}

/// Remembers what was delivered, in order.
#[derive(Default)]
pub struct Remember {
    pub delivered: Vec<OpId>,
    pub late: Vec<OpId>,
    pub bodies: Vec<OpId>,
    pub controls: usize,
    /// What went, and whether its body was there for the last time.
    pub gone: Vec<(OpId, Gone, bool)>,
}

impl Fold for Remember {
    fn deliver(
        &mut self,
        tx: &tombolo_oplog::rusqlite::Transaction<'_>,
        delivered: &tombolo_oplog::Delivered<'_>,
    ) -> Result<(), tombolo_oplog::rusqlite::Error> {
        let rows: i64 =
            tx.query_row("SELECT count(*) FROM op WHERE id = ?1", [delivered.op.id.as_bytes()], |row| row.get(0))?;
        assert_eq!(rows, 1, "the row is there before the fold sees the op");
        self.delivered.push(delivered.op.id);
        if delivered.late_hint {
            self.late.push(delivered.op.id);
        }
        self.controls += usize::from(delivered.control.is_some());
        Ok(())
    }

    fn body(
        &mut self,
        _: &tombolo_oplog::rusqlite::Transaction<'_>,
        delivered: &tombolo_oplog::Delivered<'_>,
    ) -> Result<(), tombolo_oplog::rusqlite::Error> {
        self.bodies.push(delivered.op.id);
        Ok(())
    }

    fn gone(
        &mut self,
        _: &tombolo_oplog::rusqlite::Transaction<'_>,
        delivered: &tombolo_oplog::Delivered<'_>,
        why: Gone,
    ) -> Result<(), tombolo_oplog::rusqlite::Error> {
        assert_eq!(delivered.gone, Some(why));
        assert!(self.delivered.contains(&delivered.op.id), "nothing was made of what was not delivered");
        self.gone.push((delivered.op.id, why, delivered.op.body.is_some()));
        Ok(())
    }
}
