// The mark beside an own message: a ring that fills as more hold it, and the same in words. Not here: how it is drawn
// (part/Ring.svelte).

import type { Message } from "../api";
import type { Words } from "../i18n";

/** `fill` is from 0 (here only) to 1 (everybody has it). */
export type Mark = { fill: number; tick: boolean; words: string };

/** None for messages of others, and for those that were brought in or cannot be opened. */
export function mark(message: Message, words: Words): Mark | null {
  const { state, count, others, delivered, read } = message;
  switch (state) {
    case "local":
      return { fill: 0, tick: false, words: words.markLocal };
    case "held": {
      // Somebody holds it, so it is never drawn empty; not everybody has it, so it is never drawn full.
      const share = others > 0 ? delivered / others : 0.25;
      const people = others > 0 ? ` ${words.markPeople(delivered, others)}` : "";
      return { fill: Math.min(0.85, Math.max(0.25, share)), tick: false, words: words.markHeld(count) + people };
    }
    case "delivered":
      return { fill: 1, tick: false, words: words.markDelivered };
    case "read":
      return { fill: 1, tick: true, words: words.markRead(Math.max(count, read), Math.max(others, count, read)) };
    default:
      return null;
  }
}
