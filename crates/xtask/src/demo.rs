//! The main job, shown with the real binaries: a relay, two people, offline on both sides, proven convergence.
//!
//! `cargo xtask run` and `cargo xtask demo` tell it to a person; `cargo xtask test` runs it as its last stage and counts
//! what it proves. Processes and folders are in `demo/world.rs`. Ends with an error if any of its claims is not true.

mod world;

use std::fmt::Write as _;

use serde_json::Value;

use crate::place::Place;
use crate::term::Paint;
use crate::{setup, suite};
use world::{Person, Relay, World};

const ALICE_WRITES: [&str; 3] =
    ["The night ferry is cancelled.", "I have the spare key for the boathouse.", "Can someone bring rope tomorrow?"];
const BOB_WRITES: [&str; 3] = [
    "Fuel is paid until Friday.",
    "Two guests more than planned on Saturday.",
    "Rope: I have 40 metres, will bring it.",
];

/// Builds the two binaries and tells the story on standard output.
///
/// # Errors
/// Which step failed, or which claim is not true.
pub(crate) fn run(place: &Place, paint: Paint, release: bool) -> Result<(), String> {
    setup::ensure(paint)?;
    if let Some(warning) = place.check_disk()? {
        println!("{} {warning}", paint.bold("warning:"));
    }
    println!("{}", paint.faint(&format!("building tombolo and tombolo-relay in {}", place.target.display())));
    let mut cargo = place.cargo();
    // Only what the story needs: the first build after cloning is the longest wait there is.
    cargo.args(["build", "--locked", "-p", "tombolo-cli", "-p", "tombolo-relay", "--bins"]);
    if release {
        cargo.arg("--release");
    }
    suite::finish(cargo)?;
    tell(place, release, paint, &mut |line| println!("{line}")).map(|_| ())
}

/// Tells the story with binaries that are built already. Returns how many claims were checked.
///
/// # Errors
/// Which step failed, or which claim is not true.
pub(crate) fn tell(place: &Place, release: bool, paint: Paint, out: &mut dyn FnMut(&str)) -> Result<u64, String> {
    let mut world = World::new(place, release)?;
    let mut story = Story { paint, out, step: 0, claims: 0 };
    let told = play(&mut world, &mut story);
    let claims = story.claims;
    // Also after a failure: what the relay said is often the reason.
    told.map_err(|text| format!("{text}{}", world.last_words()))?;
    Ok(claims)
}

struct Story<'a> {
    paint: Paint,
    out: &'a mut dyn FnMut(&str),
    step: u32,
    claims: u64,
}

impl Story<'_> {
    fn step(&mut self, text: &str) {
        self.step += 1;
        (self.out)("");
        (self.out)(&self.paint.bold(&format!("{}. {text}", self.step)));
    }

    fn command(&mut self, text: &str) {
        (self.out)(&format!("   {} {}", self.paint.faint("$"), self.paint.command(text)));
    }

    fn line(&mut self, text: &str) {
        (self.out)(&format!("     {text}"));
    }

    /// States something and stops the story if it is not so.
    fn claim(&mut self, holds: bool, text: &str) -> Result<(), String> {
        if !holds {
            return Err(format!("not true: {text}"));
        }
        self.claims += 1;
        (self.out)(&format!("   {} {text}", self.paint.good("->")));
        Ok(())
    }
}

fn play(world: &mut World, story: &mut Story<'_>) -> Result<(), String> {
    (story.out)("Two people write while they are cut off from each other. They meet again, and both can prove");
    (story.out)("that they hold the same history: nothing is lost, and the order is the same for both.");

    story.step("A relay starts. It keeps and passes on what people write; it cannot read it.");
    let mut relay = start_relay(world, story, "127.0.0.1:0")?;
    let url = relay.url.clone();

    story.step("Alice and Bob each make a profile. A device's own key never leaves it.");
    let alice = world.person("alice", "Alice");
    let bob = world.person("bob", "Bob");
    for person in [&alice, &bob] {
        call(story, person, &["init", "--name", person.name, "--relay", &url])?;
    }

    story.step("Alice starts a conversation and invites Bob.");
    let made = call(story, &alice, &["new", "Harbour crew"])?;
    let conversation = field(&made, "conversation")?;
    let invited = call(story, &alice, &["invite", "--conversation", &conversation])?;
    let link = field(&invited, "link")?;
    story.line(&shorten(&link, 72));
    sync(story, &alice)?;

    story.step("Bob accepts the link. Both exchange once with the relay.");
    call(story, &bob, &["accept", &link])?;
    for person in [&bob, &alice, &bob] {
        sync(story, person)?;
    }

    story.step("The relay is gone: both are offline. Each writes three messages, and each is on disk at once.");
    relay.stop();
    // In turns, so that the order that both will see is no accident of who came first.
    for (by_alice, by_bob) in ALICE_WRITES.into_iter().zip(BOB_WRITES) {
        call(story, &alice, &["send", &conversation, by_alice])?;
        call(story, &bob, &["send", &conversation, by_bob])?;
    }

    story.step("Each sees only the own messages, and the digests of their histories differ.");
    for (person, own) in [(&alice, ALICE_WRITES), (&bob, BOB_WRITES)] {
        let seen = show_messages(story, person, &conversation)?;
        story.claim(texts(&seen) == own, &format!("{} has exactly the own three messages", person.name))?;
    }
    let (a, b) = (digest(story, &alice, &conversation)?, digest(story, &bob, &conversation)?);
    story.claim(a.root != b.root, "the digests differ: the two histories have parted")?;

    story.step("The relay is back at the same address, with what it had. Both exchange again.");
    let address = url.trim_start_matches("ws://").to_owned();
    let _relay = start_relay(world, story, &address)?;
    sync(story, &alice)?;
    let bob_synced = sync(story, &bob)?;
    let alice_synced = sync(story, &alice)?;

    story.step("Both hold the same history, in the same order, and can prove it.");
    let (a, b) = (digest(story, &alice, &conversation)?, digest(story, &bob, &conversation)?);
    story.claim(a.root == b.root, "the digests are equal")?;
    story.claim(a.ops == b.ops, &format!("both count {} ops", a.ops))?;
    let seen = show_messages(story, &alice, &conversation)?;
    let seen_by_bob = messages(&bob, &conversation)?;
    story.claim(
        ids(&seen) == ids(&seen_by_bob) && texts(&seen) == texts(&seen_by_bob),
        "Bob sees the same messages in the same order",
    )?;
    let mut all = texts(&seen);
    all.sort_unstable();
    let mut written: Vec<&str> = ALICE_WRITES.into_iter().chain(BOB_WRITES).collect();
    written.sort_unstable();
    story.claim(all == written, "all six messages are there, each once")?;
    for (person, synced) in [(&alice, &alice_synced), (&bob, &bob_synced)] {
        let proven = synced.last().is_some_and(|row| row["proven"] == true);
        story.claim(proven, &format!("{}'s last exchange ended with a proof of completeness", person.name))?;
    }
    (story.out)("");
    Ok(())
}

