// What the palette offers: conversations first, then actions. Not here: how it is shown (view/Palette.svelte).

import type { Words } from "../i18n";
import type { App } from "./app.svelte";
import { ordered, plain, titleOf } from "./conversations.svelte";
import { chooseTheme } from "./theme";

export type Command = { key: string; label: string; group: string; run: () => void };

/** Those whose name contains every word of the query. */
export function commands(app: App, words: Words, query: string): Command[] {
  const places = ordered(app.conversations.all).map((one) => ({
    key: one.id,
    label: titleOf(one, words),
    group: one.archived ? words.archive : words.conversations,
    run: () => void app.open(one.id),
  }));
  const act = (key: string, label: string, run: () => void): Command => ({ key, label, group: words.actions, run });
  const acts = [
    act("new", words.newConversation, () => (app.dialog = { kind: "create" })),
    act("join", words.joinConversation, () => (app.dialog = { kind: "join", link: "" })),
    act("reconnect", words.tryAgain, () => void app.reconnect()),
    act("light", words.themeLight, () => chooseTheme("light")),
    act("dark", words.themeDark, () => chooseTheme("dark")),
    act("system", words.themeSystem, () => chooseTheme(null)),
    act("shortcuts", words.shortcuts, () => (app.dialog = { kind: "shortcuts" })),
  ];
  const wanted = plain(query).split(/\s+/).filter(Boolean);
  return [...places, ...acts].filter((one) => wanted.every((word) => plain(one.label).includes(word)));
}
