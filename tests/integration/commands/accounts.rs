//! Commands that change, suspend, reinstate and delete accounts.

use campaign_metrics::pb::{self, AccountState};
use serde_json::json;

use super::{Terminal, assert_exit, campaignctl};
use crate::{
    fleet::{Fleet, Workspace},
    harness::shown::compare_json,
};

async fn account(workspace: &Workspace<'_>, id: &str) -> pb::Account {
    let request = pb::GetAccountRequest { name: workspace.account(id) };
    workspace.service.accounts.clone().get_account(request).await.expect("an account").into_inner()
}

#[tokio::test]
async fn an_update_changes_what_it_names_and_leaves_the_rest() {
    let fleet = Fleet::start().await;
    let (terminal, workspace) = (Terminal { fleet: &fleet, number: 1 }, fleet.workspace(1));
    let before = account(&workspace, "ann").await;
    let said = terminal.text("accounts update ann --daily-limit 17").await;
    let expected =
        format!("ann: daily limit 17, {} reserved today, zone {}\n", before.reserved_today, before.time_zone);
    assert_eq!(said, expected);
    let limited = account(&workspace, "ann").await;
    assert_eq!((limited.daily_limit, &limited.time_zone), (Some(17), &before.time_zone));
    assert_eq!(limited.display_name, before.display_name);

    let json =
        terminal.json("accounts update ann --no-daily-limit --time-zone Asia/Kathmandu --display-name Ana").await;
    let free = account(&workspace, "ann").await;
    assert_eq!(
        (free.daily_limit, free.time_zone.as_str(), free.display_name.as_str()),
        (None, "Asia/Kathmandu", "Ana")
    );
    assert_eq!(compare_json(&json, &free), [""; 0]);
    let refused = campaignctl(&fleet.service.url, "globex", "accounts update ann --time-zone Mars").await;
    let said = assert_exit(refused, 1).stderr;
    assert!(said.contains("account.time_zone"), "{said}");
    assert_eq!(account(&workspace, "ann").await, free, "nothing was changed");
    assert_ne!(account(&fleet.workspace(0), "ann").await.display_name, "Ana", "the other workspace's");
}

#[tokio::test]
async fn accounts_are_suspended_reinstated_and_deleted_when_nothing_needs_them() {
    let fleet = Fleet::start().await;
    let (terminal, workspace) = (Terminal { fleet: &fleet, number: 0 }, fleet.workspace(0));
    for _ in 0..2 {
        assert_eq!(terminal.text("accounts suspend eli").await, "eli is suspended; it is granted no claim\n");
        assert_eq!(account(&workspace, "eli").await.state(), AccountState::Suspended);
    }
    assert_eq!(account(&fleet.workspace(1), "eli").await.state(), AccountState::Active, "the other workspace's");
    let json = terminal.json("accounts reinstate eli").await;
    let eli = account(&workspace, "eli").await;
    assert_eq!((eli.state(), compare_json(&json, &eli)), (AccountState::Active, Vec::new()));
    assert_eq!(terminal.text("accounts reinstate eli").await, "eli is active\n");

    let refused = campaignctl(&fleet.service.url, "acme", "accounts delete ann").await;
    let said = assert_exit(refused, 1).stderr;
    assert!(said.contains("reason: ACCOUNT_IN_USE"), "{said}");
    for id in ["max", "moe"] {
        workspace.create_account(id, None, "UTC", "").await;
    }
    assert_eq!(terminal.text("accounts delete max").await, "deleted max\n");
    assert_eq!(terminal.json("accounts delete moe").await, json!({ "deleted": workspace.account("moe") }));
    // One that is retired: its only campaign is finished.
    workspace.create_account("old", None, "UTC", "").await;
    workspace.create_campaign("past", &["old"], pb::Campaign::default()).await;
    workspace.add("past", 0, 2, "old", false).await;
    workspace.report(vec![workspace.outcome("past", 0, pb::OutcomeKind::Delivered, 1)]).await;
    let said = assert_exit(campaignctl(&fleet.service.url, "acme", "accounts delete old").await, 1).stderr;
    assert!(said.contains("workspaces/acme/campaigns/past, which is not finished"), "{said}");
    assert!(said.contains("campaignctl campaigns update CAMPAIGN --remove-account ACCOUNT"), "{said}");
    terminal.text("campaigns finish past").await;
    assert_eq!(terminal.text("accounts delete old").await, "deleted old\n");
    let left = fleet.accounts_of(0).await;
    assert_eq!(left.len(), 5, "all three are gone: {left:?}");
}

#[tokio::test]
async fn an_outdated_etag_refuses_every_change_of_an_account_and_the_present_one_none() {
    let fleet = Fleet::start().await;
    let (terminal, workspace) = (Terminal { fleet: &fleet, number: 1 }, fleet.workspace(1));
    workspace.create_account("gil", Some(3), "UTC", "").await;
    for change in ["update gil --daily-limit 7", "suspend gil", "reinstate gil", "delete gil"] {
        let before = account(&workspace, "gil").await;
        let outdated = format!("accounts {change} --etag \"r0\"");
        let said = assert_exit(campaignctl(&fleet.service.url, "globex", &outdated).await, 1).stderr;
        assert!(said.contains("reason: ETAG_MISMATCH") && said.contains("-o json accounts get ACCOUNT"), "{said}");
        assert_eq!(account(&workspace, "gil").await, before, "{change}");
        let shown = terminal.json("accounts get gil").await;
        terminal.text(&format!("accounts {change} --etag {}", shown["etag"].as_str().expect("an etag"))).await;
    }
    assert!(fleet.accounts_of(1).await.iter().all(|account| !account.name.ends_with("/gil")), "it is deleted");
}
