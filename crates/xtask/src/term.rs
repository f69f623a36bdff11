//! How lines look: colours on a terminal, plain text elsewhere; durations and numbers for people.
//!
//! Not responsible for what is said.

use std::io::IsTerminal;
use std::time::Duration;

/// Paints text if the reader is a terminal.
#[derive(Clone, Copy)]
pub(crate) struct Paint {
    colour: bool,
}

impl Paint {
    /// Colours on a terminal, unless `NO_COLOR` is set.
    pub(crate) fn for_stdout() -> Self {
        Self { colour: std::io::stdout().is_terminal() && !refused() }
    }

    /// The same for messages.
    pub(crate) fn for_stderr() -> Self {
        Self { colour: std::io::stderr().is_terminal() && !refused() }
    }

    /// No colours: for logs.
    pub(crate) fn plain() -> Self {
        Self { colour: false }
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.code("1", text)
    }

    pub(crate) fn faint(self, text: &str) -> String {
        self.code("2", text)
    }

    pub(crate) fn good(self, text: &str) -> String {
        self.code("32", text)
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.code("1;31", text)
    }

    pub(crate) fn command(self, text: &str) -> String {
        self.code("36", text)
    }

    fn code(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

fn refused() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// `0.4 s`, `41 s`, `3 min 05 s`.
pub(crate) fn duration(time: Duration) -> String {
    let whole_s = time.as_secs();
    match whole_s {
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        10..60 => format!("{whole_s} s"),
        _ => format!("{} min {:02} s", whole_s / 60, whole_s % 60),
    }
}

/// `12,345`.
pub(crate) fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_numbers_read_well() {
        assert_eq!(duration(Duration::from_millis(440)), "0.4 s");
        assert_eq!(duration(Duration::from_secs(41)), "41 s");
        assert_eq!(duration(Duration::from_secs(185)), "3 min 05 s");
        assert_eq!(number(7), "7");
        assert_eq!(number(123), "123");
        assert_eq!(number(1_234_567), "1,234,567");
    }

    #[test]
    fn nothing_is_painted_without_a_terminal() {
        assert_eq!(Paint::plain().bad("x"), "x");
        assert_eq!(Paint { colour: true }.good("x"), "\x1b[32mx\x1b[0m");
    }
}
