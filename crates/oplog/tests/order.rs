//! Whatever the order and however often the ops come: the same set, the same states, the same proofs, the same tree.

use crate::oracle::Oracle;
use crate::world::{Draft, NOW_MS, Remember, Script, Store, certificate, device};
use proptest::prelude::*;
use std::collections::BTreeSet;
use tombolo_model::digest::Proof;
use tombolo_model::{Class, Control, Hlc, Key, OpId};
use tombolo_oplog::{Gone, Incoming, NoFold, State};

/// One thing that someone writes. Numbers are taken modulo what there is.
#[derive(Clone, Debug)]
pub enum Step {
    Text {
        author: u8,
        log: u8,
        parents: Vec<usize>,
    },
    Merge {
        author: u8,
        parents: Vec<usize>,
    },
    Invite {
        author: u8,
        key: u8,
        expired: bool,
    },
    Revoke {
        author: u8,
        key: u8,
    },
    Join {
        device: u8,
        key: u8,
    },
    Device {
        author: u8,
        device: u8,
        account: u8,
    },
    /// Another op at the place of an earlier one.
    Branch {
        of: usize,
    },
    /// An op at a place whose `prev` is not what is there.
    WrongPrev {
        author: u8,
    },
    /// Leaves out a seq: the next op of the log is offered, this one is not.
    Gap {
        author: u8,
    },
    /// Names a parent that nobody has.
    Orphan {
        author: u8,
    },
    Early {
        author: u8,
    },
    /// Its clock is not above its parent's.
    Backwards {
        author: u8,
        parent: usize,
    },
    /// A first op that is not the genesis but founds itself by control.
    FalseGenesis {
        author: u8,
    },
    /// Says that the bodies of others go, of its own erasers among them; `log` may branch off and be early or void.
    Erase {
        author: u8,
        targets: Vec<usize>,
        parents: Vec<usize>,
        early: bool,
    },
    /// A message whose time is over already, soon, or never.
    Ends {
        author: u8,
        expires_ms: u64,
    },
}

/// Steps of which some erase and some end.
pub fn any_step() -> impl Strategy<Value = Step> {
    let targets = proptest::collection::vec(any::<usize>(), 1..5);
    let parents = proptest::collection::vec(any::<usize>(), 0..2);
    prop_oneof![
        6 => step(),
        3 => (1..5_u8, targets, parents, proptest::bool::weighted(0.02))
            .prop_map(|(author, targets, parents, early)| Step::Erase { author, targets, parents, early }),
        2 => (1..7_u8, prop_oneof![Just(1), Just(NOW_MS), Just(NOW_MS + 1), Just(NOW_MS + 7_200_000), Just(u64::MAX)])
            .prop_map(|(author, expires_ms)| Step::Ends { author, expires_ms }),
    ]
}

pub fn step() -> impl Strategy<Value = Step> {
    let author = 1..7_u8;
    let parents = proptest::collection::vec(any::<usize>(), 0..4);
    prop_oneof![
        10 => (author.clone(), 1..3_u8, parents.clone())
            .prop_map(|(author, log, parents)| Step::Text { author, log, parents }),
        2 => (author.clone(), parents).prop_map(|(author, parents)| Step::Merge { author, parents }),
        3 => (1..4_u8, 0..3_u8, any::<bool>()).prop_map(|(author, key, expired)| Step::Invite { author, key, expired }),
        1 => (1..4_u8, 0..3_u8).prop_map(|(author, key)| Step::Revoke { author, key }),
        4 => (2..7_u8, 0..3_u8).prop_map(|(device, key)| Step::Join { device, key }),
        1 => (1..4_u8, 1..7_u8, 1..4_u8).prop_map(|(author, device, account)| Step::Device { author, device, account }),
        2 => (1..7_u8, 1..4_u8).prop_map(|(device, account)| Step::Device { author: device, device, account }),
        1 => any::<usize>().prop_map(|of| Step::Branch { of }),
        1 => author.clone().prop_map(|author| Step::WrongPrev { author }),
        1 => author.clone().prop_map(|author| Step::Gap { author }),
        1 => author.clone().prop_map(|author| Step::Orphan { author }),
        1 => author.clone().prop_map(|author| Step::Early { author }),
        3 => (author.clone(), any::<usize>()).prop_map(|(author, parent)| Step::Backwards { author, parent }),
        1 => author.prop_map(|author| Step::FalseGenesis { author }),
    ]
}

