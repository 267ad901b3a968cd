// The parts of a dashboard's JSON that the viewer reads.

import type { DataTransformerConfig, FieldConfigSource } from "@grafana/data";

export interface Link {
  title: string;
  type?: string;
  url?: string;
  tags?: string[];
}

export interface Target {
  refId: string;
  expr?: string;
  rawSql?: string;
  instant?: boolean;
  format?: string;
  legendFormat?: string;
}

export interface Panel {
  id: number;
  type: string;
  title: string;
  description?: string;
  gridPos: { x: number; y: number; w: number; h: number };
  targets?: Target[];
  interval?: string;
  fieldConfig: FieldConfigSource;
  options: Record<string, any>;
  transformations?: DataTransformerConfig[];
}

export interface Variable {
  name: string;
  type: string;
  label?: string;
  query: string;
  multi?: boolean;
  includeAll?: boolean;
  allValue?: string;
}

export interface Annotation {
  name: string;
  expr?: string;
  iconColor: string;
  step?: string;
}

export interface Dashboard {
  uid: string;
  title: string;
  description?: string;
  tags?: string[];
  time: { from: string; to: string };
  links?: Link[];
  panels: Panel[];
  templating: { list: Variable[] };
  annotations?: { list?: Annotation[] };
}

/** The data source that all queries of a dashboard go to. */
export const sourceOf = (board: Dashboard): "prometheus" | "postgres" =>
  board.templating.list.find((variable) => variable.type === "datasource")?.query === "prometheus" ? "prometheus" : "postgres";
