//! Commands for one lead, for the leads of an account that left, for the claims of a whole campaign or workspace, and for
//! opt-outs.

use std::collections::BTreeSet;

use campaign_metrics::pb::{self, FailureReason, OutcomeKind as Kind};
use serde_json::json;

use super::{Terminal, assert_exit, campaignctl, claims, get, id, some};
use crate::{
    fleet::{Fleet, WORKSPACES, Workspace},
    harness::shown::{
        compare_details, compare_json, compare_table,
        reflect::{leaves, told},
    },
};

async fn lead(workspace: &Workspace<'_>, name: &str) -> pb::Lead {
    let request = pb::GetLeadRequest { name: name.to_owned() };
    workspace.service.leads.clone().get_lead(request).await.expect("a lead").into_inner()
}

async fn trail(workspace: &Workspace<'_>, name: &str) -> Vec<pb::LeadOutcome> {
    let request = pb::ListLeadOutcomesRequest { parent: name.to_owned(), page_size: 1000, ..Default::default() };
    workspace.service.leads.clone().list_lead_outcomes(request).await.expect("a trail").into_inner().outcomes
}

#[tokio::test]
async fn a_lead_is_shown_with_its_trail_and_the_texts_of_the_provider() {
    let fleet = Fleet::start().await;
    let mut seen = BTreeSet::new();
    for number in 0..WORKSPACES.len() {
        let (terminal, workspace) = (Terminal { fleet: &fleet, number }, fleet.workspace(number));
        // The leads of the first kind have one delivered step.
        for outcome in [
            pb::Outcome {
                reason: FailureReason::InvalidLead.into(),
                detail: format!("550 5.1.1 no such user {number}"),
                ..workspace.outcome("spring", 0, Kind::Bounced, 2)
            },
            pb::Outcome { value_micros: Some(12_500_000), ..workspace.outcome("spring", 0, Kind::Converted, 0) },
            workspace.outcome("spring", 0, Kind::AutoReplied, 0),
            workspace.outcome("spring", 0, Kind::OptedOut, 0),
        ] {
            workspace.report(vec![outcome]).await;
        }
        let name = format!("{}/leads/spring-0", workspace.campaign("spring"));
        let (lead, outcomes) = (lead(&workspace, &name).await, trail(&workspace, &name).await);
        assert_eq!(outcomes.len(), 5);
        seen.extend(outcomes.iter().flat_map(told));

        let arguments = "leads get spring-0 --campaign spring";
        let text = terminal.text(arguments).await;
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let facts =
            "Facts: step 1 delivered, step 2 bounced (INVALID_LEAD), converted, auto-replied, opted out OUTCOME";
        assert!(words.contains(facts), "{text}");
        assert!(text.contains(&format!("  550 5.1.1 no such user {number}\n")), "{text}");
        let (details, table) = text.split_once("\n\n").expect("details and trail");
        let json = terminal.json(arguments).await;
        let mut differences = compare_details(details, &lead);
        differences.extend(compare_table(table, &outcomes));
        differences.extend(compare_json(&json["lead"], &lead));
        let documents = json["outcomes"].as_array().expect("a list");
        differences.extend(documents.iter().zip(&outcomes).flat_map(|(json, outcome)| compare_json(json, outcome)));
        assert_eq!((documents.len(), differences), (5, Vec::new()), "{text}");
        let lines = terminal.text(&format!("-o ndjson {arguments}")).await;
        let rows = terminal.text(&format!("-o csv {arguments}")).await;
        assert_eq!((lines.lines().count(), rows.lines().count()), (5, 6), "{lines}{rows}");

        let text = terminal.text("leads get winter-0 -c winter").await;
        assert!(
            text.contains("PENDING\n") && text.ends_with("nothing was reported about it, or the log has lost it\n"),
            "{text}"
        );
    }
    assert_eq!(seen, leaves::<pb::LeadOutcome>(), "each field of an outcome had a value that tells");
}

#[tokio::test]
async fn leads_are_deleted_with_force_where_a_claim_is_open() {
    let fleet = Fleet::start().await;
    let (terminal, workspace) = (Terminal { fleet: &fleet, number: 1 }, fleet.workspace(1));
    let total = get(&workspace, "winter").await.lead_counts.unwrap().total;
    assert_eq!(terminal.text("leads delete winter-3 -c winter").await, "deleted winter-3\n");
    let name = format!("{}/leads/winter-4", workspace.campaign("winter"));
    assert_eq!(terminal.json("leads delete winter-4 -c winter").await, json!({ "deleted": name }));
    assert_eq!(get(&workspace, "winter").await.lead_counts.unwrap().total, total - 2);

    let claimed = id(&claims(&workspace, "bob").await[0].lead).to_owned();
    let refused = campaignctl(&fleet.service.url, "globex", &format!("leads delete {claimed} -c spring")).await;
    let said = assert_exit(refused, 1).stderr;
    assert!(said.contains("reason: CLAIMS_OPEN"), "{said}");
    let said = terminal.text(&format!("leads delete {claimed} -c spring --force")).await;
    assert_eq!(said, format!("deleted {claimed}\n"));
    assert!(claims(&workspace, "bob").await.iter().all(|claim| id(&claim.lead) != claimed));
}

