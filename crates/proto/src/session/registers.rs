//! Registers of devices, beside the log: what each holds and has read. Optional frames, so an older side is not troubled.
//!
//! ```text
//! reading <> reading           with the opening: how far each has read the other's changes, and a digest of what it holds
//! registers -> <- registered   only if the digests differ: what changed since, then "that was the last"
//! reading <> reading           once more when the logs are proven equal; if they still differ, everything goes once
//! registers -> <- registered   live: what has changed within a second goes together, only its newest version
//! ```
//!
//! One frame is on its way at a time, and the next one waits until the listener has the last on its disk. A digest that
//! stays unequal is looked at again by the next connection. Not here: signatures and who may see what (the host).

use super::{Context, Output, Phase, Session, local};
use crate::fault::Fault;
use crate::frame::{Frame, Reading, Registers};
use crate::limit::{READINGS_MAX, REGISTERS_BYTES, REGISTERS_MS, REGISTERS_STORING_MAX};
use crate::source::{RegisterPage, Source};
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// A frame of registers that the host is storing.
#[derive(Debug)]
struct Storing {
    through: u64,
    last: bool,
    bytes: usize,
}

/// Where the exchange of registers stands.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    /// What was said last, and the end of the own changes then.
    said: Option<(Reading, u64)>,
    /// The peer's word, which comes before its `resume`.
    heard: Option<Reading>,
    /// The peer knows these frames.
    speaks: bool,
    /// Comparisons of this connection.
    readings: u32,
    /// Own changes up to here were sent.
    sent: u64,
    /// Sent and not on the peer's disk yet.
    in_flight: Option<u64>,
    /// Everything goes, also what the peer itself brought.
    whole: bool,
    owes_last: bool,
    awaits_last: bool,
    awaits_reading: bool,
    /// To be compared once more when the logs are equal.
    again: bool,
    /// Something has changed here since the last look.
    changed: bool,
    pushed_ms: Option<u64>,
    storing: VecDeque<Storing>,
    storing_bytes: usize,
}

impl Session {
    /// Whether registers are exchanged as far as can be.
    #[must_use]
    pub fn registers_quiet(&self) -> bool {
        let exchange = &self.registers;
        let compares = exchange.awaits_reading || (exchange.again && self.config.initiator && self.proven.is_some());
        let exchanges = exchange.owes_last || exchange.awaits_last || exchange.in_flight.is_some();
        let moves = exchange.speaks && exchange.changed;
        self.phase == Phase::Over || !(compares || exchanges || moves || !exchange.storing.is_empty())
    }

    /// When registers that wait for company are due.
    pub(super) fn registers_due_ms(&self) -> Option<u64> {
        let exchange = &self.registers;
        let waits = exchange.speaks && exchange.changed && exchange.in_flight.is_none();
        exchange.pushed_ms.filter(|_| waits).map(|pushed_ms| pushed_ms + REGISTERS_MS)
    }

    /// Says how far the peer's changes were read, and what is held.
    pub(super) fn say_reading<S: Source>(&mut self, ctx: &Context<'_, S>) -> Result<(), Fault> {
        let read = ctx.source.registers_read(&self.peer).map_err(local)?;
        let digest = ctx.source.registers_digest(&self.peer).map_err(local)?;
        let reading = Reading { read, digest };
        // How many changes there were is not for strangers, in what is sent from here on neither.
        let stranger = ctx.source.shared(&self.peer).map_err(local)?.is_empty();
        let end = if stranger { 0 } else { ctx.source.registers_end().map_err(local)? };
        self.registers.said = Some((reading, end));
        self.send(&Frame::Reading(reading));
        Ok(())
    }

    pub(super) fn on_reading<S: Source>(&mut self, reading: Reading, ctx: &Context<'_, S>) -> Result<(), Fault> {
        if self.phase == Phase::Resuming {
            self.registers.heard = Some(reading);
            return Ok(());
        }
        if self.config.initiator {
            if !core::mem::take(&mut self.registers.awaits_reading) {
                return Err(Fault::OutOfTurn { frame: "reading" });
            }
        } else {
            if !self.registers.speaks || self.registers.readings >= READINGS_MAX {
                return Err(Fault::OutOfTurn { frame: "reading" });
            }
            self.say_reading(ctx)?;
        }
        self.compare_readings(reading);
        Ok(())
    }

    /// With the opening: what was said before the `resume` frames.
    pub(super) fn open_registers(&mut self) {
        if let Some(heard) = self.registers.heard.take() {
            self.registers.speaks = true;
            self.compare_readings(heard);
        }
    }

