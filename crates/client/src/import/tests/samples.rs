//! Exports written by hand in the shapes of real ones.

use super::{lines, read, read_at};
use crate::import::DateOrder;

fn said(text: &str) -> Vec<(u64, String, String)> {
    lines(&read(text).unwrap())
}

fn texts(text: &str) -> Vec<String> {
    said(text).into_iter().map(|(_, who, text)| format!("{who}|{text}")).collect()
}

#[test]
fn german_ios_with_a_group() {
    let text = "\u{200e}[25.03.21, 14:05:33] Bootshaus: \u{200e}Nachrichten und Anrufe sind Ende-zu-Ende-verschl\u{fc}sselt.\r\n\
        [25.03.21, 14:05:33] Bootshaus: \u{200e}Ana hat die Gruppe erstellt\r\n\
        [25.03.21, 14:06:01] Ana: Hallo\nzusammen\r\n\
        \u{200e}[25.03.21, 14:06:30] ~\u{a0}Ben: \u{200e}<Anhang: 00000012-PHOTO-2021-03-25-14-06-30.jpg>\r\n\
        [25.03.21, 14:07:00] \u{202a}+49 170 1234567\u{202c}: \u{200e}Bild weggelassen\r\n";
    let export = read(text).unwrap();
    assert_eq!(
        texts(text),
        [
            "Ana|Hallo\nzusammen",
            "Ben|<Anhang: 00000012-PHOTO-2021-03-25-14-06-30.jpg>",
            "+49 170 1234567|Bild weggelassen"
        ]
    );
    assert_eq!((export.system, export.omitted), (2, 1));
    assert_eq!(export.entries[1].files, ["00000012-PHOTO-2021-03-25-14-06-30.jpg"]);
    assert_eq!(export.names(), ["+49 170 1234567", "Ana", "Ben"]);
}

#[test]
fn a_direct_chat_on_ios_keeps_what_the_other_person_did() {
    let text = "[25.03.21, 14:05:33] Ana: \u{200e}Messages and calls are end-to-end encrypted.\n\
        [25.03.21, 14:06:01] Ana: hello\n\
        [25.03.21, 14:07:00] Ana: \u{200e}Missed voice call\n";
    assert_eq!(texts(text), ["Ana|hello", "Ana|Missed voice call"]);
}

#[test]
fn american_android() {
    let text = "3/25/21, 2:05 PM - Messages and calls are end-to-end encrypted. No one outside of this chat can read them.\n\
        3/25/21, 2:05 PM - Ana created group \"Boats: and more\"\n\
        3/25/21, 2:06\u{202f}PM - Ana: first\n\
        3/25/21, 12:07\u{202f}AM - Ben: <Media omitted>\n\
        3/25/21, 12:08\u{202f}AM - Ben: IMG-20210325-WA0001.jpg (file attached)\nlook: here\n\
        3/26/21, 9:00\u{202f}AM - Ana: null\n";
    let export = read(text).unwrap();
    assert_eq!(export.system, 2);
    assert_eq!(export.omitted, 1);
    let found = said(text);
    assert_eq!(found[0], (1_616_681_160, "Ana".into(), "first".into()));
    assert_eq!(found[1].0, 1_616_630_820);
    assert_eq!((export.entries[2].text.as_str(), export.entries[2].files.len()), ("look: here", 1));
    assert_eq!(found[3].2, "null");
}

#[test]
fn other_languages() {
    let one = |text: &str| {
        let found = said(text);
        assert_eq!(found.len(), 1, "{text}");
        (found[0].0, found[0].1.clone())
    };
    let at = 1_616_681_100;
    for text in [
        "25/3/21 14:05 - Ana: hola",
        "25/3/21, 2:05 p.\u{a0}m. - Ana: hola",
        "25/03/2021 14:05 - Ana: oi",
        "25/03/2021 \u{e0} 14:05 - Ana: salut",
        "25-03-2021 14:05 - Ana: hoi",
        "25.03.2021, 14:05 - Ana: \u{43f}\u{440}\u{438}\u{432}\u{435}\u{442}",
        "25.3.2021 klo 14.05 - Ana: moi",
        "25.03.2021 14.05 - Ana: hej",
        "2021-03-25 14:05 - Ana: hej",
        "2021. 03. 25. 14:05 - Ana: szia",
        "2021/03/25 14:05 - Ana: \u{3053}\u{3093}\u{306b}\u{3061}\u{306f}",
        "2021/3/25 \u{4e0b}\u{5348}2:05 - Ana: \u{4f60}\u{597d}",
        "2021\u{b144} 3\u{c6d4} 25\u{c77c} \u{c624}\u{d6c4} 2:05, Ana : \u{c548}\u{b155}",
        "25/3/2564 14:05 - Ana: \u{e2a}\u{e27}\u{e31}\u{e2a}\u{e14}\u{e35}",
        "\u{200f}\u{662}\u{665}\u{200f}/\u{663}\u{200f}/\u{662}\u{660}\u{662}\u{661}\u{60c} \u{662}:\u{660}\u{665} \u{645} - Ana: \u{645}\u{631}\u{62d}\u{628}\u{627}",
        "25.03.2021, 14:05 - Ana: \u{5e9}\u{5dc}\u{5d5}\u{5dd}",
        "25.03.2021 14:05 - Ana: merhaba",
        "25/3/21, 2:05 pm - Ana: namaste",
    ] {
        assert_eq!(one(text), (at, "Ana".into()), "{text}");
    }
}

