// What stands between messages.

import { expect, it } from "vitest";
import type { Message } from "../api";
import { HOUR, message, MINUTE, NOON } from "../backend/memory-world";
import { rowsOf, type Row } from "./rows";

const shape = (rows: Row[]) => rows.map((row) => (row.kind === "message" ? row.message.text : row.kind)).join(" ");
const opens = (messages: Message[]) =>
  rowsOf(messages, [], null).flatMap((row) => (row.kind === "message" ? [row.opens] : []));

it("divides days", () => {
  expect(shape(rowsOf([message("Ana", "a", 26 * HOUR), message("Ana", "b", 2 * MINUTE)], [], null))).toBe(
    "day a day b",
  );
});

it("groups by person within five minutes", () => {
  const at = (name: string, minutes: number) => message(name, "x", minutes * MINUTE);
  expect(opens([at("Ana", 20), at("Ana", 16), at("Ana", 10), at("Bo", 9), at("Ana", 8)])).toEqual([
    true,
    false,
    true,
    true,
    true,
  ]);
});

it("closes a group where the next one opens", () => {
  const rows = rowsOf(
    [message("Ana", "a", 3 * MINUTE), message("Ana", "b", 2 * MINUTE), message("Bo", "c", MINUTE)],
    [],
    null,
  );
  expect(rows.flatMap((row) => (row.kind === "message" ? [row.closes] : []))).toEqual([false, true, true]);
});

it("does not hide a late message in a group", () => {
  expect(opens([message("Ana", "a", 3 * MINUTE), message("Ana", "b", 2 * MINUTE, { late: true })])).toEqual([
    true,
    true,
  ]);
});

it("puts the border above the first unread and opens a group there", () => {
  const messages = [message("Ana", "a", 2 * MINUTE), message("Ana", "b", MINUTE)];
  const rows = rowsOf(messages, [], messages[1]?.id ?? null);
  expect(shape(rows)).toBe("day a unread b");
  expect(rows.at(-1)).toMatchObject({ opens: true });
});

it("puts gaps above what was written then, and others at the end", () => {
  const messages = [message("Ana", "a", 30 * MINUTE), message("Ana", "b", 10 * MINUTE)];
  const gaps = [
    { missing: 1, before_ms: NOON },
    { missing: 17, before_ms: NOON - 10 * MINUTE },
  ];
  expect(shape(rowsOf(messages, gaps, null))).toBe("day a gap b gap");
});

it("gives every row a key of its own, also when clocks go back", () => {
  const messages = [message("Ana", "a", 26 * HOUR), message("Bo", "b", 0), message("Ana", "c", 26 * HOUR)];
  const gaps = [NOON, NOON, NOON + 1].map((before_ms) => ({ missing: 1, before_ms }));
  const keys = rowsOf(messages, gaps, null).map((row) => row.key);
  expect(new Set(keys).size).toBe(keys.length);
});
