//! From a text to another by few splices.
//!
//! Words are compared by the greedy search for the shortest edit script (Myers, "An O(ND) Difference Algorithm and Its
//! Variations", 1986) as far as [`DISTANCE_MAX`] differences; beyond, what differs is one splice. Stretches that differ
//! are then trimmed by visible characters (grapheme clusters), so that no splice takes an emoji or a letter with its
//! accents apart. Cost: text length times the bound at most.

use std::ops::Range;
use tombolo_model::content::Splice;
use unicode_segmentation::UnicodeSegmentation as _;

/// Words that may differ before the whole stretch is replaced. Bounds the cost, and is far below what an edit may hold.
const DISTANCE_MAX: usize = 200;

/// Splices that turn one text into another, for an edit made from a whole new text. None when they are equal.
#[must_use]
pub fn splices(from: &str, to: &str) -> Vec<Splice> {
    let (old, new): (Vec<&str>, Vec<&str>) = (from.split_word_bounds().collect(), to.split_word_bounds().collect());
    let head = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let tail = old[head..].iter().rev().zip(new[head..].iter().rev()).take_while(|(a, b)| a == b).count();
    let (old_end, new_end) = (old.len() - tail, new.len() - tail);
    let mut made = Vec::new();
    // Position in the text as the splices so far leave it.
    let (mut at, mut next) = (0, 0);
    for (gone, came) in differences(&old[head..old_end], &new[head..new_end]) {
        let (gone, came) = (gone.start + head..gone.end + head, came.start + head..came.end + head);
        at += count(&old[next..gone.start]);
        next = gone.end;
        trim(&old[gone].concat(), &new[came].concat(), &mut at, &mut made);
    }
    made
}

fn count(words: &[&str]) -> usize {
    words.iter().map(|word| word.chars().count()).sum()
}

/// One stretch, without what is equal at its beginning and its end. Moves `at` behind it.
fn trim(gone: &str, came: &str, at: &mut usize, made: &mut Vec<Splice>) {
    let (old, new): (Vec<&str>, Vec<&str>) = (gone.graphemes(true).collect(), came.graphemes(true).collect());
    let head = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let tail = old[head..].iter().rev().zip(new[head..].iter().rev()).take_while(|(a, b)| a == b).count();
    let delete = count(&old[head..old.len() - tail]);
    let insert = new[head..new.len() - tail].concat();
    let begins = *at + count(&old[..head]);
    *at += came.chars().count();
    if delete > 0 || !insert.is_empty() {
        made.push(Splice { at: begins as u32, delete: delete as u32, insert });
    }
}

/// Stretches that differ, in order.
fn differences(old: &[&str], new: &[&str]) -> Vec<(Range<usize>, Range<usize>)> {
    if old.is_empty() && new.is_empty() {
        return Vec::new();
    }
    let Some(steps) = shortest(old, new) else { return vec![(0..old.len(), 0..new.len())] };
    let mut found: Vec<(Range<usize>, Range<usize>)> = Vec::new();
    for (x, y, from_old) in steps {
        let (gone, came) = if from_old { (x..x + 1, y..y) } else { (x..x, y..y + 1) };
        match found.last_mut() {
            Some((last_gone, last_came)) if last_gone.end == gone.start && last_came.end == came.start => {
                last_gone.end = gone.end;
                last_came.end = came.end;
            }
            _ => found.push((gone, came)),
        }
    }
    found
}

/// The steps of a shortest script: where in the old and the new text, and whether a word of the old one goes (or one of
/// the new one comes). `None` when it has more than [`DISTANCE_MAX`].
fn shortest(old: &[&str], new: &[&str]) -> Option<Vec<(usize, usize, bool)>> {
    let (rows, columns) = (old.len() as i64, new.len() as i64);
    // Farthest position in the old text on each diagonal, by number of steps.
    let mut reached: Vec<Vec<i64>> = Vec::new();
    for steps in 0..=DISTANCE_MAX as i64 {
        let mut now = Vec::with_capacity(2 * steps as usize + 1);
        for diagonal in -steps..=steps {
            let mut x = if (diagonal + steps) % 2 == 0 { furthest(&reached, steps, diagonal).0 } else { -1 };
            if x >= 0 && (x > rows || x - diagonal > columns || x - diagonal < 0) {
                x = -1;
            }
            while x >= 0 && x < rows && x - diagonal < columns && old[x as usize] == new[(x - diagonal) as usize] {
                x += 1;
            }
            now.push(x);
            if x == rows && x - diagonal == columns {
                return Some(walk_back(&reached, steps, diagonal, x));
            }
        }
        reached.push(now);
    }
    None
}

