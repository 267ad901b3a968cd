//! The script of the demo: unattended with a proof in so many seconds, or for people to watch and try.

use std::{
    convert::Infallible,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use campaign_metrics::pb::{self, CampaignState, FinishReason};
use tokio::sync::watch;

use crate::{
    Colour,
    compare::Comparison,
    paint, pause, senders,
    stage::Stage,
    view::{self, View},
};

/// Between two looks at the campaigns.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Duration for people: long enough to pause something in a second terminal.
const WATCHED: Duration = Duration::from_mins(4);
/// Seconds for the end: last reports, comparison, stop.
const END: Duration = Duration::from_secs(8);
/// Share of the time in which everything is sent at the intended pace. The rest is for the follow-up delay and the end
/// of the paused campaign; during its pause the senders are busy with the others.
const SENDING_SHARE: f64 = 0.85;
/// Share of its leads that the campaign has contacted when it is paused.
const PAUSED_AT: f64 = 0.3;

/// Runs the proof, in about `seconds` from `begun`; the campaigns have that time from the first message on.
pub async fn unattended(stage: &Stage, begun: Instant, seconds: Duration) -> Result<()> {
    let campaigns = stage.list().await?;
    let deadline = Instant::now() + seconds;
    let left = seconds.saturating_sub(begun.elapsed() + END).max(seconds / 4);
    let rate = messages(&campaigns) / (left.as_secs_f64() * SENDING_SHARE);
    play(stage, campaigns, rate, async |view, latest| {
        view.say(&format!("Waiting until {} has sent a part, to pause it then", pause::CAMPAIGN));
        until(latest, deadline, "the campaign to pause has sent a part", part_sent).await?;
        pause::prove(stage, view).await?;
        view.say("Waiting until every campaign has finished by itself");
        until(latest, deadline, "every campaign has finished", all_finished).await?;
        view.say("\nAll have finished; waiting for the last reports of the senders");
        senders::finish(stage).await?;
        for campaign in stage.list().await? {
            let reason = campaign.finish_reason();
            ensure!(reason == FinishReason::Completed, "{} finished, but not by itself", campaign.name);
        }
        compare(stage, view).await
    })
    .await
}

/// Runs until the demo is interrupted.
pub async fn until_interrupted(stage: &Stage) -> Result<()> {
    let campaigns = stage.list().await?;
    let rate = messages(&campaigns) / WATCHED.as_secs_f64();
    play(stage, campaigns, rate, async |view, latest| {
        // People decide how long that takes.
        latest.wait_for(|campaigns| all_finished(campaigns)).await?;
        if let Err(error) = compare(stage, view).await {
            view.say(&format!("{error:#}; did somebody change campaigns meanwhile?"));
        }
        view.say("Everything runs on, for the commands above, until Ctrl-C");
        std::future::pending().await
    })
    .await
}

async fn compare(stage: &Stage, view: &View) -> Result<()> {
    view.say("Waiting until API, recount, gauges and resources say the same");
    let comparison = Comparison::agreed(stage).await?;
    view.say(&comparison.table());
    comparison.verdict()
}

/// Lets senders work and shows the campaigns for as long as the script runs.
async fn play(
    stage: &Stage,
    campaigns: Vec<pb::Campaign>,
    rate: f64,
    script: impl AsyncFnOnce(&View, &mut watch::Receiver<Vec<pb::Campaign>>) -> Result<()>,
) -> Result<()> {
    println!("\nTo try in a second terminal:\n{}\n", stage.commands()?);
    senders::start(stage, rate)?;
    println!("Senders, together at most {rate:.0} messages a second, are at work");
    let view = View::new(campaigns.len())?;
    let (look, mut latest) = watch::channel(campaigns);
    tokio::select! {
        played = script(&view, &mut latest) => played,
        failed = follow(stage, &view, &look) => failed.map(|never| match never {}),
    }
}

/// Polls and shows the campaigns. Ends when a required process does not run.
async fn follow(stage: &Stage, view: &View, look: &watch::Sender<Vec<pb::Campaign>>) -> Result<Infallible> {
    let mut interval = tokio::time::interval(LOOK_EVERY);
    loop {
        interval.tick().await;
        stage.check()?;
        let campaigns = stage.list().await?;
        view.show(&campaigns);
        look.send_replace(campaigns);
    }
}

/// Waits until the campaigns are as they should be; past the deadline says what is missing.
async fn until(
    latest: &mut watch::Receiver<Vec<pb::Campaign>>,
    deadline: Instant,
    what: &str,
    met: impl Fn(&[pb::Campaign]) -> bool,
) -> Result<()> {
    let waiting = latest.wait_for(|campaigns| met(campaigns));
    // The sender lives as long as the view, which outlives the script.
    let in_time = tokio::time::timeout_at(deadline.into(), waiting).await.is_ok();
    if in_time {
        return Ok(());
    }
    let missing: Vec<String> = latest.borrow().iter().filter(|campaign| !is_finished(campaign)).map(missing).collect();
    bail!("the seconds ran out before {what}:\n{}", missing.join("\n"))
}

/// What keeps a campaign from having finished.
fn missing(campaign: &pb::Campaign) -> String {
    let leads = campaign.lead_counts.unwrap_or_default();
    let reasons: Vec<&str> = campaign
        .not_sending_reasons()
        .map(|reason| reason.as_str_name().trim_start_matches("NOT_SENDING_REASON_"))
        .collect();
    let complete = if campaign.lead_list_complete { "" } else { ", its lead list is not complete" };
    format!(
        "  {} is {}: {} leads pending, {} partial; {} claims in flight, {} uncertain{complete}; not sending: {}",
        view::id(campaign),
        paint(view::state(campaign), Colour::Yellow),
        leads.pending,
        leads.partial,
        campaign.in_flight_claims,
        campaign.uncertain_claims,
        if reasons.is_empty() { "no reason".to_owned() } else { reasons.join(", ") },
    )
}

/// Messages there are to send at most.
fn messages(campaigns: &[pb::Campaign]) -> f64 {
    let of = |campaign: &pb::Campaign| campaign.lead_counts.unwrap_or_default().total * i64::from(campaign.steps);
    let messages: i64 = campaigns.iter().map(of).sum();
    i32::try_from(messages).unwrap_or(i32::MAX).into()
}

fn part_sent(campaigns: &[pb::Campaign]) -> bool {
    let paused = campaigns.iter().find(|campaign| view::id(campaign) == pause::CAMPAIGN);
    paused.and_then(|campaign| campaign.lead_counts).is_some_and(|leads| {
        #[expect(clippy::cast_precision_loss, reason = "a share of some hundred leads")]
        let untouched = leads.pending as f64 / leads.total as f64;
        untouched <= 1.0 - PAUSED_AT
    })
}

fn all_finished(campaigns: &[pb::Campaign]) -> bool {
    campaigns.iter().all(is_finished)
}

fn is_finished(campaign: &pb::Campaign) -> bool {
    campaign.state() == CampaignState::Finished
}
