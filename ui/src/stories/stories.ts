// Every state of the interface that is worth looking at, each reachable by its name. Adding one adds a test: all of them
// are looked at for accessibility, overflow and errors (tests/stories.mjs).

import { Refused } from "../lib/backend/backend";
import { MemoryBackend } from "../lib/backend/memory";
import { conversation, details, HOUR, message, MINUTE, NOON, place } from "../lib/backend/memory-world";
import type { App } from "../lib/model/app.svelte";

export type Story = {
  name: string;
  core: () => MemoryBackend;
  /** False for what is shown before the core has answered. */
  started?: false;
  show?: (app: App, core: MemoryBackend) => Promise<void> | void;
};

const fake = () => new MemoryBackend();
const open = (id: string) => (app: App) => app.open(id);

/** The harbour crew, and then something. */
const then =
  (more: (app: App, core: MemoryBackend) => Promise<void> | void) => async (app: App, core: MemoryBackend) => {
    await app.open("harbour");
    await more(app, core);
  };

/** Lets what was drawn settle. */
const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

/** Three messages come that were written before what is already there. */
export function late(core: MemoryBackend): void {
  for (const [at, text] of ["The ferry is late.", "Take the bus.", "I am on the bus."].entries()) {
    core.arrive("harbour", message("Bo", text, 110 * MINUTE - at, { late: true, came_ms: NOON }));
  }
}

function unstarted(): MemoryBackend {
  const core = fake();
  core.profile = null;
  return core;
}

function linked(link: Partial<MemoryBackend["link"]>): () => MemoryBackend {
  return () => {
    const core = fake();
    core.link = { online: [], cut_off: [], waiting: 0, proven: null, ...link };
    return core;
  };
}

const hostile = () =>
  new MemoryBackend([
    place(
      conversation(
        "hostile",
        "\u202egnp.elbisrever\u202c and a very long title that goes on and on until nobody reads it",
      ),
      [
        message("Eve\u202e\u200b\u0007", "<script>alert(1)</script> <img src=x onerror=alert(1)>", 50 * MINUTE),
        message(
          "Eve",
          "[https://bank.example](https://evil.example) [press](javascript:alert(1)) file:///etc/passwd",
          49 * MINUTE,
        ),
        message("Noor", "مرحبا، المدّ منخفض عند الساعة **18:20** اليوم.", 40 * MINUTE),
        message("You", "שלום! הסירות בפנים.", 39 * MINUTE, {
          state: "read",
          count: 1,
          others: 1,
          delivered: 1,
          read: 1,
        }),
        message("Wolfgang Amadeus Theophilus von und zu Hohenlohe-Langenburg-Wertheim", "x".repeat(400), 30 * MINUTE),
        message("Ana", "A line of a long story about the sea. ".repeat(200), 20 * MINUTE),
        message("You", "🌊".repeat(60), 10 * MINUTE, { state: "local" }),
      ],
      { details: details([{ account: "you", name: "You", own: true }], { topic: "t".repeat(300), relays: [] }) },
    ),
  ]);

const states = () => {
  const core = new MemoryBackend([
    place(conversation("states", "Every state"), [
      message("You", "Here only.", 60 * MINUTE, { state: "local", others: 3, delivered: 0 }),
      message("You", "Held by one.", 50 * MINUTE, { state: "held", count: 1, others: 3, delivered: 0 }),
      message("You", "Two of three have it.", 40 * MINUTE, { state: "held", count: 3, others: 3, delivered: 2 }),
      message("You", "Everybody has it.", 30 * MINUTE, { state: "delivered", others: 3, delivered: 3 }),
      message("You", "Read.", 22 * MINUTE, { state: "read", count: 3, others: 3, delivered: 3, read: 3 }),
      message("You", "I take this back.", 20 * MINUTE, { deleted: "You" }),
      message("Ana", "", 18 * MINUTE, { state: "sealed" }),
      message("Eve", "hidden", 16 * MINUTE, { blocked: true }),
      message("Carol", "From the old system.", 14 * MINUTE, { state: "imported" }),
      message("Bo", "Gone tomorrow.", 12 * MINUTE, { expires_ms: NOON + 24 * HOUR }),
      message("Bo", "An answer to something that is not here.", 2 * MINUTE, {
        answers: { id: "x", name: "", excerpt: "" },
      }),
    ]),
  ]);
  return core;
};

