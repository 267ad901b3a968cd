//! One function for each command: it calls the service and prints the answer.

mod claims;
mod leads;
mod opt_outs;

use campaign_metrics::{name::AccountId, pb};
use tonic::Code;

pub use self::{claims::claims, leads::leads, opt_outs::opt_outs};
use crate::{
    answer,
    args::{Accounts, Campaigns, CreateAccount, OneCampaign, State},
    call::PAGE,
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
        Campaigns::Get(args) => {
            let request = pb::GetCampaignRequest { name: name(args) };
            let campaign = target.service.call(request, |request| client.get_campaign(request)).await?;
            target.show_one(&campaign, "")
        }
        Campaigns::Diagnose { of, failing } => answer::diagnose_campaign(target, of, failing).await,
        Campaigns::Compare(command) => answer::compare(target, command).await,
        Campaigns::History { of, period, by_account } => {
            answer::campaign_history(target, of, &period, by_account).await
        }
        Campaigns::Accounts(of) => answer::campaign_accounts(target, of).await,
        Campaigns::Pause(command) => stop::pause(target, command).await,
        Campaigns::Resume(command) => stop::resume(target, command).await,
        Campaigns::Orphan(args) => stop::orphan(target, name(args)).await,
        Campaigns::Finish(args) => {
            let request = pb::FinishCampaignRequest { name: name(args), etag: String::new() };
            let campaign = target.service.call(request, |request| client.finish_campaign(request)).await?;
            let message = format!("{} is finished for good", view::id(&campaign.name));
            target.show_one(&campaign, &message)
        }
    }
}

async fn list_campaigns(target: &Target, state: Option<State>, account: Option<AccountId>) -> anyhow::Result<Exit> {
    let mut client = target.service.campaigns();
    let mut campaigns = Vec::new();
    let mut request = pb::ListCampaignsRequest {
        parent: target.parent(),
        page_size: PAGE.cast_signed(),
        page_token: String::new(),
        state: state.map_or(pb::CampaignState::Unspecified, pb::CampaignState::from).into(),
        account: account.map(|account| target.account(account)).unwrap_or_default(),
    };
    loop {
        let page = target.service.call(request.clone(), |request| client.list_campaigns(request)).await?;
        campaigns.extend(page.campaigns);
        if page.next_page_token.is_empty() {
            return target.show_all(&campaigns, &format!("no campaign in workspace {}", target.workspace));
        }
        request.page_token = page.next_page_token;
    }
}

/// Runs a command for accounts.
pub async fn accounts(target: &Target, command: Accounts) -> anyhow::Result<Exit> {
    match command {
        Accounts::Create(create) => create_account(target, create).await,
        Accounts::List => list_accounts(target).await,
        Accounts::Get(args) => {
            let account = get_account(target, target.account(args.account)).await?;
            target.show_one(&account, "")
        }
        Accounts::Diagnose { of, failing } => answer::diagnose_account(target, of, failing).await,
        Accounts::History { of, period } => answer::account_history(target, of, &period).await,
    }
}

async fn get_account(target: &Target, name: String) -> anyhow::Result<pb::Account> {
    let mut client = target.service.accounts();
    let request = pb::GetAccountRequest { name };
    Ok(target.service.call(request, |request| client.get_account(request)).await?)
}

async fn create_account(target: &Target, create: CreateAccount) -> anyhow::Result<Exit> {
    let mut client = target.service.accounts();
    let request = pb::CreateAccountRequest {
        parent: target.parent(),
        account_id: create.account.to_string(),
        account: Some(pb::Account {
            display_name: create.display_name.unwrap_or_default(),
            daily_limit: create.daily_limit,
            time_zone: create.time_zone.unwrap_or_default(),
            ..pb::Account::default()
        }),
        request_id: String::new(),
    };
    let id = &create.account;
    match target.service.call(request, |request| client.create_account(request)).await {
        Ok(account) => target.show_one(&account, &format!("created {id}")),
        Err(failure) if create.if_missing && failure.status.code() == Code::AlreadyExists => {
            let account = get_account(target, target.account(id.clone())).await?;
            target.show_one(&account, &format!("{id} exists already; it stays as it is"))
        }
        Err(failure) => Err(failure.into()),
    }
}

async fn list_accounts(target: &Target) -> anyhow::Result<Exit> {
    let mut client = target.service.accounts();
    let mut accounts = Vec::new();
    let mut request =
        pb::ListAccountsRequest { parent: target.parent(), page_size: PAGE.cast_signed(), page_token: String::new() };
    loop {
        let page = target.service.call(request.clone(), |request| client.list_accounts(request)).await?;
        accounts.extend(page.accounts);
        if page.next_page_token.is_empty() {
            return target.show_all(&accounts, &format!("no account in workspace {}", target.workspace));
        }
        request.page_token = page.next_page_token;
    }
}
