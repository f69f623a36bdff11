//! Faults while a database is written: every operation fails once, and every operation fails from there on. Whatever
//! SQLite answered, what it acknowledged is there afterwards, and the database is whole.
//! Read next: `power_loss.rs`, `common/mod.rs`.
#![allow(clippy::unwrap_used)]

mod common;

use common::{DB, Setting, judge, write};
use rusqlite::ErrorCode;
use tombolo_testkit::disk::{Disk, FaultKind, Repeat};

const TXNS: u64 = 12;

/// Runs the workload with a fault at operation `k`; returns how many transactions were acknowledged, and the first
/// error.
fn run(setting: &Setting, disk: &Disk) -> (u64, Option<rusqlite::Error>) {
    let mut acknowledged = 0;
    let mut first = None;
    match setting.create(disk) {
        Err(error) => first = Some(error),
        Ok(mut db) => {
            for txn in 1..=TXNS {
                match write(&mut db, txn) {
                    Ok(()) => acknowledged = txn,
                    Err(error) => {
                        first.get_or_insert(error);
                        break;
                    }
                }
            }
        }
    }
    (acknowledged, first)
}

/// Fails operation 1, 2, ... until a run is not hit any more. Returns how many points were tried.
fn every_point(setting: &Setting, kind: FaultKind, repeat: Repeat) -> u64 {
    let mut errors = 0;
    for k in 1.. {
        let disk = Disk::new(k);
        disk.fail_from(k, kind, repeat);
        let (acknowledged, error) = run(setting, &disk);
        if disk.faults_hit() == 0 {
            assert_eq!((acknowledged, error), (TXNS, None));
            assert!(errors > 0, "{setting:?}, {kind:?}: no fault was ever reported");
            return k - 1;
        }
        errors += u64::from(error.is_some());
        disk.clear_faults();
        for (what, left) in [("power cut", disk.power_loss(k)), ("restart", disk)] {
            let last = judge(&setting.connect(&left).unwrap());
            let allowed = acknowledged..=acknowledged + 1;
            assert!(
                last.as_ref().is_ok_and(|last| allowed.contains(last)),
                "{setting:?}, {kind:?} {repeat:?} at {k}, {what}: {last:?}, acknowledged {acknowledged}, {error:?}"
            );
        }
    }
    unreachable!("the loop returns")
}

#[test]
fn every_operation_fails_once_and_for_good() {
    for setting in [Setting::new("wal", "FULL"), Setting::new("delete", "EXTRA"), Setting::new("wal", "FULL").keyed()] {
        for kind in [FaultKind::Io, FaultKind::Full, FaultKind::Sync] {
            for repeat in [Repeat::Once, Repeat::FromThenOn] {
                let points = every_point(&setting, kind, repeat);
                println!("{setting:?}, {kind:?} {repeat:?}: {points} points");
            }
        }
    }
}

/// A full disk is reported as such, the database stays readable, and writing goes on once there is room.
#[test]
fn full_disk_is_reported_and_overcome() {
    let setting = Setting::new("wal", "FULL");
    let disk = Disk::new(1);
    let mut db = setting.create(&disk).unwrap();
    write(&mut db, 1).unwrap();
    disk.fail_from(1, FaultKind::Full, Repeat::FromThenOn);
    for _ in 0..3 {
        let error = write(&mut db, 2).unwrap_err();
        assert_eq!(error.sqlite_error_code(), Some(ErrorCode::DiskFull), "{error}");
    }
    assert_eq!(judge(&db), Ok(1));
    assert_eq!(judge(&setting.connect(&disk.power_loss(9)).unwrap()), Ok(1));
    disk.clear_faults();
    write(&mut db, 2).unwrap();
    assert_eq!(judge(&db), Ok(2));
    assert_eq!(disk.faults_hit(), 3);
}

#[test]
fn failed_sync_fails_the_commit() {
    let setting = Setting::new("wal", "FULL");
    let disk = Disk::new(1);
    let mut db = setting.create(&disk).unwrap();
    let syncs = disk.sync_count();
    write(&mut db, 1).unwrap();
    assert!(disk.sync_count() > syncs, "FULL syncs at every commit");
    disk.fail_from(1, FaultKind::Sync, Repeat::Once);
    assert_eq!(write(&mut db, 2).unwrap_err().sqlite_error_code(), Some(ErrorCode::SystemIoFailure));
    write(&mut db, 2).unwrap();
    assert_eq!(judge(&setting.connect(&disk.power_loss(3)).unwrap()), Ok(2));
}

/// A flipped bit in a page that is in use is on the disk, and SQLCipher, unlike plain SQLite, refuses the page.
#[test]
fn flipped_bit_is_seen_by_a_keyed_database() {
    let setting = Setting::new("wal", "FULL").keyed();
    let disk = Disk::new(1);
    let mut db = setting.create(&disk).unwrap();
    for txn in 1..=TXNS {
        write(&mut db, txn).unwrap();
    }
    db.close().unwrap();
    assert_eq!(disk.files(), [DB]);
    let before = disk.read_file(DB).unwrap();
    for page in 0..before.len() / 4_096 {
        let copy = disk.copy(0);
        copy.flip_bit(DB, page * 4_096 + 100, 3);
        let after = copy.read_file(DB).unwrap();
        assert_eq!(before.iter().zip(&after).filter(|(a, b)| a != b).count(), 1);
        assert!(setting.connect(&copy).map_err(|e| e.to_string()).and_then(|db| judge(&db)).is_err(), "page {page}");
    }
    assert_eq!(judge(&setting.connect(&disk).unwrap()), Ok(TXNS), "the copied disk is untouched");
}
