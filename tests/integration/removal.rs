//! Actions of people: resolving uncertain claims, opt-outs, deleting and reassigning leads, deleting campaigns.

use std::time::Duration;

use campaign_metrics::pb::{self, CampaignState, LeadStatus, NotSendingReason as Why, OutcomeKind, Resolution};
use tonic::{Code, Status};

use crate::{
    harness::{
        parts::binary,
        recount::assert_counts,
        run::{Output, run},
        service::Service,
    },
    world::{
        WORKSPACE, account_name, add_leads, assert_refused, assign, by_key, by_lead, campaign_name, claim,
        create_account, create_campaign, get, lead_name, reasons, report, report_new, settings, try_add,
    },
};

async fn world(steps: i32) -> Service {
    let service = Service::start().await;
    create_account(&service, "ann", Some(100)).await;
    create_campaign(&service, "spring", settings(steps, &["ann"])).await;
    service
}

async fn resolve(service: &Service, claims: &[(&pb::Claim, Resolution)]) -> pb::ResolveClaimsResponse {
    let resolutions = claims
        .iter()
        .map(|(claim, resolution)| pb::ClaimResolution {
            claim_id: claim.claim_id.clone(),
            resolution: (*resolution).into(),
        })
        .collect();
    let request = pb::ResolveClaimsRequest { account: account_name("ann"), resolutions };
    service.sending.clone().resolve_claims(request).await.expect("an answer").into_inner()
}

async fn campaignctl(service: &Service, arguments: &str) -> Output {
    let mut command = tokio::process::Command::new(binary("campaignctl").unwrap());
    command.args(["--server", &service.url, "-w", WORKSPACE.trim_start_matches("workspaces/")]);
    command.args(arguments.split(' '));
    run(command, "").await.unwrap()
}

async fn opt_out(service: &Service, ids: &[&str]) -> i32 {
    let lead_ids = ids.iter().map(|id| (*id).to_owned()).collect();
    let request = pb::AddOptOutsRequest { parent: WORKSPACE.into(), lead_ids };
    service.opt_outs.clone().add_opt_outs(request).await.expect("they are listed").into_inner().added_count
}

async fn opted_out(service: &Service) -> Vec<String> {
    let mut names = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = pb::ListOptOutsRequest { parent: WORKSPACE.into(), page_size: 2, page_token };
        let page = service.opt_outs.clone().list_opt_outs(request).await.expect("a page").into_inner();
        names.extend(page.opt_outs.into_iter().map(|opt_out| opt_out.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return names;
        }
    }
}

async fn try_delete_lead(service: &Service, lead: &str, force: bool) -> Result<pb::DeleteLeadResponse, Status> {
    let request = pb::DeleteLeadRequest { name: lead_name("spring", lead), force };
    Ok(service.leads.clone().delete_lead(request).await?.into_inner())
}

async fn try_get_lead(service: &Service, campaign: &str, lead: &str) -> Result<pb::Lead, Status> {
    let request = pb::GetLeadRequest { name: lead_name(campaign, lead) };
    Ok(service.leads.clone().get_lead(request).await?.into_inner())
}

async fn assert_exact(service: &Service, campaign: &str) -> pb::Campaign {
    let campaign = get(service, campaign).await;
    let sql = service.sql().await;
    assert_counts(&sql, &campaign).await;
    campaign
}

