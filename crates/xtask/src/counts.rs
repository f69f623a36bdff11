//! Reads how many cases passed and failed from the lines of test runners and of the suite's programs.
//!
//! Knows three forms: nextest's summary, the summary of `cargo test` (also for doctests), and `cases: N`.

/// Cases seen so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// Ignored, filtered out or skipped.
    pub(crate) skipped: u64,
}

impl Counts {
    /// Adds what this line of a test runner says, if it is a summary.
    pub(crate) fn feed(&mut self, line: &str) {
        let line = line.trim();
        if let Some(rest) = line.strip_prefix("test result:") {
            self.add(rest, ';');
        } else if let Some((_, rest)) = line.strip_prefix("Summary [").and_then(|rest| rest.split_once("run:")) {
            self.add(rest, ',');
        }
    }

    /// Adds what this line of a program of the suite says, if it is a count.
    pub(crate) fn feed_suite(&mut self, line: &str) {
        self.passed += line.trim().strip_prefix("cases:").and_then(parse_count).unwrap_or(0);
    }

    fn add(&mut self, text: &str, separator: char) {
        for part in text.split(separator) {
            let words: Vec<&str> = part.split_whitespace().collect();
            // `ok. 3 passed`, `12 passed (1 slow)`, `1 timed out`
            for pair in words.windows(2) {
                let Ok(n) = pair[0].parse::<u64>() else { continue };
                match pair[1].trim_matches(|c: char| !c.is_alphabetic()) {
                    "passed" => self.passed += n,
                    "failed" | "timed" | "exec" => self.failed += n,
                    "ignored" | "skipped" => self.skipped += n,
                    _ => {}
                }
            }
        }
    }
}

/// `2000`, `2,000` and `2_000`; what follows after a blank is a remark.
fn parse_count(text: &str) -> Option<u64> {
    let first = text.split_whitespace().next()?;
    let digits: String = first.chars().filter(|c| *c != ',' && *c != '_').collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(lines: &[&str]) -> Counts {
        let mut counts = Counts::default();
        for line in lines {
            counts.feed(line);
            counts.feed_suite(line);
        }
        counts
    }

    #[test]
    fn summaries_of_cargo_test_add_up() {
        let counts = count(&[
            "running 3 tests",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 5 filtered out; finished in 0.00s",
        ]);
        assert_eq!(counts, Counts { passed: 7, failed: 2, skipped: 1 });
    }

    #[test]
    fn summaries_of_nextest_are_read() {
        let good = count(&["     Summary [   0.123s] 12 tests run: 12 passed (1 slow), 3 skipped"]);
        assert_eq!(good, Counts { passed: 12, failed: 0, skipped: 3 });
        let bad = count(&["Summary [ 1.0s] 9/12 tests run: 6 passed, 1 failed, 1 exec failed, 1 timed out, 0 skipped"]);
        assert_eq!(bad, Counts { passed: 6, failed: 3, skipped: 0 });
    }

    #[test]
    fn lines_of_the_suite_are_read() {
        let counts = count(&["cases: 2,000", "cases: 20 seeds twice", "cases: none", "the cases: 9"]);
        assert_eq!(counts, Counts { passed: 2_020, failed: 0, skipped: 0 });
    }
}
