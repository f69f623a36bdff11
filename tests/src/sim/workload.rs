//! What people do: found conversations, invite, accept, write, import, read, connect, leave.

use crate::sim::checks;
use crate::sim::machine::START_MS;
use crate::sim::oracle::{Letter, Said};
use crate::sim::talking::is_own;
use crate::sim::world::{Outcome, World};
use std::collections::BTreeSet;
use tombolo_client::{ConversationId, Error, Kind, Line, Node, Standing};
use tombolo_replica::Now;

impl World {
    /// One step of somebody.
    ///
    /// # Errors
    /// What is wrong with the product.
    pub fn act(&mut self) -> Outcome {
        let devices: Vec<usize> =
            (0..self.machines.len()).filter(|index| self.machines[*index].node().is_some()).collect();
        if devices.is_empty() {
            return Ok(());
        }
        let device = *self.rng.pick(&devices);
        match self.rng.below(100) {
            0..8 => self.create(device),
            8..18 => self.invite(device),
            18..30 => self.accept(device),
            30..46 => self.write(device),
            46..54 => {
                let count = 1 + self.rng.below(4);
                (0..count).try_for_each(|_| self.change(device))
            }
            54..56 => self.delete(device),
            56 => self.set_timer(device),
            57 => self.keep(device),
            58..61 => self.import(device),
            61..66 => self.look(device),
            66..69 => self.mark(device),
            69..83 => self.dial_relays(device),
            83..90 => self.dial_device(device),
            90..96 => self.hang_up(device),
            96..98 => self.presence(device),
            _ => self.examine(device),
        }
    }

    /// Conversations of a device, with whether it is a member.
    ///
    /// # Errors
    /// What the device says.
    pub fn conversations(&self, device: usize) -> Outcome<Vec<(ConversationId, bool)>> {
        let Some(node) = self.machines[device].node() else { return Ok(Vec::new()) };
        match node.conversations() {
            Ok(rows) => Ok(rows.into_iter().map(|row| (row.id, row.standing == Standing::Member)).collect()),
            Err(_) if self.machines[device].failing => Ok(Vec::new()),
            Err(error) => Err(format!("{}: {error}", self.machines[device].name)),
        }
    }

    pub(super) fn pick_conversation(&mut self, device: usize, member: bool) -> Outcome<Option<ConversationId>> {
        let all = self.conversations(device)?;
        let fit: Vec<ConversationId> = all.into_iter().filter(|(_, is)| *is || !member).map(|(id, _)| id).collect();
        Ok(if fit.is_empty() { None } else { Some(*self.rng.pick(&fit)) })
    }

    /// Takes what a call returned; an error is one of a planned fault, or one of `codes`, or wrong.
    pub(super) fn took<T>(&mut self, device: usize, result: Result<T, Error>, codes: &[&str]) -> Outcome<Option<T>> {
        match result {
            Ok(value) => {
                self.drain(device)?;
                Ok(Some(value))
            }
            Err(error) if codes.contains(&error.code()) => Ok(None),
            Err(error) => {
                self.fail(device, &error)?;
                Ok(None)
            }
        }
    }

    pub(super) fn now_and_node(&mut self, device: usize) -> Option<(Now, &mut tombolo_client::Node)> {
        let now = self.now(device);
        self.machines[device].node_mut().map(|node| (now, node))
    }

    fn create(&mut self, device: usize) -> Outcome {
        let mut all = BTreeSet::new();
        for index in 0..self.machines.len() {
            all.extend(self.conversations(index)?.into_iter().map(|(id, _)| id));
        }
        if all.len() >= self.knobs.conversations {
            return self.invite(device);
        }
        let kind = if self.rng.chance(200) { Kind::Direct } else { Kind::Group };
        let Some((now, node)) = self.now_and_node(device) else { return Ok(()) };
        let created = node.create("a conversation", kind, now);
        if let Some(id) = self.took(device, created, &[])? {
            self.trace.note(self.now_ms, format_args!("{} founds {}", self.machines[device].name, id.short()));
        }
        Ok(())
    }

