// Campaign: one campaign. Its verdict, since when it is so, which account and which reason.

import * as dashboard from "@grafana/grafana-foundation-sdk/dashboard";
import * as prometheus from "@grafana/grafana-foundation-sdk/prometheus";
import { UID, campaignOf, cell, onPrometheus, toAccount, toLeads, workspace } from "./frame.js";
import { DELIVERY, LOST, NEUTRAL, NONE_WAITS, PROMETHEUS, UNIT, USED, bars, course, graph, heading, layers, now, number, one, rows, timeline } from "./house.js";
import { IN_WORKSPACE, OF_CAMPAIGN, OUTCOMES, REASONS, became, campaign, growth, max, pair, stateNumber, sum } from "./promql.js";
import { listing } from "./table.js";
import { campaignStates, inWords, whyNotSending } from "./words.js";

const of = (metric: string, more = ""): string => campaign(metric, OF_CAMPAIGN + more);

const state = number(
  {
    title: "State",
    description: "Active: messages may go out. Paused: none does until somebody resumes it. Finished: none ever will again.",
    unit: UNIT.count,
    words: campaignStates,
    width: 4,
    height: 4,
  },
  now("A", one(stateNumber(OF_CAMPAIGN))),
);

const why = listing(
  {
    title: "Not sending because",
    description: "Every reason for which no claim is granted now, with what helps. No reason and still no messages: no sender asks for claims.",
    width: 8,
    height: 4,
    noValue: "Nothing keeps it from sending",
    columns: [{ from: "reason", title: "Reason, and what helps", words: whyNotSending, coloured: true }],
  },
  rows("A", max("reason", `${of("campaign_not_sending:max")} == 1`)),
);

/** Of fewer messages a share says too little: the first failure of a day would look like a fault. */
const DELIVERY_1H = one(`${of("delivery1h:ratio")} and ${of("messages:increase1h")} >= 20`);
const delivery1h = number(
  {
    title: "Delivered, last hour",
    description: "Share of the messages with a result in the last hour that were delivered. Above 95 % is well. Below 20 messages it would say too little, and is not shown.",
    unit: UNIT.share,
    steps: DELIVERY,
    width: 4,
    height: 4,
    noValue: "fewer than 20 messages",
  },
  now("A", DELIVERY_1H),
);

const delivery = number(
  {
    title: "Delivered, ever",
    description: "Share of all messages with a result that were delivered. A new fault hardly moves it: judge by the last hour.",
    unit: UNIT.share,
    steps: DELIVERY,
    width: 4,
    height: 4,
  },
  now("A", one(of("delivery:ratio"))),
);

const due = number(
  {
    title: "Next step due in",
    description: "Time until the next step of a lead is due; “now” if one is due. Empty if nothing waits.",
    unit: UNIT.duration,
    words: { type: dashboard.MappingType.ValueToText, options: { "0": { text: "now" } } },
    width: 4,
    height: 4,
    noValue: "nothing waits",
  },
  now("A", `clamp_min(${one(of("campaign_next_due_timestamp_seconds:max"))} - time(), 0)`),
);

const timeLeft = number(
  {
    title: "Time left",
    description: "Open leads divided by the leads completed per second over the last 6 hours. A campaign that completed none, or may not send now, stands still, and one without open leads needs no time.",
    unit: UNIT.duration,
    width: 5,
    height: 4,
    noValue: "stands still",
  },
  now("A", one(`(${of("completion:eta_seconds")} unless on (workspace, campaign) ${of("campaign_not_sending:max")} == 1) or on (workspace, campaign) ${of("open_leads:sum")} == 0`)),
);

const progress = number(
  {
    title: "Progress",
    description: "Share of the leads that are done: sent or failed. Leads between two steps are not done.",
    unit: UNIT.share,
    width: 5,
    height: 4,
    noValue: "no leads",
  },
  now("A", one(of("campaign_progress_ratio:max"))),
);

const limit = number(
  {
    title: "Daily limit used",
    description: "Share of the campaign's daily limit that is reserved on its present local day. When it is used up, sending goes on the next day, or when the limit is raised.",
    unit: UNIT.share,
    steps: USED,
    width: 4,
    height: 4,
    noValue: "no limit",
  },
  now("A", one(`${of("campaign_daily_reserved:max")} / (${of("campaign_daily_limit:max")} > 0)`)),
);

