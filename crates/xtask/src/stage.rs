//! Runs named stages one after the other, shows each with its time, and sums them up in a table.
//!
//! Not responsible for what a stage does (`ci.rs`) or for children and their pipes (`process.rs`).

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::counts::Counts;
use crate::process::{self, End, Event};
use crate::term::{self, Paint};

/// What a stage found out when all is well.
#[derive(Default)]
pub(crate) struct Passed {
    pub(crate) counts: Counts,
    /// Short remark for the stage's line.
    pub(crate) note: String,
}

/// Why a stage is not `ok`.
pub(crate) enum Stop {
    /// Something is wrong; the text is shown in full.
    Failed { counts: Counts, text: String },
    /// It did not run, and that is no failure; the text says why and what is left out.
    LeftOut(String),
}

impl Stop {
    pub(crate) fn failed(text: impl Into<String>) -> Self {
        Self::Failed { counts: Counts::default(), text: text.into() }
    }
}

/// Result of a stage.
pub(crate) type StageResult = Result<Passed, Stop>;

enum Verdict {
    Ok,
    Failed,
    LeftOut,
}

struct Row {
    name: String,
    verdict: Verdict,
    counts: Counts,
    time: Duration,
    note: String,
}

/// The stages of one run.
pub(crate) struct Stages {
    paint: Paint,
    total: usize,
    rows: Vec<Row>,
    logs: PathBuf,
}

impl Stages {
    /// `total` stages will follow; what their children print is kept in files under `logs`.
    pub(crate) fn new(paint: Paint, total: usize, logs: PathBuf) -> Self {
        Self { paint, total, rows: Vec::new(), logs }
    }

    /// Runs one stage and shows how it went. Returns whether later stages can build on it.
    pub(crate) fn run(&mut self, name: &str, body: impl FnOnce(&mut Stage) -> StageResult) -> bool {
        let head = format!("[{}/{}] {name} ...", self.rows.len() + 1, self.total);
        print!("{head} ");
        flush();
        let mut stage =
            Stage { paint: self.paint, log: self.logs.join(format!("{}.log", name.replace(' ', "-"))), spoke: false };
        let start = Instant::now();
        let result = body(&mut stage);
        let time = start.elapsed();
        if stage.spoke {
            print!("{head} ");
        }
        let shown = term::duration(time);
        let (verdict, counts, note) = match result {
            Ok(passed) => {
                let mut line = format!("{}  {shown}", self.paint.good("ok"));
                if passed.counts.passed > 0 {
                    let _ = write!(line, "  {} cases", term::number(passed.counts.passed));
                }
                if passed.counts.skipped > 0 {
                    let _ = write!(line, ", {} skipped", term::number(passed.counts.skipped));
                }
                if !passed.note.is_empty() {
                    let _ = write!(line, "  {}", self.paint.faint(&format!("({})", passed.note)));
                }
                println!("{line}");
                (Verdict::Ok, passed.counts, passed.note)
            }
            Err(Stop::LeftOut(why)) => {
                println!("{}  {why}", self.paint.bold("left out"));
                (Verdict::LeftOut, Counts::default(), why)
            }
            Err(Stop::Failed { counts, text }) => {
                println!("{}  {shown}", self.paint.bad("FAILED"));
                for line in text.lines() {
                    println!("      {line}");
                }
                (Verdict::Failed, counts, String::new())
            }
        };
        let ok = matches!(verdict, Verdict::Ok);
        self.rows.push(Row { name: name.to_owned(), verdict, counts, time, note });
        flush();
        ok
    }

    /// The table and the closing line. Returns whether nothing failed.
    pub(crate) fn finish(self) -> bool {
        let (text, good) = summary(&self.rows, self.paint);
        print!("{text}");
        flush();
        good
    }
}

