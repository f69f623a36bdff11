// The language in use, and times and numbers as it writes them. Not here: the words (en.ts, de.ts).

import { de } from "./de";
import { en, type Words } from "./en";

export type { Words };

/** The words for a language tag; English where there are none. */
export function wordsFor(tag: string): Words {
  return tag.toLowerCase().startsWith("de") ? de : en;
}

// `?lang=de` is for the stories, which show both languages on one machine.
const tag = new URLSearchParams(location.search).get("lang") ?? navigator.language;

/** The words of this page. */
export const words = wordsFor(tag);

/** The language tag whose habits dates and numbers follow: a British English stays British. */
export const locale = tag.toLowerCase().startsWith(words.locale) ? tag : words.locale;

const clockFormat = new Intl.DateTimeFormat(locale, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const dayFormat = new Intl.DateTimeFormat(locale, { weekday: "long", day: "numeric", month: "long" });
const farDayFormat = new Intl.DateTimeFormat(locale, { day: "numeric", month: "long", year: "numeric" });
const shortFormat = new Intl.DateTimeFormat(locale, { day: "numeric", month: "short" });
const weekdayFormat = new Intl.DateTimeFormat(locale, { weekday: "short" });
const fullFormat = new Intl.DateTimeFormat(locale, { dateStyle: "full", timeStyle: "medium" });
const listFormat = new Intl.ListFormat(locale, { type: "conjunction" });

const DAY_MS = 86_400_000;

/** Days from the day of `time` to that of `now`. */
function daysAgo(time_ms: number, now_ms: number): number {
  const midnight = (ms: number) => new Date(ms).setHours(0, 0, 0, 0);
  return Math.round((midnight(now_ms) - midnight(time_ms)) / DAY_MS);
}

export const clock = (time_ms: number): string => clockFormat.format(time_ms);
export const full = (time_ms: number): string => fullFormat.format(time_ms);
export const list = (names: readonly string[]): string => listFormat.format(names);

/** For a day divider. */
export function day(time_ms: number, now_ms = Date.now()): string {
  const ago = daysAgo(time_ms, now_ms);
  if (ago === 0) return words.today;
  if (ago === 1) return words.yesterday;
  return (ago > 0 && ago < 300 ? dayFormat : farDayFormat).format(time_ms);
}

/** For a row of the list: as short as is still clear. */
export function brief(time_ms: number, now_ms = Date.now()): string {
  const ago = daysAgo(time_ms, now_ms);
  if (ago === 0) return clock(time_ms);
  return ago > 0 && ago < 7 ? weekdayFormat.format(time_ms) : shortFormat.format(time_ms);
}

/** A duration in its largest unit: "3 h". */
export function duration(ms: number): string {
  const units: [number, string][] = [
    [DAY_MS, "day"],
    [3_600_000, "hour"],
    [60_000, "minute"],
    [1_000, "second"],
  ];
  const [size, unit] = units.find(([size]) => ms >= size) ?? [1_000, "second"];
  const style = unit === "day" ? "long" : "short";
  return new Intl.NumberFormat(locale, { style: "unit", unit, unitDisplay: style }).format(Math.round(ms / size));
}

/** A size in its largest unit. */
export function size(bytes: number): string {
  const units = ["byte", "kilobyte", "megabyte", "gigabyte"];
  let rest = bytes;
  let at = 0;
  while (rest >= 1000 && at < units.length - 1) {
    rest /= 1000;
    at += 1;
  }
  const format = {
    style: "unit",
    unit: units[at],
    unitDisplay: "short",
    maximumFractionDigits: at > 1 ? 1 : 0,
  } as const;
  return new Intl.NumberFormat(locale, format).format(rest);
}