const uncertain = number(
  {
    title: "Uncertain claims",
    description:
      "Claims that expired without an outcome: nobody knows whether these messages were sent. Have the sender report them, or resolve them with `campaignctl claims resolve`. Until then they are not sent again.",
    unit: UNIT.count,
    steps: NONE_WAITS,
    width: 5,
    height: 4,
  },
  now("A", one(of("campaign_uncertain_claims:max"))),
);

const oldest = number(
  {
    title: "Oldest uncertain claim",
    description: "How long ago the first of the uncertain claims expired. After an hour somebody should look at it.",
    unit: UNIT.duration,
    steps: [...NEUTRAL, [3600, "semi-dark-red"]],
    width: 5,
    height: 4,
    noValue: "none",
  },
  now("A", `time() - ${one(of("campaign_oldest_uncertain_claim_timestamp_seconds:max"))}`),
);

const history = timeline(
  {
    title: "State over time",
    description: "When the campaign was active, paused or finished. A change that nobody remembers is in the events of its resource, or in the service's log.",
    unit: UNIT.count,
    words: campaignStates,
    width: 24,
    height: 3,
  },
  course("A", one(stateNumber(OF_CAMPAIGN)), "State"),
);

const deliveryCourse = graph(
  {
    title: "Delivered, past hour",
    description: "At each time, the share delivered of the messages with a result in the hour before it. Dashed lines: 80 and 95 %. Where it begins to fall, something broke: look at the reasons beside it. It has gaps where fewer than 20 messages have a result.",
    unit: UNIT.share,
    colours: { Delivered: "text" },
    lines: DELIVERY,
    most: 1,
    width: 12,
    height: 8,
    noValue: "never 20 messages within an hour",
  },
  course("A", DELIVERY_1H, "Delivered"),
);

const reasonCourse = graph(
  {
    title: "Lost messages by reason, past hour",
    description:
      "At each time, the messages that failed or bounced in the hour before it. Account issues: look at the accounts below. Invalid leads: refresh the lead list. " +
      "Rate limited: lower daily limits. Content rejected: review the message.",
    unit: UNIT.count,
    stacked: REASONS,
    width: 12,
    height: 8,
  },
  course("A", max("reason", of("failed_messages:increase1h")), "{{reason}}"),
);

const leads = layers(
  {
    title: "Leads by status",
    description: "All leads of the campaign. Pending: nothing delivered yet. Partial: between two steps. Sent and failed are done. A flat line of pending leads in active hours means that nothing is sent.",
    unit: UNIT.count,
    stacked: ["sent", "failed", "partial", "pending"],
    width: 12,
    height: 8,
  },
  (status) => of("campaign_leads:max", `, status="${status}"`),
);

const messages = layers(
  {
    title: "Messages per interval",
    description: "Messages by result, in bars of one interval (5 minutes, more over long ranges). No bars in active hours: nobody sends.",
    unit: UNIT.count,
    stacked: OUTCOMES,
    barsOf: "5m",
    width: 12,
    height: 8,
  },
  (outcome) => growth(of("campaign_messages:max", `, outcome="${outcome}"`), "$__interval"),
);

const pairs = (metric: string, more = ""): string => pair(metric, OF_CAMPAIGN + more);
const accounts = listing(
  {
    title: "By account, last 30 days",
    description:
      "What each account sent for this campaign in 30 days. If one loses far more than the others, it is the cause: click it. If all lose alike, it is the list or the message. " +
      "`campaignctl campaigns diagnose` tests whether the difference may be chance. Only active campaigns have these numbers, read every 5 minutes.",
    width: 24,
    height: 8,
    largestFirst: "Lost",
    noValue: "No numbers by account: the campaign is not active, sent nothing in 30 days, or is beyond --metrics-max-campaign-accounts",
    columns: [
      { from: "account", title: "Account", link: toAccount("${workspace}", cell("Account")) },
      { from: "Value #A", title: "Lost", unit: UNIT.share, steps: LOST, width: 110, noValue: "no messages" },
      { from: "Value #B", title: "Delivered messages", unit: UNIT.count, width: 160 },
      { from: "Value #C", title: "Lost messages", unit: UNIT.count, width: 130 },
      { from: "reason", title: "Most frequent reason", words: inWords, width: 200 },
      { from: "Value #D", title: "Lost for it", unit: UNIT.count, width: 110 },
      { from: "Value #E", title: "Daily limit used", unit: UNIT.share, steps: USED, width: 140, noValue: "no limit" },
    ],
  },
  rows("A", max("account", pairs("lost_30d:ratio"))),
  rows("B", sum("account", pairs("campaign_account_messages_30d:max", ', outcome="delivered"'))),
  rows("C", sum("account", pairs("campaign_account_messages_30d:max", ', outcome!="delivered"'))),
  rows("D", `topk by (account) (1, ${max("account, reason", pairs("campaign_account_failed_messages_30d:max"))} > 0)`),
  rows(
    "E",
    `max by (account) (workspace_account:daily_limit_used:ratio{${IN_WORKSPACE}}) and on (account) ${max("account", pairs("messages_30d:sum"))}`,
  ),
);

