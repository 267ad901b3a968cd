//! Tables of the events that follow from a change of the status.

use super::*;

#[test]
fn events_tell_of_transitions_and_of_nothing_else() {
    let active = mirrored_campaign(|_| {});
    let state = |state: CampaignState| mirrored_campaign(move |campaign| campaign.state = state.into());
    let (paused, finished) = (state(CampaignState::Paused), state(CampaignState::Finished));
    let recreated = mirrored_campaign(|campaign| campaign.uid = "c-2".into());
    let none: [&str; 0] = [];
    let table = [
        ("first sight", None, &active, None, false, none.as_slice()),
        ("created paused", None, &paused, None, false, &none),
        ("nothing", Some(&active), &active, None, false, &none),
        ("a pause", Some(&active), &paused, Some(DesiredState::Paused), false, &["Paused"]),
        ("a resumption", Some(&paused), &active, Some(DesiredState::Active), false, &["Resumed"]),
        ("an end", Some(&paused), &finished, None, false, &["Finished"]),
        ("still finished", Some(&finished), &finished, None, false, &none),
        ("an edit in vain", Some(&finished), &finished, Some(DesiredState::Paused), false, &["Finished"]),
        ("an edit that agrees", Some(&finished), &finished, Some(DesiredState::Finished), false, &none),
        ("drift", Some(&active), &active, None, true, &["DriftRepaired"]),
        ("a lost campaign", Some(&active), &recreated, None, true, &["DriftRepaired"]),
    ];
    for (case, previous, next, edited, repaired, expected) in table {
        let notices = mirrored_notices(previous, next, edited, repaired);
        let reasons: Vec<&str> = notices.iter().map(|notice| notice.reason).collect();
        assert_eq!(reasons, expected, "{case}");
    }
}

#[test]
fn a_refusal_gets_one_event_and_an_outage_none() {
    let failure = Failure::from(&refusal(Code::FailedPrecondition, "ACCOUNT_NOT_FOUND"));
    let before = mirrored_campaign(|_| {});
    let refused = failed(Some(&before), 3, &failure, at(200));
    let notice = rejected_notice(Some(&before), &refused, &failure).unwrap();
    assert_eq!((notice.reason, notice.severity), ("Rejected", Severity::Warning));
    let again = failed(Some(&refused), 3, &failure, at(300));
    assert_eq!(rejected_notice(Some(&refused), &again, &failure), None);
    let edited = failed(Some(&refused), 4, &failure, at(300));
    assert!(rejected_notice(Some(&refused), &edited, &failure).is_some());
    let away = Failure::from(&tonic::Status::unavailable(""));
    assert_eq!(rejected_notice(Some(&before), &failed(Some(&before), 3, &away, at(200)), &away), None);
}
