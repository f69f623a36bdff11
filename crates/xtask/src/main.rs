//! `cargo xtask`: everything one does with this repository, as one program.
//!
//! Reads the command and hands over: `ci.rs` (test), `demo.rs` (run, demo), `suite.rs` (bench, replay, sim, soak),
//! `setup.rs`, and single checks. Depends on the standard library and serde_json only: it must compile in seconds.

mod arrows;
mod ci;
mod counts;
mod demo;
mod deny;
mod fuzz;
mod place;
mod process;
mod purity;
mod setup;
mod source;
mod stage;
mod suite;
mod term;
mod tidy;
mod ui;

use std::process::ExitCode;

use place::Place;
use stage::{Stages, Stop};
use term::Paint;

const USAGE: &str = "\
cargo xtask COMMAND

  run [--release]        set up what is missing, build, show the main job (a relay, two people, offline and back)
  demo [--release]       the same: needs only Rust
  web [OPTION...]        build the interface and the program, serve it in a browser tab (`tombolo OPTION... web`)
  ui                     build the interface alone, into ui/dist
  setup                  install what a build needs (Debian, Ubuntu), or say what to install
  test [--quick]         everything that CI runs; --quick leaves out the long proofs
  ci                     the same as test

  bench [--json FILE] [NAME...]      speed, as ratios against baselines of the same run
  replay channel|branches [ARG...]   recorded conversations in the simulated world
  sim | power | kill [ARG...]        one proof alone, as CI builds it: `cargo xtask sim --seed N`
                                     (--release before other arguments: faster, without overflow checks)
  soak [--seeds N] [--states N] [--cycles N] [--hours N] [--out FILE]
                                     the long proofs; one JSON line with the commit for each
  fuzz [TARGET] [--seconds N]        needs nightly Rust and cargo-fuzz

  tidy | arrows | purity | deny      one check alone

CARGO_TARGET_DIR chooses where builds go (else a folder in your cache). TOMBOLO_DATA names the folder with the larger
recordings; without it the samples in the repository are used.
";

enum Failure {
    /// Wrong arguments: the usage is shown.
    Usage(String),
    /// Something failed; the text says what.
    Failed(String),
    /// Something failed and was shown already.
    Shown,
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self::Failed(text)
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect();
    match command(args.get(1..).unwrap_or_default()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(text)) => {
            eprintln!("{text}\n\n{USAGE}");
            ExitCode::from(2)
        }
        Err(Failure::Failed(text)) => {
            eprintln!("{}", Paint::for_stderr().bad(&text));
            ExitCode::FAILURE
        }
        Err(Failure::Shown) => ExitCode::FAILURE,
    }
}

fn command(args: &[String]) -> Result<(), Failure> {
    let Some((name, rest)) = args.split_first() else {
        print!("{USAGE}");
        return Ok(());
    };
    let paint = Paint::for_stdout();
    match name.as_str() {
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(())
        }
        "setup" => {
            only(rest, &[])?;
            setup::ensure(paint)?;
            println!("all is there");
            Ok(())
        }
        "ui" => {
            only(rest, &[])?;
            Ok(ui::build(&Place::find()?)?)
        }
        "web" => {
            setup::ensure(paint)?;
            Ok(ui::web(&Place::find()?, rest)?)
        }
        // Until there is an app, the main job is the demonstration.
        "run" | "demo" => {
            let release = only(rest, &["--release"])?;
            Ok(demo::run(&Place::find()?, paint, release)?)
        }
        "test" | "ci" => {
            let quick = only(rest, &["--quick"])?;
            shown(ci::test(&Place::find()?, paint, quick)?)
        }
        "bench" | "replay" => suite_program(paint, name, rest, true),
        "sim" | "power" | "kill" => match rest.split_first() {
            Some((first, rest)) if first == "--release" => suite_program(paint, name, rest, true),
            _ => suite_program(paint, name, rest, false),
        },
        "soak" => {
            let soak = suite::Soak::parse(rest).map_err(Failure::Usage)?;
            setup::ensure(paint)?;
            shown(suite::soak(&checked_place(paint)?, paint, &soak)?)
        }
        "fuzz" => {
            let fuzz = fuzz::Fuzz::parse(rest).map_err(Failure::Usage)?;
            setup::ensure(paint)?;
            Ok(fuzz.run(&checked_place(paint)?)?)
        }
        "tidy" | "arrows" | "purity" | "deny" => {
            only(rest, &[])?;
            single(&Place::find()?, paint, name)
        }
        _ => Err(Failure::Usage(format!("there is no command `{name}`"))),
    }
}

fn suite_program(paint: Paint, name: &str, args: &[String], release: bool) -> Result<(), Failure> {
    setup::ensure(paint)?;
    Ok(suite::call(&checked_place(paint)?, name, args, release)?)
}

fn checked_place(paint: Paint) -> Result<Place, String> {
    let place = Place::find()?;
    if let Some(warning) = place.check_disk()? {
        println!("{} {warning}", paint.bold("warning:"));
    }
    Ok(place)
}

/// One check, shown like a stage of the tests.
fn single(place: &Place, paint: Paint, name: &str) -> Result<(), Failure> {
    let mut stages = Stages::new(paint, 1, place.target.join("xtask-logs"));
    let good = stages.run(name, |stage| match name {
        "tidy" => ci::tidy_stage(place, stage),
        "arrows" => ci::arrows_stage(place),
        "purity" => ci::purity_stage(place),
        "deny" => ci::deny_stage(place, stage, false),
        _ => Err(Stop::failed("there is no such check")),
    });
    shown(good)
}

fn shown(good: bool) -> Result<(), Failure> {
    if good { Ok(()) } else { Err(Failure::Shown) }
}

/// Accepts nothing but the flags given; returns whether the first of them is there.
fn only(args: &[String], flags: &[&str]) -> Result<bool, Failure> {
    match args.iter().find(|arg| !flags.contains(&arg.as_str())) {
        Some(other) => Err(Failure::Usage(format!("`{other}` is not known here"))),
        None => Ok(!args.is_empty()),
    }
}
