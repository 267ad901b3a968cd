//! Commands that create, change and delete campaigns.

use campaign_metrics::pb::{self, CampaignState, ClaimExpiryPolicy as Policy};
use serde_json::json;

use super::{Terminal, assert_exit, campaignctl, campaignctl_with, get};
use crate::{
    fleet::{Fleet, WORKSPACES, Workspace},
    harness::{
        run::Output,
        shown::{compare_details, compare_json},
    },
};

async fn run(fleet: &Fleet, number: usize, arguments: &[&str]) -> Output {
    campaignctl_with(&fleet.service.url, WORKSPACES[number], arguments).await
}

/// What clients set.
fn settings(of: &pb::Campaign) -> pb::Campaign {
    pb::Campaign {
        display_name: of.display_name.clone(),
        steps: of.steps,
        follow_up_delay: of.follow_up_delay,
        accounts: of.accounts.clone(),
        active_hours: of.active_hours.clone(),
        daily_limit: of.daily_limit,
        claim_expiry_policy: of.claim_expiry_policy,
        settle_seconds: of.settle_seconds,
        attribution_days: of.attribution_days,
        lead_list_complete: of.lead_list_complete,
        ..pb::Campaign::default()
    }
}

fn window(days: &[i32], start: &str, end: &str) -> pb::ActiveWindow {
    pb::ActiveWindow { days: days.to_vec(), start_time: start.into(), end_time: end.into() }
}

fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

/// A campaign with every setting, and the command that creates it.
const TOUR: &[&str] = &[
    "campaigns",
    "create",
    "tour",
    "--account",
    "bob",
    "--account",
    "ann",
    "--steps",
    "3",
    "--follow-up-delay",
    "36h",
    "--active-hours",
    "Mon-Wed 09:00-17:15",
    "--active-hours",
    "Sat,Sun 22:30-02:00",
    "--time-zone",
    "Asia/Kathmandu",
    "--daily-limit",
    "41",
    "--claim-expiry-policy",
    "retry",
    "--settle-seconds",
    "7200",
    "--attribution-days",
    "5",
    "--lead-list-complete",
    "--display-name",
    "Grand tour",
];

fn tour(workspace: &Workspace<'_>) -> pb::Campaign {
    pb::Campaign {
        display_name: "Grand tour".into(),
        steps: 3,
        follow_up_delay: Some(seconds(36 * 3600)),
        accounts: ["ann", "bob"].map(|id| workspace.account(id)).into(),
        active_hours: Some(pb::ActiveHours {
            time_zone: "Asia/Kathmandu".into(),
            windows: vec![window(&[1, 2, 3], "09:00", "17:15"), window(&[6, 7], "22:30", "02:00")],
        }),
        daily_limit: Some(41),
        claim_expiry_policy: Policy::Retry.into(),
        settle_seconds: Some(7200),
        attribution_days: Some(5),
        lead_list_complete: true,
        ..pb::Campaign::default()
    }
}

#[tokio::test]
async fn a_campaign_is_created_with_every_setting_or_with_the_defaults() {
    let fleet = Fleet::start().await;
    let (terminal, workspace) = (Terminal { fleet: &fleet, number: 1 }, fleet.workspace(1));
    let said = assert_exit(run(&fleet, 1, TOUR).await, 0).stdout;
    assert_eq!(said, "created tour; it has no leads yet: campaignctl leads import FILE --campaign tour\n");
    let created = get(&workspace, "tour").await;
    assert_eq!((settings(&created), created.state()), (tour(&workspace), CampaignState::Active));
    terminal.shows("campaigns get tour", &created).await;
    let details = terminal.text("campaigns get tour").await;
    for line in [
        "Steps:         3, 36h apart\n",
        "Active hours:  Mon,Tue,Wed 09:00-17:15, Sat,Sun 22:30-02:00 (Asia/Kathmandu)\n",
        "Claim expiry:  RETRY\n",
        "Settle time:   2h\n",
        "Attribution:   5d\n",
    ] {
        assert!(details.contains(line), "it says `{line}`: {details}");
    }

    let json = terminal.json("campaigns create plain").await;
    let plain = get(&workspace, "plain").await;
    assert_eq!(compare_json(&json, &plain), [""; 0]);
    let defaults = pb::Campaign {
        steps: 1,
        follow_up_delay: Some(seconds(86_400)),
        active_hours: Some(pb::ActiveHours { time_zone: "UTC".into(), windows: Vec::new() }),
        claim_expiry_policy: Policy::Hold.into(),
        settle_seconds: Some(604_800),
        attribution_days: Some(30),
        ..pb::Campaign::default()
    };
    assert_eq!(settings(&plain), defaults);
    let said = terminal.text("campaigns create bare").await;
    assert!(
        said.ends_with("\nno account serves it yet: campaignctl campaigns update bare --add-account ID\n"),
        "{said}"
    );

    let again = assert_exit(run(&fleet, 1, &["campaigns", "create", "tour", "--steps", "7"]).await, 1);
    assert!(again.stderr.contains("reason: CAMPAIGN_EXISTS"), "{again:?}");
    let said = terminal.text("campaigns create tour --steps 7 --if-missing").await;
    assert_eq!(said, "tour exists already; it stays as it is\n");
    assert_eq!(get(&workspace, "tour").await, created);
    for (arguments, says) in [
        ("campaigns create other --account ghost", &["reason: ACCOUNT_NOT_FOUND", "workspaces/globex/accounts/ghost"]),
        ("campaigns create other --time-zone Mars", &["reason: INVALID_FIELD", "campaign.active_hours.time_zone"]),
    ] {
        let said = assert_exit(campaignctl(&fleet.service.url, "globex", arguments).await, 1).stderr;
        assert!(says.iter().all(|says| said.contains(says)), "{said}");
    }
    let all = fleet.campaigns().await;
    assert!(!all.iter().any(|campaign| campaign.name.ends_with("/other")), "what is refused leaves nothing");
    assert!(!all.iter().any(|campaign| campaign.name == "workspaces/acme/campaigns/tour"), "the other workspace's");
}

