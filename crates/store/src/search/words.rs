//! Words: what is written to the index, and what people type, in the form that the index understands.
//!
//! FTS5's tokenizer folds case and strips diacritics on both sides. Here is only what it cannot know: where words end in
//! scripts that do not say so (Unicode Standard Annex 29 leaves those to dictionaries), and which marks people use to ask.

/// Ends a word and is not shown: zero width space.
pub(super) const BORDER: char = '\u{200b}';
/// Words of one question: more would only cost time.
const WORDS_MAX: usize = 32;

/// Whether a letter is a word of its own: scripts written without spaces.
fn stands_alone(letter: char) -> bool {
    matches!(u32::from(letter),
        0x0e00..=0x0eff // Thai, Lao
        | 0x1000..=0x109f // Myanmar
        | 0x1780..=0x17ff // Khmer
        | 0x2e80..=0x2fdf | 0x3005..=0x3007 | 0x3021..=0x3029 // Han radicals and marks
        | 0x3040..=0x30ff | 0x31f0..=0x31ff // Kana
        | 0x3400..=0x4dbf | 0x4e00..=0x9fff | 0xf900..=0xfaff // Han
        | 0xff66..=0xff9f // halfwidth Kana
        | 0x1_b000..=0x1_b16f | 0x2_0000..=0x3_ffff)
        || is_sign(letter)
}

/// Signs that people search for, such as emoji: each is a word.
fn is_sign(letter: char) -> bool {
    matches!(u32::from(letter), 0x2190..=0x2bff | 0x1_f000..=0x1_faff)
}

/// A text with borders around letters that stand alone, and without what marks matches.
pub(super) fn split(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    for letter in text.chars() {
        if stands_alone(letter) {
            out.push(BORDER);
            out.push(letter);
            out.push(BORDER);
        } else if !matches!(letter, super::OPEN | super::CLOSE) {
            out.push(letter);
        }
    }
    out
}

/// What people type as a question to FTS5; `None` when there is no word in it.
pub(super) fn asked(typed: &str) -> Option<String> {
    let mut phrases = Vec::new();
    for (at, part) in typed.split('"').enumerate() {
        let quoted = at % 2 == 1;
        if quoted {
            phrases.extend(phrase(part, false));
        } else {
            phrases.extend(part.split_whitespace().filter_map(|word| phrase(word, true)));
        }
    }
    phrases.truncate(WORDS_MAX);
    if phrases.is_empty() { None } else { Some(phrases.join(" AND ")) }
}

/// One phrase, quoted; with `begins`, its last word may go on.
fn phrase(text: &str, begins: bool) -> Option<String> {
    let has_word = text.chars().any(|letter| letter.is_alphanumeric() || is_sign(letter));
    let words = split(&text.replace('\0', " "));
    has_word.then(|| format!("\"{words}\"{}", if begins { " *" } else { "" }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_stays_words() {
        assert_eq!(asked("boat pier").as_deref(), Some("\"boat\" * AND \"pier\" *"));
        assert_eq!(asked("\"the boat\" in").as_deref(), Some("\"the boat\" AND \"in\" *"));
        assert_eq!(asked("a\" OR b").as_deref(), Some("\"a\" * AND \" OR b\""));
        assert_eq!(asked(" - !?() ").as_deref(), None);
        assert_eq!(asked("tags:c1 NEAR(").as_deref(), Some("\"tags:c1\" * AND \"NEAR(\" *"));
    }

    #[test]
    fn letters_that_stand_alone_get_borders() {
        let text = split("\u{4f60}\u{597d} ok");
        assert_eq!(text.replace(BORDER, "|"), "|\u{4f60}||\u{597d}| ok");
        assert_eq!(split("a\u{2}b\u{200b}c"), "ab\u{200b}c");
    }
}