    fn invite(&mut self, device: usize) -> Outcome {
        let Some(conversation) = self.pick_conversation(device, true)? else { return Ok(()) };
        let uses = if self.rng.chance(200) { 1 } else { 20 };
        let ends = self.rng.chance(60);
        let Some((now, node)) = self.now_and_node(device) else { return Ok(()) };
        let expires_ms = if ends { now.wall_ms + 120_000 } else { 0 };
        // Without its secret (a crash right after founding, a profile from before the invitation) it cannot invite.
        let invited = node.invite(Some(conversation), uses, expires_ms, now);
        let Some(invitation) = self.took(device, invited, &["unknown-conversation", "asked"])? else { return Ok(()) };
        self.trace.note(
            self.now_ms,
            format_args!(
                "{} invites to {}, {uses} uses, ends {ends}",
                self.machines[device].name,
                conversation.short()
            ),
        );
        let limited = uses == 1 || ends;
        let only = self.machines[device].node().filter(|node| is_own(node, &conversation)).map(Node::account);
        let key = invitation.key().public();
        self.oracle.letters.push(Letter { invitation, limited, only });
        if self.rng.chance(60) {
            let Some((now, node)) = self.now_and_node(device) else { return Ok(()) };
            let revoked = node.revoke(&key, now);
            if let Some(letter) = self.oracle.letters.last_mut() {
                letter.limited = true;
            }
            self.took(device, revoked, &[])?;
        }
        Ok(())
    }

    fn accept(&mut self, device: usize) -> Outcome {
        if self.oracle.letters.is_empty() {
            return Ok(());
        }
        let letter = self.rng.index(self.oracle.letters.len());
        self.accept_letter(device, letter)
    }

    /// A device accepts an invitation, unless it is for somebody else.
    ///
    /// # Errors
    /// What is wrong with the product.
    pub(super) fn accept_letter(&mut self, device: usize, letter: usize) -> Outcome {
        let only = self.oracle.letters[letter].only;
        if only.is_some_and(|only| self.machines[device].node().is_none_or(|node| node.account() != only)) {
            return Ok(());
        }
        let invitation = self.oracle.letters[letter].invitation.clone();
        let Some((now, node)) = self.now_and_node(device) else { return Ok(()) };
        let accepted = node.accept(&invitation, now);
        let done = self.took(device, accepted, &["member"])?.is_some();
        // A failing disk may have kept it although it said no.
        let key = invitation.key().public();
        let kept = self.machines[device].node().is_some_and(|node| {
            checks::joins(node.log(), &invitation.conversation, &self.machines[device].device).contains(&key)
        });
        if done || kept {
            self.oracle.accepted.entry((invitation.conversation, device)).or_default().insert(letter);
        }
        if done {
            let name = self.machines[device].name.clone();
            self.trace.note(
                self.now_ms,
                format_args!("{name} accepts invitation {letter} to {}", invitation.conversation.short()),
            );
        }
        Ok(())
    }

    fn write(&mut self, device: usize) -> Outcome {
        let Some(conversation) = self.pick_conversation(device, false)? else { return Ok(()) };
        let count = 1 + self.rng.below(self.knobs.burst);
        self.write_into(device, conversation, count)
    }

    /// Writes messages, and reads them back.
    ///
    /// # Errors
    /// What is wrong with the product.
    pub fn write_into(&mut self, device: usize, conversation: ConversationId, count: u64) -> Outcome {
        let mut texts = Vec::new();
        for _ in 0..count {
            let len = if self.rng.chance(50) { self.rng.below(3_000) } else { self.rng.below(120) } as usize;
            let text = self.oracle.text(len);
            let said = Said {
                conversation,
                author: device,
                id: None,
                imported: false,
                sure: false,
                kept_by: BTreeSet::new(),
                ends: false,
            };
            self.oracle.said.insert(text.clone(), said);
            texts.push(text);
        }
        let words: Vec<&str> = texts.iter().map(String::as_str).collect();
        let Some((now, node)) = self.now_and_node(device) else { return Ok(()) };
        let sent = node.send(conversation, &words, now);
        let Some(sent) = self.took(device, sent, &["unknown-conversation"])? else { return Ok(()) };
        if sent.len() != texts.len() {
            return Err(format!("{} messages were given, {} sent", texts.len(), sent.len()));
        }
        self.tally.messages += count;
        let name = self.machines[device].name.clone();
        self.trace.note(self.now_ms, format_args!("{name} writes {count} messages into {}", conversation.short()));
        for (text, sent) in texts.iter().zip(&sent) {
            let ends = self.machines[device].node().is_some_and(|node| {
                node.log().op(&conversation, &sent.id).ok().flatten().is_none_or(|op| op.header.expires_ms != 0)
            });
            if let Some(said) = self.oracle.said.get_mut(text) {
                said.id = Some(sent.id);
                said.ends = ends;
                said.sure = true;
                said.kept_by.insert(device);
            }
            let Some((_, node)) = self.now_and_node(device) else { return Ok(()) };
            match node.messages_of(&conversation, &[sent.id]) {
                Ok(messages) if messages.iter().any(|message| message.text == *text) => {}
                Err(error) => return self.fail(device, &error),
                Ok(_) => return Err(format!("{name} does not show what it has just written")),
            }
        }
        Ok(())
    }

