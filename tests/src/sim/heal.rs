//! The end of a world: no more faults, right clocks, everybody connects. Then everything must come together, within a
//! bound of rounds, to exactly what was said.

use crate::sim::knobs::Frames;
use crate::sim::troubles::TEN_YEARS_MS;
use crate::sim::world::{Outcome, World};
use crate::sim::{checks, ending};
use std::collections::{BTreeMap, BTreeSet};
use tombolo_client::{ConversationId, Message, MessageState, OpId};
use tombolo_model::Hlc;
use tombolo_replica::{ConnId, Tools};

/// Ids of ops and the hashes of their bodies.
type Bodies = BTreeMap<[u8; 32], [u8; 32]>;

/// Rounds of everybody with every relay within which a world must converge.
pub const ROUNDS_MAX: u64 = 8;
/// **Milliseconds** that a round may take on the world's clock.
const ROUND_MS: u64 = 40_000;

/// **Milliseconds** within which every machine ticks.
const TICKS_MS: u64 = 10_000;

impl World {
    /// Ends all faults and checks that everything comes together.
    ///
    /// # Errors
    /// What does not.
    pub fn heal(&mut self) -> Outcome {
        self.trace.note(self.now_ms, format_args!("-- all is well from here on --"));
        self.frames = Frames::default();
        self.apart = None;
        for machine in 0..self.machines.len() {
            if self.machines[machine].failing {
                self.down(machine, false)?;
                self.start(machine, false)?;
                self.after_start(machine)?;
            }
            self.machines[machine].skew_ms = 0;
        }
        let now_ms = self.now_ms;
        for wire in &mut self.wires {
            wire.hang_up(now_ms + 2_000);
        }
        self.run(5_000)?;
        // A wrong clock in the past keeps nobody from being heard now.
        for machine in 0..self.machines.len() {
            for (conversation, member) in self.conversations(machine)? {
                if member
                    && self.machines[machine]
                        .body
                        .as_ref()
                        .is_some_and(|body| checks::has_secret(body.log(), &conversation))
                {
                    self.write_into(machine, conversation, 1)?;
                }
            }
        }
        let mut why = String::new();
        for round in 1..=ROUNDS_MAX {
            if round > ROUNDS_MAX / 2 {
                self.tools = Tools::ALL;
            }
            self.round()?;
            match self.converged() {
                Ok(()) => {
                    self.tally.rounds = self.tally.rounds.max(round);
                    self.trace.note(self.now_ms, format_args!("-- converged after {round} rounds --"));
                    self.read_together()?;
                    return self.agreed();
                }
                Err(error) => why = error,
            }
        }
        Err(format!("no convergence within {ROUNDS_MAX} rounds: {why}"))
    }

    /// Everybody connects to every relay it knows, some to each other; then everybody leaves.
    pub(super) fn round(&mut self) -> Outcome {
        for machine in 0..self.machines.len() {
            if self.machines[machine].is_device() {
                self.dial_relays(machine)?;
            }
        }
        let (one, other) = (self.rng.index(self.machines.len()), self.rng.index(self.machines.len()));
        let apart = self.machines[one].device != self.machines[other].device;
        if apart && self.machines[one].is_device() && self.machines[other].is_device() {
            self.connect(one, other, None, None)?;
        }
        let mut waited = 0;
        while waited < ROUND_MS {
            self.run(500)?;
            waited += 500;
            if self.is_still() && self.is_quiet() {
                break;
            }
        }
        self.trace.note(self.now_ms, format_args!("-- quiet after {waited} ms --"));
        let conns: Vec<(ConnId, usize)> = self.wires.iter().map(|wire| (wire.conn, wire.ends[0])).collect();
        for (conn, machine) in conns {
            let now = self.now(machine);
            if let Some(body) = self.machines[machine].body.as_mut() {
                body.leave(conn, now);
            }
            self.drain(machine)?;
        }
        self.run(5_000)
    }

    fn is_quiet(&mut self) -> bool {
        let conns: Vec<(ConnId, usize)> =
            self.wires.iter().flat_map(|wire| wire.ends.map(|end| (wire.conn, end))).collect();
        conns.into_iter().all(|(conn, machine)| {
            let state = self.machines[machine].body.as_mut().and_then(|body| body.state(conn));
            state.is_none_or(|state| {
                state.quiet && (state.proven || state.unproven.is_some() || !state.blocked.is_empty())
            })
        })
    }

