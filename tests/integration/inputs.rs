//! Invalid input: the error names the field, the problem and the remedy, and nothing changes.

use campaign_metrics::pb::{self, OutcomeKind};
use futures::stream;
use tonic::Code;

use crate::{
    harness::service::Service,
    world::{
        WORKSPACE, account_name, add_leads, assert_refused, by_lead, campaign_name, create_account, create_campaign,
        get, report, settings, try_add,
    },
};

const INVALID: (Code, &str) = (Code::InvalidArgument, "INVALID_FIELD");

#[tokio::test]
async fn malformed_settings_of_a_campaign_are_refused_by_field() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    let with = |change: fn(&mut pb::Campaign)| {
        let mut campaign = settings(1, &["ann"]);
        change(&mut campaign);
        campaign
    };
    let window =
        |start: &str, end: &str| pb::ActiveWindow { start_time: start.into(), end_time: end.into(), days: vec![] };
    let hours = |windows: Vec<pb::ActiveWindow>, zone: &str| pb::Campaign {
        active_hours: Some(pb::ActiveHours { time_zone: zone.into(), windows }),
        ..settings(1, &["ann"])
    };
    let cases: Vec<(pb::Campaign, &str)> = vec![
        (with(|c| c.steps = 17), "campaign.steps: is 17, but must be from 1 to 16"),
        (with(|c| c.steps = -1), "campaign.steps: is -1"),
        (with(|c| c.daily_limit = Some(-1)), "campaign.daily_limit: is -1, but must be from 0"),
        (with(|c| c.daily_limit = Some(i32::MAX)), "campaign.daily_limit: is 2147483647"),
        (with(|c| c.settle_seconds = Some(-5)), "campaign.settle_seconds"),
        (with(|c| c.attribution_days = Some(400)), "campaign.attribution_days"),
        (with(|c| c.display_name = "x".repeat(257)), "campaign.display_name: has 257 characters, at most 256"),
        (with(|c| c.display_name = "a\0b".into()), "campaign.display_name: must not contain NUL"),
        (with(|c| c.accounts = vec!["ann".into()]), "campaign.accounts[0]: `ann` must have the form"),
        (
            with(|c| c.accounts = vec!["workspaces/other/accounts/ann".into()]),
            "campaign.accounts[0]: `workspaces/other",
        ),
        (with(|c| c.accounts = vec![String::new(); 1001]), "campaign.accounts: has 1001 entries"),
        (with(|c| c.claim_expiry_policy = 9), "campaign.claim_expiry_policy"),
        (
            with(|c| c.follow_up_delay = Some(prost_types::Duration { seconds: -1, nanos: 0 })),
            "campaign.follow_up_delay",
        ),
        (hours(vec![], "Mars/Olympus"), "campaign.active_hours.time_zone: `Mars/Olympus` is no IANA time zone"),
        (hours(vec![window("09:00", "09:00")], "UTC"), "campaign.active_hours.windows[0].end_time: equals the start"),
        (hours(vec![window("9:00", "10:00")], "UTC"), "campaign.active_hours.windows[0].start_time"),
        (hours(vec![window("09:00", "25:00")], "UTC"), "campaign.active_hours.windows[0].end_time"),
        (hours(vec![pb::ActiveWindow { days: vec![8], ..window("09:00", "10:00") }], "UTC"), "windows[0].days: 8"),
    ];
    for (campaign, says) in cases {
        let request = pb::CreateCampaignRequest {
            parent: WORKSPACE.into(),
            campaign_id: "spring".into(),
            campaign: Some(campaign),
            ..Default::default()
        };
        assert_refused(service.campaigns.clone().create_campaign(request).await, INVALID.0, INVALID.1, says);
    }
    let request = pb::ListCampaignsRequest { parent: WORKSPACE.into(), ..Default::default() };
    let listed = service.campaigns.clone().list_campaigns(request).await.unwrap().into_inner();
    assert_eq!(listed.campaigns, [], "nothing was created");
}

