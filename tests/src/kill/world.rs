//! One relay and two devices, and what is done to them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use tombolo_testkit::rng::Rng;

use super::{STUCK, Tally};
use crate::binaries::{Binaries, Person, RelayProcess, Running};

/// Cycles between two checks that nothing is stuck.
const HEAL_EVERY: u64 = 6;

pub(crate) struct World<'a> {
    binaries: &'a Binaries,
    folder: PathBuf,
    rng: Rng,
    paces: [Pace; 3],
    people: [Person; 2],
    relay: Option<RelayProcess>,
    address: String,
    conversation: String,
    /// Text by id, of every message whose line was printed.
    printed: BTreeMap<String, String>,
    /// Lines of imports that said that they were done.
    imported: BTreeSet<String>,
    serial: u64,
    tally: Tally,
}

/// What is killed.
#[derive(Clone, Copy)]
enum What {
    Send,
    Sync,
    Import,
}

/// How long something lasts on this machine, as kills have told: a kill that came too late was too long in coming. Two
/// of three hit once this is known.
#[derive(Clone, Copy)]
struct Pace {
    most_us: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { most_us: 30_000 }
    }
}

impl Pace {
    fn learn(&mut self, hit: bool) {
        let most_us = if hit { self.most_us * 9 / 8 } else { self.most_us * 4 / 5 };
        self.most_us = most_us.clamp(1_000, 250_000);
    }
}

impl<'a> World<'a> {
    /// Lives through `cycles` kills and judges what is left.
    pub(crate) fn live(binaries: &'a Binaries, rng: Rng, cycles: u64) -> Result<Tally, String> {
        let folder = tempfile::tempdir().map_err(|error| format!("no folder for temporary files: {error}"))?;
        let path = folder.path();
        let relay = RelayProcess::start(binaries, &path.join("relay"), "127.0.0.1:0", &path.join("relay.log"))?;
        let address = relay.address().to_owned();
        let people = [Person::new(binaries, path.join("ann")), Person::new(binaries, path.join("bob"))];
        for (person, name) in people.iter().zip(["Ann", "Bob"]) {
            person.call(&["init", "--name", name, "--relay", &relay.url])?;
        }
        let conversation = people[0].text(&["new", "Harbour crew"], "conversation")?;
        let link = people[0].text(&["invite", "--conversation", &conversation], "link")?;
        people[1].call(&["accept", &link])?;
        let mut world = World {
            binaries,
            folder: path.to_owned(),
            rng,
            paces: [Pace::default(); 3],
            people,
            relay: Some(relay),
            address,
            conversation,
            printed: BTreeMap::new(),
            imported: BTreeSet::new(),
            serial: 0,
            tally: Tally { worlds: 1, ..Tally::default() },
        };
        world.heal()?;
        for cycle in 1..=cycles {
            world.cycle().map_err(|words| format!("cycle {cycle}: {words}"))?;
            world.tally.cycles += 1;
            if cycle % HEAL_EVERY == 0 {
                world.heal().map_err(|words| format!("after cycle {cycle}: {words}"))?;
            }
        }
        world.heal()?;
        world.judge()?;
        let World { relay, tally, .. } = world;
        relay.map_or(Ok(()), RelayProcess::stop)?;
        Ok(tally)
    }

    /// Up to about as long as what is to be killed lasts on this machine.
    fn delay(&mut self, what: What) -> Duration {
        let most_us = self.paces[what as usize].most_us;
        Duration::from_micros(self.rng.range(200..most_us))
    }

    fn kill(&mut self, running: &mut Running, what: What) -> bool {
        let hit = running.kill();
        self.paces[what as usize].learn(hit);
        self.tally.missed += u64::from(!hit);
        hit
    }

    fn cycle(&mut self) -> Result<(), String> {
        let who = self.rng.index(2);
        match self.rng.below(100) {
            0..38 => self.send(who),
            38..63 => self.sync(who),
            63..73 => self.import(who),
            73..93 => self.kill_relay(who),
            _ => self.pause_relay(who),
        }
    }

    fn spawn(&self, who: usize, args: &[&str], input: String) -> Result<Running, String> {
        let child = self.people[who].command(args).spawn();
        let child = child.map_err(|error| format!("`tombolo {}` does not start: {error}", args[0]))?;
        Ok(Running::of(child, input.into_bytes()))
    }

