//! API, recount, gauges and resource agree on every count. The demo shows the same comparison to people.

use std::collections::BTreeSet;

use anyhow::ensure;
use campaign_metrics::pb::{self, FailureReason as Reason, OutcomeKind as Kind};
use serde_json::{Value, json};

use crate::{
    controller::stage::{Stage, service},
    harness::{
        compare::{Views, cell, names},
        gauges::Page,
        http,
        service::Service,
        wait::{SOON, until},
    },
};

/// Collects all views of a campaign.
async fn look(stage: &Stage, service: &Service, name: &str) -> anyhow::Result<Views> {
    let page = Page::parse(&http::get(&format!("{}/metrics", service.admin_url)).await?.1)?;
    let resource = stage.kubectl(&["get", "campaign", name, "-o", "json"]).await.success()?;
    let resource: Value = serde_json::from_str(&resource)?;
    let sql = service.sql().await;
    Views::look(&sql, &stage.campaign(service, name).await?, &page, &resource["status"]).await
}

/// The outcomes of a lead, with step and reason.
type Story = &'static [(Kind, i32, Reason)];

/// How many leads of two steps have each of these outcomes; the rest stays pending. All resulting counts differ.
const STORIES: [(usize, Story); 14] = {
    const NONE: Reason = Reason::Unspecified;
    [
        (11, &[(Kind::Delivered, 1, NONE)]),
        (7, &[(Kind::Delivered, 1, NONE), (Kind::Delivered, 2, NONE)]),
        (5, &[(Kind::Delivered, 1, NONE), (Kind::Replied, 0, NONE)]),
        (3, &[(Kind::Delivered, 1, NONE), (Kind::Converted, 0, NONE)]),
        (5, &[(Kind::Replied, 0, NONE)]),
        (10, &[(Kind::Converted, 0, NONE)]),
        (1, &[(Kind::Failed, 1, Reason::AccountIssue)]),
        (2, &[(Kind::Failed, 1, Reason::InvalidLead)]),
        (4, &[(Kind::Failed, 1, Reason::RateLimited)]),
        (6, &[(Kind::Bounced, 1, Reason::ContentRejected)]),
        (9, &[(Kind::Bounced, 1, Reason::Other)]),
        (8, &[(Kind::Delivered, 1, NONE), (Kind::AutoReplied, 0, NONE)]),
        (12, &[(Kind::OptedOut, 0, NONE)]),
        (2, &[(Kind::Delivered, 1, NONE), (Kind::OptedOut, 0, NONE)]),
    ]
};

#[tokio::test]
async fn api_recount_gauges_and_resource_agree_in_every_count() {
    let service = service().await;
    let stage = Stage::start(&service.url).await;
    stage.account(&service, "ann").await;
    for name in ["spring", "summer"] {
        stage.apply(name, &json!({"accounts": ["ann"], "steps": 2})).await;
        stage.synced(name).await;
    }
    stage.leads(&service, "summer", 3, false).await;
    let happened: usize = STORIES.iter().map(|(count, _)| count).sum();
    stage.leads(&service, "spring", happened + 27, false).await;
    let mut outcomes = Vec::new();
    let stories = STORIES.iter().flat_map(|(count, story)| std::iter::repeat_n(story, *count));
    for (lead, story) in stories.enumerate() {
        let lead = format!("{}/leads/l{lead}", stage.campaign_name("spring"));
        outcomes.extend(story.iter().map(|(kind, step, reason)| pb::Outcome {
            lead: lead.clone(),
            step: *step,
            kind: (*kind).into(),
            reason: (*reason).into(),
            ..Default::default()
        }));
    }
    stage.report(&service, outcomes).await;
    let mut seen = Vec::new();
    let agree = async || {
        let views = look(&stage, &service, "spring").await?;
        let differences = views.differences();
        ensure!(differences.is_empty(), "the views differ:\n{}", differences.join("\n"));
        Ok(views)
    };
    let Views([api, ..]) = until("all views to agree", SOON, agree).await.unwrap();
    seen.extend(names().map(|name| cell(&api, name)));
    let different: BTreeSet<_> = seen.iter().collect();
    assert_eq!(different.len(), seen.len(), "counts are alike, so that a swap would not show: {seen:?}");

    let other = look(&stage, &service, "summer").await.unwrap();
    assert_eq!(other.0.map(|counts| cell(&counts, "total")), ["3"; 4], "each campaign has its own");
}

#[tokio::test]
async fn a_view_that_differs_or_lacks_a_count_is_reported() {
    let counts: std::collections::BTreeMap<_, _> = names().zip(1..).collect();
    let mut views = Views([counts.clone(), counts.clone(), counts.clone(), counts]);
    assert_eq!(views.differences(), [""; 0]);
    views.0[2].insert("replied", 99);
    views.0[3].remove("converted");
    let told = views.differences().join("\n");
    for says in ["replied: API 15, recount 15, gauges 99, resource 15", "gauges 16, resource absent"] {
        assert!(told.contains(says), "`{says}` is told: {told}");
    }
}
