//! A channel with its joins and leaves: every person is a device that is online between them, and writes what it wrote
//! when it wrote it, offline too; a relay stands in the middle.
//!
//! A device that is offline is closed, as a program would be. What travels is carried at least once a minute of the
//! recording and whenever somebody comes or goes. In the end everybody comes online once more, and is compared as it
//! leaves for good: nobody writes any more, so its disk, which lies in memory, can go.

use super::{Meter, URL, device, links, node, now, recording, shown};
use crate::sim::machine::{Body, Machine};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Instant;
use tombolo_client::{ConversationId, Kind};
use tombolo_replica::{ConnId, Event, Now, Output};
use tombolo_seal::Invitation;
use tombolo_testkit::rng::Rng;

/// Events that CI replays.
const CI_EVENTS: usize = 2_500;
/// **Seconds** of the recording between two carries.
const CARRY_S: u64 = 60;
/// **Milliseconds** of the recording between two ticks of a machine for which nothing is due.
const TICK_MS: u64 = 1_000;

struct Star {
    relay: Machine,
    people: Vec<Machine>,
    names: BTreeMap<String, usize>,
    online: BTreeMap<usize, ConnId>,
    /// Who wrote since it was last online.
    owing: BTreeSet<usize>,
    place: Option<(ConversationId, Invitation)>,
    rng: Rng,
    draw: Rng,
    mono_ms: u64,
    t: u64,
    sessions: u64,
    bytes: u64,
    proofs: u64,
    sent: u64,
    offline: u64,
}

/// Replays the channel. Returns the number of ops that were checked.
///
/// # Errors
/// What is wrong with the product, or with the data.
pub fn run(folder: Option<&Path>, ci: bool) -> Result<u64, String> {
    let began = Instant::now();
    let recording = recording(folder, "channel-2016")?;
    let total = recording.lines.len();
    let part = if ci { total.min(CI_EVENTS) } else { total };
    let rng = Rng::new(1);
    let mut relay = Machine::relay(0, &rng);
    relay.start(true).map_err(|error| error.to_string())?;
    let draw = rng.fork("links");
    let mut star = Star {
        relay,
        people: Vec::new(),
        names: BTreeMap::new(),
        online: BTreeMap::new(),
        owing: BTreeSet::new(),
        place: None,
        rng,
        draw,
        mono_ms: 0,
        t: 0,
        sessions: 0,
        bytes: 0,
        proofs: 0,
        sent: 0,
        offline: 0,
    };
    let mut meter = Meter::new();
    let mut carried = 0;
    for (index, line) in recording.lines[..part].iter().enumerate() {
        meter.show(index, part, "events", &|| star.totals());
        let t = line["t"].as_u64().ok_or("an event without `t`")?;
        star.t = star.t.max(t);
        if star.t >= carried + CARRY_S {
            star.carry()?;
            carried = star.t;
        }
        let who = star.person(line["who"].as_str().ok_or("an event without `who`")?)?;
        match line["kind"].as_str() {
            Some("join") => star.join(who)?,
            Some("leave") => star.leave(who)?,
            Some("message") => star.write(who, line["text"].as_str().unwrap_or_default())?,
            _ => return Err(format!("an event of another kind: {line}")),
        }
    }
    star.carry()?;
    let (ops, late) = star.end(&mut meter)?;
    meter.clear();
    println!(
        "channel from {}{}",
        recording.from.display(),
        if recording.sample { " (the small sample; the whole recording was left out: no TOMBOLO_DATA)" } else { "" }
    );
    println!(
        "  events {part} of {total}, devices {}, messages {}, of them written offline {}",
        star.people.len(),
        star.sent,
        star.offline
    );
    println!(
        "  ops {ops}, sync sessions {}, proofs {}, bytes {}, late arrivals {late}, seconds {:.1}",
        star.sessions,
        star.proofs,
        star.bytes,
        began.elapsed().as_secs_f64()
    );
    Ok(ops)
}

