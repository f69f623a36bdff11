// Real programs and real browsers for the checks: started in folders of their own, without the user's settings, and gone in
// the end. Not here: what is checked (`journey.mjs`, `long.mjs`), stories (`browser.mjs`).

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";
import { FLAGS, root } from "./browser.mjs";

const programs = process.env.TOMBOLO_PROGRAMS ?? "";
export const folder = mkdtempSync(join(tmpdir(), "tombolo-journey-"));
const artefacts = join(root, "artefacts");
mkdirSync(artefacts, { recursive: true });
const running = new Set();

const settings = () => Object.fromEntries(Object.entries(process.env).filter(([key]) => !key.startsWith("TOMBOLO_")));

/** Starts a program and gives its first line; with `next()` those that follow. */
export async function start(name, args) {
  const child = spawn(join(programs, name), args, { env: settings(), stdio: ["ignore", "pipe", "inherit"] });
  running.add(child);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async () => {
    const line = await lines.next();
    assert.ok(!line.done, `${name} ended early`);
    return line.value;
  };
  const first = await next();
  const stop = () =>
    new Promise((resolve) => {
      running.delete(child);
      child.once("exit", resolve);
      child.kill("SIGTERM");
    });
  return { first, next, stop };
}

/** What every command of somebody begins with. */
export const person = (name) => ["--home", join(folder, name), "--key-store", "file"];

const relayData = join(folder, "relay");
export const startRelay = (listen) => start("tombolo-relay", ["serve", "--listen", listen, "--data", relayData]);
export const startCore = (name) => start("tombolo", [...person(name), "--json", "web"]);
export const link = (line) => JSON.parse(line).link;

/** What a page may not do, whatever it is shown. */
export const faults = [];
const pages = new Map();
const contexts = new Set();

export async function browser(name, size) {
  const context = await chromium.launchPersistentContext(join(folder, `browser-${name}`), {
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: FLAGS,
    viewport: size,
    locale: "en-GB",
    reducedMotion: "reduce",
  });
  contexts.add(context);
  const page = context.pages()[0] ?? (await context.newPage());
  pages.set(name, page);
  page.setDefaultTimeout(15_000);
  page.on("pageerror", (error) => faults.push(`${name}: ${error}`));
  page.on("dialog", (dialog) => faults.push(`${name}: a dialog: ${dialog.message()}`));
  page.on("request", (request) => {
    if (!/^(http|ws):\/\/127\.0\.0\.1:|^data:|^blob:/.test(request.url()))
      faults.push(`${name} asked ${request.url()}`);
  });
  return { context, page };
}

/** Runs a program to its end. */
export function run(name, args, input) {
  const ended = spawnSync(join(programs, name), args, { env: settings(), input, maxBuffer: 1 << 28 });
  assert.equal(ended.status, 0, `${name} ${args.join(" ")}: ${ended.stderr}`);
  return ended.stdout.toString();
}

export const picture = (page, name) => page.screenshot({ path: join(artefacts, `${name}.png`) });

/** Runs what is checked; whatever happens, no program and no folder stays. */
export async function finish(check) {
  try {
    await check();
    assert.deepEqual(faults, []);
  } catch (error) {
    // What somebody would see where it went wrong.
    for (const [name, page] of pages) if (!page.isClosed()) await picture(page, `failed-${name}`);
    throw error;
  } finally {
    for (const child of running) child.kill("SIGKILL");
    for (const context of contexts) await context.close();
    rmSync(folder, { recursive: true, force: true });
  }
}
