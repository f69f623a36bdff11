//! Bodies that go: rights, intents that come first, time, pruning, what doctor says, and what is left on the disk.

use crate::world::{NOW_MS, Remember, Script, Store, certificate, device};
use std::collections::BTreeSet;
use tombolo_model::{Control, Op, OpId, Sound};
use tombolo_oplog::{Gone, Incoming, Log, NoFold, Open, Pruned};

/// Devices 2, 3 and 4 joined, each of an account of its own; device 1 of account 1 founded it.
fn group() -> Script {
    let mut script = Script::new(1);
    script.invite(1, 7, 9, 0);
    for number in 2..5 {
        script.join(number, number, 7, &[]);
    }
    script
}

fn bare(one: &Incoming) -> Incoming {
    let op = Op { body: None, ..one.op.clone().into_op() };
    Incoming { op: Sound::check(op).unwrap(), control: None }
}

fn body(store: &Store, script: &Script, id: &OpId) -> Option<Vec<u8>> {
    store.log.op(&script.conversation, id).unwrap().unwrap().body
}

fn expire(store: &mut Store, now_ms: u64, limit: usize, fold: &mut Remember) -> usize {
    let mut batch = store.log.batch().unwrap();
    let lost = batch.expire(now_ms, limit, fold).unwrap();
    batch.commit().unwrap();
    assert!(lost.iter().all(|one| one.why == Gone::Expired));
    lost.len()
}

#[test]
fn who_wrote_it_and_who_founded_the_conversation_may_erase() {
    let mut script = group();
    let texts: Vec<OpId> = (0..4_usize).map(|at| script.text(2, &[], &format!("text {at}")).op.id).collect();
    let own = script.erase(2, &texts[..1]);
    let founder = script.erase(1, &texts[1..2]);
    let other = script.erase(3, &texts[2..3]);
    let mut store = Store::new();
    let mut fold = Remember::default();
    let appended = store.append_with(&script.written, Some(250), NOW_MS, &mut fold);
    let id = script.conversation;
    let states: Vec<Option<Gone>> = texts.iter().map(|text| store.log.gone(&id, text).unwrap()).collect();
    assert_eq!(states, [Some(Gone::Erased), Some(Gone::Erased), None, None]);
    assert_eq!(fold.gone, [(texts[0], Gone::Erased, true), (texts[1], Gone::Erased, true)]);
    assert_eq!(appended.gone.iter().map(|lost| lost.id).collect::<Vec<_>>(), texts[..2]);
    assert_eq!(store.log.erased_by(&id, &texts[0]).unwrap(), [own.op.id]);
    assert_eq!(store.log.erased_by(&id, &texts[1]).unwrap(), [founder.op.id]);
    assert_eq!(store.log.erased_by(&id, &texts[2]).unwrap(), [], "{}", other.op.id);
    // The header is what it was, and what a peer still has is not taken again.
    let again = store.take(&script.written);
    assert_eq!((again.completed, body(&store, &script, &texts[0])), (0, None));
    assert_eq!(store.log.op(&id, &texts[0]).unwrap().unwrap().header.id(), texts[0]);
    store.assert_healthy();
    // A device of the other account comes to the author's: now it may, too.
    let joins = script.control(2, &[], Control::Device { certificate: certificate(2, 3) });
    let appended = store.append_with(&[joins], Some(250), NOW_MS, &mut fold);
    assert_eq!(appended.gone.iter().map(|lost| lost.id).collect::<Vec<_>>(), [texts[2]]);
    assert_eq!(store.log.gone(&id, &texts[2]).unwrap(), Some(Gone::Erased));
    store.assert_healthy();
}

