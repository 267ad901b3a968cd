//! Every bound of the wire at its edge, every enum in both directions, every field that a mask or its value names.

use std::time::Duration;

use prost_types::{Duration as Span, Timestamp as Time};

use super::*;
use crate::{
    campaign::{AdoptionPolicy, CampaignState, ClaimExpiryPolicy, MessageCounts},
    invalid::Invalid,
    lead::{Fact, FailureReason, LeadOutcome, LeadStatus, Step},
    name::WorkspaceId,
    not_sending::NotSending,
    sending::{ClaimState, HOLD_MAX},
};

mod campaigns;
mod comparisons;
mod outcomes;
mod performance;

fn workspace() -> WorkspaceId {
    "acme".parse().unwrap()
}

/// The field that an error names.
fn field<T: std::fmt::Debug>(result: Result<T, Invalid>) -> String {
    result.expect_err("it is refused").field
}

fn settings(change: impl FnOnce(&mut pb::Campaign)) -> Result<crate::campaign::CampaignSettings, Invalid> {
    let mut campaign = pb::Campaign::default();
    change(&mut campaign);
    campaign_settings(&campaign, &workspace())
}

#[test]
fn states_statuses_and_policies_are_read_as_they_are_numbered() {
    let states = [CampaignState::Active, CampaignState::Paused, CampaignState::Finished];
    for (number, state) in (1..).zip(states) {
        assert_eq!(parse_campaign_state("state", number).unwrap(), Some(state));
        assert_eq!(i32::from(pb::CampaignState::from(state)), number);
    }
    let statuses = [LeadStatus::Pending, LeadStatus::Partial, LeadStatus::Sent, LeadStatus::Failed];
    let numbers = [pb::LeadStatus::Pending, pb::LeadStatus::Partial, pb::LeadStatus::Sent, pb::LeadStatus::Failed];
    for (number, status) in numbers.into_iter().zip(statuses) {
        assert_eq!(parse_lead_status(number.into()).unwrap(), Some(status));
    }
    assert_eq!(parse_claim_state(pb::ClaimState::Held.into()).unwrap(), Some(ClaimState::Held));
    assert_eq!(parse_claim_state(pb::ClaimState::Uncertain.into()).unwrap(), Some(ClaimState::Uncertain));
    assert_eq!(parse_campaign_state("state", 0).unwrap(), None);
    assert_eq!(parse_lead_status(0).unwrap(), None);
    assert_eq!(parse_claim_state(0).unwrap(), None);
    assert_eq!(field(parse_campaign_state("from", 4)), "from");
    assert_eq!(field(parse_lead_status(9)), "status");
    assert_eq!(field(parse_claim_state(3)), "state");
    for (number, policy) in
        [(0, AdoptionPolicy::IfUnowned), (pb::AdoptionPolicy::IfUnowned.into(), AdoptionPolicy::IfUnowned)]
    {
        assert_eq!(adoption_policy(number).unwrap(), policy);
    }
    assert_eq!(adoption_policy(pb::AdoptionPolicy::Never.into()).unwrap(), AdoptionPolicy::Never);
    assert_eq!(field(adoption_policy(9)), "adoption_policy");
    let expiring = |number| settings(|campaign| campaign.claim_expiry_policy = number);
    let policy = |number: pb::ClaimExpiryPolicy| expiring(number.into()).unwrap().claim_expiry_policy;
    assert_eq!(policy(pb::ClaimExpiryPolicy::Hold), ClaimExpiryPolicy::Hold);
    assert_eq!(policy(pb::ClaimExpiryPolicy::Retry), ClaimExpiryPolicy::Retry);
    assert_eq!(field(expiring(9)), "campaign.claim_expiry_policy");
    let reasons = [NotSending::Paused, NotSending::UncertainClaims, NotSending::NoLeadDue];
    let rendered =
        [pb::NotSendingReason::Paused, pb::NotSendingReason::UncertainClaims, pb::NotSendingReason::NoLeadDue];
    assert_eq!(campaign::not_sending(&reasons), rendered.map(i32::from));
}

