//! One function for each command: it calls the service and prints the answer.

mod accounts;
mod campaigns;
mod claims;
mod leads;
mod opt_outs;

use campaign_metrics::{name::AccountId, pb};

pub use self::{accounts::accounts, claims::claims, leads::leads, opt_outs::opt_outs};
use crate::{
    answer,
    args::{Campaigns, OneCampaign, State},
    exit::Exit,
    stop,
    target::Target,
    view,
};

/// Runs a command for campaigns.
pub async fn campaigns(target: &Target, command: Campaigns) -> anyhow::Result<Exit> {
    let mut client = target.service.campaigns();
    let name = |args: OneCampaign| target.campaign(args.campaign).to_string();
    match command {
        Campaigns::List { state, account } => list_campaigns(target, state, account).await,
        Campaigns::Get(args) => target.show_one(&target.service.get_campaign(name(args)).await?, ""),
        // Boxed, because they hold whole campaigns and every command's future would be as large.
        Campaigns::Create(command) => Box::pin(campaigns::create(target, command)).await,
        Campaigns::Update(command) => Box::pin(campaigns::update(target, command)).await,
        Campaigns::Delete(command) => campaigns::delete(target, command).await,
        Campaigns::Diagnose { of, failing } => answer::diagnose_campaign(target, of, failing).await,
        Campaigns::Compare(command) => answer::compare(target, command).await,
        Campaigns::History { of, period, by_account } => {
            answer::campaign_history(target, of, &period, by_account).await
        }
        Campaigns::Accounts(of) => answer::campaign_accounts(target, of).await,
        Campaigns::Pause(command) => stop::pause(target, command).await,
        Campaigns::Resume(command) => stop::resume(target, command).await,
        Campaigns::Orphan(args) => stop::orphan(target, name(args)).await,
        Campaigns::Finish { of, etag } => {
            let request = pb::FinishCampaignRequest { name: name(of), etag: etag.unwrap_or_default() };
            let campaign = target.service.call(request, async |request| client.finish_campaign(request).await).await?;
            let message = format!("{} is finished for good", view::id(&campaign.name));
            target.show_one(&campaign, &message)
        }
    }
}

async fn list_campaigns(target: &Target, state: Option<State>, account: Option<AccountId>) -> anyhow::Result<Exit> {
    let request = pb::ListCampaignsRequest {
        parent: target.parent(),
        state: state.map_or(pb::CampaignState::Unspecified, pb::CampaignState::from).into(),
        account: account.map(|account| target.account(account)).unwrap_or_default(),
        ..pb::ListCampaignsRequest::default()
    };
    let campaigns = target.service.list_campaigns(request).await?;
    target.show_all(&campaigns, &format!("no campaign in workspace {}", target.workspace))
}
