// Leads: for the owner. The leads of a campaign and the trail of one lead, by SQL on the `reporting` schema.
//
// Values of variables are quoted by Grafana (`:sqlstring`), so that no text typed there becomes SQL.

import * as dashboard from "@grafana/grafana-foundation-sdk/dashboard";
import * as cog from "@grafana/grafana-foundation-sdk/cog";
import { UID, cell, fromSql, onPostgres } from "./frame.js";
import { POSTGRES, UNIT, heading } from "./house.js";
import { type Column, type TableSays, listing } from "./table.js";
import { inWords } from "./words.js";

/** A query in SQL, whose rows are those of a table. */
const sql = (refId: string, rawSql: string): cog.Builder<cog.Dataquery> => ({
  build: () =>
    ({ refId, datasource: POSTGRES, editorMode: "code", format: "table", rawQuery: true, rawSql, _implementsDataqueryVariant: () => {} }) as cog.Dataquery,
});

const from = (says: TableSays, query: string) => listing({ ...says, datasource: POSTGRES }).withTarget(sql("A", query));

const CHOSEN = "workspace = ${workspace:sqlstring} AND campaign = ${campaign:sqlstring}";

const statuses = from(
  {
    title: "Leads by status",
    description: "How many leads of the campaign have each status. Pending: nothing delivered yet. Partial: between two steps. Sent and failed are done.",
    width: 5,
    height: 8,
    noValue: "The campaign has no leads",
    columns: [
      { from: "status", title: "Status", words: inWords },
      { from: "leads", title: "Leads", unit: UNIT.count, width: 80 },
    ],
  },
  `SELECT status, leads FROM reporting.campaigns
CROSS JOIN LATERAL (VALUES ('sent', sent_leads), ('failed', failed_leads), ('partial', partial_leads), ('pending', pending_leads)) AS counts (status, leads)
WHERE ${CHOSEN}`,
);

const leadColumns: Column[] = [
  { from: "lead_id", title: "Lead", link: { title: "Show its trail", url: `/d/${UID.leads}?var-workspace=\${workspace}&var-campaign=\${campaign}&var-lead=${cell("Lead")}` } },
  { from: "status", title: "Status", width: 110, words: inWords },
  { from: "account", title: "Account", width: 160, noValue: "none yet" },
  { from: "last_action", title: "Last action", width: 200, words: inWords, noValue: "nothing yet" },
  { from: "last_action_time", title: "When", unit: UNIT.time, width: 190, noValue: "–" },
];

const leads = from(
  {
    title: "Leads",
    description: "Leads of the campaign with the chosen status and account, the latest action first, at most 500. Click one to see its trail. All of them: `campaignctl leads export`.",
    width: 24,
    height: 12,
    noValue: "No lead has this status and account",
    columns: leadColumns,
  },
  `SELECT lead_id, status, account, last_action, last_action_time
FROM reporting.leads
WHERE ${CHOSEN}
  AND status IN (\${status:sqlstring})
  AND coalesce(account, 'none') IN (\${account:sqlstring})
ORDER BY last_action_time DESC NULLS LAST
LIMIT 500`,
);

const trail = from(
  {
    title: "Trail of the lead",
    description: "Every outcome that was reported about the chosen lead, in the order in which it arrived. Without a chosen lead it is empty: click one above, or type its id. With --outcome-retention old outcomes are gone.",
    width: 19,
    height: 8,
    noValue: "No lead is chosen, or nothing was reported about it",
    columns: [
      { from: "receive_time", title: "Received", unit: UNIT.time, width: 165 },
      { from: "time", title: "Happened", unit: UNIT.time, width: 165 },
      { from: "step", title: "Step", unit: UNIT.count, width: 60 },
      { from: "kind", title: "What", words: inWords, width: 105 },
      { from: "reason", title: "Reason", words: inWords, width: 130 },
      { from: "account", title: "Account", width: 105 },
      { from: "detail", title: "What the provider said" },
    ],
  },
  `SELECT receive_time, time, step, kind, reason, account, detail
FROM reporting.outcomes
WHERE ${CHOSEN} AND lead_id = \${lead:sqlstring}
ORDER BY receive_time, receive_ordinal
LIMIT 500`,
);

export function leadsBoard(): dashboard.DashboardBuilder {
  const board = onPostgres({
    uid: UID.leads,
    title: "Leads",
    description: "The leads of a campaign by status, with account and last action, and the trail of one lead.",
  })
    .withVariable(fromSql("workspace", "Workspace", "The workspace", "SELECT DISTINCT workspace FROM reporting.campaigns ORDER BY 1"))
    .withVariable(
      fromSql("campaign", "Campaign", "The campaign", "SELECT campaign FROM reporting.campaigns WHERE workspace = ${workspace:sqlstring} ORDER BY 1"),
    )
    .withVariable(fromSql("status", "Status", "Status of the leads", "SELECT unnest(ARRAY['failed', 'partial', 'pending', 'sent'])", true))
    .withVariable(
      fromSql(
        "account",
        "Account",
        "Account that the leads are assigned to",
        "SELECT account FROM reporting.accounts WHERE workspace = ${workspace:sqlstring} UNION ALL SELECT 'none' ORDER BY 1",
        true,
      ),
    )
    .withVariable(
      new dashboard.TextBoxVariableBuilder("lead").label("Lead").description("The id of one lead, to see its trail").defaultValue(""),
    );
  return board
    .withRow(heading("Leads of the campaign"))
    .withPanel(statuses)
    .withPanel(trail)
    .withPanel(leads);
}
