//! Compares the views of `reporting` with the API: every row and every column of a workspace.

use std::collections::BTreeMap;

use campaign_metrics::{
    name::{AccountName, LeadName},
    pb::{self, AccountState, CampaignState, FailureReason, FinishReason, LeadStatus, OutcomeKind},
};
use jiff::{RoundMode, Timestamp, TimestampRound, ToSpan as _, Unit, civil::Date, tz::TimeZone};
use serde_json::{Map, Value, json};

use crate::harness::{postgres::Connection, service::Service};

/// A row of a view.
type Row = Map<String, Value>;

/// The views.
pub const VIEWS: [&str; 5] = ["accounts", "campaigns", "history", "leads", "outcomes"];

/// Ages in days of the columns that count replies and conversions.
const AGES: [usize; 5] = [1, 3, 7, 14, 30];

const REASONS: [(&str, FailureReason); 5] = [
    ("account_issue", FailureReason::AccountIssue),
    ("invalid_lead", FailureReason::InvalidLead),
    ("rate_limited", FailureReason::RateLimited),
    ("content_rejected", FailureReason::ContentRejected),
    ("other", FailureReason::Other),
];

/// Whether the clock of the service shows the time of Postgres, as it does outside of tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clocks {
    /// It does.
    Agree,
    /// It does not, so columns that depend on the present day are not compared.
    Differ,
}

/// Lists what the views show of a workspace and the API does not, and the other way round.
pub async fn differences(service: &Service, sql: &Connection, workspace: &str, clocks: Clocks) -> Vec<String> {
    let found = look(service, sql, workspace, clocks).await;
    // Upkeep may have changed something between the API and the views.
    if found.is_empty() { found } else { look(service, sql, workspace, clocks).await }
}

async fn look(service: &Service, sql: &Connection, workspace: &str, clocks: Clocks) -> Vec<String> {
    let mut differences = Vec::new();
    let expected = expected(service, workspace).await;
    for view in VIEWS {
        let mut shown = rows(sql, view, workspace).await;
        let mut expected = expected[view].clone();
        for row in shown.iter_mut().chain(&mut expected) {
            row.retain(|column, _| clocks == Clocks::Agree || !column.ends_with("_30d") || view == "history");
        }
        let mut tell = |row: &Row, what: &str| differences.push(format!("{view}: {what} {}", json!(row)));
        for row in &shown {
            match expected.iter().position(|expected| expected == row) {
                Some(place) => drop(expected.swap_remove(place)),
                None => tell(row, "shown by the view only"),
            }
        }
        for row in &expected {
            tell(row, "shown by the API only");
        }
    }
    differences
}

/// The rows of a view, with times as the API has them.
async fn rows(sql: &Connection, view: &str, workspace: &str) -> Vec<Row> {
    // Outcomes that several replicas took at the same instant have the order of their facts in the API.
    let order = if view == "outcomes" {
        "lead_id, receive_time, receive_ordinal, array_position(ARRAY['delivered', 'failed', 'bounced', 'replied',
            'converted', 'auto_replied', 'opted_out'], kind), step"
    } else {
        "1"
    };
    let query = format!("SELECT to_jsonb(v) FROM reporting.{view} v WHERE workspace = $1 ORDER BY {order}");
    let rows = sql.query(&query, &[&workspace]).await.expect("the view can be read");
    let mut rows: Vec<Row> = rows
        .iter()
        .map(|row| match row.get::<_, Value>(0) {
            Value::Object(row) => row,
            other => panic!("a row is an object, not {other}"),
        })
        .collect();
    let mut places = BTreeMap::<String, i64>::new();
    for row in &mut rows {
        for (column, value) in row.iter_mut().filter(|(column, _)| column.ends_with("time")) {
            if let Some(time) = value.as_str() {
                let mut time: Timestamp = time.parse().expect("a time");
                // Only metrics show these, to the millisecond.
                if column == "last_grant_time" || column == "last_outcome_time" {
                    time = time
                        .round(TimestampRound::new().smallest(Unit::Millisecond).mode(RoundMode::Trunc))
                        .expect("it is far from the end");
                }
                *value = json!(time.to_string());
            }
        }
        // Of numeric JSON makes a float, and of that the parser another one, now and then.
        if let Some(value) = row.get_mut("conversion_value")
            && let Some(number) = value.as_f64()
        {
            #[expect(clippy::cast_possible_truncation, reason = "tests have small values")]
            let micros = (number * 1e6).round() as i64;
            *value = json!(micros);
        }
        // The API shows the order, and not the number.
        if view == "outcomes" {
            let place = places.entry(format!("{}/{}", row["campaign"], row["lead_id"])).or_default();
            row.insert("receive_ordinal".into(), json!(*place));
            *place += 1;
        }
    }
    // The API shows nothing of leads that were forgotten, and corrections as one sum.
    rows.retain(|row| view != "outcomes" || !row["lead_id"].is_null());
    if view == "history" { with_corrections_added_up(rows) } else { rows }
}

