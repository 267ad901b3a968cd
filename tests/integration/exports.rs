//! Exports: the state of one moment, whatever happens while they are read, without a transaction that stays open.

use std::{collections::BTreeMap, time::Duration};

use anyhow::ensure;
use campaign_metrics::pb::{self, FailureReason, LeadStatus, OutcomeKind, lead_service_client::LeadServiceClient};
use tonic::{
    Code, Status, Streaming,
    transport::{Channel, Endpoint},
};

use crate::{
    harness::{
        postgres::Connection,
        service::Service,
        wait::{SOON, until},
    },
    world::{
        add_leads, assert_refused, blocked, by_lead, campaign_name, create_account, create_campaign, get, lead_name,
        report_new, settings,
    },
};

/// Several portions, and more than a connection takes ahead of its reader.
const LEADS: usize = 5_000;
/// Bytes that a connection takes ahead of its reader.
const WINDOW: u32 = 1 << 16;
/// A lead that is read in the last portion.
const LATE: usize = 4_500;

fn id(number: usize) -> String {
    format!("l{number}")
}

/// A reader that the service can't run far ahead of. Its connection needs a thread of its own to end, while the test waits
/// for the end of the service.
async fn reader(service: &Service) -> LeadServiceClient<Channel> {
    let endpoint = Endpoint::from_shared(service.url.clone()).unwrap();
    let endpoint = endpoint.initial_stream_window_size(WINDOW).initial_connection_window_size(WINDOW);
    LeadServiceClient::new(endpoint.connect().await.expect("its port answers"))
}

/// A service with a campaign of two steps, in which every early lead got its first message and some late ones have facts.
async fn world() -> Service {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "spring", settings(2, &["ann"])).await;
    add_leads(&service, "spring", LEADS, Some("ann"), false).await;
    let delivered = (0..LATE).map(|number| by_lead("spring", &id(number), 1, OutcomeKind::Delivered));
    report_new(&service, delivered.collect()).await;
    service.clock.advance(Duration::from_mins(1));
    let late = [
        (0, 1, OutcomeKind::Delivered, FailureReason::Unspecified),
        (1, 1, OutcomeKind::Failed, FailureReason::RateLimited),
        (2, 1, OutcomeKind::Delivered, FailureReason::Unspecified),
        (3, 0, OutcomeKind::AutoReplied, FailureReason::Unspecified),
    ];
    report_new(&service, late.map(|(number, step, kind, reason)| failed(LATE + number, step, kind, reason)).to_vec())
        .await;
    service
}

fn failed(number: usize, step: i32, kind: OutcomeKind, reason: FailureReason) -> pb::Outcome {
    pb::Outcome { reason: reason.into(), ..by_lead("spring", &id(number), step, kind) }
}

/// Facts that change the status, the reasons and the last action of late leads.
fn later() -> Vec<pb::Outcome> {
    vec![
        by_lead("spring", &id(LATE), 2, OutcomeKind::Delivered),
        by_lead("spring", &id(LATE + 1), 1, OutcomeKind::Delivered),
        failed(LATE + 2, 1, OutcomeKind::Bounced, FailureReason::InvalidLead),
        by_lead("spring", &id(LATE + 3), 0, OutcomeKind::Replied),
        failed(LATE + 4, 1, OutcomeKind::Failed, FailureReason::ContentRejected),
        by_lead("spring", &id(LATE + 5), 0, OutcomeKind::OptedOut),
    ]
}

async fn leads(client: &mut LeadServiceClient<Channel>) -> Result<Streaming<pb::ExportLeadsResponse>, Status> {
    let request = pb::ExportLeadsRequest { parent: campaign_name("spring") };
    Ok(client.export_leads(request).await?.into_inner())
}

async fn outcomes(client: &mut LeadServiceClient<Channel>) -> Result<Streaming<pb::ExportOutcomesResponse>, Status> {
    let request = pb::ExportOutcomesRequest { parent: campaign_name("spring") };
    Ok(client.export_outcomes(request).await?.into_inner())
}

/// The next message, in time.
async fn next<M>(stream: &mut Streaming<M>) -> Result<Option<M>, Status> {
    tokio::time::timeout(SOON, stream.message()).await.expect("a message, or the end")
}

async fn head(stream: &mut Streaming<pb::ExportLeadsResponse>) -> pb::ExportLeadsResponse {
    next(stream).await.expect("it goes on").expect("a first message")
}

async fn rest(stream: &mut Streaming<pb::ExportLeadsResponse>) -> Result<Vec<pb::Lead>, Status> {
    let mut leads = Vec::new();
    while let Some(message) = next(stream).await? {
        leads.extend(message.leads);
    }
    Ok(leads)
}

