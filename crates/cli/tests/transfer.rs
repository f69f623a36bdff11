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

/// (imported, skipped).
fn counts(row: &Value) -> (u64, u64) {
    (row["imported"].as_u64().unwrap(), row["skipped"].as_u64().unwrap())
}

#[test]
fn what_was_imported_is_exported() {
    let home = Home::new();
    let conversation = home.conversation("channel");
    let file = home.folder.path().join("lines.jsonl");
    std::fs::write(&file, LINES).unwrap();
    let file = file.to_str().unwrap();
    let row = home.json(&["import", &conversation, file]).row();
    assert_eq!(counts(&row), (3, 1));
    assert_eq!((row["source"].as_str(), &row["names"]), (Some("jsonl"), &json!(["p012", "p013"])));
    home.run(&["send", &conversation, "and now"]);

    let rows = home.json(&["messages", &conversation]).rows();
    let shown: Vec<(&str, &str)> =
        rows.iter().map(|row| (row["name"].as_str().unwrap(), row["state"].as_str().unwrap())).collect();
    assert_eq!(shown, [("p012", "imported"), ("p013", "imported"), ("p012", "imported"), ("Ana", "local")]);
    assert_eq!(rows[0]["time"].as_str(), Some("2016-06-01T10:44:14.000Z"));
    assert_eq!(rows[2]["time"].as_str(), Some("2016-06-01T10:44:15.250Z"));

    let out = exported(&home, "channel");
    assert_eq!(out.len(), 4);
    for field in ["t", "who", "text", "id", "author", "own", "state", "edits", "files", "reactions", "answers"] {
        assert!(fields(&out[0]).contains(&field), "{field}");
    }
    let said = |row: &Value| json!([row["t"], row["who"], row["text"], row["own"], row["state"]]);
    assert_eq!(said(&out[0]), json!([1_464_777_854, "p012", "sounds like a problem", false, "imported"]));
    assert_eq!(said(&out[2]), json!([1_464_777_855.25, "p012", "two\nlines", false, "imported"]));
    assert_eq!((out[3]["text"].as_str(), out[3]["own"].as_bool()), (Some("and now"), Some(true)));
    assert_eq!(out[3]["id"].as_str().map(str::len), Some(64));
}

