// What a person is told in passing: problems and notices, newest last. Not here: what is announced to screen readers
// (view/Toasts.svelte).

import { Refused } from "../backend/backend";
import type { Words } from "../i18n";

export type Notice = {
  id: number;
  tone: "plain" | "problem";
  /** What happened. */
  text: string;
  /** What is safe, what to do; may be empty. */
  hint: string;
  action: { label: string; run: () => void } | null;
};

const SHOWN_MS = 6_000;
const AT_ONCE = 3;

export class Notices {
  all = $state.raw<Notice[]>([]);
  #next = 1;
  #words: Words;

  constructor(words: Words) {
    this.#words = words;
  }

  /** Says something that goes away by itself. */
  say(text: string, hint = "", action: Notice["action"] = null): void {
    const id = this.#add({ tone: "plain", text, hint, action });
    setTimeout(() => this.dismiss(id), SHOWN_MS);
  }

  /** Says why something was not done; stays until it is dismissed, for it may be read late. */
  problem(reason: unknown): void {
    if (reason instanceof Refused) {
      this.#add({ tone: "problem", text: reason.problem.message, hint: reason.problem.hint, action: null });
    } else {
      const detail = reason instanceof Error ? reason.message : String(reason);
      this.#add({
        tone: "problem",
        text: this.#words.notDone,
        hint: `${this.#words.nothingLost} ${detail}`,
        action: null,
      });
    }
  }

  dismiss(id: number): void {
    this.all = this.all.filter((notice) => notice.id !== id);
  }

  /** Runs something and says why if it was not done; tells whether it was. */
  async attempt(run: () => Promise<unknown>): Promise<boolean> {
    try {
      await run();
      return true;
    } catch (reason) {
      this.problem(reason);
      return false;
    }
  }

  #add(notice: Omit<Notice, "id">): number {
    // The same problem twice is one problem.
    const others = this.all.filter((other) => other.text !== notice.text || other.hint !== notice.hint);
    const id = this.#next++;
    this.all = [...others, { ...notice, id }].slice(-AT_ONCE);
    return id;
  }
}
