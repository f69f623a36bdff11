//! Two programs, one home: while `watch` or `listen` holds the profile, other commands run inside it.
//!
//! The holder listens on a Unix socket in the home (a folder that only its owner may enter). A command sends its
//! arguments as one line of JSON and gets back what it would have printed and how it ended. Commands that read standard
//! input or files of messages, or that hold the profile themselves, are not passed on.
//!
//! Not here: what commands do (`commands.rs`), the lock (the client).

use crate::args::{Cli, Command, Global};
use crate::door::{self, Door};
use crate::failure::Failure;
use crate::out::Out;
use clap::Parser as _;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

/// **Bytes** of one request; longer texts go when nothing else holds the profile.
const REQUEST_BYTES_MAX: u64 = 256 * 1024;

#[derive(Serialize, Deserialize)]
struct Request {
    args: Vec<String>,
    /// The folder that paths are seen from.
    #[serde(default)]
    folder: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Answer {
    out: String,
    remarks: String,
    failed: Option<[String; 3]>,
    usage: Option<String>,
    found: bool,
}

fn socket(home: &Path) -> PathBuf {
    home.join("door")
}

/// Whether a command can run in another process than the one that it was typed into.
fn passes(command: &Command) -> bool {
    match command {
        Command::Send { text, file, .. } => text != &["-"] || !file.is_empty(),
        Command::Files { .. } | Command::Fetch { .. } | Command::Save { .. } => true,
        Command::Invite { .. } | Command::Invites { .. } | Command::Accept { .. } | Command::New { .. } => true,
        Command::List | Command::Messages { .. } | Command::Digest { .. } => true,
        // A file is the caller's.
        Command::Export { html, .. } => html.is_none(),
        Command::Sync { .. } | Command::Retry | Command::Search(_) | Command::Members { .. } => true,
        Command::Talk(_) | Command::Reading(_) | Command::Storage(_) => true,
        Command::Init { .. } | Command::Import(_) | Command::Doctor { .. } => false,
        Command::Backup { .. } | Command::Restore { .. } => false,
        Command::Watch { .. } | Command::Listen { .. } | Command::Web { .. } => false,
    }
}

/// Runs the command in the process that holds the profile; `None` when there is none or the command cannot be passed on.
pub(crate) async fn pass_on(cli: &Cli, out: &Out) -> Option<Result<(), Failure>> {
    if !passes(&cli.command) {
        return None;
    }
    let home = door::home(&cli.global).ok()?;
    let stream = UnixStream::connect(socket(&home)).await.ok()?;
    let mut args: Vec<String> = std::env::args_os().map(|arg| arg.into_string().ok()).collect::<Option<_>>()?;
    if cli.global.json && !args.iter().any(|arg| arg == "--json") {
        args.push("--json".into());
    }
    let folder = std::env::current_dir().ok()?;
    Some(ask(stream, Request { args, folder }, out).await)
}

async fn ask(mut stream: UnixStream, request: Request, out: &Out) -> Result<(), Failure> {
    let lost = |_| {
        let hint = "`tombolo messages` shows whether it was done";
        Failure::new("in-use", "the program that holds this home did not answer to the end", hint)
    };
    let mut line = serde_json::to_vec(&request).map_err(std::io::Error::from)?;
    line.push(b'\n');
    stream.write_all(&line).await.map_err(lost)?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.map_err(lost)?;
    let answer: Answer = serde_json::from_str(&text).map_err(|error| lost(error.into()))?;
    out.raw(&answer.out)?;
    for remark in answer.remarks.lines() {
        out.remark(remark);
    }
    match (answer.failed, answer.usage, answer.found) {
        (Some([code, message, hint]), ..) => Err(Failure::Failed { code, message, hint }),
        (None, Some(usage), _) => Err(Failure::Usage(usage)),
        (None, None, true) => Err(Failure::Found),
        (None, None, false) => Ok(()),
    }
}

/// Serves other commands until it is dropped.
#[derive(Debug)]
pub(crate) struct Sharing {
    path: PathBuf,
    task: JoinHandle<()>,
}

impl Drop for Sharing {
    fn drop(&mut self) {
        self.task.abort();
        // A socket that is left lying refuses connections, and the next holder removes it.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Starts to serve; `None` where the system does not let us, which only means that other commands must wait.
pub(crate) fn serve(door: &Door, global: &Global) -> Option<Sharing> {
    let path = socket(&door::home(global).ok()?);
    // This process holds the lock of the home: whatever lies here is left over.
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).ok()?;
    let door = door.clone();
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(door.clone(), stream));
        }
    });
    Some(Sharing { path, task })
}

async fn answer(door: Door, stream: UnixStream) {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    if (&mut stream).take(REQUEST_BYTES_MAX).read_line(&mut line).await.is_err() {
        return;
    }
    let Ok(request) = serde_json::from_str::<Request>(&line) else { return };
    let out = Out::buffered(request.args.iter().any(|arg| arg == "--json"));
    let result = match Cli::try_parse_from(&request.args) {
        Ok(mut cli) if passes(&cli.command) => {
            cli.command.seen_from(&request.folder);
            crate::commands::with(&door, cli.command, &out).await
        }
        Ok(_) => Err(Failure::Usage("this command cannot be passed on".into())),
        Err(error) => Err(Failure::Usage(error.to_string())),
    };
    let (text, remarks) = out.taken();
    let mut answer = Answer { out: text, remarks, failed: None, usage: None, found: false };
    match result {
        Ok(()) | Err(Failure::Closed) => {}
        Err(Failure::Failed { code, message, hint }) => answer.failed = Some([code, message, hint]),
        Err(Failure::Usage(words)) => answer.usage = Some(words),
        Err(Failure::Found) => answer.found = true,
    }
    if let Ok(bytes) = serde_json::to_vec(&answer) {
        // If the caller is gone, nobody can be told.
        let _ = stream.get_mut().write_all(&bytes).await;
    }
}
