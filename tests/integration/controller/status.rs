//! Compares every field of the status, every column and every condition with the campaign in the service.

use std::{collections::BTreeSet, time::Duration};

use anyhow::ensure;
use campaign_controller::plan::{mirrored, with_diagnosis};
use campaign_metrics::pb::{self, FailureReason, OutcomeKind};
use campaign_metrics_service::Clock;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    expect::{at, compare, doubt, percent},
    schema,
    stage::Stage,
};
use crate::harness::{
    postgres::database,
    service::Service,
    wait::{SOON, until},
};

/// Starts a service whose clock begins at the present time, as the controller's does, and is moved by the test.
async fn service() -> Service {
    Service::on(&database().await, Clock::manual(Timestamp::now())).await
}

impl Stage {
    /// Waits until the status of a resource says what the service says, and returns the resource and the campaign. What the
    /// status has of a diagnosis can be of before.
    pub async fn mirrored(&self, service: &Service, name: &str) -> (Value, pb::Campaign) {
        self.mirrored_with(service, name, None).await
    }

    /// Waits until the status of a resource also says what the service diagnoses.
    async fn mirrored_diagnosed(&self, service: &Service, name: &str) -> (Value, pb::Campaign) {
        let request = pb::DiagnoseCampaignRequest { name: self.campaign_name(name) };
        let diagnosis = service.performance.clone().diagnose_campaign(request).await.expect("a diagnosis").into_inner();
        self.mirrored_with(service, name, Some(&diagnosis)).await
    }

    async fn mirrored_with(
        &self,
        service: &Service,
        name: &str,
        diagnosis: Option<&pb::Diagnosis>,
    ) -> (Value, pb::Campaign) {
        let look = async || {
            let resource = self.resource(name).await.expect("the resource exists");
            let resource = serde_json::to_value(resource)?;
            let campaign = self.campaign(service, name).await?;
            let differences = compare(&campaign, diagnosis, &resource["status"]);
            ensure!(differences.is_empty(), "the status of {name} differs:\n{}", differences.join("\n"));
            Ok((resource, campaign))
        };
        until("the status to say what the service says", SOON, look).await.unwrap()
    }

    /// Reports outcomes of leads without claims, which happened so many days ago.
    async fn results(
        &self,
        service: &Service,
        campaign: &str,
        days_ago: u64,
        results: Vec<(String, i32, OutcomeKind, FailureReason)>,
    ) {
        let at = service.clock.now() - Duration::from_hours(24 * days_ago);
        let outcome = |(lead, step, kind, reason): (String, i32, OutcomeKind, FailureReason)| pb::Outcome {
            lead: format!("{}/leads/{lead}", self.campaign_name(campaign)),
            step,
            kind: kind.into(),
            reason: reason.into(),
            time: Some(prost_types::Timestamp { seconds: at.as_second(), nanos: 0 }),
            ..Default::default()
        };
        self.report(service, results.into_iter().map(outcome).collect()).await;
    }
}

