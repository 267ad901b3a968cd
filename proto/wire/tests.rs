//! Every bound of the wire at its edge, every enum in both directions, every field that a mask or its value names.

use std::time::Duration;

use prost_types::{Duration as Span, FieldMask, Timestamp as Time};

use super::*;
use crate::{
    account::AccountField,
    campaign::{AdoptionPolicy, CampaignField, CampaignState, ClaimExpiryPolicy, MessageCounts},
    invalid::Invalid,
    lead::{Fact, FailureReason, LeadOutcome, LeadStatus, Step},
    name::WorkspaceId,
    not_sending::NotSending,
    sending::{ClaimState, DETAIL_MAX, HOLD_MAX, LeadRef, Outcome, Rejection, Verdict},
};

fn workspace() -> WorkspaceId {
    "acme".parse().unwrap()
}

/// The field that an error names.
fn field<T: std::fmt::Debug>(result: Result<T, Invalid>) -> String {
    result.expect_err("it is refused").field
}

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
    outcome(reported(change), &workspace()).expect("it is taken")
}

fn refused(change: impl FnOnce(&mut pb::Outcome)) -> String {
    match outcome(reported(change), &workspace()).expect_err("it is refused") {
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
    for bad in [format!("{long}x"), "a\0b".to_owned()] {
        assert!(refused(|outcome| outcome.detail.clone_from(&bad)).starts_with("detail: "));
    }
    let converted = |value| {
        move |outcome: &mut pb::Outcome| {
            (outcome.kind, outcome.step, outcome.value_micros) = (pb::OutcomeKind::Converted.into(), 0, value);
        }
    };
    for value in [None, Some(0), Some(1)] {
        assert_eq!(parsed(converted(value)).value_micros, value);
    }
    assert_eq!(refused(converted(Some(-1))), "value_micros: must be 0 or more");
    assert_eq!(
        refused(|outcome| outcome.value_micros = Some(1)),
        "value_micros: goes only with CONVERTED; leave it out"
    );
    let time = Time { seconds: 1_770_000_000, nanos: 5 };
    assert_eq!(parsed(|outcome| outcome.time = Some(time)).time.map(timestamp), Some(time));
    assert!(refused(|outcome| outcome.time = Some(Time { seconds: 0, nanos: -1 })).starts_with("time: "));
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
        (Rejection::StepOutOfRange, "STEP_OUT_OF_RANGE"),
        (Rejection::CampaignFinal, "CAMPAIGN_FINAL"),
        (Rejection::TimeInFuture, "TIME_IN_FUTURE"),
        (Rejection::Invalid(Invalid::new("kind", "is bad")), "INVALID_OUTCOME"),
    ] {
        assert_eq!(shown(Verdict::Rejected(rejection)), (pb::OutcomeVerdict::Rejected, reason.to_owned()));
    }
}

fn settings(change: impl FnOnce(&mut pb::Campaign)) -> Result<crate::campaign::CampaignSettings, Invalid> {
    let mut campaign = pb::Campaign::default();
    change(&mut campaign);
    campaign_settings(&campaign, &workspace())
}

#[test]
fn a_campaign_that_sets_nothing_has_the_defaults() {
    let defaults = settings(|_| ()).unwrap();
    assert_eq!(defaults.steps.number(), 1);
    assert_eq!(duration(defaults.follow_up_delay), Span { seconds: 86_400, nanos: 0 });
    assert_eq!((defaults.settle_seconds, defaults.attribution_days), (86_400, 30));
    assert_eq!(defaults.claim_expiry_policy, ClaimExpiryPolicy::Hold);
    assert_eq!((defaults.daily_limit, defaults.lead_list_complete), (None, false));
    assert!(defaults.accounts.is_empty() && defaults.active_hours.windows.is_empty());
}

