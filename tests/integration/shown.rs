//! campaignctl shows messages field by field as they are: in JSON, tables and details.

use std::collections::BTreeSet;

use campaign_metrics::pb;
use campaignctl::view::{self, Message};

use crate::harness::shown::{
    Described, Shown, compare_details, compare_json, compare_table, compare_views, document,
    reflect::{filled, leaves, told},
};

/// Enough rounds to tell any two fields apart; see [`filled`].
const ROUNDS: u32 = 8;

fn assert_shown<M: Shown>() {
    let mut all = BTreeSet::new();
    let messages: Vec<M> = (0..ROUNDS).map(filled).collect();
    let differences = compare_views(&messages);
    assert!(differences.is_empty(), "campaignctl shows {} otherwise:\n{}", M::NAME, differences.join("\n"));
    for message in &messages {
        all.extend(told(message));
    }
    assert_eq!(all, leaves::<M>(), "each field of {} was compared", M::NAME);
}

#[test]
fn every_field_of_every_resource_is_shown_as_it_is() {
    assert_shown::<pb::Campaign>();
    assert_shown::<pb::Account>();
    assert_shown::<pb::Lead>();
    assert_shown::<pb::Claim>();
    assert_shown::<pb::WorkspaceTotals>();
}

fn assert_in_json<M: Described + Message>() {
    let mut all = BTreeSet::new();
    for message in (0..ROUNDS).map(filled::<M>) {
        let differences = compare_json(&document(&message), &message);
        assert!(differences.is_empty(), "the JSON of {} differs:\n{}", M::NAME, differences.join("\n"));
        all.extend(told(&message));
    }
    assert_eq!(all, leaves::<M>(), "each field of {} was compared", M::NAME);
}

#[test]
fn every_field_of_every_answer_is_in_its_json() {
    assert_in_json::<pb::QueryCampaignHistoryResponse>();
    assert_in_json::<pb::QueryAccountHistoryResponse>();
    assert_in_json::<pb::ListCampaignAccountsResponse>();
    assert_in_json::<pb::Diagnosis>();
    assert_in_json::<pb::CampaignComparison>();
}

#[test]
fn what_the_api_leaves_out_is_left_out_in_json_and_a_dash_or_no_line_for_people() {
    let full: pb::Campaign = filled(0);
    let rate = |rate: Option<pb::Rate>| rate.map(|rate| pb::Rate { ratio: None, ..rate });
    let messages = pb::MessageCounts { failures: Vec::new(), ..full.message_counts.clone().unwrap() };
    let campaign = pb::Campaign {
        display_name: String::new(),
        finish_reason: 0,
        follow_up_delay: None,
        accounts: Vec::new(),
        active_hours: None,
        daily_limit: None,
        settle_seconds: None,
        attribution_days: None,
        lead_list_complete: false,
        progress_ratio: None,
        message_counts: Some(messages),
        delivery_rate: rate(full.delivery_rate),
        delivery_health: 0,
        response_rate: rate(full.response_rate),
        conversion_rate: None,
        in_flight_until: None,
        not_sending_reasons: Vec::new(),
        next_change_time: None,
        finish_time: None,
        finalized_time: None,
        owner: None,
        ..full.clone()
    };
    let full: pb::Account = filled(0);
    let performance = |of: Option<pb::AccountPerformance>| {
        of.map(|of| pb::AccountPerformance {
            success_rate: rate(of.success_rate),
            failures: Vec::new(),
            delivery_health: 0,
            delivery_health_certain: false,
            ..of
        })
    };
    let account = pb::Account {
        display_name: String::new(),
        daily_limit: None,
        campaign_count: 0,
        lifetime: performance(full.lifetime),
        last_30_days: performance(full.last_30_days),
        ..full
    };
    let full: pb::Lead = filled(0);
    let lead = pb::Lead {
        account: String::new(),
        step_results: Vec::new(),
        replied: false,
        converted: false,
        auto_replied: false,
        opted_out: false,
        last_action_time: None,
        next_step: 0,
        due_time: None,
        claim_state: 0,
        ..full.clone()
    };
    let without_reason = pb::StepResult { reason: 0, ..full.step_results[0] };
    let delivered = pb::Lead { step_results: vec![without_reason], ..full };
    // A limit of 0 sends nothing; it differs from no limit.
    let zero = pb::Account { daily_limit: Some(0), reserved_today: 0, ..account.clone() };
    let none = pb::Campaign { daily_limit: Some(0), progress_ratio: Some(0.0), ..campaign.clone() };
    let differences =
        [compare_views(&[campaign, none]), compare_views(&[account, zero]), compare_views(&[lead, delivered])].concat();
    assert!(differences.is_empty(), "what is absent is shown otherwise:\n{}", differences.join("\n"));
}

#[test]
fn time_spans_are_shown_to_the_nanosecond() {
    for (seconds, nanos, text) in
        [(90, 0, "90s"), (0, 500_000_000, "0.500s"), (7, 1_000, "7.000001s"), (1, 2, "1.000000002s")]
    {
        let delay = Some(prost_types::Duration { seconds, nanos });
        let campaign = pb::Campaign { follow_up_delay: delay, ..filled(1) };
        let json = document(&campaign);
        assert_eq!(json["followUpDelay"], text);
        assert_eq!(compare_json(&json, &campaign), [""; 0]);
    }
}

#[test]
fn a_name_with_a_tab_or_a_line_break_does_not_break_a_table() {
    let account = pb::Account { display_name: "An\tn\nof 1".into(), ..filled(2) };
    let text = view::details(&account);
    assert!(text.contains("Display name:  An n of 1\n"), "{text}");
}

#[test]
fn a_field_that_is_shown_wrong_or_not_at_all_is_reported() {
    let campaign: pb::Campaign = filled(3);
    let mut json = document(&campaign);
    let response = json["responseRate"].take();
    json["conversionRate"] = response;
    json.as_object_mut().unwrap().remove("uid");
    json["leadCounts"]["more"] = 3.into();
    let told = compare_json(&json, &campaign).join("\n");
    for says in ["responseRate is null", "conversionRate.numerator is", "uid is missing", "leadCounts.more is 3"] {
        assert!(told.contains(says), "`{says}` is told: {told}");
    }

    let other = pb::Campaign { response_rate: campaign.conversion_rate, ..campaign.clone() };
    let told = compare_details(&view::details(&other), &campaign);
    assert_eq!(told.len(), 2, "one line too many, one missing: {told:?}");
    let other =
        pb::Campaign { lead_counts: Some(pb::LeadCounts { sent: 3, ..campaign.lead_counts.unwrap() }), ..other };
    let table = view::table(std::slice::from_ref(&other)).unwrap();
    let told = compare_table(&table, std::slice::from_ref(&campaign));
    assert!(told.len() == 1 && told[0].contains("SENT"), "{told:?}");
    let told = compare_table(&table.replace("HEALTH", "ILLNESS"), std::slice::from_ref(&campaign));
    assert!(told.len() == 1 && told[0].contains("the columns are"), "{told:?}");
    assert!(pb::Claim::NAME.ends_with("Claim"));
}