#[test]
fn sizes_ids_etags_times_and_spans_end_at_their_bounds() {
    for (asked, taken) in [(0, 100), (1, 1), (999, 999), (1000, 1000), (1001, 1000)] {
        assert_eq!(page_size(asked).unwrap(), taken);
    }
    assert_eq!(field(page_size(-1)), "page_size");

    let id = "7f9c24e8-3b12-4fef-91e0-5a1d2f3c4b5a";
    assert_eq!(request_id(id).unwrap(), Some(id));
    assert_eq!(request_id("").unwrap(), None);
    for bad in
        [&id[1..], &format!("{id}0"), &id.replace('-', "0"), &id.replacen('7', "g", 1), &id.replacen("f9", "-9", 1)]
    {
        assert_eq!(field(request_id(bad)), "request_id", "{bad}");
    }

    assert_eq!(parse_etag("").unwrap(), None);
    assert_eq!(parse_etag(&etag(42)).unwrap(), Some(42));
    for bad in ["42", "\"r42", "r42\"", "\"r\"", "\"rx\""] {
        assert_eq!(field(parse_etag(bad)), "etag", "{bad}");
    }

    let first = -62_135_596_800;
    for time in [
        Time { seconds: first, nanos: 0 },
        Time { seconds: -1, nanos: 1 },
        Time { seconds: 0, nanos: 0 },
        Time { seconds: 1, nanos: 999_999_999 },
    ] {
        assert_eq!(timestamp(parse_timestamp("t", time).unwrap()), time, "it survives a round trip");
    }
    for (seconds, nanos) in [(first - 1, 999_999_999), (0, -1), (0, 1_000_000_000), (i64::MAX, 0)] {
        assert_eq!(field(parse_timestamp("t", Time { seconds, nanos })), "t", "{seconds} {nanos}");
    }

    let held = |seconds, nanos| hold_duration(Some(Span { seconds, nanos }));
    assert_eq!(hold_duration(None).unwrap(), Duration::from_mins(5));
    assert_eq!(held(1, 0).unwrap(), Duration::from_secs(1));
    assert_eq!(held(3600, 0).unwrap(), HOLD_MAX);
    assert_eq!([field(held(0, 999_999_999)), field(held(3600, 1))], ["hold_duration"; 2]);
    let looking = |seconds, nanos| watch_interval(Some(Span { seconds, nanos }));
    assert_eq!(watch_interval(None).unwrap(), Duration::from_secs(1));
    assert_eq!(looking(0, 100_000_000).unwrap(), Duration::from_millis(100));
    assert_eq!(looking(3600, 0).unwrap(), Duration::from_hours(1));
    assert_eq!([field(looking(0, 99_999_999)), field(looking(3600, 1))], ["min_interval"; 2]);
    assert_eq!(field(parse::<WorkspaceId>("parent", "")), "parent");
    assert_eq!(field(required::<()>("campaign", None)), "campaign");
}

#[test]
fn counts_and_outcomes_are_rendered_field_by_field() {
    let counts = MessageCounts {
        delivered: 11,
        failed: 7,
        bounced: 5,
        by_reason: [4, 0, 3, 2, 1],
        contacted: 9,
        replied: 6,
        converted: 8,
        auto_replied: 10,
        opted_out: 12,
        conversion_value_micros: 13,
        ..MessageCounts::default()
    };
    let shown = pb::MessageCounts::from(counts);
    assert_eq!((shown.delivered, shown.failed, shown.bounced, shown.contacted_leads), (11, 7, 5, 9));
    assert_eq!((shown.replied_leads, shown.converted_leads, shown.auto_replied_leads), (6, 8, 10));
    assert_eq!((shown.opted_out_leads, shown.conversion_value_micros), (12, 13));
    let failures: Vec<_> = shown.failures.iter().map(|failure| (failure.reason(), failure.count)).collect();
    assert_eq!(
        failures,
        [
            (pb::FailureReason::AccountIssue, 4),
            (pb::FailureReason::RateLimited, 3),
            (pb::FailureReason::ContentRejected, 2),
            (pb::FailureReason::Other, 1)
        ],
        "reasons of nothing are left out"
    );
    let step = Step::new(3).unwrap();
    for (fact, kind, number) in [
        (Fact::Delivered(step), pb::OutcomeKind::Delivered, 3),
        (Fact::Failed(step), pb::OutcomeKind::Failed, 3),
        (Fact::Bounced(step), pb::OutcomeKind::Bounced, 3),
        (Fact::Replied, pb::OutcomeKind::Replied, 0),
        (Fact::Converted, pb::OutcomeKind::Converted, 0),
        (Fact::AutoReplied, pb::OutcomeKind::AutoReplied, 0),
        (Fact::OptedOut, pb::OutcomeKind::OptedOut, 0),
    ] {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let shown = pb::LeadOutcome::from(LeadOutcome {
            lead: "workspaces/acme/campaigns/spring/leads/l7".parse().unwrap(),
            fact,
            reason: Some(FailureReason::RateLimited),
            detail: "over quota".to_owned(),
            time: at(3),
            receive_time: at(5),
            account: Some("workspaces/acme/accounts/ann".parse().unwrap()),
            value_micros: Some(17),
        });
        assert_eq!((shown.kind(), shown.step, shown.reason()), (kind, number, pb::FailureReason::RateLimited));
        assert_eq!((shown.time.unwrap().seconds, shown.receive_time.unwrap().seconds), (3, 5));
        assert_eq!((shown.detail.as_str(), shown.account.as_str()), ("over quota", "workspaces/acme/accounts/ann"));
        assert_eq!(shown.value_micros, Some(17));
        assert_eq!(shown.lead, "workspaces/acme/campaigns/spring/leads/l7");
    }
}