#[tokio::test]
async fn an_uncertain_claim_is_resolved_as_sent_or_not_sent() {
    let service = world(1).await;
    add_leads(&service, "spring", 4, None, true).await;
    let claims = claim(&service, "ann", 3).await.claims;
    let held = resolve(&service, &[(&claims[0], Resolution::Sent)]).await;
    assert_eq!((held.resolved_count, held.not_uncertain_claim_ids.len()), (0, 1), "it is held, not uncertain");

    service.clock.advance(Duration::from_hours(1));
    assert_eq!(get(&service, "spring").await.uncertain_claims, 3);
    let both = [(&claims[0], Resolution::Sent), (&claims[1], Resolution::NotSent), (&claims[1], Resolution::Sent)];
    let answer = resolve(&service, &both).await;
    assert_eq!(answer.resolved_count, 2);
    assert!(answer.not_uncertain_claim_ids.is_empty(), "of an id twice the first one counts: {answer:?}");
    let again = resolve(&service, &both[..2]).await;
    assert_eq!(again.resolved_count, 0, "what is resolved stays so");

    let campaign = assert_exact(&service, "spring").await;
    assert_eq!((campaign.uncertain_claims, campaign.in_flight_claims), (1, 0));
    assert_eq!(campaign.lead_counts.map(|counts| (counts.sent, counts.pending)), Some((1, 3)));
    let request = pb::ListLeadOutcomesRequest { parent: claims[0].lead.clone(), ..Default::default() };
    let trail = service.leads.clone().list_lead_outcomes(request).await.unwrap().into_inner().outcomes;
    assert_eq!((trail.len(), trail[0].detail.as_str()), (1, "resolved as sent"));
    assert_eq!(trail[0].account, account_name("ann"));

    let due = claim(&service, "ann", 10).await;
    let keys: Vec<_> = due.claims.iter().map(|claim| &claim.send_key).collect();
    assert!(keys.contains(&&claims[1].send_key) && keys.len() == 2, "what was not sent is due again: {keys:?}");
    assert!(reasons(&due).contains(&Why::UncertainClaims), "the third one still waits");
    report_new(&service, due.claims.iter().map(|claim| by_key(claim, OutcomeKind::Delivered)).collect()).await;
    assert_eq!(get(&service, "spring").await.state(), CampaignState::Active);
    resolve(&service, &[(&claims[2], Resolution::Sent)]).await;
    assert_eq!(get(&service, "spring").await.state(), CampaignState::Finished, "a resolution can finish a campaign");
    assert_exact(&service, "spring").await;
}

#[tokio::test]
async fn a_claim_resolved_as_not_sent_gives_its_reservations_back() {
    let service = Service::start().await;
    create_account(&service, "ann", Some(2)).await;
    create_campaign(&service, "spring", pb::Campaign { daily_limit: Some(2), ..settings(1, &["ann"]) }).await;
    add_leads(&service, "spring", 9, None, false).await;
    let claims = claim(&service, "ann", 9).await.claims;
    assert_eq!(claims.len(), 2);
    service.clock.advance(Duration::from_hours(1));
    assert_eq!(claim(&service, "ann", 9).await.claims.len(), 0, "uncertain claims keep their share");
    resolve(&service, &[(&claims[0], Resolution::NotSent)]).await;
    assert_eq!(claim(&service, "ann", 9).await.claims.len(), 1);
}

#[tokio::test]
async fn an_opt_out_of_one_campaign_applies_to_all() {
    let service = world(2).await;
    create_campaign(&service, "autumn", settings(1, &["ann"])).await;
    create_campaign(&service, "over", settings(1, &["ann"])).await;
    for campaign in ["spring", "autumn", "over"] {
        add_leads(&service, campaign, 3, None, true).await;
    }
    let over = (0..3).map(|lead| by_lead("over", &format!("l{lead}"), 1, OutcomeKind::Delivered)).collect();
    report_new(&service, over).await;
    assert_eq!(get(&service, "over").await.state(), CampaignState::Finished);

    report_new(&service, vec![by_lead("spring", "l1", 0, OutcomeKind::OptedOut)]).await;
    assert_eq!(opted_out(&service).await, [format!("{WORKSPACE}/optOuts/l1")]);
    for campaign in ["spring", "autumn"] {
        let lead = try_get_lead(&service, campaign, "l1").await.unwrap();
        assert_eq!(lead.status(), LeadStatus::Failed, "{campaign}");
        let counts = assert_exact(&service, campaign).await.message_counts.unwrap();
        assert_eq!(counts.opted_out_leads, 1, "{campaign}");
    }
    let sent = try_get_lead(&service, "over", "l1").await.unwrap();
    assert_eq!(sent.status(), LeadStatus::Sent, "a delivered message stays delivered");
    let claims = claim(&service, "ann", 100).await.claims;
    assert!(claims.iter().all(|claim| !claim.lead.ends_with("/l1")) && claims.len() == 4, "{claims:?}");

    // A listed id that is added later, twice, counts as opted out once.
    let leads: Vec<_> = ["l1", "n1"].map(|id| pb::NewLead { lead_id: id.into(), ..Default::default() }).into();
    create_campaign(&service, "winter", settings(1, &["ann"])).await;
    for _ in 0..2 {
        try_add(&service, "winter", leads.clone(), false).await.unwrap();
    }
    let winter = assert_exact(&service, "winter").await;
    assert_eq!(winter.lead_counts.map(|counts| (counts.failed, counts.pending)), Some((1, 1)));
    assert_eq!(claim(&service, "ann", 100).await.claims.len(), 1);
}