impl Star {
    fn totals(&self) -> String {
        format!(
            "{} devices, {} online, messages {}, sync sessions {}, bytes {}",
            self.people.len(),
            self.online.len(),
            self.sent,
            self.sessions,
            self.bytes
        )
    }

    fn person(&mut self, name: &str) -> Result<usize, String> {
        if let Some(index) = self.names.get(name) {
            return Ok(*index);
        }
        let index = self.people.len();
        let mut machine = device(index, &self.rng)?;
        let now = now(self.mono_ms, self.t);
        let text = |error: tombolo_client::Error| error.to_string();
        let person = node(&mut machine)?;
        match &self.place {
            None => {
                let id = person.create("a channel", Kind::Group, now).map_err(text)?;
                let invitation = person.invite(Some(id), 10_000, 0, now).map_err(text)?;
                self.place = Some((id, invitation));
            }
            Some((_, invitation)) => {
                person.accept(invitation, now).map_err(text)?;
            }
        }
        machine.stop()?;
        self.owing.insert(index);
        self.people.push(machine);
        self.names.insert(name.to_owned(), index);
        Ok(index)
    }

    fn place(&self) -> Result<ConversationId, String> {
        self.place.as_ref().map(|(id, _)| *id).ok_or_else(|| "nobody has founded the channel".into())
    }

    fn wake(&mut self, who: usize) -> Result<(), String> {
        let machine = &mut self.people[who];
        if machine.body.is_none() { machine.start(true).map_err(|error| error.to_string()) } else { Ok(()) }
    }

    fn join(&mut self, who: usize) -> Result<(), String> {
        if self.online.contains_key(&who) {
            return Ok(());
        }
        self.wake(who)?;
        self.sessions += 1;
        self.mono_ms += 10;
        let conn = ConnId(self.sessions);
        self.online.insert(who, conn);
        self.owing.remove(&who);
        let [mut dialling, answering] = links(&mut self.draw, true);
        dialling.initiator = true;
        let now = now(self.mono_ms, self.t);
        let missing = "it has just been started";
        self.people[who].body.as_mut().ok_or(missing)?.connect(conn, dialling, now);
        self.relay.body.as_mut().ok_or(missing)?.connect(conn, answering, now);
        self.carry()
    }

    fn leave(&mut self, who: usize) -> Result<(), String> {
        self.carry()?;
        if let Some(conn) = self.online.remove(&who) {
            for machine in [&mut self.people[who], &mut self.relay] {
                if let Some(body) = machine.body.as_mut() {
                    body.disconnected(conn);
                }
            }
            self.people[who].stop()?;
        }
        Ok(())
    }

    fn write(&mut self, who: usize, words: &str) -> Result<(), String> {
        let place = self.place()?;
        let offline = !self.online.contains_key(&who);
        self.wake(who)?;
        let now = now(self.mono_ms, self.t);
        let words = if words.is_empty() { "(nothing)" } else { words };
        node(&mut self.people[who])?.send(place, &[words], now).map_err(|error| error.to_string())?;
        self.sent += 1;
        if offline {
            self.offline += 1;
            self.owing.insert(who);
            self.people[who].stop()?;
        }
        Ok(())
    }

