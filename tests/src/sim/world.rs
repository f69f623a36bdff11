//! The world of one seed: its nodes, wires and time, and what moves them.
//!
//! Responsible for: the clock, carrying frames, ticks, transactions, and what the nodes say happened. Not here: what
//! people do (`workload`), what goes wrong (`troubles`), what must be true (`oracle`, `checks`), the end (`heal`).

use crate::sim::bugs::Bug;
use crate::sim::checks;
use crate::sim::knobs::{Frames, Knobs};
use crate::sim::machine::{Machine, START_MS};
use crate::sim::net::Wire;
use crate::sim::oracle::Oracle;
use crate::sim::tally::{TOOLS, Tally};
use crate::sim::trace::Trace;
use std::collections::BTreeSet;
use tombolo_client::{ConversationId, DeviceId};
use tombolo_model::RelayAddress;
use tombolo_oplog::{LogError, Reader};
use tombolo_proto::Fault;
use tombolo_proto::frame::Frame;
use tombolo_replica::{ConnId, Event, Link, Now, Output, Scope, Tools};
use tombolo_testkit::rng::Rng;

/// What a step came to; the error says what is wrong with the product.
pub type Outcome<T = ()> = Result<T, String>;

/// **Milliseconds** between two ticks of a node at most.
const TICK_MS: u64 = 4_000;

/// Everything.
#[derive(Debug)]
pub struct World {
    /// What is turned up and down.
    pub knobs: Knobs,
    /// Draws what people do and what goes wrong.
    pub rng: Rng,
    /// Devices, relays and copies.
    pub machines: Vec<Machine>,
    /// Connections.
    pub wires: Vec<Wire>,
    /// **Milliseconds** since the start.
    pub now_ms: u64,
    /// What was said.
    pub oracle: Oracle,
    /// What happened.
    pub tally: Tally,
    /// What is hashed and shown.
    pub trace: Trace,
    /// Faults of frames, at present.
    pub frames: Frames,
    /// Tools of new sessions.
    pub tools: Tools,
    /// One side of a partition.
    pub apart: Option<BTreeSet<usize>>,
    /// A bug to be found.
    pub bug: Option<Bug>,
    net: Rng,
    conns: u64,
}

impl World {
    /// Nodes with empty disks, all running.
    ///
    /// # Errors
    /// When one does not start.
    pub fn new(seed: u64, bug: Option<Bug>, verbose: bool) -> Outcome<Self> {
        let rng = Rng::new(seed);
        let mut knobs = Knobs::draw(&rng);
        if let Some(bug) = bug {
            bug.prepare(&mut knobs);
        }
        let mut draw = rng.fork("world");
        let mut machines: Vec<Machine> = (0..knobs.relays).map(|index| Machine::relay(index, &rng)).collect();
        for index in 0..knobs.devices {
            let mut relays = Vec::new();
            for relay in &machines[..knobs.relays] {
                // Some know the key of their relay, some only where it is.
                let key = if draw.chance(500) { relay.device.0 } else { [0; 32] };
                let url = relay.url.clone().unwrap_or_default();
                relays.push(RelayAddress { key, url, region: String::new() });
            }
            if knobs.relays > 1 && draw.chance(700) {
                relays.remove(draw.index(relays.len()));
            }
            machines.push(Machine::device(index, relays, &rng));
        }
        // Some people have several devices.
        if knobs.devices > 1 && draw.chance(600) {
            let (first, others) = machines.split_at_mut(knobs.relays + 1);
            others[0].belong_to(&first[knobs.relays]);
        }
        let mut world = Self {
            frames: knobs.frames,
            tools: knobs.tools,
            knobs,
            net: rng.fork("net"),
            rng: draw,
            machines,
            wires: Vec::new(),
            now_ms: 1_000,
            oracle: Oracle::default(),
            tally: Tally { seeds: 1, ..Tally::default() },
            trace: Trace::new(verbose),
            apart: None,
            bug,
            conns: 0,
        };
        world.trace.note(0, format_args!("seed {seed}: {:?}", world.knobs));
        for index in 0..world.machines.len() {
            world.start(index, true)?;
        }
        Ok(world)
    }

