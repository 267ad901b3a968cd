//! Campaigns: states, ownership, finish, deletion, settings.

use std::time::Duration;

use campaign_metrics::pb::{self, CampaignState, FinishReason, OutcomeKind, OutcomeVerdict};
use futures::future::join_all;
use jiff::ToSpan as _;
use tonic::{Code, Status};

use crate::{
    edges::{at, claim_for, move_to},
    harness::{
        recount::assert_counts,
        service::{Service, monday},
    },
    world::{
        WORKSPACE, add_leads, assert_refused, by_key, by_lead, campaign_name, claim, create_account, create_campaign,
        finish, get, pause, report, report_new, resume, settings, try_add,
    },
};

async fn update(service: &Service, campaign: pb::Campaign, paths: &[&str]) -> Result<pb::Campaign, Status> {
    let paths: Vec<String> = paths.iter().map(ToString::to_string).collect();
    let update_mask = (!paths.is_empty()).then_some(prost_types::FieldMask { paths });
    let request = pb::UpdateCampaignRequest { campaign: Some(campaign), update_mask };
    Ok(service.campaigns.clone().update_campaign(request).await?.into_inner())
}

fn owner(uid: &str, generation: i64) -> pb::Owner {
    pb::Owner { resource: "acme/spring".into(), uid: uid.into(), generation, ..Default::default() }
}

async fn apply(
    service: &Service,
    campaign: pb::Campaign,
    state: CampaignState,
    owner: pb::Owner,
) -> Result<pb::Campaign, Status> {
    let request = pb::ApplyCampaignRequest {
        campaign: Some(pb::Campaign { name: campaign_name("spring"), ..campaign }),
        state: state.into(),
        owner: Some(owner),
        ..Default::default()
    };
    Ok(service.campaigns.clone().apply_campaign(request).await?.into_inner())
}

#[tokio::test]
async fn states_change_as_the_table_says_and_finished_is_for_good() {
    let service = Service::start().await;
    let created = create_campaign(&service, "spring", settings(1, &[])).await;
    assert_eq!(created.state(), CampaignState::Active);
    assert_eq!(created.progress_ratio, None, "no leads, no progress");
    assert_eq!(resume(&service, "spring").await.etag, created.etag, "nothing changed");
    assert_eq!(pause(&service, "spring").await.state(), CampaignState::Paused);
    assert_eq!(pause(&service, "spring").await.state(), CampaignState::Paused);
    assert_eq!(resume(&service, "spring").await.state(), CampaignState::Active);
    let finished = finish(&service, "spring").await;
    assert_eq!((finished.state(), finished.finish_reason()), (CampaignState::Finished, FinishReason::Requested));
    assert!(finished.finish_time.is_some());
    finish(&service, "spring").await;
    let name = campaign_name("spring");
    let resumed = service
        .campaigns
        .clone()
        .resume_campaign(pb::ResumeCampaignRequest { name: name.clone(), ..Default::default() })
        .await;
    assert_refused(resumed, Code::FailedPrecondition, "ILLEGAL_TRANSITION", "FINISHED can't become ACTIVE");
    let paused =
        service.campaigns.clone().pause_campaign(pb::PauseCampaignRequest { name, ..Default::default() }).await;
    assert_refused(paused, Code::FailedPrecondition, "ILLEGAL_TRANSITION", "FINISHED can't become PAUSED");
    let added =
        try_add(&service, "spring", vec![pb::NewLead { lead_id: "late".into(), ..Default::default() }], false).await;
    assert_refused(added, Code::FailedPrecondition, "CAMPAIGN_FINISHED", "takes no more leads (1 of these are new)");
}

