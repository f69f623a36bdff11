// What the interface asks and is told. Generated from crates/app/src/api.rs, where every field is explained; written by
// `TOMBOLO_WRITE_TYPES=1 cargo test -p tombolo-app`.

export type Ask = { 
/**
 * Chosen by the interface.
 */
ask: number, 
/**
 * What.
 */
call: Call, };

export type Call = { "do": "start" } | { "do": "init", 
/**
 * The name that others see.
 */
name: string, 
/**
 * A relay's address; empty = none yet.
 */
relay: string, } | { "do": "conversations" } | { "do": "create", 
/**
 * Its title.
 */
title: string, } | { "do": "accept", 
/**
 * `tombolo:...`
 */
link: string, } | { "do": "invite", 
/**
 * The conversation.
 */
conversation: string, 
/**
 * How many accounts may use it; at least 1.
 */
uses: number, } | { "do": "open", 
/**
 * The conversation.
 */
conversation: string, 
/**
 * The newest messages before this cursor; none = the newest of all, and what comes.
 */
before: string | null, 
/**
 * How many messages; at most 600.
 */
limit: number, } | { "do": "around", 
/**
 * The conversation.
 */
conversation: string, 
/**
 * The message in the middle.
 */
message: string, 
/**
 * How many on either side; at most 300.
 */
count: number, } | { "do": "close" } | { "do": "send", 
/**
 * The conversation.
 */
conversation: string, 
/**
 * The text.
 */
text: string, 
/**
 * The message that it answers.
 */
answers: string | null, 
/**
 * Accounts that it calls upon.
 */
mentions: Array<string>, 
/**
 * What was attached, by what the upload answered; at most seven.
 */
files: Array<string>, } | { "do": "edit", 
/**
 * The conversation.
 */
conversation: string, 
/**
 * The message.
 */
message: string, 
/**
 * The new text.
 */
text: string, } | { "do": "delete", 
/**
 * The conversation.
 */
conversation: string, 
/**
 * The message.
 */
message: string, 
/**
 * Only on one's own devices.
 */
for_me: boolean, } | { "do": "undo", 
/**
 * The conversation.
 */
conversation: string, 
/**
 * The message.
 */
message: string, } | { "do": "react", 
/**
 * The conversation.
 */
conversation: string, 
/**
 * The message.
 */
message: string, 
/**
 * Which sign.
 */
emoji: string, 
/**
 * Whether it is shown.
 */
on: boolean, } | { "do": "pin", 
/**
 * The conversation.
 */
conversation: string, 
/**
 * The message.
 */
message: string, 
/**
 * Whether it is pinned.
 */
on: boolean, } | { "do": "read", 
/**
 * The conversation.
 */
conversation: string, 
/**
 * Cursor of the last message that was seen.
 */
up_to: string, } | { "do": "unread", 
/**
 * The conversation.
 */
conversation: string, 
/**
 * Cursor of the message.
 */
from: string, } | { "do": "typing", 
/**
 * The conversation.
 */
conversation: string, } | { "do": "draft", 
/**
 * The conversation.
 */
conversation: string, } | { "do": "write_draft", 
/**
 * The conversation.
 */
conversation: string, 
/**
 * Its text; empty = none.
 */
text: string, } | { "do": "search", 
/**
 * The words.
 */
text: string, 
/**
 * Only in this conversation.
 */
conversation: string | null, } | { "do": "details", 
/**
 * The conversation.
 */
conversation: string, } | { "do": "history", 
/**
 * The conversation.
 */
conversation: string, 
/**
 * The message.
 */
message: string, } | { "do": "receipts", 
/**
 * The conversation.
 */
conversation: string, 
/**
 * The message.
 */
message: string, } | { "do": "thread", 
/**
 * The conversation.
 */
conversation: string, 
/**
 * The message.
 */
message: string, } | { "do": "rename", 
/**
 * The conversation.
 */
conversation: string, 
/**
 * The title.
 */
title: string, } | { "do": "topic", 
/**
 * The conversation.
 */
conversation: string, 
/**
 * The text.
 */
text: string, } | { "do": "keep", 
/**
 * The conversation.
 */
conversation: string, 
/**
 * What changes.
 */
keep: Keep, } | { "do": "cancel", 
/**
 * The conversation.
 */
conversation: string, 
/**
 * The message.
 */
message: string, } | { "do": "reconnect" };

export type Keep = { "what": "mute", 
/**
 * Whether.
 */
on: boolean, } | { "what": "archive", 
/**
 * Whether.
 */
on: boolean, } | { "what": "favourite", 
/**
 * Whether.
 */
on: boolean, };

export type Tell = { 
/**
 * Its number.
 */
answer: number, 
/**
 * As [`Call`] says.
 */
value: unknown, } | { 
/**
 * Its number.
 */
failed: number, 
/**
 * Why.
 */
problem: Problem, } | { 
/**
 * What.
 */
told: Update, };

