//! Power cuts after every operation of a workload: which settings of SQLite keep what they acknowledged, and, as a
//! control that the disk really loses something, which do not. Prints the states tried and the rate.
//! Read next: `common/mod.rs`, `faults.rs`.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant};

use common::{Setting, judge, write};
use tombolo_testkit::disk::{Disk, FaultKind, Recording, Repeat};

/// What became of many power cuts.
#[derive(Debug, Default)]
struct Tally {
    states: u64,
    /// States in which at least one acknowledged transaction is missing.
    lossy: u64,
    most_lost: u64,
    corrupt: u64,
    example: Option<String>,
    elapsed: Duration,
}

impl Tally {
    fn add(&mut self, setting: &Setting, survivor: &Disk, acknowledged: u64, at: &str) {
        self.states += 1;
        let outcome = setting.connect(survivor).map_err(|e| e.to_string()).and_then(|db| judge(&db));
        match outcome {
            Ok(last) if last < acknowledged => {
                self.lossy += 1;
                self.most_lost = self.most_lost.max(acknowledged - last);
            }
            Ok(last) if last > acknowledged + 1 => panic!("{at}: {last} transactions, {acknowledged} acknowledged"),
            Ok(_) => {}
            Err(wrong) => {
                self.corrupt += 1;
                self.example.get_or_insert_with(|| format!("{at}: {wrong}"));
            }
        }
    }

    fn print(&self, what: &str) {
        println!(
            "{what}: {} states, {} lost something ({:.1} %), at most {} transactions, {} corrupt; {:.0} states/s",
            self.states,
            self.lossy,
            self.lossy as f64 * 100.0 / self.states as f64,
            self.most_lost,
            self.corrupt,
            self.states as f64 / self.elapsed.as_secs_f64()
        );
    }
}

/// Runs `txns` transactions from an empty disk on, and closes the database.
fn record(setting: &Setting, disk: &Disk, txns: u64) -> Recording {
    disk.start_recording();
    let mut db = setting.create(disk).unwrap();
    for txn in 1..=txns {
        write(&mut db, txn).unwrap();
        disk.mark(txn);
    }
    db.close().unwrap();
    disk.stop_recording()
}

/// Cuts the power after every operation, `seeds` times each.
fn sweep(setting: &Setting, recording: &Recording, seeds: u64) -> Tally {
    let start = Instant::now();
    let mut tally = Tally::default();
    let mut replay = recording.replay();
    loop {
        for seed in 0..seeds {
            let at = format!("{setting:?}, operation {}, seed {seed}", replay.ops_done());
            tally.add(setting, &replay.power_loss(seed), replay.mark(), &at);
        }
        if !replay.step() {
            break;
        }
    }
    tally.elapsed = start.elapsed();
    tally
}

fn run(setting: Setting, prepare: impl FnOnce(&Disk), seeds: u64) -> Tally {
    let disk = Disk::new(1);
    prepare(&disk);
    let recording = record(&setting, &disk, 60);
    let tally = sweep(&setting, &recording, seeds);
    tally.print(&format!("{setting:?} ({} operations)", recording.len()));
    assert!(tally.states >= recording.len() as u64 * seeds, "every operation was visited");
    tally
}

fn assert_holds(tally: &Tally) {
    assert_eq!((tally.lossy, tally.corrupt), (0, 0), "{tally:?}");
}

#[test]
fn wal_full_loses_nothing() {
    assert_holds(&run(Setting::new("wal", "FULL"), |_| {}, 12));
}

#[test]
fn wal_full_with_a_key_loses_nothing() {
    assert_holds(&run(Setting::new("wal", "FULL").keyed(), |_| {}, 6));
}

/// The control: without a sync at each commit, acknowledged transactions must be seen to get lost.
#[test]
fn wal_normal_loses_acknowledged_transactions_but_stays_consistent() {
    let tally = run(Setting::new("wal", "NORMAL"), |_| {}, 12);
    assert!(tally.lossy * 100 > tally.states * 30, "{tally:?}");
    assert_eq!(tally.corrupt, 0, "{tally:?}");
}

#[test]
fn wal_full_with_a_key_on_a_disk_that_lies_loses() {
    let tally = run(Setting::new("wal", "FULL").keyed(), |disk| disk.lie_on_sync(true), 2);
    assert!(tally.lossy + tally.corrupt > 0, "{tally:?}");
}

#[test]
fn wal_full_on_a_disk_that_lies_loses() {
    let tally = run(Setting::new("wal", "FULL"), |disk| disk.lie_on_sync(true), 6);
    assert!(tally.lossy > 0, "{tally:?}");
}