/// Arguments, and what they change.
type Change<'a> = (&'a [&'a str], &'a dyn Fn(&mut pb::Campaign));

#[tokio::test]
async fn an_update_changes_what_it_names_also_a_part_of_a_field() {
    let fleet = Fleet::start().await;
    let workspace = fleet.workspace(0);
    assert_exit(run(&fleet, 0, TOUR).await, 0);
    let mut expected = tour(&workspace);
    let accounts = |ids: &[&str]| ids.iter().map(|id| workspace.account(id)).collect::<Vec<_>>();
    let hours = |campaign: &mut pb::Campaign| campaign.active_hours.take().unwrap_or_default();
    let changes: [Change<'_>; 18] = [
        (&["--daily-limit", "17"], &|it| it.daily_limit = Some(17)),
        (&["--no-daily-limit"], &|it| it.daily_limit = None),
        (&["--time-zone", "Europe/Berlin"], &|it| {
            it.active_hours = Some(pb::ActiveHours { time_zone: "Europe/Berlin".into(), ..hours(it) });
        }),
        (&["--active-hours", "Tue 08:00-09:30", "--active-hours", "10:00-24:00"], &|it| {
            let windows = vec![window(&[2], "08:00", "09:30"), window(&[1, 2, 3, 4, 5, 6, 7], "10:00", "24:00")];
            it.active_hours = Some(pb::ActiveHours { windows, ..hours(it) });
        }),
        (&["--no-active-hours"], &|it| {
            it.active_hours = Some(pb::ActiveHours { windows: Vec::new(), ..hours(it) });
        }),
        (&["--add-account", "eli", "--add-account", "bob"], &|it| it.accounts = accounts(&["ann", "bob", "eli"])),
        (&["--remove-account", "ann", "--add-account", "dee"], &|it| it.accounts = accounts(&["bob", "dee", "eli"])),
        (&["--account", "cat"], &|it| it.accounts = accounts(&["cat"])),
        (&["--remove-account", "cat"], &|it| it.accounts.clear()),
        (&["--follow-up-delay", "0s"], &|it| it.follow_up_delay = Some(seconds(0))),
        (&["--claim-expiry-policy", "HOLD"], &|it| it.claim_expiry_policy = Policy::Hold.into()),
        (&["--settle-seconds", "0"], &|it| it.settle_seconds = Some(0)),
        (&["--attribution-days", "365"], &|it| it.attribution_days = Some(365)),
        (&["--lead-list-open"], &|it| it.lead_list_complete = false),
        (&["--lead-list-complete"], &|it| it.lead_list_complete = true),
        (&["--display-name", ""], &|it| it.display_name.clear()),
        (&["--display-name", "Two", "--daily-limit", "0"], &|it| {
            it.display_name = "Two".into();
            it.daily_limit = Some(0);
        }),
        (&["--follow-up-delay", "90m", "--no-active-hours", "--time-zone", "UTC"], &|it| {
            it.follow_up_delay = Some(seconds(5400));
            it.active_hours = Some(pb::ActiveHours { time_zone: "UTC".into(), windows: Vec::new() });
        }),
    ];
    for (arguments, change) in changes {
        change(&mut expected);
        let said = assert_exit(run(&fleet, 0, &[&["campaigns", "update", "tour"], arguments].concat()).await, 0).stdout;
        let after = get(&workspace, "tour").await;
        assert_eq!(settings(&after), expected, "{arguments:?}");
        assert_eq!(compare_details(&said, &after), [""; 0], "{arguments:?}");
    }
    let before = get(&workspace, "tour").await;
    for (arguments, says) in [
        (&["tour", "--remove-account", "eli"][..], &["eli does not serve tour", "campaignctl campaigns get tour"][..]),
        (&["tour", "--add-account", "ghost"], &["reason: ACCOUNT_NOT_FOUND", "workspaces/acme/accounts/ghost"]),
        (&["tour", "--daily-limit", "9", "--etag", "\"r0\""], &["reason: ETAG_MISMATCH"]),
        (&["ghost", "--daily-limit", "9"], &["reason: NOT_FOUND", "workspaces/acme/campaigns/ghost"]),
        (&["winter", "--daily-limit", "9"], &["reason: CAMPAIGN_MANAGED", "acme/winter"]),
    ] {
        let refused = run(&fleet, 0, &[&["campaigns", "update"], arguments].concat()).await;
        let said = assert_exit(refused, 1).stderr;
        assert!(says.iter().all(|says| said.contains(says)), "{arguments:?}: {said}");
    }
    assert_eq!(get(&workspace, "tour").await, before, "nothing was changed");
    let current = ["campaigns", "update", "tour", "--daily-limit", "9", "--etag", &before.etag];
    assert_exit(run(&fleet, 0, &current).await, 0);
    assert_eq!(get(&workspace, "tour").await.daily_limit, Some(9));
}

