//! Callers who share replicas: what one of them does, or what blocks one of them, never stops another.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use anyhow::ensure;
use campaign_metrics::pb::{self, OutcomeKind, OutcomeVerdict};
use campaign_metrics_service::store::{Recounted, VerifyMode};
use futures::{StreamExt as _, future::join_all, stream};
use tokio::time::timeout;
use tonic::{Request, Status, transport::Endpoint};

use crate::{
    harness::{
        http,
        recount::assert_counts,
        service::Service,
        wait::{SOON, until},
    },
    world::{
        WORKSPACE, account_name, add_leads, blocked, by_key, by_lead, claim, create_account, create_campaign, finish,
        get, report, report_new, settings, try_add, try_claim,
    },
};

/// Less than a statement may wait for a lock, and much more than it takes without one.
const UNBLOCKED: Duration = Duration::from_secs(10);
/// Less than a call waits for a connection.
const CONNECTED: Duration = Duration::from_secs(4);

/// Two replicas on one database.
async fn replicas() -> [Service; 2] {
    let one = Service::start().await;
    let two = Service::on(&one.database, one.clock.clone()).await;
    [one, two]
}

async fn campaign(service: &Service, name: &str, leads: usize) {
    create_campaign(service, name, settings(1, &["ann"])).await;
    add_leads(service, name, leads, None, false).await;
}

