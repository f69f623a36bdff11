//! What an interface asks and is told: the types of every call, answer and update, from which the TypeScript of `ui/` is
//! generated (`tests/types.rs`), so that they are written once.
//!
//! Numbers are at most 2^53 where JavaScript reads them. Ids are lower-case hex, cursors are opaque. Not here: what is
//! done (`session.rs`).

use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// Something that an interface wants done or wants to know. The answer is named behind each.
#[derive(Clone, Debug, Deserialize, TS)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Call {
    /// Who this is, and how it is connected: [`Start`].
    Start,
    /// Makes a profile: [`Start`].
    Init {
        /// The name that others see.
        name: String,
        /// A relay's address; empty = none yet.
        relay: String,
    },
    /// All conversations: [`Conversation`]s.
    Conversations,
    /// Founds a conversation: [`Founded`].
    Create {
        /// Its title.
        title: String,
    },
    /// Joins by link: [`Founded`].
    Accept {
        /// `tombolo:...`
        link: String,
    },
    /// Makes a link that lets people in: [`Link`].
    Invite {
        /// The conversation.
        conversation: String,
        /// How many accounts may use it; at least 1.
        uses: u32,
    },
    /// Shows a stretch of a conversation and keeps it current until the next `open` or `close`: [`Window`].
    Open {
        /// The conversation.
        conversation: String,
        /// The newest messages before this cursor; none = the newest of all, and what comes.
        before: Option<String>,
        /// How many messages; at most 600.
        limit: u32,
    },
    /// The same around one message: [`Window`].
    Around {
        /// The conversation.
        conversation: String,
        /// The message in the middle.
        message: String,
        /// How many on either side; at most 300.
        count: u32,
    },
    /// Nothing is shown any more: nothing.
    Close,
    /// Writes a message; it is on the disk when the answer comes: [`Sent`].
    Send {
        /// The conversation.
        conversation: String,
        /// The text.
        text: String,
        /// The message that it answers.
        answers: Option<String>,
        /// Accounts that it calls upon.
        mentions: Vec<String>,
        /// What was attached, by what the upload answered; at most seven.
        #[serde(default)]
        files: Vec<String>,
    },
    /// Changes the text of a message: nothing.
    Edit {
        /// The conversation.
        conversation: String,
        /// The message.
        message: String,
        /// The new text.
        text: String,
    },
    /// Deletes a message: nothing.
    Delete {
        /// The conversation.
        conversation: String,
        /// The message.
        message: String,
        /// Only on one's own devices.
        for_me: bool,
    },
    /// Takes a deletion back: nothing.
    Undo {
        /// The conversation.
        conversation: String,
        /// The message.
        message: String,
    },
    /// Reacts, or takes it back: nothing.
    React {
        /// The conversation.
        conversation: String,
        /// The message.
        message: String,
        /// Which sign.
        emoji: String,
        /// Whether it is shown.
        on: bool,
    },
    /// Pins a message, or takes it back: nothing.
    Pin {
        /// The conversation.
        conversation: String,
        /// The message.
        message: String,
        /// Whether it is pinned.
        on: bool,
    },
    /// Everything up to a message was read: nothing.
    Read {
        /// The conversation.
        conversation: String,
        /// Cursor of the last message that was seen.
        up_to: String,
    },
    /// Everything from a message on counts as new: nothing.
    Unread {
        /// The conversation.
        conversation: String,
        /// Cursor of the message.
        from: String,
    },
    /// Somebody is typing here: nothing.
    Typing {
        /// The conversation.
        conversation: String,
    },
    /// The draft of a conversation: [`Text`].
    Draft {
        /// The conversation.
        conversation: String,
    },
    /// Keeps a draft: nothing.
    WriteDraft {
        /// The conversation.
        conversation: String,
        /// Its text; empty = none.
        text: String,
    },
    /// Finds messages: [`Hit`]s.
    Search {
        /// The words.
        text: String,
        /// Only in this conversation.
        conversation: Option<String>,
    },
    /// Everything beside the messages of a conversation: [`Details`].
    Details {
        /// The conversation.
        conversation: String,
    },
    /// All versions of a message's text: [`Version`]s.
    History {
        /// The conversation.
        conversation: String,
        /// The message.
        message: String,
    },
    /// Who has a message and who has read it: [`Receipt`]s.
    Receipts {
        /// The conversation.
        conversation: String,
        /// The message.
        message: String,
    },
    /// Answers to a message: [`Message`]s.
    Thread {
        /// The conversation.
        conversation: String,
        /// The message.
        message: String,
    },
    /// Changes the title: nothing.
    Rename {
        /// The conversation.
        conversation: String,
        /// The title.
        title: String,
    },
    /// Changes the topic: nothing.
    Topic {
        /// The conversation.
        conversation: String,
        /// The text.
        text: String,
    },
    /// How this account keeps a conversation: nothing.
    Keep {
        /// The conversation.
        conversation: String,
        /// What changes.
        keep: Keep,
    },
    /// Withdraws a message that has not left this device: nothing.
    Cancel {
        /// The conversation.
        conversation: String,
        /// The message.
        message: String,
    },
    /// Tries again to reach everybody now: nothing.
    Reconnect,
}

