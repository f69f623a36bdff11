// What only a browser can show: that nothing jumps, and that everything is reached by keyboard.

import assert from "node:assert/strict";
import { withPage } from "./browser.mjs";

const focused = (page) => page.evaluate(() => document.activeElement?.textContent?.trim() ?? "");

/** Where a message stands in the window, from the top. */
const topOf = (page, text) =>
  page
    .getByText(text, { exact: true })
    .first()
    .evaluate((one) => one.getBoundingClientRect().top);

const checks = {
  "late messages do not move what is being read": async (page, open) => {
    await open("?story=conversation");
    await page.locator("section.box").evaluate((box) => (box.scrollTop = box.scrollHeight - box.clientHeight - 200));
    await page.waitForTimeout(100);
    const before = await topOf(page, "photo of the chart");
    await page.evaluate(() => window.lateMessages());
    await page.getByText("older messages were added above").waitFor();
    assert.ok(Math.abs((await topOf(page, "photo of the chart")) - before) <= 1, "the message that is read has moved");
  },
  "older pages do not move what is being read": async (page, open) => {
    await open("?story=long");
    const rows = () => page.locator("[data-message]").count();
    const held = await rows();
    await page.locator("section.box").evaluate((box) => (box.scrollTop = 300));
    const before = await topOf(page, "Entry 170 of the log.");
    await page.waitForFunction((held) => document.querySelectorAll("[data-message]").length > held, held);
    await page.waitForTimeout(100);
    assert.ok(
      Math.abs((await topOf(page, "Entry 170 of the log.")) - before) <= 1,
      "the message that is read has moved",
    );
  },
  "a message that was found is brought into sight": async (page, open) => {
    await open("?story=list");
    await page.keyboard.press("Control+f");
    await page.keyboard.type("Entry 17 of");
    await page.locator(".hit").click();
    const row = page.locator("article", { hasText: "Entry 17 of the log." });
    await row.waitFor();
    await page.waitForTimeout(150);
    const top = await row.evaluate((one) => one.getBoundingClientRect().top);
    assert.ok(top > 60 && top < 500, `it stands at ${top} px`);
  },
  "a message is written, corrected and cancelled by keyboard": async (page, open) => {
    await open("?story=conversation");
    const box = page.getByRole("textbox", { name: "Write a message" });
    await box.focus();
    await page.keyboard.type("one");
    await page.keyboard.press("Shift+Enter");
    await page.keyboard.type("two");
    await page.keyboard.press("Enter");
    await page.locator("article", { hasText: "one\ntwo" }).waitFor();
    assert.equal(await box.inputValue(), "");
    await page.keyboard.press("ArrowUp");
    assert.equal(await box.inputValue(), "one\ntwo");
    await page.keyboard.press("Escape");
    assert.equal(await box.inputValue(), "");
    // Own messages are followed to the bottom.
    const rest = await page
      .locator("section.box")
      .evaluate((one) => one.scrollHeight - one.scrollTop - one.clientHeight);
    assert.ok(rest <= 2, `the newest message is ${rest} px below`);
  },
  "the list and the menu of a message are walked with arrows": async (page, open) => {
    await open("?story=conversation");
    await page.locator("nav [data-stop][tabindex='0']").focus();
    await page.keyboard.press("ArrowDown");
    assert.match(await focused(page), /^B\s*Bo/);
    await page.locator("article[tabindex='0']").focus();
    await page.keyboard.press("ArrowUp");
    await page.keyboard.press("m");
    assert.equal(await focused(page), "Reply");
    await page.keyboard.press("End");
    assert.equal(await focused(page), "Delete for everyone");
    await page.keyboard.press("Escape");
    assert.equal(await page.locator("[role=menu]").count(), 0);
    assert.equal(await page.evaluate(() => document.activeElement?.closest("article") !== null), true);
  },
  "a dialog keeps the focus and Escape closes it": async (page, open) => {
    await open("?story=list");
    await page.keyboard.press("Control+k");
    await page.keyboard.type("regatta");
    assert.equal(await page.locator("[role=option]").count(), 1);
    await page.keyboard.press("Escape");
    await page.locator("dialog").waitFor({ state: "detached" });
    await page.keyboard.press("?");
    assert.equal(await page.locator("dialog[open] h2").textContent(), "Shortcuts");
  },
};

let failed = 0;
await withPage(async (page, open, errors) => {
  await page.setViewportSize({ width: 1280, height: 640 });
  for (const [name, check] of Object.entries(checks)) {
    try {
      await check(page, open);
      assert.deepEqual(errors, []);
      console.log(`ok      ${name}`);
    } catch (reason) {
      failed += 1;
      console.log(`FAILED  ${name}\n        ${reason.message}`);
    }
  }
});
if (failed > 0) process.exit(1);
console.log(`cases: ${Object.keys(checks).length}`);