#[test]
fn the_numbers_of_a_campaign_end_at_their_bounds() {
    type Set = fn(&mut pb::Campaign, i32);
    let bounds: [(&str, Set, i32, i32); 4] = [
        ("campaign.steps", |campaign, value| campaign.steps = value, 1, 16),
        ("campaign.daily_limit", |campaign, value| campaign.daily_limit = Some(value), 0, 1_000_000_000),
        ("campaign.settle_seconds", |campaign, value| campaign.settle_seconds = Some(value), 0, 2_592_000),
        ("campaign.attribution_days", |campaign, value| campaign.attribution_days = Some(value), 0, 365),
    ];
    for (name, set, least, most) in bounds {
        for value in [least, most] {
            let settings = settings(|campaign| set(campaign, value)).unwrap();
            let taken = [settings.steps.number().into(), settings.daily_limit.unwrap_or(-1), settings.settle_seconds];
            assert!(taken.contains(&value) || settings.attribution_days == value, "{name} {value}");
        }
        for value in [-1, most + 1] {
            assert_eq!(field(settings(|campaign| set(campaign, value))), name, "{value}");
        }
    }
    let delay = |seconds, nanos| settings(|campaign| campaign.follow_up_delay = Some(Span { seconds, nanos }));
    for (seconds, nanos) in [(0, 0), (7, 999_999_999), (31_536_000, 0)] {
        assert_eq!(duration(delay(seconds, nanos).unwrap().follow_up_delay), Span { seconds, nanos });
    }
    for (seconds, nanos) in [(-1, 0), (0, -1), (31_536_000, 1), (0, 1_000_000_000)] {
        assert_eq!(field(delay(seconds, nanos)), "campaign.follow_up_delay", "{seconds} {nanos}");
    }
}

