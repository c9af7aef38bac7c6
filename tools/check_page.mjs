// Opens a report in a headless Chromium at two widths, light, dark and as it is printed, and looks
// for what a reader would trip over: anything wider than the window, errors on the console,
// requests, and what axe-core finds. Then it uses the page under its own policy: sparsity by
// keyboard, sorting, filtering, hover, what can be taken along, and the address. Writes
// screenshots and a PDF. Ends with 1 where something was found.
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
const address = pathToFileURL(resolve(page)).href;
const browser = await chromium.launch({
  executablePath: browserPath, args: ["--no-sandbox", "--disable-background-networking"],
});
let problems = 0;
const say = (where, what) => {
  problems += 1;
  console.log(`${where}: ${what}`);
};
const hold = (where, right, what) => right || say(where, what);

async function opened(where, hash, options) {
  const context = await browser.newContext({ acceptDownloads: true, ...options });
  const tab = await context.newPage();
  tab.on("console", (m) => m.type() === "error" && say(where, `console: ${m.text()}`));
  tab.on("pageerror", (error) => say(where, `error: ${error}`));
  tab.on("request", (r) => /^(file|data|blob):/.test(r.url()) || say(where, `request: ${r.url()}`));
  await tab.goto(address + hash);
  const live = options.javaScriptEnabled !== false && await tab.evaluate(() => document.scripts.length > 0);
  if (live) {
    await tab.waitForSelector("html.drawn", { timeout: 60_000, state: "attached" })
      .catch(() => say(where, "the charts are not drawn"));
  }
  return { context, tab, live };
}

async function overflow(where, tab) {
  const wide = await tab.evaluate(() => {
    const limit = document.documentElement.clientWidth;
    const inside = (e) => e.closest(".scroll, pre, svg, .unseen") !== null && !e.matches(".scroll, pre, svg");
    return [...document.body.querySelectorAll("*")]
      .filter((e) => !inside(e) && !e.closest(".skip"))
      .filter((e) => e.getBoundingClientRect().right > limit + 0.5)
      .map((e) => `${e.tagName.toLowerCase()}.${e.className.baseVal ?? e.className}`);
  });
  if (wide.length) say(where, `wider than the window: ${[...new Set(wide)].slice(0, 5)}`);
  const [scroll, client] = await tab.evaluate(() => [
    document.documentElement.scrollWidth, document.documentElement.clientWidth,
  ]);
  if (scroll > client) say(where, `scrolls sideways: ${scroll} of ${client}`);
}

async function pictures(tab, width, name) {
  const height = await tab.evaluate(() => document.documentElement.scrollHeight);
  for (let top = 0, number = 1; top < height; top += 1600, number += 1) {
    const clip = { x: 0, y: top, width, height: Math.min(1600, height - top) };
    await tab.screenshot({ path: join(shots, `${name}-${number}.png`), fullPage: true, clip });
  }
}

for (const colorScheme of ["light", "dark"]) {
  for (const width of [390, 1440]) {
    const where = `${width} px, ${colorScheme}`;
    // axe is put in from outside, which the page's own policy would not allow.
    const { context, tab } = await opened(where, "", {
      viewport: { width, height: 900 }, colorScheme, bypassCSP: true,
    });
    await pictures(tab, width, `${width}-${colorScheme}`);
    await tab.evaluate(() => document.querySelectorAll("details").forEach((d) => (d.open = true)));
    await overflow(where, tab);
    await tab.keyboard.press("Tab");
    const first = await tab.evaluate(() => document.activeElement.className);
    hold(where, first === "skip", `first Tab goes to ${first}`);
    await tab.addScriptTag({ content: axe });
    const found = await tab.evaluate(() => axe.run(document, {
      runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    }));
    for (const v of found.violations) {
      say(where, `axe ${v.id} (${v.impact}), ${v.nodes.length} times: ${v.nodes[0].html.slice(0, 160)}`);
    }
    console.log(`${where}: axe ran ${found.passes.length} rules without, ${found.violations.length} with violations`);
    await context.close();
  }
}

{
  const where = "printed";
  const { context, tab } = await opened(where, "", {
    viewport: { width: 794, height: 1123 }, colorScheme: "dark",
  });
  await tab.emulateMedia({ media: "print" });
  await overflow(where, tab);
  const ground = await tab.evaluate(() => getComputedStyle(document.body).backgroundColor);
  hold(where, ground === "rgb(255, 255, 255)", `on ${ground}`);
  await tab.pdf({ path: join(shots, "printed.pdf"), format: "A4" });
  await pictures(tab, 794, "printed");
  await context.close();
}

{
  const where = "without script";
  const { context, tab } = await opened(where, "", { viewport: { width: 1440, height: 900 }, javaScriptEnabled: false });
  hold(where, (await tab.locator("table:not(#rows)").count()) > 0, "no table");
  const idle = (await tab.locator("form, button").all()).map((one) => one.isVisible());
  hold(where, !(await Promise.all(idle)).includes(true), "controls that do nothing");
  await context.close();
}