#[test]
fn what_is_erased_before_it_comes_is_stored_without_its_body() {
    let mut script = group();
    let known = script.written.len();
    let text = script.text(2, &[], "erased before it came");
    // Of another log, so that it does not wait.
    let mut draft = script.draft(2, 22, &[], b"erases");
    draft.erases = vec![text.op.id];
    let eraser = script.push(draft, None);
    let mut store = Store::new();
    store.take(&script.written[..known]);
    store.take(&[eraser]);
    let mut store = store.reopen();
    let mut fold = Remember::default();
    let appended = store.append_with(std::slice::from_ref(&text), Some(250), NOW_MS, &mut fold);
    assert_eq!((appended.stored.len(), appended.gone.len(), fold.delivered.len()), (1, 1, 1));
    assert_eq!(fold.gone, [], "nothing had been made of it");
    assert_eq!(body(&store, &script, &text.op.id), None);
    store.assert_healthy();
}

#[test]
fn control_ops_and_merges_are_never_erased() {
    let mut script = group();
    let all: Vec<OpId> = script.written.iter().map(|one| one.op.id).collect();
    script.erase(1, &all);
    let mut store = Store::new();
    assert_eq!(store.take(&script.written).gone, []);
    for id in &all {
        assert!(body(&store, &script, id).is_some());
        assert_eq!(store.log.gone(&script.conversation, id).unwrap(), None);
    }
    store.assert_healthy();
}

#[test]
fn bodies_expire_in_time_order_a_few_at_once() {
    let mut script = group();
    let over = script.fleeting(2, NOW_MS, "over when it comes").op.id;
    let soon: Vec<OpId> = (1..=5).map(|at| script.fleeting(2, NOW_MS + 6 - at, "soon").op.id).collect();
    let never = script.fleeting(2, u64::MAX, "not before the end of time").op.id;
    let mut store = Store::new();
    let mut fold = Remember::default();
    let appended = store.append_with(&script.written, Some(250), NOW_MS, &mut fold);
    assert_eq!(appended.gone.iter().map(|lost| lost.id).collect::<Vec<_>>(), [over]);
    assert_eq!(appended.stored.len(), script.written.len(), "it is not refused");
    assert_eq!(store.log.expires_next_ms().unwrap(), Some(NOW_MS + 1));
    assert_eq!(expire(&mut store, NOW_MS + 3, 2, &mut fold), 2);
    let mut store = store.reopen();
    assert_eq!(expire(&mut store, NOW_MS + 3, 2, &mut fold), 1);
    assert_eq!(store.log.expires_next_ms().unwrap(), Some(NOW_MS + 4));
    assert_eq!(fold.gone, [4, 3, 2].map(|at| (soon[at], Gone::Expired, true)));
    assert_eq!(expire(&mut store, u64::MAX - 1, 9, &mut fold), 3, "times beyond what a row holds come first");
    assert_eq!(store.log.gone(&script.conversation, &never).unwrap(), Some(Gone::Expired));
    assert_eq!(store.log.expires_next_ms().unwrap(), None);
    store.assert_healthy();
}

#[test]
fn what_waits_for_its_author_expires_too() {
    let mut script = group();
    let stranger = script.fleeting(5, NOW_MS + 5, "of nobody that is known");
    script.written.pop();
    let mut store = Store::new();
    store.take(&script.written);
    store.take(std::slice::from_ref(&stranger));
    assert_eq!(store.log.expires_next_ms().unwrap(), Some(NOW_MS + 5));
    let bodies = |store: &Store| -> i64 {
        let conn = store.log.connection().unwrap();
        conn.query_row("SELECT count(*) FROM stranger WHERE body IS NOT NULL", [], |row| row.get(0)).unwrap()
    };
    assert_eq!(bodies(&store), 1);
    expire(&mut store, NOW_MS + 5, 9, &mut Remember::default());
    assert_eq!((bodies(&store), store.log.expires_next_ms().unwrap()), (0, None));
    let joins = script.join(5, 5, 7, &[]);
    // It was written before its author joined, in a log of its own.
    let mut fresh = Store::new();
    fresh.append_with(&script.written, Some(250), NOW_MS + 9, &mut NoFold);
    assert_eq!(joins.op.header.seq, 2);
    assert_eq!(store.append_with(&[joins], Some(250), NOW_MS + 9, &mut NoFold).stored.len(), 2);
    assert_eq!(store.log.gone(&script.conversation, &stranger.op.id).unwrap(), Some(Gone::Expired));
    store.assert_healthy();
}

