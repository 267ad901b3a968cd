//! The verdict on one metric, and its sentence for people.
//!
//! Where a verdict can't be made, the sentence names what is missing: a campaign without data, leads that are too young,
//! or a day on which both ran.

use jiff::civil::Date;

use super::{
    rates::{ComparedRate, Metric},
    wording::{count, list, points},
};
use crate::{
    history::ripe_on,
    statistics::{Comparison, Days, Needed, Pair, Verdict, compare, compare_by_failures},
};

/// Which campaign is better by one metric. Positions are those in the list of campaigns.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricComparison {
    /// The metric.
    pub metric: Metric,
    /// What can be said.
    pub verdict: Verdict,
    /// The campaign with the higher rate in most pairs, of equals the first; `None` if no two ran on a day that counts.
    pub front_runner: Option<usize>,
    /// ln e from which a difference is shown.
    pub ln_threshold: f64,
    /// The front-runner against every other one. Empty without a front-runner.
    pub pairs: Vec<Pair>,
    /// For people: the verdict in one sentence.
    pub summary: String,
}

impl MetricComparison {
    /// Compares campaigns by the rates of one metric; `None` with fewer than two.
    pub(super) fn of(metric: Metric, names: &[&str], rates: &[&ComparedRate], age_days: u8) -> Option<Self> {
        let days: Vec<Days> = rates.iter().map(|rate| rate.days.clone()).collect();
        let comparison = match metric {
            Metric::Delivery => compare_by_failures(&days),
            Metric::Response | Metric::Conversion => compare(&days),
        }?;
        let sentences = Sentences { metric, names, rates, age_days, comparison: &comparison };
        let missing = sentences.missing();
        let (verdict, summary) = match (comparison.verdict, missing) {
            (Verdict::Leads, _) => (Verdict::Leads, sentences.leads()),
            // What is missing can still come: it is too early to say that they never ran at the same time.
            (_, Some(missing)) => {
                let summary = format!("No difference in {} can be shown yet: {missing}.", metric.name(age_days));
                (Verdict::NoDifferenceShown { needed: None }, summary)
            }
            (Verdict::NeverAtTheSameTime, None) => (Verdict::NeverAtTheSameTime, sentences.never()),
            (Verdict::NoDifferenceShown { needed }, None) => (comparison.verdict, sentences.not_shown(needed)),
        };
        let has_met = sentences.has_met();
        let Comparison { front_runner, ln_threshold, pairs, .. } = comparison;
        let (front_runner, pairs) = if has_met { (Some(front_runner), pairs) } else { (None, Vec::new()) };
        Some(Self { metric, verdict, front_runner, ln_threshold, pairs, summary })
    }
}

/// What the sentences are made from.
struct Sentences<'a> {
    metric: Metric,
    names: &'a [&'a str],
    rates: &'a [&'a ComparedRate],
    age_days: u8,
    comparison: &'a Comparison,
}

