//! Pasts that are told, and told again.

use std::collections::BTreeSet;

use clap::Parser as _;
use jiff::civil::date;

use super::*;
use crate::args::Options;

const FIRST_DAY: Date = date(2026, 6, 1);

/// Tells the past of a campaign with so many leads, whose accounts take turns.
fn told(arguments: &str, steps: i32, leads: usize) -> Vec<Event> {
    let line = format!("s --campaign spring --first-day {FIRST_DAY} {arguments}");
    let options = Options::try_parse_from(line.split_whitespace()).unwrap();
    let lead = |number: usize| {
        let account = ["ann", "bob", "eve"][number % 3].parse().unwrap();
        (format!("workspaces/w/campaigns/spring/leads/lead-{number}"), account)
    };
    let campaign =
        Campaign { steps, follow_up_delay: SignedDuration::from_hours(48), leads: (0..leads).map(lead).collect() };
    let until = options.past.until.unwrap_or(Timestamp::MAX);
    tell(&options.past, FIRST_DAY, &options.behavior, &[campaign], until)
}

fn of_step(events: &[Event], step: i32) -> Vec<&Event> {
    events.iter().filter(|event| event.outcome.step == step).collect()
}

fn count(events: &[Event], is_it: impl Fn(&pb::Outcome) -> bool) -> usize {
    events.iter().filter(|event| is_it(&event.outcome)).count()
}

fn day(event: &Event) -> Date {
    event.time.to_zoned(TimeZone::UTC).date()
}

#[test]
fn every_lead_is_contacted_once_and_on_every_day_some_are() {
    let events = told("--days 7 --bounced-ratio 0", 1, 3000);
    let first = of_step(&events, 1);
    let names: BTreeSet<&str> = first.iter().map(|event| event.outcome.lead.as_str()).collect();
    assert_eq!((first.len(), names.len()), (3000, 3000));
    let on = |at: i64| first.iter().filter(|event| day(event) == FIRST_DAY + at.days()).count();
    let volumes: Vec<usize> = (0..7).map(on).collect();
    assert_eq!(volumes.iter().sum::<usize>(), 3000, "no other day: {volumes:?}");
    // A third of the mean day of 3000 / 7, which a quarter of the weight of all three accounts would not reach.
    assert!(volumes.iter().all(|volume| *volume > 100), "{volumes:?}");
    assert!(volumes.iter().max() > volumes.iter().min().map(|least| least + 50).as_ref(), "{volumes:?}");
    let hours = first.iter().map(|event| event.time.to_zoned(TimeZone::UTC).hour());
    assert_eq!((hours.clone().min(), hours.max()), (Some(8), Some(17)));
}

#[test]
fn the_past_does_not_change_when_it_is_told_again_later() {
    let all = told("--seed 7", 2, 900);
    assert_eq!(told("--seed 7", 2, 900), all);
    assert_ne!(told("--seed 8", 2, 900), all);
    let mut until = told("--seed 7 --until 2026-06-10T12:00:00Z", 2, 900);
    let moment: Timestamp = "2026-06-10T12:00:00Z".parse().unwrap();
    assert!(until.iter().any(|event| event.time >= moment), "answers to messages sent before");
    until.retain(|event| event.time < moment);
    let known: Vec<Event> = all.into_iter().filter(|event| event.time < moment).collect();
    assert_eq!(until, known);
    assert!(known.is_sorted_by_key(|event| event.time));
}

#[test]
fn answers_come_at_the_age_that_is_asked_for() {
    let mean = |events: &[Event], kind: OutcomeKind| {
        let sent = |lead: &str| {
            events.iter().find(|event| event.outcome.lead == lead && event.outcome.step == 1).unwrap().time
        };
        let of_kind: Vec<&Event> = events.iter().filter(|event| event.outcome.kind() == kind).collect();
        let days =
            of_kind.iter().map(|event| event.time.duration_since(sent(&event.outcome.lead)).as_secs_f64() / 86_400.0);
        days.sum::<f64>() / number(of_kind.len())
    };
    let events = told("--reply-ratio 0.5 --auto-reply-ratio 0.5 --reply-days 3", 1, 2000);
    let (replies, automatic) = (mean(&events, OutcomeKind::Replied), mean(&events, OutcomeKind::AutoReplied));
    assert!((2.7..3.3).contains(&replies), "{replies} days");
    assert!((0.015..0.025).contains(&automatic), "{automatic} days");
}

#[test]
fn follow_ups_go_to_leads_that_were_reached_and_have_not_answered() {
    let events = told("--reply-ratio 0.3 --reply-days 1 --delivered-ratio 0.9", 2, 1000);
    let second = of_step(&events, 2);
    assert!(second.len() > 500 && second.len() < 850, "{} follow-ups", second.len());
    for event in second {
        let earlier = |is_it: &dyn Fn(&pb::Outcome) -> bool| {
            events.iter().any(|other| {
                other.outcome.lead == event.outcome.lead && other.time <= event.time && is_it(&other.outcome)
            })
        };
        assert!(earlier(&|outcome| outcome.step == 1 && outcome.kind() == OutcomeKind::Delivered), "{event:?}");
        let sent = event.outcome.kind() != OutcomeKind::Bounced;
        assert!(!sent || !earlier(&|outcome| outcome.kind() == OutcomeKind::Replied), "{event:?}");
    }
}

#[test]
fn faults_lose_the_messages_that_they_are_about() {
    let healthy = "--delivered-ratio 1 --bounced-ratio 0";
    let because = |events: &[Event], reason: FailureReason| count(events, |outcome| outcome.reason() == reason);

    let events = told(&format!("{healthy} --fault account-issue=0.9,account=bob,since=2026-06-09"), 1, 3000);
    let lost: Vec<&Event> =
        events.iter().filter(|event| event.outcome.reason() == FailureReason::AccountIssue).collect();
    assert!(lost.iter().all(|event| day(event) >= date(2026, 6, 9)), "not before its day");
    assert_eq!(lost.iter().map(|event| day(event)).min(), Some(date(2026, 6, 9)));
    let of_bob = |event: &&&Event| event.outcome.lead.rsplit('-').next().unwrap().parse::<usize>().unwrap() % 3 == 1;
    assert_eq!(lost.iter().filter(of_bob).count(), lost.len(), "only bob's");

    let events = told(&format!("{healthy} --fault invalid-lead=0.2"), 1, 3000);
    assert!((540..660).contains(&because(&events, FailureReason::InvalidLead)));
    let bounced = count(&events, |outcome| outcome.kind() == OutcomeKind::Bounced);
    assert!((250..350).contains(&bounced), "half of them bounce: {bounced}");

    let events = told(&format!("{healthy} --fault rate-limited=40"), 1, 3000);
    assert!(because(&events, FailureReason::RateLimited) > 100);
    for account in 0..3 {
        for at in 0..20 {
            let is_it = |event: &&Event| {
                let number: usize = event.outcome.lead.rsplit('-').next().unwrap().parse().unwrap();
                number % 3 == account
                    && day(event) == FIRST_DAY + at.days()
                    && event.outcome.kind() == OutcomeKind::Delivered
            };
            assert!(events.iter().filter(is_it).count() <= 40);
        }
    }
}