#[test]
fn wal_without_sync_gets_corrupt() {
    let tally = run(Setting::new("wal", "OFF"), |_| {}, 6);
    assert!(tally.lossy > 0 && tally.corrupt > 0, "{tally:?}");
}

#[test]
fn delete_journal_full_holds_where_the_directory_is_durable() {
    assert_holds(&run(Setting::new("delete", "FULL"), |disk| disk.set_directory_durable_at_once(true), 6));
}

/// With FULL the deletion of the journal, which is the commit, is not synced: the journal may come back and undo the
/// last transaction. EXTRA is there for that.
#[test]
fn delete_journal_needs_extra_where_deletions_wait() {
    let full = run(Setting::new("delete", "FULL"), |_| {}, 6);
    assert!(full.lossy > 0 && full.most_lost == 1 && full.corrupt == 0, "{full:?}");
    assert_holds(&run(Setting::new("delete", "EXTRA"), |_| {}, 6));
}

/// These two commit by truncating or overwriting the journal, which is synced.
#[test]
fn truncate_and_persist_journals_hold() {
    assert_holds(&run(Setting::new("truncate", "FULL"), |_| {}, 6));
    assert_holds(&run(Setting::new("persist", "FULL"), |_| {}, 6));
}

/// The power fails again while the database recovers from the first cut, and then goes on.
#[test]
fn second_cut_during_recovery_loses_nothing() {
    for setting in [Setting::new("wal", "FULL"), Setting::new("truncate", "FULL")] {
        let first = record(&setting, &Disk::new(3), 12);
        let mut tally = Tally::default();
        let start = Instant::now();
        let mut replay = first.replay();
        while replay.step() {
            // What the first cut left is on the disk for good, so the second one must not take it away.
            let survivor = replay.power_loss(7);
            let left = judge(&setting.connect(&survivor.copy(0)).unwrap()).unwrap();
            assert!(left >= replay.mark());
            survivor.mark(left);
            survivor.start_recording();
            let mut db = setting.create(&survivor).unwrap();
            write(&mut db, left + 1).unwrap();
            survivor.mark(left + 1);
            drop(db);
            let second = survivor.stop_recording();
            let mut second = second.replay();
            loop {
                for seed in 0..2 {
                    let at = format!("{setting:?}, operations {} and {}", replay.ops_done(), second.ops_done());
                    tally.add(&setting, &second.power_loss(seed), second.mark(), &at);
                }
                if !second.step() {
                    break;
                }
            }
        }
        tally.elapsed = start.elapsed();
        tally.print(&format!("second cut, {setting:?}"));
        assert_holds(&tally);
    }
}

/// A live disk is cut in the middle of running code: every later operation fails, then a survivor is made.
#[test]
fn live_cut_at_every_operation() {
    let setting = Setting::new("wal", "FULL");
    let mut finished = false;
    for k in 1.. {
        let disk = Disk::new(k);
        disk.fail_from(k, FaultKind::Io, Repeat::FromThenOn);
        let mut acknowledged = 0;
        if let Ok(mut db) = setting.create(&disk) {
            while acknowledged < 10 && write(&mut db, acknowledged + 1).is_ok() {
                acknowledged += 1;
            }
        }
        let last = judge(&setting.connect(&disk.power_loss(k)).unwrap()).unwrap();
        assert!((acknowledged..=acknowledged + 1).contains(&last), "k = {k}: {last}, acknowledged {acknowledged}");
        if disk.faults_hit() == 0 {
            finished = true;
            println!("live cuts: {k} points");
            break;
        }
    }
    assert!(finished);
}

/// The same seed gives the same survivors. Bytes may differ (SQLite draws salts), names, sizes and rows may not.
#[test]
fn survivors_repeat() {
    let setting = Setting::new("wal", "NORMAL");
    let shape = |disk: &Disk| {
        let sizes: Vec<_> = disk.files().into_iter().map(|name| (disk.read_file(&name).unwrap().len(), name)).collect();
        (sizes, judge(&setting.connect(disk).unwrap()).unwrap())
    };
    let run = |seed: u64| {
        let recording = record(&setting, &Disk::new(5), 20);
        let mut replay = recording.replay();
        let mut shapes = Vec::new();
        while replay.step() {
            shapes.push(shape(&replay.power_loss(seed)));
        }
        let half = recording.power_loss_after(shapes.len() / 2, seed);
        assert_eq!(shape(&half), shapes[shapes.len() / 2 - 1]);
        shapes
    };
    assert_eq!(run(11), run(11));
    assert_ne!(run(11), run(12));
}
