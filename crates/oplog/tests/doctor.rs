//! Every check of doctor is shown to fail, and repairs to heal.

use crate::world::{NOW_MS, Remember, Script, Store, device};
use std::collections::BTreeSet;
use tombolo_oplog::NoFold;

/// A conversation of 114 ops by two people, some of them waiting, in a store that lists all of them.
fn sample() -> (Script, Store) {
    sample_by(57)
}

/// The same, stored as many at once.
fn sample_by(at_once: usize) -> (Script, Store) {
    let mut script = Script::new(1);
    script.invite(1, 7, 3, 0);
    script.join(2, 2, 7, &[]);
    for at in 0..110_usize {
        let parents: Vec<_> = script.written.last().map(|one| one.op.id).into_iter().collect();
        script.text(1 + (at % 2) as u8, &parents, &format!("text {at}"));
    }
    let hidden = script.text(1, &[], "not here");
    script.written.pop();
    script.text(2, &[hidden.op.id], "waits");
    let mut store = Store::new();
    for chunk in script.written.chunks(at_once) {
        store.append_with(chunk, Some(250), NOW_MS, &mut NoFold);
    }
    (script, store)
}

fn failing(store: &Store) -> BTreeSet<&'static str> {
    let mut steps = 0;
    let findings = store.log.check(&mut |progress| {
        assert!(progress.done <= progress.total);
        steps += 1;
    });
    assert!(steps >= 7, "progress is told");
    findings.unwrap().into_iter().filter(|finding| !finding.ok).map(|finding| finding.check).collect()
}

#[test]
fn a_sound_store_passes() {
    let (_, store) = sample();
    assert_eq!(failing(&store), BTreeSet::new());
    assert_eq!(store.log.damaged().unwrap(), vec![]);
}

#[test]
fn every_kind_of_damage_is_found() {
    for (sql, wanted) in [
        // A byte of a body, of a header, of an id.
        ("UPDATE op SET body = CAST(x'00' || substr(body, 2) AS BLOB) WHERE arrival = 20", vec!["ids"]),
        ("UPDATE op SET body = substr(body, 2) WHERE arrival = 20", vec!["ids"]),
        ("UPDATE op SET body_len = body_len + 1 WHERE arrival = 20", vec!["ids"]),
        ("UPDATE op SET rest = x'01000000000000' WHERE arrival = 20", vec!["ids"]),
        ("UPDATE op SET rest = x'' WHERE arrival = 20", vec!["heads", "ids"]),
        (
            "UPDATE op SET id = CAST(substr(id, 1, 31) || x'00' AS BLOB) WHERE arrival = 20",
            vec!["arrivals", "digest", "ids"],
        ),
        // What is found by place and by id.
        ("UPDATE id_page SET entries = CAST(x'00' || substr(entries, 2) AS BLOB)", vec!["index"]),
        ("DELETE FROM id_page WHERE n IN (SELECT n FROM id_page LIMIT 1)", vec!["index"]),
        ("DELETE FROM log_page WHERE page = 0", vec!["digest", "heads", "index", "logs"]),
        ("UPDATE log_page SET entries = substr(entries, 9) WHERE page = 0", vec!["index", "logs"]),
        ("UPDATE op SET signature = x'01' WHERE arrival = 20", vec!["heads", "ids"]),
        // The chain of arrivals, and an arrival that is gone.
        ("UPDATE op SET chain = zeroblob(16) WHERE arrival = 20", vec!["arrivals"]),
        ("DELETE FROM op WHERE arrival = 20", vec!["arrivals", "digest", "heads", "logs"]),
        // Derived rows.
        ("UPDATE node SET count = count + 1 WHERE depth = 3", vec!["digest"]),
        ("UPDATE node SET sum = zeroblob(32) WHERE depth = 0", vec!["digest"]),
        ("UPDATE node SET items = zeroblob(length(items)) WHERE items IS NOT NULL", vec!["digest"]),
        ("DELETE FROM node WHERE depth = (SELECT max(depth) FROM node)", vec!["digest"]),
        ("UPDATE conversation SET sum = zeroblob(32)", vec!["digest"]),
        ("UPDATE conversation SET ops = ops + 1", vec!["digest"]),
        ("UPDATE log SET contiguous = contiguous - 1", vec!["logs"]),
        ("UPDATE log SET tip = zeroblob(32)", vec!["logs"]),
        ("UPDATE log SET branched = 1", vec!["logs"]),
        (
            "UPDATE conversation SET heads = CAST(heads || (SELECT id || zeroblob(8) FROM op WHERE arrival = 20) AS BLOB)",
            vec!["heads"],
        ),
        ("UPDATE conversation SET heads = x''", vec!["heads"]),
        ("UPDATE conversation SET heads = x'00'", vec!["heads"]),
        ("DELETE FROM missing", vec!["waiting"]),
        ("UPDATE conversation SET waiting = 7", vec!["waiting"]),
    ] {
        let (_, store) = sample();
        let store = store.tamper(sql);
        let found = failing(&store);
        // A prev left to the neighbour may add to what fails; the ones that matter must.
        for check in &wanted {
            assert!(found.contains(check), "{sql}: {check} is not among {found:?}");
        }
        if wanted.len() == 1 {
            assert_eq!(Vec::from_iter(found), wanted, "{sql}");
        }
    }
}