/// Creates a campaign whose numbers all differ, with claims in flight and uncertain claims.
async fn eventful(stage: &Stage, service: &Service, name: &str) {
    use OutcomeKind::{AutoReplied, Bounced, Converted, Delivered, Failed, OptedOut, Replied};
    stage.account(service, "ann").await;
    let accounts = vec![format!("{}/accounts/ann", stage.workspace())];
    stage.create_campaign(service, name, pb::Campaign { steps: 4, accounts, ..Default::default() }).await;
    stage.leads(service, name, 74, false).await;
    let mut claimed: BTreeSet<String> = BTreeSet::new();
    for (claims, later) in [(16, Duration::from_mins(6)), (14, Duration::ZERO)] {
        let claims = stage.claim(service, "ann", claims).await.claims;
        claimed.extend(claims.iter().map(|claim| claim.lead.rsplit('/').next().unwrap_or_default().to_owned()));
        service.clock.advance(later);
    }
    assert_eq!(claimed.len(), 30, "each claim is of another lead");
    let mut free = (0..74).map(|number| format!("l{number}")).filter(|lead| !claimed.contains(lead));
    let (mut results, mut old_results) = (Vec::new(), Vec::new());
    let mut add = |leads: usize, is_old: bool, kinds: &[(i32, OutcomeKind)]| {
        let group: Vec<String> = free.by_ref().take(leads).collect();
        assert_eq!(group.len(), leads, "there are leads enough");
        for lead in &group {
            for (step, kind) in kinds {
                let results = if is_old && *kind != Replied { &mut old_results } else { &mut results };
                results.push((lead.clone(), *step, *kind, FailureReason::Unspecified));
            }
        }
        group
    };
    // Leads of equal age: 18, of which 2 converted within 7 days and none replied.
    add(5, true, &[(1, Delivered), (0, Replied)]);
    add(2, false, &[(0, Replied)]);
    add(2, true, &[(1, Delivered), (2, Delivered), (0, Converted)]);
    add(4, false, &[(0, Converted)]);
    add(3, false, &[(1, Delivered), (2, Delivered), (3, Delivered), (4, Delivered)]);
    add(3, false, &[(1, Delivered), (0, OptedOut)]);
    add(11, true, &[(1, Delivered), (0, AutoReplied)]);
    add(2, false, &[(1, Delivered)]);
    let failed = add(9, false, &[]);
    let reasons = [
        (FailureReason::AccountIssue, 1),
        (FailureReason::InvalidLead, 4),
        (FailureReason::RateLimited, 8),
        (FailureReason::ContentRejected, 10),
        (FailureReason::Other, 12),
    ];
    let reasons = reasons.into_iter().flat_map(|(reason, count)| std::iter::repeat_n(reason, count));
    for (number, reason) in reasons.enumerate() {
        let kind = if number < 20 { Failed } else { Bounced };
        let step = i32::try_from(number / 9).unwrap() + 1;
        results.push((failed[number % 9].clone(), step, kind, reason));
    }
    stage.results(service, name, 10, old_results).await;
    stage.results(service, name, 0, results).await;
}

/// Fields that are equal by definition. All other numbers of [`eventful`] differ.
const SAME_BY_MEANING: [&str; 6] = [
    "progress.denominator",
    "delivery.numerator",
    "conversion.denominator",
    "conversionWithin7Days.numerator",
    "conversionWithin7Days.denominator",
    "observedGeneration",
];

#[tokio::test]
async fn every_field_of_the_status_and_every_column_says_what_the_service_says() {
    let service = service().await;
    let stage = Stage::start(&service.url).await;
    eventful(&stage, &service, "busy").await;
    let spec = json!({"accounts": ["ann"], "steps": 4, "dailyLimit": 1000});
    stage.apply("busy", &spec).await;
    stage.apply("paused", &json!({"state": "Paused", "accounts": ["ann"]})).await;
    stage.apply("ended", &json!({"state": "Finished"})).await;
    let (busy, campaign) = stage.mirrored_diagnosed(&service, "busy").await;
    let mut numbers: Vec<(i64, String)> = schema::leaves("status")
        .into_iter()
        .filter(|path| !SAME_BY_MEANING.contains(&path.as_str()))
        .filter_map(|path| Some((at(&busy["status"], &path)?.as_i64()?, path)))
        .collect();
    numbers.sort_unstable();
    for pair in numbers.windows(2) {
        assert_ne!(pair[0].0, pair[1].0, "the fixture would not notice a swap of {} and {}", pair[0].1, pair[1].1);
    }
    for path in schema::leaves("status").iter().filter(|path| !path.starts_with("conditions")) {
        let never = path.starts_with("finish") || path.starts_with("hold");
        assert_eq!(at(&busy["status"], path).is_none(), never, "the fixture has no status.{path}");
    }
    let (ended, _) = stage.mirrored_diagnosed(&service, "ended").await;
    for path in ["finishReason", "finishTime"] {
        assert!(at(&ended["status"], path).is_some(), "the fixture has no status.{path}");
    }
    let (paused, _) = stage.mirrored_diagnosed(&service, "paused").await;
    assert_eq!(paused["status"]["state"], "Paused");
    assert_eq!(busy["status"]["finding"]["kind"], "LowDelivery", "no cause alone loses a fifth");
    columns(&stage, &service, &[busy, paused, ended]).await;

    // The status follows later changes, too.
    service.clock.advance(Duration::from_mins(7));
    let (later, _) = stage.mirrored(&service, "busy").await;
    assert_eq!(later["status"]["inFlight"]["claims"], 0, "all claims of {} have expired", campaign.name);
    assert_eq!(later["status"]["uncertainClaims"], 30);
}

