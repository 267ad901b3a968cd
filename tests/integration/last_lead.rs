//! What the deletion of leads does to counts and to the end of a campaign.

use campaign_metrics::pb::{self, CampaignState, FinishReason, OutcomeKind};

use crate::{
    harness::{recount::assert_counts, service::Service},
    world::{add_leads, by_lead, create_account, create_campaign, finish, get, lead_name, pause, report_new, settings},
};

async fn world(steps: i32) -> Service {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "spring", settings(steps, &["ann"])).await;
    service
}

async fn delete(service: &Service, id: &str) {
    let request = pb::DeleteLeadRequest { name: lead_name("spring", id), force: false };
    service.leads.clone().delete_lead(request).await.expect("it is deleted");
}

/// Pending, partial, sent and failed leads.
fn by_status(campaign: &pb::Campaign) -> [i64; 4] {
    let counts = campaign.lead_counts.unwrap();
    [counts.pending, counts.partial, counts.sent, counts.failed]
}

#[tokio::test]
async fn a_deleted_lead_ends_but_does_not_count_as_opted_out() {
    let service = world(2).await;
    add_leads(&service, "spring", 5, Some("ann"), false).await;
    let outcomes = vec![
        by_lead("spring", "l0", 1, OutcomeKind::Delivered),
        by_lead("spring", "l1", 0, OutcomeKind::AutoReplied),
        by_lead("spring", "l2", 0, OutcomeKind::OptedOut),
    ];
    report_new(&service, outcomes).await;
    for id in ["l0", "l1", "l2", "l3"] {
        delete(&service, id).await;
    }
    let campaign = get(&service, "spring").await;
    assert_eq!(by_status(&campaign), [1, 0, 1, 2], "sent after a delivery, else failed; l3 had no facts");
    let messages = campaign.message_counts.clone().unwrap();
    assert_eq!((messages.opted_out_leads, messages.delivered), (1, 1), "only l2 opted out");
    assert_eq!(campaign.state(), CampaignState::Active, "a lead is left");
    assert_counts(&*service.sql().await, &campaign).await;
}

#[tokio::test]
async fn a_complete_campaign_finishes_when_its_last_open_lead_or_its_only_lead_is_deleted() {
    for is_paused in [false, true] {
        let service = world(2).await;
        add_leads(&service, "spring", 2, Some("ann"), true).await;
        let outcomes =
            vec![by_lead("spring", "l0", 1, OutcomeKind::Bounced), by_lead("spring", "l1", 1, OutcomeKind::Delivered)];
        report_new(&service, outcomes).await;
        if is_paused {
            pause(&service, "spring").await;
        }
        delete(&service, "l1").await;
        let campaign = get(&service, "spring").await;
        assert_eq!((campaign.state(), campaign.finish_reason()), (CampaignState::Finished, FinishReason::Completed));
        assert_eq!(by_status(&campaign), [0, 0, 1, 1]);
        assert_counts(&*service.sql().await, &campaign).await;
    }
    for is_complete in [true, false] {
        let service = world(1).await;
        add_leads(&service, "spring", 1, None, is_complete).await;
        delete(&service, "l0").await;
        let campaign = get(&service, "spring").await;
        let expected = if is_complete { CampaignState::Finished } else { CampaignState::Active };
        assert_eq!((campaign.state(), campaign.lead_counts.unwrap().total), (expected, 0));
    }
}

#[tokio::test]
async fn a_finished_campaign_keeps_its_counts_when_leads_are_deleted() {
    let service = world(2).await;
    add_leads(&service, "spring", 3, Some("ann"), false).await;
    let outcomes =
        vec![by_lead("spring", "l0", 1, OutcomeKind::Delivered), by_lead("spring", "l1", 0, OutcomeKind::AutoReplied)];
    report_new(&service, outcomes).await;
    let before = finish(&service, "spring").await;
    for id in ["l0", "l1"] {
        delete(&service, id).await;
    }
    let campaign = get(&service, "spring").await;
    assert_eq!(by_status(&before), [2, 1, 0, 0]);
    assert_eq!((campaign.lead_counts, &campaign.message_counts), (before.lead_counts, &before.message_counts));
    assert_counts(&*service.sql().await, &campaign).await;
}

#[tokio::test]
async fn results_settle_for_seven_days_by_default() {
    let service = world(1).await;
    let campaign = get(&service, "spring").await;
    assert_eq!(campaign.settle_seconds, Some(7 * 24 * 3600));
}