#[test]
fn a_body_that_nothing_speaks_against_is_wanted_until_it_comes() {
    let mut script = group();
    let text = script.text(2, &[], "comes later");
    let (known, late) = script.written.split_at(script.written.len() - 1);
    let mut store = Store::new();
    store.take(known);
    let mut fold = Remember::default();
    store.append_with(&[bare(&late[0])], Some(250), NOW_MS, &mut fold);
    let id = script.conversation;
    assert_eq!(store.log.wanted(&id, 9).unwrap(), [text.op.id]);
    assert_eq!(store.log.gone(&id, &text.op.id).unwrap(), None);
    store.assert_healthy();
    let proof = store.log.proof(&id).unwrap();
    assert_eq!(store.append_with(late, Some(250), NOW_MS, &mut fold).completed, 1);
    assert_eq!((store.log.wanted(&id, 9).unwrap(), &fold.bodies[..]), (vec![], &[text.op.id][..]));
    assert_eq!(store.log.proof(&id).unwrap(), proof);
    // Or nobody wants it any more.
    let second = script.text(2, &[], "is erased");
    store.append_with(&[bare(&second)], Some(250), NOW_MS, &mut fold);
    let eraser = script.erase(2, &[second.op.id]);
    store.append_with(&[eraser], Some(250), NOW_MS, &mut fold);
    assert_eq!(store.log.wanted(&id, 9).unwrap(), vec![]);
    store.take(std::slice::from_ref(&second));
    assert_eq!(body(&store, &script, &second.op.id), None);
    store.assert_healthy();
}

#[test]
fn a_pruned_body_stays_away_until_it_is_wanted_again() {
    let mut script = group();
    let texts: Vec<Incoming> = (0..6_usize).map(|at| script.text(2, &[], &format!("text {at}"))).collect();
    script.erase(2, &[texts[0].op.id]);
    let mut store = Store::new();
    store.take(&script.written);
    let id = script.conversation;
    let arrival = |store: &Store, one: &Incoming| store.log.state(&id, &one.op.id).unwrap().unwrap().1;
    let proof = store.log.proof(&id).unwrap();
    let before = store.log.held_bytes(&id).unwrap();
    let arrivals: Vec<u64> = texts[..3].iter().map(|one| arrival(&store, one)).chain([1]).collect();
    let mut batch = store.log.batch().unwrap();
    let lost = batch.prune(&id, &arrivals, 3, NOW_MS, &mut NoFold).unwrap();
    batch.commit().unwrap();
    assert_eq!(lost.len(), 2, "the first was gone already, the genesis stays");
    assert_eq!(store.log.pruned(&id).unwrap(), Some(Pruned { messages: 3, before_ms: NOW_MS }));
    assert_eq!(store.log.held_bytes(&id).unwrap(), (before.0 - 12, before.1 - 2));
    assert_eq!(store.log.gone(&id, &texts[1].op.id).unwrap(), Some(Gone::Pruned));
    assert_eq!(store.log.proof(&id).unwrap(), proof, "headers stay");
    assert_eq!((store.take(&texts).completed, store.log.wanted(&id, 9).unwrap()), (0, vec![]));
    store.assert_healthy();

    let mut batch = store.log.batch().unwrap();
    assert_eq!(batch.want_pruned(&id).unwrap(), 2);
    batch.commit().unwrap();
    assert_eq!(store.log.wanted(&id, 9).unwrap(), [texts[1].op.id, texts[2].op.id]);
    assert_eq!(store.log.gone(&id, &texts[0].op.id).unwrap(), Some(Gone::Erased));
    assert_eq!((store.take(&texts).completed, store.log.pruned(&id).unwrap()), (2, None));
    assert_eq!(store.log.held_bytes(&id).unwrap(), before);
    store.assert_healthy();
}

