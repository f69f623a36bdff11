//! What people read, line by line.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::door::{Beside, ConversationId, Keeping, Kind, Reach};

const TEN_O_CLOCK: u64 = 1_780_480_920_000; // 2026-06-03 10:02 UTC
const DAY_MS: u64 = 86_400_000;

fn terminal() -> Style {
    Style { terminal: true, ..Style::default() }
}

fn said(name: &str, text: &str, time_ms: u64) -> Message {
    Message {
        id: "ab".repeat(32).parse().unwrap(),
        author: "cd".repeat(32).parse().unwrap(),
        name: name.into(),
        text: text.into(),
        hlc: time_ms << 16,
        time_ms,
        state: MessageState::Received,
        reach: Reach::default(),
        late: false,
        came_ms: 0,
        own: false,
        cursor: "00".into(),
        beside: Beside::default(),
    }
}

fn own(text: &str, time_ms: u64, state: MessageState) -> Message {
    Message { own: true, state, ..said("Ana", text, time_ms) }
}

fn talk(id: u8, title: &str, unread: u64, ops: u64, standing: Standing) -> ConversationRow {
    let id = ConversationId([id; 16]);
    ConversationRow {
        id,
        title: title.into(),
        kind: Kind::Group,
        standing,
        unread,
        mentions: 0,
        ops,
        relays: vec![],
        keeping: Keeping::default(),
    }
}

#[test]
fn messages_on_a_terminal_have_days_names_and_marks() {
    let rows = [
        said("Bo", "The boats are in.", TEN_O_CLOCK),
        Message { late: true, ..said("Carol", "Two\nlines", TEN_O_CLOCK + 60_000) },
        own("The pier is closed.", TEN_O_CLOCK + DAY_MS, MessageState::Local),
        own("Still.", TEN_O_CLOCK + DAY_MS, MessageState::Held(1)),
        own("Open.", TEN_O_CLOCK + DAY_MS, MessageState::Held(3)),
    ];
    let expected = [
        &format!("older ones: --before {}", "ab".repeat(32)),
        "\u{2500}\u{2500} Wednesday 3 June 2026 \u{2500}\u{2500}",
        "10:02  Bo     The boats are in.",
        "10:03  Carol  Two",
        "              lines  (arrived late)",
        "\u{2500}\u{2500} Thursday 4 June 2026 \u{2500}\u{2500}",
        "10:02  You    The pier is closed.  (on this device only)",
        "10:02  You    Still.  (also in 1 other place)",
        "10:02  You    Open.  (also in 3 other places)",
    ];
    assert_eq!(messages(&rows, true, false, &terminal()), expected);
}

#[test]
fn messages_in_a_pipe_are_plain() {
    let rows = [
        said("Bo", "The boats are in.", TEN_O_CLOCK),
        own("The pier is closed.", TEN_O_CLOCK + DAY_MS, MessageState::Local),
    ];
    let expected = [
        "2026-06-03 10:02  Bo   The boats are in.",
        "2026-06-04 10:02  Ana  The pier is closed.  (on this device only)",
    ];
    assert_eq!(messages(&rows, true, false, &Style::default()), expected);
    assert_eq!(messages(&[], false, false, &Style::default()), [""; 0]);
    assert_eq!(messages(&[], false, false, &terminal()), ["No messages here."]);
}

#[test]
fn imported_messages_stand_under_their_own_dates() {
    let rows = [
        Message { state: MessageState::Imported, own: true, ..said("p012", "long ago", TEN_O_CLOCK) },
        said("Bo", "today", TEN_O_CLOCK),
    ];
    let expected = [
        "\u{2500}\u{2500} Wednesday 3 June 2026 (imported) \u{2500}\u{2500}",
        "10:02  p012  long ago",
        "\u{2500}\u{2500} Wednesday 3 June 2026 \u{2500}\u{2500}",
        "10:02  Bo    today",
    ];
    assert_eq!(messages(&rows, false, false, &terminal()), expected);
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let style = Style { terminal: true, colour: true, zone: Zone::default() };
    let lines = messages(&[own("Hi", TEN_O_CLOCK, MessageState::Local)], false, false, &style);
    assert_eq!(
        lines[1],
        "\u{1b}[2m10:02\u{1b}[0m  \u{1b}[36mYou\u{1b}[0m  Hi  \u{1b}[2m(on this device only)\u{1b}[0m"
    );
    for style in [Style::default(), terminal()] {
        let all = messages(&[own("Hi", TEN_O_CLOCK, MessageState::Local)], true, false, &style).join("");
        assert!(!all.contains('\u{1b}'));
    }
}

#[test]
fn others_cannot_draw_on_this_screen() {
    let evil = "\u{1b}[2J\u{1b}[1;1H\u{202e}";
    let rows = [said(evil, evil, TEN_O_CLOCK)];
    let style = Style { terminal: true, colour: false, zone: Zone::default() };
    let mut all = messages(&rows, true, false, &style);
    let conversations = [talk(1, evil, 1, 2, Standing::Member)];
    all.extend(list(&conversations, &style));
    let event_message = Event::Message { conversation: conversations[0].id, message: Box::new(rows[0].clone()) };
    all.extend(event(&event_message, &conversations, &style));
    all.extend(event(&Event::Disconnected { with: evil.into(), reason: evil.into() }, &[], &style));
    all.extend(findings(&[Finding { check: evil.into(), ok: false, detail: evil.into() }], &style));
    for line in all {
        assert!(!line.contains(['\u{1b}', '\u{202e}']), "{line:?}");
    }
}