    /// The time on a machine's clocks.
    #[must_use]
    pub fn now(&self, machine: usize) -> Now {
        let wall = (START_MS + self.now_ms).saturating_add_signed(self.machines[machine].skew_ms);
        Now { mono_ms: self.now_ms, wall_ms: wall }
    }

    /// Starts a machine that is down.
    ///
    /// # Errors
    /// When it does not start, or has lost what it promised.
    pub fn start(&mut self, machine: usize, continue_logs: bool) -> Outcome {
        self.trace.note(
            self.now_ms,
            format_args!(
                "{} starts{}",
                self.machines[machine].name,
                if continue_logs { " where it ended" } else { "" }
            ),
        );
        let found = &mut self.machines[machine];
        found.start(continue_logs).map_err(|error| format!("{} does not start: {error}", found.name))?;
        found.tick_ms = self.now_ms + 10;
        if let Some(bug) = self.bug {
            bug.started(&mut self.machines[machine]);
        }
        Ok(())
    }

    /// What must be true right after a start: nothing that was promised is gone.
    ///
    /// # Errors
    /// What is gone.
    pub fn after_start(&mut self, machine: usize) -> Outcome {
        let conversations = self.oracle.conversations_of(machine);
        for conversation in conversations {
            self.read(machine, &conversation, 1_000)?;
        }
        Ok(())
    }

    /// The wire between two machines that at least one of them knows of.
    #[must_use]
    pub fn wire_between(&self, one: usize, other: usize) -> Option<usize> {
        self.wires.iter().position(|wire| !wire.is_over() && (wire.ends == [one, other] || wire.ends == [other, one]))
    }

    /// Whether frames can travel between two machines.
    #[must_use]
    pub fn reachable(&self, one: usize, other: usize) -> bool {
        self.apart.as_ref().is_none_or(|part| part.contains(&one) == part.contains(&other))
    }

    /// Dials. With `url`, as a device dials a relay.
    ///
    /// # Errors
    /// What a check says about the first frames.
    pub fn connect(&mut self, from: usize, to: usize, url: Option<String>, expected: Option<DeviceId>) -> Outcome {
        if self.machines[from].body.is_none() || self.machines[to].body.is_none() || !self.reachable(from, to) {
            return Ok(());
        }
        self.conns += 1;
        let conn = ConnId(self.conns);
        self.trace.note(
            self.now_ms,
            format_args!("{} dials {} (conn {})", self.machines[from].name, self.machines[to].name, conn.0),
        );
        let scope = url.clone().map_or(Scope::Members, |url| Scope::Relay { url, all: false });
        let mut wire = Wire::new(conn, [from, to], url);
        for (side, scope) in [scope, Scope::Members].into_iter().enumerate() {
            let nonce = self.net.bytes();
            wire.nonces[side] = nonce;
            let expected = if side == 0 { expected } else { None };
            let link = Link { initiator: side == 0, expected, binding: Vec::new(), nonce, scope, tools: self.tools };
            let now = self.now(wire.ends[side]);
            if let Some(body) = self.machines[wire.ends[side]].body.as_mut() {
                body.connect(conn, link, now);
            }
        }
        let ends = wire.ends;
        self.wires.push(wire);
        for end in ends {
            self.drain(end)?;
        }
        Ok(())
    }

    /// Lets time pass, at most until `ms` from now.
    ///
    /// # Errors
    /// What a check says.
    pub fn run(&mut self, ms: u64) -> Outcome {
        let until = self.now_ms + ms;
        loop {
            self.wires.retain(|wire| !wire.is_over());
            let Some((due_ms, what)) = self.next().filter(|(due_ms, _)| *due_ms <= until) else { break };
            self.now_ms = self.now_ms.max(due_ms);
            match what {
                What::Arrival { wire, side } => self.arrive(wire, side)?,
                What::Flush { machine } => self.flush(machine)?,
                What::Tick { machine } => self.tick(machine)?,
            }
        }
        self.now_ms = until;
        Ok(())
    }

    /// Whether no frame is on its way and nothing waits for a transaction.
    #[must_use]
    pub fn is_still(&self) -> bool {
        self.wires.iter().all(|wire| wire.queues.iter().all(std::collections::VecDeque::is_empty))
            && self.machines.iter().all(|machine| machine.flush_ms.is_none())
    }

