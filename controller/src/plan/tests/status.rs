//! Tables of the status and the conditions that follow from what the service says.

use campaign_metrics::pb::{DeliveryHealth, NotSendingReason};

use super::*;

fn condition<'a>(status: &'a CampaignStatus, kind: &str) -> Option<&'a Condition> {
    status.conditions.iter().find(|condition| condition.type_ == kind)
}

fn said(status: &CampaignStatus, kind: &str) -> (String, String) {
    condition(status, kind).map_or_else(Default::default, |found| (found.status.clone(), found.reason.clone()))
}

fn is(status: &str, reason: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}

#[test]
fn a_confirmed_campaign_is_ready_and_its_counts_are_mirrored() {
    let status = mirrored_campaign(|campaign| {
        campaign.delivery_rate = Some(pb::Rate { numerator: 973, denominator: 1000, ratio: Some(0.973) });
        campaign.delivery_health = DeliveryHealth::High.into();
        campaign.in_flight_claims = 2;
        campaign.in_flight_until = Some(prost_types::Timestamp { seconds: 500, nanos: 999 });
    });
    assert_eq!(status.observed_generation, Some(3));
    assert_eq!(status.state, Some(DesiredState::Active));
    let counts = status.counts.unwrap();
    assert_eq!((counts.sent, counts.failed, counts.pending, counts.partial, counts.total), (3, 1, 5, 1, 10));
    let progress = status.progress.clone().unwrap();
    assert_eq!((progress.percent.as_str(), progress.numerator, progress.denominator), ("40.0 %", 4, 10));
    assert_eq!(status.delivery.clone().unwrap().percent, "97.3 %");
    assert_eq!(status.response, None, "a rate without denominator is absent");
    let in_flight = status.in_flight.clone().unwrap();
    assert_eq!((in_flight.claims, in_flight.until.unwrap().0), (2, at(500)));
    assert_eq!(said(&status, "Ready"), is("True", "Applied"));
    assert_eq!(said(&status, "Synced"), is("True", "Applied"));
    assert_eq!(said(&status, "Sending"), is("True", "Sending"));
    assert_eq!(said(&status, "DeliveryHealthy"), is("True", "High"));
    assert!(condition(&status, "Reconciling").is_none() && condition(&status, "Stalled").is_none());
}

#[test]
fn progress_is_never_100_before_the_last_and_never_0_after_the_first() {
    let percent = |sent, total| {
        let status = mirrored_campaign(|campaign| {
            campaign.lead_counts = Some(pb::LeadCounts { sent, total, ..pb::LeadCounts::default() });
        });
        status.progress.map(|share| share.percent)
    };
    let table = [
        (0, 0, None),
        (0, 9, Some("0 %")),
        (1, 1_000_000, Some("<0.01 %")),
        (2, 3, Some("66.7 %")),
        (999_999, 1_000_000, Some(">99.99 %")),
        (7, 7, Some("100 %")),
    ];
    for (sent, total, expected) in table {
        assert_eq!(percent(sent, total).as_deref(), expected, "{sent} of {total}");
    }
}

#[test]
fn not_sending_names_its_first_reason_and_tells_all() {
    let status = mirrored_campaign(|campaign| {
        campaign.not_sending_reasons =
            vec![NotSendingReason::NoLeadDue.into(), NotSendingReason::OutsideActiveHours.into()];
    });
    assert_eq!(said(&status, "Sending"), is("False", "OutsideActiveHours"));
    assert!(condition(&status, "Sending").unwrap().message.contains("no lead is due"));
    for (health, expected) in [
        (DeliveryHealth::Unspecified, is("Unknown", "NoMessages")),
        (DeliveryHealth::Moderate, is("False", "Moderate")),
        (DeliveryHealth::Low, is("False", "Low")),
    ] {
        let status = mirrored_campaign(|campaign| campaign.delivery_health = health.into());
        assert_eq!(said(&status, "DeliveryHealthy"), expected);
    }
}

