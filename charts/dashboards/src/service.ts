// Service and controller: for whoever is on call. What the processes do, against their bounds.

import * as common from "@grafana/grafana-foundation-sdk/common";
import type * as dashboard from "@grafana/grafana-foundation-sdk/dashboard";
import { UID, onPrometheus } from "./frame.js";
import { NONE_IS_WELL, type Steps, UNIT, course, graph, heading, now, number } from "./house.js";
import { BAD, WELL, WORSE } from "./words.js";
import { busiest, p99, rate } from "./promql.js";

/** Codes by which the service, and not its caller, is to blame. */
const FAULTS = ["Unknown", "DeadlineExceeded", "Internal", "Unavailable", "DataLoss"];
const FAULT = `code=~"${FAULTS.join("|")}"`;
/** Codes by which the service refuses what its caller asks. */
const REFUSALS = ["Cancelled", "InvalidArgument", "NotFound", "AlreadyExists", "PermissionDenied", "FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented", "Unauthenticated"];
const coloured = (codes: string[], colour: string): Record<string, string> => Object.fromEntries(codes.map((code) => [code, colour]));
/** Per second, by a label. A red line at 0 would look like errors, so of what is not always there only more than 0 is drawn. */
const shown = (label: string, counter: string, always: string): string =>
  `sum by (${label}) (${rate(counter)}) > 0 or sum by (${label}) (${rate(`${counter}{${always}}`)})`;
/** 99.9 % of the calls of a method end without a fault of the service. */
const BUDGET = 0.001;

const CALL = "campaign_metrics_rpc_duration_seconds";
const TRANSACTION = "campaign_metrics_transaction_duration_seconds";
/** Shows `ClaimSends` for `campaign_metrics.v1.SendingService/ClaimSends`. */
const short = (expression: string): string => `label_replace(${expression}, "method", "$1", "method", ".*/(.*)")`;
/** Per second in the past hour, by method. */
const calls = (series: string): string => `rate(campaign_metrics_rpc_${series}[1h])`;
/** Faults before and after the headers of an answer, as the alert counts them. Their labels are equal, so one kind has one more. */
const faults = `${calls(`handled_total{${FAULT}}`)} or label_replace(${calls(`stream_errors_total{${FAULT}}`)}, "answer", "stream", "", "")`;
const burn = graph(
  {
    title: "Error budget burn by method, past hour",
    description:
      "How many times faster than allowed faults of the service use up its error budget (99.9 % of the calls without one, in 30 days). At 1 it lasts exactly 30 days; " +
      "at 14.4 it is gone in 2 days and somebody is paged, by all methods together. Not drawn: what has no fault, or fewer than 360 calls in the hour, where a single fault says nothing. " +
      "See the service's log, by trace id.",
    unit: UNIT.count,
    lines: [[null, "transparent"], [1, "orange"], [14.4, "semi-dark-red"]],
    colours: { "All methods": "text" },
    width: 12,
    height: 8,
    decimals: 1,
    noValue: "no fault of the service, or too few calls",
  },
  course("A", short(`topk(8, sum by (method) (${faults}) / (sum by (method) (${calls("handled_total")}) > 0.1) / ${BUDGET} > 0)`), "{{method}}"),
  course("B", `max(slo:sli_error:ratio_rate1h{sloth_service="campaign-metrics"}) / ${BUDGET} > 0`, "All methods"),
);

const latency = graph(
  {
    title: "Slowest 1 % of calls, the six busiest methods",
    description: "99 % of the calls are faster than this, to the headers of their answer. If one method climbs, look at locks and plans of its transaction below; if all climb, at Postgres and the pool.",
    unit: UNIT.duration,
    width: 12,
    height: 8,
  },
  course("A", short(`${p99("method", CALL)} >= 0 ${busiest(6, "method", CALL)}`), "{{method}}"),
);

const handled = graph(
  {
    title: "Calls per second, by code",
    description: "All calls by the code of their answer. ResourceExhausted: callers are told to retry, the database doesn't keep up. Unavailable: Postgres is away. Red: faults of the service. Without a colour: refusals of what a caller asked.",
    unit: UNIT.callsPerSecond,
    // By chance a harmless code would be red, and a fault green.
    colours: { Ok: WELL, ResourceExhausted: WORSE, ...coloured(FAULTS, BAD), ...coloured(REFUSALS, "text") },
    width: 12,
    height: 8,
  },
  course("A", shown("code", "campaign_metrics_rpc_handled_total", 'code="Ok"'), "{{code}}"),
);

