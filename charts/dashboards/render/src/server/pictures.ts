// Makes pictures of the dashboards: `npm run pictures -- --prometheus URL [--postgres URL] --into FOLDER [options]`.
//
//   --width 1280 --width 1920      widths in pixels; default 1280
//   --theme light --theme dark     default both
//   --board NAME                   only this dashboard: campaigns, campaign, account, service, leads
//   --choose NAME=VALUE            a variable, such as campaign=spring
//   --from now-1h                  the time range until now
//
// Needs Chromium (Debian: apt-get install chromium), at CHROMIUM or /usr/bin/chromium.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";
import { dashboards, serve } from "./serve.js";

/** Milliseconds that a page may need until all its panels have data. */
const READY_TIMEOUT = 60_000;

const { values } = parseArgs({
  options: {
    prometheus: { type: "string" },
    postgres: { type: "string" },
    into: { type: "string" },
    width: { type: "string", multiple: true, default: ["1280"] },
    theme: { type: "string", multiple: true, default: ["light", "dark"] },
    board: { type: "string", multiple: true },
    choose: { type: "string", multiple: true, default: [] },
    from: { type: "string", default: "now-1h" },
  },
});
if (!values.prometheus || !values.into) {
  console.error("usage: npm run pictures -- --prometheus URL [--postgres URL] --into FOLDER");
  process.exit(2);
}
mkdirSync(values.into, { recursive: true });

const { url, stop } = await serve(values.prometheus, values.postgres);
const quiet = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", ...quiet] });
let failed = false;
try {
  for (const board of dashboards() as { uid: string; title: string; panels: { gridPos: { y: number; h: number } }[] }[]) {
    const name = board.uid.replace("campaign-metrics-", "");
    if (values.board && !values.board.includes(name)) continue;
    for (const width of values.width.map(Number)) {
      for (const theme of values.theme) {
        const page = await browser.newPage({ viewport: { width, height: 900 } });
        page.on("pageerror", (error) => {
          failed = true;
          console.error(`${name}: ${error.message}`);
        });
        const chosen = values.choose.map((one) => `&var-${one}`).join("");
        await page.goto(`${url}/d/${board.uid}?theme=${theme}&from=${values.from}${chosen}`);
        await page.waitForSelector("section", { timeout: READY_TIMEOUT });
        // The whole page in view, because tables draw only what can be seen.
        await page.setViewportSize({ width, height: (await page.evaluate("document.documentElement.scrollHeight")) as number });
        await page.waitForFunction("window.waiting.size === 0", undefined, { timeout: READY_TIMEOUT });
        for (const failure of (await page.evaluate("window.failures")) as string[]) {
          failed = true;
          console.error(`${name}: ${failure}`);
        }
        await page.waitForFunction("[...document.querySelectorAll('[role=grid]')].every((grid) => grid.querySelector('[role=gridcell]'))", undefined, { timeout: READY_TIMEOUT });
        // Two frames: one in which React draws the answers, one in which the charts paint.
        await page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))");
        const path = join(values.into, `${name}-${theme}${width === 1280 ? "" : `-${width}`}.png`);
        await page.screenshot({ path, fullPage: true });
        console.error(`wrote ${path}`);
        await page.close();
      }
    }
  }
} finally {
  await browser.close();
  await stop();
}
process.exit(failed ? 1 : 0);
