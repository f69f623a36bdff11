//! Who pays for what is kept: bytes by account, and the gate that refuses when an account's share is used up.
//!
//! Every stored op is charged to exactly one account: to its author's, or, once that one's share is used up, to the
//! account of the device that brought it. So nobody pays for a group's history by refilling a relay, and nobody gets
//! more room by letting a friend carry his ops. The ledger follows the order of arrival: what is on disk beside the ops
//! says how far it has read, and opening reads on from there. What a body weighed is given back to whoever paid for it once
//! it is gone; its header stays charged. Nothing is ever thrown away because of a quota.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use tombolo_model::id::{hex, unhex};
use tombolo_model::{ConversationId, DeviceId};
use tombolo_oplog::{Log, LogError, Reader};
use tombolo_proto::Refusal;
use tombolo_replica::Gate;

/// **Bytes** that an op costs beside its body: header, indexes, digest tree, measured generously.
pub(crate) const OP_BYTES: u64 = 512;
/// Devices whose accounts are remembered; then the list begins anew.
const DEVICES_MAX: usize = 100_000;
/// Rows read at a time.
const ROWS: i64 = 10_000;

const META_THROUGH: &str = "relay.usage";
const META_FREED: &str = "relay.freed";
const META_ACCOUNT: &str = "relay.usage/";
/// Who pays for an op instead of its author, by arrival.
const META_CARRIED: &str = "relay.carried/";

/// An account, or a device whose account is not known.
type Payer = [u8; 32];

/// Bytes by account.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// 0 = no limit.
    account_max: u64,
    /// 0 = no limit.
    total_max: u64,
    used: BTreeMap<Payer, u64>,
    total: u64,
    through: u64,
    /// The last body that went and was given back, in the order in which they go.
    freed: u64,
    unsaved: BTreeSet<Payer>,
    /// Ops that others than their authors pay for, until that is saved.
    carried: BTreeMap<u64, Payer>,
    /// Let in since the ledger last read the log: not on disk yet.
    admitted: BTreeMap<Payer, u64>,
    admitted_total: u64,
    payers: BTreeMap<DeviceId, Payer>,
}

impl Ledger {
    /// Reads what was saved and whatever has arrived since.
    pub(crate) fn open(log: &Reader, account_max: u64, total_max: u64) -> Result<Self, LogError> {
        let mut ledger = Self { account_max, total_max, ..Self::default() };
        ledger.through = log.meta(META_THROUGH)?.map_or(Ok(0), |bytes| number(&bytes))?;
        ledger.freed = log.meta(META_FREED)?.map_or(Ok(0), |bytes| number(&bytes))?;
        {
            let mut statement = log.connection()?.prepare("SELECT key, value FROM meta WHERE key > ?1 AND key < ?2")?;
            // '0' is the character after '/'.
            let mut rows = statement.query([META_ACCOUNT, "relay.usage0"])?;
            while let Some(row) = rows.next()? {
                let (key, value): (String, Vec<u8>) = (row.get(0)?, row.get(1)?);
                let payer = key.strip_prefix(META_ACCOUNT).and_then(|text| unhex(text).ok());
                let payer = payer.ok_or_else(|| LogError::Damaged("the bytes of an account".into()))?;
                ledger.used.insert(payer, number(&value)?);
            }
        }
        ledger.total = ledger.used.values().sum();
        ledger.follow(log)?;
        Ok(ledger)
    }

    /// What was admitted is on the disk now, or was not taken.
    pub(crate) fn settle(&mut self, log: &Reader) -> Result<(), LogError> {
        if self.admitted.is_empty() { Ok(()) } else { self.follow(log) }
    }

    /// Charges everything that has arrived since the last time, and gives back what bodies weighed that went.
    pub(crate) fn follow(&mut self, log: &Reader) -> Result<(), LogError> {
        self.admitted.clear();
        self.admitted_total = 0;
        self.charge_arrivals(log)?;
        self.give_back(log)
    }

