//! `tombolo search`: what is asked, and how hits look.

use super::choose_maybe;
use super::talk::person;
use crate::args::Search;
use crate::calendar::iso;
use crate::door::{Door, SearchHit, SearchQuery};
use crate::failure::Failure;
use crate::out::Out;
use crate::show::Style;
use crate::text::{harmless, one_line};
use serde::Serialize;

#[derive(Serialize)]
struct Row {
    conversation: String,
    title: String,
    id: String,
    time: String,
    name: String,
    excerpt: String,
    /// Ranges of bytes of the excerpt.
    found: Vec<(usize, usize)>,
    more: i64,
}

pub(crate) async fn run(door: &Door, asked: Search, out: &Out) -> Result<(), Failure> {
    let query = SearchQuery {
        words: asked.words.join(" "),
        conversation: choose_maybe(door, asked.conversation.as_deref()).await?,
        author: match asked.from {
            Some(name) => Some(person(door, &name).await?),
            None => None,
        },
        after_ms: asked.after.map(|date| out.style.start_ms(date)),
        before_ms: asked.before.map(|date| out.style.start_ms(date)),
        with_files: asked.has.is_some(),
        limit: asked.limit as usize,
        older_than: asked.more,
    };
    let hits = door.client().search(query).await?;
    let row = |hit: &SearchHit| Row {
        conversation: hit.conversation.to_string(),
        title: hit.title.clone(),
        id: hit.id.to_string(),
        time: iso(hit.time_ms),
        name: hit.name.clone(),
        excerpt: hit.excerpt.clone(),
        found: hit.found.clone(),
        more: hit.row,
    };
    out.rows(hits.iter().map(row), |style| {
        if hits.is_empty() && style.terminal {
            return vec![style.quiet("Nothing found.")];
        }
        let mut lines: Vec<String> = hits.iter().map(|hit| line(hit, style)).collect();
        if let (true, true, Some(last)) = (style.terminal, hits.len() == asked.limit as usize, hits.last()) {
            lines.push(style.quiet(&format!("older ones: --more {}", last.row)));
        }
        lines
    })
}

fn line(hit: &SearchHit, style: &Style) -> String {
    let mut text = String::new();
    let mut end = 0;
    // Spaces beside what was found stay.
    let part = |from: usize, to: usize| harmless(hit.excerpt.get(from..to).unwrap_or_default()).replace('\n', " ");
    for (from, to) in &hit.found {
        text.push_str(&part(end, *from));
        text.push_str(&style.heading(&part(*from, *to)));
        end = *to;
    }
    text.push_str(&part(end, hit.excerpt.len()));
    let place = style.quiet(&format!("{}  {}  {}", hit.id.short(), style.when(hit.time_ms), one_line(&hit.title)));
    format!("{place}  {}: {text}", one_line(&hit.name))
}
