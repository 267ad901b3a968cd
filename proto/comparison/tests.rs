//! Which days count, every verdict with its sentence, what is missing for one, and what differs.

use jiff::{ToSpan as _, civil::date};

use super::*;
use crate::{
    campaign::{CampaignState, LeadCounts},
    history::ComparedDay,
    lead::Step,
    rate::Rate,
    statistics::{Needed, Verdict},
};

/// The first day of every fixture.
const START: Date = date(2026, 3, 2);

/// A time at which leads of the fixtures' days have reached every age.
fn later() -> Timestamp {
    "2026-06-01T00:00:00Z".parse().unwrap()
}

fn rate(numerator: i64, denominator: i64) -> Rate {
    Rate { numerator, denominator }
}

/// What happened on each day of a campaign: delivered and bounced messages, contacted leads, and of these the ones that
/// replied and converted.
#[derive(Clone, Copy)]
struct Daily {
    delivered: i64,
    bounced: i64,
    contacted: i64,
    replied: i64,
    converted: i64,
}

const DAILY: Daily = Daily { delivered: 240, bounced: 10, contacted: 200, replied: 8, converted: 3 };

fn row(day: Date, of: Daily) -> ComparedDay {
    let Daily { delivered, bounced, contacted, replied, converted } = of;
    ComparedDay { day, delivered, failed: 0, bounced, contacted, replied, converted }
}

/// A campaign that ran on some days from a day after the start on.
fn campaign(id: &str, from: i64, days: i64, of: Daily) -> ComparedCampaign {
    ComparedCampaign {
        name: format!("workspaces/acme/campaigns/{id}").parse().unwrap(),
        state: CampaignState::Active,
        steps: Step::new(2).unwrap(),
        lead_counts: LeadCounts { pending: 1000, ..LeadCounts::default() },
        accounts: ["ann", "bob"].map(|id| id.parse().unwrap()).to_vec(),
        days: (from..from + days).map(|day| row(START + day.days(), of)).collect(),
    }
}

fn verdicts(campaigns: &[ComparedCampaign], now: Timestamp) -> Vec<MetricComparison> {
    compare(campaigns.to_vec(), AGE_DEFAULT, now).verdicts
}

/// The verdict on response.
fn response(campaigns: &[ComparedCampaign], now: Timestamp) -> MetricComparison {
    verdicts(campaigns, now).swap_remove(1)
}

#[test]
fn a_day_counts_from_the_moment_at_which_its_youngest_lead_has_the_age() {
    for age in AGES {
        let at = START.saturating_add((1 + i64::from(age)).days()).to_zoned(jiff::tz::TimeZone::UTC).unwrap();
        let days = |now: Timestamp| {
            let of = compare(vec![campaign("spring", 0, 1, DAILY)], age, now).campaigns.swap_remove(0);
            of.rates.map(|rate| (rate.days.len(), rate.young_days.len()))
        };
        let at = at.timestamp();
        assert_eq!(days(at - 1.nanosecond()), [(1, 0), (0, 1), (0, 1)], "age {age}, too early");
        assert_eq!(days(at), [(1, 0); 3], "age {age}");
    }
}

#[test]
fn a_rate_is_the_sum_of_its_days() {
    let mut spring = campaign("spring", 0, 3, DAILY);
    // Another one on the first day; a day without counts.
    let other = Daily { delivered: 4, bounced: 1, contacted: 3, replied: 2, converted: 1 };
    spring.days.push(ComparedDay { failed: 7, ..row(START, other) });
    spring.days.push(row(START + 9.days(), Daily { delivered: 0, bounced: 0, contacted: 0, ..other }));
    // Follow-ups alone, on the last day.
    spring.days.push(row(START + 5.days(), Daily { contacted: 0, replied: 0, converted: 0, ..other }));
    let of = compare(vec![spring.clone()], AGE_DEFAULT, later()).campaigns.swap_remove(0);
    let [delivery, response, conversion] = &of.rates;
    assert_eq!((delivery.rate, delivery.days[&START]), (rate(728, 767), rate(244, 262)));
    assert_eq!((response.rate, response.days[&START]), (rate(26, 603), rate(10, 203)));
    assert_eq!(conversion.rate, rate(10, 603));
    assert_eq!(
        of.rates.each_ref().map(|rate| (rate.days.len(), rate.metric)),
        [(4, Metric::Delivery), (3, Metric::Response), (3, Metric::Conversion)]
    );
    assert!(response.interval.is_some_and(|of| of.lower < 26.0 / 603.0 && of.upper > 26.0 / 603.0));
    assert_eq!(of.first_and_last_day, Some((START, START + 5.days())));
}

