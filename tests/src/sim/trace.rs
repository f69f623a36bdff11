//! The trace of a world: every line is hashed, so that two runs of a seed can be compared, and printed when asked for.

use std::collections::hash_map::DefaultHasher;
use std::fmt::{Arguments, Write};
use std::hash::Hasher as _;

/// Hash of everything that was noted, and how loudly.
#[derive(Debug, Default)]
pub struct Trace {
    hasher: DefaultHasher,
    verbose: bool,
}

impl Write for Trace {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.hasher.write(text.as_bytes());
        if self.verbose {
            print!("{text}");
        }
        Ok(())
    }
}

impl Trace {
    /// A new one; `verbose` prints every line.
    #[must_use]
    pub fn new(verbose: bool) -> Self {
        Self { hasher: DefaultHasher::new(), verbose }
    }

    /// Notes a line.
    pub fn note(&mut self, at_ms: u64, line: Arguments<'_>) {
        // Writing into a hash cannot fail.
        let _ = writeln!(self, "{at_ms:>9} {line}");
    }

    /// Hash of all lines so far.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hasher.finish()
    }
}