async fn rest_of_outcomes(stream: &mut Streaming<pb::ExportOutcomesResponse>) -> Result<Vec<pb::LeadOutcome>, Status> {
    let mut outcomes = Vec::new();
    while let Some(message) = next(stream).await? {
        assert!(message.outcomes.len() <= 1000, "{} in a message", message.outcomes.len());
        outcomes.extend(message.outcomes);
    }
    Ok(outcomes)
}

/// All leads as ListLeads shows them, in the form of an export.
async fn listed(service: &Service) -> Vec<pb::Lead> {
    let (mut leads, mut page_token) = (Vec::new(), String::new());
    loop {
        let request =
            pb::ListLeadsRequest { parent: campaign_name("spring"), page_size: 1000, page_token, ..Default::default() };
        let page = service.leads.clone().list_leads(request).await.unwrap().into_inner();
        leads.extend(page.leads.into_iter().map(|lead| pb::Lead { due_time: None, ..lead }));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return leads;
        }
    }
}

fn counts(leads: &[pb::Lead]) -> pb::LeadCounts {
    let of = |status| i64::try_from(leads.iter().filter(|lead| lead.status() == status).count()).unwrap();
    pb::LeadCounts {
        sent: of(LeadStatus::Sent),
        failed: of(LeadStatus::Failed),
        pending: of(LeadStatus::Pending),
        partial: of(LeadStatus::Partial),
        total: i64::try_from(leads.len()).unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_export_shows_one_committed_state_although_outcomes_commit_and_arrive_while_it_is_read() {
    let service = world().await;
    let (before, logged) = (listed(&service).await, logged(&service.sql().await).await);
    let at_the_start = get(&service, "spring").await.lead_counts;

    // A batch that has changed leads, but has not committed when the exports start.
    let (holder, watcher) = (service.sql().await, service.sql().await);
    holder.batch_execute("BEGIN; SELECT FROM campaign_counters FOR UPDATE").await.unwrap();
    let mut client = reader(&service).await;
    let mut other = reader(&service).await;
    let exports = async {
        blocked(&watcher, &holder, 1).await;
        // A later transaction commits first.
        create_account(&service, "bob", None).await;
        let mut of_leads = leads(&mut client).await.unwrap();
        let head = head(&mut of_leads).await;
        let mut of_outcomes = outcomes(&mut other).await.unwrap();
        assert_eq!(next(&mut of_outcomes).await.unwrap().unwrap().lead_counts, head.lead_counts);
        holder.batch_execute("COMMIT").await.unwrap();
        (head, of_leads, of_outcomes)
    };
    let in_flight = report_new(&service, later());
    let ((), (head, mut of_leads, mut of_outcomes)) = tokio::join!(in_flight, exports);
    // And some that begin later, and new leads.
    report_new(&service, vec![by_lead("spring", &id(LATE + 6), 0, OutcomeKind::Converted)]).await;
    let new = (0..7).map(|number| pb::NewLead { lead_id: format!("new{number}"), ..Default::default() });
    crate::world::try_add(&service, "spring", new.collect(), false).await.unwrap();

    let as_of = head.as_of_time.expect("the moment");
    assert_eq!(as_of.seconds, service.clock.now().as_second());
    assert_eq!(head.lead_counts, at_the_start, "what had committed");
    let seen = rest(&mut of_leads).await.unwrap();
    let different: Vec<_> = seen.iter().zip(&before).filter(|(seen, before)| seen != before).collect();
    assert!(different.is_empty() && seen.len() == before.len(), "{different:#?}");
    assert_eq!(Some(counts(&seen)), at_the_start);
    assert_ne!(get(&service, "spring").await.lead_counts, at_the_start, "something happened");

    let exported = rest_of_outcomes(&mut of_outcomes).await.unwrap().into_iter();
    let exported: Vec<_> = exported.map(|outcome| (outcome.lead.clone(), outcome.kind())).collect();
    assert_eq!(exported.len(), logged);
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, kind) in &exported {
        *kinds.entry(kind.as_str_name()).or_default() += 1;
    }
    let expected = [("OUTCOME_KIND_AUTO_REPLIED", 1), ("OUTCOME_KIND_DELIVERED", LATE + 2), ("OUTCOME_KIND_FAILED", 1)];
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), expected);
    assert_eq!(exported[LATE].0, lead_name("spring", &id(LATE)), "by lead");
}

