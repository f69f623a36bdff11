// A fake core in the page, for stories, tests and development: answers every call from a small world and lets a test
// tell updates. Not here: the world (memory-world.ts), and any promise about how the real core behaves.

import type { Call, Conversation, Hit, LinkState, Message, Start, Step, Update, Window } from "../api";
import { Listeners, Refused, type Backend, type Status } from "./backend";
import { conversation, message as written, NOON, place, RECEIPTS, VERSIONS, world, type Place } from "./memory-world";

const OFFLINE: LinkState = {
  online: [],
  cut_off: [{ with: "eu-1", reason: "no route to it" }],
  waiting: 2,
  proven: { with: "eu-1", at_ms: NOON, current: false },
};

export class MemoryBackend implements Backend {
  status: Status = "connected";
  places: Map<string, Place>;
  link: LinkState = OFFLINE;
  profile: Start["profile"] = { name: "You", account: "you", device: "you-1", home: "" };
  /** Every call so far, for tests. */
  readonly asked: Call[] = [];
  /** What the next call of a kind is refused with. */
  readonly refusals = new Map<Call["do"], Refused>();
  /** Why files are not taken, for tests. */
  unattached: Refused | null = null;
  #window = 0;
  #shown: { conversation: string; from: number; to: number; live: boolean } | null = null;
  #updates = new Listeners<Update>();
  #statuses = new Listeners<Status>();

  constructor(places: Place[] = world()) {
    this.places = new Map(places.map((one) => [one.info.id, one]));
  }

  call(call: Call): Promise<unknown> {
    this.asked.push(call);
    const refusal = this.refusals.get(call.do);
    if (refusal !== undefined) {
      this.refusals.delete(call.do);
      return Promise.reject(refusal);
    }
    try {
      return Promise.resolve(this.#answer(call));
    } catch (reason) {
      return Promise.reject(reason as Refused);
    }
  }

  attach(file: File): Promise<string> {
    const refusal = this.unattached;
    return refusal === null ? Promise.resolve(file.name) : Promise.reject(refusal);
  }

  bring(): Promise<Blob> {
    return Promise.resolve(new Blob(["a file"], { type: "text/plain" }));
  }

  subscribe(listener: (update: Update) => void): () => void {
    return this.#updates.add(listener);
  }

  watch(listener: (status: Status) => void): () => void {
    return this.#statuses.add(listener);
  }

  /** Tells something, as the core would. */
  tell(update: Update): void {
    this.#updates.tell(update);
  }

  become(status: Status): void {
    this.status = status;
    this.#statuses.tell(status);
  }

  /** Somebody's message comes in, where its time puts it. */
  arrive(id: string, message: Message): void {
    const messages = this.place(id).messages;
    const after = messages.findIndex((other) => other.time_ms > message.time_ms);
    this.#change(id, { step: "insert", index: after === -1 ? messages.length : after, message });
  }

  place(id: string): Place {
    const found = this.places.get(id);
    if (found === undefined) {
      throw new Refused({
        code: "unknown",
        message: "This conversation is not on this device.",
        hint: "Join it with a link.",
      });
    }
    return found;
  }

  #answer(call: Call): unknown {
    switch (call.do) {
      case "start":
        return this.#start();
      case "init":
        this.profile = { name: "You", account: "you", device: "you-1", home: "" };
        this.places = new Map([["notes", place(conversation("notes", "", { kind: "own" }), [])]]);
        this.link = { online: [], cut_off: [], waiting: 0, proven: null };
        return this.#start();
      case "conversations":
        return this.#conversations();
      case "create":
        return this.#found(call.title, true);
      case "accept":
        return this.#found("", false);
      case "invite":
        return { link: `tombolo:join#${call.conversation}-k7q2m9x4v1` };
      case "open":
        return this.#open(call.conversation, call.before, call.limit);
      case "around": {
        const at = this.#index(call.conversation, call.message);
        const length = this.place(call.conversation).messages.length;
        return this.#show(call.conversation, Math.max(0, at - call.count), Math.min(length, at + call.count + 1));
      }
      case "close":
        this.#shown = null;
        return null;
      case "send":
        return this.#send(call.conversation, call.text, call.answers);
      case "draft":
        return { name: "", text: this.place(call.conversation).draft };
      case "write_draft":
        this.place(call.conversation).draft = call.text;
        return null;
      case "search":
        return this.#search(call.text);
      case "details":
        return this.place(call.conversation).details;
      case "history":
        return VERSIONS;
      case "receipts":
        return RECEIPTS;
      case "thread":
        return this.place(call.conversation).messages.filter((one) => one.answers?.id === call.message);
      case "rename":
        return this.#inform(call.conversation, { title: call.title });
      case "topic":
        this.place(call.conversation).details = { ...this.place(call.conversation).details, topic: call.text };
        return null;
      case "keep": {
        const field = { mute: "muted", archive: "archived", favourite: "favourite" } as const;
        return this.#inform(call.conversation, { [field[call.keep.what]]: call.keep.on });
      }
      case "read":
        return this.#inform(call.conversation, { unread: 0, mentions: 0 });
      case "unread":
        return this.#inform(call.conversation, { unread: 1 });
      case "typing":
      case "reconnect":
        return null;
      case "cancel": {
        const index = this.#index(call.conversation, call.message);
        this.#change(call.conversation, { step: "remove", index });
        return null;
      }
      default:
        return this.#alter(call);
    }
  }