#[tokio::test]
async fn malformed_names_ids_and_tokens_are_refused_by_field() {
    let service = Service::start().await;
    let create = |parent: &str, id: &str, request_id: &str| {
        let request = pb::CreateCampaignRequest {
            parent: parent.into(),
            campaign_id: id.into(),
            campaign: Some(settings(1, &[])),
            request_id: request_id.into(),
        };
        let mut campaigns = service.campaigns.clone();
        async move { campaigns.create_campaign(request).await }
    };
    for (parent, id, request_id, says) in [
        ("", "spring", "", "parent: is required"),
        ("acme", "spring", "", "parent: `acme` must have the form `workspaces/{workspace}`"),
        ("workspaces/-", "spring", "", "parent: `-` must be"),
        ("workspaces/ACME", "spring", "", "parent: `ACME` must be"),
        (WORKSPACE, "", "", "campaign_id: is required"),
        (WORKSPACE, "Spring", "", "campaign_id: `Spring` must be"),
        (WORKSPACE, "a/b", "", "campaign_id"),
        (WORKSPACE, "a\0b", "", "campaign_id"),
        (WORKSPACE, "spring", "not-a-uuid", "request_id: must be a UUID"),
    ] {
        assert_refused(create(parent, id, request_id).await, INVALID.0, INVALID.1, says);
    }
    let mut campaigns = service.campaigns.clone();
    let page = |page_size: i32, page_token: &str| pb::ListCampaignsRequest {
        parent: WORKSPACE.into(),
        page_size,
        page_token: page_token.into(),
        ..Default::default()
    };
    assert_refused(
        campaigns.list_campaigns(page(-1, "")).await,
        INVALID.0,
        INVALID.1,
        "page_size: must not be negative",
    );
    assert_refused(
        campaigns.list_campaigns(page(0, "zzz")).await,
        INVALID.0,
        INVALID.1,
        "page_token: is not one of this query",
    );
    let name = "workspaces/acme/campaigns/spring/leads/sp ace".to_owned();
    assert_refused(
        service.leads.clone().get_lead(pb::GetLeadRequest { name }).await,
        INVALID.0,
        INVALID.1,
        "name: `sp ace`",
    );
    let request = pb::PauseCampaignRequest { name: campaign_name("spring"), etag: "r1".into(), ..Default::default() };
    assert_refused(campaigns.pause_campaign(request).await, INVALID.0, INVALID.1, "etag: is none of ours");
    let account = pb::Account { time_zone: "Nowhere".into(), ..Default::default() };
    let request = pb::CreateAccountRequest {
        parent: WORKSPACE.into(),
        account_id: "ann".into(),
        account: Some(account),
        ..Default::default()
    };
    assert_refused(
        service.accounts.clone().create_account(request).await,
        INVALID.0,
        INVALID.1,
        "account.time_zone: `Nowhere`",
    );
}

