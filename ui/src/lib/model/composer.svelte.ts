// What is being written in one conversation. The text leaves the box only when the core has it; until then nothing can
// lose it. Not here: keys and the look of the box (view/Composer.svelte).

import type { Message, Person } from "../api";
import { ask, Refused, type Backend } from "../backend/backend";
import type { Words } from "../i18n";
import { plain } from "./conversations.svelte";

const DRAFT_PAUSE_MS = 500;
const TYPING_EVERY_MS = 3_000;
const MOST_PEOPLE = 6;

/** A file that waits beside the text. `token` names it to the core, once the core has it. */
export type Attached = { key: number; name: string; bytes: number; token: string | null };

/** Files of one message, as the core allows. */
export const FILES_MAX = 7;

export class Composer {
  readonly conversation: string;
  text = $state("");
  answering = $state.raw<Message | null>(null);
  editing = $state.raw<Message | null>(null);
  sending = $state(false);
  /** Why it was not sent; the text is still here. */
  problem = $state<string | null>(null);
  /** People whose names fit what stands behind the last `@` before the cursor. */
  candidates = $state.raw<Person[]>([]);
  people: Person[] = [];
  files = $state.raw<Attached[]>([]);
  /** Whether there is something to send, and all of it is here. */
  ready = $derived(
    (this.text.trim() !== "" || this.files.length > 0) && this.files.every((file) => file.token !== null),
  );

  #backend: Backend;
  #words: Words;
  #mentions = new Map<string, string>();
  #draftTimer: ReturnType<typeof setTimeout> | undefined;
  #draft = "";
  #typed_ms = -TYPING_EVERY_MS;
  #touched = false;
  #attached = 0;

  constructor(backend: Backend, conversation: string, words: Words) {
    this.#backend = backend;
    this.conversation = conversation;
    this.#words = words;
  }

  /** Brings the draft back, unless something has been typed meanwhile. */
  async restore(): Promise<void> {
    const { text } = await ask(this.#backend, { do: "draft", conversation: this.conversation });
    if (this.#touched) return;
    this.text = text;
    this.#draft = text;
  }

  /** The text as it is now, with the place of the cursor. */
  input(text: string, cursor: number): void {
    this.#touched = true;
    this.text = text;
    this.problem = null;
    this.#complete(cursor);
    // An edit is no draft: it would come back as a new message.
    if (this.editing !== null) return;
    clearTimeout(this.#draftTimer);
    this.#draftTimer = setTimeout(() => void this.flush(), DRAFT_PAUSE_MS);
    this.#tellTyping();
  }

  /** Writes the draft now: before leaving, and when typing pauses. */
  async flush(): Promise<void> {
    clearTimeout(this.#draftTimer);
    if (this.editing !== null || this.text === this.#draft) return;
    const text = this.text;
    this.#draft = text;
    try {
      await ask(this.#backend, { do: "write_draft", conversation: this.conversation, text });
    } catch {
      // The text is still in the box; the next pause tries again.
      this.#draft = "";
    }
  }

  /** Puts files beside the text; they go to the core at once, and out with the message. */
  async attach(files: readonly File[]): Promise<void> {
    this.problem = null;
    const room = FILES_MAX - this.files.length;
    if (files.length > room) this.problem = this.#words.tooManyFiles(FILES_MAX);
    await Promise.all(files.slice(0, Math.max(0, room)).map((file) => this.#bring(file)));
  }

  detach(key: number): void {
    this.files = this.files.filter((file) => file.key !== key);
  }

  async #bring(file: File): Promise<void> {
    const key = this.#attached++;
    this.files = [...this.files, { key, name: file.name, bytes: file.size, token: null }];
    try {
      const token = await this.#backend.attach(file);
      this.files = this.files.map((one) => (one.key === key ? { ...one, token } : one));
    } catch (reason) {
      this.detach(key);
      this.problem = this.#why(reason, this.#words.notAttached(file.name));
    }
  }

  /** Hands the text to the core. True when it is on the disk. */
  async send(): Promise<boolean> {
    const text = this.text;
    if (!this.ready || this.sending) return false;
    const files = this.files;
    clearTimeout(this.#draftTimer);
    this.sending = true;
    this.problem = null;
    try {
      await this.#hand(text, files);
    } catch (reason) {
      this.problem = this.#why(reason);
      return false;
    } finally {
      this.sending = false;
    }
    // What was typed while the core was writing stays.
    const rest = this.text.startsWith(text) ? this.text.slice(text.length) : this.text;
    this.files = this.files.filter((file) => !files.includes(file));
    this.#clear(rest);
    return true;
  }

  reply(message: Message): void {
    if (this.editing !== null) this.cancel();
    this.answering = message;
  }

  edit(message: Message): void {
    void this.flush();
    this.answering = null;
    this.editing = message;
    this.text = message.text;
    this.problem = null;
  }

  /** Puts away the edit or the answer; the draft that was there before comes back. */
  cancel(): void {
    if (this.candidates.length > 0) {
      this.candidates = [];
      return;
    }
    if (this.editing !== null) this.text = this.#draft;
    this.editing = null;
    this.answering = null;
    this.problem = null;
  }

  /** Puts a person's name in place of what stands behind the `@`; returns where the cursor goes. */
  mention(person: Person, cursor: number): number {
    const head = this.text.slice(0, cursor).replace(/@[^@\n]*$/, `@${person.name} `);
    this.text = head + this.text.slice(cursor);
    this.#mentions.set(person.account, person.name);
    this.candidates = [];
    return head.length;
  }

  insert(piece: string, cursor: number): number {
    this.input(this.text.slice(0, cursor) + piece + this.text.slice(cursor), cursor + piece.length);
    return cursor + piece.length;
  }

  async #hand(text: string, attached: readonly Attached[]): Promise<void> {
    const conversation = this.conversation;
    if (this.editing !== null) {
      await ask(this.#backend, { do: "edit", conversation, message: this.editing.id, text });
      return;
    }
    const named = [...this.#mentions].filter(([, name]) => text.includes(`@${name}`));
    const mentions = named.map(([account]) => account);
    const files = attached.flatMap((file) => file.token ?? []);
    await ask(this.#backend, { do: "send", conversation, text, answers: this.answering?.id ?? null, mentions, files });
  }

  #clear(rest: string): void {
    const edited = this.editing !== null;
    this.editing = null;
    this.answering = null;
    this.candidates = [];
    this.#mentions.clear();
    this.text = edited ? this.#draft : rest;
    void this.flush();
  }

  #complete(cursor: number): void {
    const found = /(?:^|\s)@([^@\n]{0,40})$/.exec(this.text.slice(0, cursor));
    if (found === null) {
      this.candidates = [];
      return;
    }
    const words = plain(found[1] ?? "");
    const fits = (person: Person) => !person.own && plain(person.name).startsWith(words);
    this.candidates = this.people.filter(fits).slice(0, MOST_PEOPLE);
  }

  #tellTyping(): void {
    const now = performance.now();
    if (this.text === "" || now - this.#typed_ms < TYPING_EVERY_MS) return;
    this.#typed_ms = now;
    // Nobody misses a sign of typing.
    ask(this.#backend, { do: "typing", conversation: this.conversation }).catch(() => undefined);
  }

  #why(reason: unknown, what = this.#words.notSent): string {
    const detail =
      reason instanceof Refused
        ? [reason.problem.message, reason.problem.hint].filter(Boolean).join(" ")
        : String(reason);
    return `${what} ${detail}`;
  }
}
