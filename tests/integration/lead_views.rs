//! What a lead shows beside its facts: the next step, when it is due, whether it is claimed. And leads by reason and by
//! last action.

use std::time::Duration;

use campaign_metrics::pb::{self, ClaimState, FailureReason, OutcomeKind};
use jiff::{SignedDuration, Timestamp};
use tonic::{Code, Status};

use crate::{
    harness::service::{Service, monday},
    world::{
        account_name, add_leads, assert_refused, by_key, by_lead, campaign_name, claim, create_account,
        create_campaign, lead_name, report_new, settings,
    },
};

fn stamp(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}

/// What the lead shows, by GetLead and by ListLeads.
async fn shown(service: &Service, id: &str) -> (i32, Option<prost_types::Timestamp>, ClaimState) {
    let request = pb::GetLeadRequest { name: lead_name("spring", id) };
    let lead = service.leads.clone().get_lead(request).await.unwrap().into_inner();
    let request = pb::ListLeadsRequest { parent: campaign_name("spring"), ..Default::default() };
    let listed = service.leads.clone().list_leads(request).await.unwrap().into_inner().leads;
    assert_eq!(listed.iter().find(|listed| listed.name == lead.name), Some(&lead), "one lead, one view");
    (lead.next_step, lead.due_time, lead.claim_state())
}

#[tokio::test]
async fn a_lead_shows_its_next_step_and_when_it_is_due_and_whether_it_is_claimed() {
    use ClaimState::{Held, Uncertain, Unspecified as Free};
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    // Follow-ups are due after an hour.
    create_campaign(&service, "spring", settings(3, &["ann"])).await;
    add_leads(&service, "spring", 1, None, false).await;
    let after = |minutes| monday() + SignedDuration::from_mins(minutes);
    assert_eq!(shown(&service, "l0").await, (1, None, Free), "due at once");

    let first = claim(&service, "ann", 1).await.claims;
    assert_eq!(shown(&service, "l0").await, (1, None, Held));
    service.clock.advance(Duration::from_mins(5));
    assert_eq!(shown(&service, "l0").await, (1, None, Uncertain));
    service.clock.advance(Duration::from_mins(1));
    report_new(&service, vec![by_key(&first[0], OutcomeKind::Delivered)]).await;
    assert_eq!(shown(&service, "l0").await, (2, Some(stamp(after(66))), Free), "since its delivery");

    service.clock.advance(Duration::from_hours(1));
    let second = claim(&service, "ann", 1).await.claims;
    assert_eq!(shown(&service, "l0").await, (2, None, Held));
    let released = pb::ReleaseClaimsRequest {
        account: account_name("ann"),
        claim_ids: vec![second[0].claim_id.clone()],
        not_before: Some(stamp(after(90))),
    };
    service.sending.clone().release_claims(released).await.unwrap();
    assert_eq!(shown(&service, "l0").await, (2, None, Free), "a time that only the queue knows");

    // Not the last fact, and not the last action: an earlier delivery is reported after a later automatic reply.
    report_new(&service, vec![by_lead("spring", "l0", 0, OutcomeKind::AutoReplied)]).await;
    let delivered = pb::Outcome { time: Some(stamp(after(50))), ..by_lead("spring", "l0", 2, OutcomeKind::Delivered) };
    report_new(&service, vec![delivered]).await;
    assert_eq!(shown(&service, "l0").await, (3, Some(stamp(after(110))), Free));

    let delay = pb::Campaign {
        name: campaign_name("spring"),
        follow_up_delay: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
        ..Default::default()
    };
    let update = pb::UpdateCampaignRequest { campaign: Some(delay), update_mask: None };
    service.campaigns.clone().update_campaign(update).await.unwrap();
    assert_eq!(shown(&service, "l0").await, (3, None, Free), "the new delay is not that of this step");
    report_new(&service, vec![by_lead("spring", "l0", 0, OutcomeKind::Replied)]).await;
    assert_eq!(shown(&service, "l0").await, (0, None, Free), "a reply ends the sequence");
}

