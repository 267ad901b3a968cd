//! The commands for the opt-out list of a workspace.

use campaign_metrics::{name::LeadId, pb};

use crate::{args::OptOuts, call::PAGE, exit::Exit, listing::Listing, target::Target, view};

/// Ids of one call: the maximum of the service.
const IDS_MAX: usize = 1000;

/// Runs a command for opt-outs.
pub async fn opt_outs(target: &Target, command: OptOuts) -> anyhow::Result<Exit> {
    match command {
        OptOuts::List => list(target).await,
        OptOuts::Add { leads } => add(target, &leads).await,
        OptOuts::Delete { lead } => delete(target, &lead).await,
    }
}

async fn list(target: &Target) -> anyhow::Result<Exit> {
    let mut client = target.service.opt_outs();
    let mut listing = Listing::new(target);
    let mut request =
        pb::ListOptOutsRequest { parent: target.parent(), page_size: PAGE.cast_signed(), page_token: String::new() };
    loop {
        let page = target.service.call(request.clone(), async |request| client.list_opt_outs(request).await).await?;
        if !listing.page(&page.opt_outs)? {
            return Ok(Exit::Done);
        }
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    listing.end::<pb::OptOut>(&format!("no opt-out in workspace {}", target.workspace))?;
    Ok(Exit::Done)
}

async fn add(target: &Target, leads: &[LeadId]) -> anyhow::Result<Exit> {
    let mut client = target.service.opt_outs();
    let mut added = 0;
    for leads in leads.chunks(IDS_MAX) {
        let lead_ids = leads.iter().map(ToString::to_string).collect();
        let request = pb::AddOptOutsRequest { parent: target.parent(), lead_ids };
        added += target.service.call(request, async |request| client.add_opt_outs(request).await).await?.added_count;
    }
    let report = serde_json::json!({ "addedCount": added });
    target.report(&report, vec![("addedCount", added.to_string())], || {
        let ids = view::counted(i64::from(added), "lead");
        let known = match leads.len().saturating_sub(usize::try_from(added).unwrap_or_default()) {
            0 => String::new(),
            known => format!("; {known} of {} were on it already", leads.len()),
        };
        format!("added {ids} to the opt-out list of {}{known}", target.workspace)
    })
}

async fn delete(target: &Target, lead: &LeadId) -> anyhow::Result<Exit> {
    let mut client = target.service.opt_outs();
    let name = format!("{}/optOuts/{lead}", target.parent());
    let request = pb::DeleteOptOutRequest { name: name.clone() };
    target.service.call(request, async |request| client.delete_opt_out(request).await).await?;
    let report = serde_json::json!({ "deleted": name });
    target.report(&report, vec![("deleted", name)], || {
        format!("{lead} is off the opt-out list of {}; leads that opted out remain so", target.workspace)
    })
}
