//! What PerformanceService refuses: resources that do not exist, malformed fields, tokens of other queries.

use campaign_metrics::pb;
use tonic::{Code, Response, Status};

use super::{compared, history, history_of, spring};
use crate::world::{account_name, assert_refused, campaign_name};

async fn refused<T: std::fmt::Debug>(
    answer: impl Future<Output = Result<Response<T>, Status>>,
    (code, reason): (Code, &str),
    says: &str,
) {
    assert_refused(answer.await, code, reason, says);
}

type History = pb::QueryCampaignHistoryRequest;

const INVALID: (Code, &str) = (Code::InvalidArgument, "INVALID_FIELD");
const NOT_FOUND: (Code, &str) = (Code::NotFound, "NOT_FOUND");

#[tokio::test]
async fn what_does_not_exist_is_not_found() {
    let service = spring().await;
    let nowhere = "workspaces/acme/campaigns/winter does not exist";
    let call = || service.performance.clone();
    refused(call().query_campaign_history(history_of("winter")), NOT_FOUND, nowhere).await;
    let request = pb::ListCampaignAccountsRequest { parent: campaign_name("winter"), ..Default::default() };
    refused(call().list_campaign_accounts(request), NOT_FOUND, nowhere).await;
    refused(call().compare_campaigns(compared(&["spring", "winter"], 0)), NOT_FOUND, nowhere).await;
    let nobody = "workspaces/acme/accounts/cas does not exist";
    let request = pb::QueryAccountHistoryRequest { name: account_name("cas"), ..Default::default() };
    refused(call().query_account_history(request), NOT_FOUND, nobody).await;
    let request = pb::DiagnoseCampaignRequest { name: campaign_name("winter") };
    refused(call().diagnose_campaign(request), NOT_FOUND, nowhere).await;
    let request = pb::DiagnoseAccountRequest { name: account_name("cas") };
    refused(call().diagnose_account(request), NOT_FOUND, nobody).await;
    let elsewhere = pb::CompareCampaignsRequest {
        parent: "workspaces/zeta".into(),
        campaigns: ["a", "b"].map(|id| format!("workspaces/zeta/campaigns/{id}")).to_vec(),
        age_days: 0,
    };
    refused(call().compare_campaigns(elsewhere), NOT_FOUND, "workspaces/zeta/campaigns/a does not exist").await;
}

/// Makes a request wrong in one way.
type Change = fn(&mut History);

#[tokio::test]
async fn malformed_requests_are_refused_by_field() {
    let service = spring().await;
    let call = || service.performance.clone();
    let cases: [(Change, &str); 8] = [
        (|of| of.name = String::new(), "name: is required"),
        (|of| of.name = "spring".into(), "name: `spring` must have the form"),
        (|of| of.first_day = "02/03/2026".into(), "first_day: `02/03/2026` is no UTC day"),
        (|of| of.last_day = "1999-12-31".into(), "last_day: `1999-12-31` is no UTC day of the years 2000"),
        (|of| of.first_day = "2026-03-03".into(), "first_day: 2026-03-03 is after the last day, 2026-03-02"),
        (|of| of.first_day = "2025-01-26".into(), "first_day: 2025-01-26 to 2026-03-02 are 401 days, at most 400"),
        (|of| of.page_size = -1, "page_size: must not be negative; leave it out for 400"),
        (|of| of.page_token = "zz".into(), "page_token: is not one of this query"),
    ];
    for (change, says) in cases {
        let mut request = history_of("spring");
        change(&mut request);
        refused(call().query_campaign_history(request), INVALID, says).await;
    }
    for (name, first_day, says) in [
        ("ann", "", "name: `ann` must have the form"),
        ("workspaces/acme/accounts/ann", "2026-03-2", "first_day: `2026-03-2` is no UTC day"),
        ("workspaces/acme/accounts/ann", "2025-01-26", "first_day: 2025-01-26 to 2026-03-02 are 401 days"),
    ] {
        let request =
            pb::QueryAccountHistoryRequest { name: name.into(), first_day: first_day.into(), ..Default::default() };
        refused(call().query_account_history(request), INVALID, says).await;
    }
    for (parent, page_size, page_token, says) in [
        ("acme", 0, "", "parent: `acme` must have the form"),
        ("workspaces/acme/campaigns/spring", -1, "", "page_size: must not be negative; leave it out for 100"),
        ("workspaces/acme/campaigns/spring", 0, "zz", "page_token: is not one of this query"),
    ] {
        let request =
            pb::ListCampaignAccountsRequest { parent: parent.into(), page_size, page_token: page_token.into() };
        refused(call().list_campaign_accounts(request), INVALID, says).await;
    }
    for name in ["", "acme", "workspaces/-", "workspaces/acme/campaigns/spring"] {
        refused(call().get_workspace_totals(pb::GetWorkspaceTotalsRequest { name: name.into() }), INVALID, "name: ")
            .await;
    }
    refused(call().diagnose_campaign(pb::DiagnoseCampaignRequest { name: "x".into() }), INVALID, "name: `x`").await;
    refused(call().diagnose_account(pb::DiagnoseAccountRequest { name: "x".into() }), INVALID, "name: `x`").await;
    for (campaigns, age_days, says) in [
        (&["spring"][..], 0, "campaigns: has 1 entries, but 2 to 20 can be compared"),
        (&["spring"; 21], 0, "campaigns: has 21 entries"),
        (&["spring", "summer", "spring"], 0, "campaigns[2]: `workspaces/acme/campaigns/spring` is listed twice"),
        (&["spring", "Summer"], 0, "campaigns[1]: `Summer` must be"),
        (&["spring", "summer"], 2, "age_days: is 2, but must be 1, 3, 7, 14 or 30"),
    ] {
        refused(call().compare_campaigns(compared(campaigns, age_days)), INVALID, says).await;
    }
    let other = pb::CompareCampaignsRequest { parent: "workspaces/zeta".into(), ..compared(&["spring", "summer"], 0) };
    refused(call().compare_campaigns(other), INVALID, "campaigns[0]: belongs to another workspace than `parent`").await;
}

#[tokio::test]
async fn a_token_serves_only_the_query_that_made_it() {
    let service = spring().await;
    let call = || service.performance.clone();
    let says = "page_token: is not one of this query";
    let query = pb::QueryCampaignHistoryRequest { page_size: 1, by_account: true, ..history_of("spring") };
    let token = history(&service, query.clone()).await.unwrap().next_page_token;
    assert!(!token.is_empty());
    let others: [fn(&mut History); 4] = [
        |of| of.name = campaign_name("summer"),
        |of| of.by_account = false,
        |of| of.first_day = "2026-02-01".into(),
        |of| of.last_day = "2026-03-02".into(),
    ];
    for change in others {
        let mut request = pb::QueryCampaignHistoryRequest { page_token: token.clone(), ..query.clone() };
        change(&mut request);
        refused(call().query_campaign_history(request), INVALID, says).await;
    }
    let page = |campaign: &str, page_token: &str| pb::ListCampaignAccountsRequest {
        parent: campaign_name(campaign),
        page_size: 1,
        page_token: page_token.into(),
    };
    refused(call().list_campaign_accounts(page("spring", &token)), INVALID, says).await;
    let accounts = call().list_campaign_accounts(page("spring", "")).await.unwrap().into_inner().next_page_token;
    assert!(!accounts.is_empty());
    refused(call().list_campaign_accounts(page("summer", &accounts)), INVALID, says).await;
    let request = pb::QueryCampaignHistoryRequest { page_token: accounts, ..query };
    refused(call().query_campaign_history(request), INVALID, says).await;
}
