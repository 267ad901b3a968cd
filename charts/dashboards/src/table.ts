// Tables: a row for each campaign or account, a column for each query or label, links down from the name.

import * as common from "@grafana/grafana-foundation-sdk/common";
import * as dashboard from "@grafana/grafana-foundation-sdk/dashboard";
import * as prometheus from "@grafana/grafana-foundation-sdk/prometheus";
import * as table from "@grafana/grafana-foundation-sdk/table";
import { NEUTRAL, PROMETHEUS, type Says, type Steps, UNIT, byThresholds, decimalsOf, quiet, thresholds } from "./house.js";

/** A column, in the order of the table. */
export interface Column {
  /** A label, or `Value #A` for query A; `Value` where there is only one query. */
  from: string;
  title: string;
  /** Default: text. */
  unit?: string;
  decimals?: number;
  /** Pixels; default: what is left. */
  width?: number;
  /** Colours the cell. */
  steps?: Steps;
  words?: dashboard.ValueMapping;
  /** Colours the words as their mapping says. */
  coloured?: boolean;
  /** Draws a bar from 0 to this number beside it. */
  bar?: number;
  /** Where a click leads. */
  link?: { title: string; url: string };
  /** Shown where a row has no value; default: a dash. */
  noValue?: string;
}

const property = (id: string, value: unknown): dashboard.DynamicConfigValue => ({ id, value });

function properties(column: Column): dashboard.DynamicConfigValue[] {
  const unit = column.unit ?? UNIT.text;
  const decimals = column.decimals ?? decimalsOf(unit);
  const list = [property("unit", unit), property("noValue", column.noValue ?? "–")];
  if (decimals !== undefined) list.push(property("decimals", decimals));
  // Names and reasons are read whole: a name that is cut can be that of another campaign.
  if (unit === UNIT.text) list.push(property("custom.wrapText", true));
  // Grafana's own least width, 150, pushes the last column of a table of half a page out of sight.
  list.push(column.width ? property("custom.width", column.width) : property("custom.minWidth", 110));
  if (column.words) list.push(property("mappings", [column.words]));
  if (column.steps) list.push(property("thresholds", thresholds(column.bar ? column.steps : quiet(column.steps)).build()));
  if (column.bar) {
    list.push(property("custom.cellOptions", { type: "gauge", mode: "basic", valueDisplayMode: "text" }), property("min", 0), property("max", column.bar));
  } else if (column.steps) {
    list.push(property("custom.cellOptions", { type: "color-background", mode: "basic" }));
  } else if (column.coloured) {
    list.push(property("custom.cellOptions", { type: "color-text" }));
  }
  if (column.link) list.push(property("links", [{ ...column.link, targetBlank: false }]));
  return list;
}

/** What a table says. The unit is that of each column. */
export type TableSays = Omit<Says, "unit"> & {
  columns: Column[];
  /** Title of the column to sort by, the largest first. */
  largestFirst?: string;
  datasource?: common.DataSourceRef;
};

/** A table of the merged rows of its queries. Rows with equal labels are one row. */
export function listing(says: TableSays, ...queries: prometheus.DataqueryBuilder[]): table.PanelBuilder {
  const panel = new table.PanelBuilder()
    .title(says.title)
    .description(says.description)
    .unit(UNIT.text)
    .span(says.width)
    .height(says.height)
    .datasource(says.datasource ?? PROMETHEUS)
    .noValue(says.noValue ?? "no data yet")
    .cellHeight(common.TableCellHeight.Sm)
    .thresholds(thresholds(NEUTRAL))
    .colorScheme(byThresholds());
  for (const column of says.columns) panel.overrideByName(column.title, properties(column));
  if (queries.length > 1) panel.withTransformation({ id: "merge", options: {} });
  const names = says.columns.map((column) => column.from);
  const values = queries.map((query) => `Value #${query.build().refId}`).concat("Value");
  panel.withTransformation({
    id: "organize",
    options: {
      // The time of the query. In SQL this name would hide every column of times.
      excludeByName: says.datasource
        ? {}
        : Object.fromEntries(["Time", ...values].filter((name) => !names.includes(name)).map((name) => [name, true])),
      indexByName: Object.fromEntries(names.map((name, index) => [name, index])),
      renameByName: Object.fromEntries(says.columns.map((column) => [column.from, column.title])),
    },
  });
  if (says.largestFirst) {
    panel.sortBy([new common.TableSortByFieldStateBuilder().displayName(says.largestFirst).desc(true)]);
  }
  queries.forEach((query) => panel.withTarget(query));
  return panel;
}