fn with_corrections_added_up(rows: Vec<Row>) -> Vec<Row> {
    let (corrections, mut days): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(|row| row["day"].is_null());
    let mut sums = BTreeMap::<String, Row>::new();
    for mut row in corrections {
        row.insert("account".into(), Value::Null);
        let Some(sum) = sums.get_mut(&row["campaign"].to_string()) else {
            sums.insert(row["campaign"].to_string(), row);
            continue;
        };
        for (column, value) in &row {
            if let (Some(one), Some(other)) = (value.as_i64(), sum[column].as_i64()) {
                sum.insert(column.clone(), json!(one + other));
            }
        }
    }
    let is_something = |row: &Row| row.values().any(|value| value.as_i64().is_some_and(|number| number != 0));
    days.extend(sums.into_values().filter(is_something));
    days
}

/// Reads all pages of a list.
macro_rules! all {
    ($client:expr, $method:ident, $request:expr, $items:ident) => {{
        let mut items = Vec::new();
        let mut request = $request;
        loop {
            let page = $client.clone().$method(request.clone()).await.expect("a page").into_inner();
            items.extend(page.$items);
            if page.next_page_token.is_empty() {
                break items;
            }
            request.page_token = page.next_page_token;
        }
    }};
}

/// What the views must show, by the API.
async fn expected(service: &Service, workspace: &str) -> BTreeMap<&'static str, Vec<Row>> {
    let parent = format!("workspaces/{workspace}");
    let request = pb::ListCampaignsRequest { parent: parent.clone(), ..Default::default() };
    let campaigns = all!(service.campaigns, list_campaigns, request, campaigns);
    let request = pb::ListAccountsRequest { parent, ..Default::default() };
    let accounts = all!(service.accounts, list_accounts, request, accounts);
    let mut expected: BTreeMap<_, Vec<Row>> = VIEWS.map(|view| (view, Vec::new())).into();
    let mut claims = BTreeMap::new();
    let today = service.clock.now().to_zoned(TimeZone::UTC).date();
    let (first_day, last_day) = ((today - 398.days()).to_string(), (today + 1.day()).to_string());
    for account in &accounts {
        let request = pb::ListClaimsRequest { account: account.name.clone(), ..Default::default() };
        for claim in all!(service.sending, list_claims, request, claims) {
            claims.insert(claim.lead.clone(), claim.expire_time);
        }
        let request = pb::QueryAccountHistoryRequest {
            name: account.name.clone(),
            first_day: first_day.clone(),
            last_day: last_day.clone(),
        };
        let history = service.performance.clone().query_account_history(request).await.expect("history").into_inner();
        let serves = campaigns.iter().filter(|campaign| campaign.accounts.contains(&account.name)).count();
        expected.get_mut("accounts").expect("a view").push(account_row(account, &history, serves, today));
    }
    let metrics = service.admin("/metrics").await;
    for campaign in &campaigns {
        let last = |what: &str| last_time(&metrics, what, &campaign.name);
        expected.get_mut("campaigns").expect("a view").push(campaign_row(campaign, &last("grant"), &last("outcome")));
        let request = pb::QueryCampaignHistoryRequest {
            name: campaign.name.clone(),
            first_day: first_day.clone(),
            last_day: last_day.clone(),
            ..Default::default()
        };
        let sums = service.performance.clone().query_campaign_history(request.clone()).await.expect("history");
        let corrections = sums.into_inner().corrections;
        let request = pb::QueryCampaignHistoryRequest { by_account: true, ..request };
        let days = all!(service.performance, query_campaign_history, request, days);
        let days =
            days.iter().map(|day| history_row(&campaign.name, &day.account, Some(&day.day), day.counts.as_ref()));
        let corrections = corrections.iter().map(|counts| history_row(&campaign.name, "", None, Some(counts)));
        expected.get_mut("history").expect("a view").extend(days.chain(corrections));
        let request = pb::ListLeadsRequest { parent: campaign.name.clone(), page_size: 1000, ..Default::default() };
        for lead in all!(service.leads, list_leads, request, leads) {
            let request = pb::ListLeadOutcomesRequest { parent: lead.name.clone(), ..Default::default() };
            let trail = all!(service.leads, list_lead_outcomes, request, outcomes);
            let claim = claims.get(&lead.name).copied().flatten();
            expected.get_mut("leads").expect("a view").push(lead_row(&lead, &trail, claim));
            let outcomes = (0..).zip(&trail).map(|(place, outcome)| outcome_row(&lead.name, place, outcome));
            expected.get_mut("outcomes").expect("a view").extend(outcomes);
        }
    }
    expected
}

