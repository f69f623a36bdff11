//! Pending, early, void: the states of the fold.

use crate::world::{NOW_MS, Remember, Script, Store};
use tombolo_model::hlc::DRIFT_MS_MAX;
use tombolo_model::limit::PENDING_PER_AUTHOR_MAX;
use tombolo_model::{Hlc, OpId};
use tombolo_oplog::{Reason, State};

#[test]
fn an_op_waits_until_everything_before_it_is_here() {
    let mut script = Script::new(1);
    let a = script.text(1, &[], "a");
    let b = script.text(1, &[], "b");
    let c = script.text(1, &[], "c");
    let mut store = Store::new();
    let id = script.conversation;
    let mut fold = Remember::default();
    store.append_with(&script.written[..1], Some(250), NOW_MS, &mut fold);
    let appended = store.append_with(std::slice::from_ref(&c), Some(250), NOW_MS, &mut fold);
    assert_eq!((appended.waiting, appended.delivered), (1, 0));
    assert_eq!(store.log.missing(&id, 9).unwrap(), vec![b.op.id]);
    assert_eq!(store.log.pending(&id).unwrap(), vec![c.op.id]);
    // Stored and digested all the same.
    assert_eq!(store.log.conversation(&id).unwrap().unwrap().ops, 2);
    store.append_with(std::slice::from_ref(&b), Some(250), NOW_MS, &mut fold);
    assert_eq!(store.log.missing(&id, 9).unwrap(), vec![a.op.id], "b is here, though pending itself");
    let mut store = store.reopen();
    let appended = store.append_with(std::slice::from_ref(&a), Some(250), NOW_MS, &mut fold);
    assert_eq!((appended.stored.len(), appended.delivered, appended.waiting), (1, 3, 0));
    assert_eq!(fold.delivered, vec![script.genesis, a.op.id, b.op.id, c.op.id]);
    assert_eq!(store.log.pending(&id).unwrap(), vec![]);
    assert_eq!(store.log.missing(&id, 9).unwrap(), vec![]);
    assert_eq!(store.log.heads(&id).unwrap(), vec![(c.op.id, c.op.header.hlc)]);
    store.assert_healthy();
}

#[test]
fn early_ops_are_released_when_their_time_comes() {
    let mut script = Script::new(1);
    let mut draft = script.draft(1, 1, &[], b"early");
    let early_ms = NOW_MS + DRIFT_MS_MAX + 60_000;
    draft.hlc = Hlc::new(early_ms, 0);
    let early = script.push(draft, None);
    let mut draft = script.draft(1, 1, &[], b"after it");
    draft.hlc = Hlc::new(early_ms, 1);
    let after = script.push(draft, None);
    let mut store = Store::new();
    let id = script.conversation;
    let mut fold = Remember::default();
    let appended = store.append_with(&script.written, Some(250), NOW_MS, &mut fold);
    assert_eq!((appended.stored.len(), appended.delivered, appended.waiting), (3, 1, 2));
    assert_eq!(store.log.state(&id, &early.op.id).unwrap().unwrap().0, State::Early);
    assert_eq!(store.log.early_next_ms().unwrap(), Some(early_ms - DRIFT_MS_MAX));
    let release = |store: &mut Store, fold: &mut Remember, now_ms| {
        let mut batch = store.log.batch().unwrap();
        let (released, _) = batch.release_early(now_ms, fold).unwrap();
        batch.commit().unwrap();
        released
    };
    assert_eq!(release(&mut store, &mut fold, early_ms - DRIFT_MS_MAX - 1), 0);
    assert_eq!(fold.delivered.len(), 1);
    let mut store = store.reopen();
    assert_eq!(release(&mut store, &mut fold, early_ms - DRIFT_MS_MAX), 2);
    assert_eq!(fold.delivered[1..], [early.op.id, after.op.id]);
    assert_eq!(store.log.early_next_ms().unwrap(), None);
    assert_eq!(store.log.heads(&id).unwrap()[0].0, after.op.id);
    store.assert_healthy();
}

