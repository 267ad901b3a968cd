//! Drift: each setting that differs from the applied one is drift, and no other field is.

use std::collections::BTreeSet;

use kube::CustomResourceExt as _;
use serde_json::Value;

use super::*;
use crate::crd::Campaign;

type Change = fn(&mut pb::Campaign);

/// A campaign that has every setting.
fn settled() -> pb::Campaign {
    let window = |days: &[pb::DayOfWeek], start: &str, end: &str| pb::ActiveWindow {
        days: days.iter().map(|day| (*day).into()).collect(),
        start_time: start.into(),
        end_time: end.into(),
    };
    pb::Campaign {
        display_name: "Spring".into(),
        accounts: vec!["workspaces/team/accounts/a".into(), "workspaces/team/accounts/b".into()],
        follow_up_delay: Some(prost_types::Duration { seconds: 5400, nanos: 7 }),
        active_hours: Some(pb::ActiveHours {
            time_zone: "America/St_Johns".into(),
            windows: vec![
                window(&[pb::DayOfWeek::Monday, pb::DayOfWeek::Wednesday], "09:00", "17:30"),
                window(&[pb::DayOfWeek::Saturday], "22:15", "02:45"),
            ],
        }),
        daily_limit: Some(40),
        claim_expiry_policy: pb::ClaimExpiryPolicy::Retry.into(),
        settle_seconds: Some(71),
        attribution_days: Some(5),
        lead_list_complete: true,
        ..campaign()
    }
}

fn hours(campaign: &mut pb::Campaign) -> &mut pb::ActiveHours {
    campaign.active_hours.as_mut().expect("the campaign has hours")
}

/// Each field of the spec, with what may become of it past the resource.
const DRIFTS: [(&str, Change); 25] = [
    ("state", |campaign| campaign.state = CampaignState::Paused.into()),
    ("displayName", |campaign| campaign.display_name = "Autumn".into()),
    ("displayName", |campaign| campaign.display_name.clear()),
    ("accounts[]", |campaign| campaign.accounts[1] = "workspaces/team/accounts/c".into()),
    ("accounts[]", |campaign| campaign.accounts.push("workspaces/team/accounts/c".into())),
    ("accounts[]", |campaign| drop(campaign.accounts.pop())),
    ("steps", |campaign| campaign.steps += 1),
    ("followUpDelay", |campaign| campaign.follow_up_delay.as_mut().unwrap().seconds += 1),
    ("followUpDelay", |campaign| campaign.follow_up_delay.as_mut().unwrap().nanos += 1),
    ("followUpDelay", |campaign| campaign.follow_up_delay = None),
    ("activeHours.timeZone", |campaign| hours(campaign).time_zone = "Asia/Tokyo".into()),
    ("activeHours.windows[].days[]", |campaign| hours(campaign).windows[0].days[1] += 1),
    ("activeHours.windows[].days[]", |campaign| hours(campaign).windows[0].days.clear()),
    ("activeHours.windows[].startTime", |campaign| hours(campaign).windows[0].start_time = "09:01".into()),
    ("activeHours.windows[].endTime", |campaign| hours(campaign).windows[1].end_time = "02:46".into()),
    ("activeHours.windows[].endTime", |campaign| drop(hours(campaign).windows.pop())),
    ("activeHours.windows[].endTime", |campaign| hours(campaign).windows.clear()),
    ("activeHours.windows[].endTime", |campaign| campaign.active_hours = None),
    ("dailyLimit", |campaign| campaign.daily_limit = Some(41)),
    ("dailyLimit", |campaign| campaign.daily_limit = Some(0)),
    ("dailyLimit", |campaign| campaign.daily_limit = None),
    ("claimExpiryPolicy", |campaign| campaign.claim_expiry_policy = pb::ClaimExpiryPolicy::Hold.into()),
    ("settleSeconds", |campaign| campaign.settle_seconds = Some(72)),
    ("attributionDays", |campaign| campaign.attribution_days = Some(6)),
    ("leadListComplete", |campaign| campaign.lead_list_complete = false),
];

/// Fields that no campaign has, so that they can't differ.
const NOT_STORED: [(&str, &str); 2] = [
    ("deletionPolicy", "says what the controller does at the end"),
    ("adoptionPolicy", "is looked at when a campaign is taken over"),
];

#[test]
fn each_setting_that_differs_is_drift_by_itself() {
    let applied = Applied::new(3, &settled());
    for (number, (field, change)) in DRIFTS.into_iter().enumerate() {
        let mut changed = settled();
        change(&mut changed);
        assert_ne!(changed, settled(), "row {number} changes {field}");
        let next = step(UID, 3, Some(&applied), Observed::Present(Box::new(changed)));
        assert_eq!(next, Step::Apply(Cause::Drift), "row {number}: another {field} must be drift");
    }
}

