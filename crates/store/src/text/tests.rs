//! Texts of several hands against an oracle of another shape: a plain automerge document for every edit, made by merging
//! those of its bases, without windows, stretches, strings or counters of our own.
#![allow(clippy::unwrap_used)]

use super::document::Document;
use super::window::Window;
use super::*;
use automerge::transaction::{CommitOptions, Transactable as _};
use automerge::{ActorId, Automerge, ObjId, ObjType, ROOT, ReadDoc as _, TextEncoding};
use proptest::prelude::*;
use tombolo_model::limit::SHARED_TEXT_BYTES_MAX;

/// Histories that every law is tried on.
const CASES: u32 = 10_000;

fn id(number: u64) -> OpId {
    // Well mixed, so that ids do not follow the order in which edits are made.
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678;
    OpId(std::array::from_fn(|_| {
        state = state.wrapping_mul(0xbf58_476d_1ce4_e5b9).rotate_left(17) ^ number;
        (state >> 32) as u8
    }))
}

/// See the head of this file.
struct Oracle {
    root: Automerge,
    text: ObjId,
    documents: BTreeMap<OpId, Automerge>,
    lines: BTreeMap<OpId, (DeviceId, OpId)>,
    void: BTreeSet<OpId>,
}

impl Oracle {
    fn new(root: &str) -> Self {
        let mut document = Automerge::new_with_encoding(TextEncoding::UnicodeCodePoint);
        document.set_actor(ActorId::from(&[0_u8][..]));
        let mut transaction = document.transaction();
        let text = transaction.put_object(ROOT, "text", ObjType::Text).unwrap();
        transaction.splice_text(&text, 0, 0, root).unwrap();
        transaction.commit_with(CommitOptions::default().with_time(0));
        Self { root: document, text, documents: BTreeMap::new(), lines: BTreeMap::new(), void: BTreeSet::new() }
    }

    fn at<'a>(&self, ids: impl IntoIterator<Item = &'a OpId>) -> Automerge {
        let mut document = self.root.clone();
        for id in ids {
            document.merge(&mut self.documents[id].clone()).unwrap();
        }
        document
    }

    fn text_at<'a>(&self, ids: impl IntoIterator<Item = &'a OpId>) -> String {
        self.at(ids).text(&self.text).unwrap()
    }

    /// Whether it counts.
    fn push(&mut self, edit: &Edit) {
        if self.documents.contains_key(&edit.id) || self.void.contains(&edit.id) {
            return;
        }
        let made = (!edit.bases.iter().any(|base| self.void.contains(base))).then(|| self.make(edit)).flatten();
        if let Some(document) = made {
            self.documents.insert(edit.id, document);
        } else {
            self.void.insert(edit.id);
        }
    }

    fn make(&mut self, edit: &Edit) -> Option<Automerge> {
        let own = edit.bases.iter().filter(|base| self.lines[*base].0 == edit.author).max();
        let line = own.map_or(edit.id, |own| self.lines[own].1);
        let mut document = self.at(&edit.bases);
        document.set_actor(ActorId::from([line.0, edit.id.0].concat()));
        let mut transaction = document.transaction();
        for splice in &edit.splices {
            if splice.at as usize + splice.delete as usize > transaction.length(&self.text) {
                return None;
            }
            transaction.splice_text(&self.text, splice.at as usize, splice.delete as isize, &splice.insert).unwrap();
        }
        transaction.commit_with(CommitOptions::default().with_time(0));
        if document.text(&self.text).unwrap().len() > SHARED_TEXT_BYTES_MAX {
            return None;
        }
        self.lines.insert(edit.id, (edit.author, line));
        Some(document)
    }

    fn merged(root: &str, edits: &[Edit]) -> Merged {
        let mut oracle = Self::new(root);
        let mut left: BTreeMap<OpId, Edit> = edits.iter().map(|edit| (edit.id, edit.clone())).collect();
        let known = |oracle: &Self, id: &OpId| oracle.documents.contains_key(id) || oracle.void.contains(id);
        while let Some(id) =
            left.values().find(|edit| edit.bases.iter().all(|base| known(&oracle, base))).map(|edit| edit.id)
        {
            oracle.push(&left.remove(&id).unwrap());
        }
        let counted: Vec<&Edit> = edits.iter().filter(|edit| oracle.documents.contains_key(&edit.id)).collect();
        let on: BTreeSet<&OpId> = counted.iter().flat_map(|edit| &edit.bases).collect();
        let heads: BTreeSet<OpId> = counted.iter().map(|edit| edit.id).filter(|id| !on.contains(id)).collect();
        Merged {
            text: oracle.text_at(oracle.documents.keys()),
            heads: heads.into_iter().collect(),
            void: oracle.void.iter().copied().collect(),
            waiting: left.into_keys().collect(),
        }
    }
}