async fn ids(service: &Service, request: pb::ListLeadsRequest) -> Result<Vec<String>, Status> {
    let request = pb::ListLeadsRequest { parent: campaign_name("spring"), ..request };
    let leads = service.leads.clone().list_leads(request).await?.into_inner().leads;
    Ok(leads.into_iter().map(|lead| lead.name.rsplit('/').next().unwrap_or_default().to_owned()).collect())
}

#[tokio::test]
async fn leads_are_listed_by_the_reason_of_a_result_and_by_the_time_of_their_last_action() {
    use FailureReason::{AccountIssue, InvalidLead, Other, RateLimited, Unspecified};
    use OutcomeKind::{Bounced, Delivered, Failed};
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "spring", settings(3, &["ann"])).await;
    add_leads(&service, "spring", 6, None, false).await;
    let at = |minutes| monday() - SignedDuration::from_mins(minutes);
    let fails = |id: &str, step, kind, reason: FailureReason, minutes| pb::Outcome {
        reason: reason.into(),
        time: Some(stamp(at(minutes))),
        ..by_lead("spring", id, step, kind)
    };
    report_new(
        &service,
        vec![
            fails("l0", 1, Failed, RateLimited, 60),
            // The result of a step counts: bounced over delivered over failed.
            fails("l1", 1, Failed, RateLimited, 59),
            fails("l1", 1, Delivered, Unspecified, 50),
            fails("l2", 2, Failed, RateLimited, 58),
            fails("l2", 2, Bounced, InvalidLead, 40),
            fails("l3", 3, Bounced, RateLimited, 30),
            fails("l4", 1, Failed, Other, 20),
        ],
    )
    .await;
    let by_reason = async |reason: FailureReason| {
        let request = pb::ListLeadsRequest { failure_reason: reason.into(), ..Default::default() };
        ids(&service, request).await.unwrap()
    };
    assert_eq!(by_reason(RateLimited).await, ["l0", "l3"]);
    assert_eq!(by_reason(InvalidLead).await, ["l2"]);
    assert_eq!(by_reason(Other).await, ["l4"]);
    assert_eq!(by_reason(AccountIssue).await, [""; 0]);

    let between = async |after: Option<i64>, before: Option<i64>| {
        let time = |minutes| stamp(at(minutes));
        let request = pb::ListLeadsRequest {
            last_action_after: after.map(time),
            last_action_before: before.map(time),
            ..Default::default()
        };
        ids(&service, request).await
    };
    assert_eq!(between(Some(40), None).await.unwrap(), ["l2", "l3", "l4"], "from then on");
    assert_eq!(between(None, Some(40)).await.unwrap(), ["l0", "l1"], "before then");
    assert_eq!(between(Some(50), Some(30)).await.unwrap(), ["l1", "l2"]);
    let both = pb::ListLeadsRequest {
        failure_reason: RateLimited.into(),
        last_action_after: Some(stamp(at(31))),
        ..Default::default()
    };
    assert_eq!(ids(&service, both).await.unwrap(), ["l3"]);

    let refused = between(Some(30), Some(30)).await;
    assert_refused(refused, Code::InvalidArgument, "INVALID_FIELD", "must be later than `last_action_after`");
    let unknown = pb::ListLeadsRequest { failure_reason: 99, ..Default::default() };
    let says = "failure_reason: must be ACCOUNT_ISSUE, INVALID_LEAD, RATE_LIMITED, CONTENT_REJECTED or OTHER";
    assert_refused(ids(&service, unknown).await, Code::InvalidArgument, "INVALID_FIELD", says);
    let broken = Some(prost_types::Timestamp { seconds: 0, nanos: -1 });
    for (field, request) in [
        ("last_action_after", pb::ListLeadsRequest { last_action_after: broken, ..Default::default() }),
        ("last_action_before", pb::ListLeadsRequest { last_action_before: broken, ..Default::default() }),
    ] {
        assert_refused(ids(&service, request).await, Code::InvalidArgument, "INVALID_FIELD", field);
    }
}
