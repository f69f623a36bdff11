// The whole interface as one state: who this is, the connection, what is open, which pane and dialog is shown. Hands
// updates to the models they concern. Not here: drawing (view/App.svelte).

import type { LinkState, Message, Start, Update } from "../api";
import { ask, type Backend, type Status } from "../backend/backend";
import type { Words } from "../i18n";
import { MessageActions } from "./actions";
import { Composer } from "./composer.svelte";
import { Conversations } from "./conversations.svelte";
import { Details } from "./details.svelte";
import { Notices } from "./notices.svelte";
import { Timeline } from "./timeline.svelte";

/** One conversation that is shown, with everything that belongs to it. */
export class Shown {
  readonly id: string;
  readonly timeline: Timeline;
  readonly composer: Composer;
  readonly details: Details;
  readonly actions: MessageActions;

  constructor(backend: Backend, id: string, notices: Notices, words: Words) {
    this.id = id;
    this.timeline = new Timeline(backend, id, notices);
    this.composer = new Composer(backend, id, words);
    this.details = new Details(backend, id, notices);
    this.actions = new MessageActions(backend, id, notices, words);
  }

  async load(around: string | null): Promise<void> {
    await Promise.all([
      around === null ? this.timeline.open() : this.timeline.jump(around),
      // A draft that cannot be read is no reason to say anything: the box is empty and can be written in.
      this.composer.restore().catch(() => undefined),
      this.details.load().then(() => (this.composer.people = this.details.value?.people ?? [])),
    ]);
  }

  close(): void {
    void this.composer.flush();
    this.timeline.close();
    this.details.close();
  }
}

/** The dialogs; `info` and `thread` are about a message. */
export type Dialog =
  | { kind: "palette" }
  | { kind: "shortcuts" }
  | { kind: "create" }
  | { kind: "join"; link: string }
  | { kind: "info"; message: Message }
  | { kind: "thread"; message: Message };

/** Which pane a narrow window shows. */
export type Pane = "list" | "timeline" | "details";

const NO_LINK: LinkState = { online: [], cut_off: [], waiting: 0, proven: null };

export class App {
  readonly backend: Backend;
  readonly words: Words;
  readonly notices: Notices;
  readonly conversations: Conversations;
  start = $state.raw<Start | null>(null);
  link = $state.raw<LinkState>(NO_LINK);
  status = $state<Status>("connecting");
  shown = $state.raw<Shown | null>(null);
  pane = $state<Pane>("list");
  detailsOpen = $state(true);
  dialog = $state.raw<Dialog | null>(null);
  /** For screen readers: the newest message that arrived. */
  announced = $state("");
  current = $derived.by(() => (this.shown === null ? null : this.conversations.find(this.shown.id)));

  #ends: (() => void)[];

  constructor(backend: Backend, words: Words) {
    this.backend = backend;
    this.words = words;
    this.notices = new Notices(words);
    this.conversations = new Conversations(backend, words, this.notices);
    this.status = backend.status;
    this.#ends = [
      backend.subscribe((update) => this.#hear(update)),
      backend.watch((status) => {
        const back = status === "connected" && this.status === "lost";
        this.status = status;
        if (back) void this.refresh();
      }),
    ];
  }

  /** Asks for everything that is shown: at the start, and after the core was away. */
  async refresh(): Promise<void> {
    const asked = await this.notices.attempt(async () => this.begun(await ask(this.backend, { do: "start" })));
    if (!asked || this.start?.profile == null) return;
    await Promise.all([
      this.conversations.load(),
      this.shown?.timeline.open(),
      this.shown?.details.load(),
      this.shown?.composer.flush(),
    ]);
  }

  begun(start: Start): void {
    this.start = start;
    this.link = start.link;
  }

  /** Makes the profile, and joins at once where there is a link. Throws with the reason. */
  async init(name: string, relay: string, link: string): Promise<void> {
    this.begun(await ask(this.backend, { do: "init", name, relay }));
    await this.conversations.load();
    if (link !== "") await this.accept(link);
  }

  async accept(link: string): Promise<void> {
    const founded = await ask(this.backend, { do: "accept", link });
    if (!founded.member) this.notices.say(this.words.joined);
    await this.conversations.load();
    await this.open(founded.conversation);
  }

  async create(title: string): Promise<void> {
    const founded = await ask(this.backend, { do: "create", title });
    await this.conversations.load();
    await this.open(founded.conversation);
  }

  /** Shows a conversation, or a message in it. */
  async open(conversation: string, around: string | null = null): Promise<void> {
    this.pane = "timeline";
    if (this.shown?.id === conversation) {
      if (around !== null) await this.shown.timeline.jump(around);
      return;
    }
    this.shown?.close();
    const shown = new Shown(this.backend, conversation, this.notices, this.words);
    this.shown = shown;
    await shown.load(around);
  }

  /** Back to the list, on a window that shows one pane. */
  leave(): void {
    this.pane = "list";
  }

  /** The next or previous conversation of the list. */
  async step(by: 1 | -1): Promise<void> {
    const all = this.conversations.shown;
    const at = all.findIndex((one) => one.id === this.shown?.id);
    const next = all[at === -1 ? 0 : (at + by + all.length) % all.length];
    if (next !== undefined) await this.open(next.id);
  }

  /** Fetches a file of a message, if need be, and hands it to the browser to be saved. */
  async save(message: Message, n: number): Promise<void> {
    await this.notices.attempt(async () => {
      const bytes = await this.backend.bring(message.id, n);
      const link = document.createElement("a");
      link.href = URL.createObjectURL(bytes);
      link.download = message.files[n - 1]?.name ?? "";
      link.click();
      // The browser has taken it by then.
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    });
  }

  async reconnect(): Promise<void> {
    await this.notices.attempt(() => ask(this.backend, { do: "reconnect" }));
  }

  close(): void {
    this.shown?.close();
    for (const end of this.#ends) end();
  }

  #hear(update: Update): void {
    this.shown?.timeline.hear(update);
    switch (update.update) {
      case "conversations": {
        const before = JSON.stringify(this.current);
        this.conversations.set(update.conversations);
        // Also when what came is not in the window that is shown.
        if (JSON.stringify(this.current) !== before) this.shown?.details.stale();
        break;
      }
      case "window":
        this.shown?.details.stale();
        break;
      case "link":
        this.link = update.link;
        break;
      case "arrived":
        this.announced = this.words.arrivedFrom(update.message.name, update.message.text.slice(0, 200));
        break;
      case "notice":
        this.notices.say(update.words);
        break;
    }
  }
}
