//! Lines from elsewhere as contents: equal lines get equal keys, so that several importers of one export make one copy.
//!
//! The key hashes time, name, text and which occurrence of that very line it is (DESIGN section 3). Not here: reading
//! files (the shells), folding (`store`).

use crate::api::Line;
use std::collections::BTreeMap;
use tombolo_model::content::Imported;
use tombolo_model::limit::{NAME_BYTES_MAX, TEXT_BYTES_MAX};

/// Lines that go into one transaction: enough to make a sync of the disk cheap, little enough to show progress.
pub(crate) const PER_TRANSACTION: usize = 1000;

/// Turns lines into contents. Lines over the limits of text or name are left out.
pub(crate) fn contents(lines: &[Line]) -> Vec<Imported> {
    let mut occurrences: BTreeMap<[u8; 32], u64> = BTreeMap::new();
    let fits = |line: &&Line| line.text.len() <= TEXT_BYTES_MAX && line.who.len() <= NAME_BYTES_MAX;
    lines
        .iter()
        .filter(fits)
        .map(|line| {
            let mut hasher = blake3::Hasher::new_derive_key("tombolo 1 imported line");
            hasher.update(&line.time_ms.to_be_bytes());
            for part in [&line.who, &line.text] {
                hasher.update(&(part.len() as u64).to_be_bytes());
                hasher.update(part.as_bytes());
            }
            let occurrence = occurrences.entry(*hasher.finalize().as_bytes()).or_insert(0);
            *occurrence += 1;
            hasher.update(&occurrence.to_be_bytes());
            let mut source_key = [0; 16];
            source_key.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
            Imported {
                time_ms: line.time_ms,
                who: line.who.clone(),
                text: line.text.clone(),
                source_key,
                rank: None,
                files: None,
                source: None,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_lines_are_told_apart_by_occurrence_and_nothing_else() {
        let line = |text: &str| Line { time_ms: 7, who: "ana".into(), text: text.into() };
        let first = contents(&[line("hi"), line("ho"), line("hi")]);
        let again = contents(&[line("ho"), line("hi"), line("hi")]);
        assert_ne!(first[0].source_key, first[2].source_key);
        assert_eq!(first[0].source_key, again[1].source_key);
        assert_eq!(first[2].source_key, again[2].source_key);
        assert!(contents(&[line(&"x".repeat(TEXT_BYTES_MAX + 1))]).is_empty());
    }
}
