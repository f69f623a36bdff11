//! Progress of long work, with totals, on a terminal; none when piped.

use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

/// A line that moves, or nothing.
#[derive(Clone)]
pub(crate) struct Bar {
    bar: ProgressBar,
}

impl Bar {
    /// `shown` = somebody watches.
    pub(crate) fn new(shown: bool, what: &str) -> Self {
        let bar = if shown { ProgressBar::no_length() } else { ProgressBar::hidden() };
        // A template of this file: should it not be understood, the default one serves as well.
        if let Ok(style) = ProgressStyle::with_template("{msg:18} {wide_bar} {human_pos} of {human_len}") {
            bar.set_style(style.progress_chars("\u{2588}\u{2592}\u{2591}"));
        }
        bar.set_message(what.to_owned());
        if shown {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Self { bar }
    }

    /// How far it is; a total of 0 = not known.
    pub(crate) fn set(&self, done: u64, total: u64) {
        match total {
            0 => self.bar.unset_length(),
            total => self.bar.set_length(total.max(done)),
        }
        self.bar.set_position(done);
    }

    /// What is done now; something else begins from nothing.
    pub(crate) fn now(&self, what: &str) {
        if self.bar.message() != what {
            self.bar.unset_length();
            self.bar.set_position(0);
            self.bar.set_message(what.to_owned());
        }
    }

    /// Wipes the line.
    pub(crate) fn done(&self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_never_fall_below_what_is_done() {
        let bar = Bar::new(false, "x");
        let shown = || (bar.bar.position(), bar.bar.length());
        bar.set(5, 0);
        assert_eq!(shown(), (5, None));
        bar.set(6, 10);
        assert_eq!(shown(), (6, Some(10)));
        bar.set(11, 10);
        assert_eq!(shown(), (11, Some(11)));
        assert!(bar.bar.is_hidden());
        bar.now("x");
        assert_eq!(shown(), (11, Some(11)));
        bar.now("y");
        assert_eq!((bar.bar.message().as_str(), shown()), ("y", (0, None)));
        bar.done();
    }
}
