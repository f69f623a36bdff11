//! Headers that are kept because they vouch for an op that would be worthless to others without them.

use crate::world::{NOW_MS, Script, Store, device};
use tombolo_model::limit::SIGNED_EVERY;
use tombolo_model::{LogId, Op, Sound};
use tombolo_oplog::{Incoming, NoFold, Reason};

/// The same without its signature.
fn unsigned(incoming: &Incoming) -> Incoming {
    let op = Op { signature: None, ..incoming.op.clone().into_op() };
    Incoming { op: Sound::check(op).unwrap(), control: None }
}

/// A log of device 1 of which only the last op carries a signature.
fn run(script: &mut Script, len: usize) -> Vec<Incoming> {
    let mut run: Vec<Incoming> = (0..len).map(|at| script.text(1, &[], &at.to_string())).collect();
    for incoming in run.iter_mut().take(len - 1) {
        *incoming = unsigned(incoming);
    }
    run
}

fn header(incoming: &Incoming) -> Op {
    Op { body: None, ..incoming.op.clone().into_op() }
}

fn keep(store: &mut Store, script: &Script, headers: &[Op]) {
    let mut batch = store.log.batch().unwrap();
    batch.put_vouchers(&script.conversation, headers.to_vec()).unwrap();
    batch.commit().unwrap();
}

fn rows(store: &Store) -> i64 {
    store.log.connection().unwrap().query_row("SELECT count(*) FROM voucher", [], |row| row.get(0)).unwrap()
}

#[test]
fn an_op_can_be_passed_on_although_its_run_never_came() {
    let mut script = Script::new(1);
    let run = run(&mut script, 4);
    let mut store = Store::new();
    store.take(&script.written[..1]);
    store.take(&run[..1]);
    let id = script.conversation;
    let voucher = |store: &Store| store.log.voucher(&id, &device(1), &LogId([1; 8]), run[0].op.header.seq).unwrap();
    assert_eq!(voucher(&store), vec![], "nothing to show yet");
    keep(&mut store, &script, &[header(&run[3]), header(&run[1]), header(&run[2])]);
    assert_eq!(voucher(&store), vec![header(&run[1]), header(&run[2]), header(&run[3])]);
    // They are not ops.
    assert_eq!(store.log.conversation(&id).unwrap().unwrap().ops, 2);
    let mut store = store.reopen();
    // Some of the run comes: the rest still vouches.
    store.take(&run[1..2]);
    assert_eq!(voucher(&store), vec![run[1].op.clone().into_op(), header(&run[2]), header(&run[3])]);
    assert_eq!(rows(&store), 2, "what is held as an op needs no copy");
    store.take(&run[2..]);
    let whole: Vec<Op> = run[1..].iter().map(|one| one.op.clone().into_op()).collect();
    assert_eq!(voucher(&store), whole);
    assert_eq!(rows(&store), 0);
    store.assert_healthy();
}

#[test]
fn only_what_vouches_for_something_is_kept_and_not_more_than_a_run() {
    let mut script = Script::new(1);
    let run = run(&mut script, 200);
    let mut store = Store::new();
    store.take(&script.written[..1]);
    store.take(&run[..1]);
    keep(&mut store, &script, &[header(&run[2]), header(&run[3])]);
    assert_eq!(rows(&store), 0, "they vouch for an op that is not here");
    let headers: Vec<Op> = run[1..].iter().map(header).collect();
    keep(&mut store, &script, &headers);
    assert_eq!(rows(&store), 2 * SIGNED_EVERY as i64);
    keep(&mut store, &script, &headers);
    assert_eq!(rows(&store), 2 * SIGNED_EVERY as i64, "nor with a second go");
    let other = Script::new(2);
    keep(&mut store, &other, &headers);
    assert_eq!(rows(&store), 2 * SIGNED_EVERY as i64, "nor for a conversation that is not here");
}

#[test]
fn they_vouch_for_ops_that_wait_for_their_author() {
    let mut script = Script::new(1);
    let invite = script.invite(1, 7, 1, 0);
    let join = script.join(2, 2, 7, &[]);
    let mut texts: Vec<Incoming> = (0..3).map(|at| script.text(2, &[], &at.to_string())).collect();
    texts[0] = unsigned(&texts[0]);
    texts[1] = unsigned(&texts[1]);
    let mut store = Store::new();
    store.take(&script.written[..1]);
    store.take(&texts[..1]);
    keep(&mut store, &script, &[header(&texts[1]), header(&texts[2])]);
    store.take(&[invite, join]);
    assert_eq!(store.log.strangers(&script.conversation).unwrap(), 0);
    let found = store.log.voucher(&script.conversation, &device(2), &LogId([2; 8]), 2).unwrap();
    assert_eq!(found, vec![header(&texts[1]), header(&texts[2])]);
}

/// A join that was refused may never come again (its device may go back to a backup): what followed it must not be kept.
#[test]
fn what_follows_a_refused_join_is_not_kept_aside() {
    let mut script = Script::new(1);
    script.invite(1, 7, 1, NOW_MS - 10);
    let mut store = Store::new();
    store.take(&script.written);
    let join = script.join(2, 2, 7, &[]);
    let text = script.text(2, &[], "anyone?");
    let appended = store.append_with(&[join, text], Some(2), NOW_MS, &mut NoFold);
    let reasons: Vec<Reason> = appended.refused.iter().map(|refusal| refusal.reason).collect();
    assert_eq!(reasons, vec![Reason::InviteExpired, Reason::UnknownAuthor]);
    assert_eq!(store.log.strangers(&script.conversation).unwrap(), 0);
}
