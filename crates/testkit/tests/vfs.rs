//! The simulated disk as a VFS: isolation and locks between connections, threads, many disks at once, files, time, and
//! what opening a database costs.
//! Read next: `common/mod.rs`, `power_loss.rs`.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{DB, KEY, Setting, judge, write};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use tombolo_testkit::disk::Disk;

fn count(db: &Connection) -> i64 {
    db.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
}

fn is_busy(result: rusqlite::Result<()>) -> bool {
    result.is_err_and(|error| error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy))
}

#[test]
fn wal_reader_keeps_its_snapshot() {
    let disk = Disk::new(1);
    let writer = disk.connect(DB).unwrap();
    writer.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (x); INSERT INTO t VALUES (1)").unwrap();
    let reader = disk.connect(DB).unwrap();
    let late = disk.connect(DB).unwrap();
    reader.execute_batch("BEGIN").unwrap();
    assert_eq!(count(&reader), 1);
    writer.execute_batch("BEGIN IMMEDIATE; INSERT INTO t VALUES (2)").unwrap();
    assert_eq!((count(&writer), count(&reader), count(&late)), (2, 1, 1));
    assert!(is_busy(late.execute_batch("BEGIN IMMEDIATE")), "one writer at a time");
    writer.execute_batch("COMMIT").unwrap();
    assert_eq!((count(&reader), count(&late)), (1, 2), "the snapshot stays, a new read sees the commit");
    // The reader's snapshot must not be overwritten by a checkpoint.
    let (busy, ..): (i64, i64, i64) = writer
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap();
    assert_eq!(busy, 1);
    assert_eq!(count(&reader), 1);
    assert!(is_busy(reader.execute_batch("INSERT INTO t VALUES (3)")), "a stale snapshot cannot write");
    reader.execute_batch("COMMIT").unwrap();
    assert_eq!(count(&reader), 2);
    let (busy, ..): (i64, i64, i64) = writer
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap();
    assert_eq!((busy, disk.read_file("device.db-wal").unwrap().len()), (0, 0));
    // The log goes when the last connection does.
    drop((writer, reader));
    assert!(disk.files().contains(&"device.db-wal".to_owned()));
    drop(late);
    assert_eq!(disk.files(), [DB]);
}

#[test]
fn journal_locks_exclude() {
    let disk = Disk::new(1);
    let a = disk.connect(DB).unwrap();
    a.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1)").unwrap();
    let b = disk.connect(DB).unwrap();
    a.execute_batch("BEGIN IMMEDIATE; INSERT INTO t VALUES (2)").unwrap();
    assert_eq!(count(&b), 1, "reserved: others still read");
    assert!(is_busy(b.execute_batch("BEGIN IMMEDIATE")));
    b.execute_batch("BEGIN").unwrap();
    assert_eq!(count(&b), 1);
    assert!(is_busy(a.execute_batch("COMMIT")), "a reader keeps the commit waiting");
    let c = disk.connect(DB).unwrap();
    assert!(is_busy(c.query_row("SELECT count(*) FROM t", [], |_| Ok(()))), "pending: no new readers");
    b.execute_batch("COMMIT").unwrap();
    a.execute_batch("COMMIT").unwrap();
    assert_eq!((count(&a), count(&b), count(&c)), (2, 2, 2));
    a.execute_batch("BEGIN EXCLUSIVE").unwrap();
    assert!(is_busy(b.query_row("SELECT count(*) FROM t", [], |_| Ok(()))));
    a.execute_batch("ROLLBACK").unwrap();
    assert_eq!(count(&b), 2);
}

/// One writer and three readers on threads of their own. Every reader sees whole transactions, never fewer than before.
/// The writer waits for each reader every ten transactions, so that reads and writes do mix.
#[test]
fn threads_share_one_database() {
    let disk = Arc::new(Disk::new(1));
    disk.set_real_sleep(true);
    let setting = Setting::new("wal", "FULL");
    let mut writer = setting.create(&disk).unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (disk, done) = (Arc::clone(&disk), Arc::clone(&done));
            let reads = Arc::new(AtomicU64::new(0));
            let counter = Arc::clone(&reads);
            let thread = std::thread::spawn(move || {
                let db = setting.connect(&disk).unwrap();
                let mut seen = 0;
                loop {
                    let last_round = done.load(Ordering::SeqCst);
                    let now = judge(&db).unwrap();
                    assert!(now >= seen, "a reader went back from {seen} to {now}");
                    seen = now;
                    counter.fetch_add(1, Ordering::SeqCst);
                    if last_round {
                        return seen;
                    }
                }
            });
            (thread, reads)
        })
        .collect();
    for txn in 1..=100 {
        write(&mut writer, txn).unwrap();
        for (thread, reads) in readers.iter().filter(|_| txn % 10 == 0) {
            let before = reads.load(Ordering::SeqCst);
            while reads.load(Ordering::SeqCst) == before && !thread.is_finished() {
                std::thread::yield_now();
            }
        }
    }
    done.store(true, Ordering::SeqCst);
    for (thread, reads) in readers {
        assert_eq!(thread.join().unwrap(), 100);
        assert!(reads.load(Ordering::SeqCst) > 10);
    }
    assert_eq!(judge(&setting.connect(&disk.power_loss(1)).unwrap()), Ok(100));
}