#[tokio::test]
async fn opt_outs_are_added_listed_by_page_and_deleted() {
    let service = world(1).await;
    add_leads(&service, "spring", 2, None, true).await;
    assert_eq!(opt_out(&service, &["z", "l0", "m", "l0", "nobody@example.org"]).await, 4);
    assert_eq!(opt_out(&service, &["z", "l1"]).await, 1, "one was on the list already");
    let listed = ["l0", "l1", "m", "nobody@example.org", "z"].map(|id| format!("{WORKSPACE}/optOuts/{id}"));
    assert_eq!(opted_out(&service).await, listed);
    let campaign = assert_exact(&service, "spring").await;
    assert_eq!(campaign.state(), CampaignState::Finished, "no lead is left");

    let delete = |name: &str| {
        let request = pb::DeleteOptOutRequest { name: format!("{WORKSPACE}/optOuts/{name}") };
        let mut opt_outs = service.opt_outs.clone();
        async move { opt_outs.delete_opt_out(request).await }
    };
    delete("m").await.expect("it is on the list");
    assert_refused(delete("m").await, Code::NotFound, "NOT_FOUND", "optOuts/m");
    create_campaign(&service, "autumn", settings(1, &["ann"])).await;
    let leads = ["m", "z"].map(|id| pb::NewLead { lead_id: id.into(), ..Default::default() });
    try_add(&service, "autumn", leads.into(), false).await.unwrap();
    let claims = claim(&service, "ann", 10).await.claims;
    assert_eq!(claims.iter().map(|claim| claim.lead.as_str()).collect::<Vec<_>>(), [lead_name("autumn", "m")]);

    let bad = pb::AddOptOutsRequest { parent: WORKSPACE.into(), lead_ids: vec!["fine".into(), "sp ace".into()] };
    let refused = service.opt_outs.clone().add_opt_outs(bad).await;
    assert_refused(refused, Code::InvalidArgument, "INVALID_FIELD", "lead_ids[1]");
}

#[tokio::test]
async fn a_deleted_lead_with_facts_keeps_its_counts_but_neither_id_nor_text() {
    let service = world(2).await;
    add_leads(&service, "spring", 3, None, true).await;
    let claims = claim(&service, "ann", 1).await.claims;
    let lead = claims[0].lead.rsplit('/').next().unwrap().to_owned();
    assert_refused(try_delete_lead(&service, &lead, false).await, Code::FailedPrecondition, "CLAIMS_OPEN", "claim");
    let delivered = pb::Outcome { detail: "to ann@example.org".into(), ..by_key(&claims[0], OutcomeKind::Delivered) };
    report_new(&service, vec![delivered.clone()]).await;
    try_delete_lead(&service, &lead, false).await.expect("it is forgotten");

    assert_refused(try_get_lead(&service, "spring", &lead).await, Code::NotFound, "NOT_FOUND", &lead);
    assert_refused(try_delete_lead(&service, &lead, false).await, Code::NotFound, "NOT_FOUND", &lead);
    let request = pb::ListLeadsRequest { parent: campaign_name("spring"), page_size: 2, ..Default::default() };
    let listed = service.leads.clone().list_leads(request).await.unwrap().into_inner();
    let others = (0..3).map(|number| lead_name("spring", &format!("l{number}"))).filter(|name| *name != claims[0].lead);
    assert_eq!(listed.leads.iter().map(|lead| lead.name.clone()).collect::<Vec<_>>(), others.collect::<Vec<_>>());
    assert!(
        listed.leads.iter().all(|lead| lead.status() == LeadStatus::Pending),
        "none has what is told of another one"
    );
    let late = pb::Outcome { detail: "from ann@example.org".into(), ..by_key(&claims[0], OutcomeKind::Bounced) };
    report_new(&service, vec![late]).await;
    let again = report(&service, vec![delivered]).await;
    assert_eq!(again[0].verdict(), pb::OutcomeVerdict::Duplicate, "late outcomes count by key");
    let sql = service.sql().await;
    let texts: i64 = sql.query_one("SELECT count(*) FROM outcomes WHERE detail IS NOT NULL", &[]).await.unwrap().get(0);
    assert_eq!(texts, 0, "no text is left, nor comes again");
    let campaign = assert_exact(&service, "spring").await;
    assert_eq!(campaign.lead_counts.map(|counts| (counts.pending, counts.failed)), Some((2, 1)));

    // A lead without facts leaves the total; with force even if it is claimed.
    let claims = claim(&service, "ann", 1).await.claims;
    let claimed = claims[0].lead.rsplit('/').next().unwrap().to_owned();
    try_delete_lead(&service, &claimed, true).await.expect("it is removed");
    let late = report(&service, vec![by_key(&claims[0], OutcomeKind::Delivered)]).await;
    assert_eq!(late[0].reason, "UNKNOWN_LEAD");
    let campaign = assert_exact(&service, "spring").await;
    assert_eq!((campaign.lead_counts.unwrap().pending, campaign.in_flight_claims), (1, 0));
    let last = (0..3).map(|lead| format!("l{lead}")).find(|id| *id != lead && *id != claimed).unwrap();
    try_delete_lead(&service, &last, false).await.expect("it is removed");
    let campaign = assert_exact(&service, "spring").await;
    assert_eq!(campaign.state(), CampaignState::Finished, "a removal can finish a campaign");
}

