// Draws the data of a panel with the component of Grafana for its type.

import { type DataFrame, type DisplayValueAlignmentFactors, type FieldDisplay, FieldType, type TimeRange, VizOrientation, getDisplayValueAlignmentFactors, getFieldDisplayValues } from "@grafana/data";
import { BarGauge, BigValue, TimeSeries, TooltipPlugin, type UPlotConfigBuilder, VizRepeater, type VizRepeaterRenderValueProps } from "@grafana/ui";
import { SortOrder, TooltipDisplayMode } from "@grafana/schema";
import { TableNG } from "@grafana/ui/unstable";
import { useLayoutEffect } from "react";
import type { Event } from "./ask.js";
import type { Drawing } from "./fields.js";
import type { Panel } from "./model.js";
import { Timeline } from "./timeline.js";

export interface Drawn extends Drawing {
  panel: Panel;
  frames: DataFrame[];
  events: Event[];
  range: TimeRange;
  width: number;
  height: number;
}

/** Draws vertical lines where something happened. */
function Marks({ config, events, drawing }: { config: UPlotConfigBuilder; events: Event[]; drawing: Drawing }): null {
  useLayoutEffect(() => {
    config.addHook("draw", (plot) => {
      for (const event of events) {
        const x = Math.round(plot.valToPos(event.time, "x", true));
        const { left, top, width, height } = plot.bbox;
        if (x < left || x > left + width) continue;
        plot.ctx.save();
        plot.ctx.strokeStyle = plot.ctx.fillStyle = drawing.theme.visualization.getColorByName(event.colour);
        plot.ctx.lineWidth = 1;
        plot.ctx.setLineDash([4, 3]);
        plot.ctx.beginPath();
        plot.ctx.moveTo(x, top);
        plot.ctx.lineTo(x, top + height);
        plot.ctx.stroke();
        plot.ctx.beginPath();
        plot.ctx.moveTo(x - 5, top + height + 6);
        plot.ctx.lineTo(x + 5, top + height + 6);
        plot.ctx.lineTo(x, top + height);
        plot.ctx.fill();
        plot.ctx.restore();
      }
    });
  }, [config, events, drawing]);
  return null;
}

function Graph({ panel, frames, events, range, width, height, theme, chosen }: Drawn) {
  // A chart takes hooks only when it is made, so new events make a new one.
  return (
    <TimeSeries
      key={JSON.stringify(events)}
      frames={frames}
      timeRange={range}
      timeZone="browser"
      width={width}
      height={height}
      legend={panel.options.legend}
      options={panel.options}
    >
      {(config, data) => {
        // Room at the right for the half of the last time that reaches beyond the chart: 16:0 is another time than 16:05.
        config.setPadding([null, 20, null, null]);
        return <>
          <Marks config={config} events={events} drawing={{ theme, chosen }} />
          <TooltipPlugin config={config} data={data} frames={frames} mode={TooltipDisplayMode.Multi} sortOrder={SortOrder.Descending} timeZone="browser" />
        </>;
      }}
    </TimeSeries>
  );
}

function values({ panel, frames, theme }: Drawn): FieldDisplay[] {
  return getFieldDisplayValues({
    data: frames,
    reduceOptions: panel.options.reduceOptions,
    fieldConfig: panel.fieldConfig,
    replaceVariables: (text) => text,
    theme,
    timeZone: "browser",
  });
}

/** What a panel that repeats one drawing for each value needs. */
function repeated(drawn: Drawn) {
  const list = values(drawn);
  const { width, height } = drawn;
  return { getValues: () => list, source: list, renderCounter: 0, getAlignmentFactors: getDisplayValueAlignmentFactors, width, height };
}

function Numbers(drawn: Drawn) {
  const { panel, theme } = drawn;
  return (
    <VizRepeater<FieldDisplay, DisplayValueAlignmentFactors>
      {...repeated(drawn)}
      orientation={VizOrientation.Auto}
      itemSpacing={3}
      renderValue={({ value, width, height, count, alignmentFactors }: VizRepeaterRenderValueProps<FieldDisplay, DisplayValueAlignmentFactors>) => (
        <BigValue
          value={value.display}
          count={count}
          alignmentFactors={alignmentFactors}
          width={width}
          height={height}
          theme={theme}
          colorMode={panel.options.colorMode}
          graphMode={panel.options.graphMode}
          justifyMode={panel.options.justifyMode}
          textMode={panel.options.textMode}
          text={panel.options.text}
        />
      )}
    />
  );
}

function Bars(drawn: Drawn) {
  const { panel, theme } = drawn;
  const bars = repeated(drawn);
  // Bars have one scale, as in Grafana: the largest number is a full bar where the panel sets no end.
  const end = panel.fieldConfig.defaults.max ?? Math.max(1, ...bars.source.map(({ display }) => display.numeric || 0));
  return (
    <VizRepeater<FieldDisplay, DisplayValueAlignmentFactors>
      {...bars}
      orientation={VizOrientation.Horizontal}
      itemSpacing={10}
      minVizHeight={16}
      maxVizHeight={300}
      renderValue={({ value, width, height, alignmentFactors }: VizRepeaterRenderValueProps<FieldDisplay, DisplayValueAlignmentFactors>) => {
        const bar = (
          <BarGauge
            value={value.display}
            field={{ ...value.field, min: 0, max: end }}
            width={width}
            height={height}
            theme={theme}
            orientation={VizOrientation.Horizontal}
            displayMode={panel.options.displayMode}
            valueDisplayMode={panel.options.valueMode}
            text={panel.options.text}
            alignmentFactors={alignmentFactors}
            showUnfilled={panel.options.showUnfilled}
          />
        );
        const link = value.hasLinks ? value.getLinks?.()[0] : undefined;
        return link ? <a href={link.href} title={link.title}>{bar}</a> : bar;
      }}
    />
  );
}

function Rows({ panel, frames, range, width, height }: Drawn) {
  const [data] = frames;
  if (!data) return null;
  return (
    <TableNG
      data={data}
      width={width}
      height={height}
      timeRange={range}
      sortBy={panel.options.sortBy}
      cellHeight={panel.options.cellHeight}
      fieldConfig={panel.fieldConfig}
      noValue="–"
      enableVirtualization={false}
      structureRev={1}
    />
  );
}

const hasValues = (frames: DataFrame[]): boolean =>
  frames.some((frame) => frame.length > 0 && frame.fields.some((field) => field.type !== FieldType.time && field.values.some((value) => value !== null && !Number.isNaN(value))));

/** A panel's content, or its text for no data. */
export function Draw(drawn: Drawn) {
  const { panel, frames } = drawn;
  if (panel.type !== "stat" && !hasValues(frames)) {
    return <div className="empty">{panel.fieldConfig.defaults.noValue ?? "No data"}</div>;
  }
  switch (panel.type) {
    case "timeseries":
      return <Graph {...drawn} />;
    case "stat":
      return <Numbers {...drawn} />;
    case "bargauge":
      return <Bars {...drawn} />;
    case "table":
      return <Rows {...drawn} />;
    case "state-timeline":
      return <Timeline {...drawn} />;
    default:
      throw new Error(`the viewer can't draw panels of type ${panel.type}`);
  }
}