/// What somebody does next.
#[derive(Clone, Debug)]
enum Step {
    /// Writes on what is known.
    Write(u8, Vec<(u16, u8, String)>),
    /// Learns what another knows.
    Learn(u8, u8),
    /// Writes on any edits there are, whatever was written before: a device that contradicts itself, too.
    Anywhere(u8, u16, u16, Vec<(u16, u8, String)>),
    /// Writes what does not fit.
    Misfit(u8, u8),
}

fn splices_of_any() -> impl Strategy<Value = Vec<(u16, u8, String)>> {
    proptest::collection::vec((any::<u16>(), 0u8..4, "[a-zé\u{1f600}]{0,3}"), 0..3)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u8..5, splices_of_any()).prop_map(|(who, what)| Step::Write(who, what)),
        3 => (0u8..5, 0u8..5).prop_map(|(who, whom)| Step::Learn(who, whom)),
        2 => (0u8..5, any::<u16>(), any::<u16>(), splices_of_any()).prop_map(|(who, a, b, what)| Step::Anywhere(who, a, b, what)),
        1 => (0u8..5, 0u8..4).prop_map(|(who, by)| Step::Misfit(who, by)),
    ]
}

/// The edits of a history, each after its bases.
fn history(root: &str, steps: &[Step]) -> Vec<Edit> {
    let mut oracle = Oracle::new(root);
    let mut edits: Vec<Edit> = Vec::new();
    let mut known: Vec<BTreeSet<OpId>> = vec![BTreeSet::new(); 5];
    for step in steps {
        let heads = |known: &BTreeSet<OpId>, edits: &[Edit]| -> Vec<OpId> {
            let on: BTreeSet<OpId> =
                edits.iter().filter(|edit| known.contains(&edit.id)).flat_map(|edit| edit.bases.clone()).collect();
            known.difference(&on).copied().collect()
        };
        let (who, bases, what) = match step {
            Step::Learn(who, whom) => {
                let news = known[*whom as usize].clone();
                known[*who as usize].extend(news);
                continue;
            }
            Step::Write(who, what) => {
                let mut counting = known[*who as usize].clone();
                counting.retain(|id| !oracle.void.contains(id));
                (*who, heads(&counting, &edits), Some(what.clone()))
            }
            Step::Anywhere(who, a, b, what) => {
                let pick = |at: &u16| edits.get(*at as usize % (edits.len() + 1)).map(|edit| edit.id);
                let bases: BTreeSet<OpId> = [pick(a), pick(b)].into_iter().flatten().collect();
                (*who, bases.into_iter().collect(), Some(what.clone()))
            }
            Step::Misfit(who, by) => {
                (*who, heads(&known[*who as usize], &edits), Some(vec![(u16::MAX, *by, "x".into())]))
            }
        };
        let mut splices = Vec::new();
        if !bases.iter().any(|base| oracle.void.contains(base)) {
            let mut len = oracle.text_at(&bases).chars().count();
            for (at, delete, insert) in what.unwrap_or_default() {
                let (at, delete) = match at {
                    u16::MAX => (len + delete as usize, 1),
                    at => {
                        let at = at as usize % (len + 1);
                        (at, (delete as usize).min(len - at))
                    }
                };
                len = (len + insert.chars().count()).saturating_sub(delete);
                splices.push(Splice { at: at as u32, delete: delete as u32, insert });
            }
        }
        let edit = Edit { id: id(edits.len() as u64), author: DeviceId([who; 32]), bases, splices };
        oracle.push(&edit);
        known[who as usize].insert(edit.id);
        edits.push(edit);
    }
    edits
}

fn shuffled(edits: &[Edit], mut seed: u64) -> Vec<Edit> {
    let mut order = edits.to_vec();
    for at in (1..order.len()).rev() {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        order.swap(at, (seed >> 33) as usize % (at + 1));
    }
    order
}

fn tangled(root: &str, edits: &[Edit]) -> String {
    let mut document = Document::new(root);
    edits.iter().for_each(|edit| document.apply(edit.clone()));
    document.by_tangle()
}