export type Update = { "update": "conversations", 
/**
 * All of them.
 */
conversations: Array<Conversation>, } | { "update": "window", 
/**
 * Which.
 */
window: number, 
/**
 * In order.
 */
steps: Array<Step>, 
/**
 * What is known to be missing now.
 */
gaps: Array<Gap>, } | { "update": "link", 
/**
 * As it is now.
 */
link: LinkState, } | { "update": "typing", 
/**
 * Which.
 */
conversation: string, 
/**
 * Names.
 */
names: Array<string>, } | { "update": "arrived", 
/**
 * Its conversation.
 */
conversation: string, 
/**
 * The title of that.
 */
title: string, 
/**
 * The message.
 */
message: Message, } | { "update": "notice", 
/**
 * Stable code.
 */
code: string, 
/**
 * In words.
 */
words: string, };

export type Problem = { 
/**
 * Stable code.
 */
code: string, 
/**
 * What happened and whose fault it is.
 */
message: string, 
/**
 * What to do next; may be empty.
 */
hint: string, };

export type Start = { 
/**
 * The profile; none = the first start.
 */
profile: Profile | null, 
/**
 * Version of the program.
 */
version: string, 
/**
 * How it is connected.
 */
link: LinkState, };

export type Profile = { 
/**
 * The name that others see.
 */
name: string, 
/**
 * The account.
 */
account: string, 
/**
 * This device.
 */
device: string, 
/**
 * The folder that everything is in.
 */
home: string, };

export type LinkState = { 
/**
 * With whom.
 */
online: Array<string>, 
/**
 * Who is out of reach, and why.
 */
cut_off: Array<CutOff>, 
/**
 * Own messages that nobody else holds yet.
 */
waiting: number, 
/**
 * The last proof that both sides hold the same.
 */
proven: Proven | null, };

export type CutOff = { 
/**
 * Who.
 */
with: string, 
/**
 * Why, in words.
 */
reason: string, };

export type Proven = { 
/**
 * With whom.
 */
with: string, 
/**
 * When, **milliseconds** since 1970.
 */
at_ms: number, 
/**
 * Nothing has come or been written since.
 */
current: boolean, };

export type Conversation = { 
/**
 * Its id.
 */
id: string, 
/**
 * Its title; empty when not known yet.
 */
title: string, 
/**
 * What sort.
 */
kind: Kind, 
/**
 * Whether its history is here; else joining waits.
 */
member: boolean, 
/**
 * Messages of others that were not seen.
 */
unread: number, 
/**
 * Those that call upon this person.
 */
mentions: number, 
/**
 * The newest message.
 */
last: Excerpt | null, 
/**
 * No notifications.
 */
muted: boolean, 
/**
 * Out of the way.
 */
archived: boolean, 
/**
 * On top.
 */
favourite: boolean, 
/**
 * Its folder; empty = none.
 */
folder: string, 
/**
 * Own messages that nobody else holds yet.
 */
waiting: number, };

export type Kind = "direct" | "group" | "own";

export type Excerpt = { 
/**
 * Who wrote it.
 */
name: string, 
/**
 * Whether this account did.
 */
own: boolean, 
/**
 * The beginning of its text, one line.
 */
text: string, 
/**
 * **Milliseconds** since 1970.
 */
time_ms: number, };

export type Founded = { 
/**
 * The conversation.
 */
conversation: string, 
/**
 * The history has been received; else a member or relay completes it.
 */
member: boolean, };

export type Link = { 
/**
 * `tombolo:...`: whoever holds it can join and read.
 */
link: string, };

export type Window = { 
/**
 * Its number, which updates name.
 */
window: number, 
/**
 * Its conversation.
 */
conversation: string, 
/**
 * The messages, oldest first.
 */
messages: Array<Message>, 
/**
 * There are older ones.
 */
older: boolean, 
/**
 * There are newer ones: what comes is not shown here.
 */
newer: boolean, 
/**
 * The first message that had not been seen when it was opened.
 */
first_unread: string | null, 
/**
 * What is known to be missing.
 */
gaps: Array<Gap>, 
/**
 * How many messages were let go of on this device.
 */
pruned: number, };

