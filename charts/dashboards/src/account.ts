// Account: one sending account. Whether it delivers, why not, since when, and for which campaigns.

import type * as dashboard from "@grafana/grafana-foundation-sdk/dashboard";
import { UID, accountOf, cell, onPrometheus, toAccount, toCampaign, workspace } from "./frame.js";
import { DELIVERY, LOST, UNIT, USED, course, graph, heading, layers, now, number, one, rows, timeline } from "./house.js";
import { IN_WORKSPACE, OF_ACCOUNT, OUTCOMES, REASONS, account, growth, max, pair, sum } from "./promql.js";
import { listing } from "./table.js";
import { accountStates, inWords } from "./words.js";

const of = (metric: string, more = ""): string => account(metric, OF_ACCOUNT + more);
const pairs = (metric: string, more = ""): string => pair(metric, OF_ACCOUNT + more);
const ACTIVE = one(of("account_state:max", ', state="active"'));

const state = number(
  {
    title: "State",
    description: "A suspended account gets no claims, and keeps its leads. Reinstate it with `campaignctl accounts reinstate` once its cause is gone.",
    unit: UNIT.count,
    words: accountStates,
    width: 4,
    height: 4,
  },
  now("A", ACTIVE),
);

const delivery30d = number(
  {
    title: "Delivered, 30 days",
    description: "Share of the messages of the last 30 days (UTC, today included) that were delivered, over all its campaigns. Below 95 % look at the reasons; below 80 % stop it.",
    unit: UNIT.share,
    steps: DELIVERY,
    width: 4,
    height: 4,
    noValue: "no messages",
  },
  now("A", one(of("delivery_30d:ratio"))),
);

const delivery = number(
  {
    title: "Delivered, ever",
    description: "Share of all its messages that were delivered. If it is far above the last 30 days, something changed: see since when below.",
    unit: UNIT.share,
    steps: DELIVERY,
    width: 4,
    height: 4,
    noValue: "no messages",
  },
  now("A", one(of("delivery:ratio"))),
);

const sent30d = number(
  {
    title: "Sent, 30 days",
    description: "Messages delivered in the last 30 days (UTC, today included). A share of few messages says little.",
    unit: UNIT.count,
    width: 4,
    height: 4,
  },
  now("A", one(of("account_messages_30d:max", ', outcome="delivered"'))),
);

const limitUsed = number(
  {
    title: "Daily limit used",
    description: "Share of its daily limit that is reserved on its present local day. When it is used up, it gets claims again on the next day, or when the limit is raised.",
    unit: UNIT.share,
    steps: USED,
    width: 4,
    height: 4,
    noValue: "no limit",
  },
  now("A", one(of("daily_limit_used:ratio"))),
);

const reserved = number(
  {
    title: "Reserved today",
    description: "Messages that count against its daily limit on its present local day: sent ones, and claims that senders hold.",
    unit: UNIT.count,
    width: 4,
    height: 4,
  },
  now("A", one(of("account_daily_reserved:max"))),
);

const whole = `sum(${growth(of("account_messages:max"), "1h")})`;
const deliveryCourse = graph(
  {
    title: "Delivered, past hour",
    description: "At each time, the share delivered of the messages with a result in the hour before it. Dashed lines: 80 and 95 %. It has gaps where fewer than 20 messages have a result: so few say little.",
    unit: UNIT.share,
    colours: { Delivered: "text" },
    lines: DELIVERY,
    most: 1,
    width: 12,
    height: 8,
    noValue: "never 20 messages within an hour",
  },
  course("A", `1 - sum(${growth(of("account_messages:max", ', outcome!="delivered"'), "1h")}) / (${whole} >= 20)`, "Delivered"),
);

const reasonCourse = graph(
  {
    title: "Lost messages by reason, past hour",
    description:
      "At each time, the messages that failed or bounced in the hour before it, of active campaigns alone, up to 5 minutes late. Since when: where it begins to climb. " +
      "Account issues: check the account at its provider. Rate limited: lower its daily limit. Invalid leads: refresh the list of that campaign. Content rejected: review the message.",
    unit: UNIT.count,
    stacked: REASONS,
    width: 12,
    height: 8,
  },
  course("A", sum("reason", growth(pairs("campaign_account_failed_messages_30d:max"), "1h")), "{{reason}}"),
);