#[test]
fn thousand_disks_come_and_go() {
    let start = Instant::now();
    for seed in 0..1_000 {
        drop(Disk::new(seed));
    }
    let one_by_one = start.elapsed();
    let start = Instant::now();
    let disks: Vec<_> = (0..1_000).map(Disk::new).collect();
    let names: BTreeSet<&str> = disks.iter().map(Disk::vfs).collect();
    assert_eq!(names.len(), 1_000, "every living disk has a name of its own");
    for disk in disks.iter().step_by(100) {
        disk.connect(DB).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    }
    drop(disks);
    println!("1,000 disks, one after the other: {one_by_one:?}; all at once: {:?}", start.elapsed());
    assert!(one_by_one < Duration::from_secs(5));
}

#[test]
fn disk_may_go_before_its_connections() {
    let disk = Disk::new(1);
    let vfs = disk.vfs().to_owned();
    let db = disk.connect(DB).unwrap();
    db.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (x)").unwrap();
    let memory = disk.connect(":memory:").unwrap();
    drop(disk);
    // The table of the dropped disk is still in use, so the next disk must not get it.
    let next = Disk::new(2);
    assert_ne!(next.vfs(), vfs);
    db.execute_batch("INSERT INTO t VALUES (1); PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    assert_eq!(count(&db), 1);
    db.close().unwrap();
    // Nothing is open in files, yet this connection still asks its VFS for the time.
    let answer = memory.query_row("SELECT datetime('now')", [], |row| row.get::<_, Option<String>>(0));
    assert!(!matches!(answer, Ok(Some(time)) if time.is_empty()));
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    drop(next);
    assert!(Connection::open_with_flags_and_vfs(DB, flags, "tombolo-disk-none").is_err());
}

#[test]
fn time_is_that_of_the_disk() {
    let disk = Disk::new(1);
    let db = disk.connect(DB).unwrap();
    disk.set_time_ms(951_782_400_000);
    let now: String = db.query_row("SELECT datetime('now')", [], |row| row.get(0)).unwrap();
    assert_eq!(now, "2000-02-29 00:00:00");
    disk.set_time_ms(951_782_400_000 + 61_000);
    let now: String = db.query_row("SELECT datetime('now')", [], |row| row.get(0)).unwrap();
    assert_eq!(now, "2000-02-29 00:01:01");
    assert_eq!(
        disk.power_loss(1).connect(DB).unwrap().query_row("SELECT unixepoch()", [], |row| row.get(0)),
        Ok(951_782_461)
    );
}

#[test]
fn files_can_be_carried_over() {
    let setting = Setting::new("wal", "FULL").keyed();
    let disk = Disk::new(1);
    let mut db = setting.create(&disk).unwrap();
    for txn in 1..=20 {
        write(&mut db, txn).unwrap();
    }
    // A profile copied while it is open, by hand and by `copy`.
    assert_eq!(disk.files(), [DB, "device.db-wal"]);
    let by_hand = Disk::new(2);
    for name in disk.files() {
        by_hand.write_file(&name, &disk.read_file(&name).unwrap());
    }
    for copy in [by_hand, disk.copy(3)] {
        let mut db = setting.connect(&copy).unwrap();
        assert_eq!(judge(&db), Ok(20));
        write(&mut db, 21).unwrap();
        assert_eq!(judge(&setting.connect(&copy.power_loss(4)).unwrap()), Ok(21));
    }
    assert_eq!(judge(&db), Ok(20), "the original does not know of the copies");
    write(&mut db, 21).unwrap();
    let old = disk.copy(5);
    assert_eq!(judge(&setting.connect(&old.copy(6)).unwrap()), Ok(21));
    // Without its log a copy is back where the last checkpoint was: what a careless backup loses.
    assert!(old.remove_file("device.db-wal") && !old.remove_file("device.db-wal"));
    assert!(judge(&setting.connect(&old).unwrap()).unwrap() < 21);
    assert!(disk.read_file("nothing").is_none());
}

/// The bytes on the disk of a keyed database do not look like a database.
#[test]
fn keyed_database_is_sealed() {
    let disk = Disk::new(1);
    let db = disk.connect(DB).unwrap();
    db.execute_batch(&format!("PRAGMA key = \"{KEY}\"; CREATE TABLE t (x); INSERT INTO t VALUES ('marker')")).unwrap();
    db.close().unwrap();
    let bytes = disk.read_file(DB).unwrap();
    assert!(!bytes.starts_with(b"SQLite format 3"));
    assert!(!bytes.windows(6).any(|window| window == b"marker"));
    let plain = disk.connect(DB).unwrap();
    assert!(plain.execute_batch("PRAGMA cipher_log_level = NONE; SELECT count(*) FROM t").is_err());
}

/// Not a proof, a figure: what a simulation pays for each database that it opens.
#[test]
fn opening_is_cheap() {
    const ROUNDS: u32 = 200;
    for key in [None, Some(KEY)] {
        let start = Instant::now();
        let mut bytes = 0;
        for round in 0..ROUNDS {
            let disk = Disk::new(u64::from(round));
            let db = disk.connect(DB).unwrap();
            if let Some(key) = key {
                db.execute_batch(&format!("PRAGMA key = \"{key}\"")).unwrap();
            }
            db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; BEGIN").unwrap();
            for table in 0..15 {
                db.execute_batch(&format!("CREATE TABLE t{table} (id INTEGER PRIMARY KEY, a BLOB, b TEXT, c INTEGER)"))
                    .unwrap();
            }
            db.execute_batch("COMMIT; INSERT INTO t3 VALUES (1, x'00', 'one', 2)").unwrap();
            db.close().unwrap();
            bytes += disk.bytes_written();
        }
        let each = start.elapsed() / ROUNDS;
        println!(
            "open, WAL, 15 tables, one insert, close ({}): {each:?} and {} bytes written each",
            if key.is_some() { "raw key" } else { "no key" },
            bytes / u64::from(ROUNDS)
        );
        assert!(each < Duration::from_millis(100));
    }
}