#[test]
fn a_leader_is_named_with_the_difference_to_the_closest() {
    let good = Daily { replied: 16, bounced: 0, ..DAILY };
    let campaigns = [campaign("spring", 0, 10, DAILY), campaign("summer", 0, 10, good)];
    let of = response(&campaigns, later());
    assert_eq!((of.verdict, of.front_runner, of.pairs.len()), (Verdict::Leads, Some(1), 1));
    assert!((of.ln_threshold - 20_f64.ln()).abs() < 1e-12);
    assert_eq!(
        of.summary,
        "`summer` leads by response rate within 7 days, 4.0 points (95 % interval 2.5 to 5.5) above `spring`: \
         8.0 % (160 of 2000) against 4.0 % (80 of 2000)."
    );
    let poor = campaign("autumn", 0, 10, Daily { replied: 1, ..DAILY });
    let of = response(&[campaigns.to_vec(), vec![poor]].concat(), later());
    assert_eq!((of.verdict, of.front_runner, of.pairs.len()), (Verdict::Leads, Some(1), 2));
    assert!(of.summary.contains("above the closest, `spring`: 8.0 % (160 of 2000) against 4.0 %"), "{}", of.summary);
    let delivery = verdicts(&campaigns, later()).swap_remove(0);
    assert_eq!(delivery.verdict, Verdict::Leads);
    assert!(delivery.summary.starts_with("`summer` leads by delivery rate, 4.0 points"), "{}", delivery.summary);
    assert!(delivery.summary.ends_with("100 % (2400 of 2400) against 96.0 % (2400 of 2500)."), "{}", delivery.summary);
}

#[test]
fn without_a_verdict_the_slowest_pair_says_what_is_needed() {
    let near = campaign("summer", 0, 10, Daily { replied: 9, ..DAILY });
    let campaigns = [campaign("spring", 0, 10, DAILY), near.clone()];
    let of = response(&campaigns, later());
    let Verdict::NoDifferenceShown { needed: Some(Needed { leads, days }) } = of.verdict else { panic!("{of:?}") };
    assert_eq!(
        of.summary,
        format!(
            "No difference in response rate within 7 days is shown yet: on the days on which both ran, `summer` has \
             4.5 % (90 of 2000) and `spring` has 4.0 % (80 of 2000); at these rates a verdict takes about {leads} more \
             leads of both, {days} more days at the present pace."
        )
    );
    assert_eq!((of.front_runner, of.pairs[0].needed), (Some(1), Some(Needed { leads, days })));
    // A third one that is clearly worse is not the one that is missing.
    let third = campaign("autumn", 0, 10, Daily { replied: 0, ..DAILY });
    let of = response(&[third, campaigns[0].clone(), near], later());
    assert!(of.summary.contains("`summer` has 4.5 % (90 of 2000) and `spring` has"), "{}", of.summary);
    assert!(of.pairs[0].is_shown && !of.pairs[1].is_shown);
}

#[test]
fn equal_rates_have_no_verdict_in_sight() {
    let of = response(&[campaign("spring", 0, 9, DAILY), campaign("summer", 0, 9, DAILY)], later());
    assert_eq!((of.verdict, of.front_runner), (Verdict::NoDifferenceShown { needed: None }, Some(0)));
    assert!(of.summary.ends_with("`spring` has 4.0 % (72 of 1800) and `summer` has 4.0 % (72 of 1800); at these rates no verdict is in sight."), "{}", of.summary);
}

#[test]
fn campaigns_of_different_days_are_not_compared() {
    let (spring, summer) = (campaign("spring", 0, 9, DAILY), campaign("summer", 9, 9, Daily { replied: 30, ..DAILY }));
    let of = response(&[spring.clone(), summer.clone()], later());
    assert_eq!((of.verdict, of.front_runner), (Verdict::NeverAtTheSameTime, None));
    assert_eq!(of.pairs, [], "nobody is in front, so there is nothing to pair");
    assert_eq!(
        of.summary,
        "`spring` and `summer` never ran on the same day, so 4.0 % (72 of 1800) and 15.0 % (270 of 1800) are no fair \
         comparison by response rate within 7 days."
    );
    let of = response(&[spring.clone(), summer.clone(), campaign("autumn", 40, 1, DAILY)], later());
    assert_eq!((of.verdict, of.front_runner), (Verdict::NeverAtTheSameTime, None));
    assert!(of.summary.starts_with("No two of the campaigns ran on the same day"), "{}", of.summary);
    // One that beats all that it met.
    let poor = campaign("autumn", 9, 9, Daily { replied: 3, ..DAILY });
    let of = response(&[spring.clone(), summer.clone(), poor], later());
    assert_eq!((of.verdict, of.front_runner), (Verdict::NeverAtTheSameTime, Some(1)));
    assert!(
        of.summary
            .contains("`summer` is in front by response rate within 7 days, but never ran on the same day as `spring`"),
        "{}",
        of.summary
    );
    // One that beats nobody: both reasons are told.
    let near = campaign("autumn", 9, 9, Daily { replied: 29, ..DAILY });
    let of = response(&[spring, summer, near], later());
    assert_eq!((of.verdict, of.front_runner), (Verdict::NoDifferenceShown { needed: None }, Some(1)));
    assert!(
        of.summary.ends_with("`autumn` has 14.5 % (261 of 1800); `summer` never ran on the same day as `spring`."),
        "{}",
        of.summary
    );
}

