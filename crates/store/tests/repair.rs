//! What `compare` finds, and that a rebuild heals it.

use crate::fold::shown;
use crate::world::{Group, OWN, Store, device, line};
use tombolo_model::content::Content;
use tombolo_store::{Mismatch, compare};

fn world() -> (Group, Store) {
    let mut group = Group::new(1);
    let mut store = Store::of(&group);
    store.write(&[group.text(OWN, 100, "mine")]);
    store.take(&[
        group.text(1, 50, "late"),
        group.text(1, 150, "new"),
        group.say(1, 160, &Content::Title("title".into())),
        group.say(3, 170, &Content::Name("name".into())),
        group.say(3, 180, &line(1)),
        group.say(1, 190, &line(1)),
    ]);
    (group, store)
}

#[test]
fn every_kind_of_wrong_row_is_found_and_healed() {
    let (group, _) = world();
    let conversation = group.conversation;
    let of = |text: &str| {
        let (_, store) = world();
        store.all(&conversation).into_iter().find(|message| message.text == text).unwrap().id()
    };
    let message = |text: &str| Mismatch::Message(conversation, of(text));
    for (sql, expected) in [
        ("UPDATE message SET text = 'forged' WHERE text = 'new'", message("new")),
        ("UPDATE message SET kind = 1 WHERE text = 'new'", message("new")),
        ("UPDATE message SET arrival = 1 WHERE text = 'new'", message("new")),
        ("UPDATE message SET who = 'x' WHERE text = 'new'", message("new")),
        ("DELETE FROM message WHERE text = 'late'", message("late")),
        ("UPDATE message SET at = at + 1 WHERE text = 'late'", message("late")),
        ("UPDATE message SET text = 'forged' WHERE section = 0", message("line 1")),
        ("DELETE FROM message WHERE section = 0", message("line 1")),
        (
            "INSERT INTO message SELECT conversation, section, at + 1, sub, id, arrival, log, kind, late, came_ms, \
             NULL, who, 'invented' FROM message WHERE text = 'new'",
            Mismatch::Surplus(conversation, 1),
        ),
        ("UPDATE title SET title = 'other'", Mismatch::Title(conversation)),
        ("DELETE FROM title", Mismatch::Title(conversation)),
        ("UPDATE name SET name = 'other'", Mismatch::Name(conversation, device(3))),
        ("DELETE FROM name", Mismatch::Name(conversation, device(3))),
    ] {
        let (_, mut store) = world();
        let healthy = shown(&store, &conversation);
        assert_eq!(compare(&store.views, &store.log, &mut |_, _| {}).unwrap(), []);
        let batch = store.log.batch().unwrap();
        assert_eq!(batch.transaction().unwrap().execute(sql, []).unwrap(), 1, "{sql}");
        batch.commit().unwrap();
        let found = compare(&store.views, &store.log, &mut |_, _| {}).unwrap();
        assert!(found.contains(&expected), "{sql}: {found:?}");
        store.rebuild();
        assert_eq!(shown(&store, &conversation), healthy, "{sql}");
        store.assert_rebuilt_equals_live();
    }
}

#[test]
fn a_name_that_nobody_set_is_found() {
    let (group, mut store) = world();
    let batch = store.log.batch().unwrap();
    let sql = "INSERT INTO name SELECT n, ?1, 'x', 1, x'00' FROM conversation";
    batch.transaction().unwrap().execute(sql, [device(1).as_bytes()]).unwrap();
    batch.commit().unwrap();
    let found = compare(&store.views, &store.log, &mut |_, _| {});
    // Either the row is named, or it is so damaged that reading it says so.
    match found {
        Ok(found) => assert_eq!(found, [Mismatch::Name(group.conversation, device(1))]),
        Err(error) => assert_eq!(error.code(), "damaged"),
    }
}

#[test]
fn progress_reaches_the_total() {
    let (_, store) = world();
    let mut last = (0, 0);
    compare(&store.views, &store.log, &mut |done, total| {
        assert!(done >= last.0 && done <= total);
        last = (done, total);
    })
    .unwrap();
    assert_eq!(last.0, last.1);
    assert!(last.1 > 7);
}

#[test]
fn a_repaired_op_is_folded_once_more_without_a_trace() {
    let (group, mut store) = world();
    let before = shown(&store, &group.conversation);
    let late: Vec<_> = store.all(&group.conversation).iter().map(|message| message.late).collect();
    // As after a repair: the ops come again and get new arrivals.
    let ids: Vec<_> = store.all(&group.conversation).iter().map(|message| message.id()).collect();
    for id in &ids {
        let op = store.log.op(&group.conversation, id).unwrap().unwrap();
        let batch = store.log.batch().unwrap();
        let tx = batch.transaction().unwrap();
        tx.execute("UPDATE op SET arrival = arrival + 1000 WHERE id = ?1", [id.as_bytes()]).unwrap();
        let (arrival, n, log): (i64, i64, i64) = tx
            .query_row("SELECT arrival, conversation, log FROM op WHERE id = ?1", [id.as_bytes()], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .unwrap();
        let delivered = tombolo_oplog::Delivered {
            op: &op,
            conversation: group.conversation,
            n,
            log,
            arrival: arrival as u64,
            control: None,
            own: false,
            late_hint: true,
            gone: None,
        };
        tombolo_oplog::Fold::begin(&mut store.views);
        tombolo_oplog::Fold::deliver(&mut store.views, tx, &delivered).unwrap();
        tombolo_oplog::Fold::end(&mut store.views, tx).unwrap();
        batch.commit().unwrap();
    }
    assert_eq!(shown(&store, &group.conversation), before);
    assert_eq!(store.all(&group.conversation).iter().map(|message| message.late).collect::<Vec<_>>(), late);
    assert!(store.all(&group.conversation).iter().all(|message| message.arrival > 1000));
}
