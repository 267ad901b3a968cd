// The style of the panels: every panel has a title, a description in plain English and a unit, so the constructors
// ask for them.

import * as common from "@grafana/grafana-foundation-sdk/common";
import * as dashboard from "@grafana/grafana-foundation-sdk/dashboard";
import * as prometheus from "@grafana/grafana-foundation-sdk/prometheus";
import * as stat from "@grafana/grafana-foundation-sdk/stat";
import * as bargauge from "@grafana/grafana-foundation-sdk/bargauge";
import * as statetimeline from "@grafana/grafana-foundation-sdk/statetimeline";
import * as table from "@grafana/grafana-foundation-sdk/table";
import * as timeseries from "@grafana/grafana-foundation-sdk/timeseries";
import { BAD, COLOURS, WELL, WORSE, inPlainWords, nothing } from "./words.js";

export const PROMETHEUS: common.DataSourceRef = { type: "prometheus", uid: "${datasource}" };
export const POSTGRES: common.DataSourceRef = { type: "grafana-postgresql-datasource", uid: "${datasource}" };

/** Units, by their ids in Grafana. */
export const UNIT = {
  /** A whole number of things: no "1.2 K". */
  count: "none",
  /** 0..1, shown as 0 to 100 %. */
  share: "percentunit",
  /** Seconds, shown as minutes, hours or days where that reads better. */
  duration: "s",
  perSecond: "ops",
  callsPerSecond: "reqps",
  /** Text, also in tables whose columns have units of their own. */
  text: "string",
  /** Milliseconds since 1970, shown as date and time. */
  time: "dateTimeAsIso",
} as const;

/** What every panel says. */
export interface Says {
  title: string;
  /** What it shows, and what to do when it is bad. */
  description: string;
  unit: string;
  /** Width in columns of 24. */
  width: number;
  height: number;
  /** Shown instead of an empty panel or cell. */
  noValue?: string;
  decimals?: number;
}

/** Counts are whole; "97.4 %" is as exact as a share of some hundred messages is. */
export const decimalsOf = (unit: string): number | undefined => (unit === UNIT.count ? 0 : unit === UNIT.share ? 1 : undefined);

type AnyPanel = stat.PanelBuilder | bargauge.PanelBuilder | statetimeline.PanelBuilder | table.PanelBuilder | timeseries.PanelBuilder;

function say<Panel extends AnyPanel>(panel: Panel, says: Says, datasource: common.DataSourceRef): Panel {
  panel.title(says.title).description(says.description).unit(says.unit).span(says.width).height(says.height);
  panel.datasource(datasource).noValue(says.noValue ?? "no data yet");
  const decimals = says.decimals ?? decimalsOf(says.unit);
  if (decimals !== undefined) panel.decimals(decimals);
  return panel;
}

/** A query for the present value. */
export const now = (refId: string, expression: string, legend = "__auto"): prometheus.DataqueryBuilder =>
  new prometheus.DataqueryBuilder().refId(refId).expr(expression).instant().legendFormat(legend);

/** A query for the course over the time range. */
export const course = (refId: string, expression: string, legend = "__auto"): prometheus.DataqueryBuilder =>
  new prometheus.DataqueryBuilder().refId(refId).expr(expression).range().legendFormat(legend);

/** One number or line: whatever labels of the scrape target the series has. */
export const one = (expression: string): string => `max(${expression})`;

/** A query for the rows of a table: labels and the present value are its columns. */
export const rows = (refId: string, expression: string): prometheus.DataqueryBuilder =>
  now(refId, expression).format(prometheus.PromQueryFormat.Table);

export type Steps = [from: number | null, colour: string][];

/** Delivery: low below 80 %, moderate to 95 %, high above it. */
export const DELIVERY: Steps = [[null, BAD], [0.8, WORSE], [0.95, WELL]];
/** Shares of a bound that is being used up. */
export const USED: Steps = [[null, WELL], [0.8, WORSE], [0.95, BAD]];
/** Lost messages: the complement of DELIVERY. */
export const LOST: Steps = [[null, WELL], [0.05, WORSE], [0.2, BAD]];
/** Nothing of it should be. */
export const NONE_IS_WELL: Steps = [[null, WELL], [1, BAD]];
/** Each one waits for a person, but for hours rather than minutes. */
export const NONE_WAITS: Steps = [[null, WELL], [1, WORSE]];
/** A number that is neither good nor bad. */
export const NEUTRAL: Steps = [[null, WELL]];

/** The same steps without a colour for what is well, so that in a table only trouble has one. */
export const quiet = (steps: Steps): Steps => steps.map(([from, colour]) => [from, colour === WELL ? "transparent" : colour]);

export const thresholds = (steps: Steps): dashboard.ThresholdsConfigBuilder =>
  new dashboard.ThresholdsConfigBuilder()
    .mode(dashboard.ThresholdsMode.Absolute)
    .steps(steps.map(([value, color]) => ({ value, color })));

export const byThresholds = (): dashboard.FieldColorBuilder =>
  new dashboard.FieldColorBuilder().mode(dashboard.FieldColorModeId.Thresholds);

/** One number, or one for each series, large. */
export function number(says: Says & { steps?: Steps; words?: dashboard.ValueMapping }, ...queries: prometheus.DataqueryBuilder[]): stat.PanelBuilder {
  const exact = says.unit === UNIT.duration ? { ...says, decimals: says.decimals ?? 1 } : says;
  const panel = say(new stat.PanelBuilder(), exact, PROMETHEUS)
    .graphMode(common.BigValueGraphMode.None)
    .colorMode(common.BigValueColorMode.Value)
    .textMode(queries.length > 1 ? common.BigValueTextMode.ValueAndName : common.BigValueTextMode.Value)
    .reduceOptions(new common.ReduceDataOptionsBuilder().calcs(["lastNotNull"]).values(false))
    .text(new common.VizTextDisplayOptionsBuilder().valueSize(28).titleSize(14))
    .thresholds(thresholds(says.steps ?? NEUTRAL))
    .colorScheme(byThresholds());
  // Without a value the colour would be that of the lowest threshold: "no messages" in red.
  panel.mappings([...(says.words ? [says.words] : []), nothing(says.noValue ?? "no data yet")]);
  queries.forEach((query) => panel.withTarget(query));
  return panel;
}