#[tokio::test]
async fn leads_of_an_account_that_left_go_to_others_evenly() {
    let service = world(2).await;
    for account in ["ben", "eve"] {
        create_account(&service, account, None).await;
    }
    add_leads(&service, "spring", 10, None, true).await;
    let claims = claim(&service, "ann", 9).await.claims;
    report_new(&service, claims[..8].iter().map(|claim| by_key(claim, OutcomeKind::Delivered)).collect()).await;
    let reassign = |from: &str, to: &[&str]| {
        let request = pb::ReassignLeadsRequest {
            parent: campaign_name("spring"),
            from_account: account_name(from),
            to_accounts: to.iter().map(|id| account_name(id)).collect(),
        };
        let mut leads = service.leads.clone();
        async move { Ok::<_, Status>(leads.reassign_leads(request).await?.into_inner()) }
    };
    assert_refused(reassign("ann", &["ben"]).await, Code::FailedPrecondition, "ACCOUNT_SERVING", "ann");
    assign(&service, "spring", &["ben", "eve"]).await;
    assert_refused(reassign("ann", &["ann"]).await, Code::FailedPrecondition, "ACCOUNT_NOT_SERVING", "ann");

    service.clock.advance(Duration::from_hours(2));
    let moved = reassign("ann", &["ben", "eve"]).await.unwrap();
    assert_eq!((moved.reassigned_count, moved.more), (8, false), "the ninth is claimed, the tenth has no account");
    let follow_ups = |claims: Vec<pb::Claim>| claims.iter().filter(|claim| claim.step == 2).count();
    let (ben, eve) = (claim(&service, "ben", 50).await.claims, claim(&service, "eve", 50).await.claims);
    assert_eq!((follow_ups(ben), follow_ups(eve)), (4, 4));
    // Its claim has ended late. Now it waits, too.
    report_new(&service, vec![by_key(&claims[8], OutcomeKind::Delivered)]).await;
    assert_eq!(reassign("ann", &["ben", "eve"]).await.unwrap().reassigned_count, 1);
    assert_exact(&service, "spring").await;
}

