//! History for people: totals in a sentence, sparklines over all days, then a line for each day or account.

use std::collections::BTreeMap;

use campaign_metrics::{pb, wire};
use jiff::{ToSpan as _, civil::Date, tz::TimeZone};

use super::chart::{Marks, merge};
use crate::view::{Align, Grid, WIDTH, counted, failures, id, or_dash, second, share, some_text, wrap};

/// Days that the service shows by default.
const DAYS: i32 = 30;
/// Most marks of a sparkline that has a line of its own.
const ALONE: usize = 40;
/// Fewest and most marks of each of the two sparklines beside the numbers of an account.
const BESIDE: [usize; 2] = [4, 15];
/// Most characters of an account's name beside sparklines, and fewest.
const NAME: [usize; 2] = [12, 20];
/// Fewest and most marks of a bar. It is as wide as the rest of the line allows.
const BAR: [usize; 2] = [6, 24];

/// What happened to something.
#[derive(Debug, Clone, Copy)]
pub struct Past<'a> {
    /// The group of commands that it belongs to: `campaigns` or `accounts`.
    pub command: &'static str,
    /// Its id.
    pub id: &'a str,
    /// The first day that was asked for.
    pub first: Option<Date>,
    /// The last day that was asked for.
    pub last: Option<Date>,
    /// When the counts were read.
    pub as_of: Option<&'a prost_types::Timestamp>,
    /// The days that have counts, in order; several of the same day by account.
    pub days: &'a [pb::HistoryDay],
    /// Corrections that belong to no day.
    pub corrections: Option<&'a pb::HistoryCounts>,
}

/// What has a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// Each day.
    Days,
    /// Each account.
    Accounts,
}

/// Counts that add up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sum {
    delivered: i64,
    failed: i64,
    bounced: i64,
    leads: i64,
    replied: i64,
    converted: i64,
}

impl Sum {
    fn of(counts: &pb::HistoryCounts) -> Self {
        let all = |reasons: &[pb::ReasonCount]| reasons.iter().map(|reason| reason.count).sum();
        Self {
            delivered: counts.delivered,
            failed: all(&counts.failed),
            bounced: all(&counts.bounced),
            leads: counts.contacted_leads,
            replied: counts.replied_leads_by_age.iter().sum(),
            converted: counts.converted_leads_by_age.iter().sum(),
        }
    }

    fn add(&mut self, other: Self) {
        self.delivered += other.delivered;
        self.failed += other.failed;
        self.bounced += other.bounced;
        self.leads += other.leads;
        self.replied += other.replied;
        self.converted += other.converted;
    }

    fn lost(self) -> i64 {
        self.failed + self.bounced
    }

    fn messages(self) -> i64 {
        self.delivered + self.lost()
    }

    #[expect(clippy::cast_precision_loss, reason = "a share for people")]
    fn delivery(self) -> String {
        or_dash((self.messages() > 0).then(|| share(self.delivered as f64 / self.messages() as f64)))
    }

    fn cells(self) -> [String; 6] {
        [self.delivered, self.failed, self.bounced, self.leads, self.replied, self.converted]
            .map(|count| count.to_string())
    }
}

/// A day, the resource name of the account, and the counts.
type Day<'a> = (Date, &'a str, Sum);

