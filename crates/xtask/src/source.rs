//! Rust sources as the checks see them: which characters are code, which are comment, which stand in a string.
//!
//! A small lexer, not a parser: enough to tell `// never call this!` from a call. Used by `tidy.rs` and `purity.rs`.

/// A source text with parts blanked out; line numbers stay as they are.
pub(crate) struct Views {
    /// Comments and the contents of strings and character literals are blanks.
    pub(crate) code: String,
    /// Only the contents of strings and character literals are blanks.
    pub(crate) without_strings: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Code,
    Comment,
    Literal,
}

/// Separates code, comments and literals.
pub(crate) fn views(text: &str) -> Views {
    let chars: Vec<char> = text.chars().collect();
    let parts = classify(&chars);
    let blanked = |hide: &dyn Fn(Part) -> bool| {
        chars.iter().zip(&parts).map(|(&c, &part)| if c != '\n' && hide(part) { ' ' } else { c }).collect()
    };
    Views { code: blanked(&|part| part != Part::Code), without_strings: blanked(&|part| part == Part::Literal) }
}

fn classify(chars: &[char]) -> Vec<Part> {
    let mut parts = vec![Part::Code; chars.len()];
    let mut at = 0;
    while at < chars.len() {
        let (from, to, part) = match chars[at] {
            '/' if chars.get(at + 1) == Some(&'/') => (at, line_end(chars, at), Part::Comment),
            '/' if chars.get(at + 1) == Some(&'*') => (at, block_end(chars, at), Part::Comment),
            '"' => (at + 1, string_end(chars, at + 1), Part::Literal),
            'r' if !is_word(chars, at.wrapping_sub(1)) || is_prefix(chars, at) => match raw_string(chars, at) {
                Some((from, to)) => (from, to, Part::Literal),
                None => (at, at + 1, Part::Code),
            },
            '\'' => match char_end(chars, at) {
                Some(to) => (at + 1, to, Part::Literal),
                // A lifetime.
                None => (at, at + 1, Part::Code),
            },
            _ => (at, at + 1, Part::Code),
        };
        parts[from..to].fill(part);
        // The closing quote of a literal is code; step over it, or it would open the next one.
        at = if part == Part::Literal { to + 1 } else { to };
    }
    parts
}

fn is_word(chars: &[char], at: usize) -> bool {
    chars.get(at).is_some_and(|c| c.is_alphanumeric() || *c == '_')
}

/// The `r` of `br"` and `cr"`.
fn is_prefix(chars: &[char], at: usize) -> bool {
    let before = at.wrapping_sub(1);
    matches!(chars.get(before), Some('b' | 'c')) && !is_word(chars, before.wrapping_sub(1))
}

fn line_end(chars: &[char], from: usize) -> usize {
    chars[from..].iter().position(|c| *c == '\n').map_or(chars.len(), |n| from + n)
}

fn block_end(chars: &[char], from: usize) -> usize {
    let (mut depth, mut at) = (0_usize, from);
    while at + 1 < chars.len() {
        match (chars[at], chars[at + 1]) {
            ('/', '*') => {
                depth += 1;
                at += 2;
            }
            ('*', '/') => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    chars.len()
}

/// The index of the closing quote, `from` being the first character inside.
fn string_end(chars: &[char], from: usize) -> usize {
    let mut at = from;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at,
            _ => at += 1,
        }
    }
    chars.len()
}

/// Inside of a raw string whose `r` stands at `at`: first character and closing quote.
fn raw_string(chars: &[char], at: usize) -> Option<(usize, usize)> {
    let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
    let open = at + 1 + hashes;
    if chars.get(open) != Some(&'"') {
        return None;
    }
    let mut end = open + 1;
    while end < chars.len() {
        if chars[end] == '"' && chars[end + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes {
            return Some((open + 1, end));
        }
        end += 1;
    }
    Some((open + 1, chars.len()))
}

/// The index of the closing quote of a character literal; `None` for a lifetime.
fn char_end(chars: &[char], at: usize) -> Option<usize> {
    if chars.get(at + 1) == Some(&'\\') {
        // The escaped character itself may be a quote.
        return chars.get(at + 3..)?.iter().position(|c| *c == '\'').map(|n| at + 3 + n);
    }
    (chars.get(at + 2) == Some(&'\'')).then_some(at + 2)
}

/// Is `word` in `text` at a place where no identifier goes on to its left?
pub(crate) fn names(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> String {
        views(text).code
    }

    #[test]
    fn comments_are_blanked() {
        assert_eq!(code("a // b\nc"), "a     \nc");
        assert_eq!(code("a /* b /* c */ d */ e"), "a                   e");
        assert_eq!(views("a // b").without_strings, "a // b");
    }

    #[test]
    fn strings_are_blanked_and_keep_their_quotes() {
        assert_eq!(code(r#"f("a\"b") + g"#), r#"f("    ") + g"#);
        assert_eq!(code("x(\"// no comment\"); y"), "x(\"             \"); y");
        assert_eq!(code("r#\"a\"b\"# + c"), "r#\"   \"# + c");
        assert_eq!(code("br\"a\" + c"), "br\" \" + c");
    }

    #[test]
    fn lifetimes_are_code_and_characters_are_not() {
        assert_eq!(code("fn f<'a>(x: &'a str) { '\"' }"), "fn f<'a>(x: &'a str) { ' ' }");
        assert_eq!(code(r"'\'' + 'x' + '\u{41}'"), r"'  ' + ' ' + '      '");
    }

    #[test]
    fn an_identifier_that_ends_in_r_opens_no_raw_string() {
        assert_eq!(code("for r in bar {\"x\"}"), "for r in bar {\" \"}");
    }

    #[test]
    fn unfinished_input_does_not_panic() {
        for text in ["\"", "'", "'\\", "/*", "r#\"", "\"\\", "r", "/", "'\\x"] {
            views(text);
        }
    }

    #[test]
    fn words_are_found_from_their_start_only() {
        assert!(names("x = todo_list", "todo"));
        assert!(!names("x = mytodo", "todo"));
    }
}
