//! The binary as an operator meets it: commands, first lines, exit codes, signals.
#![cfg(unix)]

use crate::world::Device;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};
use tombolo_model::DeviceId;
use tombolo_proto::Fault;

fn relay(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tombolo-relay"));
    command.args(arguments).env_remove("TOMBOLO_LOG").stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = relay(arguments).output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn data(folder: &Path) -> &str {
    folder.to_str().unwrap()
}

/// A relay process; gone when dropped.
struct Running {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
    address: SocketAddr,
}

impl Running {
    fn start(arguments: &[&str]) -> Self {
        Self::of(relay(arguments))
    }

    fn of(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        out.read_line(&mut first).unwrap();
        let address = first.trim_end().strip_prefix("listening on ws://").unwrap_or_else(|| panic!("{first:?}"));
        Self { address: address.parse().unwrap(), child, out }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// The relay's key, from its second line.
    fn key(&mut self) -> DeviceId {
        self.line().strip_prefix("relay key ").unwrap().parse().unwrap()
    }

    fn signal(&self, name: &str) {
        let done = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(done.success());
    }

    fn wait(&mut self) -> (ExitStatus, String) {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                let mut said = String::new();
                self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
                return (status, said);
            }
            assert!(began.elapsed() < Duration::from_secs(10), "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Usually it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn an_operators_day() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("relay");
    let (code, out, _) = run(&["init", "--data", data(&folder), "--listen", "127.0.0.1:0", "--region", "moon"]);
    assert_eq!(code, 0);
    let key = out.lines().next().unwrap().strip_prefix("relay key ").unwrap().to_owned();
    let (code, out, _) = run(&["check-config", "--data", data(&folder)]);
    assert_eq!((code, out.contains("relay.toml is in order")), (0, true));

    for signal in ["-TERM", "-INT"] {
        let mut running = Running::start(&["serve", "--data", data(&folder)]);
        assert_eq!(running.line(), format!("relay key {key}"));
        let (code, out, _) = run(&["status", "--data", data(&folder), "--json"]);
        let status: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(code, 0);
        assert_eq!((&status["relay"], &status["region"]), (&key.clone().into(), &"moon".into()));
        assert_eq!(status["listening"], format!("ws://{}", running.address));
        // Reading the settings again ends nothing.
        running.signal("-HUP");
        std::thread::sleep(Duration::from_millis(100));
        let began = Instant::now();
        running.signal(signal);
        let (status, said) = running.wait();
        assert_eq!(status.code(), Some(0), "{said}");
        assert!(began.elapsed() < Duration::from_secs(5));
    }

    let (code, out, _) = run(&["moved", "--data", data(&folder), "--to", "wss://elsewhere.example"]);
    assert_eq!((code, out.contains("wss://elsewhere.example")), (0, true));
    let (_, out, _) = run(&["status", "--data", data(&folder)]);
    assert!(out.contains("moved to        wss://elsewhere.example"), "{out}");
    assert!(out.contains("running at      no"), "{out}");
}

#[test]
fn serving_works_without_init() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("new");
    let mut running = Running::start(&["serve", "--listen", "127.0.0.1:0", "--data", data(&folder)]);
    let key = running.line();
    // A second one on the same folder says why not.
    let (code, _, said) = run(&["serve", "--listen", "127.0.0.1:0", "--data", data(&folder)]);
    assert_eq!(code, 1);
    assert!(said.contains("error: another relay is using") && said.contains("hint: "), "{said}");
    // Killed without a word, it is back at the same address as the same relay.
    let listen = running.address.to_string();
    drop(running);
    let mut again = Running::start(&["serve", "--listen", &listen, "--data", data(&folder)]);
    assert_eq!(again.line(), key);
    again.signal("-TERM");
    assert_eq!(again.wait().0.code(), Some(0));
}

#[test]
fn mistakes_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let (code, out, said) = run(&["serve", "--data", data(&file.join("relay"))]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(said.contains("cannot be used") && said.contains("hint: choose a folder"), "{said}");

    let (code, _, said) = run(&["serve", "--listen", "0.0.0.0:0", "--data", data(dir.path())]);
    assert_eq!(code, 1);
    assert!(said.contains("0.0.0.0:0 can be reached from outside") && said.contains("--insecure-plain"), "{said}");

    std::fs::write(dir.path().join("relay.toml"), "[limits]\nhalf_opened = 3\n").unwrap();
    let (code, _, said) = run(&["check-config", "--data", data(dir.path())]);
    assert_eq!(code, 1);
    assert!(said.contains("half_opened") && said.contains("relay.toml"), "{said}");
    assert_eq!(run(&["status", "--data", data(&dir.path().join("none"))]).0, 1);

    for usage in [&["serve"][..], &["sing"], &["serve", "--data", "x", "--drop", "5"], &["moved", "--data", "x"]] {
        assert_eq!(run(usage).0, 2, "{usage:?}");
    }
}

#[test]
fn a_folder_that_may_not_be_written_is_told() {
    // A disk that takes nothing: every file of this process may have no byte.
    let dir = tempfile::tempdir().unwrap();
    let script = "ulimit -f 0; trap '' XFSZ; exec \"$0\" \"$@\"";
    let output = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_tombolo-relay"), "serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("error: ") && said.contains("hint: "), "{said}");
    assert!(output.stdout.is_empty());
}

#[tokio::test]
async fn a_disk_that_fills_up_ends_the_relay_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(run(&["init", "--data", data(dir.path()), "--listen", "127.0.0.1:0"]).0, 0);
    // No file may grow beyond 128 blocks of 512 or 1,024 bytes, depending on the shell: enough to start, no more.
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -f 128; trap '' XFSZ; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_tombolo-relay")]);
    command.args(["serve", "--data"]).arg(dir.path()).env_remove("TOMBOLO_LOG");
    let mut running = Running::of(command);
    let key = running.key();

    let mut ann = Device::new(1);
    let conversation = ann.found(1);
    ann.say(conversation, 20, 20_000);
    let mut line = ann.dial_at(&format!("ws://{}", running.address), key).await;
    ann.drive(&mut line, |_, _| false).await;
    assert!(matches!(&line.fault, Some(Fault::Farewell { code, .. }) if code == "local_store"), "{:?}", line.fault);
    let (status, said) = running.wait();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("disk") && said.contains("hint: "), "{said}");
    // Nothing was acknowledged that is not there.
    assert_eq!(ann.replica.log().peer(&key).unwrap().map_or(0, |peer| peer.acked), 0);

    // With room again, the same relay takes it all.
    let mut running = Running::start(&["serve", "--data", data(dir.path())]);
    assert_eq!(running.key(), key);
    let mut line = ann.dial_at(&format!("ws://{}", running.address), key).await;
    ann.drive(&mut line, |ann, line| ann.is_proven(line)).await;
    assert_eq!(line.fault, None);
}

