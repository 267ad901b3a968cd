//! One function for each command: it calls the service and prints the answer.

use campaign_metrics::{name::AccountId, pb, sending::CLAIMS_MAX, wire};
use tonic::Code;

use crate::{
    answer,
    args::{Accounts, Campaigns, Claims, CreateAccount, Leads, ListLeads, OneCampaign, ResolveClaims, State},
    call::PAGE,
    exit::Exit,
    export, import, stop,
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

/// Runs a command for leads.
pub async fn leads(target: &Target, command: Leads) -> anyhow::Result<Exit> {
    match command {
        Leads::Import(command) => import::run(target, command).await,
        Leads::List(command) => list_leads(target, command).await,
        Leads::Export(command) => export::run(target, command).await,
    }
}

async fn list_leads(target: &Target, command: ListLeads) -> anyhow::Result<Exit> {
    let mut client = target.service.leads();
    let limit = usize::try_from(command.limit)?;
    let mut leads = Vec::new();
    let mut request = pb::ListLeadsRequest {
        parent: target.campaign(command.campaign).to_string(),
        page_size: command.limit.min(PAGE).cast_signed(),
        page_token: String::new(),
        status: command.status.map_or(pb::LeadStatus::Unspecified, pb::LeadStatus::from).into(),
        account: command.account.map(|account| target.account(account)).unwrap_or_default(),
        failure_reason: command.failure_reason.map_or(pb::FailureReason::Unspecified, pb::FailureReason::from).into(),
        last_action_after: command.last_action_after.map(wire::timestamp),
        last_action_before: command.last_action_before.map(wire::timestamp),
    };
    loop {
        let page = target.service.call(request.clone(), |request| client.list_leads(request)).await?;
        leads.extend(page.leads);
        if leads.len() >= limit || page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    leads.truncate(limit);
    target.show_all(&leads, "no such lead")
}

/// Runs a command for claims.
pub async fn claims(target: &Target, command: Claims) -> anyhow::Result<Exit> {
    let (account, state) = match command {
        Claims::Resolve(command) => return resolve_claims(target, command).await,
        Claims::List { account, state } => (account, state),
    };
    let mut client = target.service.sending();
    let mut claims = Vec::new();
    let mut request = pb::ListClaimsRequest {
        account: target.account(account),
        page_size: PAGE.cast_signed(),
        page_token: String::new(),
        state: state.map_or(pb::ClaimState::Unspecified, pb::ClaimState::from).into(),
    };
    loop {
        let page = target.service.call(request.clone(), |request| client.list_claims(request)).await?;
        claims.extend(page.claims);
        if page.next_page_token.is_empty() {
            return target.show_all(&claims, "no such claim");
        }
        request.page_token = page.next_page_token;
    }
}

async fn resolve_claims(target: &Target, command: ResolveClaims) -> anyhow::Result<Exit> {
    let mut client = target.service.sending();
    let account = target.account(command.account);
    let resolution = if command.sent { pb::Resolution::Sent } else { pb::Resolution::NotSent };
    let (mut resolved, mut others) = (0, Vec::new());
    for ids in command.claims.chunks(CLAIMS_MAX) {
        let resolution = |id: &String| pb::ClaimResolution { claim_id: id.clone(), resolution: resolution.into() };
        let request =
            pb::ResolveClaimsRequest { account: account.clone(), resolutions: ids.iter().map(resolution).collect() };
        let answer = target.service.call(request, |request| client.resolve_claims(request)).await?;
        resolved += answer.resolved_count;
        others.extend(answer.not_uncertain_claim_ids);
    }
    let report = serde_json::json!({ "resolvedCount": resolved, "notUncertainClaimIds": others });
    let cells = vec![("resolvedCount", resolved.to_string()), ("notUncertainClaimIds", others.join(";"))];
    target.report(&report, cells, || {
        let told = others.iter().map(|id| format!("\n{id} is not uncertain: nothing was changed"));
        format!("resolved {resolved} of {}{}", command.claims.len(), told.collect::<String>())
    })?;
    Ok(if others.is_empty() { Exit::Done } else { Exit::SomeRefused })
}
