// The models against the fake core: what is asked, what is shown, and that no text gets lost.

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Call, Message } from "../api";
import { Refused } from "../backend/backend";
import { MemoryBackend } from "../backend/memory";
import { conversation, message, MINUTE, place } from "../backend/memory-world";
import { en } from "../i18n/en";
import { verbs } from "./actions";
import { App } from "./app.svelte";
import { commands } from "./commands";
import { Composer } from "./composer.svelte";
import { Conversations, ordered } from "./conversations.svelte";
import { groups } from "./details.svelte";
import { Notices } from "./notices.svelte";
import { applied, Timeline } from "./timeline.svelte";

let core: MemoryBackend;
let notices: Notices;
let frames: (() => void)[];

const frame = (flush: () => void) => void frames.push(flush);
const draw = () => frames.splice(0).forEach((flush) => flush());
const texts = (messages: readonly Message[]) => messages.map((one) => one.text);
const asked = (kind: Call["do"]) => core.asked.filter((call) => call.do === kind);
const full = new Refused({ code: "full", message: "The disk is full.", hint: "Free some space." });

beforeEach(() => {
  vi.useFakeTimers();
  core = new MemoryBackend();
  notices = new Notices(en);
  frames = [];
});
afterEach(() => void vi.useRealTimers());

describe("conversations", () => {
  const list = () => new Conversations(core, en, notices);

  it("stand in order: favourites, then the newest, then titles", () => {
    const last = (time_ms: number) => ({ name: "", own: false, text: "", time_ms });
    const all = [
      conversation("b", "B"),
      conversation("a", "A"),
      conversation("old", "Old", { last: last(1) }),
      conversation("new", "New", { last: last(2) }),
      conversation("top", "Top", { favourite: true }),
    ];
    expect(ordered(all).map((one) => one.id)).toEqual(["top", "new", "old", "a", "b"]);
  });

  it("are filtered by title without case and accents, archived ones apart", async () => {
    const model = list();
    await model.load();
    expect(model.archived.map((one) => one.id)).toEqual(["old"]);
    model.query = "HÁRB";
    expect(model.shown.map((one) => one.id)).toEqual(["harbour"]);
    model.query = "note to";
    expect(model.shown.map((one) => one.id)).toEqual(["notes"]);
  });

  it("look for messages once typing pauses, and drop answers to old questions", async () => {
    const model = list();
    model.search("bo");
    model.search("boats");
    await vi.advanceTimersByTimeAsync(200);
    expect(asked("search")).toEqual([{ do: "search", text: "boats", conversation: null }]);
    expect(model.hits.length).toBeGreaterThan(0);
    model.search("");
    expect(model.hits).toEqual([]);
  });
});