/// Compares each cell of `kubectl get -o wide` with the service, by the column's name, and with the definition's path.
async fn columns(stage: &Stage, service: &Service, resources: &[Value]) {
    let table = stage.kubectl(&["get", "campaigns", "-o", "wide"]).await.success().unwrap();
    let mut lines = table.lines();
    let head = lines.next().expect("a header");
    let starts: Vec<usize> = (0..head.len())
        .filter(|at| !head[*at..].starts_with(' ') && (*at == 0 || head[..*at].ends_with("  ")))
        .collect();
    let cells = |line: &str| -> Vec<String> {
        let ends = starts.iter().skip(1).copied().chain([usize::MAX]);
        let cell =
            |(start, end): (&usize, usize)| line.get(*start..end.min(line.len())).unwrap_or_default().trim().to_owned();
        starts.iter().zip(ends).map(cell).collect()
    };
    let heads = cells(head);
    let defined = schema::version()["additionalPrinterColumns"].as_array().unwrap();
    let names: Vec<String> = defined.iter().map(|column| column["name"].as_str().unwrap().to_uppercase()).collect();
    assert_eq!(heads[0], "NAME");
    assert_eq!(heads[1..], names, "kubectl shows the columns of the definition");
    let rows: Vec<Vec<String>> = lines.map(cells).collect();
    assert_eq!(rows.len(), resources.len(), "kubectl shows every campaign");
    for resource in resources {
        let name = resource["metadata"]["name"].as_str().unwrap();
        let campaign = stage.campaign(service, name).await.unwrap();
        let row = rows.iter().find(|row| row[0] == name).expect("its row");
        for (column, cell) in defined.iter().zip(&row[1..]) {
            let column = column["name"].as_str().unwrap();
            if column == "Finding" {
                let kind = resource["status"]["finding"]["kind"].as_str().unwrap_or_default();
                assert_eq!(*cell, kind, "{column} of {name}");
                continue;
            }
            match shown(column, &campaign) {
                Some(expected) => assert_eq!(*cell, expected, "{column} of {name}"),
                None => assert!(cell.ends_with(['s', 'm']), "{column} of {name} is {cell}"),
            }
        }
    }
}

/// Returns what a column must show of a campaign; `None` for the age, which is not known exactly.
fn shown(column: &str, campaign: &pb::Campaign) -> Option<String> {
    let leads = campaign.lead_counts.unwrap();
    let share = |numerator, denominator| if denominator == 0 { String::new() } else { percent(numerator, denominator) };
    let rate = |rate: Option<pb::Rate>| share(rate.unwrap().numerator, rate.unwrap().denominator);
    let blocked: Vec<_> = campaign.not_sending_reasons().collect();
    Some(match column {
        "State" => format!("{:?}", campaign.state()),
        "Progress" => share(leads.sent + leads.failed, leads.total),
        "Sent" => leads.sent.to_string(),
        "Failed" => leads.failed.to_string(),
        "Pending" => leads.pending.to_string(),
        "Partial" => leads.partial.to_string(),
        "Total" => leads.total.to_string(),
        "Delivery" => rate(campaign.delivery_rate),
        "Health" if campaign.delivery_rate.unwrap().denominator == 0 => String::new(),
        "Health" => format!("{:?}{}", campaign.delivery_health(), doubt(campaign)),
        "Held" if campaign.hold.is_none() => String::new(),
        "Age" => return None,
        "Response" => rate(campaign.response_rate),
        "Conversion" => rate(campaign.conversion_rate),
        "Ready" => "True".into(),
        "Reason" => (if campaign.state() == pb::CampaignState::Finished { "Finished" } else { "Applied" }).into(),
        "Sending" => blocked.first().map_or("Sending".into(), |reason| format!("{reason:?}")),
        other => panic!("the column {other} is compared with nothing"),
    })
}

