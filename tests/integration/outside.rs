//! Third-party tools on a running service: grpcurl by reflection alone, promtool on its metrics.

use serde_json::{Value, json};

use crate::harness::{
    recount::assert_counts,
    service::Service,
    tools::{grpcurl, grpcurl_list, promtool_check},
};
use campaign_metrics::pb;

#[tokio::test]
async fn reflection_shows_every_service_of_the_api() {
    let service = Service::start().await;
    let listed = grpcurl_list(&service.url, "").await.unwrap();
    for name in
        ["AccountService", "CampaignService", "LeadService", "OptOutService", "PerformanceService", "SendingService"]
    {
        assert!(listed.contains(&format!("campaign_metrics.v1.{name}")), "{listed}");
    }
    assert!(listed.contains("grpc.health.v1.Health"), "{listed}");
}

#[tokio::test]
async fn grpcurl_alone_takes_a_campaign_from_its_leads_to_its_end() {
    let service = Service::start().await;
    let call = async |method: &str, request: Value| -> Value {
        let output = grpcurl(&service.url, &format!("campaign_metrics.v1.{method}"), &request).await.unwrap();
        serde_json::from_str(&output.success().unwrap()).expect("one answer")
    };
    let (account, campaign) = ("workspaces/w/accounts/ann", "workspaces/w/campaigns/spring");
    call("AccountService/CreateAccount", json!({"parent": "workspaces/w", "account_id": "ann"})).await;
    let settings = json!({"parent": "workspaces/w", "campaign_id": "spring", "campaign": {"accounts": [account]}});
    call("CampaignService/CreateCampaign", settings).await;
    let leads = json!({"parent": campaign, "leads": [{"lead_id": "a"}, {"lead_id": "b"}], "lead_list_complete": true});
    let added = call("LeadService/AddLeads", leads).await;
    assert_eq!(added["addedCount"], "2");

    let claimed = call("SendingService/ClaimSends", json!({"account": account, "max_claims": 10})).await;
    let claims = claimed["claims"].as_array().expect("claims");
    assert_eq!(claims.len(), 2, "{claimed}");
    let kinds = ["OUTCOME_KIND_DELIVERED", "OUTCOME_KIND_BOUNCED"];
    let outcomes: Vec<Value> =
        claims.iter().zip(kinds).map(|(claim, kind)| json!({"send_key": claim["sendKey"], "kind": kind})).collect();
    let reported = json!({"parent": "workspaces/w", "outcomes": outcomes});
    let results = call("SendingService/ReportOutcomes", reported).await;
    assert_eq!(results["results"][1]["verdict"], "OUTCOME_VERDICT_APPLIED", "{results}");

    let finished = call("CampaignService/GetCampaign", json!({"name": campaign})).await;
    assert_eq!(finished["state"], "CAMPAIGN_STATE_FINISHED", "{finished}");
    assert_eq!(finished["finishReason"], "FINISH_REASON_COMPLETED");
    let request = pb::GetCampaignRequest { name: campaign.to_owned() };
    let read = service.campaigns.clone().get_campaign(request).await.unwrap().into_inner();
    assert_counts(&*service.sql().await, &read).await;
}

#[tokio::test]
async fn grpcurl_shows_which_field_is_wrong() {
    let service = Service::start().await;
    let request = json!({"name": "workspaces/w/campaign/x"});
    let output = grpcurl(&service.url, "campaign_metrics.v1.CampaignService/GetCampaign", &request).await.unwrap();
    let said = output.refusal().unwrap();
    for says in ["InvalidArgument", "workspaces/{workspace}/campaigns/{campaign}", "campaign-metrics.io", "\"name\""] {
        assert!(said.contains(says), "{says} is not in:\n{said}");
    }
}

#[tokio::test]
async fn promtool_finds_nothing_wrong_with_the_metrics() {
    let service = Service::start().await;
    let campaign = pb::CreateCampaignRequest {
        parent: "workspaces/w".to_owned(),
        campaign_id: "spring".to_owned(),
        campaign: Some(pb::Campaign::default()),
        ..Default::default()
    };
    service.campaigns.clone().create_campaign(campaign).await.unwrap();
    let metrics = service.admin("/metrics").await;
    assert!(metrics.contains("campaign_metrics_campaign_leads{"), "campaigns are in it:\n{metrics}");
    promtool_check(&metrics).await.unwrap();
}
