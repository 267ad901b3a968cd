//! Tables of what is decided for what is wanted and seen.

use std::collections::HashMap;

use campaign_metrics::{ERROR_DOMAIN, pb::CampaignState};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use tonic::Code;
use tonic_types::{ErrorDetails, StatusExt as _};

use super::*;
use crate::crd::DesiredState;

mod diagnosis;
mod drift;
mod events;
mod failure;
mod mirror;
mod status;

const UID: &str = "u-1";

fn campaign() -> pb::Campaign {
    pb::Campaign {
        name: "workspaces/team/campaigns/spring".into(),
        uid: "c-1".into(),
        state: CampaignState::Active.into(),
        steps: 2,
        accounts: vec!["workspaces/team/accounts/a".into()],
        owner: Some(pb::Owner { resource: "team/spring".into(), uid: UID.into(), generation: 3, ..Default::default() }),
        lead_counts: Some(pb::LeadCounts { sent: 3, failed: 1, pending: 5, partial: 1, total: 10 }),
        ..pb::Campaign::default()
    }
}

fn here(change: impl FnOnce(&mut pb::Campaign)) -> Observed {
    let mut campaign = campaign();
    change(&mut campaign);
    Observed::Present(Box::new(campaign))
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn mirrored_campaign(change: impl FnOnce(&mut pb::Campaign)) -> CampaignStatus {
    let mut campaign = campaign();
    change(&mut campaign);
    mirrored(None, 3, &campaign, at(100))
}

fn refusal(code: Code, reason: &str) -> tonic::Status {
    let details = ErrorDetails::with_error_info(reason, ERROR_DOMAIN, HashMap::new());
    tonic::Status::with_error_details(code, "says why", details)
}

#[test]
fn the_next_step_follows_from_what_was_applied_and_what_is_seen() {
    let applied = Applied::new(3, &campaign());
    let older = Applied::new(2, &campaign());
    let again = || Step::Apply(Cause::Generation);
    let drift = || Step::Apply(Cause::Drift);
    let mirror = |change: fn(&mut pb::Campaign)| match here(change) {
        Observed::Present(campaign) => Step::Mirror(campaign),
        _ => panic!("here() is Present"),
    };
    let finish = |campaign: &mut pb::Campaign| campaign.state = CampaignState::Finished.into();
    let count = |campaign: &mut pb::Campaign| campaign.in_flight_claims = 9;
    let complete = |campaign: &mut pb::Campaign| campaign.lead_list_complete = true;
    let table = [
        ("never applied", None, here(|_| {}), again()),
        ("an edit", Some(&older), here(|_| {}), again()),
        ("nothing known any more", Some(&applied), Observed::Unknown, Step::Fetch),
        ("deleted past the resource", Some(&applied), Observed::Absent, drift()),
        ("as applied", Some(&applied), here(|_| {}), mirror(|_| {})),
        ("counts moved on", Some(&applied), here(count), mirror(count)),
        ("leads declared complete by who added them", Some(&applied), here(complete), mirror(complete)),
        ("finished by itself", Some(&applied), here(finish), mirror(finish)),
        ("paused past the resource", Some(&applied), here(|c| c.state = CampaignState::Paused.into()), drift()),
        ("limited past the resource", Some(&applied), here(|c| c.daily_limit = Some(1)), drift()),
        ("accounts changed", Some(&applied), here(|c| c.accounts.clear()), drift()),
        ("orphaned past the resource", Some(&applied), here(|c| c.owner = None), drift()),
        ("owned by another", Some(&applied), here(|c| c.owner.as_mut().unwrap().uid = "u-2".into()), drift()),
        ("restored from a backup", Some(&applied), here(|c| c.owner.as_mut().unwrap().generation = 1), drift()),
    ];
    for (case, applied, seen, expected) in table {
        assert_eq!(step(UID, 3, applied, seen), expected, "{case}");
    }
}

#[test]
fn refusals_are_told_apart_by_whether_an_edit_must_repair_them() {
    let table = [
        (Code::InvalidArgument, "INVALID", "InvalidSpec", Retry::WhenEdited),
        (Code::FailedPrecondition, "CAMPAIGN_OWNED", "CampaignOwned", Retry::WhenEdited),
        (Code::FailedPrecondition, "CAMPAIGN_NOT_ADOPTABLE", "CampaignNotAdoptable", Retry::WhenEdited),
        (Code::FailedPrecondition, "IMMUTABLE_FIELD", "ImmutableField", Retry::WhenEdited),
        (Code::FailedPrecondition, "ACCOUNT_NOT_FOUND", "AccountNotFound", Retry::Backoff),
        (Code::FailedPrecondition, "CLAIMS_HELD", "Refused", Retry::Backoff),
        (Code::Aborted, "STALE_OWNER", "StaleOwner", Retry::Backoff),
        (Code::Unavailable, "", "ServiceUnavailable", Retry::Backoff),
        (Code::DeadlineExceeded, "", "ServiceTimeout", Retry::Backoff),
        (Code::Cancelled, "", "ServiceTimeout", Retry::Backoff),
        (Code::ResourceExhausted, "", "ServiceBusy", Retry::Backoff),
        (Code::PermissionDenied, "", "AccessDenied", Retry::Backoff),
        (Code::Unauthenticated, "", "AccessDenied", Retry::Backoff),
        (Code::Internal, "", "ServiceError", Retry::Backoff),
        (Code::Unimplemented, "", "ServiceError", Retry::Backoff),
        (Code::Unknown, "CAMPAIGN_OWNED", "ServiceError", Retry::Backoff),
    ];
    for (code, reason, expected, retry) in table {
        let failure = Failure::from(&refusal(code, reason));
        assert_eq!((failure.reason, failure.retry), (expected, retry), "{code:?} {reason}");
    }
    let foreign = ErrorDetails::with_error_info("CAMPAIGN_OWNED", "elsewhere.example", HashMap::new());
    let foreign = tonic::Status::with_error_details(Code::FailedPrecondition, "", foreign);
    assert_eq!(Failure::from(&foreign).retry, Retry::Backoff, "a reason counts only in our domain");
}

#[test]
fn the_text_of_a_failure_stays_short_and_the_same_from_try_to_try() {
    let long = Failure::from(&tonic::Status::invalid_argument("é".repeat(5000)));
    assert_eq!(long.message, "é".repeat(450), "900 bytes");
    let one = Failure::from(&tonic::Status::unavailable("connection 17 reset"));
    assert_eq!(one, Failure::from(&tonic::Status::unavailable("connection 18 refused")));
}

#[test]
fn steady_state_writes_nothing_and_counts_wait_while_states_do_not() {
    let before = mirrored_campaign(|_| {});
    let counted = mirrored(Some(&before), 3, &pb::Campaign { in_flight_claims: 4, ..campaign() }, at(101));
    let paused =
        mirrored(Some(&before), 3, &pb::Campaign { state: CampaignState::Paused.into(), ..campaign() }, at(101));
    let second = Duration::from_secs(1);
    let changed = |change: fn(&mut CampaignStatus)| {
        let mut status = before.clone();
        change(&mut status);
        status
    };
    let table = [
        ("the first status", None, &before, None, Write::Now),
        ("nothing new", Some(&before), &mirrored(Some(&before), 3, &campaign(), at(999)), Some(second), Write::Never),
        ("counts, after a moment", Some(&before), &counted, Some(second), Write::After(Duration::from_secs(9))),
        ("counts, almost in time", Some(&before), &counted, Some(second * 9), Write::After(second)),
        ("counts, after a while", Some(&before), &counted, Some(second * 10), Write::Now),
        ("counts, after a restart", Some(&before), &counted, None, Write::Now),
        ("a state, after a moment", Some(&before), &paused, Some(second), Write::Now),
        ("a state alone", Some(&before), &changed(|status| status.state = None), Some(second), Write::Now),
        (
            "a generation",
            Some(&before),
            &changed(|status| status.observed_generation = Some(4)),
            Some(second),
            Write::Now,
        ),
        ("a campaign", Some(&before), &changed(|status| status.campaign_uid = None), Some(second), Write::Now),
        ("a condition", Some(&before), &changed(|status| drop(status.conditions.pop())), Some(second), Write::Now),
    ];
    for (case, previous, next, since, expected) in table {
        assert_eq!(write(previous, next, since), expected, "{case}");
    }
}

#[test]
fn waits_double_from_a_second_to_five_minutes() {
    for (attempts, longest) in [(0, 1), (1, 1), (2, 2), (3, 4), (9, 256), (10, 300), (u32::MAX, 300)] {
        let longest = Duration::from_secs(longest);
        assert_eq!(backoff(attempts, 0.0), longest, "{attempts}");
        assert_eq!(backoff(attempts, 0.5), longest * 9 / 10, "{attempts}");
        assert_eq!(backoff(attempts, 1.0), longest * 8 / 10, "{attempts}");
    }
}
