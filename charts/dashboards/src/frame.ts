// What the five dashboards share: their ids, variables, links, time range and refresh.

import * as dashboard from "@grafana/grafana-foundation-sdk/dashboard";
import * as common from "@grafana/grafana-foundation-sdk/common";
import { POSTGRES, PROMETHEUS } from "./house.js";

/** Ids of the dashboards. Links and people's bookmarks name them: they never change. */
export const UID = {
  campaigns: "campaign-metrics-campaigns",
  campaign: "campaign-metrics-campaign",
  account: "campaign-metrics-account",
  service: "campaign-metrics-service",
  leads: "campaign-metrics-leads",
} as const;

/** By this tag each dashboard lists the others. */
const TAG = "campaign-metrics";

/** Links to a campaign; workspace and campaign are texts or references. */
export const toCampaign = (workspace: string, campaign: string): { title: string; url: string } => ({
  title: "Show this campaign",
  url: `/d/${UID.campaign}?var-datasource=\${datasource}&var-workspace=${workspace}&var-campaign=${campaign}&\${__url_time_range}`,
});

export const toAccount = (workspace: string, account: string): { title: string; url: string } => ({
  title: "Show this account",
  url: `/d/${UID.account}?var-datasource=\${datasource}&var-workspace=${workspace}&var-account=${account}&\${__url_time_range}`,
});

/** The Leads dashboard has another data source, so the link names none. */
export const toLeads = (title: string, more = ""): dashboard.DashboardLinkBuilder =>
  new dashboard.DashboardLinkBuilder(title)
    .type(dashboard.DashboardLinkType.Link)
    .url(`/d/${UID.leads}?var-workspace=\${workspace}&var-campaign=\${campaign}${more}`);

/** The text of a cell of the same row. */
export const cell = (column: string): string => `\${__data.fields["${column}"]}`;

export interface Frame {
  uid: string;
  title: string;
  description: string;
  from?: string;
}

function begin(frame: Frame): dashboard.DashboardBuilder {
  return new dashboard.DashboardBuilder(frame.title)
    .uid(frame.uid)
    .description(frame.description)
    .tags([TAG])
    .timezone("browser")
    .time({ from: frame.from ?? "now-6h", to: "now" })
    .refresh("30s")
    .tooltip(dashboard.DashboardCursorSync.Crosshair)
    .readonly()
    .link(
      new dashboard.DashboardLinkBuilder("Campaign Metrics")
        .type(dashboard.DashboardLinkType.Dashboards)
        .tags([TAG])
        .asDropdown(true)
        .keepTime(true),
    );
}

/** A dashboard on Prometheus. */
export const onPrometheus = (frame: Frame): dashboard.DashboardBuilder =>
  begin(frame).withVariable(
    new dashboard.DatasourceVariableBuilder("datasource").label("Data source").description("The Prometheus with the recording rules").type("prometheus"),
  );

/** A dashboard on the SQL interface. */
export const onPostgres = (frame: Frame): dashboard.DashboardBuilder =>
  begin(frame).withVariable(
    new dashboard.DatasourceVariableBuilder("datasource")
      .label("Data source")
      .description("The Postgres of the service, with the read-only role")
      .type("grafana-postgresql-datasource"),
  );

interface Choice {
  name: string;
  label: string;
  description: string;
  query: string;
  datasource: common.DataSourceRef;
  all?: boolean;
}

function choice(chosen: Choice): dashboard.QueryVariableBuilder {
  const variable = new dashboard.QueryVariableBuilder(chosen.name)
    .label(chosen.label)
    .description(chosen.description)
    .datasource(chosen.datasource)
    .query(chosen.query)
    .refresh(dashboard.VariableRefresh.OnTimeRangeChanged)
    .sort(dashboard.VariableSort.AlphabeticalAsc);
  if (chosen.all) {
    const everything = { text: "All", value: "$__all" };
    variable.includeAll(true).multi(true).current(everything);
    if (chosen.datasource === PROMETHEUS) variable.allValue(".*");
  }
  return variable;
}

export const workspaces = (): dashboard.QueryVariableBuilder =>
  choice({
    name: "workspace",
    label: "Workspace",
    description: "Workspaces to show",
    query: "label_values(workspace_campaign:campaign_state:max, workspace)",
    datasource: PROMETHEUS,
    all: true,
  });

export const workspace = (series = "workspace_campaign:campaign_state:max"): dashboard.QueryVariableBuilder =>
  choice({
    name: "workspace",
    label: "Workspace",
    description: "The workspace",
    query: `label_values(${series}, workspace)`,
    datasource: PROMETHEUS,
  });

export const campaignOf = (): dashboard.QueryVariableBuilder =>
  choice({
    name: "campaign",
    label: "Campaign",
    description: "The campaign",
    query: 'label_values(workspace_campaign:campaign_state:max{workspace="$workspace"}, campaign)',
    datasource: PROMETHEUS,
  });

export const accountOf = (): dashboard.QueryVariableBuilder =>
  choice({
    name: "account",
    label: "Account",
    description: "The account",
    query: 'label_values(workspace_account:account_state:max{workspace="$workspace"}, account)',
    datasource: PROMETHEUS,
  });

/** A choice from a column of the `reporting` schema. */
export const fromSql = (name: string, label: string, description: string, query: string, all = false): dashboard.QueryVariableBuilder =>
  choice({ name, label, description, query, datasource: POSTGRES, all });
