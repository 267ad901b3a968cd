// Applies the field settings of a panel to its data: units, mappings, thresholds, colours, links.
//
// `applyFieldOverrides` of Grafana knows the settings only where a Grafana runs, and drops them silently otherwise, so
// the settings are applied here; the texts then come from Grafana's own display processors.

import {
  type DataFrame,
  type DynamicConfigValue,
  type Field,
  type FieldConfig,
  FieldType,
  type GrafanaTheme2,
  type LinkModel,
  ThresholdsMode,
  getDisplayProcessor,
  getFieldDisplayName,
  standardTransformers,
  standardTransformersRegistry,
  transformDataFrame,
} from "@grafana/data";
import { lastValueFrom } from "rxjs";
import { type Chosen, fill } from "./fill.js";
import type { Panel } from "./model.js";

// Some transformations are exported under two names.
const transformations = new Map(Object.values(standardTransformers).map((one) => [one.id, one]));
standardTransformersRegistry.setInit(() =>
  [...transformations.values()].map((transformation) => ({
    id: transformation.id,
    name: transformation.name,
    transformation: async () => transformation as any,
    editor: () => null as any,
    imageDark: "",
    imageLight: "",
  })),
);

/** Runs the transformations of a panel. */
export function transformed(panel: Panel, frames: DataFrame[]): Promise<DataFrame[]> {
  // Without a field there is nothing to merge; Grafana shows the panel's text for no data.
  const full = frames.filter((frame) => frame.fields.length > 0);
  if (!panel.transformations?.length || full.length === 0) return Promise.resolve(full);
  const context = { interpolate: (text: string) => text };
  return lastValueFrom(transformDataFrame(panel.transformations, full, context));
}

function set(config: FieldConfig, { id, value }: DynamicConfigValue): void {
  if (id.startsWith("custom.")) {
    config.custom = { ...config.custom, [id.slice("custom.".length)]: value };
  } else {
    (config as Record<string, unknown>)[id] = value;
  }
}

/** The first threshold holds from minus infinity on, which JSON can't say. */
function withThresholds(config: FieldConfig): void {
  const steps = config.thresholds?.steps;
  if (!steps) return;
  config.thresholds = { mode: ThresholdsMode.Absolute, steps: steps.map((step) => ({ ...step, value: step.value ?? -Infinity })) };
}

/** Fills a link with the texts of its row and with the variables. */
function linkTo(url: string, frame: DataFrame, field: Field, row: number | undefined, chosen: Chosen): string {
  const known = url
    .replace(/\$\{__data\.fields\["([^"]+)"\]\}/g, (_, name: string) => {
      // By name or by title, as in Grafana: renaming a column changes only its title.
      const of = frame.fields.find((other) => other.name === name || getFieldDisplayName(other, frame) === name);
      return encodeURIComponent(String(of?.values[row ?? 0] ?? ""));
    })
    .replace(/\$\{__field\.labels\.(\w+)\}/g, (_, label: string) => encodeURIComponent(field.labels?.[label] ?? ""));
  return fill(known, chosen);
}

/** What a panel is drawn with. */
export interface Drawing {
  theme: GrafanaTheme2;
  chosen: Chosen;
}

/** The frames with the panel's settings, ready to be drawn. */
export function configured(panel: Panel, frames: DataFrame[], { theme, chosen }: Drawing): DataFrame[] {
  let seriesIndex = 0;
  return frames.map((raw) => {
    const frame: DataFrame = { ...raw, fields: [] };
    frame.fields = raw.fields.map((given) => {
      const config: FieldConfig = structuredClone({ ...panel.fieldConfig.defaults, ...given.config });
      const field: Field = { ...given, config, state: { ...given.state } };
      const name = getFieldDisplayName({ ...given, state: null } as Field, raw, frames);
      for (const { matcher, properties } of panel.fieldConfig.overrides) {
        if (matcher.id === "byName" && (matcher.options === name || matcher.options === given.name)) properties.forEach((one) => set(config, one));
      }
      withThresholds(config);
      if (field.type === FieldType.time && config.unit === panel.fieldConfig.defaults.unit) delete config.unit;
      if (field.type === FieldType.number) field.state!.seriesIndex = seriesIndex++;
      field.display = getDisplayProcessor({ field, theme, timeZone: "browser" });
      if (config.links?.length) {
        field.getLinks = ({ valueRowIndex }) =>
          config.links!.map(
            (link): LinkModel<Field> => ({ href: linkTo(link.url, frame, field, valueRowIndex, chosen), title: link.title, target: "_self", origin: field }),
          );
      }
      return field;
    });
    return frame;
  });
}