fn row(value: Value) -> Row {
    match value {
        Value::Object(row) => row,
        other => panic!("a row is an object, not {other}"),
    }
}

fn time(at: Option<prost_types::Timestamp>) -> Value {
    at.map_or(Value::Null, |at| json!(Timestamp::new(at.seconds, at.nanos).expect("a time").to_string()))
}

/// The part of a resource name after the last slash; null for none.
fn id(name: &str) -> Value {
    name.rsplit('/').next().filter(|id| !id.is_empty()).map_or(Value::Null, |id| json!(id))
}

/// The workspace and the campaign in a resource name.
fn names(name: &str) -> (&str, &str) {
    let mut parts = name.split('/');
    (parts.nth(1).unwrap_or_default(), parts.nth(1).unwrap_or_default())
}

/// The word for a value of an enum: its name in the contract without the prefix, in lower case.
fn word(name: &str, prefix: &str) -> Value {
    match name.strip_prefix(prefix) {
        Some("UNSPECIFIED") => Value::Null,
        Some(word) => json!(word.to_lowercase()),
        None => panic!("{name} begins with {prefix}"),
    }
}

fn of_reason(counts: &[pb::ReasonCount], reason: FailureReason) -> i64 {
    counts.iter().filter(|count| count.reason() == reason).map(|count| count.count).sum()
}

/// A time of a campaign that only its metrics show, to the millisecond.
fn last_time(metrics: &str, what: &str, campaign: &str) -> Value {
    let (workspace, id) = names(campaign);
    let name = format!("campaign_metrics_campaign_last_{what}_timestamp_seconds");
    let series = format!("{name}{{workspace=\"{workspace}\",campaign=\"{id}\"}} ");
    let Some(seconds) = metrics.lines().find_map(|line| line.strip_prefix(&series)) else { return Value::Null };
    let micros = seconds.parse::<f64>().expect("a number") * 1e6;
    #[expect(clippy::cast_possible_truncation, reason = "a time of this century")]
    let at = Timestamp::from_microsecond(micros.round() as i64).expect("a time");
    json!(at.to_string())
}

