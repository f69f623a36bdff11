//! What goes wrong beside frames: power, processes, disks, clocks, links, relays and profiles from the past.

use crate::sim::bugs::Bug;
use crate::sim::machine::Machine;
use crate::sim::world::{Outcome, World};
use std::collections::BTreeSet;
use tombolo_testkit::disk::{FaultKind, Repeat};

/// **Milliseconds** of ten years.
pub const TEN_YEARS_MS: i64 = 10 * 365 * 24 * 3_600_000;
/// **Milliseconds** of a day.
const DAY_MS: i64 = 24 * 3_600_000;

impl World {
    /// Draws whether something goes wrong now, and what.
    ///
    /// # Errors
    /// What is wrong with the product.
    pub fn trouble(&mut self) -> Outcome {
        let weights = self.knobs.troubles;
        let list = [
            weights.power,
            weights.kill,
            weights.restart,
            weights.clock,
            weights.disk,
            weights.half_open,
            weights.partition,
            weights.empty,
            weights.restore,
            weights.copy,
        ];
        let mut drawn = self.rng.below(100) as u32;
        let Some(kind) = list.iter().position(|weight| {
            let hit = drawn < *weight;
            drawn = drawn.saturating_sub(*weight);
            hit
        }) else {
            return Ok(());
        };
        let machine = self.rng.index(self.machines.len());
        match kind {
            0 => self.crash(machine, true),
            1 => self.crash(machine, false),
            2 => self.restart(machine),
            3 => self.set_clock(machine),
            4 => self.spoil_disk(machine),
            5 => self.half_open(),
            6 => self.part(),
            7 => self.empty(),
            8 => self.restore(machine),
            _ => self.copy(machine),
        }
    }

    fn crash(&mut self, machine: usize, power: bool) -> Outcome {
        self.tally.fault(if power { "power loss" } else { "process killed" });
        self.trace.note(
            self.now_ms,
            format_args!("{} {}", self.machines[machine].name, if power { "loses power" } else { "is killed" }),
        );
        self.down(machine, power)?;
        self.start(machine, false)?;
        self.after_start(machine)
    }

    fn restart(&mut self, machine: usize) -> Outcome {
        if self.machines[machine].failing {
            return Ok(());
        }
        self.tally.fault("clean restart");
        self.drop_wires(machine, false);
        let name = self.machines[machine].name.clone();
        self.machines[machine].stop().map_err(|error| format!("{name} does not close: {error}"))?;
        self.start(machine, true)?;
        self.after_start(machine)
    }

    fn set_clock(&mut self, machine: usize) -> Outcome {
        let minute_ms = 60_000;
        let (kind, skew_ms) = match self.rng.below(100) {
            0..40 => ("clock corrected", 0),
            40..60 => ("clock small", self.rng.below(480_000) as i64 - 240_000),
            60..72 => ("clock hours ahead", (6 + self.rng.below(120) as i64) * minute_ms),
            72..86 => ("clock ten years ahead", TEN_YEARS_MS),
            _ => ("clock a day behind", -DAY_MS),
        };
        if kind == "clock corrected" && self.machines[machine].skew_ms == 0 {
            return Ok(());
        }
        self.tally.fault(kind);
        if !self.machines[machine].is_device() && skew_ms.unsigned_abs() > 300_000 {
            self.tally.fault("clock of a relay wrong");
        }
        self.trace.note(self.now_ms, format_args!("{}: {kind} ({skew_ms} ms)", self.machines[machine].name));
        self.machines[machine].skew_ms = skew_ms;
        Ok(())
    }

    fn spoil_disk(&mut self, machine: usize) -> Outcome {
        let (name, kind) = *self.rng.pick(&[
            ("disk error", FaultKind::Io),
            ("disk full", FaultKind::Full),
            ("sync error", FaultKind::Sync),
        ]);
        let repeat = if self.rng.chance(500) { Repeat::Once } else { Repeat::FromThenOn };
        let from = 1 + self.rng.below(60);
        self.tally.fault(name);
        self.trace.note(self.now_ms, format_args!("{}: {name} from operation {from}", self.machines[machine].name));
        self.machines[machine].disk.fail_from(from, kind, repeat);
        self.machines[machine].failing = true;
        Ok(())
    }

    fn half_open(&mut self) -> Outcome {
        if !self.wires.is_empty() {
            let wire = self.rng.index(self.wires.len());
            self.tally.fault("link half-open");
            self.wires[wire].black_ms = Some(self.now_ms);
            self.wires[wire].queues.iter_mut().for_each(std::collections::VecDeque::clear);
        }
        Ok(())
    }

    fn part(&mut self) -> Outcome {
        if self.apart.take().is_some() {
            self.trace.note(self.now_ms, format_args!("the partition ends"));
            return Ok(());
        }
        let part: BTreeSet<usize> = (0..self.machines.len()).filter(|_| self.rng.chance(500)).collect();
        self.tally.fault("partition");
        self.trace.note(self.now_ms, format_args!("partition: {part:?}"));
        let now_ms = self.now_ms;
        for wire in &mut self.wires {
            if part.contains(&wire.ends[0]) != part.contains(&wire.ends[1]) {
                wire.black_ms = Some(now_ms);
                wire.queues.iter_mut().for_each(std::collections::VecDeque::clear);
            }
        }
        self.apart = Some(part);
        Ok(())
    }

    fn empty(&mut self) -> Outcome {
        let relay = self.rng.index(self.knobs.relays);
        self.tally.fault("relay emptied");
        self.trace.note(self.now_ms, format_args!("{} has lost everything", self.machines[relay].name));
        self.drop_wires(relay, true);
        self.machines[relay].replace_disk(None);
        self.machines[relay].rewound = true;
        self.start(relay, false)?;
        self.forget_lost(relay)
    }

    fn restore(&mut self, machine: usize) -> Outcome {
        let Some(backup) = self.machines[machine].backup.take() else {
            if !self.machines[machine].failing {
                self.trace.note(self.now_ms, format_args!("{} is backed up", self.machines[machine].name));
                self.machines[machine].back_up();
            }
            return Ok(());
        };
        let device = self.machines[machine].is_device();
        self.tally.fault(if device { "device restored" } else { "relay restored" });
        self.trace.note(self.now_ms, format_args!("{} goes back to its backup", self.machines[machine].name));
        self.drop_wires(machine, true);
        self.machines[machine].replace_disk(Some(backup));
        self.machines[machine].rewound = true;
        let continue_logs = self.bug == Some(Bug::OldTail);
        self.start(machine, continue_logs)?;
        self.forget_lost(machine)
    }

    fn copy(&mut self, machine: usize) -> Outcome {
        let original = &self.machines[machine];
        let copies = self.machines.iter().filter(|other| other.twin_of.is_some()).count();
        if !original.is_device() || original.twin_of.is_some() || original.failing || copies > 0 {
            return Ok(());
        }
        let index = self.machines.len();
        let twin = Machine::twin(original, index, machine);
        self.tally.fault("profile copied");
        self.trace.note(self.now_ms, format_args!("the profile of {} runs twice", self.machines[machine].name));
        self.machines[machine].rewound = true;
        self.machines.push(twin);
        self.start(index, false)
    }
}