#[test]
fn dates_that_nobody_can_know_are_asked_for() {
    let text = "03/04/21, 14:05 - Ana: a\n05/06/21, 14:05 - Ben: b\n";
    let error = read(text).unwrap_err();
    assert_eq!(error.code(), "ambiguous-dates");
    assert!(error.message().contains("03/04/21 is 2021-04-03 (dmy) or 2021-03-04 (mdy)"), "{error}");
    assert_eq!(error.hint(), "say it with --dates dmy or --dates mdy");
    let at = |order| lines(&read_at(text.as_bytes(), Some(order), 0).unwrap())[0].0;
    assert_eq!((at(DateOrder::Dmy), at(DateOrder::Mdy)), (1_617_458_700, 1_614_866_700));
    // The same number twice needs no answer only if the whole file has no other.
    assert_eq!(read("03/03/21, 14:05 - Ana: a\n").unwrap_err().code(), "ambiguous-dates");
    // What the dates themselves say needs no question: a day that is none, one that is to come, one before the other.
    for (decided, first) in [
        ("13/04/21, 14:05 - Ana: a\n05/06/21, 14:05 - Ben: b\n", 1_618_322_700),
        ("12/11/26, 14:05 - Ana: a\n", 1_794_492_300),
        ("28/02/21, 14:05 - Ana: a\n01/03/21, 14:05 - Ben: b\n", 1_614_521_100),
        ("05/02/21, 14:05 - Ana: a\n01/03/21, 14:05 - Ben: b\n", 1_612_533_900),
    ] {
        assert_eq!(said(decided)[0].0, first, "{decided}");
    }
}

#[test]
fn an_order_that_cannot_be_is_not_believed() {
    let text = "25/03/21, 14:05 - Ana: a\n";
    let error = read_at(text.as_bytes(), Some(DateOrder::Mdy), 0).unwrap_err();
    assert_eq!(error.code(), "dates");
    assert!(error.message().contains("25/03/21"), "{error}");
    // Four digits say where the year is, whatever somebody says.
    let text = "2021/03/25 14:05 - Ana: a\n";
    assert_eq!(lines(&read_at(text.as_bytes(), Some(DateOrder::Dmy), 0).unwrap())[0].0, 1_616_681_100);
}

#[test]
fn lines_that_only_look_like_headers_are_text() {
    let text = "25/03/21, 14:05 - Ana: look what he wrote:\n[25.03.21, 14:05:33] Ben: x\n31/02/21, 14:05 - Ben: y\n\
        25/03/21, 14:06 - Ben: ok\n";
    assert_eq!(
        texts(text),
        ["Ana|look what he wrote:\n[25.03.21, 14:05:33] Ben: x\n31/02/21, 14:05 - Ben: y", "Ben|ok"]
    );
}

#[test]
fn what_is_no_export_is_named() {
    for (bytes, code) in [
        (&b"hello there\n"[..], "not-an-export"),
        (b"PNG\r\n", "not-an-export"),
        (b"25/03/21, 14:05 xyz - Ana: a\n", "dates"),
        (b"25/03/21, 14:05 - Ana: a\0b\n", "not-text"),
        (b"25/03/21, 14:05 - Ana: a\xff\n", "not-text"),
        (b"\xff\xfe2\x005\x00", "not-text"),
        (b"{\"t\":1}\nnonsense\n", "file"),
        (b"PK\x03\x04 and nothing else", "archive"),
    ] {
        let error = read_at(bytes, None, 0).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.message().contains("nothing was imported"), "{error}");
    }
    assert!(read("").unwrap().is_empty());
    assert_eq!(lines(&read("{\"t\":5,\"who\":\"a\",\"text\":\"x\"}\n").unwrap()), [(5, "a".into(), "x".into())]);
}
