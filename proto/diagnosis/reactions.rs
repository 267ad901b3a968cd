//! Low response and low conversion: certainly below what the workspace's other campaigns had, at equal age.
//!
//! A rate is low if its interval lies below 0.7 times the reference, whose own uncertainty counts too. Where no past is
//! large enough to compare with, it is low below a fixed bound.

use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};

use super::{
    facts::{AGES, CampaignFacts, RatesAtAge},
    finding::{Finding, FindingKind, OpenQuestion, Severity},
    pace::Pace,
    words::expected_by,
};
use crate::{
    campaign::CampaignState,
    history::{HistoryCounts, ripe_on},
    rate::{Rate, percent},
    schedule::local_day,
    statistics::wilson,
};

/// Part of the others' rate below which a rate is low: smaller differences between campaigns are usual.
const LOW_RATIO: f64 = 0.7;

/// Fewest leads of the other campaigns that make a past to compare with.
const PAST_LEADS_MIN: i64 = 1000;

/// What leads do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reaction {
    Response,
    Conversion,
}

impl Reaction {
    /// The bound where there is no past to compare with.
    fn least_usual(self) -> f64 {
        match self {
            Self::Response => 0.01,
            Self::Conversion => 0.001,
        }
    }

    fn kind(self) -> FindingKind {
        match self {
            Self::Response => FindingKind::LowResponse,
            Self::Conversion => FindingKind::LowConversion,
        }
    }

    fn verb(self) -> &'static str {
        match self {
            Self::Response => "replied",
            Self::Conversion => "converted",
        }
    }

    fn rate(self, counts: &HistoryCounts, age_days: usize) -> Rate {
        match self {
            Self::Response => counts.response_rate(age_days),
            Self::Conversion => counts.conversion_rate(age_days),
        }
    }

    /// What the other campaigns had at the age with this position in [`AGES`]; `None` if there are too few leads.
    fn reference(self, facts: &CampaignFacts, age: usize) -> Option<Rate> {
        let others = facts.others.get(age)?;
        let rate = match self {
            Self::Response => others.response,
            Self::Conversion => others.conversion,
        };
        (rate.denominator >= PAST_LEADS_MIN).then_some(rate)
    }

    fn action(self, is_none: bool) -> &'static str {
        match (self, is_none) {
            (Self::Response, false) => {
                "Test other message variants, improve the targeting, and refine the value proposition."
            }
            (Self::Response, true) => {
                "Check that replies are reported. If they are, test other message variants, improve the targeting, and \
                 refine the value proposition."
            }
            (Self::Conversion, false) => {
                "Optimize the handling of responses, improve the timing of follow-ups, and refine the booking process."
            }
            (Self::Conversion, true) => {
                "Check that conversions are reported. If they are, optimize the handling of responses, improve the timing \
                 of follow-ups, and refine the booking process."
            }
        }
    }
}

/// The sum of leads that are old enough for an age: contacted on days that ended at least so many days ago.
fn rate_at(facts: &CampaignFacts, reaction: Reaction, age_days: usize, today: Date) -> Rate {
    let rows = facts.sums.iter().filter(|row| row.day.is_some_and(|day| ripe_on(day, age_days) <= today));
    rows.map(|row| reaction.rate(&row.counts, age_days)).sum()
}

/// Returns response and conversion at each of [`AGES`].
pub(super) fn rates(facts: &CampaignFacts, now: Timestamp) -> [RatesAtAge; AGES.len()] {
    let today = local_day(&TimeZone::UTC, now);
    AGES.map(|age_days| RatesAtAge {
        response: rate_at(facts, Reaction::Response, age_days, today),
        conversion: rate_at(facts, Reaction::Conversion, age_days, today),
    })
}

/// Whether a rate is certainly low: the 95 % interval of `own - 0.7 reference` lies below 0, or without a reference that
/// of `own` below the bound.
///
/// Source: Zou and Donner 2008, Stat Med 27:1693, for the interval of such a difference.
fn is_low(own: Rate, reference: Option<Rate>, least_usual: f64) -> bool {
    let (Some(interval), Some(ratio)) = (wilson(own), own.ratio()) else { return false };
    let Some(reference) = reference else { return interval.upper < least_usual };
    let (Some(of_reference), Some(usual)) = (wilson(reference), reference.ratio()) else { return false };
    let distance = LOW_RATIO * usual - ratio;
    distance > (interval.upper - ratio).hypot(LOW_RATIO * (usual - of_reference.lower))
}

