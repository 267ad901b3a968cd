//! Pauses a campaign as a person does, by `kubectl edit`, and proves that no claim is granted from the confirmation on.
//!
//! Three witnesses: the senders, which keep asking and log every claim; our own claimer, which must be told that the
//! campaign is paused; and the reservations in the database, which every grant increases.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use campaign_metrics::pb::{ClaimSendsRequest, NotSendingReason};
use jiff::Timestamp;

use crate::{
    senders,
    stage::{NAMESPACE, Stage},
    view::View,
};

/// The campaign that is paused. Its account serves no other, so that nothing else can answer for it.
pub const CAMPAIGN: &str = "product-news";
const ACCOUNT: &str = "carla";

/// How long nothing may be granted: the senders ask several times a second.
const HOLD: Duration = Duration::from_secs(6);

/// Changes the state in the spec, and nothing in the status.
const EDITOR: &str = r"sed -i '/^spec:/,/^status:/s/^  state: Active$/  state: Paused/'";

/// Pauses, proves, resumes.
pub async fn prove(stage: &Stage, view: &View) -> Result<()> {
    view.say(&format!("\nkubectl edit campaign {CAMPAIGN}: state Active -> Paused; waiting for status.state"));
    let edited = Instant::now();
    stage.kubectl_with(&["edit", "campaign", CAMPAIGN], "EDITOR", EDITOR).await?.success()?;
    confirmed(stage, "Paused").await?;
    let confirmed_at = Timestamp::now();
    let reserved = reserved(stage).await?;
    view.say(&format!(
        "Paused is confirmed after {:.1} s; for {} s nothing may be granted",
        edited.elapsed().as_secs_f64(),
        HOLD.as_secs()
    ));

    let until = Instant::now() + HOLD;
    let mut asked = 0;
    let mut second = tokio::time::interval(Duration::from_secs(1));
    while Instant::now() < until {
        second.tick().await;
        refused(stage).await?;
        asked += 1;
    }
    let name = format!("workspaces/{NAMESPACE}/campaigns/{CAMPAIGN}");
    let claims = senders::granted(stage)?;
    let later = claims.iter().find(|claim| claim.campaign == name && claim.asked > confirmed_at);
    ensure!(later.is_none(), "a sender got a claim after the pause was confirmed at {confirmed_at}: {later:?}");
    let others = claims.iter().filter(|claim| claim.campaign != name && claim.asked > confirmed_at).count();
    ensure!(others > 0, "the senders got no claim of any campaign during the pause, so they prove nothing");
    let reserved_later = self::reserved(stage).await?;
    ensure!(reserved_later <= reserved, "the database reserved {reserved_later} sends, {reserved} at the confirmation");
    view.say(&format!(
        "Proved: no claim of {CAMPAIGN} since {confirmed_at}, while the senders got {others} of other campaigns,\n\
         {asked} claims of our own were refused as PAUSED, and the reservations in Postgres stood at {reserved}"
    ));

    let resume = r#"{"spec": {"state": "Active"}}"#;
    let patch = ["patch", "campaign", CAMPAIGN, "--type=merge", "--patch", resume];
    stage.kubectl(&patch).await?.success()?;
    confirmed(stage, "Active").await?;
    view.say(&format!("Resumed {CAMPAIGN} by kubectl patch"));
    Ok(())
}

async fn confirmed(stage: &Stage, wanted: &str) -> Result<()> {
    let path = format!("--for=jsonpath={{.status.state}}={wanted}");
    let campaign = format!("campaign/{CAMPAIGN}");
    stage.kubectl(&["wait", &campaign, &path, "--timeout=20s"]).await?.success()?;
    Ok(())
}

/// Asks for claims. The answer must be the reason and no claim.
async fn refused(stage: &Stage) -> Result<()> {
    let request = ClaimSendsRequest {
        account: format!("workspaces/{NAMESPACE}/accounts/{ACCOUNT}"),
        max_claims: 10,
        ..Default::default()
    };
    let answer = stage.sending.clone().claim_sends(request).await?.into_inner();
    let granted = answer.claims.len();
    ensure!(granted == 0, "{granted} claims of {CAMPAIGN} were granted to {ACCOUNT} while it is paused");
    let paused = |reasons: &[i32]| reasons.contains(&NotSendingReason::Paused.into());
    let said = answer.not_sending.iter().any(|why| paused(&why.reasons));
    ensure!(said, "the answer does not say that {CAMPAIGN} is paused: {:?}", answer.not_sending);
    Ok(())
}

/// Sends of the campaign that were ever reserved, less those released; every grant adds to it in its transaction.
async fn reserved(stage: &Stage) -> Result<i64> {
    let row = stage
        .sql()
        .await?
        .query_one(
            "SELECT sum(reserved)::int8 FROM campaign_reservations JOIN campaigns USING (workspace_id, campaign_id)
             WHERE campaigns.name = $1",
            &[&CAMPAIGN],
        )
        .await?;
    row.get::<_, Option<i64>>(0).context("nothing was sent before the pause")
}
