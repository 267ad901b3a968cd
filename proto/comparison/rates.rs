//! The rates that are compared, day by day, and the days on which they can count.

use std::collections::BTreeSet;

use jiff::{Timestamp, civil::Date, tz::TimeZone};

use crate::{
    history::{ComparedDay, ripe_on},
    rate::Rate,
    schedule::local_day,
    statistics::{Days, Interval, wilson},
};

/// What campaigns are compared by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// delivered / (delivered + failed + bounced) messages.
    Delivery,
    /// Leads that replied within the age / leads first contacted.
    Response,
    /// Leads that converted within the age / leads first contacted.
    Conversion,
}

impl Metric {
    /// All metrics.
    pub const ALL: [Self; 3] = [Self::Delivery, Self::Response, Self::Conversion];

    /// Returns the rate for people: `response rate within 7 days`.
    pub(super) fn name(self, age_days: u8) -> String {
        let at_age = |name: &str| format!("{name} within {age_days} day{}", if age_days == 1 { "" } else { "s" });
        match self {
            Self::Delivery => "delivery rate".to_owned(),
            Self::Response => at_age("response rate"),
            Self::Conversion => at_age("conversion rate"),
        }
    }

    /// Returns the rate of a day.
    fn rate(self, day: &ComparedDay) -> Rate {
        let (numerator, denominator) = match self {
            Self::Delivery => (day.delivered, day.messages()),
            Self::Response => (day.replied, day.contacted),
            Self::Conversion => (day.converted, day.contacted),
        };
        Rate { numerator, denominator }
    }
}

/// A rate of one campaign, with the days it consists of.
#[derive(Debug, Clone, PartialEq)]
pub struct ComparedRate {
    /// Which rate.
    pub metric: Metric,
    /// The days that count, each with a denominator above 0: the days of the results for delivery, otherwise the days
    /// of first contact.
    pub days: Days,
    /// Days of first contact whose leads have not all reached the age yet. Empty for delivery.
    pub young_days: BTreeSet<Date>,
    /// The sum over `days`.
    pub rate: Rate,
    /// Its 95 % interval; `None` when the denominator is 0.
    pub interval: Option<Interval>,
}

impl ComparedRate {
    /// Takes the rate from a history. Rows of one day add up.
    pub(super) fn of(metric: Metric, history: &[ComparedDay], age_days: u8, now: Timestamp) -> Self {
        let today = local_day(&TimeZone::UTC, now);
        let (mut days, mut young_days, mut sum) = (Days::new(), BTreeSet::new(), Rate::default());
        for of_day in history {
            let (day, rate) = (of_day.day, metric.rate(of_day));
            if rate.denominator <= 0 {
                continue;
            }
            if metric == Metric::Delivery || ripe_on(day, age_days.into()) <= today {
                *days.entry(day).or_default() += rate;
                sum += rate;
            } else {
                young_days.insert(day);
            }
        }
        Self { metric, days, young_days, rate: sum, interval: wilson(sum) }
    }
}

/// Returns the days with a message or a first contact.
pub(super) fn days_with_counts(history: &[ComparedDay]) -> BTreeSet<Date> {
    history.iter().filter(|of| of.contacted > 0 || of.messages() > 0).map(|of| of.day).collect()
}