    fn give_back(&mut self, log: &Reader) -> Result<(), LogError> {
        loop {
            let mut statement = log.connection()?.prepare_cached(
                "SELECT g.n, o.arrival, l.author, o.body_len FROM gone g JOIN op o ON o.arrival = g.arrival \
                 JOIN log l ON l.n = o.log WHERE g.n > ?1 ORDER BY g.n LIMIT ?2",
            )?;
            let mut rows = statement.query([self.freed as i64, ROWS])?;
            let mut found = 0;
            while let Some(row) = rows.next()? {
                let (n, arrival, bytes): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(3)?);
                let payer = match self.carrier(log, arrival as u64)? {
                    Some(carrier) => carrier,
                    None => self.payer(log, DeviceId(row.get(2)?))?,
                };
                let used = self.used.entry(payer).or_default();
                let bytes = (bytes as u64).min(*used);
                *used -= bytes;
                self.total = self.total.saturating_sub(bytes);
                self.unsaved.insert(payer);
                self.freed = n as u64;
                found += 1;
            }
            if found < ROWS {
                return Ok(());
            }
        }
    }

    /// Who pays for an op instead of its author.
    fn carrier(&self, log: &Reader, arrival: u64) -> Result<Option<Payer>, LogError> {
        if let Some(payer) = self.carried.get(&arrival) {
            return Ok(Some(*payer));
        }
        let kept = log.meta(&format!("{META_CARRIED}{arrival}"))?;
        kept.map(|bytes| bytes.try_into().map_err(|_| LogError::Damaged("who pays for an op".into()))).transpose()
    }

    fn charge_arrivals(&mut self, log: &Reader) -> Result<(), LogError> {
        loop {
            let mut statement = log.connection()?.prepare_cached(
                "SELECT o.arrival, l.author, p.device, o.body_len FROM op o JOIN log l ON l.n = o.log \
                 LEFT JOIN peer p ON p.n = o.source WHERE o.arrival > ?1 ORDER BY o.arrival LIMIT ?2",
            )?;
            let mut rows = statement.query([self.through as i64, ROWS])?;
            let mut found = 0;
            while let Some(row) = rows.next()? {
                let (arrival, body): (i64, i64) = (row.get(0)?, row.get(3)?);
                let (author, bringer): ([u8; 32], Option<[u8; 32]>) = (row.get(1)?, row.get(2)?);
                let bytes = OP_BYTES + body as u64;
                self.charge(log, arrival as u64, DeviceId(author), bringer.map(DeviceId), bytes)?;
                self.through = arrival as u64;
                found += 1;
            }
            if found < ROWS {
                return Ok(());
            }
        }
    }

    fn charge(
        &mut self,
        log: &Reader,
        arrival: u64,
        author: DeviceId,
        bringer: Option<DeviceId>,
        bytes: u64,
    ) -> Result<(), LogError> {
        let mut payer = self.payer(log, author)?;
        if self.is_over(&payer, bytes)
            && let Some(bringer) = bringer
        {
            let carrier = self.payer(log, bringer)?;
            if carrier != payer {
                self.carried.insert(arrival, carrier);
                payer = carrier;
            }
        }
        *self.used.entry(payer).or_default() += bytes;
        self.unsaved.insert(payer);
        self.total += bytes;
        Ok(())
    }

    fn is_over(&self, payer: &Payer, bytes: u64) -> bool {
        let used = self.used.get(payer).copied().unwrap_or(0);
        let admitted = self.admitted.get(payer).copied().unwrap_or(0);
        self.account_max > 0 && used + admitted + bytes > self.account_max
    }

    fn payer(&mut self, log: &Reader, device: DeviceId) -> Result<Payer, LogError> {
        if let Some(payer) = self.payers.get(&device) {
            return Ok(*payer);
        }
        let mut statement = log
            .connection()?
            .prepare_cached("SELECT account FROM member WHERE device = ?1 ORDER BY account LIMIT 1")?;
        let mut rows = statement.query([device.as_bytes()])?;
        let Some(row) = rows.next()? else { return Ok(device.0) };
        let payer = row.get(0)?;
        if self.payers.len() >= DEVICES_MAX {
            self.payers.clear();
        }
        self.payers.insert(device, payer);
        Ok(payer)
    }

    /// Whether `bytes` more may come from a device.
    fn admit(&mut self, log: &Reader, peer: &DeviceId, bytes: u64) -> Result<bool, LogError> {
        let payer = self.payer(log, *peer)?;
        let full = self.total_max > 0 && self.total + self.admitted_total + bytes > self.total_max;
        if full || self.is_over(&payer, bytes) {
            return Ok(false);
        }
        *self.admitted.entry(payer).or_default() += bytes;
        self.admitted_total += bytes;
        Ok(true)
    }

    /// Bytes charged to all accounts.
    pub(crate) fn total_bytes(&self) -> u64 {
        self.total
    }

    /// Accounts that were charged.
    pub(crate) fn accounts(&self) -> usize {
        self.used.len()
    }

    /// Puts the ledger beside the ops that it has counted. Losing it in a crash is harmless.
    pub(crate) fn save(&mut self, log: &mut Log) -> Result<(), LogError> {
        if self.unsaved.is_empty() {
            return Ok(());
        }
        let mut batch = log.batch()?;
        for payer in std::mem::take(&mut self.unsaved) {
            let used = self.used.get(&payer).copied().unwrap_or(0);
            batch.put_meta(&format!("{META_ACCOUNT}{}", hex(&payer)), &used.to_be_bytes())?;
        }
        for (arrival, payer) in std::mem::take(&mut self.carried) {
            batch.put_meta(&format!("{META_CARRIED}{arrival}"), &payer)?;
        }
        batch.put_meta(META_FREED, &self.freed.to_be_bytes())?;
        batch.put_meta(META_THROUGH, &self.through.to_be_bytes())?;
        batch.commit()
    }
}