const claims = graph(
  {
    title: "Claims in flight and uncertain",
    description: "In flight: granted to senders that still may report. Uncertain: expired without an outcome. Uncertain claims that climb mean that senders die or don't report.",
    unit: UNIT.count,
    colours: { "In flight": "blue", Uncertain: "orange" },
    width: 12,
    height: 7,
  },
  course("A", one(of("campaign_in_flight_claims:max")), "In flight"),
  course("B", one(of("campaign_uncertain_claims:max")), "Uncertain"),
);

const funnel = bars(
  {
    title: "Contacted, replied, converted",
    description: "Leads with a delivered message, and those of them that replied and converted so far. Replies take days: compare campaigns at equal age only.",
    unit: UNIT.count,
    steps: NEUTRAL,
    width: 6,
    height: 7,
  },
  now("A", one(of("campaign_contacted_leads:max")), "Contacted"),
  now("B", one(of("campaign_replied_leads:max")), "Replied"),
  now("C", one(of("campaign_converted_leads:max")), "Converted"),
);

const atAge = number(
  {
    title: "Within 7 days of first contact",
    description: "Of the leads first contacted at least 7 days ago, the share that replied, and that converted, within 7 days. Only from 100 such leads on.",
    unit: UNIT.share,
    width: 6,
    height: 7,
    noValue: "fewer than 100 leads",
  },
  now("A", one(of("response_at_age:ratio", ', age_days="7"')), "Replied"),
  now("B", one(of("conversion_at_age:ratio", ', age_days="7"')), "Converted"),
);

function annotation(name: string, colour: string, expression: string): dashboard.AnnotationQueryBuilder {
  return new dashboard.AnnotationQueryBuilder()
    .name(name)
    .datasource(PROMETHEUS)
    .enable(true)
    .iconColor(colour)
    .expr(max("workspace, campaign", expression))
    .step("1m")
    .titleFormat(name)
    .target(new prometheus.DataqueryBuilder().refId("Anno").expr(max("workspace, campaign", expression)).range());
}

const limited = of("campaign_daily_limit:max");
const annotations = [
  annotation("Paused", "orange", became(of("campaign_state:max", ', state="paused"'))),
  annotation("Resumed or started", "blue", became(of("campaign_state:max", ', state="active"'))),
  annotation("Finished", "purple", became(of("campaign_state:max", ', state="finished"'))),
  annotation("Daily limit changed", "yellow", `${limited} != ${limited} offset 1m`),
];

export function campaignBoard(): dashboard.DashboardBuilder {
  const board = onPrometheus({
    uid: UID.campaign,
    title: "Campaign",
    description: "One campaign: the verdict, since when, which account and which reason.",
  })
    .withVariable(workspace())
    .withVariable(campaignOf())
    .link(toLeads("Leads of this campaign"));
  annotations.forEach((query) => board.annotation(query));
  const panels = [state, why, delivery1h, delivery, due, progress, timeLeft, limit, uncertain, oldest];
  board.withRow(heading("Verdict"));
  panels.forEach((panel) => board.withPanel(panel));
  board.withRow(heading("Since when, and why")).withPanel(deliveryCourse).withPanel(reasonCourse).withPanel(history);
  board.withRow(heading("Which account")).withPanel(accounts);
  board.withRow(heading("Course")).withPanel(leads).withPanel(messages);
  return board.withPanel(claims).withPanel(funnel).withPanel(atAge);
}
