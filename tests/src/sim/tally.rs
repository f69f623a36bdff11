//! Counting what really happened, over one world and over all of them: a fault that never fires tests nothing.

use std::collections::{BTreeMap, BTreeSet};

/// What happened.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Worlds.
    pub seeds: u64,
    /// Ops in the conversations of all worlds at their ends, each counted once.
    pub ops: u64,
    /// Messages that were returned as sent.
    pub messages: u64,
    /// Changes of messages, conversations and settings that returned.
    pub changes: u64,
    /// Sessions that authenticated.
    pub sessions: u64,
    /// Frames sent.
    pub frames: u64,
    /// **Bytes** of these frames.
    pub bytes: u64,
    /// Claims of equality that were compared by SQL.
    pub proven: u64,
    /// Acknowledged positions that were compared by SQL.
    pub acked: u64,
    /// Pages read and compared with what was read before.
    pub reads: u64,
    /// Full checks of one node.
    pub checks: u64,
    /// Most rounds that a world took to converge.
    pub rounds: u64,
    /// Faults by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Ops found, by tool: cursor, heights, sketch, ranges.
    pub found: [u64; 4],
    /// Worlds in which each tool found ops.
    pub found_seeds: [u64; 4],
    /// Ends of sessions by code.
    pub ends: BTreeMap<String, u64>,
    /// Refusals by name.
    pub refusals: BTreeSet<String>,
}

/// Every kind of fault that has to strike in a run of CI.
pub const FAULTS: &[&str] = &[
    "frame lost",
    "frame doubled",
    "frame swapped",
    "frame truncated",
    "frame flipped",
    "link cut",
    "link half-open",
    "partition",
    "power loss",
    "process killed",
    "clean restart",
    "disk error",
    "disk full",
    "sync error",
    "relay emptied",
    "relay restored",
    "device restored",
    "profile copied",
    "clock small",
    "clock hours ahead",
    "clock ten years ahead",
    "clock a day behind",
    "clock corrected",
    "clock of a relay wrong",
];

/// The tools, as [`Tally::found`] counts them.
pub const TOOLS: [&str; 4] = ["cursor", "heights", "sketch", "ranges"];

impl Tally {
    /// Counts a fault.
    pub fn fault(&mut self, kind: &'static str) {
        *self.faults.entry(kind).or_default() += 1;
    }

    /// Adds the numbers of another one.
    pub fn add(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.ops += other.ops;
        self.messages += other.messages;
        self.changes += other.changes;
        self.sessions += other.sessions;
        self.frames += other.frames;
        self.bytes += other.bytes;
        self.proven += other.proven;
        self.acked += other.acked;
        self.reads += other.reads;
        self.checks += other.checks;
        self.rounds = self.rounds.max(other.rounds);
        for (kind, count) in &other.faults {
            *self.faults.entry(kind).or_default() += count;
        }
        for tool in 0..4 {
            self.found[tool] += other.found[tool];
            self.found_seeds[tool] += other.found_seeds[tool];
        }
        for (code, count) in &other.ends {
            *self.ends.entry(code.clone()).or_default() += count;
        }
        self.refusals.extend(other.refusals.iter().cloned());
    }

    /// Kinds of faults that never struck.
    #[must_use]
    pub fn never(&self) -> Vec<&'static str> {
        FAULTS.iter().filter(|kind| !self.faults.contains_key(*kind)).copied().collect()
    }

    /// A short table.
    #[must_use]
    pub fn table(&self) -> String {
        let mut out = String::new();
        let mut line = |name: &str, value: String| out.push_str(&format!("  {name:<28} {value}\n"));
        line("worlds", self.seeds.to_string());
        line("ops", self.ops.to_string());
        line("messages acknowledged", self.messages.to_string());
        line("changes acknowledged", self.changes.to_string());
        line("sessions", self.sessions.to_string());
        line("frames", self.frames.to_string());
        line("bytes", self.bytes.to_string());
        line("proven claims compared", self.proven.to_string());
        line("acknowledgements compared", self.acked.to_string());
        line("pages read", self.reads.to_string());
        line("full checks of a node", self.checks.to_string());
        line("rounds to converge, most", self.rounds.to_string());
        for (tool, name) in TOOLS.iter().enumerate() {
            line(&format!("found by {name}"), format!("{} ops in {} worlds", self.found[tool], self.found_seeds[tool]));
        }
        for (kind, count) in &self.faults {
            line(kind, count.to_string());
        }
        let ends: Vec<String> = self.ends.iter().map(|(code, count)| format!("{code} {count}")).collect();
        line("ends of sessions", ends.join(", "));
        let refusals: Vec<&str> = self.refusals.iter().map(String::as_str).collect();
        line("refusals seen", refusals.join(", "));
        out
    }
}
