//! What a person reads: failures, conditions and events speak of the resource and not of the API.

use campaign_metrics::pb::{ActiveHours, ActiveWindow, ClaimExpiryPolicy, DayOfWeek, NotSendingReason};

use super::*;

/// A refusal that says what it is about.
fn about(reason: &str, metadata: &[(&str, &str)]) -> tonic::Status {
    let metadata: HashMap<String, String> =
        metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let details = ErrorDetails::with_error_info(reason, ERROR_DOMAIN, metadata);
    tonic::Status::with_error_details(Code::FailedPrecondition, "campaign.some_field is refused", details)
}

/// A refusal of fields.
fn invalid(violations: &[(&str, &str)]) -> tonic::Status {
    let mut details = ErrorDetails::with_error_info("INVALID_FIELD", ERROR_DOMAIN, HashMap::new());
    for (field, problem) in violations {
        details.add_bad_request_violation(*field, *problem);
    }
    tonic::Status::with_error_details(Code::InvalidArgument, "campaign.some_field: is refused", details)
}

/// Panics if a text has a word of the API: a field with an underscore, or the value of an enum.
fn check(text: &str) {
    for word in text.split(|letter: char| !letter.is_alphanumeric() && letter != '_') {
        let shouts = word.len() > 3 && word.chars().all(|letter| letter.is_ascii_uppercase());
        assert!(!word.contains('_') && !shouts, "`{word}` is none of the resource's words: {text}");
    }
    assert!(!text.contains("campaign."), "a path of the API: {text}");
}

#[test]
fn a_refused_field_is_named_as_the_resource_has_it() {
    for (field, path) in [
        ("campaign.active_hours.time_zone", Some("spec.activeHours.timeZone")),
        ("campaign.active_hours.windows[1].end_time", Some("spec.activeHours.windows[1].endTime")),
        ("campaign.accounts[17]", Some("spec.accounts[17]")),
        ("campaign.name", Some("metadata.name")),
        ("state", Some("spec.state")),
        ("adoption_policy", Some("spec.adoptionPolicy")),
        ("owner.generation", None),
        ("edit_time", None),
    ] {
        assert_eq!(resource_field(field).as_deref(), path);
    }
}

#[test]
fn a_refusal_is_told_in_the_words_of_the_resource_with_its_remedy() {
    let owner = [("owner", "team/spring"), ("owner_uid", "u-9"), ("owner_cluster", "c-4")];
    for (status, message) in [
        (
            invalid(&[("campaign.daily_limit", "is 7"), ("state", "is odd")]),
            "spec.dailyLimit: is 7; spec.state: is odd",
        ),
        (
            invalid(&[("owner.uid", "is required")]),
            "the service does not understand this controller (owner.uid: is required); upgrade the older of the two",
        ),
        (
            about("CAMPAIGN_OWNED", &owner),
            "the campaign belongs to the Campaign resource team/spring (UID u-9, cluster c-4); if that is gone for good, set \
             spec.adoptionPolicy to Always, or run `campaignctl campaigns orphan`",
        ),
        (
            about("IMMUTABLE_FIELD", &[("field", "campaign.steps"), ("value", "3")]),
            "spec.steps: the campaign exists with the value 3, which is fixed; delete this resource with deletionPolicy: Orphan \
             and apply it again with `steps: 3`, or under another name",
        ),
        (
            about("ACCOUNT_NOT_FOUND", &[("resource", "workspaces/team/accounts/ann")]),
            "spec.accounts: the account ann does not exist; create it with `campaignctl -w team accounts create ann`, and this \
             goes on by itself",
        ),
        (
            about("CAMPAIGN_NOT_ADOPTABLE", &[]),
            "a campaign of this name exists without owner, and spec.adoptionPolicy is Never; set it to IfUnowned to take that \
             campaign over, or delete that campaign",
        ),
    ] {
        let failure = Failure::from(&status);
        assert_eq!(failure.message, message);
        check(&failure.message);
    }
    assert!(Failure::from(&about("CAMPAIGN_OWNED", &owner[..2])).message.contains("cluster not known"));
}