export const stories: Story[] = [
  { name: "starting", core: fake, started: false },
  { name: "no-answer", core: fake, started: false, show: (_, core) => core.become("lost") },
  { name: "first-start", core: unstarted },
  {
    name: "first-start-link",
    core: unstarted,
    show: async () => {
      document.querySelector<HTMLInputElement>('input[value="link"]')?.click();
      await pause(50);
      document.querySelector<HTMLButtonElement>("form button.primary")?.click();
    },
  },
  { name: "after-first-start", core: unstarted, show: (app) => app.init("Ana", "", "").then(() => app.open("notes")) },
  { name: "list", core: fake },
  { name: "no-conversations", core: () => new MemoryBackend([]) },
  {
    name: "archive-open",
    core: fake,
    show: (app) => {
      app.conversations.archiveOpen = true;
    },
  },
  {
    name: "search",
    core: fake,
    show: async (app) => {
      app.conversations.search("the");
      await pause(300);
    },
  },
  {
    name: "search-nothing",
    core: fake,
    show: async (app) => {
      app.conversations.search("lighthouse");
      await pause(300);
    },
  },
  { name: "conversation", core: fake, show: open("harbour") },
  { name: "conversation-top", core: fake, show: then((app) => app.open("harbour", "00000004")) },
  { name: "states", core: states, show: open("states") },
  { name: "hostile", core: hostile, show: open("hostile") },
  { name: "long", core: fake, show: open("crew") },
  { name: "note-to-self", core: fake, show: open("notes") },
  { name: "waiting-to-join", core: fake, show: open("guest") },
  {
    name: "opening",
    core: fake,
    show: async (app, core) => {
      const answer = core.call.bind(core);
      core.call = (call) => (call.do === "open" || call.do === "details" ? new Promise(() => undefined) : answer(call));
      void app.open("harbour");
      await pause(50);
    },
  },
  {
    name: "could-not-open",
    core: fake,
    show: async (app, core) => {
      const hint = "The other conversations are not touched. Restart the program, it repairs what it can.";
      core.refusals.set("open", new Refused({ code: "store", message: "A page of the history cannot be read.", hint }));
      await app.open("harbour");
    },
  },
  {
    name: "late",
    core: fake,
    show: then(async (_, core) => {
      late(core);
      core.tell({ update: "typing", conversation: "harbour", names: ["Ana", "Bo"] });
      await pause(100);
    }),
  },
  {
    name: "reply-mention",
    core: fake,
    show: then(({ shown }) => {
      const first = shown?.timeline.messages[4];
      if (first !== undefined) shown?.composer.reply(first);
      shown?.composer.input("Thank you @", 11);
    }),
  },
  {
    name: "not-sent",
    core: fake,
    show: then(async ({ shown }, core) => {
      const hint = "Free some space and send again.";
      core.refusals.set("send", new Refused({ code: "full", message: "The disk of this device is full.", hint }));
      shown?.composer.input("This text stays here.", 21);
      await shown?.composer.send();
    }),
  },
  {
    name: "message-menu",
    core: fake,
    show: then(async () => {
      await pause(100);
      [...document.querySelectorAll<HTMLButtonElement>("article.own button.menu")].at(-1)?.click();
    }),
  },
  {
    name: "message-info",
    core: fake,
    show: then((app) => {
      const own = app.shown?.timeline.messages.findLast((one) => one.merged);
      if (own !== undefined) app.dialog = { kind: "info", message: own };
    }),
  },
  {
    name: "attached",
    core: fake,
    show: then(async (app) => {
      const file = (name: string, bytes: number) => new File([new Uint8Array(bytes)], name);
      await app.shown?.composer.attach([
        file("tides of the week.pdf", 84_000),
        file("a".repeat(120) + ".png", 1_900_000),
      ]);
    }),
  },
  {
    name: "thread",
    core: fake,
    show: then((app) => {
      const asked = app.shown?.timeline.messages.findLast((one) => one.replies > 0);
      if (asked !== undefined) app.dialog = { kind: "thread", message: asked };
    }),
  },
  {
    name: "details",
    core: fake,
    show: then(async (app) => {
      app.pane = "details";
      await app.shown?.details.invite();
    }),
  },
  {
    name: "palette",
    core: fake,
    show: (app) => {
      app.dialog = { kind: "palette" };
    },
  },
  {
    name: "shortcuts",
    core: fake,
    show: (app) => {
      app.dialog = { kind: "shortcuts" };
    },
  },
  {
    name: "new-conversation",
    core: fake,
    show: (app) => {
      app.dialog = { kind: "create" };
    },
  },
  {
    name: "join",
    core: fake,
    show: (app) => {
      app.dialog = { kind: "join", link: "tombolo:join#k7q2m9x4v1" };
    },
  },
  {
    name: "notices",
    core: fake,
    show: then((app) => {
      const hint = "Both versions are kept. Open the details to see them.";
      app.notices.problem(
        new Refused({ code: "lost", message: "Carol changed the group first. Your change was not applied.", hint }),
      );
      app.notices.say("The message is deleted on your devices.", "", { label: "Undo", run: () => undefined });
    }),
  },
  {
    name: "pill-proven",
    core: linked({ online: ["eu-1", "us-1"], proven: { with: "eu-1", at_ms: NOON, current: true } }),
    show: open("bo"),
  },
  { name: "pill-catching-up", core: linked({ online: ["eu-1"], waiting: 2 }) },
  { name: "pill-alone", core: linked({}) },
  {
    name: "pill-open",
    core: linked({
      waiting: 3,
      cut_off: [
        { with: "eu-1", reason: "no route to it" },
        { with: "Bo", reason: "not seen for two hours" },
      ],
      proven: { with: "eu-1", at_ms: NOON - HOUR, current: false },
    }),
    show: async () => {
      await pause(50);
      document.querySelector<HTMLButtonElement>(".pill")?.click();
    },
  },
  { name: "core-away", core: fake, show: then((_, core) => core.become("lost")) },
];