    fn next(&self) -> Option<(u64, What)> {
        let arrivals = self
            .wires
            .iter()
            .enumerate()
            .filter_map(|(wire, found)| found.next().map(|(due, side)| (due, What::Arrival { wire, side })));
        let running = || self.machines.iter().enumerate().filter(|(_, machine)| machine.body.is_some());
        let flushes = running().filter_map(|(machine, found)| Some((found.flush_ms?, What::Flush { machine })));
        let ticks = running().map(|(machine, found)| (found.tick_ms, What::Tick { machine }));
        arrivals.chain(flushes).chain(ticks).min()
    }

    fn arrive(&mut self, wire: usize, side: usize) -> Outcome {
        let Some(packet) = self.wires[wire].queues[side].pop_front() else { return Ok(()) };
        let (machine, conn) = (self.wires[wire].ends[side], self.wires[wire].conn);
        if !self.wires[wire].up[side] {
            return Ok(());
        }
        let now = self.now(machine);
        let mut frame = packet.frame;
        if let (Some(bug), Some(bytes)) = (self.bug, &mut frame) {
            bug.arrives(&self.wires[wire], side, &self.machines[machine], bytes);
        }
        let name = self.machines[machine].name.clone();
        match &frame {
            Some(frame) => {
                let kind = frame.first().copied().unwrap_or(0xff);
                self.trace
                    .note(self.now_ms, format_args!("{name} <- {kind:02x} {} bytes (conn {})", frame.len(), conn.0));
            }
            None => self.trace.note(self.now_ms, format_args!("{name} hears that conn {} is gone", conn.0)),
        }
        let Some(body) = self.machines[machine].body.as_mut() else { return Ok(()) };
        let Some(frame) = frame else {
            body.disconnected(conn);
            self.wires[wire].up[side] = false;
            return Ok(());
        };
        body.receive(conn, &frame, now);
        if packet.position.is_some() {
            self.wires[wire].said[side] = packet.position;
        }
        let wait_ms = if self.knobs.flush_ms == 0 { 0 } else { self.net.below(self.knobs.flush_ms) };
        let due_ms = self.now_ms + wait_ms;
        let flush_ms = &mut self.machines[machine].flush_ms;
        *flush_ms = Some(flush_ms.map_or(due_ms, |known| known.min(due_ms)));
        self.drain(machine)
    }

    fn flush(&mut self, machine: usize) -> Outcome {
        let now = self.now(machine);
        self.machines[machine].flush_ms = None;
        let Some(body) = self.machines[machine].body.as_mut() else { return Ok(()) };
        match body.flush(now) {
            Ok(()) => {
                if let Some(bug) = self.bug {
                    bug.flushed(&mut self.machines[machine], &mut self.rng);
                }
                self.drain(machine)
            }
            Err(error) => self.fail(machine, &error.into()),
        }
    }

    fn tick(&mut self, machine: usize) -> Outcome {
        let now = self.now(machine);
        let Some(body) = self.machines[machine].body.as_mut() else { return Ok(()) };
        let done: Result<(), LogError> = body.tick(now);
        let due_ms = body.deadline_ms().unwrap_or(u64::MAX);
        self.machines[machine].tick_ms = due_ms.clamp(self.now_ms + 50, self.now_ms + TICK_MS);
        match done {
            Ok(()) => self.drain(machine),
            Err(error) => self.fail(machine, &error.into()),
        }
    }

    /// The program of a machine met an error of its disk: it ends, and is started again.
    ///
    /// # Errors
    /// When no fault had been planned, or it does not start again as it was.
    pub fn fail(&mut self, machine: usize, error: &tombolo_client::Error) -> Outcome {
        let name = self.machines[machine].name.clone();
        self.trace.note(self.now_ms, format_args!("{name} ends: {error}"));
        if !self.machines[machine].failing {
            return Err(format!("{name} failed without a fault of its disk: {error} ({})", error.code()));
        }
        let power = self.rng.chance(500);
        self.down(machine, power)?;
        self.start(machine, false)?;
        self.after_start(machine)
    }