    /// Carries frames until nobody has anything more to say.
    fn carry(&mut self) -> Result<(), String> {
        self.mono_ms += 1_100;
        let now = now(self.mono_ms, self.t);
        let conns: BTreeMap<ConnId, usize> = self.online.iter().map(|(who, conn)| (*conn, *who)).collect();
        let text = |error: tombolo_oplog::LogError| error.to_string();
        tick(&mut self.relay, now)?;
        for who in self.online.keys() {
            tick(&mut self.people[*who], now)?;
        }
        loop {
            let mut moved = false;
            let Some(relay) = &mut self.relay.body else { return Err("the relay is down".into()) };
            for who in self.online.keys() {
                if let Some(body) = &mut self.people[*who].body {
                    body.flush(now).map_err(text)?;
                    moved |= pass(body, &mut self.bytes, &mut self.proofs, &mut |conn, frame| {
                        relay.receive(conn, frame, now)
                    })?;
                }
            }
            relay.flush(now).map_err(text)?;
            let people = &mut self.people;
            moved |= pass(relay, &mut self.bytes, &mut self.proofs, &mut |conn, frame| {
                let receiver = conns.get(&conn).and_then(|who| people[*who].body.as_mut());
                if let Some(receiver) = receiver {
                    receiver.receive(conn, frame, now);
                }
            })?;
            if !moved {
                return Ok(());
            }
        }
    }

    /// Everybody comes online once more; then all hold the same set and show the same order.
    fn end(&mut self, meter: &mut Meter) -> Result<(u64, u64), String> {
        let place = self.place()?;
        let online: Vec<usize> = self.online.keys().copied().collect();
        for who in online {
            self.leave(who)?;
        }
        // First those who wrote offline bring that. What others should have brought, and did not, is now too late: it
        // is missing below.
        for who in std::mem::take(&mut self.owing) {
            self.join(who)?;
            self.leave(who)?;
        }
        // Then all fetch. Nobody writes any more, so what each holds and shows now stays so.
        let mut first = None;
        let mut late = 0;
        for who in 0..self.people.len() {
            meter.show(who, self.people.len(), "online once more: devices", &|| self.totals());
            self.join(who)?;
            self.leave(who)?;
            self.wake(who)?;
            let machine = &mut self.people[who];
            let digest = node(machine)?.digest(Some(place)).map_err(|error| error.to_string())?;
            let (order, came_late) = shown(machine, &place)?;
            late += came_late;
            if order.len() as u64 != self.sent {
                return Err(format!("{} shows {} of {} messages", machine.name, order.len(), self.sent));
            }
            let found = (digest, order);
            match &first {
                None => first = Some(found),
                Some(known) if *known != found => {
                    return Err(format!("{} holds or shows something else than d0", machine.name));
                }
                Some(_) => {}
            }
            machine.stop()?;
            machine.replace_disk(None);
        }
        let Some((digest, _)) = first else { return Err("nobody was there".into()) };
        let row = digest.first().ok_or("d0 does not have the channel")?;
        let relay = self.relay.body.as_ref().ok_or("the relay is down")?.log();
        if relay.proof(&place).map_err(|error| error.to_string())?.0 != row.digest {
            return Err("the relay holds something else than the devices".into());
        }
        Ok((row.ops, late))
    }
}

/// Ticks a machine as programs do: when something is due, and every few seconds.
fn tick(machine: &mut Machine, now: Now) -> Result<(), String> {
    let Some(body) = &mut machine.body else { return Ok(()) };
    let due = body.deadline_ms().is_some_and(|due_ms| due_ms <= now.mono_ms);
    if due || machine.tick_ms <= now.wall_ms {
        machine.tick_ms = now.wall_ms + TICK_MS;
        body.tick(now).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Hands on what a node wants sent. Returns whether there was anything.
fn pass(body: &mut Body, bytes: &mut u64, proofs: &mut u64, to: &mut dyn FnMut(ConnId, &[u8])) -> Result<bool, String> {
    let mut moved = false;
    while let Some(output) = body.poll() {
        moved = true;
        match output {
            Output::Send { conn, frame } => {
                *bytes += frame.len() as u64;
                to(conn, &frame);
            }
            Output::Close { fault, .. } => return Err(format!("a session with {URL} ended: {fault}")),
            Output::Event(Event::Proven { .. }) => *proofs += 1,
            Output::Event(Event::Equivocation { .. } | Event::TailLost) => {
                return Err("a log was forked or lost".into());
            }
            Output::Event(_) => {}
        }
    }
    Ok(moved)
}
