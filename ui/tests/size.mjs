// Fails when the first script, with everything that it loads before the first picture, is too large.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const MOST = 120 * 1024;
const dist = fileURLToPath(new URL("../dist/", import.meta.url));
const html = readFileSync(join(dist, "index.html"), "utf8");
const scripts = [...html.matchAll(/(?:src|href)="\/?(assets\/[^"]+\.js)"/g)].map((match) => match[1]);
if (scripts.length === 0) throw new Error("index.html names no script: was it built?");
const bytes = scripts.reduce((sum, name) => sum + gzipSync(readFileSync(join(dist, name))).length, 0);
console.log(`first script: ${(bytes / 1024).toFixed(1)} KB gzip, at most ${MOST / 1024} KB`);
if (bytes > MOST) process.exit(1);
if (/<script(?![^>]*\ssrc=)/.test(html)) throw new Error("index.html has an inline script, which its policy forbids");