const causes = listing(
  {
    title: "Why messages are lost, by campaign, 30 days",
    description: "Messages of this account that failed or bounced, of active campaigns. One reason in all campaigns: it is the account. One campaign alone: it is its list or its message.",
    width: 12,
    height: 7,
    largestFirst: "Lost messages",
    noValue: "Nothing was lost in 30 days",
    columns: [
      { from: "campaign", title: "Campaign", link: toCampaign("${workspace}", cell("Campaign")) },
      { from: "reason", title: "Reason", words: inWords, width: 170 },
      { from: "Value", title: "Lost messages", unit: UNIT.count, width: 130 },
    ],
  },
  rows("A", `${max("campaign, reason", pairs("campaign_account_failed_messages_30d:max"))} > 0`),
);

const serves = listing(
  {
    title: "Active campaigns it serves",
    description: "Active campaigns that this account serves, or sent messages for in 30 days. Click one to compare its accounts.",
    width: 12,
    height: 7,
    largestFirst: "Lost",
    noValue: "It serves no active campaign",
    columns: [
      { from: "campaign", title: "Campaign", link: toCampaign("${workspace}", cell("Campaign")) },
      { from: "Value #A", title: "Delivered messages", unit: UNIT.count, width: 160 },
      { from: "Value #B", title: "Lost messages", unit: UNIT.count, width: 130 },
      { from: "Value #C", title: "Lost", unit: UNIT.share, steps: LOST, width: 110, noValue: "no messages" },
    ],
  },
  rows("A", sum("campaign", pairs("campaign_account_messages_30d:max", ', outcome="delivered"'))),
  rows("B", sum("campaign", pairs("campaign_account_messages_30d:max", ', outcome!="delivered"'))),
  rows("C", max("campaign", pairs("lost_30d:ratio"))),
);

const messages = layers(
  {
    title: "Messages per interval",
    description: "Messages by result, in bars of one interval (5 minutes, more over long ranges). If the bars stop while its campaigns are active: is its limit used up, is it suspended, does its sender run?",
    unit: UNIT.count,
    stacked: OUTCOMES,
    barsOf: "5m",
    width: 12,
    height: 8,
  },
  (outcome) => growth(of("account_messages:max", `, outcome="${outcome}"`), "$__interval"),
);

const history = timeline(
  {
    title: "State over time",
    description: "When the account was active or suspended.",
    unit: UNIT.count,
    words: accountStates,
    width: 24,
    height: 3,
  },
  course("A", ACTIVE, "State"),
);

const ENOUGH = `workspace_account:messages_30d:sum{${IN_WORKSPACE}} >= 20`;
const bounced = listing(
  {
    title: "Share bounced, 30 days: all accounts of the workspace",
    description:
      "A bounce harms the standing of an account at every provider. The highest ten, from 20 messages on. Above 5 %: check the lists of their campaigns first, then the account. An account that is missing here has a lower share, or fewer messages.",
    width: 12,
    height: 8,
    largestFirst: "Bounced",
    noValue: "No account has 20 messages",
    columns: [
      { from: "account", title: "Account", link: toAccount("${workspace}", cell("Account")) },
      { from: "Value #A", title: "Bounced", unit: UNIT.share, steps: LOST, bar: 0.25, width: 260 },
      { from: "Value #B", title: "Messages", unit: UNIT.count, width: 100 },
    ],
  },
  rows("A", `topk(10, ${max("account", `workspace_account:bounced_30d:ratio{${IN_WORKSPACE}} and ${ENOUGH}`)})`),
  rows(
    "B",
    `${max("account", `workspace_account:messages_30d:sum{${IN_WORKSPACE}}`)} and topk(10, ${max("account", `workspace_account:bounced_30d:ratio{${IN_WORKSPACE}} and ${ENOUGH}`)})`,
  ),
);

export function accountBoard(): dashboard.DashboardBuilder {
  const board = onPrometheus({
    uid: UID.account,
    title: "Account",
    description: "One sending account: whether it delivers, why not, since when, and for which campaigns.",
  })
    .withVariable(workspace("workspace_account:account_state:max"))
    .withVariable(accountOf());
  board.withRow(heading("Verdict"));
  [state, delivery30d, delivery, sent30d, limitUsed, reserved].forEach((panel) => board.withPanel(panel));
  board.withRow(heading("Since when, and why"));
  [deliveryCourse, reasonCourse, history, causes, serves].forEach((panel) => board.withPanel(panel));
  board.withRow(heading("Activity"));
  [messages, bounced].forEach((panel) => board.withPanel(panel));
  return board;
}
