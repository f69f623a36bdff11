//! Runs the simulated world: one seed with its trace, a range of seeds, or what CI runs.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use suite::sim::bugs::{self, Bug};
use suite::sim::tally::{TOOLS, Tally};
use suite::sim::{Ran, run};

const USAGE: &str = "sim --seed N [-v] [--bug NAME] | --seeds N [--from K] [--bug NAME] | --ci
  --seed N    runs one world; -v prints its trace
  --seeds N   runs N worlds, from the clock's seed or from K on
  --bug NAME  breaks a promise on purpose: drops-last, no-sync, lying-disk, false-proof, old-tail, forgets,
              forgets-intent
  --ci        2,000 fresh worlds, all that ever failed, determinism, and the bugs on purpose";

/// Fresh worlds that CI runs.
const CI_SEEDS: u64 = 2_000;
/// Time in which they must be done.
const CI_TIME: Duration = Duration::from_secs(15 * 60);
/// Worlds within which a bug on purpose must be found.
const BUG_SEEDS: u64 = 600;
/// Fresh worlds in which each tool must find something, in CI.
const TOOL_SEEDS: u64 = 100;
/// One world in so many runs twice.
const TWICE: u64 = 100;
/// Seeds that failed once, with their stories.
const SAVED: &str = include_str!("../../sim-seeds.txt");

fn main() -> ExitCode {
    // A panic of the product becomes the failure of its seed; its place stands in the message.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match work(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(words) => {
            eprintln!("{words}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Default)]
struct Options {
    seed: Option<u64>,
    seeds: Option<u64>,
    from: Option<u64>,
    bug: Option<Bug>,
    verbose: bool,
    ci: bool,
}

fn parse(arguments: &[String]) -> Result<Options, String> {
    let mut options = Options::default();
    let mut arguments = arguments.iter();
    while let Some(name) = arguments.next() {
        let mut value = || arguments.next().cloned().ok_or_else(|| format!("{name} needs a value\n{USAGE}"));
        let number =
            |text: String| text.replace(['_', ','], "").parse::<u64>().map_err(|_| format!("{text}: not a number"));
        match name.as_str() {
            "--seed" => options.seed = Some(number(value()?)?),
            "--seeds" => options.seeds = Some(number(value()?)?),
            "--from" => options.from = Some(number(value()?)?),
            "--bug" => {
                let wanted = value()?;
                let found = bugs::ALL.into_iter().find(|bug| bug.name() == wanted);
                options.bug = Some(found.ok_or_else(|| format!("there is no bug {wanted}\n{USAGE}"))?);
            }
            "-v" => options.verbose = true,
            "--ci" => options.ci = true,
            _ => return Err(USAGE.into()),
        }
    }
    Ok(options)
}

fn work(arguments: &[String]) -> Result<(), String> {
    let options = parse(arguments)?;
    let base = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |time| time.as_millis() as u64 * 10_000);
    if options.ci {
        let (base, of) = tree_seed().map_or((base, "the clock"), |seed| (seed, "this commit's tree"));
        println!("fresh seeds from {base}, drawn from {of}");
        return ci(base);
    }
    if let Some(seed) = options.seed {
        let ran = run(seed, options.bug, options.verbose);
        println!("seed {seed}: trace {:016x}", ran.trace);
        print!("{}", ran.tally.table());
        println!("cases: 1");
        return ran.failure.map_or(Ok(()), |failure| Err(format!("seed {seed}: {failure}")));
    }
    let Some(seeds) = options.seeds else { return Err(USAGE.into()) };
    let from = options.from.unwrap_or(base);
    println!("seeds {from} to {}", from + seeds - 1);
    let many = many(from, seeds, options.bug, None);
    many.report();
    println!("cases: {}", many.tally.seeds);
    many.verdict()
}

struct Many {
    tally: Tally,
    failures: Vec<(u64, String)>,
    twice: u64,
    took: Duration,
}

impl Many {
    fn report(&self) {
        print!("{}", self.tally.table());
        let minutes = self.took.as_secs_f64() / 60.0;
        println!(
            "  {} worlds in {:.0} s, {:.0} a minute; {} of them ran twice with equal traces",
            self.tally.seeds,
            self.took.as_secs_f64(),
            self.tally.seeds as f64 / minutes.max(1e-9),
            self.twice
        );
    }

    fn verdict(&self) -> Result<(), String> {
        if self.failures.is_empty() {
            return Ok(());
        }
        let lines: Vec<String> = self.failures.iter().map(|(seed, words)| format!("seed {seed}: {words}")).collect();
        Err(format!("{} worlds failed; see each with `sim --seed N -v`:\n{}", lines.len(), lines.join("\n")))
    }
}

/// Runs seeds on two threads, until the time is over where there is a limit.
fn many(from: u64, count: u64, bug: Option<Bug>, limit: Option<Duration>) -> Many {
    let began = Instant::now();
    let next = AtomicU64::new(0);
    let over = AtomicBool::new(false);
    let shared = Mutex::new((Tally::default(), Vec::new(), 0_u64));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count || over.load(Ordering::Relaxed) {
                        return;
                    }
                    if limit.is_some_and(|limit| began.elapsed() > limit) {
                        over.store(true, Ordering::Relaxed);
                        return;
                    }
                    let seed = from + index;
                    let Ran { tally, trace, mut failure } = run(seed, bug, false);
                    let twice = index.is_multiple_of(TWICE) && failure.is_none();
                    if twice && run(seed, bug, false).trace != trace {
                        failure = Some("a second run of the same seed had another trace".into());
                    }
                    let mut shared = shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    shared.0.add(&tally);
                    shared.2 += u64::from(twice);
                    if let Some(failure) = failure {
                        eprintln!("seed {seed}: {failure}");
                        shared.1.push((seed, failure));
                    }
                }
            });
        }
    });
    let (tally, mut failures, twice) = shared.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    failures.sort();
    Many { tally, failures, twice, took: began.elapsed() }
}