/// Whatever is forgotten of what ops say about bodies is found, and mended.
#[test]
fn doctor_finds_and_mends_what_should_be_gone() {
    let mut script = group();
    let text = script.text(2, &[], "erased");
    script.erase(2, &[text.op.id, OpId([9; 32])]);
    let fleeting = script.fleeting(3, NOW_MS + 9, "fleeting");
    let kept = script.text(2, &[], "kept");
    for sql in [
        "DELETE FROM gone",
        "DELETE FROM gone; UPDATE op SET body = CAST('erased' AS BLOB), body_hash = NULL WHERE body_hash IS NOT NULL",
        "UPDATE op SET body = CAST('erased' AS BLOB), body_hash = NULL WHERE body_hash IS NOT NULL",
        "DELETE FROM erase WHERE at IS NULL",
        "DELETE FROM erase WHERE at IS NOT NULL",
        "UPDATE erase SET at = NULL",
        "DELETE FROM expiry",
        "INSERT INTO wanted (arrival, conversation) VALUES (1, 1)",
    ] {
        let mut store = Store::new();
        store.take(&script.written);
        let path = store.path();
        let folder = store.folder;
        store.log.close().unwrap();
        let conn = tombolo_oplog::rusqlite::Connection::open(&path).unwrap();
        conn.execute_batch(sql).unwrap();
        drop(conn);
        let log = tombolo_oplog::Log::open(tombolo_oplog::Open::new(&path, 5)).unwrap();
        let mut store = Store { folder, log };
        let failing: BTreeSet<&str> = store
            .log
            .check(&mut |_| {})
            .unwrap()
            .into_iter()
            .filter(|finding| !finding.ok)
            .map(|finding| finding.check)
            .collect();
        assert_eq!(failing, BTreeSet::from(["bodies"]), "{sql}");
        let mut batch = store.log.batch().unwrap();
        batch.rebuild(&script.conversation).unwrap();
        batch.commit().unwrap();
        store.assert_healthy();
        let id = script.conversation;
        assert_eq!(store.log.gone(&id, &text.op.id).unwrap(), Some(Gone::Erased), "{sql}");
        assert_eq!(body(&store, &script, &text.op.id), None);
        assert!(body(&store, &script, &kept.op.id).is_some());
        assert_eq!(
            expire(&mut store, NOW_MS + 9, 9, &mut Remember { delivered: vec![fleeting.op.id], ..Remember::default() }),
            1
        );
    }
}

/// A dropped row comes back; what was said of its body holds.
#[test]
fn a_damaged_row_comes_back_without_the_body_that_was_erased() {
    let mut script = group();
    let text = script.text(2, &[], "erased");
    script.erase(2, &[text.op.id]);
    let mut store = Store::new();
    store.take(&script.written);
    let mut store = store.tamper("UPDATE op SET body_len = body_len + 1 WHERE body_hash IS NOT NULL");
    let damaged = store.log.damaged().unwrap();
    assert_eq!(damaged.len(), 1);
    let mut batch = store.log.batch().unwrap();
    batch.drop_damaged(&damaged).unwrap();
    batch.commit().unwrap();
    store.assert_healthy();
    store.take(&script.written);
    assert_eq!(store.log.gone(&script.conversation, &text.op.id).unwrap(), Some(Gone::Erased));
    assert_eq!(body(&store, &script, &text.op.id), None);
    store.assert_healthy();
}

/// How many of the secrets can be read in any file of the store.
fn readable(store: &Store, secrets: &[Vec<u8>]) -> usize {
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(store.folder.path()).unwrap() {
        bytes.extend(std::fs::read(entry.unwrap().path()).unwrap());
    }
    // All secrets begin alike, so that one pass finds them.
    let mark = &secrets[0][..6];
    let mut found = BTreeSet::new();
    for at in 0..bytes.len().saturating_sub(mark.len()) {
        if bytes[at..].starts_with(mark) {
            found.extend(secrets.iter().position(|secret| bytes[at..].starts_with(&secret[..14])));
        }
    }
    found.len()
}