/// The newest ops are not listed yet: what is said of that must be true, and can be made true again.
#[test]
fn what_is_said_to_be_listed_must_be() {
    for (sql, wanted) in [
        (
            "UPDATE listed SET arrival = (SELECT max(arrival) FROM op)",
            vec!["digest", "heads", "index", "logs", "waiting"],
        ),
        ("UPDATE listed SET arrival = 1 << 40", vec!["digest", "heads", "index", "logs", "waiting"]),
        ("UPDATE listed SET arrival = 20", vec!["index"]),
        ("DELETE FROM listed", vec!["index"]),
    ] {
        let (script, store) = sample_by(50);
        assert_eq!(failing(&store), BTreeSet::new());
        let newest = &script.written[110].op;
        let mut store = store.tamper(sql);
        assert_eq!(Vec::from_iter(failing(&store)), wanted, "{sql}");
        let mut batch = store.log.batch().unwrap();
        batch.rebuild(&script.conversation).unwrap();
        batch.commit().unwrap();
        assert_eq!(failing(&store), BTreeSet::new(), "{sql}");
        assert_eq!(store.log.op(&script.conversation, &newest.id).unwrap().as_ref(), Some(&**newest));
    }
}

/// A page that is not what was written: SQLite itself must see it.
#[test]
fn a_torn_index_is_found() {
    let (_, store) = sample();
    // The index loses entries behind SQLite's back: its root is replaced by that of an empty one.
    let Store { folder, log } = store;
    log.close().unwrap();
    let path = folder.path().join("log.db");
    let conn = tombolo_oplog::rusqlite::Connection::open(&path).unwrap();
    conn.execute_batch(
        "CREATE TABLE aside (a); CREATE INDEX aside_index ON aside (a); PRAGMA writable_schema = ON; UPDATE sqlite_master SET rootpage = \
         (SELECT rootpage FROM sqlite_master WHERE name = 'aside_index') WHERE name = 'log_author'; \
         DELETE FROM sqlite_master WHERE name = 'aside_index'",
    )
    .unwrap();
    drop(conn);
    let log = tombolo_oplog::Log::open(tombolo_oplog::Open::new(path, 1)).unwrap();
    let store = Store { folder, log };
    let findings = store.log.check(&mut |_| {}).unwrap();
    assert!(findings.iter().any(|finding| finding.check == "sqlite" && !finding.ok), "{findings:?}");
}