#[tokio::test]
async fn leads_that_ended_do_not_wait_for_an_account_that_left() {
    let service = world(2).await;
    create_account(&service, "ben", None).await;
    add_leads(&service, "spring", 4, None, false).await;
    let claims = claim(&service, "ann", 4).await.claims;
    report_new(&service, claims.iter().map(|claim| by_key(claim, OutcomeKind::Delivered)).collect()).await;
    assign(&service, "spring", &["ben"]).await;
    let why = async || {
        let campaign = get(&service, "spring").await;
        let removed =
            "campaign_metrics_campaign_not_sending{workspace=\"acme\",campaign=\"spring\",reason=\"account_removed\"}";
        let metrics = service.admin("/metrics").await;
        let gauge = metrics.lines().find_map(|line| line.strip_prefix(removed)).expect("a gauge").trim().to_owned();
        (campaign.not_sending_reasons().collect::<Vec<_>>(), gauge, reasons(&claim(&service, "ben", 1).await))
    };
    let waiting = vec![Why::AccountRemoved, Why::NoLeadDue];
    assert_eq!(why().await, (waiting.clone(), "1".to_owned(), waiting.clone()));

    report_new(&service, vec![by_key(&claims[0], OutcomeKind::Replied)]).await;
    report_new(&service, vec![by_key(&claims[1], OutcomeKind::Failed)]).await;
    service.store().returns_tidy().await.unwrap();
    assert_eq!(why().await, (waiting.clone(), "1".to_owned(), waiting), "three still wait");
    // The delivery supersedes the failure that came after it.
    let request = pb::ReassignLeadsRequest {
        parent: campaign_name("spring"),
        from_account: account_name("ann"),
        to_accounts: vec![account_name("ben")],
    };
    report_new(&service, vec![by_key(&claims[1], OutcomeKind::OptedOut)]).await;
    let moved = service.leads.clone().reassign_leads(request).await.unwrap().into_inner();
    assert_eq!((moved.reassigned_count, moved.more), (2, false), "not who replied or opted out");
    let replied = pb::GetLeadRequest { name: claims[0].lead.clone() };
    let replied = service.leads.clone().get_lead(replied).await.unwrap().into_inner();
    assert_eq!(replied.account, account_name("ann"), "it keeps its account");

    // The account of the other two leaves, too, and they end.
    create_account(&service, "eve", None).await;
    assign(&service, "spring", &["eve"]).await;
    assert_eq!(get(&service, "spring").await.not_sending_reasons().next(), Some(Why::AccountRemoved));
    report_new(&service, claims[2..].iter().map(|claim| by_key(claim, OutcomeKind::Replied)).collect()).await;
    service.store().returns_tidy().await.unwrap();
    let campaign = assert_exact(&service, "spring").await;
    assert_eq!(campaign.not_sending_reasons().collect::<Vec<_>>(), [Why::NoLeadDue]);
}

#[tokio::test]
async fn a_deleted_campaign_is_gone_at_once_and_its_rows_soon() {
    let service = world(1).await;
    add_leads(&service, "spring", 50, None, false).await;
    let claims = claim(&service, "ann", 20).await.claims;
    report_new(&service, claims.iter().map(|claim| by_key(claim, OutcomeKind::Delivered)).collect()).await;
    let request = pb::DeleteCampaignRequest { name: campaign_name("spring"), ..Default::default() };
    service.campaigns.clone().delete_campaign(request).await.expect("it is deleted");
    let late = report(&service, vec![by_key(&claims[0], OutcomeKind::Replied)]).await;
    assert_eq!(late[0].reason, "UNKNOWN_LEAD");
    // A campaign of the same name is a new one.
    create_campaign(&service, "spring", settings(1, &["ann"])).await;
    assert_eq!(get(&service, "spring").await.lead_counts.map(|counts| counts.pending), Some(0));
    service.store().campaigns_drain().await.expect("what is left goes");
    let sql = service.sql().await;
    for table in ["leads", "lead_ids", "outcomes", "returns", "segments", "claims", "deleted_campaigns"] {
        let rows: i64 = sql.query_one(&format!("SELECT count(*) FROM {table}"), &[]).await.unwrap().get(0);
        assert_eq!(rows, 0, "{table}");
    }
}

#[tokio::test]
async fn uncertain_claims_are_listed_and_resolved_at_a_terminal() {
    let service = world(1).await;
    add_leads(&service, "spring", 3, None, true).await;
    let held = campaignctl(&service, "claims list --account ann --state uncertain").await.success().unwrap();
    assert_eq!(held.trim(), "no such claim");
    let claims = claim(&service, "ann", 3).await.claims;
    service.clock.advance(Duration::from_mins(6));

    let listed = campaignctl(&service, "-o json claims list --account ann --state uncertain").await.success().unwrap();
    let listed: Vec<serde_json::Value> = serde_json::from_str(&listed).unwrap();
    let ids: Vec<&str> = listed.iter().filter_map(|claim| claim["claimId"].as_str()).collect();
    assert_eq!(ids, claims.iter().map(|claim| claim.claim_id.as_str()).collect::<Vec<_>>());

    let said =
        campaignctl(&service, &format!("claims resolve --account ann --sent {}", ids[0])).await.success().unwrap();
    assert_eq!(said.trim(), "resolved 1 of 1");
    let again = campaignctl(&service, &format!("claims resolve --account ann --not-sent {}", ids.join(" "))).await;
    assert_eq!(again.status.code(), Some(2), "{again:?}");
    assert_eq!(again.stdout, format!("resolved 2 of 3\n{} is not uncertain: nothing was changed\n", ids[0]));
    let campaign = assert_exact(&service, "spring").await;
    assert_eq!(campaign.lead_counts.unwrap().sent, 1);
    assert_eq!(claim(&service, "ann", 3).await.claims.len(), 2, "what was not sent is due again");
}