#[test]
fn every_reason_is_one_that_a_condition_may_have() {
    for number in 0..=10 {
        let status = mirrored_campaign(|campaign| campaign.not_sending_reasons = vec![number]);
        let reason = said(&status, "Sending").1;
        assert!(reason.chars().all(|c| c.is_ascii_alphanumeric()) && !reason.is_empty(), "{number}: {reason}");
        assert_eq!(reason == "Unknown", number == 0, "{number} has a name of its own");
    }
}

#[test]
fn a_finished_campaign_is_in_sync_whatever_the_spec_says() {
    let status = mirrored_campaign(|campaign| {
        campaign.state = CampaignState::Finished.into();
        campaign.not_sending_reasons = vec![NotSendingReason::Finished.into()];
    });
    assert_eq!(said(&status, "Synced"), is("True", "Finished"));
    assert_eq!(said(&status, "Ready"), is("True", "Finished"));
    assert_eq!(said(&status, "Sending"), is("False", "Finished"));
}

#[test]
fn a_service_that_is_away_does_not_unsync_what_it_confirmed() {
    let failure = Failure::from(&tonic::Status::unavailable(""));
    let before = mirrored_campaign(|_| {});
    let same = failed(Some(&before), 3, &failure, at(200));
    assert_eq!(said(&same, "Ready"), is("Unknown", "ServiceUnavailable"));
    assert_eq!(said(&same, "Sending"), is("Unknown", "ServiceUnavailable"));
    assert_eq!(said(&same, "Synced"), is("True", "Applied"));
    assert_eq!(said(&same, "Reconciling"), is("True", "ServiceUnavailable"));
    assert_eq!((same.counts, same.state), (before.counts, before.state), "what was known stays");
    let edited = failed(Some(&before), 4, &failure, at(200));
    assert_eq!(said(&edited, "Synced"), is("False", "ServiceUnavailable"));
    assert_eq!(edited.observed_generation, Some(4), "an error is about this generation too");
    let first = failed(None, 1, &failure, at(200));
    assert_eq!((first.observed_generation, said(&first, "Sending")), (Some(1), is("", "")));
}

#[test]
fn a_terminal_refusal_stalls_and_recovery_leaves_no_trace_of_it() {
    let failure = Failure::from(&refusal(Code::FailedPrecondition, "CAMPAIGN_OWNED"));
    let before = mirrored_campaign(|_| {});
    let stalled = failed(Some(&before), 3, &failure, at(200));
    assert_eq!(said(&stalled, "Stalled"), is("True", "CampaignOwned"));
    assert_eq!(said(&stalled, "Synced"), is("False", "CampaignOwned"));
    assert!(condition(&stalled, "Reconciling").is_none(), "nothing is under way");
    let recovered = mirrored(Some(&stalled), 4, &campaign(), at(300));
    assert!(condition(&recovered, "Stalled").is_none());
    assert_eq!(said(&recovered, "Ready"), is("True", "Applied"));
}

#[test]
fn a_condition_keeps_the_time_of_its_last_transition() {
    let first = mirrored_campaign(|_| {});
    let later = mirrored(Some(&first), 4, &campaign(), at(900));
    assert_eq!(condition(&later, "Ready").unwrap().last_transition_time.0, at(100));
    assert_eq!(condition(&later, "Ready").unwrap().observed_generation, Some(4));
    let away = failed(Some(&later), 4, &Failure::from(&tonic::Status::unavailable("")), at(950));
    assert_eq!(condition(&away, "Ready").unwrap().last_transition_time.0, at(950));
    assert_eq!(said(&away, "Sending"), is("Unknown", "ServiceUnavailable"));
    let healthy = |status| condition(status, "DeliveryHealthy").unwrap();
    assert_eq!(healthy(&away), healthy(&later), "kept as it was");
    // Another reason for the same answer is no transition.
    let late = failed(Some(&away), 4, &Failure::from(&tonic::Status::deadline_exceeded("")), at(970));
    assert_eq!(said(&late, "Ready"), is("Unknown", "ServiceTimeout"));
    assert_eq!(condition(&late, "Ready").unwrap().last_transition_time.0, at(950));
    let denied = failed(Some(&late), 4, &Failure::from(&refusal(Code::PermissionDenied, "")), at(990));
    assert_eq!(said(&denied, "Ready"), is("False", "AccessDenied"));
    assert_eq!(condition(&denied, "Ready").unwrap().last_transition_time.0, at(990));
    let back = mirrored(Some(&denied), 4, &campaign(), at(999));
    assert_eq!(condition(&back, "Ready").unwrap().last_transition_time.0, at(999));
}

