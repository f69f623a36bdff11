//! The file: settings, versions, other processes, errors of the disk, readers.

use crate::world::{NOW_MS, Script, Store, device};
use std::fs;
use std::path::Path;
use tombolo_oplog::rusqlite::Connection;
use tombolo_oplog::{Component, Incoming, Log, LogError, NoFold, Open, Step};

fn bytes(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| !entry.file_name().to_string_lossy().ends_with("-shm"))
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn the_settings_that_durability_rests_on_are_on() {
    let store = Store::new();
    let conn = store.log.connection().unwrap();
    let number = |name: &str| conn.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(number("synchronous"), 2);
    assert_eq!(number("secure_delete"), 1);
    assert_eq!(number("foreign_keys"), 1);
    assert_eq!(number("temp_store"), 2);
    assert_eq!(number("journal_size_limit"), 4_096_000);
    let mode: String = conn.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
}

#[test]
fn reopening_keeps_everything() {
    let mut script = Script::new(1);
    let mut store = Store::new();
    for at in 0..100_usize {
        script.text(1, &[], &at.to_string());
    }
    store.append_with(&script.written, None, NOW_MS, &mut NoFold);
    let id = script.conversation;
    let view = |store: &Store| {
        let log = &store.log;
        (
            (log.cursor().unwrap(), log.proof(&id).unwrap(), log.conversations().unwrap()),
            (log.heads(&id).unwrap(), log.tail(&id, &device(1)).unwrap(), log.members(&id).unwrap(), store.nodes()),
        )
    };
    let before = view(&store);
    let mut store = store.reopen();
    assert_eq!(view(&store), before);
    let more = script.text(1, &[], "more");
    store.append_with(&[more], None, NOW_MS, &mut NoFold);
    assert_ne!(view(&store), before);
    store.assert_healthy();
}

#[test]
fn a_newer_file_is_left_untouched() {
    let mut script = Script::new(1);
    let mut store = Store::new();
    script.text(1, &[], "kept");
    store.take(&script.written);
    let path = store.path();
    for sql in [
        "UPDATE schema SET version = version + 97 WHERE component = 'oplog'",
        "UPDATE schema SET version = version - 97 WHERE component = 'oplog'; INSERT INTO schema VALUES ('views', 1)",
    ] {
        let conn = Connection::open(&path).unwrap();
        conn.execute_batch(sql).unwrap();
        // Leave something in the WAL, so that moving it into the file would show.
        conn.set_db_config(tombolo_oplog::rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
        drop(conn);
        let before = bytes(store.folder.path());
        let error = Log::open(Open::new(&path, 1)).unwrap_err();
        assert!(matches!(error, LogError::Newer { .. }), "{error}");
        assert_eq!(error.code(), "newer");
        assert_eq!(bytes(store.folder.path()), before);
    }
    // Told of the further part, the program opens it.
    const VIEWS: Component = Component { name: "views", steps: &[Step { why: "test", sql: "CREATE TABLE v (x)" }] };
    let open = Open { components: &[VIEWS], ..Open::new(&path, 1) };
    assert_eq!(Log::open(open).unwrap().conversations().unwrap().len(), 1);
}

#[test]
fn other_files_are_left_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other.db");
    Connection::open(&other).unwrap().execute_batch("CREATE TABLE mine (x); INSERT INTO mine VALUES (1)").unwrap();
    let text = folder.path().join("text");
    fs::write(&text, "this is a text file, and long enough to be no empty database at all".repeat(20)).unwrap();
    let before = bytes(folder.path());
    for path in [&other, &text] {
        let error = Log::open(Open::new(path, 1)).unwrap_err();
        assert!(matches!(error, LogError::NotAStore), "{error}");
    }
    assert_eq!(bytes(folder.path()), before);
    let error = Log::open(Open::new(folder.path().join("no/such/folder.db"), 1)).unwrap_err();
    assert_eq!(error.code(), "cannot-open");
}

