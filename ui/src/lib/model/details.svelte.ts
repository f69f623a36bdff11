// Everything beside the messages of one conversation: asked for when it is opened and again when it may have changed.
// Not here: the panel (view/Details.svelte).

import type { Conversation, Details as Answer, Keep } from "../api";
import { ask, type Backend } from "../backend/backend";
import type { Notices } from "./notices.svelte";

const RELOAD_PAUSE_MS = 500;

/** The digest in groups that two people can read to each other. */
export function groups(digest: string): string[] {
  return digest.match(/.{1,4}/g) ?? [];
}

/** People whom one link lets in. */
export const INVITED = 25;

export class Details {
  readonly conversation: string;
  value = $state.raw<Answer | null>(null);
  link = $state<string | null>(null);

  #backend: Backend;
  #notices: Notices;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(backend: Backend, conversation: string, notices: Notices) {
    this.#backend = backend;
    this.conversation = conversation;
    this.#notices = notices;
  }

  async load(): Promise<void> {
    await this.#notices.attempt(async () => {
      this.value = await ask(this.#backend, { do: "details", conversation: this.conversation });
    });
  }

  /** The conversation has changed; many changes at once are asked for once. */
  stale(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.load(), RELOAD_PAUSE_MS);
  }

  close(): void {
    clearTimeout(this.#timer);
  }

  async invite(): Promise<void> {
    await this.#notices.attempt(async () => {
      const { link } = await ask(this.#backend, { do: "invite", conversation: this.conversation, uses: INVITED });
      this.link = link;
    });
  }

  async rename(title: string): Promise<boolean> {
    return this.#notices.attempt(() => ask(this.#backend, { do: "rename", conversation: this.conversation, title }));
  }

  async topic(text: string): Promise<boolean> {
    const done = await this.#notices.attempt(() =>
      ask(this.#backend, { do: "topic", conversation: this.conversation, text }),
    );
    if (done) await this.load();
    return done;
  }

  async keep(keep: Keep): Promise<void> {
    await this.#notices.attempt(() => ask(this.#backend, { do: "keep", conversation: this.conversation, keep }));
  }

  mute = (of: Conversation): Promise<void> => this.keep({ what: "mute", on: !of.muted });
  archive = (of: Conversation): Promise<void> => this.keep({ what: "archive", on: !of.archived });
  favourite = (of: Conversation): Promise<void> => this.keep({ what: "favourite", on: !of.favourite });
}
