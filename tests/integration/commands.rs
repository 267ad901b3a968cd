//! Every command of campaignctl, run as people run it. It prints what the API says, in each workspace; exit code and
//! error tell what went wrong.

use std::{collections::BTreeSet, fmt::Debug};

use campaign_metrics::pb::{self, CampaignState};
use serde_json::{Value, json};

use crate::{
    fleet::{Fleet, WORKSPACES, Workspace},
    harness::{
        parts::binary,
        run::{Output, run},
        shown::{
            Shown, compare_details, compare_json, compare_table,
            reflect::{leaves, told},
        },
    },
};

#[path = "commands/accounts.rs"]
mod accounts;
#[path = "commands/campaigns.rs"]
mod campaigns;
#[path = "commands/completion.rs"]
mod completion;
#[path = "commands/failures.rs"]
mod failures;
#[path = "commands/lists.rs"]
mod lists;

/// Runs campaignctl with arguments, split at blanks.
pub async fn campaignctl(url: &str, workspace: &str, arguments: &str) -> Output {
    campaignctl_with(url, workspace, &arguments.split(' ').collect::<Vec<_>>()).await
}

/// Runs campaignctl with arguments.
async fn campaignctl_with(url: &str, workspace: &str, arguments: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(binary("campaignctl").expect("it is built"));
    command.env("CAMPAIGN_METRICS_SERVER", url).env("CAMPAIGN_METRICS_WORKSPACE", workspace);
    command.args(arguments);
    run(command, "").await.expect("it runs")
}

/// Checks the exit code, and returns the output.
#[track_caller]
pub fn assert_exit(output: Output, code: i32) -> Output {
    let said = (&output.stdout, &output.stderr);
    assert_eq!(output.status.code(), Some(code), "exit code of `{}`: {said:?}", output.command);
    output
}

/// Runs commands in one workspace of a fleet.
struct Terminal<'a> {
    fleet: &'a Fleet,
    number: usize,
}

impl Terminal<'_> {
    async fn text(&self, arguments: &str) -> String {
        let output = campaignctl(&self.fleet.service.url, WORKSPACES[self.number], arguments).await;
        let output = assert_exit(output, 0);
        assert_eq!(output.stderr, "", "`{arguments}` has nothing to complain about");
        output.stdout
    }

    async fn json(&self, arguments: &str) -> Value {
        let text = self.text(&format!("-o json {arguments}")).await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("`{arguments}` prints JSON: {error}: {text}"))
    }

    /// Runs a command that lists, in every form of output, and compares each with what it must list.
    async fn lists<M: Shown>(&self, arguments: &str, expected: &[M], seen: &mut BTreeSet<String>) {
        let json = self.json(arguments).await;
        let items = json.as_array().expect("a list");
        let in_workspace = WORKSPACES[self.number];
        assert_eq!(items.len(), expected.len(), "`{arguments}` in {in_workspace} lists all, once: {json:#}");
        let mut differences: Vec<String> =
            items.iter().zip(expected).flat_map(|(item, message)| compare_json(item, message)).collect();
        let text = self.text(arguments).await;
        if expected.is_empty() {
            assert!(text.starts_with("no "), "`{arguments}` says that there is none: {text}");
        } else {
            differences.extend(compare_table(&text, expected));
        }
        let lines = self.text(&format!("-o ndjson {arguments}")).await;
        let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
        assert_eq!(&lines, items, "NDJSON has the items of JSON");
        differences.extend(compare_csv(&self.text(&format!("-o csv {arguments}")).await, items));
        assert!(differences.is_empty(), "`{arguments}` in {in_workspace} shows:\n{}", differences.join("\n"));
        seen.extend(expected.iter().flat_map(told));
    }

    /// Runs a command that shows one resource, as details and as JSON, and compares both.
    async fn shows<M: Shown>(&self, arguments: &str, expected: &M) {
        let mut differences = compare_json(&self.json(arguments).await, expected);
        differences.extend(compare_details(&self.text(arguments).await, expected));
        assert!(differences.is_empty(), "`{arguments}` shows:\n{}", differences.join("\n"));
    }
}

