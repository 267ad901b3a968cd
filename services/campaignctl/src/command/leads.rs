//! The commands for leads.

use anyhow::Context as _;
use campaign_metrics::{pb, wire};
use serde::Serialize;

use crate::{
    args::{DeleteLead, Leads, ListLeads, OneLead, Output, ReassignLeads},
    call::PAGE,
    exit::Exit,
    export,
    failure::Failure,
    import,
    listing::Listing,
    target::{Target, print},
    view::{self, Document, counted, visible},
};

/// Runs a command for leads.
pub async fn leads(target: &Target, command: Leads) -> anyhow::Result<Exit> {
    match command {
        Leads::Import(command) => import::run(target, command).await,
        Leads::List(command) => list(target, command).await,
        Leads::Get(of) => get(target, of).await,
        Leads::Delete(command) => delete(target, command).await,
        Leads::Reassign(command) => reassign(target, command).await,
        Leads::Export(command) => export::run(target, command).await,
    }
}

/// Lists leads page by page. Behind a limit it counts on, to tell how many more there are.
async fn list(target: &Target, command: ListLeads) -> anyhow::Result<Exit> {
    let mut client = target.service.leads();
    let limit = command.limit.map(usize::try_from).transpose()?;
    let mut request = pb::ListLeadsRequest {
        parent: target.campaign(command.campaign).to_string(),
        page_size: PAGE.cast_signed(),
        page_token: String::new(),
        status: command.status.map_or(pb::LeadStatus::Unspecified, pb::LeadStatus::from).into(),
        account: command.account.map(|account| target.account(account)).unwrap_or_default(),
        failure_reason: command.failure_reason.map_or(pb::FailureReason::Unspecified, pb::FailureReason::from).into(),
        last_action_after: command.last_action_after.map(wire::timestamp),
        last_action_before: command.last_action_before.map(wire::timestamp),
    };
    let mut listing = Listing::new(target);
    let mut left_out = 0;
    loop {
        let page = target.service.call(request.clone(), async |request| client.list_leads(request).await).await?;
        let room = limit.map_or(page.leads.len(), |limit| (limit - listing.shown()).min(page.leads.len()));
        if !listing.page(&page.leads[..room])? {
            return Ok(Exit::Done);
        }
        left_out += page.leads.len() - room;
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    listing.end::<pb::Lead>("no such lead")?;
    if left_out > 0 {
        let leads = counted(i64::try_from(left_out)?, "more lead");
        let note = format!("{leads} not shown; leave out --limit to see all");
        match target.output {
            Output::Table => drop(print(&note)?),
            // For programs stdout is the list alone.
            _ => eprintln!("{note}"),
        }
    }
    Ok(Exit::Done)
}

/// A lead with its trail, as JSON.
#[derive(Serialize)]
struct Trail {
    lead: Document,
    outcomes: Vec<Document>,
}

/// Shows a lead, and what was reported about it in order of arrival.
async fn get(target: &Target, of: OneLead) -> anyhow::Result<Exit> {
    let name = target.lead(of);
    let mut client = target.service.leads();
    let request = pb::GetLeadRequest { name: name.clone() };
    let lead = target.service.call(request, async |request| client.get_lead(request).await).await?;
    let outcomes = trail(target, name).await?;
    match target.output {
        Output::Table => {
            let outcomes = match &outcomes[..] {
                [] => "nothing was reported about it, or the log has lost it\n".to_owned(),
                outcomes => view::table(outcomes)?,
            };
            print(&visible(&format!("{}\n{outcomes}", view::details(&lead))))
        }
        Output::Json => {
            let outcomes = outcomes.iter().map(Document::new).collect::<anyhow::Result<_>>()?;
            print(&view::json(&Trail { lead: Document::new(&lead)?, outcomes })?)
        }
        Output::Ndjson | Output::Csv => target.show_all(&outcomes, ""),
    }
}

async fn trail(target: &Target, lead: String) -> Result<Vec<pb::LeadOutcome>, Failure> {
    let mut client = target.service.leads();
    let mut outcomes = Vec::new();
    let mut request =
        pb::ListLeadOutcomesRequest { parent: lead, page_size: PAGE.cast_signed(), page_token: String::new() };
    loop {
        let page =
            target.service.call(request.clone(), async |request| client.list_lead_outcomes(request).await).await?;
        outcomes.extend(page.outcomes);
        if page.next_page_token.is_empty() {
            return Ok(outcomes);
        }
        request.page_token = page.next_page_token;
    }
}

async fn delete(target: &Target, command: DeleteLead) -> anyhow::Result<Exit> {
    let name = target.lead(command.of);
    let mut client = target.service.leads();
    let request = pb::DeleteLeadRequest { name: name.clone(), force: command.force };
    target.service.call(request, async |request| client.delete_lead(request).await).await?;
    let report = serde_json::json!({ "deleted": name });
    target.report(&report, vec![("deleted", name.clone())], || format!("deleted {}", view::id(&name)))
}

/// Moves the leads of an account in portions, until none is left. Then tells how many are still its leads, and why.
async fn reassign(target: &Target, command: ReassignLeads) -> anyhow::Result<Exit> {
    let mut client = target.service.leads();
    let campaign = target.campaign(command.campaign.clone()).to_string();
    let from_account = target.account(command.from.clone());
    let request = pb::ReassignLeadsRequest {
        parent: campaign.clone(),
        from_account: from_account.clone(),
        to_accounts: command.to.iter().map(|account| target.account(account.clone())).collect(),
    };
    let mut moved = 0;
    loop {
        let answer = target.service.call(request.clone(), async |request| client.reassign_leads(request).await).await?;
        moved += answer.reassigned_count;
        if !answer.more {
            break;
        }
    }
    let accounts = target.service.campaign_accounts(campaign).await;
    let accounts = accounts.with_context(|| format!("{} moved; can't read what is left", counted(moved, "lead")))?;
    let row = accounts.accounts.into_iter().find(|account| account.account == from_account);
    let left = row.and_then(|account| account.lead_counts).unwrap_or_default();
    let (sent, failed, open) = (left.sent, left.failed, left.pending + left.partial);
    let report = serde_json::json!({
        "reassignedCount": moved,
        "notMoved": { "sent": sent, "failed": failed, "open": open },
    });
    let cells =
        [("reassignedCount", moved), ("notMoved.sent", sent), ("notMoved.failed", failed), ("notMoved.open", open)];
    let cells = cells.into_iter().map(|(name, count)| (name, count.to_string())).collect();
    target.report(&report, cells, || reassigned(&command, moved, &left))
}

/// Says what a reassignment did, and which leads it could not move.
fn reassigned(command: &ReassignLeads, moved: i64, left: &pb::LeadCounts) -> String {
    let ReassignLeads { campaign, from, to } = command;
    let to = to.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let mut lines = vec![format!("moved {} of {from} to {to}", counted(moved, "lead"))];
    let (ended, open) = (left.sent + left.failed, left.pending + left.partial);
    if ended > 0 {
        lines.push(format!("not moved, because they have ended: {} sent, {} failed", left.sent, left.failed));
    }
    if open > 0 {
        lines.push(format!(
            "not moved yet: {}, of which claims are held or uncertain, or which lose the account because nothing was delivered",
            counted(open, "open lead")
        ));
        lines.push(format!("  claims: campaignctl claims list --campaign {campaign} --account {from}"));
    }
    if moved + ended + open == 0 {
        lines.push(format!(
            "{from} has no lead in {campaign}: those without a delivery, failed ones too, lost it when it left the campaign"
        ));
    }
    lines.join("\n")
}
