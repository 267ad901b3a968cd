//! The comparison of the four views of every count, as the demo shows it: see [`crate::harness::compare`].

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{
    Colour,
    examples::CAMPAIGNS,
    harness::{
        compare::{HEADS, Views, cell, names},
        gauges::Page,
        http,
        recount::Counts,
    },
    paint,
    stage::Stage,
    view,
};

/// How long views may differ: three times the delay of counts in the status.
const SETTLE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The views of all campaigns, each by its id.
pub struct Comparison(Vec<(String, Views)>);

impl Comparison {
    /// Repeats until all views agree or the time is over.
    pub async fn agreed(stage: &Stage) -> Result<Self> {
        let begun = Instant::now();
        let mut interval = tokio::time::interval(LOOK_EVERY);
        loop {
            interval.tick().await;
            let comparison = Self(look(stage).await?);
            if comparison.verdict().is_ok() || begun.elapsed() >= SETTLE {
                return Ok(comparison);
            }
        }
    }

    /// An error that names the campaigns whose views differ.
    pub fn verdict(&self) -> Result<()> {
        let differ = self.0.iter().filter(|(_, views)| !views.differences().is_empty());
        let differ: Vec<&str> = differ.map(|(campaign, _)| campaign.as_str()).collect();
        ensure!(differ.is_empty(), "after {} s the views still differ for {}", SETTLE.as_secs(), differ.join(", "));
        Ok(())
    }

    /// The comparison for people.
    pub fn table(&self) -> String {
        let mut lines: Vec<String> = self.0.iter().flat_map(|(campaign, views)| table(campaign, views)).collect();
        let values: usize = self.0.iter().flat_map(|(_, Views(views))| views).map(Counts::len).sum();
        lines.push(format!("\nCompared: {values} values of {} campaigns\n", self.0.len()));
        lines.join("\n")
    }
}

fn table(campaign: &str, views: &Views) -> Vec<String> {
    let heads = HEADS.map(|head| format!("{head:>10}")).concat();
    let campaign = paint(&format!("{campaign:24}"), Colour::Bold);
    let mut lines = vec![format!("\n{campaign}{heads}")];
    for name in names() {
        let cells: Vec<String> = views.0.iter().map(|counts| format!("{:>10}", cell(counts, name))).collect();
        let line = format!("  {:22}{}", name.replace('_', " "), cells.concat());
        lines.push(if views.differs(name) { paint(&format!("{line}  differs"), Colour::Red) } else { line });
    }
    lines
}

async fn look(stage: &Stage) -> Result<Vec<(String, Views)>> {
    let sql = stage.sql().await?;
    let campaigns = stage.list().await?;
    let page = Page::parse(&http::get(&format!("{}/metrics", stage.admin_url)).await?.1)?;
    let resources = stage.kubectl(&["get", "campaigns", "-o", "json"]).await?.success()?;
    let resources: Value = serde_json::from_str(&resources)?;
    let items = resources["items"].as_array().context("kubectl gives a list")?;
    let mut all = Vec::new();
    for id in CAMPAIGNS {
        let campaign = campaigns.iter().find(|campaign| view::id(campaign) == id);
        let campaign = campaign.with_context(|| format!("the service has no campaign {id}"))?;
        let resource = items.iter().find(|item| item["metadata"]["name"] == id);
        let resource = resource.with_context(|| format!("campaign {id} has no resource"))?;
        all.push((id.to_owned(), Views::look(&sql, campaign, &page, &resource["status"]).await?));
    }
    Ok(all)
}