    /// A machine dies; peers may or may not notice.
    ///
    /// # Errors
    /// None so far.
    pub fn down(&mut self, machine: usize, power: bool) -> Outcome {
        self.drop_wires(machine, false);
        self.machines[machine].die(power);
        Ok(())
    }

    /// Takes a machine off all its wires. With `traceless`, what it has sent and has not arrived is lost as well.
    pub fn drop_wires(&mut self, machine: usize, traceless: bool) {
        let now_ms = self.now_ms;
        for wire in &mut self.wires {
            if wire.ends.contains(&machine) {
                let side = wire.side(machine);
                wire.up[side] = false;
                wire.queues[side].clear();
                if traceless {
                    wire.queues[1 - side].clear();
                    // What its store said counts for nobody: that store is gone.
                    wire.said[1 - side] = None;
                }
                if traceless || self.net.chance(700) {
                    let delay_ms = self.net.below(500);
                    wire.tell(1 - side, now_ms + delay_ms);
                } else {
                    self.tally.fault("link half-open");
                    wire.black_ms = Some(now_ms);
                }
            }
        }
    }

    /// Does what a machine wants done.
    ///
    /// # Errors
    /// What a check says about it.
    pub fn drain(&mut self, machine: usize) -> Outcome {
        let mut outputs = Vec::new();
        if let Some(body) = self.machines[machine].body.as_mut() {
            while let Some(output) = body.poll() {
                outputs.push(output);
            }
        }
        let lives = self.machines[machine].lives;
        for output in outputs {
            if self.machines[machine].lives != lives {
                // The program that wanted this met an error of its disk meanwhile, and is gone.
                break;
            }
            match output {
                Output::Send { conn, frame } => self.send(machine, conn, frame),
                Output::Close { conn, fault } => self.close(machine, conn, &fault)?,
                Output::Event(event) => self.event(machine, event)?,
            }
        }
        Ok(())
    }

    fn send(&mut self, machine: usize, conn: ConnId, frame: Vec<u8>) {
        self.tally.frames += 1;
        self.tally.bytes += frame.len() as u64;
        let kind = frame.first().copied().unwrap_or(0xff);
        self.trace.note(
            self.now_ms,
            format_args!("{} -> {kind:02x} {} bytes (conn {})", self.machines[machine].name, frame.len(), conn.0),
        );
        let position = match Frame::from_bytes(&frame) {
            Ok(Frame::Resume(resume)) => Some(resume.position),
            Ok(Frame::Settled(settled)) => Some(settled.position),
            _ => None,
        };
        let (base, more) = self.knobs.delay_ms;
        let delay_ms = base + self.net.below(more);
        if let Some(wire) = self.wires.iter_mut().find(|wire| wire.conn == conn) {
            let side = wire.side(machine);
            let times = (self.now_ms, delay_ms);
            wire.send(side, frame, position, times, &self.frames, (&mut self.net, &mut self.tally));
        }
    }

    fn close(&mut self, machine: usize, conn: ConnId, fault: &Fault) -> Outcome {
        *self.tally.ends.entry(fault.code().to_owned()).or_default() += 1;
        let name = self.machines[machine].name.clone();
        self.trace.note(self.now_ms, format_args!("{name} closes conn {}: {fault}", conn.0));
        let now_ms = self.now_ms;
        let Some(wire) = self.wires.iter_mut().find(|wire| wire.conn == conn) else { return Ok(()) };
        let side = wire.side(machine);
        wire.up[side] = false;
        wire.queues[side].clear();
        wire.tell(1 - side, now_ms + 1);
        let failing = wire.ends.iter().any(|end| self.machines[*end].failing);
        let excused = match fault {
            Fault::Farewell { code, .. } => code == "done" || wire.tampered || failing,
            Fault::Silent(_) | Fault::OpeningTimeout => wire.black_ms.is_some() || wire.tampered,
            Fault::Local(_) => failing,
            _ => wire.tampered,
        };
        if let Some(body) = self.machines[machine].body.as_mut() {
            body.disconnected(conn);
        }
        if excused {
            Ok(())
        } else {
            Err(format!("{name} ended a session of honest nodes: {fault} ({})", fault.code()))
        }
    }