#[test]
fn a_paused_reconciliation_and_a_waiting_deletion_say_so_for_the_generation_they_saw() {
    let before = mirrored_campaign(|_| {});
    let paused = reconcile_paused(Some(&before), 5, at(200));
    assert_eq!(paused.observed_generation, Some(5));
    assert_eq!(said(&paused, "Ready"), is("False", "ReconciliationPaused"));
    assert_eq!(said(&paused, "Sending"), said(&before, "Sending"));
    let waits = deletion_waits(Some(&before), 5, &Failure::from(&tonic::Status::unavailable("")), at(200));
    assert_eq!(said(&waits, "Ready"), is("Unknown", "ServiceUnavailable"));
    assert_eq!(said(&waits, "Reconciling"), is("True", "Deleting"));
    assert!(condition(&waits, "Ready").unwrap().message.contains("deletion waits"));
}

#[test]
fn out_of_reach_is_said_of_what_was_mirrored_and_of_nothing_else() {
    let before = mirrored_campaign(|_| {});
    let away = Failure::from(&tonic::Status::unavailable(""));
    let silent = out_of_reach(&before, at(200)).expect("it depends on the service");
    assert_eq!(said(&silent, "Ready"), is("Unknown", "ServiceUnavailable"));
    assert_eq!(said(&silent, "Sending"), is("Unknown", "ServiceUnavailable"));
    for kind in ["Synced", "DeliveryHealthy"] {
        assert_eq!(condition(&silent, kind), condition(&before, kind), "{kind} stays");
    }
    assert_eq!((silent.observed_generation, silent.counts), (before.observed_generation, before.counts));
    let refused = Failure::terminal("InvalidSpec", "x");
    for (case, status) in [
        ("said", silent),
        ("refused", failed(Some(&before), 3, &refused, at(150))),
        ("left alone", reconcile_paused(Some(&before), 3, at(150))),
        ("deleted", deletion_waits(Some(&before), 3, &refused, at(150))),
        ("deleted meanwhile", deletion_waits(Some(&before), 3, &away, at(150))),
        ("new", CampaignStatus::default()),
    ] {
        assert_eq!(out_of_reach(&status, at(200)), None, "{case}");
    }
}

#[test]
fn a_hold_shows_and_only_one_that_deviates_from_the_spec_unsyncs() {
    let mirrored_hold = |returns: CampaignState, reason: &str| {
        let reason = reason.to_owned();
        mirrored_campaign(move |campaign| {
            campaign.state = CampaignState::Paused.into();
            let place_time = Some(prost_types::Timestamp { seconds: 70, nanos: 5 });
            campaign.hold = Some(pb::Hold { place_time, reason, return_state: returns.into() });
        })
    };
    let active = mirrored_hold(CampaignState::Active, "wrong prices");
    for kind in ["Ready", "Synced"] {
        assert_eq!(said(&active, kind), is("False", "Held"));
    }
    assert!(condition(&active, "Held").unwrap().message.contains("wrong prices"));
    let shown = active.hold.as_ref().unwrap();
    assert_eq!((shown.place_time.0, shown.reason.as_str()), (at(70), "wrong prices"));
    let paused = mirrored_hold(CampaignState::Paused, "");
    assert_eq!((said(&paused, "Synced"), said(&paused, "Held")), (is("True", "Applied"), is("True", "Held")));
    assert_eq!(mirrored_campaign(|_| {}).hold, None);
}
