// A small invented world for stories, tests and development: three people, their conversations, and every state that a
// message can have. Not here: how calls are answered (memory.ts).

import type { Conflict, Conversation, Details, Gap, Message, Person, Receipt, Version } from "../api";

/** One conversation of the fake core with everything that belongs to it. */
export type Place = {
  info: Conversation;
  messages: Message[];
  gaps: Gap[];
  firstUnread: string | null;
  draft: string;
  details: Details;
};

export const MINUTE = 60_000;
export const HOUR = 60 * MINUTE;

/** Noon of a fixed summer day: stories look the same every time. */
export const NOON = new Date(2026, 5, 3, 12, 3).getTime();

const ME = "You";
const people = (...names: string[]): Person[] =>
  names.map((name) => ({ account: name.toLowerCase(), name, own: name === ME }));

let made = 0;

/** A message of somebody, `ago_ms` before noon, with whatever is special about it. */
export function message(name: string, text: string, ago_ms: number, special: Partial<Message> = {}): Message {
  made += 1;
  const id = made.toString(16).padStart(8, "0");
  const own = name === ME;
  return {
    id,
    author: `${name.toLowerCase()}-1`,
    name,
    own,
    text,
    time_ms: NOON - ago_ms,
    state: own ? "delivered" : "received",
    count: 0,
    others: own ? 2 : 0,
    delivered: own ? 2 : 0,
    read: 0,
    late: false,
    came_ms: 0,
    cursor: id,
    answers: null,
    quotes: [],
    mentions_me: false,
    files: [],
    edits: 0,
    merged: false,
    deleted: null,
    conflict: false,
    reactions: [],
    replies: 0,
    pinned: false,
    blocked: false,
    expires_ms: 0,
    ...special,
  };
}

export function conversation(id: string, title: string, special: Partial<Conversation> = {}): Conversation {
  return {
    id,
    title,
    kind: "group",
    member: true,
    unread: 0,
    mentions: 0,
    last: null,
    muted: false,
    archived: false,
    favourite: false,
    folder: "",
    waiting: 0,
    ...special,
  };
}

export function details(who: Person[], special: Partial<Details> = {}): Details {
  return {
    people: who,
    topic: "",
    notes: [],
    pins: [],
    conflicts: [],
    relays: ["eu-1.relay.example:4433", "us-1.relay.example:4433"],
    ops: 1204,
    digest: "9f3c41d07be25a8810cc64e7f2ab3d95",
    ...special,
  };
}

export function place(info: Conversation, messages: Message[], special: Partial<Place> = {}): Place {
  return { info, messages, gaps: [], firstUnread: null, draft: "", details: details(people(ME)), ...special };
}

const conflict: Conflict = {
  about: "Title",
  message: null,
  winner: "Harbour crew",
  winner_name: "Carol",
  loser: "Pier gang",
  loser_name: "Ana",
  open: true,
};

