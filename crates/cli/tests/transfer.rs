//! Import and export.

use crate::program::{Home, fields};
use serde_json::{Value, json};

/// Names of conversation and file that a test uses.
const LINES: &str = concat!(
    "{\"t\": 1464777854, \"kind\": \"message\", \"who\": \"p012\", \"text\": \"sounds like a problem\"}\n",
    "{\"t\": 1464777854, \"kind\": \"message\", \"who\": \"p013\", \"text\": \"with sqlite\"}\n",
    "{\"t\": 1464777855.25, \"who\": \"p012\", \"text\": \"two\\nlines\"}\n",
    "{\"t\": 1464777856, \"kind\": \"leave\", \"who\": \"p012\"}\n",
);

fn exported(home: &Home, conversation: &str) -> Vec<Value> {
    home.run(&["export", conversation]).rows()
}

#[test]
fn what_was_imported_is_exported() {
    let home = Home::new();
    let conversation = home.conversation("channel");
    let file = home.folder.path().join("lines.jsonl");
    std::fs::write(&file, LINES).unwrap();
    let file = file.to_str().unwrap();
    let row = home.json(&["import", &conversation, file]).row();
    assert_eq!(row, json!({ "imported": 3, "skipped": 1 }));
    home.run(&["send", &conversation, "and now"]);

    let rows = home.json(&["messages", &conversation]).rows();
    let shown: Vec<(&str, &str)> =
        rows.iter().map(|row| (row["name"].as_str().unwrap(), row["state"].as_str().unwrap())).collect();
    assert_eq!(shown, [("p012", "imported"), ("p013", "imported"), ("p012", "imported"), ("Ana", "local")]);
    assert_eq!(rows[0]["time"].as_str(), Some("2016-06-01T10:44:14.000Z"));
    assert_eq!(rows[2]["time"].as_str(), Some("2016-06-01T10:44:15.250Z"));

    let out = exported(&home, "channel");
    assert_eq!(out.len(), 4);
    assert_eq!(fields(&out[0]), ["t", "text", "who"]);
    assert_eq!(out[0], json!({ "t": 1_464_777_854, "who": "p012", "text": "sounds like a problem" }));
    assert_eq!(out[2], json!({ "t": 1_464_777_855.25, "who": "p012", "text": "two\nlines" }));
    assert_eq!(out[3]["text"].as_str(), Some("and now"));
}

#[test]
fn importing_twice_skips_what_is_here() {
    let home = Home::new();
    home.conversation("channel");
    let import = || home.run_with(&["--json", "import", "channel", "-"], LINES).row();
    assert_eq!(import(), json!({ "imported": 3, "skipped": 1 }));
    assert_eq!(import(), json!({ "imported": 0, "skipped": 4 }));
    assert_eq!(exported(&home, "channel").len(), 3);
    let words = home.run_with(&["import", "channel", "-"], LINES);
    assert_eq!(words.lines(), ["0 imported, 4 skipped (here already, or no messages)."]);
}

#[test]
fn an_export_is_an_import_elsewhere() {
    let (one, two) = (Home::new(), Home::new());
    one.conversation("channel");
    two.conversation("copy");
    one.run_with(&["import", "channel", "-"], LINES);
    let text = one.run(&["export", "channel"]).out;
    assert_eq!(two.run_with(&["--json", "import", "copy", "-"], &text).row(), json!({ "imported": 3, "skipped": 0 }));
    assert_eq!(two.run(&["export", "copy"]).out, text);
}

#[test]
fn a_wrong_line_stops_before_anything_is_imported() {
    let home = Home::new();
    let conversation = home.conversation("channel");
    let failed = home.run_with(&["--json", "import", "channel", "-"], &format!("{LINES}nonsense\n"));
    assert_eq!((failed.code, failed.error()["error"].as_str()), (1, Some("file")));
    assert!(failed.error()["message"].as_str().unwrap().contains("line 5"));
    assert_eq!(home.texts(&conversation), [""; 0]);
    let absent = home.json(&["import", "channel", "no/such/file"]);
    assert_eq!((absent.code, absent.error()["error"].as_str()), (1, Some("file")));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let home = Home::new();
    home.conversation("channel");
    let lines: String = (0..3_000)
        .map(|n| format!("{{\"t\": {n}, \"who\": \"p\", \"text\": \"a line of some length, number {n}\"}}\n"))
        .collect();
    home.run_with(&["import", "channel", "-"], &lines);
    let mut command = home.command();
    command.args(["--key-store", "file", "export", "channel"]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Closed before a single line was read; 3,000 lines are more than a pipe holds.
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()), (Some(0), ""));
}
