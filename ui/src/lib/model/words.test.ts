// What the pill says and how the ring is drawn.

import { expect, it } from "vitest";
import type { LinkState, State } from "../api";
import { message } from "../backend/memory-world";
import { en } from "../i18n/en";
import { pill } from "./link-words";
import { mark } from "./mark";

const NONE: LinkState = { online: [], cut_off: [], waiting: 0, proven: null };
const proven = (current: boolean) => ({ with: "eu-1", at_ms: 0, current });
const said = (link: Partial<LinkState>) => pill({ ...NONE, ...link }, "connected", en, () => "12:03");

it("says what matters most", () => {
  expect(pill(NONE, "lost", en, String).text).toBe("The program on this machine does not answer.");
  expect(said({ online: ["eu-1"], proven: proven(true) })).toEqual({
    tone: "proven",
    text: "Complete with eu-1, checked 12:03",
  });
  expect(said({ online: ["eu-1"], proven: proven(false) }).text).toBe("Catching up");
  expect(said({ online: ["eu-1"], proven: proven(true), waiting: 2 }).text).toBe("Catching up. 2 messages wait.");
  expect(said({ waiting: 3 }).text).toBe("Offline. 3 messages wait for a connection.");
  expect(said({ cut_off: [{ with: "eu-1", reason: "no route" }] }).text).toBe(
    "Offline. Everything is safe on this device.",
  );
  expect(said({}).text).toBe("Only on this device");
});

it("never claims to be complete while it is cut off", () => {
  expect(said({ proven: proven(true) }).tone).toBe("offline");
});

const ring = (state: State, count: number, others: number, delivered: number, read = 0) =>
  mark(message("You", "x", 0, { state, count, others, delivered, read }), en);

it("fills the ring as more hold a message", () => {
  const fills = [ring("local", 0, 3, 0), ring("held", 1, 3, 0), ring("held", 3, 3, 2), ring("delivered", 0, 3, 3)].map(
    (one) => one?.fill ?? -1,
  );
  expect(fills).toEqual([...fills].sort((a, b) => a - b));
  expect(new Set(fills).size).toBe(4);
  expect(fills[0]).toBe(0);
  expect(fills[3]).toBe(1);
});

it("draws held neither empty nor full", () => {
  for (const delivered of [0, 1, 2, 3]) {
    const fill = ring("held", 1, 3, delivered)?.fill ?? 0;
    expect(fill).toBeGreaterThan(0);
    expect(fill).toBeLessThan(1);
  }
});

it("ticks only what was read, and says the numbers", () => {
  expect(ring("delivered", 0, 3, 3)?.tick).toBe(false);
  expect(ring("read", 2, 3, 3, 2)).toEqual({ fill: 1, tick: true, words: "Everybody has it. 2 of 3 have read it." });
  expect(ring("held", 2, 3, 1)?.words).toBe("Safe on this device. 2 others hold it. 1 of 3 people have it.");
  expect(ring("received", 0, 0, 0)).toBeNull();
});
