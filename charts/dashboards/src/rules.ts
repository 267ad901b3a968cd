// What every dashboard must keep, checked before it is written.

import type * as dashboard from "@grafana/grafana-foundation-sdk/dashboard";

/** Series of the state of campaigns and accounts, which every replica exports: only their recording rules may be read. */
const RAW_STATE = /(?<![:\w])campaign_metrics_(campaign|campaigns|account|verify)_\w+/;

/** Pixels of a column of the grid, on a page of 1280. */
const GRID_COLUMN = 51;

/** The least width of a table: that of its columns. */
function tableWidth({ fieldConfig }: dashboard.Panel): number {
  const properties = (fieldConfig?.overrides ?? []).flatMap((override) => override.properties);
  return properties.filter(({ id }) => /^custom\.(width|minWidth)$/.test(id)).reduce((sum, { value }) => sum + Number(value), 0);
}

type Target = { expr?: string; rawSql?: string };

/** Returns what is wrong with a dashboard, as sentences. */
export function broken(board: dashboard.Dashboard): string[] {
  const wrong: string[] = [];
  const say = (what: string): void => void wrong.push(`${board.title}: ${what}`);
  const expressions = (board.annotations?.list ?? []).map((query) => query.expr ?? "");
  for (const panel of board.panels ?? []) {
    if (panel.type === "row") continue;
    const { title, description, fieldConfig, targets, gridPos } = panel as dashboard.Panel;
    if (!title) say("a panel has no title");
    if (!/[.!?`]$/.test(description ?? "")) say(`“${title}” has no description that ends a sentence`);
    if (!fieldConfig?.defaults.unit) say(`“${title}” has no unit`);
    if (!fieldConfig?.defaults.noValue) say(`“${title}” says nothing when it is empty`);
    if (!targets?.length) say(`“${title}” asks nothing`);
    if (!gridPos || gridPos.x + gridPos.w > 24) say(`“${title}” does not fit its row`);
    if (gridPos && tableWidth(panel as dashboard.Panel) > gridPos.w * GRID_COLUMN) say(`the last column of “${title}” does not fit a page of 1280`);
    for (const target of (targets ?? []) as Target[]) {
      if (target.expr !== undefined) expressions.push(target.expr);
      if (target.rawSql && /\$\w|\$\{\w+\}/.test(target.rawSql)) say(`“${title}” puts a variable into SQL without quotes`);
    }
  }
  for (const expression of expressions) {
    const raw = RAW_STATE.exec(expression);
    if (raw) say(`${raw[0]} counts once for each replica; read its recording rule, not: ${expression}`);
    if (/\[\$__(interval|range)\](?! @ end)/.test(expression) && /\b(rate|increase)\(/.test(expression)) say(`use $__rate_interval: ${expression}`);
  }
  const sources = (board.templating?.list ?? []).filter((variable) => variable.type === "datasource");
  if (sources.length !== 1) say("it has not exactly one variable for its data source");
  return wrong;
}