fn number(bytes: &[u8]) -> Result<u64, LogError> {
    let bytes: [u8; 8] = bytes.try_into().map_err(|_| LogError::Damaged("the bytes of an account".into()))?;
    Ok(u64::from_be_bytes(bytes))
}

/// Refuses what an account has no room for.
pub(crate) struct Quota(pub(crate) Rc<RefCell<Ledger>>);

impl Gate for Quota {
    fn admit(&mut self, log: &Log, peer: &DeviceId, _: &ConversationId, bytes: u64) -> Result<(), Refusal> {
        match self.0.borrow_mut().admit(log, peer, bytes) {
            // A log that cannot be read says so at the commit that follows, and ends the process.
            Ok(true) | Err(_) => Ok(()),
            Ok(false) => Err(Refusal::QuotaExceeded),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tombolo_identity::{AccountKey, DeviceKey, sign_op};
    use tombolo_model::control::Kind;
    use tombolo_model::{BodyHash, Class, Control, Header, Hlc, LogId, Op, OpId, Sound};
    use tombolo_oplog::{Incoming, NoFold, Open};

    struct Author {
        key: DeviceKey,
        account: AccountKey,
        prev: Option<Op>,
        /// What the next op erases.
        erases: Vec<OpId>,
    }

    impl Author {
        fn new(seed: u8) -> Self {
            let (key, account) = (DeviceKey::from_seed([seed; 32]), AccountKey::from_seed([seed + 100; 32]));
            Self { key, account, prev: None, erases: Vec::new() }
        }

        /// The next op of this author's own conversation: its genesis first, then bodies of 1,000 bytes.
        fn next(&mut self) -> Incoming {
            let control = self.prev.is_none().then(|| Control::Genesis {
                certificate: self.account.certify(self.key.id(), 1),
                kind: Kind::Group,
                salt: [1; 16],
                relays: Vec::new(),
            });
            let body = control.as_ref().map_or_else(|| vec![7; 1_000], Control::to_bytes);
            let prev = self.prev.as_ref();
            let header = Header {
                version: tombolo_model::op::VERSION,
                class: if control.is_some() { Class::Control } else { Class::Content },
                conversation: prev.map_or(ConversationId::ZERO, Op::conversation),
                author: self.key.id(),
                log: LogId([1; 8]),
                seq: prev.map_or(1, |op| op.header.seq + 1),
                prev: prev.map_or(OpId::ZERO, |op| op.id),
                hlc: Hlc::new(1_000 + prev.map_or(0, |op| op.header.seq), 0),
                epoch: 0,
                expires_ms: 0,
                parents: Vec::new(),
                erases: std::mem::take(&mut self.erases),
                extension: Vec::new(),
                body_len: 0,
                body_hash: BodyHash::default(),
            };
            let op = sign_op(header, &self.key, body);
            self.prev = Some(op.clone());
            Incoming { op: Sound::check(op).unwrap(), control }
        }

        fn payer(&self) -> Payer {
            self.account.id().0
        }
    }

    fn append(log: &mut Log, incoming: Incoming, from: &Author) {
        let mut batch = log.batch().unwrap();
        let appended = batch.append(vec![incoming], Some(&from.key.id()), 5_000, &mut NoFold).unwrap();
        assert_eq!(appended.stored.len(), 1, "{:?}", appended.refused);
        batch.commit().unwrap();
    }

    #[test]
    fn the_author_pays_and_then_whoever_brings() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::open(Open::new(dir.path().join("db"), 1)).unwrap();
        let (mut ann, mut bob) = (Author::new(1), Author::new(2));
        append(&mut log, ann.next(), &ann);
        append(&mut log, bob.next(), &bob);
        let mut ledger = Ledger::open(&log, 4_000, 0).unwrap();
        let (ann_first, bob_first) = (ledger.used[&ann.payer()], ledger.used[&bob.payer()]);
        assert!((OP_BYTES..4_000).contains(&ann_first) && bob_first == ann_first);

        // Ann has room for two messages more; Bob carries four of hers, and pays for the last two.
        let each = OP_BYTES + 1_000;
        for _ in 0..4 {
            append(&mut log, ann.next(), &bob);
        }
        ledger.follow(&log).unwrap();
        assert_eq!(ledger.used[&ann.payer()], ann_first + 2 * each);
        assert_eq!(ledger.used[&bob.payer()], bob_first + 2 * each);
        assert!(!ledger.admit(&log, &ann.key.id(), each).unwrap());
        assert!(!ledger.admit(&log, &bob.key.id(), each).unwrap());
        assert!(ledger.admit(&log, &DeviceKey::from_seed([9; 32]).id(), each).unwrap());
    }

    #[test]
    fn what_was_let_in_counts_before_it_is_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(Open::new(dir.path().join("db"), 1)).unwrap();
        let peer = DeviceKey::from_seed([9; 32]).id();
        let mut ledger = Ledger::open(&log, 1_000, 0).unwrap();
        assert!(ledger.admit(&log, &peer, 600).unwrap());
        assert!(!ledger.admit(&log, &peer, 600).unwrap());
        ledger.follow(&log).unwrap();
        assert!(ledger.admit(&log, &peer, 600).unwrap());
        let mut full = Ledger::open(&log, 0, 1_000).unwrap();
        assert!(full.admit(&log, &peer, 600).unwrap());
        assert!(!full.admit(&log, &DeviceKey::from_seed([8; 32]).id(), 600).unwrap());
    }

