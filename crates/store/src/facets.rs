//! What a message looks like: one pure function of its row and of the ops beside it.
//!
//! Responsible for: which edits, deletions and reactions count, what text is shown, what is a conflict, what a message's
//! versions were. Rights are judged here, whenever it is looked at: a message is edited by its author's account, deleted
//! by that or by whoever founded the conversation; a deletion is taken back by the account that made it, and only the
//! author's account can say what a message said.
//! Not here: merging texts (`text.rs`), rows (`beside.rs`), registers and sets (`register.rs`).
//!
//! - Edits are a multi-value register: all versions are kept; those that nobody replaced are merged to one text. What
//!   does not fit the version that it names, or names what is not here, is kept and does not count in that text.
//! - Deletion is an observed-remove set over deletions: a restore takes back those that its author had seen.
//! - Reactions are counters per device; an account shows one if its devices' sum is above 0, so it counts once.

use crate::beside::Row;
use crate::look::SharedText;
use crate::text;
use std::collections::{BTreeMap, BTreeSet};
use tombolo_model::content::{Content, Edit, Message, MessageRef, Reaction, Restore, Target};
use tombolo_model::{AccountId, DeviceId, Hlc, OpId};

/// Versions of one message whose text is put together from splices when all are listed: each costs a walk over those
/// before it. Versions say their text themselves unless they are long.
const MADE_MAX: usize = 100;

/// Who is who, as far as rights depend on it.
#[derive(Clone, Copy)]
pub(crate) struct People<'a> {
    /// The account behind a device.
    pub(crate) account: &'a dyn Fn(&DeviceId) -> Option<AccountId>,
    /// The account that founded the conversation.
    pub(crate) founder: Option<AccountId>,
}

/// A message as its own op has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Root<'a> {
    pub(crate) at: MessageRef,
    pub(crate) author: DeviceId,
    /// `None` when it is not here any more.
    pub(crate) text: Option<&'a str>,
}

/// A version of a message's text.
#[derive(Clone, PartialEq, Eq)]
pub struct Version {
    /// The op that made it.
    pub id: OpId,
    /// Its clock reading.
    pub hlc: Hlc,
    /// The device that wrote it.
    pub device: DeviceId,
    /// The versions that it replaces; none = the first one.
    pub bases: Vec<OpId>,
    /// The text; `None` when it is gone.
    pub text: Option<String>,
    /// Nothing that is known replaces it.
    pub current: bool,
}

/// Who deleted a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// The op: what a restore names.
    pub id: OpId,
    /// When.
    pub hlc: Hlc,
    /// With which device.
    pub device: DeviceId,
    /// It had not left its author's device: nothing is shown in its place.
    pub withdrawn: bool,
}

/// A reaction and everybody who shows it, in the order in which they did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reacted {
    /// Which.
    pub emoji: String,
    /// Who.
    pub accounts: Vec<AccountId>,
}

/// What is shown of a message beside its place.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Facets {
    /// The text: the merged one of all current versions; of a deleted message that of an edit that came beside the
    /// deletion, if there is one.
    pub text: Option<String>,
    /// The versions that the text is made of; none = nobody edited it.
    pub current: Vec<OpId>,
    /// What an edit of the text as it is shown replaces: those versions, or the restore that it begins from.
    pub bases: Vec<OpId>,
    /// Number of edits that count.
    pub edits: usize,
    /// When it was edited last.
    pub edited: Option<Hlc>,
    /// Set while it is deleted: by the first deletion that nobody took back.
    pub deleted: Option<Deleted>,
    /// Deletions that nobody took back, oldest first.
    pub deletions: Vec<Deleted>,
    /// It was edited and deleted, each without knowing of the other.
    pub conflict: bool,
    /// Answers, quotes, mentions and files; its text is not here.
    pub message: Message,
    /// By emoji, those first that were used first.
    pub reactions: Vec<Reacted>,
}

