//! Texts of others on a terminal: harmless and in columns.
//!
//! Not here: what is printed (`show.rs`).

/// A text that changes nothing but what it shows: control characters and marks that turn the direction of writing are
/// spelled out, since a message could otherwise rewrite the screen around it. Line ends stay.
pub(crate) fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push('\n'),
            '\t' => out.push_str("    "),
            '\r' => {}
            c if c.is_control() || turns_direction(c) => out.push_str(&format!("<U+{:04X}>", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

/// As [`harmless`], on one line.
pub(crate) fn one_line(text: &str) -> String {
    harmless(text).split('\n').map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

fn turns_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{061c}')
}

/// Columns that a text takes on a terminal, near enough for padding.
pub(crate) fn width(text: &str) -> usize {
    text.chars().map(columns).sum()
}

fn columns(c: char) -> usize {
    match u32::from(c) {
        // Accents that stand on the letter before, joiners, variation selectors.
        0x300..=0x36f | 0x1ab0..=0x1aff | 0x1dc0..=0x1dff | 0x20d0..=0x20ff | 0xfe00..=0xfe0f | 0xfe20..=0xfe2f => 0,
        0x200b..=0x200d | 0x2060 | 0xfeff => 0,
        // East Asian wide forms and emoji.
        0x1100..=0x115f | 0x2e80..=0x303e | 0x3041..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff => 2,
        0xfe30..=0xfe6f | 0xff00..=0xff60 | 0xffe0..=0xffe6 | 0x1f300..=0x1f64f | 0x1f680..=0x1f6ff => 2,
        0x1f900..=0x1f9ff | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

/// Fills a text up to a width with spaces.
pub(crate) fn pad(text: &str, to: usize) -> String {
    format!("{text}{}", " ".repeat(to.saturating_sub(width(text))))
}

/// Cuts a text to a width; what was cut shows as three points.
pub(crate) fn cut(text: &str, to: usize) -> String {
    if width(text) <= to {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut left = to.saturating_sub(3);
    for c in text.chars() {
        match left.checked_sub(columns(c)) {
            Some(rest) => left = rest,
            None => break,
        }
        out.push(c);
    }
    out.push_str("...");
    out
}

/// Rows in aligned columns; the last column is not filled up. Numbers are aligned to the right where `right` says so.
pub(crate) fn table(rows: &[Vec<String>], right: &[bool]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|at| rows.iter().filter_map(|row| row.get(at)).map(|cell| width(cell)).max().unwrap_or(0))
        .collect();
    rows.iter()
        .map(|row| {
            let cells = row.iter().enumerate().map(|(at, cell)| match right.get(at) {
                Some(true) => format!("{}{cell}", " ".repeat(widths[at].saturating_sub(width(cell)))),
                _ => pad(cell, widths[at]),
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_cannot_move_the_cursor() {
        assert_eq!(harmless("a\u{1b}[2Jb\u{7}\u{9b}c"), "a<U+001B>[2Jb<U+0007><U+009B>c");
        assert_eq!(harmless("user\u{202e}txt.exe"), "user<U+202E>txt.exe");
        assert_eq!(harmless("a\r\nb\tc"), "a\nb    c");
        assert_eq!(one_line(" a\n\n  b\r\n"), "a b");
        assert_eq!(harmless("gr\u{fc}n \u{6d77} \u{1f30a}"), "gr\u{fc}n \u{6d77} \u{1f30a}");
    }

    #[test]
    fn widths_count_columns() {
        assert_eq!(width("abc"), 3);
        assert_eq!(width("e\u{301}"), 1);
        assert_eq!(width("\u{6d77}\u{1f30a}"), 4);
        assert_eq!(pad("\u{6d77}", 4), "\u{6d77}  ");
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdefg", 6), "abc...");
        assert_eq!(cut("\u{6d77}\u{6d77}\u{6d77}\u{6d77}", 7), "\u{6d77}\u{6d77}...");
    }

    #[test]
    fn tables_are_aligned() {
        let row = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
        let rows = [row(&["ab", "1", "title"]), row(&["c", "100", ""])];
        assert_eq!(table(&rows, &[false, true, false]), ["ab    1  title", "c   100"]);
    }
}
