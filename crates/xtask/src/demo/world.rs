//! Processes and folders of the demonstration: throw-away homes, the relay, calls of the command line.
//!
//! Everything is gone when [`World`] is dropped: the relay is stopped and the folder removed. The story itself is told in
//! `demo.rs`.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::place::Place;
use crate::process::{self, End, Event};

/// No command of the story needs longer, also on a slow machine.
const CALL_LIMIT: Duration = Duration::from_secs(60);
const RELAY_START: Duration = Duration::from_secs(30);
const RELAY_STOP: Duration = Duration::from_secs(10);

/// A folder with everything that the demonstration writes.
pub(super) struct World {
    dir: PathBuf,
    tombolo: PathBuf,
    relay: PathBuf,
}

impl World {
    /// Makes the folder. The binaries must be built.
    pub(super) fn new(place: &Place, release: bool) -> Result<Self, String> {
        let tombolo = place.built("tombolo", release);
        let relay = place.built("tombolo-relay", release);
        for program in [&tombolo, &relay] {
            if !program.is_file() {
                return Err(format!("{} is not built", program.display()));
            }
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let dir = std::env::temp_dir().join(format!("tombolo-demo-{}-{now}", std::process::id()));
        private_folder(&dir).map_err(|e| format!("cannot make {}: {e}", dir.display()))?;
        Ok(Self { dir, tombolo, relay })
    }

    /// Someone with a home of their own.
    pub(super) fn person(&self, folder: &'static str, name: &'static str) -> Person {
        Person { name, folder, home: self.dir.join(folder), program: self.tombolo.clone() }
    }

    /// Starts the relay and waits until it listens. An address that was used a moment ago may need another try.
    pub(super) fn relay(&self, listen: &str) -> Result<Relay, String> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.start_relay(listen) {
                Err(_) if tries < 4 => thread::sleep(Duration::from_millis(300)),
                result => return result,
            }
        }
    }

    fn start_relay(&self, listen: &str) -> Result<Relay, String> {
        let errors = std::fs::OpenOptions::new().create(true).append(true).open(self.relay_log());
        let errors = errors.map_err(|e| format!("cannot write the relay's log: {e}"))?;
        let mut command = Command::new(&self.relay);
        command.args(["serve", "--listen", listen, "--data"]).arg(self.dir.join("relay"));
        unsettle(&mut command);
        command.current_dir(&self.dir).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors);
        let child = command.spawn().map_err(|e| format!("cannot start tombolo-relay: {e}"))?;
        let mut relay = Relay { child, url: String::new(), first_line: String::new() };
        let first = relay.first_line_within(RELAY_START)?;
        let url = first.strip_prefix("listening on ").filter(|url| url.starts_with("ws://"));
        relay.url =
            url.ok_or_else(|| format!("the relay's first line is not `listening on ws://...`: {first}"))?.to_owned();
        relay.first_line = first;
        Ok(relay)
    }

    fn relay_log(&self) -> PathBuf {
        self.dir.join("relay.log")
    }

    /// The end of what the relay wrote to its standard error; empty if it was silent.
    pub(super) fn last_words(&self) -> String {
        let text = std::fs::read_to_string(self.relay_log()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(20);
        if lines.is_empty() { String::new() } else { format!("\nthe relay said:\n{}", lines[from..].join("\n")) }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Left-overs in the folder for temporary files harm nobody.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// A running relay; stopped when dropped.
pub(super) struct Relay {
    child: Child,
    pub(super) url: String,
    pub(super) first_line: String,
}

impl Relay {
    /// Asks it to stop, and sees to it that it does.
    pub(super) fn stop(&mut self) {
        process::stop(&mut self.child, RELAY_STOP);
    }

    /// Reads the first line in time; goes on reading, so that the relay never waits for its reader.
    fn first_line_within(&mut self, limit: Duration) -> Result<String, String> {
        let pipe = self.child.stdout.take().ok_or("the relay has no standard output")?;
        let (sender, first) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                // Only the first is waited for; later ones find no reader, and that is fine.
                let _ = sender.send(line);
            }
        });
        first.recv_timeout(limit).map_err(|_| match self.child.try_wait() {
            Ok(Some(status)) => format!("the relay ended with {status} before it listened"),
            _ => format!("the relay did not listen within {} s", limit.as_secs()),
        })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Someone who uses the command line.
pub(super) struct Person {
    pub(super) name: &'static str,
    /// Name of the home, as the story shows it.
    pub(super) folder: &'static str,
    home: PathBuf,
    program: PathBuf,
}

impl Person {
    /// Runs `tombolo` for this person and reads its JSON lines.
    pub(super) fn call(&self, args: &[&str]) -> Result<Vec<Value>, String> {
        let mut command = Command::new(&self.program);
        command.arg("--home").arg(&self.home).args(["--key-store", "file", "--json"]).args(args);
        unsettle(&mut command);
        command.current_dir(self.home.parent().unwrap_or(Path::new(".")));
        let (mut out, mut errors) = (Vec::new(), String::new());
        let end = process::run(&mut command, CALL_LIMIT, &mut |event| match event {
            Event::Out(line) => out.push(line.to_owned()),
            Event::Err(line) => {
                errors.push('\n');
                errors.push_str(line);
            }
            Event::Tick(_) => {}
        })?;
        let what = args.first().copied().unwrap_or_default();
        match end {
            End::Exit(status) if status.success() => parse(&out).map_err(|e| format!("`tombolo {what}` {e}")),
            End::Exit(status) => Err(format!("{}: `tombolo {what}` ended with {status}{errors}", self.name)),
            End::OutOfTime => Err(format!("{}: `tombolo {what}` hangs{errors}", self.name)),
        }
    }
}

fn parse(lines: &[String]) -> Result<Vec<Value>, String> {
    let parse = |line: &String| serde_json::from_str(line).map_err(|e| format!("printed no JSON ({e}): {line}"));
    lines.iter().filter(|line| !line.trim().is_empty()).map(parse).collect()
}

/// The user's own settings must not change the story.
fn unsettle(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TOMBOLO_") {
            command.env_remove(&name);
        }
    }
}

fn private_folder(dir: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_json_lines() {
        let lines = ["{\"a\":1}".to_owned(), String::new(), "{\"a\":2}".to_owned()];
        assert_eq!(parse(&lines).unwrap().len(), 2);
        assert!(parse(&["Alice 1".to_owned()]).unwrap_err().contains("no JSON"));
    }
}