fn summary(rows: &[Row], paint: Paint) -> (String, bool) {
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0).max(5);
    let mut text = format!("\n{:width$}  {:8}  {:>11}  {:>7}\n", "stage", "result", "cases", "minutes");
    let (mut passed, mut failed, mut all_cases, mut seconds) = (0, 0, 0, 0.0);
    for row in rows {
        // Padded before painting: colour codes have a length too.
        let verdict = match row.verdict {
            Verdict::Ok => paint.good(&format!("{:8}", "ok")),
            Verdict::Failed => paint.bad(&format!("{:8}", "FAILED")),
            Verdict::LeftOut => paint.bold(&format!("{:8}", "left out")),
        };
        let cases = row.counts.passed + row.counts.failed;
        let cases = if cases == 0 { "-".to_owned() } else { term::number(cases) };
        let minutes = row.time.as_secs_f64() / 60.0;
        let _ = writeln!(text, "{:width$}  {verdict}  {cases:>11}  {minutes:>7.1}", row.name);
        all_cases += row.counts.passed + row.counts.failed;
        passed += row.counts.passed;
        // A stage that fails without failed cases (a build, a format) is one failure.
        failed += if matches!(row.verdict, Verdict::Failed) { row.counts.failed.max(1) } else { row.counts.failed };
        seconds += row.time.as_secs_f64();
    }
    let all = term::number(all_cases);
    let _ = writeln!(text, "{:width$}  {:8}  {all:>11}  {:>7.1}", "total", "", seconds / 60.0);
    for row in rows.iter().filter(|row| matches!(row.verdict, Verdict::LeftOut)) {
        let _ = writeln!(text, "left out: {}: {}", row.name, row.note);
    }
    let _ = writeln!(text, "{passed} passed, {failed} failed");
    (text, failed == 0)
}

/// How a child of a stage is shown and judged.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Only its exit status counts.
    Plain,
    /// A test runner: its summary is read.
    Tests,
    /// A program of the suite: its standard output is shown, and it must report cases.
    Suite,
}

/// One stage while it runs.
pub(crate) struct Stage {
    paint: Paint,
    log: PathBuf,
    spoke: bool,
}

const TAIL_LINES: usize = 60;
const HEARTBEAT: Duration = Duration::from_secs(60);

impl Stage {
    /// Shows a line below the stage's head.
    pub(crate) fn say(&mut self, line: &str) {
        if !self.spoke {
            println!();
            self.spoke = true;
        }
        println!("      {line}");
        flush();
    }

    /// Runs a child, at most `limit` long. Its output goes to the stage's log, its end is shown if it fails.
    pub(crate) fn child(&mut self, mut command: Command, kind: Kind, limit: Duration) -> StageResult {
        let shown = show_command(&command);
        command.env("CARGO_TERM_COLOR", "never").env("CARGO_TERM_PROGRESS_WHEN", "never").env("NO_COLOR", "1");
        let mut log = self.open_log(&shown)?;
        let mut counts = Counts::default();
        let mut tail: VecDeque<String> = VecDeque::new();
        let mut next_beat = HEARTBEAT;
        let end = process::run(&mut command, limit, &mut |event| {
            let line = match event {
                Event::Tick(time) => {
                    if time >= next_beat {
                        next_beat += HEARTBEAT;
                        self.say(&self.paint.faint(&format!("still running, {}", term::duration(time))));
                    }
                    return;
                }
                Event::Out(line) => {
                    if kind == Kind::Suite {
                        counts.feed_suite(line);
                        self.say(line);
                    }
                    line
                }
                Event::Err(line) => line,
            };
            if kind == Kind::Tests {
                counts.feed(line);
            }
            // A log that cannot be written (full disk) must not hide the result itself.
            let _ = writeln!(log, "{line}");
            if tail.len() == TAIL_LINES {
                tail.pop_front();
            }
            tail.push_back(line.to_owned());
        });
        let problem = match end {
            Err(text) => Some(text),
            Ok(End::OutOfTime) => Some(format!("stopped: it did not end within {}", term::duration(limit))),
            Ok(End::Exit(status)) if !status.success() => Some(format!("ended with {status}")),
            Ok(End::Exit(_)) if counts.failed > 0 => Some(format!("{} cases failed", counts.failed)),
            Ok(End::Exit(_)) if kind == Kind::Suite && counts.passed == 0 => {
                Some("it reported no cases (a line `cases: N`), so it proved nothing".to_owned())
            }
            Ok(End::Exit(_)) => None,
        };
        match problem {
            None => Ok(Passed { counts, note: String::new() }),
            Some(problem) => {
                let mut text: Vec<String> = tail.into();
                text.push(format!("$ {shown}"));
                text.push(problem);
                text.push(format!("all of its output: {}", self.log.display()));
                Err(Stop::Failed { counts, text: text.join("\n") })
            }
        }
    }

