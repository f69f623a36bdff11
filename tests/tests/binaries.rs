//! The real programs on loopback, with what real people wrote: two devices that take turns being offline, a relay that
//! restarts and one that comes back from a copy, devices that meet without any relay.
//!
//! The text is the recorded channel in the folder `TOMBOLO_DATA`; without it, made-up text of the same amount.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use suite::binaries::{Binaries, Person, RelayProcess, Running};

/// Messages that go through the programs.
const MESSAGES: usize = 2_400;
/// Of them, brought in by `import`; the others are sent.
const IMPORTED: usize = 600;
/// Messages that a device writes before it is the other's turn.
const TURN: usize = 60;

/// What was said, by whom, when.
fn channel() -> Vec<(u64, String, String)> {
    let folder = std::env::var_os("TOMBOLO_DATA").filter(|folder| !folder.is_empty());
    let recorded = folder.map(|folder| Path::new(&folder).join("channel-2016.jsonl.gz")).filter(|file| file.exists());
    let Some(file) = recorded else {
        println!(
            "left out: the recorded channel (TOMBOLO_DATA names no folder with it); {MESSAGES} made-up messages instead"
        );
        let said = |n: usize| format!("number {n} {}", "word ".repeat(1 + n * 7 % 23));
        return (0..MESSAGES).map(|n| (1_464_000_000 + n as u64, format!("p{}", n % 17), said(n))).collect();
    };
    let output = Command::new("gzip").arg("-dc").arg(&file).output().unwrap();
    assert!(output.status.success(), "gzip cannot read {}", file.display());
    let events = String::from_utf8(output.stdout).unwrap();
    let rows = events.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let said = rows.filter(|row| row["kind"] == "message");
    let whole = said.map(|row| {
        let text = row["text"].as_str().unwrap().replace(['\n', '\r'], " ");
        (row["t"].as_u64().unwrap(), row["who"].as_str().unwrap().to_owned(), text)
    });
    let found: Vec<_> = whole.filter(|(.., text)| !text.trim().is_empty()).take(MESSAGES).collect();
    println!("{} messages of {}", found.len(), file.display());
    found
}

fn proven(person: &Person, args: &[&str]) -> Value {
    let rows = person.call(args).unwrap();
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(rows[0]["proven"], true, "{rows:?}");
    rows[0].clone()
}

fn digest(person: &Person, conversation: &str) -> (String, u64) {
    let rows = person.call(&["digest", conversation]).unwrap();
    (rows[0]["digest"].as_str().unwrap().to_owned(), rows[0]["ops"].as_u64().unwrap())
}

/// Ids and texts as they are shown.
fn shown(person: &Person, conversation: &str) -> Vec<(String, String)> {
    let rows = person.call(&["messages", conversation, "--limit", "100000"]).unwrap();
    let text = |row: &Value, field: &str| row[field].as_str().unwrap().to_owned();
    rows.iter().map(|row| (text(row, "id"), text(row, "text"))).collect()
}

fn same(people: &[Person; 2], conversation: &str) -> Vec<(String, String)> {
    assert_eq!(digest(&people[0], conversation), digest(&people[1], conversation));
    let (one, two) = (shown(&people[0], conversation), shown(&people[1], conversation));
    assert!(one == two, "the same messages in the same order");
    one
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            std::fs::copy(from, to).unwrap();
        }
    }
}

/// Ops that the relay holds, notes to oneself left out.
fn ops_of_relay(data: &Path) -> u64 {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let db = rusqlite::Connection::open_with_flags(data.join("relay.db"), flags).unwrap();
    db.query_row("SELECT sum(ops) FROM conversation WHERE kind <> 2", [], |row| row.get::<_, i64>(0)).unwrap() as u64
}

