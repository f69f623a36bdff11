//! The world in one process: devices, relays, their disks, clocks and wires, all from one seed, on one thread.
//!
//! Responsible for: running a seed. First a phase in which things go wrong and nothing that was promised may be broken;
//! then all faults end, and everything must come together. The nodes are the product's own `client::Node` and
//! `replica::Replica` over the store's own `open()`, on disks that lose power; there is no second implementation of
//! anything. Not here: threads, sockets, processes (the kill and loopback tests).
//!
//! Read in this order: `knobs` (what a seed turns), `world` (time and frames), `workload`, `troubles`, `oracle` and
//! `checks` (what must be true at any time), `heal` and `reading` (what must be true in the end), `bugs` (that it can fail).

pub mod bugs;
pub mod checks;
pub mod ending;
pub mod heal;
pub mod knobs;
pub mod machine;
pub mod net;
pub mod oracle;
pub mod reading;
pub mod talking;
pub mod tally;
pub mod trace;
pub mod troubles;
pub mod workload;
pub mod world;

use bugs::Bug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use tally::Tally;
use world::World;

/// What came of a seed.
#[derive(Debug)]
pub struct Ran {
    /// What happened.
    pub tally: Tally,
    /// Hash over everything that happened.
    pub trace: u64,
    /// What is wrong with the product; `None` = nothing was found.
    pub failure: Option<String>,
}

/// Runs one seed. A panic of the product counts as a failure.
#[must_use]
pub fn run(seed: u64, bug: Option<Bug>, verbose: bool) -> Ran {
    let run = || {
        let mut world = match World::new(seed, bug, verbose) {
            Ok(world) => world,
            Err(failure) => return Ran { tally: Tally::default(), trace: 0, failure: Some(failure) },
        };
        let failure = live(&mut world).err().map(|failure| format!("{failure} (after {} ms)", world.now_ms));
        if verbose && failure.is_some() {
            world.portrait();
        }
        Ran { trace: world.trace.hash(), tally: world.tally, failure }
    };
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().cloned();
        let words = words.or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned()));
        Ran { tally: Tally::default(), trace: 0, failure: Some(format!("panic: {}", words.unwrap_or_default())) }
    })
}

fn live(world: &mut World) -> world::Outcome {
    for _ in 0..world.knobs.steps {
        world.act()?;
        world.trouble()?;
        let ms = match world.rng.below(100) {
            0..50 => world.rng.below(200),
            50..95 => world.rng.below(4_000),
            _ => world.rng.below(90_000),
        };
        world.run(ms)?;
    }
    world.heal()
}
