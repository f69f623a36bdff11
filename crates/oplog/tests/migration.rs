//! A file of an older version opens in this one without losing anything: today's file is turned back into the older
//! layout by hand, and must come out of the migration as it was.

use crate::oracle::Oracle;
use crate::order::{assert_is, step, write};
use crate::world::{NOW_MS, Script, Store};
use proptest::strategy::{Strategy as _, ValueTree as _};
use tombolo_model::OpId;
use tombolo_oplog::rusqlite::{Connection, params};
use tombolo_oplog::{Log, NoFold, Open};

/// The tables of version 1 that later versions changed.
const TABLES_1: &str = "
CREATE TABLE op_1 (
    arrival INTEGER PRIMARY KEY, conversation INTEGER NOT NULL, log INTEGER NOT NULL, seq INTEGER NOT NULL,
    hlc INTEGER NOT NULL, prefix INTEGER NOT NULL, state INTEGER NOT NULL, source INTEGER NOT NULL,
    body_len INTEGER NOT NULL, id BLOB NOT NULL, chain BLOB NOT NULL, rest BLOB NOT NULL, prev BLOB, body_hash BLOB,
    signature BLOB, body BLOB) STRICT;
CREATE TABLE missing_1 (
    conversation INTEGER NOT NULL, prefix INTEGER NOT NULL, id BLOB NOT NULL, waiter INTEGER NOT NULL,
    PRIMARY KEY (conversation, prefix, id, waiter)) STRICT, WITHOUT ROWID;
";

fn prefix_1(id: &[u8]) -> i64 {
    (OpId::try_from(id).unwrap().prefix() ^ 1 << 63) as i64
}

/// Makes a file of version 1 out of today's.
fn turn_back(path: &std::path::Path) {
    let conn = Connection::open(path).unwrap();
    conn.execute_batch(TABLES_1).unwrap();
    let ids = |sql: &str| -> Vec<(i64, Vec<u8>)> {
        let mut statement = conn.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.map(Result::unwrap).collect()
    };
    conn.execute_batch("BEGIN").unwrap();
    for (arrival, id) in ids("SELECT arrival, id FROM op") {
        // Version 1 left prev out where it was the earliest arrival at the place before, and wrote it out otherwise.
        conn.prepare_cached(
            "INSERT INTO op_1 SELECT arrival, conversation, log, seq, hlc, ?2,
             coalesce((SELECT state FROM undelivered u WHERE u.arrival = o.arrival), 0), source, body_len, id, chain, rest,
             CASE WHEN typeof(prev) <> 'integer' THEN prev
             WHEN prev = (SELECT min(p.arrival) FROM op p WHERE +p.log = o.log AND p.seq = o.seq - 1
             AND p.arrival BETWEEN o.prev - 300 AND o.prev) THEN NULL
             ELSE (SELECT p.id FROM op p WHERE p.arrival = o.prev) END, body_hash, signature, body
             FROM op o WHERE arrival = ?1",
        )
        .unwrap()
        .execute(params![arrival, prefix_1(&id)])
        .unwrap();
    }
    for (waiter, id) in ids("SELECT waiter, id FROM missing") {
        conn.execute(
            "INSERT INTO missing_1 SELECT conversation, ?3, id, waiter FROM missing WHERE waiter = ?1 AND id = ?2",
            params![waiter, id, prefix_1(&id)],
        )
        .unwrap();
    }
    conn.execute_batch(
        "DROP TABLE gone; DROP TABLE erase; DROP TABLE expiry; DROP TABLE wanted; DROP TABLE pruned;
         DROP INDEX stranger_expires; ALTER TABLE stranger DROP COLUMN expires_ms",
    )
    .unwrap();
    let heads = ids("SELECT n, heads FROM conversation");
    conn.execute_batch(
        "CREATE TABLE head (conversation INTEGER NOT NULL, id BLOB NOT NULL, hlc INTEGER NOT NULL,
         PRIMARY KEY (conversation, id)) STRICT, WITHOUT ROWID;
         ALTER TABLE conversation DROP COLUMN heads; DROP TABLE listed",
    )
    .unwrap();
    for (n, heads) in heads {
        for head in heads.chunks(40) {
            let hlc = i64::from_be_bytes(head[32..].try_into().unwrap());
            conn.execute("INSERT INTO head VALUES (?1, ?2, ?3)", params![n, &head[..32], hlc]).unwrap();
        }
    }
    conn.execute_batch(
        "DROP TABLE op; ALTER TABLE op_1 RENAME TO op; DROP TABLE missing; ALTER TABLE missing_1 RENAME TO missing;
         CREATE INDEX op_prefix ON op (prefix); CREATE INDEX op_log ON op (log, seq);
         CREATE INDEX op_waiting ON op (state, hlc) WHERE state <> 0; CREATE INDEX missing_waiter ON missing (waiter);
         DROP TABLE voucher; ALTER TABLE peer DROP COLUMN streamed; DROP TABLE log_page; DROP TABLE id_page; DROP TABLE undelivered; ALTER TABLE log DROP COLUMN tip_arrival;
         DROP TABLE register; DROP TABLE register_sum; DROP TABLE register_peer;
         UPDATE schema SET version = 1 WHERE component = 'oplog'; COMMIT",
    )
    .unwrap();
}

fn migrated(store: Store) -> Store {
    let Store { folder, log } = store;
    let path = log.path().to_path_buf();
    log.close().unwrap();
    turn_back(&path);
    Store { folder, log: Log::open(Open::new(path, 3)).unwrap() }
}

#[test]
fn version_1_opens_with_everything_in_every_state() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for _ in 0..6 {
        let steps = proptest::collection::vec(step(), 60..70).new_tree(&mut runner).unwrap().current();
        let script = write(&steps);
        let mut store = Store::new();
        store.take(&script.written);
        let mut store = migrated(store);
        assert_is(&store, &script, &Oracle::of(&script.written, NOW_MS));
        // And it goes on from there.
        let mut batch = store.log.batch().unwrap();
        batch.release_early(NOW_MS + 3_600_000, &mut NoFold).unwrap();
        batch.commit().unwrap();
        assert_is(&store, &script, &Oracle::of(&script.written, NOW_MS + 3_600_000));
    }
}

/// Many enough for several eras of ids and pages of logs, both before and after.
#[test]
fn a_large_file_of_version_1_opens() {
    let mut script = Script::new(1);
    for at in 0..40_000_usize {
        script.text(1, &[], &at.to_string());
    }
    let (before, after) = script.written.split_at(36_000);
    let mut store = Store::new();
    store.take(before);
    let mut store = migrated(store);
    store.assert_healthy();
    store.take(after);
    store.assert_healthy();
    let id = script.conversation;
    for one in script.written.iter().step_by(997) {
        assert_eq!(store.log.op(&id, &one.op.id).unwrap().as_ref(), Some(&*one.op));
        assert_eq!(store.log.by_prefix(&id, &[one.op.id.prefix()]).unwrap(), vec![one.op.clone().into_op()]);
    }
    let mut fresh = Store::new();
    fresh.take(&script.written);
    assert_eq!(fresh.log.proof(&id).unwrap(), store.log.proof(&id).unwrap());
    assert_eq!(fresh.nodes(), store.nodes());
}