#[test]
fn every_field_of_the_spec_has_a_row_or_a_reason_for_none() {
    let definition = serde_json::to_value(Campaign::crd()).unwrap();
    let schema = definition.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec").unwrap();
    let mut fields = BTreeSet::new();
    leaves("", schema, &mut fields);
    let mut known: BTreeSet<String> = DRIFTS.iter().map(|(field, _)| (*field).to_owned()).collect();
    known.extend(NOT_STORED.map(|(field, _)| field.to_owned()));
    assert_eq!(known, fields, "fields with a row (left), fields of the spec (right)");
}

fn leaves(path: &str, node: &Value, found: &mut BTreeSet<String>) {
    if node["items"].is_object() {
        leaves(&format!("{path}[]"), &node["items"], found);
    } else if let Some(fields) = node["properties"].as_object() {
        for (name, inner) in fields {
            leaves(&if path.is_empty() { name.clone() } else { format!("{path}.{name}") }, inner, found);
        }
    } else {
        found.insert(path.to_owned());
    }
}

#[test]
fn whatever_else_a_campaign_has_is_no_drift() {
    let applied = Applied::new(3, &settled());
    let rate = Some(pb::Rate { numerator: 1, denominator: 2, ratio: Some(0.5) });
    let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let settings = settled();
    // Every field is named, so that adding a field requires a decision whether it is a setting.
    let moved_on = pb::Campaign {
        hold: None,
        name: settings.name,
        uid: "c-2".into(),
        display_name: settings.display_name,
        state: settings.state,
        finish_reason: pb::FinishReason::Completed.into(),
        steps: settings.steps,
        follow_up_delay: settings.follow_up_delay,
        accounts: settings.accounts,
        active_hours: settings.active_hours,
        daily_limit: settings.daily_limit,
        claim_expiry_policy: settings.claim_expiry_policy,
        settle_seconds: settings.settle_seconds,
        attribution_days: settings.attribution_days,
        lead_list_complete: settings.lead_list_complete,
        lead_counts: Some(pb::LeadCounts { sent: 1, total: 1, ..pb::LeadCounts::default() }),
        progress_ratio: Some(1.0),
        message_counts: Some(pb::MessageCounts { delivered: 1, ..pb::MessageCounts::default() }),
        delivery_rate: rate,
        delivery_health: pb::DeliveryHealth::Low.into(),
        delivery_health_certain: true,
        response_rate: rate,
        conversion_rate: rate,
        in_flight_claims: 1,
        in_flight_until: time(1),
        uncertain_claims: 1,
        not_sending_reasons: vec![pb::NotSendingReason::NoLeadDue.into()],
        next_change_time: time(2),
        create_time: time(3),
        update_time: time(4),
        finish_time: time(5),
        finalized_time: time(6),
        etag: "7".into(),
        owner: Some(pb::Owner { resource: "team/other".into(), fencing_token: 9, ..settings.owner.unwrap() }),
    };
    let next = step(UID, 3, Some(&applied), Observed::Present(Box::new(moved_on.clone())));
    assert_eq!(next, Step::Mirror(Box::new(moved_on)));
}

#[test]
fn a_lead_list_may_be_declared_complete_past_the_resource_but_not_opened_again() {
    let open = pb::Campaign { lead_list_complete: false, ..settled() };
    let table =
        [(&open, &open, false), (&open, &settled(), false), (&settled(), &settled(), false), (&settled(), &open, true)];
    for (number, (applied, seen, drifts)) in table.into_iter().enumerate() {
        let next = step(UID, 3, Some(&Applied::new(3, applied)), Observed::Present(Box::new(seen.clone())));
        assert_eq!(next == Step::Apply(Cause::Drift), drifts, "row {number}");
    }
}

#[test]
fn a_finished_campaign_has_no_drift_but_that_of_its_owner() {
    let applied = Applied::new(3, &settled());
    let finished = || pb::Campaign { state: CampaignState::Finished.into(), ..settled() };
    for (field, change) in DRIFTS.into_iter().filter(|(field, _)| *field != "state") {
        let mut changed = finished();
        change(&mut changed);
        let next = step(UID, 3, Some(&applied), Observed::Present(Box::new(changed)));
        assert!(matches!(next, Step::Mirror(_)), "{field} of a finished campaign has nothing left to decide");
    }
    let owners: [(&str, Change); 4] = [
        ("none", |campaign| campaign.owner = None),
        ("another", |campaign| campaign.owner.as_mut().unwrap().uid = "u-2".into()),
        ("older", |campaign| campaign.owner.as_mut().unwrap().generation = 2),
        ("newer", |campaign| campaign.owner.as_mut().unwrap().generation = 4),
    ];
    for (owner, change) in owners {
        for mut changed in [finished(), settled()] {
            change(&mut changed);
            let next = step(UID, 3, Some(&applied), Observed::Present(Box::new(changed)));
            assert_eq!(next, Step::Apply(Cause::Drift), "owner: {owner}");
        }
    }
}