#[tokio::test]
async fn a_finished_campaign_knows_its_leads_and_refuses_only_what_would_change_it() {
    let service = Service::start().await;
    create_campaign(&service, "spring", settings(1, &[])).await;
    let lead = |id: &str| pb::NewLead { lead_id: id.into(), ..Default::default() };
    let leads = || vec![lead("a"), lead("b")];
    try_add(&service, "spring", leads(), false).await.unwrap();
    let finished = finish(&service, "spring").await;
    let again = try_add(&service, "spring", leads(), false).await.unwrap();
    assert_eq!((again.added_count, again.existing_count, again.refused_count), (0, 2, 0));
    for (more, complete, says) in [
        (vec![lead("a"), lead("c"), lead("d")], false, "(2 of these are new)"),
        (leads(), true, "its lead list stays open"),
        (Vec::new(), true, "its lead list stays open"),
    ] {
        let refused = try_add(&service, "spring", more, complete).await;
        assert_refused(refused, Code::FailedPrecondition, "CAMPAIGN_FINISHED", says);
    }
    assert_eq!(get(&service, "spring").await, finished, "nothing was changed");

    create_campaign(&service, "whole", settings(1, &[])).await;
    try_add(&service, "whole", leads(), true).await.unwrap();
    finish(&service, "whole").await;
    let again = try_add(&service, "whole", leads(), true).await.unwrap();
    assert_eq!((again.added_count, again.existing_count), (0, 2), "it was complete before");
}

#[tokio::test]
async fn creating_twice_is_refused_unless_it_is_the_same_request() {
    let service = Service::start().await;
    let request = pb::CreateCampaignRequest {
        parent: WORKSPACE.into(),
        campaign_id: "spring".into(),
        campaign: Some(settings(2, &[])),
        request_id: "0a9c24e8-3b12-4fef-91e0-5a1d2f3c4b5a".into(),
    };
    let mut campaigns = service.campaigns.clone();
    let first = campaigns.create_campaign(request.clone()).await.unwrap().into_inner();
    let again = campaigns.create_campaign(request.clone()).await.unwrap().into_inner();
    assert_eq!(again, first);
    let other_body = pb::CreateCampaignRequest { campaign_id: "autumn".into(), ..request.clone() };
    assert_refused(
        campaigns.create_campaign(other_body).await,
        Code::AlreadyExists,
        "REQUEST_ID_REUSED",
        "another body",
    );
    let other_request = pb::CreateCampaignRequest { request_id: String::new(), ..request };
    assert_refused(
        campaigns.create_campaign(other_request).await,
        Code::AlreadyExists,
        "CAMPAIGN_EXISTS",
        "choose another id",
    );
}

#[tokio::test]
async fn an_update_changes_what_its_mask_names_and_only_for_the_present_etag() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    let created =
        create_campaign(&service, "spring", pb::Campaign { daily_limit: Some(5), ..settings(1, &["ann"]) }).await;
    let name = created.name.clone();
    let new = pb::Campaign {
        name: name.clone(),
        display_name: "Spring".into(),
        etag: created.etag.clone(),
        ..Default::default()
    };
    let updated = update(&service, new.clone(), &["display_name", "daily_limit"]).await.unwrap();
    assert_eq!((updated.display_name.as_str(), updated.daily_limit), ("Spring", None), "an absent limit is none");
    assert_eq!(updated.accounts, created.accounts, "not named, not changed");
    assert_ne!(updated.etag, created.etag);
    assert_refused(update(&service, new, &["display_name"]).await, Code::Aborted, "ETAG_MISMATCH", "read again");
    let implied = pb::Campaign { name: name.clone(), daily_limit: Some(7), ..Default::default() };
    let updated = update(&service, implied, &[]).await.unwrap();
    assert_eq!(
        (updated.display_name.as_str(), updated.daily_limit),
        ("Spring", Some(7)),
        "without a mask: what is set"
    );
    for path in ["state", "steps", "nonsense", "lead_counts", ""] {
        let request = pb::Campaign { name: name.clone(), ..Default::default() };
        assert_refused(
            update(&service, request, &[path]).await,
            Code::InvalidArgument,
            "INVALID_FIELD",
            "can't be updated",
        );
    }
    let other_steps = pb::Campaign { name: name.clone(), steps: 2, ..Default::default() };
    assert_refused(update(&service, other_steps, &[]).await, Code::InvalidArgument, "INVALID_FIELD", "is fixed at 1");
    let name = campaign_name("nowhere");
    let missing = update(&service, pb::Campaign { name, ..Default::default() }, &["display_name"]).await;
    assert_refused(missing, Code::NotFound, "NOT_FOUND", "does not exist");
}

