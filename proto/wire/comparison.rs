//! Conversions of comparisons.

use jiff::{Timestamp, civil::Date};

use super::{rate, timestamp};
use crate::{
    comparison::{CampaignComparison, CampaignRates, ComparedRate, Metric, MetricComparison},
    name::AccountName,
    pb,
    statistics::{Interval, Pair, Verdict},
};

impl From<Metric> for pb::Metric {
    fn from(metric: Metric) -> Self {
        match metric {
            Metric::Delivery => Self::Delivery,
            Metric::Response => Self::Response,
            Metric::Conversion => Self::Conversion,
        }
    }
}

impl From<Interval> for pb::Interval {
    fn from(Interval { lower, upper }: Interval) -> Self {
        Self { lower, upper }
    }
}

/// Renders a comparison by what is known at `as_of`.
pub fn comparison(as_of: Timestamp, comparison: CampaignComparison) -> pb::CampaignComparison {
    let names: Vec<String> = comparison.campaigns.iter().map(|of| of.campaign.name.to_string()).collect();
    pb::CampaignComparison {
        as_of_time: Some(timestamp(as_of)),
        age_days: comparison.age_days.into(),
        basis: pb::ComparisonBasis::Observed.into(),
        comparisons: comparison.verdicts.into_iter().map(|of| verdict(&names, of)).collect(),
        campaigns: comparison.campaigns.into_iter().map(campaign).collect(),
        differences: comparison.differences,
    }
}

fn campaign(CampaignRates { campaign, first_and_last_day, rates }: CampaignRates) -> pb::ComparedCampaign {
    let (first_day, last_day) = first_and_last_day.unzip();
    let text = |day: Option<Date>| day.map(|day| day.to_string()).unwrap_or_default();
    let workspace = &campaign.name.workspace;
    let account_name = |account| AccountName { workspace: workspace.clone(), account }.to_string();
    pb::ComparedCampaign {
        campaign: campaign.name.to_string(),
        state: pb::CampaignState::from(campaign.state).into(),
        steps: campaign.steps.number().into(),
        lead_counts: Some(campaign.lead_counts.into()),
        accounts: campaign.accounts.into_iter().map(account_name).collect(),
        first_day: text(first_day),
        last_day: text(last_day),
        rates: rates.into_iter().map(compared_rate).collect(),
    }
}

fn compared_rate(of: ComparedRate) -> pb::ComparedRate {
    let days = of.days.into_iter().map(|(day, rate)| pb::DayRate {
        day: day.to_string(),
        numerator: rate.numerator,
        denominator: rate.denominator,
    });
    pb::ComparedRate {
        metric: pb::Metric::from(of.metric).into(),
        rate: Some(rate(of.rate)),
        interval: of.interval.map(Into::into),
        days: days.collect(),
    }
}

fn verdict(names: &[String], of: MetricComparison) -> pb::MetricComparison {
    let (verdict, needed) = match of.verdict {
        Verdict::Leads => (pb::ComparisonVerdict::Leads, None),
        Verdict::NoDifferenceShown { needed } => (pb::ComparisonVerdict::NoDifferenceShown, needed),
        Verdict::NeverAtTheSameTime => (pb::ComparisonVerdict::NeverAtTheSameTime, None),
    };
    let name = |place: usize| names.get(place).cloned().unwrap_or_default();
    let pair = |pair: Pair| pb::ComparedPair {
        other: name(pair.other),
        shared_days: pair.shared_days,
        front_runner_rate: Some(rate(pair.front_runner_rate)),
        other_rate: Some(rate(pair.other_rate)),
        difference: pair.difference.map(|difference| difference.estimate),
        difference_interval: pair.difference.map(|difference| difference.interval.into()),
        ln_e: pair.ln_e,
        shown: pair.is_shown,
    };
    pb::MetricComparison {
        metric: pb::Metric::from(of.metric).into(),
        verdict: verdict.into(),
        summary: of.summary,
        front_runner: of.front_runner.map(name).unwrap_or_default(),
        ln_threshold: of.ln_threshold,
        pairs: of.pairs.into_iter().map(pair).collect(),
        needed_leads: needed.map(|needed| needed.leads),
        needed_days: needed.map(|needed| needed.days),
    }
}
