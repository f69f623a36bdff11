//! What a set of ops means, computed the slow way from the set alone: who is authorised, which ops are stored, in which
//! state, what the heads and intervals are. A map of ops, no tables, no increments.

use std::collections::{BTreeMap, BTreeSet};
use tombolo_model::digest::{Held, Proof, Sum};
use tombolo_model::{Class, Control, DeviceId, Key, LogId, OpId};
use tombolo_oplog::{Gone, Incoming, State};

pub struct Oracle {
    /// Stored ops.
    pub ops: BTreeMap<OpId, Incoming>,
    pub states: BTreeMap<OpId, State>,
    now_ms: u64,
}

impl Oracle {
    pub fn of(offered: &[Incoming], now_ms: u64) -> Self {
        let all: BTreeMap<OpId, Incoming> = offered.iter().map(|one| (one.op.id, one.clone())).collect();
        let mut ops: BTreeMap<OpId, Incoming> = BTreeMap::new();
        loop {
            let more: Vec<OpId> = all
                .iter()
                .filter(|(id, one)| !ops.contains_key(id) && authorised(one, &ops))
                .map(|(id, _)| *id)
                .collect();
            if more.is_empty() {
                break;
            }
            ops.extend(more.iter().map(|id| (*id, all[id].clone())));
        }
        let mut oracle = Self { ops, states: BTreeMap::new(), now_ms };
        // Settle until nothing moves.
        loop {
            let more: Vec<(OpId, State)> = oracle
                .ops
                .keys()
                .filter(|id| !oracle.states.contains_key(id))
                .filter_map(|id| oracle.settle(id, now_ms).map(|state| (*id, state)))
                .collect();
            if more.is_empty() {
                break;
            }
            oracle.states.extend(more);
        }
        for (id, one) in &oracle.ops {
            let early = one.op.header.hlc.is_early(now_ms);
            oracle.states.entry(*id).or_insert(if early { State::Early } else { State::Pending });
        }
        oracle
    }

    fn settle(&self, id: &OpId, now_ms: u64) -> Option<State> {
        let header = &self.ops[id].op.header;
        if header.hlc.is_early(now_ms) || !header.depends_on().all(|id| self.states.contains_key(id)) {
            return None;
        }
        let above = header.depends_on().all(|id| self.ops[id].op.header.hlc < header.hlc);
        Some(if above { State::Delivered } else { State::Void })
    }

    pub fn in_state(&self, state: State) -> BTreeSet<OpId> {
        self.states.iter().filter(|(_, is)| **is == state).map(|(id, _)| *id).collect()
    }

    /// Whatever a delivered op names to be erased, whether its author may or not, as far as it is stored and content.
    pub fn named(&self) -> BTreeSet<OpId> {
        let delivered = self.in_state(State::Delivered);
        let named = delivered.iter().flat_map(|id| self.ops[id].op.header.erases.clone());
        named.filter(|id| self.ops.get(id).is_some_and(|one| one.op.header.class == Class::Content)).collect()
    }

    /// Bodies that must be gone, and why.
    pub fn gone(&self) -> BTreeMap<OpId, Gone> {
        let members = self.members();
        let accounts = |device: [u8; 32]| -> BTreeSet<[u8; 32]> {
            members.iter().filter(|(of, _)| *of == device).map(|(_, account)| *account).collect()
        };
        let founder = self.ops.values().find(|one| one.op.header.is_genesis());
        let founder = founder.and_then(|one| Some(one.control.as_ref()?.certificate()?.account));
        let mut gone = BTreeMap::new();
        for target in self.named() {
            let of = self.ops[&target].op.header.author.0;
            let by = self.in_state(State::Delivered).into_iter().map(|id| self.ops[&id].op.header.clone());
            let right = by.filter(|header| header.erases.contains(&target)).any(|header| {
                let by = header.author.0;
                by == of
                    || !accounts(by).is_disjoint(&accounts(of))
                    || founder.is_some_and(|founder| accounts(by).contains(&founder))
            });
            if right {
                gone.insert(target, Gone::Erased);
            }
        }
        for (id, one) in &self.ops {
            let header = &one.op.header;
            if header.class == Class::Content && header.expires_ms != 0 && header.expires_ms <= self.now_ms {
                gone.insert(*id, Gone::Expired);
            }
        }
        gone
    }

