// What the pill says about the connection, in order of what matters most. Not here: how it looks (view/Pill.svelte).

import type { LinkState } from "../api";
import type { Status } from "../backend/backend";
import type { Words } from "../i18n";

/** `lost` is the only tone that calls for a person. */
export type Tone = "proven" | "busy" | "offline" | "lost";

export type Pill = { tone: Tone; text: string };

/** `clock` writes a time as the language does. */
export function pill(link: LinkState, status: Status, words: Words, clock: (ms: number) => string): Pill {
  if (status === "lost") return { tone: "lost", text: words.noAnswer };
  if (status === "connecting") return { tone: "busy", text: words.connecting };
  if (link.online.length === 0) {
    if (link.waiting > 0) return { tone: "offline", text: words.offlineWaiting(link.waiting) };
    // Whoever never had anybody to reach is not cut off from anybody.
    const alone = link.cut_off.length === 0 && link.proven === null;
    return { tone: "offline", text: alone ? words.onlyHere : words.offline };
  }
  if (link.proven?.current === true && link.waiting === 0) {
    return { tone: "proven", text: words.completeWith(link.proven.with, clock(link.proven.at_ms)) };
  }
  const waiting = link.waiting > 0 ? `. ${words.waiting(link.waiting)}` : "";
  return { tone: "busy", text: words.catchingUp + waiting };
}