/// One way in which an account keeps a conversation.
#[derive(Clone, Debug, Deserialize, TS)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Keep {
    /// No notifications.
    Mute {
        /// Whether.
        on: bool,
    },
    /// Out of the way.
    Archive {
        /// Whether.
        on: bool,
    },
    /// On top.
    Favourite {
        /// Whether.
        on: bool,
    },
}

/// Who this is.
#[derive(Clone, Debug, Serialize, TS)]
pub struct Start {
    /// The profile; none = the first start.
    pub profile: Option<Profile>,
    /// Version of the program.
    pub version: String,
    /// How it is connected.
    pub link: LinkState,
}

/// A profile.
#[derive(Clone, Debug, Serialize, TS)]
pub struct Profile {
    /// The name that others see.
    pub name: String,
    /// The account.
    pub account: String,
    /// This device.
    pub device: String,
    /// The folder that everything is in.
    pub home: String,
}

/// A conversation that is there now.
#[derive(Clone, Debug, Serialize, TS)]
pub struct Founded {
    /// The conversation.
    pub conversation: String,
    /// The history has been received; else a member or relay completes it.
    pub member: bool,
}

/// A link that lets people in.
#[derive(Clone, Debug, Serialize, TS)]
pub struct Link {
    /// `tombolo:...`: whoever holds it can join and read.
    pub link: String,
}

/// What a send returned.
#[derive(Clone, Debug, Serialize, TS)]
pub struct Sent {
    /// The message.
    pub id: String,
}

/// A text.
#[derive(Clone, Debug, Serialize, TS)]
pub struct Text {
    /// The name of a note; empty for a draft or topic.
    pub name: String,
    /// The text.
    pub text: String,
}

/// What sort of conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Between two people.
    Direct,
    /// For several.
    Group,
    /// One's own: the note to self.
    Own,
}

/// A conversation in the list.
#[derive(Clone, Debug, PartialEq, Serialize, TS)]
pub struct Conversation {
    /// Its id.
    pub id: String,
    /// Its title; empty when not known yet.
    pub title: String,
    /// What sort.
    pub kind: Kind,
    /// Whether its history is here; else joining waits.
    pub member: bool,
    /// Messages of others that were not seen.
    pub unread: u32,
    /// Those that call upon this person.
    pub mentions: u32,
    /// The newest message.
    pub last: Option<Excerpt>,
    /// No notifications.
    pub muted: bool,
    /// Out of the way.
    pub archived: bool,
    /// On top.
    pub favourite: bool,
    /// Its folder; empty = none.
    pub folder: String,
    /// Own messages that nobody else holds yet.
    pub waiting: u32,
}

/// The newest message of a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, TS)]
pub struct Excerpt {
    /// Who wrote it.
    pub name: String,
    /// Whether this account did.
    pub own: bool,
    /// The beginning of its text, one line.
    pub text: String,
    /// **Milliseconds** since 1970.
    #[ts(type = "number")]
    pub time_ms: u64,
}

/// Where a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Own, on this device only.
    Local,
    /// Own; `Message::count` relays and peers hold it on their disks.
    Held,
    /// Own; on a device of every other person.
    Delivered,
    /// Own; `Message::count` others have read it.
    Read,
    /// Somebody else's.
    Received,
    /// Brought in from elsewhere.
    Imported,
    /// It cannot be opened here.
    Sealed,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Serialize, TS)]