#[tokio::test]
async fn the_leads_of_an_account_that_left_are_distributed_until_none_is_left() {
    let fleet = Fleet::start().await;
    let (terminal, workspace) = (Terminal { fleet: &fleet, number: 0 }, fleet.workspace(0));
    // More than a call moves, with a delivered step, so that they wait for the account that leaves.
    let count = 10_007;
    workspace.create_campaign("long", &["ann", "bob", "dee"], pb::Campaign { steps: 2, ..Default::default() }).await;
    for first in (0..count).step_by(5000) {
        workspace.add("long", first, 5000.min(count - first), "ann", false).await;
    }
    let delivered: Vec<_> = (0..count).map(|lead| workspace.outcome("long", lead, Kind::Delivered, 1)).collect();
    for outcomes in delivered.chunks(5000) {
        workspace.report(outcomes.to_vec()).await;
    }
    let mut campaign = get(&workspace, "long").await;
    campaign.accounts.retain(|account| id(account) != "ann");
    let update_mask = Some(prost_types::FieldMask { paths: vec!["accounts".to_owned()] });
    let request = pb::UpdateCampaignRequest { campaign: Some(campaign), update_mask };
    workspace.service.campaigns.clone().update_campaign(request).await.unwrap();

    let said = terminal.text("leads reassign -c long --from ann --to bob --to dee").await;
    assert_eq!(said, format!("moved {count} leads of ann to bob, dee\n"));
    let accounts = "SELECT DISTINCT a.name FROM leads l JOIN campaigns c USING (workspace_id, campaign_id)
        JOIN accounts a USING (workspace_id, account_id) WHERE c.name = 'long' ORDER BY 1";
    let rows = workspace.service.sql().await.query(accounts, &[]).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.get(0)).collect::<Vec<String>>(), ["bob", "dee"]);
    let again = terminal.json("leads reassign -c long --from ann --to bob").await;
    assert_eq!(again, json!({ "reassignedCount": 0, "notMoved": { "sent": 0, "failed": 0, "open": 0 } }));
    let again = terminal.text("leads reassign -c long --from ann --to bob").await;
    assert_eq!(
        again,
        "moved 0 leads of ann to bob\nann has no lead in long: those without a delivery, failed ones too, lost it when it \
         left the campaign\n"
    );
}

#[tokio::test]
async fn a_reassignment_tells_how_many_leads_it_did_not_move_and_why() {
    let fleet = Fleet::start().await;
    let (terminal, workspace) = (Terminal { fleet: &fleet, number: 1 }, fleet.workspace(1));
    workspace.create_account("gil", None, "UTC", "").await;
    let delay = Some(prost_types::Duration { seconds: 86_400, nanos: 0 });
    let settings = pb::Campaign { steps: 2, follow_up_delay: delay, ..Default::default() };
    workspace.create_campaign("short", &["gil", "bob"], settings).await;
    workspace.add("short", 0, 11, "gil", false).await;
    // Three are sent, two failed after a delivery, and four are partial. Of the others one is claimed, one free.
    for (leads, kind, step) in [(0..9, Kind::Delivered, 1), (0..3, Kind::Replied, 0), (3..5, Kind::Failed, 2)] {
        workspace.report(leads.map(|lead| workspace.outcome("short", lead, kind, step)).collect()).await;
    }
    workspace.claim("gil", 1, 600).await;
    terminal.text("campaigns update short --remove-account gil").await;

    let said = terminal.text("leads reassign -c short --from gil --to bob").await;
    let left = "\nnot moved, because they have ended: 3 sent, 2 failed\nnot moved yet: 1 open lead, of which claims are held \
                or uncertain, or which lose the account because nothing was delivered\n  claims: campaignctl claims list \
                --campaign short --account gil\n";
    assert_eq!(said, format!("moved 4 leads of gil to bob{left}"));
    let said = terminal.text("leads reassign -c short --from gil --to bob").await;
    assert_eq!(said, format!("moved 0 leads of gil to bob{left}"));
    let csv = terminal.text("-o csv leads reassign -c short --from gil --to bob").await;
    assert_eq!(csv, "reassignedCount,notMoved.sent,notMoved.failed,notMoved.open\n0,3,2,1\n");
    let json = terminal.json("leads reassign -c short --from gil --to bob").await;
    assert_eq!(json, json!({ "reassignedCount": 0, "notMoved": { "sent": 3, "failed": 2, "open": 1 } }));
}

