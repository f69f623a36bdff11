// Looks at every story in light and dark, wide and narrow: no violation of WCAG A and AA, no error in the console, no
// sideways scrolling. Leaves a picture of each in artefacts/. `node tests/stories.mjs late` looks at one.

import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { root, withPage } from "./browser.mjs";

const artefacts = join(root, "artefacts");
const axe = readFileSync(join(root, "node_modules/axe-core/axe.min.js"), "utf8");
const only = process.argv[2];

const SIZES = [
  { width: 1280, height: 800 },
  { width: 360, height: 640 },
];
const THEMES = ["theme=light", "theme=dark"];
/** Looked at in German and from right to left as well. */
const TURNED = ["conversation", "first-start", "details"];

/** Everything that is wrong with a page, in words. */
async function faults(page) {
  // The policy of the page keeps foreign scripts out; the browser's own door is not bound by it.
  await page.evaluate(axe);
  return page.evaluate(async () => {
    const found = [];
    const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
    const { violations } = await window.axe.run(document, { runOnly: { type: "tag", values: tags } });
    for (const one of violations) {
      for (const node of one.nodes.slice(0, 3)) found.push(`${one.id}: ${node.target}: ${node.failureSummary}`);
    }
    const wide = document.documentElement.scrollWidth - innerWidth;
    if (wide > 0) found.push(`wider than the window by ${wide} px`);
    for (const box of document.querySelectorAll("main, nav, aside, section, dialog, header, form")) {
      const more = box.scrollWidth - box.clientWidth;
      const hides = getComputedStyle(box).overflowX !== "visible";
      if (hides && more > 1 && box.clientWidth > 1) found.push(`${box.className} scrolls sideways by ${more} px`);
    }
    for (const control of document.querySelectorAll("button, input, textarea, a")) {
      const [is, room] = [control, control.closest("main, nav, aside, dialog")].map((it) =>
        it?.getBoundingClientRect(),
      );
      if (room === undefined || is.width <= 1) continue;
      const out = Math.max(room.left - is.left, is.right - room.right);
      if (out > 1) found.push(`${control.ariaLabel ?? control.textContent} lies outside by ${Math.round(out)} px`);
    }
    return found;
  });
}

let looked = 0;
const wrong = [];
mkdirSync(artefacts, { recursive: true });
await withPage(async (page, open, errors) => {
  await open();
  const names = await page.$$eval("li .name", (all) => all.map((one) => one.textContent));
  const turned = TURNED.flatMap((name) => ["theme=light&lang=de", "theme=light&dir=rtl"].map((kind) => [name, kind]));
  const visits = [...names.flatMap((name) => THEMES.map((kind) => [name, kind])), ...turned];
  for (const size of SIZES) {
    await page.setViewportSize(size);
    for (const [name, kind] of visits) {
      if (only !== undefined && name !== only) continue;
      await open(`?story=${name}&${kind}`);
      const label = `${name}-${kind.replace(/theme=|lang=|dir=/g, "").replace("&", "-")}-${size.width}`;
      await page.screenshot({ path: join(artefacts, `${label}.png`) });
      for (const fault of [...(await faults(page)), ...errors]) wrong.push(`${label}: ${fault}`);
      looked += 1;
    }
  }
});
for (const one of wrong) console.log(one);
console.log(`${looked} pages looked at, ${wrong.length} faults`);
if (looked === 0 || wrong.length > 0) process.exit(1);
console.log(`cases: ${looked}`);
