// Campaigns: for the owner. Which campaign is unwell, which doesn't send, when each will be done.

import type * as dashboard from "@grafana/grafana-foundation-sdk/dashboard";
import { UID, cell, onPrometheus, toCampaign, workspaces } from "./frame.js";
import { LOST, NEUTRAL, NONE_IS_WELL, NONE_WAITS, UNIT, heading, now, number, rows } from "./house.js";
import { IN_WORKSPACES, campaign, max, onlyActive } from "./promql.js";
import { type Column, listing } from "./table.js";
import { inWords, whyNotSending, yesIsWell } from "./words.js";

const KEY = "workspace, campaign";
const of = (metric: string): string => campaign(metric, IN_WORKSPACES);
/** Even the upper end of the 95 % interval of the last hour's delivery is below 95 %. */
const UNWELL = `${of("delivery1h:upper")} < 0.95`;
const whereUnwell = (expression: string): string => `${expression} and on (${KEY}) (${UNWELL})`;

const name: Column[] = [
  { from: "workspace", title: "Workspace", width: 140 },
  { from: "campaign", title: "Campaign", link: toCampaign(cell("Workspace"), cell("Campaign")) },
];

const unwell = listing(
  {
    title: "Unwell now",
    description:
      "Campaigns that certainly lose more than 5 % of their messages in the last hour, and campaigns with uncertain claims. " +
      "“Lost at least” is the lower end of the 95 % interval: chance alone does not explain it. Below 20 messages in the hour " +
      "nothing is certain, and the campaign is not listed. Click a campaign to see which account and which reason.",
    width: 24,
    height: 7,
    noValue: "No campaign is certainly unwell",
    largestFirst: "Lost at least",
    columns: [
      ...name,
      { from: "Value #A", title: "Lost at least", unit: UNIT.share, steps: LOST, width: 130 },
      { from: "Value #B", title: "Lost", unit: UNIT.share, width: 100 },
      { from: "Value #C", title: "Messages, last hour", unit: UNIT.count, width: 160 },
      { from: "reason", title: "Most frequent reason", words: inWords, width: 190 },
      { from: "Value #D", title: "Lost for it", unit: UNIT.count, width: 110 },
      { from: "Value #E", title: "Uncertain claims", unit: UNIT.count, steps: NONE_WAITS, width: 150 },
    ],
  },
  rows("A", max(KEY, `1 - (${UNWELL})`)),
  rows("B", max(KEY, whereUnwell(`1 - ${of("delivery1h:ratio")}`))),
  rows("C", max(KEY, whereUnwell(of("messages:increase1h")))),
  rows("D", whereUnwell(`topk by (${KEY}) (1, ${max(`${KEY}, reason`, of("failed_messages:increase1h"))} > 0)`)),
  rows("E", max(KEY, `${of("campaign_uncertain_claims:max")} > 0`)),
);

const blocked = `${of("campaign_not_sending:max")} == 1`;
const notSending = listing(
  {
    title: "Active, but not sending",
    description:
      "Active campaigns that get no claims now, with each reason and what helps. Grey reasons are normal; orange and red " +
      "ones wait for a person. A campaign that is missing here and still sends nothing has no sender that asks.",
    width: 19,
    height: 8,
    noValue: "Every active campaign may send",
    columns: [
      name[0]!,
      { ...name[1]!, width: 190 },
      { from: "reason", title: "Reason, and what helps", words: whyNotSending, coloured: true },
      { from: "Value #B", title: "Last claim, ago", unit: UNIT.duration, decimals: 1, width: 130, noValue: "never" },
    ],
  },
  rows("A", max(`${KEY}, reason`, onlyActive(`(${blocked})`, IN_WORKSPACES))),
  rows(
    "B",
    max(
      `${KEY}, reason`,
      onlyActive(`((time() - ${of("campaign_last_grant_timestamp_seconds:max")}) * on (${KEY}) group_right () (${blocked}))`, IN_WORKSPACES),
    ),
  ),
);

const states = number(
  {
    title: "States",
    description: "How many campaigns are in each state. If there are more than --metrics-max-campaigns, the metrics leave out finished ones first.",
    unit: UNIT.count,
    steps: NEUTRAL,
    width: 5,
    height: 8,
  },
  ...(["active", "paused", "finished"] as const).map((state, index) =>
    now("ABC".charAt(index), `sum(${campaign("campaign_state:max", `${IN_WORKSPACES}, state="${state}"`)})`, state.charAt(0).toUpperCase() + state.slice(1)),
  ),
);