    /// Sends some lines; killed some time after the start, or after the first line was printed.
    fn send(&mut self, who: usize) -> Result<(), String> {
        let count = self.rng.range(1..60);
        let texts: Vec<String> = (0..count)
            .map(|_| {
                self.serial += 1;
                format!("message {} {}", self.serial, "x".repeat(self.rng.index(60)))
            })
            .collect();
        let conversation = self.conversation.clone();
        // Now all at once, in one transaction, now one by one.
        let input = texts.iter().map(|text| format!("{text}\n").into_bytes()).collect();
        let pause = Duration::from_micros(if self.rng.chance(300) { 0 } else { self.rng.range(100..3_000) });
        let child = self.people[who].command(&["send", &conversation, "-"]).spawn();
        let child = child.map_err(|error| format!("`tombolo send` does not start: {error}"))?;
        let mut running = Running::fed(child, input, pause);
        if self.rng.chance(500) {
            running.line(STUCK);
            let most_us = self.paces[What::Send as usize].most_us;
            std::thread::sleep(Duration::from_micros(self.rng.range(0..most_us / 2)));
        } else {
            std::thread::sleep(self.delay(What::Send));
        }
        if self.kill(&mut running, What::Send) {
            self.tally.hits.send += 1;
        }
        let called = running.finish();
        for (line, text) in called.lines.iter().zip(texts) {
            let row: Value = serde_json::from_str(line).map_err(|error| format!("`send` printed {line}: {error}"))?;
            let id = row["id"].as_str().ok_or_else(|| format!("`send` printed {line}"))?;
            self.printed.insert(id.to_owned(), text);
            self.tally.printed += 1;
        }
        Ok(())
    }

    fn sync(&mut self, who: usize) -> Result<(), String> {
        // Something to exchange: one message that is surely there.
        self.say(1 - who)?;
        self.say(who)?;
        let mut running = self.spawn(who, &["sync", "--once"], String::new())?;
        std::thread::sleep(self.delay(What::Sync));
        if self.kill(&mut running, What::Sync) {
            self.tally.hits.sync += 1;
        }
        drop(running.finish());
        Ok(())
    }

    fn say(&mut self, who: usize) -> Result<(), String> {
        self.serial += 1;
        let text = format!("said {}", self.serial);
        let id = self.people[who].text(&["send", &self.conversation, &text], "id")?;
        self.printed.insert(id, text);
        self.tally.printed += 1;
        Ok(())
    }

    fn import(&mut self, who: usize) -> Result<(), String> {
        let mut lines = Vec::new();
        let mut input = String::new();
        for _ in 0..self.rng.range(20..400) {
            self.serial += 1;
            let text = format!("imported {}", self.serial);
            input.push_str(&json!({ "t": 1_400_000_000 + self.serial, "who": "old", "text": text }).to_string());
            input.push('\n');
            lines.push(text);
        }
        let conversation = self.conversation.clone();
        let mut running = self.spawn(who, &["import", &conversation, "-"], input.clone())?;
        std::thread::sleep(self.delay(What::Import));
        if self.kill(&mut running, What::Import) {
            self.tally.hits.import += 1;
        }
        let called = running.finish();
        if called.lines.is_empty() && self.rng.chance(500) {
            // Once more, undisturbed: what was there already is skipped, the rest comes.
            let rows = self.people[who].call_with(&["import", &conversation, "-"], &input)?;
            let number = |field: &str| rows.first().and_then(|row| row[field].as_u64()).unwrap_or(0);
            if number("imported") + number("skipped") != lines.len() as u64 {
                return Err(format!("{} lines were imported again, and it says {rows:?}", lines.len()));
            }
        } else if called.lines.is_empty() {
            return Ok(());
        }
        self.tally.imported += lines.len() as u64;
        self.imported.extend(lines);
        Ok(())
    }

    /// The relay dies while a device exchanges with it; it comes back at the same address.
    fn kill_relay(&mut self, who: usize) -> Result<(), String> {
        self.say(1 - who)?;
        self.say(who)?;
        let running = self.spawn(who, &["sync"], String::new())?;
        std::thread::sleep(self.delay(What::Sync));
        if let Some(mut relay) = self.relay.take() {
            relay.kill();
        }
        self.tally.hits.relay += 1;
        self.start_relay()?;
        self.ends(running)
    }

    fn start_relay(&mut self) -> Result<(), String> {
        let (data, log) = (self.folder.join("relay"), self.folder.join("relay.log"));
        self.relay = Some(RelayProcess::start(self.binaries, &data, &self.address, &log)?);
        Ok(())
    }

    fn pause_relay(&mut self, who: usize) -> Result<(), String> {
        self.say(who)?;
        let running = self.spawn(who, &["sync"], String::new())?;
        std::thread::sleep(self.delay(What::Sync));
        let time = Duration::from_millis(self.rng.range(20..400));
        if let Some(relay) = &self.relay {
            relay.pause(time);
        }
        self.tally.hits.pause += 1;
        self.ends(running)
    }