#[test]
fn parts_of_other_crates_are_migrated_step_by_step() {
    const ONE: Step = Step { why: "first", sql: "CREATE TABLE v (x INTEGER) STRICT; INSERT INTO v VALUES (1)" };
    const TWO: Step = Step { why: "second", sql: "ALTER TABLE v ADD COLUMN y INTEGER" };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.db");
    let open = |steps: &'static [Step]| {
        let components = [Component { name: "views", steps }];
        Log::open(Open { components: &components, ..Open::new(&path, 5) })
    };
    let log = open(&[ONE]).unwrap();
    assert_eq!(log.incarnation(), 5);
    drop(log);
    let log = open(&[ONE, TWO]).unwrap();
    let row: (i64, Option<i64>) =
        log.connection().unwrap().query_row("SELECT x, y FROM v", [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert_eq!(row, (1, None));
    drop(log);
    assert_eq!(open(&[ONE]).unwrap_err().code(), "newer");
    // A step that fails leaves the file as it was.
    const BAD: Step = Step { why: "bad", sql: "CREATE TABLE w (x); CREATE TABLE v (x)" };
    assert_eq!(open(&[ONE, TWO, BAD]).unwrap_err().code(), "sql");
    let log = open(&[ONE, TWO]).unwrap();
    let tables: i64 = log
        .connection()
        .unwrap()
        .query_row("SELECT count(*) FROM sqlite_master WHERE name = 'w'", [], |row| row.get(0))
        .unwrap();
    assert_eq!(tables, 0);
}

/// A batch that is not committed leaves neither rows nor memory behind.
#[test]
fn a_dropped_batch_never_happened() {
    let mut script = Script::new(1);
    let mut store = Store::new();
    store.append_with(&script.written, None, NOW_MS, &mut NoFold);
    let id = script.conversation;
    let proof = store.log.proof(&id).unwrap();
    let mut fork = script.clone();
    let mut batch = store.log.batch().unwrap();
    let ops: Vec<Incoming> = (0..100_usize).map(|at| script.text(1, &[], &at.to_string())).collect();
    batch.append(ops, None, NOW_MS, &mut NoFold).unwrap();
    assert_ne!(batch.reads().unwrap().proof(&id).unwrap(), proof);
    drop(batch);
    assert_eq!(store.log.proof(&id).unwrap(), proof);
    assert_eq!(store.log.cursor().unwrap().position, 1);
    let other = fork.text(1, &[], "instead");
    assert_eq!(store.append_with(&[other], None, NOW_MS, &mut NoFold).stored[0].arrival, 2);
    store.assert_healthy();
}

/// The fold fails: nothing of the batch is kept, and it cannot be committed.
#[test]
fn a_failing_fold_abandons_the_batch() {
    struct Fails;
    impl tombolo_oplog::Fold for Fails {
        fn deliver(
            &mut self,
            tx: &tombolo_oplog::rusqlite::Transaction<'_>,
            _: &tombolo_oplog::Delivered<'_>,
        ) -> Result<(), tombolo_oplog::rusqlite::Error> {
            tx.execute("INSERT INTO no_such_table VALUES (1)", []).map(|_| ())
        }
    }
    let script = Script::new(1);
    let mut store = Store::new();
    let mut batch = store.log.batch().unwrap();
    assert_eq!(batch.append(script.written.clone(), None, NOW_MS, &mut Fails).unwrap_err().code(), "sql");
    assert_eq!(batch.append(script.written.clone(), None, NOW_MS, &mut NoFold).unwrap_err().code(), "abandoned");
    assert_eq!(batch.commit().unwrap_err().code(), "abandoned");
    assert_eq!(store.log.conversations().unwrap(), vec![]);
    store.append_with(&script.written, None, NOW_MS, &mut NoFold);
    store.assert_healthy();
}

#[test]
fn after_a_failed_commit_nothing_is_trusted_until_the_file_is_opened_again() {
    let mut script = Script::new(1);
    let mut store = Store::new();
    store.append_with(&script.written, None, NOW_MS, &mut NoFold);
    store.log.connection().unwrap().commit_hook(Some(|| true)).unwrap();
    let text = script.text(1, &[], "not kept");
    let mut batch = store.log.batch().unwrap();
    batch.append(vec![text.clone()], None, NOW_MS, &mut NoFold).unwrap();
    batch.commit().unwrap_err();
    assert!(store.log.is_poisoned());
    assert_eq!(store.log.conversations().unwrap_err().code(), "poisoned");
    assert_eq!(store.log.batch().unwrap_err().code(), "poisoned");
    assert_eq!(store.log.reader().unwrap_err().code(), "poisoned");
    let mut store = store.reopen();
    assert_eq!(store.log.cursor().unwrap().position, 1);
    store.append_with(&[text], None, NOW_MS, &mut NoFold);
    store.assert_healthy();
}

#[test]
fn a_full_disk_is_named_and_loses_nothing() {
    let mut script = Script::new(1);
    let mut store = Store::new();
    store.append_with(&script.written, None, NOW_MS, &mut NoFold);
    let full = |store: &Store, on: bool| {
        let conn = store.log.connection().unwrap();
        let pages: i64 = conn.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
        let most = if on { pages } else { 1_000_000 };
        conn.query_row(&format!("PRAGMA max_page_count = {most}"), [], |_| Ok(())).unwrap();
    };
    full(&store, true);
    let ops: Vec<Incoming> = (0..500_usize).map(|at| script.text(1, &[], &"x".repeat(500 + at))).collect();
    let mut batch = store.log.batch().unwrap();
    let error = batch.append(ops.clone(), None, NOW_MS, &mut NoFold).unwrap_err();
    assert!(matches!(error, LogError::DiskFull), "{error}");
    drop(batch);
    assert_eq!(store.log.cursor().unwrap().position, 1);
    full(&store, false);
    assert_eq!(store.append_with(&ops, None, NOW_MS, &mut NoFold).stored.len(), 500);
    store.assert_healthy();
}

#[test]
fn a_file_that_may_not_be_written_is_named() {
    let script = Script::new(1);
    let mut store = Store::new();
    store.log.connection().unwrap().execute_batch("PRAGMA query_only = ON").unwrap();
    let write = |batch: &mut tombolo_oplog::Batch<'_>| batch.append(script.written.clone(), None, NOW_MS, &mut NoFold);
    let error = store.log.batch().and_then(|mut batch| write(&mut batch)).unwrap_err();
    assert!(matches!(error, LogError::ReadOnly), "{error}");
}

/// Two processes on one file: what one keeps in memory is never older than what the other wrote.
#[test]
fn two_writers_take_turns() {
    let mut script = Script::new(1);
    let mut store = Store::new();
    let mut second = Log::open(Open::new(store.path(), 3)).unwrap();
    let mut fold = NoFold;
    store.append_with(&script.written, None, NOW_MS, &mut fold);
    for round in 0..40_usize {
        let text = script.text(1, &[], &round.to_string());
        let log = if round % 3 == 0 { &mut second } else { &mut store.log };
        let mut batch = log.batch().unwrap();
        assert_eq!(batch.append(vec![text], None, NOW_MS, &mut fold).unwrap().delivered, 1);
        batch.commit().unwrap();
    }
    let batch = store.log.batch().unwrap();
    second.connection().unwrap().busy_timeout(std::time::Duration::ZERO).unwrap();
    assert_eq!(second.batch().unwrap_err().code(), "busy");
    drop(batch);
    assert_eq!(store.log.cursor().unwrap().position, 41);
    assert_eq!(second.cursor().unwrap(), store.log.cursor().unwrap());
    store.assert_healthy();
}

#[test]
fn readers_see_what_is_committed_and_snapshots_stand_still() {
    let mut script = Script::new(1);
    let mut store = Store::new();
    store.take(&script.written);
    let reader = store.log.reader().unwrap();
    let id = script.conversation;
    let text = script.text(1, &[], "new");
    let mut batch = store.log.batch().unwrap();
    batch.append(vec![text.clone()], Some(&device(250)), NOW_MS, &mut NoFold).unwrap();
    assert_eq!(reader.cursor().unwrap().position, 1);
    batch.commit().unwrap();
    assert_eq!(reader.cursor().unwrap().position, 2);
    assert_eq!(reader.proof(&id).unwrap(), store.log.proof(&id).unwrap());
    let more = script.text(1, &[], "more");
    let seen: Result<_, LogError> = reader.snapshot(|reader| {
        let before = (reader.cursor()?, reader.proof(&id)?);
        store.take(std::slice::from_ref(&more));
        Ok((before, (reader.cursor()?, reader.proof(&id)?)))
    });
    let (before, after) = seen.unwrap();
    assert_eq!(before, after);
    assert_eq!(reader.cursor().unwrap().position, 3);
    assert!(reader.connection().unwrap().execute("DELETE FROM op", []).is_err(), "readers only read");
    let reader = std::thread::spawn(move || reader.cursor().unwrap().position);
    assert_eq!(reader.join().unwrap(), 3, "and may live on other threads");
}
