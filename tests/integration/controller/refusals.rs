//! Refusals of the service: temporary ones are retried, the others wait for an edit, and the status says so.

use campaign_metrics::pb;
use serde_json::json;
use tonic::Code;

use super::stage::{Stage, condition, service};
use crate::harness::wait::{SOON, until};

#[tokio::test]
async fn a_missing_account_is_named_and_tried_again_until_it_exists() {
    let service = service().await;
    let stage = Stage::start(&service.url).await;
    stage.apply("spring", &json!({"accounts": ["ann"]})).await;
    let waiting = stage.condition("spring", "Synced", "False", "AccountNotFound").await;
    assert!(condition(&waiting, "Synced").unwrap().message.contains("spec.accounts: the account ann does not exist"));
    assert_eq!(condition(&waiting, "Ready").unwrap().status, "False");
    assert_eq!(condition(&waiting, "Reconciling").unwrap().status, "True");
    assert_eq!(condition(&waiting, "Stalled"), None);
    assert!(stage.event("spring", "Rejected").await.contains("accounts create ann"));

    stage.account(&service, "ann").await;
    let synced = stage.synced("spring").await;
    assert_eq!(condition(&synced, "Ready").unwrap().status, "True");
    assert_eq!(condition(&synced, "Reconciling"), None);
    assert_eq!(stage.events("spring").await.len(), 1, "a cause is told once, however often it is tried");
}

#[tokio::test]
async fn a_permanent_refusal_stalls_until_the_resource_is_edited() {
    let service = service().await;
    let stage = Stage::start(&service.url).await;
    stage.apply("spring", &json!({"activeHours": {"timeZone": "Mars/Olympus"}})).await;
    let stalled = stage.condition("spring", "Stalled", "True", "InvalidSpec").await;
    let says = "spec.activeHours.timeZone: `Mars/Olympus` is no IANA time zone; use one such as `Europe/Berlin`";
    assert_eq!(condition(&stalled, "Ready").unwrap().message, says);
    assert_eq!(condition(&stalled, "Synced").unwrap().status, "False");
    assert_eq!(condition(&stalled, "Reconciling"), None);
    assert_eq!(stalled.status.as_ref().unwrap().observed_generation, stalled.metadata.generation);

    // It is not retried while other resources are reconciled.
    let terminal =
        async || stage.controller.metric("controller_runtime_terminal_reconcile_errors_total").await.unwrap();
    // Counted at the end of the reconcile, after the status was written.
    let counted = until("the error to be counted", SOON, async || {
        let count = terminal().await;
        anyhow::ensure!(count == 1, "counted {count}");
        Ok(())
    });
    counted.await.unwrap();
    stage.apply("marker", &json!({})).await;
    stage.synced("marker").await;
    assert_eq!(terminal().await, 1);
    let still = stage.resource("spring").await.unwrap();
    assert_eq!(still.metadata.resource_version, stalled.metadata.resource_version);

    stage.edited("spring", "Mars.Olympus", "Europe\\/Berlin").await;
    let synced = stage.synced("spring").await;
    assert_eq!(condition(&synced, "Stalled"), None);
    assert_eq!(stage.campaign(&service, "spring").await.unwrap().active_hours.unwrap().time_zone, "Europe/Berlin");
}

#[tokio::test]
async fn a_refused_resource_without_a_campaign_can_be_deleted() {
    let service = service().await;
    let stage = Stage::start(&service.url).await;
    stage.apply("spring", &json!({"activeHours": {"timeZone": "Mars/Olympus"}})).await;
    stage.condition("spring", "Stalled", "True", "InvalidSpec").await;
    stage.delete("spring").await;
    assert_eq!(stage.campaign(&service, "spring").await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn an_annotation_pauses_the_reconciliation_and_the_campaign_goes_on() {
    let service = service().await;
    let stage = Stage::start(&service.url).await;
    stage.apply("spring", &json!({})).await;
    stage.synced("spring").await;
    let annotation = "campaign-metrics.io/reconcile";
    let annotate = async |value: &str| {
        let done = stage.kubectl(&["annotate", "campaign", "spring", value]).await;
        done.success().unwrap();
    };
    annotate(&format!("{annotation}=paused")).await;
    stage.condition("spring", "Ready", "False", "ReconciliationPaused").await;
    stage.edited("spring", "state: Active", "state: Paused").await;
    let observed = stage.condition("spring", "Synced", "Unknown", "ReconciliationPaused").await;
    assert_eq!(observed.status.unwrap().observed_generation, observed.metadata.generation, "kubectl wait ends");
    assert_eq!(stage.campaign(&service, "spring").await.unwrap().state(), pb::CampaignState::Active);
    annotate(&format!("{annotation}-")).await;
    stage.synced("spring").await;
    assert_eq!(stage.campaign(&service, "spring").await.unwrap().state(), pb::CampaignState::Paused);
}

#[tokio::test]
async fn taking_the_annotation_off_tries_again_what_was_refused() {
    let service = service().await;
    let stage = Stage::start(&service.url).await;
    stage.create_campaign(&service, "spring", pb::Campaign { steps: 1, ..Default::default() }).await;
    stage.apply("spring", &json!({"adoptionPolicy": "Never"})).await;
    stage.condition("spring", "Stalled", "True", "CampaignNotAdoptable").await;
    let delete = pb::DeleteCampaignRequest { name: stage.campaign_name("spring"), ..Default::default() };
    service.campaigns.clone().delete_campaign(delete).await.unwrap();
    let annotate = async |value: &str| {
        let annotation = format!("campaign-metrics.io/reconcile{value}");
        stage.kubectl(&["annotate", "campaign", "spring", &annotation]).await.success().unwrap();
    };
    annotate("=paused").await;
    stage.condition("spring", "Ready", "False", "ReconciliationPaused").await;
    annotate("-").await;
    stage.synced("spring").await;
    // Any other value does not pause.
    annotate("=running").await;
    stage.edited("spring", "state: Active", "state: Paused").await;
    stage.synced("spring").await;
    assert_eq!(stage.campaign(&service, "spring").await.unwrap().state(), pb::CampaignState::Paused);
}