    fn event(&mut self, machine: usize, event: Event) -> Outcome {
        let name = self.machines[machine].name.clone();
        match event {
            Event::Stored { conn, conversation, ids, tool } => {
                if let (Some(_), Some(tool)) = (conn, tool) {
                    self.tally.found[tool as usize] += ids.len() as u64;
                    self.trace.note(
                        self.now_ms,
                        format_args!(
                            "{name} stores {} ops of {} by {}",
                            ids.len(),
                            conversation.short(),
                            TOOLS[tool as usize]
                        ),
                    );
                }
            }
            Event::Authenticated { conn, peer, skew_ms } => {
                self.trace.note(self.now_ms, format_args!("{name} knows {} (skew {skew_ms})", peer.short()));
                self.authenticated(machine, conn, &peer)?;
            }
            Event::Proven { conn, position, count, conversations, .. } => {
                self.trace.note(self.now_ms, format_args!("{name} proves {count} ops equal (conn {})", conn.0));
                self.proven(machine, conn, position, &conversations)?;
            }
            Event::Acked { peer, position } => {
                self.trace
                    .note(self.now_ms, format_args!("{name}: {} holds everything up to {position}", peer.short()));
                self.acked(machine, &peer, position)?;
            }
            Event::Refused { conversation, refusal, by_peer, .. } => {
                self.trace.note(
                    self.now_ms,
                    format_args!("{name}: {} refused: {refusal:?}, by peer: {by_peer}", conversation.short()),
                );
                self.tally.refusals.insert(format!("{refusal:?}"));
            }
            Event::Equivocation { conversation, author } => {
                return Err(format!("{name} sees that {} forked its log in {}", author.short(), conversation.short()));
            }
            Event::TailLost => {
                self.trace.note(self.now_ms, format_args!("{name} learns that it had lost its tail"));
                if !self.machines[machine].rewound && self.machines.iter().all(|other| other.twin_of != Some(machine)) {
                    return Err(format!("{name} lost its tail without going back to an older disk"));
                }
            }
            Event::Unproven { conn, conversations, .. } => {
                self.trace.note(
                    self.now_ms,
                    format_args!("{name} gives up on {} conversations (conn {})", conversations.len(), conn.0),
                );
            }
            Event::AcksLost { peer } => {
                self.trace.note(self.now_ms, format_args!("{name}: {} has another store", peer.short()))
            }
            Event::Granted { conversation, device } => {
                self.trace
                    .note(self.now_ms, format_args!("{name} lets {} into {}", device.short(), conversation.short()));
            }
            Event::Gone { conversation, ids, why } => {
                self.trace.note(
                    self.now_ms,
                    format_args!("{name}: {} bodies of {} went: {why:?}", ids.len(), conversation.short()),
                );
            }
            Event::Presence { .. } | Event::Moved { .. } | Event::Wiped | Event::Registers { .. } => {}
        }
        Ok(())
    }

    fn authenticated(&mut self, machine: usize, conn: ConnId, peer: &DeviceId) -> Outcome {
        self.tally.sessions += 1;
        let Some(wire) = self.wires.iter_mut().find(|wire| wire.conn == conn) else { return Ok(()) };
        let side = wire.side(machine);
        wire.known[side] = true;
        let other = wire.ends[1 - side];
        let url = wire.url.clone().filter(|_| side == 0);
        if self.machines[other].device != *peer {
            return Err(format!("{} took {} for another one", self.machines[machine].name, self.machines[other].name));
        }
        // As the programs do: the first key that answers at an address counts from then on.
        if let (Some(url), Some(node)) = (url, self.machines[machine].node_mut())
            && let Err(error) = node.remember_relay(&url, peer, 0)
        {
            return self.fail(machine, &error);
        }
        Ok(())
    }

