// The rows of a timeline: messages with what stands between them. A pure function of what the core told. Not here: how
// the window is kept current (timeline.svelte.ts).

import type { Gap, Message } from "../api";

/** `key` names a row for as long as it is shown, so that nothing is drawn twice. */
export type Row =
  | { kind: "day"; key: string; time_ms: number }
  | { kind: "unread"; key: string }
  | { kind: "gap"; key: string; gap: Gap }
  | { kind: "message"; key: string; message: Message; opens: boolean; closes: boolean; index: number };

const TOGETHER_MS = 5 * 60_000;

/** Which local day a time falls on. */
function dayOf(time_ms: number): number {
  return new Date(time_ms).setHours(0, 0, 0, 0);
}

/** Whether a person sees two messages as said in one breath. */
function together(first: Message, second: Message): boolean {
  const quiet = (message: Message) => message.deleted === null && !message.blocked;
  return (
    first.author === second.author &&
    // What one person brought in was written by several.
    first.name === second.name &&
    Math.abs(second.time_ms - first.time_ms) <= TOGETHER_MS &&
    dayOf(first.time_ms) === dayOf(second.time_ms) &&
    first.late === second.late &&
    quiet(first) &&
    quiet(second)
  );
}

export function rowsOf(messages: readonly Message[], gaps: readonly Gap[], firstUnread: string | null): Row[] {
  const rows: Row[] = [];
  const open = [...gaps].sort((a, b) => a.before_ms - b.before_ms);
  let day: number | null = null;
  let alone = true;
  const stands = (row: Row) => {
    rows.push(row);
    alone = true;
  };
  messages.forEach((message, index) => {
    for (let gap = open[0]; gap !== undefined && gap.before_ms <= message.time_ms; gap = open[0]) {
      stands({ kind: "gap", key: `gap ${gap.before_ms} ${open.length}`, gap });
      open.shift();
    }
    if (dayOf(message.time_ms) !== day) {
      day = dayOf(message.time_ms);
      // Clocks of others may go back, so a day can come twice: the message makes the key its own.
      stands({ kind: "day", key: `day ${message.id}`, time_ms: message.time_ms });
    }
    if (message.id === firstUnread) stands({ kind: "unread", key: "unread" });
    const before = messages[index - 1];
    const opens = alone || before === undefined || !together(before, message);
    rows.push({ kind: "message", key: message.id, message, opens, closes: false, index });
    alone = false;
  });
  for (let at = 0; at < rows.length; at += 1) {
    const row = rows[at];
    const next = rows[at + 1];
    if (row?.kind === "message") row.closes = next === undefined || next.kind !== "message" || next.opens;
  }
  for (const gap of open) rows.push({ kind: "gap", key: `gap ${gap.before_ms} end`, gap });
  return rows;
}
