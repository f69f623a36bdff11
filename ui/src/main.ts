// Starts the interface: which core it talks to, and where it is drawn.

import "@fontsource-variable/inter/index.css";
import "./styles/tokens.css";
import "./styles/base.css";
import { mount } from "svelte";
import type { Backend } from "./lib/backend/backend";
import { address, takeKey, WebSocketBackend } from "./lib/backend/websocket";
import { words } from "./lib/i18n";
import { App } from "./lib/model/app.svelte";
import { restoreTheme } from "./lib/model/theme";
import View from "./lib/view/App.svelte";
import Locked from "./lib/view/Locked.svelte";

/** `null` where the link that opened this page was used already. */
async function backend(): Promise<Backend | null> {
  // `npm run dev` has no core behind it; the condition is false in a build, which leaves the fake one out.
  if (import.meta.env.DEV) return new (await import("./lib/backend/memory")).MemoryBackend();
  const ask = (path: string, body: string) => fetch(path, { method: "POST", body });
  const key = await takeKey({ location, history, storage: sessionStorage, ask });
  if (key === null) return null;
  const unreachable = () => ({ message: words.noAnswer, hint: words.noAnswerHint });
  return new WebSocketBackend(address(location, key), unreachable);
}

restoreTheme();
const target = document.getElementById("app") as HTMLElement;
const core = await backend();
if (core === null) {
  mount(Locked, { target });
} else {
  const app = new App(core, words);
  mount(View, { target, props: { app } });
  await app.refresh();
}
