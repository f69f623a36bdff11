//! Texts that several hands change.
use tombolo_model::content::Splice;

/// The splices that make one text of another.
#[must_use]
pub fn splices(from: &str, to: &str) -> Vec<Splice> {
    let (old, new): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let begin = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let rest = old.len().min(new.len()) - begin;
    let end = old.iter().rev().zip(new.iter().rev()).take(rest).take_while(|(a, b)| a == b).count();
    if begin + end == old.len() && begin + end == new.len() {
        return Vec::new();
    }
    vec![Splice {
        at: begin as u32,
        delete: (old.len() - begin - end) as u32,
        insert: new[begin..new.len() - end].iter().collect(),
    }]
}
