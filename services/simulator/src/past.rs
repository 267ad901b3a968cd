//! Reports the past of campaigns at once: without claims, by lead and step, with the times at which things happened.

use anyhow::ensure;
use campaign_metrics::{
    name::{AccountName, CampaignId, CampaignName},
    pb,
};
use jiff::{SignedDuration, Timestamp, civil::Date};
use tokio::time::Instant;

use crate::{
    args::Options,
    reports::{CALL_OUTCOMES, report},
    service::{PAGE, Service},
    story::{Campaign, tell},
    summary::{Stats, Stopped, Summary},
};

/// Reports what happened to the named campaigns from `first_day` on, and stops early if asked to.
pub(crate) async fn play(service: &Service, options: &Options, first_day: Date) -> anyhow::Result<Summary> {
    let started = Instant::now();
    let mut campaigns = Vec::new();
    for id in &options.campaigns {
        campaigns.push(read(service, options, id).await?);
    }
    let past = &options.past;
    let until = past.until.unwrap_or_else(Timestamp::now);
    let mut events = tell(past, first_day, &options.behavior, &campaigns, until);
    events.retain(|event| event.time < until && past.since.is_none_or(|since| since <= event.time));
    tracing::info!(outcomes = events.len(), "reporting the past");

    let workspace = format!("workspaces/{}", options.connection.workspace);
    let (mut stats, mut stopped) = (Stats::default(), Stopped::Reported);
    for events in events.chunks(CALL_OUTCOMES) {
        if service.stopped().is_cancelled() {
            stopped = Stopped::Asked;
            break;
        }
        let outcomes: Vec<_> = events.iter().map(|event| event.outcome.clone()).collect();
        stats.messages += outcomes.iter().filter(|outcome| outcome.step > 0).count() as u64;
        report(service, &workspace, outcomes, &mut stats).await?;
    }
    let mut summary = Summary { stopped, elapsed: started.elapsed(), ..Summary::default() };
    summary.add(stats)?;
    Ok(summary)
}

/// Reads what decides about the past of a campaign: its steps, its leads and their accounts.
async fn read(service: &Service, options: &Options, id: &CampaignId) -> anyhow::Result<Campaign> {
    let name = CampaignName { workspace: options.connection.workspace.clone(), campaign: id.clone() }.to_string();
    let request = pb::GetCampaignRequest { name: name.clone() };
    let campaign = service
        .repeat(service.campaigns(), request, async |mut client, request| client.get_campaign(request).await)
        .await
        .map_err(|status| service.explain(&status))?;
    let mut leads = Vec::new();
    let mut request = pb::ListLeadsRequest { parent: name, page_size: PAGE, ..Default::default() };
    loop {
        let page = service
            .repeat(service.leads(), request.clone(), async |mut client, request| client.list_leads(request).await)
            .await
            .map_err(|status| service.explain(&status))?;
        for lead in page.leads {
            ensure!(
                !lead.account.is_empty(),
                "{} has no account, and without claims it gets none; import the leads with a column `account`",
                lead.name
            );
            let account: AccountName = lead.account.parse()?;
            leads.push((lead.name, account.account));
        }
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    let delay = campaign.follow_up_delay.unwrap_or_default();
    Ok(Campaign { steps: campaign.steps, follow_up_delay: SignedDuration::new(delay.seconds, delay.nanos), leads })
}