#[test]
fn names_accounts_and_windows_of_a_campaign_end_at_their_bounds() {
    let named = |name: String| settings(|campaign| campaign.display_name = name);
    assert_eq!(named("ä".repeat(256)).unwrap().display_name.chars().count(), 256);
    for bad in ["ä".repeat(257), "a\0".to_owned()] {
        assert_eq!(field(named(bad)), "campaign.display_name");
    }
    let account = |number: usize| format!("workspaces/acme/accounts/a{number:04}");
    let serving = |accounts: Vec<String>| settings(|campaign| campaign.accounts = accounts);
    assert_eq!(serving((0..1000).map(account).collect()).unwrap().accounts.len(), 1000);
    assert_eq!(field(serving((0..1001).map(account).collect())), "campaign.accounts");
    let twice = serving([3, 1, 3].map(account).to_vec()).unwrap().accounts;
    assert_eq!(twice.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a0001", "a0003"], "sorted, each once");
    assert_eq!(field(serving(vec![account(1), "workspaces/other/accounts/a".to_owned()])), "campaign.accounts[1]");
    let window = |days: &[i32]| pb::ActiveWindow {
        days: days.to_vec(),
        start_time: "09:00".to_owned(),
        end_time: "17:30".to_owned(),
    };
    let open = |windows: Vec<pb::ActiveWindow>| {
        settings(|campaign| campaign.active_hours = Some(pb::ActiveHours { time_zone: "Asia/Tokyo".into(), windows }))
    };
    assert_eq!(open(vec![window(&[]); 32]).unwrap().active_hours.windows.len(), 32);
    assert_eq!(field(open(vec![window(&[]); 33])), "campaign.active_hours.windows");
    for day in [0, 8] {
        assert_eq!(field(open(vec![window(&[1]), window(&[day])])), "campaign.active_hours.windows[1].days");
    }
    let days: Vec<_> = open(vec![window(&[7, 1])]).unwrap().active_hours.windows[0].days().collect();
    assert_eq!(days, [jiff::civil::Weekday::Monday, jiff::civil::Weekday::Sunday]);
}

#[test]
fn an_owner_is_whole_and_within_its_bounds() {
    let owner = |change: fn(&mut pb::Owner)| {
        let mut owner = pb::Owner { resource: "r".into(), uid: "u".into(), generation: 1, fencing_token: 0 };
        change(&mut owner);
        parse_owner(Some(owner))
    };
    let least = owner(|_| ()).unwrap();
    assert_eq!((least.resource.as_str(), least.uid.as_str(), least.generation, least.fencing_token), ("r", "u", 1, 0));
    assert_eq!(owner(|owner| owner.uid = "u".repeat(512)).unwrap().uid.len(), 512);
    assert_eq!(field(parse_owner(None)), "owner");
    for (change, name) in [
        ((|owner| owner.generation = 0) as fn(&mut pb::Owner), "owner.generation"),
        (|owner| owner.fencing_token = -1, "owner.generation"),
        (|owner| owner.uid = "u".repeat(513), "owner.uid"),
        (|owner| owner.uid = String::new(), "owner.uid"),
        (|owner| owner.resource = "a\0".to_owned(), "owner.resource"),
    ] {
        assert_eq!(field(owner(change)), name);
    }
}

#[test]
fn without_a_mask_a_field_is_named_by_its_value_alone() {
    type Set<T> = fn(&mut T);
    let of_account: [(Set<pb::Account>, AccountField, &str); 3] = [
        (|account| account.display_name = "Ann".into(), AccountField::DisplayName, "display_name"),
        (|account| account.daily_limit = Some(0), AccountField::DailyLimit, "daily_limit"),
        (|account| account.time_zone = "UTC".into(), AccountField::TimeZone, "time_zone"),
    ];
    for (set, named, path) in of_account {
        let mut account = pb::Account::default();
        set(&mut account);
        assert_eq!(account_fields(&account, None).unwrap(), [named]);
        let mask = FieldMask { paths: vec![path.to_owned()] };
        assert_eq!(account_fields(&pb::Account::default(), Some(&mask)).unwrap(), [named]);
    }
    let of_campaign: [(Set<pb::Campaign>, CampaignField, &str); 9] = [
        (|campaign| campaign.display_name = "Spring".into(), CampaignField::DisplayName, "display_name"),
        (|campaign| campaign.follow_up_delay = Some(Span::default()), CampaignField::FollowUpDelay, "follow_up_delay"),
        (|campaign| campaign.accounts = vec!["a".into()], CampaignField::Accounts, "accounts"),
        (
            |campaign| campaign.active_hours = Some(pb::ActiveHours::default()),
            CampaignField::ActiveHours,
            "active_hours",
        ),
        (|campaign| campaign.daily_limit = Some(0), CampaignField::DailyLimit, "daily_limit"),
        (|campaign| campaign.claim_expiry_policy = 1, CampaignField::ClaimExpiryPolicy, "claim_expiry_policy"),
        (|campaign| campaign.settle_seconds = Some(0), CampaignField::SettleSeconds, "settle_seconds"),
        (|campaign| campaign.attribution_days = Some(0), CampaignField::AttributionDays, "attribution_days"),
        (|campaign| campaign.lead_list_complete = true, CampaignField::LeadListComplete, "lead_list_complete"),
    ];
    for (set, named, path) in of_campaign {
        let mut campaign = pb::Campaign::default();
        set(&mut campaign);
        assert_eq!(campaign_fields(&campaign, None).unwrap(), [named]);
        let mask = FieldMask { paths: vec![path.to_owned()] };
        assert_eq!(campaign_fields(&pb::Campaign::default(), Some(&mask)).unwrap(), [named]);
    }
    let all = FieldMask { paths: vec!["*".to_owned()] };
    assert_eq!(campaign_fields(&pb::Campaign::default(), Some(&all)).unwrap().len(), 9);
    let none = FieldMask { paths: Vec::new() };
    assert_eq!(campaign_fields(&pb::Campaign::default(), Some(&none)).unwrap(), []);
    for paths in [vec!["steps"], vec!["*", "accounts"]] {
        let mask = FieldMask { paths: paths.into_iter().map(str::to_owned).collect() };
        assert_eq!(field(campaign_fields(&pb::Campaign::default(), Some(&mask))), "update_mask");
    }
}

#[test]
fn states_statuses_and_policies_are_read_as_they_are_numbered() {
    let states = [CampaignState::Active, CampaignState::Paused, CampaignState::Finished];
    for (number, state) in (1..).zip(states) {
        assert_eq!(parse_campaign_state("state", number).unwrap(), Some(state));
        assert_eq!(i32::from(pb::CampaignState::from(state)), number);
    }
    let statuses = [LeadStatus::Pending, LeadStatus::Partial, LeadStatus::Sent, LeadStatus::Failed];
    let numbers = [pb::LeadStatus::Pending, pb::LeadStatus::Partial, pb::LeadStatus::Sent, pb::LeadStatus::Failed];
    for (number, status) in numbers.into_iter().zip(statuses) {
        assert_eq!(parse_lead_status(number.into()).unwrap(), Some(status));
    }
    assert_eq!(parse_claim_state(pb::ClaimState::Held.into()).unwrap(), Some(ClaimState::Held));
    assert_eq!(parse_claim_state(pb::ClaimState::Uncertain.into()).unwrap(), Some(ClaimState::Uncertain));
    assert_eq!(parse_campaign_state("state", 0).unwrap(), None);
    assert_eq!(parse_lead_status(0).unwrap(), None);
    assert_eq!(parse_claim_state(0).unwrap(), None);
    assert_eq!(field(parse_campaign_state("from", 4)), "from");
    assert_eq!(field(parse_lead_status(9)), "status");
    assert_eq!(field(parse_claim_state(3)), "state");
    for (number, policy) in
        [(0, AdoptionPolicy::IfUnowned), (pb::AdoptionPolicy::IfUnowned.into(), AdoptionPolicy::IfUnowned)]
    {
        assert_eq!(adoption_policy(number).unwrap(), policy);
    }
    assert_eq!(adoption_policy(pb::AdoptionPolicy::Never.into()).unwrap(), AdoptionPolicy::Never);
    assert_eq!(field(adoption_policy(9)), "adoption_policy");
    let expiring = |number| settings(|campaign| campaign.claim_expiry_policy = number);
    let policy = |number: pb::ClaimExpiryPolicy| expiring(number.into()).unwrap().claim_expiry_policy;
    assert_eq!(policy(pb::ClaimExpiryPolicy::Hold), ClaimExpiryPolicy::Hold);
    assert_eq!(policy(pb::ClaimExpiryPolicy::Retry), ClaimExpiryPolicy::Retry);
    assert_eq!(field(expiring(9)), "campaign.claim_expiry_policy");
    let reasons = [NotSending::Paused, NotSending::UncertainClaims, NotSending::NoLeadDue];
    let rendered =
        [pb::NotSendingReason::Paused, pb::NotSendingReason::UncertainClaims, pb::NotSendingReason::NoLeadDue];
    assert_eq!(campaign::not_sending(&reasons), rendered.map(i32::from));
}

#[test]
fn sizes_ids_etags_times_and_spans_end_at_their_bounds() {
    for (asked, taken) in [(0, 100), (1, 1), (999, 999), (1000, 1000), (1001, 1000)] {
        assert_eq!(page_size(asked).unwrap(), taken);
    }
    assert_eq!(field(page_size(-1)), "page_size");

    let id = "7f9c24e8-3b12-4fef-91e0-5a1d2f3c4b5a";
    assert_eq!(request_id(id).unwrap(), Some(id));
    assert_eq!(request_id("").unwrap(), None);
    for bad in
        [&id[1..], &format!("{id}0"), &id.replace('-', "0"), &id.replacen('7', "g", 1), &id.replacen("f9", "-9", 1)]
    {
        assert_eq!(field(request_id(bad)), "request_id", "{bad}");
    }

    assert_eq!(parse_etag("").unwrap(), None);
    assert_eq!(parse_etag(&etag(42)).unwrap(), Some(42));
    for bad in ["42", "\"r42", "r42\"", "\"r\"", "\"rx\""] {
        assert_eq!(field(parse_etag(bad)), "etag", "{bad}");
    }

    let first = -62_135_596_800;
    for time in [
        Time { seconds: first, nanos: 0 },
        Time { seconds: -1, nanos: 1 },
        Time { seconds: 0, nanos: 0 },
        Time { seconds: 1, nanos: 999_999_999 },
    ] {
        assert_eq!(timestamp(parse_timestamp("t", time).unwrap()), time, "it survives a round trip");
    }
    for (seconds, nanos) in [(first - 1, 999_999_999), (0, -1), (0, 1_000_000_000), (i64::MAX, 0)] {
        assert_eq!(field(parse_timestamp("t", Time { seconds, nanos })), "t", "{seconds} {nanos}");
    }

    let held = |seconds, nanos| hold_duration(Some(Span { seconds, nanos }));
    assert_eq!(hold_duration(None).unwrap(), Duration::from_mins(5));
    assert_eq!(held(1, 0).unwrap(), Duration::from_secs(1));
    assert_eq!(held(3600, 0).unwrap(), HOLD_MAX);
    assert_eq!([field(held(0, 999_999_999)), field(held(3600, 1))], ["hold_duration"; 2]);
    let looking = |seconds, nanos| watch_interval(Some(Span { seconds, nanos }));
    assert_eq!(watch_interval(None).unwrap(), Duration::from_secs(1));
    assert_eq!(looking(0, 100_000_000).unwrap(), Duration::from_millis(100));
    assert_eq!(looking(3600, 0).unwrap(), Duration::from_hours(1));
    assert_eq!([field(looking(0, 99_999_999)), field(looking(3600, 1))], ["min_interval"; 2]);
    assert_eq!(field(parse::<WorkspaceId>("parent", "")), "parent");
    assert_eq!(field(required::<()>("campaign", None)), "campaign");
}

#[test]
fn counts_and_outcomes_are_rendered_field_by_field() {
    let counts = MessageCounts {
        delivered: 11,
        failed: 7,
        bounced: 5,
        by_reason: [4, 0, 3, 2, 1],
        contacted: 9,
        replied: 6,
        converted: 8,
        auto_replied: 10,
        opted_out: 12,
        conversion_value_micros: 13,
        ..MessageCounts::default()
    };
    let shown = pb::MessageCounts::from(counts);
    assert_eq!((shown.delivered, shown.failed, shown.bounced, shown.contacted_leads), (11, 7, 5, 9));
    assert_eq!((shown.replied_leads, shown.converted_leads, shown.auto_replied_leads), (6, 8, 10));
    assert_eq!((shown.opted_out_leads, shown.conversion_value_micros), (12, 13));
    let failures: Vec<_> = shown.failures.iter().map(|failure| (failure.reason(), failure.count)).collect();
    assert_eq!(
        failures,
        [
            (pb::FailureReason::AccountIssue, 4),
            (pb::FailureReason::RateLimited, 3),
            (pb::FailureReason::ContentRejected, 2),
            (pb::FailureReason::Other, 1)
        ],
        "reasons of nothing are left out"
    );
    let step = Step::new(3).unwrap();
    for (fact, kind, number) in [
        (Fact::Delivered(step), pb::OutcomeKind::Delivered, 3),
        (Fact::Failed(step), pb::OutcomeKind::Failed, 3),
        (Fact::Bounced(step), pb::OutcomeKind::Bounced, 3),
        (Fact::Replied, pb::OutcomeKind::Replied, 0),
        (Fact::Converted, pb::OutcomeKind::Converted, 0),
        (Fact::AutoReplied, pb::OutcomeKind::AutoReplied, 0),
        (Fact::OptedOut, pb::OutcomeKind::OptedOut, 0),
    ] {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let shown = pb::LeadOutcome::from(LeadOutcome {
            fact,
            reason: Some(FailureReason::RateLimited),
            detail: "over quota".to_owned(),
            time: at(3),
            receive_time: at(5),
            account: Some("workspaces/acme/accounts/ann".parse().unwrap()),
            value_micros: Some(17),
        });
        assert_eq!((shown.kind(), shown.step, shown.reason()), (kind, number, pb::FailureReason::RateLimited));
        assert_eq!((shown.time.unwrap().seconds, shown.receive_time.unwrap().seconds), (3, 5));
        assert_eq!((shown.detail.as_str(), shown.account.as_str()), ("over quota", "workspaces/acme/accounts/ann"));
        assert_eq!(shown.value_micros, Some(17));
    }
}
