//! What the service refuses is told by the resource's own fields: each field of a spec, and time zones that are none.

use std::collections::BTreeSet;

use campaign_controller::plan::{Failure, resource_field};
use campaign_metrics::pb;
use serde_json::json;
use tonic_types::StatusExt as _;

use super::{
    schema,
    stage::{Stage, condition, service},
};

/// A change of a call that makes one field invalid, and where the resource has that field.
type Row = (&'static str, fn(&mut pb::ApplyCampaignRequest));

fn hours(request: &mut pb::ApplyCampaignRequest) -> &mut pb::ActiveHours {
    settings(request).active_hours.as_mut().expect("it has active hours")
}

fn settings(request: &mut pb::ApplyCampaignRequest) -> &mut pb::Campaign {
    request.campaign.as_mut().expect("it has a campaign")
}

const ROWS: [Row; 17] = [
    ("metadata.name", |request| settings(request).name = "workspaces/team/campaigns/Bad Name".into()),
    ("spec.accounts", |request| settings(request).accounts = vec!["workspaces/team/accounts/a".into(); 1001]),
    ("spec.accounts[1]", |request| {
        settings(request).accounts = ["a", "a b"].map(|id| format!("workspaces/team/accounts/{id}")).to_vec();
    }),
    ("spec.activeHours.timeZone", |request| hours(request).time_zone = "Mars/Olympus".into()),
    ("spec.activeHours.windows", |request| {
        let window = hours(request).windows[0].clone();
        hours(request).windows = vec![window; 33];
    }),
    ("spec.activeHours.windows[0].days", |request| hours(request).windows[0].days = vec![8]),
    ("spec.activeHours.windows[0].startTime", |request| hours(request).windows[0].start_time = "9:00".into()),
    ("spec.activeHours.windows[0].endTime", |request| hours(request).windows[0].end_time = "25:00".into()),
    ("spec.adoptionPolicy", |request| request.adoption_policy = 99),
    ("spec.attributionDays", |request| settings(request).attribution_days = Some(366)),
    ("spec.claimExpiryPolicy", |request| settings(request).claim_expiry_policy = 99),
    ("spec.dailyLimit", |request| settings(request).daily_limit = Some(-1)),
    ("spec.displayName", |request| settings(request).display_name = "a\0b".into()),
    ("spec.followUpDelay", |request| settings(request).follow_up_delay.as_mut().unwrap().seconds = -1),
    ("spec.settleSeconds", |request| settings(request).settle_seconds = Some(-1)),
    ("spec.state", |request| request.state = 99),
    ("spec.steps", |request| settings(request).steps = 17),
];

/// Fields of a spec whose every value the service takes, or which it never gets.
const NEVER_REFUSED: [&str; 2] = ["leadListComplete", "deletionPolicy"];

#[tokio::test]
async fn each_field_that_the_service_refuses_is_named_by_its_path_in_the_definition() {
    let service = service().await;
    let window = pb::ActiveWindow { start_time: "09:00".into(), end_time: "17:30".into(), days: vec![] };
    let valid = pb::ApplyCampaignRequest {
        campaign: Some(pb::Campaign {
            name: "workspaces/team/campaigns/spring".into(),
            follow_up_delay: Some(prost_types::Duration::default()),
            active_hours: Some(pb::ActiveHours { time_zone: "UTC".into(), windows: vec![window] }),
            ..Default::default()
        }),
        owner: Some(pb::Owner { resource: "team/spring".into(), uid: "u".into(), generation: 1, ..Default::default() }),
        ..Default::default()
    };
    service.campaigns.clone().apply_campaign(valid.clone()).await.expect("without a change it is taken");
    let known: BTreeSet<String> = schema::nodes("spec").into_iter().map(|(path, _)| path).collect();
    let mut seen = BTreeSet::new();
    for (path, change) in ROWS {
        let mut request = valid.clone();
        change(&mut request);
        let refused = service.campaigns.clone().apply_campaign(request).await.expect_err(path);
        let violations = refused.get_details_bad_request().expect("a field is named").field_violations;
        let paths: Vec<_> = violations.iter().map(|violation| resource_field(&violation.field)).collect();
        assert_eq!(paths, [Some(path.to_owned())], "{refused:?}");
        let failure = Failure::from(&refused);
        assert!(failure.message.starts_with(&format!("{path}: ")), "{failure}");
        if let Some(path) = path.strip_prefix("spec.") {
            let path = path.replace("[0]", "[]").replace("[1]", "[]");
            assert!(known.contains(&path), "the definition has no spec.{path}");
            seen.insert(path.trim_end_matches("[]").to_owned());
        }
    }
    for leaf in schema::leaves("spec") {
        let told = seen.contains(leaf.trim_end_matches("[]")) || NEVER_REFUSED.contains(&leaf.as_str());
        assert!(told, "the service was not asked about a bad spec.{leaf}");
    }
}

#[tokio::test]
async fn a_name_that_is_no_time_zone_is_refused_by_the_condition_even_if_databases_have_it() {
    let service = service().await;
    let stage = Stage::start(&service.url).await;
    let zones = [
        "Factory",
        "localtime",
        "posixrules",
        "posix/Europe/Rome",
        "right/UTC",
        "Etc/Unknown",
        "utc",
        "europe/rome",
        "CEST",
    ];
    for (number, zone) in zones.into_iter().enumerate() {
        let name = format!("zone-{number}");
        stage.apply(&name, &json!({"activeHours": {"timeZone": zone}})).await;
        let stalled = stage.condition(&name, "Stalled", "True", "InvalidSpec").await;
        let says = format!("spec.activeHours.timeZone: `{zone}` is no IANA time zone; use one such as `Europe/Berlin`");
        assert_eq!(condition(&stalled, "Ready").unwrap().message, says);
        assert_eq!(stage.event(&name, "Rejected").await, format!("InvalidSpec: {says}"));
    }
}
