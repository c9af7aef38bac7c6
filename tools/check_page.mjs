// Opens a report in a headless Chromium at two widths, light and dark, and looks for what a reader
// would trip over: anything wider than the window, errors on the console, requests, and what
// axe-core finds. Writes screenshots. Ends with 1 where something was found.
//
//   npm install playwright-core axe-core     (anywhere; Chromium is the system's own)
//   NODE_PATH=…/node_modules node tools/check_page.mjs REPORT/index.html SHOTS [CHROMIUM]

import { createRequire } from "node:module";
import { mkdirSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const paths = (process.env.NODE_PATH ?? "").split(":").filter(Boolean);
const here = createRequire(join(paths[0] ? dirname(paths[0]) : process.cwd(), "index.js"));
const { chromium } = here("playwright-core");
const axe = readFileSync(here.resolve("axe-core/axe.min.js"), "utf8");

const [page, shots, browserPath = "/usr/bin/chromium"] = process.argv.slice(2);
mkdirSync(shots, { recursive: true });
const browser = await chromium.launch({ executablePath: browserPath, args: ["--no-sandbox"] });
let problems = 0;
const say = (where, what) => {
  problems += 1;
  console.log(`${where}: ${what}`);
};

for (const colorScheme of ["light", "dark"]) {
  for (const width of [390, 1440]) {
    const where = `${width} px, ${colorScheme}`;
    // axe is put in from outside, which the page's own policy would not allow.
    const context = await browser.newContext({
      viewport: { width, height: 900 }, colorScheme, bypassCSP: true,
    });
    const tab = await context.newPage();
    tab.on("console", (m) => m.type() === "error" && say(where, `console: ${m.text()}`));
    tab.on("pageerror", (error) => say(where, `error: ${error}`));
    tab.on("request", (r) => /^(file|data):/.test(r.url()) || say(where, `request: ${r.url()}`));
    await tab.goto(pathToFileURL(resolve(page)).href);
    await tab.evaluate(() => document.querySelectorAll("details").forEach((d) => (d.open = true)));
    const wide = await tab.evaluate(() => {
      const limit = document.documentElement.clientWidth;
      const inside = (e) => e.closest(".scroll, pre") !== null && !e.matches(".scroll, pre");
      return [...document.body.querySelectorAll("*")]
        .filter((e) => !inside(e) && !e.closest(".marks, .skip"))
        .filter((e) => e.getBoundingClientRect().right > limit + 0.5)
        .map((e) => `${e.tagName.toLowerCase()}.${e.className.baseVal ?? e.className}`);
    });
    if (wide.length) say(where, `wider than the window: ${[...new Set(wide)].slice(0, 5)}`);
    const [scroll, client] = await tab.evaluate(() => [
      document.documentElement.scrollWidth, document.documentElement.clientWidth,
    ]);
    if (scroll > client) say(where, `scrolls sideways: ${scroll} of ${client}`);
    const order = [];
    for (let press = 0; press < 3; press += 1) {
      await tab.keyboard.press("Tab");
      order.push(await tab.evaluate(() => document.activeElement.className || document.activeElement.tagName));
    }
    if (order[0] !== "skip") say(where, `first Tab goes to ${order[0]}`);
    await tab.addScriptTag({ content: axe });
    const found = await tab.evaluate(() => axe.run(document, {
      runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    }));
    for (const v of found.violations) {
      say(where, `axe ${v.id} (${v.impact}), ${v.nodes.length} times: ${v.nodes[0].html.slice(0, 160)}`);
    }
    console.log(`${where}: axe ran ${found.passes.length} rules without, ${found.violations.length} with violations`);
    const height = await tab.evaluate(() => document.documentElement.scrollHeight);
    for (let top = 0, number = 1; top < height; top += 1600, number += 1) {
      const clip = { x: 0, y: top, width, height: Math.min(1600, height - top) };
      await tab.screenshot({
        path: join(shots, `${width}-${colorScheme}-${number}.png`), fullPage: true, clip,
      });
    }
    await context.close();
  }
}
await browser.close();
console.log(problems ? `${problems} problems` : "no problem found");
process.exit(problems ? 1 : 0);