    /// Compares what two nodes say is equal.
    fn proven(&mut self, machine: usize, conn: ConnId, at: u64, conversations: &[ConversationId]) -> Outcome {
        let Some(wire) = self.wires.iter().find(|wire| wire.conn == conn) else { return Ok(()) };
        let side = wire.side(machine);
        let other = wire.ends[1 - side];
        let Some(position) = wire.said[side] else {
            let gone = self.machines[other].rewound && !wire.up[1 - side];
            return if gone { Ok(()) } else { Err("a proof without a word of the peer".into()) };
        };
        let (Some(mine), Some(theirs)) = (&self.machines[machine].body, &self.machines[other].body) else {
            return Ok(());
        };
        let failing = self.machines[machine].failing || self.machines[other].failing;
        for conversation in conversations {
            let dumps =
                (checks::dump(mine.log(), conversation, at), checks::dump(theirs.log(), conversation, position));
            let (ours, others) = match dumps {
                (Ok(ours), Ok(others)) => (ours, others),
                // A disk that was told to fail may fail the check, too.
                (Err(_), _) | (_, Err(_)) if failing => return Ok(()),
                (Err(error), _) | (_, Err(error)) => return Err(error),
            };
            if ours != others {
                let missing: Vec<_> = others.keys().filter(|id| !ours.contains_key(*id)).collect();
                let surplus = ours.keys().filter(|id| !others.contains_key(*id)).count();
                return Err(format!(
                    "{} says that {} holds the same of {}, but {surplus} ops are only here and {} only there",
                    self.machines[machine].name,
                    self.machines[other].name,
                    conversation.short(),
                    missing.len(),
                ));
            }
        }
        self.tally.proven += 1;
        Ok(())
    }

    /// Compares what a peer acknowledged with what it holds.
    fn acked(&mut self, machine: usize, peer: &DeviceId, position: u64) -> Outcome {
        let wire = self.wires.iter().find(|wire| {
            wire.ends.contains(&machine)
                && self.machines[wire.ends[1 - wire.side(machine)]].device == *peer
                && wire.up[wire.side(machine)]
        });
        let Some(wire) = wire else { return Ok(()) };
        // Two machines with one key: whose acknowledgement it was cannot be told from here.
        if self.machines.iter().filter(|other| other.device == *peer).count() > 1 {
            return Ok(());
        }
        let side = wire.side(machine);
        let other = wire.ends[1 - side];
        let (Some(mine), Some(theirs)) = (&self.machines[machine].body, &self.machines[other].body) else {
            return Ok(());
        };
        let failing = self.machines[machine].failing || self.machines[other].failing;
        let url = wire.url.as_ref().filter(|_| side == 0);
        match lacking(mine.log(), theirs.log(), peer, url, position) {
            Ok(None) => {}
            Ok(Some((conversation, lacking))) => {
                return Err(format!(
                    "{} counts {} as holding {} up to {position}, but it lacks {lacking} ops",
                    self.machines[machine].name,
                    self.machines[other].name,
                    conversation.short(),
                ));
            }
            // A disk that was told to fail may fail the check, too.
            Err(_) if failing => return Ok(()),
            Err(error) => return Err(error),
        }
        self.tally.acked += 1;
        Ok(())
    }
}

/// A conversation of which `theirs` lacks something that it acknowledged, and how many ops.
fn lacking(
    mine: &Reader,
    theirs: &Reader,
    peer: &DeviceId,
    url: Option<&String>,
    position: u64,
) -> Outcome<Option<(ConversationId, usize)>> {
    let text = |error: LogError| error.to_string();
    let mut shared = Vec::new();
    match url {
        None => {
            let all = mine.shared_with(peer).map_err(text)?;
            shared.extend(all.into_iter().filter(|(_, since)| *since <= position).map(|(id, _)| id));
        }
        Some(url) => {
            for row in mine.conversations().map_err(text)? {
                let relays = mine.relays_since(&row.id).map_err(text)?;
                if relays.iter().any(|(relay, since)| relay.url == *url && *since <= position) {
                    shared.push(row.id);
                }
            }
        }
    }
    for conversation in shared {
        let ours = checks::ids_through(mine, &conversation, position)?;
        let held = checks::ids_through(theirs, &conversation, u64::MAX)?;
        let lacking = ours.difference(&held).count();
        if lacking > 0 {
            return Ok(Some((conversation, lacking)));
        }
    }
    Ok(None)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Arrival { wire: usize, side: usize },
    Flush { machine: usize },
    Tick { machine: usize },
}
