// The window onto one conversation: opens it, applies what the core tells step by step, pages in both directions, and
// knows what came late and what was seen. Not here: rows (rows.ts), scrolling (view/Timeline.svelte).

import type { Gap, Message, Step, Update, Window } from "../api";
import { ask, type Backend } from "../backend/backend";
import type { Notices } from "./notices.svelte";
import { rowsOf } from "./rows";

const FIRST = 60;
const PAGE = 24;
/** Messages that are drawn at most: more make scrolling slow, and nobody sees so many at once. */
const MOST = 200;
const READ_PAUSE_MS = 400;

type WindowUpdate = Extract<Update, { update: "window" }>;

/** Runs `flush` once before the next picture. */
export type Frame = (flush: () => void) => void;

const nextFrame: Frame = (flush) => void requestAnimationFrame(flush);

/** The messages after `steps`. */
export function applied(messages: readonly Message[], steps: readonly Step[]): Message[] {
  const next = [...messages];
  for (const step of steps) {
    if (step.step === "insert") next.splice(step.index, 0, step.message);
    else if (step.step === "remove") next.splice(step.index, 1);
    else next[step.index] = step.message;
  }
  return next;
}

/** The messages of `next`, where each that has not changed is the very one of `before`: only what is new is drawn. */
export function kept(before: readonly Message[], next: Message[]): Message[] {
  const known = new Map(before.map((message) => [message.id, message]));
  return next.map((message) => {
    const old = known.get(message.id);
    return old !== undefined && JSON.stringify(old) === JSON.stringify(message) ? old : message;
  });
}

export class Timeline {
  readonly conversation: string;
  messages = $state.raw<Message[]>([]);
  gaps = $state.raw<Gap[]>([]);
  older = $state(false);
  newer = $state(false);
  pruned = $state(0);
  firstUnread = $state<string | null>(null);
  state = $state<"opening" | "open" | "failed">("opening");
  /** Pages are on their way. */
  paging = $state(false);
  /** Messages that were slotted in above while this was shown, oldest first, until they were shown or dismissed. */
  late = $state.raw<string[]>([]);
  /** The message that a jump led to; the view brings it into sight and lights it up for a moment. */
  target = $state.raw<{ id: string } | null>(null);
  typing = $state.raw<string[]>([]);
  /** New messages of others since the view was last at the bottom. */
  below = $state(0);
  rows = $derived(rowsOf(this.messages, this.gaps, this.firstUnread));