#[tokio::test]
async fn claims_are_listed_of_the_workspace_of_a_campaign_and_of_an_account() {
    let fleet = Fleet::start().await;
    let mut seen = BTreeSet::new();
    for number in 0..WORKSPACES.len() {
        let (terminal, workspace) = (Terminal { fleet: &fleet, number }, fleet.workspace(number));
        workspace.create_campaign("late", &["eli"], pb::Campaign::default()).await;
        workspace.add("late", 0, 2, "eli", false).await;
        workspace.claim("eli", 2, 600).await;
        let mut all = Vec::new();
        for account in fleet.accounts_of(number).await {
            all.extend(claims(&workspace, id(&account.name)).await);
        }
        terminal.lists("claims list", &all, &mut seen).await;
        let table = terminal.text("claims list").await;
        let column = table.find("  ACCOUNT").expect("a column");
        let is_aligned = |line: &str| line[column..].starts_with("  ") && !line[column + 2..].starts_with(' ');
        assert!(
            table.contains("  HELD ") && table.contains("  UNCERTAIN ") && table.lines().all(is_aligned),
            "{table}"
        );
        let uncertain = some(&all, |claim| claim.state() == pb::ClaimState::Uncertain);
        terminal.lists("claims list --state uncertain", &uncertain, &mut seen).await;
        let spring = workspace.campaign("spring");
        let of_spring = some(&all, |claim| claim.lead.starts_with(&format!("{spring}/")));
        terminal.lists("claims list --campaign spring", &of_spring, &mut seen).await;
        let bobs = some(&of_spring, |claim| id(&claim.account) == "bob");
        terminal.lists("claims list -c spring -a bob", &bobs, &mut seen).await;
        terminal.lists("claims list -c empty", &[] as &[pb::Claim], &mut seen).await;
        terminal.lists("claims list -c spring -a eli", &[] as &[pb::Claim], &mut seen).await;
    }
}

#[tokio::test]
async fn opt_outs_are_listed_added_and_deleted_in_the_named_workspace_alone() {
    let fleet = Fleet::start().await;
    let (terminal, workspace) = (Terminal { fleet: &fleet, number: 1 }, fleet.workspace(1));
    let mut seen = BTreeSet::new();
    let list = async |number: usize| {
        let parent = fleet.workspace(number).name;
        let request = pb::ListOptOutsRequest { parent, page_size: 1000, page_token: String::new() };
        fleet.service.opt_outs.clone().list_opt_outs(request).await.unwrap().into_inner().opt_outs
    };
    let (before, other) = (list(1).await, list(0).await);
    terminal.lists("opt-outs list", &before, &mut seen).await;

    // Those are added in two calls and listed in two pages.
    let many: Vec<String> = (0..1003).map(|number| format!("away-{number:04}")).collect();
    let said = terminal.text(&format!("opt-outs add {}", many.join(" "))).await;
    assert_eq!(said, "added 1003 leads to the opt-out list of globex\n");
    let json = terminal.json("opt-outs add away-0000 winter-2").await;
    assert_eq!(json, json!({ "addedCount": 1 }), "one was on the list");
    let said = terminal.text("opt-outs add away-0000 away-0007").await;
    assert_eq!(said, "added 0 leads to the opt-out list of globex; 2 of 2 were on it already\n");
    let items = terminal.json("opt-outs list").await;
    assert_eq!(items.as_array().unwrap().len(), before.len() + 1004);
    let table = terminal.text("opt-outs list").await;
    assert_eq!((table.lines().count(), table.matches("CREATED").count()), (before.len() + 1005, 1));
    assert!(lead(&workspace, &format!("{}/leads/winter-2", workspace.campaign("winter"))).await.opted_out);

    let said = terminal.text("opt-outs delete winter-2").await;
    assert_eq!(said, "winter-2 is off the opt-out list of globex; leads that opted out remain so\n");
    for id in &many[3..] {
        let name = format!("{}/optOuts/{id}", workspace.name);
        fleet.service.opt_outs.clone().delete_opt_out(pb::DeleteOptOutRequest { name }).await.unwrap();
    }
    let name = format!("{}/optOuts/away-0002", workspace.name);
    assert_eq!(terminal.json("opt-outs delete away-0002").await, json!({ "deleted": name }));
    let after = list(1).await;
    assert_eq!(after.len(), before.len() + 2);
    terminal.lists("opt-outs list", &after, &mut seen).await;
    assert_eq!(seen, leaves::<pb::OptOut>(), "each field of an opt-out had a value that tells");
    assert_eq!(list(0).await, other, "the other workspace's");
}