describe("timeline", () => {
  const open = async (id = "harbour") => {
    const model = new Timeline(core, id, notices, frame);
    core.subscribe((update) => model.hear(update));
    await model.open();
    return model;
  };

  it("applies steps in order, with indexes of the moment", () => {
    const [a, b, c] = ["a", "b", "c"].map((text) => message("Ana", text, 0)) as [Message, Message, Message];
    const steps = [
      { step: "insert", index: 1, message: c },
      { step: "remove", index: 0 },
      { step: "set", index: 1, message: { ...b, text: "B" } },
    ] as const;
    expect(texts(applied([a, b], steps))).toEqual(["c", "B"]);
  });

  it("draws many updates as one batch", async () => {
    const model = await open();
    const before = model.messages;
    for (let at = 0; at < 5; at += 1) core.arrive("harbour", message("Bo", `n${at}`, -at));
    expect(model.messages).toBe(before);
    expect(frames).toHaveLength(1);
    draw();
    expect(texts(model.messages).slice(-5)).toEqual(["n0", "n1", "n2", "n3", "n4"]);
    expect(model.below).toBe(5);
  });

  it("tells what was slotted in above, oldest first, and leads there", async () => {
    const model = await open();
    core.arrive("harbour", message("Bo", "second", 50 * MINUTE, { late: true }));
    core.arrive("harbour", message("Bo", "first", 115 * MINUTE, { late: true }));
    draw();
    expect(model.late).toHaveLength(2);
    const first = model.messages.find((one) => one.text === "first");
    model.showLate();
    expect(model.target).toEqual({ id: first?.id });
    expect(model.late).toEqual([]);
  });

  it("ignores updates about a window that is no longer shown", async () => {
    const model = await open();
    core.tell({ update: "window", window: 0, steps: [{ step: "remove", index: 0 }], gaps: [] });
    const before = model.messages.length;
    draw();
    expect(model.messages).toHaveLength(before);
  });

  it("pages to the oldest within the core's bound, and back to the newest", async () => {
    const many = Array.from({ length: 1500 }, (_, at) => message("Ana", String(at), (1500 - at) * MINUTE));
    core = new MemoryBackend([place(conversation("many", "Many"), many)]);
    const model = await open("many");
    expect(model.messages).toHaveLength(60);
    let last = "";
    for (let turn = 0; turn < 80 && model.older; turn += 1) {
      const first = model.messages[0]?.id;
      await model.loadOlder();
      expect(model.messages.length).toBeLessThanOrEqual(200);
      expect(model.messages.some((one) => one.id === first)).toBe(true);
      last = model.messages[0]?.text ?? "";
    }
    expect(last).toBe("0");
    for (let turn = 0; turn < 80 && model.newer; turn += 1) await model.loadNewer();
    expect(model.messages.at(-1)?.text).toBe("1499");
  });

  it("says once what was read, when it rests", async () => {
    const model = await open();
    for (const one of model.messages) model.seen(one);
    await vi.advanceTimersByTimeAsync(500);
    expect(asked("read")).toEqual([{ do: "read", conversation: "harbour", up_to: model.messages.at(-1)?.cursor }]);
  });

  it("says when it could not be opened, and opens again", async () => {
    core.refusals.set("open", full);
    const model = await open();
    expect(model.state).toBe("failed");
    expect(notices.all[0]?.text).toBe("The disk is full.");
    await model.open();
    expect(model.state).toBe("open");
  });

  it("jumps to a message that is not in the window", async () => {
    const model = await open("crew");
    const far = core.place("crew").messages[3] as Message;
    expect(model.messages.some((one) => one.id === far.id)).toBe(false);
    await model.jump(far.id);
    expect(model.messages.some((one) => one.id === far.id)).toBe(true);
    expect(model.newer).toBe(true);
  });
});

describe("composer", () => {
  const box = () => new Composer(core, "harbour", en);

  it("lets go of the text only when the core has it", async () => {
    const model = box();
    model.input("Hello", 5);
    core.refusals.set("send", full);
    expect(await model.send()).toBe(false);
    expect(model.text).toBe("Hello");
    expect(model.problem).toBe("Not sent. Your text is still here. The disk is full. Free some space.");
    expect(await model.send()).toBe(true);
    expect(model.text).toBe("");
    expect(core.place("harbour").messages.at(-1)?.text).toBe("Hello");
  });

  it("keeps what is typed while the core writes, and sends nothing twice", async () => {
    const model = box();
    model.input("one", 3);
    const sent = model.send();
    expect(await model.send()).toBe(false);
    model.input("one two", 7);
    await sent;
    expect(model.text).toBe(" two");
    expect(asked("send")).toHaveLength(1);
  });

  it("saves a draft after a pause, restores it, and clears it when sent", async () => {
    const model = box();
    model.input("Dra", 3);
    model.input("Draft", 5);
    await vi.advanceTimersByTimeAsync(600);
    expect(asked("write_draft")).toHaveLength(1);
    const again = box();
    await again.restore();
    expect(again.text).toBe("Draft");
    await again.send();
    expect(core.place("harbour").draft).toBe("");
  });

  it("does not overwrite what was typed before the draft came", async () => {
    core.place("harbour").draft = "old";
    const model = box();
    const restored = model.restore();
    model.input("new", 3);
    await restored;
    expect(model.text).toBe("new");
  });

  it("edits, and brings the draft back when that is cancelled or done", async () => {
    const model = box();
    model.input("draft", 5);
    const own = core.place("harbour").messages.at(-1) as Message;
    model.edit(own);
    expect(model.text).toBe(own.text);
    model.cancel();
    expect(model.text).toBe("draft");
    model.edit(own);
    model.input("better", 6);
    await model.send();
    expect(core.place("harbour").messages.at(-1)).toMatchObject({ text: "better", edits: 1 });
    expect(model.text).toBe("draft");
    expect(asked("send")).toEqual([]);
  });

  it("completes names and calls upon those that are still in the text", async () => {
    const model = box();
    model.people = core.place("harbour").details.people;
    model.input("Hi @a", 5);
    expect(model.candidates.map((one) => one.name)).toEqual(["Ana"]);
    expect(model.mention(model.candidates[0] as (typeof model.people)[number], 5)).toBe(8);
    expect(model.text).toBe("Hi @Ana ");
    await model.send();
    expect(asked("send")[0]).toMatchObject({ mentions: ["ana"] });
  });
});

