//! SIGKILL of the real programs in the middle of what they do: sending, exchanging, importing, relaying.
//!
//! What must hold: a message whose line was printed is there in the end, on both devices; nothing is stuck (an exchange
//! succeeds soon after whatever happened); digests end equal; no log is forked. Kills say nothing about power loss
//! (`power` does that); they find lost acknowledgements, half states and exchanges that never end.
//! Not here: one world and its cycles (`kill/world.rs`), driving the programs (`binaries`).

mod world;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::binaries::Binaries;
use tombolo_testkit::rng::Rng;
use world::World;

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Kill cycles over all worlds.
    pub cycles: u64,
    /// Which cycles and delays; when exactly a process is hit is up to the machine.
    pub seed: u64,
    /// Worlds (a relay and two devices each) at a time.
    pub threads: usize,
}

/// Cycles after which a world is finished and judged, so that histories stay of a size.
const CYCLES_PER_WORLD: u64 = 50;
/// Cycles from which on it is judged whether the kills hit.
const CYCLES_JUDGED: u64 = 100;
/// After this long without an end of an exchange something is stuck.
pub(crate) const STUCK: Duration = Duration::from_secs(30);

/// What became of the cycles.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) cycles: u64,
    /// Killed while it still ran.
    pub(crate) hits: Hits,
    /// Kills that came after the process had ended by itself.
    pub(crate) missed: u64,
    /// Messages whose line was printed.
    pub(crate) printed: u64,
    /// Exchanges that had to end, and did.
    pub(crate) healed: u64,
    /// The longest of them.
    pub(crate) slowest: Duration,
    pub(crate) imported: u64,
    pub(crate) ops: u64,
    pub(crate) worlds: u64,
}

/// Kills by what was going on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hits {
    pub(crate) send: u64,
    pub(crate) sync: u64,
    pub(crate) import: u64,
    pub(crate) relay: u64,
    pub(crate) pause: u64,
}

impl Tally {
    fn merge(&mut self, other: &Self) {
        self.cycles += other.cycles;
        self.hits.send += other.hits.send;
        self.hits.sync += other.hits.sync;
        self.hits.import += other.hits.import;
        self.hits.relay += other.hits.relay;
        self.hits.pause += other.hits.pause;
        self.missed += other.missed;
        self.printed += other.printed;
        self.healed += other.healed;
        self.slowest = self.slowest.max(other.slowest);
        self.imported += other.imported;
        self.ops += other.ops;
        self.worlds += other.worlds;
    }
}

/// Runs the cycles and prints what happened.
///
/// # Errors
/// What did not hold.
pub fn run(options: Options) -> Result<(), String> {
    let start = Instant::now();
    let binaries = Binaries::find()?;
    println!("kill: seed {}, {} worlds at a time", options.seed, options.threads);
    let worlds = options.cycles.div_ceil(CYCLES_PER_WORLD).max(options.threads as u64);
    let each = options.cycles.div_ceil(worlds);
    let next = AtomicU64::new(0);
    let results: Vec<Result<Tally, String>> = std::thread::scope(|scope| {
        let work = || {
            let mut total = Tally::default();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= worlds {
                    return Ok(total);
                }
                let rng = Rng::new(options.seed).fork(&format!("world {number}"));
                let tally = World::live(&binaries, rng, each).map_err(|words| format!("world {number}: {words}"))?;
                total.merge(&tally);
            }
        };
        let threads: Vec<_> = (0..options.threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err("a thread panicked".into()))).collect()
    });
    let mut total = Tally::default();
    let mut problems = Vec::new();
    for result in results {
        match result {
            Ok(tally) => total.merge(&tally),
            Err(words) => problems.push(words),
        }
    }
    let hits = total.hits;
    println!("cycles {} in {} worlds, {} s", total.cycles, total.worlds, start.elapsed().as_secs());
    println!(
        "killed while at it: send {}, sync {}, import {}, relay {}; relay paused {}; came too late {}",
        hits.send, hits.sync, hits.import, hits.relay, hits.pause, total.missed
    );
    println!(
        "messages whose line was printed {}, imported lines {}, ops in the end {}",
        total.printed, total.imported, total.ops
    );
    println!("exchanges that had to end {}, the slowest in {} ms", total.healed, total.slowest.as_millis());
    let mut want = |holds: bool, words: &str| {
        if !holds {
            problems.push(words.to_owned());
        }
    };
    want(total.cycles >= options.cycles, "not all cycles ran");
    let killed = hits.send + hits.sync + hits.import + hits.relay;
    // A few cycles say nothing about how often kills hit: the first ones find out how long things last here.
    let many = options.cycles >= CYCLES_JUDGED;
    want(!many || killed * 2 >= options.cycles, "fewer than half of the kills hit a running process");
    let every = hits.send > 0 && hits.sync > 0 && hits.import > 0 && hits.relay > 0;
    want(!many || every, "some kind of kill never hit");
    want(total.printed >= options.cycles, "hardly anything was sent: the kills prove nothing");
    if problems.is_empty() {
        println!("cases: {}", total.cycles);
        return Ok(());
    }
    Err(format!("{}\nseed {}", problems.join("\n"), options.seed))
}