pub fn write(steps: &[Step]) -> Script {
    let mut script = Script::new(1);
    let mut made = 0_u8;
    for step in steps {
        made = made.wrapping_add(1);
        let named = |script: &Script, parents: &[usize]| -> Vec<OpId> {
            parents.iter().map(|at| script.written[at % script.written.len()].op.id).collect()
        };
        match step.clone() {
            Step::Text { author, log, parents } => {
                let parents = named(&script, &parents);
                let draft = script.draft(author, log, &parents, &[made]);
                script.push(draft, None);
            }
            Step::Merge { author, parents } => {
                let parents = named(&script, &parents);
                let mut draft = script.draft(author, author, &parents, &[]);
                draft.class = Class::Merge;
                script.push(draft, None);
            }
            Step::Invite { author, key, expired } => {
                let expires_ms = if expired { script.clock_ms + 2 } else { 0 };
                script.invite(author, key, 3, expires_ms);
            }
            Step::Revoke { author, key } => {
                script.control(author, &[], Control::Revoke { key: [key; 32] });
            }
            Step::Join { device, key } => {
                script.join(device, device, key, &[]);
            }
            Step::Device { author, device, account } => {
                script.control(author, &[], Control::Device { certificate: certificate(account, device) });
            }
            Step::Branch { of } => {
                let other = script.written[of % script.written.len()].op.header.clone();
                if !other.is_genesis() {
                    let draft = Draft {
                        author: other.author.0[0],
                        log: other.log.0[0],
                        seq: other.seq,
                        prev: other.prev,
                        hlc: other.hlc,
                        parents: other.parents,
                        body: vec![made, 99],
                        class: Class::Content,
                        conversation: script.conversation,
                        erases: vec![],
                        expires_ms: 0,
                    };
                    // Either branch may be written on.
                    if made.is_multiple_of(2) {
                        script.push(draft, None);
                    } else {
                        script.written.push(Incoming { op: draft.op(), control: None });
                    }
                }
            }
            Step::WrongPrev { author } => {
                let mut draft = script.draft(author, author, &[], &[made]);
                if draft.seq > 1 {
                    draft.prev = OpId([made; 32]);
                    script.push(draft, None);
                }
            }
            Step::Gap { author } => {
                let draft = script.draft(author, author, &[], &[made]);
                script.push(draft, None);
                script.written.pop();
            }
            Step::Orphan { author } => {
                let draft = script.draft(author, author, &[OpId([made; 32])], &[made]);
                script.push(draft, None);
            }
            Step::Early { author } => {
                let mut draft = script.draft(author, author, &[], &[made]);
                draft.hlc = Hlc::new(NOW_MS + 600_000 + u64::from(made), 0);
                script.push(draft, None);
            }
            Step::Backwards { author, parent } => {
                let parents = named(&script, &[parent]);
                let mut draft = script.draft(author, author, &parents, &[made]);
                draft.hlc = script.written[parent % script.written.len()].op.header.hlc;
                script.push(draft, None);
            }
            Step::Erase { author, targets, parents, early } => {
                let parents = named(&script, &parents);
                let mut draft = script.draft(author, author, &parents, &[made]);
                draft.erases = named(&script, &targets);
                if early {
                    draft.hlc = Hlc::new(NOW_MS + 600_000 + u64::from(made), 0);
                }
                script.push(draft, None);
            }
            Step::Ends { author, expires_ms } => {
                script.fleeting(author, expires_ms, &made.to_string());
            }
            Step::FalseGenesis { author } => {
                let control = script.written[0].control.clone().unwrap();
                script.control(author, &[], control);
            }
        }
    }
    script
}

/// A permutation from a seed, with a few ops twice.
fn shuffled(ops: &[Incoming], seed: u64) -> Vec<Incoming> {
    let mut ops: Vec<Incoming> = ops.to_vec();
    let twice: Vec<Incoming> = ops.iter().step_by(7).cloned().collect();
    ops.extend(twice);
    // The genesis comes first: nothing of an unknown conversation is taken.
    let mut state = seed | 1;
    for at in (2..ops.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ops.swap(at, 1 + (state >> 33) as usize % at);
    }
    ops
}

