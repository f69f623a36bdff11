//! The real programs, `tombolo` and `tombolo-relay`: finding them, running them, stopping and killing them.
//!
//! Everything runs on loopback, in folders for temporary files, without the user's own settings. Programs that are older
//! than their sources are built again, unless `TOMBOLO_BINARIES=as-built` says that these are meant. Not here: what is
//! proven with them (`kill`, `tests/binaries.rs`).

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

/// How long one call of the command line may take before it counts as stuck.
const CALL_MAX: Duration = Duration::from_secs(120);
/// How long a relay may take to listen, or to stop.
const RELAY_MAX: Duration = Duration::from_secs(30);

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// The command line.
    pub tombolo: PathBuf,
    /// The relay.
    pub relay: PathBuf,
}

impl Binaries {
    /// Finds the programs that were built with this one; builds them where they are missing or older than their sources.
    ///
    /// # Errors
    /// A sentence, when they cannot be built.
    pub fn find() -> Result<Self, String> {
        let this =
            std::env::current_exe().map_err(|error| format!("this program does not know where it is: {error}"))?;
        let mut folder = this.parent().ok_or("this program lies nowhere")?;
        if folder.ends_with("deps") {
            folder = folder.parent().ok_or("this program lies nowhere")?;
        }
        let program = |name: &str| folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
        let found = Self { tombolo: program("tombolo"), relay: program("tombolo-relay") };
        let as_built = std::env::var("TOMBOLO_BINARIES").is_ok_and(|value| value == "as-built");
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates");
        let newest = if as_built { None } else { newest(&sources) };
        let current = |path: &Path| {
            let built = path.metadata().and_then(|meta| meta.modified());
            built.is_ok_and(|built| newest.is_none_or(|newest| built >= newest))
        };
        if current(&found.tombolo) && current(&found.relay) {
            return Ok(found);
        }
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--locked", "-p", "tombolo-cli", "-p", "tombolo-relay", "--bins"]);
        cargo.current_dir(env!("CARGO_MANIFEST_DIR")).env("CARGO_TARGET_DIR", folder.parent().unwrap_or(folder));
        if folder.ends_with("release") {
            cargo.arg("--release");
        }
        let output = cargo.output().map_err(|error| format!("cargo does not start: {error}"))?;
        if !output.status.success() {
            return Err(format!("the programs cannot be built:\n{}", String::from_utf8_lossy(&output.stderr)));
        }
        Ok(found)
    }
}

/// When anything below a folder was changed last; `None` without sources.
fn newest(folder: &Path) -> Option<SystemTime> {
    let mut last = None;
    for entry in std::fs::read_dir(folder).ok()?.flatten() {
        let path = entry.path();
        // Tests of crates do not end up in programs.
        if path.is_dir() && !path.ends_with("tests") && !path.ends_with("xtask") && !path.ends_with("testkit") {
            last = last.max(newest(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "toml") {
            last = last.max(entry.metadata().and_then(|meta| meta.modified()).ok());
        }
    }
    last
}

/// Takes the user's own settings away.
fn unsettle(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TOMBOLO_") {
            command.env_remove(&name);
        }
    }
}

/// What a call printed and how it ended.
#[derive(Debug)]
pub struct Called {
    /// Whether it ended with 0.
    pub success: bool,
    /// Whole lines on standard output.
    pub lines: Vec<String>,
    /// Everything on standard error.
    pub errors: String,
}

/// Someone with a home of their own.
#[derive(Clone, Debug)]
pub struct Person {
    /// The folder of the profile.
    pub home: PathBuf,
    program: PathBuf,
}

impl Person {
    /// Someone whose home is `folder`; made by `init`.
    #[must_use]
    pub fn new(binaries: &Binaries, folder: PathBuf) -> Self {
        Self { home: folder, program: binaries.tombolo.clone() }
    }

