// The WebSocket port against a socket made of paper.

import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { Refused } from "./backend";
import { address, takeKey, WebSocketBackend, type Page } from "./websocket";

class Paper {
  sent: string[] = [];
  onopen: () => void = () => undefined;
  onclose: () => void = () => undefined;
  onmessage: (event: { data: string }) => void = () => undefined;
  send(text: string): void {
    this.sent.push(text);
  }
  hear(tell: unknown): void {
    this.onmessage({ data: JSON.stringify(tell) });
  }
}

let sockets: Paper[];
const newest = () => sockets.at(-1) as Paper;
const made = () =>
  new WebSocketBackend(
    "ws://here",
    () => ({ message: "No answer.", hint: "Wait." }),
    () => {
      sockets.push(new Paper());
      return newest() as unknown as WebSocket;
    },
  );

beforeEach(() => {
  vi.useFakeTimers();
  sockets = [];
});
afterEach(() => void vi.useRealTimers());

it("numbers calls and gives each its own answer", async () => {
  const core = made();
  const early = core.call({ do: "start" });
  newest().onopen();
  const late = core.call({ do: "conversations" });
  expect(newest().sent.map((text) => JSON.parse(text) as unknown)).toEqual([
    { ask: 1, call: { do: "start" } },
    { ask: 2, call: { do: "conversations" } },
  ]);
  newest().hear({ answer: 2, value: "b" });
  newest().hear({ answer: 1, value: "a" });
  expect(await Promise.all([early, late])).toEqual(["a", "b"]);
});

it("refuses with the reason of the core", async () => {
  const core = made();
  newest().onopen();
  const call = core.call({ do: "close" });
  newest().hear({ failed: 1, problem: { code: "x", message: "No.", hint: "" } });
  await expect(call).rejects.toMatchObject({ problem: { message: "No." } });
});

it("tells updates", () => {
  const core = made();
  const heard: unknown[] = [];
  const stop = core.subscribe((update) => heard.push(update));
  newest().hear({ told: { update: "notice", code: "a", words: "b" } });
  stop();
  newest().hear({ told: { update: "notice", code: "c", words: "d" } });
  expect(heard).toEqual([{ update: "notice", code: "a", words: "b" }]);
});

it("leaves no call without an answer when the core goes away, and comes back more and more slowly", async () => {
  const core = made();
  const statuses: string[] = [];
  core.watch((status) => statuses.push(status));
  newest().onopen();
  const call = core.call({ do: "start" });
  newest().onclose();
  await expect(call).rejects.toBeInstanceOf(Refused);
  await expect(core.call({ do: "start" })).rejects.toMatchObject({ problem: { code: "no_answer" } });
  for (const pause of [250, 500, 1000, 2000, 4000, 8000, 8000]) {
    const before = sockets.length;
    vi.advanceTimersByTime(pause - 1);
    expect(sockets).toHaveLength(before);
    vi.advanceTimersByTime(1);
    expect(sockets).toHaveLength(before + 1);
    newest().onclose();
  }
  vi.advanceTimersByTime(8000);
  newest().onopen();
  expect(statuses).toEqual(["connected", "lost", "connected"]);
});

it("trades the token of the address for a key, once, and keeps that for the tab", async () => {
  sessionStorage.clear();
  const [replaced, asked]: [unknown[], unknown[]] = [[], []];
  const page = (hash: string, ok: boolean): Page => ({
    location: { hash, pathname: "/", search: "?x=1" } as Location,
    history: { replaceState: (...given: unknown[]) => replaced.push(given) } as unknown as History,
    storage: sessionStorage,
    ask: (path, body) => {
      asked.push([path, body]);
      return Promise.resolve({ ok, text: () => Promise.resolve("the key") });
    },
  });
  expect(await takeKey(page("", true))).toBe(null);
  expect(await takeKey(page("#token=used", false))).toBe(null);
  expect(await takeKey(page("#token=a%20b", true))).toBe("the key");
  expect(replaced).toEqual([
    [null, "", "/?x=1"],
    [null, "", "/?x=1"],
  ]);
  expect(asked).toEqual([
    ["/v1/session", "used"],
    ["/v1/session", "a b"],
  ]);
  // After a reload nothing is asked.
  expect(await takeKey(page("", true))).toBe("the key");
  expect(asked).toHaveLength(2);
});

it("speaks to the host of its page", () => {
  expect(address({ protocol: "http:", host: "127.0.0.1:4444" } as Location, "a&b")).toBe(
    "ws://127.0.0.1:4444/v1/interface?key=a%26b",
  );
  expect(address({ protocol: "https:", host: "chat.example" } as Location, "t")).toContain("wss://chat.example/");
});
