// Looks at every story in light and dark, wide and narrow: no violation of WCAG A and AA, no error in the console, no
// sideways scrolling. Leaves a picture of each in artefacts/. `node tests/stories.mjs late` looks at one.

import { createServer } from "node:http";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const root = fileURLToPath(new URL("..", import.meta.url));
const dist = join(root, "dist-stories");
const artefacts = join(root, "artefacts");
const axe = readFileSync(join(root, "node_modules/axe-core/axe.min.js"), "utf8");
const only = process.argv[2];

const SIZES = [
  { width: 1280, height: 800 },
  { width: 360, height: 640 },
];
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".woff2": "font/woff2" };
// The policy that the program sends with the page.
const POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self' ws: wss:";

function serve() {
  const server = createServer((request, response) => {
    const path = join(dist, normalize(new URL(request.url, "http://localhost").pathname));
    if (!path.startsWith(dist) || !existsSync(path)) return response.writeHead(404).end();
    response.writeHead(200, {
      "content-type": TYPES[extname(path)] ?? "text/plain",
      "content-security-policy": POLICY,
    });
    response.end(readFileSync(path));
  });
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server)));
}

/** Everything that is wrong with a page, in words. */
async function faults(page) {
  // The policy of the page keeps foreign scripts out; the browser's own door is not bound by it.
  await page.evaluate(axe);
  return page.evaluate(async () => {
    const found = [];
    const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
    const { violations } = await window.axe.run(document, { runOnly: { type: "tag", values: tags } });
    for (const one of violations) {
      for (const node of one.nodes.slice(0, 3))
        found.push(`${one.id}: ${node.target.join(" ")}: ${node.failureSummary}`);
    }
    const wide = document.documentElement.scrollWidth - innerWidth;
    if (wide > 0) found.push(`wider than the window by ${wide} px`);
    for (const box of document.querySelectorAll("main, nav, aside, section, dialog, header, form")) {
      const more = box.scrollWidth - box.clientWidth;
      if (more > 1 && box.clientWidth > 1 && getComputedStyle(box).overflowX !== "visible")
        found.push(`${box.className || box.tagName} scrolls sideways by ${more} px`);
    }
    return found;
  });
}

const server = await serve();
const origin = `http://127.0.0.1:${server.address().port}`;
const profile = mkdtempSync(join(tmpdir(), "tombolo-stories-"));
mkdirSync(artefacts, { recursive: true });
const context = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: FLAGS,
  reducedMotion: "reduce",
  locale: "en-GB",
  timezoneId: "UTC",
});
let looked = 0;
const wrong = [];
try {
  const page = context.pages()[0] ?? (await context.newPage());
  let errors = [];
  page.on("console", (said) => said.type() === "error" && errors.push(said.text()));
  page.on("pageerror", (error) => errors.push(String(error)));
  await page.goto(`${origin}/stories.html`);
  await page.waitForSelector("html[data-ready]");
  const names = await page.$$eval("li .name", (all) => all.map((one) => one.textContent));
  const kinds = ["theme=light", "theme=dark"];
  const extra = ["conversation", "first-start", "details"].flatMap((name) => [
    [name, "theme=light&lang=de"],
    [name, "theme=light&dir=rtl"],
  ]);
  const visits = [...names.flatMap((name) => kinds.map((kind) => [name, kind])), ...extra];
  if (names.length === 0) throw new Error("the index names no story");
  for (const size of SIZES) {
    await page.setViewportSize(size);
    for (const [name, kind] of visits) {
      if (only !== undefined && name !== only) continue;
      errors = [];
      await page.goto(`${origin}/stories.html?story=${name}&${kind}`);
      await page.waitForSelector("html[data-ready]");
      await page.evaluate(() => document.fonts.ready);
      await page.waitForTimeout(80);
      const label = `${name}-${kind.replace(/theme=|lang=|dir=/g, "").replace("&", "-")}-${size.width}`;
      await page.screenshot({ path: join(artefacts, `${label}.png`) });
      for (const fault of [...(await faults(page)), ...errors]) wrong.push(`${label}: ${fault}`);
      looked += 1;
    }
  }
} finally {
  await context.close();
  server.close();
  rmSync(profile, { recursive: true, force: true });
}
for (const one of wrong) console.log(one);
console.log(`${looked} pages looked at, ${wrong.length} faults`);
if (looked === 0 || wrong.length > 0) process.exit(1);