    /// Who should hold a conversation in the end: devices that take part and know its secret, and the relays it names.
    pub(super) fn circle(&self, conversation: &ConversationId) -> Outcome<Circle> {
        let text = |error: tombolo_oplog::LogError| error.to_string();
        let mut circle = Circle::default();
        let mut urls = BTreeSet::new();
        let mut members = BTreeSet::new();
        for (index, machine) in self.machines.iter().enumerate() {
            let Some(body) = &machine.body else { continue };
            let Some(row) = body.log().conversation(conversation).map_err(text)? else { continue };
            if row.kind.is_none() {
                continue;
            }
            circle.holders.insert(index);
            let relays = body.log().relays(conversation).map_err(text)?;
            urls.extend(relays.into_iter().map(|relay| relay.url));
            members.extend(body.log().members(conversation).map_err(text)?.into_iter().map(|member| member.device));
        }
        for (index, machine) in self.machines.iter().enumerate() {
            let Some(body) = &machine.body else { continue };
            let secret = checks::has_secret(body.log(), conversation);
            let takes_part = machine.is_device()
                && members.contains(&machine.device)
                && secret
                && !self.forgotten(index, conversation)?;
            // One that crashed while it accepted, and whose twin came in, has the secret but knows of no relay.
            let row = body.log().conversation(conversation).map_err(text)?;
            let relays = machine.node().map(|node| node.relays().unwrap_or_default()).unwrap_or_default();
            let finds = row.is_some() || relays.iter().any(|(url, _)| urls.contains(url));
            let takes_part = takes_part && finds;
            let keeps = machine.url.as_ref().is_some_and(|url| urls.contains(url));
            if !circle.holders.is_empty() && (takes_part || keeps) {
                circle.due.insert(index);
            }
        }
        Ok(circle)
    }

    /// Whether nobody can know any more that a device was let in in time: the relay that did has lost everything, and its
    /// invitation lets nobody in now. It has to be invited again.
    fn forgotten(&self, machine: usize, conversation: &ConversationId) -> Outcome<bool> {
        let Some(letters) = self.oracle.accepted.get(&(*conversation, machine)) else { return Ok(false) };
        let device = self.machines[machine].device;
        let mut known = false;
        for other in self.machines.iter().filter(|other| other.device != device) {
            if let Some(body) = &other.body {
                known |= body.log().is_member(conversation, &device).map_err(|error| error.to_string())?;
            }
        }
        let limited = letters.iter().all(|letter| self.oracle.letters[*letter].limited);
        Ok(!known && limited && self.machines.iter().any(|other| other.rewound))
    }

    /// Prints who holds what: the end of the trace of a world that failed.
    pub fn portrait(&self) {
        for conversation in self.all_conversations().unwrap_or_default() {
            println!("conversation {}", conversation.short());
            for machine in &self.machines {
                let Some(body) = &machine.body else { continue };
                let log = body.log();
                let Ok(Some(row)) = log.conversation(&conversation) else { continue };
                let members = log.members(&conversation).unwrap_or_default();
                let members: Vec<String> = members.iter().map(|member| member.device.short()).collect();
                println!(
                    "  {} {}: kind {:?}, {} ops, {} strangers, {} missing, members {members:?}",
                    machine.name,
                    machine.device.short(),
                    row.kind,
                    row.ops,
                    log.strangers(&conversation).unwrap_or(0),
                    log.missing(&conversation, 99).map_or(0, |missing| missing.len())
                );
                for invite in log.invites(&conversation).unwrap_or_default() {
                    println!(
                        "    invite {}: used {} of {}, ends {}, revoked {}",
                        invite.op.short(),
                        invite.used,
                        invite.uses,
                        invite.expires_ms,
                        invite.revoked
                    );
                }
                for height in log.heights(&conversation).unwrap_or_default() {
                    println!(
                        "    log of {}: {} of {}, branched {}",
                        height.author.short(),
                        height.contiguous,
                        height.max,
                        height.branched
                    );
                }
            }
        }
    }

    pub(super) fn all_conversations(&self) -> Outcome<BTreeSet<ConversationId>> {
        let mut all = BTreeSet::new();
        for machine in &self.machines {
            if let Some(body) = &machine.body {
                let rows = body.log().conversations().map_err(|error| error.to_string())?;
                all.extend(rows.into_iter().map(|row| row.id));
            }
        }
        Ok(all)
    }