/// Where a diagonal begins after so many steps, and whether the last of them took a word of the old text out (or put one
/// of the new text in).
fn furthest(reached: &[Vec<i64>], steps: i64, diagonal: i64) -> (i64, bool) {
    let Some(last) = reached.last().filter(|_| steps > 0) else { return (0, false) };
    let on = |diagonal: i64| last.get((diagonal + steps - 1) as usize).copied().unwrap_or(-1);
    let (comes, goes) = (on(diagonal + 1), on(diagonal - 1));
    let goes = if goes < 0 { goes } else { goes + 1 };
    if diagonal == -steps || diagonal != steps && goes <= comes { (comes, false) } else { (goes, true) }
}

fn walk_back(reached: &[Vec<i64>], steps: i64, mut diagonal: i64, mut x: i64) -> Vec<(usize, usize, bool)> {
    let mut script = Vec::new();
    for step in (1..=steps).rev() {
        let (began, from_old) = furthest(&reached[..step as usize], step, diagonal);
        debug_assert!(began <= x);
        let (old_at, new_at) = if from_old { (began - 1, began - diagonal) } else { (began, began - diagonal - 1) };
        script.push((old_at as usize, new_at as usize, from_old));
        diagonal += if from_old { -1 } else { 1 };
        x = old_at;
    }
    script.reverse();
    script
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::plain::Plain;
    use proptest::prelude::*;
    use tombolo_model::limit::SPLICES_MAX;

    fn applied(from: &str, to: &str) -> Vec<Splice> {
        let made = splices(from, to);
        let mut text = Plain::from(from);
        text.apply(&made).unwrap();
        assert_eq!(text.text(), to);
        assert!(made.len() <= SPLICES_MAX);
        made
    }

    fn sizes(from: &str, to: &str) -> Vec<(u32, u32, String)> {
        applied(from, to).into_iter().map(|splice| (splice.at, splice.delete, splice.insert)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn it_leads_from_one_to_the_other(from in "[ab é\u{1f468}\u{200d}\u{0301}.]{0,40}", to in "[ab é\u{1f468}\u{200d}\u{0301}.]{0,40}") {
            let made = applied(&from, &to);
            let naive = from.chars().count() + to.chars().count();
            let cost: usize = made.iter().map(|splice| splice.delete as usize + splice.insert.chars().count()).sum();
            prop_assert!(cost <= naive);
            prop_assert_eq!(made.is_empty(), from == to);
        }
    }

    #[test]
    fn what_is_far_apart_stays_apart() {
        let from = "The boats are in. Who brings rope? Then we meet on Saturday.";
        let to = "The boat is in. Who brings rope? Then we all meet on Sunday.";
        let made = sizes(from, to);
        assert_eq!(made.len(), 4, "{made:?}");
        assert_eq!(made[0], (8, 1, String::new()));
        assert_eq!(made[2].2, "all ");
    }

    #[test]
    fn visible_characters_stay_whole() {
        let (family, couple) =
            ("\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}", "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f466}");
        assert_eq!(sizes(family, couple), [(0, 5, couple.into())]);
        assert_eq!(sizes("e", "e\u{301}"), [(0, 1, "e\u{301}".into())]);
    }

    #[test]
    fn large_texts_cost_little() {
        let words = |seed: u64| -> String {
            (0..12_000_u64).map(|word| format!("{:x} ", (word + 1).wrapping_mul(seed) % 4096)).collect()
        };
        let (from, to) = (words(0x9e37_79b9), words(0x85eb_ca6b));
        assert_eq!(applied(&from, &to).len(), 1);
        assert!(applied(&from, &from.replace("fff ", "ffe ")).len() <= 200);
        assert_eq!(sizes("", &to).len(), 1);
        assert_eq!(sizes(&from, "").len(), 1);
    }
}