#[tokio::test]
async fn a_campaign_finishes_by_itself_when_its_list_is_complete_whatever_comes_last() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    let sql = service.sql().await;
    for (campaign, declared_by) in [("by-outcome", "leads"), ("by-update", "update"), ("by-empty-add", "add")] {
        create_campaign(&service, campaign, settings(1, &["ann"])).await;
        add_leads(&service, campaign, 2, Some("ann"), declared_by == "leads").await;
        let outcomes =
            vec![by_lead(campaign, "l0", 1, OutcomeKind::Delivered), by_lead(campaign, "l1", 1, OutcomeKind::Failed)];
        report_new(&service, outcomes).await;
        if declared_by != "leads" {
            assert_eq!(get(&service, campaign).await.state(), CampaignState::Active, "the list may go on");
        }
        let name = campaign_name(campaign);
        match declared_by {
            "update" => {
                let complete = pb::Campaign { name, lead_list_complete: true, ..Default::default() };
                update(&service, complete, &["lead_list_complete"]).await.unwrap();
            }
            "add" => {
                try_add(&service, campaign, Vec::new(), true).await.unwrap();
            }
            _ => {}
        }
        let finished = get(&service, campaign).await;
        assert_eq!(
            (finished.state(), finished.finish_reason()),
            (CampaignState::Finished, FinishReason::Completed),
            "{campaign}"
        );
        assert_eq!(finished.progress_ratio, Some(1.0));
        assert_counts(&sql, &finished).await;
    }
    create_campaign(&service, "empty", settings(1, &["ann"])).await;
    try_add(&service, "empty", Vec::new(), true).await.unwrap();
    assert_eq!(get(&service, "empty").await.state(), CampaignState::Active, "without leads there is nothing to finish");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_finishes_when_its_last_outcomes_and_its_declaration_are_concurrent() {
    let one = Service::start().await;
    let two = Service::on(&one.database, one.clock.clone()).await;
    create_account(&one, "ann", None).await;
    for round in 0..8 {
        let campaign = format!("race-{round}");
        create_campaign(&one, &campaign, settings(1, &["ann"])).await;
        add_leads(&one, &campaign, 10, Some("ann"), false).await;
        let reports = (0..10).map(|lead| {
            let service = if lead % 2 == 0 { &one } else { &two };
            report_new(service, vec![by_lead(&campaign, &format!("l{lead}"), 1, OutcomeKind::Delivered)])
        });
        let (declared, _) = futures::join!(try_add(&two, &campaign, Vec::new(), true), join_all(reports));
        declared.unwrap();
        assert_eq!(get(&one, &campaign).await.state(), CampaignState::Finished, "{campaign}");
    }
}

#[tokio::test]
async fn results_become_final_after_settling_and_replies_are_taken_for_the_attribution_time() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    let short = pb::Campaign { settle_seconds: Some(60), attribution_days: Some(1), ..settings(1, &["ann"]) };
    create_campaign(&service, "spring", short).await;
    add_leads(&service, "spring", 3, Some("ann"), false).await;
    report_new(&service, vec![by_lead("spring", "l0", 1, OutcomeKind::Delivered)]).await;
    let claims = claim(&service, "ann", 1).await.claims;
    finish(&service, "spring").await;
    report_new(&service, vec![by_key(&claims[0], OutcomeKind::Delivered)]).await;
    let store = service.store();
    assert_eq!(store.campaigns_finalize().await.unwrap(), 0, "the settling time is not over");
    service.clock.advance(Duration::from_secs(400));
    assert_eq!(store.campaigns_finalize().await.unwrap(), 1);
    assert!(get(&service, "spring").await.finalized_time.is_some());
    let outcomes = vec![
        by_lead("spring", "l0", 1, OutcomeKind::Delivered),
        by_lead("spring", "l0", 1, OutcomeKind::Bounced),
        by_lead("spring", "l2", 0, OutcomeKind::Replied),
    ];
    let told: Vec<OutcomeVerdict> = report(&service, outcomes).await.iter().map(pb::OutcomeResult::verdict).collect();
    assert_eq!(told, [OutcomeVerdict::Duplicate, OutcomeVerdict::Rejected, OutcomeVerdict::Applied]);
    let campaign = get(&service, "spring").await;
    assert_eq!(campaign.lead_counts.unwrap().sent, 3, "a late reply still moves its lead");
    service.clock.advance(Duration::from_hours(48));
    let late = report(&service, vec![by_lead("spring", "l0", 0, OutcomeKind::Converted)]).await;
    assert_eq!(late[0].reason, "CAMPAIGN_FINAL");
    assert_counts(&*service.sql().await, &get(&service, "spring").await).await;
}

