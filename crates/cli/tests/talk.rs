//! Commands about messages and about how conversations are kept: what they print, for people and for scripts, and what
//! they refuse.

use crate::program::{Home, fields};
use serde_json::Value;

/// A profile with a conversation and one message; the message's id.
fn home() -> (Home, String) {
    let home = Home::new();
    home.conversation("Crew");
    let id = home.json(&["send", "Crew", "The boats are in."]).row()["id"].as_str().unwrap().to_owned();
    (home, id)
}

fn texts(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["text"].as_str().unwrap()).collect()
}

fn refused(home: &Home, args: &[&str], code: &str) {
    let failed = home.json(args);
    assert_eq!((failed.code, failed.error()["error"].as_str()), (1, Some(code)), "{args:?}");
    let plain = home.run(args);
    assert!(plain.code == 1 && plain.out.is_empty() && plain.err.starts_with("error: "), "{plain:?}");
}

#[test]
fn a_message_is_edited_and_its_history_is_kept() {
    let (home, id) = home();
    let edited = home.json(&["edit", &id[..8], "The boats", "are out."]).row();
    assert_eq!((edited["text"].as_str(), edited["edits"].as_u64()), (Some("The boats are out."), Some(1)));
    assert_eq!((edited["id"].as_str(), edited["merged"].as_bool()), (Some(id.as_str()), Some(false)));
    assert!(edited["edited"].as_str().unwrap().ends_with('Z'));
    assert_eq!(home.texts("Crew"), ["The boats are out."]);
    let versions = home.json(&["history", &id]).rows();
    assert_eq!(texts(&versions), ["The boats are in.", "The boats are out."]);
    assert_eq!(fields(&versions[0]), ["bases", "current", "id", "name", "text", "time"]);
    assert_eq!((versions[0]["current"].as_bool(), versions[1]["current"].as_bool()), (Some(false), Some(true)));
    assert!(home.run(&["show", &id]).out.contains("edited"));
    let lines = home.run(&["history", &id]);
    assert!(lines.lines()[1].starts_with("now ") && !lines.lines()[0].starts_with("now "), "{lines:?}");
}

#[test]
fn a_deletion_can_be_taken_back_at_once() {
    let (home, id) = home();
    let deleted = home.run(&["delete", &id]);
    assert!(deleted.err.contains("tombolo undo") || deleted.out.contains("tombolo undo"), "{deleted:?}");
    let row = home.json(&["show", &id]).row();
    assert_eq!((row["text"].as_str(), row["deleted"].as_str()), (Some(""), Some("Ana")));
    assert!(home.run(&["messages", "Crew"]).out.contains("(deleted by Ana)"));
    refused(&home, &["edit", &id, "x"], "deleted");
    let back = home.json(&["undo", &id]).row();
    assert_eq!((back["text"].as_str(), back["deleted"].is_null()), (Some("The boats are in."), true));
    refused(&home, &["undo", &id], "not-deleted");
}

#[test]
fn a_message_is_hidden_for_oneself_alone() {
    let (home, id) = home();
    home.json(&["delete", &id, "--for-me"]);
    assert!(home.texts("Crew").is_empty());
    assert_eq!(home.json(&["undo", &id]).row()["text"].as_str(), Some("The boats are in."));
    // What was imported has no author here: it can be hidden and shown again all the same.
    let line = r#"{"t": 1600000000, "who": "Zoe", "text": "long ago"}"#;
    home.run_with(&["import", "Crew", "-"], line);
    let rows = home.json(&["messages", "Crew"]).rows();
    let old = rows[0]["id"].as_str().unwrap().to_owned();
    home.json(&["delete", &old, "--for-me"]);
    assert_eq!(home.texts("Crew"), ["The boats are in."]);
    assert_eq!(home.json(&["undo", &old]).row()["text"].as_str(), Some("long ago"));
    refused(&home, &["delete", &old], "imported");
}

