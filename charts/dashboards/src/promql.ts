// Expressions of PromQL. State of campaigns and accounts is read from recording rules only: each replica exports the same
// state, so the raw series count twice. What a process did is read from its own series.

/** Restricts series to the chosen workspace, and campaign or account. */
export const IN_WORKSPACE = 'workspace="$workspace"';
export const IN_WORKSPACES = 'workspace=~"$workspace"';
export const OF_CAMPAIGN = 'workspace="$workspace", campaign="$campaign"';
export const OF_ACCOUNT = 'workspace="$workspace", account="$account"';

/** A recorded series of campaigns. */
export const campaign = (metric: string, selector: string): string => `workspace_campaign:${metric}{${selector}}`;
/** A recorded series of accounts. */
export const account = (metric: string, selector: string): string => `workspace_account:${metric}{${selector}}`;
/** A recorded series of accounts within campaigns, of active campaigns only. */
export const pair = (metric: string, selector: string): string => `workspace_campaign_account:${metric}{${selector}}`;

/** Results of a message, and reasons of lost ones, as the label values are. */
export const OUTCOMES = ["delivered", "failed", "bounced"];
export const REASONS = ["account_issue", "invalid_lead", "rate_limited", "content_rejected", "other"];

/** Leaves only these labels, so that labels of the scrape target make no columns and no second series. */
export const max = (labels: string, expression: string): string => `max by (${labels}) (${expression})`;
export const sum = (labels: string, expression: string): string => `sum by (${labels}) (${expression})`;

/**
 * How much a gauge that counts messages grew in a window.
 *
 * Exact, where `delta` extrapolates. A series that is younger than the window, or has a gap at its beginning, counts from
 * its first value within it: a restart of Prometheus doesn't look like a burst. A message that was delivered and
 * bounced later leaves `delivered`, which counts as 0 here and not as a negative number.
 */
export const growth = (series: string, window: string): string =>
  `clamp_min(${series} - (${series} offset ${window} or min_over_time(${series}[${window}])), 0)`;

/** Growth of a counter or histogram of a process, per second. */
export const rate = (series: string): string => `rate(${series}[$__rate_interval])`;

/** The 99th percentile of a histogram. */
export const p99 = (labels: string, histogram: string): string =>
  `histogram_quantile(0.99, sum by (${["le", labels].filter(Boolean).join(", ")}) (${rate(`${histogram}_bucket`)}))`;

/** Keeps the few series by a label that took most time in the whole range: a fixed set, where `topk` alone changes at each point. */
export const busiest = (count: number, label: string, histogram: string): string =>
  `and on (${label}) topk(${count}, sum by (${label}) (increase(${histogram}_sum[$__range] @ end())))`;

/** Keeps campaigns that are active. */
export const onlyActive = (expression: string, selector: string): string =>
  `${expression} and on (workspace, campaign) (${campaign("campaign_state:max", `${selector}, state="active"`)} == 1)`;

/** The state of campaigns as a number: 1 active, 2 paused, 3 finished. `words.campaignStates` has the words. */
export const stateNumber = (selector: string): string => {
  const of = (state: string): string => campaign("campaign_state:max", `${selector}, state="${state}"`);
  return `sum by (workspace, campaign) (${of("active")} or 2 * ${of("paused")} or 3 * ${of("finished")})`;
};

/** 1 at the first evaluation after a series of 0 and 1 became 1. */
export const became = (series: string): string => `${series} == 1 and ${series} offset 1m == 0`;
