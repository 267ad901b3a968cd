//! Campaigns that run side by side and are compared every day, while `campaign-simulator` reports what happened since
//! the day before.

use campaign_metrics::{
    pb::{self, ComparisonVerdict, Metric},
    rate::Rate,
    statistics::{Days, FALSE_LEADER, ln_e},
};
use campaign_simulator::{
    args::Options,
    story::{Campaign, Event, tell},
};
use clap::Parser as _;
use jiff::{SignedDuration, Timestamp, ToSpan as _, civil::Date, tz::TimeZone};

use super::{FIRST_DAY, fill, simulate, start};
use crate::{
    harness::service::Service,
    world::{WORKSPACE, campaign_name, lead_name},
};

/// Days on which leads are contacted.
const DAYS: i64 = 25;
/// The age at which replies are compared, in days.
const AGE: i64 = 7;
/// Leads of each campaign.
const LEADS: usize = 2000;
/// The campaigns, and how they are answered: one twice as often as the others.
const CAMPAIGNS: [(&str, &str); 3] = [
    ("spring", "--reply-ratio 0.03 --reply-days 0.5"),
    ("summer", "--reply-ratio 0.06 --reply-days 1"),
    ("autumn", "--reply-ratio 0.03 --reply-days 2"),
];
const ACCOUNTS: [&str; 2] = ["anna", "bert"];

/// The past of a campaign, told without the service.
fn story(campaign: &str, arguments: &str) -> Vec<Event> {
    let line = format!("s --campaign {campaign} --first-day {FIRST_DAY} --days {DAYS} {arguments}");
    let options = Options::try_parse_from(line.split(' ')).expect("arguments");
    let lead = |number: usize| {
        let account = ACCOUNTS[number % ACCOUNTS.len()].parse().expect("an id");
        (lead_name(campaign, &format!("lead-{number}")), account)
    };
    let campaign = Campaign { steps: 1, follow_up_delay: SignedDuration::ZERO, leads: (0..LEADS).map(lead).collect() };
    tell(&options.past, first_day(), &options.behavior, &[campaign], Timestamp::MAX)
}

fn first_day() -> Date {
    FIRST_DAY.parse().expect("a day")
}

fn day_of(time: Timestamp) -> Date {
    time.to_zoned(TimeZone::UTC).date()
}

/// Counts the leads contacted on each day that have the age today, and those that replied within it.
fn at_equal_age(story: &[Event], today: Date) -> Days {
    let mut days = Days::new();
    let of_kind = |kind| story.iter().filter(move |event| event.outcome.kind() == kind);
    for contact in of_kind(pb::OutcomeKind::Delivered) {
        let day = day_of(contact.time);
        if day + (1 + AGE).days() <= today {
            let is_reply = |event: &Event| {
                event.outcome.lead == contact.outcome.lead
                    && event.time.duration_since(contact.time) <= SignedDuration::from_hours(24 * AGE)
            };
            let count = days.entry(day).or_insert(Rate { numerator: 0, denominator: 0 });
            count.numerator += i64::from(of_kind(pb::OutcomeKind::Replied).any(is_reply));
            count.denominator += 1;
        }
    }
    days
}

async fn compare(service: &Service, campaigns: [&str; 2]) -> pb::CampaignComparison {
    let request = pb::CompareCampaignsRequest {
        parent: WORKSPACE.into(),
        campaigns: campaigns.map(campaign_name).to_vec(),
        age_days: i32::try_from(AGE).expect("7"),
    };
    service.performance.clone().compare_campaigns(request).await.expect("an answer").into_inner()
}

fn of(comparison: &pb::CampaignComparison, metric: Metric) -> &pb::MetricComparison {
    comparison.comparisons.iter().find(|of| of.metric() == metric).expect("each metric is compared")
}

#[tokio::test]
async fn daily_comparisons_name_the_better_campaign_when_the_evidence_is_there_and_never_another() {
    let service = start("2026-06-01T12:00:00Z", &ACCOUNTS).await;
    for (campaign, _) in CAMPAIGNS {
        fill(&service, campaign, &ACCOUNTS, LEADS).await;
    }
    let stories = CAMPAIGNS.map(|(campaign, arguments)| story(campaign, arguments));
    let (mut since, mut named_on) = (String::new(), None);
    for at in 0..DAYS + AGE + 2 {
        let today = first_day() + at.days();
        let now = service.clock.now();
        assert_eq!(day_of(now), today);
        for (campaign, arguments) in CAMPAIGNS {
            simulate(&service, campaign, &format!("--days {DAYS} --until {now} {since} {arguments}")).await;
        }
        since = format!("--since {now}");
        let different = compare(&service, ["spring", "summer"]).await;
        let equal = compare(&service, ["spring", "autumn"]).await;
        let response = of(&different, Metric::Response);
        println!("{today}  {}", response.summary);

        let [spring, summer, _] = stories.each_ref().map(|story| at_equal_age(story, today));
        let is_shown = ln_e(&spring, &summer) >= (1.0 / FALSE_LEADER).ln();
        assert_eq!(response.verdict() == ComparisonVerdict::Leads, is_shown, "on {today}: {response:#?}");
        if is_shown {
            assert_eq!(response.front_runner, campaign_name("summer"), "{response:#?}");
            named_on.get_or_insert(today);
        } else if let Some(pair) = response.pairs.first() {
            assert!((pair.ln_e - ln_e(&spring, &summer)).abs() < 1e-9, "on {today}: {pair:?}");
        }
        for metric in [of(&equal, Metric::Response), of(&equal, Metric::Delivery), of(&different, Metric::Delivery)] {
            assert_ne!(metric.verdict(), ComparisonVerdict::Leads, "they are equal: on {today}: {metric:#?}");
        }
        service.clock.advance(std::time::Duration::from_hours(24));
    }
    // At 3 and 6 %, half of such pairs have a verdict from 760 leads each on, and nearly all from 2500 on.
    let named_on = named_on.expect("the leads are enough for a verdict");
    assert!(named_on >= first_day() + (AGE + 4).days(), "{named_on} is too early to be true");
}
