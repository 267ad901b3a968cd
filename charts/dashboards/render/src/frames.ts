// Turns answers of Prometheus and Postgres into data frames, as the data sources of Grafana do.

import type { DataFrame, FieldType, Labels } from "@grafana/data";
import type { Target } from "./model.js";

export interface Series {
  metric: Labels;
  value?: [number, string];
  values?: [number, string][];
}

const TIME = "Time";
// The module that has these as an enum loads in browsers only, and queries are also checked without one.
const KIND = { time: "time" as FieldType, number: "number" as FieldType, string: "string" as FieldType };

function nameOf(target: Target, labels: Labels): string | undefined {
  const legend = target.legendFormat ?? "__auto";
  if (legend !== "__auto") return legend.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, label: string) => labels[label] ?? "");
  const values = Object.values(labels);
  return values.length > 0 ? values.join(" ") : undefined;
}

/** A frame for each series: its time and its value. */
export function courses(target: Target, answer: Series[], step: number): DataFrame[] {
  return answer.map(({ metric, value, values }) => {
    const points = values ?? (value ? [value] : []);
    const displayNameFromDS = nameOf(target, metric);
    return {
      refId: target.refId,
      length: points.length,
      fields: [
        { name: TIME, type: KIND.time, config: { interval: step * 1000 }, values: points.map(([time]) => time * 1000) },
        { name: "Value", type: KIND.number, config: { displayNameFromDS }, labels: metric, values: points.map(([, text]) => Number(text)) },
      ],
    };
  });
}

/** One frame with a row for each series: time, labels, value. */
export function table(target: Target, answer: Series[], valueName: string): DataFrame {
  const labels = [...new Set(answer.flatMap(({ metric }) => Object.keys(metric)))].sort();
  const values = answer.map(({ value }) => value ?? [0, "NaN"]);
  const fields: DataFrame["fields"] = [{ name: TIME, type: KIND.time, config: {}, values: values.map(([time]) => Number(time) * 1000) }];
  for (const label of labels) {
    fields.push({ name: label, type: KIND.string, config: {}, values: answer.map(({ metric }) => metric[label] ?? "") });
  }
  fields.push({ name: valueName, type: KIND.number, config: {}, values: values.map(([, text]) => Number(text)) });
  return { refId: target.refId, length: answer.length, fields: answer.length > 0 ? fields : [] };
}

export type Row = Record<string, string | number | boolean | null>;

/** One frame of the rows of an SQL query. */
export function sqlTable(target: Target, columns: { name: string; time: boolean; number: boolean }[], rows: Row[]): DataFrame {
  return {
    refId: target.refId,
    length: rows.length,
    fields: columns.map(({ name, time, number }) => ({
      name,
      type: time ? KIND.time : number ? KIND.number : KIND.string,
      config: {},
      values: rows.map((row) => {
        const value = row[name] ?? null;
        return value === null ? null : time ? Date.parse(String(value)) : number ? Number(value) : value;
      }),
    })),
  };
}
