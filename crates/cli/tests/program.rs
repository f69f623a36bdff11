//! Running the program in a home of its own.

use serde_json::Value;
use std::io::Write;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// What a run came to.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Run {
    /// The lines of standard output as JSON.
    pub fn rows(&self) -> Vec<Value> {
        assert_eq!(self.code, 0, "{self:?}");
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The only line of standard output as JSON.
    pub fn row(&self) -> Value {
        let rows = self.rows();
        assert_eq!(rows.len(), 1, "{self:?}");
        rows.into_iter().next().unwrap()
    }

    pub fn lines(&self) -> Vec<&str> {
        assert_eq!(self.code, 0, "{self:?}");
        self.out.lines().collect()
    }

    /// The error, as `--json` tells it.
    pub fn error(&self) -> Value {
        assert_ne!(self.code, 0, "{self:?}");
        assert_eq!(self.out, "", "an error is no result");
        let mut lines = self.err.lines();
        let error = serde_json::from_str(lines.next().unwrap()).unwrap();
        assert_eq!(lines.next(), None, "{self:?}");
        error
    }
}

pub struct Home {
    pub folder: TempDir,
}

impl Home {
    /// A folder without a profile.
    pub fn empty() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// With a profile.
    pub fn new() -> Self {
        let home = Self::empty();
        let made = home.json(&["init", "--name", "Ana"]).row();
        assert_eq!(made["account"].as_str().unwrap().len(), 64);
        assert_eq!(made["device"].as_str().unwrap().len(), 64);
        home
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tombolo"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("TOMBOLO_") {
                command.env_remove(name);
            }
        }
        command.env("TZ", "UTC").arg("--home").arg(self.folder.path().join("home"));
        command
    }

    pub fn run_with(&self, args: &[&str], input: &str) -> Run {
        let mut command = self.command();
        command.args(["--key-store", "file"]).args(args);
        run(command, input)
    }

    pub fn run(&self, args: &[&str]) -> Run {
        self.run_with(args, "")
    }

    pub fn json(&self, args: &[&str]) -> Run {
        let mut all = vec!["--json"];
        all.extend(args);
        self.run(&all)
    }

    /// A new conversation; its id.
    pub fn conversation(&self, title: &str) -> String {
        self.json(&["new", title]).row()["conversation"].as_str().unwrap().to_owned()
    }

    /// Texts of the newest messages, oldest first.
    pub fn texts(&self, conversation: &str) -> Vec<String> {
        let rows = self.json(&["messages", conversation, "--limit", "1000"]).rows();
        rows.iter().map(|row| row["text"].as_str().unwrap().to_owned()).collect()
    }
}

pub fn run(mut command: Command, input: &str) -> Run {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let input = input.to_owned();
    // The program may end without reading everything.
    let writer = std::thread::spawn(move || drop(pipe.write_all(input.as_bytes())));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    Run {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The names of the fields of an object.
pub fn fields(row: &Value) -> Vec<&str> {
    row.as_object().unwrap().keys().map(String::as_str).collect()
}
