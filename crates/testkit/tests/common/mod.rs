//! A workload of numbered transactions and the judge of what is left of it; shared by the tests of the simulated disk.
//! Every transaction writes 1 to 3 rows of known bytes, so a lost, half or damaged one is seen.
//! Read next: `../power_loss.rs`.
#![allow(clippy::unwrap_used, dead_code)]

use rusqlite::{Connection, params};
use tombolo_testkit::disk::Disk;
use tombolo_testkit::rng::Rng;

/// File name of the database in all tests.
pub(crate) const DB: &str = "device.db";
/// A raw key: no key derivation, which would take longer than everything else.
pub(crate) const KEY: &str = "x'2DD29CA851E7B56E4697B0E1F08507293D761A05CE4D1B628663F411A8086D99'";

/// How a database is opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) journal: &'static str,
    pub(crate) synchronous: &'static str,
    pub(crate) keyed: bool,
}

impl Setting {
    pub(crate) const fn new(journal: &'static str, synchronous: &'static str) -> Self {
        Self { journal, synchronous, keyed: false }
    }

    pub(crate) const fn keyed(self) -> Self {
        Self { keyed: true, ..self }
    }

    /// Opens without changing anything on the disk.
    pub(crate) fn connect(&self, disk: &Disk) -> rusqlite::Result<Connection> {
        let db = disk.connect(DB)?;
        if self.keyed {
            // SQLCipher writes each failed check to stderr; the judge sees it anyway.
            db.execute_batch(&format!("PRAGMA cipher_log_level = NONE; PRAGMA key = \"{KEY}\""))?;
        }
        // Few pages between checkpoints, so that short workloads have many of them.
        db.execute_batch(&format!("PRAGMA synchronous = {}; PRAGMA wal_autocheckpoint = 12", self.synchronous))?;
        Ok(db)
    }

    /// Opens, sets the journal mode and makes the table.
    pub(crate) fn create(&self, disk: &Disk) -> rusqlite::Result<Connection> {
        let db = self.connect(disk)?;
        // SQLite answers with a row before it commits the new mode. Reading that row alone (`query_row`) would miss an
        // error of the commit and believe in a mode that the database is not in.
        let modes: Vec<String> = db
            .prepare(&format!("PRAGMA journal_mode = {}", self.journal))?
            .query_map([], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        assert_eq!(modes, [self.journal]);
        db.execute_batch(
            "CREATE TABLE IF NOT EXISTS rows (txn INTEGER, part INTEGER, body BLOB, PRIMARY KEY (txn, part))",
        )?;
        Ok(db)
    }
}

fn parts(txn: u64) -> u64 {
    1 + txn % 3
}

fn body(txn: u64, part: u64) -> Vec<u8> {
    let mut rng = Rng::new(txn).fork(&format!("body {part}"));
    let mut body = vec![0; rng.range(10..700) as usize];
    rng.fill(&mut body);
    body
}

/// Writes transaction number `txn`.
pub(crate) fn write(db: &mut Connection, txn: u64) -> rusqlite::Result<()> {
    let transaction = db.transaction()?;
    for part in 0..parts(txn) {
        transaction.prepare_cached("INSERT INTO rows VALUES (?1, ?2, ?3)")?.execute(params![
            txn as i64,
            part as i64,
            body(txn, part)
        ])?;
    }
    transaction.commit()
}

/// The number of the last transaction if all of them up to it are there, whole and undamaged; else what is wrong.
pub(crate) fn judge(db: &Connection) -> Result<u64, String> {
    let tables: i64 =
        db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(|e| e.to_string())?;
    if tables == 0 {
        return Ok(0);
    }
    let verdict: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).map_err(|e| e.to_string())?;
    if verdict != "ok" {
        return Err(verdict);
    }
    let mut expected = (1_u64, 0_u64);
    let mut statement = db.prepare("SELECT txn, part, body FROM rows ORDER BY txn, part").map_err(|e| e.to_string())?;
    let mut rows = statement.query([]).map_err(|e| e.to_string())?;
    while let Some(row) = rows.next().map_err(|e| e.to_string())? {
        let found = (row.get::<_, i64>(0).unwrap() as u64, row.get::<_, i64>(1).unwrap() as u64);
        if found != expected {
            return Err(format!("found row {found:?} instead of {expected:?}"));
        }
        if row.get_ref(2).unwrap().as_blob().ok() != Some(&body(found.0, found.1)) {
            return Err(format!("row {found:?} is damaged"));
        }
        expected = if found.1 + 1 == parts(found.0) { (found.0 + 1, 0) } else { (found.0, found.1 + 1) };
    }
    if expected.1 == 0 { Ok(expected.0 - 1) } else { Err(format!("transaction {} is not whole", expected.0)) }
}