  #backend: Backend;
  #notices: Notices;
  #frame: Frame;
  #window = -1;
  #opening = 0;
  #queue: WindowUpdate[] = [];
  #queued = false;
  #readTo = "";
  #readTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(backend: Backend, conversation: string, notices: Notices, frame: Frame = nextFrame) {
    this.#backend = backend;
    this.conversation = conversation;
    this.#notices = notices;
    this.#frame = frame;
  }

  /** Opens at the newest, or again after a break. */
  async open(): Promise<void> {
    const limit = Math.max(FIRST, Math.min(MOST, this.messages.length));
    if (this.newer && this.messages.length > 0) return this.#around(this.#middle(), MOST / 2);
    await this.#take(() => ask(this.#backend, { do: "open", conversation: this.conversation, before: null, limit }));
  }

  /** Shows a message in the middle, wherever it is. */
  async jump(message: string): Promise<void> {
    if (!this.messages.some((one) => one.id === message)) await this.#around(message, 60);
    this.target = { id: message };
  }

  async toNewest(): Promise<void> {
    if (!this.newer) return;
    await this.#take(() =>
      ask(this.#backend, { do: "open", conversation: this.conversation, before: null, limit: FIRST }),
    );
  }

  /** Another page of older messages; beyond the core's bound the newest ones leave. */
  async loadOlder(): Promise<void> {
    if (!this.older || this.paging || this.state !== "open") return;
    const many = this.messages.length + PAGE;
    const grows = !this.newer && many <= MOST;
    const before = grows ? null : (this.messages[Math.min(MOST - PAGE, this.messages.length - 1)]?.cursor ?? null);
    await this.#page(() =>
      ask(this.#backend, { do: "open", conversation: this.conversation, before, limit: Math.min(many, MOST) }),
    );
  }

  /** Another page of newer messages, where the window does not end at the newest. */
  async loadNewer(): Promise<void> {
    const last = this.messages.at(-1);
    if (!this.newer || this.paging || this.state !== "open" || last === undefined) return;
    await this.#page(() => this.#askAround(last.id, MOST / 2));
  }

  hear(update: Update): void {
    if (update.update === "typing" && update.conversation === this.conversation) this.typing = update.names;
    if (update.update !== "window") return;
    this.#queue.push(update);
    if (this.#queued) return;
    this.#queued = true;
    this.#frame(() => this.#flush());
  }

  /** Everything up to this message was seen by a person. */
  seen(message: Message): void {
    this.late = this.late.filter((id) => id !== message.id);
    if (message.cursor === this.#readTo) return;
    this.#readTo = message.cursor;
    clearTimeout(this.#readTimer);
    this.#readTimer = setTimeout(() => {
      const call = { do: "read", conversation: this.conversation, up_to: message.cursor } as const;
      // Not worth a notice: the next message that is seen says it again.
      ask(this.#backend, call).catch(() => (this.#readTo = ""));
    }, READ_PAUSE_MS);
  }

  dismissLate(): void {
    this.late = [];
  }

  showLate(): void {
    const first = this.late[0];
    this.late = [];
    if (first !== undefined) void this.jump(first);
  }

  close(): void {
    clearTimeout(this.#readTimer);
    this.#opening += 1;
  }

  #flush(): void {
    this.#queued = false;
    // While a new window is on its way, what is told may be about it: it waits for the answer.
    if (this.state === "opening" || this.paging) return;
    const batch = this.#queue.filter((update) => update.window === this.#window);
    this.#queue = [];
    if (batch.length === 0) return;
    let messages = this.messages as Message[];
    for (const update of batch) {
      this.#note(messages, update.steps);
      messages = applied(messages, update.steps);
      this.gaps = update.gaps;
    }
    this.messages = messages;
    if (this.late.length > 0) {
      const places = new Map(messages.map((message, index) => [message.id, index]));
      this.late = this.late.filter((id) => places.has(id)).sort((a, b) => (places.get(a) ?? 0) - (places.get(b) ?? 0));
    }
  }

  /** Tells apart what came above something already here, and what came at the end. */
  #note(messages: readonly Message[], steps: readonly Step[]): void {
    let length = messages.length;
    for (const step of steps) {
      if (step.step === "remove") length -= 1;
      if (step.step !== "insert") continue;
      length += 1;
      if (step.message.own) continue;
      if (step.index < length - 1 && step.message.late) this.late = [...this.late, step.message.id];
      else if (step.index === length - 1) this.below += 1;
    }
  }

  #middle(): string {
    return this.messages[Math.floor(this.messages.length / 2)]?.id ?? "";
  }

  #askAround(message: string, count: number): Promise<Window> {
    return ask(this.#backend, { do: "around", conversation: this.conversation, message, count });
  }

  async #around(message: string, count: number): Promise<void> {
    await this.#take(() => this.#askAround(message, count));
  }

  async #page(get: () => Promise<Window>): Promise<void> {
    const mine = this.#opening;
    this.paging = true;
    await this.#notices.attempt(async () => {
      const window = await get();
      if (mine === this.#opening) this.#show(window, this.firstUnread);
    });
    this.paging = false;
    this.#flush();
  }

  async #take(get: () => Promise<Window>): Promise<void> {
    this.#opening += 1;
    const mine = this.#opening;
    // What is shown stays on the screen while it is asked for again.
    if (this.messages.length === 0) this.state = "opening";
    try {
      const window = await get();
      if (mine !== this.#opening) return;
      this.#show(window, this.firstUnread ?? window.first_unread);
      this.state = "open";
      this.#flush();
    } catch (reason) {
      if (mine !== this.#opening) return;
      if (this.messages.length === 0) this.state = "failed";
      this.#notices.problem(reason);
    }
  }

  #show(window: Window, firstUnread: string | null): void {
    this.#window = window.window;
    this.messages = kept(this.messages, window.messages);
    this.gaps = window.gaps;
    this.older = window.older;
    this.newer = window.newer;
    this.pruned = window.pruned;
    this.firstUnread = firstUnread;
  }
}
