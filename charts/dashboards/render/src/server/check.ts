// Checks what can be checked without data: `npm run check`.
//
// Units are those that Grafana knows, panels are of types that the viewer draws, links lead to dashboards and variables
// that exist, and no id is given twice.

import { createRequire } from "node:module";
import type { Dashboard } from "../model.js";
import { dashboards } from "./serve.js";

// @grafana/data asks the browser for its language, and outside of one only its CommonJS form loads.
if (!("navigator" in globalThis)) Object.assign(globalThis, { navigator: { language: "en", languages: ["en"] } });
const { getValueFormats } = createRequire(import.meta.url)("@grafana/data") as typeof import("@grafana/data");

const units = new Set(getValueFormats().flatMap(({ submenu }) => submenu.map(({ value }) => value ?? "")));
const drawn = new Set(["row", "stat", "table", "timeseries", "bargauge", "state-timeline"]);
const boards = dashboards() as Dashboard[];
const wrong: string[] = [];

/** The links anywhere in a dashboard's JSON. */
function linksIn(value: unknown): string[] {
  if (typeof value === "string") return value.startsWith("/d/") ? [value] : [];
  return value !== null && typeof value === "object" ? Object.values(value).flatMap(linksIn) : [];
}

for (const board of boards) {
  const say = (what: string): void => void wrong.push(`${board.title}: ${what}`);
  if (new Set(board.panels.map(({ id }) => id)).size !== board.panels.length) say("two panels have one id");
  for (const { title, type, fieldConfig } of board.panels) {
    if (!drawn.has(type)) say(`the viewer can't draw “${title}”, a panel of type ${type}`);
    if (type === "row") continue;
    const overridden = fieldConfig.overrides.flatMap(({ properties }) => properties.filter(({ id }) => id === "unit").map(({ value }) => String(value)));
    for (const unit of [fieldConfig.defaults.unit ?? "(none)", ...overridden]) {
      if (!units.has(unit)) say(`Grafana has no unit “${unit}”, which “${title}” uses`);
    }
  }
  for (const link of linksIn(board)) {
    const { pathname, searchParams } = new URL(link, "http://viewer");
    const to = boards.find(({ uid }) => pathname === `/d/${uid}`);
    if (!to) say(`no dashboard is at ${link}`);
    const known = new Set(to?.templating.list.map(({ name }) => `var-${name}`));
    for (const name of searchParams.keys()) {
      if (name.startsWith("var-") && !known.has(name)) say(`${to?.title} has no variable for ${name} of ${link}`);
    }
  }
}
if (boards.length !== 5 || new Set(boards.map(({ uid }) => uid)).size !== 5) wrong.push("there are not five dashboards with five ids");
if (wrong.length > 0) {
  console.error(wrong.join("\n"));
  process.exit(1);
}
console.error(`checked ${boards.length} dashboards, ${boards.flatMap(({ panels }) => panels).length} panels and headings`);