/// Compares CSV with the JSON of the same items: columns are paths in JSON, and lists of texts are joined by semicolons.
/// Other lists have rules of their own, which unit tests check.
fn compare_csv(text: &str, items: &[Value]) -> Vec<String> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let columns = reader.headers().expect("a header").clone();
    let rows: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().expect("records of equal length");
    assert_eq!(rows.len(), items.len(), "a row for each item");
    let mut differences = Vec::new();
    let mut compared = 0;
    for (row, item) in rows.iter().zip(items) {
        for (column, cell) in columns.iter().zip(row) {
            let expected = match item.pointer(&format!("/{}", column.replace('.', "/"))) {
                Some(Value::String(text)) => text.clone(),
                Some(Value::Number(number)) if number.is_f64() => {
                    // The JSON parser is off by a bit at times.
                    let number = number.as_f64().expect("a float");
                    let same = |ratio: f64| (ratio - number).abs() < 1e-15;
                    if cell.parse().is_ok_and(same) { cell.to_owned() } else { number.to_string() }
                }
                Some(Value::Number(number)) => number.to_string(),
                Some(Value::Bool(holds)) => holds.to_string(),
                Some(Value::Array(texts)) if texts.iter().all(Value::is_string) => {
                    texts.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(";")
                }
                _ => continue,
            };
            compared += 1;
            if cell != expected {
                differences.push(format!("{column} is {cell} in CSV and {expected} in JSON"));
            }
        }
    }
    assert!(compared >= columns.len().min(5) * items.len(), "cells were compared");
    differences
}

async fn leads(workspace: &Workspace<'_>, campaign: &str) -> Vec<pb::Lead> {
    let parent = workspace.campaign(campaign);
    let request = pb::ListLeadsRequest { parent, page_size: 1000, ..Default::default() };
    workspace.service.leads.clone().list_leads(request).await.expect("leads").into_inner().leads
}

async fn claims(workspace: &Workspace<'_>, account: &str) -> Vec<pb::Claim> {
    let account = workspace.account(account);
    let request = pb::ListClaimsRequest { account, page_size: 1000, ..Default::default() };
    workspace.service.sending.clone().list_claims(request).await.expect("claims").into_inner().claims
}

async fn get(workspace: &Workspace<'_>, campaign: &str) -> pb::Campaign {
    let request = pb::GetCampaignRequest { name: workspace.campaign(campaign) };
    workspace.service.campaigns.clone().get_campaign(request).await.expect("it exists").into_inner()
}

fn id(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or_default()
}

/// Filters a list. Panics if the filter keeps nothing or everything, which would prove nothing.
fn some<M: Clone + Debug>(all: &[M], holds: impl Fn(&M) -> bool) -> Vec<M> {
    let kept: Vec<M> = all.iter().filter(|one| holds(one)).cloned().collect();
    assert!(!kept.is_empty() && kept.len() < all.len(), "the filter keeps some: {kept:?}");
    kept
}

#[tokio::test]
async fn campaigns_and_accounts_are_shown_as_the_api_has_them() {
    let fleet = Fleet::start().await;
    let (mut of_campaigns, mut of_accounts) = (BTreeSet::new(), BTreeSet::new());
    let all = fleet.campaigns().await;
    for (number, workspace) in WORKSPACES.iter().enumerate() {
        let terminal = Terminal { fleet: &fleet, number };
        let campaigns = some(&all, |campaign| campaign.name.contains(workspace));
        terminal.lists("campaigns list", &campaigns, &mut of_campaigns).await;
        for (word, state) in [
            ("active", CampaignState::Active),
            ("PAUSED", CampaignState::Paused),
            ("Finished", CampaignState::Finished),
        ] {
            let kept = some(&campaigns, |campaign| campaign.state() == state);
            terminal.lists(&format!("campaigns list --state {word}"), &kept, &mut of_campaigns).await;
        }
        for campaign in &campaigns {
            terminal.shows(&format!("campaigns get {}", id(&campaign.name)), campaign).await;
        }
        let accounts = fleet.accounts_of(number).await;
        assert_eq!(accounts.len(), 5);
        terminal.lists("accounts list", &accounts, &mut of_accounts).await;
        for account in &accounts {
            terminal.shows(&format!("accounts get {}", id(&account.name)), account).await;
        }
    }
    assert_eq!(of_campaigns, leaves::<pb::Campaign>(), "each field of a campaign had a value that tells");
    assert_eq!(of_accounts, leaves::<pb::Account>(), "each field of an account had a value that tells");
}

