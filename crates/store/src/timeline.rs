//! The timeline: a window of messages as the items that a screen draws, and the diffs from one window to the next.
//!
//! Pure: [`build`] is a function of what was read, [`diff`] of two windows. Date dividers, the read marker, gaps and
//! notices of late messages are items like messages, each with a stable key, so a screen moves only what moved. Not
//! here: reading (`read.rs`), deciding which window is shown (`client`).

use crate::{Message, Place, Section};
use std::collections::BTreeMap;
use tombolo_model::{DeviceId, Hlc, OpId};

/// A part of the history that is known to be missing: named, never silent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Clock reading below which nothing is missing: the gap stands at the first message above.
    pub after: Hlc,
    /// Clock reading from which on nothing is missing.
    pub before: Hlc,
    /// How many ops at least.
    pub missing: u64,
    /// Whose.
    pub authors: Vec<DeviceId>,
}

/// What identifies an item from one window to the next.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ItemKey {
    /// The heading of the imported part.
    Imported,
    /// A date, by section (a date may occur in both) and days since 1970.
    Day(Section, i64),
    /// The border between seen and new.
    New,
    /// A gap, by the reading above which it begins.
    Gap(Hlc),
    /// The notice of late messages.
    Late,
    /// A message.
    Message(OpId),
}

/// One item of the timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// Heading of the part that was brought in from elsewhere.
    Imported,
    /// Begins a date in local time.
    Day {
        /// Which part it stands in.
        section: Section,
        /// Days since 1970-01-01.
        days: i64,
    },
    /// Everything below is new.
    New {
        /// How many messages of others follow in this window.
        count: u64,
    },
    /// Messages are missing here.
    Gap(Gap),
    /// Late messages stand further up; drawn above the first message that was there before them.
    Late {
        /// How many of them nobody has looked at yet.
        count: u64,
        /// Where to jump: the oldest of them.
        first: Place,
    },
    /// A message.
    Message(Message),
}

impl Item {
    /// The item's name across windows.
    #[must_use]
    pub fn key(&self) -> ItemKey {
        match self {
            Self::Imported => ItemKey::Imported,
            Self::Day { section, days } => ItemKey::Day(*section, *days),
            Self::New { .. } => ItemKey::New,
            Self::Gap(gap) => ItemKey::Gap(gap.after),
            Self::Late { .. } => ItemKey::Late,
            Self::Message(message) => ItemKey::Message(message.id()),
        }
    }
}

/// What a window is made of.
#[derive(Clone, Copy, Debug)]
pub struct Window<'a> {
    /// Messages, oldest first, as `page` gives them.
    pub messages: &'a [Message],
    /// Gaps, in any order.
    pub gaps: &'a [Gap],
    /// How far this person had seen when the window was opened; `None` = nothing, and no border is drawn.
    pub seen: Option<Place>,
    /// The local device.
    pub own: DeviceId,
}

/// Makes the items of a window. `offset_s` says how many **seconds** local time is ahead of UTC at a moment
/// (milliseconds since 1970).
#[must_use]
pub fn build(window: &Window<'_>, offset_s: &dyn Fn(u64) -> i32) -> Vec<Item> {
    let mut gaps: Vec<&Gap> = window.gaps.iter().collect();
    gaps.sort_by_key(|gap| gap.after);
    gaps.dedup_by_key(|gap| gap.after);
    let mut gaps = gaps.into_iter().peekable();
    let is_new = |message: &Message| {
        message.author != window.own
            && message.place.section == Section::Native
            && window.seen.is_some_and(|seen| message.place > seen)
    };
    let new = window.messages.iter().filter(|message| is_new(message)).count() as u64;
    let mut late = window.messages.iter().filter(|message| message.late.is_some_and(|late| late.unseen)).peekable();
    let first_late = late.peek().map(|message| message.place);
    let late = late.count() as u64;

    let mut items = Vec::with_capacity(window.messages.len() + 8);
    let (mut day, mut marked) = (None::<(Section, i64)>, false);
    // The notice stands behind the last late message, where reading was going on.
    let last_late = window.messages.iter().rposition(|message| message.late.is_some_and(|late| late.unseen));
    for (at, message) in window.messages.iter().enumerate() {
        let section = message.place.section;
        if section == Section::Imported && at == 0 {
            items.push(Item::Imported);
        }
        if section == Section::Native {
            while let Some(gap) = gaps.next_if(|gap| gap.after <= message.hlc()) {
                items.push(Item::Gap(gap.clone()));
            }
        }
        let mut days = days(message.time_ms(), offset_s);
        if let Some((before, last)) = day
            && before == section
        {
            // Where clocks are set back over midnight, a date has begun for good.
            days = days.max(last);
        }
        if day != Some((section, days)) {
            day = Some((section, days));
            items.push(Item::Day { section, days });
        }
        if !marked && is_new(message) {
            marked = true;
            items.push(Item::New { count: new });
        }
        items.push(Item::Message(message.clone()));
        if let (true, Some(first)) = (last_late == Some(at), first_late) {
            items.push(Item::Late { count: late, first });
        }
    }
    items.extend(gaps.map(|gap| Item::Gap(gap.clone())));
    items
}

