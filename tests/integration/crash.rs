//! Kills real processes at random moments under load. No acknowledged write is lost, no step is granted twice, every
//! snapshot adds up, and afterwards every campaign finishes.
//!
//! `CRASH_ROUNDS` sets the number of rounds (50), `CRASH_SEED` repeats the choices of a run. The exact instant of a
//! kill is not repeatable.

#[path = "crash/check.rs"]
mod check;
#[path = "crash/ledger.rs"]
mod ledger;
#[path = "crash/person.rs"]
mod person;
#[path = "crash/play.rs"]
mod play;
#[path = "crash/prober.rs"]
mod prober;
#[path = "crash/replicas.rs"]
mod replicas;
#[path = "crash/sender.rs"]
mod sender;
#[path = "crash/stage.rs"]
mod stage;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use campaign_metrics::pb::{self, CampaignState, OutcomeVerdict};
use futures::future::try_join_all;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

use self::{
    ledger::{Grant, Ledger, Reader, Record},
    play::Play,
    prober::Looks,
    replicas::{Replicas, request},
    sender::Orders,
    stage::{RECOVERY_MAX, Stage, Victim},
};
use crate::harness::{parts::binary, postgres::connect, run, wait::until};

/// The name of this test for the test runner, also in the processes that it starts.
const TEST: &str = "crash::no_acknowledged_write_is_lost_and_no_step_is_granted_twice_when_processes_are_killed";
const WORKSPACE: &str = "workspaces/crash";
/// Rounds of a run of the whole suite: a minute.
const ROUNDS: usize = 50;
/// Leads of a campaign for each round: more than a round can send to, so that the load does not end early.
const LEADS_PER_ROUND: usize = 120;
const LEADS_MIN: usize = 1_000;
/// Time for all campaigns to finish after the last kill.
const END_MAX: Duration = Duration::from_mins(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_write_is_lost_and_no_step_is_granted_twice_when_processes_are_killed() {
    if let Some(orders) = Orders::of_this_process() {
        return sender::run(orders).await.expect("a sender");
    }
    let of_environment = |name| std::env::var(name).ok().map(|value| value.parse().expect("a number"));
    let rounds = of_environment("CRASH_ROUNDS").map_or(ROUNDS, |rounds: u64| usize::try_from(rounds).unwrap());
    let seed = of_environment("CRASH_SEED").unwrap_or_else(|| rand::random::<u32>().into());
    println!("CRASH_SEED={seed} CRASH_ROUNDS={rounds}");
    let mut stage = Stage::start(&accounts(), seed).await.expect("the processes start");
    if let Err(error) = Box::pin(run(&mut stage, seed, rounds)).await {
        panic!("CRASH_SEED={seed}: {error:#}\nlogs of the service:\n{}", stage.logs());
    }
}

fn accounts() -> Vec<String> {
    ["ann", "bob", "eve"].map(|id| format!("{WORKSPACE}/accounts/{id}")).into()
}

/// The campaigns: with follow-ups, with daily limits, and with the policy `retry`.
const CAMPAIGNS: [&str; 3] = ["steps", "limits", "retry"];

fn campaigns() -> Vec<String> {
    CAMPAIGNS.map(|id| format!("{WORKSPACE}/campaigns/{id}")).into()
}

async fn run(stage: &mut Stage, seed: u64, rounds: usize) -> Result<()> {
    let replicas = Replicas::at(stage.urls())?;
    create(&replicas, LEADS_MIN.max(rounds * LEADS_PER_ROUND), rounds).await?;
    let mut reader = Reader::default();
    stage.sender_ledgers().for_each(|path| reader.add(path));
    let (person, finisher) = (stage.ledger_path("person"), stage.ledger_path("finisher"));
    reader.add(person.clone());
    reader.add(finisher.clone());
    stage.start_senders()?;
    let (url, campaigns, accounts) = (stage.database_url(), campaigns(), accounts());
    let mut looks = Looks::default();
    let play = Play { seed };
    {
        let probing = prober::run(&url, &replicas, &campaigns, &mut looks);
        let looking_after = person::run(&replicas, &person, &accounts, play);
        let killing = async {
            kill(stage, &mut reader, seed, rounds).await?;
            reader.read()?;
            let (account_limit, campaign_limit) = daily_limits(rounds)?;
            check::limits(
                &reader.records,
                &[("/accounts/eve", account_limit), ("/campaigns/limits/", campaign_limit)],
            )?;
            lift_limits(&replicas).await?;
            finish(&replicas, &finisher, play).await
        };
        tokio::select! {
            ended = probing => ended.and_then(|()| anyhow::bail!("the prober ended")),
            ended = looking_after => ended.and_then(|()| anyhow::bail!("the person ended")),
            ended = killing => ended,
        }?;
    }
    reader.read()?;
    reader.check()?;
    ensure!(looks.snapshots > rounds / 2 && looks.answers > rounds, "the prober hardly looked: {looks:?}");
    println!("{} outcomes were acknowledged; {looks:?}", reader.acknowledged());
    check::all(&reader.records, &connect(&url).await?).await?;
    let mut verify = tokio::process::Command::new(binary("campaign-metrics-service")?);
    verify.arg("verify").env("DATABASE_URL", &url);
    let recounted = run::run(verify, "").await?;
    ensure!(recounted.stdout.contains(" 0 numbers differed"), "a recount says otherwise: {recounted:?}");
    Ok(())
}

/// Daily limits of the account `eve` and of the campaign `limits`. Both are reached before the last round.
fn daily_limits(rounds: usize) -> Result<(i32, i32)> {
    Ok((i32::try_from(rounds * 5)?, i32::try_from(rounds * 20)?))
}

async fn create(replicas: &Replicas, leads: usize, rounds: usize) -> Result<()> {
    let replica = replicas.get(0);
    // Both are reached long before the last round: an account's share of its campaign, and the whole campaign.
    let (account_limit, campaign_limit) = daily_limits(rounds)?;
    for (account, limit) in [("ann", None), ("bob", None), ("eve", Some(account_limit))] {
        let account = pb::CreateAccountRequest {
            parent: WORKSPACE.into(),
            account_id: account.into(),
            account: Some(pb::Account { daily_limit: limit, ..Default::default() }),
            ..Default::default()
        };
        replicas
            .insist(0, async |replica| replica.accounts.clone().create_account(request(account.clone())).await)
            .await?;
    }
    let base = pb::Campaign {
        steps: 1,
        accounts: accounts()[..2].to_vec(),
        follow_up_delay: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
        ..Default::default()
    };
    let settings = [
        pb::Campaign { steps: 2, ..base.clone() },
        pb::Campaign { accounts: accounts(), daily_limit: Some(campaign_limit), ..base.clone() },
        pb::Campaign { claim_expiry_policy: pb::ClaimExpiryPolicy::Retry.into(), ..base },
    ];
    for (id, campaign) in CAMPAIGNS.into_iter().zip(settings) {
        let create = pb::CreateCampaignRequest {
            parent: WORKSPACE.into(),
            campaign_id: id.into(),
            campaign: Some(campaign),
            ..Default::default()
        };
        replica.campaigns.clone().create_campaign(request(create)).await?;
        let ids: Vec<_> = (0..leads).map(|lead| format!("{id}-{lead}")).collect();
        let messages: Vec<_> = ids
            .chunks(5_000)
            .map(|ids| pb::AddLeadsRequest {
                parent: format!("{WORKSPACE}/campaigns/{id}"),
                leads: ids.iter().map(|id| pb::NewLead { lead_id: id.clone(), ..Default::default() }).collect(),
                lead_list_complete: false,
            })
            .collect();
        replica.leads.clone().add_leads(futures::stream::iter(complete(messages))).await?;
    }
    Ok(())
}

/// The last message says that the list is complete.
fn complete(mut messages: Vec<pb::AddLeadsRequest>) -> Vec<pb::AddLeadsRequest> {
    if let Some(last) = messages.last_mut() {
        last.lead_list_complete = true;
    }
    messages
}

/// Kills one or two processes in each round under load, and checks that the load continues.
async fn kill(stage: &mut Stage, reader: &mut Reader, seed: u64, rounds: usize) -> Result<()> {
    let mut random = StdRng::seed_from_u64(seed);
    for round in 0..rounds {
        progress(stage, reader, random.random_range(20..150)).await.with_context(|| format!("before round {round}"))?;
        let mut victims: Vec<Victim> = Vec::new();
        for _ in 0..if random.random_bool(0.2) { 2 } else { 1 } {
            let kinds = Stage::victims();
            let victim = *kinds.choose(&mut random).and_then(|kind| kind.choose(&mut random)).context("a victim")?;
            if !victims.contains(&victim) {
                victims.push(victim);
            }
        }
        for victim in &victims {
            stage.kill(*victim).await?;
        }
        for victim in &victims {
            stage.start_again(*victim).await?;
        }
        progress(stage, reader, 20).await.with_context(|| format!("after round {round}, that killed {victims:?}"))?;
    }
    for victim in &Stage::victims()[1] {
        stage.kill(*victim).await?;
    }
    Ok(())
}

/// Waits until so many more outcomes were acknowledged.
async fn progress(stage: &mut Stage, reader: &mut Reader, more: usize) -> Result<()> {
    reader.read()?;
    let goal = reader.acknowledged() + more;
    until("the load goes on", RECOVERY_MAX, async || {
        reader.read()?;
        reader.check()?;
        stage.check()?;
        ensure!(reader.acknowledged() >= goal, "{} of {goal} outcomes were acknowledged", reader.acknowledged());
        Ok(())
    })
    .await
}

/// Removes the limits, so that the remaining leads can be sent to.
async fn lift_limits(replicas: &Replicas) -> Result<()> {
    let mask = Some(prost_types::FieldMask { paths: vec!["daily_limit".into()] });
    let account = pb::UpdateAccountRequest {
        account: Some(pb::Account { name: format!("{WORKSPACE}/accounts/eve"), ..Default::default() }),
        update_mask: mask.clone(),
    };
    replicas.insist(0, async |replica| replica.accounts.clone().update_account(request(account.clone())).await).await?;
    let campaign = pb::UpdateCampaignRequest {
        campaign: Some(pb::Campaign { name: format!("{WORKSPACE}/campaigns/limits"), ..Default::default() }),
        update_mask: mask,
    };
    replicas
        .insist(0, async |replica| replica.campaigns.clone().update_campaign(request(campaign.clone())).await)
        .await?;
    Ok(())
}

/// Sends the rest until every campaign has finished by itself and no claim is open.
async fn finish(replicas: &Replicas, ledger: &std::path::Path, play: Play) -> Result<()> {
    let ledger = Ledger::open(ledger)?;
    let accounts = accounts();
    until("every campaign finishes", END_MAX, async || {
        try_join_all(accounts.iter().map(|account| send_rest(replicas, &ledger, account, play))).await?;
        for name in campaigns() {
            let get = pb::GetCampaignRequest { name: name.clone() };
            let campaign = replicas
                .insist(0, async |replica| replica.campaigns.clone().get_campaign(request(get.clone())).await)
                .await?;
            ensure!(campaign.state() == CampaignState::Finished, "{name} has not finished: {:?}", campaign.lead_counts);
            let open = campaign.in_flight_claims + campaign.uncertain_claims;
            ensure!(open == 0, "{name} has {open} claims open");
        }
        Ok(())
    })
    .await
}

async fn send_rest(replicas: &Replicas, ledger: &Ledger, account: &str, play: Play) -> Result<()> {
    loop {
        let ask = pb::ClaimSendsRequest { account: account.to_owned(), max_claims: 500, ..Default::default() };
        let claims = replicas
            .insist(1, async |replica| replica.sending.clone().claim_sends(request(ask.clone())).await)
            .await?
            .claims;
        if claims.is_empty() {
            return Ok(());
        }
        let grants: Vec<Grant> = claims.iter().map(Grant::from).collect();
        ledger.write(&Record::Granted {
            request_id: String::new(),
            grants: grants.clone(),
            not_sending: Vec::new(),
            at: jiff::Timestamp::now(),
        });
        let (facts, outcomes): (Vec<_>, Vec<_>) = grants
            .iter()
            .flat_map(|grant| play.facts(grant).into_iter().map(move |fact| sender::outcome(grant, fact)))
            .unzip();
        ledger.write(&Record::Reporting { facts: facts.clone() });
        let report = pb::ReportOutcomesRequest { parent: WORKSPACE.into(), outcomes };
        let results = replicas
            .insist(0, async |replica| replica.sending.clone().report_outcomes(request(report.clone())).await)
            .await?
            .results;
        ensure!(results.iter().all(|result| result.verdict() != OutcomeVerdict::Rejected), "{results:?}");
        let verdicts = facts.into_iter().zip(results).map(|(fact, result)| (fact, result.verdict));
        ledger.write(&Record::Acknowledged { verdicts: verdicts.collect(), by_stream: false });
    }
}