    #[test]
    fn opening_reads_on_where_the_saved_ledger_ends() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::open(Open::new(dir.path().join("db"), 1)).unwrap();
        let mut ann = Author::new(1);
        append(&mut log, ann.next(), &ann);
        let mut ledger = Ledger::open(&log, 0, 0).unwrap();
        ledger.save(&mut log).unwrap();
        append(&mut log, ann.next(), &ann);
        ledger.follow(&log).unwrap();
        let again = Ledger::open(&log, 0, 0).unwrap();
        assert_eq!((&again.used, again.total, again.through), (&ledger.used, ledger.total, 2));
        // What was saved counts, not the ops before that place.
        let mut batch = log.batch().unwrap();
        batch.put_meta(&format!("{META_ACCOUNT}{}", hex(&ann.payer())), &5_u64.to_be_bytes()).unwrap();
        batch.commit().unwrap();
        assert_eq!(Ledger::open(&log, 0, 0).unwrap().total, 5 + OP_BYTES + 1_000);
    }

    #[test]
    fn whoever_paid_gets_back_what_an_erased_body_weighed() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::open(Open::new(dir.path().join("db"), 1)).unwrap();
        let (mut ann, mut bob) = (Author::new(1), Author::new(2));
        append(&mut log, ann.next(), &ann);
        append(&mut log, bob.next(), &bob);
        let mut ledger = Ledger::open(&log, 3_000, 0).unwrap();
        let (ann_first, bob_first) = (ledger.used[&ann.payer()], ledger.used[&bob.payer()]);
        // Ann has room for one message, Bob carries the second.
        let texts = [ann.next(), ann.next()];
        for text in &texts {
            append(&mut log, text.clone(), &bob);
        }
        ledger.follow(&log).unwrap();
        let each = OP_BYTES + 1_000;
        assert_eq!((ledger.used[&ann.payer()], ledger.used[&bob.payer()]), (ann_first + each, bob_first + each));
        ledger.save(&mut log).unwrap();
        // A ledger that was not saved after the erasure gives back all the same.
        let mut again = Ledger::open(&log, 3_000, 0).unwrap();
        for text in &texts {
            ann.erases = vec![text.op.id];
            append(&mut log, ann.next(), &bob);
        }
        for ledger in [&mut ledger, &mut again] {
            let before = ledger.total;
            ledger.follow(&log).unwrap();
            // The two that erase came, and had to be carried, too: Ann had no room for the first of them.
            assert_eq!(ledger.total, before + 2 * each - 2_000);
            let paid = ledger.used[&ann.payer()] + ledger.used[&bob.payer()];
            assert_eq!(paid, ann_first + bob_first + 4 * each - 2_000);
            assert_eq!(ledger.total, ledger.used.values().sum::<u64>());
            let bob = ledger.used[&bob.payer()];
            assert!(bob >= bob_first + OP_BYTES, "the header stays charged");
            ledger.follow(&log).unwrap();
            assert_eq!(ledger.used[&ann.payer()] + bob, paid, "and nothing is given back twice");
        }
        again.save(&mut log).unwrap();
        let opened = Ledger::open(&log, 3_000, 0).unwrap();
        assert_eq!((&opened.used, opened.total, opened.freed), (&again.used, again.total, again.freed));
    }
}