impl Sentences<'_> {
    fn front_runner(&self) -> &str {
        self.names[self.comparison.front_runner]
    }

    /// Whether any two ran on the same day.
    fn has_met(&self) -> bool {
        self.comparison.pairs.iter().any(|pair| pair.shared_days > 0)
    }

    /// Names the campaigns whose rate meets a condition; `None` if there are none.
    fn those(&self, condition: impl Fn(&ComparedRate) -> bool) -> Option<Those> {
        let places = 0..self.names.len();
        let names: Vec<&str> = places.filter(|&place| condition(self.rates[place])).map(|at| self.names[at]).collect();
        (!names.is_empty()).then(|| Those { names: list(&names), have: if names.len() == 1 { "has" } else { "have" } })
    }

    /// Returns what is missing for a verdict and will come if the campaigns go on; `None` if nothing is.
    fn missing(&self) -> Option<String> {
        if let Some(Those { names, have }) = self.those(|rate| rate.days.is_empty() && rate.young_days.is_empty()) {
            return Some(match self.metric {
                Metric::Delivery => format!("{names} {have} no message with a result yet"),
                Metric::Response | Metric::Conversion => format!("{names} {have} contacted no lead yet"),
            });
        }
        let age = count(self.age_days.into(), "day");
        if let Some(Those { names, .. }) = self.those(|rate| rate.days.is_empty()) {
            let first_days = self.rates.iter().filter(|rate| rate.days.is_empty());
            let last = first_days.filter_map(|rate| rate.young_days.first()).max()?;
            let from = ripe_on(*last, self.age_days.into());
            return Some(format!("the first leads of {names} reach the age of {age} on {from}"));
        }
        let (first, second, day) = self.young_meeting()?;
        let (first, second) = (self.names[first], self.names[second]);
        let from = ripe_on(day, self.age_days.into());
        Some(format!(
            "the leads of the first day on which {first} and {second} both ran reach the age of {age} on {from}"
        ))
    }

    /// Finds the first day on which two ran that have no shared day that counts, and whose leads are too young. If no
    /// two have a day that counts, any two can be these; otherwise one of them is the front-runner.
    fn young_meeting(&self) -> Option<(usize, usize, Date)> {
        let all = 0..self.rates.len();
        let front_runner = self.comparison.front_runner;
        let firsts = if self.has_met() { front_runner..front_runner + 1 } else { all.clone() };
        let pairs = firsts.flat_map(|first| all.clone().map(move |second| (first, second)));
        let meetings = pairs.filter(|(first, second)| first != second).filter_map(|(first, second)| {
            let (one, other) = (self.rates[first], self.rates[second]);
            if one.days.keys().any(|day| other.days.contains_key(day)) {
                return None;
            }
            one.young_days.iter().find(|day| other.young_days.contains(*day)).map(|day| (first, second, *day))
        });
        meetings.min_by_key(|(_, _, day)| *day)
    }

    fn leads(&self) -> String {
        let by_difference = |pair: &&Pair| pair.difference.map_or(0.0, |difference| difference.estimate);
        let closest =
            self.comparison.pairs.iter().min_by(|one, other| by_difference(one).total_cmp(&by_difference(other)));
        let metric = self.metric.name(self.age_days);
        let Some((pair, difference)) = closest.and_then(|pair| Some((pair, pair.difference?))) else {
            return format!("{} leads by {metric}.", self.front_runner());
        };
        format!(
            "{} leads by {metric}, {} above {}{}: {} against {}.",
            self.front_runner(),
            points(difference),
            if self.names.len() > 2 { "the closest, " } else { "" },
            self.names[pair.other],
            pair.front_runner_rate,
            pair.other_rate,
        )
    }

    /// The names of those that the front-runner never met; `None` if it met all.
    fn unmet(&self) -> Option<String> {
        let unmet = self.comparison.pairs.iter().filter(|pair| pair.shared_days == 0);
        let names: Vec<&str> = unmet.map(|pair| self.names[pair.other]).collect();
        (!names.is_empty()).then(|| list(&names))
    }

    fn never(&self) -> String {
        let metric = self.metric.name(self.age_days);
        match (self.names, self.rates) {
            ([first, second], [one, other]) => format!(
                "{first} and {second} never ran on the same day, so {} and {} are no fair comparison by {metric}.",
                one.rate, other.rate
            ),
            _ if self.has_met() => format!(
                "{} is in front by {metric}, but never ran on the same day as {}, so they can't be compared fairly.",
                self.front_runner(),
                self.unmet().unwrap_or_default(),
            ),
            _ => format!("No two of the campaigns ran on the same day, so no comparison by {metric} is fair."),
        }
    }

    fn not_shown(&self, needed: Option<Needed>) -> String {
        let metric = self.metric.name(self.age_days);
        let undecided = self.comparison.pairs.iter().filter(|pair| !pair.is_shown && pair.shared_days > 0);
        let slowest = undecided.max_by_key(|pair| pair.needed.map_or((i64::MAX, i64::MAX), |n| (n.days, n.leads)));
        let Some(pair) = slowest else {
            return format!("No difference in {metric} is shown yet.");
        };
        let outlook = match (needed, self.unmet()) {
            (Some(Needed { leads, days }), _) => {
                let thing = if self.metric == Metric::Delivery { "more message" } else { "more lead" };
                let (leads, days) = (count(leads, thing), count(days, "more day"));
                format!("at these rates a verdict takes about {leads} of both, {days} at the present pace")
            }
            (None, Some(unmet)) => format!("{} never ran on the same day as {unmet}", self.front_runner()),
            (None, None) => "at these rates no verdict is in sight".to_owned(),
        };
        format!(
            "No difference in {metric} is shown yet: on the days on which both ran, {} has {} and {} has {}; {outlook}.",
            self.front_runner(),
            pair.front_runner_rate,
            self.names[pair.other],
            pair.other_rate,
        )
    }
}

/// Campaigns by name, and the verb that follows.
struct Those {
    names: String,
    have: &'static str,
}