impl std::fmt::Debug for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Version").field("id", &self.id).field("current", &self.current).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Facets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Facets")
            .field("edits", &self.edits)
            .field("deleted", &self.deleted)
            .field("conflict", &self.conflict)
            .finish_non_exhaustive()
    }
}

/// The ops beside one message that count, sorted out.
struct Counted<'a> {
    edits: Vec<(&'a Row, &'a Edit)>,
    deletions: Vec<Deleted>,
    restores: Vec<(&'a Row, &'a Restore)>,
    /// Those of the author's account.
    said: Vec<(&'a Row, &'a Restore)>,
    reactions: Vec<(&'a Row, &'a Reaction)>,
    message: Option<&'a Message>,
}

impl<'a> Counted<'a> {
    fn of(root: &Root<'_>, rows: &'a [Row], people: People<'_>) -> Self {
        let author = (people.account)(&root.author);
        let by_author =
            |row: &Row| row.device == root.author || (author.is_some() && (people.account)(&row.device) == author);
        let mut counted =
            Self { edits: vec![], deletions: vec![], restores: vec![], said: vec![], reactions: vec![], message: None };
        for row in rows {
            // What names a message was written after it, whatever its clock says: an id is a hash. A device whose clock
            // was put right edits and deletes what it wrote while that was ahead.
            match &row.content {
                Content::Message(message) if row.id == root.at.id => counted.message = Some(message),
                Content::Edit(edit) if edit.target == Target::Message(root.at) && by_author(row) => {
                    counted.edits.push((row, edit));
                }
                Content::Delete(delete) if delete.message == root.at => {
                    let moderator = people.founder.is_some() && (people.account)(&row.device) == people.founder;
                    if by_author(row) || moderator {
                        let withdrawn = delete.withdrawn == Some(true) && by_author(row);
                        counted.deletions.push(Deleted { id: row.id, hlc: row.hlc, device: row.device, withdrawn });
                    }
                }
                Content::Restore(restore) if restore.message == root.at => {
                    counted.restores.push((row, restore));
                    if by_author(row) {
                        counted.said.push((row, restore));
                    }
                }
                Content::Reaction(reaction) if reaction.message == Reaction::names(&root.at.id) => {
                    counted.reactions.push((row, reaction));
                }
                _ => {}
            }
        }
        counted
    }

    /// Deletions that no restore of the same account has seen.
    fn standing(&self, people: People<'_>) -> Vec<Deleted> {
        let same = |a: &DeviceId, b: &DeviceId| {
            a == b || ((people.account)(a).is_some() && (people.account)(a) == (people.account)(b))
        };
        let taken_back = |deleted: &&Deleted| {
            let names = |(row, restore): &(&Row, &Restore)| {
                restore.tags.contains(&deleted.id) && same(&row.device, &deleted.device)
            };
            !self.restores.iter().any(names)
        };
        self.deletions.iter().filter(taken_back).copied().collect()
    }

    /// The restore whose content counts: the last one of the author's account. The text begins anew with it.
    fn restored(&self) -> Option<(&'a Row, &'a Restore)> {
        self.said.iter().copied().max_by_key(|(row, _)| row.order())
    }

    /// The edits that begin from the text as it is now: those that go back to the last restore; all where there is none.
    fn of_generation(&self, restored: Option<OpId>) -> Vec<(&'a Row, &'a Edit)> {
        let Some(restored) = restored else { return self.edits.clone() };
        let mut standing_on: BTreeMap<OpId, Vec<OpId>> = BTreeMap::new();
        for (row, edit) in &self.edits {
            for base in &edit.bases {
                standing_on.entry(*base).or_default().push(row.id);
            }
        }
        let mut kept = BTreeSet::new();
        let mut next = vec![restored];
        while let Some(id) = next.pop() {
            let found = standing_on.remove(&id).unwrap_or_default();
            next.extend(found.into_iter().filter(|id| kept.insert(*id)));
        }
        self.edits.iter().copied().filter(|(row, _)| kept.contains(&row.id)).collect()
    }
}