#[tokio::test]
async fn leads_and_claims_are_shown_as_the_api_has_them() {
    let fleet = Fleet::start().await;
    let (mut of_leads, mut of_claims) = (BTreeSet::new(), BTreeSet::new());
    for number in 0..WORKSPACES.len() {
        let (terminal, workspace) = (Terminal { fleet: &fleet, number }, fleet.workspace(number));
        let all = leads(&workspace, "spring").await;
        terminal.lists("leads list --campaign spring --limit 1000", &all, &mut of_leads).await;
        terminal.lists("leads list -c spring", &all, &mut of_leads).await;
        for (word, status) in [
            ("pending", pb::LeadStatus::Pending),
            ("Partial", pb::LeadStatus::Partial),
            ("SENT", pb::LeadStatus::Sent),
            ("failed", pb::LeadStatus::Failed),
        ] {
            let kept = some(&all, |lead| lead.status() == status);
            terminal.lists(&format!("leads list -c spring --limit 500 --status {word}"), &kept, &mut of_leads).await;
        }
        let bobs = some(&all, |lead| id(&lead.account) == "bob");
        terminal.lists("leads list -c spring --limit 500 --account bob", &bobs, &mut of_leads).await;
        terminal.lists("leads list -c spring --account bob --status sent", &[] as &[pb::Lead], &mut of_leads).await;
        terminal.lists("leads list -c empty", &[] as &[pb::Lead], &mut of_leads).await;

        for (account, state) in [("ann", pb::ClaimState::Uncertain), ("bob", pb::ClaimState::Held)] {
            let held = claims(&workspace, account).await;
            assert!(held.len() > 11 && held.iter().all(|claim| claim.state() == state), "{held:?}");
            for (word, kept) in [("held", pb::ClaimState::Held), ("UNCERTAIN", pb::ClaimState::Uncertain)] {
                let kept = if kept == state { &held[..] } else { &[] };
                terminal.lists(&format!("claims list -a {account} --state {word}"), kept, &mut of_claims).await;
            }
            terminal.lists(&format!("claims list --account {account}"), &held, &mut of_claims).await;
        }
    }
    assert_eq!(of_leads, leaves::<pb::Lead>(), "each field of a lead had a value that tells");
    assert_eq!(of_claims, leaves::<pb::Claim>(), "each field of a claim had a value that tells");
}

/// Inserts 1002 copies of the account and of the campaign `m0` by SQL: so many calls would take longer than all other
/// tests.
const COPIES: &str = "
    INSERT INTO accounts (workspace_id, name, uid, display_name, state, daily_limit, time_zone, created_at, updated_at, revision)
    SELECT workspace_id, 'm' || i, gen_random_uuid(), '', state, daily_limit, time_zone, created_at, updated_at, revision
    FROM accounts, generate_series(1, 1002) i WHERE name = 'm0';
    WITH new AS (
        INSERT INTO campaigns (workspace_id, name, uid, salt, display_name, state, steps, follow_up_delay_ms, time_zone,
            active_windows, claim_expiry_policy, settle_seconds, attribution_days, lead_list_complete, created_at,
            updated_at, revision)
        SELECT workspace_id, 'm' || i, gen_random_uuid(), 0, '', state, steps, follow_up_delay_ms, time_zone,
            active_windows, claim_expiry_policy, settle_seconds, attribution_days, lead_list_complete, created_at,
            updated_at, revision
        FROM campaigns, generate_series(1, 1002) i WHERE name = 'm0'
        RETURNING workspace_id, campaign_id
    ), counters AS (
        INSERT INTO campaign_counters (workspace_id, campaign_id) SELECT workspace_id, campaign_id FROM new
    ) INSERT INTO campaign_claims (workspace_id, campaign_id) SELECT workspace_id, campaign_id FROM new";

