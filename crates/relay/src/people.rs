//! People and conversations for `serve --dev`: made by the program `tombolo`, since a relay holds no keys and cannot read
//! or write a message. Their homes lie in the relay's data folder and go away with it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Attempts of a command that talks to the relay: faults on purpose may hit it.
const ATTEMPTS: usize = 4;

const CREW: &str = "Harbour crew";
const SAID: [(&str, &str); 6] = [
    ("Ann", "The night ferry is cancelled."),
    ("Bob", "Then we meet on Saturday. Who brings rope?"),
    ("Ann", "I have 20 metres."),
    ("Cem", "40 more from me."),
    ("Bob", "Fuel is paid until Friday."),
    ("Cem", "The boathouse key hangs behind the map."),
];

/// Somebody's home, and how to call the program for it.
struct Person<'a> {
    program: &'a Path,
    name: &'static str,
    home: PathBuf,
}

impl Person<'_> {
    fn command(&self) -> String {
        format!("{} --home {} --key-store file", self.program.display(), self.home.display())
    }

    /// Runs the program and gives back the first line that it prints, read as JSON.
    fn run(&self, arguments: &[&str]) -> Result<serde_json::Value, String> {
        let output = Command::new(self.program)
            .arg("--home")
            .arg(&self.home)
            .args(["--key-store", "file", "--json"])
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("{}: {error}", self.program.display()))?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr);
            return Err(format!("`tombolo {}` for {}: {}", arguments.join(" "), self.name, words.trim()));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.lines().next().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default())
    }

    fn sync(&self) -> Result<(), String> {
        let mut last = Ok(());
        for _ in 0..ATTEMPTS {
            last = self.run(&["sync", "--once"]).map(|_| ());
            if last.is_ok() {
                break;
            }
        }
        last
    }
}

fn text_of<'a>(value: &'a serde_json::Value, name: &str) -> Result<&'a str, String> {
    value[name].as_str().ok_or_else(|| format!("`tombolo` printed no {name}"))
}

/// The program `tombolo`: beside this one, else where the shell would find it.
pub(crate) fn program() -> Option<PathBuf> {
    let name = format!("tombolo{}", std::env::consts::EXE_SUFFIX);
    let beside = std::env::current_exe().ok()?.with_file_name(&name);
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::iter::once(beside)
        .chain(std::env::split_paths(&path).map(|folder| folder.join(&name)))
        .find(|path| path.is_file())
}

/// Makes three people with a group and a conversation of two on the relay at `url`, their homes in `folder`. Returns what
/// to tell the developer.
///
/// # Errors
/// Words about the first command that failed.
pub(crate) fn seed(program: &Path, folder: &Path, url: &str) -> Result<String, String> {
    let person = |name: &'static str| Person { program, name, home: folder.join(name.to_lowercase()) };
    let (ann, bob, cem) = (person("Ann"), person("Bob"), person("Cem"));
    let people = [&ann, &bob, &cem];
    for person in people {
        person.run(&["init", "--name", person.name, "--relay", url])?;
    }
    let crew = ann.run(&["new", CREW])?;
    let crew = text_of(&crew, "conversation")?;
    let link = ann.run(&["invite", "--conversation", crew, "--uses", "2"])?;
    let two = ann.run(&["invite"])?;
    let pair = text_of(&two, "conversation")?;
    ann.sync()?;
    for person in [&bob, &cem] {
        person.run(&["accept", text_of(&link, "link")?])?;
        person.sync()?;
    }
    bob.run(&["accept", text_of(&two, "link")?])?;
    bob.sync()?;
    for (name, text) in SAID {
        let Some(person) = people.iter().find(|person| person.name == name) else { continue };
        person.run(&["send", crew, text])?;
        person.sync()?;
    }
    bob.run(&["send", pair, "Lunch on Friday?"])?;
    for person in [&bob, &ann, &cem, &bob] {
        person.sync()?;
    }
    let mut words = format!(
        "three people with a group ({crew}, \"{CREW}\") and a conversation of Ann and Bob ({pair}); call them with"
    );
    for person in people {
        let _ = write!(words, "\n  {}   # {}", person.command(), person.name);
    }
    let _ = write!(words, "\nfor example\n  {} watch\n  {} send {crew} hello", bob.command(), ann.command());
    Ok(words)
}