fn sum(days: &[Day<'_>]) -> Sum {
    let mut total = Sum::default();
    for (_, _, sum) in days {
        total.add(*sum);
    }
    total
}

/// Heads of [`Sum::cells`].
const HEADS: [&str; 6] = ["DELIVERED", "FAILED", "BOUNCED", "LEADS", "REPLIED", "CONVERTED"];

/// Renders a history.
pub fn text(past: &Past<'_>, shown: Shown, marks: Marks) -> String {
    let days: Vec<Day<'_>> = past
        .days
        .iter()
        .filter_map(|day| {
            Some((day.day.parse().ok()?, day.account.as_str(), Sum::of(day.counts.as_ref().unwrap_or(&NOTHING))))
        })
        .collect();
    let axis = axis(past, &days);
    let between = match axis.as_slice() {
        [first, .., last] => format!(" from {first} to {last}"),
        [only] => format!(" on {only}"),
        [] => String::new(),
    };
    let as_of = second(past.as_of).map(|time| format!(" (as of {time})")).unwrap_or_default();
    let total = sum(&days);
    let mut blocks = if days.is_empty() {
        vec![wrap("", &format!("Nothing happened in {}{between}{as_of}.", past.id))]
    } else {
        let messages = counted(total.messages(), "message");
        let head = format!("{}{between}: {messages}, {} delivered{as_of}.", past.id, total.delivery());
        let rows = match shown {
            Shown::Days => by_day(&days, &axis, total, marks),
            Shown::Accounts => by_account(&days, &axis, total, marks),
        };
        vec![wrap("", &head), rows]
    };
    blocks.extend(all_failures(past.days).map(|failures| wrap("Failed or bounced: ", &failures)));
    blocks.extend(past.corrections.map(|counts| wrap("", &corrections(Sum::of(counts)))));
    if days.is_empty() || total.lost() > 0 {
        blocks.push(format!("Find out why: campaignctl {} diagnose {}\n", past.command, past.id));
    }
    blocks.join("\n")
}

static NOTHING: pb::HistoryCounts = pb::HistoryCounts {
    delivered: 0,
    failed: Vec::new(),
    bounced: Vec::new(),
    contacted_leads: 0,
    replied_leads_by_age: Vec::new(),
    converted_leads_by_age: Vec::new(),
};

/// All days that were asked for, also those without counts, which the service leaves out. Days that it returns besides
/// widen them.
fn axis(past: &Past<'_>, days: &[Day<'_>]) -> Vec<Date> {
    let today = past.as_of.and_then(|time| wire::parse_timestamp("", *time).ok());
    let today = today.map(|time| time.to_zoned(TimeZone::UTC).date());
    let (shown_first, shown_last) = (days.first().map(|day| day.0), days.last().map(|day| day.0));
    let last = past.last.or(today).max(shown_last);
    let first = past.first.or_else(|| last?.checked_sub((DAYS - 1).days()).ok());
    let first = [first, shown_first].into_iter().flatten().min();
    let (Some(first), Some(last)) = (first, last) else { return Vec::new() };
    first.series(1.day()).take_while(|day| *day <= last).collect()
}

