// Every language fills every word, and numbers choose their form. Missing keys are type errors; this finds empty ones.

import { expect, it } from "vitest";
import { brief, day, duration, size } from ".";
import { de } from "./de";
import { en, type Words } from "./en";
import { wordsFor } from ".";

const keys = Object.keys(en) as (keyof Words)[];

it("fills the same keys with something in every language", () => {
  expect(Object.keys(de).sort()).toEqual([...keys].sort());
  for (const table of [en, de]) {
    for (const key of keys) {
      const value = table[key] as string | ((...given: unknown[]) => string);
      const said = typeof value === "string" ? value : value(1, 2);
      expect(said.trim(), key).not.toBe("");
      expect(said, key).not.toMatch(/undefined|#/);
      expect(said, key).not.toMatch(/oops|went wrong|hoppla/i);
    }
  }
});

it("has German for every sentence", () => {
  // Words that are the same in both languages.
  const same = new Set(["locale", "info", "emoji", "link", "relays", "arrivedFrom"]);
  for (const key of keys) {
    if (same.has(key) || typeof en[key] !== "string") continue;
    expect(de[key], key).not.toBe(en[key]);
  }
});

it("chooses the form for a number", () => {
  expect(en.offlineWaiting(1)).toBe("Offline. 1 message waits for a connection.");
  expect(en.offlineWaiting(3)).toBe("Offline. 3 messages wait for a connection.");
  expect(de.missing(17)).toBe("17 Nachrichten fehlen");
  expect(de.lateAdded(1200)).toContain("1.200");
});

it("falls back to English", () => {
  expect(wordsFor("de-AT")).toBe(de);
  expect(wordsFor("fr")).toBe(en);
});

it("writes days, times and sizes as short as is clear", () => {
  const now = new Date(2026, 5, 3, 12).getTime();
  expect(day(now, now)).toBe(en.today);
  expect(day(now - 86_400_000, now)).toBe(en.yesterday);
  expect(day(now - 3 * 86_400_000, now)).toContain("May");
  expect(day(now - 400 * 86_400_000, now)).toContain("2025");
  expect(brief(now - 60_000, now)).toBe("11:59");
  expect(brief(now - 2 * 86_400_000, now)).toBe("Mon");
  expect(duration(3 * 3_600_000)).toBe("3 hr");
  expect(size(2_400_000)).toMatch(/^2\.4\sMB$/);
});
