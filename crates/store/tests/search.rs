//! Search against a model that reads every message.

use crate::world::{Group, NOW_MS, OWN, START_MS, Store, account, line};
use proptest::prelude::*;
use std::collections::BTreeSet;
use tombolo_model::content::{Content, Delete, Edit, File, Message as Body, MessageRef, Restore, Splice, Target};
use tombolo_model::{AccountId, Class, Hlc, OpId};
use tombolo_oplog::Incoming;
use tombolo_store::search::{Hit, Query, index, is_behind, search};

fn indexed(store: &mut Store) {
    loop {
        let mut batch = store.log.batch().unwrap();
        let left = index(&store.views, &mut batch).unwrap();
        batch.commit().unwrap();
        if left == 0 {
            return;
        }
    }
}

fn ask(store: &Store, query: &Query) -> Vec<Hit> {
    search(&store.log, query).unwrap().unwrap()
}

fn words(words: &str) -> Query {
    Query { words: words.into(), limit: 1_000, ..Query::default() }
}

fn found(store: &Store, asked: &str) -> Vec<OpId> {
    ask(store, &words(asked)).into_iter().map(|hit| hit.place.id).collect()
}

/// Words of a text as a reader sees them: runs of letters, and each letter alone where a script has no spaces.
fn read_words(text: &str) -> Vec<String> {
    let alone = |letter: char| matches!(letter, '\u{4e00}'..='\u{9fff}' | '\u{3040}'..='\u{30ff}');
    let mut words = vec![String::new()];
    for letter in text.to_lowercase().chars() {
        match letter {
            letter if alone(letter) => {
                words.push(letter.to_string());
                words.push(String::new());
            }
            letter if letter.is_alphanumeric() => words.last_mut().unwrap().push(plain(letter)),
            _ => words.push(String::new()),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn plain(letter: char) -> char {
    match letter {
        '\u{e4}' | '\u{e1}' => 'a',
        '\u{f6}' => 'o',
        '\u{fc}' => 'u',
        other => other,
    }
}

/// Whether a text has a phrase whose last word may go on.
fn has(text: &str, phrase: &str) -> bool {
    let (text, phrase) = (read_words(text), read_words(phrase));
    let Some((last, before)) = phrase.split_last() else { return false };
    text.windows(phrase.len())
        .any(|some| some.split_last().is_some_and(|(end, begin)| begin == before && end.starts_with(last.as_str())))
}

const TEXTS: [&str; 12] = [
    "The boats are in",
    "boat, boat, BOAT!",
    "\u{4f60}\u{597d}\u{4e16}\u{754c}",
    "\u{4e16}\u{4e0a}\u{4f60} ok \u{597d}",
    "Gr\u{fc}\u{df}e aus K\u{f6}ln",
    "gruppe 42",
    "\u{441}\u{43f}\u{430}\u{441}\u{438}\u{431}\u{43e} \u{431}\u{43e}\u{43b}\u{44c}\u{448}\u{43e}\u{435}",
    "\u{3053}\u{3093}\u{306b}\u{3061}\u{306f} boats",
    "tags:c1 OR NEAR(boats, 3) \"quoted\" -- *",
    "boats\u{200b}hidden \u{2}mark\u{3}",
    "\u{1f44d} thumbs",
    "42nd street",
];
const ASKED: [&str; 14] = [
    "boat",
    "boats",
    "the in",
    "\u{4f60}\u{597d}",
    "\u{4e16}",
    "gru",
    "kol",
    "\u{441}\u{43f}\u{430}",
    "\u{3093}\u{306b}",
    "42",
    "near",
    "quoted",
    "hidden",
    "nothing of this",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn searching_equals_reading_everything(
        said in proptest::collection::vec((1..5u8, 0..2_000u64, 0..TEXTS.len()), 1..24),
        step in 1..5usize,
        asked in 0..ASKED.len(),
        range in (0..2_000u64, 0..2_000u64),
    ) {
        let mut group = Group::new(1);
        let mut store = Store::of(&group);
        let ops: Vec<Incoming> = said.iter().map(|(author, ms, text)| group.text(*author, *ms, TEXTS[*text])).collect();
        for some in ops.chunks(step) {
            store.take(&some.iter().filter(|op| op.op.header.author.0[0] != OWN).cloned().collect::<Vec<_>>());
            store.write(&some.iter().filter(|op| op.op.header.author.0[0] == OWN).cloned().collect::<Vec<_>>());
            indexed(&mut store);
        }
        let asked = ASKED[asked];
        let shown = store.all(&group.conversation);
        let model = |keep: &dyn Fn(&tombolo_store::Message) -> bool| -> Vec<OpId> {
            let each = |message: &&tombolo_store::Message| asked.split(' ').all(|word| has(&message.text, word));
            shown.iter().rev().filter(each).filter(|message| keep(message)).map(|message| message.id()).collect()
        };
        let as_set = |ids: Vec<OpId>| ids.into_iter().collect::<BTreeSet<_>>();
        prop_assert_eq!(as_set(found(&store, asked)), as_set(model(&|_| true)));
        // Newest first.
        let times: Vec<u64> = ask(&store, &words(asked)).iter().map(|hit| hit.place.time_ms()).collect();
        prop_assert!(times.is_sorted_by(|a, b| a >= b), "{:?}", times);
        // By person, by time, by both.
        let person = AccountId([account(1); 32]);
        let (from, to) = (START_MS + range.0.min(range.1), START_MS + range.0.max(range.1));
        let query = Query {
            author: Some(person),
            after_ms: Some(from),
            before_ms: Some(to),
            conversation: Some(group.conversation),
            ..words(asked)
        };
        let hits: Vec<OpId> = ask(&store, &query).into_iter().map(|hit| hit.place.id).collect();
        let mine = |message: &tombolo_store::Message| {
            message.author.0[0] == 1 && (from..to).contains(&message.time_ms())
        };
        prop_assert_eq!(as_set(hits), as_set(model(&mine)));
        // In pages of two, nothing twice and nothing left out.
        let mut paged = Vec::new();
        let mut query = Query { limit: 2, ..words(asked) };
        loop {
            let page = ask(&store, &query);
            let Some(last) = page.last() else { break };
            query.older_than = Some(last.row);
            paged.extend(page.iter().map(|hit| hit.place.id));
        }
        prop_assert_eq!(paged, found(&store, asked));
        // A rebuild forgets the index, and it comes back the same.
        store.rebuild();
        prop_assert_eq!(found(&store, asked), vec![]);
        indexed(&mut store);
        prop_assert_eq!(as_set(found(&store, asked)), as_set(model(&|_| true)));
    }
}

#[test]
fn excerpts_say_where_the_words_are() {
    let mut group = Group::new(1);
    let mut store = Store::of(&group);
    store.take(&[group.text(1, 10, "All the \u{4f60}\u{597d} boats are in")]);
    indexed(&mut store);
    let hit = ask(&store, &words("\u{4f60}\u{597d} BOAT")).remove(0);
    let found: Vec<&str> = hit.found.iter().map(|(from, to)| &hit.excerpt[*from..*to]).collect();
    assert_eq!(hit.excerpt, "All the \u{4f60}\u{597d} boats are in");
    assert!(found.contains(&"boats") && found.concat().starts_with("\u{4f60}\u{597d}"), "{found:?}");
}

#[test]
fn edits_move_a_message_and_deletions_take_it_out() {
    let mut group = Group::new(1);
    let mut store = Store::of(&group);
    let said = group.text(1, 10, "The boats are in");
    let at = MessageRef { hlc: said.op.header.hlc, id: said.op.id };
    store.take(std::slice::from_ref(&said));
    indexed(&mut store);
    assert_eq!(found(&store, "boats"), [at.id]);
    let splices = vec![Splice { at: 4, delete: 5, insert: "ships".into() }];
    let edit = Edit { target: Target::Message(at), bases: vec![], splices, whole: Some("The ships are in".into()) };
    store.take(&[group.say(1, 20, &Content::Edit(edit))]);
    indexed(&mut store);
    assert_eq!((found(&store, "boats"), found(&store, "ships")), (vec![], vec![at.id]));
    store.take(&[group.say(1, 30, &Content::Delete(Delete { message: at, withdrawn: None }))]);
    indexed(&mut store);
    assert_eq!(found(&store, "ships"), []);
}

#[test]
fn what_was_taken_back_is_found_again() {
    let mut group = Group::new(1);
    let mut store = Store::of(&group);
    let said = group.text(1, 10, "The boats are in");
    let at = MessageRef { hlc: said.op.header.hlc, id: said.op.id };
    let body = Content::Delete(Delete { message: at, withdrawn: None }).to_padded().unwrap();
    let hlc = Hlc::new(START_MS + 20, 0);
    let op = group.write_with(1, Class::Content, hlc, &[], &body, (&[at.id], 0));
    let delete = Incoming { op, control: None };
    let content = Body { text: "The boats are in".into(), ..Body::default() };
    let restore = Restore { message: at, tags: vec![delete.op.id], content };
    let restore = group.say(1, 30, &Content::Restore(Box::new(restore)));
    store.take(&[said]);
    indexed(&mut store);
    assert_eq!(found(&store, "boats"), [at.id]);
    store.take(&[delete]);
    assert_eq!(found(&store, "boats"), [], "in the same transaction as the body");
    indexed(&mut store);
    store.take(&[restore]);
    indexed(&mut store);
    assert_eq!(found(&store, "boats"), [at.id]);
}

#[test]
fn files_are_found_by_name_and_imports_by_text() {
    let mut group = Group::new(1);
    let mut store = Store::of(&group);
    let (name, media) = ("harbour-map.pdf".into(), "application/pdf".into());
    let file = File { blob: [1; 32], key: [2; 32], bytes: 5, name, media, image: None };
    let body = Body { text: "Look".into(), files: Some(vec![file]), ..Body::default() };
    let with_file = group.say(1, 10, &Content::Message(Box::new(body)));
    store.take(&[
        with_file.clone(),
        group.text(3, 20, "Look here"),
        group.say(3, 30, &line(4)),
        group.say(1, 31, &line(4)),
    ]);
    indexed(&mut store);
    assert_eq!(found(&store, "harbour"), [with_file.op.id]);
    let query = Query { with_files: true, ..words("look") };
    assert_eq!(ask(&store, &query).len(), 1);
    assert_eq!(found(&store, "look").len(), 2);
    assert_eq!(found(&store, "\"line 4\"").len(), 1, "two imports of one line are one message");
}

#[test]
fn what_could_not_be_read_is_found_once_it_can() {
    let mut group = Group::new(1);
    let mut store = Store::of(&group);
    store.has_key.store(false, std::sync::atomic::Ordering::Relaxed);
    store.take(&[group.text(1, 10, "sealed boats")]);
    indexed(&mut store);
    assert_eq!(found(&store, "boats"), []);
    store.has_key.store(true, std::sync::atomic::Ordering::Relaxed);
    let mut batch = store.log.batch().unwrap();
    let (reader, tx) = (batch.reads().unwrap(), batch.transaction().unwrap());
    store.views.reopen(reader, tx, &group.conversation).unwrap();
    batch.commit().unwrap();
    assert!(is_behind(&store.log).unwrap(), "nothing new has come, and yet there is something to find");
    indexed(&mut store);
    assert_eq!(found(&store, "boats").len(), 1);
    assert!(!is_behind(&store.log).unwrap());
    // An op from the future is found when its time has come.
    let late = group.text(1, NOW_MS - START_MS + 3_600_000, "early boats");
    store.take(std::slice::from_ref(&late));
    indexed(&mut store);
    assert_eq!(found(&store, "early"), []);
    let mut batch = store.log.batch().unwrap();
    batch.release_early(NOW_MS + 3_600_000, &mut store.views).unwrap();
    batch.commit().unwrap();
    indexed(&mut store);
    assert_eq!(found(&store, "early"), [late.op.id]);
}

#[test]
fn nothing_asked_is_an_error_and_no_word_finds_nothing() {
    let group = Group::new(1);
    let store = Store::of(&group);
    assert!(search(&store.log, &words(" ")).unwrap().is_err());
    assert!(search(&store.log, &Query { conversation: Some(group.conversation), ..words("") }).unwrap().is_err());
    assert_eq!(ask(&store, &words("?! --")), []);
    for hostile in ["\"", "a\"b", "* OR", "words:", "(", "NOT NOT", "\0", "{words}", "^boat", "a + b", "''"] {
        let _ = search(&store.log, &words(hostile)).unwrap();
    }
    let long = "a ".repeat(100_000);
    assert_eq!(ask(&store, &words(&long)), []);
}