fn start_relay(world: &mut World, story: &mut Story<'_>, listen: &str) -> Result<Relay, String> {
    story.command(&format!("tombolo-relay serve --listen {listen} --data relay"));
    let relay = world.relay(listen)?;
    story.line(&relay.first_line);
    Ok(relay)
}

/// Shows and runs one command of a person.
fn call(story: &mut Story<'_>, person: &Person, args: &[&str]) -> Result<Vec<Value>, String> {
    let mut shown = format!("tombolo --home {}", person.folder);
    for arg in args {
        let arg = shorten(arg, 44);
        let _ = if arg.contains(' ') { write!(shown, " \"{arg}\"") } else { write!(shown, " {arg}") };
    }
    story.command(&shown);
    person.call(args)
}

fn sync(story: &mut Story<'_>, person: &Person) -> Result<Vec<Value>, String> {
    let rows = call(story, person, &["sync", "--once"])?;
    if let Some(row) = rows.last() {
        let proven = if row["proven"] == true { "complete, proven" } else { "not proven complete yet" };
        story.line(&format!(
            "{}: {} ops in, {} out, {} bytes in, {} out: {proven}",
            person.name, row["ops_in"], row["ops_out"], row["bytes_in"], row["bytes_out"]
        ));
    }
    Ok(rows)
}

fn messages(person: &Person, conversation: &str) -> Result<Vec<Value>, String> {
    person.call(&["messages", conversation])
}

fn show_messages(story: &mut Story<'_>, person: &Person, conversation: &str) -> Result<Vec<Value>, String> {
    let rows = call(story, person, &["messages", conversation])?;
    for row in &rows {
        let (name, text) = (row["name"].as_str().unwrap_or("?"), row["text"].as_str().unwrap_or(""));
        story.line(&format!("{name:6} {text}"));
    }
    Ok(rows)
}

fn texts(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["text"].as_str().unwrap_or("")).collect()
}

fn ids(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["id"].as_str().unwrap_or("")).collect()
}

struct Digest {
    root: String,
    ops: u64,
}

fn digest(story: &mut Story<'_>, person: &Person, conversation: &str) -> Result<Digest, String> {
    let rows = call(story, person, &["digest", conversation])?;
    let root = field(&rows, "digest")?;
    let ops = rows.last().and_then(|row| row["ops"].as_u64()).ok_or("`tombolo digest` printed no number of ops")?;
    story.line(&format!("{:6} {root}  {ops} ops", person.name));
    Ok(Digest { root, ops })
}

fn field(rows: &[Value], name: &str) -> Result<String, String> {
    let value = rows.iter().find_map(|row| row[name].as_str()).filter(|text| !text.is_empty());
    value.map(str::to_owned).ok_or_else(|| format!("the answer has no field \"{name}\": {rows:?}"))
}

fn shorten(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let start: String = text.chars().take(width - 3).collect();
    format!("{start}...")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_false_claim_stops_the_story() {
        let mut lines = Vec::new();
        let mut out = |line: &str| lines.push(line.to_owned());
        let mut story = Story { paint: Paint::plain(), out: &mut out, step: 0, claims: 0 };
        assert_eq!(story.claim(true, "one"), Ok(()));
        assert_eq!(story.claim(false, "two"), Err("not true: two".to_owned()));
        assert_eq!(story.claims, 1);
        assert_eq!(lines, ["   -> one"]);
    }

    #[test]
    fn fields_must_be_there() {
        let rows = [json!({ "link": "tombolo:x" })];
        assert_eq!(field(&rows, "link").as_deref(), Ok("tombolo:x"));
        assert!(field(&rows, "conversation").is_err());
    }

    #[test]
    fn long_links_are_shortened() {
        assert_eq!(shorten("short", 10), "short");
        assert_eq!(shorten("abcdefghijklmnop", 10), "abcdefg...");
    }
}