#[tokio::test]
async fn a_managed_campaign_obeys_its_owner_alone() {
    let service = Service::start().await;
    let active = CampaignState::Active;
    let applied = apply(&service, settings(2, &[]), active, owner("u-1", 1)).await.unwrap();
    let again = apply(&service, settings(2, &[]), active, owner("u-1", 1)).await.unwrap();
    assert_eq!(again.etag, applied.etag, "applying again changes nothing");
    let name = campaign_name("spring");
    let mut campaigns = service.campaigns.clone();
    let managed = |result: Result<(), Status>, attempt: &str, way: &str| {
        let message = format!(
            "to {attempt}, edit the Campaign resource acme/spring{way}. If that resource is gone for good, orphan the campaign"
        );
        assert_refused(result, Code::FailedPrecondition, "CAMPAIGN_MANAGED", &message);
    };
    let paused = campaigns.pause_campaign(pb::PauseCampaignRequest { name: name.clone(), ..Default::default() }).await;
    managed(paused.map(drop), "pause it", ", or pause it with `override`, which places a hold");
    let resume = pb::ResumeCampaignRequest { name: name.clone(), ..Default::default() };
    managed(campaigns.resume_campaign(resume).await.map(drop), "resume it", "");
    let finish = pb::FinishCampaignRequest { name: name.clone(), ..Default::default() };
    managed(campaigns.finish_campaign(finish).await.map(drop), "finish it", "");
    let new = pb::Campaign { name: name.clone(), display_name: "x".into(), ..Default::default() };
    managed(update(&service, new, &[]).await.map(drop), "change its settings", "");
    let deleted =
        campaigns.delete_campaign(pb::DeleteCampaignRequest { name: name.clone(), ..Default::default() }).await;
    managed(deleted.map(drop), "delete it", " so that its `deletionPolicy` is Delete, and delete the resource");
    let foreign = apply(&service, settings(2, &[]), active, owner("u-2", 1)).await;
    assert_refused(foreign, Code::FailedPrecondition, "CAMPAIGN_OWNED", "acme/spring");
    let paused = apply(&service, settings(2, &[]), CampaignState::Paused, owner("u-1", 3)).await.unwrap();
    assert_eq!(paused.state(), CampaignState::Paused);
    let stale = apply(&service, settings(2, &[]), active, owner("u-1", 2)).await;
    assert_refused(stale, Code::Aborted, "STALE_OWNER", "generation 3");
    let fixed = apply(&service, settings(3, &[]), active, owner("u-1", 4)).await;
    assert_refused(fixed, Code::FailedPrecondition, "IMMUTABLE_FIELD", "campaign.steps");
    let missing = apply(&service, settings(2, &["ghost"]), active, owner("u-1", 4)).await;
    assert_refused(missing, Code::FailedPrecondition, "ACCOUNT_NOT_FOUND", "create it first");
    apply(&service, settings(2, &[]), CampaignState::Finished, owner("u-1", 5)).await.unwrap();
    let satisfied = apply(&service, settings(2, &[]), active, owner("u-1", 6)).await.unwrap();
    assert_eq!(satisfied.state(), CampaignState::Finished, "finished satisfies every state");
    let request = pb::OrphanCampaignRequest { name: name.clone(), owner_uid: "u-2".into(), ..Default::default() };
    assert_refused(campaigns.orphan_campaign(request).await, Code::FailedPrecondition, "CAMPAIGN_OWNED", "acme/spring");
    let request = pb::OrphanCampaignRequest { name: name.clone(), owner_uid: "u-1".into(), ..Default::default() };
    assert_eq!(campaigns.orphan_campaign(request).await.unwrap().into_inner().owner, None);
    let never = pb::ApplyCampaignRequest {
        campaign: Some(pb::Campaign { name, ..settings(2, &[]) }),
        owner: Some(owner("u-3", 1)),
        adoption_policy: pb::AdoptionPolicy::Never.into(),
        ..Default::default()
    };
    assert_refused(
        campaigns.apply_campaign(never).await,
        Code::FailedPrecondition,
        "CAMPAIGN_NOT_ADOPTABLE",
        "adoption_policy",
    );
}

