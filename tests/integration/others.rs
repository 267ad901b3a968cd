//! A diagnosis compares a campaign with the 200 other campaigns that were created last, so that its cost has a bound.

use campaign_metrics::pb;

use crate::{
    harness::service::Service,
    world::{campaign_name, create_campaign, settings},
};

/// Adds a day on which a campaign contacted leads, some of whom replied on the same day, and campaigns without history.
async fn contacted(service: &Service, campaign: &str, leads: i64, replied: i32) {
    let sql = service.sql().await;
    sql.execute(
        "INSERT INTO history SELECT workspace_id, campaign_id, all_accounts(), date '2026-02-10', $2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, $2,
            $3::int4 || array_fill(0, ARRAY[30]), NULL FROM campaigns WHERE name = $1",
        &[&campaign, &leads, &replied],
    )
    .await
    .unwrap();
}

async fn newer_campaigns(service: &Service, first: i32, last: i32) {
    let sql = service.sql().await;
    sql.execute(
        "INSERT INTO campaigns OVERRIDING SYSTEM VALUE SELECT (jsonb_populate_record(c, jsonb_build_object(
            'campaign_id', 1000 + i, 'name', 'newer' || i, 'uid', gen_random_uuid()))).*
        FROM campaigns c, generate_series($1::int4, $2) i WHERE c.name = 'low'",
        &[&first, &last],
    )
    .await
    .unwrap();
}

/// The share of replies in other campaigns to which that of `low` is compared; `None` without a finding.
async fn usual_response(service: &Service) -> Option<(i64, i64)> {
    let request = pb::DiagnoseCampaignRequest { name: campaign_name("low") };
    let findings = service.performance.clone().diagnose_campaign(request).await.unwrap().into_inner().findings;
    let finding = findings.into_iter().find(|finding| finding.kind() == pb::FindingKind::LowResponse)?;
    finding.reference.map(|usual| (usual.numerator, usual.denominator))
}

#[tokio::test]
async fn a_diagnosis_compares_with_the_200_other_campaigns_created_last() {
    let service = Service::start().await;
    for campaign in ["old", "low"] {
        create_campaign(&service, campaign, settings(1, &[])).await;
    }
    contacted(&service, "old", 2000, 700).await;
    contacted(&service, "low", 3000, 300).await;
    assert_eq!(usual_response(&service).await, Some((700, 2000)));
    newer_campaigns(&service, 1, 199).await;
    assert_eq!(usual_response(&service).await, Some((700, 2000)), "`old` is the last of 200");
    newer_campaigns(&service, 200, 200).await;
    assert_eq!(usual_response(&service).await, None, "`old` is the last of 201, and a tenth is not low by itself");
}
