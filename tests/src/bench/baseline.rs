//! What the product is compared with: SQLite used directly, and the disk itself. Below 60 lines each.
//!
//! Same build of SQLite, plain tables without secondary indexes, the settings of the product's writer.

use super::Measured;
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

/// The settings; said before the rows that use them.
pub const SETTINGS: &str = "journal_mode=WAL synchronous=FULL foreign_keys=ON temp_store=MEMORY secure_delete=ON \
journal_size_limit=4096000 wal_autocheckpoint=1000 cache_size=-32000";

/// A row: for which table, and its values.
pub type RawRow = (usize, Vec<Value>);

/// Two plain tables in a file of their own.
#[derive(Debug)]
pub struct Raw {
    conn: Connection,
    inserts: [String; 2],
}

impl Raw {
    /// Makes the file, with as many columns per table as given; the first column is the rowid.
    ///
    /// # Errors
    /// SQLite's.
    pub fn new(path: &Path, columns: [usize; 2]) -> Measured<Self> {
        let conn = Connection::open(path)?;
        for setting in SETTINGS.split_whitespace() {
            conn.query_row(&format!("PRAGMA {setting}"), [], |_| Ok(())).or_else(|error| match error {
                rusqlite::Error::QueryReturnedNoRows => Ok(()),
                other => Err(other),
            })?;
        }
        let inserts = [0, 1].map(|table| {
            let marks: Vec<String> = (1..=columns[table]).map(|number| format!("?{number}")).collect();
            format!("INSERT INTO t{table} VALUES ({})", marks.join(", "))
        });
        for (table, columns) in columns.iter().enumerate() {
            let names: Vec<String> = (1..*columns).map(|number| format!("c{number}")).collect();
            conn.execute_batch(&format!("CREATE TABLE t{table} (n INTEGER PRIMARY KEY, {})", names.join(", ")))?;
        }
        Ok(Self { conn, inserts })
    }

    /// Inserts rows in one transaction; how long until they were durable.
    ///
    /// # Errors
    /// SQLite's.
    pub fn insert(&mut self, rows: &[RawRow]) -> Measured<Duration> {
        let began = Instant::now();
        let tx = self.conn.transaction()?;
        for (table, values) in rows {
            tx.prepare_cached(&self.inserts[*table])?.execute(params_from_iter(values))?;
        }
        tx.commit()?;
        Ok(began.elapsed())
    }
}

/// A file to sync: one fsync of this disk is what anything durable costs at least.
#[derive(Debug)]
pub struct Disk {
    file: File,
    index: u64,
}

/// What [`Disk::sync`] does, said before the rows that use it.
pub const SYNC: &str = "one 4 KiB page written over an existing one, then fdatasync, as a WAL in use does";

impl Disk {
    /// Makes a file of 256 KiB.
    ///
    /// # Errors
    /// The disk's.
    pub fn new(path: &Path) -> Measured<Self> {
        let mut file = File::options().create(true).truncate(true).read(true).write(true).open(path)?;
        file.write_all(&[0; 64 * 4096])?;
        file.sync_all()?;
        Ok(Self { file, index: 0 })
    }

    /// Syncs once; how long it took.
    ///
    /// # Errors
    /// The disk's.
    pub fn sync(&mut self) -> Measured<Duration> {
        self.index += 1;
        let began = Instant::now();
        self.file.seek(SeekFrom::Start(self.index % 64 * 4096))?;
        self.file.write_all(&[self.index as u8; 4096])?;
        self.file.sync_data()?;
        Ok(began.elapsed())
    }
}

/// Reads the rows that the product stored for ops that arrived after `after`, up to `through`: each op's own and its
/// message's. Returns the number of columns per table too; the message's first column is a rowid of its own.
///
/// # Errors
/// SQLite's.
pub fn stored_rows(conn: &Connection, after: i64, through: i64) -> Measured<([usize; 2], Vec<RawRow>)> {
    let mut ops = conn.prepare_cached("SELECT * FROM op WHERE arrival > ?1 AND arrival <= ?2 ORDER BY arrival")?;
    let mut messages = conn.prepare_cached(
        "SELECT NULL, m.* FROM op o JOIN message m ON m.conversation = o.conversation AND m.section = 1 AND m.at = o.hlc \
         AND m.sub = 0 AND m.id = o.id WHERE o.arrival = ?1",
    )?;
    let columns = [ops.column_count(), messages.column_count()];
    let mut found = Vec::new();
    let mut rows = ops.query([after, through])?;
    while let Some(row) = rows.next()? {
        let values = (0..columns[0]).map(|at| row.get(at)).collect::<Result<Vec<Value>, _>>()?;
        let arrival: i64 = row.get("arrival")?;
        found.push((0, values));
        let mut of_op = messages.query([arrival])?;
        while let Some(row) = of_op.next()? {
            found.push((1, (0..columns[1]).map(|at| row.get(at)).collect::<Result<Vec<Value>, _>>()?));
        }
    }
    Ok((columns, found))
}