function harbour(): Place {
  const boats = message("Ana", "The boats are in.", 2 * HOUR);
  const first = message("Bo", "I left the **spare key** at the office.", 40 * MINUTE, { replies: 1 });
  const plan = message("Ana", "Plan for the evening: https://example.org/tides", 26 * HOUR, {
    pinned: true,
  });
  const messages = [
    message("Carol", "Good morning. Low tide is at _six_ today.", 27 * HOUR),
    plan,
    message(ME, "Thanks, I will read it.", 26 * HOUR - MINUTE, { state: "read", count: 2, read: 2 }),
    message(
      "Carol",
      "> Low tide is at six\n\nIt moved to `18:20`:\n```\n17:40  pier closes\n18:20  low tide\n```",
      25 * HOUR,
      {
        edits: 1,
      },
    ),
    boats,
    message("Ana", "All four of them, and the small one as well.", 2 * HOUR - MINUTE, {
      reactions: [
        { emoji: "🎉", names: ["Bo", "You"], own: true },
        { emoji: "👍", names: ["Carol"], own: false },
      ],
    }),
    message(ME, "The pier is closed until noon.", 2 * HOUR - 2 * MINUTE, {
      state: "held",
      count: 2,
      others: 3,
      delivered: 2,
    }),
    message("Bo", "I wrote this while I was out of reach.", 105 * MINUTE, {
      late: true,
      came_ms: NOON - 105 * MINUTE + 3 * HOUR,
    }),
    message("Carol", "", 100 * MINUTE, { deleted: "Carol" }),
    message(ME, "Ropes, lamps and the second anchor. Two of us wrote that at once.", 95 * MINUTE, {
      merged: true,
      conflict: true,
      edits: 2,
      state: "read",
      count: 1,
      others: 3,
      delivered: 3,
      read: 1,
    }),
    message("Carol", "photo of the chart", 90 * MINUTE, {
      files: [{ name: "chart of the bay.jpg", media: "image/jpeg", bytes: 2_400_000, image: null }],
    }),
    first,
    message("Ana", "@You can you bring it?", 30 * MINUTE, {
      mentions_me: true,
      answers: { id: first.id, name: "Bo", excerpt: "I left the spare key at the office." },
    }),
    message(ME, "On my way.", 10 * MINUTE, { state: "local", others: 3, delivered: 0 }),
    message(ME, "Is anybody still there?", 9 * MINUTE, { state: "local", others: 3, delivered: 0 }),
  ];
  return place(
    conversation("harbour", "Harbour crew", {
      unread: 2,
      mentions: 1,
      favourite: true,
      waiting: 2,
    }),
    messages,
    {
      gaps: [{ missing: 17, before_ms: boats.time_ms }],
      firstUnread: first.id,
      details: details(people("Ana", "Bo", "Carol", ME), {
        topic: "Boats, tides and who has the key",
        notes: [{ name: "Numbers", text: "Harbour office 0471 22\nPilot 0471 30" }],
        pins: [plan],
        conflicts: [conflict],
      }),
    },
  );
}

/** The world as it is at the start. */
export function world(): Place[] {
  made = 0;
  return [
    harbour(),
    place(
      conversation("bo", "Bo", { kind: "direct", waiting: 0, unread: 1 }),
      [
        message(ME, "Are you in reach again?", 5 * HOUR, { state: "read", count: 1, others: 1, delivered: 1, read: 1 }),
        message("Bo", "Yes. The battery held for two days.", 50 * MINUTE),
      ],
      { details: details(people("Bo", ME)) },
    ),
    place(
      conversation("crew", "Summer regatta", { muted: true }),
      Array.from({ length: 240 }, (_, at) =>
        message(
          ["Ana", "Bo", "Carol", ME][at % 7 > 3 ? 1 : at % 4] ?? "Ana",
          `Entry ${at + 1} of the log.`,
          (300 - at) * 9 * MINUTE,
        ),
      ),
      { details: details(people("Ana", "Bo", "Carol", ME)), draft: "What about Saturday" },
    ),
    place(conversation("notes", "", { kind: "own" }), [
      message(ME, "Buy rope: *12 m*, the blue one.", 30 * HOUR, { others: 0, state: "held", count: 2 }),
    ]),
    place(conversation("guest", "", { member: false }), []),
    place(
      conversation("old", "Winter storage", { archived: true }),
      [message("Carol", "All boats are out of the water.", 4000 * HOUR)],
      {
        details: details(people("Carol", ME)),
      },
    ),
  ];
}

export const VERSIONS: Version[] = [
  { name: "You", time_ms: NOON - 96 * MINUTE, text: "Ropes and lamps.", current: false },
  { name: "You", time_ms: NOON - 95 * MINUTE, text: "Ropes, lamps and the second anchor.", current: true },
];

export const RECEIPTS: Receipt[] = [
  { name: "Ana", delivered: true, read: true },
  { name: "Bo", delivered: true, read: false },
  { name: "Carol", delivered: false, read: false },
];
