//! Power loss under the real store: a device and a relay on disks that lose, tear and reorder what was not synced.
//!
//! A workload is recorded once; then the power fails after any of its disk operations, in as many ways as wanted, and
//! the shipped `open` must find everything that was acknowledged, and must not write where a peer has seen it write
//! before. Some survivors lose power again while they recover. Two controls must fail: the same run with
//! `synchronous=NORMAL`, and one in which a send leaves before its commit.
//! Not here: the workload (`power/world.rs`), what must be true (`power/judge.rs`), the disk itself (`testkit`).

mod judge;
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use judge::{Look, Verdict};
use tombolo_testkit::disk::Disk;
use tombolo_testkit::rng::Rng;
use world::{Fact, Flaw, History, Recorded};

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Crash states of the shipped store; controls come on top.
    pub states: u64,
    /// Everything follows from it.
    pub seed: u64,
    /// Threads.
    pub threads: usize,
}

/// States that one recorded workload serves for.
const STATES_PER_WORKLOAD: u64 = 2_500;
/// States of each control.
const CONTROL_STATES: u64 = 1_500;
/// Every so many states the doctor looks at everything.
const DEEP_EVERY: u64 = 25;
/// Every so many states of a device it meets a relay that lost power with it.
const HEAL_EVERY: u64 = 25;
/// Violations that are spelled out.
const NAMED_MAX: usize = 8;

/// What became of many states.
#[derive(Debug, Default)]
struct Tally {
    device: u64,
    relay: u64,
    second: u64,
    due: u64,
    wrote: u64,
    /// Nothing could be written although a conversation was promised.
    mute: u64,
    deep: u64,
    healed: u64,
    /// Of them: the device wrongly suspected the relay of having lost something, and found by comparing that it had not.
    suspected: u64,
    lossy: u64,
    most_lost: u64,
    forked: u64,
    wrong: u64,
    operations: u64,
    workloads: u64,
    examples: Vec<String>,
}

impl Tally {
    fn add(&mut self, verdict: &Verdict, at: impl FnOnce() -> String) {
        self.due += u64::from(verdict.due);
        self.wrote += u64::from(verdict.wrote);
        self.mute += u64::from(verdict.due && !verdict.wrote);
        self.deep += u64::from(verdict.deep);
        self.lossy += u64::from(verdict.lost > 0);
        self.most_lost = self.most_lost.max(verdict.lost);
        self.forked += u64::from(verdict.forked);
        self.wrong += u64::from(verdict.wrong.is_some());
        if !verdict.is_good() && self.examples.len() < NAMED_MAX {
            self.examples.push(format!("{}: {verdict:?}", at()));
        }
    }

    fn merge(&mut self, other: Self) {
        self.device += other.device;
        self.relay += other.relay;
        self.second += other.second;
        self.due += other.due;
        self.wrote += other.wrote;
        self.mute += other.mute;
        self.deep += other.deep;
        self.healed += other.healed;
        self.suspected += other.suspected;
        self.lossy += other.lossy;
        self.most_lost = self.most_lost.max(other.most_lost);
        self.forked += other.forked;
        self.wrong += other.wrong;
        self.operations += other.operations;
        self.workloads += other.workloads;
        self.examples.extend(other.examples);
        self.examples.truncate(NAMED_MAX);
    }

    fn states(&self) -> u64 {
        self.device + self.relay + self.second
    }

    fn row(&self, what: &str, time: Duration) {
        let rate = self.states() as f64 / time.as_secs_f64().max(0.001);
        println!(
            "{what:<34} {:>7} {:>7} {:>7} {:>7} {:>6} {:>6} {:>6} {:>6} {:>6} {rate:>7.0}",
            self.device,
            self.relay,
            self.second,
            self.wrote,
            self.deep,
            self.healed,
            self.lossy,
            self.forked,
            self.wrong,
        );
    }
}

