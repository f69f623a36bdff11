//! Everything that works without a network: writing, reading, inviting, digests, doctor.

use crate::program::{Home, fields};
use std::collections::BTreeSet;

#[test]
fn a_profile_is_made_once() {
    let home = Home::empty();
    let lines = home.run(&["init", "--name", "Ana"]);
    assert!(lines.out.contains("account  ") && lines.out.contains("less safe"), "{lines:?}");
    let again = home.json(&["init", "--name", "Ana"]);
    assert_eq!((again.code, again.error()["error"].as_str()), (1, Some("profile-exists")));
    let list = home.json(&["list"]).rows();
    assert_eq!(list.len(), 1, "a place for notes is there from the start: {list:?}");
    assert_eq!((list[0]["title"].as_str(), list[0]["kind"].as_str()), (Some("Note to self"), Some("own")));
}

#[test]
fn what_is_sent_is_read_in_order() {
    let home = Home::new();
    let conversation = home.conversation("Harbour crew");
    assert_eq!(conversation.len(), 32);
    let sent = home.json(&["send", &conversation, "The", "boats are in."]).row();
    assert_eq!(fields(&sent), ["id", "token"]);
    assert_eq!(sent["id"].as_str().unwrap().len(), 64);
    assert!(sent["token"].as_str().unwrap().len() > 40);
    // By title and by the beginning of the id, too.
    home.json(&["send", "Harbour crew", "The pier is closed."]).row();
    home.json(&["send", &conversation[..8], "Rope?"]).row();

    let rows = home.json(&["messages", &conversation]).rows();
    let texts: Vec<&str> = rows.iter().map(|row| row["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["The boats are in.", "The pier is closed.", "Rope?"]);
    let named: BTreeSet<&str> = fields(&rows[0]).into_iter().collect();
    let promised = ["id", "author", "name", "text", "hlc", "time", "state", "late"];
    assert!(named.is_superset(&promised.into_iter().collect()), "{named:?}");
    assert_eq!(rows[0]["id"], sent["id"]);
    assert_eq!((rows[0]["name"].as_str(), rows[0]["late"].as_bool()), (Some("Ana"), Some(false)));
    assert_eq!(rows[0]["state"].as_str(), Some("local"));
    assert!(rows[0]["hlc"].as_u64() < rows[1]["hlc"].as_u64());
    let time = rows[0]["time"].as_str().unwrap();
    assert!(time.len() == 24 && time.starts_with("20") && time.ends_with('Z'), "{time}");

    // Above the note to self: it has the newest message.
    let listed = home.json(&["list"]).rows().swap_remove(0);
    assert_eq!((listed["title"].as_str(), listed["unread"].as_u64()), (Some("Harbour crew"), Some(0)));
    assert!(listed["ops"].as_u64().unwrap() >= 4);
    assert_eq!(listed["conversation"].as_str(), Some(conversation.as_str()));
}

#[test]
fn standard_input_is_a_line_a_message() {
    let home = Home::new();
    let conversation = home.conversation("c");
    let lines: String = (0..1_200).map(|n| format!("line {n}\n")).collect();
    let sent = home.run_with(&["--json", "send", &conversation, "-"], &format!("{lines}\n\nlast, without an end"));
    let ids: BTreeSet<String> = sent.rows().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 1_201);
    let newest = home.json(&["messages", &conversation, "--limit", "2"]).rows();
    assert_eq!(newest[0]["text"].as_str(), Some("line 1199"));
    assert_eq!(newest[1]["text"].as_str(), Some("last, without an end"));
}

#[test]
fn pages_go_back_by_the_id_of_a_message() {
    let home = Home::new();
    let conversation = home.conversation("c");
    let lines: String = (0..7).map(|n| format!("{n}\n")).collect();
    home.run_with(&["send", &conversation, "-"], &lines);
    let mut met = Vec::new();
    let mut before: Option<String> = None;
    loop {
        let mut args = vec!["messages", &conversation, "--limit", "3"];
        if let Some(before) = &before {
            args.extend(["--before", before]);
        }
        let rows = home.json(&args).rows();
        let Some(first) = rows.first() else { break };
        before = Some(first["id"].as_str().unwrap().to_owned());
        let texts: Vec<String> = rows.iter().map(|row| row["text"].as_str().unwrap().to_owned()).collect();
        met.splice(0..0, texts);
    }
    assert_eq!(met, ["0", "1", "2", "3", "4", "5", "6"]);
    let wrong = home.json(&["messages", &conversation, "--before", "nonsense"]);
    assert_eq!((wrong.code, wrong.error()["error"].as_str()), (1, Some("cursor")));
}

#[test]
fn in_a_pipe_everything_is_plain() {
    let home = Home::new();
    let conversation = home.conversation("Harbour crew");
    home.run(&["send", &conversation, "one \u{1b}[31mred"]);
    for args in [&["messages", &conversation[..]][..], &["list"], &["digest"], &["doctor"], &["invites"]] {
        let run = home.run(args);
        assert_eq!((run.code, run.err.as_str()), (0, ""), "{args:?}");
        assert!(!run.out.contains('\u{1b}') && !run.out.contains('\u{2500}'), "{run:?}");
    }
    let line = home.run(&["messages", &conversation]);
    let line = line.lines()[0];
    assert!(line.ends_with("  Ana  one <U+001B>[31mred  (on this device only)"), "{line}");
}

#[test]
fn digests_change_with_the_history() {
    let home = Home::new();
    let (one, two) = (home.conversation("one"), home.conversation("two"));
    let all = home.json(&["digest"]).rows();
    assert_eq!(all.len(), 2);
    assert_eq!(fields(&all[0]), ["conversation", "digest", "ops"]);
    let of = |conversation: &str| home.json(&["digest", conversation]).row();
    let before = of(&one);
    assert_eq!(before["digest"].as_str().unwrap().len(), 64);
    assert!(all.contains(&before));
    home.run(&["send", &one, "hi"]);
    let after = of(&one);
    assert_ne!(before["digest"], after["digest"]);
    assert_eq!(before["ops"].as_u64().unwrap() + 1, after["ops"].as_u64().unwrap());
    assert!(all.contains(&of(&two)));
    let line = home.run(&["digest", &one]);
    assert!(line.lines()[0].contains(after["digest"].as_str().unwrap()));
}

#[test]
fn links_are_made_listed_and_revoked() {
    let home = Home::new();
    let conversation = home.conversation("c");
    let made = home.json(&["invite", "--conversation", "c", "--uses", "3", "--expires", "7d"]).row();
    assert_eq!(made["conversation"].as_str(), Some(conversation.as_str()));
    assert!(made["link"].as_str().unwrap().starts_with("tombolo:"));
    let direct = home.json(&["invite"]).row();
    assert_ne!(direct["conversation"], made["conversation"]);

    let rows = home.json(&["invites", "--conversation", "c"]).rows();
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0]["uses"].as_u64(), rows[0]["used"].as_u64()), (Some(3), Some(0)));
    assert_eq!(rows[0]["revoked"].as_bool(), Some(false));
    assert!(rows[0]["expires"].as_str().unwrap().ends_with('Z'));
    let all = home.json(&["invites"]).rows();
    assert_eq!(all.len(), 2);
    assert!(all.iter().any(|row| row["expires"].is_null()));

    let key = rows[0]["key"].as_str().unwrap();
    let revoked = home.json(&["invites", "--revoke", &key[..10]]).row();
    assert_eq!((revoked["key"].as_str(), revoked["revoked"].as_bool()), (Some(key), Some(true)));
    let rows = home.json(&["invites", "--conversation", "c"]).rows();
    assert_eq!(rows[0]["revoked"].as_bool(), Some(true));
    let wrong = home.json(&["invites", "--revoke", "00"]);
    assert_eq!((wrong.code, wrong.error()["error"].as_str()), (1, Some("invitation")));
}

