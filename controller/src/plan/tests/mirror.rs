//! The whole status, field by field, from campaigns whose numbers all differ; and what of it stays while nothing is known.

use campaign_metrics::pb::{DeliveryHealth, FailureReason, FindingKind, FinishReason, NotSendingReason, Severity};
use serde_json::{Value, json};

use super::*;

fn time(seconds: i64) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds, nanos: 999_999_999 }
}

fn rate(numerator: i64, denominator: i64) -> pb::Rate {
    // The percentage is made of the two numbers; this ratio would give another.
    pb::Rate { numerator, denominator, ratio: Some(0.123) }
}

fn eventful() -> pb::Campaign {
    let failures = [
        (FailureReason::Other, 12),
        (FailureReason::ContentRejected, 10),
        (FailureReason::RateLimited, 8),
        (FailureReason::InvalidLead, 4),
        (FailureReason::AccountIssue, 1),
    ];
    pb::Campaign {
        state: CampaignState::Finished.into(),
        finish_reason: FinishReason::Requested.into(),
        lead_counts: Some(pb::LeadCounts { sent: 19, failed: 9, pending: 33, partial: 13, total: 74 }),
        message_counts: Some(pb::MessageCounts {
            delivered: 37,
            failed: 20,
            bounced: 15,
            failures: failures.map(|(reason, count)| pb::ReasonCount { reason: reason.into(), count }).into(),
            contacted_leads: 26,
            replied_leads: 7,
            converted_leads: 6,
            auto_replied_leads: 11,
            opted_out_leads: 3,
            conversion_value_micros: 0,
        }),
        delivery_rate: Some(rate(38, 73)),
        delivery_health: DeliveryHealth::Moderate.into(),
        delivery_health_certain: true,
        response_rate: Some(rate(5, 26)),
        conversion_rate: Some(rate(2, 27)),
        in_flight_claims: 14,
        in_flight_until: Some(time(500)),
        uncertain_claims: 16,
        not_sending_reasons: vec![NotSendingReason::Finished.into()],
        next_change_time: Some(time(600)),
        create_time: Some(time(700)),
        update_time: Some(time(800)),
        finish_time: Some(time(900)),
        finalized_time: Some(time(1000)),
        ..campaign()
    }
}

fn diagnosis() -> pb::Diagnosis {
    let finding = |kind: FindingKind, severity: Severity, summary: &str| pb::Finding {
        kind: kind.into(),
        severity: severity.into(),
        summary: summary.into(),
        action: "do this".into(),
        ..pb::Finding::default()
    };
    let rates = |age_days, response, conversion| pb::RatesAtAge {
        age_days,
        response_rate: Some(response),
        conversion_rate: Some(conversion),
    };
    pb::Diagnosis {
        findings: vec![
            finding(FindingKind::InvalidLeads, Severity::Critical, "most leads are invalid"),
            finding(FindingKind::LowResponse, Severity::Warning, "few reply"),
        ],
        rates: vec![rates(30, rate(43, 51), rate(42, 52)), rates(7, rate(17, 53), rate(18, 54))],
        ..pb::Diagnosis::default()
    }
}

fn json_of(status: &CampaignStatus) -> Value {
    serde_json::to_value(status).expect("a status can be written")
}

#[test]
fn every_field_of_the_status_has_the_campaigns_own_number() {
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({"type": kind, "status": status, "reason": reason, "message": message, "observedGeneration": 8,
            "lastTransitionTime": "1970-01-01T00:01:40Z"})
    };
    let finished = "the campaign is finished; its state can't change any more";
    let moderate = "80 to 95 % of the messages are delivered (`campaignctl campaigns diagnose` says why)";
    let expected = json!({
        "observedGeneration": 8,
        "state": "Finished",
        "finishReason": "Requested",
        "campaignUid": "c-1",
        "counts": {"sent": 19, "failed": 9, "pending": 33, "partial": 13, "total": 74},
        "messages": {"delivered": 37, "failed": 20, "bounced": 15, "failures":
            {"accountIssue": 1, "invalidLead": 4, "rateLimited": 8, "contentRejected": 10, "other": 12}},
        "leadFacts": {"replied": 7, "converted": 6, "autoReplied": 11, "optedOut": 3},
        "progress": {"percent": "37.8 %", "numerator": 28, "denominator": 74},
        "delivery": {"percent": "52.1 %", "numerator": 38, "denominator": 73},
        "deliveryHealth": "Moderate",
        "deliveryHealthCertain": true,
        "deliveryHealthText": "Moderate",
        "response": {"percent": "19.2 %", "numerator": 5, "denominator": 26},
        "conversion": {"percent": "7.4 %", "numerator": 2, "denominator": 27},
        "responseWithin7Days": {"percent": "32.1 %", "numerator": 17, "denominator": 53},
        "conversionWithin7Days": {"percent": "33.3 %", "numerator": 18, "denominator": 54},
        "finding": {"kind": "InvalidLeads", "severity": "Critical", "summary": "most leads are invalid"},
        "inFlight": {"claims": 14, "until": "1970-01-01T00:08:20Z"},
        "uncertainClaims": 16,
        "nextChangeTime": "1970-01-01T00:10:00Z",
        "finishTime": "1970-01-01T00:15:00Z",
        "conditions": [
            condition("Ready", "True", "Finished", finished),
            condition("Synced", "True", "Finished", finished),
            condition("Sending", "False", "Finished", "the campaign is finished (create another one to send more)"),
            condition("DeliveryHealthy", "False", "Moderate", moderate),
        ],
    });
    let now = Timestamp::new(100, 999_999_999).unwrap();
    let status = with_diagnosis(mirrored(None, 8, &eventful(), now), &diagnosis());
    assert_eq!(json_of(&status), expected);
    // What is read back has whole seconds; anything finer would differ from it and be written again and again.
    assert_eq!(serde_json::from_value::<CampaignStatus>(expected).unwrap(), status);
}