    fn open_log(&self, head: &str) -> Result<std::fs::File, Stop> {
        let open = || -> std::io::Result<std::fs::File> {
            if let Some(dir) = self.log.parent() {
                std::fs::create_dir_all(dir)?;
            }
            let mut file = std::fs::File::create(&self.log)?;
            writeln!(file, "$ {head}")?;
            Ok(file)
        };
        open().map_err(|e| Stop::failed(format!("cannot write the log {}: {e}", self.log.display())))
    }
}

/// A command as one would type it.
pub(crate) fn show_command(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let mut text = program.file_name().unwrap_or(command.get_program()).to_string_lossy().into_owned();
    for arg in command.get_args() {
        let arg = arg.to_string_lossy();
        let plain = !arg.is_empty() && arg.chars().all(|c| c.is_ascii_alphanumeric() || "-_./:=,@+%".contains(c));
        let _ = if plain { write!(text, " {arg}") } else { write!(text, " '{arg}'") };
    }
    text
}

fn flush() {
    // Nothing to do if the reader of our output is gone; the next print will end the process.
    let _ = std::io::stdout().flush();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, verdict: Verdict, passed: u64, failed: u64) -> Row {
        let counts = Counts { passed, failed, skipped: 0 };
        Row { name: name.to_owned(), verdict, counts, time: Duration::from_secs(30), note: "why".to_owned() }
    }

    #[test]
    fn the_closing_line_is_the_sum() {
        let (text, good) = summary(&[row("a", Verdict::Ok, 3, 0), row("b", Verdict::Ok, 4, 0)], Paint::plain());
        assert!(good);
        assert!(text.ends_with("\n7 passed, 0 failed\n"), "{text}");
        let total: Vec<&str> =
            text.lines().find(|line| line.starts_with("total")).unwrap().split_whitespace().collect();
        assert_eq!(total, ["total", "7", "1.0"]);
    }

    #[test]
    fn a_failed_stage_without_cases_is_one_failure() {
        let (text, good) = summary(&[row("fmt", Verdict::Failed, 0, 0), row("b", Verdict::Ok, 4, 0)], Paint::plain());
        assert!(!good);
        assert!(text.ends_with("\n4 passed, 1 failed\n"), "{text}");
    }

    #[test]
    fn what_is_left_out_is_named() {
        let (text, good) = summary(&[row("bench", Verdict::LeftOut, 0, 0)], Paint::plain());
        assert!(good);
        assert!(text.contains("left out: bench: why\n"), "{text}");
    }

    #[cfg(unix)]
    mod children {
        use super::*;

        fn judge(script: &str, kind: Kind) -> StageResult {
            // One log per test process and script: the runner may run tests side by side.
            let name = format!("tombolo-xtask-{}-{}.log", std::process::id(), script.len());
            let log = std::env::temp_dir().join(name);
            let mut stage = Stage { paint: Paint::plain(), log: log.clone(), spoke: false };
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            let result = stage.child(command, kind, Duration::from_secs(30));
            std::fs::remove_file(log).unwrap();
            result
        }

        fn text_of(result: StageResult) -> String {
            match result {
                Err(Stop::Failed { text, .. }) => text,
                Err(Stop::LeftOut(_)) | Ok(_) => "not failed".to_owned(),
            }
        }

        #[test]
        fn a_bad_exit_fails_with_the_end_of_the_output() {
            let text = text_of(judge("echo the reason >&2; exit 4", Kind::Plain));
            assert!(text.contains("the reason") && text.contains("exit status: 4"), "{text}");
        }

        #[test]
        fn a_suite_program_without_cases_fails() {
            assert!(text_of(judge("echo fine", Kind::Suite)).contains("no cases"));
            let good = judge("echo cases: 1,500", Kind::Suite);
            assert!(matches!(good, Ok(Passed { counts: Counts { passed: 1_500, .. }, .. })));
        }

        #[test]
        fn failed_cases_fail_even_if_the_exit_is_good() {
            let script = "echo 'test result: FAILED. 1 passed; 2 failed; 0 ignored;'";
            assert!(text_of(judge(script, Kind::Tests)).contains("2 cases failed"));
        }
    }
}
