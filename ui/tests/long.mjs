// A long history in a real browser: 100,000 messages, the time until the newest can be read, scrolling up through them,
// and a thousand that arrive at once while somebody reads further up. Bounds are those of release programs on a quiet
// machine; with `--loose`, as in CI, there are 10,000 messages, and only what does not depend on the machine is judged.

import assert from "node:assert/strict";
import { browser, finish, link, person, picture, run, startCore, startRelay } from "./programs.mjs";

const loose = process.argv.includes("--loose");
const MESSAGES = loose ? 10_000 : 100_000;
const ARRIVING = 1_000;
let cases = 0;

function told(words, value, bound, unit) {
  const holds = value <= bound;
  console.log(`${holds ? "ok " : "NO "} ${words}: ${value.toFixed(1)} ${unit}, at most ${bound}`);
  assert.ok(holds || loose, words);
  cases += 1;
}

/** The longest frame, and what the heap takes, while `does` runs in the page. */
async function frames(page, does) {
  await page.evaluate(() => {
    const seen = { last: performance.now(), longest: 0, on: true };
    const step = (now) => {
      seen.longest = Math.max(seen.longest, now - seen.last);
      seen.last = now;
      if (seen.on) requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
    window.tomboloFrames = seen;
  });
  await does();
  return page.evaluate(() => {
    window.tomboloFrames.on = false;
    return window.tomboloFrames.longest;
  });
}

/** What the page holds on to, in MB. */
async function heap(page) {
  const inside = await page.context().newCDPSession(page);
  await inside.send("HeapProfiler.collectGarbage");
  const { usedSize } = await inside.send("Runtime.getHeapUsage");
  await inside.detach();
  return usedSize / 1e6;
}

const lines = (count) =>
  Array.from({ length: count }, (_, at) =>
    JSON.stringify({
      t: 1_600_000_000 + at * 60,
      who: ["Ana", "Bo", "Carol"][at % 3],
      text: `message ${at} ${"and the tide goes out ".repeat(at % 9)}`,
    }),
  ).join("\n");

async function long() {
  const relay = await startRelay("127.0.0.1:0");
  const url = relay.first.replace("listening on ", "");
  const [ann, bo] = [person("ann"), person("bo")];
  run("tombolo", [...ann, "init", "--name", "Ann", "--relay", url]);
  run("tombolo", [...ann, "new", "Long"]);
  run("tombolo", [...ann, "import", "Long", "-"], lines(MESSAGES));
  const invited = JSON.parse(run("tombolo", [...ann, "--json", "invite", "--conversation", "Long"])).link;
  run("tombolo", [...ann, "sync"]);
  run("tombolo", [...bo, "init", "--name", "Bo"]);
  run("tombolo", [...bo, "accept", invited]);
  run("tombolo", [...bo, "sync"]);
  const core = await startCore("ann");
  const { page } = await browser("ann", { width: 1280, height: 800 });

  const began = Date.now();
  await page.goto(link(core.first));
  await page.getByText("Long").first().click();
  await page
    .locator("article")
    .filter({ hasText: `message ${MESSAGES - 1}` })
    .waitFor();
  told("from the link to the newest message", Date.now() - began, 1_000, "ms");
  await picture(page, "long-1-newest");

  const box = page.getByRole("region", { name: "Messages of Long" });
  const scroll = async (turns) => {
    for (let turn = 0; turn < turns; turn += 1) {
      await box.evaluate((it) => it.scrollBy(0, -600));
      await page.waitForTimeout(16);
    }
  };
  const longest = await frames(page, () => scroll(200));
  const before = await heap(page);
  const later = await frames(page, () => scroll(200));
  const top = await page.locator("article").first().textContent();
  const reached = Number(/message (\d+)/.exec(top ?? "")?.[1] ?? MESSAGES);
  assert.ok(reached < MESSAGES - 1_000, `it scrolled no further than to ${reached}`);
  cases += 1;
  console.log(`    scrolled up to message ${reached}`);
  told("longest frame while scrolling", Math.max(longest, later), 50, "ms");
  told("what the page holds on to after as much again", (await heap(page)) - before, 2, "MB");

  // A thousand arrive below. What is being read stays where it is.
  const read = page.locator("article").nth(20);
  const text = (await read.textContent())?.slice(0, 40) ?? "";
  const place = () => page.locator("article").filter({ hasText: text }).first().boundingBox();
  const was = await place();
  const texts = Array.from({ length: ARRIVING }, (_, at) => `arrives ${at}`).join("\n");
  run("tombolo", [...bo, "send", "Long", "-"], texts);
  run("tombolo", [...bo, "sync"]);
  await page
    .getByText(`arrives ${ARRIVING - 1}`)
    .first()
    .waitFor();
  const is = await place();
  assert.equal(is?.y, was?.y, "what is read does not move by a pixel");
  cases += 1;
  await picture(page, "long-2-arrived");
  await core.stop();
  await relay.stop();
}

await finish(long);
console.log(`cases: ${cases}`);