#[test]
fn each_state_reason_and_band_of_the_service_has_its_word() {
    let said = |change: &dyn Fn(&mut pb::Campaign)| json_of(&mirrored_campaign(change));
    for (state, word) in [
        (CampaignState::Active, json!("Active")),
        (CampaignState::Paused, json!("Paused")),
        (CampaignState::Finished, json!("Finished")),
        (CampaignState::Unspecified, Value::Null),
    ] {
        assert_eq!(said(&|campaign| campaign.state = state.into())["state"], word);
    }
    for (reason, word) in [
        (FinishReason::Completed, json!("Completed")),
        (FinishReason::Requested, json!("Requested")),
        (FinishReason::Unspecified, Value::Null),
    ] {
        assert_eq!(said(&|campaign| campaign.finish_reason = reason.into())["finishReason"], word);
    }
    for (health, word, status, reason) in [
        (DeliveryHealth::High, json!("High"), "True", "High"),
        (DeliveryHealth::Moderate, json!("Moderate"), "False", "Moderate"),
        (DeliveryHealth::Low, json!("Low"), "False", "Low"),
        (DeliveryHealth::Unspecified, Value::Null, "Unknown", "NoMessages"),
    ] {
        let told = said(&|campaign| campaign.delivery_health = health.into());
        assert_eq!(told["deliveryHealth"], word);
        let certain = if word.is_null() { Value::Null } else { json!(false) };
        assert_eq!(told["deliveryHealthCertain"], certain, "nothing is said of no messages");
        let text = |told: &Value| told["deliveryHealthText"].as_str().map(str::to_owned);
        let sure = said(&|campaign| {
            campaign.delivery_health = health.into();
            campaign.delivery_health_certain = true;
        });
        let expected = word.as_str().map(|word| (format!("{word}?"), word.to_owned())).unzip();
        assert_eq!((text(&told), text(&sure)), expected);
        let condition = &told["conditions"][3];
        assert_eq!((&condition["type"], &condition["status"]), (&json!("DeliveryHealthy"), &json!(status)));
        assert_eq!(condition["reason"], reason);
    }
}

#[test]
fn reasons_that_occur_twice_add_up_and_an_unknown_one_is_another() {
    let count = |reason: i32, count| pb::ReasonCount { reason, count };
    let status = mirrored_campaign(|campaign| {
        let failures = vec![count(2, 3), count(2, 4), count(0, 5), count(99, 6), count(5, 7)];
        campaign.message_counts = Some(pb::MessageCounts { failures, ..pb::MessageCounts::default() });
    });
    let failures = status.messages.unwrap().failures;
    assert_eq!((failures.invalid_lead, failures.other, failures.account_issue), (7, 18, 0));
}

#[test]
fn of_two_reasons_for_not_sending_the_first_of_the_contract_is_shown_and_both_are_told() {
    let named = (1..).map_while(|number| NotSendingReason::try_from(number).ok());
    let named: Vec<NotSendingReason> = named.collect();
    assert_eq!(named.len(), 10, "a new reason needs a row in the integration tests as well");
    let said = |reasons: &[NotSendingReason]| {
        let status = mirrored_campaign(|campaign| {
            campaign.not_sending_reasons = reasons.iter().map(|reason| (*reason).into()).collect();
        });
        let condition = status.conditions[2].clone();
        assert_eq!((condition.type_.as_str(), condition.status.as_str()), ("Sending", "False"));
        (condition.reason, condition.message)
    };
    for (number, first) in named.iter().enumerate() {
        let (reason, message) = said(&[*first]);
        assert_eq!(reason, format!("{first:?}"), "the service's word in the condition");
        for second in &named[number + 1..] {
            let (other, more) = said(&[*second, *first]);
            let both = format!("{message}; {}", said(&[*second]).1);
            assert_eq!((other, more), (reason.clone(), both), "{second:?} and {first:?}");
        }
    }
}