#[tokio::test]
async fn lists_of_more_than_a_page_are_shown_whole() {
    const MANY: usize = 1003;
    let fleet = Fleet::start().await;
    let workspace = fleet.workspace(1);
    workspace.create_account("m0", None, "", "").await;
    workspace.create_campaign("m0", &["m0"], pb::Campaign::default()).await;
    fleet.service.sql().await.batch_execute(COPIES).await.unwrap();
    workspace.add("m0", 0, MANY, "m0", false).await;
    workspace.claim("m0", 1000, 60).await;
    workspace.claim("m0", 3, 60).await;
    let terminal = Terminal { fleet: &fleet, number: 1 };
    let ids = async |arguments: &str, field: &str| -> BTreeSet<String> {
        let json = terminal.json(arguments).await;
        let items = json.as_array().expect("a list");
        let ids: BTreeSet<_> = items.iter().map(|item| item[field].as_str().expect("an id").to_owned()).collect();
        assert_eq!(ids.len(), items.len(), "`{arguments}` shows nothing twice");
        ids
    };
    assert_eq!(ids("campaigns list", "name").await.len(), MANY + 7);
    assert_eq!(ids("campaigns list --state active", "name").await.len(), MANY + 4);
    assert_eq!(ids("accounts list", "name").await.len(), MANY + 5);
    assert_eq!(ids("leads list -c m0", "name").await.len(), MANY);
    assert_eq!(ids("leads list -c m0 --limit 1003", "name").await.len(), MANY);
    for limit in [1, 999, 1000, 1001, 1002] {
        let more = MANY - limit;
        let note =
            format!("{more} more lead{} not shown; leave out --limit to see all\n", if more == 1 { "" } else { "s" });
        let list = format!("leads list -c m0 --limit {limit}");
        let json = campaignctl(&fleet.service.url, "globex", &format!("-o json {list}")).await;
        let items: Vec<Value> = serde_json::from_str(&json.stdout).expect("JSON");
        assert_eq!((items.len(), json.stderr.as_str()), (limit, note.as_str()), "--limit {limit}");
        let table = terminal.text(&list).await;
        assert_eq!((table.lines().count(), table.ends_with(&note)), (limit + 2, true), "{table}");
    }
    for (form, lines) in [("table", MANY + 1), ("csv", MANY + 1), ("ndjson", MANY)] {
        let text = terminal.text(&format!("-o {form} leads list -c m0")).await;
        let heads = text.lines().filter(|line| line.starts_with("LEAD ") || line.starts_with("name,")).count();
        assert_eq!((text.lines().count(), heads), (lines, usize::from(form != "ndjson")), "{form}");
    }
    let claims = ids("claims list -a m0", "claimId").await;
    assert_eq!(claims.len(), MANY);

    // So many claims are resolved in several calls.
    fleet.service.clock.advance(std::time::Duration::from_mins(2));
    let all: Vec<String> = claims.into_iter().collect();
    let resolve = format!("-o json claims resolve -a m0 --sent {}", all.join(" "));
    let output = assert_exit(campaignctl(&fleet.service.url, "globex", &resolve).await, 0);
    let answer: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(answer, json!({"resolvedCount": MANY, "notUncertainClaimIds": []}));
    assert_eq!(get(&workspace, "m0").await.lead_counts.unwrap().sent, 1003);
}

#[tokio::test]
async fn states_are_changed_in_the_named_workspace_alone_and_the_answer_says_what_follows() {
    let fleet = Fleet::start().await;
    let (terminal, workspace) = (Terminal { fleet: &fleet, number: 1 }, fleet.workspace(1));
    let said = terminal.text("campaigns pause spring").await;
    assert_eq!(
        said,
        "spring is paused; 21 claims granted before are in flight until 2026-03-02T10:52:00Z: \
         those messages may still go out, and their outcomes are taken\n"
    );
    assert_eq!(get(&workspace, "spring").await.state(), CampaignState::Paused);
    assert_eq!(get(&fleet.workspace(0), "spring").await.state(), CampaignState::Active, "the other workspace's");
    assert_eq!(terminal.text("campaigns pause night").await, "night is paused; no message is in flight\n");
    let json = terminal.json("campaigns pause spring").await;
    assert_eq!(compare_json(&json, &get(&workspace, "spring").await), [""; 0], "a repeat shows it");

    assert_eq!(terminal.text("campaigns resume spring").await, "spring is active\n");
    let said = terminal.text("campaigns resume night").await;
    assert_eq!(said, "night is active; nothing can be sent now: OUTSIDE_ACTIVE_HOURS\n");
    let json = terminal.json("campaigns resume night").await;
    assert_eq!(compare_json(&json, &get(&workspace, "night").await), [""; 0]);
    assert_eq!(get(&workspace, "spring").await.state(), CampaignState::Active);

    assert_eq!(terminal.text("campaigns finish night").await, "night is finished for good\n");
    let json = terminal.json("campaigns finish summer").await;
    let summer = get(&workspace, "summer").await;
    assert_eq!((summer.state(), summer.finish_reason()), (CampaignState::Finished, pb::FinishReason::Requested));
    assert_eq!(compare_json(&json, &summer), [""; 0]);
    assert_eq!(get(&workspace, "night").await.state(), CampaignState::Finished);
    assert_eq!(get(&fleet.workspace(0), "night").await.state(), CampaignState::Active, "the other workspace's");
}