#[test]
fn a_service_that_says_less_is_quoted() {
    for status in [invalid(&[]), about("CAMPAIGN_OWNED", &[]), about("IMMUTABLE_FIELD", &[("field", "campaign.steps")])]
    {
        assert_eq!(Failure::from(&status).message, status.message());
    }
}

#[test]
fn no_failure_of_a_call_shows_its_code_or_the_text_of_the_transport() {
    for code in (1..=16).map(Code::from_i32) {
        if matches!(code, Code::InvalidArgument | Code::FailedPrecondition) {
            continue;
        }
        let failure = Failure::from(&tonic::Status::new(code, "h2 protocol error: h2_error"));
        check(&failure.message);
        assert!(!failure.message.contains("h2"), "{failure}");
        let remedy = ["check", "log", "Check", "replicas", "Stop"].iter().any(|word| failure.message.contains(word));
        assert!(remedy, "{code:?} has no remedy: {failure}");
    }
}

#[test]
fn conditions_and_events_have_no_word_of_the_api_either() {
    let placed = pb::Hold { place_time: Some(prost_types::Timestamp::default()), ..Default::default() };
    for number in 0..=10 {
        let reason = NotSendingReason::try_from(number).unwrap();
        let mirror = |hold: Option<pb::Hold>| {
            mirrored_campaign(move |campaign| {
                campaign.not_sending_reasons = vec![reason.into()];
                campaign.hold = hold;
            })
        };
        let status = mirror(None);
        status.conditions.iter().for_each(|condition| check(&condition.message));
        assert!(status.conditions[2].message.ends_with(')'), "{reason:?} has a remedy");
        if reason == NotSendingReason::Paused {
            let stopped = mirror(Some(placed.clone()));
            let sending = stopped.conditions.iter().find(|condition| condition.type_ == "Sending").unwrap();
            assert!(sending.message.contains("a hold") && !sending.message.contains("spec.state"), "{sending:?}");
        }
    }
    let paused = reconcile_paused(None, 1, at(1)).conditions;
    assert!(paused[0].message.contains("campaign-metrics.io/reconcile=paused"), "{paused:?}");
    for state in [CampaignState::Active, CampaignState::Paused, CampaignState::Finished, CampaignState::Unspecified] {
        check(&orphaned_notice(&pb::Campaign { state: state.into(), ..campaign() }).note);
    }
}

#[test]
fn what_an_adoption_replaced_is_written_as_in_a_spec() {
    let window = ActiveWindow {
        days: vec![DayOfWeek::Monday.into(), DayOfWeek::Friday.into()],
        start_time: "09:00".into(),
        end_time: "17:30".into(),
    };
    let before = |seconds| pb::Campaign {
        owner: None,
        state: CampaignState::Paused.into(),
        follow_up_delay: Some(prost_types::Duration { seconds, nanos: 0 }),
        claim_expiry_policy: ClaimExpiryPolicy::Hold.into(),
        active_hours: Some(ActiveHours { time_zone: "UTC".into(), windows: vec![window.clone()] }),
        ..campaign()
    };
    let after = pb::Campaign {
        claim_expiry_policy: ClaimExpiryPolicy::Retry.into(),
        follow_up_delay: Some(prost_types::Duration { seconds: 61, nanos: 0 }),
        active_hours: Some(ActiveHours { time_zone: "Europe/Rome".into(), windows: Vec::new() }),
        ..campaign()
    };
    for (seconds, delay) in [(172_800, "48h"), (5400, "90m"), (3601, "3601s"), (0, "0h")] {
        let note = adoption_notice(&before(seconds), &after, UID).unwrap().note;
        assert_eq!(
            note,
            format!(
                "took over the campaign without owner, with 10 leads; replaced state: Paused by Active, activeHours: UTC Monday \
                 Friday 09:00 to 17:30 by Europe/Rome, followUpDelay: {delay} by 61s, claimExpiryPolicy: Hold by Retry"
            )
        );
        check(&note);
    }
}
