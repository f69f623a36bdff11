// The list of conversations: its order, its filter, what is folded away, and messages found by the same words. Not here:
// what is inside of one (timeline.svelte.ts).

import type { Conversation, Hit } from "../api";
import { ask, type Backend } from "../backend/backend";
import type { Words } from "../i18n";
import type { Notices } from "./notices.svelte";

const SEARCH_PAUSE_MS = 150;
const SHORTEST_SEARCH = 2;

/** What a conversation is called on screen. */
export function titleOf(conversation: Conversation, words: Words): string {
  if (conversation.title !== "") return conversation.title;
  return conversation.kind === "own" ? words.noteToSelf : words.untitled;
}

/** Favourites first, then the newest; what was never written in stands last, by title. */
export function ordered(all: readonly Conversation[]): Conversation[] {
  return [...all].sort(
    (a, b) =>
      Number(b.favourite) - Number(a.favourite) ||
      (b.last?.time_ms ?? 0) - (a.last?.time_ms ?? 0) ||
      a.title.localeCompare(b.title) ||
      a.id.localeCompare(b.id),
  );
}

/** For comparing without case and accents. */
export function plain(text: string): string {
  return text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
}

export class Conversations {
  all = $state.raw<Conversation[]>([]);
  /** None until the core has answered once. */
  loaded = $state(false);
  query = $state("");
  hits = $state.raw<Hit[]>([]);
  searching = $state(false);
  archiveOpen = $state(false);

  #matching = $derived.by(() => {
    const words = plain(this.query.trim());
    const found = this.all.filter((one) => words === "" || plain(titleOf(one, this.#words)).includes(words));
    return ordered(found);
  });
  shown = $derived(this.#matching.filter((one) => !one.archived));
  archived = $derived(this.#matching.filter((one) => one.archived));
  /** Everything unseen, for the title of the page; muted ones do not count. */
  unread = $derived(this.all.reduce((sum, one) => sum + (one.muted || one.archived ? 0 : one.unread), 0));

  #backend: Backend;
  #words: Words;
  #notices: Notices;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(backend: Backend, words: Words, notices: Notices) {
    this.#backend = backend;
    this.#words = words;
    this.#notices = notices;
  }

  async load(): Promise<void> {
    await this.#notices.attempt(async () => this.set(await ask(this.#backend, { do: "conversations" })));
  }

  set(all: Conversation[]): void {
    this.all = all;
    this.loaded = true;
  }

  find(id: string): Conversation | null {
    return this.all.find((one) => one.id === id) ?? null;
  }

  /** Filters at once; messages are looked for when typing pauses. */
  search(query: string): void {
    this.query = query;
    clearTimeout(this.#timer);
    const text = query.trim();
    if (text.length < SHORTEST_SEARCH) {
      this.hits = [];
      this.searching = false;
      return;
    }
    this.searching = true;
    this.#timer = setTimeout(() => void this.#look(text), SEARCH_PAUSE_MS);
  }

  async #look(text: string): Promise<void> {
    await this.#notices.attempt(async () => {
      const hits = await ask(this.#backend, { do: "search", text, conversation: null });
      // An answer to what is no longer asked is not shown.
      if (this.query.trim() === text) this.hits = hits;
    });
    if (this.query.trim() === text) this.searching = false;
  }
}
