//! The programs of the package `suite`: simulation, power loss, kill, replay, bench; and the long run `soak`.
//!
//! Not responsible for what they prove; they are built here and called with the user's arguments.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::counts::Counts;
use crate::place::Place;
use crate::process::{self, End, Event};
use crate::term::{self, Paint};

/// Names of the suite's programs.
pub(crate) fn programs(metadata: &Value) -> Vec<String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let packages = list(&metadata["packages"]);
    let suite = packages.iter().find(|package| package["name"] == "suite");
    let targets = suite.map(|package| list(&package["targets"])).unwrap_or_default();
    let is_bin = |target: &&Value| list(&target["kind"]).iter().any(|kind| kind == "bin");
    targets.iter().filter(is_bin).filter_map(|target| Some(target["name"].as_str()?.to_owned())).collect()
}

/// One of the programs, as built before by [`build`] or by the stage `build` of the tests.
pub(crate) fn command(place: &Place, name: &str, release: bool) -> Command {
    let mut command = Command::new(place.built(name, release));
    command.current_dir(&place.root);
    place.clean(&mut command);
    command
}

/// Builds every program of the workspace (the suite also calls `tombolo` and `tombolo-relay`).
///
/// # Errors
/// A sentence for the user.
pub(crate) fn build(place: &Place, release: bool) -> Result<(), String> {
    let mut cargo = place.cargo();
    cargo.args(["build", "--locked", "--workspace", "--bins"]);
    if release {
        cargo.arg("--release");
    }
    finish(cargo)
}

/// Builds and runs one program with the user's arguments; its output goes straight to the user.
///
/// # Errors
/// A sentence for the user, if there is no such program, it cannot be built or it fails.
pub(crate) fn call(place: &Place, name: &str, args: &[String], release: bool) -> Result<(), String> {
    if !programs(&crate::place::metadata(&place.root)?).iter().any(|program| program == name) {
        return Err(format!("the suite has no program `{name}` yet"));
    }
    build(place, release)?;
    let mut command = command(place, name, release);
    command.args(args);
    // The user's folder, so that `--json FILE` lands where it is expected.
    if let Ok(here) = std::env::current_dir() {
        command.current_dir(here);
    }
    finish(command)
}

