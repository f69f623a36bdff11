// What can be done with a message, and which of it a given message allows. Not here: the menu (view/MessageMenu.svelte).

import type { Message } from "../api";
import { ask, type Backend } from "../backend/backend";
import type { Words } from "../i18n";
import type { Notices } from "./notices.svelte";

export type Verb =
  | "reply"
  | "react"
  | "edit"
  | "copy"
  | "pin"
  | "unread"
  | "info"
  | "withdraw"
  | "undo"
  | "delete_for_me"
  | "delete_for_all";

/** What a message allows, in the order of the menu. */
export function verbs(message: Message): Verb[] {
  if (message.deleted !== null) return [...(message.own ? (["undo"] as const) : []), "info", "delete_for_me"];
  if (message.state === "sealed" || message.blocked) return ["info", "delete_for_me"];
  const all: Verb[] = ["reply", "react", "copy", "pin"];
  if (message.own) all.push("edit");
  else all.push("unread");
  all.push("info");
  if (message.own && message.state === "local") all.push("withdraw");
  all.push("delete_for_me");
  if (message.own) all.push("delete_for_all");
  return all;
}

export class MessageActions {
  #backend: Backend;
  #conversation: string;
  #notices: Notices;
  #words: Words;

  constructor(backend: Backend, conversation: string, notices: Notices, words: Words) {
    this.#backend = backend;
    this.#conversation = conversation;
    this.#notices = notices;
    this.#words = words;
  }

  async react(message: Message, emoji: string): Promise<void> {
    const on = !message.reactions.some((reaction) => reaction.emoji === emoji && reaction.own);
    await this.#run({ do: "react", ...this.#of(message), emoji, on });
  }

  async pin(message: Message): Promise<void> {
    await this.#run({ do: "pin", ...this.#of(message), on: !message.pinned });
  }

  /** Deletes, and offers to take it back for as long as the notice is shown. */
  async remove(message: Message, forMe: boolean): Promise<void> {
    if (!(await this.#run({ do: "delete", ...this.#of(message), for_me: forMe }))) return;
    const said = forMe ? this.#words.deletedForMe : this.#words.deletedForAll;
    this.#notices.say(said, "", { label: this.#words.undo, run: () => void this.undo(message) });
  }

  async undo(message: Message): Promise<void> {
    await this.#run({ do: "undo", ...this.#of(message) });
  }

  async withdraw(message: Message): Promise<void> {
    await this.#run({ do: "cancel", ...this.#of(message) });
  }

  async unread(message: Message): Promise<void> {
    await this.#run({ do: "unread", conversation: this.#conversation, from: message.cursor });
  }

  async copy(message: Message): Promise<void> {
    if (await this.#notices.attempt(() => navigator.clipboard.writeText(message.text))) {
      this.#notices.say(this.#words.copied);
    }
  }

  #of(message: Message): { conversation: string; message: string } {
    return { conversation: this.#conversation, message: message.id };
  }

  #run(call: Parameters<typeof ask>[1]): Promise<boolean> {
    return this.#notices.attempt(() => ask(this.#backend, call));
  }
}