pub fn assert_is(store: &Store, script: &Script, oracle: &Oracle) {
    let (log, id) = (&store.log, &script.conversation);
    let row = log.conversation(id).unwrap().unwrap();
    assert_eq!(row.sum, oracle.sum(Key::MIN, Key::END));
    assert_eq!(row.ops, oracle.ops.len() as u64);
    for state in [State::Delivered, State::Pending, State::Early, State::Void] {
        let found: BTreeSet<OpId> = log.in_state(id, state).unwrap().into_iter().collect();
        if state == State::Delivered {
            // Asked op by op: there is no index of what is delivered.
            let delivered: BTreeSet<OpId> = oracle
                .ops
                .keys()
                .filter(|op| log.state(id, op).unwrap().unwrap().0 == State::Delivered)
                .copied()
                .collect();
            assert_eq!(delivered, oracle.in_state(state));
        } else {
            assert_eq!(found, oracle.in_state(state), "{state:?}");
        }
    }
    let waiting = oracle.in_state(State::Pending).len() + oracle.in_state(State::Early).len();
    assert_eq!(row.waiting, waiting as u64);
    let heads: BTreeSet<OpId> = log.heads(id).unwrap().into_iter().map(|(id, _)| id).collect();
    assert_eq!(heads, oracle.heads());
    let missing: BTreeSet<OpId> = log.missing(id, usize::MAX).unwrap().into_iter().collect();
    assert_eq!(missing, oracle.missing());
    assert_eq!(log.held(id).unwrap(), oracle.held());
    assert_eq!(log.proof(id).unwrap(), oracle.proof());
    let evidence: Vec<_> = log.equivocations(id).unwrap();
    let conflicts = oracle.conflicts();
    assert_eq!(evidence.len(), conflicts.len());
    for one in evidence {
        assert_eq!(BTreeSet::from_iter(one.ids), conflicts[&(one.author, one.log, one.seq)]);
    }
    let members: BTreeSet<_> = log.members(id).unwrap().iter().map(|one| (one.device.0, one.account.0)).collect();
    assert_eq!(members, oracle.members());
    let gone = oracle.gone();
    for (op_id, one) in &oracle.ops {
        let mut wanted = one.op.clone().into_op();
        assert_eq!(log.gone(id, op_id).unwrap(), gone.get(op_id).copied());
        if gone.contains_key(op_id) {
            wanted.body = None;
        }
        assert_eq!(log.op(id, op_id).unwrap(), Some(wanted), "what comes out is what went in");
    }
    assert_eq!(log.wanted(id, 9).unwrap(), vec![]);
    assert_eq!(log.items(id, Key::MIN, Key::END, usize::MAX).unwrap(), oracle.keys());
    store.assert_healthy();
}

