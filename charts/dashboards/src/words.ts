// Colours, and the words that people read for the values of closed sets (states, reasons, outcomes).
//
// Colours: blue is well, orange is worse, red is bad, grey says nothing. Blue and orange differ for every kind of colour
// blindness, and no meaning rests on colour alone: words or numbers stand beside it. All are names of Grafana, which has
// a shade of each for light and for dark pages.

import * as dashboard from "@grafana/grafana-foundation-sdk/dashboard";

export const WELL = "blue";
export const WORSE = "orange";
export const BAD = "semi-dark-red";
export const QUIET = "#808080";

/** Colour of each outcome, status and reason in graphs. */
export const COLOURS: Record<string, string> = {
  delivered: "blue",
  failed: "orange",
  bounced: "semi-dark-red",
  sent: "blue",
  partial: "super-light-blue",
  pending: QUIET,
  account_issue: "semi-dark-red",
  invalid_lead: "orange",
  rate_limited: "yellow",
  content_rejected: "purple",
  other: QUIET,
  applied: "blue",
  duplicate: QUIET,
  rejected: "semi-dark-red",
};

/** Each word of a closed set as people read it. */
const WORDS: Record<string, string> = {
  active: "Active",
  paused: "Paused",
  finished: "Finished",
  suspended: "Suspended",
  account_issue: "Account issue",
  invalid_lead: "Invalid lead",
  rate_limited: "Rate limited",
  content_rejected: "Content rejected",
  other: "Other",
  sent: "Sent",
  failed: "Failed",
  partial: "Partial",
  pending: "Pending",
  delivered: "Delivered",
  bounced: "Bounced",
  replied: "Replied",
  converted: "Converted",
  auto_replied: "Auto-replied",
  opted_out: "Opted out",
};

/** What each reason for not sending means, and what helps. */
const NOT_SENDING: Record<string, [text: string, colour: string]> = {
  paused: ["Paused: resume it", QUIET],
  finished: ["Finished: nothing more to send", QUIET],
  outside_active_hours: ["Outside active hours: wait, or change them", QUIET],
  campaign_daily_limit: ["Daily limit used up: wait, or raise it", WORSE],
  account_daily_limit: ["Limits of its accounts used up: wait, raise, or add one", WORSE],
  account_suspended: ["Its accounts are suspended: reinstate or add one", BAD],
  no_account_assigned: ["No account: add one", BAD],
  account_removed: ["Leads wait for a removed account: reassign them", BAD],
  no_lead_due: ["No lead is due: wait, or add leads", QUIET],
  uncertain_claims: ["Uncertain claims: report or resolve them", WORSE],
};

function texts(entries: [string, string, string?][]): dashboard.ValueMapping {
  const options = Object.fromEntries(
    entries.map(([value, text, color], index) => [value, { text, index, ...(color ? { color } : {}) }]),
  );
  return { type: dashboard.MappingType.ValueToText, options };
}

/** Maps the words of labels (states, reasons of failures) to plain English. */
export const inWords = texts(Object.entries(WORDS).map(([value, text]) => [value, text]));

/** Maps reasons for not sending to what they mean and what helps. */
export const whyNotSending = texts(Object.entries(NOT_SENDING).map(([value, [text, colour]]) => [value, text, colour]));

/** Maps 1, 2, 3 of `promql.stateNumber` to the state of a campaign. */
export const campaignStates = texts([
  ["1", "Active", WELL],
  ["2", "Paused", WORSE],
  ["3", "Finished", QUIET],
]);

/** Maps 0 and 1 to the state of an account. */
export const accountStates = texts([
  ["1", "Active", WELL],
  ["0", "Suspended", BAD],
]);

/** Maps 0 and 1 to no and yes, of which yes is well. */
export const yesIsWell = texts([
  ["1", "Yes", WELL],
  ["0", "No", BAD],
]);

/** Says in grey that there is no value. */
export function nothing(text: string): dashboard.ValueMapping {
  return {
    type: dashboard.MappingType.SpecialValue,
    options: { match: dashboard.SpecialValueMatch.NullAndNan, result: { text, color: QUIET } },
  };
}

/** Labels of a graph's series in plain English. */
export function inPlainWords(label: string): string {
  return WORDS[label] ?? label.charAt(0).toUpperCase() + label.slice(1);
}