export type Message = { 
/**
 * Its id.
 */
id: string, 
/**
 * The device that wrote it.
 */
author: string, 
/**
 * The name of its author.
 */
name: string, 
/**
 * Whether this account wrote it.
 */
own: boolean, 
/**
 * Its text.
 */
text: string, 
/**
 * When it was written, **milliseconds** since 1970.
 */
time_ms: number, 
/**
 * Where it stands.
 */
state: State, 
/**
 * A number that belongs to the state.
 */
count: number, 
/**
 * How many others take part, where that is told.
 */
others: number, 
/**
 * How many of them have it.
 */
delivered: number, 
/**
 * How many of them have read it.
 */
read: number, 
/**
 * It was slotted in before something already seen.
 */
late: boolean, 
/**
 * Of a late one: when it came, **milliseconds** since 1970; 0 = not known.
 */
came_ms: number, 
/**
 * To page from.
 */
cursor: string, 
/**
 * What it answers.
 */
answers: Cited | null, 
/**
 * What it quotes.
 */
quotes: Array<Cited>, 
/**
 * It calls upon this account.
 */
mentions_me: boolean, 
/**
 * Its files.
 */
files: Array<File>, 
/**
 * Number of edits.
 */
edits: number, 
/**
 * Its text is merged from versions that did not know of each other.
 */
merged: boolean, 
/**
 * It was deleted for everyone; by whom.
 */
deleted: string | null, 
/**
 * It was edited and deleted, each without knowing of the other.
 */
conflict: boolean, 
/**
 * Reactions.
 */
reactions: Array<Reaction>, 
/**
 * Number of answers.
 */
replies: number, 
/**
 * It is pinned.
 */
pinned: boolean, 
/**
 * Its author is blocked.
 */
blocked: boolean, 
/**
 * When it disappears, **milliseconds** since 1970; 0 = never.
 */
expires_ms: number, };

export type State = "local" | "held" | "delivered" | "read" | "received" | "imported" | "sealed";

export type Cited = { 
/**
 * The message.
 */
id: string, 
/**
 * Who wrote it; empty when it is not here.
 */
name: string, 
/**
 * The beginning of its text; empty when it is not here.
 */
excerpt: string, };

export type File = { 
/**
 * A label, not a path.
 */
name: string, 
/**
 * Its media type, as its sender says.
 */
media: string, 
/**
 * **Bytes**.
 */
bytes: number, 
/**
 * For images.
 */
image: Image | null, };

export type Image = { 
/**
 * Pixels.
 */
width: number, 
/**
 * Pixels.
 */
height: number, 
/**
 * A small JPEG in base64; may be empty.
 */
thumbnail: string, };

export type Reaction = { 
/**
 * Which sign.
 */
emoji: string, 
/**
 * Who shows it.
 */
names: Array<string>, 
/**
 * Whether this account does.
 */
own: boolean, };

export type Gap = { 
/**
 * At least so many.
 */
missing: number, 
/**
 * Above what was written then, **milliseconds** since 1970.
 */
before_ms: number, };

export type Step = { "step": "insert", 
/**
 * Its index afterwards.
 */
index: number, 
/**
 * The message.
 */
message: Message, } | { "step": "remove", 
/**
 * Its index before.
 */
index: number, } | { "step": "set", 
/**
 * Its index.
 */
index: number, 
/**
 * The message.
 */
message: Message, };

export type Sent = { 
/**
 * The message.
 */
id: string, };

export type Text = { 
/**
 * The name of a note; empty for a draft or topic.
 */
name: string, 
/**
 * The text.
 */
text: string, };

export type Hit = { 
/**
 * Its conversation.
 */
conversation: string, 
/**
 * The title of that.
 */
title: string, 
/**
 * The message.
 */
message: string, 
/**
 * Who wrote it.
 */
name: string, 
/**
 * **Milliseconds** since 1970.
 */
time_ms: number, 
/**
 * A part of its text, cut where what was found begins and ends: every second part was found.
 */
parts: Array<string>, };

export type Details = { 
/**
 * Who takes part.
 */
people: Array<Person>, 
/**
 * Its topic.
 */
topic: string, 
/**
 * Its notes.
 */
notes: Array<Text>, 
/**
 * Its pinned messages.
 */
pins: Array<Message>, 
/**
 * What two people changed at once.
 */
conflicts: Array<Conflict>, 
/**
 * Addresses of the relays that it names.
 */
relays: Array<string>, 
/**
 * Ops held.
 */
ops: number, 
/**
 * Commits to exactly which: the same everywhere means the same history.
 */
digest: string, };

export type Person = { 
/**
 * The account.
 */
account: string, 
/**
 * The name.
 */
name: string, 
/**
 * Whether it is this account.
 */
own: boolean, };

export type Conflict = { 
/**
 * What it is about.
 */
about: string, 
/**
 * The message, where it is about one.
 */
message: string | null, 
/**
 * What counts, and who said it.
 */
winner: string, 
/**
 * Who said it.
 */
winner_name: string, 
/**
 * What lost.
 */
loser: string, 
/**
 * Who said that.
 */
loser_name: string, 
/**
 * Nobody has decided since.
 */
open: boolean, };

export type Version = { 
/**
 * Who wrote it.
 */
name: string, 
/**
 * **Milliseconds** since 1970.
 */
time_ms: number, 
/**
 * The text; none when it was deleted.
 */
text: string | null, 
/**
 * Nothing replaces it.
 */
current: boolean, };

export type Receipt = { 
/**
 * Who.
 */
name: string, 
/**
 * One of the devices has it.
 */
delivered: boolean, 
/**
 * It was read.
 */
read: boolean, };
