//! Shorthands for tests: they create, change and read resources over the API.

use campaign_metrics::{
    pb::{self, OutcomeKind},
    sending::LEADS_MAX,
};
use futures::stream;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::harness::{
    postgres::Connection,
    service::Service,
    wait::{SOON, until},
};

pub const WORKSPACE: &str = "workspaces/acme";

pub fn account_name(id: &str) -> String {
    format!("{WORKSPACE}/accounts/{id}")
}

pub fn campaign_name(id: &str) -> String {
    format!("{WORKSPACE}/campaigns/{id}")
}

pub fn lead_name(campaign: &str, lead: &str) -> String {
    format!("{WORKSPACE}/campaigns/{campaign}/leads/{lead}")
}

/// Returns settings of a campaign with so many steps, served by these accounts.
pub fn settings(steps: i32, accounts: &[&str]) -> pb::Campaign {
    let accounts = accounts.iter().map(|id| account_name(id)).collect();
    let follow_up_delay = Some(prost_types::Duration { seconds: 3600, nanos: 0 });
    pb::Campaign { steps, accounts, follow_up_delay, ..Default::default() }
}

pub async fn create_account(service: &Service, id: &str, daily_limit: Option<i32>) -> pb::Account {
    let account = Some(pb::Account { daily_limit, ..Default::default() });
    let request =
        pb::CreateAccountRequest { parent: WORKSPACE.into(), account_id: id.into(), account, ..Default::default() };
    service.accounts.clone().create_account(request).await.expect("an account").into_inner()
}

/// Creates an account in a time zone.
pub async fn account_in(service: &Service, id: &str, time_zone: &str, daily_limit: Option<i32>) {
    let account = pb::Account { daily_limit, time_zone: time_zone.into(), ..Default::default() };
    let request = pb::CreateAccountRequest {
        parent: WORKSPACE.into(),
        account_id: id.into(),
        account: Some(account),
        ..Default::default()
    };
    service.accounts.clone().create_account(request).await.expect("an account");
}

pub async fn create_campaign(service: &Service, id: &str, campaign: pb::Campaign) -> pb::Campaign {
    let request = pb::CreateCampaignRequest {
        parent: WORKSPACE.into(),
        campaign_id: id.into(),
        campaign: Some(campaign),
        ..Default::default()
    };
    service.campaigns.clone().create_campaign(request).await.expect("a campaign").into_inner()
}

/// Sets the accounts that serve a campaign.
pub async fn assign(service: &Service, campaign: &str, accounts: &[&str]) -> pb::Campaign {
    let accounts = accounts.iter().map(|id| account_name(id)).collect();
    let request = pb::UpdateCampaignRequest {
        campaign: Some(pb::Campaign { name: campaign_name(campaign), accounts, ..Default::default() }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["accounts".into()] }),
    };
    service.campaigns.clone().update_campaign(request).await.expect("it is assigned").into_inner()
}

/// Leads of a campaign as `lead/account`, sorted, because a message is stored by account. At most 1000.
pub async fn leads_with_accounts(service: &Service, campaign: &str) -> Vec<String> {
    let request = pb::ListLeadsRequest { parent: campaign_name(campaign), page_size: 1000, ..Default::default() };
    let leads = service.leads.clone().list_leads(request).await.unwrap().into_inner().leads;
    let id = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
    let mut leads: Vec<_> = leads.iter().map(|lead| format!("{}/{}", id(&lead.name), id(&lead.account))).collect();
    leads.sort();
    leads
}

pub async fn get(service: &Service, campaign: &str) -> pb::Campaign {
    let name = campaign_name(campaign);
    service.campaigns.clone().get_campaign(pb::GetCampaignRequest { name }).await.expect("it exists").into_inner()
}

pub async fn try_add(
    service: &Service,
    campaign: &str,
    leads: Vec<pb::NewLead>,
    lead_list_complete: bool,
) -> Result<pb::AddLeadsResponse, Status> {
    let request = pb::AddLeadsRequest { parent: campaign_name(campaign), leads, lead_list_complete };
    Ok(service.leads.clone().add_leads(stream::iter([request])).await?.into_inner())
}

/// Adds leads `l0`, `l1` and so on, assigned to the account if one is given.
pub async fn add_leads(service: &Service, campaign: &str, count: usize, account: Option<&str>, complete: bool) {
    let lead = |number| pb::NewLead { lead_id: format!("l{number}"), account_id: account.unwrap_or_default().into() };
    for first in (0..count.max(1)).step_by(LEADS_MAX) {
        let end = count.min(first + LEADS_MAX);
        let leads = (first..end).map(lead).collect();
        let response = try_add(service, campaign, leads, complete && end == count).await.expect("leads");
        assert_eq!(response.refused, [], "no lead is refused");
    }
}

pub async fn try_claim(service: &Service, account: &str, max_claims: i32) -> Result<pb::ClaimSendsResponse, Status> {
    let request = pb::ClaimSendsRequest { account: account_name(account), max_claims, ..Default::default() };
    Ok(service.sending.clone().claim_sends(request).await?.into_inner())
}

