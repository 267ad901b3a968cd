// Runs every query of every dashboard: `npm run ask -- --prometheus URL [--postgres URL] [--choose NAME=VALUE ...]`.
//
// Prints a line for each query on stdout, `TITLE / PANEL / REF: ROWS`, and fails if one is refused, or has no value
// although its panel is not listed below. Without --postgres it leaves out the dashboards on SQL.

import { parseArgs } from "node:util";
import { askAt, events, frames, options } from "../ask.js";
import { type Chosen, instant, resolved } from "../fill.js";
import { type Dashboard, sourceOf } from "../model.js";
import { dashboards, serve } from "./serve.js";

/** Panels whose queries may find nothing, because nothing is what should be there. */
const MAY_BE_EMPTY = new Set([
  "Unwell now",
  "Active, but not sending",
  "Not sending because",
  "Response and conversion within 7 days of first contact",
  "Within 7 days of first contact",
  "Daily limit used",
  "Oldest uncertain claim",
  "Next step due in",
  "Time left",
  "Progress of active campaigns",
  "By account, last 30 days",
  "Why messages are lost, by campaign, 30 days",
  "Wrong counts",
  "Last verified",
  "Error budget burn by method, past hour",
  "Slowest 1 % of reconciles and pauses",
  "Trail of the lead",
]);

const { values } = parseArgs({
  options: {
    prometheus: { type: "string" },
    postgres: { type: "string" },
    choose: { type: "string", multiple: true, default: [] },
    from: { type: "string", default: "now-15m" },
  },
});
if (!values.prometheus) {
  console.error("usage: npm run ask -- --prometheus URL [--postgres URL] [--choose NAME=VALUE ...]");
  process.exit(2);
}
const named = Object.fromEntries(values.choose.map((one) => one.split("=", 2) as [string, string]));
const { url, stop } = await serve(values.prometheus, values.postgres);
askAt(url);

const wrong: string[] = [];
for (const board of dashboards() as Dashboard[]) {
  if (sourceOf(board) === "postgres" && !values.postgres) continue;
  const now = Date.now() / 1000;
  const times = { from: instant(values.from, now), to: now };
  const variables = board.templating.list;
  const found: Record<string, string[]> = {};
  const picked: Chosen = {};
  for (const variable of variables) {
    if (variable.type === "textbox") picked[variable.name] = named[variable.name] ?? "";
    if (variable.type !== "query") continue;
    const list = (found[variable.name] = await options(variable, resolved(picked, variables, found), times));
    if (list.length === 0) wrong.push(`${board.title}: the variable ${variable.name} has no value`);
    picked[variable.name] = variable.multi ? ["$__all"] : (named[variable.name] ?? list[0] ?? "");
  }
  const chosen = resolved(picked, variables, found);
  for (const panel of board.panels) {
    for (const target of panel.targets ?? []) {
      const place = `${board.title} / ${panel.title} / ${target.refId}`;
      try {
        // Without the panel's own interval: bars of five minutes would need data of five minutes.
        const answer = await frames({ ...panel, interval: undefined, targets: [target] }, chosen, times, 600);
        const rows = answer.reduce((sum, frame) => sum + frame.length, 0);
        console.log(`${place}: ${rows}`);
        if (rows === 0 && !MAY_BE_EMPTY.has(panel.title)) wrong.push(`${place} finds nothing`);
      } catch (error) {
        wrong.push(`${place}: ${(error as Error).message}`);
      }
    }
  }
  for (const annotation of board.annotations?.list ?? []) {
    const place = `${board.title} / annotation ${annotation.name}`;
    await events(annotation, chosen, times).then(
      (answer) => console.log(`${place}: ${answer.length}`),
      (error: Error) => wrong.push(`${place}: ${error.message}`),
    );
  }
}
await stop();
if (wrong.length > 0) {
  console.error(wrong.join("\n"));
  process.exit(1);
}
