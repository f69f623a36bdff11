//! Writing: the tail, new logs, and a tail that was lost.

use crate::world::{NOW_MS, Remember, Script, Store, device};
use tombolo_model::{Hlc, LogId};
use tombolo_oplog::{NoFold, Reason, State};

#[test]
fn the_open_log_goes_on_and_its_tail_is_known() {
    let mut script = Script::new(1);
    let mut store = Store::new();
    let id = script.conversation;
    let mut fold = Remember::default();
    assert_eq!(store.log.tail(&id, &device(1)).unwrap(), None);
    store.append_with(&script.written, None, NOW_MS, &mut fold);
    let text = script.text(1, &[], "one");
    store.append_with(std::slice::from_ref(&text), None, NOW_MS, &mut fold);
    let mut store = store.reopen();
    let tail = store.log.tail(&id, &device(1)).unwrap().unwrap();
    assert_eq!((tail.log, tail.seq, tail.id, tail.hlc), (LogId([1; 8]), 2, text.op.id, text.op.header.hlc));
    assert_eq!(tail.state, State::Delivered);
    assert_eq!(store.log.heads(&id).unwrap(), vec![(text.op.id, text.op.header.hlc)]);
    // Two sends in one batch: the second sees the first.
    let mut batch = store.log.batch().unwrap();
    let two = script.text(1, &[], "two");
    batch.append(vec![two.clone()], None, NOW_MS, &mut fold).unwrap();
    assert_eq!(batch.reads().unwrap().tail(&id, &device(1)).unwrap().unwrap().id, two.op.id);
    assert_eq!(batch.reads().unwrap().heads(&id).unwrap()[0].0, two.op.id);
    let three = script.text(1, &[], "three");
    assert_eq!(batch.append(vec![three.clone()], None, NOW_MS, &mut fold).unwrap().delivered, 1);
    batch.commit().unwrap();
    assert_eq!(store.log.tail(&id, &device(1)).unwrap().unwrap().id, three.op.id);
    store.assert_healthy();
}

#[test]
fn an_own_op_elsewhere_than_at_the_end_is_refused() {
    let mut script = Script::new(1);
    let mut store = Store::new();
    store.append_with(&script.written, None, NOW_MS, &mut NoFold);
    let mut fork = script.clone();
    let first = script.text(1, &[], "first");
    store.append_with(&[first], None, NOW_MS, &mut NoFold);
    let second = fork.text(1, &[], "the same place again");
    let third = fork.text(1, &[], "another prev");
    for op in [second, third] {
        let appended = store.append_with(&[op], None, NOW_MS, &mut NoFold);
        assert_eq!(appended.refused[0].reason, Reason::OwnLogOutOfOrder);
        assert!(appended.stored.is_empty());
    }
    store.assert_healthy();
}

#[test]
fn a_new_log_begins_when_asked_and_the_old_one_stays_closed() {
    let mut script = Script::new(1);
    let mut store = Store::new();
    let id = script.conversation;
    store.append_with(&script.written, None, NOW_MS, &mut NoFold);
    let mut batch = store.log.batch().unwrap();
    batch.begin_new_logs().unwrap();
    batch.commit().unwrap();
    assert_eq!(store.log.tail(&id, &device(1)).unwrap(), None);
    let tips = store.log.old_tips(&id, &device(1)).unwrap();
    assert_eq!(tips.iter().map(|tip| tip.id).collect::<Vec<_>>(), vec![script.genesis]);
    let on = script.text(1, &[], "into the closed log");
    let appended = store.append_with(&[on], None, NOW_MS, &mut NoFold);
    assert_eq!(appended.refused[0].reason, Reason::OwnLogOutOfOrder);
    let draft = script.draft(1, 2, &[script.genesis], b"new log");
    let new = script.push(draft, None);
    assert_eq!(store.append_with(std::slice::from_ref(&new), None, NOW_MS, &mut NoFold).stored.len(), 1);
    let tail = store.log.tail(&id, &device(1)).unwrap().unwrap();
    assert_eq!((tail.log, tail.seq, tail.id), (LogId([2; 8]), 1, new.op.id));
    store.assert_healthy();
}

/// The file is an old copy: peers have more of the own log than the file.
#[test]
fn a_lost_tail_closes_the_log() {
    let mut script = Script::new(1);
    let mut store = Store::new();
    let id = script.conversation;
    store.append_with(&script.written, None, NOW_MS, &mut NoFold);
    let lost = script.text(1, &[], "sent, then lost");
    let appended = store.take(&[script.written[0].clone()]);
    assert!(!appended.tail_lost, "what is here is not lost");
    let appended = store.take(std::slice::from_ref(&lost));
    assert!(appended.tail_lost);
    assert_eq!(store.log.tail(&id, &device(1)).unwrap(), None);
    assert_eq!(store.log.old_tips(&id, &device(1)).unwrap()[0].id, lost.op.id);
    let forked = script.text(1, &[], "would follow the lost one");
    let appended = store.append_with(&[forked], None, NOW_MS, &mut NoFold);
    assert_eq!(appended.refused[0].reason, Reason::OwnLogOutOfOrder);
    // A whole log of which nothing is known closes the open one as well; more of a closed one does not.
    let draft = script.draft(1, 2, &[], b"new log");
    let new = script.push(draft, None);
    store.append_with(std::slice::from_ref(&new), None, NOW_MS, &mut NoFold);
    script.tails.insert((1, 1), (2, lost.op.id));
    let more = script.text(1, &[], "more that was lost");
    assert!(store.take(&[more]).tail_lost);
    assert_eq!(store.log.tail(&id, &device(1)).unwrap().unwrap().id, new.op.id);
    let draft = script.draft(1, 3, &[], b"log begun and lost");
    let begun = script.push(draft, None);
    assert!(store.take(&[begun]).tail_lost);
    let store = store.reopen();
    assert_eq!(store.log.tail(&id, &device(1)).unwrap(), None);
    store.assert_healthy();
}

#[test]
fn an_early_tail_says_so_and_is_no_old_tip() {
    let mut script = Script::new(1);
    let mut store = Store::new();
    let id = script.conversation;
    store.append_with(&script.written, None, NOW_MS, &mut NoFold);
    let mut draft = script.draft(1, 1, &[], b"from the future");
    draft.hlc = Hlc::new(NOW_MS + 3_600_000, 0);
    let early = script.push(draft, None);
    store.append_with(&[early], None, NOW_MS, &mut NoFold);
    assert_eq!(store.log.tail(&id, &device(1)).unwrap().unwrap().state, State::Early);
    assert_eq!(store.log.heads(&id).unwrap()[0].0, script.genesis, "an early op is nobody's parent");
    let mut batch = store.log.batch().unwrap();
    batch.begin_new_logs().unwrap();
    batch.commit().unwrap();
    assert_eq!(store.log.old_tips(&id, &device(1)).unwrap(), vec![]);
}
