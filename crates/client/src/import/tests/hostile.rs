//! Broken and hostile texts: never a panic, and time that grows as the text does.

use super::{lines, read, read_at};
use crate::import::plan;
use proptest::prelude::*;
use std::time::{Duration, Instant};
use tombolo_model::limit::TEXT_BYTES_MAX;

const SAMPLES: [&str; 3] = [
    "\u{200e}[25.03.21, 14:05:33] Bootshaus: \u{200e}Nachrichten\r\n[25.03.21, 14:06:01] Ana: Hallo\nzusammen\r\n\
     \u{200e}[25.03.21, 14:06:30] Ben: \u{200e}<Anhang: 00000012-PHOTO-2021-03-25-14-06-30.jpg>\r\n",
    "3/25/21, 2:05 PM - Ana created group \"x: y\"\n3/25/21, 2:06 PM - Ana: first\n3/26/21, 2:06 PM - Ben: \
     IMG-20210325-WA0001.jpg (file attached)\nlook\n",
    "2021\u{b144} 3\u{c6d4} 25\u{c77c} \u{c624}\u{d6c4} 2:05, Ana : \u{c548}\u{b155}\n\n2021\u{b144} 3\u{c6d4} 26\u{c77c} \u{c624}\u{d6c4} 2:05, Ana : x\n",
];

#[derive(Clone, Debug)]
enum Change {
    Replace(usize, u8),
    Insert(usize, Vec<u8>),
    Remove(usize, usize),
    Repeat(usize, usize),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Change::Replace(at, byte)),
        1 => (any::<usize>(), prop::collection::vec(any::<u8>(), 0..8)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        2 => (any::<usize>(), prop::sample::select(vec!["[", "]", ":", "\n", " - ", "\u{200e}", "<", ">", "(", ")", "99", "\u{663}", "PK"]))
            .prop_map(|(at, text)| Change::Insert(at, text.as_bytes().to_vec())),
        2 => (any::<usize>(), 0..40usize).prop_map(|(at, len)| Change::Remove(at, len)),
        1 => (any::<usize>(), 0..60usize).prop_map(|(at, len)| Change::Repeat(at, len)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn changed_exports_never_panic(sample in 0..3usize, changes in prop::collection::vec(change(), 0..12)) {
        let mut bytes = SAMPLES[sample].as_bytes().to_vec();
        for change in changes {
            let end = bytes.len();
            let stretch = |at: usize, len: usize| { let from = at % (end + 1); from..(from + len).min(end) };
            match change {
                Change::Replace(at, byte) if end > 0 => bytes[at % end] = byte,
                Change::Replace(..) => {}
                Change::Insert(at, more) => { let at = at % (end + 1); bytes.splice(at..at, more); }
                Change::Remove(at, len) => { bytes.drain(stretch(at, len)); }
                Change::Repeat(at, len) => { let more = bytes[stretch(at, len)].to_vec(); bytes.extend(more); }
            }
        }
        match read_at(&bytes, None, 3_600) {
            Ok(export) => {
                let (planned, _) = plan(&export.entries, export.format());
                for one in planned {
                    let content = tombolo_model::content::Content::Imported(one.content);
                    prop_assert!(content.to_padded().is_ok());
                }
            }
            Err(error) => prop_assert!(!error.code().is_empty() && !error.message().is_empty()),
        }
    }

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = read_at(&bytes, None, 0);
        let _ = read_at(&[b"PK\x03\x04", bytes.as_slice()].concat(), None, 0);
    }
}

#[test]
fn long_messages_are_divided_and_endless_ones_left_out() {
    let head = "25/03/21, 14:05 - Ana: ";
    let long = "\u{e9}".repeat(TEXT_BYTES_MAX);
    let text = format!("{head}{long}\n{head}{}\n{head}short\n", "x".repeat(9 * TEXT_BYTES_MAX));
    let export = read(&text).unwrap();
    assert_eq!(lines(&export).len(), 3);
    let (planned, too_long) = plan(&export.entries, export.format());
    assert_eq!((planned.len(), too_long), (3, 1));
    assert_eq!(planned[0].content.text.clone() + &planned[1].content.text, long);
    assert_eq!(planned.iter().map(|one| one.content.rank).collect::<Vec<_>>(), [Some(0), Some(1), Some(2)]);
    let keys: std::collections::BTreeSet<_> = planned.iter().map(|one| one.content.source_key).collect();
    assert_eq!(keys.len(), 3);
}

/// Time per byte does not grow: ten times the text may take thirty times as long at most, on whatever machine.
#[test]
fn timing_grows_as_the_text_does() {
    let took = |text: &str| {
        let best = (0..3).map(|_| {
            let began = Instant::now();
            let _ = read(text);
            began.elapsed()
        });
        best.min().unwrap().max(Duration::from_micros(200))
    };
    let head = "25/03/21, 14:05 - Ana: ";
    for (name, unit) in [
        ("one line", "x ".to_owned()),
        ("colons", ": ".to_owned()),
        ("marks", "\u{200e}".to_owned()),
        ("digits", "1/".to_owned()),
        ("empty lines", "\n".to_owned()),
        ("headers", format!("\n{head}a")),
        ("broken headers", "\n25/03/21, 14:05 -".to_owned()),
        ("files", "\n<a: b.c>".to_owned()),
        ("different names", format!("\n[25.03.21, 14:05:33] {}: x", "n".repeat(30))),
    ] {
        let of = |times: usize| format!("{head}{}", unit.repeat(times * 40_000 / unit.len()));
        let (small, large) = (took(&of(1)), took(&of(10)));
        assert!(large < small * 30, "{name}: {small:?}, then {large:?}");
    }
}