fn delivered(campaign: &str, leads: std::ops::Range<usize>) -> Vec<pb::Outcome> {
    leads.map(|lead| by_lead(campaign, &format!("l{lead}"), 1, OutcomeKind::Delivered)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_on_one_campaign_stops_no_report_of_another() {
    let services = replicas().await;
    create_account(&services[0], "ann", None).await;
    let locks = [
        ("row", "SELECT FROM campaigns WHERE name = 'row' FOR UPDATE"),
        (
            "counters",
            "SELECT FROM campaign_counters JOIN campaigns USING (campaign_id) WHERE name = 'counters' FOR UPDATE OF campaign_counters",
        ),
        ("leads", "SELECT FROM leads JOIN campaigns USING (campaign_id) WHERE name = 'leads' FOR UPDATE OF leads"),
    ];
    for (name, lock) in locks {
        let free = format!("free-{name}");
        campaign(&services[0], name, 60).await;
        campaign(&services[0], &free, 60).await;
        let holder = services[0].sql().await;
        holder.batch_execute(&format!("BEGIN; {lock}")).await.unwrap();
        // Single outcomes spread over both lanes, so every lane of both replicas meets the lock.
        let of_locked = (0..20).map(|lead| report(&services[lead % 2], delivered(name, lead..lead + 1)));
        let of_free = async {
            blocked(&services[0].sql().await, &holder, 1).await;
            for lead in 0..20 {
                let reporting = report_new(&services[lead % 2], delivered(&free, lead..lead + 1));
                timeout(UNBLOCKED, reporting).await.unwrap_or_else(|_| panic!("report {lead} waits for {name}"));
            }
            holder.batch_execute("COMMIT").await.unwrap();
        };
        let (answers, ()) = tokio::join!(join_all(of_locked), of_free);
        assert!(answers.iter().flatten().all(|result| result.verdict() == OutcomeVerdict::Applied), "{name}");
        let sql = services[0].sql().await;
        for campaign in [name, free.as_str()] {
            assert_counts(&sql, &get(&services[0], campaign).await).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repair_recounts_without_a_lock_and_keeps_what_comes_meanwhile() {
    let services = replicas().await;
    create_account(&services[0], "ann", None).await;
    campaign(&services[0], "spring", 30).await;
    let claims = claim(&services[0], "ann", 7).await.claims;
    let sql = services[0].sql().await;
    let wrong = "UPDATE campaign_counters SET sent = sent + 2, pending = pending - 2, replied = 5;
        UPDATE account_leads SET partial = 3";
    sql.batch_execute(wrong).await.unwrap();
    // Both recounts read the accounts, reports do not. The second recount waits for the second lock.
    let (first, second) = (services[0].sql().await, services[0].sql().await);
    let lock = "BEGIN; LOCK TABLE accounts IN ACCESS EXCLUSIVE MODE";
    first.batch_execute(lock).await.unwrap();
    let store = services[1].store();
    let repairing = async {
        let all = store.verify_list().await.unwrap();
        let spring = all.into_iter().find(|what| matches!(what, Recounted::Campaign(..))).unwrap();
        store.verify(&spring, VerifyMode::Repair).await.unwrap()
    };
    let others = async {
        blocked(&sql, &first, 1).await;
        let queueing = second.batch_execute(lock);
        let releasing = async {
            blocked(&sql, &first, 2).await;
            first.batch_execute("COMMIT").await.unwrap();
        };
        tokio::join!(async { queueing.await.unwrap() }, releasing);
        blocked(&sql, &second, 1).await;
        for (service, claim) in services.iter().cycle().zip(&claims) {
            let reporting = report_new(service, vec![by_key(claim, OutcomeKind::Delivered)]);
            timeout(UNBLOCKED, reporting).await.expect("no report waits for the recount");
        }
        second.batch_execute("COMMIT").await.unwrap();
    };
    let (repaired, ()) = tokio::join!(repairing, others);
    assert!(repaired.len() >= 4, "{repaired:?}");
    let seen = get(&services[0], "spring").await;
    assert_eq!(seen.lead_counts.as_ref().map(|counts| (counts.sent, counts.pending)), Some((7, 23)));
    assert_counts(&sql, &seen).await;
    for what in store.verify_list().await.unwrap() {
        assert_eq!(store.verify(&what, VerifyMode::Report).await.unwrap(), []);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_opt_out_gets_its_turn_under_imports_that_never_end_and_stops_no_other_outcome() {
    let services = replicas().await;
    create_account(&services[0], "ann", None).await;
    campaign(&services[0], "spring", 20).await;
    create_campaign(&services[0], "imported", settings(1, &["ann"])).await;
    // Each import holds its locks for a while, so that imports overlap without a gap.
    let slow = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.1); RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON lead_ids DEFERRABLE INITIALLY IMMEDIATE FOR EACH ROW EXECUTE FUNCTION slow()";
    services[0].sql().await.batch_execute(slow).await.unwrap();
    let (is_over, added) = (AtomicBool::new(false), AtomicUsize::new(0));
    let imports = (0..8).map(|adder| {
        let (service, is_over, added) = (&services[adder % 2], &is_over, &added);
        // Of campaigns of their own, so that only the workspace is shared.
        async move {
            let name = format!("import{adder}");
            create_campaign(service, &name, settings(1, &["ann"])).await;
            while !is_over.load(Ordering::Relaxed) {
                let lead_id = format!("new{}", added.fetch_add(1, Ordering::Relaxed));
                let lead = pb::NewLead { lead_id, account_id: String::new() };
                try_add(service, &name, vec![lead], false).await.expect("it is added");
            }
        }
    });
    let opt_outs = async {
        let busy = async || {
            ensure!(added.load(Ordering::Relaxed) > 30);
            Ok(())
        };
        until("imports to overlap", SOON, busy).await.unwrap();
        for (number, service) in services.iter().enumerate() {
            let mut outcomes = delivered("spring", number..number + 1);
            outcomes.push(by_lead("spring", &format!("l{}", 10 + number), 0, OutcomeKind::OptedOut));
            timeout(UNBLOCKED, report_new(service, outcomes)).await.expect("a reported opt-out gets its turn");
            let request =
                pb::AddOptOutsRequest { parent: WORKSPACE.into(), lead_ids: vec![format!("l{}", 15 + number)] };
            let mut opt_outs = service.opt_outs.clone();
            let adding = timeout(UNBLOCKED, opt_outs.add_opt_outs(request)).await;
            assert_eq!(adding.expect("an opt-out gets its turn").unwrap().into_inner().added_count, 1);
        }
        is_over.store(true, Ordering::Relaxed);
    };
    tokio::join!(join_all(imports), opt_outs);
    let seen = get(&services[0], "spring").await;
    assert_eq!(seen.message_counts.as_ref().map(|counts| counts.opted_out_leads), Some(4));
    assert_counts(&*services[0].sql().await, &seen).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_imports_that_wait_keep_no_connection_from_senders_probes_and_people() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    campaign(&service, "spring", 80).await;
    create_campaign(&service, "imported", settings(1, &["ann"])).await;
    let claims = claim(&service, "ann", 6).await.claims;
    let ids = |claims: &[pb::Claim]| claims.iter().map(|claim| claim.claim_id.clone()).collect::<Vec<_>>();
    let holder = service.sql().await;
    let lock = "SELECT FROM campaign_counters JOIN campaigns USING (campaign_id) WHERE name = 'imported' FOR UPDATE OF campaign_counters";
    holder.batch_execute(&format!("BEGIN; {lock}")).await.unwrap();
    let imports = (0..20).map(|number| {
        let lead = pb::NewLead { lead_id: format!("i{number}"), account_id: String::new() };
        try_add(&service, "imported", vec![lead], false)
    });
    let others = async {
        blocked(&service.sql().await, &holder, 3).await;
        let mut sending = service.sending.clone();
        let account = account_name("ann");
        let renew =
            pb::RenewClaimsRequest { account: account.clone(), claim_ids: ids(&claims[..2]), hold_duration: None };
        let renewed = timeout(CONNECTED, sending.renew_claims(renew)).await.expect("a renewal gets a connection");
        assert_eq!(renewed.unwrap().into_inner().results.len(), 2);
        let release = pb::ReleaseClaimsRequest { account, claim_ids: ids(&claims[2..5]), not_before: None };
        let released = timeout(CONNECTED, sending.release_claims(release)).await.expect("a release gets a connection");
        assert_eq!(released.unwrap().into_inner().released_count, 3);
        // So many that their ids are looked up first.
        let reporting = report_new(&service, delivered("spring", 20..80));
        timeout(CONNECTED, reporting).await.expect("a report by lead id gets a connection");
        timeout(CONNECTED, get(&service, "spring")).await.expect("a person gets a connection");
        let ready = timeout(CONNECTED, http::get(&format!("{}/readyz", service.admin_url))).await;
        assert_eq!(ready.expect("the probe gets a connection").unwrap().0, 200);
        holder.batch_execute("COMMIT").await.unwrap();
    };
    let (imported, ()) = tokio::join!(join_all(imports), others);
    assert!(imported.iter().any(Result::is_ok), "those that had a connection went on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_of_an_account_with_hundreds_of_campaigns_stop_no_other_account() {
    let services = replicas().await;
    create_account(&services[0], "busy", None).await;
    create_account(&services[0], "ben", None).await;
    create_campaign(&services[0], "own", settings(1, &["ben"])).await;
    add_leads(&services[0], "own", 30, None, false).await;
    for number in 0..150 {
        let name = format!("c{number}");
        create_campaign(&services[0], &name, settings(1, &["busy"])).await;
        if number < 140 {
            finish(&services[0], &name).await;
        }
    }
    let none = claim(&services[0], "busy", 1).await;
    assert_eq!((none.claims.len(), none.not_sending.len()), (0, 10), "finished campaigns are not listed");
    claim(&services[1], "busy", 1).await;
    for service in &services {
        claim(service, "ben", 1).await;
    }
    let (holder, watcher) = (services[0].sql().await, services[0].sql().await);
    holder.batch_execute("BEGIN; SELECT FROM accounts WHERE name = 'busy' FOR UPDATE").await.unwrap();
    let busy = join_all(services.iter().map(|service| try_claim(service, "busy", 1)));
    let others = async {
        blocked(&watcher, &holder, 2).await;
        for service in &services {
            let claimed = timeout(UNBLOCKED, claim(service, "ben", 2)).await;
            assert_eq!(claimed.expect("it does not queue behind the busy account").claims.len(), 2);
        }
        holder.batch_execute("COMMIT").await.unwrap();
    };
    let (busy, ()) = tokio::join!(busy, others);
    assert!(busy.iter().all(Result::is_ok), "{busy:?}");
    for number in 140..150 {
        finish(&services[0], &format!("c{number}")).await;
    }
    let over = claim(&services[0], "busy", 1).await;
    let reasons: Vec<_> = over.not_sending.iter().map(|why| (why.campaign.as_str(), why.reasons.clone())).collect();
    assert_eq!(reasons, [("", vec![i32::from(pb::NotSendingReason::Finished)])], "one reason tells of them all");
}

#[tokio::test]
async fn a_value_that_is_too_large_is_refused_and_spoils_no_later_conversion() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    campaign(&service, "spring", 5).await;
    let converted = |lead: &str, value| pb::Outcome {
        value_micros: Some(value),
        ..by_lead("spring", lead, 0, OutcomeKind::Converted)
    };
    let answers = report(&service, vec![converted("l0", i64::MAX - 7), converted("l1", 10_000_000_000_000)]).await;
    let verdicts: Vec<_> = answers.iter().map(pb::OutcomeResult::verdict).collect();
    assert_eq!(verdicts, [OutcomeVerdict::Rejected, OutcomeVerdict::Applied]);
    assert!(answers[0].message.contains("value_micros"), "{}", answers[0].message);
    report_new(&service, vec![converted("l2", 19)]).await;
    let seen = get(&service, "spring").await;
    assert_eq!(seen.message_counts.as_ref().map(|counts| counts.conversion_value_micros), Some(10_000_000_000_019));
    assert_counts(&*service.sql().await, &seen).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn greedy_streams_of_one_workspace_leave_room_for_a_modest_reporter_of_another() {
    for (greedy, modest) in [("acme", "other"), ("other", "acme")] {
        modest_is_served(greedy, modest).await;
    }
}

async fn modest_is_served(greedy: &str, modest: &str) {
    let service = Service::start().await;
    let sql = service.sql().await;
    for workspace in [greedy, modest] {
        let request = pb::CreateCampaignRequest {
            parent: format!("workspaces/{workspace}"),
            campaign_id: "spring".into(),
            campaign: Some(settings(1, &[])),
            request_id: String::new(),
        };
        service.campaigns.clone().create_campaign(request).await.expect("it is created");
        let leads = (0..200).map(|lead| pb::NewLead { lead_id: format!("l{lead}"), account_id: String::new() });
        let request = pb::AddLeadsRequest {
            parent: format!("workspaces/{workspace}/campaigns/spring"),
            leads: leads.collect(),
            lead_list_complete: false,
        };
        service.leads.clone().add_leads(stream::iter([request])).await.expect("they are added");
    }
    let outcomes = |workspace: &str, leads: std::ops::Range<usize>| {
        let lead = |lead| pb::Outcome {
            lead: format!("workspaces/{workspace}/campaigns/spring/leads/l{lead}"),
            kind: OutcomeKind::Delivered.into(),
            step: 1,
            ..Default::default()
        };
        leads.map(lead).collect::<Vec<_>>()
    };
    // Twenty streams, each on a connection of its own, which send without end while nothing of theirs commits.
    // Requests of 192 outcomes would fill the room to the last outcome.
    let lock = "SELECT FROM campaigns JOIN workspaces w USING (workspace_id) WHERE w.name = $1 FOR UPDATE OF campaigns";
    sql.batch_execute(&format!("BEGIN; {}", lock.replace("$1", &format!("'{greedy}'")))).await.unwrap();
    let mut streams = Vec::new();
    for _ in 0..20 {
        let channel = Endpoint::from_shared(service.url.clone()).unwrap().connect().await.unwrap();
        let request =
            pb::StreamOutcomesRequest { parent: format!("workspaces/{greedy}"), outcomes: outcomes(greedy, 0..192) };
        let mut sending = pb::sending_service_client::SendingServiceClient::new(channel);
        let answers = sending.stream_outcomes(stream::repeat(request).take(400)).await.expect("a stream").into_inner();
        streams.push(tokio::spawn(answers.map(|answer| answer.is_ok()).collect::<Vec<bool>>()));
    }
    let full = until("the greedy ones to wait for room", SOON, async || {
        let waiting = service.metric("campaign_metrics_outcomes_waiting").await;
        ensure!(waiting > 20_000, "{waiting} wait");
        Ok(())
    });
    full.await.unwrap();
    // Served at once while the others wait for their lock, and just so while they go on.
    for lead in 0..91 {
        if lead == 45 {
            sql.batch_execute("COMMIT").await.unwrap();
        }
        let request = pb::ReportOutcomesRequest {
            parent: format!("workspaces/{modest}"),
            outcomes: outcomes(modest, lead..lead + 3),
        };
        let mut sending = service.sending.clone();
        let answer: Result<Result<_, Status>, _> =
            timeout(UNBLOCKED, sending.report_outcomes(Request::new(request))).await;
        let results = answer.expect("it is answered").unwrap_or_else(|status| panic!("call {lead}: {status:?}"));
        assert_eq!(results.into_inner().results.len(), 3);
    }
    for stream in streams {
        stream.abort();
    }
}
