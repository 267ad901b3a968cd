//! Settings of campaigns: their defaults, every bound, owners, and the fields that an update names.

use prost_types::FieldMask;

use super::*;
use crate::{account::AccountField, campaign::CampaignField};

#[test]
fn a_campaign_that_sets_nothing_has_the_defaults() {
    let defaults = settings(|_| ()).unwrap();
    assert_eq!(defaults.steps.number(), 1);
    assert_eq!(duration(defaults.follow_up_delay), Span { seconds: 86_400, nanos: 0 });
    assert_eq!((defaults.settle_seconds, defaults.attribution_days), (604_800, 30));
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
        let mut owner = pb::Owner { resource: "r".into(), uid: "u".into(), generation: 1, ..Default::default() };
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
        (|owner| owner.cluster = "c".repeat(513), "owner.cluster"),
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