#[test]
fn reactions_and_pins_are_put_and_taken_away() {
    let (home, id) = home();
    for _ in 0..2 {
        let row = home.json(&["react", &id, "\u{1f44d}"]).row();
        assert_eq!(row["reactions"][0]["emoji"].as_str(), Some("\u{1f44d}"));
        assert_eq!(row["reactions"][0]["names"], serde_json::json!(["Ana"]));
        assert_eq!(row["reactions"][0]["own"].as_bool(), Some(true));
    }
    assert!(home.run(&["messages", "Crew"]).out.contains("\u{1f44d} 1*"));
    assert_eq!(home.json(&["react", &id, "\u{1f44d}", "--remove"]).row()["reactions"], serde_json::json!([]));
    assert_eq!(home.json(&["pin", &id]).row()["pinned"].as_bool(), Some(true));
    assert_eq!(home.json(&["pins", "Crew"]).rows().len(), 1);
    assert!(home.run(&["pins", "Crew"]).out.contains("The boats are in."));
    assert_eq!(home.json(&["pin", &id, "--remove"]).row()["pinned"].as_bool(), Some(false));
    assert_eq!(home.json(&["pins", "Crew"]).rows().len(), 0);
    let (large, long) = ("x".repeat(100_000), "x".repeat(65));
    for sign in [large.as_str(), &long, "", "a b", "a\nb"] {
        refused(&home, &["react", &id, sign], "reaction");
    }
}

#[test]
fn answers_quotes_and_mentions_point_to_what_they_mean() {
    let (home, id) = home();
    let answer = home.json(&["send", "Crew", "@Ana which?", "--answer", &id[..8]]);
    let answer = answer.row()["id"].as_str().unwrap().to_owned();
    let row = home.json(&["show", &answer]).row();
    assert_eq!((row["answers"].as_str(), row["mentions_me"].as_bool()), (Some(id.as_str()), Some(true)));
    assert_eq!(home.json(&["show", &id]).row()["replies"].as_u64(), Some(1));
    assert_eq!(texts(&home.json(&["thread", &id]).rows()), ["The boats are in.", "@Ana which?"]);
    assert_eq!(texts(&home.json(&["mentions"]).rows()), ["@Ana which?"]);
    assert_eq!(home.json(&["mentions", "Crew"]).rows().len(), 1);
    let shown = home.run(&["messages", "Crew"]);
    assert!(shown.out.contains("to Ana: The boats are in.") && shown.out.contains("1 answer"), "{shown:?}");
}

#[test]
fn title_topic_notes_draft_and_timer() {
    let (home, _) = home();
    assert_eq!(home.json(&["rename", "Crew", "Harbour"]).code, 0);
    assert_eq!(home.json(&["topic", "Harbour", "boats\nand ropes"]).row()["text"].as_str(), Some("boats\nand ropes"));
    let topic = home.json(&["topic", "Harbour"]).row();
    assert_eq!(fields(&topic), ["changed", "merged", "name", "text"]);
    assert_eq!(home.run(&["topic", "Harbour"]).out, "boats\nand ropes\n");
    home.json(&["notes", "Harbour", "ropes", "20 m"]).row();
    home.json(&["notes", "Harbour", "fuel", "paid"]).row();
    let notes = home.json(&["notes", "Harbour"]).rows();
    assert_eq!(texts(&notes), ["paid", "20 m"]);
    assert_eq!(home.json(&["notes", "Harbour", "ropes"]).row()["text"].as_str(), Some("20 m"));
    home.json(&["notes", "Harbour", "ropes", ""]).row();
    assert_eq!(home.json(&["notes", "Harbour"]).rows().len(), 1);
    home.json(&["draft", "Harbour", "I wanted to"]).row();
    assert_eq!(home.json(&["draft", "Harbour"]).row()["text"].as_str(), Some("I wanted to"));
    assert_eq!(home.json(&["draft", "Harbour", ""]).row()["text"].as_str(), Some(""));
    assert_eq!(home.json(&["timer", "Harbour"]).row()["after_ms"].as_u64(), Some(0));
    assert_eq!(home.json(&["timer", "Harbour", "7d"]).row()["after_ms"].as_u64(), Some(7 * 86_400_000));
    home.json(&["send", "Harbour", "soon gone"]);
    let gone = home.json(&["messages", "Harbour"]).rows().pop().unwrap();
    assert!(gone["expires"].as_str().unwrap().ends_with('Z'), "{gone}");
    assert!(home.run(&["timer", "Harbour", "off"]).out.contains("Messages stay."));

    let (long, name) = ("x".repeat(100_000), "n".repeat(257));
    for args in [
        &["topic", "Harbour", &long][..],
        &["notes", "Harbour", "n", &long],
        &["draft", "Harbour", &long],
        &["rename", "Harbour", &name],
        &["folder", "Harbour", &name],
        &["send", "Harbour", &long],
    ] {
        refused(&home, args, "too-large");
    }
    refused(&home, &["notes", "Harbour", &name, "x"], "name");
    assert_eq!(home.json(&["timer", "Harbour", "soon"]).code, 2);
    assert_eq!(home.json(&["timer", "Harbour", "600w"]).error()["error"].as_str(), Some("too-large"));
}

