//! Random facts whose log is dropped part by part: the recount agrees with what is stored after each.

use campaign_metrics::pb::{self, OutcomeKind};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};

use super::{QUARTER, ago, campaign_history, verify};
use crate::{
    harness::{recount::assert_counts, service::Service},
    world::{campaign_name, create_account, create_campaign, get, report_new, settings, try_add},
};
use campaign_metrics_service::store::VerifyMode;

/// Facts of leads in any order, each in the part of the log that is current then. Parts are dropped one after the other.
#[tokio::test]
async fn a_recount_agrees_whichever_facts_of_a_lead_were_dropped_with_their_partition() {
    const FACTS: [(i32, OutcomeKind); 8] = [
        (1, OutcomeKind::Delivered),
        (2, OutcomeKind::Delivered),
        (1, OutcomeKind::Bounced),
        (2, OutcomeKind::Bounced),
        (1, OutcomeKind::Failed),
        (2, OutcomeKind::Failed),
        (0, OutcomeKind::Replied),
        (0, OutcomeKind::Converted),
    ];
    const LEADS: usize = 120;
    const PARTS: usize = 3;
    let seed: u64 = rand::random();
    let mut random = StdRng::seed_from_u64(seed);
    let service = Service::start().await;
    for account in ["ann", "bob"] {
        create_account(&service, account, None).await;
    }
    create_campaign(&service, "spring", settings(2, &["ann", "bob"])).await;
    let leads = (0..LEADS).map(|number| pb::NewLead {
        lead_id: format!("l{number}"),
        account_id: ["ann", "bob", ""][number % 3].to_owned(),
    });
    try_add(&service, "spring", leads.collect(), false).await.expect("leads");
    // For each lead its facts in the order of their arrival, with the part of the log that takes them.
    let stories: Vec<Vec<(usize, (i32, OutcomeKind))>> = (0..LEADS)
        .map(|_| {
            let mut facts = FACTS.to_vec();
            facts.shuffle(&mut random);
            facts.truncate(random.random_range(2..=FACTS.len()));
            let mut parts: Vec<usize> = facts.iter().map(|_| random.random_range(0..PARTS)).collect();
            parts.sort_unstable();
            parts.into_iter().zip(facts).collect()
        })
        .collect();
    let (store, sql) = (service.store(), service.sql().await);
    for part in 0..PARTS {
        store.maintain().await.unwrap();
        for place in 0..FACTS.len() {
            let now = stories.iter().enumerate().filter_map(|(lead, story)| {
                let (of, (step, kind)) = *story.get(place)?;
                (of == part).then(|| ago(random.random_range(0..900), &format!("l{lead}"), step, kind))
            });
            let report: Vec<_> = now.collect();
            if !report.is_empty() {
                report_new(&service, report).await;
            }
            assert_eq!(verify(&store, VerifyMode::Report).await, [], "part {part}, fact {place}, seed {seed}");
        }
        if part == 0 {
            assert_counts(&sql, &get(&service, "spring").await).await;
        }
        service.clock.advance(QUARTER);
        let before = campaign_history(&service, true).await;
        store.partitions_drop(31).await.unwrap();
        assert_eq!(verify(&store, VerifyMode::Report).await, [], "part {part} is gone, seed {seed}");
        assert_eq!(campaign_history(&service, true).await, before, "part {part} is gone, seed {seed}");
    }
    let request = pb::DeleteCampaignRequest { name: campaign_name("spring"), ..Default::default() };
    service.campaigns.clone().delete_campaign(request).await.unwrap();
    store.campaigns_drain().await.unwrap();
    assert_eq!(verify(&store, VerifyMode::Report).await, [], "the campaign is gone, seed {seed}");
}
