// Asks the data sources, through the viewer's own server.

import type { DataFrame } from "@grafana/data";
import { type Chosen, type Times, fill, intervalOf, seconds, withIntervals } from "./fill.js";
import { type Row, type Series, courses, sqlTable, table } from "./frames.js";
import type { Annotation, Panel, Target, Variable } from "./model.js";

let server = "";
/** Asks the viewer's server at this address; in its own page that is not needed. */
export const askAt = (url: string): void => void (server = url);

async function prometheus<Answer>(path: string, parameters: Record<string, string>): Promise<Answer> {
  const response = await fetch(`${server}/api/prometheus/${path}`, { method: "POST", body: new URLSearchParams(parameters) });
  const answer = await response.json();
  if (answer.status !== "success") throw new Error(answer.error ?? `Prometheus answers ${response.status}`);
  return answer.data as Answer;
}

interface Rows {
  columns: { name: string; time: boolean; number: boolean }[];
  rows: Row[];
}

async function postgres(query: string): Promise<Rows> {
  const response = await fetch(`${server}/api/sql`, { method: "POST", body: query });
  if (!response.ok) throw new Error(await response.text());
  return (await response.json()) as Rows;
}

const text = (value: number): string => value.toFixed(3);

async function range(expr: string, times: Times, step: number): Promise<Series[]> {
  // Aligned to the step, as Grafana does, so that bars don't change at each refresh.
  const start = Math.floor(times.from / step) * step;
  const end = Math.floor(times.to / step) * step;
  const parameters = { query: expr, start: text(start), end: text(end), step: text(step) };
  return (await prometheus<{ result: Series[] }>("query_range", parameters)).result;
}

async function answer(target: Target, chosen: Chosen, times: Times, interval: number, tables: number): Promise<DataFrame[]> {
  if (target.rawSql !== undefined) {
    const { columns, rows } = await postgres(fill(target.rawSql, chosen));
    return [sqlTable(target, columns, rows)];
  }
  const expr = fill(target.expr ?? "", withIntervals(chosen, times, interval));
  if (!target.instant) return courses(target, await range(expr, times, interval), interval);
  const { result } = await prometheus<{ result: Series[] }>("query", { query: expr, time: text(times.to) });
  if (target.format !== "table") return courses(target, result, interval);
  return [table(target, result, tables > 1 ? `Value #${target.refId}` : "Value")];
}

/** The frames of all queries of a panel, `points` pixels wide. */
export async function frames(panel: Panel, chosen: Chosen, times: Times, points: number): Promise<DataFrame[]> {
  const targets = panel.targets ?? [];
  const tables = targets.filter((target) => target.format === "table").length;
  const interval = intervalOf(times, points, panel.interval ? seconds(panel.interval) : undefined);
  const answers = await Promise.all(targets.map((target) => answer(target, chosen, times, interval, tables)));
  return answers.flat();
}

/** The options of a variable. */
export async function options(variable: Variable, chosen: Chosen, times: Times): Promise<string[]> {
  const query = fill(variable.query, chosen);
  const labels = /^label_values\((.*),\s*(\w+)\)$/.exec(query);
  if (labels) {
    const [, series = "", label = ""] = labels;
    const parameters = { "match[]": series, start: text(times.from), end: text(times.to) };
    return (await prometheus<string[]>(`label/${label}/values?${new URLSearchParams(parameters)}`, {})).sort();
  }
  const { columns, rows } = await postgres(query);
  const name = columns[0]?.name ?? "";
  return rows.map((row) => String(row[name]));
}

export interface Event {
  time: number;
  name: string;
  colour: string;
}

/** The moments that an annotation marks. Moments of neighbouring steps are one event. */
export async function events(annotation: Annotation, chosen: Chosen, times: Times): Promise<Event[]> {
  if (!annotation.expr) return [];
  const step = Math.max(seconds(annotation.step ?? "1m"), intervalOf(times, 10_000, 1));
  const found = await range(fill(annotation.expr, chosen), times, step);
  const moments = found.flatMap(({ values = [] }) => values.map(([time]) => time)).sort((one, other) => one - other);
  const firsts = moments.filter((time, index) => index === 0 || time - (moments[index - 1] ?? 0) > step);
  return firsts.map((time) => ({ time: time * 1000, name: annotation.name, colour: annotation.iconColor }));
}