/// Finds low response and low conversion. Each is told once, at the smallest age at which it is certain.
pub(super) fn find(facts: &CampaignFacts, now: Timestamp) -> Vec<Finding> {
    let reactions = [Reaction::Response, Reaction::Conversion].into_iter();
    reactions.filter_map(|reaction| find_low(facts, reaction, now)).collect()
}

fn find_low(facts: &CampaignFacts, reaction: Reaction, now: Timestamp) -> Option<Finding> {
    (0..).zip(AGES).find_map(|(at, age_days)| {
        let own = rate_at(facts, reaction, age_days, local_day(&TimeZone::UTC, now));
        let reference = reaction.reference(facts, at);
        if !is_low(own, reference, reaction.least_usual()) {
            return None;
        }
        let of_leads = format!("{own} of the leads {} within {age_days} days of their first message", reaction.verb());
        let summary = match reference {
            Some(usual) => format!("{of_leads}; in the workspace's other campaigns {usual} did."),
            None => format!("{of_leads}, certainly less than {}.", percent(reaction.least_usual())),
        };
        let action = reaction.action(own.numerator == 0);
        let mut finding = Finding::new(reaction.kind(), Severity::Warning, summary, action);
        finding.share = Some(own);
        finding.reference = reference;
        finding.age_days = Some(age_days);
        Some(finding)
    })
}

/// Returns what can't be said about response and conversion yet: with fewer leads, not even no reply at all would be low.
pub(super) fn open_questions(facts: &CampaignFacts, now: Timestamp) -> Vec<OpenQuestion> {
    let reactions = [Reaction::Response, Reaction::Conversion].into_iter();
    reactions.filter_map(|reaction| open_question(facts, reaction, now)).collect()
}

fn open_question(facts: &CampaignFacts, reaction: Reaction, now: Timestamp) -> Option<OpenQuestion> {
    let age_days = AGES[0];
    let have = rate_at(facts, reaction, age_days, local_day(&TimeZone::UTC, now)).denominator;
    let need = leads_needed(reaction.reference(facts, 0), reaction.least_usual())?;
    if have >= need {
        return None;
    }
    let expected = expected(facts, need, age_days, now);
    let when = expected_by(expected);
    let summary = format!(
        "Whether too few leads {} can't be said yet: {have} of the {need} leads that are needed were first contacted at \
         least {age_days} days ago; {when}.",
        match reaction {
            Reaction::Response => "reply",
            Reaction::Conversion => "convert",
        }
    );
    Some(OpenQuestion { kind: reaction.kind(), summary, have, need, expected })
}

/// The fewest leads of which none reacts that are certainly low; `None` if no number is, because no other lead reacts.
fn leads_needed(reference: Option<Rate>, least_usual: f64) -> Option<i64> {
    let is_enough = |leads: i64| is_low(Rate { numerator: 0, denominator: leads }, reference, least_usual);
    let most = 1_i64 << 40;
    if !is_enough(most) {
        return None;
    }
    let (mut too_few, mut enough) = (0, most);
    while enough - too_few > 1 {
        let middle = too_few + (enough - too_few) / 2;
        if is_enough(middle) { enough = middle } else { too_few = middle }
    }
    Some(enough)
}

/// When so many leads will be old enough: those that are contacted already, then more at the present pace.
fn expected(facts: &CampaignFacts, need: i64, age_days: usize, now: Timestamp) -> Option<Timestamp> {
    let contacted: Vec<(Date, i64)> =
        facts.sums.iter().filter_map(|row| row.day.map(|day| (day, row.counts.contacted))).collect();
    let mut leads = 0;
    for &(day, more) in &contacted {
        leads += more;
        if leads >= need {
            return begin(ripe_on(day, age_days));
        }
    }
    let is_too_short = facts.lead_list_complete && facts.lead_counts.pending < need - leads;
    if facts.state != CampaignState::Active || is_too_short {
        return None;
    }
    let wait = Pace::of(&contacted, local_day(&TimeZone::UTC, now)).time_for(need - leads)?;
    let age = SignedDuration::from_hours(24 * i64::try_from(age_days + 1).ok()?);
    now.checked_add(wait).ok()?.checked_add(age).ok()
}

/// The first moment of a UTC day.
fn begin(day: Date) -> Option<Timestamp> {
    day.to_zoned(TimeZone::UTC).ok().map(|begin| begin.timestamp())
}