#[tokio::test]
async fn delivery_is_healthy_above_95_percent_and_moderate_down_to_80() {
    let service = service().await;
    let stage = Stage::start(&service.url).await;
    let edges: [(&str, usize, usize, &str, &str); 5] = [
        ("none", 0, 0, "Unknown", "NoMessages"),
        ("over-95", 96, 101, "True", "High"),
        ("just-95", 95, 100, "False", "Moderate"),
        ("just-80", 80, 100, "False", "Moderate"),
        ("under-80", 79, 99, "False", "Low"),
    ];
    for (name, delivered, of, ..) in edges {
        stage.create_campaign(&service, name, pb::Campaign { steps: 1, ..Default::default() }).await;
        stage.leads(&service, name, of, false).await;
        let kind = |number| if number < delivered { OutcomeKind::Delivered } else { OutcomeKind::Failed };
        let result = |number| (format!("l{number}"), 1, kind(number), FailureReason::Unspecified);
        if of > 0 {
            stage.results(&service, name, 0, (0..of).map(result).collect()).await;
        }
        stage.apply(name, &json!({})).await;
    }
    for (name, delivered, of, status, reason) in edges {
        let resource = stage.condition(name, "DeliveryHealthy", status, reason).await;
        let health = resource.status.unwrap().delivery_health;
        let health = health.map_or("NoMessages".to_owned(), |health| format!("{health:?}"));
        assert_eq!(health, reason, "{delivered} of {of}");
        stage.mirrored(&service, name).await;
    }
}

#[tokio::test]
async fn every_reason_for_not_sending_is_the_reason_of_the_condition_sending() {
    let service = service().await;
    let stage = Stage::start(&service.url).await;
    for account in ["free", "suspended", "limited", "leaver"] {
        stage.account(&service, account).await;
    }
    let account_name = |id: &str| format!("{}/accounts/{id}", stage.workspace());
    let suspend = pb::SuspendAccountRequest { name: account_name("suspended"), ..Default::default() };
    service.accounts.clone().suspend_account(suspend).await.unwrap();
    let limited = pb::Account { name: account_name("limited"), daily_limit: Some(0), ..Default::default() };
    let limit = pb::UpdateAccountRequest { account: Some(limited), ..Default::default() };
    service.accounts.clone().update_account(limit).await.unwrap();

    // A window of one minute, eleven hours from now, is closed now and stays so for long.
    let far = (Timestamp::now() + Duration::from_hours(11)).strftime("%H:%M").to_string();
    let farther = (Timestamp::now() + Duration::from_mins(11 * 60 + 1)).strftime("%H:%M").to_string();
    let cases = [
        ("paused", json!({"state": "Paused", "accounts": ["free"]}), "Paused"),
        ("finished", json!({"state": "Finished", "accounts": ["free"]}), "Finished"),
        (
            "closed",
            json!({"accounts": ["free"], "activeHours": {"windows": [{"startTime": far, "endTime": farther}]}}),
            "OutsideActiveHours",
        ),
        ("used-up", json!({"accounts": ["free"], "dailyLimit": 0}), "CampaignDailyLimit"),
        ("account-used-up", json!({"accounts": ["limited"]}), "AccountDailyLimit"),
        ("suspended", json!({"accounts": ["suspended"]}), "AccountSuspended"),
        ("nobody", json!({}), "NoAccountAssigned"),
        ("removed", json!({"accounts": ["free"], "steps": 2}), "AccountRemoved"),
        ("empty", json!({"accounts": ["free"]}), "NoLeadDue"),
        // With uncertain claims no lead is due, and that reason comes first.
        ("uncertain", json!({"accounts": ["free"]}), "NoLeadDue"),
        ("sending", json!({"accounts": ["free"]}), "Sending"),
    ];
    // What a spec alone can't cause is prepared before the resource is applied.
    let accounts = |id: &str| vec![account_name(id)];
    let campaign = pb::Campaign { steps: 2, accounts: accounts("leaver"), ..Default::default() };
    stage.create_campaign(&service, "removed", campaign).await;
    stage.leads(&service, "removed", 1, false).await;
    let claims = stage.claim(&service, "leaver", 1).await.claims;
    stage.report(&service, vec![crate::world::by_key(&claims[0], OutcomeKind::Delivered)]).await;
    service.clock.advance(Duration::from_hours(25));
    stage
        .create_campaign(&service, "uncertain", pb::Campaign { accounts: accounts("free"), ..Default::default() })
        .await;
    stage.leads(&service, "uncertain", 1, false).await;
    assert_eq!(stage.claim(&service, "free", 1).await.claims.len(), 1);
    service.clock.advance(Duration::from_mins(6));

    let mut told = BTreeSet::new();
    for (name, spec, reason) in &cases {
        stage.apply(name, spec).await;
        let status = if *reason == "Sending" { "True" } else { "False" };
        if !["finished", "removed", "uncertain", "empty"].contains(name) {
            // Leads can be added once the resource has created the campaign.
            stage.condition(name, "Ready", "True", "Applied").await;
            stage.leads(&service, name, 2, false).await;
        }
        stage.condition(name, "Sending", status, reason).await;
        let (_, campaign) = stage.mirrored(&service, name).await;
        told.extend(campaign.not_sending_reasons);
    }
    let reasons = (1..).take_while(|number| pb::NotSendingReason::try_from(*number).is_ok());
    assert_eq!(told, reasons.collect(), "every reason has a case here");
}