#[tokio::test]
async fn malformed_claims_and_batches_are_refused_as_a_whole() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "spring", settings(1, &["ann"])).await;
    add_leads(&service, "spring", 1, Some("ann"), false).await;
    let mut sending = service.sending.clone();
    for (max_claims, hold, says) in [
        (0, None, "max_claims: is 0, but must be from 1 to 1000"),
        (1001, None, "max_claims: is 1001"),
        (1, Some(0), "hold_duration: must be from 1s to 3600s"),
        (1, Some(3601), "hold_duration"),
    ] {
        let hold_duration = hold.map(|seconds| prost_types::Duration { seconds, nanos: 0 });
        let request =
            pb::ClaimSendsRequest { account: account_name("ann"), max_claims, hold_duration, ..Default::default() };
        assert_refused(sending.claim_sends(request).await, INVALID.0, INVALID.1, says);
    }
    let release =
        |claim_ids: Vec<String>| pb::ReleaseClaimsRequest { account: account_name("ann"), claim_ids, not_before: None };
    assert_refused(sending.release_claims(release(vec![])).await, INVALID.0, INVALID.1, "claim_ids: must not be empty");
    let bad = vec!["deadbeef-1-1-1-5".into(), "nonsense".into()];
    assert_refused(
        sending.release_claims(release(bad)).await,
        INVALID.0,
        INVALID.1,
        "claim_ids[1]: `nonsense` is no claim id",
    );
    let batch = |count: usize| pb::ReportOutcomesRequest {
        parent: WORKSPACE.into(),
        outcomes: vec![by_lead("spring", "l0", 1, OutcomeKind::Delivered); count],
    };
    let oversized = sending.report_outcomes(batch(5001)).await;
    assert_refused(
        oversized,
        INVALID.0,
        INVALID.1,
        "outcomes: has 5001 entries, at most 5000 fit in one call; split it",
    );
    assert_refused(sending.report_outcomes(batch(0)).await, INVALID.0, INVALID.1, "outcomes: must not be empty");
    let message = pb::Outcome { detail: "x".repeat(5 << 20), ..by_lead("spring", "l0", 1, OutcomeKind::Failed) };
    let request = pb::ReportOutcomesRequest { parent: WORKSPACE.into(), outcomes: vec![message] };
    let status = sending.report_outcomes(request).await.expect_err("a message of 5 MiB");
    assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
    assert_eq!(get(&service, "spring").await.lead_counts.unwrap().pending, 1, "nothing was taken");
    // The connection still works.
    assert_eq!(report(&service, vec![by_lead("spring", "l0", 1, OutcomeKind::Failed)]).await.len(), 1);
}

#[tokio::test]
async fn one_bad_lead_is_refused_by_itself_and_the_rest_is_added() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_account(&service, "bob", None).await;
    create_campaign(&service, "spring", settings(1, &["ann"])).await;
    let lead = |id: &str, account: &str| pb::NewLead { lead_id: id.into(), account_id: account.into() };
    let first =
        vec![lead("a", ""), lead("sp ace", ""), lead("b", "ann"), lead("c", "bob"), lead("d", "b\0b"), lead("a", "")];
    let second = vec![lead("e", ""), lead("", ""), lead("b", "ann")];
    let messages = [
        pb::AddLeadsRequest { parent: campaign_name("spring"), leads: first, ..Default::default() },
        pb::AddLeadsRequest { leads: second, ..Default::default() },
    ];
    let response = service.leads.clone().add_leads(stream::iter(messages)).await.unwrap().into_inner();
    assert_eq!((response.added_count, response.existing_count, response.refused_count), (3, 2, 4));
    let refused: Vec<(i64, &str)> = response.refused.iter().map(|lead| (lead.index, lead.reason.as_str())).collect();
    let expected =
        [(1, "INVALID_LEAD_ID"), (3, "ACCOUNT_NOT_SERVING"), (4, "INVALID_ACCOUNT_ID"), (7, "INVALID_LEAD_ID")];
    assert_eq!(refused, expected);
    assert_eq!(get(&service, "spring").await.lead_counts.unwrap().total, 3);
    let again = try_add(&service, "spring", vec![lead("b", ""), lead("b", "ann")], false).await.unwrap();
    assert_eq!((again.added_count, again.existing_count), (0, 2), "adding again changes nothing");
    let too_many = (0..5001).map(|number| lead(&format!("n{number}"), "")).collect();
    assert_refused(try_add(&service, "spring", too_many, false).await, INVALID.0, INVALID.1, "leads: has 5001 entries");
    let nowhere = try_add(&service, "winter", vec![lead("a", "")], false).await;
    assert_refused(nowhere, Code::NotFound, "NOT_FOUND", "workspaces/acme/campaigns/winter does not exist");
    let empty = service.leads.clone().add_leads(stream::iter([])).await;
    assert_refused(empty, INVALID.0, INVALID.1, "parent: is required");
}