pub struct Message {
    /// Its id.
    pub id: String,
    /// The device that wrote it.
    pub author: String,
    /// The name of its author.
    pub name: String,
    /// Whether this account wrote it.
    pub own: bool,
    /// Its text.
    pub text: String,
    /// When it was written, **milliseconds** since 1970.
    #[ts(type = "number")]
    pub time_ms: u64,
    /// Where it stands.
    pub state: State,
    /// A number that belongs to the state.
    pub count: u32,
    /// How many others take part, where that is told.
    pub others: u32,
    /// How many of them have it.
    pub delivered: u32,
    /// How many of them have read it.
    pub read: u32,
    /// It was slotted in before something already seen.
    pub late: bool,
    /// Of a late one: when it came, **milliseconds** since 1970; 0 = not known.
    #[ts(type = "number")]
    pub came_ms: u64,
    /// To page from.
    pub cursor: String,
    /// What it answers.
    pub answers: Option<Cited>,
    /// What it quotes.
    pub quotes: Vec<Cited>,
    /// It calls upon this account.
    pub mentions_me: bool,
    /// Its files.
    pub files: Vec<File>,
    /// Number of edits.
    pub edits: u32,
    /// Its text is merged from versions that did not know of each other.
    pub merged: bool,
    /// It was deleted for everyone; by whom.
    pub deleted: Option<String>,
    /// It was edited and deleted, each without knowing of the other.
    pub conflict: bool,
    /// Reactions.
    pub reactions: Vec<Reaction>,
    /// Number of answers.
    pub replies: u32,
    /// It is pinned.
    pub pinned: bool,
    /// Its author is blocked.
    pub blocked: bool,
    /// When it disappears, **milliseconds** since 1970; 0 = never.
    #[ts(type = "number")]
    pub expires_ms: u64,
}

/// A message as another one refers to it.
#[derive(Clone, Debug, PartialEq, Serialize, TS)]
pub struct Cited {
    /// The message.
    pub id: String,
    /// Who wrote it; empty when it is not here.
    pub name: String,
    /// The beginning of its text; empty when it is not here.
    pub excerpt: String,
}

/// A file of a message.
#[derive(Clone, Debug, PartialEq, Serialize, TS)]
pub struct File {
    /// A label, not a path.
    pub name: String,
    /// Its media type, as its sender says.
    pub media: String,
    /// **Bytes**.
    #[ts(type = "number")]
    pub bytes: u64,
    /// For images.
    pub image: Option<Image>,
}

/// What is shown of an image before it is here.
#[derive(Clone, Debug, PartialEq, Serialize, TS)]
pub struct Image {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// A small JPEG in base64; may be empty.
    pub thumbnail: String,
}

/// A reaction.
#[derive(Clone, Debug, PartialEq, Serialize, TS)]
pub struct Reaction {
    /// Which sign.
    pub emoji: String,
    /// Who shows it.
    pub names: Vec<String>,
    /// Whether this account does.
    pub own: bool,
}

/// A stretch of a conversation that is kept current.
#[derive(Clone, Debug, Serialize, TS)]
pub struct Window {
    /// Its number, which updates name.
    pub window: u32,
    /// Its conversation.
    pub conversation: String,
    /// The messages, oldest first.
    pub messages: Vec<Message>,
    /// There are older ones.
    pub older: bool,
    /// There are newer ones: what comes is not shown here.
    pub newer: bool,
    /// The first message that had not been seen when it was opened.
    pub first_unread: Option<String>,
    /// What is known to be missing.
    pub gaps: Vec<Gap>,
    /// How many messages were let go of on this device.
    pub pruned: u32,
}

/// Messages that others refer to and that have not come.
#[derive(Clone, Debug, PartialEq, Serialize, TS)]
pub struct Gap {
    /// At least so many.
    pub missing: u32,
    /// Above what was written then, **milliseconds** since 1970.
    #[ts(type = "number")]
    pub before_ms: u64,
}

/// One step from a window to its next state; indexes are those at the time of the step.
#[derive(Clone, Debug, PartialEq, Serialize, TS)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// A new message.
    Insert {
        /// Its index afterwards.
        index: u32,
        /// The message.
        message: Message,
    },
    /// A message that is gone.
    Remove {
        /// Its index before.
        index: u32,
    },
    /// The same message, which looks different.
    Set {
        /// Its index.
        index: u32,
        /// The message.
        message: Message,
    },
}

/// A message that a search found.
#[derive(Clone, Debug, Serialize, TS)]
pub struct Hit {
    /// Its conversation.
    pub conversation: String,
    /// The title of that.
    pub title: String,
    /// The message.
    pub message: String,
    /// Who wrote it.
    pub name: String,
    /// **Milliseconds** since 1970.
    #[ts(type = "number")]
    pub time_ms: u64,
    /// A part of its text, cut where what was found begins and ends: every second part was found.
    pub parts: Vec<String>,
}

/// Everything beside the messages.
#[derive(Clone, Debug, Serialize, TS)]
pub struct Details {
    /// Who takes part.
    pub people: Vec<Person>,
    /// Its topic.
    pub topic: String,
    /// Its notes.
    pub notes: Vec<Text>,
    /// Its pinned messages.
    pub pins: Vec<Message>,
    /// What two people changed at once.
    pub conflicts: Vec<Conflict>,
    /// Addresses of the relays that it names.
    pub relays: Vec<String>,
    /// Ops held.
    pub ops: u32,
    /// Commits to exactly which: the same everywhere means the same history.
    pub digest: String,
}