    /// The command, ready to be spawned; everything is piped.
    #[must_use]
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--home").arg(&self.home).args(["--key-store", "file", "--json"]).args(args);
        unsettle(&mut command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command with this on standard input, within two minutes.
    ///
    /// # Errors
    /// A sentence, when it cannot be started or does not end.
    pub fn run(&self, args: &[&str], input: &str) -> Result<Called, String> {
        let what = args.first().copied().unwrap_or_default();
        let child = self.command(args).spawn().map_err(|error| format!("`tombolo {what}` does not start: {error}"))?;
        let mut running = Running::of(child, input.as_bytes().to_vec());
        if !running.wait(CALL_MAX) {
            running.kill();
            let called = running.finish();
            return Err(format!("`tombolo {what}` hangs: {}", called.errors));
        }
        Ok(running.finish())
    }

    /// Runs a command that must succeed, and reads its JSON lines.
    ///
    /// # Errors
    /// A sentence, when it fails, hangs or prints something else.
    pub fn call(&self, args: &[&str]) -> Result<Vec<Value>, String> {
        self.call_with(args, "")
    }

    /// As [`Person::call`], with standard input.
    ///
    /// # Errors
    /// As [`Person::call`].
    pub fn call_with(&self, args: &[&str], input: &str) -> Result<Vec<Value>, String> {
        let called = self.run(args, input)?;
        let what = args.first().copied().unwrap_or_default();
        if !called.success {
            let out = called.lines.join("\n");
            return Err(format!("{}: `tombolo {what}` failed: {} {out}", self.home.display(), called.errors));
        }
        let parse = |line: &String| serde_json::from_str(line).map_err(|error| format!("no JSON ({error}): {line}"));
        called.lines.iter().map(parse).collect()
    }

    /// Runs a command that must succeed and print one object, and takes a text out of it.
    ///
    /// # Errors
    /// As [`Person::call`].
    pub fn text(&self, args: &[&str], field: &str) -> Result<String, String> {
        let rows = self.call(args)?;
        let found = rows.first().and_then(|row| row[field].as_str());
        found.map(str::to_owned).ok_or_else(|| format!("`{args:?}` printed no {field}: {rows:?}"))
    }
}

/// A child whose output is being read.
#[derive(Debug)]
pub struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
    errors: mpsc::Receiver<String>,
    seen: Vec<String>,
}

impl Running {
    /// Feeds a child (all pipes set) and begins to read it.
    #[must_use]
    pub fn of(child: Child, input: Vec<u8>) -> Self {
        Self::fed(child, vec![input], Duration::ZERO)
    }

    /// As [`Running::of`], with a pause after every part of the input.
    #[must_use]
    pub fn fed(mut child: Child, input: Vec<Vec<u8>>, pause: Duration) -> Self {
        if let Some(mut stdin) = child.stdin.take() {
            thread::spawn(move || {
                for part in input {
                    // A child that is killed closes its end; what it has not read is of no interest then.
                    if stdin.write_all(&part).and_then(|()| stdin.flush()).is_err() {
                        return;
                    }
                    thread::sleep(pause);
                }
            });
        }
        let (to, lines) = mpsc::channel();
        if let Some(out) = child.stdout.take() {
            thread::spawn(move || {
                let mut reader = BufReader::new(out);
                let mut line = String::new();
                while reader.read_line(&mut line).is_ok_and(|read| read > 0) {
                    // Half a line was not printed.
                    if line.ends_with('\n') && to.send(line.trim_end().to_owned()).is_err() {
                        return;
                    }
                    line.clear();
                }
            });
        }
        let (to, errors) = mpsc::channel();
        if let Some(mut out) = child.stderr.take() {
            thread::spawn(move || {
                let mut text = String::new();
                let _ = out.read_to_string(&mut text);
                let _ = to.send(text);
            });
        }
        Self { child, lines, errors, seen: Vec::new() }
    }