#[tokio::test]
async fn deleting_is_refused_while_claims_are_open_unless_forced_and_keeps_the_accounts_figures() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "spring", settings(1, &["ann"])).await;
    add_leads(&service, "spring", 2, None, false).await;
    let claims = claim(&service, "ann", 2).await.claims;
    report_new(&service, vec![by_key(&claims[0], OutcomeKind::Delivered)]).await;
    let mut campaigns = service.campaigns.clone();
    let request = pb::DeleteCampaignRequest { name: campaign_name("spring"), ..Default::default() };
    let refused = campaigns.delete_campaign(request.clone()).await;
    assert_refused(refused, Code::FailedPrecondition, "CLAIMS_OPEN", "1 claims held or uncertain");
    campaigns.delete_campaign(pb::DeleteCampaignRequest { force: true, ..request.clone() }).await.unwrap();
    assert_refused(campaigns.delete_campaign(request).await, Code::NotFound, "NOT_FOUND", "does not exist");
    let late = report(&service, vec![by_key(&claims[1], OutcomeKind::Delivered)]).await;
    assert_eq!(late[0].reason, "UNKNOWN_LEAD");
    let request = pb::GetAccountRequest { name: crate::world::account_name("ann") };
    let account = service.accounts.clone().get_account(request).await.unwrap().into_inner();
    assert_eq!(account.lifetime.unwrap().delivered, 1);
    let request = pb::DeleteAccountRequest { name: crate::world::account_name("ann"), ..Default::default() };
    service.accounts.clone().delete_account(request).await.unwrap();
}

#[tokio::test]
async fn a_campaign_tells_by_when_its_claims_expire_however_many_were_closed_that_were_held_for_longer() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "spring", settings(1, &["ann"])).await;
    add_leads(&service, "spring", 35, Some("ann"), false).await;
    let minute = monday().checked_add(1.minute()).unwrap();
    assert_eq!(claim_for(&service, 60, 0).await.unwrap().claims.len(), 1);
    let close_another = async || {
        // Reported backwards, so that the row of both stays until it expires.
        for claim in claim(&service, "ann", 2).await.claims.iter().rev() {
            report_new(&service, vec![by_key(claim, OutcomeKind::Delivered)]).await;
        }
    };
    for closed in 1..=16 {
        close_another().await;
        let campaign = get(&service, "spring").await;
        assert_eq!((campaign.in_flight_claims, at(campaign.in_flight_until.as_ref())), (1, minute), "{closed} closed");
    }
    // Behind so many it may be told later than it is, but never less and never not at all.
    close_another().await;
    let paused = pause(&service, "spring").await;
    assert_eq!(paused.in_flight_claims, 1);
    assert!(at(paused.in_flight_until.as_ref()) >= minute);
    move_to(&service, minute);
    let over = get(&service, "spring").await;
    assert_eq!((over.in_flight_claims, over.uncertain_claims, over.in_flight_until), (0, 1, None));
}
