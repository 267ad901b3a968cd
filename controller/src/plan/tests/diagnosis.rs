//! Tables of when a campaign is diagnosed again, and of what a status says of a diagnosis.

use campaign_metrics::pb::{DeliveryHealth, FindingKind, NotSendingReason, Severity};

use super::*;

#[test]
fn a_campaign_is_diagnosed_soon_after_a_change_of_its_standing_later_after_counts_and_hourly_at_least() {
    let before = Judged::new(&campaign());
    let of = |change: fn(&mut pb::Campaign)| {
        let mut campaign = campaign();
        change(&mut campaign);
        Judged::new(&campaign)
    };
    let minutes = Duration::from_mins;
    let (soon, later, latest) = (minutes(1), minutes(10), minutes(60));
    let table = [
        ("nothing changed", of(|_| ()), latest),
        ("nothing that a diagnosis reads", of(|campaign| campaign.in_flight_claims = 4), latest),
        ("a state", of(|campaign| campaign.state = CampaignState::Paused.into()), soon),
        ("a reason", of(|campaign| campaign.not_sending_reasons = vec![NotSendingReason::NoLeadDue.into()]), soon),
        ("a band", of(|campaign| campaign.delivery_health = DeliveryHealth::Low.into()), soon),
        ("a certain band", of(|campaign| campaign.delivery_health_certain = true), soon),
        ("leads", of(|campaign| campaign.lead_counts.as_mut().unwrap().sent += 1), later),
        ("messages", of(|campaign| campaign.message_counts = Some(pb::MessageCounts::default())), later),
        ("uncertain claims", of(|campaign| campaign.uncertain_claims = 1), later),
    ];
    for (case, present, interval) in table {
        let last = made_of(Some(&before), false);
        let wait = |age| diagnosis_wait(Some((&last, age)), &present);
        assert_eq!(wait(Duration::ZERO), interval, "{case}, at once");
        assert_eq!(
            wait(interval.saturating_sub(Duration::from_secs(7))),
            Duration::from_secs(7),
            "{case}, almost in time"
        );
        assert_eq!(wait(interval), Duration::ZERO, "{case}, in time");
        assert_eq!(wait(interval * 9), Duration::ZERO, "{case}, overdue");
    }
    assert_eq!(diagnosis_wait(None, &before), Duration::ZERO, "never diagnosed");
    let over = made_of(Some(&before), true);
    assert_eq!(diagnosis_wait(Some((&over, Duration::ZERO)), &before), soon, "its finding is over");
    let failure = made_of(None, false);
    let failed = |age| diagnosis_wait(Some((&failure, age)), &before);
    assert_eq!([failed(minutes(4)), failed(minutes(10))], [minutes(6), Duration::ZERO], "after a failure");
}

fn made_of(judged: Option<&Judged>, is_over: bool) -> Diagnosed {
    Diagnosed { judged: judged.cloned(), is_over }
}

fn finding(kind: i32, severity: i32) -> pb::Diagnosis {
    let finding = pb::Finding { kind, severity, summary: "\u{e9}".repeat(5000), ..pb::Finding::default() };
    pb::Diagnosis { findings: vec![finding], ..pb::Diagnosis::default() }
}

#[test]
fn each_finding_and_severity_has_its_word() {
    let named: Vec<FindingKind> = (1..).map_while(|number| FindingKind::try_from(number).ok()).collect();
    assert_eq!(named.len(), 10, "a new kind needs a word");
    let word = |diagnosis: &pb::Diagnosis| {
        let found = with_diagnosis(CampaignStatus::default(), diagnosis).finding.expect("a finding");
        (format!("{:?}", found.kind), format!("{:?}", found.severity))
    };
    for kind in named {
        assert_eq!(word(&finding(kind.into(), Severity::Warning.into())), (format!("{kind:?}"), "Warning".into()));
    }
    for severity in [Severity::Info, Severity::Critical] {
        assert_eq!(word(&finding(1, severity.into())).1, format!("{severity:?}"));
    }
    assert_eq!(word(&finding(99, 99)), ("Unknown".into(), "Info".into()), "of a later version");
}

#[test]
fn a_sentence_fits_into_the_definition_and_a_healthy_campaign_has_none() {
    let told = with_diagnosis(CampaignStatus::default(), &finding(1, 1));
    assert_eq!(told.finding.as_ref().unwrap().summary, "\u{e9}".repeat(450), "900 bytes");
    let healthy = with_diagnosis(told, &pb::Diagnosis::default());
    assert_eq!((healthy.finding, healthy.response_within_7_days), (None, None));
}

#[test]
fn a_diagnosis_stays_until_the_next_one_but_not_for_another_campaign() {
    let before = with_diagnosis(mirrored_campaign(|_| {}), &finding(1, 1));
    let same = mirrored(Some(&before), 4, &campaign(), at(200));
    assert_eq!(same.finding, before.finding);
    let other = pb::Campaign { uid: "c-2".into(), ..campaign() };
    assert_eq!(mirrored(Some(&before), 4, &other, at(200)).finding, None);
}

#[test]
fn a_finding_that_the_campaign_shows_to_be_over_goes_at_once() {
    let stays = |kind: FindingKind, change: fn(&mut pb::Campaign)| {
        let before = with_diagnosis(mirrored_campaign(|_| {}), &finding(kind.into(), 2));
        let mut campaign = campaign();
        change(&mut campaign);
        mirrored(Some(&before), 3, &campaign, at(200)).finding.is_some()
    };
    let blocked = |campaign: &mut pb::Campaign| {
        campaign.not_sending_reasons = vec![NotSendingReason::AccountSuspended.into()];
    };
    assert!(stays(FindingKind::NotSending, blocked));
    assert!(!stays(FindingKind::NotSending, |_| ()), "it can send again");
    assert!(!stays(FindingKind::NotSending, |campaign| {
        campaign.state = CampaignState::Paused.into();
        campaign.not_sending_reasons = vec![NotSendingReason::Paused.into()];
    }));
    assert!(stays(FindingKind::UncertainClaims, |campaign| campaign.uncertain_claims = 1));
    assert!(!stays(FindingKind::UncertainClaims, blocked), "none is uncertain any more");
    assert!(stays(FindingKind::LowDelivery, |_| ()));
}

#[test]
fn a_new_diagnosis_alone_waits_like_counts() {
    let before = mirrored_campaign(|_| {});
    let after = with_diagnosis(before.clone(), &finding(1, 1));
    let second = Duration::from_secs(1);
    assert_eq!(write(Some(&before), &after, Some(second)), Write::After(second * 9));
    assert_eq!(write(Some(&after), &after, Some(second)), Write::Never);
}