/// What is remembered since the last proof is what is there.
fn assert_proof(store: &Store, script: &Script) {
    let held = store.log.held(&script.conversation).unwrap();
    assert_eq!(store.log.proof(&script.conversation).unwrap(), Proof::of(held.iter()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    #[test]
    fn the_set_decides_and_nothing_else(
        steps in proptest::collection::vec(any_step(), 1..100),
        seeds in proptest::array::uniform2(any::<u64>()),
        cut in 1..40_usize,
    ) {
        let script = write(&steps);
        let mut oracle = Oracle::of(&script.written, NOW_MS);
        let mut nodes = Vec::new();
        for (seed, cut) in seeds.into_iter().zip([cut, 1_000]) {
            let mut store = Store::new();
            let mut fold = Remember::default();
            let ops = shuffled(&script.written, seed);
            for chunk in ops.chunks(cut) {
                store.append_with(chunk, Some(250), NOW_MS, &mut fold);
                assert_proof(&store, &script);
            }
            // Once more from the start: everything stored is known, nothing moves.
            let again = store.append_with(&ops, Some(250), NOW_MS, &mut fold);
            prop_assert!(again.stored.is_empty());
            assert_is(&store, &script, &oracle);
            let delivered = BTreeSet::from_iter(fold.delivered.iter().copied());
            prop_assert_eq!(delivered.len(), fold.delivered.len(), "each op is delivered once");
            prop_assert_eq!(&delivered, &oracle.in_state(State::Delivered));
            let mut seen = BTreeSet::new();
            for id in &fold.delivered {
                let header = &oracle.ops[id].op.header;
                for dependency in header.depends_on() {
                    let settled = seen.contains(dependency) || oracle.states.get(dependency) == Some(&State::Void);
                    prop_assert!(settled, "an op was delivered before what it depends on");
                }
                seen.insert(*id);
            }
            nodes.push(store.nodes());

            // An hour later the early ones are released.
            let later = NOW_MS + 3_600_000;
            let after = Oracle::of(&script.written, later);
            let mut batch = store.log.batch().unwrap();
            batch.release_early(later, &mut fold).unwrap();
            batch.expire(later, 1_000, &mut fold).unwrap();
            batch.commit().unwrap();
            assert_is(&store, &script, &after);
            // The fold was told of each body that went after it had seen the op, and of nothing else.
            let told: BTreeSet<OpId> = fold.gone.iter().map(|(id, _, _)| *id).collect();
            prop_assert!(told.iter().all(|id| after.gone().contains_key(id)));
            prop_assert_eq!(BTreeSet::from_iter(fold.delivered.iter().copied()), after.in_state(State::Delivered));
            // And another opening of the file changes nothing.
            let store = store.reopen();
            assert_is(&store, &script, &after);
        }
        prop_assert_eq!(&nodes[0], &nodes[1], "the tree shows no order of arrival");
        oracle.states.clear();
    }
}

/// What a batch has brought that was given up is in no proof, nor is what a repair has dropped.
#[test]
fn a_proof_forgets_what_was_given_up() {
    let mut script = Script::new(1);
    script.invite(1, 7, 3, 0);
    script.join(2, 2, 7, &[]);
    let mut store = Store::new();
    store.take(&script.written);
    assert_proof(&store, &script);
    let before = store.log.proof(&script.conversation).unwrap();
    let first = script.text(1, &[], "given up");
    let mut batch = store.log.batch().unwrap();
    batch.append(vec![first.clone()], Some(&device(250)), NOW_MS, &mut NoFold).unwrap();
    assert_ne!(batch.reads().unwrap().proof(&script.conversation).unwrap(), before);
    drop(batch);
    assert_eq!(store.log.proof(&script.conversation).unwrap(), before);
    let second = script.text(2, &[], "kept");
    store.take(&[second]);
    assert_proof(&store, &script);
    store.take(&[first]);
    assert_proof(&store, &script);
    let mut store = store.tamper("UPDATE op SET body = x'00' WHERE arrival = (SELECT max(arrival) FROM op)");
    assert_proof(&store, &script);
    let damaged = store.log.damaged().unwrap();
    let mut batch = store.log.batch().unwrap();
    batch.drop_damaged(&damaged).unwrap();
    batch.commit().unwrap();
    assert_proof(&store, &script);
    let third = script.text(2, &[], "after the repair");
    store.take(&[third]);
    assert_proof(&store, &script);
}

/// The steps above reach every state and every kind of evidence; else the property would say little.
#[test]
fn the_generator_reaches_everything() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut states, mut conflicts, mut strangers, mut gaps) = ([0; 4], 0, 0, 0);
    let (mut erased, mut refused, mut expired) = (0, 0, 0);
    for _ in 0..200 {
        let steps = proptest::collection::vec(any_step(), 1..100).new_tree(&mut runner).unwrap().current();
        let script = write(&steps);
        let oracle = Oracle::of(&script.written, NOW_MS);
        for state in oracle.states.values() {
            states[*state as usize] += 1;
        }
        conflicts += usize::from(!oracle.conflicts().is_empty());
        strangers += script.written.len() - oracle.ops.len();
        let gone = oracle.gone();
        erased += gone.values().filter(|why| **why == Gone::Erased).count();
        expired += gone.values().filter(|why| **why == Gone::Expired).count();
        refused += oracle.named().iter().filter(|id| !gone.contains_key(id)).count();
        gaps += oracle.held().iter().filter(|held| held.intervals.len() > 1).count();
    }
    assert!(states.iter().all(|count| *count > 40), "{states:?}");
    assert!(conflicts > 20 && strangers > 100 && gaps > 20, "{conflicts} {strangers} {gaps}");
    assert!(erased > 100 && refused > 40 && expired > 100, "{erased} {refused} {expired}");
    assert_eq!(device(3).0[0], 3);
}
