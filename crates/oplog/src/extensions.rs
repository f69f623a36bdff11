//! What headers say beside their fixed fields, in the order of arrival: for those who count references to blobs.
//!
//! Not here: what an extension means (`model::extension`).

use crate::row::{self, blob};
use crate::{LogError, Reader};
use rusqlite::params;
use tombolo_model::{ConversationId, OpId};

/// An op whose header has an extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extended {
    /// Its arrival.
    pub arrival: u64,
    /// Its conversation.
    pub conversation: ConversationId,
    /// The op.
    pub id: OpId,
    /// What its header says.
    pub extension: Vec<u8>,
}

impl Reader {
    /// Ops with an extension whose bodies are held, of the next `limit` arrivals after `position`; and the last of these
    /// arrivals, `position` when there is none. An op whose body was erased refers to nothing any more.
    ///
    /// # Errors
    /// [`LogError`] of SQLite, [`LogError::Damaged`].
    pub fn extended_after(&self, position: u64, limit: usize) -> Result<(Vec<Extended>, u64), LogError> {
        let mut statement = self.db()?.prepare_cached(
            "SELECT o.arrival, o.rest, o.id, c.id, o.body IS NOT NULL FROM op o \
             CROSS JOIN conversation c ON c.n = o.conversation WHERE o.arrival > ?1 ORDER BY o.arrival LIMIT ?2",
        )?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut rows = statement.query(params![position as i64, limit])?;
        let (mut found, mut last) = (Vec::new(), position);
        while let Some(row) = rows.next()? {
            last = row::number(row, 0)?;
            let extension = row::extension(blob(row, 1)?)?;
            if !extension.is_empty() && row.get(4)? {
                let (id, conversation) = (OpId(row::array(row, 2)?), ConversationId(row::array(row, 3)?));
                found.push(Extended { arrival: last, conversation, id, extension });
            }
        }
        Ok((found, last))
    }
}