/** Bars that compare a few numbers. */
export function bars(says: Says & { steps: Steps; most?: number }, ...queries: prometheus.DataqueryBuilder[]): bargauge.PanelBuilder {
  const panel = say(new bargauge.PanelBuilder(), says, PROMETHEUS)
    .orientation(common.VizOrientation.Horizontal)
    .displayMode(common.BarGaugeDisplayMode.Basic)
    .valueMode(common.BarGaugeValueMode.Text)
    .text(new common.VizTextDisplayOptionsBuilder().valueSize(16).titleSize(14))
    .showUnfilled(true)
    .reduceOptions(new common.ReduceDataOptionsBuilder().calcs(["lastNotNull"]).values(false))
    .thresholds(thresholds(says.steps))
    .colorScheme(byThresholds())
    .min(0);
  if (says.most !== undefined) panel.max(says.most);
  queries.forEach((query) => panel.withTarget(query));
  return panel;
}

export interface Graph extends Says {
  /** Words of a label whose values have colours of their own; the series are stacked in this order. */
  stacked?: string[];
  /** Colours of single series. */
  colours?: Record<string, string>;
  /** Draws a bar for each interval, at least this long. */
  barsOf?: string;
  /** Draws these thresholds as lines. */
  lines?: Steps;
  /** Upper end of the axis. */
  most?: number;
}

/** A course over time. */
export function graph(says: Graph, ...queries: prometheus.DataqueryBuilder[]): timeseries.PanelBuilder {
  const panel = say(new timeseries.PanelBuilder(), says, PROMETHEUS)
    .drawStyle(says.barsOf ? common.GraphDrawStyle.Bars : common.GraphDrawStyle.Line)
    // Without an edge, so that a layer of height 0 doesn't lie as a line on the layer below.
    .lineWidth(says.barsOf || says.stacked ? 0 : 2)
    .fillOpacity(says.barsOf || says.stacked ? 80 : 0)
    .showPoints(common.VisibilityMode.Never)
    .axisSoftMin(0)
    .min(0)
    .tooltip(new common.VizTooltipOptionsBuilder().mode(common.TooltipDisplayMode.Multi).sort(common.SortOrder.Descending))
    .legend(
      new common.VizLegendOptionsBuilder()
        .displayMode(common.LegendDisplayMode.List)
        .placement(common.LegendPlacement.Bottom)
        .showLegend(true)
        .calcs([]),
    )
    .colorScheme(new dashboard.FieldColorBuilder().mode(dashboard.FieldColorModeId.PaletteClassic));
  for (const [series, fixedColor] of Object.entries(says.colours ?? {})) {
    panel.overrideByName(series, [{ id: "color", value: { mode: "fixed", fixedColor } }]);
  }
  if (says.barsOf) panel.interval(says.barsOf);
  // Without an end, a graph of nothing but zeros would have an axis up to 100.
  panel.axisSoftMax(says.most ?? (says.unit === UNIT.duration ? 0.01 : 1));
  if (says.stacked) {
    // Numbers by account are missing while a campaign is paused. Layers with a hole look as if they floated.
    panel.spanNulls(3_600_000);
    panel.stacking(new common.StackingConfigBuilder().mode(common.StackingMode.Normal).group("A"));
    for (const label of says.stacked) {
      panel.overrideByName(label, [
        { id: "color", value: { mode: "fixed", fixedColor: COLOURS[label] ?? WELL } },
        { id: "displayName", value: inPlainWords(label) },
      ]);
    }
  }
  if (says.lines) {
    panel.thresholds(thresholds(says.lines));
    panel.thresholdsStyle(new common.GraphThresholdsStyleConfigBuilder().mode(common.GraphThresholdsStyleMode.Dashed));
  }
  queries.forEach((query) => panel.withTarget(query));
  return panel;
}

/** A graph with a layer for each name, the first at the bottom. */
export const layers = (says: Graph & { stacked: string[] }, expression: (name: string) => string): timeseries.PanelBuilder =>
  graph(says, ...says.stacked.map((name, index) => course("ABCD".charAt(index), one(expression(name)), name)));

/** Which state held when. */
export function timeline(says: Says & { words: dashboard.ValueMapping }, ...queries: prometheus.DataqueryBuilder[]): statetimeline.PanelBuilder {
  const panel = say(new statetimeline.PanelBuilder(), says, PROMETHEUS)
    .mappings([says.words])
    .mergeValues(true)
    .showValue(common.VisibilityMode.Auto)
    .rowHeight(0.8)
    .fillOpacity(80)
    .lineWidth(0)
    .legend(new common.VizLegendOptionsBuilder().showLegend(false).displayMode(common.LegendDisplayMode.List).placement(common.LegendPlacement.Bottom).calcs([]))
    .tooltip(new common.VizTooltipOptionsBuilder().mode(common.TooltipDisplayMode.Single).sort(common.SortOrder.None))
    .colorScheme(byThresholds())
    .thresholds(thresholds(NEUTRAL));
  queries.forEach((query) => panel.withTarget(query));
  return panel;
}

/** A heading over the panels that follow. */
export const heading = (title: string): dashboard.RowBuilder => new dashboard.RowBuilder(title);