const verdicts = graph(
  {
    title: "Outcomes per second, by verdict",
    description: "Applied: new. Duplicate: known already, harmless; many mean that senders retry a lot. Rejected: senders report wrongly (unknown leads, steps that don't exist, final campaigns): find who, in the service's log.",
    unit: UNIT.perSecond,
    stacked: ["applied", "duplicate", "rejected"],
    width: 12,
    height: 8,
  },
  course("A", `sum by (verdict) (${rate("campaign_metrics_outcomes_total")})`, "{{verdict}}"),
);

const WAITING_MAX = 32768;
const waiting: Steps = [[null, "transparent"], [0.8 * WAITING_MAX, "orange"], [WAITING_MAX, "semi-dark-red"]];
const backlog = graph(
  {
    title: "Outcomes waiting for their commit",
    description: `Outcomes received and not committed yet, of each replica. At ${WAITING_MAX} callers are told to retry. If it climbs, Postgres doesn't keep up: look at its disk and at locks.`,
    unit: UNIT.count,
    lines: waiting,
    width: 8,
    height: 7,
  },
  course("A", "max by (instance) (campaign_metrics_outcomes_waiting)", "{{instance}}"),
);

const pool = graph(
  {
    title: "Database connections in use",
    description: "Share of its connections (--pool-size) that each replica uses. At 100 % transactions wait: raise --pool-size if Postgres has room, else send larger batches.",
    unit: UNIT.share,
    lines: [[null, "transparent"], [0.8, "orange"], [0.95, "semi-dark-red"]],
    most: 1,
    width: 8,
    height: 7,
  },
  course(
    "A",
    'max by (instance) (campaign_metrics_pool_connections{state="used"}) / max by (instance) (campaign_metrics_pool_connections_max)',
    "{{instance}}",
  ),
);

const waiters = graph(
  {
    title: "Transactions without a connection, and retries",
    description: "Waiting: transactions that wait for a connection; after 5 s their call fails. Retries per second: transactions run again after a deadlock; some are normal under load.",
    unit: UNIT.count,
    decimals: 1,
    colours: { Waiting: "text", "Retries per second": "blue" },
    width: 8,
    height: 7,
  },
  course("A", "sum(campaign_metrics_pool_waiters)", "Waiting"),
  course("B", `sum(${rate("campaign_metrics_transaction_retries_total")})`, "Retries per second"),
);

const transactions = graph(
  {
    title: "Slowest 1 % of transactions, the six busiest",
    description: "99 % of the transactions are faster than this, waits for locks included. pg_stat_activity shows the name of a running one in application_name.",
    unit: UNIT.duration,
    width: 12,
    height: 8,
  },
  course("A", `${p99("transaction", TRANSACTION)} >= 0 ${busiest(6, "transaction", TRANSACTION)}`, "{{transaction}}"),
);

const collector = graph(
  {
    title: "Time to read the campaigns for a scrape",
    description: "How long each replica reads the campaigns' numbers at a scrape. Past 10 s a scrape fails: lower --metrics-max-campaigns, or scrape less often.",
    unit: UNIT.duration,
    lines: [[null, "transparent"], [8, "orange"], [10, "semi-dark-red"]],
    width: 12,
    height: 8,
  },
  course("A", "max by (instance) (campaign_metrics_collector_duration_seconds)", "{{instance}}"),
);

const versions = number(
  {
    title: "Replicas by version",
    description: "Running replicas of the service, by version. Two versions for more than some minutes: an upgrade is stuck.",
    unit: UNIT.count,
    width: 6,
    height: 4,
  },
  now("A", "count by (version) (campaign_metrics_build_info)", "{{version}}"),
);
versions.textMode(common.BigValueTextMode.ValueAndName);

const collecting = number(
  {
    title: "Replicas without database",
    description: "Replicas whose last scrape had no numbers of campaigns. If there are any, Postgres is away or slow: see /readyz of that replica.",
    unit: UNIT.count,
    steps: NONE_IS_WELL,
    width: 6,
    height: 4,
  },
  now("A", "count(campaign_metrics_collector_success == 0) or 0 * count(campaign_metrics_collector_success)"),
);

