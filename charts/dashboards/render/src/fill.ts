// Fills variables and intervals into queries and links, as a Grafana server does.

import type { Variable } from "./model.js";

/** What is chosen: a text for each variable, several for one with a choice of many. */
export type Chosen = Record<string, string | string[]>;

/** The value that stands for everything. */
export const ALL = "$__all";

export interface Times {
  /** Seconds since 1970. */
  from: number;
  to: number;
}

/** Seconds between scrapes that a data source of Grafana assumes unless told otherwise. */
const SCRAPE = 15;
const STEPS = [1, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 10800, 21600, 43200, 86400];

/** Seconds of a duration such as `5m`. */
export function seconds(duration: string): number {
  const unit = { s: 1, m: 60, h: 3600, d: 86400 }[duration.slice(-1)];
  if (!unit) throw new Error(`no duration: ${duration}`);
  return Number(duration.slice(0, -1)) * unit;
}

/** Seconds since 1970 of `now`, `now-6h` or milliseconds. */
export function instant(text: string, now: number): number {
  if (/^\d+$/.test(text)) return Number(text) / 1000;
  const ago = /^now(?:-(\d+[smhd]))?$/.exec(text);
  if (!ago) throw new Error(`no time: ${text}`);
  return now - (ago[1] ? seconds(ago[1]) : 0);
}

/** The interval of a graph: the time range in at most so many points, at least `least` seconds. */
export function intervalOf(times: Times, points: number, least = SCRAPE): number {
  const wanted = Math.max((times.to - times.from) / points, least);
  return STEPS.find((step) => step >= wanted) ?? 86400;
}

const escaped = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, "\\\\$&");
const quoted = (text: string): string => `'${text.replaceAll("'", "''")}'`;

/** Fills one variable in the format that its place asks for. */
function format(value: string | string[], how: string | undefined): string {
  const list = Array.isArray(value) ? value : [value];
  if (how === "sqlstring") return list.map(quoted).join(",");
  if (how === "raw" || !Array.isArray(value)) return list.join(",");
  return list.length === 1 ? escaped(list[0] ?? "") : `(${list.map(escaped).join("|")})`;
}

/** Fills `$name`, `${name}` and `${name:format}`. Names that are not chosen stay as they are. */
export function fill(text: string, chosen: Chosen): string {
  return text.replace(/\$\{(\w+)(?::(\w+))?\}|\$(\w+)/g, (whole, braced, how, plain) => {
    const value = chosen[(braced ?? plain) as string];
    return value === undefined ? whole : format(value, how as string | undefined);
  });
}

/** Replaces “All” by what it means: the variable's own text for it, or all its options. */
export function resolved(chosen: Chosen, variables: Variable[], options: Record<string, string[]>): Chosen {
  const result: Chosen = { ...chosen };
  for (const { name, allValue } of variables) {
    const value = chosen[name];
    if (value === ALL || (Array.isArray(value) && value.includes(ALL))) result[name] = allValue ?? options[name] ?? [];
  }
  return result;
}

/** The variables that Grafana adds: intervals and the range. */
export function withIntervals(chosen: Chosen, times: Times, interval: number): Chosen {
  return {
    ...chosen,
    __interval: `${interval}s`,
    __rate_interval: `${Math.max(interval + SCRAPE, 4 * SCRAPE)}s`,
    __range: `${Math.round(times.to - times.from)}s`,
  };
}