pub async fn claim(service: &Service, account: &str, max_claims: i32) -> pb::ClaimSendsResponse {
    try_claim(service, account, max_claims).await.expect("an answer")
}

/// The reasons of the only campaign that is named, or of the account's.
pub fn reasons(response: &pb::ClaimSendsResponse) -> Vec<pb::NotSendingReason> {
    response.not_sending.iter().flat_map(pb::CampaignNotSending::reasons).collect()
}

pub fn by_key(claim: &pb::Claim, kind: OutcomeKind) -> pb::Outcome {
    pb::Outcome { send_key: claim.send_key.clone(), kind: kind.into(), ..Default::default() }
}

pub fn by_lead(campaign: &str, lead: &str, step: i32, kind: OutcomeKind) -> pb::Outcome {
    pb::Outcome { lead: lead_name(campaign, lead), step, kind: kind.into(), ..Default::default() }
}

pub async fn report(service: &Service, outcomes: Vec<pb::Outcome>) -> Vec<pb::OutcomeResult> {
    let request = pb::ReportOutcomesRequest { parent: WORKSPACE.into(), outcomes };
    service.sending.clone().report_outcomes(request).await.expect("verdicts").into_inner().results
}

/// Reports outcomes that must all be new.
pub async fn report_new(service: &Service, outcomes: Vec<pb::Outcome>) {
    for result in report(service, outcomes).await {
        assert_eq!(result.verdict(), pb::OutcomeVerdict::Applied, "{}: {}", result.reason, result.message);
    }
}

/// Opens a stream that takes one batch of outcomes and ends with an error.
pub async fn fail_stream(service: &Service, outcomes: Vec<pb::Outcome>) -> Status {
    let request = |outcomes| pb::StreamOutcomesRequest { parent: WORKSPACE.into(), outcomes };
    // No batch is empty.
    let requests = stream::iter([request(outcomes), request(vec![])]);
    let mut answers = service.sending.clone().stream_outcomes(requests).await.expect("a stream").into_inner();
    loop {
        match answers.message().await {
            Ok(answer) => assert!(answer.is_some(), "the stream ends with an error"),
            Err(status) => return status,
        }
    }
}

pub async fn pause(service: &Service, campaign: &str) -> pb::Campaign {
    let request = pb::PauseCampaignRequest { name: campaign_name(campaign), ..Default::default() };
    service.campaigns.clone().pause_campaign(request).await.expect("it pauses").into_inner()
}

pub async fn resume(service: &Service, campaign: &str) -> pb::Campaign {
    let request = pb::ResumeCampaignRequest { name: campaign_name(campaign), ..Default::default() };
    service.campaigns.clone().resume_campaign(request).await.expect("it resumes").into_inner()
}

pub async fn finish(service: &Service, campaign: &str) -> pb::Campaign {
    let request = pb::FinishCampaignRequest { name: campaign_name(campaign), ..Default::default() };
    service.campaigns.clone().finish_campaign(request).await.expect("it finishes").into_inner()
}

/// Returns how many transactions the service has retried.
pub async fn retries(service: &Service) -> i64 {
    service.metric_sum("campaign_metrics_transaction_retries_total").await
}

/// Waits until at least `count` sessions wait for a lock of `holder`, directly or in its queue.
///
/// Sessions that wait for other locks do not count.
pub async fn blocked(watcher: &Connection, holder: &Connection, count: i64) {
    let pid: i32 = holder.query_one("SELECT pg_backend_pid()", &[]).await.expect("the holder is there").get(0);
    let sql = "WITH RECURSIVE waiting AS MATERIALIZED (
            SELECT pid, pg_blocking_pids(pid) AS behind FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock'
        ), blocked AS (
            SELECT pid FROM waiting WHERE $1 = ANY (behind)
            UNION
            SELECT w.pid FROM waiting w JOIN blocked b ON b.pid = ANY (w.behind)
        ) SELECT count(*) FROM blocked";
    let wait = until("sessions to wait for the holder's lock", SOON, async || {
        let waiting: i64 = watcher.query_one(sql, &[&pid]).await?.get(0);
        anyhow::ensure!(waiting >= count, "{waiting} wait, not {count}");
        Ok(())
    });
    wait.await.expect("they wait");
}

/// Checks a refusal: its code, the reason of its ErrorInfo, and what its message or bad field says.
#[track_caller]
pub fn assert_refused<T: std::fmt::Debug>(result: Result<T, Status>, code: Code, reason: &str, says: &str) {
    let status = result.expect_err("it is refused");
    assert_eq!(status.code(), code, "{status:?}");
    let info = status.get_details_error_info().expect("an ErrorInfo");
    assert_eq!((info.domain.as_str(), info.reason.as_str()), ("campaign-metrics.io", reason), "{status:?}");
    assert!(status.message().contains(says), "`{}` says `{says}`", status.message());
    if reason == "INVALID_FIELD" {
        let request = status.get_details_bad_request().expect("a BadRequest");
        let field = &request.field_violations[0].field;
        assert!(status.message().starts_with(field.as_str()), "`{}` names {field}", status.message());
    }
}