    fn import(&mut self, device: usize) -> Outcome {
        let Some(conversation) = self.pick_conversation(device, true)? else { return Ok(()) };
        let earlier: Vec<String> = self
            .oracle
            .said
            .iter()
            .filter(|(_, said)| said.imported && said.conversation == conversation)
            .map(|(text, _)| text.clone())
            .collect();
        let mut texts: Vec<String> = earlier.into_iter().filter(|_| self.rng.chance(500)).collect();
        for _ in 0..self.rng.below(4) {
            let text = self.oracle.text(40);
            let said = Said {
                conversation,
                author: device,
                id: None,
                imported: true,
                sure: false,
                kept_by: BTreeSet::new(),
                ends: false,
            };
            self.oracle.said.insert(text.clone(), said);
            texts.push(text);
        }
        let lines: Vec<Line> = texts
            .iter()
            .map(|text| Line {
                time_ms: START_MS - 1_000_000 + 7 * text.len() as u64,
                who: "somebody".into(),
                text: text.clone(),
            })
            .collect();
        let Some((now, node)) = self.now_and_node(device) else { return Ok(()) };
        let imported = node.import(conversation, &lines, now, |_| {});
        if self.took(device, imported, &["unknown-conversation"])?.is_some() {
            for text in &texts {
                if let Some(said) = self.oracle.said.get_mut(text) {
                    said.sure = true;
                    said.kept_by.insert(device);
                }
            }
            self.read(device, &conversation, 1_000)?;
        }
        Ok(())
    }

    fn look(&mut self, device: usize) -> Outcome {
        let Some(conversation) = self.pick_conversation(device, false)? else { return Ok(()) };
        let page = 1 + self.rng.index(40);
        let all = self.read(device, &conversation, page)?;
        if self.rng.chance(500) && !all.is_empty() {
            let Some((_, node)) = self.now_and_node(device) else { return Ok(()) };
            let seen = node.messages(&conversation, 20, None, true);
            self.took(device, seen, &[])?;
        }
        Ok(())
    }

    /// Dials the relays that a device knows of, unless it is connected already.
    ///
    /// # Errors
    /// What is wrong with the product.
    pub fn dial_relays(&mut self, device: usize) -> Outcome {
        let Some(node) = self.machines[device].node() else { return Ok(()) };
        let relays = match node.relays() {
            Ok(relays) => relays,
            Err(_) if self.machines[device].failing => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        for (url, key) in relays {
            let found = self.machines.iter().position(|machine| machine.url.as_ref() == Some(&url));
            let Some(relay) = found else { return Err(format!("a relay {url} that nobody runs")) };
            if self.wire_between(device, relay).is_none() {
                self.connect(device, relay, Some(url), key)?;
            }
        }
        Ok(())
    }

    fn dial_device(&mut self, device: usize) -> Outcome {
        let others: Vec<usize> = (0..self.machines.len())
            .filter(|other| {
                self.machines[*other].node().is_some() && self.machines[*other].device != self.machines[device].device
            })
            .collect();
        if others.is_empty() {
            return Ok(());
        }
        let other = *self.rng.pick(&others);
        let expected = self.rng.chance(500).then(|| self.machines[other].device);
        if self.wire_between(device, other).is_some() {
            return Ok(());
        }
        self.connect(device, other, None, expected)
    }

    fn hang_up(&mut self, device: usize) -> Outcome {
        let conns: Vec<_> = self
            .wires
            .iter()
            .filter(|wire| wire.ends.contains(&device) && wire.up[wire.side(device)])
            .map(|wire| wire.conn)
            .collect();
        if conns.is_empty() {
            return Ok(());
        }
        let conn = *self.rng.pick(&conns);
        let now = self.now(device);
        if let Some(body) = self.machines[device].body.as_mut() {
            body.leave(conn, now);
        }
        self.drain(device)
    }

    fn presence(&mut self, device: usize) -> Outcome {
        let Some(conversation) = self.pick_conversation(device, false)? else { return Ok(()) };
        let Some((now, node)) = self.now_and_node(device) else { return Ok(()) };
        let done = node.presence(&conversation, "typing", now);
        self.took(device, done, &["unknown-conversation"])?;
        Ok(())
    }

    fn examine(&mut self, machine: usize) -> Outcome {
        if self.machines[machine].failing {
            return Ok(());
        }
        self.tally.checks += 1;
        let name = self.machines[machine].name.clone();
        crate::sim::checks::doctor(&mut self.machines[machine]).map_err(|error| format!("{name}: {error}"))
    }
}
