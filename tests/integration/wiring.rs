//! The service's own tasks, in the binary that ships: upkeep when its time has come, probes, and a drain that waits for
//! running calls. The test moves its clock.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use campaign_metrics::pb::{self, ClaimExpiryPolicy, OutcomeKind::Delivered, OutcomeKind::Replied};
use jiff::{Timestamp, ToSpan as _, civil::Date, tz::TimeZone};
use tempfile::TempDir;
use tonic::{Code, Request, Status};

use crate::{
    harness::{
        daemon::Daemon,
        moved::MovedClock,
        postgres::{Connection, database},
        process::{Directory, GRACE},
        service::Service,
        wait::{SOON, until},
    },
    world::{
        WORKSPACE, add_leads, assert_refused, assign, by_key, by_lead, campaign_name, claim, create_account,
        create_campaign, finish, get, lead_name, report, report_new, settings,
    },
};

/// Twice the longest pause of the upkeep.
const UPKEEP: Duration = Duration::from_mins(1);
/// Past every time limit: retention of 31 days, finality, request ids, expiry of claims.
const LONG: Duration = Duration::from_hours(100 * 24);

struct Binary {
    daemon: Daemon,
    clock: MovedClock,
    /// Its clients.
    service: Service,
    sql: Connection,
    _directory: TempDir,
}

impl Binary {
    async fn start(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (database, clock) = (database().await, MovedClock::new(directory.path()).expect("a clock"));
        let mut daemon =
            Daemon::service_by(&clock, &database.url, arguments, directory.path(), Directory::Keep).await.unwrap();
        daemon.ready().await.unwrap();
        let service = Service::of(&daemon, &database).expect("clients");
        Self { daemon, clock, service, sql: database.connect().await, _directory: directory }
    }

    async fn count(&self, sql: &str, campaign: &str) -> i64 {
        self.sql.query_one(sql, &[&campaign]).await.expect("a count").get(0)
    }

    async fn has_partition(&self, month: Date) -> bool {
        let name = format!("outcomes_{:04}_{:02}", month.year(), month.month());
        self.sql.query_one("SELECT to_regclass($1) IS NOT NULL", &[&name]).await.expect("an answer").get(0)
    }

    /// Creates a campaign, always with the same request id.
    async fn create_as_the_same_request(&self, id: &str) -> Result<pb::Campaign, Status> {
        let request = pb::CreateCampaignRequest {
            parent: WORKSPACE.into(),
            campaign_id: id.into(),
            campaign: Some(settings(1, &[])),
            request_id: "5c1e7b7e-7a55-4a7f-9d0b-0a4ad4c4e1a1".into(),
        };
        Ok(self.service.campaigns.clone().create_campaign(request).await?.into_inner())
    }

    async fn trail(&self, campaign: &str, lead: &str) -> usize {
        let request = pb::ListLeadOutcomesRequest { parent: lead_name(campaign, lead), ..Default::default() };
        let page = self.service.leads.clone().list_lead_outcomes(request).await.expect("a trail").into_inner();
        page.outcomes.len()
    }
}

/// Counts rows of claims that still contain closed claims.
const NOT_COMPACT: &str = "SELECT count(*) FROM claims JOIN campaigns n USING (workspace_id, campaign_id)
    WHERE n.name = $1 AND NOT is_exact";
/// Counts leads of deleted campaigns.
const ORPHANS: &str = "SELECT count(*) FROM leads WHERE (workspace_id, campaign_id) NOT IN
    (SELECT workspace_id, campaign_id FROM campaigns) AND $1 <> ''";

/// Counts steps that are listed as due.
const RETURNS: &str =
    "SELECT count(*) FROM returns JOIN campaigns n USING (workspace_id, campaign_id) WHERE n.name = $1";

async fn becomes(what: &str, look: impl AsyncFn() -> bool) {
    let wait = until(what, UPKEEP, async || {
        ensure!(look().await, "it did not happen");
        Ok(())
    });
    wait.await.unwrap_or_else(|error| panic!("the service does by itself what its time has come for: {error:#}"));
}