const progress = listing(
  {
    title: "Progress of active campaigns",
    description:
      "Progress counts leads that are done, sent or failed; leads between two steps are open. Time left is open leads divided by " +
      "the leads completed per second over the last 6 hours; a campaign that completed none, or may not send now, stands still, and one without open leads needs no time. " +
      "If it grows, look for a reason in “Active, but not sending”, or at the daily limits.",
    width: 12,
    height: 8,
    largestFirst: "Time left",
    noValue: "No campaign is active",
    columns: [
      ...name,
      { from: "Value #A", title: "Progress", unit: UNIT.share, bar: 1, width: 145 },
      { from: "Value #B", title: "Open leads", unit: UNIT.count, width: 95 },
      { from: "Value #C", title: "Time left", unit: UNIT.duration, decimals: 1, width: 100, noValue: "stands still" },
    ],
  },
  rows("A", max(KEY, onlyActive(of("campaign_progress_ratio:max"), IN_WORKSPACES))),
  rows("B", max(KEY, onlyActive(of("open_leads:sum"), IN_WORKSPACES))),
  rows("C", max(KEY, onlyActive(`((${of("completion:eta_seconds")} unless on (${KEY}) ${blocked}) or on (${KEY}) ${of("open_leads:sum")} == 0)`, IN_WORKSPACES))),
);

const atAge = (metric: string, days: number): string => campaign(metric, `${IN_WORKSPACES}, age_days="${days}"`);
const answers = listing(
  {
    title: "Response and conversion within 7 days of first contact",
    description:
      "Of the leads first contacted at least 7 days ago, the share that replied, and that converted, within 7 days of their first " +
      "contact. So an old campaign is not flattered by having had more time. Only from 100 such leads on. To find out which " +
      "campaign is better, ask `campaignctl campaigns compare`: differences here may be chance.",
    width: 12,
    height: 8,
    largestFirst: "Replied",
    noValue: "No active campaign has 100 leads that were contacted 7 days ago",
    columns: [
      ...name,
      { from: "Value #A", title: "Replied", unit: UNIT.share, width: 90 },
      { from: "Value #B", title: "Converted", unit: UNIT.share, width: 100 },
      { from: "Value #C", title: "Of leads", unit: UNIT.count, width: 85 },
    ],
  },
  rows("A", max(KEY, atAge("response_at_age:ratio", 7))),
  rows("B", max(KEY, atAge("conversion_at_age:ratio", 7))),
  rows("C", max(KEY, `${atAge("campaign_contacted_leads_at_age:max", 7)} >= 100`)),
);

const whole = [
  number(
    {
      title: "Every replica reads the database",
      description: "Yes if the last scrape of each replica could read the campaigns. If No, the numbers above are missing or old: look whether Postgres answers.",
      unit: UNIT.count,
      words: yesIsWell,
      width: 6,
      height: 4,
    },
    now("A", "min(campaign_metrics_collector_success)"),
  ),
  number(
    {
      title: "Campaigns left out",
      description: "Campaigns beyond --metrics-max-campaigns, which no panel shows and no alert watches. If there are any, raise that flag.",
      unit: UNIT.count,
      steps: NONE_IS_WELL,
      width: 6,
      height: 4,
    },
    now("A", "max(job:campaigns_omitted:max)"),
  ),
  number(
    {
      title: "Without series by account",
      description: "Active campaigns beyond --metrics-max-campaign-accounts: their accounts and their rates at equal age are missing. If there are any, raise that flag.",
      unit: UNIT.count,
      steps: NONE_IS_WELL,
      width: 6,
      height: 4,
    },
    now("A", "max(job:campaign_details_omitted:max)"),
  ),
  number(
    {
      title: "Wrong counts",
      description: "Counts that the latest `campaign-metrics-service verify` found different from the facts. If there are any, run verify --repair and report it as a bug.",
      unit: UNIT.count,
      noValue: "never verified",
      steps: NONE_IS_WELL,
      width: 6,
      height: 4,
    },
    now("A", "max(job:verify_differences:max)"),
  ),
];

export function campaigns(): dashboard.DashboardBuilder {
  const board = onPrometheus({
    uid: UID.campaigns,
    title: "Campaigns",
    description: "Which campaign is unwell, which doesn't send and why, and when each will be done.",
  }).withVariable(workspaces());
  return board
    .withRow(heading("What needs you"))
    .withPanel(unwell)
    .withPanel(notSending)
    .withPanel(states)
    .withRow(heading("How far they are"))
    .withPanel(progress)
    .withPanel(answers)
    .withRow(heading("Are these numbers whole?"))
    .withPanel(whole[0]!)
    .withPanel(whole[1]!)
    .withPanel(whole[2]!)
    .withPanel(whole[3]!);
}