/// Seeds that no other tree of files gets, and this one always: a CI run can be repeated, and a red one stays red.
fn tree_seed() -> Option<u64> {
    let output = std::process::Command::new("git").args(["rev-parse", "HEAD^{tree}"]).output().ok()?;
    let hash = String::from_utf8(output.stdout).ok()?;
    let number = u64::from_str_radix(hash.get(..12)?, 16).ok()?;
    Some(number * 10_000)
}

fn ci(base: u64) -> Result<(), String> {
    let saved: Vec<u64> = SAVED.lines().filter_map(|line| line.split('#').next()?.trim().parse().ok()).collect();
    for seed in &saved {
        if let Some(failure) = run(*seed, None, false).failure {
            return Err(format!("seed {seed} has failed before and fails again: {failure}"));
        }
    }
    println!("{} saved seeds run clean", saved.len());
    for bug in bugs::ALL {
        let found = (0..BUG_SEEDS).find_map(|index| Some((index, run(base + index, Some(bug), false).failure?)));
        let Some((index, words)) = found else {
            return Err(format!("the bug {} was not found in {BUG_SEEDS} worlds", bug.name()));
        };
        println!("the bug {} on purpose was found in world {}: {words}", bug.name(), index + 1);
    }
    let many = many(base, CI_SEEDS, None, Some(CI_TIME));
    many.report();
    println!("cases: {}", many.tally.seeds);
    many.verdict()?;
    if many.tally.seeds < CI_SEEDS {
        return Err(format!("only {} of {CI_SEEDS} worlds in {} s", many.tally.seeds, CI_TIME.as_secs()));
    }
    let never = many.tally.never();
    if !never.is_empty() {
        return Err(format!("faults that never struck: {}", never.join(", ")));
    }
    for (tool, name) in TOOLS.iter().enumerate() {
        if many.tally.found_seeds[tool] < TOOL_SEEDS {
            return Err(format!("{name} decided only {} worlds, not {TOOL_SEEDS}", many.tally.found_seeds[tool]));
        }
    }
    Ok(())
}