fn try_laws(root: &str, steps: &[Step], seed: u64) -> Result<(), TestCaseError> {
    let edits = history(root, steps);
    let expected = Oracle::merged(root, &edits);
    // Commutative and associative: any order. Idempotent: any repetition.
    prop_assert_eq!(&merge(root, &edits), &expected);
    let mut order = shuffled(&edits, seed);
    order.extend(shuffled(&edits, seed ^ 7).into_iter().take(3));
    prop_assert_eq!(&merge(root, &order), &expected);
    // What is asked in between changes nothing.
    let mut live = Document::new(root);
    let half = order.len() / 2;
    for (at, edit) in order.iter().enumerate() {
        live.apply(edit.clone());
        let text = live.text();
        if at + 1 == half {
            prop_assert_eq!(text, Oracle::merged(root, &order[..half]).text);
        }
    }
    prop_assert_eq!(live.text(), expected.text.clone());
    prop_assert_eq!(tangled(root, &order), expected.text);
    if let Some(edit) = edits.get(seed as usize % edits.len().max(1)) {
        let mut oracle = Oracle::new(root);
        edits.iter().for_each(|edit| oracle.push(edit));
        let alone = oracle.documents.contains_key(&edit.id).then(|| oracle.text_at([&edit.id]));
        prop_assert_eq!(version(root, &order, &edit.id), alone);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, ..ProptestConfig::default() })]

    #[test]
    fn a_set_of_edits_is_one_text(root in "[a-z ]{0,12}", steps in proptest::collection::vec(step(), 0..10), seed in any::<u64>()) {
        try_laws(&root, &steps, seed)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES / 50, ..ProptestConfig::default() })]

    #[test]
    fn long_texts_and_histories_too(root in "[a-zé ]{0,700}", steps in proptest::collection::vec(step(), 20..60), seed in any::<u64>()) {
        try_laws(&root, &steps, seed)?;
    }
}

/// A chain of edits, each on all before.
fn chain(root: &str, steps: &[(u16, u8, String)]) -> Vec<Edit> {
    let mut len = root.chars().count();
    let mut edits: Vec<Edit> = Vec::new();
    for (at, delete, insert) in steps {
        let at = *at as usize % (len + 1);
        let delete = (*delete as usize).min(len - at);
        len = len + insert.chars().count() - delete;
        let bases = edits.last().map(|edit| edit.id).into_iter().collect();
        let number = edits.len() as u64;
        let splices = vec![Splice { at: at as u32, delete: delete as u32, insert: insert.clone() }];
        edits.push(Edit { id: id(number), author: DeviceId([(number % 3) as u8; 32]), bases, splices });
    }
    edits
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, ..ProptestConfig::default() })]

    /// A chain needs no automerge, and gives the same as with it.
    #[test]
    fn a_chain_is_spliced(root in "[a-zé ]{0,40}", steps in proptest::collection::vec((any::<u16>(), 0u8..6, "[a-z\u{1f600}]{0,4}"), 1..12)) {
        let edits = chain(&root, &steps);
        let mut document = Document::new(&root);
        edits.iter().for_each(|edit| document.apply(edit.clone()));
        prop_assert!(!document.has_window());
        let text = document.text();
        prop_assert_eq!(&text, &document.by_window());
        prop_assert_eq!(&text, &document.by_tangle());
        if edits.len() < 5 {
            prop_assert_eq!(text, Oracle::merged(&root, &edits).text);
        }
    }
}

fn insert(number: u64, author: u8, bases: &[OpId], at: u32, text: &str) -> Edit {
    let splices = vec![Splice { at, delete: 0, insert: text.into() }];
    let mut bases = bases.to_vec();
    bases.sort_unstable();
    Edit { id: id(number), author: DeviceId([author; 32]), bases, splices }
}

#[test]
fn two_words_at_one_place_are_both_kept_whole() {
    let edits = [insert(1, 1, &[], 4, "red "), insert(2, 2, &[], 4, "old ")];
    let merged = merge("the boat", &edits);
    assert!(["the red old boat", "the old red boat"].contains(&merged.text.as_str()), "{}", merged.text);
    assert!(merged.concurrent());
    assert_eq!(version("the boat", &edits, &id(1)).unwrap(), "the red boat");
    let joined = insert(3, 1, &merged.heads, 0, "");
    let after = merge("the boat", &[edits[0].clone(), edits[1].clone(), joined]);
    assert_eq!((after.text, after.heads), (merged.text, vec![id(3)]));
}

#[test]
fn what_does_not_fit_is_void_and_so_is_what_is_made_on_it() {
    let edits = [insert(1, 1, &[], 3, "x"), insert(2, 2, &[id(1)], 0, "y"), insert(3, 3, &[id(9)], 0, "z")];
    let merged = merge("ab", &edits);
    let mut void = vec![id(1), id(2)];
    void.sort_unstable();
    assert_eq!(merged, Merged { text: "ab".into(), heads: vec![], void, waiting: vec![id(3)] });
    assert_eq!(version("ab", &edits, &id(2)), None);
    assert_eq!(version("ab", &edits, &id(3)), None);
}

