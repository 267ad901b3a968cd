//! Outcomes: each kind and reason, every bound of their fields, and the verdicts.

use super::*;
use crate::sending::{DETAIL_MAX, LeadRef, Outcome, Rejection, VALUE_MICROS_MAX, Verdict};

fn reported(change: impl FnOnce(&mut pb::Outcome)) -> pb::Outcome {
    let mut outcome = pb::Outcome {
        lead: "workspaces/acme/campaigns/spring/leads/l7".to_owned(),
        step: 3,
        kind: pb::OutcomeKind::Failed.into(),
        ..pb::Outcome::default()
    };
    change(&mut outcome);
    outcome
}

fn parsed(change: impl FnOnce(&mut pb::Outcome)) -> Outcome {
    outcome(&reported(change), &workspace()).expect("it is taken")
}

fn refused(change: impl FnOnce(&mut pb::Outcome)) -> String {
    match outcome(&reported(change), &workspace()).expect_err("it is refused") {
        Rejection::Invalid(invalid) => format!("{}: {}", invalid.field, invalid.problem),
        other => format!("{other:?}"),
    }
}

#[test]
fn each_kind_of_outcome_is_its_fact_at_its_step() {
    let step = Step::new(3).unwrap();
    for (kind, fact) in [
        (pb::OutcomeKind::Delivered, Fact::Delivered(step)),
        (pb::OutcomeKind::Failed, Fact::Failed(step)),
        (pb::OutcomeKind::Bounced, Fact::Bounced(step)),
    ] {
        assert_eq!(parsed(|outcome| outcome.kind = kind.into()).fact, fact);
        assert_eq!(
            refused(|outcome| (outcome.kind, outcome.step) = (kind.into(), 0)),
            "step: is required for this kind"
        );
    }
    for (kind, fact) in [
        (pb::OutcomeKind::Replied, Fact::Replied),
        (pb::OutcomeKind::Converted, Fact::Converted),
        (pb::OutcomeKind::AutoReplied, Fact::AutoReplied),
        (pb::OutcomeKind::OptedOut, Fact::OptedOut),
    ] {
        assert_eq!(parsed(|outcome| (outcome.kind, outcome.step) = (kind.into(), 0)).fact, fact);
        let refused = refused(|outcome| outcome.kind = kind.into());
        assert_eq!(refused, "step: goes only with DELIVERED, FAILED and BOUNCED; leave it out");
    }
    for kind in [0, 8] {
        assert_eq!(refused(|outcome| outcome.kind = kind), "kind: is required; see OutcomeKind");
    }
}

#[test]
fn a_lead_of_an_outcome_is_named_once_and_in_the_workspace() {
    assert!(matches!(parsed(|_| ()).lead, LeadRef::Name(name) if name.to_string().ends_with("/leads/l7")));
    let key = "0000002a-5-9-3";
    let by_key = |step| {
        move |outcome: &mut pb::Outcome| {
            (outcome.lead, outcome.send_key, outcome.step) = (String::new(), key.to_owned(), step);
        }
    };
    for step in [0, 3] {
        let outcome = parsed(by_key(step));
        assert!(matches!(outcome.lead, LeadRef::Key(key) if (key.salt, key.lead_number) == (42, 9)));
        assert_eq!(outcome.fact.step(), Step::new(3));
    }
    assert_eq!(refused(by_key(2)), "step: differs from the one of send_key; leave it out");
    assert_eq!(refused(|outcome| outcome.lead = String::new()), "send_key: is required, or `lead`");
    assert_eq!(refused(|outcome| outcome.send_key = key.to_owned()), "lead: must be left out where send_key is given");
    let other = "workspaces/other/campaigns/spring/leads/l7";
    assert_eq!(refused(|outcome| outcome.lead = other.to_owned()), "lead: belongs to another workspace than `parent`");
    for step in [-1, 17] {
        assert_eq!(refused(|outcome| outcome.step = step), "StepOutOfRange");
    }
    assert_eq!(parsed(|outcome| outcome.step = 16).fact.step(), Step::new(16));
}