/// What a message looks like. `rows`: everything beside it, by (clock reading, id).
pub(crate) fn facets(root: &Root<'_>, rows: &[Row], people: People<'_>) -> Facets {
    let counted = Counted::of(root, rows, people);
    let standing = counted.standing(people);
    let restored = counted.restored();
    let edits = counted.of_generation(restored.map(|(row, _)| row.id));
    let (first, message) = match restored {
        Some((_, restore)) => (Some(restore.content.text.as_str()), Some(&restore.content)),
        None => (root.text, counted.message),
    };
    let mut facets = Facets {
        edits: edits.len(),
        edited: edits.iter().map(|(row, _)| row.hlc).max(),
        deleted: standing.iter().copied().min_by_key(|deleted| (deleted.hlc, deleted.id)),
        deletions: standing,
        reactions: reactions(&counted.reactions, people),
        ..Facets::default()
    };
    if let Some(message) = message {
        facets.message = Message { text: String::new(), ..message.clone() };
    }
    let (text, current) = text_of(first, restored.map(|(row, _)| row.id), &edits);
    if facets.deleted.is_some() {
        // The bodies of the edits that the deletion knew of are gone: what is still here came beside it.
        facets.conflict = !edits.is_empty();
        facets.message = Message::default();
    }
    let begins = restored.map(|(row, _)| row.id).into_iter().collect();
    facets.bases = if current.is_empty() { begins } else { current.clone() };
    (facets.text, facets.current) = (text, current);
    facets
}

/// The versions of a message's text, oldest first: the first one, then every edit, those of before a restore included.
pub(crate) fn versions(root: &Root<'_>, rows: &[Row], people: People<'_>) -> Vec<Version> {
    let counted = Counted::of(root, rows, people);
    let restored = counted.restored();
    let begins = restored.map(|(row, _)| row.id);
    let (first, edits) = match restored {
        Some((_, restore)) => (Some(restore.content.text.as_str()), counted.of_generation(begins)),
        None => (root.text, counted.edits.clone()),
    };
    // What an edit made of the text, if it does not say so itself and what it was made on is still here.
    let made = |id: &OpId| first.and_then(|first| text::version(first, &pure(begins, &edits), id));
    let current: BTreeSet<OpId> = facets(root, rows, people).current.into_iter().collect();
    let mut versions = vec![Version {
        id: root.at.id,
        hlc: root.at.hlc,
        device: root.author,
        bases: vec![],
        text: root.text.map(str::to_owned),
        current: current.is_empty() && counted.said.is_empty(),
    }];
    for (row, restore) in &counted.said {
        versions.push(Version {
            id: row.id,
            hlc: row.hlc,
            device: row.device,
            bases: restore.tags.clone(),
            text: Some(restore.content.text.clone()),
            current: current.is_empty() && counted.restored().is_some_and(|(last, _)| last.id == row.id),
        });
    }
    let mut made_left = MADE_MAX;
    // The newest ones first: they are looked for.
    for (row, edit) in counted.edits.iter().rev() {
        let made = || {
            made_left = made_left.checked_sub(1)?;
            made(&row.id)
        };
        versions.push(Version {
            id: row.id,
            hlc: row.hlc,
            device: row.device,
            bases: edit.bases.clone(),
            text: edit.whole.clone().or_else(made),
            current: current.contains(&row.id),
        });
    }
    versions.sort_by_key(|version| (version.hlc, version.id));
    versions
}

