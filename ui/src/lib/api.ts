// What an interface asks and is told, in the shape that ts-rs gives to crates/app/src/api.rs. Not here: any behaviour.

/** Something that an interface wants done or wants to know. The answer is named behind each. */
export type Call =
  | { do: "start" }
  | { do: "init"; name: string; relay: string }
  | { do: "conversations" }
  | { do: "create"; title: string }
  | { do: "accept"; link: string }
  | { do: "invite"; conversation: string; uses: number }
  | { do: "open"; conversation: string; before: string | null; limit: number }
  | { do: "around"; conversation: string; message: string; count: number }
  | { do: "close" }
  | { do: "send"; conversation: string; text: string; answers: string | null; mentions: Array<string> }
  | { do: "edit"; conversation: string; message: string; text: string }
  | { do: "delete"; conversation: string; message: string; for_me: boolean }
  | { do: "undo"; conversation: string; message: string }
  | { do: "react"; conversation: string; message: string; emoji: string; on: boolean }
  | { do: "pin"; conversation: string; message: string; on: boolean }
  | { do: "read"; conversation: string; up_to: string }
  | { do: "unread"; conversation: string; from: string }
  | { do: "typing"; conversation: string }
  | { do: "draft"; conversation: string }
  | { do: "write_draft"; conversation: string; text: string }
  | { do: "search"; text: string; conversation: string | null }
  | { do: "details"; conversation: string }
  | { do: "history"; conversation: string; message: string }
  | { do: "receipts"; conversation: string; message: string }
  | { do: "thread"; conversation: string; message: string }
  | { do: "rename"; conversation: string; title: string }
  | { do: "topic"; conversation: string; text: string }
  | { do: "keep"; conversation: string; keep: Keep }
  | { do: "cancel"; conversation: string; message: string }
  | { do: "reconnect" };

/** One way in which an account keeps a conversation. */
export type Keep =
  { what: "mute"; on: boolean } | { what: "archive"; on: boolean } | { what: "favourite"; on: boolean };

/** Who this is. */
export type Start = { profile: Profile | null; version: string; link: LinkState };

/** A profile. */
export type Profile = { account: string; device: string; home: string };

/** A conversation that is there now. */
export type Founded = { conversation: string; member: boolean };

/** A link that lets people in. */
export type Link = { link: string };

/** What a send returned. */
export type Sent = { id: string };

/** A text. */
export type Text = { name: string; text: string };

/** What sort of conversation. */
export type Kind = "direct" | "group" | "own";

/** A conversation in the list. */
export type Conversation = {
  id: string;
  title: string;
  kind: Kind;
  member: boolean;
  unread: number;
  mentions: number;
  last: Excerpt | null;
  muted: boolean;
  archived: boolean;
  favourite: boolean;
  folder: string;
  waiting: number;
};

/** The newest message of a conversation. */
export type Excerpt = { name: string; own: boolean; text: string; time_ms: number };

/** Where a message stands. */
export type State = "local" | "held" | "delivered" | "read" | "received" | "imported" | "sealed";

/** A message. */
export type Message = {
  id: string;
  author: string;
  name: string;
  own: boolean;
  text: string;
  time_ms: number;
  state: State;
  count: number;
  others: number;
  delivered: number;
  read: number;
  late: boolean;
  came_ms: number;
  cursor: string;
  answers: Cited | null;
  quotes: Array<Cited>;
  mentions_me: boolean;
  files: Array<File>;
  edits: number;
  merged: boolean;
  deleted: string | null;
  conflict: boolean;
  reactions: Array<Reaction>;
  replies: number;
  pinned: boolean;
  blocked: boolean;
  expires_ms: number;
};

/** A message as another one refers to it. */
export type Cited = { id: string; name: string; excerpt: string };

/** A file of a message. */
export type File = { name: string; media: string; bytes: number };

/** A reaction. */
export type Reaction = { emoji: string; names: Array<string>; own: boolean };

/** A stretch of a conversation that is kept current. */
export type Window = {
  window: number;
  conversation: string;
  messages: Array<Message>;
  older: boolean;
  newer: boolean;
  first_unread: string | null;
  gaps: Array<Gap>;
  pruned: number;
};

/** Messages that others refer to and that have not come. */
export type Gap = { missing: number; before_ms: number };

/** One step from a window to its next state; indexes are those at the time of the step. */
export type Step =
  | { step: "insert"; index: number; message: Message }
  | { step: "remove"; index: number }
  | { step: "set"; index: number; message: Message };

/** A message that a search found. */
export type Hit = {
  conversation: string;
  title: string;
  message: string;
  name: string;
  time_ms: number;
  parts: Array<string>;
};

/** Everything beside the messages. */
export type Details = {
  people: Array<Person>;
  topic: string;
  notes: Array<Text>;
  pins: Array<Message>;
  conflicts: Array<Conflict>;
  relays: Array<string>;
  ops: number;
  digest: string;
};

/** Somebody who takes part. */
export type Person = { account: string; name: string; own: boolean };

/** What two people said of one thing without knowing of each other. */
export type Conflict = {
  about: string;
  message: string | null;
  winner: string;
  winner_name: string;
  loser: string;
  loser_name: string;
  open: boolean;
};

/** A version of a text. */
export type Version = { name: string; time_ms: number; text: string | null; current: boolean };

/** Who has a message. */
export type Receipt = { name: string; delivered: boolean; read: boolean };

/** How this device is connected. */
export type LinkState = { online: Array<string>; cut_off: Array<CutOff>; waiting: number; proven: Proven | null };

/** A replica that is out of reach. */
export type CutOff = { with: string; reason: string };

/** A proof of equality. */
export type Proven = { with: string; at_ms: number; current: boolean };

/** What an interface is told without asking. */
export type Update =
  | { update: "conversations"; conversations: Array<Conversation> }
  | { update: "window"; window: number; steps: Array<Step>; gaps: Array<Gap> }
  | { update: "link"; link: LinkState }
  | { update: "typing"; conversation: string; names: Array<string> }
  | { update: "arrived"; conversation: string; title: string; message: Message }
  | { update: "notice"; code: string; words: string };

/** Why something was not done: what happened, and what to do. */
export type Problem = { code: string; message: string; hint: string };

/** A call with a number, as an interface sends it. */
export type Ask = { ask: number; call: Call };

/** What an interface receives. */
export type Tell = { answer: number; value: unknown } | { failed: number; problem: Problem } | { told: Update };