#[test]
fn what_is_missing_and_can_still_come_is_named_with_its_day() {
    let at = |text: &str| format!("{text}T12:00:00Z").parse::<Timestamp>().unwrap();
    let (spring, idle) = (campaign("spring", 0, 9, DAILY), campaign("idle", 0, 0, DAILY));
    let late = campaign("late", 8, 1, DAILY);
    let cases: [(&[ComparedCampaign], Timestamp, [&str; 2]); 5] = [
        (
            &[idle.clone(), campaign("calm", 0, 0, DAILY)],
            later(),
            ["`idle` and `calm` have no message with a result yet", "`idle` and `calm` have contacted no lead yet"],
        ),
        (
            &[spring.clone(), idle.clone()],
            later(),
            ["`idle` has no message with a result yet", "`idle` has contacted no lead yet"],
        ),
        (
            &[spring.clone(), late.clone()],
            at("2026-03-12"),
            ["", "the first leads of `late` reach the age of 7 days on 2026-03-18"],
        ),
        (
            &[spring.clone(), late.clone()],
            at("2026-03-09"),
            ["", "the first leads of `spring` and `late` reach the age of 7 days on 2026-03-18"],
        ),
        // Both have leads that are old enough, but of different days.
        (
            &[
                campaign("spring", 1, 9, DAILY),
                ComparedCampaign {
                    days: [campaign("late", 0, 1, DAILY).days, late.days.clone()].concat(),
                    ..late.clone()
                },
            ],
            at("2026-03-12"),
            [
                "",
                "the leads of the first day on which `spring` and `late` both ran reach the age of 7 days on 2026-03-18",
            ],
        ),
    ];
    for (campaigns, now, [delivery, response]) in cases {
        for (of, missing) in verdicts(campaigns, now).into_iter().zip([delivery, response]) {
            if missing.is_empty() {
                continue;
            }
            let says = if of.metric == Metric::Delivery { "delivery rate" } else { "response rate within 7 days" };
            assert_eq!(of.verdict, Verdict::NoDifferenceShown { needed: None }, "{missing}");
            assert_eq!(of.summary, format!("No difference in {says} can be shown yet: {missing}."));
            assert_eq!((of.front_runner, of.pairs.len()), (None, 0), "{missing}");
        }
    }
    // The one that is missing does not hide who is in front among the rest.
    let better = campaign("summer", 0, 9, Daily { replied: 30, ..DAILY });
    let of = response(&[idle, spring, better], later());
    assert_eq!(
        (of.verdict, of.front_runner, of.pairs.len()),
        (Verdict::NoDifferenceShown { needed: None }, Some(2), 2)
    );
    assert!(of.summary.ends_with("`idle` has contacted no lead yet."), "{}", of.summary);
}

#[test]
fn the_day_that_is_missing_is_one_of_the_front_runner_unless_nobody_met() {
    let on = |id: &str, days: &[i64], of: Daily| ComparedCampaign {
        days: days.iter().map(|day| row(START + day.days(), of)).collect(),
        ..campaign(id, 0, 0, of)
    };
    // Days from 17 on are too young. The first two met, on old and on young days.
    let now = (START + 24.days()).to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp();
    let good = Daily { replied: 40, ..DAILY };
    let (first, second) = (on("first", &[0, 1, 2, 17, 20], good), on("second", &[0, 1, 2, 17, 18], DAILY));
    let third = on("third", &[12, 13, 18, 20], DAILY);
    let of = response(&[second.clone(), first, third.clone()], now);
    let says =
        "the leads of the first day on which `first` and `third` both ran reach the age of 7 days on 2026-03-30.";
    assert!(of.summary.ends_with(says), "{}", of.summary);
    assert_eq!((of.verdict, of.front_runner), (Verdict::NoDifferenceShown { needed: None }, Some(1)));
    // Nobody met, and the first one never will.
    let alone = on("alone", &[5, 6, 7], DAILY);
    let of = response(&[alone, second, third], now);
    let says =
        "the leads of the first day on which `second` and `third` both ran reach the age of 7 days on 2026-03-28.";
    assert!(of.summary.ends_with(says), "{}", of.summary);
}