async function use() {
  const where = "in use";
  const { context, tab, live } = await opened(where, "", { viewport: { width: 1440, height: 900 } });
  if (!live) return context.close();
  const chart = () => tab.locator('[data-chart="losses"] svg').innerHTML();
  const state = () => new URLSearchParams(new URL(tab.url()).hash.slice(1));
  const rows = () => tab.$$eval("#rows tbody tr", (all) =>
    all.map((row) => [...row.children].map((cell) => cell.textContent)));
  const heads = await tab.$$eval("#rows thead th", (all) => all.map((head) => head.dataset.key));

  const radios = tab.locator('input[name="sparsity"]');
  if (await radios.count()) {
    const before = await chart();
    await tab.locator('input[name="sparsity"]:checked').focus();
    await tab.keyboard.press("ArrowLeft");
    const now = await tab.locator('input[name="sparsity"]:checked').inputValue();
    await tab.waitForTimeout(500);
    hold(where, state().get("sparsity") === now, `the address says ${tab.url()}, not sparsity ${now}`);
    hold(where, (await chart()) !== before, "another sparsity changes no chart");
    const there = new Set((await rows()).map((row) => row[heads.indexOf("sparsity")]));
    hold(where, there.size === 1 && there.has(`${Math.round(100 * now)}%`), `the table has ${[...there]}`);
  }
  for (const [key, order] of [["language", "ascending"], ["language", "descending"], ["rise", "descending"]]) {
    await tab.locator(`#rows th[data-key="${key}"] button`).click();
    const told = await tab.locator(`#rows th[data-key="${key}"]`).getAttribute("aria-sort");
    hold(where, told === order, `${key} is ${told}`);
    if (key === "language") {
      const names = (await rows()).map((row) => row[0]);
      const right = names.toSorted((a, b) => (order === "ascending" ? 1 : -1) * a.localeCompare(b));
      hold(where, names.join() === right.join(), `not sorted by language, ${order}`);
    }
  }
  const name = (await rows())[0][0];
  await tab.locator('input[name="q"]').fill(name);
  const matched = await rows();
  hold(where, matched.length > 0 && matched.every((row) => row[0] === name), `the filter finds ${matched.length}`);
  hold(where, state().get("q") === name, "the filter is not in the address");
  const kept = tab.url();

  const [csv] = await Promise.all([tab.waitForEvent("download"), tab.locator("#csv").click()]);
  const lines = readFileSync(await csv.path(), "utf8").trim().split("\r\n");
  hold(where, lines.length === matched.length + 1, `the CSV has ${lines.length} lines for ${matched.length} rows`);
  for (const [kind, magic] of [["png", "\x89PNG"], ["svg", "<svg"]]) {
    const [file] = await Promise.all([
      tab.waitForEvent("download"), tab.locator(`[data-take="${kind}"][data-of="losses"]`).click(),
    ]);
    const content = readFileSync(await file.path(), "latin1");
    hold(where, content.startsWith(magic) && content.length > 5000, `the ${kind} has ${content.length} bytes`);
    hold(where, kind !== "svg" || !content.includes("var(--"), "the svg needs the page's colours");
    await file.saveAs(join(shots, `taken.${kind}`));
  }
  if (await tab.locator("#bib").count()) {
    await tab.evaluate(() => (document.getElementById("cite").open = true));
    const [bib] = await Promise.all([tab.waitForEvent("download"), tab.locator("#bib").click()]);
    hold(where, readFileSync(await bib.path(), "utf8").startsWith("@misc{"), "no BibTeX");
  }

  const marks = tab.locator('[data-chart="losses"] .mark-symbol path');
  const mark = marks.nth((await marks.count()) - 1);
  await mark.scrollIntoViewIfNeeded(); // the chart may be higher than the window
  const box = await mark.boundingBox();
  await tab.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
  await tab.waitForTimeout(300);
  const told = await tab.locator("#vg-tooltip-element").innerText().catch(() => "");
  hold(where, /rise/.test(told) && /%/.test(told), `hover says ${JSON.stringify(told)}`);
  await tab.screenshot({ path: join(shots, "hover.png") });
  await context.close();

  const again = await opened("opened again", new URL(kept).hash, { viewport: { width: 1440, height: 900 } });
  const shown = await again.tab.$$eval("#rows tbody tr", (all) => all.map((row) => row.children[0].textContent));
  hold("opened again", shown.length === matched.length && shown.every((one) => one === name), `shows ${shown.length} rows`);
  hold("opened again", again.tab.url() === kept, "the address changed");
  await again.context.close();
  console.log(`${where}: sparsity by keyboard, sorting, filter, CSV, PNG, SVG, BibTeX, hover and address tried`);
}
await use();
await browser.close();
console.log(problems ? `${problems} problems` : "no problem found");
process.exit(problems ? 1 : 0);