#[test]
fn a_link_is_accepted_offline() {
    let (ana, bo) = (Home::new(), Home::new());
    ana.conversation("c");
    let made = ana.json(&["invite", "--conversation", "c"]).row();
    let accepted = bo.json(&["accept", made["link"].as_str().unwrap()]).row();
    assert_eq!(accepted["conversation"], made["conversation"]);
    // Bo can see that it is under way, and may write already.
    let listed = bo.run(&["list"]);
    assert!(listed.out.contains("asked to join"), "{listed:?}");
    let broken = bo.json(&["accept", "tombolo:nonsense"]);
    assert_eq!((broken.code, broken.error()["error"].as_str()), (1, Some("invitation")));
}

#[test]
fn a_healthy_store_is_healthy() {
    let home = Home::new();
    let conversation = home.conversation("c");
    home.run_with(&["send", &conversation, "-"], "a\nb\nc\n");
    for args in [&["doctor"][..], &["doctor", "--repair"]] {
        let rows = home.json(args).rows();
        assert!(rows.len() >= 5);
        for row in rows {
            assert_eq!(fields(&row), ["check", "detail", "ok"]);
            assert_eq!(row["ok"].as_bool(), Some(true), "{row}");
        }
    }
    assert_eq!(home.texts(&conversation), ["a", "b", "c"]);
}
