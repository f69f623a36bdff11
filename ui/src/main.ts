// Starts the interface: which core it talks to, and where it is drawn.

import "@fontsource-variable/inter/index.css";
import "./styles/tokens.css";
import "./styles/base.css";
import { mount } from "svelte";
import type { Backend } from "./lib/backend/backend";
import { address, takeToken, WebSocketBackend } from "./lib/backend/websocket";
import { words } from "./lib/i18n";
import { App } from "./lib/model/app.svelte";
import { restoreTheme } from "./lib/model/theme";
import View from "./lib/view/App.svelte";

async function backend(): Promise<Backend> {
  // `npm run dev` has no core behind it; the condition is false in a build, which leaves the fake one out.
  if (import.meta.env.DEV) return new (await import("./lib/backend/memory")).MemoryBackend();
  const token = takeToken(location, history, sessionStorage);
  const unreachable = () => ({ message: words.noAnswer, hint: words.noAnswerHint });
  return new WebSocketBackend(address(location, token), unreachable);
}

restoreTheme();
const app = new App(await backend(), words);
mount(View, { target: document.getElementById("app") as HTMLElement, props: { app } });
await app.refresh();
