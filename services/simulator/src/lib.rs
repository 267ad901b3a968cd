//! A client of Campaign Metrics that plays sending accounts and leads.
//!
//! | module | holds |
//! |---|---|
//! | [`args`] | the command line |
//! | [`play`] | the result of a message: a pure function of seed, lead and step |
//! | [`sender`] | one sender: claim, send, report |
//! | [`reports`] | outcomes that wait to be reported, some of them late; the call that reports them |
//! | [`story`] | the past of campaigns: a pure function of options and leads |
//! | [`fault`] | which messages of a past are lost on purpose |
//! | `past` | reports a past without claims |
//! | [`pace`] | the rate that all senders share |
//! | [`service`] | calls with deadlines and retries |
//! | [`claims_log`] | a file of all granted claims |
//! | [`summary`] | counts and latencies of a run |
//! | [`process`] | a run as a process: log, signals, exit code |

pub mod args;
pub mod claims_log;
pub mod fault;
pub mod pace;
mod past;
pub mod play;
pub mod process;
pub mod reports;
pub mod sender;
pub mod service;
pub mod story;
pub mod summary;

use std::{sync::Arc, time::Duration};

use anyhow::ensure;
use campaign_metrics::{
    name::{AccountName, CampaignName, WorkspaceName},
    pb,
};
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::{
    args::Options,
    claims_log::ClaimsLog,
    pace::Pace,
    sender::Sender,
    service::{PAGE, Service},
    summary::{Stopped, Summary},
};

/// Plays until every campaign has finished, the time is up, or `shutdown`. Then it releases claims that were not sent,
/// and reports the outcomes of the others. Given a first day, it reports the past instead.
pub async fn run(options: Options, shutdown: CancellationToken) -> anyhow::Result<Summary> {
    let options = Arc::new(options);
    let stop = shutdown.child_token();
    let service = Service::new(&options.connection.server, stop.clone())?;
    if let Some(first_day) = options.past.first_day {
        return past::play(&service, &options, first_day).await;
    }
    let log = options.claims_log.as_deref().map(ClaimsLog::open).transpose()?.map(Arc::new);
    let started = Instant::now();
    let accounts = accounts(&service, &options).await?;
    let count = accounts.len() * usize::from(options.senders);
    let pace = Arc::new(Pace::new(options.rate));
    tracing::info!(accounts = accounts.len(), senders = count, "playing");

    let mut senders = JoinSet::new();
    for account in accounts {
        for _ in 0..options.senders {
            let sender = Sender::new(service.clone(), &account, options.clone(), pace.clone(), log.clone(), count);
            senders.spawn(sender.run());
        }
    }
    let mut summary = Summary::default();
    let mut failure = None;
    let end = options.duration_seconds.map(|seconds| started + Duration::from_secs_f64(seconds));
    summary.stopped = loop {
        tokio::select! {
            () = stop.cancelled() => break Stopped::Asked,
            () = async { tokio::time::sleep_until(end.unwrap_or(started)).await }, if end.is_some() => break Stopped::TimeUp,
            // Before the stop, a sender ends only if it fails.
            Some(ended) = senders.join_next() => {
                failure = ended?.err();
                break Stopped::Asked;
            }
            finished = finished_soon(&service, &options) => if finished { break Stopped::AllFinished },
        }
    };
    stop.cancel();
    while let Some(ended) = senders.join_next().await {
        match ended? {
            Ok(stats) => summary.add(stats)?,
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    summary.elapsed = started.elapsed();
    failure.map_or(Ok(summary), Err)
}

/// Returns the accounts to play: the named ones, or all of the workspace.
async fn accounts(service: &Service, options: &Options) -> anyhow::Result<Vec<String>> {
    let parent = WorkspaceName(options.connection.workspace.clone()).to_string();
    let name = |account| AccountName { workspace: options.connection.workspace.clone(), account };
    if options.create_accounts {
        for account in &options.accounts {
            let request = pb::CreateAccountRequest {
                parent: parent.clone(),
                account_id: account.to_string(),
                account: None,
                request_id: String::new(),
            };
            match service
                .repeat(service.accounts(), request, async |mut client, request| client.create_account(request).await)
                .await
            {
                Err(status) if status.code() != Code::AlreadyExists => return Err(service.explain(&status)),
                _ => {}
            }
        }
    }
    if !options.accounts.is_empty() {
        return Ok(options.accounts.iter().map(|account| name(account.clone()).to_string()).collect());
    }
    let mut found = Vec::new();
    let mut request = pb::ListAccountsRequest { parent, page_size: PAGE, page_token: String::new() };
    loop {
        let page = service
            .repeat(service.accounts(), request.clone(), async |mut client, request| {
                client.list_accounts(request).await
            })
            .await
            .map_err(|status| service.explain(&status))?;
        found.extend(page.accounts.into_iter().map(|account| account.name));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    ensure!(
        !found.is_empty(),
        "workspace {} has no account to play; name some: --account mail-1 --create-accounts",
        options.connection.workspace
    );
    Ok(found)
}

/// Waits for a poll interval, then returns whether all campaigns have finished. An unreachable service means `false`.
async fn finished_soon(service: &Service, options: &Options) -> bool {
    tokio::time::sleep(options.poll()).await;
    match finished(service, options).await {
        Ok(finished) => finished,
        Err(status) => {
            tracing::debug!(%status, "can't look at the campaigns");
            false
        }
    }
}

async fn finished(service: &Service, options: &Options) -> Result<bool, tonic::Status> {
    let mut client = service.campaigns();
    for campaign in &options.campaigns {
        let name = CampaignName { workspace: options.connection.workspace.clone(), campaign: campaign.clone() };
        let request = pb::GetCampaignRequest { name: name.to_string() };
        let campaign = service.once(request, |request| client.get_campaign(request)).await?;
        if campaign.state() != pb::CampaignState::Finished {
            return Ok(false);
        }
    }
    if !options.campaigns.is_empty() {
        return Ok(true);
    }
    let mut request = pb::ListCampaignsRequest {
        parent: WorkspaceName(options.connection.workspace.clone()).to_string(),
        page_size: PAGE,
        page_token: String::new(),
        state: pb::CampaignState::Unspecified.into(),
        account: String::new(),
    };
    let mut any = false;
    loop {
        let page = service.once(request.clone(), |request| client.list_campaigns(request)).await?;
        any |= !page.campaigns.is_empty();
        let mut states = page.campaigns.iter().map(pb::Campaign::state);
        if !states.all(|state| state == pb::CampaignState::Finished) {
            return Ok(false);
        }
        if page.next_page_token.is_empty() {
            return Ok(any);
        }
        request.page_token = page.next_page_token;
    }
}
