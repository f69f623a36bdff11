//! A log that contradicts itself: everything is kept, the author is flagged, the number is bounded.

use crate::world::{Draft, Script, Store, device};
use std::collections::BTreeSet;
use tombolo_model::LogId;
use tombolo_model::limit::BRANCHES_PER_LOG_MAX;
use tombolo_oplog::{Incoming, Reason};

/// Another op at the place of `one`.
fn branch(script: &Script, one: &Incoming, body: &str) -> Incoming {
    let header = one.op.header.clone();
    let draft = Draft {
        author: header.author.0[0],
        log: header.log.0[0],
        seq: header.seq,
        prev: header.prev,
        hlc: header.hlc,
        parents: header.parents,
        body: body.into(),
        class: header.class,
        conversation: script.conversation,
        erases: vec![],
        expires_ms: 0,
    };
    Incoming { op: draft.op(), control: None }
}

#[test]
fn both_branches_are_kept_and_the_author_is_flagged() {
    let mut script = Script::new(1);
    let one = script.text(1, &[], "one");
    let next = script.text(1, &[], "next");
    let other = branch(&script, &one, "other");
    let id = script.conversation;
    let mut store = Store::new();
    assert_eq!(store.take(&script.written).equivocations, vec![]);
    assert!(!store.log.heights(&id).unwrap()[0].branched);
    let appended = store.take(std::slice::from_ref(&other));
    assert_eq!(appended.stored.len(), 1);
    let evidence = appended.equivocations;
    assert_eq!(evidence.len(), 1);
    assert_eq!((evidence[0].author, evidence[0].log, evidence[0].seq), (device(1), LogId([1; 8]), 2));
    assert_eq!(BTreeSet::from_iter(evidence[0].ids.clone()), BTreeSet::from([one.op.id, other.op.id]));
    assert_eq!(store.log.equivocations(&id).unwrap(), evidence);
    let height = store.log.heights(&id).unwrap()[0];
    assert_eq!((height.branched, height.max, height.count, height.contiguous), (true, 3, 4, 3));
    // Both branches are there, the log goes on, and every op is an interval of its own.
    for op in [&one.op, &other.op, &next.op] {
        assert_eq!(store.log.op(&id, &op.id).unwrap().as_ref(), Some(&**op));
    }
    assert_eq!(store.log.run(&id, &device(1), &LogId([1; 8]), 2, 3, 9).unwrap().len(), 3);
    assert_eq!(store.log.held(&id).unwrap()[0].intervals.len(), 4);
    let more = script.text(1, &[], "more");
    assert_eq!(store.take(&[more]).equivocations, vec![], "what is known is no news");
    store.assert_healthy();
}

#[test]
fn a_prev_that_is_not_the_op_before_is_evidence() {
    let mut script = Script::new(1);
    let one = script.text(1, &[], "one");
    let claimed = branch(&script, &one, "claimed").op.id;
    let mut draft = script.draft(1, 1, &[], b"two");
    draft.prev = claimed;
    let two = script.push(draft, None);
    for order in [[0, 1, 2], [0, 2, 1]] {
        let mut store = Store::new();
        for at in order {
            store.take(&script.written[at..=at]);
        }
        let evidence = store.log.equivocations(&script.conversation).unwrap();
        assert_eq!(evidence.len(), 1);
        assert_eq!(evidence[0].seq, 2);
        assert_eq!(BTreeSet::from_iter(evidence[0].ids.clone()), BTreeSet::from([one.op.id, claimed]));
        assert_eq!(store.log.pending(&script.conversation).unwrap(), vec![two.op.id]);
        store.assert_healthy();
    }
}

#[test]
fn the_number_of_branches_is_bounded() {
    let mut script = Script::new(1);
    let one = script.text(1, &[], "one");
    let mut store = Store::new();
    store.take(&script.written);
    let branches: Vec<_> = (0..=BRANCHES_PER_LOG_MAX).map(|at| branch(&script, &one, &at.to_string())).collect();
    let appended = store.take(&branches);
    assert_eq!(appended.stored.len(), BRANCHES_PER_LOG_MAX);
    assert_eq!(appended.refused.len(), 1);
    assert_eq!(appended.refused[0].reason, Reason::TooManyBranches);
    // The log itself may go on.
    let next = script.text(1, &[], "next");
    assert_eq!(store.take(&[next]).stored.len(), 1);
    store.assert_healthy();
}