async fn logged(sql: &Connection) -> usize {
    let count: i64 = sql.query_one("SELECT count(*) FROM outcomes", &[]).await.unwrap().get(0);
    usize::try_from(count).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_reader_that_stops_or_leaves_holds_no_transaction() {
    let service = world().await;
    let sql = service.sql().await;
    // The name is set for the transaction only.
    let open = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name LIKE 'campaign-metrics export%'";
    let idle = async |what| {
        let wait = until(what, SOON, async || {
            let open: i64 = sql.query_one(open, &[]).await?.get(0);
            ensure!(open == 0, "{open} are open");
            Ok(())
        });
        wait.await.expect("no transaction is open");
    };
    let mut client = reader(&service).await;
    let mut stream = leads(&mut client).await.unwrap();
    head(&mut stream).await;
    idle("the service to wait for the reader").await;
    drop(stream);
    idle("the service to see that the reader left").await;
    let count = "campaign_metrics_transaction_duration_seconds_count{transaction=\"export_leads\"} ";
    let page = service.admin("/metrics").await;
    // A portion that the reader did not wait for does not count.
    let reads = page.lines().find_map(|line| line.strip_prefix(count)).unwrap_or("0");
    assert!(
        reads.parse::<u32>().unwrap() < 3,
        "{reads} portions of {LEADS} leads were read for a reader that took none"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_lead_that_is_deleted_or_forgotten_before_it_is_read_is_left_out() {
    let service = world().await;
    let mut client = reader(&service).await;
    let mut stream = leads(&mut client).await.unwrap();
    let mut of_outcomes = outcomes(&mut reader(&service).await).await.unwrap();
    let total = head(&mut stream).await.lead_counts.unwrap().total;
    next(&mut of_outcomes).await.unwrap();
    for number in [LATE, LATE + 20] {
        let request = pb::DeleteLeadRequest { name: lead_name("spring", &id(number)), force: false };
        service.leads.clone().delete_lead(request).await.unwrap();
    }
    let seen = rest(&mut stream).await.unwrap();
    assert_eq!(i64::try_from(seen.len()).unwrap(), total - 2);
    let gone = [LATE, LATE + 20].map(|number| lead_name("spring", &id(number)));
    assert!(!seen.iter().any(|lead| gone.contains(&lead.name)));
    let exported = rest_of_outcomes(&mut of_outcomes).await.unwrap();
    assert_eq!(exported.len(), LATE + 3, "without that of the forgotten lead");
    assert!(!exported.iter().any(|outcome| gone.contains(&outcome.lead)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_export_ends_with_an_error_when_it_can_not_be_whole() {
    let service = world().await;
    // Two connections: what is not read of one stream takes up the window of the other.
    let (mut client, mut other) = (reader(&service).await, reader(&service).await);
    let (mut of_leads, mut of_outcomes) = (leads(&mut client).await.unwrap(), outcomes(&mut other).await.unwrap());
    head(&mut of_leads).await;
    next(&mut of_outcomes).await.unwrap();
    // The next month has no partition yet.
    service.clock.advance(Duration::from_hours(24 * 62));
    service.store().maintain().await.unwrap();
    assert_refused(rest(&mut of_leads).await, Code::Aborted, "EXPORT_OUTDATED", "export again");
    assert_refused(rest_of_outcomes(&mut of_outcomes).await, Code::Aborted, "EXPORT_OUTDATED", "export again");
    let mut stream = leads(&mut client).await.unwrap();
    head(&mut stream).await;
    let request = pb::DeleteCampaignRequest { name: campaign_name("spring"), ..Default::default() };
    service.campaigns.clone().delete_campaign(request).await.unwrap();
    assert_refused(rest(&mut stream).await, Code::Aborted, "EXPORT_OUTDATED", "was deleted");
    assert_refused(leads(&mut client).await, Code::NotFound, "NOT_FOUND", "spring");
    assert_refused(outcomes(&mut client).await, Code::NotFound, "NOT_FOUND", "spring");
    let request = pb::ExportLeadsRequest { parent: "spring".into() };
    assert_refused(client.export_leads(request).await, Code::InvalidArgument, "INVALID_FIELD", "parent");
    let request = pb::ExportOutcomesRequest::default();
    assert_refused(client.export_outcomes(request).await, Code::InvalidArgument, "INVALID_FIELD", "parent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_service_that_shuts_down_ends_its_exports_with_an_error() {
    let service = world().await;
    let mut client = reader(&service).await;
    let mut stream = leads(&mut client).await.unwrap();
    head(&mut stream).await;
    service.begin_stop();
    let error = rest(&mut stream).await.expect_err("it is not whole");
    // The connection can close before the last message is read.
    if error.code() != Code::Unknown {
        assert_refused(Err::<(), _>(error), Code::Unavailable, "SHUTTING_DOWN", "");
    }
}