fn ask(address: SocketAddr, path: &str) -> std::io::Result<String> {
    use std::io::Write as _;
    let mut socket = std::net::TcpStream::connect(address)?;
    write!(socket, "GET {path} HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    socket.read_to_string(&mut text)?;
    Ok(text)
}

#[test]
fn a_relay_for_developers_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().unwrap();
    let mut command =
        relay(&["serve", "--dev", "--listen", "127.0.0.1:0", "--delay", "5", "--drop", "1", "--cut", "60"]);
    command.env("TMPDIR", temporary.path());
    let mut running = Running::of(command);
    let address = running.address;
    running.key();
    // Whether or not the client was built: people, or how to make them.
    let words = running.line();
    if words.contains("three people") {
        let homes: Vec<String> = (0..3).map(|_| running.line()).collect();
        assert!(homes.iter().all(|call| call.contains(&*temporary.path().to_string_lossy())), "{homes:?}");
    } else {
        assert!(words.starts_with("no people were made up"), "{words}");
        running.line();
        assert!(running.line().contains(&format!("init --name Ann --relay ws://{address}")));
    }
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 1);
    assert!(ask(address, "/health").unwrap().contains("alive"));
    running.signal("-TERM");
    assert_eq!(running.wait().0.code(), Some(0));
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
    // Never for others.
    assert_eq!(run(&["serve", "--dev", "--listen", "0.0.0.0:0"]).0, 1);
}