#[test]
fn one_campaign_or_none_has_rates_but_no_verdict() {
    assert_eq!(verdicts(&[], later()), []);
    let of = compare(vec![campaign("spring", 0, 3, DAILY)], 7, later());
    assert_eq!((of.verdicts.len(), of.campaigns.len(), of.differences.len()), (0, 1, 0));
}

#[test]
fn every_edge_has_numbers_and_words() {
    let none = Daily { delivered: 0, bounced: 0, contacted: 0, replied: 0, converted: 0 };
    let one = Daily { delivered: 1, contacted: 1, ..none };
    let edges = [
        none,
        one,
        Daily { replied: 1, converted: 1, ..one },
        Daily { bounced: 9, ..none },
        Daily { delivered: 500, contacted: 500, replied: 500, converted: 500, ..none },
        Daily { delivered: 500, contacted: 500, ..none },
        Daily { delivered: 1 << 40, contacted: 1 << 40, replied: 1 << 40, ..none },
    ];
    for (age, first) in [(1, edges[0]), (30, edges[1])].into_iter().chain(edges.map(|edge| (14, edge))) {
        for second in edges {
            for (days, from) in [(1, 0), (3, 1), (0, 0)] {
                let campaigns = vec![campaign("a", 0, 2, first), campaign("b", from, days, second)];
                let of = compare(campaigns, age, later());
                let texts = of.verdicts.iter().map(|of| &of.summary).chain(&of.differences);
                for text in texts {
                    assert!(
                        !text.contains("NaN") && !text.contains("inf") && !text.contains("100 % (1 of 1)"),
                        "{text}"
                    );
                }
                let numbers = of.verdicts.iter().flat_map(|of| &of.pairs).flat_map(|pair| {
                    let difference = pair.difference;
                    [Some(pair.ln_e), difference.map(|of| of.estimate), difference.map(|of| of.interval.lower)]
                });
                assert!(numbers.flatten().all(f64::is_finite));
                for rate in of.campaigns.iter().flat_map(|of| &of.rates) {
                    assert_eq!(rate.interval.is_none(), rate.rate.denominator == 0);
                }
            }
        }
    }
}

#[test]
fn what_differs_is_told_and_what_is_equal_is_not() {
    let spring = campaign("spring", 0, 9, DAILY);
    let same = campaign("summer", 0, 9, DAILY);
    let told = |campaigns: &[ComparedCampaign]| compare(campaigns.to_vec(), 7, later()).differences;
    assert_eq!(told(&[spring.clone(), same.clone()]), [""; 0]);
    let other = ComparedCampaign {
        accounts: ["bob", "cas"].map(|id| id.parse().unwrap()).to_vec(),
        steps: Step::new(5).unwrap(),
        lead_counts: LeadCounts { sent: 70, failed: 4, pending: 3, partial: 2 },
        ..campaign("summer", 4, 9, Daily { bounced: 60, ..DAILY })
    };
    let expected = [
        "Days: both ran on 5 of 13 days; `spring` began on 2026-03-02, `summer` on 2026-03-06.",
        "Accounts: 1 of 3 accounts serves both.",
        "Leads: from 79 (`summer`) to 1000 (`spring`).",
        "Steps: from 2 (`spring`) to 5 (`summer`).",
        "Bounced messages: from 4.0 % (90 of 2250) (`spring`) to 20.0 % (540 of 2700) (`summer`).",
    ];
    assert_eq!(told(&[spring.clone(), other.clone()]), expected);
    assert_eq!(
        told(&[spring.clone(), other, same])[..2],
        [
            "Days: all of them ran on 5 of 13 days; `spring` began on 2026-03-02, `summer` on 2026-03-06.",
            "Accounts: 1 of 3 accounts serves all of them.",
        ]
    );
    // Within chance, bounces do not differ.
    assert_eq!(told(&[spring.clone(), campaign("summer", 0, 9, Daily { bounced: 11, ..DAILY })]), [""; 0]);
    let idle = told(&[spring, campaign("idle", 0, 0, DAILY)]);
    assert_eq!(idle, ["Days: `idle` sent nothing yet."]);
}