    pub fn heads(&self) -> BTreeSet<OpId> {
        let delivered = self.in_state(State::Delivered);
        let named: BTreeSet<OpId> =
            delivered.iter().flat_map(|id| self.ops[id].op.header.depends_on().copied().collect::<Vec<_>>()).collect();
        delivered.difference(&named).copied().collect()
    }

    pub fn missing(&self) -> BTreeSet<OpId> {
        let waiting = self.states.iter().filter(|(_, state)| !state.is_settled());
        waiting
            .flat_map(|(id, _)| self.ops[id].op.header.depends_on().copied().collect::<Vec<_>>())
            .filter(|id| !self.ops.contains_key(id))
            .collect()
    }

    pub fn sum(&self, lo: Key, hi: Key) -> Sum {
        let mut sum = Sum::ZERO;
        for one in self.ops.values().filter(|one| lo <= one.op.key() && one.op.key() < hi) {
            sum.add(&one.op.id);
        }
        sum
    }

    pub fn keys(&self) -> Vec<(Key, OpId)> {
        let mut keys: Vec<(Key, OpId)> = self.ops.values().map(|one| (one.op.key(), one.op.id)).collect();
        keys.sort();
        keys
    }

    /// Places that more than one id claims, as held ops and named `prev`s say.
    pub fn conflicts(&self) -> BTreeMap<(DeviceId, LogId, u64), BTreeSet<OpId>> {
        let mut claims: BTreeMap<(DeviceId, LogId, u64), BTreeSet<OpId>> = BTreeMap::new();
        for one in self.ops.values() {
            let header = &one.op.header;
            claims.entry((header.author, header.log, header.seq)).or_default().insert(one.op.id);
            if header.seq > 1 {
                claims.entry((header.author, header.log, header.seq - 1)).or_default().insert(header.prev);
            }
        }
        claims.retain(|_, ids| ids.len() > 1);
        claims
    }

    pub fn held(&self) -> Vec<Held> {
        let mut logs: BTreeMap<(DeviceId, LogId), BTreeSet<(u64, OpId)>> = BTreeMap::new();
        for one in self.ops.values() {
            let header = &one.op.header;
            logs.entry((header.author, header.log)).or_default().insert((header.seq, one.op.id));
        }
        let conflicts = self.conflicts();
        logs.into_iter()
            .map(|((author, log), ops)| {
                let branched = conflicts.keys().any(|(a, l, _)| (a, l) == (&author, &log));
                let mut intervals: Vec<(u64, u64, OpId)> = Vec::new();
                for (seq, id) in ops {
                    match intervals.last_mut() {
                        Some(last) if !branched && last.1 + 1 == seq => *last = (last.0, seq, id),
                        _ => intervals.push((seq, seq, id)),
                    }
                }
                Held { author, log, intervals }
            })
            .collect()
    }

    pub fn proof(&self) -> Proof {
        Proof::of(self.held().iter())
    }

    pub fn members(&self) -> BTreeSet<([u8; 32], [u8; 32])> {
        members(&self.ops)
    }
}

fn members(ops: &BTreeMap<OpId, Incoming>) -> BTreeSet<([u8; 32], [u8; 32])> {
    let certificates = ops.values().filter_map(|one| one.control.as_ref()?.certificate());
    certificates.map(|certificate| (certificate.device, certificate.account)).collect()
}

fn authorised(one: &Incoming, stored: &BTreeMap<OpId, Incoming>) -> bool {
    let author = one.op.header.author.0;
    match &one.control {
        Some(Control::Genesis { certificate, .. }) => one.op.header.is_genesis() && certificate.device == author,
        Some(Control::Join { certificate, invite, .. }) => {
            let open = |known: &Incoming| match &known.control {
                Some(Control::Invite { key, expires_ms, .. }) => {
                    key == invite && (*expires_ms == 0 || one.op.header.hlc.ms() <= *expires_ms)
                }
                _ => false,
            };
            // Whoever is a member already brings an earlier join of its own, whatever became of that invitation.
            let member = members(stored).contains(&(author, certificate.account));
            certificate.device == author && (member || stored.values().any(open))
        }
        Some(Control::Device { certificate }) => {
            let by_itself = certificate.device == author
                && members(stored).iter().any(|(_, account)| *account == certificate.account);
            by_itself || members(stored).contains(&(author, certificate.account))
        }
        _ => members(stored).iter().any(|(device, _)| *device == author),
    }
}
