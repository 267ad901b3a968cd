//! The commands that create, change and delete campaigns.

use campaign_metrics::{name::AccountId, pb};
use tonic::Code;

use crate::{
    args::{CreateCampaign, DeleteCampaign, Settings, UpdateCampaign},
    exit::Exit,
    failure::Failure,
    target::Target,
    view,
};

/// How often a change is tried while others change the campaign. Settings change by hand, so a second try is enough.
const TRIES: usize = 5;

/// Creates a campaign.
pub async fn create(target: &Target, command: CreateCampaign) -> anyhow::Result<Exit> {
    let mut client = target.service.campaigns();
    let CreateCampaign { campaign: id, steps, settings, if_missing } = command;
    let has_accounts = !settings.accounts.is_empty();
    let mut campaign = pb::Campaign { steps: steps.unwrap_or_default(), ..pb::Campaign::default() };
    set(target, &mut campaign, settings);
    let request = pb::CreateCampaignRequest {
        parent: target.parent(),
        campaign_id: id.to_string(),
        campaign: Some(campaign),
        request_id: String::new(),
    };
    match target.service.call(request, async |request| client.create_campaign(request).await).await {
        Ok(campaign) => {
            let unserved = if has_accounts {
                String::new()
            } else {
                format!("\nno account serves it yet: campaignctl campaigns update {id} --add-account ID")
            };
            let next = format!("created {id}; it has no leads yet: campaignctl leads import FILE --campaign {id}");
            target.show_one(&campaign, &(next + &unserved))
        }
        Err(failure) if if_missing && failure.status.code() == Code::AlreadyExists => {
            let campaign = target.service.get_campaign(target.campaign(id.clone()).to_string()).await?;
            target.show_one(&campaign, &format!("{id} exists already; it stays as it is"))
        }
        Err(failure) => Err(failure.into()),
    }
}

/// Puts the named settings into a campaign. Returns their paths in the API.
fn set(target: &Target, campaign: &mut pb::Campaign, settings: Settings) -> Vec<&'static str> {
    let mut paths = Vec::new();
    if !settings.accounts.is_empty() {
        campaign.accounts = settings.accounts.into_iter().map(|account| target.account(account)).collect();
        paths.push("accounts");
    }
    if let Some(delay) = settings.follow_up_delay {
        campaign.follow_up_delay = Some(delay);
        paths.push("follow_up_delay");
    }
    // Windows and zone are one field: what is not named stays as it is.
    if !settings.active_hours.is_empty() || settings.time_zone.is_some() {
        let hours = campaign.active_hours.get_or_insert_default();
        if !settings.active_hours.is_empty() {
            hours.windows = settings.active_hours;
        }
        if let Some(zone) = settings.time_zone {
            hours.time_zone = zone;
        }
        paths.push("active_hours");
    }
    if settings.daily_limit.is_some() {
        campaign.daily_limit = settings.daily_limit;
        paths.push("daily_limit");
    }
    if let Some(policy) = settings.claim_expiry_policy {
        campaign.claim_expiry_policy = pb::ClaimExpiryPolicy::from(policy).into();
        paths.push("claim_expiry_policy");
    }
    if settings.settle_seconds.is_some() {
        campaign.settle_seconds = settings.settle_seconds;
        paths.push("settle_seconds");
    }
    if settings.attribution_days.is_some() {
        campaign.attribution_days = settings.attribution_days;
        paths.push("attribution_days");
    }
    if settings.lead_list_complete {
        campaign.lead_list_complete = true;
        paths.push("lead_list_complete");
    }
    if let Some(name) = settings.display_name {
        campaign.display_name = name;
        paths.push("display_name");
    }
    paths
}

/// Changes the settings that are named.
///
/// Some of them are parts of a field, such as one account of all. So the present campaign is read first, and the change is
/// refused, and tried again, if somebody else changed it meanwhile.
pub async fn update(target: &Target, command: UpdateCampaign) -> anyhow::Result<Exit> {
    let mut client = target.service.campaigns();
    let UpdateCampaign { of, settings, add_account, remove_account, .. } = &command;
    let name = target.campaign(of.campaign.clone()).to_string();
    let mut tries = 0;
    loop {
        tries += 1;
        let mut campaign = target.service.get_campaign(name.clone()).await?;
        let mut paths = set(target, &mut campaign, settings.clone());
        if command.no_daily_limit {
            campaign.daily_limit = None;
            paths.push("daily_limit");
        }
        if command.no_active_hours {
            campaign.active_hours.get_or_insert_default().windows.clear();
            paths.push("active_hours");
        }
        if command.lead_list_open {
            campaign.lead_list_complete = false;
            paths.push("lead_list_complete");
        }
        if !add_account.is_empty() || !remove_account.is_empty() {
            change_accounts(target, &mut campaign, add_account, remove_account)?;
            paths.push("accounts");
        }
        if let Some(etag) = &command.etag {
            campaign.etag.clone_from(etag);
        }
        paths.sort_unstable();
        paths.dedup();
        let paths = paths.into_iter().map(str::to_owned).collect();
        let update_mask = Some(prost_types::FieldMask { paths });
        let request = pb::UpdateCampaignRequest { campaign: Some(campaign), update_mask };
        match target.service.call(request, async |request| client.update_campaign(request).await).await {
            Ok(campaign) => return target.show_one(&campaign, ""),
            Err(failure) if is_outdated(&failure) && command.etag.is_none() && tries < TRIES => {}
            Err(failure) => return Err(failure.into()),
        }
    }
}

fn is_outdated(failure: &Failure) -> bool {
    failure.reason().is_some_and(|reason| reason == "ETAG_MISMATCH")
}

/// Adds accounts to those of a campaign, and removes others. One to remove that does not serve it is a typing error.
fn change_accounts(
    target: &Target,
    campaign: &mut pb::Campaign,
    add: &[AccountId],
    remove: &[AccountId],
) -> anyhow::Result<()> {
    for account in remove {
        let name = target.account(account.clone());
        anyhow::ensure!(
            campaign.accounts.contains(&name),
            "{account} does not serve {}; `campaignctl campaigns get {0}` shows the accounts that do",
            view::id(&campaign.name)
        );
        campaign.accounts.retain(|serving| *serving != name);
    }
    for account in add {
        let name = target.account(account.clone());
        if !campaign.accounts.contains(&name) {
            campaign.accounts.push(name);
        }
    }
    Ok(())
}

/// Deletes a campaign.
pub async fn delete(target: &Target, command: DeleteCampaign) -> anyhow::Result<Exit> {
    let mut client = target.service.campaigns();
    let name = target.campaign(command.of.campaign).to_string();
    let request = pb::DeleteCampaignRequest {
        name: name.clone(),
        etag: command.etag.unwrap_or_default(),
        force: command.force,
        owner_uid: String::new(),
    };
    target.service.call(request, async |request| client.delete_campaign(request).await).await?;
    let report = serde_json::json!({ "deleted": name });
    target.report(&report, vec![("deleted", name.clone())], || format!("deleted {}", view::id(&name)))
}
