//! Several workspaces in one database, with the same ids and different numbers. A call that names one neither shows nor
//! changes another.

use std::time::Duration;

use campaign_metrics::pb::{
    self, OutcomeKind, OutcomeVerdict, campaign_service_client::CampaignServiceClient, watch_campaigns_response::Change,
};
use futures::stream;

use crate::{
    harness::{recount::assert_counts, service::Service},
    world::assert_refused,
};

/// Workspaces with the number of leads of their campaign and of those delivered. One name is a prefix of another.
const TENANTS: [(&str, usize, usize); 3] = [("acme", 5, 2), ("acme-2", 7, 3), ("zeta", 11, 4)];

fn parent(workspace: &str) -> String {
    format!("workspaces/{workspace}")
}

fn account(workspace: &str) -> String {
    format!("workspaces/{workspace}/accounts/ann")
}

fn campaign(workspace: &str, id: &str) -> String {
    format!("workspaces/{workspace}/campaigns/{id}")
}

/// Each workspace has an account `ann` and campaigns `one` and `two`; leads `l0` and so on are in `one`.
async fn world() -> Service {
    let service = Service::start().await;
    for (workspace, leads, delivered) in TENANTS {
        let limit = i32::try_from(10 * leads).unwrap();
        let request = pb::CreateAccountRequest {
            parent: parent(workspace),
            account_id: "ann".into(),
            account: Some(pb::Account { daily_limit: Some(limit), ..Default::default() }),
            ..Default::default()
        };
        service.accounts.clone().create_account(request).await.expect("an account");
        for id in ["one", "two"] {
            let campaign = pb::Campaign { accounts: vec![account(workspace)], steps: 1, ..Default::default() };
            let request = pb::CreateCampaignRequest {
                parent: parent(workspace),
                campaign_id: id.into(),
                campaign: Some(campaign),
                // The same request id in each workspace is a different request.
                request_id: format!("7f9c24e8-3b12-4fef-91e0-00000000000{}", id.len() - 3 + usize::from(id == "two")),
            };
            service.campaigns.clone().create_campaign(request).await.expect("a campaign");
        }
        let new = (0..leads).map(|number| pb::NewLead { lead_id: format!("l{number}"), ..Default::default() });
        let request =
            pb::AddLeadsRequest { parent: campaign(workspace, "one"), leads: new.collect(), lead_list_complete: false };
        service.leads.clone().add_leads(stream::iter([request])).await.expect("leads");
        let outcomes = (0..delivered).map(|number| of_lead(workspace, number, OutcomeKind::Delivered));
        report(&service, workspace, outcomes.collect()).await;
    }
    service
}

fn of_lead(workspace: &str, number: usize, kind: OutcomeKind) -> pb::Outcome {
    let step = i32::from(kind == OutcomeKind::Delivered);
    let lead = format!("{}/leads/l{number}", campaign(workspace, "one"));
    pb::Outcome { lead, step, kind: kind.into(), ..Default::default() }
}

async fn report(service: &Service, workspace: &str, outcomes: Vec<pb::Outcome>) -> Vec<pb::OutcomeResult> {
    let request = pb::ReportOutcomesRequest { parent: parent(workspace), outcomes };
    service.sending.clone().report_outcomes(request).await.expect("verdicts").into_inner().results
}

async fn get(service: &Service, workspace: &str) -> pb::Campaign {
    let request = pb::GetCampaignRequest { name: campaign(workspace, "one") };
    service.campaigns.clone().get_campaign(request).await.expect("it exists").into_inner()
}

async fn listed(service: &Service, parent: &str, page_size: i32) -> Vec<pb::Campaign> {
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = pb::ListCampaignsRequest { parent: parent.into(), page_size, page_token, ..Default::default() };
        let page = service.campaigns.clone().list_campaigns(request).await.expect("a page").into_inner();
        all.extend(page.campaigns);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return all;
        }
    }
}

#[tokio::test]
async fn lists_show_their_own_workspace_alone_and_all_of_them_only_when_asked_for() {
    let service = world().await;
    let sql = service.sql().await;
    let mut everything = Vec::new();
    for (workspace, leads, delivered) in TENANTS {
        let own = listed(&service, &parent(workspace), 1).await;
        let names: Vec<&str> = own.iter().map(|campaign| campaign.name.as_str()).collect();
        assert_eq!(names, [campaign(workspace, "one"), campaign(workspace, "two")], "campaigns of {workspace}");
        let counts = own[0].lead_counts.unwrap();
        let expected = (i64::try_from(leads).unwrap(), i64::try_from(delivered).unwrap());
        assert_eq!((counts.total, counts.sent), expected, "{workspace}");
        assert_counts(&sql, &own[0]).await;
        everything.extend(own);

        let request = pb::ListAccountsRequest { parent: parent(workspace), ..Default::default() };
        let accounts = service.accounts.clone().list_accounts(request).await.unwrap().into_inner().accounts;
        let accounts: Vec<_> = accounts
            .iter()
            .map(|account| (account.name.clone(), account.daily_limit, account.reserved_today, account.campaign_count))
            .collect();
        let (limit, reserved) = (i32::try_from(10 * leads).ok(), 0);
        assert_eq!(accounts, [(account(workspace), limit, reserved, 2)], "accounts of {workspace}");
    }
    assert_eq!(listed(&service, "workspaces/-", 4).await, everything, "all of them, in order");
    assert_eq!(listed(&service, "workspaces/nobody", 4).await, [], "a workspace that does not exist has none");
}