#[test]
fn an_op_that_depends_on_an_early_one_is_pending_not_early() {
    let mut script = Script::new(1);
    script.invite(1, 7, 1, 0);
    script.join(2, 2, 7, &[]);
    let mut draft = script.draft(1, 1, &[], b"early");
    draft.hlc = Hlc::new(NOW_MS + DRIFT_MS_MAX + 60_000, 0);
    let early = script.push(draft, None);
    let mut draft = script.draft(2, 2, &[early.op.id], b"below it by the clock");
    draft.hlc = Hlc::new(NOW_MS, 0);
    let dependent = script.push(draft, None);
    let mut store = Store::new();
    let id = script.conversation;
    store.take(&script.written);
    assert_eq!(store.log.state(&id, &dependent.op.id).unwrap().unwrap().0, State::Pending);
    assert_eq!(store.log.missing(&id, 9).unwrap(), vec![], "nothing needs to be asked for");
    let mut batch = store.log.batch().unwrap();
    assert_eq!(batch.release_early(NOW_MS + 3_600_000, &mut tombolo_oplog::NoFold).unwrap().0, 1);
    batch.commit().unwrap();
    // Its clock is below that of what it depends on.
    assert_eq!(store.log.state(&id, &dependent.op.id).unwrap().unwrap().0, State::Void);
    store.assert_healthy();
}

#[test]
fn an_op_whose_clock_is_not_above_its_parents_is_void() {
    let mut script = Script::new(1);
    let parent = script.text(1, &[], "parent");
    let mut draft = script.draft(1, 1, &[], b"not above");
    draft.hlc = parent.op.header.hlc;
    let void = script.push(draft, None);
    let after = script.text(1, &[], "after the void one");
    let mut store = Store::new();
    let id = script.conversation;
    let mut fold = Remember::default();
    let appended = store.append_with(&script.written, Some(250), NOW_MS, &mut fold);
    assert_eq!((appended.stored.len(), appended.waiting), (4, 0));
    assert_eq!(store.log.state(&id, &void.op.id).unwrap().unwrap().0, State::Void);
    assert_eq!(fold.delivered, vec![script.genesis, parent.op.id, after.op.id]);
    let heads: Vec<OpId> = store.log.heads(&id).unwrap().into_iter().map(|(id, _)| id).collect();
    let mut wanted = vec![parent.op.id, after.op.id];
    wanted.sort();
    assert_eq!(heads, wanted, "a void op joins nothing");
    store.assert_healthy();
}

#[test]
fn the_fold_is_told_what_is_slotted_in() {
    let mut script = Script::new(1);
    script.invite(1, 7, 1, 0);
    let join = script.join(2, 2, 7, &[]);
    let slow = script.text(2, &[], "slow");
    let fast = script.text(1, &[], "fast");
    let mut store = Store::new();
    let mut fold = Remember::default();
    store.append_with(&script.written[..3], Some(250), NOW_MS, &mut fold);
    store.append_with(&[fast], Some(250), NOW_MS, &mut fold);
    store.append_with(&[join, slow.clone()], Some(250), NOW_MS, &mut fold);
    assert_eq!(fold.late, vec![slow.op.id]);
}

#[test]
fn the_pending_of_one_author_are_bounded() {
    let mut script = Script::new(1);
    script.invite(1, 7, 1, 0);
    script.join(2, 2, 7, &[]);
    let base = script.written.clone();
    let first = script.text(1, &[], "the missing one");
    let waiting: Vec<_> = (0..=PENDING_PER_AUTHOR_MAX).map(|at| script.text(1, &[], &at.to_string())).collect();
    let other = script.text(2, &[first.op.id], "of another author");
    let mut store = Store::new();
    store.take(&base);
    let appended = store.take(&waiting);
    assert_eq!(appended.stored.len(), PENDING_PER_AUTHOR_MAX);
    assert_eq!(appended.refused.len(), 1);
    assert_eq!(appended.refused[0].reason, Reason::TooManyPending);
    assert_eq!(store.take(&[other]).stored.len(), 1, "others are not affected");
    let mut store = store.reopen();
    assert_eq!(store.take(&waiting[PENDING_PER_AUTHOR_MAX..]).refused[0].reason, Reason::TooManyPending);
    let appended = store.take(&[first]);
    assert_eq!(appended.delivered, PENDING_PER_AUTHOR_MAX + 2);
    assert_eq!(store.take(&waiting[PENDING_PER_AUTHOR_MAX..]).delivered, 1, "room again");
    store.assert_healthy();
}