    /// Waits for the next line on standard output.
    pub fn line(&mut self, limit: Duration) -> Option<String> {
        let line = self.lines.recv_timeout(limit).ok()?;
        self.seen.push(line.clone());
        Some(line)
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end; false when it is still running after `limit`.
    pub fn wait(&mut self, limit: Duration) -> bool {
        let start = Instant::now();
        while self.runs() {
            if start.elapsed() > limit {
                return false;
            }
            thread::sleep(Duration::from_millis(2));
        }
        true
    }

    /// SIGKILL: the process does nothing more. True when it was still running.
    pub fn kill(&mut self) -> bool {
        let ran = self.runs();
        // It fails only where the process is gone already.
        let _ = self.child.kill();
        ran
    }

    /// Asks it to end (SIGTERM).
    pub fn terminate(&self) {
        signal(&self.child, "TERM");
    }

    /// Everything that it printed. It must have been killed, or end by itself.
    #[must_use]
    pub fn finish(mut self) -> Called {
        let success = self.child.wait().is_ok_and(|status| status.success());
        let mut lines = std::mem::take(&mut self.seen);
        lines.extend(self.lines.iter());
        let errors = self.errors.recv().unwrap_or_default();
        Called { success, lines, errors }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn signal(child: &Child, name: &str) {
    let mut kill = Command::new("kill");
    kill.args([&format!("-{name}"), &child.id().to_string()]);
    let _ = kill.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
}

/// A running relay; killed when dropped.
#[derive(Debug)]
pub struct RelayProcess {
    running: Running,
    /// Its address, `ws://HOST:PORT`.
    pub url: String,
}

impl RelayProcess {
    /// Starts a relay and waits until it listens. What it logs is appended to `log`.
    ///
    /// # Errors
    /// A sentence, with the end of its log, when it does not listen in time.
    pub fn start(binaries: &Binaries, data: &Path, listen: &str, log: &Path) -> Result<Self, String> {
        let start = Instant::now();
        loop {
            // The address of a relay that was killed a moment ago may need another try.
            match Self::try_start(binaries, data, listen, log) {
                Err(words) if start.elapsed() > RELAY_MAX => {
                    let said = std::fs::read_to_string(log).unwrap_or_default();
                    let from = said.len().saturating_sub(2_000);
                    return Err(format!("{words}\n{}", said.get(from..).unwrap_or_default()));
                }
                Err(_) => thread::sleep(Duration::from_millis(100)),
                Ok(relay) => return Ok(relay),
            }
        }
    }

    fn try_start(binaries: &Binaries, data: &Path, listen: &str, log: &Path) -> Result<Self, String> {
        let errors = std::fs::OpenOptions::new().create(true).append(true).open(log);
        let errors = errors.map_err(|error| format!("{} cannot be written: {error}", log.display()))?;
        let mut command = Command::new(&binaries.relay);
        command.args(["serve", "--listen", listen, "--data"]).arg(data);
        unsettle(&mut command);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors);
        let child = command.spawn().map_err(|error| format!("the relay does not start: {error}"))?;
        let mut running = Running::of(child, Vec::new());
        let first = running.line(RELAY_MAX).ok_or("the relay ended before it listened")?;
        let url = first.strip_prefix("listening on ").filter(|url| url.starts_with("ws://"));
        let url = url.ok_or_else(|| format!("the relay's first line is `{first}`"))?.to_owned();
        Ok(Self { running, url })
    }

    /// HOST:PORT, to listen there again.
    #[must_use]
    pub fn address(&self) -> &str {
        self.url.strip_prefix("ws://").unwrap_or(&self.url)
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.running.kill();
        self.running.wait(RELAY_MAX);
    }

    /// Stops the process for a moment and lets it go on (SIGSTOP, SIGCONT).
    pub fn pause(&self, time: Duration) {
        signal(&self.running.child, "STOP");
        thread::sleep(time);
        signal(&self.running.child, "CONT");
    }

    /// SIGTERM, and its end.
    ///
    /// # Errors
    /// A sentence, when it does not end in time.
    pub fn stop(mut self) -> Result<(), String> {
        self.running.terminate();
        if self.running.wait(RELAY_MAX) { Ok(()) } else { Err("the relay does not stop".into()) }
    }
}