    /// An exchange that was disturbed must end soon; whether it succeeded is its own business.
    fn ends(&mut self, mut running: Running) -> Result<(), String> {
        let start = Instant::now();
        if !running.wait(STUCK) {
            running.kill();
            let called = running.finish();
            return Err(format!("`sync` is stuck: {} {}", called.lines.join(" "), called.errors));
        }
        self.tally.healed += 1;
        self.tally.slowest = self.tally.slowest.max(start.elapsed());
        drop(running.finish());
        Ok(())
    }

    /// Nothing disturbs any more: all exchanges end proven, and both hold the same.
    fn heal(&mut self) -> Result<(), String> {
        for who in [0, 1, 0] {
            let start = Instant::now();
            let rows = self.people[who].call(&["sync"])?;
            let took = start.elapsed();
            if took > STUCK {
                return Err(format!("an undisturbed exchange took {} s", took.as_secs()));
            }
            self.tally.healed += 1;
            self.tally.slowest = self.tally.slowest.max(took);
            // The newcomer's very first exchange may come before anything is known; afterwards everything is proven.
            if rows.first().is_none_or(|row| row["proven"] != true) {
                return Err(format!("an undisturbed exchange did not end proven: {rows:?}"));
            }
        }
        let digest = |person: &Person| person.text(&["digest", &self.conversation], "digest");
        let (one, two) = (digest(&self.people[0])?, digest(&self.people[1])?);
        if one == two { Ok(()) } else { Err(format!("proven, but the digests differ: {one} {two}")) }
    }

    fn judge(&mut self) -> Result<(), String> {
        let mut orders = Vec::new();
        for person in &self.people {
            let rows = person.call(&["messages", &self.conversation, "--limit", "1000000"])?;
            let field = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
            let there: BTreeMap<String, String> =
                rows.iter().map(|row| (field(row, "id"), field(row, "text"))).collect();
            let gone: Vec<&String> = self.printed.keys().filter(|id| !there.contains_key(*id)).collect();
            if !gone.is_empty() {
                return Err(format!("{} printed messages are gone, the first is {}", gone.len(), gone[0]));
            }
            if let Some((id, text)) = self.printed.iter().find(|(id, text)| there.get(*id) != Some(text)) {
                return Err(format!("message {id} was sent as `{text}` and is `{:?}`", there.get(id)));
            }
            let texts: BTreeSet<&String> = there.values().collect();
            // Every text is written once, so none may be shown twice.
            if texts.len() != rows.len() {
                return Err(format!("{} messages are shown, {} of them differ", rows.len(), texts.len()));
            }
            if let Some(text) = self.imported.iter().find(|text| !texts.contains(text)) {
                return Err(format!("the import said that it was done, but `{text}` is gone"));
            }
            for row in person.call(&["doctor"])? {
                if row["ok"] != true {
                    return Err(format!("doctor: {row}"));
                }
            }
            orders.push(rows.iter().map(|row| field(row, "id")).collect::<Vec<_>>());
        }
        if orders[0] != orders[1] {
            return Err("both show the same messages in different orders".into());
        }
        if let Some(relay) = self.relay.take() {
            relay.stop()?;
        }
        let relay = self.folder.join("relay").join("relay.db");
        for database in [database(&self.people[0].home)?, database(&self.people[1].home)?, relay] {
            self.tally.ops = self.tally.ops.max(unforked(&database)?);
        }
        self.start_relay()
    }
}

/// The database in a home.
fn database(home: &Path) -> Result<PathBuf, String> {
    let entries = std::fs::read_dir(home).map_err(|error| format!("{}: {error}", home.display()))?;
    let is_database = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "db");
    let found = entries.flatten().map(|entry| entry.path()).find(is_database);
    found.ok_or_else(|| format!("there is no database in {}", home.display()))
}

/// Looks for two ops at one place of a log, in plain SQL. Returns how many ops there are.
fn unforked(database: &Path) -> Result<u64, String> {
    let look = || -> rusqlite::Result<(i64, i64, i64)> {
        let db = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let sql = "SELECT (SELECT count(*) FROM op), (SELECT count(*) FROM equivocation), \
                   (SELECT count(*) FROM (SELECT 1 FROM op GROUP BY log, seq HAVING count(*) > 1))";
        db.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
    };
    let (ops, evidence, double) = look().map_err(|error| format!("{}: {error}", database.display()))?;
    if evidence + double > 0 {
        return Err(format!("{}: {double} places of logs are taken twice", database.display()));
    }
    Ok(ops as u64)
}