#[test]
fn importing_twice_skips_what_is_here() {
    let home = Home::new();
    home.conversation("channel");
    let import = || counts(&home.run_with(&["--json", "import", "channel", "-"], LINES).row());
    assert_eq!(import(), (3, 1));
    assert_eq!(import(), (0, 4));
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
    assert_eq!(counts(&two.run_with(&["--json", "import", "copy", "-"], &text).row()), (3, 0));
    let said = |rows: Vec<Value>| rows.iter().map(|row| json!([row["t"], row["who"], row["text"]])).collect::<Vec<_>>();
    assert_eq!(said(exported(&two, "copy")), said(exported(&one, "channel")));
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

const CHAT: &str = "[25.03.21, 14:05:33] Crew: \u{200e}Messages and calls are end-to-end encrypted.\r\n\
    [25.03.21, 14:05:33] Crew: \u{200e}Ana created this group\r\n\
    [25.03.21, 14:06:01] Ana: the boats\nare in\r\n\
    [25.03.21, 14:06:30] Ben: \u{200e}<attached: 00000012-PHOTO-2021-03-25-14-06-30.jpg>\r\n\
    [25.03.21, 14:06:31] Ben: \u{200e}image omitted\r\n";

#[test]
fn a_chat_of_another_program_is_recognised_by_what_it_says() {
    let home = Home::new();
    home.conversation("crew");
    let row = home.run_with(&["--json", "import", "crew", "-"], CHAT).row();
    assert_eq!(counts(&row), (3, 2));
    assert_eq!((row["system"].as_u64(), row["omitted"].as_u64()), (Some(2), Some(1)));
    assert_eq!((row["source"].as_str(), &row["names"]), (Some("whatsapp"), &json!(["Ana", "Ben"])));
    let out = exported(&home, "crew");
    assert_eq!((out[0]["who"].as_str(), out[0]["text"].as_str()), (Some("Ana"), Some("the boats\nare in")));
    assert_eq!(out[0]["t"].as_u64(), Some(1_616_681_161));
    // Elsewhere it was another hour; the same lines are the same lines.
    let again = home.run_with(&["--json", "import", "crew", "-", "--zone-offset", "-03:30"], CHAT).row();
    assert_eq!(counts(&again), (0, 5));
    let elsewhere = Home::new();
    elsewhere.conversation("crew");
    elsewhere.run_with(&["import", "crew", "-", "--zone-offset", "-03:30"], CHAT);
    assert_eq!(exported(&elsewhere, "crew")[0]["t"].as_u64(), Some(1_616_681_161 + 12_600));
    let mut zoned = elsewhere.command();
    elsewhere.conversation("zoned");
    zoned.env("TZ", "Europe/Berlin").args(["--key-store", "file", "import", "zoned", "-"]);
    let words = crate::program::run(zoned, CHAT);
    assert_eq!(
        words.lines(),
        [
            "3 imported, 2 skipped (here already, or no messages).",
            "1 file did not come along; its name stands in the text.",
            "1 file was left out when the export was made."
        ]
    );
    assert_eq!(exported(&elsewhere, "zoned")[0]["t"].as_u64(), Some(1_616_681_161 - 3_600));
}

#[test]
fn dates_are_asked_for_and_names_mapped() {
    let home = Home::new();
    home.conversation("crew");
    let chat = "03/04/21, 14:05 - Ben: a\n05/06/21, 14:05 - Old Ana: b\n";
    let failed = home.run_with(&["--json", "import", "crew", "-"], chat);
    let error = failed.error();
    assert_eq!((failed.code, error["error"].as_str()), (1, Some("ambiguous-dates")));
    assert!(error["message"].as_str().unwrap().contains("03/04/21 is 2021-04-03 (dmy) or 2021-03-04 (mdy)"));
    assert!(error["hint"].as_str().unwrap().contains("--dates dmy"));
    assert_eq!(exported(&home, "crew").len(), 0);
    let nobody = home.run_with(&["--json", "import", "crew", "-", "--dates", "mdy", "--map", "Ben=Zoe"], chat);
    assert_eq!(nobody.error()["error"].as_str(), Some("unknown-person"));
    assert_eq!(exported(&home, "crew").len(), 0, "nothing was imported");
    let row = home.run_with(&["--json", "import", "crew", "-", "--dates", "mdy", "--me", "Old Ana"], chat).row();
    assert_eq!(counts(&row), (2, 0));
    assert_eq!(exported(&home, "crew")[0]["t"].as_u64(), Some(1_614_866_700));
    let said = |row: &Value| (row["who"].as_str().unwrap().to_owned(), row["own"].as_bool().unwrap());
    assert_eq!(
        exported(&home, "crew").iter().map(said).collect::<Vec<_>>(),
        [("Ben".into(), false), ("Ana".into(), true)]
    );
    let mapped = home.json(&["import", "crew", "--map", "Ben=Ana"]).row();
    assert_eq!(said(&exported(&home, "crew")[0]), ("Ana".into(), true), "also later");
    assert_eq!((mapped["name"].as_str(), mapped["account"].as_str().map(str::len)), (Some("Ben"), Some(64)));
}

#[test]
fn what_cannot_be_read_is_named_and_changes_nothing() {
    let home = Home::new();
    home.conversation("crew");
    let file = home.folder.path().join("file");
    for (bytes, code) in [
        (&b"hello"[..], "not-an-export"),
        (b"25/03/21, 14:05 - Ana: \xff", "not-text"),
        (b"PK\x03\x04", "archive"),
        (b"99/99/99, 14:05 - Ana: x", "dates"),
    ] {
        std::fs::write(&file, bytes).unwrap();
        let failed = home.json(&["import", "crew", file.to_str().unwrap()]);
        assert_eq!((failed.code, failed.error()["error"].as_str()), (1, Some(code)));
    }
    assert_eq!(home.json(&["import", "crew", home.folder.path().to_str().unwrap()]).error()["error"], "file");
    assert_eq!(exported(&home, "crew").len(), 0);
}

#[test]
fn a_page_is_written_whole_and_never_over_another_file() {
    let home = Home::new();
    home.conversation("crew");
    home.run(&["send", "crew", "<b>not bold</b>"]);
    let file = home.folder.path().join("crew.html");
    let file = file.to_str().unwrap();
    let row = home.json(&["export", "crew", "--html", file]).row();
    assert_eq!((row["file"].as_str(), row["messages"].as_u64()), (Some(file), Some(1)));
    let page = std::fs::read_to_string(file).unwrap();
    assert!(page.contains("&lt;b&gt;not bold&lt;/b&gt;") && page.ends_with("</html>\n"));
    let again = home.json(&["export", "crew", "--html", file]);
    assert_eq!((again.code, again.error()["error"].as_str()), (1, Some("file")));
    assert_eq!(home.json(&["export", "crew", "--html", "no/such/folder/x"]).error()["error"], "file");
    let left: Vec<_> = std::fs::read_dir(home.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().ends_with(".part")), "{left:?}");
}

#[test]
fn a_backup_is_a_profile_on_a_fresh_machine() {
    let home = Home::new();
    let conversation = home.conversation("crew");
    home.run(&["send", "crew", "the boats are in"]);
    let file = home.folder.path().join("ana.backup");
    let file = file.to_str().unwrap();
    let made = home.json(&["backup", file]).row();
    assert_eq!(
        (made["file"].as_str(), made["conversations"].as_u64()),
        (Some(file), Some(2)),
        "crew and the note to oneself"
    );
    assert_eq!(made["bytes"].as_u64(), Some(std::fs::metadata(file).unwrap().len()));
    let key = made["key"].as_str().unwrap();
    assert_eq!(home.json(&["backup", file]).error()["error"].as_str(), Some("file"), "never over another file");

    let fresh = Home::empty();
    for (key, code) in [("nonsense", "backup-key"), ("0W3G-E1R7-0W3G-E1R7-0W3G-E1R7-0Z1K", "wrong-key")] {
        let failed = fresh.run_with(&["--json", "restore", file], key);
        assert_eq!((failed.code, failed.error()["error"].as_str()), (1, Some(code)));
        assert_eq!(fresh.json(&["list"]).error()["error"].as_str(), Some("no-profile"));
    }
    let restored = fresh.run_with(&["--json", "restore", file], &format!("{}\n", key.to_lowercase())).row();
    assert_eq!(fields(&restored), ["account", "device"]);
    assert_eq!(fresh.texts(&conversation), ["the boats are in"]);
    fresh.run(&["send", "crew", "and out again"]);
    assert_eq!(fresh.texts(&conversation), ["the boats are in", "and out again"]);
    assert!(fresh.json(&["doctor"]).rows().iter().all(|row| row["ok"].as_bool() == Some(true)));
    let written_down = fresh.folder.path().join("key");
    std::fs::write(&written_down, key).unwrap();
    let again = fresh.json(&["restore", file, "--key-file", written_down.to_str().unwrap()]);
    assert_eq!(again.error()["error"].as_str(), Some("profile-exists"));
}
