//! Upgrades with data: a database with rows of every kind under each earlier schema is migrated, and shows and does what it did.
//!
//! tests/data/upgrade has the rows. The present schema is tested too, so that a new table gets its rows with its migration.

use std::{collections::BTreeMap, fs};

use campaign_metrics::pb::{
    self, CampaignState, ClaimState, NotSendingReason as Why, OutcomeKind, OutcomeVerdict as Verdict,
};
use campaign_metrics_service::{Clock, migrate, migrate_to, store::VerifyMode};

use crate::{
    harness::{
        parts::repository,
        postgres::{Connection, TestDatabase, empty_database},
        recount::{assert_counts, of_api},
        service::{Service, monday},
    },
    world::{
        WORKSPACE, account_name, assert_refused, by_lead, campaign_name, claim, get, lead_name, report, try_add,
        try_claim,
    },
};

/// The first schema that a service could serve.
const FIRST: i32 = 5;
const DATA: &str = "tests/data/upgrade";

/// Numbers of the migrations.
fn migrations() -> impl Iterator<Item = i32> {
    let names = fs::read_dir(repository().join("services/metrics/migrations")).unwrap();
    names.map(|entry| entry.unwrap().file_name().to_str().unwrap()[..4].parse().unwrap())
}

/// A database with the schema of a migration and its rows.
async fn with_data(version: i32) -> TestDatabase {
    let database = empty_database().await;
    migrate_to(&database.url, version).await.unwrap();
    let sql = database.connect().await;
    let mut files: Vec<_> = fs::read_dir(repository().join(DATA)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files {
        let number: i32 = file.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        if number <= version {
            let rows = fs::read_to_string(&file).unwrap();
            sql.batch_execute(&rows).await.unwrap_or_else(|error| panic!("{} on {version}: {error:?}", file.display()));
        }
    }
    assert_eq!(without_value(&sql).await, [] as [String; 0], "{DATA} has no value for these, under schema {version}");
    database
}

/// Tables and columns that have no value in any row.
async fn without_value(sql: &Connection) -> Vec<String> {
    let columns = "SELECT c.relname::text, array_agg(a.attname::text ORDER BY a.attnum) FROM pg_class c
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND c.relname <> 'refinery_schema_history'
        GROUP BY 1 ORDER BY 1";
    let mut missing = Vec::new();
    for table in sql.query(columns, &[]).await.unwrap() {
        let (table, columns): (String, Vec<String>) = (table.get(0), table.get(1));
        let counts: Vec<_> = columns.iter().map(|column| format!("count({column})")).collect();
        let row = sql.query_one(&format!("SELECT {} FROM {table}", counts.join(", ")), &[]).await.unwrap();
        let empty = columns.iter().enumerate().filter(|(index, _)| row.get::<_, i64>(*index) == 0);
        missing.extend(empty.map(|(_, column)| format!("{table}.{column}")));
    }
    // A partition has the columns of its table.
    missing.retain(|column| !column.starts_with("outcomes_") && !column.starts_with("history_of_"));
    missing
}

async fn assert_verified(service: &Service, when: &str) {
    let store = service.store();
    for what in store.verify_list().await.unwrap() {
        assert_eq!(store.verify(&what, VerifyMode::Report).await.unwrap(), [], "{when}");
    }
}

async fn zenith(service: &Service) -> pb::Campaign {
    let name = "workspaces/zenith/campaigns/spring".to_owned();
    service.campaigns.clone().get_campaign(pb::GetCampaignRequest { name }).await.unwrap().into_inner()
}

async fn account(service: &Service, id: &str) -> pb::Account {
    let request = pb::GetAccountRequest { name: account_name(id) };
    service.accounts.clone().get_account(request).await.unwrap().into_inner()
}

/// Messages of an account: delivered, failed and bounced, ever.
async fn lifetime(service: &Service, id: &str) -> [i64; 3] {
    let lifetime = account(service, id).await.lifetime.unwrap();
    [lifetime.delivered, lifetime.failed, lifetime.bounced]
}

async fn claims(service: &Service, id: &str, state: ClaimState) -> Vec<pb::Claim> {
    let request =
        pb::ListClaimsRequest { account: account_name(id), page_size: 1000, state: state.into(), ..Default::default() };
    service.sending.clone().list_claims(request).await.unwrap().into_inner().claims
}

/// What is shown: counts, open claims, settings, history, opt-outs, leads.
async fn shows_the_same(service: &Service, version: i32) {
    let sql = service.sql().await;
    let spring = get(service, "spring").await;
    let expected = BTreeMap::from([
        ("total", 226),
        ("sent", 37),
        ("failed", 33),
        ("pending", 102),
        ("partial", 54),
        ("delivered_messages", 111),
        ("failed_messages", 4),
        ("bounced_messages", 3),
        ("account_issue", 0),
        ("invalid_lead", 3),
        ("rate_limited", 4),
        ("content_rejected", 0),
        ("other", 0),
        ("contacted", 90),
        ("replied", 8),
        ("converted", 6),
        ("auto_replied", 20),
        ("opted_out", 28),
        ("contacted_replied", 7),
        ("contacted_converted", 6),
    ]);
    assert_eq!(of_api(&spring), expected);
    assert_eq!(spring.message_counts.as_ref().unwrap().conversion_value_micros, 21_000_000);
    assert_eq!((spring.in_flight_claims, spring.uncertain_claims), (14, 31));
    assert_eq!(spring.owner.as_ref().unwrap().resource, "sales/spring");
    assert_eq!((spring.daily_limit, spring.steps, spring.accounts.len()), (Some(30), 2, 2));
    assert_eq!(spring.not_sending_reasons, [] as [i32; 0], "ann and eve have something due");

    let autumn = get(service, "autumn").await;
    assert_eq!((autumn.state(), autumn.uncertain_claims), (CampaignState::Paused, 23));
    let hold = autumn.hold.as_ref().map(|hold| (hold.reason.as_str(), hold.return_state()));
    assert_eq!(hold, (version >= 11).then_some(("wrong text", CampaignState::Active)));
    let (winter, summer) = (get(service, "winter").await, get(service, "summer").await);
    assert_eq!((winter.finish_reason(), winter.finalized_time), (pb::FinishReason::Completed, None));
    assert_eq!(summer.finish_reason(), pb::FinishReason::Requested);
    assert!(summer.finalized_time.is_some());
    let summer_counts = of_api(&summer);
    assert_eq!([summer_counts["sent"], summer_counts["failed"], summer_counts["pending"]], [27, 33, 29]);
    let other = zenith(service).await;
    let (partial, sent) = if version >= 10 { (0, 34) } else { (34, 0) };
    assert_eq!([of_api(&other)["pending"], of_api(&other)["partial"], of_api(&other)["sent"]], [32, partial, sent]);
    // The log of `summer` is gone, so nothing can be recounted from it.
    for campaign in [&spring, &autumn, &winter, &other] {
        assert_counts(&sql, campaign).await;
    }

    assert_eq!(lifetime(service, "ann").await, [172, 0, 33]);
    assert_eq!(lifetime(service, "bob").await, [12, 0, 0]);
    assert_eq!(lifetime(service, "eve").await, [39, 4, 28]);
    assert_eq!(account(service, "bob").await.state(), pb::AccountState::Suspended);
    let request = pb::QueryAccountHistoryRequest {
        name: account_name("ann"),
        first_day: "2025-11-01".into(),
        last_day: "2026-03-02".into(),
    };
    let days = service.performance.clone().query_account_history(request).await.unwrap().into_inner().days;
    let day = |day: &str| {
        let counts = days.iter().find(|row| row.day == day).and_then(|row| row.counts.clone()).unwrap();
        (counts.delivered, counts.bounced.iter().map(|reason| reason.count).sum::<i64>())
    };
    assert_eq!([day("2025-11-20"), day("2025-11-21"), day("2026-01-05")], [(60, 0), (0, 33), (30, 0)]);
    assert_eq!([day("2026-02-12"), day("2026-02-20"), day("2026-02-21")], [(31, 0), (11, 0), (18, 0)]);

    let listed = pb::ListOptOutsRequest { parent: WORKSPACE.into(), page_size: 1000, ..Default::default() };
    let listed = service.opt_outs.clone().list_opt_outs(listed).await.unwrap().into_inner().opt_outs;
    assert_eq!(listed.len(), 2 + 26 + 1);
    let get_lead =
        async |id: &str| service.leads.clone().get_lead(pb::GetLeadRequest { name: lead_name("spring", id) }).await;
    let bounced = get_lead("bounced-2").await.unwrap().into_inner();
    assert_eq!((bounced.status(), bounced.account.as_str()), (pb::LeadStatus::Failed, account_name("eve").as_str()));
    assert_eq!(get_lead("held-3").await.unwrap().into_inner().account, account_name("ann"), "its claim says so");
    assert_eq!(get_lead("forgotten-1").await.unwrap_err().code(), tonic::Code::NotFound);
    let trail = pb::ListLeadOutcomesRequest { parent: lead_name("spring", "late-4"), ..Default::default() };
    let trail = service.leads.clone().list_lead_outcomes(trail).await.unwrap().into_inner().outcomes;
    let kinds: Vec<_> = trail.iter().map(pb::LeadOutcome::kind).collect();
    assert_eq!(kinds, [OutcomeKind::Failed, OutcomeKind::Delivered]);
    assert_eq!(claims(service, "ann", ClaimState::Held).await.len(), 14);
    assert_eq!(claims(service, "eve", ClaimState::Uncertain).await.len(), 15 + 16 + 23);
    let differences = service.metric("campaign_metrics_verify_differences").await;
    assert_eq!(differences, 2, "what the last run of `verify` found");
}

/// What is done: limits, reports, request ids, opt-outs, claims that end.
async fn does_the_same(service: &Service) {
    let reused = pb::ClaimSendsRequest {
        account: account_name("ann"),
        max_claims: 1,
        request_id: "6a7b0c1d-2e3f-4a5b-8c6d-7e8f90a1b2c3".into(),
        ..Default::default()
    };
    let reused = service.sending.clone().claim_sends(reused).await;
    assert_refused(reused, tonic::Code::AlreadyExists, "REQUEST_ID_REUSED", "");
    // 7 of 9 messages of ann's day are used, and 15 of 30 of the campaign's.
    let of_ann = claim(service, "ann", 40).await;
    assert_eq!(of_ann.claims.len(), 2);
    assert_eq!(crate::world::reasons(&of_ann), [Why::AccountDailyLimit]);
    let of_eve = claim(service, "eve", 40).await;
    assert_eq!(of_eve.claims.len(), 13);
    let mut reasons: Vec<_> =
        of_eve.not_sending.iter().map(|not| (not.campaign.as_str(), not.reasons().next())).collect();
    reasons.sort();
    let (spring, autumn) = (campaign_name("spring"), campaign_name("autumn"));
    assert_eq!(reasons, [(autumn.as_str(), Some(Why::Paused)), (spring.as_str(), Some(Why::CampaignDailyLimit))]);
    assert!(try_claim(service, "bob", 5).await.unwrap().claims.is_empty());

    let verdicts = report(
        service,
        vec![
            by_lead("spring", "done-1", 2, OutcomeKind::Delivered),
            by_lead("spring", "held-1", 1, OutcomeKind::Delivered),
            by_lead("spring", "uncertain-1", 1, OutcomeKind::Delivered),
            by_lead("spring", "settled-1", 1, OutcomeKind::Bounced),
            by_lead("spring", "late-1", 1, OutcomeKind::Bounced),
            by_lead("winter", "sold-1", 0, OutcomeKind::Replied),
            by_lead("summer", "open-1", 1, OutcomeKind::Delivered),
            by_lead("summer", "spoiled-1", 1, OutcomeKind::Bounced),
        ],
    );
    let verdicts: Vec<_> = verdicts.await.iter().map(|result| (result.verdict(), result.reason.clone())).collect();
    let (applied, duplicate) = ((Verdict::Applied, String::new()), (Verdict::Duplicate, String::new()));
    assert_eq!(verdicts[0], duplicate);
    assert_eq!(verdicts[1..6], vec![applied; 5]);
    assert_eq!(verdicts[6].0, Verdict::Rejected, "its results are final: {verdicts:?}");
    assert_eq!(verdicts[7], duplicate);

    let held = claims(service, "ann", ClaimState::Held).await;
    assert_eq!(held.len(), 13 + 2);
    let old = held.iter().find(|claim| claim.lead == lead_name("spring", "held-2")).unwrap();
    let release = pb::ReleaseClaimsRequest {
        account: account_name("ann"),
        claim_ids: vec![old.claim_id.clone()],
        ..Default::default()
    };
    assert_eq!(service.sending.clone().release_claims(release).await.unwrap().into_inner().released_count, 1);
    let uncertain = claims(service, "eve", ClaimState::Uncertain).await;
    let resolution = |lead: &str, resolution: pb::Resolution| {
        let claim = uncertain.iter().find(|claim| claim.lead == lead_name("spring", lead)).unwrap();
        pb::ClaimResolution { claim_id: claim.claim_id.clone(), resolution: resolution.into() }
    };
    let resolutions =
        vec![resolution("uncertain-2", pb::Resolution::Sent), resolution("settled-2", pb::Resolution::NotSent)];
    let resolve = pb::ResolveClaimsRequest { account: account_name("eve"), resolutions };
    assert_eq!(service.sending.clone().resolve_claims(resolve).await.unwrap().into_inner().resolved_count, 2);
    let lead = pb::NewLead { lead_id: "nobody".into(), ..Default::default() };
    assert_eq!(try_add(service, "spring", vec![lead], false).await.unwrap().added_count, 1);

    let spring = get(service, "spring").await;
    // Granted 15, ended by outcomes or by hand: 2 held and 4 uncertain ones.
    assert_eq!((spring.in_flight_claims, spring.uncertain_claims), (14 + 15 - 2, 31 - 4));
    assert_eq!(spring.message_counts.as_ref().unwrap().opted_out_leads, 28 + 1, "`nobody` had opted out");
    let sql = service.sql().await;
    assert_counts(&sql, &spring).await;
}

/// Background work goes on with what it finds.
async fn is_kept_up(service: &Service) {
    let store = service.store();
    store.maintain().await.unwrap();
    store.claims_compact(jiff::Timestamp::UNIX_EPOCH).await.unwrap();
    store.claims_retry().await.unwrap();
    store.returns_tidy().await.unwrap();
    store.campaigns_finalize().await.unwrap();
    store.campaigns_drain().await.unwrap();
    let sql = service.sql().await;
    for table in ["leads", "lead_ids", "outcomes", "deleted_campaigns"] {
        let left = format!("SELECT count(*) FROM {table} WHERE campaign_id IN (5, 6)");
        let left: i64 = sql.query_one(&left, &[]).await.unwrap().get(0);
        assert_eq!(left, 0, "{table} of deleted campaigns");
    }
    assert_eq!(lifetime(service, "ann").await, [172 + 1, 0, 33], "deleted campaigns count on");
    assert_eq!(get(service, "autumn").await.uncertain_claims, 23, "it is paused");
}

#[tokio::test]
async fn a_database_of_each_earlier_schema_is_migrated_with_all_it_holds() {
    let newest = migrations().max().unwrap();
    for version in FIRST..=newest {
        let database = with_data(version).await;
        migrate(&database.url).await.unwrap();
        let service = Service::on(&database, Clock::manual(monday())).await;
        let when = format!("from schema {version}");
        shows_the_same(&service, version).await;
        assert_verified(&service, &when).await;
        does_the_same(&service).await;
        assert_verified(&service, &when).await;
        is_kept_up(&service).await;
        assert_verified(&service, &when).await;
    }
}