#[test]
fn a_share_of_any_size_is_exact() {
    let percent = |numerator, denominator| {
        let share = mirrored_campaign(|campaign| campaign.response_rate = Some(rate(numerator, denominator))).response;
        share.map(|share| share.percent)
    };
    for (numerator, denominator, expected) in [
        (0, 0, None),
        (5, 0, None),
        (1, 1000, Some("0.10 %")),
        (1, 1_000_000, Some("<0.01 %")),
        (1, 10, Some("10.0 %")),
        (101, 1000, Some("10.1 %")),
        (i64::MAX / 2, i64::MAX, Some("50.0 %")),
        (i64::MAX - 1, i64::MAX, Some(">99.99 %")),
        (i64::MAX, i64::MAX, Some("100 %")),
    ] {
        assert_eq!(percent(numerator, denominator).as_deref(), expected, "{numerator} of {denominator}");
    }
}

#[test]
fn what_is_known_of_a_campaign_stays_whatever_goes_wrong() {
    let before = with_diagnosis(mirrored(None, 8, &eventful(), at(100)), &diagnosis());
    let away = Failure::from(&tonic::Status::unavailable(""));
    let refused = Failure::from(&refusal(Code::FailedPrecondition, "CAMPAIGN_OWNED"));
    let rest = |status: &CampaignStatus| {
        let kept = CampaignStatus { observed_generation: None, conditions: Vec::new(), ..status.clone() };
        let kind = |kind: &str| status.conditions.iter().find(|condition| condition.type_ == kind).cloned();
        (kept, kind("DeliveryHealthy"))
    };
    let kinds = |status: &CampaignStatus| -> Vec<(String, String, String)> {
        let said = status.conditions.iter().map(|one| (one.type_.clone(), one.status.clone(), one.reason.clone()));
        said.collect()
    };
    let is = |kind: &str, status: &str, reason: &str| (kind.to_owned(), status.to_owned(), reason.to_owned());
    let (sending, healthy) = (is("Sending", "False", "Finished"), is("DeliveryHealthy", "False", "Moderate"));
    for (case, next, first, last) in [
        (
            "away",
            failed(Some(&before), 8, &away, at(200)),
            vec![is("Ready", "Unknown", "ServiceUnavailable"), is("Synced", "True", "Finished")],
            vec![is("Reconciling", "True", "ServiceUnavailable")],
        ),
        (
            "refused",
            failed(Some(&before), 8, &refused, at(200)),
            vec![is("Ready", "False", "CampaignOwned"), is("Synced", "False", "CampaignOwned")],
            vec![is("Stalled", "True", "CampaignOwned")],
        ),
        (
            "left alone",
            reconcile_paused(Some(&before), 9, at(200)),
            vec![is("Ready", "False", "ReconciliationPaused"), is("Synced", "Unknown", "ReconciliationPaused")],
            vec![],
        ),
        (
            "deleted",
            deletion_waits(Some(&before), 9, &away, at(200)),
            vec![is("Ready", "Unknown", "ServiceUnavailable"), is("Synced", "True", "Finished")],
            vec![is("Reconciling", "True", "Deleting")],
        ),
    ] {
        assert_eq!(rest(&next), rest(&before), "{case}: counts and what they mean stay");
        let silent = is("Sending", "Unknown", "ServiceUnavailable");
        let sending = if case == "away" { silent } else { sending.clone() };
        let expected = [first, vec![sending, healthy.clone()], last].concat();
        assert_eq!(kinds(&next), expected, "{case}");
        for condition in next.conditions.iter().filter(|condition| condition.last_transition_time.0 == at(200)) {
            assert_eq!(condition.observed_generation, next.observed_generation, "{case}: {}", condition.type_);
        }
    }
}

#[test]
fn only_a_spec_that_was_confirmed_and_is_not_refused_stays_synced() {
    let before = mirrored_campaign(|_| {});
    let synced = |previous: &CampaignStatus, generation, failure: &Failure| {
        let next = failed(Some(previous), generation, failure, at(200));
        let synced = next.conditions.into_iter().find(|condition| condition.type_ == "Synced");
        synced.map(|condition| (condition.status, condition.reason)).unwrap_or_default()
    };
    let is = |status: &str, reason: &str| (status.to_owned(), reason.to_owned());
    for (code, reason, kept) in [
        (Code::Unavailable, "", true),
        (Code::DeadlineExceeded, "", true),
        (Code::ResourceExhausted, "", true),
        (Code::Internal, "", true),
        (Code::PermissionDenied, "", true),
        (Code::FailedPrecondition, "CAMPAIGN_OWNED", false),
        (Code::FailedPrecondition, "ACCOUNT_NOT_FOUND", false),
        (Code::FailedPrecondition, "CLAIMS_HELD", false),
        (Code::Aborted, "STALE_OWNER", false),
        (Code::InvalidArgument, "", false),
    ] {
        let failure = Failure::from(&refusal(code, reason));
        let expected = if kept { is("True", "Applied") } else { is("False", failure.reason) };
        assert_eq!(synced(&before, 3, &failure), expected, "{code:?} {reason}");
        assert_eq!(synced(&before, 4, &failure), is("False", failure.reason), "an edit that {code:?} met");
    }
    let away = Failure::from(&tonic::Status::unavailable(""));
    let refused = failed(Some(&before), 3, &Failure::terminal("CampaignOwned", "x"), at(150));
    assert_eq!(synced(&refused, 3, &away), is("False", "ServiceUnavailable"), "what was refused was not confirmed");
}
