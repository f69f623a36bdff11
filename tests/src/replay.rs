//! Real input, replayed in the simulated world: a channel with its joins and leaves, and a history with its branches.
//!
//! Responsible for: the devices of a replay and finding its data. Not here: faults (`sim`), the two replays themselves
//! (`channel`, `branches`).

pub mod branches;
pub mod channel;

use crate::sim::machine::Machine;
use flate2::read::GzDecoder;
use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tombolo_client::{ConversationId, Node, OpId};
use tombolo_model::RelayAddress;
use tombolo_replica::{Link, Now, Scope, Tools};
use tombolo_testkit::rng::Rng;

/// Address that the devices know the relay by.
pub const URL: &str = "ws://relay-0";

/// Lines of a recording, and where they are from.
#[derive(Debug)]
pub struct Recording {
    /// Objects, one a line.
    pub lines: Vec<serde_json::Value>,
    /// The file, for the report.
    pub from: PathBuf,
    /// It is the repository's own small sample.
    pub sample: bool,
}

/// Reads `NAME.jsonl.gz` of a folder of recordings, or, without one, the repository's sample `NAME.jsonl`.
///
/// # Errors
/// What cannot be read.
pub fn recording(folder: Option<&Path>, name: &str) -> Result<Recording, String> {
    let real = folder.map(|folder| folder.join(format!("{name}.jsonl.gz"))).filter(|path| path.exists());
    let sample = real.is_none();
    let from = real.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("samples/{name}.jsonl")));
    let bytes = std::fs::read(&from).map_err(|error| format!("{}: {error}", from.display()))?;
    let mut text = String::new();
    if sample {
        text = String::from_utf8(bytes).map_err(|error| error.to_string())?;
    } else {
        GzDecoder::new(bytes.as_slice()).read_to_string(&mut text).map_err(|error| error.to_string())?;
    }
    let lines =
        text.lines().map(|line| serde_json::from_str(line).map_err(|error| format!("{}: {error}", from.display())));
    Ok(Recording { lines: lines.collect::<Result<_, _>>()?, from, sample })
}

/// A device on a disk in memory, running.
///
/// # Errors
/// When it does not start.
pub fn device(index: usize, rng: &Rng) -> Result<Machine, String> {
    let relay = RelayAddress { key: [0; 32], url: URL.into(), region: String::new() };
    let mut machine = Machine::device(index, vec![relay], rng);
    machine.start(true).map_err(|error| error.to_string())?;
    Ok(machine)
}

/// What both sides of a connection are told.
#[must_use]
pub fn links(rng: &mut Rng, relay: bool) -> [Link; 2] {
    let scope = if relay { Scope::Relay { url: URL.into(), all: false } } else { Scope::Members };
    [scope, Scope::Members].map(|scope| Link {
        initiator: false,
        expected: None,
        binding: Vec::new(),
        nonce: rng.bytes(),
        scope,
        tools: Tools::ALL,
    })
}

/// The device of a machine that runs.
///
/// # Errors
/// When it does not run.
pub fn node(machine: &mut Machine) -> Result<&mut Node, String> {
    let name = machine.name.clone();
    machine.node_mut().ok_or_else(|| format!("{name} is down"))
}

/// Ids of what a device shows, in order, and how many of them came late.
///
/// # Errors
/// What the device says.
pub fn shown(machine: &mut Machine, conversation: &ConversationId) -> Result<(Vec<OpId>, u64), String> {
    let page =
        node(machine)?.messages(conversation, usize::MAX >> 1, None, false).map_err(|error| error.to_string())?;
    let late = page.iter().filter(|message| message.late).count() as u64;
    Ok((page.into_iter().map(|message| message.id).collect(), late))
}

/// Both clocks at a second of the recording.
#[must_use]
pub fn now(mono_ms: u64, t: u64) -> Now {
    Now { mono_ms, wall_ms: t * 1_000 }
}

/// Says on standard error how far a replay is: on a terminal in one line that is written over, elsewhere (the log of a
/// build) a line a minute.
#[derive(Debug)]
pub struct Meter {
    began: Instant,
    shown: Option<Instant>,
    terminal: bool,
}

impl Meter {
    /// A meter that has said nothing.
    #[must_use]
    pub fn new() -> Self {
        Self { began: Instant::now(), shown: None, terminal: std::io::stderr().is_terminal() }
    }

    /// `done` of `of` are done; said now and then only. `totals` may be long.
    pub fn show(&mut self, done: usize, of: usize, what: &str, totals: &dyn Fn() -> String) {
        let every = if self.terminal { Duration::from_millis(200) } else { Duration::from_secs(60) };
        if self.shown.unwrap_or(self.began).elapsed() < every {
            return;
        }
        self.shown = Some(Instant::now());
        let line = format!("{what} {done} of {of}, {} s; {}", self.began.elapsed().as_secs(), totals());
        if self.terminal {
            eprint!("\r\x1b[K{line}");
        } else {
            eprintln!("  {line}");
        }
    }

    /// Clears the line.
    pub fn clear(&mut self) {
        if self.terminal && self.shown.take().is_some() {
            eprint!("\r\x1b[K");
        }
    }
}

impl Default for Meter {
    fn default() -> Self {
        Self::new()
    }
}
