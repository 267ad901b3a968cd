//! Pauses campaigns, one or all, and makes them send again.
//!
//! All are paused by a listing and a call for each, which works as long as one replica of the service does.

use std::{collections::BTreeMap, fmt::Write as _};

use campaign_metrics::pb;
use futures::StreamExt as _;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::{
    args::{Pause, Resume},
    exit::Exit,
    failure::Failure,
    target::Target,
    view,
};

/// Calls under way at once.
const CONCURRENCY: usize = 16;
/// Listings after which campaigns that keep becoming active, or calls that keep failing, are told and left.
const ROUNDS: usize = 5;

/// Pauses a campaign, or all.
pub async fn pause(target: &Target, command: Pause) -> anyhow::Result<Exit> {
    let Some(campaign) = command.campaign.clone() else { return pause_all(target, &command).await };
    let campaign = pause_one(target, target.campaign(campaign).to_string(), &command).await?;
    let id = view::id(&campaign.name);
    let paused = if campaign.hold.is_some() {
        format!("{id} is paused and held until its resource is edited or the hold is lifted")
    } else {
        format!("{id} is paused")
    };
    let message = format!("{paused}; {}", in_flight(campaign.in_flight_claims, campaign.in_flight_until.as_ref()));
    target.show_one(&campaign, &message)
}

fn in_flight(claims: i64, until: Option<&prost_types::Timestamp>) -> String {
    match (claims, view::time(until)) {
        (0, _) => "no message is in flight".to_owned(),
        (count, until) => format!(
            "{count} claims granted before are in flight until {}: those messages may still go out, and their outcomes are \
             taken",
            until.unwrap_or_default()
        ),
    }
}

async fn pause_one(target: &Target, name: String, command: &Pause) -> Result<pb::Campaign, Failure> {
    let mut client = target.service.campaigns();
    let request = pb::PauseCampaignRequest {
        name,
        r#override: command.r#override,
        reason: command.reason.clone().unwrap_or_default(),
        etag: command.etag.clone().unwrap_or_default(),
        ..pb::PauseCampaignRequest::default()
    };
    target.service.call(request, async |request| client.pause_campaign(request).await).await
}

/// Pauses all active campaigns. Lists them again until none is left: campaigns can become active meanwhile.
async fn pause_all(target: &Target, command: &Pause) -> anyhow::Result<Exit> {
    let parent = if command.all_workspaces { "workspaces/-".to_owned() } else { target.parent() };
    let mut paused: BTreeMap<String, pb::Campaign> = BTreeMap::new();
    let mut managed: BTreeMap<String, String> = BTreeMap::new();
    let mut failed = Vec::new();
    for _ in 0..ROUNDS {
        let mut names = active(target, &parent).await?;
        names.retain(|name| !managed.contains_key(name));
        if names.is_empty() {
            failed.clear();
            break;
        }
        let calls = names.into_iter().map(async |name| (name.clone(), pause_one(target, name, command).await));
        let answers: Vec<_> = futures::stream::iter(calls).buffer_unordered(CONCURRENCY).collect().await;
        failed.clear();
        for (name, answer) in answers {
            match answer {
                Ok(campaign) => drop(paused.insert(name, campaign)),
                Err(failure) if is_managed(&failure) => drop(managed.insert(name, failure.brief())),
                // It ended meanwhile, so it sends nothing.
                Err(failure) if matches!(failure.status.code(), Code::NotFound | Code::FailedPrecondition) => {}
                Err(failure) => failed.push((name, failure)),
            }
        }
    }
    if let Some((name, failure)) = failed.into_iter().next() {
        let done = paused.len();
        return Err(
            anyhow::Error::new(failure).context(format!("paused {done} campaigns, and not {name}; run it again"))
        );
    }
    show_all(target, &paused, &managed)?;
    Ok(if managed.is_empty() { Exit::Done } else { Exit::SomeRefused })
}

fn is_managed(failure: &Failure) -> bool {
    failure.status.get_details_error_info().is_some_and(|info| info.reason == "CAMPAIGN_MANAGED")
}

fn show_all(
    target: &Target,
    paused: &BTreeMap<String, pb::Campaign>,
    managed: &BTreeMap<String, String>,
) -> anyhow::Result<Exit> {
    let claims: i64 = paused.values().map(|campaign| campaign.in_flight_claims).sum();
    let until = paused.values().filter_map(|campaign| campaign.in_flight_until);
    let until = until.max_by_key(|until| (until.seconds, until.nanos));
    let names: Vec<&str> = managed.keys().map(String::as_str).collect();
    let report = serde_json::json!({
        "pausedCount": paused.len(),
        "inFlightClaims": claims,
        "inFlightUntil": view::time(until.as_ref()),
        "managedCampaigns": names,
    });
    let cells = vec![
        ("pausedCount", paused.len().to_string()),
        ("inFlightClaims", claims.to_string()),
        ("inFlightUntil", view::time(until.as_ref()).unwrap_or_default()),
        ("managedCampaigns", names.join(";")),
    ];
    target.report(&report, cells, || {
        let mut text = format!(
            "paused {}; {}",
            view::counted(i64::try_from(paused.len()).unwrap_or(i64::MAX), "campaign"),
            in_flight(claims, until.as_ref())
        );
        for (name, problem) in managed {
            // Writing to a text can't fail.
            let _ = write!(text, "\nnot paused: {name}: {problem}");
        }
        text
    })
}

/// Lists the names of the active campaigns.
async fn active(target: &Target, parent: &str) -> Result<Vec<String>, Failure> {
    let request = pb::ListCampaignsRequest {
        parent: parent.to_owned(),
        state: pb::CampaignState::Active.into(),
        ..pb::ListCampaignsRequest::default()
    };
    let campaigns = target.service.list_campaigns(request).await?;
    Ok(campaigns.into_iter().map(|campaign| campaign.name).collect())
}

/// Resumes a campaign, or lifts its hold.
pub async fn resume(target: &Target, command: Resume) -> anyhow::Result<Exit> {
    let mut client = target.service.campaigns();
    let request = pb::ResumeCampaignRequest {
        name: target.campaign(command.campaign).to_string(),
        etag: command.etag.unwrap_or_default(),
        r#override: command.r#override,
    };
    let campaign = target.service.call(request, async |request| client.resume_campaign(request).await).await?;
    let id = view::id(&campaign.name);
    let state = campaign.state().as_str_name().trim_start_matches("CAMPAIGN_STATE_").to_lowercase();
    let message = match view::reasons(&campaign.not_sending_reasons).join(", ").as_str() {
        "" => format!("{id} is {state}"),
        reasons => format!("{id} is {state}; nothing can be sent now: {reasons}"),
    };
    target.show_one(&campaign, &message)
}

/// Removes the owner of a campaign.
pub async fn orphan(target: &Target, name: String) -> anyhow::Result<Exit> {
    let mut client = target.service.campaigns();
    let campaign = target.service.get_campaign(name.clone()).await?;
    let Some(owner) = campaign.owner.clone() else {
        let message = format!("{} has no owner", view::id(&name));
        return target.show_one(&campaign, &message);
    };
    let request = pb::OrphanCampaignRequest { name, owner_uid: owner.uid, pause: false };
    let campaign = target.service.call(request, async |request| client.orphan_campaign(request).await).await?;
    let message = format!(
        "{} is no longer managed by the Kubernetes resource {}; if that still exists, its controller takes the campaign back",
        view::id(&campaign.name),
        owner.resource
    );
    target.show_one(&campaign, &message)
}