/// The text that edits make of the first one, and which of them are current. Where one version is current and was
/// written as a whole, that is the text; otherwise it is merged.
fn text_of(first: Option<&str>, begins: Option<OpId>, edits: &[(&Row, &Edit)]) -> (Option<String>, Vec<OpId>) {
    let replaced: BTreeSet<OpId> = edits.iter().flat_map(|(_, edit)| &edit.bases).copied().collect();
    let current: Vec<(&Row, &Edit)> = edits.iter().copied().filter(|(row, _)| !replaced.contains(&row.id)).collect();
    let last = current.last().and_then(|(_, edit)| edit.whole.clone());
    let text = match (current.len(), first) {
        (1, _) if last.is_some() => last,
        (0, _) => first.map(str::to_owned),
        (_, None) => last,
        (_, Some(first)) => {
            let merged = text::merge(first, &pure(begins, edits));
            // Nothing fits: what they were meant to be is better than nothing.
            if merged.heads.is_empty() { last.or(Some(merged.text)) } else { Some(merged.text) }
        }
    };
    (text, current.iter().map(|(row, _)| row.id).collect())
}

/// Edits as they are merged. What they begin from, where that is a restore, is the root and no edit.
fn pure(begins: Option<OpId>, edits: &[(&Row, &Edit)]) -> Vec<text::Edit> {
    let pure = |(row, edit): &(&Row, &Edit)| {
        let bases = edit.bases.iter().copied().filter(|base| Some(*base) != begins).collect();
        text::Edit { id: row.id, author: row.device, bases, splices: edit.splices.clone() }
    };
    edits.iter().map(pure).collect()
}

/// Who shows which reaction.
fn reactions(rows: &[(&Row, &Reaction)], people: People<'_>) -> Vec<Reacted> {
    struct Count {
        sum: i64,
        first: (Hlc, OpId),
    }
    let mut counts: BTreeMap<(&str, AccountId), Count> = BTreeMap::new();
    for (row, reaction) in rows {
        let Some(account) = (people.account)(&row.device) else { continue };
        let count =
            counts.entry((reaction.emoji.as_str(), account)).or_insert_with(|| Count { sum: 0, first: row.order() });
        count.sum += i64::from(reaction.by);
    }
    type Since = ((Hlc, OpId), AccountId);
    let mut shown: BTreeMap<&str, Vec<Since>> = BTreeMap::new();
    for ((emoji, account), count) in counts {
        if count.sum > 0 {
            shown.entry(emoji).or_default().push((count.first, account));
        }
    }
    let mut reacted: Vec<((Hlc, OpId), Reacted)> = Vec::with_capacity(shown.len());
    for (emoji, mut who) in shown {
        who.sort_unstable();
        let accounts = who.iter().map(|(_, account)| *account).collect();
        reacted.push((who[0].0, Reacted { emoji: emoji.to_owned(), accounts }));
    }
    reacted.sort_by(|(a, x), (b, y)| (a, &x.emoji).cmp(&(b, &y.emoji)));
    reacted.into_iter().map(|(_, reacted)| reacted).collect()
}

/// The sum of an account's counters for a reaction: what a toggle starts from.
pub(crate) fn sum_of(rows: &[Row], at: &MessageRef, emoji: &str, account: &AccountId, people: People<'_>) -> i64 {
    let names = Reaction::names(&at.id);
    let of = |row: &&Row| (people.account)(&row.device) == Some(*account);
    rows.iter()
        .filter(of)
        .map(|row| match &row.content {
            Content::Reaction(reaction) if reaction.message == names && reaction.emoji == emoji => {
                i64::from(reaction.by)
            }
            _ => 0,
        })
        .sum()
}

/// A text that begins empty.
pub(crate) fn shared(rows: &[Row], target: &Target) -> SharedText {
    let edits: Vec<(&Row, &Edit)> = rows
        .iter()
        .filter_map(|row| match &row.content {
            Content::Edit(edit) if edit.target == *target => Some((row, edit)),
            _ => None,
        })
        .collect();
    let merged = text::merge("", &pure(None, &edits));
    SharedText { text: merged.text, heads: merged.heads, changed: edits.iter().map(|(row, _)| row.hlc).max() }
}
