// Everything that can be said of the interface without a browser, one after the other: types, style, units, build, size.
// Ends with the number of cases; the first failure ends it.

import { spawnSync } from "node:child_process";
import { readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

function run(...args) {
  console.log(`$ ${args.join(" ")}`);
  const ended = spawnSync(args[0], args.slice(1), { stdio: "inherit", shell: process.platform === "win32" });
  if (ended.status !== 0) process.exit(ended.status ?? 1);
}

const report = join(tmpdir(), `tombolo-units-${process.pid}.json`);
run("npm", "run", "--silent", "check");
run("npm", "run", "--silent", "lint");
run("npx", "vitest", "run", "--reporter=dot", "--reporter=json", `--outputFile=${report}`);
const { numPassedTests, numPendingTests, numTodoTests } = JSON.parse(readFileSync(report, "utf8"));
rmSync(report);
if (numPendingTests + numTodoTests > 0) {
  console.error(`${numPendingTests + numTodoTests} tests are left out`);
  process.exit(1);
}
run("npm", "run", "--silent", "build");
run("npm", "run", "--silent", "size");
console.log(`cases: ${numPassedTests}`);