#[test]
fn the_comparison_notices_every_field_that_is_wrong_or_missing_or_new() {
    let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 5 });
    let campaign = pb::Campaign {
        uid: "c-1".into(),
        state: pb::CampaignState::Finished.into(),
        finish_reason: pb::FinishReason::Completed.into(),
        lead_counts: Some(pb::LeadCounts { sent: 7, failed: 5, pending: 11, partial: 3, total: 26 }),
        message_counts: Some(pb::MessageCounts { delivered: 20, failed: 4, bounced: 2, ..Default::default() }),
        delivery_rate: Some(pb::Rate { numerator: 20, denominator: 26, ratio: None }),
        delivery_health: pb::DeliveryHealth::Low.into(),
        response_rate: Some(pb::Rate { numerator: 3, denominator: 9, ratio: None }),
        conversion_rate: Some(pb::Rate { numerator: 1, denominator: 9, ratio: None }),
        in_flight_until: time(100),
        next_change_time: time(200),
        finish_time: time(50),
        hold: Some(pb::Hold { place_time: time(70), reason: "why".into(), ..Default::default() }),
        not_sending_reasons: vec![pb::NotSendingReason::Finished.into()],
        owner: Some(pb::Owner { generation: 3, ..Default::default() }),
        ..Default::default()
    };
    let rate = |numerator| Some(pb::Rate { numerator, denominator: 8, ratio: None });
    let finding = pb::Finding {
        kind: pb::FindingKind::LowDelivery.into(),
        severity: pb::Severity::Warning.into(),
        summary: "few".into(),
        ..Default::default()
    };
    let diagnosis = pb::Diagnosis {
        findings: vec![finding],
        rates: vec![pb::RatesAtAge { age_days: 7, response_rate: rate(5), conversion_rate: rate(2) }],
        ..Default::default()
    };
    let status = with_diagnosis(mirrored(None, 3, &campaign, Timestamp::UNIX_EPOCH), &diagnosis);
    let status = serde_json::to_value(status).unwrap();
    let compare = |status: &Value| compare(&campaign, Some(&diagnosis), status);
    assert_eq!(compare(&status), Vec::<String>::new());
    for path in schema::leaves("status") {
        let pointer = format!("/{}", path.replace("[]", ".2").replace('.', "/"));
        let mut wrong = status.clone();
        let field = wrong.pointer_mut(&pointer).unwrap_or_else(|| panic!("the status has {path}"));
        *field = match field.take() {
            Value::Number(number) => json!(number.as_i64().unwrap() + 1),
            _ => json!(""),
        };
        assert_ne!(compare(&wrong), Vec::<String>::new(), "another {path} goes unnoticed");
        *wrong.pointer_mut(&pointer).unwrap() = Value::Null;
        assert_ne!(compare(&wrong), Vec::<String>::new(), "a missing {path} goes unnoticed");
    }
    let mut more = status.clone();
    more["counts"]["bored"] = json!(1);
    assert_eq!(compare(&more), ["status.counts.bored is compared with nothing"]);
}