#[test]
fn conversations_are_kept_as_one_likes() {
    let (home, _) = home();
    home.conversation("Other");
    let kept = |home: &Home| {
        let rows = home.json(&["list"]).rows();
        rows.into_iter().find(|row| row["title"] == "Crew").unwrap()
    };
    for args in [
        &["mute", "Crew", "--span", "8h"][..],
        &["archive", "Crew"],
        &["favourite", "Crew"],
        &["folder", "Crew", "sea"],
    ] {
        assert_eq!(home.json(args).code, 0, "{args:?}");
    }
    let row = kept(&home);
    assert_eq!((row["archived"].as_bool(), row["favourite"].as_bool()), (Some(true), Some(true)), "{row}");
    assert_eq!(row["folder"].as_str(), Some("sea"));
    let listed = home.json(&["list"]).rows();
    assert_eq!(listed.last().unwrap()["title"], "Crew", "archived ones stand last");
    for args in [
        &["mute", "Crew", "--off"][..],
        &["archive", "Crew", "--off"],
        &["favourite", "Crew", "--off"],
        &["folder", "Crew"],
    ] {
        assert_eq!(home.json(args).code, 0, "{args:?}");
    }
    let row = kept(&home);
    assert_eq!((row["archived"].as_bool(), row["favourite"].as_bool()), (Some(false), Some(false)), "{row}");
    refused(&home, &["mute", "Nowhere"], "unknown-conversation");
}

#[test]
fn people_are_blocked_by_account() {
    let (home, _) = home();
    let other = "7".repeat(64);
    assert_eq!(home.json(&["block", &other]).code, 0);
    assert_eq!(home.json(&["block"]).row()["account"].as_str(), Some(other.as_str()));
    assert_eq!(home.json(&["block", &other, "--off"]).code, 0);
    assert_eq!(home.json(&["block"]).rows().len(), 0);
    refused(&home, &["block", "Ana"], "own-account");
    refused(&home, &["block", "Nobody"], "unknown-person");
}

#[test]
fn what_waits_can_be_withdrawn() {
    let (home, id) = home();
    let waiting = home.json(&["outbox"]).rows();
    assert_eq!((texts(&waiting), waiting[0]["failed"].is_null()), (vec!["The boats are in."], true));
    assert!(home.run(&["outbox", "Crew"]).out.contains("The boats are in."));
    assert_eq!(home.json(&["cancel", &id]).code, 0);
    assert_eq!(home.json(&["outbox"]).rows().len(), 0);
    assert!(home.texts("Crew").is_empty());
}

#[test]
fn messages_that_do_not_exist_are_named() {
    let (home, id) = home();
    let nothing = "0".repeat(64);
    for args in [
        &["show", &nothing][..],
        &["edit", &nothing, "x"],
        &["delete", &nothing],
        &["undo", &nothing],
        &["react", &nothing, "+"],
        &["pin", &nothing],
        &["history", &nothing],
        &["thread", &nothing],
        &["cancel", &nothing],
        &["show", "not an id"],
        &["show", &id[..3]],
    ] {
        refused(&home, args, "unknown-message");
    }
    assert_eq!(home.json(&["conflicts"]).rows().len(), 0);
    for args in [&["edit", &id][..], &["react", &id], &["block", "--off"], &["mute", "Crew", "--off", "--span", "1h"]] {
        assert_eq!(home.json(args).code, 2, "{args:?}");
    }
}
