//! Exit codes and errors: 1 with what happened and what to do, 2 for wrong usage.

use crate::program::{Home, run};

#[test]
fn wrong_usage_is_2() {
    let home = Home::new();
    for args in [
        &["nothing"][..],
        &["messages"],
        &["init"],
        &["messages", "c", "--limit", "0"],
        &["invite", "--expires", "soon"],
        &["send", "c", "--bold", "x"],
    ] {
        let plain = home.run(args);
        assert_eq!((plain.code, plain.out.as_str()), (2, ""), "{args:?}");
        assert!(plain.err.starts_with("error: "), "{plain:?}");
        let json = home.json(args);
        assert_eq!((json.code, json.error()["error"].as_str()), (2, Some("usage")), "{args:?}");
    }
    let mut command = home.command();
    command.env("TOMBOLO_KEY_STORE", "pocket").arg("list");
    let wrong = run(command, "");
    assert_eq!(wrong.code, 2);
    assert!(wrong.err.contains("TOMBOLO_KEY_STORE"), "{wrong:?}");
}

#[test]
fn help_and_version_are_answers() {
    let home = Home::empty();
    for args in [&["--help"][..], &["--version"], &["send", "--help"]] {
        let run = home.run(args);
        assert_eq!((run.code, run.err.as_str()), (0, ""), "{args:?}");
        assert!(run.out.contains("tombolo"));
    }
}

#[test]
fn without_a_profile_it_says_how_to_get_one() {
    let home = Home::empty();
    let failed = home.json(&["list"]);
    let error = failed.error();
    assert_eq!((failed.code, error["error"].as_str()), (1, Some("no-profile")));
    assert!(error["hint"].as_str().unwrap().contains("tombolo init"));
    let plain = home.run(&["list"]);
    assert!(plain.err.starts_with("error: ") && plain.err.contains("\nhint: "), "{plain:?}");
    assert_eq!(plain.code, 1);
}

#[test]
fn the_environment_may_name_the_key_store() {
    let home = Home::new();
    let mut command = home.command();
    command.env("TOMBOLO_KEY_STORE", "file").args(["--json", "list"]);
    assert_eq!(run(command, "").code, 0);
    // The profile knows where its keys are.
    let mut command = home.command();
    command.args(["--json", "list"]);
    assert_eq!(run(command, "").code, 0);
}

#[test]
fn a_conversation_that_is_not_there_is_named() {
    let home = Home::new();
    home.conversation("twice");
    home.conversation("twice");
    for (args, code) in [
        (&["send", "nowhere", "hi"][..], "unknown-conversation"),
        (&["messages", "ffffffffffffffffffffffffffffffff"], "unknown-conversation"),
        (&["export", ""], "unknown-conversation"),
        (&["digest", "twice"], "ambiguous"),
    ] {
        let failed = home.json(args);
        assert_eq!((failed.code, failed.error()["error"].as_str()), (1, Some(code)), "{args:?}");
        assert!(!failed.error()["hint"].as_str().unwrap().is_empty());
    }
}

#[test]
fn without_a_relay_a_sync_says_so() {
    let home = Home::new();
    home.conversation("c");
    let failed = home.json(&["sync", "--once"]);
    assert_eq!((failed.code, failed.error()["error"].as_str()), (1, Some("no-relay")));
    let failed = home.json(&["sync", "--once", "--relay", "nonsense"]);
    assert_eq!(failed.code, 1);
    assert!(failed.error()["message"].as_str().unwrap().len() > 10);
    // Nobody listens on the discard port of this machine; what was written stays.
    let failed = home.json(&["sync", "--once", "--relay", "ws://127.0.0.1:9"]);
    assert_eq!(failed.code, 1);
    assert_eq!(home.run(&["doctor"]).code, 0);
}

#[test]
fn a_message_that_is_too_long_changes_nothing() {
    let home = Home::new();
    let conversation = home.conversation("c");
    let long = "x".repeat(40_000);
    let failed = home.json(&["send", &conversation, &long]);
    assert_eq!((failed.code, failed.error()["error"].as_str()), (1, Some("too-large")));
    let failed = home.json(&["send", &conversation, ""]);
    assert_eq!(failed.code, 1);
    assert_eq!(home.texts(&conversation), [""; 0]);
    let failed = home.json(&["new", &"x".repeat(300)]);
    assert_eq!((failed.code, failed.error()["error"].as_str()), (1, Some("too-large")));
}

#[cfg(unix)]
#[test]
fn a_listener_ends_when_it_is_told_to() {
    use std::io::{BufRead, BufReader};
    let home = Home::new();
    let mut command = home.command();
    command.args(["--key-store", "file", "--json", "listen", "--addr", "127.0.0.1:0"]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let row: serde_json::Value = serde_json::from_str(&first).unwrap();
    let address: std::net::SocketAddr = row["listening"].as_str().unwrap().parse().unwrap();
    assert_ne!(address.port(), 0);
    std::net::TcpStream::connect(address).unwrap();
    let told = std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(told.success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    // The home is free again.
    assert_eq!(home.json(&["list"]).code, 0);
}