#[test]
fn a_channel_through_the_programs() {
    let said = channel();
    assert!(said.len() >= 2_000, "{} messages", said.len());
    let binaries = Binaries::find().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (data, log) = (folder.path().join("relay"), folder.path().join("relay.log"));
    let relay = RelayProcess::start(&binaries, &data, "127.0.0.1:0", &log).unwrap();
    let address = relay.address().to_owned();
    let people = [Person::new(&binaries, folder.path().join("ann")), Person::new(&binaries, folder.path().join("bob"))];
    for (person, name) in people.iter().zip(["Ann", "Bob"]) {
        person.call(&["init", "--name", name, "--relay", &relay.url]).unwrap();
    }
    let conversation = people[0].text(&["new", "The channel"], "conversation").unwrap();
    let link = people[0].text(&["invite", "--conversation", &conversation], "link").unwrap();
    proven(&people[0], &["sync"]);
    people[1].call(&["accept", &link]).unwrap();
    proven(&people[1], &["sync"]);

    // Bob brings the beginning, with its times and names.
    let (old, new) = said.split_at(IMPORTED);
    let file = folder.path().join("old.jsonl");
    let line = |(t, who, text): &(u64, String, String)| json!({ "t": t, "who": who, "text": text }).to_string() + "\n";
    std::fs::write(&file, old.iter().map(line).collect::<String>()).unwrap();
    let done = people[1].call(&["import", &conversation, file.to_str().unwrap()]).unwrap();
    let brought = done[0]["imported"].as_u64().unwrap();
    assert_eq!(brought + done[0]["skipped"].as_u64().unwrap(), IMPORTED as u64);
    let again = people[1].call(&["import", &conversation, file.to_str().unwrap()]).unwrap();
    assert_eq!((again[0]["imported"].as_u64(), again[0]["skipped"].as_u64()), (Some(0), Some(IMPORTED as u64)));

    // They take turns: one writes while the other is away, and only some turns end with an exchange.
    let mut sent = BTreeMap::new();
    for (turn, part) in new.chunks(TURN).enumerate() {
        let person = &people[turn % 2];
        let input: String = part.iter().map(|(.., text)| format!("{text}\n")).collect();
        let rows = person.call_with(&["send", &conversation, "-"], &input).unwrap();
        assert_eq!(rows.len(), part.len());
        for (row, (.., text)) in rows.iter().zip(part) {
            sent.insert(row["id"].as_str().unwrap().to_owned(), text.clone());
        }
        if turn % 3 != 1 {
            proven(person, &["sync"]);
        }
    }
    assert_eq!(sent.len(), new.len());
    for person in [&people[0], &people[1], &people[0]] {
        proven(person, &["sync"]);
    }
    let all = same(&people, &conversation);
    assert_eq!(all.len() as u64, brought + new.len() as u64);
    let by_id: BTreeMap<&String, &String> = all.iter().map(|(id, text)| (id, text)).collect();
    assert!(sent.iter().all(|(id, text)| by_id.get(id) == Some(&text)), "every word as it was sent");
    let exported = people[0].call(&["export", &conversation]).unwrap();
    assert_eq!(exported.len(), all.len());
    let (_, ops) = digest(&people[0], &conversation);
    println!("{} messages, {ops} ops, through {} turns", all.len(), new.len().div_ceil(TURN));

    // The relay restarts on the same data: nothing is sent again.
    relay.stop().unwrap();
    assert_eq!(ops_of_relay(&data), ops);
    let relay = RelayProcess::start(&binaries, &data, &address, &log).unwrap();
    for person in &people {
        let report = proven(person, &["sync"]);
        assert_eq!((report["ops_in"].as_u64(), report["ops_out"].as_u64()), (Some(0), Some(0)), "{report}");
    }

    // It comes back from a copy that misses what came later: both fill it again.
    relay.stop().unwrap();
    copy(&data, &folder.path().join("copy"));
    let relay = RelayProcess::start(&binaries, &data, &address, &log).unwrap();
    for person in [&people[0], &people[1], &people[0]] {
        let lines: String = (0..50).map(|n| format!("after the copy {n}\n")).collect();
        person.call_with(&["send", &conversation, "-"], &lines).unwrap();
        proven(person, &["sync"]);
    }
    relay.stop().unwrap();
    std::fs::remove_dir_all(&data).unwrap();
    copy(&folder.path().join("copy"), &data);
    assert_eq!(ops_of_relay(&data), ops);
    let relay = RelayProcess::start(&binaries, &data, &address, &log).unwrap();
    people[1].call(&["send", &conversation, "who is there?"]).unwrap();
    for person in [&people[1], &people[0], &people[1]] {
        proven(person, &["sync"]);
    }
    assert_eq!(same(&people, &conversation).len(), all.len() + 151);
    relay.stop().unwrap();
    assert_eq!(ops_of_relay(&data), digest(&people[0], &conversation).1);

    // Without any relay: one listens, the other comes.
    people[0].call(&["send", &conversation, "no relay any more"]).unwrap();
    people[1].call(&["send", &conversation, "none here either"]).unwrap();
    let listener = people[0].command(&["listen", "--addr", "127.0.0.1:0"]).spawn().unwrap();
    let mut listener = Running::of(listener, Vec::new());
    let first = listener.line(Duration::from_secs(30)).expect("it says where it listens");
    let at = serde_json::from_str::<Value>(&first).unwrap()["listening"].as_str().unwrap().to_owned();
    assert!(at.starts_with("127.0.0.1:"), "{at}");
    let report = proven(&people[1], &["sync", "--peer", &at, "--once"]);
    assert!(report["ops_in"].as_u64() >= Some(1) && report["ops_out"].as_u64() >= Some(1), "{report}");
    listener.terminate();
    assert!(listener.wait(Duration::from_secs(20)), "`listen` ends when it is asked to");
    assert!(listener.finish().success);
    assert_eq!(same(&people, &conversation).len(), all.len() + 153);
    for person in &people {
        assert!(person.call(&["doctor"]).unwrap().iter().all(|finding| finding["ok"] == true));
    }
}

#[test]
fn failures_have_a_code_and_a_hint() {
    let binaries = Binaries::find().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let person = Person::new(&binaries, folder.path().join("ann"));
    let called = person.run(&["list"], "").unwrap();
    assert!(!called.success && !called.errors.is_empty(), "no profile: {called:?}");
    person.call(&["init", "--name", "Ann", "--relay", "ws://127.0.0.1:9"]).unwrap();
    let called = person.run(&["init", "--name", "Ann"], "").unwrap();
    assert!(!called.success && called.errors.contains("profile"), "{called:?}");
    let called = person.run(&["send", "nothing", "text"], "").unwrap();
    assert!(!called.success && called.lines.is_empty(), "{called:?}");
    let conversation = person.text(&["new", "Alone"], "conversation").unwrap();
    assert_eq!(person.call(&["send", &conversation, "offline"]).unwrap().len(), 1);
    let called = person.run(&["sync", "--once"], "").unwrap();
    assert!(!called.success && !called.errors.is_empty(), "no relay there: {called:?}");
    assert_eq!(person.call(&["messages", &conversation]).unwrap().len(), 1, "and nothing is lost");
}