fn days(time_ms: u64, offset_s: &dyn Fn(u64) -> i32) -> i64 {
    let seconds = i64::try_from(time_ms / 1_000).unwrap_or(i64::MAX / 2);
    (seconds + i64::from(offset_s(time_ms))).div_euclid(86_400)
}

/// One step from a window to the next; indexes are those at the time of the step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Diff {
    /// A new item, or one that moved here.
    Insert {
        /// Its index afterwards.
        index: usize,
        /// The item.
        item: Item,
    },
    /// An item that is gone, or moves (an insert follows).
    Remove {
        /// Its index before.
        index: usize,
    },
    /// The same item with another content.
    Set {
        /// Its index.
        index: usize,
        /// The new content; its key is that of the old one.
        item: Item,
    },
}

/// The steps from one window to the next: removals from the end, then insertions and changes from the front. As many
/// items as possible stay where they are. The keys within each window must differ.
#[must_use]
pub fn diff(old: &[Item], new: &[Item]) -> Vec<Diff> {
    let place: BTreeMap<ItemKey, usize> = new.iter().enumerate().map(|(at, item)| (item.key(), at)).collect();
    // Where each old item stands in the new window.
    let targets: Vec<Option<usize>> = old.iter().map(|item| place.get(&item.key()).copied()).collect();
    let stays = staying(old, &targets);
    let mut steps = Vec::new();
    for at in (0..old.len()).rev() {
        if !stays[at] {
            steps.push(Diff::Remove { index: at });
        }
    }
    let mut kept = old.iter().zip(&stays).filter(|(_, stays)| **stays).map(|(item, _)| item).peekable();
    for (index, item) in new.iter().enumerate() {
        match kept.next_if(|kept| kept.key() == item.key()) {
            Some(before) if before == item => {}
            Some(_) => steps.push(Diff::Set { index, item: item.clone() }),
            None => steps.push(Diff::Insert { index, item: item.clone() }),
        }
    }
    steps
}

/// Applies the steps of [`diff`].
pub fn apply(items: &mut Vec<Item>, steps: &[Diff]) {
    for step in steps {
        match step {
            Diff::Insert { index, item } => items.insert((*index).min(items.len()), item.clone()),
            Diff::Remove { index } if *index < items.len() => {
                items.remove(*index);
            }
            Diff::Set { index, item } if *index < items.len() => items[*index] = item.clone(),
            // Steps that belong to another window change nothing.
            Diff::Remove { .. } => {}
            Diff::Set { .. } => {}
        }
    }
}

/// Marks the items that stay where they are: as many messages as possible, then whatever else fits between them.
fn staying(old: &[Item], targets: &[Option<usize>]) -> Vec<bool> {
    let is_message = |at: usize| matches!(old[at], Item::Message(_));
    let messages: Vec<Option<usize>> =
        targets.iter().enumerate().map(|(at, target)| target.filter(|_| is_message(at))).collect();
    let mut stays = longest_ascending(&messages);
    // The target of the next message that stays, from each item on.
    let mut above = vec![usize::MAX; old.len()];
    let mut next = usize::MAX;
    for at in (0..old.len()).rev() {
        above[at] = next;
        if stays[at] {
            next = targets[at].unwrap_or(next);
        }
    }
    let mut below = None;
    for at in 0..old.len() {
        stays[at] = stays[at] || targets[at].is_some_and(|target| below < Some(target) && target < above[at]);
        if stays[at] {
            below = targets[at];
        }
    }
    stays
}

/// Marks a longest ascending subsequence of the numbers that are there (patience sorting).
fn longest_ascending(numbers: &[Option<usize>]) -> Vec<bool> {
    // ends[k]: where the ascending sequence of length k + 1 with the smallest end ends.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = vec![None; numbers.len()];
    for (at, number) in numbers.iter().enumerate() {
        let Some(number) = number else { continue };
        let len = ends.partition_point(|end| numbers[*end] < Some(*number));
        before[at] = len.checked_sub(1).map(|last| ends[last]);
        if len == ends.len() { ends.push(at) } else { ends[len] = at }
    }
    let mut marked = vec![false; numbers.len()];
    let mut next = ends.last().copied();
    while let Some(at) = next {
        marked[at] = true;
        next = before[at];
    }
    marked
}