const differences = number(
  {
    title: "Wrong counts",
    description: "Counts that the latest verify found different from the facts, and did not repair. There should be none: run verify --repair and report it as a bug.",
    unit: UNIT.count,
    noValue: "never verified",
    steps: NONE_IS_WELL,
    width: 6,
    height: 4,
  },
  now("A", "max(job:verify_differences:max)"),
);

const verified = number(
  {
    title: "Last verified",
    description: "Time since `campaign-metrics-service verify` last ran. Run it weekly, and after a restore.",
    unit: UNIT.duration,
    steps: [[null, "blue"], [8 * 86400, "orange"]],
    width: 6,
    height: 4,
    noValue: "never",
  },
  now("A", "time() - max(job:verify_timestamp_seconds:max)"),
);

const reconciles = graph(
  {
    title: "Reconciles per second, by result",
    description: "What the controller does for Campaign resources. Errors that stay: a resource can't be applied; see its conditions with `kubectl describe campaign`.",
    unit: UNIT.perSecond,
    colours: { success: "blue", requeue_after: "super-light-blue", error: "semi-dark-red" },
    width: 8,
    height: 7,
  },
  course("A", shown("result", "controller_runtime_reconcile_total", 'result!="error"'), "{{result}}"),
);

const reconcileTime = graph(
  {
    title: "Slowest 1 % of reconciles and pauses",
    description: "99 % are faster than this. Time to pause: from the edit of a resource to the service's confirmation; it should stay below 2.5 s. No line: nobody paused anything.",
    unit: UNIT.duration,
    colours: { Reconcile: "blue", "Time to pause, past hour": "orange" },
    width: 8,
    height: 7,
  },
  course("A", `${p99("", "controller_runtime_reconcile_time_seconds")} >= 0`, "Reconcile"),
  course("B", "histogram_quantile(0.99, sum by (le) (rate(campaign_controller_time_to_pause_seconds_bucket[1h]))) >= 0", "Time to pause, past hour"),
);

const workers = graph(
  {
    title: "Workers of the controller in use",
    description: "Share of the controller's workers that reconcile. At 100 % edits wait in its queue: usually the service answers slowly.",
    unit: UNIT.share,
    lines: [[null, "transparent"], [0.8, "orange"], [0.95, "semi-dark-red"]],
    most: 1,
    colours: { Workers: "blue" },
    width: 8,
    height: 7,
  },
  course("A", "max(controller_runtime_active_workers) / max(controller_runtime_max_concurrent_reconciles)", "Workers"),
);

const drift = graph(
  {
    title: "Changes undone, past hour",
    description: "Changes of campaigns past their resource that the controller undid in the hour before. Many mean that two parties fight over a campaign: see the events of the resources.",
    unit: UNIT.count,
    colours: { "Changes undone": "blue" },
    width: 12,
    height: 7,
  },
  course("A", "sum(round(increase(campaign_controller_drift_repairs_total[1h])))", "Changes undone"),
);

const watches = graph(
  {
    title: "Open watch streams",
    description: "Streams of changes that clients keep open, the controller's among them. If it falls to 0, the controller hears of nothing: see its log.",
    unit: UNIT.count,
    colours: { Streams: "blue" },
    width: 12,
    height: 7,
  },
  course("A", "sum(campaign_metrics_watch_streams)", "Streams"),
);

export function service(): dashboard.DashboardBuilder {
  const board = onPrometheus({
    uid: UID.service,
    title: "Service and controller",
    description: "For whoever is on call: what the processes do, against their bounds.",
  });
  board.withRow(heading("Do calls succeed, and in time?"));
  [burn, latency, handled, verdicts].forEach((panel) => board.withPanel(panel));
  board.withRow(heading("Does the database keep up?"));
  [backlog, pool, waiters, transactions, collector].forEach((panel) => board.withPanel(panel));
  board.withRow(heading("Are the numbers right?"));
  [versions, collecting, differences, verified].forEach((panel) => board.withPanel(panel));
  board.withRow(heading("Does the controller keep up?"));
  [reconciles, reconcileTime, workers, drift, watches].forEach((panel) => board.withPanel(panel));
  return board;
}