/// Runs everything and prints a table.
///
/// # Errors
/// What did not hold, with the seeds that repeat it.
pub fn run(options: Options) -> Result<(), String> {
    println!("power loss: seed {}, {} threads", options.seed, options.threads);
    println!(
        "{:<34} {:>7} {:>7} {:>7} {:>7} {:>6} {:>6} {:>6} {:>6} {:>6} {:>7}",
        "", "device", "relay", "again", "writing", "doctor", "healed", "lossy", "forked", "wrong", "state/s"
    );
    let (sound, time) = many(options, options.states, Flaw::Sound, false);
    sound.row("WAL, FULL: as shipped", time);
    println!("{} workloads, {} disk operations, power lost after each of them", sound.workloads, sound.operations);
    println!("{} of {} healed pairs compared once more on a groundless suspicion", sound.suspected, sound.healed);
    let mut problems = sound.examples.clone();
    let mut want = |holds: bool, words: String| {
        if !holds {
            problems.push(words);
        }
    };
    want(sound.lossy + sound.forked + sound.wrong == 0, "the shipped store broke a promise".into());
    want(sound.states() >= options.states, format!("{} states instead of {}", sound.states(), options.states));
    want(sound.device * 2 >= options.states && sound.relay * 5 >= options.states, "too few states of a side".into());
    want(sound.second * 20 >= options.states, format!("only {} second cuts", sound.second));
    want(sound.mute == 0, format!("{} states could not be written on", sound.mute));
    want(sound.due * 10 >= (sound.device + sound.second) * 7, format!("only {} states had a conversation", sound.due));
    want(sound.deep * 40 >= options.states, format!("the doctor looked at {} states only", sound.deep));
    want(sound.healed * 60 >= options.states, format!("only {} states met a relay", sound.healed));

    for (flaw, go_on, what) in [
        (Flaw::Normal, false, "control: synchronous=NORMAL"),
        (Flaw::Normal, true, "control: NORMAL, log continued"),
        (Flaw::SendFirst, true, "control: sent before commit"),
    ] {
        let (control, time) = many(options, CONTROL_STATES, flaw, go_on);
        control.row(what, time);
        let share = if flaw == Flaw::Normal { control.states() / 4 } else { 1 };
        want(
            control.lossy >= share,
            format!("{what}: only {} of {} states lost anything", control.lossy, control.states()),
        );
        if go_on {
            want(control.forked > 0, format!("{what}: no fork was seen"));
        }
    }
    if problems.is_empty() {
        println!("cases: {}", sound.states());
        return Ok(());
    }
    Err(format!("{}\nrepeat with --seed {}", problems.join("\n"), options.seed))
}

/// Spreads the states over workloads and threads.
fn many(options: Options, states: u64, flaw: Flaw, go_on: bool) -> (Tally, Duration) {
    let start = Instant::now();
    let workloads = states.div_ceil(STATES_PER_WORKLOAD).max(options.threads as u64);
    let each = states.div_ceil(workloads);
    let (next, total) = (AtomicU64::new(0), Mutex::new(Tally::default()));
    std::thread::scope(|scope| {
        for _ in 0..options.threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= workloads {
                        return;
                    }
                    let seed = Rng::new(options.seed).fork(&format!("workload {number}")).next_u64();
                    let tally = one(seed, each, flaw, go_on);
                    total.lock().expect("no thread panicked").merge(tally);
                }
            });
        }
    });
    (total.into_inner().expect("no thread panicked"), start.elapsed())
}

/// One workload: 60 states of 100 are the device's, 28 the relay's, 12 lose power again while they recover.
fn one(seed: u64, states: u64, flaw: Flaw, go_on: bool) -> Tally {
    let recorded = world::record(seed, flaw);
    let mut tally = Tally { workloads: 1, ..Tally::default() };
    tally.operations = (recorded.device.len() + recorded.relay.len()) as u64;
    let second = if flaw == Flaw::Sound { states * 12 / 100 } else { 0 };
    let relay = states * 28 / 100;
    devices(&recorded, states - relay - second, second, flaw, go_on, &mut tally);
    relays(&recorded, relay, &mut tally);
    tally
}

/// How many of `states` fall on operation number `at` of `len`, spread evenly.
fn share(states: u64, at: u64, len: u64) -> u64 {
    let through = |at: u64| states * at / len.max(1);
    through(at + 1) - through(at)
}

/// The operation of the device's disk from which on something is promised.
fn begins(recorded: &Recorded) -> u64 {
    let mut replay = recorded.device.replay();
    while recorded.history.facts[replay.mark() as usize].device == 0 && replay.step() {}
    replay.ops_done() as u64
}