fn month(at: Timestamp) -> Date {
    at.to_zoned(TimeZone::UTC).date().first_of_month()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_service_does_by_itself_is_done_when_its_time_has_come() {
    let mut binary = Binary::start(&["--outcome-retention", "31"]).await;
    let began = binary.clock.now();
    for ahead in [0, 1] {
        let month = month(began).saturating_add(ahead.months());
        assert!(binary.has_partition(month).await, "the log has its part of {month} before the service is ready");
    }
    let service = &binary.service;
    for account in ["rita", "sam", "olga", "leo", "mia", "ben"] {
        create_account(service, account, None).await;
    }
    let retry = pb::Campaign { claim_expiry_policy: ClaimExpiryPolicy::Retry.into(), ..settings(1, &["rita"]) };
    create_campaign(service, "retried", retry).await;
    add_leads(service, "retried", 3, None, false).await;
    assert_eq!(claim(service, "rita", 3).await.claims.len(), 3);

    create_campaign(service, "ended", settings(1, &["ben"])).await;
    add_leads(service, "ended", 2, Some("ben"), false).await;
    report_new(service, vec![by_lead("ended", "l0", 1, Delivered)]).await;
    finish(service, "ended").await;
    binary.create_as_the_same_request("first").await.expect("it is created");

    for (campaign, account) in [("compacted", "sam"), ("overlooked", "olga")] {
        create_campaign(service, campaign, settings(1, &[account])).await;
        add_leads(service, campaign, 5, None, false).await;
        let claims = claim(service, account, 5).await.claims;
        report_new(service, claims[..3].iter().map(|claim| by_key(claim, Delivered)).collect()).await;
        assert_eq!(binary.count(NOT_COMPACT, campaign).await, 1, "the claims of {campaign} are held");
    }
    create_campaign(service, "deleted", settings(1, &["ben"])).await;
    add_leads(service, "deleted", 7, Some("ben"), false).await;

    create_campaign(service, "left", settings(2, &["leo"])).await;
    add_leads(service, "left", 2, None, false).await;
    let claims = claim(service, "leo", 1).await.claims;
    report_new(service, vec![by_key(&claims[0], Delivered)]).await;
    assign(service, "left", &["mia"]).await;
    assert_eq!(claim(service, "mia", 1).await.claims.len(), 1, "the other one");

    // What does not depend on the time comes last, so that the test sees it undone first.
    let request = pb::DeleteCampaignRequest { name: campaign_name("deleted"), ..Default::default() };
    service.campaigns.clone().delete_campaign(request).await.expect("it is deleted");
    assert_eq!(binary.count(ORPHANS, "-").await, 7, "the leads of a deleted campaign go later");
    report_new(service, vec![by_key(&claims[0], Replied)]).await;
    assert_eq!(binary.count(RETURNS, "left").await, 1, "its lead is listed as waiting for leo");
    assert_eq!((get(service, "ended").await.finalized_time, binary.trail("ended", "l0").await), (None, 1));
    let again = binary.create_as_the_same_request("second").await;
    assert_refused(again, Code::AlreadyExists, "REQUEST_ID_REUSED", "another body");

    // Another session holds olga's claims while upkeep tidies expired ones.
    let other = service.sql().await;
    let lock =
        "BEGIN; SELECT FROM claims WHERE account_id = (SELECT account_id FROM accounts WHERE name = 'olga') FOR UPDATE";
    other.batch_execute(lock).await.unwrap();
    binary.clock.advance(LONG).unwrap();
    let service = &binary.service;
    becomes("claims to be compacted", async || binary.count(NOT_COMPACT, "compacted").await == 0).await;
    assert_eq!(get(service, "compacted").await.uncertain_claims, 2, "by the moved clock they expired");
    assert_eq!(binary.count(NOT_COMPACT, "overlooked").await, 1, "another session held them");
    other.batch_execute("COMMIT").await.unwrap();

    becomes("results to be final", async || get(service, "ended").await.finalized_time.is_some()).await;
    let late = report(service, vec![by_lead("ended", "l1", 1, Delivered)]).await;
    assert_eq!(late[0].reason, "CAMPAIGN_FINAL", "final results take no delivery");
    becomes("expired claims to be due again", async || {
        let retried = get(service, "retried").await;
        (retried.in_flight_claims, retried.uncertain_claims) == (0, 0)
    })
    .await;
    assert_eq!(claim(service, "rita", 4).await.claims.len(), 3, "all that was to be retried is due");
    becomes("no lead to wait for leo", async || binary.count(RETURNS, "left").await == 0).await;
    becomes("the leads of a deleted campaign to go", async || binary.count(ORPHANS, "-").await == 0).await;
    becomes("the old part of the log to go", async || !binary.has_partition(month(began)).await).await;
    assert_eq!(binary.trail("ended", "l0").await, 0, "its outcomes went with their retention");
    let this = month(binary.clock.now());
    for ahead in [0, 1] {
        let month = this.saturating_add(ahead.months());
        becomes(&format!("the log to have its part of {month}"), async || binary.has_partition(month).await).await;
    }
    becomes("a request id to be forgotten", async || binary.create_as_the_same_request("second").await.is_ok()).await;
    becomes("overlooked claims to be compacted", async || binary.count(NOT_COMPACT, "overlooked").await == 0).await;
    let status = binary.daemon.process.stop(GRACE).await.unwrap();
    assert!(status.success(), "it ends well: {status}\n{}", binary.daemon.process.log());
}

/// Calls a method that waits for a lock until its statement is cancelled. Returns how long that took.
async fn wait_in_vain(service: &Service, deadline: Option<&str>) -> Duration {
    let mut request = Request::new(pb::PauseCampaignRequest { name: campaign_name("stuck"), ..Default::default() });
    if let Some(deadline) = deadline {
        request.metadata_mut().insert("grpc-timeout", deadline.parse().unwrap());
    }
    let asked = Instant::now();
    let mut campaigns = service.campaigns.clone();
    let refused = tokio::time::timeout(2 * SOON, campaigns.pause_campaign(request)).await;
    let refused =
        refused.unwrap_or_else(|_| panic!("with deadline {deadline:?} a statement runs for more than a minute"));
    assert_refused(refused, Code::DeadlineExceeded, "DEADLINE_EXCEEDED", "nothing was committed");
    asked.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_ends_at_its_deadline_and_its_statement_after_thirty_seconds_whatever_the_deadline() {
    let binary = Binary::start(&[]).await;
    create_campaign(&binary.service, "stuck", settings(1, &[])).await;
    binary.sql.batch_execute("BEGIN; SELECT FROM campaigns FOR UPDATE").await.unwrap();
    let service = &binary.service;
    let (short, none, long) =
        tokio::join!(wait_in_vain(service, Some("2S")), wait_in_vain(service, None), wait_in_vain(service, Some("2M")));
    let seconds = |from, to| Duration::from_secs(from)..Duration::from_secs(to);
    assert!(seconds(1, 20).contains(&short), "a deadline of 2 s holds: {short:?}");
    assert!(seconds(29, 60).contains(&none), "without a deadline a statement has 30 s: {none:?}");
    assert!(seconds(29, 60).contains(&long), "a deadline of two minutes gives a statement no more than 30 s: {long:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_logs_lines_for_people_unless_it_is_asked_for_json() {
    for (arguments, is_json) in [(&[][..], false), (&["--log-format", "json"], true)] {
        let mut binary = Binary::start(arguments).await;
        let status = binary.daemon.process.stop(GRACE).await.unwrap();
        assert!(status.success(), "{status}");
        let log = binary.daemon.process.log();
        assert!(["ready", "draining"].iter().all(|said| log.contains(said)), "it says when it began and ended: {log}");
        for line in log.lines() {
            let object = serde_json::from_str::<serde_json::Value>(line).ok();
            let message = object.as_ref().map(|object| object["fields"]["message"].is_string());
            assert_eq!(message, is_json.then_some(true), "{arguments:?}: {line}");
            assert!(!line.contains('\x1b'), "a file has no colors: {line}");
        }
    }
}
