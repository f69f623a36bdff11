//! What `tombolo-relay status` says about a data folder, whether or not a relay runs on it.

use crate::ledger::Ledger;
use crate::moved::Moved;
use crate::owner::Counts;
use crate::{Config, Place, RelayError};
use serde::Serialize;

/// A look at a data folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The relay's key, hex.
    pub relay: String,
    /// Where it listens; `None` when none runs.
    pub listening: Option<String>,
    /// As configured.
    pub region: String,
    /// Where clients are told to go; `None` when it has not moved.
    pub moved_to: Option<String>,
    /// Conversations kept.
    pub conversations: u64,
    /// Ops kept.
    pub ops: u64,
    /// Accounts that something is kept for.
    pub accounts: u64,
    /// **Bytes** counted against accounts.
    pub stored_bytes: u64,
    /// Size of the database in **bytes**.
    pub database_bytes: u64,
}

impl Status {
    /// Looks.
    ///
    /// # Errors
    /// [`RelayError`] when there is no relay in the folder, or its files cannot be read.
    pub fn of(place: &Place) -> Result<Self, RelayError> {
        let relay = place.key()?.id().to_string();
        let config = place.config().map_or(Ok(Config::default()), |path| Config::read(&path))?;
        let log = place.open()?;
        let counts = Counts::of(&log)?;
        let ledger = Ledger::open(&log, config.limits.account_bytes, config.limits.stored_bytes)?;
        let status = Self {
            relay,
            listening: place.running_at(),
            region: config.region,
            moved_to: Moved::load(&log)?.map(|moved| moved.url),
            conversations: counts.conversations,
            ops: counts.ops,
            accounts: ledger.accounts() as u64,
            stored_bytes: ledger.total_bytes(),
            database_bytes: counts.database_bytes,
        };
        log.close()?;
        Ok(status)
    }
}