fn devices(recorded: &Recorded, states: u64, second: u64, flaw: Flaw, go_on: bool, tally: &mut Tally) {
    let history = &recorded.history;
    let (mut replay, mut relay) = (recorded.device.replay(), recorded.relay.replay());
    let len = recorded.device.len() as u64 + 1;
    let mut rng = Rng::new(history.seed).fork("device states");
    let mut again = 0;
    let begins = begins(recorded);
    // Making an empty store takes many operations and promises nothing: one state of six falls there.
    let early = states / 6;
    loop {
        let (at, mark) = (replay.ops_done() as u64, replay.mark());
        while relay.mark() < mark && relay.step() {}
        let states_here = match at.checked_sub(begins) {
            None => share(early, at, begins),
            Some(at) => share(states - early, at, len - begins),
        };
        for _ in 0..states_here {
            tally.device += 1;
            let seed = rng.next_u64();
            let survivor = replay.power_loss(seed);
            // Going on in an open log must be safe as well where nothing leaves before it is durable.
            let continue_logs = go_on || (flaw == Flaw::Sound && rng.chance(250));
            let look = Look { mark, continue_logs, deep: tally.device.is_multiple_of(DEEP_EVERY), seed };
            let (mut verdict, node) = judge::device(history, &survivor, look);
            if flaw == Flaw::Sound
                && tally.device.is_multiple_of(HEAL_EVERY)
                && let Some(mut node) = node
            {
                let lost = relay.power_loss(seed);
                let (other, found) = judge::relay(history, &lost, look);
                tally.healed += 1;
                let healed = found.map_or(Ok(false), |mut found| judge::heal(&mut node, &mut found));
                tally.suspected += u64::from(healed == Ok(true));
                verdict.wrong = verdict.wrong.or(other.wrong).or(healed.err());
            }
            tally.add(&verdict, || format!("device, workload {}, operation {at}, survivor {seed}", history.seed));
        }
        // A first cut now and then, and about thirty second ones in what follows.
        let due = second * (at + 1) / len;
        if again < due && (due - again >= 30 || at + 1 == len) {
            let seed = rng.next_u64();
            let count = due - again;
            again = due;
            recovery(history, &replay.power_loss(seed), mark, count, seed, tally);
        }
        if !replay.step() {
            return;
        }
    }
}

/// The power fails again while a survivor is opened, written to and checkpointed.
fn recovery(history: &History, survivor: &Disk, mark: u64, states: u64, seed: u64, tally: &mut Tally) {
    let rng = Rng::new(seed).fork("recovery");
    // What the first cut left is on the disk for good.
    let Ok(first) = world::open_node(&survivor.copy(0), 1, true, Flaw::Sound, rng.clone()) else {
        let wrong = Some("does not open after the first cut".into());
        tally.add(&Verdict { wrong, ..Verdict::default() }, || format!("workload {}, survivor {seed}", history.seed));
        return;
    };
    let left = first.log().cursor().map_or(0, |cursor| cursor.position);
    drop(first);
    survivor.mark(0);
    survivor.start_recording();
    let mut after = History { facts: vec![Fact { device: left, relay: 0 }], device: Vec::new(), ..history.clone() };
    after.returned.retain(|(from, _)| *from <= mark);
    after.left.retain(|(from, ..)| *from <= mark);
    after.returned.iter_mut().for_each(|(from, _)| *from = 0);
    after.left.iter_mut().for_each(|(from, ..)| *from = 0);
    let Ok(mut node) = world::open_node(survivor, 1, false, Flaw::Sound, rng) else { return };
    let rows = node.conversations().unwrap_or_default();
    for (number, row) in (1..).zip(&rows) {
        let Ok(sent) = node.send(row.id, &["recovered", "and going on"], judge::afterwards(number)) else { continue };
        let position = node.log().cursor().map_or(0, |cursor| cursor.position);
        after.facts.push(Fact { device: position, relay: 0 });
        let noted = after.facts.len() as u64 - 1;
        survivor.mark(noted);
        after.returned.extend(sent.iter().map(|op| (noted, op.id)));
        after.left.extend(sent.iter().map(|op| (noted, op.token.log, op.token.seq)));
    }
    after.device = world::order(node.log());
    drop(node);
    let recording = survivor.stop_recording();
    let len = recording.len() as u64 + 1;
    let mut replay = recording.replay();
    let mut rng = Rng::new(seed).fork("second cut");
    loop {
        let at = replay.ops_done() as u64;
        for _ in 0..share(states, at, len) {
            tally.second += 1;
            let seed = rng.next_u64();
            let deep = tally.second.is_multiple_of(DEEP_EVERY);
            let look = Look { mark: replay.mark(), continue_logs: rng.chance(250), deep, seed };
            let (verdict, _) = judge::device(&after, &replay.power_loss(seed), look);
            tally.add(&verdict, || format!("second cut, workload {}, operation {at}, survivor {seed}", history.seed));
        }
        if !replay.step() {
            return;
        }
    }
}

fn relays(recorded: &Recorded, states: u64, tally: &mut Tally) {
    let history = &recorded.history;
    let mut replay = recorded.relay.replay();
    let len = recorded.relay.len() as u64 + 1;
    let mut rng = Rng::new(history.seed).fork("relay states");
    loop {
        let at = replay.ops_done() as u64;
        for _ in 0..share(states, at, len) {
            tally.relay += 1;
            let seed = rng.next_u64();
            let deep = tally.relay.is_multiple_of(DEEP_EVERY);
            let look = Look { mark: replay.mark(), continue_logs: false, deep, seed };
            let (verdict, _) = judge::relay(history, &replay.power_loss(seed), look);
            tally.add(&verdict, || format!("relay, workload {}, operation {at}, survivor {seed}", history.seed));
        }
        if !replay.step() {
            return;
        }
    }
}