#[test]
fn a_text_that_grows_without_end_stops_at_its_limit() {
    let half = "x".repeat(SHARED_TEXT_BYTES_MAX / 2);
    let mut edits = vec![insert(1, 1, &[], 0, &half), insert(2, 1, &[id(1)], 0, &half)];
    edits.push(insert(3, 1, &[id(2)], 0, "y"));
    let merged = merge("", &edits);
    assert_eq!((merged.text.len(), merged.void), (SHARED_TEXT_BYTES_MAX, vec![id(3)]));
    // Side by side, each within the limit, the sum above it: shown, and only what shortens it counts.
    let wide = [insert(1, 1, &[], 0, &half), insert(2, 2, &[], 0, &half), insert(3, 3, &[], 0, "zz")];
    let merged = merge("", &wide);
    assert_eq!(merged.text.len(), SHARED_TEXT_BYTES_MAX + 2);
    let mut longer = wide.to_vec();
    longer.push(insert(4, 1, &merged.heads, 0, ""));
    assert_eq!(merge("", &longer).void, [id(4)]);
    let mut shorter = wide.to_vec();
    shorter.push(insert(5, 1, &merged.heads, 0, ""));
    shorter[3].splices[0].delete = 2;
    let merged = merge("", &shorter);
    assert_eq!((merged.text.len(), merged.heads), (SHARED_TEXT_BYTES_MAX, vec![id(5)]));
}

/// Ten thousand edits of one text, in the shapes that cost most: the time limit of the test runner bounds them.
#[test]
fn hostile_histories_have_bounded_cost() {
    let root = "a".repeat(2_000);
    let count: u64 = 10_000;
    let all_at_once: Vec<Edit> = (0..count).map(|at| insert(at, at as u8, &[], (at % 2_000) as u32, "x")).collect();
    let merged = merge(&root, &all_at_once);
    assert_eq!((merged.text.len(), merged.heads.len()), (12_000, count as usize));
    // A long chain, then edits that jump back to any part of it, and join any two of what there is.
    let mut jumps: Vec<Edit> = Vec::new();
    for at in 0..count {
        let mut bases = if at < count / 2 {
            vec![at.wrapping_sub(1)]
        } else {
            vec![at.wrapping_mul(7_919) % (count / 2), count / 2 - 1 + at.wrapping_mul(104_729) % (at - count / 2 + 1)]
        };
        bases.dedup();
        let bases: Vec<OpId> = bases.into_iter().filter(|base| *base < at).map(id).collect();
        jumps.push(insert(at, (at % 7) as u8, &bases, (at * 31 % 2_000) as u32, "y"));
    }
    let merged = merge(&root, &jumps);
    assert_eq!((merged.text.len(), merged.void.len()), (12_000, 0));
    // In the worst order for whoever takes edits in one by one.
    jumps.reverse();
    assert_eq!(merge(&root, &jumps), merged);
}

#[test]
fn open_documents_are_bounded() {
    use tombolo_model::ConversationId;
    use tombolo_model::content::Target;
    let mut open = OpenTexts::new(4);
    let make = |root: &'static str| move || Ok::<_, ()>(Document::new(root));
    for number in 0..100_u8 {
        let note = Target::Note(number.to_string());
        open.get(ConversationId([number % 3; 16]), &note, make("root")).unwrap().apply(insert(
            u64::from(number),
            1,
            &[],
            0,
            "x",
        ));
        assert!(open.len() <= 4);
        // One that is used all the time stays.
        assert_eq!(
            open.get(ConversationId([9; 16]), &Target::Topic, make("topic")).unwrap().edits(),
            usize::from(number > 0)
        );
        if number == 0 {
            open.peek(ConversationId([9; 16]), &Target::Topic).unwrap().apply(insert(1, 1, &[], 0, "x"));
        }
    }
    assert!(open.peek(ConversationId([0; 16]), &Target::Note("0".into())).is_none());
    open.close(ConversationId([9; 16]), &Target::Topic);
    assert_eq!(open.len(), 3);
    assert_eq!(open.get(ConversationId([9; 16]), &Target::Topic, make("topic")).unwrap().text(), "topic");
    assert!(open.get(ConversationId([8; 16]), &Target::Topic, || Err(())).is_err());
    assert!(!open.is_empty() && open.len() <= 4);
}

impl Document {
    fn has_window(&self) -> bool {
        self.window().is_some()
    }

    /// The whole history as one window.
    fn by_window(&self) -> String {
        let (entries, split, root) = self.inside();
        let mut window = Window::new(0, root.clone());
        window.add(entries, split).unwrap();
        window.text(entries, split).text()
    }

    /// The same without automerge.
    fn by_tangle(&self) -> String {
        let (entries, _, root) = self.inside();
        let mut tangle = super::tangle::Tangle::new(root);
        tangle.add(entries, 0).unwrap();
        tangle.text().text()
    }
}