describe("files beside the text", () => {
  const box = () => new Composer(core, "harbour", en);
  const file = (name: string) => new File(["x"], name);

  it("go with the message once the core has them, even without words", async () => {
    const model = box();
    expect(model.ready).toBe(false);
    const coming = model.attach([file("a.txt"), file("b.txt")]);
    expect([model.files.length, model.ready]).toEqual([2, false]);
    await coming;
    expect(model.ready).toBe(true);
    model.detach(model.files[0]?.key ?? -1);
    expect(await model.send()).toBe(true);
    expect(asked("send")).toMatchObject([{ text: "", files: ["b.txt"] }]);
    expect(model.files).toEqual([]);
  });

  it("stay when sending fails, and say why when the core does not take one", async () => {
    const model = box();
    await model.attach([file("a.txt")]);
    core.refusals.set("send", full);
    expect(await model.send()).toBe(false);
    expect(model.files).toHaveLength(1);
    core.unattached = full;
    await model.attach([file("b.txt")]);
    expect(model.files.map((one) => one.name)).toEqual(["a.txt"]);
    expect(model.problem).toBe("b.txt was not attached. The disk is full. Free some space.");
  });

  it("are seven at most", async () => {
    const model = box();
    await model.attach(Array.from({ length: 9 }, (_, at) => file(`${at}`)));
    expect(model.files).toHaveLength(7);
    expect(model.problem).toBe("A message carries at most 7 files.");
  });
});

describe("actions", () => {
  it("offer only what a message allows", () => {
    expect(verbs(message("Ana", "x", 0))).not.toContain("edit");
    expect(verbs(message("You", "x", 0, { state: "local" }))).toContain("withdraw");
    expect(verbs(message("You", "x", 0))).not.toContain("withdraw");
    expect(verbs(message("You", "", 0, { deleted: "You" }))).toEqual(["undo", "info", "delete_for_me"]);
    expect(verbs(message("Ana", "", 0, { state: "sealed" }))).toEqual(["info", "delete_for_me"]);
  });
});

describe("app", () => {
  const started = async () => {
    const app = new App(core, en);
    await app.refresh();
    return app;
  };

  it("asks again for everything that is shown when the core is back", async () => {
    const app = await started();
    await app.open("harbour");
    core.become("lost");
    expect(app.status).toBe("lost");
    core.asked.length = 0;
    core.become("connected");
    await vi.advanceTimersByTimeAsync(0);
    expect(core.asked.map((call) => call.do).sort()).toEqual(["conversations", "details", "open", "start"]);
  });

  it("writes the draft of a conversation that is left", async () => {
    const app = await started();
    await app.open("harbour");
    app.shown?.composer.input("half a thought", 14);
    await app.open("bo");
    expect(core.place("harbour").draft).toBe("half a thought");
  });

  it("starts with a name and a note to self", async () => {
    core.profile = null;
    const app = await started();
    expect(app.start?.profile).toBeNull();
    await app.init("Ana", "", "");
    expect(app.conversations.shown.map((one) => one.kind)).toEqual(["own"]);
  });

  it("finds commands by parts of their names", async () => {
    const app = await started();
    expect(commands(app, en, "harb cr").map((one) => one.key)).toEqual(["harbour"]);
    expect(commands(app, en, "dark").map((one) => one.key)).toEqual(["dark"]);
  });
});

it("cuts a digest into groups that can be read aloud", () => {
  expect(groups("9f3c41d07b")).toEqual(["9f3c", "41d0", "7b"]);
});
