// Journeys in a real browser: two people, their real programs (`tombolo web`) and a real relay. Each step is what somebody
// does and what they then see; pictures of the main states go to `artefacts/`. Not here: single components (`stories.mjs`).

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { browser, finish, link, picture, startCore, startRelay } from "./programs.mjs";

let cases = 0;
async function step(words, does) {
  const began = Date.now();
  await does();
  cases += 1;
  console.log(`ok  ${words} (${Date.now() - began} ms)`);
}

const messages = (page) => page.getByRole("article");
const message = (page, text) => messages(page).filter({ hasText: text });
const pill = (page) => page.locator(".pill");

async function write(page, text) {
  const box = page.getByRole("textbox", { name: "Write a message" });
  await box.fill(text);
  await box.press("Enter");
  await message(page, text).first().waitFor();
  assert.equal(await box.inputValue(), "", "text leaves the box once it is on the disk");
}

async function journeys() {
  let relay = await startRelay("127.0.0.1:0");
  const url = relay.first.replace("listening on ", "");
  let annCore = await startCore("ann");
  const boCore = await startCore("bo");
  const ann = await browser("ann", { width: 1280, height: 800 });
  const bo = await browser("bo", { width: 360, height: 640 });

  await step("the first start asks for a name and a way", async () => {
    await ann.page.goto(link(annCore.first));
    await ann.page.getByLabel("Your name").fill("Ann");
    await ann.page.getByText("Use a relay").click();
    await ann.page.getByLabel("Address of the relay").fill(url);
    await picture(ann.page, "journey-1-first-start");
    await ann.page.getByRole("button", { name: "Begin" }).click();
    await ann.page.getByText("Note to self").first().waitFor();
    assert.ok(!ann.page.url().includes("token"), "the token is taken out of the address");
  });

  await step("a link that was used opens nothing for somebody else", async () => {
    const other = await browser("other", { width: 800, height: 600 });
    await other.page.goto(link(annCore.first));
    await other.page.getByText("This link was used already").waitFor();
    await other.context.close();
  });

  await step("a conversation is founded and written to", async () => {
    await ann.page.getByRole("button", { name: "New conversation" }).click();
    await ann.page.getByLabel("Title").fill("Harbour crew");
    await ann.page.getByRole("button", { name: "Create" }).click();
    await ann.page.getByRole("dialog").waitFor({ state: "hidden" });
    await write(ann.page, "The boats are in.");
    await picture(ann.page, "journey-2-written");
  });

  let invitation = "";
  await step("a link lets somebody in, on a phone's width", async () => {
    await ann.page.getByRole("button", { name: "Make a link" }).click();
    const shown = ann.page.locator("aside").getByText(/^tombolo:/);
    await shown.waitFor();
    invitation = (await shown.textContent()) ?? "";
    await bo.page.goto(link(boCore.first));
    await bo.page.getByLabel("Your name").fill("Bo");
    await bo.page.getByText("Join with a link").click();
    await bo.page.getByLabel("Link", { exact: true }).fill(invitation.trim());
    await bo.page.getByRole("button", { name: "Begin" }).click();
    await message(bo.page, "The boats are in.").waitFor();
    await picture(bo.page, "journey-3-joined-phone");
  });

  await step("an answer arrives, and is told to be complete", async () => {
    await write(bo.page, "Then we meet at nine.");
    await message(ann.page, "Then we meet at nine.").waitFor();
    await pill(ann.page)
      .getByText(/^Complete with/)
      .waitFor();
    await picture(ann.page, "journey-4-answered");
  });

  await step("markup, scripts and links of strangers are text", async () => {
    const hostile = [
      "<img src=x onerror=alert(1)><script>alert(2)</script>",
      "[press](javascript:alert(3)) and file:///etc/passwd",
      "\u202Eevil\u202C \u0007 name",
    ];
    for (const text of hostile) await write(bo.page, text);
    await message(ann.page, "<img src=x onerror=alert(1)>").waitFor();
    const links = await ann.page.locator("article a").evaluateAll((all) => all.map((one) => one.getAttribute("href")));
    assert.deepEqual(
      links.filter((to) => !/^(https?|mailto|tombolo):/.test(to ?? "")),
      [],
    );
    assert.equal(await ann.page.locator("article img, article script").count(), 0);
    await picture(ann.page, "journey-5-hostile");
  });

  await step("a picture and a file with a hostile name reach the other side whole", async () => {
    // A real picture, drawn in the page.
    const drawn = await ann.page.evaluate(async () => {
      const canvas = Object.assign(document.createElement("canvas"), { width: 640, height: 400 });
      const paint = canvas.getContext("2d");
      paint.fillStyle = "#7fb5b0";
      paint.fillRect(0, 0, 640, 400);
      paint.fillStyle = "#f3e3c2";
      paint.fillRect(0, 260, 640, 140);
      const blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
      return [...new Uint8Array(await blob.arrayBuffer())];
    });
    const page = Buffer.from("<script>alert(1)</script>");
    await ann.page.locator('input[type="file"]').setInputFiles([
      { name: "low tide.png", mimeType: "image/png", buffer: Buffer.from(drawn) },
      { name: "..%2f<b>x.html", mimeType: "text/html", buffer: page },
    ]);
    await ann.page.getByRole("button", { name: "Leave out low tide.png" }).waitFor();
    await write(ann.page, "The bay this morning.");
    await message(ann.page, "The bay this morning.").locator("img").waitFor();
    await message(bo.page, "The bay this morning.").locator("img").waitFor();
    await picture(ann.page, "journey-5b-files");
    const downloads = [];
    bo.page.on("download", (download) => downloads.push(download));
    for (const [name, ending, content] of [
      ["low tide.png", ".png", Buffer.from(drawn)],
      ["%2f_b_x.html", ".html", page],
    ]) {
      const come = () => downloads.find((download) => download.suggestedFilename().endsWith(ending));
      // The file may come after the words: then it is asked for again, and an earlier request may still be answered.
      for (let again = 0; come() === undefined && again < 20; again += 1) {
        await bo.page.getByRole("button", { name: `Save ${name}` }).click();
        for (let wait = 0; come() === undefined && wait < 15; wait += 1) await bo.page.waitForTimeout(100);
      }
      assert.deepEqual(readFileSync(await come().path()), content, name);
    }
  });

  await step("without the relay writing goes on, and says what waits", async () => {
    await relay.stop();
    await write(ann.page, "Written while the relay is away.");
    await pill(ann.page).getByText("Offline. 1 message waits for a connection.").waitFor();
    await message(ann.page, "Written while the relay is away.")
      .getByLabel("Safe on this device. Nobody else has it yet.")
      .waitFor();
    await picture(ann.page, "journey-6-offline");
  });

  await step("when it comes back everybody has it", async () => {
    relay = await startRelay(url.replace(/^ws:\/\//, "").replace(/\/.*$/, ""));
    await message(bo.page, "Written while the relay is away.").waitFor({ timeout: 40_000 });
    await pill(ann.page)
      .getByText(/^Complete with/)
      .waitFor({ timeout: 40_000 });
    await picture(ann.page, "journey-7-back");
  });

  await step("reacting, editing and deleting by keyboard alone", async () => {
    const box = ann.page.getByRole("textbox", { name: "Write a message" });
    await box.focus();
    await box.press("ArrowUp");
    assert.equal(await box.inputValue(), "Written while the relay is away.");
    await box.fill("Written while the relay was away.");
    await box.press("Enter");
    await message(ann.page, "Written while the relay was away.").waitFor();
    await message(bo.page, "Written while the relay was away.").waitFor();
    await ann.page.keyboard.press("Control+k");
    await ann.page.getByRole("combobox").fill("Note");
    await ann.page.keyboard.press("Enter");
    await write(ann.page, "Buy rope.");
    await picture(ann.page, "journey-8-note-to-self");
  });

  await step("the program is started again, and everything is there", async () => {
    await annCore.stop();
    await ann.page.getByText("The program on this machine does not answer.").waitFor();
    await picture(ann.page, "journey-9-no-answer");
    annCore = await startCore("ann");
    await ann.page.goto("about:blank");
    await ann.page.goto(link(annCore.first));
    await ann.page.getByText("Harbour crew").first().click();
    await message(ann.page, "Written while the relay was away.").waitFor();
    await message(ann.page, "Then we meet at nine.").waitFor();
    await picture(ann.page, "journey-10-again");
  });
}

await finish(journeys);
console.log(`cases: ${cases}`);