    /// Both sides compare the same two words, so both know whether registers are to be exchanged.
    fn compare_readings(&mut self, theirs: Reading) {
        let exchange = &mut self.registers;
        let Some((said, end)) = exchange.said else { return };
        let first = exchange.readings == 0;
        exchange.readings += 1;
        exchange.changed = true;
        if said.digest == theirs.digest {
            exchange.sent = end;
            return;
        }
        // What the peer's count does not explain is lost on one side. A position beyond the end was read of a store that
        // this one does not remember to have been.
        exchange.sent = if first && theirs.read <= end { theirs.read } else { 0 };
        exchange.whole = exchange.sent == 0;
        (exchange.owes_last, exchange.awaits_last) = (true, true);
        exchange.again = first;
    }

    /// A conversation came into the scope of this connection: what was said of registers left it out.
    pub(super) fn registers_granted(&mut self) {
        self.registers.again = self.registers.speaks;
    }

    /// Registers have changed here.
    pub(super) fn registers_changed(&mut self) {
        self.registers.changed = true;
    }

    /// Sends what is due.
    pub(super) fn push_registers<S: Source>(&mut self, ctx: &Context<'_, S>) -> Result<(), Fault> {
        if !self.registers.speaks || self.registers.in_flight.is_some() {
            return Ok(());
        }
        if self.registers.owes_last {
            return self.send_registers(true, ctx);
        }
        let idle = !self.registers.awaits_last && self.registers.storing.is_empty();
        let compares = self.registers.again && self.config.initiator && self.proven.is_some() && self.is_quiet();
        if compares && idle && !self.registers.awaits_reading {
            self.registers.again = false;
            if self.registers.readings < READINGS_MAX {
                self.registers.awaits_reading = true;
                return self.say_reading(ctx);
            }
        }
        let due = self.registers.pushed_ms.is_none_or(|pushed_ms| ctx.now.mono_ms >= pushed_ms + REGISTERS_MS);
        if self.registers.changed && due { self.send_registers(false, ctx) } else { Ok(()) }
    }

    fn send_registers<S: Source>(&mut self, to_end: bool, ctx: &Context<'_, S>) -> Result<(), Fault> {
        let (after, whole) = (self.registers.sent, self.registers.whole);
        let mut page = ctx.source.registers(&self.peer, after, whole, REGISTERS_BYTES).map_err(local)?;
        if ctx.source.shared(&self.peer).map_err(local)?.is_empty() {
            page = RegisterPage { registers: Vec::new(), through: after, last: true };
        }
        self.registers.sent = page.through.max(after);
        if page.last {
            (self.registers.changed, self.registers.whole) = (false, false);
        }
        if !to_end && page.registers.is_empty() {
            return Ok(());
        }
        if to_end {
            self.registers.owes_last = !page.last;
        } else {
            self.registers.pushed_ms = Some(ctx.now.mono_ms);
        }
        let through = self.registers.sent;
        self.registers.in_flight = Some(through);
        self.send(&Frame::Registers(Registers { through, last: to_end && page.last, registers: page.registers }));
        Ok(())
    }

    pub(super) fn on_registers(&mut self, registers: Registers, bytes: usize) -> Result<(), Fault> {
        let Registers { through, last, registers } = registers;
        let exchange = &mut self.registers;
        if !exchange.speaks {
            return Err(Fault::OutOfTurn { frame: "registers" });
        }
        if exchange.storing_bytes + bytes > REGISTERS_STORING_MAX {
            return Err(Fault::CreditExceeded);
        }
        exchange.storing_bytes += bytes;
        exchange.storing.push_back(Storing { through, last, bytes });
        self.out.push_back(Output::Registers { registers, through });
        Ok(())
    }

    pub(super) fn on_registers_stored(&mut self) -> Result<(), Fault> {
        let Some(Storing { through, last, bytes }) = self.registers.storing.pop_front() else {
            return Err(Fault::Local("registers were stored that were not handed out".into()));
        };
        self.registers.storing_bytes -= bytes;
        self.registers.awaits_last &= !last;
        self.send(&Frame::Registered(through));
        Ok(())
    }

    pub(super) fn on_registered(&mut self, through: u64) -> Result<(), Fault> {
        if self.registers.in_flight.take() == Some(through) { Ok(()) } else { Err(Fault::FalseAcknowledgement) }
    }
}
