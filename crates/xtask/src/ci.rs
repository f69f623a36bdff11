//! `cargo xtask test`: everything that CI runs, in the order in which it is cheapest to fail.
//!
//! One package selection throughout (`--workspace`): another one changes the features of shared dependencies and compiles
//! most of them again. No release build. What the stages print is shown by `stage.rs`.

use std::process::Command;
use std::time::Duration;

use crate::counts::Counts;
use crate::place::{self, Place};
use crate::stage::{Kind, Passed, Stage, StageResult, Stages, Stop};
use crate::term::Paint;
use crate::{arrows, demo, deny, purity, setup, suite, tidy, ui};

const fn minutes(n: u64) -> Duration {
    Duration::from_secs(n * 60)
}

/// Compiling from nothing on two slow cores; only there so that nothing hangs for ever.
const BUILD_LIMIT: Duration = minutes(60);
const SUITE_LIMIT: Duration = minutes(25);
const CHECK_LIMIT: Duration = minutes(10);

/// Programs of the package `suite`, what they are given in CI, and whether `--quick` keeps them.
const PROOFS: &[(&str, &[&str], bool)] = &[
    ("sim", &["--ci"], false),
    ("power", &["--ci"], false),
    ("kill", &["--ci"], false),
    ("replay", &["channel", "--ci"], false),
    ("replay", &["branches"], true),
    ("bench", &["--smoke"], true),
];

/// Runs all stages. Returns whether all is well.
///
/// # Errors
/// A sentence for the user, if it cannot even begin.
pub(crate) fn test(place: &Place, paint: Paint, quick: bool) -> Result<bool, String> {
    setup::ensure(paint)?;
    setup::ensure_components(paint)?;
    println!("target folder: {}", place.target.display());
    if let Some(warning) = place.check_disk()? {
        println!("{} {warning}", paint.bold("warning:"));
    }
    match place::recordings() {
        Some(dir) => println!("recordings: {}", dir.display()),
        None => println!("recordings: TOMBOLO_DATA names no folder; the samples in the repository are used"),
    }
    if quick {
        println!("--quick: the long proofs are left out, each is named at the end");
    }

    // fmt, tidy, arrows, purity, deny, ui, clippy, build, tests, doctests; the proofs; the browser, the demo.
    let total = 10 + PROOFS.len() + 2;
    let mut stages = Stages::new(paint, total, place.target.join("xtask-logs"));
    stages.run("fmt", |stage| {
        let mut cargo = place.cargo();
        cargo.args(["fmt", "--all", "--check", "--", "--color", "never"]);
        stage.child(cargo, Kind::Plain, CHECK_LIMIT)
    });
    stages.run("tidy", |stage| tidy_stage(place, stage));
    stages.run("arrows", |_| arrows_stage(place));
    stages.run("purity", |_| purity_stage(place));
    stages.run("deny", |stage| deny_stage(place, stage, quick));
    // Before everything that is compiled: the interface goes into the program.
    let interface = stages.run("ui", |stage| ui_stage(place, stage));
    stages.run("clippy", |stage| {
        let mut cargo = place.cargo();
        cargo.args(["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"]);
        stage.child(cargo, Kind::Plain, BUILD_LIMIT)
    });
    let built = stages.run("build", |stage| {
        let mut cargo = place.cargo();
        // The same targets as the tests, so that both see the same features.
        cargo.args(["build", "--locked", "--workspace", "--all-targets"]);
        stage.child(cargo, Kind::Plain, BUILD_LIMIT)
    });
    stages.run("tests", |stage| if built { tests_stage(place, stage) } else { not_built() });
    stages.run("doctests", |stage| {
        let mut cargo = place.cargo();
        cargo.args(["test", "--locked", "--workspace", "--doc"]);
        if built { stage.child(cargo, Kind::Tests, BUILD_LIMIT) } else { not_built() }
    });
    let programs = suite::programs(&place::metadata(&place.root)?);
    for (name, args, in_quick) in PROOFS {
        let title = format!("{name} {}", args[0].trim_start_matches("--"));
        stages.run(title.trim_end_matches(" ci"), |stage| {
            if !programs.iter().any(|program| program == name) {
                return Err(Stop::LeftOut(format!("the suite has no program `{name}` yet")));
            }
            if quick && !in_quick {
                return Err(Stop::LeftOut("--quick; run `cargo xtask test` for it".to_owned()));
            }
            if !built {
                return not_built();
            }
            let mut command = suite::command(place, name, false);
            command.args(*args);
            stage.child(command, Kind::Suite, SUITE_LIMIT)
        });
    }
    stages.run("browser", |stage| {
        if quick {
            return Err(Stop::LeftOut("--quick; run `cargo xtask test` for it".to_owned()));
        }
        if built && interface { browser_stage(place, paint, stage) } else { not_built() }
    });
    stages.run("demo", |_| if built { demo_stage(place) } else { not_built() });
    Ok(stages.finish())
}