/// Somebody who takes part.
#[derive(Clone, Debug, Serialize, TS)]
pub struct Person {
    /// The account.
    pub account: String,
    /// The name.
    pub name: String,
    /// Whether it is this account.
    pub own: bool,
}

/// What two people said of one thing without knowing of each other.
#[derive(Clone, Debug, Serialize, TS)]
pub struct Conflict {
    /// What it is about.
    pub about: String,
    /// The message, where it is about one.
    pub message: Option<String>,
    /// What counts, and who said it.
    pub winner: String,
    /// Who said it.
    pub winner_name: String,
    /// What lost.
    pub loser: String,
    /// Who said that.
    pub loser_name: String,
    /// Nobody has decided since.
    pub open: bool,
}

/// A version of a text.
#[derive(Clone, Debug, Serialize, TS)]
pub struct Version {
    /// Who wrote it.
    pub name: String,
    /// **Milliseconds** since 1970.
    #[ts(type = "number")]
    pub time_ms: u64,
    /// The text; none when it was deleted.
    pub text: Option<String>,
    /// Nothing replaces it.
    pub current: bool,
}

/// Who has a message.
#[derive(Clone, Debug, Serialize, TS)]
pub struct Receipt {
    /// Who.
    pub name: String,
    /// One of the devices has it.
    pub delivered: bool,
    /// It was read.
    pub read: bool,
}

/// How this device is connected.
#[derive(Clone, Debug, Default, PartialEq, Serialize, TS)]
pub struct LinkState {
    /// With whom.
    pub online: Vec<String>,
    /// Who is out of reach, and why.
    pub cut_off: Vec<CutOff>,
    /// Own messages that nobody else holds yet.
    pub waiting: u32,
    /// The last proof that both sides hold the same.
    pub proven: Option<Proven>,
}

/// A replica that is out of reach.
#[derive(Clone, Debug, PartialEq, Serialize, TS)]
pub struct CutOff {
    /// Who.
    pub with: String,
    /// Why, in words.
    pub reason: String,
}

/// A proof of equality.
#[derive(Clone, Debug, PartialEq, Serialize, TS)]
pub struct Proven {
    /// With whom.
    pub with: String,
    /// When, **milliseconds** since 1970.
    #[ts(type = "number")]
    pub at_ms: u64,
    /// Nothing has come or been written since.
    pub current: bool,
}

/// What an interface is told without asking.
#[derive(Clone, Debug, Serialize, TS)]
#[serde(tag = "update", rename_all = "snake_case")]
pub enum Update {
    /// The list of conversations, as it is now.
    Conversations {
        /// All of them.
        conversations: Vec<Conversation>,
    },
    /// The window that is shown has changed.
    Window {
        /// Which.
        window: u32,
        /// In order.
        steps: Vec<Step>,
        /// What is known to be missing now.
        gaps: Vec<Gap>,
    },
    /// The connection.
    Link {
        /// As it is now.
        link: LinkState,
    },
    /// Who is typing in the conversation that is shown.
    Typing {
        /// Which.
        conversation: String,
        /// Names.
        names: Vec<String>,
    },
    /// A message that calls for attention: of somebody else, not muted.
    Arrived {
        /// Its conversation.
        conversation: String,
        /// The title of that.
        title: String,
        /// The message.
        message: Box<Message>,
    },
    /// Something a person should know.
    Notice {
        /// Stable code.
        code: String,
        /// In words.
        words: String,
    },
}

/// Why something was not done: what happened, and what to do.
#[derive(Clone, Debug, Serialize, TS)]
pub struct Problem {
    /// Stable code.
    pub code: String,
    /// What happened and whose fault it is.
    pub message: String,
    /// What to do next; may be empty.
    pub hint: String,
}

/// A call with a number, as an interface sends it.
#[derive(Clone, Debug, Deserialize, TS)]
pub struct Ask {
    /// Chosen by the interface.
    pub ask: u32,
    /// What.
    pub call: Call,
}

/// What an interface receives.
#[derive(Clone, Debug, Serialize, TS)]
#[serde(untagged)]
pub enum Tell {
    /// The answer to a call.
    Answer {
        /// Its number.
        answer: u32,
        /// As [`Call`] says.
        #[ts(type = "unknown")]
        value: serde_json::Value,
    },
    /// Why a call was not done.
    Failed {
        /// Its number.
        failed: u32,
        /// Why.
        problem: Problem,
    },
    /// Something new.
    Told {
        /// What.
        told: Box<Update>,
    },
}
