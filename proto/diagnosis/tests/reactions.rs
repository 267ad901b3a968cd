//! Low response and conversion, at equal age.

use super::*;
use FindingKind::{LowConversion, LowResponse};

/// A campaign that contacted so many leads on 1 June, of which so many replied and converted at once.
fn judged(own: (i64, i64, i64), others: [RatesAtAge; 2]) -> Vec<Finding> {
    let days = vec![row(0, "a", contacted(own.0, own.1, own.2))];
    diagnose_campaign(&CampaignFacts { others, ..campaign(days) }, as_of()).findings
}

fn others(leads: i64, replied: i64, converted: i64) -> RatesAtAge {
    RatesAtAge { response: rate(replied, leads), conversion: rate(converted, leads) }
}

#[test]
fn without_a_past_low_is_certainly_below_a_fixed_bound() {
    let none = [RatesAtAge::default(); 2];
    assert_eq!(kinds(&judged((380, 0, 380), none)), [], "the interval ends above 1 %");
    assert_eq!(kinds(&judged((381, 0, 381), none)), [LowResponse]);
    assert_eq!(kinds(&judged((3837, 3837, 0), none)), []);
    assert_eq!(kinds(&judged((3838, 3838, 0), none)), [LowConversion]);
    let found = judged((10_000, 60, 2), none);
    assert_eq!(kinds(&found), [LowResponse, LowConversion]);
    assert_eq!((found[0].share, found[0].reference, found[0].age_days), (Some(rate(60, 10_000)), None, Some(7)));
    assert_eq!(
        found[0].summary,
        "0.60 % (60 of 10000) of the leads replied within 7 days of their first message, certainly less than 1.0 %."
    );
    assert!(found[1].summary.ends_with("certainly less than 0.10 %."), "{}", found[1].summary);
    assert_eq!(kinds(&judged((10_000, 99, 9), none)), [], "below, and not certainly");
}

#[test]
fn with_a_past_low_is_certainly_below_seven_tenths_of_it() {
    let past = |leads, replied| [others(leads, replied, 0), RatesAtAge::default()];
    let found = judged((2000, 60, 0), past(100_000, 6000));
    assert_eq!(kinds(&found), [LowResponse]);
    assert_eq!((found[0].reference, found[0].severity), (Some(rate(6000, 100_000)), Severity::Warning));
    assert!(found[0].summary.ends_with("in the workspace's other campaigns 6.0 % (6000 of 100000) did."));
    assert!(found[0].action.starts_with("Test other message variants"));
    assert_eq!(kinds(&judged((2000, 78, 0), past(100_000, 6000))), [], "3.9 % may be 4.2 %");
    assert_eq!(kinds(&judged((1000, 30, 1), past(1000, 60))), [], "the past is uncertain too");
    // 999 leads are no past, so the fixed bound applies.
    assert_eq!(kinds(&judged((2000, 60, 2), past(999, 990))), []);
    assert_eq!(kinds(&judged((2000, 60, 2), past(1000, 990))), [LowResponse]);
    // Where nobody else converts, nobody is expected to: perhaps conversions are not reported.
    assert_eq!(kinds(&judged((50_000, 3000, 0), past(100_000, 6000))), []);
}

#[test]
fn no_reaction_at_all_can_mean_that_none_is_reported() {
    let found = judged((50_000, 0, 0), [RatesAtAge::default(); 2]);
    assert!(found[0].action.starts_with("Check that replies are reported."), "{}", found[0].action);
    assert!(found[1].action.starts_with("Check that conversions are reported."), "{}", found[1].action);
}

#[test]
fn only_days_that_are_old_enough_count() {
    // Now is 1 July: 23 June is 7 days old when 1 July begins, 24 June is not; 31 May is 30 days old.
    let ages = |at| {
        let days = vec![row(at, "a", contacted(10_000, 0, 10_000))];
        findings(days).iter().map(|finding| finding.age_days).collect::<Vec<_>>()
    };
    assert_eq!(ages(22), [Some(7)]);
    assert_eq!(ages(23), []);
    // Replies after the age do not count.
    let mut late = contacted(10_000, 0, 10_000);
    late.replied[8] = 5000;
    assert_eq!(kinds(&findings(vec![row(0, "a", late.clone())])), [LowResponse]);
    // At 30 days alone it is low if others get more until then.
    let past = [others(10_000, 0, 0), others(10_000, 9000, 0)];
    let facts = |at| CampaignFacts { others: past, ..campaign(vec![row(at, "a", late.clone())]) };
    let ages = |at| diagnose_campaign(&facts(at), as_of()).findings.iter().map(|low| low.age_days).collect::<Vec<_>>();
    assert_eq!((ages(-1), ages(0)), (vec![Some(30)], vec![]));
}

#[test]
fn too_few_leads_leave_a_question_with_its_day() {
    let open = |facts: &CampaignFacts| diagnose_campaign(facts, as_of()).open_questions;
    // 100 leads a day; those of the first 23 days are old enough.
    let mut facts = campaign(rows(30, 1, |_, _| contacted(10, 1, 0)));
    let response = open(&facts).remove(0);
    // 230 of 381; 300 are contacted, and 81 more take 81 / (60 / 7) days, then 8 days.
    assert_eq!((response.kind, response.have, response.need), (LowResponse, 230, 381));
    assert_eq!(response.expected.map(words::time).unwrap(), "2026-07-18 22:48 UTC");
    // All that are needed are contacted already.
    facts.sums = rows(30, 1, |_, _| contacted(16, 1, 0));
    let response = open(&facts).remove(0);
    assert_eq!((response.have, response.expected), (368, "2026-07-02T00:00:00Z".parse().ok()));
    facts.state = CampaignState::Finished;
    assert_eq!(open(&facts)[0].expected, response.expected, "contacted leads still get older");
    facts.sums = rows(30, 1, |_, _| contacted(10, 1, 0));
    assert_eq!(open(&facts)[0].expected, None);
    // A complete list with too few leads is never enough.
    (facts.state, facts.lead_list_complete, facts.lead_counts.pending) = (CampaignState::Active, true, 80);
    assert_eq!(open(&facts)[0].expected, None);
    facts.lead_counts.pending = 81;
    assert!(open(&facts)[0].expected.is_some());
    // Next to a higher past fewer leads are enough; next to one without replies no number is.
    facts.others[0] = others(1_000_000, 30_000, 0);
    assert_eq!(open(&facts), []);
    facts.sums.truncate(10);
    let response = open(&facts).remove(0);
    assert_eq!((response.have, response.need), (100, 180));
}