/// What is damaged is dropped, comes back from a peer, and everything is as it was.
#[test]
fn dropped_ops_come_back_and_everything_is_as_before() {
    for (sql, damaged) in [
        ("UPDATE op SET body = CAST(x'00' || substr(body, 2) AS BLOB) WHERE arrival IN (20, 60)", vec![20, 60]),
        ("UPDATE op SET id = CAST(substr(id, 1, 31) || x'00' AS BLOB) WHERE arrival = 20", vec![20]),
        ("UPDATE op SET hlc = hlc - 70000 WHERE arrival = 33", vec![33]),
        // The last of all, so that the cursor stands on what is dropped; and one that waits.
        ("UPDATE op SET body_len = body_len + 1 WHERE arrival = (SELECT max(arrival) FROM op)", vec![114]),
        ("UPDATE op SET body_len = body_len + 1 WHERE arrival IN (SELECT arrival FROM undelivered)", vec![114]),
        // A genesis, and a join that made a member.
        ("UPDATE op SET body_len = body_len + 1 WHERE arrival IN (1, 3)", vec![1, 3]),
    ] {
        let (script, store) = sample();
        let id = script.conversation;
        let before = (store.log.proof(&id).unwrap(), store.log.heads(&id).unwrap(), store.nodes());
        let missing = store.log.missing(&id, 9).unwrap();
        let cursor = store.log.cursor().unwrap();
        let mut store = store.tamper(sql);
        let found = store.log.damaged().unwrap();
        assert_eq!(found.iter().map(|one| one.arrival).collect::<Vec<_>>(), damaged, "{sql}");
        for one in &found {
            assert_eq!(one.id, script.written[one.arrival as usize - 1].op.id, "{sql}: its id can be told");
        }
        let mut batch = store.log.batch().unwrap();
        batch.drop_damaged(&found).unwrap();
        batch.commit().unwrap();
        assert_eq!(failing(&store), BTreeSet::new(), "{sql}: after dropping");
        assert_eq!(store.log.cursor().unwrap(), cursor, "what peers have read does not move");
        assert!(!store.log.has(&id, &found[0].id).unwrap());
        let mut store = store.reopen();
        let mut fold = Remember::default();
        let back = store.append_with(&script.written, Some(250), NOW_MS, &mut fold);
        assert_eq!(back.stored.len(), damaged.len(), "{sql}");
        assert_eq!(back.stored[0].arrival, cursor.position + 1, "arrivals are never used twice");
        assert_eq!(failing(&store), BTreeSet::new(), "{sql}: after the return");
        assert_eq!((store.log.proof(&id).unwrap(), store.log.heads(&id).unwrap(), store.nodes()), before, "{sql}");
        assert_eq!(store.log.missing(&id, 9).unwrap(), missing);
        assert_eq!(store.log.damaged().unwrap(), vec![]);
    }
}

#[test]
fn an_own_log_that_loses_an_op_is_closed() {
    let mut script = Script::new(1);
    let text = script.text(1, &[], "mine");
    let mut store = Store::new();
    store.append_with(&script.written, None, NOW_MS, &mut NoFold);
    let mut store = store.tamper("UPDATE op SET body_len = body_len + 1 WHERE arrival = 2");
    let found = store.log.damaged().unwrap();
    let mut batch = store.log.batch().unwrap();
    batch.drop_damaged(&found).unwrap();
    batch.commit().unwrap();
    assert_eq!(store.log.tail(&script.conversation, &device(1)).unwrap(), None);
    assert!(store.take(&[text]).tail_lost);
    store.assert_healthy();
}

#[test]
fn derived_rows_are_computed_anew() {
    let (script, store) = sample();
    let id = script.conversation;
    let before = (store.log.proof(&id).unwrap(), store.log.heads(&id).unwrap(), store.nodes());
    let store = store.tamper("DELETE FROM node");
    let store = store.tamper("UPDATE conversation SET heads = x''");
    let store = store.tamper("UPDATE log SET tip = zeroblob(32), count = 1, branched = 1, contiguous = 0");
    let store = store.tamper("DELETE FROM missing");
    let mut store = store.tamper("UPDATE conversation SET sum = zeroblob(32), ops = 3, waiting = 9");
    assert_eq!(failing(&store).len(), 4);
    let mut batch = store.log.batch().unwrap();
    batch.rebuild(&id).unwrap();
    batch.commit().unwrap();
    assert_eq!(failing(&store), BTreeSet::new());
    assert_eq!((store.log.proof(&id).unwrap(), store.log.heads(&id).unwrap(), store.nodes()), before);
}

#[test]
fn a_broken_chain_is_begun_anew_under_another_name() {
    let (_, store) = sample();
    let before = store.log.cursor().unwrap();
    let mut store = store.tamper("UPDATE op SET chain = zeroblob(16) WHERE arrival = 20");
    let mut batch = store.log.batch().unwrap();
    batch.restart_chain(4_711).unwrap();
    batch.commit().unwrap();
    let store = store.reopen();
    assert_eq!(failing(&store), BTreeSet::new());
    let after = store.log.cursor().unwrap();
    assert_eq!((after.incarnation, after.position), (4_711, before.position));
    assert_ne!(after.chain, before.chain);
}