#[test]
fn lists_are_columns() {
    let rows = [
        talk(0xab, "Harbour crew", 3, 1_042, Standing::Member),
        talk(0x12, "", 0, 7, Standing::Member),
        talk(0x34, "", 0, 1, Standing::Asked),
    ];
    let expected = [
        "ID        UNREAD   OPS  TITLE",
        "abababab       3  1042  Harbour crew",
        "12121212       0     7  (without a title)",
        "34343434       0     1  (asked to join; waits for a member)",
    ];
    assert_eq!(list(&rows, &terminal()), expected);
    assert_eq!(list(&rows[..1], &Style::default()), ["abababab  3  1042  Harbour crew"],);
    assert_eq!(list(&[], &Style::default()), [""; 0]);
    assert!(list(&[], &terminal())[0].contains("tombolo new"));
}

#[test]
fn digests_name_their_conversation() {
    let rows = [DigestRow { conversation: ConversationId([0xab; 16]), digest: [0x5f; 32], ops: 12 }];
    let conversations = [talk(0xab, "Harbour crew", 3, 12, Standing::Member)];
    let expected = format!("abababab  12  {}  Harbour crew", "5f".repeat(32));
    assert_eq!(digests(&rows, &conversations, &Style::default()), [expected]);
}

#[test]
fn invitations_say_whether_they_work() {
    let row = |expires_ms, revoked| InviteRow {
        conversation: ConversationId([0xab; 16]),
        key: [0x77; 32],
        uses: 3,
        used: 1,
        expires_ms,
        revoked,
    };
    let states = |row| invites(&[row], 1_000_000, &Style::default()).join("");
    assert_eq!(states(row(0, false)), format!("abababab  1 of 3  works until it is revoked  {}", "77".repeat(32)));
    assert!(states(row(0, true)).contains("revoked") && !states(row(0, true)).contains("works"));
    assert!(states(row(1_000_000, false)).contains("expired"));
    assert!(states(row(TEN_O_CLOCK, false)).contains("works until 2026-06-03 10:02"));
}

#[test]
fn a_sync_says_what_is_certain() {
    let mut report =
        SyncReport { ops_in: 12_345, ops_out: 1, bytes_in: 1, proven: true, round_trips: 1, ..SyncReport::default() };
    report.found_by.cursor = 12_346;
    assert_eq!(
        sync(&report, &Style::default()),
        [
            "Complete. Both sides hold the same history, and that is proven.",
            "12,345 ops came, 1 went; 1 byte in, 0 out; 1 round trip.",
            "Found: 12,346 by cursor.",
        ]
    );
    report.proven = false;
    assert!(sync(&report, &Style::default())[0].starts_with("Not complete yet. Everything written here is safe"));
}

#[test]
fn findings_end_with_a_verdict() {
    let finding = |ok, check: &str| Finding { check: check.into(), ok, detail: "all of them".into() };
    assert_eq!(
        findings(&[finding(true, "ids"), finding(true, "chains")], &Style::default()),
        ["ok  ids     all of them", "ok  chains  all of them", "Everything is as it should be."]
    );
    let bad = findings(&[finding(true, "ids"), finding(false, "chains")], &Style::default());
    assert_eq!(bad[1], "BAD  chains  all of them");
    assert!(bad[2].starts_with("1 check is not as it should be."));
}

#[test]
fn events_are_sentences() {
    let conversations = [talk(0xab, "Harbour crew", 3, 12, Standing::Member)];
    let id = conversations[0].id;
    let device = "cd".repeat(32).parse().unwrap();
    let line = |happened: &Event| event(happened, &conversations, &Style::default()).join("\n");
    assert_eq!(line(&Event::Connected { with: "ws://r:1".into() }), "Connected with ws://r:1.");
    assert!(line(&Event::Disconnected { with: "r".into(), reason: "gone".into() }).starts_with("Offline: r: gone."));
    let message = Event::Message { conversation: id, message: Box::new(said("Bo", "Hi", TEN_O_CLOCK)) };
    assert_eq!(line(&message), "Harbour crew  2026-06-03 10:02  Bo  Hi");
    assert_eq!(line(&Event::Proven { with: "r".into(), ops: 1_000 }), "Complete with r: 1,000 ops.");
    let typing = Event::Presence { conversation: id, device, what: "typing".into() };
    assert_eq!(line(&typing), "Harbour crew: cdcdcdcd is typing.");
    let joined = Event::Joined { conversation: ConversationId([1; 16]), device };
    assert_eq!(line(&joined), "01010101: device cdcdcdcd takes part from now on.");
    assert_eq!(line(&Event::Notice { code: "x", words: "look".into() }), "Note: look.");
}

#[test]
fn numbers_are_grouped() {
    for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
        assert_eq!(grouped(number), text);
    }
}