#[tokio::test]
async fn a_watch_sends_campaigns_of_its_own_workspace_alone() {
    let service = world().await;
    let min_interval = Some(prost_types::Duration { seconds: 0, nanos: 100_000_000 });
    let request = pb::WatchCampaignsRequest { parent: parent("acme"), min_interval };
    // Its own connection, because a connection must not outlive its runtime.
    let mut client = CampaignServiceClient::connect(service.url.clone()).await.unwrap();
    let mut stream = client.watch_campaigns(request).await.unwrap().into_inner();
    let mut next = async || {
        let next = tokio::time::timeout(Duration::from_secs(20), stream.message()).await.expect("in time");
        match next.unwrap().expect("the stream goes on").change.expect("a change") {
            Change::Campaign(campaign) => campaign.name,
            Change::Synced(()) => "synced".to_owned(),
            Change::Deleted(name) => format!("deleted {name}"),
        }
    };
    for expected in [campaign("acme", "one"), campaign("acme", "two"), "synced".into()] {
        assert_eq!(next().await, expected, "what exists comes first");
    }
    // Campaigns of other workspaces change, are created and deleted. The next message is about its own campaign.
    report(&service, "acme-2", vec![of_lead("acme-2", 5, OutcomeKind::Delivered)]).await;
    let request = pb::DeleteCampaignRequest { name: campaign("zeta", "two"), ..Default::default() };
    service.campaigns.clone().delete_campaign(request).await.unwrap();
    let request = pb::CreateCampaignRequest {
        parent: parent("zeta"),
        campaign_id: "three".into(),
        campaign: Some(pb::Campaign::default()),
        ..Default::default()
    };
    service.campaigns.clone().create_campaign(request).await.unwrap();
    let request = pb::DeleteCampaignRequest { name: campaign("acme", "two"), ..Default::default() };
    service.campaigns.clone().delete_campaign(request).await.unwrap();
    assert_eq!(next().await, format!("deleted {}", campaign("acme", "two")));
    report(&service, "acme", vec![of_lead("acme", 4, OutcomeKind::Delivered)]).await;
    assert_eq!(next().await, campaign("acme", "one"));
}

#[tokio::test]
async fn claims_outcomes_and_opt_outs_stay_in_their_workspace() {
    let service = world().await;
    let sql = service.sql().await;
    let claim = async |workspace: &str, max_claims: i32| {
        let request = pb::ClaimSendsRequest { account: account(workspace), max_claims, ..Default::default() };
        service.sending.clone().claim_sends(request).await.expect("an answer").into_inner().claims
    };
    let mut keys = Vec::new();
    for (workspace, leads, delivered) in TENANTS {
        let claims = claim(workspace, 100).await;
        assert_eq!(claims.len(), leads - delivered, "{workspace}");
        let prefix = format!("{}/", campaign(workspace, "one"));
        assert!(claims.iter().all(|claim| claim.lead.starts_with(&prefix)), "{claims:?}");
        let request = pb::ListClaimsRequest { account: account(workspace), ..Default::default() };
        let listed = service.sending.clone().list_claims(request).await.unwrap().into_inner().claims;
        assert_eq!(listed.len(), claims.len(), "{workspace}");
        keys.push(claims[0].send_key.clone());
    }
    // Keys and leads of another workspace are unknown.
    let foreign = pb::Outcome { send_key: keys[1].clone(), kind: OutcomeKind::Delivered.into(), ..Default::default() };
    let results = report(&service, "acme", vec![foreign, of_lead("zeta", 9, OutcomeKind::Delivered)]).await;
    let told: Vec<_> = results.iter().map(|result| (result.verdict(), result.reason.as_str())).collect();
    assert_eq!(told, [(OutcomeVerdict::Rejected, "UNKNOWN_LEAD"), (OutcomeVerdict::Rejected, "INVALID_OUTCOME")]);
    let other = pb::ReleaseClaimsRequest { account: account("acme"), claim_ids: vec![], not_before: None };
    assert_refused(
        service.sending.clone().release_claims(other).await,
        tonic::Code::InvalidArgument,
        "INVALID_FIELD",
        "claim_ids",
    );

    report(&service, "zeta", vec![of_lead("zeta", 4, OutcomeKind::OptedOut)]).await;
    for (workspace, _, delivered) in TENANTS {
        let request = pb::ListOptOutsRequest { parent: parent(workspace), ..Default::default() };
        let listed = service.opt_outs.clone().list_opt_outs(request).await.unwrap().into_inner().opt_outs;
        let names: Vec<&str> = listed.iter().map(|opt_out| opt_out.name.as_str()).collect();
        let expected: &[&str] = if workspace == "zeta" { &["workspaces/zeta/optOuts/l4"] } else { &[] };
        assert_eq!(names, expected, "opt-outs of {workspace}");
        let campaign = get(&service, workspace).await;
        let counts = campaign.message_counts.clone().unwrap();
        let expected = (i64::try_from(delivered).unwrap(), i64::from(workspace == "zeta"));
        assert_eq!((counts.delivered, counts.opted_out_leads), expected, "{workspace}");
        assert_counts(&sql, &campaign).await;
    }
}