/// Runs a command to its end; its output goes straight to the user.
///
/// # Errors
/// A sentence for the user, if it fails.
pub(crate) fn finish(mut command: Command) -> Result<(), String> {
    let shown = crate::stage::show_command(&command);
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{shown}` ended with {status}")),
        Err(e) => Err(format!("cannot start `{shown}`: {e}")),
    }
}

/// How long the long run is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Soak {
    /// Seeds of the simulation.
    pub(crate) seeds: u64,
    /// Crash states of the disk that loses power.
    pub(crate) states: u64,
    /// Kill cycles of the real binaries.
    pub(crate) cycles: u64,
    /// No part may take longer.
    pub(crate) hours: u64,
    /// Result lines are appended here, one JSON object each.
    pub(crate) out: PathBuf,
}

impl Soak {
    /// Reads `--seeds N --states N --cycles N --hours N --out FILE`. A part with 0 is left out.
    ///
    /// # Errors
    /// What is wrong with the arguments.
    pub(crate) fn parse(args: &[String]) -> Result<Self, String> {
        let mut soak =
            Self { seeds: 100_000, states: 1_000_000, cycles: 20_000, hours: 24, out: "soak-results.jsonl".into() };
        let mut args = args.iter();
        while let Some(name) = args.next() {
            let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
            let number = || value.replace(['_', ','], "").parse().map_err(|_| format!("{name} {value}: not a number"));
            match name.as_str() {
                "--seeds" => soak.seeds = number()?,
                "--states" => soak.states = number()?,
                "--cycles" => soak.cycles = number()?,
                "--hours" => soak.hours = number()?,
                "--out" => soak.out = value.into(),
                _ => return Err(format!("{name} is not known")),
            }
        }
        Ok(soak)
    }

    fn parts(&self) -> [(&'static str, &'static str, u64); 3] {
        [("sim", "--seeds", self.seeds), ("power", "--states", self.states), ("kill", "--cycles", self.cycles)]
    }
}

/// Runs the long proofs one after the other, in release, and writes down what each reached at which commit.
/// Returns whether all held.
///
/// # Errors
/// A sentence for the user, if it cannot be built or the results cannot be written.
pub(crate) fn soak(place: &Place, paint: Paint, soak: &Soak) -> Result<bool, String> {
    build(place, true)?;
    let commit = commit(&place.root);
    println!("commit {commit}; results go to {}", soak.out.display());
    let known = programs(&crate::place::metadata(&place.root)?);
    let mut good = true;
    for (name, option, n) in soak.parts() {
        if n == 0 {
            continue;
        }
        let mut row = json!({ "commit": commit, "part": name, "asked": n });
        if known.iter().any(|program| program == name) {
            println!("{}", paint.bold(&format!("{name} {option} {n}")));
            let mut command = command(place, name, true);
            command.args([option, &n.to_string()]);
            let (counts, problem, time) = watch(&mut command, Duration::from_secs(soak.hours * 3_600))?;
            row["cases"] = counts.passed.into();
            row["seconds"] = time.as_secs().into();
            row["ok"] = problem.is_none().into();
            row["problem"] = problem.into();
        } else {
            row["ok"] = false.into();
            row["problem"] = format!("the suite has no program `{name}` yet").into();
        }
        good &= row["ok"] == true;
        append(&soak.out, &row)?;
        println!("{row}");
    }
    Ok(good)
}

fn watch(command: &mut Command, limit: Duration) -> Result<(Counts, Option<String>, Duration), String> {
    let start = Instant::now();
    let mut counts = Counts::default();
    let mut next_beat = Duration::from_secs(600);
    let end = process::run(command, limit, &mut |event| match event {
        Event::Out(line) => {
            counts.feed_suite(line);
            println!("  {line}");
        }
        Event::Err(line) => println!("  {line}"),
        Event::Tick(time) if time >= next_beat => {
            next_beat += Duration::from_secs(600);
            println!("  still running, {}", term::duration(time));
        }
        Event::Tick(_) => {}
    })?;
    let problem = match end {
        End::OutOfTime => Some(format!("stopped: it did not end within {}", term::duration(limit))),
        End::Exit(status) if !status.success() => Some(format!("ended with {status}")),
        End::Exit(_) if counts.passed == 0 => Some("it reported no cases".to_owned()),
        End::Exit(_) => None,
    };
    Ok((counts, problem, start.elapsed()))
}

fn append(file: &Path, row: &Value) -> Result<(), String> {
    let write = || writeln!(OpenOptions::new().create(true).append(true).open(file)?, "{row}");
    write().map_err(|e: std::io::Error| format!("cannot write {}: {e}", file.display()))
}

/// The commit that is checked out, marked if the tree differs from it.
fn commit(root: &Path) -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git").current_dir(root).args(args).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    match git(&["rev-parse", "HEAD"]) {
        Some(hash) if git(&["status", "--porcelain"]).is_some_and(|changes| changes.is_empty()) => hash,
        Some(hash) => format!("{hash}-changed"),
        None => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn programs_are_the_bins_of_the_suite_only() {
        let metadata = json!({ "packages": [
            { "name": "xtask", "targets": [{ "name": "xtask", "kind": ["bin"] }] },
            { "name": "suite", "targets": [
                { "name": "suite", "kind": ["lib"] }, { "name": "sim", "kind": ["bin"] }, { "name": "it", "kind": ["test"] },
            ] },
        ] });
        assert_eq!(programs(&metadata), ["sim"]);
    }

    #[test]
    fn the_length_of_a_soak_can_be_chosen() {
        let soak = Soak::parse(&words("--seeds 1_000 --cycles 0 --out x.jsonl")).unwrap();
        assert_eq!((soak.seeds, soak.states, soak.cycles), (1_000, 1_000_000, 0));
        assert_eq!(soak.out, PathBuf::from("x.jsonl"));
        assert!(Soak::parse(&words("--seeds")).is_err());
        assert!(Soak::parse(&words("--seeds many")).is_err());
        assert!(Soak::parse(&words("--speed 3")).is_err());
    }
}
