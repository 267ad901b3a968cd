//! The commands for accounts.

use campaign_metrics::pb;
use tonic::Code;

use crate::{
    answer,
    args::{Accounts, CreateAccount, UpdateAccount},
    exit::Exit,
    target::Target,
    view,
};

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
        Accounts::Update(command) => update_account(target, command).await,
        Accounts::Suspend { of, etag } => {
            let mut client = target.service.accounts();
            let name = target.account(of.account);
            let request = pb::SuspendAccountRequest { name, etag: etag.unwrap_or_default() };
            let account = target.service.call(request, async |request| client.suspend_account(request).await).await?;
            let message = format!("{} is suspended; it is granted no claim", view::id(&account.name));
            target.show_one(&account, &message)
        }
        Accounts::Reinstate { of, etag } => {
            let mut client = target.service.accounts();
            let name = target.account(of.account);
            let request = pb::ReinstateAccountRequest { name, etag: etag.unwrap_or_default() };
            let account = target.service.call(request, async |request| client.reinstate_account(request).await).await?;
            target.show_one(&account, &format!("{} is active", view::id(&account.name)))
        }
        Accounts::Delete { of, etag } => {
            let mut client = target.service.accounts();
            let name = target.account(of.account);
            let request = pb::DeleteAccountRequest { name: name.clone(), etag: etag.unwrap_or_default() };
            target.service.call(request, async |request| client.delete_account(request).await).await?;
            let report = serde_json::json!({ "deleted": name });
            target.report(&report, vec![("deleted", name.clone())], || format!("deleted {}", view::id(&name)))
        }
    }
}

/// Changes the settings that are named.
async fn update_account(target: &Target, command: UpdateAccount) -> anyhow::Result<Exit> {
    let mut client = target.service.accounts();
    let UpdateAccount { of, daily_limit, no_daily_limit, time_zone, display_name, etag } = command;
    let paths = [
        ("daily_limit", daily_limit.is_some() || no_daily_limit),
        ("time_zone", time_zone.is_some()),
        ("display_name", display_name.is_some()),
    ];
    let paths = paths.into_iter().filter(|(_, is_named)| *is_named).map(|(path, _)| path.to_owned()).collect();
    let request = pb::UpdateAccountRequest {
        account: Some(pb::Account {
            name: target.account(of.account),
            daily_limit,
            time_zone: time_zone.unwrap_or_default(),
            display_name: display_name.unwrap_or_default(),
            etag: etag.unwrap_or_default(),
            ..pb::Account::default()
        }),
        update_mask: Some(prost_types::FieldMask { paths }),
    };
    let account = target.service.call(request, async |request| client.update_account(request).await).await?;
    let limit = account.daily_limit.map_or("no daily limit".to_owned(), |limit| format!("daily limit {limit}"));
    let message = format!(
        "{}: {limit}, {} reserved today, zone {}",
        view::id(&account.name),
        account.reserved_today,
        account.time_zone
    );
    target.show_one(&account, &message)
}

async fn get_account(target: &Target, name: String) -> anyhow::Result<pb::Account> {
    let mut client = target.service.accounts();
    let request = pb::GetAccountRequest { name };
    Ok(target.service.call(request, async |request| client.get_account(request).await).await?)
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
    match target.service.call(request, async |request| client.create_account(request).await).await {
        Ok(account) => target.show_one(&account, &format!("created {id}")),
        Err(failure) if create.if_missing && failure.status.code() == Code::AlreadyExists => {
            let account = get_account(target, target.account(id.clone())).await?;
            target.show_one(&account, &format!("{id} exists already; it stays as it is"))
        }
        Err(failure) => Err(failure.into()),
    }
}

async fn list_accounts(target: &Target) -> anyhow::Result<Exit> {
    let accounts = target.service.list_accounts(target.parent()).await?;
    target.show_all(&accounts, &format!("no account in workspace {}", target.workspace))
}