#[tokio::test]
async fn accounts_are_created_as_said_and_left_alone_where_they_exist() {
    let fleet = Fleet::start().await;
    let terminal = Terminal { fleet: &fleet, number: 1 };
    let created = "accounts create max --daily-limit 0 --time-zone Asia/Kathmandu --display-name Max";
    assert_eq!(terminal.text(created).await, "created max\n");
    let json = terminal.json("accounts create moe").await;
    let mut accounts = fleet.accounts_of(1).await;
    let moe = accounts.pop().expect("the last");
    let max = accounts.pop().expect("the one before");
    assert_eq!((id(&max.name), max.daily_limit, max.time_zone.as_str()), ("max", Some(0), "Asia/Kathmandu"));
    assert_eq!(max.display_name, "Max");
    assert_eq!((id(&moe.name), moe.daily_limit, moe.time_zone.as_str()), ("moe", None, "UTC"));
    assert_eq!(compare_json(&json, &moe), [""; 0]);

    let again = "accounts create max --daily-limit 9 --if-missing";
    assert_eq!(terminal.text(again).await, "max exists already; it stays as it is\n");
    assert_eq!(compare_json(&terminal.json(again).await, &max), [""; 0], "nothing was changed");
    let refused = campaignctl(&fleet.service.url, "globex", "accounts create max").await;
    let said = assert_exit(refused, 1).stderr;
    assert!(said.starts_with("error: ") && said.contains("reason: ACCOUNT_EXISTS"), "{said}");
    // `--if-missing` does not hide other errors.
    let refused = campaignctl(&fleet.service.url, "globex", "accounts create mia --time-zone Mars --if-missing").await;
    let said = assert_exit(refused, 1).stderr;
    assert!(said.contains("account.time_zone"), "{said}");
}

#[tokio::test]
async fn uncertain_claims_are_resolved_either_way_and_others_are_named() {
    let fleet = Fleet::start().await;
    let workspace = fleet.workspace(0);
    let uncertain: Vec<String> = claims(&workspace, "ann").await.into_iter().map(|claim| claim.claim_id).collect();
    let held = claims(&workspace, "bob").await[0].claim_id.clone();
    let resolve = async |arguments: String, code| {
        let arguments = format!("claims resolve -a {arguments}");
        assert_exit(campaignctl(&fleet.service.url, "acme", &arguments).await, code).stdout
    };
    let before = get(&workspace, "spring").await;
    let said = resolve(format!("ann --sent {}", uncertain[..3].join(" ")), 0).await;
    assert_eq!(said, "resolved 3 of 3\n");
    let after = get(&workspace, "spring").await;
    let delivered = |campaign: &pb::Campaign| campaign.message_counts.clone().unwrap().delivered;
    assert_eq!(delivered(&after), delivered(&before) + 3, "sent counts as delivered");
    assert_eq!(after.uncertain_claims, before.uncertain_claims - 3);

    let (again, open) = (&uncertain[0], &uncertain[3]);
    let said = resolve(format!("ann --not-sent {open} {again}"), 2).await;
    assert_eq!(said, format!("resolved 1 of 2\n{again} is not uncertain: nothing was changed\n"));
    let last = get(&workspace, "spring").await;
    assert_eq!(delivered(&last), delivered(&after), "not sent counts for nothing");
    assert_eq!(last.uncertain_claims, after.uncertain_claims - 1);
    let said = resolve(format!("bob -o json --sent {held}"), 2).await;
    let answer: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(answer, json!({"resolvedCount": 0, "notUncertainClaimIds": [held]}));
}