#[test]
fn what_was_erased_can_be_read_in_no_file_once_it_is_wiped() {
    let mut script = group();
    let mut secrets = Vec::new();
    let mut ids = Vec::new();
    for at in 0..600_usize {
        // Lengths around everything that decides where SQLite puts a body: in the row, or on pages of its own.
        let len = 14 + (at * 977) % 9_000;
        let mut secret = format!("canary{at:08}").into_bytes();
        secret.resize(len, b'~');
        let draft = script.draft(2, 2, &[], &secret);
        ids.push(script.push(draft, None).op.id);
        secrets.push(secret);
        script.text(3, &[], &format!("stays {at}"));
    }
    let mut store = Store::new();
    for chunk in script.written.chunks(37) {
        store.take(chunk);
    }
    assert_eq!(readable(&store, &secrets), 600);
    let reader = store.log.reader().unwrap();
    let mut gone = 0;
    for chunk in ids.chunks(32).map(<[OpId]>::to_vec) {
        let eraser = script.erase(2, &chunk);
        gone += store.take(&[eraser]).gone.len();
    }
    assert_eq!(gone, 600);
    assert!(store.log.is_unwiped());
    assert!(readable(&store, &secrets) > 0, "the WAL still has them: else this test proves nothing");
    // Whoever reads an older state holds it up, and is not waited for.
    let stopped: Result<(), tombolo_oplog::LogError> = reader.snapshot(|reader| {
        reader.cursor()?;
        let text = script.text(3, &[], "something new");
        store.take(&[text]);
        assert!(!store.log.wipe()?);
        Ok(())
    });
    stopped.unwrap();
    assert!(store.log.is_unwiped());
    assert!(store.log.wipe().unwrap());
    assert!(!store.log.is_unwiped());
    assert_eq!(readable(&store, &secrets), 0);
    let (before, after) = store.log.pack().unwrap();
    assert!(after < before / 2, "{before} {after}");
    assert_eq!(readable(&store, &secrets), 0);
    assert_eq!(std::fs::metadata(store.path()).unwrap().len(), after);
    store.assert_healthy();
}

/// A crash between letting go and wiping: opening wipes.
#[test]
fn opening_wipes_what_a_crash_left() {
    let mut script = group();
    let secret = b"canary00000000~~~~".to_vec();
    let draft = script.draft(2, 2, &[], &secret);
    let id = script.push(draft, None).op.id;
    let mut store = Store::new();
    store.take(&script.written);
    let eraser = script.erase(2, &[id]);
    store.take(&[eraser]);
    // The program ends without closing: the files are copied as they are.
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(store.folder.path()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let log = tombolo_oplog::Log::open(tombolo_oplog::Open::new(copy.path().join("log.db"), 5)).unwrap();
    let store = Store { folder: copy, log };
    assert_eq!(readable(&store, &[secret]), 0);
    assert_eq!(body(&store, &script, &id), None);
    assert_eq!(device(2).0[0], 2);
}

#[test]
fn a_long_file_is_scrubbed_some_pages_at_a_time_and_across_a_restart() {
    let mut script = group();
    let mut ids = Vec::new();
    for at in 0..800_usize {
        let draft = script.draft(2, 2, &[], &vec![at as u8; 60_000]);
        ids.push(script.push(draft, None).op.id);
    }
    let mut store = Store::new();
    for chunk in script.written.chunks(50) {
        store.take(chunk);
    }
    let pages = std::fs::metadata(store.log.path()).unwrap().len() / 4_096;
    assert!(pages > 8_192, "{pages} pages: else this test proves nothing");
    let eraser = script.erase(2, &ids[..1]);
    assert_eq!(store.take(&[eraser]).gone.len(), 1);
    assert!(!store.log.wipe().unwrap(), "there is more to look at");
    let path = store.log.path().to_owned();
    drop(store.log);
    // Opening goes on where it was, and does no more than one step either.
    let log = Log::open(Open::new(&path, 3)).unwrap();
    assert!(log.is_unwiped());
    assert!(log.wipe().unwrap());
    assert!(!log.is_unwiped());
    drop(log);
    let log = Log::open(Open::new(&path, 3)).unwrap();
    assert!(!log.is_unwiped(), "nothing is left to do");
}
