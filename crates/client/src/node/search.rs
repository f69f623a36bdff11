//! Searching: the index is brought up to date, then asked; what this person does not want to see is left out.
//!
//! Not here: the index itself (`tombolo_store::search`).

use super::Node;
use super::show::name_of;
use crate::Error;
use crate::api::{SearchHit, SearchQuery};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use tombolo_model::{ConversationId, OpId};
use tombolo_replica::Now;
use tombolo_store::{Look, search};

/// Hits of one page.
const HITS_MAX: usize = 1_000;

impl Node {
    /// Brings the index up with the log by one step, if it is behind; says how many ops are still to come.
    ///
    /// # Errors
    /// Those of the store.
    pub fn index(&mut self) -> Result<u64, Error> {
        if !search::is_behind(self.log())? {
            return Ok(0);
        }
        let (log, views) = self.replica.log_and_fold();
        let mut batch = log.batch()?;
        let left = search::index(views, &mut batch)?;
        batch.commit()?;
        Ok(left)
    }

    /// Finds messages, newest first. What came after the last [`Node::index`] is not found.
    ///
    /// # Errors
    /// `empty-search`, `unknown-conversation`, and those of the store.
    pub fn search(&self, query: &SearchQuery, _now: Now) -> Result<Vec<SearchHit>, Error> {
        if let Some(conversation) = &query.conversation {
            self.known(conversation)?;
        }
        let limit = query.limit.min(HITS_MAX);
        let (_, blocked) = self.keeping()?;
        let mut asked = search::Query { limit, ..query.clone() };
        let mut hits = Vec::new();
        let mut looks: BTreeMap<ConversationId, (Look<'_>, BTreeSet<OpId>, String)> = BTreeMap::new();
        loop {
            let page = search::search(self.log(), &asked)?.map_err(|empty| {
                Error::new("empty-search", empty.to_string(), "such as `tombolo search boats --from Ana`")
            })?;
            let full = page.len() == asked.limit;
            for hit in page {
                asked.older_than = Some(hit.row);
                let (look, hidden, title) = match looks.entry(hit.conversation) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(free) => {
                        let Some(look) = Look::at(self.log(), &hit.conversation)? else { continue };
                        let kind = self.log().conversation(&hit.conversation)?.and_then(|row| row.kind);
                        let title = self.title(&hit.conversation, kind)?;
                        free.insert((look, self.hidden(&hit.conversation)?, title))
                    }
                };
                let before = hit.place.just_before();
                let found = tombolo_store::page_after(self.log(), &hit.conversation, Some(&before), 1)?;
                let Some(message) = found.into_iter().find(|message| message.place == hit.place) else { continue };
                let account = look.names().account(&message.author);
                if hidden.contains(&message.id()) || account.is_some_and(|account| blocked.contains(&account)) {
                    continue;
                }
                if hits.len() < limit {
                    hits.push(SearchHit {
                        row: hit.row,
                        conversation: hit.conversation,
                        title: title.clone(),
                        id: hit.place.id,
                        cursor: hit.place.to_string(),
                        time_ms: hit.place.time_ms(),
                        name: message.who.clone().unwrap_or_else(|| name_of(look.names(), &message.author)),
                        excerpt: hit.excerpt,
                        found: hit.found,
                    });
                }
            }
            if hits.len() >= limit || !full || limit == 0 {
                return Ok(hits);
            }
        }
    }
}