/// Puts the sums on all days of the axis.
fn values(axis: &[Date], days: &[Day<'_>], value: impl Fn(Sum) -> i64) -> Vec<i64> {
    let mut by_day: BTreeMap<Date, i64> = BTreeMap::new();
    for (day, _, sum) in days {
        *by_day.entry(*day).or_default() += value(*sum);
    }
    axis.iter().map(|day| by_day.get(day).copied().unwrap_or_default()).collect()
}

/// One line for each count: a mark for each day, and the largest.
fn sparklines(days: &[Day<'_>], axis: &[Date], marks: Marks) -> String {
    let line = |label: &str, values: Vec<i64>| {
        let (sums, _) = merge(&values, ALONE);
        let max = sums.iter().copied().max().unwrap_or_default().max(0);
        format!("{label:17}  {}  at most {max}\n", marks.sparkline(&sums, max))
    };
    let size = axis.len().div_ceil(ALONE);
    [
        line("Delivered", values(axis, days, |sum| sum.delivered)),
        line("Failed or bounced", values(axis, days, Sum::lost)),
        line("Leads contacted", values(axis, days, |sum| sum.leads)),
        if size > 1 { format!("Each mark is {}.\n\n", counted_days(size)) } else { "\n".to_owned() },
    ]
    .concat()
}

fn by_day(days: &[Day<'_>], axis: &[Date], total: Sum, marks: Marks) -> String {
    let mut text = if marks == Marks::None { String::new() } else { sparklines(days, axis, marks) };
    let heads = HEADS.map(|head| (head, Align::Right));
    let mut columns = vec![("DAY", Align::Left)];
    columns.extend(heads);
    let mut numbers = Grid::new(columns.clone());
    let row = |day: String, sum: Sum| [day].into_iter().chain(sum.cells());
    for (day, _, sum) in days {
        numbers.row(row(day.to_string(), *sum));
    }
    numbers.row(row("TOTAL".to_owned(), total));
    // The bars are as wide as the rest of the line allows.
    let taken = numbers.text(0).lines().map(str::len).max().unwrap_or_default();
    let width = WIDTH.saturating_sub(taken + 2).min(BAR[1]);
    if marks == Marks::None || width < BAR[0] {
        return text + &numbers.text(0);
    }
    columns.push(("", Align::Left));
    let mut grid = Grid::new(columns);
    let max = days.iter().map(|(_, _, sum)| sum.messages()).max().unwrap_or_default();
    for (day, _, sum) in days {
        let bar = marks.bar([sum.delivered, sum.lost()], max, width);
        grid.row(row(day.to_string(), *sum).chain([bar]));
    }
    grid.row(row("TOTAL".to_owned(), total).chain([String::new()]));
    text += &grid.text(0);
    text
}

fn by_account(days: &[Day<'_>], axis: &[Date], total: Sum, marks: Marks) -> String {
    let mut accounts: BTreeMap<&str, Vec<Day<'_>>> = BTreeMap::new();
    for day in days {
        accounts.entry(day.1).or_default().push(*day);
    }
    let name = |account: &str| some_text(id(account)).unwrap_or("(no account)").to_owned();
    let numbers =
        |sum: Sum| [sum.messages().to_string(), sum.delivery(), sum.leads.to_string(), sum.replied.to_string()];
    let heads = ["MESSAGES", "DELIVERY", "LEADS", "REPLIED"].map(|head| (head, Align::Right));
    // The sparklines are as wide as the rest of the line allows.
    let mut taken = Grid::new(heads);
    taken.row(numbers(total));
    let taken = taken.text(0).lines().map(str::len).max().unwrap_or_default();
    let longest = accounts.keys().map(|account| name(account).len()).max().unwrap_or_default();
    let rest = WIDTH.saturating_sub(longest.clamp(NAME[0], NAME[1]) + taken + 6);
    let width = (rest / 2).clamp(BESIDE[0], BESIDE[1]);

    let is_drawn = marks != Marks::None;
    let lines = [("DELIVERED", Align::Left), ("LOST", Align::Left)];
    let columns = [("ACCOUNT", Align::Name)].into_iter().chain(heads);
    let mut grid = Grid::new(columns.chain(lines.into_iter().filter(|_| is_drawn)));
    for (account, days) in &accounts {
        let sum = sum(days);
        let [delivered, lost] =
            [|sum: Sum| sum.delivered, Sum::lost].map(|value| merge(&values(axis, days, value), width).0);
        // Both have the scale of the account, so that a day on which everything failed looks like a full one.
        let max = delivered.iter().chain(&lost).copied().max().unwrap_or_default().max(0);
        let charts = [delivered, lost].into_iter().filter(|_| is_drawn).map(|sums| marks.sparkline(&sums, max));
        grid.row([name(account)].into_iter().chain(numbers(sum)).chain(charts));
    }
    let blank = lines.into_iter().filter(|_| is_drawn).map(|_| String::new());
    grid.row(["TOTAL".to_owned()].into_iter().chain(numbers(total)).chain(blank));
    let size = counted_days(axis.len().div_ceil(width).max(1));
    let note = format!("LOST: failed or bounced. Each mark is {size}; every account has its own scale.");
    grid.text(0) + &if is_drawn { format!("\n{}", wrap("", &note)) } else { String::new() }
}

fn counted_days(size: usize) -> String {
    counted(i64::try_from(size).unwrap_or(i64::MAX), "day")
}

/// Failures and bounces of all days by reason, the most frequent first.
fn all_failures(days: &[pb::HistoryDay]) -> Option<String> {
    let mut by_reason: BTreeMap<i32, i64> = BTreeMap::new();
    for counts in days.iter().filter_map(|day| day.counts.as_ref()) {
        for reason in counts.failed.iter().chain(&counts.bounced) {
            *by_reason.entry(reason.reason).or_default() += reason.count;
        }
    }
    let mut counts: Vec<_> = by_reason.into_iter().map(|(reason, count)| pb::ReasonCount { reason, count }).collect();
    counts.sort_by_key(|reason| -reason.count);
    failures(&counts)
}

fn corrections(sum: Sum) -> String {
    let parts: Vec<String> = HEADS
        .iter()
        .zip([sum.delivered, sum.failed, sum.bounced, sum.leads, sum.replied, sum.converted])
        .filter(|(_, count)| *count != 0)
        .map(|(head, count)| format!("{} {count:+}", head.to_lowercase()))
        .collect();
    format!(
        "Corrections to days whose outcomes are no longer in the log, so that they belong to no day: {}.",
        parts.join(", ")
    )
}

#[cfg(test)]
#[path = "history/tests.rs"]
mod tests;