  #start(): Start {
    return { profile: this.profile, version: "0.0.0", link: this.link };
  }

  #conversations(): Conversation[] {
    return [...this.places.values()].map(({ info, messages }) => {
      const last = messages.at(-1);
      if (last === undefined) return info;
      const { name, own, text, time_ms } = last;
      return { ...info, last: { name, own, text: text.replace(/\s+/g, " ").slice(0, 100), time_ms } };
    });
  }

  #found(title: string, member: boolean): unknown {
    const id = `new-${this.places.size}`;
    this.places.set(id, place(conversation(id, title, { member }), []));
    this.#list();
    return { conversation: id, member };
  }

  #open(id: string, before: string | null, limit: number): Window {
    const length = this.place(id).messages.length;
    const to = before === null ? length : this.#index(id, before);
    return this.#show(id, Math.max(0, to - limit), to);
  }

  #show(id: string, from: number, to: number): Window {
    const { messages, gaps, firstUnread } = this.place(id);
    this.#window += 1;
    this.#shown = { conversation: id, from, to, live: to === messages.length };
    return {
      window: this.#window,
      conversation: id,
      messages: messages.slice(from, to),
      older: from > 0,
      newer: to < messages.length,
      first_unread: firstUnread,
      gaps,
      pruned: 0,
    };
  }

  #send(id: string, text: string, answers: string | null): { id: string } {
    const to = answers === null ? undefined : this.place(id).messages[this.#index(id, answers)];
    const cited = to === undefined ? null : { id: to.id, name: to.name, excerpt: to.text.slice(0, 80) };
    const others = this.place(id).details.people.length - 1;
    const message = written("You", text, NOON - Date.now(), { state: "local", others, delivered: 0, answers: cited });
    this.#change(id, { step: "insert", index: this.place(id).messages.length, message });
    return { id: message.id };
  }

  #search(text: string): Hit[] {
    const hits: Hit[] = [];
    for (const { info, messages } of this.places.values()) {
      for (const message of messages) {
        const at = message.text.toLowerCase().indexOf(text.toLowerCase());
        if (at === -1 || hits.length >= 50) continue;
        const parts = [
          message.text.slice(Math.max(0, at - 20), at),
          message.text.slice(at, at + text.length),
          message.text.slice(at + text.length),
        ];
        hits.push({
          conversation: info.id,
          title: info.title,
          message: message.id,
          name: message.name,
          time_ms: message.time_ms,
          parts,
        });
      }
    }
    return hits;
  }

  /** Calls that make one message look different. */
  #alter(call: Extract<Call, { do: "edit" | "delete" | "undo" | "react" | "pin" }>): null {
    const index = this.#index(call.conversation, call.message);
    const old = this.place(call.conversation).messages[index] as Message;
    if (call.do === "delete" && call.for_me) {
      this.#change(call.conversation, { step: "remove", index });
      return null;
    }
    this.#change(call.conversation, { step: "set", index, message: { ...old, ...changed(old, call) } });
    return null;
  }

  #index(id: string, message: string): number {
    const index = this.place(id).messages.findIndex((one) => one.id === message);
    if (index === -1) {
      throw new Refused({
        code: "unknown",
        message: "This message is not on this device.",
        hint: "It may still arrive.",
      });
    }
    return index;
  }

  #inform(id: string, change: Partial<Conversation>): null {
    const found = this.place(id);
    found.info = { ...found.info, ...change };
    this.#list();
    return null;
  }

  #list(): void {
    this.tell({ update: "conversations", conversations: this.#conversations() });
  }

  /** Applies a step to a conversation and tells the window, if it is in it. */
  #change(id: string, step: Step): void {
    const { messages, gaps } = this.place(id);
    if (step.step === "insert") messages.splice(step.index, 0, step.message);
    else if (step.step === "remove") messages.splice(step.index, 1);
    else messages[step.index] = step.message;
    const shown = this.#shown;
    const inside = shown !== null && step.index >= shown.from && (step.index < shown.to || shown.live);
    if (shown?.conversation === id && inside) {
      if (step.step === "insert") shown.to += 1;
      if (step.step === "remove") shown.to -= 1;
      this.tell({ update: "window", window: this.#window, steps: [{ ...step, index: step.index - shown.from }], gaps });
    }
    this.#list();
  }
}

function changed(
  old: Message,
  call: Extract<Call, { do: "edit" | "delete" | "undo" | "react" | "pin" }>,
): Partial<Message> {
  switch (call.do) {
    case "edit":
      return { text: call.text, edits: old.edits + 1 };
    case "delete":
      return { deleted: "You" };
    case "undo":
      return { deleted: null };
    case "pin":
      return { pinned: call.on };
    case "react": {
      const rest = old.reactions.filter((one) => one.emoji !== call.emoji);
      const names = (old.reactions.find((one) => one.emoji === call.emoji)?.names ?? []).filter(
        (name) => name !== "You",
      );
      const now = call.on ? [...names, "You"] : names;
      return { reactions: now.length === 0 ? rest : [...rest, { emoji: call.emoji, names: now, own: call.on }] };
    }
  }
}