fn campaign_row(campaign: &pb::Campaign, last_grant: &Value, last_outcome: &Value) -> Row {
    let (workspace, id) = names(&campaign.name);
    let leads = campaign.lead_counts.unwrap_or_default();
    let messages = campaign.message_counts.clone().unwrap_or_default();
    let (response, conversion) =
        (campaign.response_rate.unwrap_or_default(), campaign.conversion_rate.unwrap_or_default());
    let mut expected = row(json!({
        "workspace": workspace, "campaign": id, "display_name": campaign.display_name,
        "state": word(CampaignState::as_str_name(&campaign.state()), "CAMPAIGN_STATE_"),
        "total_leads": leads.total, "sent_leads": leads.sent, "failed_leads": leads.failed,
        "pending_leads": leads.pending, "partial_leads": leads.partial,
        "messages": messages.delivered + messages.failed + messages.bounced,
        "delivered_messages": messages.delivered, "failed_messages": messages.failed,
        "bounced_messages": messages.bounced, "contacted_leads": messages.contacted_leads,
        "replied_leads": response.numerator, "converted_leads": conversion.numerator,
        "auto_replied_leads": messages.auto_replied_leads, "opted_out_leads": messages.opted_out_leads,
        "conversion_value": messages.conversion_value_micros,
        "open_claims": campaign.in_flight_claims + campaign.uncertain_claims,
        "steps": campaign.steps, "lead_list_complete": campaign.lead_list_complete,
        "daily_limit": campaign.daily_limit,
        "time_zone": campaign.active_hours.as_ref().map_or("UTC", |hours| hours.time_zone.as_str()),
        "finish_reason": word(FinishReason::as_str_name(&campaign.finish_reason()), "FINISH_REASON_"),
        "managed_by": campaign.owner.as_ref().map(|owner| owner.resource.as_str()),
        "create_time": time(campaign.create_time), "update_time": time(campaign.update_time),
        "finish_time": time(campaign.finish_time), "finalized_time": time(campaign.finalized_time),
        "last_grant_time": last_grant, "last_outcome_time": last_outcome,
    }));
    for (name, reason) in REASONS {
        expected.insert(format!("{name}_messages"), json!(of_reason(&messages.failures, reason)));
    }
    expected
}

fn account_row(account: &pb::Account, history: &pb::QueryAccountHistoryResponse, serves: usize, today: Date) -> Row {
    let name: AccountName = account.name.parse().expect("a name");
    let mut expected = row(json!({
        "workspace": name.workspace.as_str(), "account": name.account.as_str(), "display_name": account.display_name,
        "state": word(AccountState::as_str_name(&account.state()), "ACCOUNT_STATE_"),
        "campaigns": serves, "daily_limit": account.daily_limit, "time_zone": account.time_zone,
        "create_time": time(account.create_time), "update_time": time(account.update_time),
    }));
    let first = (today - 29.days()).to_string();
    for (suffix, shown, is_recent) in [("", &account.lifetime, false), ("_30d", &account.last_30_days, true)] {
        let shown = shown.clone().unwrap_or_default();
        let mut set = |name: &str, value: i64| expected.insert(format!("{name}{suffix}"), json!(value));
        set("messages", shown.delivered + shown.failed + shown.bounced);
        set("delivered_messages", shown.delivered);
        set("failed_messages", shown.failed);
        set("bounced_messages", shown.bounced);
        for (name, reason) in REASONS {
            let days =
                history.days.iter().filter(|day| !is_recent || day.day >= first).filter_map(|day| day.counts.as_ref());
            let counts = days.chain(history.corrections.as_ref().filter(|_| !is_recent));
            let sum = counts.map(|counts| of_reason(&counts.failed, reason) + of_reason(&counts.bounced, reason)).sum();
            set(&format!("{name}_messages"), sum);
        }
    }
    expected
}

