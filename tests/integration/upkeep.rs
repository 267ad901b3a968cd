//! Upkeep of several replicas: what one works on, the others leave to it.

use campaign_metrics::pb;

use crate::{
    harness::{service::Service, wait::SOON},
    world::{campaign_name, create_campaign, settings},
};

#[tokio::test]
async fn a_deleted_campaign_is_removed_by_one_replica_at_a_time() {
    let service = Service::start().await;
    create_campaign(&service, "spring", settings(1, &[])).await;
    let request = pb::DeleteCampaignRequest { name: campaign_name("spring"), ..Default::default() };
    service.campaigns.clone().delete_campaign(request).await.expect("it is deleted");
    let (sql, other) = (service.sql().await, service.sql().await);
    // More rows than one transaction removes. The other replica is in the middle of its portion.
    let fill = "INSERT INTO returns (workspace_id, campaign_id, account_id, due_at, lead_no, step)
        SELECT workspace_id, campaign_id, 1, now(), i, 1 FROM deleted_campaigns, generate_series(1, 20010) AS i";
    sql.batch_execute(fill).await.unwrap();
    let portion = "BEGIN; SELECT FROM deleted_campaigns FOR UPDATE;
        DELETE FROM returns WHERE ctid IN (SELECT ctid FROM returns LIMIT 20000)";
    other.batch_execute(portion).await.unwrap();
    let left = async || {
        let counts = "SELECT (SELECT count(*) FROM returns), (SELECT count(*) FROM deleted_campaigns)";
        let row = sql.query_one(counts, &[]).await.unwrap();
        (row.get::<_, i64>(0), row.get::<_, i64>(1))
    };
    let store = service.store();
    tokio::time::timeout(SOON, store.campaigns_drain()).await.expect("it waits for nobody").unwrap();
    assert_eq!(left().await, (20_010, 1), "it belongs to the other replica");
    other.batch_execute("COMMIT").await.unwrap();
    // The other one is killed before its next portion.
    drop(other);
    assert_eq!(left().await, (10, 1));
    let (one, two) = tokio::join!(store.campaigns_drain(), store.campaigns_drain());
    assert!(one.is_ok() && two.is_ok());
    assert_eq!(left().await, (0, 0));
}