    /// Whether all that should be equal is.
    fn converged(&mut self) -> Outcome {
        for conversation in self.all_conversations()? {
            let circle = self.circle(&conversation)?;
            let mut first: Option<(usize, Bodies)> = None;
            for index in &circle.due {
                let Some(body) = &self.machines[*index].body else { continue };
                let found = checks::dump(body.log(), &conversation, u64::MAX)?;
                match &first {
                    None => first = Some((*index, found)),
                    Some((one, set)) if *set != found => {
                        let (here, there) = (&self.machines[*one].name, &self.machines[*index].name);
                        let only_here = set.keys().filter(|id| !found.contains_key(*id)).count();
                        let only_there = found.keys().filter(|id| !set.contains_key(*id)).count();
                        return Err(format!(
                            "{}: {here} and {there} differ, {only_here} ops only here, {only_there} only there",
                            conversation.short()
                        ));
                    }
                    Some(_) => {}
                }
            }
            for machine in 0..self.machines.len() {
                if let Some(letters) = self.oracle.accepted.get(&(conversation, machine)).cloned() {
                    self.admitted(&conversation, machine, &letters, &circle)?;
                }
            }
        }
        Ok(())
    }

    /// Whoever accepted an invitation that still stands was let in.
    fn admitted(
        &self,
        conversation: &ConversationId,
        machine: usize,
        letters: &BTreeSet<usize>,
        circle: &Circle,
    ) -> Outcome {
        let Some(body) = &self.machines[machine].body else { return Ok(()) };
        let text = |error: tombolo_oplog::LogError| error.to_string();
        let asks = body.log().is_member(conversation, &self.machines[machine].device).map_err(text)?;
        if circle.due.contains(&machine) || !asks {
            return Ok(());
        }
        let mut stands = false;
        for letter in letters {
            let letter = &self.oracle.letters[*letter];
            let known = circle.due.iter().any(|holder| {
                self.machines[*holder]
                    .body
                    .as_ref()
                    .is_some_and(|body| body.log().has(conversation, &letter.invitation.invite_op).unwrap_or(false))
            });
            stands |= known && !letter.limited;
        }
        // A profile from before it accepted has nothing left to ask with.
        if stands && !self.machines[machine].rewound {
            return Err(format!("{} was never let into {}", self.machines[machine].name, conversation.short()));
        }
        Ok(())
    }

    /// Everything else that must be true once all sets are equal; first now, then when the time of every op has come.
    fn agreed(&mut self) -> Outcome {
        self.look_around(false)?;
        self.trace.note(self.now_ms, format_args!("-- eleven years later --"));
        for machine in &mut self.machines {
            machine.skew_ms = TEN_YEARS_MS / 10 * 11;
        }
        self.run(10_000)?;
        self.look_around(true)?;
        self.talk_agrees()?;
        for machine in 0..self.machines.len() {
            let name = self.machines[machine].name.clone();
            checks::doctor(&mut self.machines[machine]).map_err(|error| format!("{name}: {error}"))?;
            let wall_ms = self.now(machine).wall_ms;
            ending::gone(&self.machines[machine], wall_ms).map_err(|error| format!("{name}: {error}"))?;
            self.tally.checks += 1;
        }
        let mut seen = BTreeSet::new();
        for machine in &self.machines {
            if let Some(body) = &machine.body {
                seen.extend(checks::all_ids(body.log())?);
            }
        }
        self.tally.ops += seen.len() as u64;
        for tool in 0..4 {
            self.tally.found_seeds[tool] = u64::from(self.tally.found[tool] > 0);
        }
        Ok(())
    }