fn history_row(campaign: &str, account: &str, day: Option<&str>, counts: Option<&pb::HistoryCounts>) -> Row {
    let (workspace, campaign) = names(campaign);
    let counts = counts.cloned().unwrap_or_default();
    let sum = |counts: &[pb::ReasonCount]| counts.iter().map(|count| count.count).sum::<i64>();
    let mut expected = row(json!({
        "workspace": workspace, "campaign": campaign, "account": id(account), "day": day,
        "delivered_messages": counts.delivered, "failed_messages": sum(&counts.failed),
        "bounced_messages": sum(&counts.bounced), "contacted_leads": counts.contacted_leads,
    }));
    for (name, reason) in REASONS {
        expected.insert(format!("failed_{name}_messages"), json!(of_reason(&counts.failed, reason)));
        expected.insert(format!("bounced_{name}_messages"), json!(of_reason(&counts.bounced, reason)));
    }
    for days in AGES {
        let within = |ages: &[i64]| ages.iter().take(days + 1).sum::<i64>();
        expected.insert(format!("replied_leads_{days}d"), json!(within(&counts.replied_leads_by_age)));
        expected.insert(format!("converted_leads_{days}d"), json!(within(&counts.converted_leads_by_age)));
    }
    expected
}

/// The stronger of two facts has the higher rank: its place among the bits of a lead.
fn rank(outcome: &pb::LeadOutcome) -> i32 {
    match outcome.kind() {
        OutcomeKind::Unspecified => -1,
        OutcomeKind::Delivered => outcome.step,
        OutcomeKind::Failed => 16 + outcome.step,
        OutcomeKind::Bounced => 32 + outcome.step,
        OutcomeKind::Replied => 50,
        OutcomeKind::Converted => 51,
        OutcomeKind::AutoReplied => 52,
        OutcomeKind::OptedOut => 53,
    }
}

fn kind(outcome: &pb::LeadOutcome) -> Value {
    word(OutcomeKind::as_str_name(&outcome.kind()), "OUTCOME_KIND_")
}

fn lead_row(lead: &pb::Lead, trail: &[pb::LeadOutcome], claim_expires: Option<prost_types::Timestamp>) -> Row {
    let name: LeadName = lead.name.parse().expect("a name");
    let last = trail.iter().filter(|outcome| outcome.time == lead.last_action_time).max_by_key(|outcome| rank(outcome));
    let last_action = last.map(|last| {
        let kind = kind(last).as_str().unwrap_or_default().to_owned();
        if last.step > 0 { format!("step {} {kind}", last.step) } else { kind }
    });
    row(json!({
        "workspace": name.campaign.workspace.as_str(), "campaign": name.campaign.campaign.as_str(),
        "lead_id": name.lead.as_str(), "account": id(&lead.account),
        "status": word(LeadStatus::as_str_name(&lead.status()), "LEAD_STATUS_"),
        "last_action": last_action, "last_action_time": time(lead.last_action_time),
        "next_step": Some(lead.next_step).filter(|step| *step > 0), "next_due_time": time(lead.due_time),
        "claim_expire_time": time(claim_expires), "replied": lead.replied, "converted": lead.converted,
        "auto_replied": lead.auto_replied, "opted_out": lead.opted_out,
    }))
}

fn outcome_row(lead: &str, place: i64, outcome: &pb::LeadOutcome) -> Row {
    let name: LeadName = lead.parse().expect("a name");
    row(json!({
        "workspace": name.campaign.workspace.as_str(), "campaign": name.campaign.campaign.as_str(),
        "lead_id": name.lead.as_str(), "step": Some(outcome.step).filter(|step| *step > 0), "kind": kind(outcome),
        "reason": word(FailureReason::as_str_name(&outcome.reason()), "FAILURE_REASON_"),
        "account": id(&outcome.account), "time": time(outcome.time), "receive_time": time(outcome.receive_time),
        "receive_ordinal": place, "detail": Some(&outcome.detail).filter(|detail| !detail.is_empty()),
        "conversion_value": outcome.value_micros,
    }))
}