#[tokio::test]
async fn accounts_that_are_added_at_the_same_time_all_serve() {
    let fleet = Fleet::start().await;
    let workspace = fleet.workspace(1);
    let add = ["ann", "bob", "dee", "eli"].map(|id| {
        let arguments = format!("campaigns update empty --add-account {id}");
        let url = fleet.service.url.clone();
        async move { assert_exit(campaignctl(&url, "globex", &arguments).await, 0) }
    });
    futures::future::join_all(add).await;
    let expected = ["ann", "bob", "dee", "eli"].map(|id| workspace.account(id));
    assert_eq!(get(&workspace, "empty").await.accounts, expected);
}

#[tokio::test]
async fn a_campaign_is_deleted_with_force_where_claims_are_open() {
    let fleet = Fleet::start().await;
    let (terminal, workspace) = (Terminal { fleet: &fleet, number: 0 }, fleet.workspace(0));
    let before = fleet.campaigns().await;
    for (arguments, says) in [
        (&["spring"][..], &["reason: CLAIMS_OPEN", "workspaces/acme/campaigns/spring"][..]),
        (&["winter"], &["reason: CAMPAIGN_MANAGED", "acme/winter"]),
        (&["night", "--etag", "\"r0\""], &["reason: ETAG_MISMATCH"]),
        (&["ghost"], &["reason: NOT_FOUND", "workspaces/acme/campaigns/ghost"]),
    ] {
        let refused = run(&fleet, 0, &[&["campaigns", "delete"], arguments].concat()).await;
        let said = assert_exit(refused, 1).stderr;
        assert!(says.iter().all(|says| said.contains(says)), "{arguments:?}: {said}");
    }
    assert_eq!(fleet.campaigns().await.len(), before.len(), "nothing was deleted");

    assert_eq!(terminal.text("campaigns delete spring --force").await, "deleted spring\n");
    assert_eq!(terminal.json("campaigns delete empty").await, json!({ "deleted": workspace.campaign("empty") }));
    let etag = get(&workspace, "night").await.etag;
    assert_exit(run(&fleet, 0, &["campaigns", "delete", "night", "--etag", &etag]).await, 0);
    let left: Vec<String> = fleet.campaigns().await.into_iter().map(|campaign| campaign.name).collect();
    let gone = ["spring", "empty", "night"].map(|id| workspace.campaign(id));
    let expected: Vec<String> =
        before.into_iter().map(|campaign| campaign.name).filter(|name| !gone.contains(name)).collect();
    assert_eq!(left, expected, "those of the other workspace stay");
}

#[tokio::test]
async fn an_outdated_etag_refuses_a_pause_a_resume_and_a_finish_and_the_present_one_none() {
    let fleet = Fleet::start().await;
    let (terminal, workspace) = (Terminal { fleet: &fleet, number: 0 }, fleet.workspace(0));
    for (change, state) in
        [("pause", CampaignState::Paused), ("resume", CampaignState::Active), ("finish", CampaignState::Finished)]
    {
        let before = get(&workspace, "empty").await;
        let refused = run(&fleet, 0, &["campaigns", change, "empty", "--etag", "\"r0\""]).await;
        let said = assert_exit(refused, 1).stderr;
        assert!(said.contains("reason: ETAG_MISMATCH"), "{said}");
        assert_eq!(get(&workspace, "empty").await, before, "{change}");
        terminal.text(&format!("campaigns {change} empty --etag {}", before.etag)).await;
        assert_eq!(get(&workspace, "empty").await.state(), state);
    }
}
