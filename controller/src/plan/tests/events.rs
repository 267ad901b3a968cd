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
fn a_hold_is_told_once_with_its_reason_instead_of_the_pause() {
    let active = mirrored_campaign(|_| {});
    let held = |reason: &str| {
        let reason = reason.to_owned();
        mirrored_campaign(move |campaign| {
            campaign.state = CampaignState::Paused.into();
            campaign.in_flight_claims = 6;
            let place_time = Some(prost_types::Timestamp { seconds: 70, nanos: 0 });
            campaign.hold = Some(pb::Hold { place_time, reason, return_state: CampaignState::Active.into() });
        })
    };
    let (first, second) = (held("wrong prices"), held(""));
    let notices = |previous, next| -> Vec<(&'static str, String)> {
        let notices = mirrored_notices(Some(previous), next, None, false);
        notices.into_iter().map(|notice| (notice.reason, notice.note)).collect()
    };
    let told = notices(&active, &first);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].0 == "Held" && told[0].1.contains("wrong prices; in flight: 6"), "{told:?}");
    assert_eq!(notices(&first, &first), []);
    assert!(notices(&first, &second)[0].1.contains("no reason given"), "another hold");
    let lifted: Vec<_> = notices(&second, &active).into_iter().map(|(reason, _)| reason).collect();
    assert_eq!(lifted, ["HoldLifted", "Resumed"]);
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

#[test]
fn an_event_says_what_happened_and_only_what_should_not_is_a_warning() {
    let active = mirrored_campaign(|campaign| campaign.in_flight_claims = 7);
    let paused = mirrored_campaign(|campaign| {
        campaign.state = CampaignState::Paused.into();
        campaign.in_flight_claims = 4;
    });
    let finished = |reason: pb::FinishReason| {
        mirrored_campaign(move |campaign| {
            campaign.state = CampaignState::Finished.into();
            campaign.finish_reason = reason.into();
        })
    };
    let (by_itself, by_request) = (finished(pb::FinishReason::Completed), finished(pb::FinishReason::Requested));
    let lost = mirrored_campaign(|campaign| campaign.uid = "c-2".into());
    let table = [
        (&active, &paused, None, false, Severity::Normal, "no claim is granted any more; in flight: 4"),
        (&paused, &active, None, false, Severity::Normal, "claims are granted again"),
        (&active, &by_itself, None, false, Severity::Normal, "finished by itself: every lead is sent or failed"),
        (&paused, &by_request, None, false, Severity::Normal, "finished by request"),
        (
            &by_itself,
            &by_itself,
            Some(DesiredState::Active),
            false,
            Severity::Warning,
            "the campaign is finished for good: `state: Active` changes nothing; create another campaign",
        ),
        (
            &active,
            &active,
            None,
            true,
            Severity::Warning,
            "the campaign was changed without this resource; the spec was applied again: to change the campaign, edit the spec",
        ),
        (
            &active,
            &lost,
            None,
            false,
            Severity::Warning,
            "the campaign was deleted in the service; created again, without leads: import them again (`campaignctl leads import`)",
        ),
    ];
    for (previous, next, edited, repaired, severity, note) in table {
        let notices = mirrored_notices(Some(previous), next, edited, repaired);
        let told: Vec<_> = notices.iter().map(|notice| (notice.severity, notice.note.as_str())).collect();
        assert_eq!(told, [(severity, note)]);
    }
    let both = mirrored_notices(Some(&active), &paused, None, true);
    let both: Vec<&str> = both.iter().map(|notice| notice.reason).collect();
    assert_eq!(both, ["DriftRepaired", "Paused"], "one does not hide the other");
}

#[test]
fn a_resource_that_was_refused_before_has_lost_no_campaign() {
    let refused = failed(None, 3, &Failure::from(&refusal(Code::FailedPrecondition, "ACCOUNT_NOT_FOUND")), at(100));
    assert_eq!(mirrored_notices(Some(&refused), &mirrored_campaign(|_| {}), None, false), []);
}

#[test]
fn a_refusal_is_told_again_for_another_reason_or_text_and_an_outage_of_any_kind_is_not() {
    let before = mirrored_campaign(|_| {});
    let told = |previous: &CampaignStatus, failure: &Failure| {
        rejected_notice(Some(previous), &failed(Some(previous), 3, failure, at(200)), failure).is_some()
    };
    for code in [Code::Unavailable, Code::DeadlineExceeded, Code::ResourceExhausted, Code::Internal, Code::Aborted] {
        assert!(!told(&before, &Failure::from(&refusal(code, ""))), "{code:?}");
    }
    for code in [Code::InvalidArgument, Code::FailedPrecondition, Code::PermissionDenied] {
        assert!(told(&before, &Failure::from(&refusal(code, ""))), "{code:?}");
    }
    let failure = |reason, text: &str| Failure::terminal(reason, text);
    let refused = failed(Some(&before), 3, &failure("InvalidSpec", "no such zone"), at(200));
    assert!(!told(&refused, &failure("InvalidSpec", "no such zone")));
    assert!(told(&refused, &failure("InvalidSpec", "no such account")));
    assert!(told(&refused, &failure("ImmutableField", "no such zone")));
    let notice = rejected_notice(None, &refused, &failure("InvalidSpec", "no such zone")).unwrap();
    assert_eq!(notice.note, "InvalidSpec: no such zone");
}

#[test]
fn a_note_is_never_longer_than_the_api_server_takes() {
    for (text, kept) in [("n".repeat(2000), "n".repeat(900)), ("é".repeat(2000), "é".repeat(450))] {
        assert_eq!(Notice::new("Rejected", Severity::Warning, &text).note, kept);
        // The reason goes before the text, and both have to fit.
        let failure = Failure::terminal("CampaignNotAdoptable", &text);
        let refused = failed(None, 3, &failure, at(100));
        let note = rejected_notice(None, &refused, &failure).unwrap().note;
        assert!(note.starts_with("CampaignNotAdoptable: ") && (890..=900).contains(&note.len()), "{}", note.len());
    }
    assert_eq!(Notice::new("Rejected", Severity::Warning, "n".repeat(900)).note, "n".repeat(900));
}
