//! Runs child processes with a time limit and hands over their lines as they come.
//!
//! Not responsible for what the lines mean: `counts.rs` reads them, `stage.rs` shows them.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// What a running child reports.
pub(crate) enum Event<'a> {
    /// A line on its standard output, without the line end.
    Out(&'a str),
    /// A line on its standard error, without the line end.
    Err(&'a str),
    /// Time passes (about once a second); the time since the start.
    Tick(Duration),
}

/// How a child ended.
pub(crate) enum End {
    /// By itself.
    Exit(ExitStatus),
    /// It was killed, with all that it had started, because its time was over.
    OutOfTime,
}

enum Line {
    Out(String),
    Err(String),
}

/// How long a pipe may stay open after the child is gone: something that it started holds it.
const PIPE_GRACE: Duration = Duration::from_secs(3);

/// Runs `command` to its end, at most `limit` long. Standard input is empty.
///
/// # Errors
/// A sentence for the user, if it cannot be started or waited for.
pub(crate) fn run(command: &mut Command, limit: Duration, on: &mut dyn FnMut(Event<'_>)) -> Result<End, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let start = Instant::now();
    let mut child = command.spawn().map_err(|e| format!("cannot start {name}: {e}"))?;
    let (sender, lines) = mpsc::channel();
    if let Some(pipe) = child.stdout.take() {
        read_lines(pipe, sender.clone(), Line::Out);
    }
    if let Some(pipe) = child.stderr.take() {
        read_lines(pipe, sender.clone(), Line::Err);
    }
    drop(sender);

    let mut gone: Option<(Instant, ExitStatus)> = None;
    let mut last_tick = start;
    loop {
        let closed = match lines.recv_timeout(Duration::from_millis(200)) {
            Ok(Line::Out(line)) => {
                on(Event::Out(&line));
                false
            }
            Ok(Line::Err(line)) => {
                on(Event::Err(&line));
                false
            }
            Err(mpsc::RecvTimeoutError::Timeout) => false,
            Err(mpsc::RecvTimeoutError::Disconnected) => true,
        };
        if last_tick.elapsed() >= Duration::from_secs(1) {
            last_tick = Instant::now();
            on(Event::Tick(start.elapsed()));
        }
        if gone.is_none() {
            let ended = child.try_wait().map_err(|e| format!("cannot wait for {name}: {e}"))?;
            gone = ended.map(|status| (Instant::now(), status));
        }
        match gone {
            Some((since, status)) if closed || since.elapsed() > PIPE_GRACE => return Ok(End::Exit(status)),
            Some(_) => {}
            None if start.elapsed() > limit => {
                kill_tree(&mut child);
                return Ok(End::OutOfTime);
            }
            // Both pipes are closed, the child still runs: do not spin.
            None if closed => thread::sleep(Duration::from_millis(20)),
            None => {}
        }
    }
}

fn read_lines(pipe: impl Read + Send + 'static, sender: mpsc::Sender<Line>, wrap: fn(String) -> Line) {
    thread::spawn(move || {
        let mut reader = BufReader::new(pipe);
        let mut bytes = Vec::new();
        // Not `lines()`: a byte that is no UTF-8 must not end the reading and block the child.
        while reader.read_until(b'\n', &mut bytes).is_ok_and(|n| n > 0) {
            let line = String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']).to_owned();
            if sender.send(wrap(line)).is_err() {
                return;
            }
            bytes.clear();
        }
    });
}

/// Asks a child to stop, as a service manager would; kills it if it has not after `grace`.
pub(crate) fn stop(child: &mut Child, grace: Duration) {
    let asked = cfg!(unix) && quiet("kill", &["-TERM", &child.id().to_string()]);
    let start = Instant::now();
    while asked && start.elapsed() < grace {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
    kill_tree(child);
}

/// Kills a child and, where the system tells who they are, everything that it started.
fn kill_tree(child: &mut Child) {
    for pid in descendants(child.id()) {
        quiet("kill", &["-KILL", &pid.to_string()]);
    }
    // Both fail only if the child is gone already, which is what is wanted.
    let _ = child.kill();
    let _ = child.wait();
}

fn quiet(program: &str, args: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The processes below `root`, read from `/proc`; empty on other systems.
fn descendants(root: u32) -> Vec<u32> {
    let mut parents: Vec<(u32, u32)> = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // `pid (name) state parent ...`, and the name may hold blanks and brackets.
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        if let Some(parent) = parent {
            parents.push((pid, parent));
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&above) = found.get(next) {
        found.extend(parents.iter().filter(|(_, parent)| *parent == above).map(|(pid, _)| *pid));
        next += 1;
    }
    found.remove(0);
    found
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn lines_and_status_arrive() {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let end =
            run(&mut shell("echo one; echo two >&2; exit 3"), Duration::from_secs(30), &mut |event| match event {
                Event::Out(line) => out.push(line.to_owned()),
                Event::Err(line) => err.push(line.to_owned()),
                Event::Tick(_) => {}
            });
        assert!(matches!(end, Ok(End::Exit(status)) if status.code() == Some(3)));
        assert_eq!((out, err), (vec!["one".to_owned()], vec!["two".to_owned()]));
    }

    #[test]
    fn a_child_that_hangs_is_killed_with_its_children() {
        let start = Instant::now();
        let mut grandchild = String::new();
        let end = run(&mut shell("sleep 120 & echo $!; wait"), Duration::from_millis(500), &mut |event| {
            if let Event::Out(line) = event {
                line.clone_into(&mut grandchild);
            }
        });
        assert!(matches!(end, Ok(End::OutOfTime)));
        assert!(start.elapsed() < Duration::from_secs(60));
        // A signal takes a moment to arrive on a busy machine.
        let mut stat = String::new();
        for _ in 0..100 {
            stat = std::fs::read_to_string(format!("/proc/{grandchild}/stat")).unwrap_or_default();
            if stat.is_empty() || stat.contains(") Z") {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("still alive: {stat}");
    }

    #[test]
    fn a_pipe_held_open_by_an_orphan_does_not_block() {
        let start = Instant::now();
        let end = run(&mut shell("sleep 20 & exit 0"), Duration::from_secs(60), &mut |_| {});
        assert!(matches!(end, Ok(End::Exit(status)) if status.success()));
        assert!(start.elapsed() < Duration::from_secs(15));
    }
}
