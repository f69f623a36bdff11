// Shows one story by its address (`?story=name&theme=dark`), or the index of all.

import "@fontsource-variable/inter/index.css";
import "../styles/tokens.css";
import "../styles/base.css";
import { mount } from "svelte";
import { NOON } from "../lib/backend/memory-world";
import { words } from "../lib/i18n";
import { App } from "../lib/model/app.svelte";
import View from "../lib/view/App.svelte";
import Index from "./Index.svelte";
import { late, stories } from "./stories";

const query = new URLSearchParams(location.search);
const theme = query.get("theme");
if (theme !== null) document.documentElement.dataset.theme = theme;
if (query.get("dir") === "rtl") document.documentElement.dir = "rtl";

// Pictures are compared: the day of the fake world is today.
Date.now = () => NOON;

const target = document.getElementById("app") as HTMLElement;
const story = stories.find((one) => one.name === query.get("story"));
if (story === undefined) {
  mount(Index, { target });
} else {
  const core = story.core();
  const app = new App(core, words);
  mount(View, { target, props: { app } });
  if (story.started !== false) await app.refresh();
  await story.show?.(app, core);
  // For the checks in a browser, which let messages come while something is read.
  Object.assign(window, { lateMessages: () => late(core) });
}
document.documentElement.dataset.ready = "";