    /// Every device shows what was said, in one order; `late`: nothing is early any more.
    fn look_around(&mut self, late: bool) -> Outcome {
        for conversation in self.all_conversations()? {
            let circle = self.circle(&conversation)?;
            let mut orders: Vec<(usize, Vec<OpId>)> = Vec::new();
            for machine in 0..self.machines.len() {
                let due = circle.due.contains(&machine);
                if due && late {
                    let Some(body) = &self.machines[machine].body else { continue };
                    let waiting = checks::waiting(body.log(), &conversation)?;
                    if waiting > 0 && !self.lost_for_ever(machine, &conversation)? {
                        return Err(format!(
                            "{} still waits for something with {waiting} ops",
                            self.machines[machine].name
                        ));
                    }
                }
                if !self.machines[machine].is_device() || !due {
                    continue;
                }
                let page = 1 + self.rng.index(60);
                let all = self.read(machine, &conversation, page)?;
                let now_ms = self.now(machine).wall_ms;
                let texts: BTreeSet<&str> = all.iter().map(|message| message.text.as_str()).collect();
                for (text, said) in &self.oracle.said {
                    if said.conversation != conversation
                        || !said.sure
                        || said.ends
                        || texts.contains(text.as_str())
                        || self.oracle.is_changed(said, &all)
                    {
                        continue;
                    }
                    if !circle.due.contains(&said.author) && !self.held_by_circle(said.id, &conversation, &circle) {
                        continue;
                    }
                    if !late && self.is_early(said.id, &conversation, &circle, now_ms) {
                        continue;
                    }
                    let name = &self.machines[machine].name;
                    return Err(format!("{name} does not show {text:?} by {}", self.machines[said.author].name));
                }
                // What an op erases that is early here came without its body from somebody for whom it is not.
                let machine_of = &self.machines[machine];
                let erased = ending::named(machine_of, &conversation)?;
                let is_sealed = |message: &&Message| message.state == MessageState::Sealed;
                if let Some(sealed) = all.iter().filter(is_sealed).find(|message| !erased.contains(&message.id)) {
                    let name = &self.machines[machine].name;
                    return Err(format!("{name} cannot open {}", sealed.id.short()));
                }
                orders.push((machine, all.into_iter().map(|message| message.id).collect()));
            }
            if let Some(pair) = orders.windows(2).find(|pair| late && pair[0].1 != pair[1].1) {
                let names = (&self.machines[pair[0].0].name, &self.machines[pair[1].0].name);
                return Err(format!("{} and {} show {} differently", names.0, names.1, conversation.short()));
            }
            for (machine, order) in &orders {
                self.trace.note(self.now_ms, format_args!("{} shows {order:?}", self.machines[*machine].name));
            }
        }
        Ok(())
    }

    /// Whether all that a machine waits for in a conversation went down with a disk: nobody holds it. It is a named gap
    /// (`Reader::missing`) then, and nothing can fill it.
    fn lost_for_ever(&self, machine: usize, conversation: &ConversationId) -> Outcome<bool> {
        let text = |error: tombolo_oplog::LogError| error.to_string();
        let Some(body) = &self.machines[machine].body else { return Ok(false) };
        let missing = body.log().missing(conversation, usize::MAX).map_err(text)?;
        let mut held = false;
        for other in self.machines.iter().filter_map(|other| other.body.as_ref()) {
            for id in &missing {
                held |= other.log().has(conversation, id).map_err(text)?;
            }
        }
        Ok(!held && !missing.is_empty() && self.machines.iter().any(|other| other.rewound))
    }

    fn held_by_circle(&self, id: Option<OpId>, conversation: &ConversationId, circle: &Circle) -> bool {
        let Some(id) = id else { return false };
        circle.due.iter().any(|index| {
            self.machines[*index].body.as_ref().is_some_and(|body| body.log().has(conversation, &id).unwrap_or(false))
        })
    }

    fn is_early(&self, id: Option<OpId>, conversation: &ConversationId, circle: &Circle, now_ms: u64) -> bool {
        circle.due.iter().any(|index| {
            let Some(body) = &self.machines[*index].body else { return false };
            match id {
                Some(id) => {
                    let op = body.log().op(conversation, &id).ok().flatten();
                    // Its time comes with a tick: some seconds ago it may have been early still.
                    let before_ms = now_ms.saturating_sub(TICKS_MS);
                    op.is_some_and(|op: tombolo_model::Op| Hlc::is_early(op.header.hlc, before_ms))
                }
                // Which op an imported line came by is not known: it may wait as long as any early op is there.
                None => checks::waiting(body.log(), conversation).is_ok_and(|count| count > 0),
            }
        })
    }
}

/// Who holds a conversation, and who should.
#[derive(Debug, Default)]
pub(super) struct Circle {
    holders: BTreeSet<usize>,
    pub(super) due: BTreeSet<usize>,
}