fn not_built() -> StageResult {
    Err(Stop::failed("not run: the build failed"))
}

fn found(what: &str, wrong: &[String]) -> Stop {
    Stop::failed(format!("{}\n{} {what}", wrong.join("\n"), wrong.len()))
}

/// The rules of `tidy.rs` as a stage.
pub(crate) fn tidy_stage(place: &Place, stage: &mut Stage) -> StageResult {
    let files = tidy::read_tree(&place.root).map_err(Stop::failed)?;
    let findings = tidy::check(&files);
    for remark in &findings.remarks {
        stage.say(remark);
    }
    if findings.wrong.is_empty() {
        return Ok(Passed { note: format!("{} files", files.len()), ..Passed::default() });
    }
    Err(found("findings", &findings.wrong))
}

/// The arrows between our crates as a stage.
pub(crate) fn arrows_stage(place: &Place) -> StageResult {
    let metadata = place::metadata(&place.root).map_err(Stop::failed)?;
    match arrows::check(&metadata) {
        Ok(looked) => Ok(Passed { note: format!("{looked} imports between our crates"), ..Passed::default() }),
        Err(wrong) => Err(found("forbidden arrows", &wrong)),
    }
}

/// The purity of `model` and `proto` as a stage.
pub(crate) fn purity_stage(place: &Place) -> StageResult {
    match purity::check(&place.root, &place.target.join("xtask-purity")) {
        Ok(crates) => Ok(Passed { note: format!("{crates} crates cannot name std"), ..Passed::default() }),
        Err(wrong) => Err(found("findings", &wrong)),
    }
}

/// The interface: types, style, units, size, and the build that goes into the program.
fn ui_stage(place: &Place, stage: &mut Stage) -> StageResult {
    ui::install(place).map_err(Stop::failed)?;
    stage.child(ui::npm(place, &["run", "--silent", "verify"]), Kind::Suite, CHECK_LIMIT)
}

/// The interface in a real browser: every story, and the journeys against real programs.
fn browser_stage(place: &Place, paint: Paint, stage: &mut Stage) -> StageResult {
    setup::ensure_browser(paint).map_err(Stop::failed)?;
    let mut command = ui::npm(place, &["run", "--silent", "browser"]);
    command.env("TOMBOLO_PROGRAMS", place.target.join("debug"));
    stage.child(command, Kind::Suite, SUITE_LIMIT)
}

/// Licences, bans and sources as a stage.
pub(crate) fn deny_stage(place: &Place, stage: &mut Stage, quick: bool) -> StageResult {
    match deny::command(place) {
        Ok(command) => stage.child(command, Kind::Plain, CHECK_LIMIT),
        Err(why) if quick => Err(Stop::LeftOut(why)),
        Err(why) => Err(Stop::failed(format!("LICENCES, BANS AND SOURCES ARE NOT CHECKED.\n{why}"))),
    }
}

fn tests_stage(place: &Place, stage: &mut Stage) -> StageResult {
    let mut cargo = place.cargo();
    let note = if runs(place.cargo().args(["nextest", "--version"])) {
        cargo.args(["nextest", "run", "--locked", "--workspace", "--config-file", "crates/xtask/nextest.toml"]);
        String::new()
    } else {
        cargo.args(["test", "--locked", "--workspace", "--all-targets", "--no-fail-fast", "--", "--test-threads=2"]);
        "by cargo test; with cargo-nextest each test has a process and a time limit".to_owned()
    };
    let passed = stage.child(cargo, Kind::Tests, BUILD_LIMIT)?;
    if passed.counts.passed == 0 {
        return Err(Stop::failed("no test ran"));
    }
    Ok(Passed { note, ..passed })
}

fn demo_stage(place: &Place) -> StageResult {
    let mut told = Vec::new();
    match demo::tell(place, false, Paint::plain(), &mut |line| told.push(line.to_owned())) {
        Ok(shown) => {
            let counts = Counts { passed: shown, ..Counts::default() };
            Ok(Passed { counts, note: String::new() })
        }
        Err(text) => Err(Stop::failed(format!("{}\n{text}", told.join("\n")))),
    }
}

fn runs(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}