#[test]
fn a_reason_goes_with_what_failed_alone() {
    for (number, reason) in [
        (0, FailureReason::Other),
        (pb::FailureReason::AccountIssue.into(), FailureReason::AccountIssue),
        (pb::FailureReason::InvalidLead.into(), FailureReason::InvalidLead),
        (pb::FailureReason::RateLimited.into(), FailureReason::RateLimited),
        (pb::FailureReason::ContentRejected.into(), FailureReason::ContentRejected),
        (pb::FailureReason::Other.into(), FailureReason::Other),
    ] {
        for kind in [pb::OutcomeKind::Failed, pb::OutcomeKind::Bounced] {
            let outcome = parsed(|outcome| (outcome.kind, outcome.reason) = (kind.into(), number));
            assert_eq!(outcome.reason, Some(reason));
        }
        if number != 0 {
            let delivered = |outcome: &mut pb::Outcome| {
                (outcome.kind, outcome.reason) = (pb::OutcomeKind::Delivered.into(), number);
            };
            assert_eq!(refused(delivered), "reason: goes only with FAILED and BOUNCED; leave it out");
            assert_eq!(i32::from(pb::FailureReason::from(reason)), number, "it is rendered as it was sent");
        }
    }
    assert_eq!(parsed(|outcome| outcome.kind = pb::OutcomeKind::Delivered.into()).reason, None);
    for kind in [pb::OutcomeKind::Delivered, pb::OutcomeKind::Failed] {
        let refused = refused(|outcome| (outcome.kind, outcome.reason) = (kind.into(), 6));
        assert_eq!(refused, "reason: is none of FailureReason");
    }
}

#[test]
fn text_value_and_time_of_an_outcome_end_at_their_bounds() {
    let long = "x".repeat(DETAIL_MAX);
    assert_eq!(parsed(|outcome| outcome.detail.clone_from(&long)).detail, long);
    for (sent, taken) in [(format!("{long}x"), long.clone()), ("a\0b\u{85}".to_owned(), "ab".to_owned())] {
        assert_eq!(parsed(|outcome| outcome.detail.clone_from(&sent)).detail, taken, "no fact is refused for its text");
    }
    let converted = |value| {
        move |outcome: &mut pb::Outcome| {
            (outcome.kind, outcome.step, outcome.value_micros) = (pb::OutcomeKind::Converted.into(), 0, value);
        }
    };
    for value in [None, Some(0), Some(1), Some(VALUE_MICROS_MAX)] {
        assert_eq!(parsed(converted(value)).value_micros, value);
    }
    for bad in [-1, VALUE_MICROS_MAX + 1, i64::MAX] {
        let refused = refused(converted(Some(bad)));
        assert_eq!(refused, "value_micros: must be from 0 to 10000000000000 (ten million); count in a larger unit");
    }
    assert_eq!(
        refused(|outcome| outcome.value_micros = Some(1)),
        "value_micros: goes only with CONVERTED; leave it out"
    );
    let time = Time { seconds: 1_770_000_000, nanos: 5 };
    assert_eq!(parsed(|outcome| outcome.time = Some(time)).time.map(timestamp), Some(time));
    assert!(refused(|outcome| outcome.time = Some(Time { nanos: -1, ..time })).starts_with("time: "));
    let of_2000 = Time { seconds: 946_684_800, nanos: 0 };
    assert_eq!(parsed(|outcome| outcome.time = Some(of_2000)).time.map(timestamp), Some(of_2000));
    let before = Time { seconds: 946_684_799, nanos: 999_999_999 };
    assert_eq!(parsed(|outcome| outcome.time = Some(before)).time, None, "it was never set");
}

#[test]
fn each_verdict_has_a_reason_of_its_own() {
    let shown = |verdict: Verdict| {
        let result = pb::OutcomeResult::from(verdict);
        (result.verdict(), result.reason)
    };
    assert_eq!(shown(Verdict::Applied), (pb::OutcomeVerdict::Applied, String::new()));
    assert_eq!(shown(Verdict::Duplicate), (pb::OutcomeVerdict::Duplicate, String::new()));
    for (rejection, reason) in [
        (Rejection::UnknownLead, "UNKNOWN_LEAD"),
        (Rejection::OptOutUnnamed, "UNKNOWN_LEAD"),
        (Rejection::StepOutOfRange, "STEP_OUT_OF_RANGE"),
        (Rejection::CampaignFinal, "CAMPAIGN_FINAL"),
        (Rejection::TimeInFuture, "TIME_IN_FUTURE"),
        (Rejection::Invalid(Invalid::new("kind", "is bad")), "INVALID_OUTCOME"),
    ] {
        assert_eq!(shown(Verdict::Rejected(rejection)), (pb::OutcomeVerdict::Rejected, reason.to_owned()));
    }
}
