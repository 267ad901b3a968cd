//! Long-term storage: partitions of the log are added and dropped without changing a count, and every count can be
//! recounted.

use std::{process::Command, time::Duration};

use campaign_metrics::pb::{self, OutcomeKind};
use campaign_metrics_service::store::{Difference, Store, VerifyMode};

use crate::{
    harness::{parts::binary, postgres::Connection, recount::assert_counts, run::run, service::Service},
    world::{
        account_name, add_leads, blocked, by_key, by_lead, campaign_name, claim, create_account, create_campaign, get,
        report_new, retries, settings,
    },
};

const MONTH: Duration = Duration::from_hours(31 * 24);

async fn world() -> Service {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "spring", settings(2, &["ann"])).await;
    add_leads(&service, "spring", 20, None, false).await;
    service
}

async fn verify(store: &Store, then: VerifyMode) -> Vec<Difference> {
    let mut found = Vec::new();
    for what in store.verify_list().await.expect("a list") {
        found.extend(store.verify(&what, then).await.expect("a recount"));
    }
    found
}

async fn partitions(sql: &Connection) -> Vec<String> {
    let select = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'outcomes'::regclass ORDER BY 1";
    sql.query(select, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

async fn rows(sql: &Connection, table: &str) -> i64 {
    sql.query_one(&format!("SELECT count(*) FROM {table}"), &[]).await.unwrap().get(0)
}

async fn lifetime(service: &Service) -> (i64, i64, i64) {
    let request = pb::GetAccountRequest { name: account_name("ann") };
    let account = service.accounts.clone().get_account(request).await.unwrap().into_inner();
    let sums = account.lifetime.unwrap();
    (sums.delivered, sums.failed, sums.bounced)
}

/// Reports outcomes of every kind, some of which supersede earlier ones.
async fn work(service: &Service) -> Vec<pb::Claim> {
    let claims = claim(service, "ann", 12).await.claims;
    let reported = claims
        .iter()
        .enumerate()
        .map(|(place, claim)| by_key(claim, if place % 3 == 0 { OutcomeKind::Failed } else { OutcomeKind::Delivered }));
    report_new(service, reported.take(10).collect()).await;
    report_new(service, vec![by_key(&claims[1], OutcomeKind::Bounced), by_key(&claims[3], OutcomeKind::Delivered)])
        .await;
    let worth = pb::Outcome { value_micros: Some(2_500_000), ..by_key(&claims[4], OutcomeKind::Converted) };
    report_new(service, vec![worth, by_key(&claims[5], OutcomeKind::Replied)]).await;
    report_new(service, vec![by_lead("spring", "l19", 1, OutcomeKind::Delivered)]).await;
    claims
}

#[tokio::test]
async fn verify_finds_and_repairs_a_changed_count() {
    let service = world().await;
    work(&service).await;
    let store = service.store();
    assert_eq!(verify(&store, VerifyMode::Report).await, [], "the service counts right");

    let sql = service.sql().await;
    sql.batch_execute(
        "UPDATE campaign_counters SET sent = sent + 1, pending = pending - 1, replied = 7, closed_claims = closed_claims - 3,
            conversion_value_micros = 0;
        UPDATE history_of_accounts SET delivered = delivered + 2",
    )
    .await
    .unwrap();
    let found = verify(&store, VerifyMode::Report).await;
    let told: Vec<_> = found.iter().map(|difference| (difference.number.as_str(), difference.stored)).collect();
    assert_eq!(told.len(), 7, "{found:?}");
    assert!(told.contains(&("replied", 7)) && told.contains(&("conversion_value_micros", 0)), "{found:?}");
    assert!(found.iter().any(|difference| difference.of.starts_with(&account_name("ann"))), "{found:?}");
    assert!(found.iter().any(|difference| difference.of == campaign_name("spring")), "{found:?}");
    assert_eq!(verify(&store, VerifyMode::Repair).await, found, "a repair says what it repaired");
    assert_eq!(verify(&store, VerifyMode::Report).await, []);
    let campaign = get(&service, "spring").await;
    assert_counts(&sql, &campaign).await;
    assert_eq!(campaign.in_flight_claims, 2);
}

#[tokio::test]
async fn two_concurrent_repairs_repair_once() {
    let service = world().await;
    work(&service).await;
    let sql = service.sql().await;
    sql.batch_execute("UPDATE history_of_accounts SET delivered = delivered + 2").await.unwrap();
    // The advisory lock that dropping a partition holds.
    let lock = "hashtext('campaign-metrics maintenance')";
    sql.batch_execute(&format!("SELECT pg_advisory_lock({lock})")).await.unwrap();
    let (one, two) = (service.store(), service.store());
    let release = async {
        blocked(&sql, &sql, 2).await;
        sql.batch_execute(&format!("SELECT pg_advisory_unlock({lock})")).await.unwrap();
    };
    let (one, two, ()) = tokio::join!(verify(&one, VerifyMode::Repair), verify(&two, VerifyMode::Repair), release);
    assert_eq!(one.len() + two.len(), 2, "the second finds it done: {one:?} {two:?}");
    assert_eq!(verify(&service.store(), VerifyMode::Report).await, []);
}

#[tokio::test]
async fn the_command_prints_what_differs_and_the_metrics_show_its_result() {
    let service = world().await;
    work(&service).await;
    assert!(!service.admin("/metrics").await.contains("verify_"), "it has not run yet");
    let command = |arguments: &[&str]| {
        let mut command = Command::new(binary("campaign-metrics-service").unwrap());
        command.arg("verify").args(arguments).env("DATABASE_URL", &service.database.url);
        tokio::process::Command::from(command)
    };
    let clean = run(command(&[]), "").await.unwrap().success().unwrap();
    assert!(clean.contains("2 campaigns and workspaces recounted, 0 numbers differed"), "{clean}");
    let sql = service.sql().await;
    sql.batch_execute("UPDATE campaign_counters SET replied = 9").await.unwrap();
    let differs = run(command(&[]), "").await.unwrap();
    assert_eq!(differs.status.code(), Some(1));
    assert!(differs.stdout.contains("workspaces/acme/campaigns/spring: replied is 9, the facts say 1"), "{differs:?}");
    assert!(service.admin("/metrics").await.contains("\ncampaign_metrics_verify_differences 1\n"));
    let repaired = run(command(&["--repair"]), "").await.unwrap().success().unwrap();
    assert!(repaired.contains("replied is 9, the facts say 1, repaired"), "{repaired}");
    assert!(service.admin("/metrics").await.contains("\ncampaign_metrics_verify_differences 0\n"));
}

#[tokio::test]
async fn outcomes_past_their_retention_are_dropped_and_no_count_changes() {
    let service = world().await;
    let store = service.store();
    store.maintain().await.unwrap();
    let claims = work(&service).await;
    let (before, figures) = (get(&service, "spring").await, lifetime(&service).await);
    let sql = service.sql().await;
    let first = partitions(&sql).await;
    store.partitions_drop(30).await.unwrap();
    assert_eq!(partitions(&sql).await, first, "nothing is old enough");

    service.clock.advance(MONTH * 3);
    store.maintain().await.unwrap();
    // A fact that supersedes one of the old partition, before that is dropped.
    report_new(&service, vec![by_key(&claims[2], OutcomeKind::Bounced)]).await;
    let kept = rows(&sql, "outcomes").await;
    store.partitions_drop(30).await.unwrap();
    let left = partitions(&sql).await;
    assert!(!left.contains(&first[0]), "{left:?}");
    assert!(rows(&sql, "outcomes").await < kept);
    let after = get(&service, "spring").await;
    assert_eq!(after.message_counts.as_ref().map(|counts| counts.bounced), Some(2));
    assert_eq!(after.lead_counts.map(|counts| counts.pending), before.lead_counts.map(|counts| counts.pending));
    assert_eq!(lifetime(&service).await, (figures.0 - 1, figures.1, figures.2 + 1));
    assert_eq!(verify(&store, VerifyMode::Report).await, [], "a recount needs no log that is gone");

    // Facts that supersede what was dropped. The log is searched once for it.
    let before = retries(&service).await;
    report_new(&service, vec![by_key(&claims[4], OutcomeKind::Bounced), by_key(&claims[0], OutcomeKind::Delivered)])
        .await;
    report_new(&service, vec![by_key(&claims[7], OutcomeKind::Failed)]).await;
    assert_eq!(retries(&service).await, before);
    let account = service.accounts.clone().get_account(pb::GetAccountRequest { name: account_name("ann") }).await;
    let recent = account.unwrap().into_inner().last_30_days.unwrap();
    // Their former results no longer count, and they lay on other days.
    assert_eq!((recent.delivered, recent.failed, recent.bounced), (1, 0, 2));
    assert_eq!(verify(&store, VerifyMode::Report).await, []);
    assert_counts(&sql, &get(&service, "spring").await).await;
}

#[tokio::test]
async fn a_recount_agrees_whichever_facts_of_a_message_were_dropped_with_their_partition() {
    const KINDS: [OutcomeKind; 3] = [OutcomeKind::Failed, OutcomeKind::Delivered, OutcomeKind::Bounced];
    // The three facts in each order; each in the same partition as the one before or in the next one.
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    let parts = [[0, 0, 0], [0, 0, 1], [0, 1, 1], [0, 1, 2]];
    let messages: Vec<_> = orders.into_iter().flat_map(|order| parts.map(|part| (order, part))).collect();
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "spring", settings(1, &["ann"])).await;
    add_leads(&service, "spring", messages.len(), Some("ann"), false).await;
    let (store, sql) = (service.store(), service.sql().await);
    for part in 0..3 {
        store.maintain().await.unwrap();
        for place in 0..3 {
            let now = messages.iter().enumerate().filter(|(_, (_, parts))| parts[place] == part);
            let report = now.map(|(lead, (order, _))| by_lead("spring", &format!("l{lead}"), 1, KINDS[order[place]]));
            let report: Vec<_> = report.collect();
            if !report.is_empty() {
                report_new(&service, report).await;
            }
            assert_eq!(verify(&store, VerifyMode::Report).await, [], "part {part}, fact {place}");
        }
        service.clock.advance(MONTH * 3);
        store.partitions_drop(31).await.unwrap();
        assert_eq!(verify(&store, VerifyMode::Report).await, [], "part {part} is gone");
    }
    assert_eq!(rows(&sql, "outcomes").await, 0);
    let all = i64::try_from(messages.len()).unwrap();
    assert_eq!(lifetime(&service).await, (0, 0, all), "each message once, by its strongest fact");
}

#[tokio::test]
async fn a_new_partition_takes_over_its_rows_from_the_default_partition() {
    let service = world().await;
    let store = service.store();
    service.clock.advance(MONTH * 4);
    work(&service).await;
    let sql = service.sql().await;
    let late = rows(&sql, "outcomes_default").await;
    assert!(late > 0, "no partition was made for this month");
    let before = partitions(&sql).await;
    store.maintain().await.unwrap();
    assert_eq!(partitions(&sql).await.len(), before.len() + 2, "this month's and the next one's");
    assert_eq!(rows(&sql, "outcomes_default").await, 0);
    assert_eq!(rows(&sql, "outcomes").await, late);
    assert_eq!(verify(&store, VerifyMode::Report).await, []);
}

/// Two replicas find the partition missing. The second one must see that the first one made it, which is not so if Postgres
/// answers from its cache.
#[tokio::test]
async fn replicas_that_wait_for_each_other_make_a_partition_once() {
    let service = world().await;
    let (one, other) = (service.store(), service.store());
    service.clock.advance(MONTH * 4);
    let sql = service.sql().await;
    let before = partitions(&sql).await;
    let holder = service.sql().await;
    let lock = "BEGIN; SELECT pg_advisory_xact_lock(hashtext('campaign-metrics maintenance'))";
    holder.batch_execute(lock).await.unwrap();
    let release = async {
        blocked(&sql, &holder, 2).await;
        holder.batch_execute("COMMIT").await.unwrap();
    };
    let (one, other, ()) = tokio::join!(one.maintain(), other.maintain(), release);
    assert!(one.is_ok() && other.is_ok(), "{one:?} {other:?}");
    assert_eq!(partitions(&sql).await.len(), before.len() + 2, "this month's and the next one's");
}

#[tokio::test]
async fn upkeep_gives_way_to_a_backup() {
    let service = world().await;
    let store = service.store();
    store.maintain().await.unwrap();
    work(&service).await;
    let backup = service.sql().await;
    let before = partitions(&backup).await;
    service.clock.advance(MONTH * 3);
    // The lock that pg_dump holds until it ends.
    backup.batch_execute("BEGIN; LOCK TABLE outcomes IN ACCESS SHARE MODE").await.unwrap();
    for refused in [store.maintain().await, store.partitions_drop(30).await] {
        let error = refused.expect_err("it needs the log for itself");
        assert!(format!("{error:?}").contains("tried again later"), "{error:?}");
    }
    backup.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(partitions(&backup).await, before, "nothing is half done");
    store.maintain().await.unwrap();
    store.partitions_drop(30).await.unwrap();
    assert!(!partitions(&backup).await.contains(&before[0]));
    assert_eq!(verify(&store, VerifyMode::Report).await, []);
}

#[tokio::test]
async fn figures_of_accounts_outlive_deleted_campaigns_and_their_recount_agrees() {
    let service = world().await;
    let store = service.store();
    let claims = work(&service).await;
    let figures = lifetime(&service).await;
    let request = pb::DeleteCampaignRequest { name: campaign_name("spring"), force: true, ..Default::default() };
    service.campaigns.clone().delete_campaign(request).await.unwrap();
    assert_eq!(verify(&store, VerifyMode::Report).await, [], "before its rows go");
    store.campaigns_drain().await.unwrap();
    store.campaigns_drain().await.unwrap();
    assert_eq!(verify(&store, VerifyMode::Report).await, [], "after");
    assert_eq!((claims.len(), lifetime(&service).await), (12, figures));
}
