//! Compares four independent views of every count: the API, the rows of leads in Postgres counted anew in Rust, the
//! gauges, and the status of the Kubernetes resource.
//!
//! The first two are exact at once; gauges are read at the scrape and the status follows within seconds, so a
//! difference is one only if it lasts.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use campaign_metrics::{
    lead::{Fact, Facts},
    pb,
};
use serde_json::Value;

use crate::{
    Colour,
    examples::CAMPAIGNS,
    harness::{
        http,
        recount::{Counts, LEADS, MESSAGES, of_api, recount},
    },
    paint,
    stage::{NAMESPACE, Stage},
    view,
};

/// How long views may differ: three times as long as counts may take into the status.
const SETTLE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Counts of leads that replied or converted and have a delivered message: what the rates are made of.
const OF_CONTACTED: [&str; 2] = ["contacted_replied", "contacted_converted"];

/// The views of one campaign: API, recount, gauges, resource.
struct Views {
    campaign: String,
    views: [Counts; 4],
}

/// The views of all campaigns.
pub struct Comparison(Vec<Views>);

impl Comparison {
    /// Looks until all views agree, or have had the time to.
    pub async fn settled(stage: &Stage) -> Result<Self> {
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
        let differ = self.0.iter().filter(|views| !views.agree());
        let differ: Vec<&str> = differ.map(|views| views.campaign.as_str()).collect();
        ensure!(differ.is_empty(), "after {} s the views still differ for {}", SETTLE.as_secs(), differ.join(", "));
        Ok(())
    }

    /// The comparison for people.
    pub fn table(&self) -> String {
        let mut lines: Vec<String> = self.0.iter().flat_map(Views::lines).collect();
        let values: usize = self.0.iter().flat_map(|views| &views.views).map(Counts::len).sum();
        lines.push(format!("\nCompared: {values} values of {} campaigns\n", self.0.len()));
        lines.join("\n")
    }
}

impl Views {
    fn agree(&self) -> bool {
        names().all(|name| !self.differs(name))
    }

    fn differs(&self, name: &str) -> bool {
        let mut told = self.views.iter().filter_map(|counts| counts.get(name));
        let first = told.next();
        told.any(|other| Some(other) != first)
    }

    fn lines(&self) -> Vec<String> {
        let heads = ["API", "recount", "gauges", "resource"].map(|head| format!("{head:>10}")).concat();
        let campaign = paint(&format!("{:24}", self.campaign), Colour::Bold);
        let mut lines = vec![format!("\n{campaign}{heads}")];
        for name in names() {
            let cells: Vec<String> = self.views.iter().map(|counts| format!("{:>10}", cell(counts, name))).collect();
            let line = format!("  {:22}{}", name.replace('_', " "), cells.concat());
            lines.push(if self.differs(name) { paint(&format!("{line}  differs"), Colour::Red) } else { line });
        }
        lines
    }
}

fn names() -> impl Iterator<Item = &'static str> {
    LEADS.into_iter().chain(MESSAGES).chain(OF_CONTACTED)
}

async fn look(stage: &Stage) -> Result<Vec<Views>> {
    let sql = stage.sql().await?;
    let campaigns = stage.list().await?;
    let metrics = http::get(&format!("{}/metrics", stage.admin_url)).await?.1;
    let resources = stage.kubectl(&["get", "campaigns", "-o", "json"]).await?.success()?;
    let resources: Value = serde_json::from_str(&resources)?;
    let mut all = Vec::new();
    for id in CAMPAIGNS {
        let campaign = campaigns.iter().find(|campaign| view::id(campaign) == id);
        let campaign = campaign.with_context(|| format!("the service has no campaign {id}"))?;
        let mut recounted = recount(&sql, &campaign.name).await?;
        let masks = "SELECT mask FROM leads JOIN campaigns c USING (workspace_id, campaign_id)
            JOIN workspaces w USING (workspace_id) WHERE w.name = $1 AND c.name = $2";
        let masks = sql.query(masks, &[&NAMESPACE, &id]).await?;
        let facts: Vec<Facts> = masks.iter().map(|row| Facts(row.get(0))).collect();
        for (name, fact) in OF_CONTACTED.into_iter().zip([Fact::Replied, Fact::Converted]) {
            let count = facts.iter().filter(|facts| facts.is_contacted() && facts.has(fact)).count();
            recounted.insert(name, count.try_into()?);
        }
        let items = resources["items"].as_array().context("kubectl gives a list")?;
        let resource = items.iter().find(|item| item["metadata"]["name"] == id);
        let resource = resource.with_context(|| format!("campaign {id} has no resource"))?;
        all.push(Views {
            campaign: id.to_owned(),
            views: [api(campaign), recounted, gauges(&metrics, id)?, of_resource(&resource["status"])],
        });
    }
    Ok(all)
}

fn api(campaign: &pb::Campaign) -> Counts {
    let mut counts = of_api(campaign);
    for (name, rate) in OF_CONTACTED.into_iter().zip([campaign.response_rate, campaign.conversion_rate]) {
        counts.insert(name, rate.unwrap_or_default().numerator);
    }
    counts
}

/// The gauges of a campaign on a metrics page.
fn gauges(page: &str, campaign: &str) -> Result<Counts> {
    let mut counts = Counts::new();
    for name in names() {
        let count = match name {
            "total" => continue,
            "sent" | "failed" | "pending" | "partial" => gauge(page, campaign, "leads", &format!("status=\"{name}\""))?,
            "delivered_messages" => gauge(page, campaign, "messages", "outcome=\"delivered\"")?,
            "failed_messages" => gauge(page, campaign, "messages", "outcome=\"failed\"")?,
            "bounced_messages" => gauge(page, campaign, "messages", "outcome=\"bounced\"")?,
            "contacted" => gauge(page, campaign, "contacted_leads", "")?,
            "contacted_replied" => gauge(page, campaign, "replied_leads", "")?,
            "contacted_converted" => gauge(page, campaign, "converted_leads", "")?,
            fact @ ("replied" | "converted" | "auto_replied" | "opted_out") => {
                gauge(page, campaign, "lead_facts", &format!("fact=\"{fact}\""))?
            }
            reason => gauge(page, campaign, "failed_messages", &format!("reason=\"{reason}\""))?,
        };
        counts.insert(name, count);
    }
    // No gauge of its own: the statuses add up to it.
    counts.insert("total", LEADS[1..].iter().map(|name| counts[name]).sum());
    Ok(counts)
}

fn gauge(page: &str, campaign: &str, name: &str, label: &str) -> Result<i64> {
    let start = format!("campaign_metrics_campaign_{name}{{");
    let (workspace, id) = (format!("workspace=\"{NAMESPACE}\""), format!("campaign=\"{campaign}\""));
    let found = page.lines().find_map(|line| {
        let (labels, value) = line.strip_prefix(&start)?.split_once("} ")?;
        [workspace.as_str(), &id, label].iter().all(|wanted| labels.contains(wanted)).then_some(value)
    });
    let value = found.with_context(|| format!("no gauge {start}{id},{label}}} in /metrics"))?;
    Ok(value.parse()?)
}

/// The counts of a resource; one that its status should have and has not is a difference.
fn of_resource(status: &Value) -> Counts {
    let mut counts = Counts::new();
    for name in names() {
        let value = match name {
            "delivered_messages" => &status["messages"]["delivered"],
            "failed_messages" => &status["messages"]["failed"],
            "bounced_messages" => &status["messages"]["bounced"],
            "contacted" => &status["response"]["denominator"],
            "contacted_replied" => &status["response"]["numerator"],
            "contacted_converted" => &status["conversion"]["numerator"],
            "account_issue" => &status["messages"]["failures"]["accountIssue"],
            "invalid_lead" => &status["messages"]["failures"]["invalidLead"],
            "rate_limited" => &status["messages"]["failures"]["rateLimited"],
            "content_rejected" => &status["messages"]["failures"]["contentRejected"],
            "other" => &status["messages"]["failures"]["other"],
            "replied" | "converted" => &status["leadFacts"][name],
            "auto_replied" => &status["leadFacts"]["autoReplied"],
            "opted_out" => &status["leadFacts"]["optedOut"],
            lead_status => &status["counts"][lead_status],
        };
        counts.insert(name, value.as_i64().unwrap_or(-1));
    }
    counts
}

fn cell(counts: &Counts, name: &str) -> String {
    match counts.get(name) {
        None => "-".to_owned(),
        Some(-1) => "absent".to_owned(),
        Some(count) => count.to_string(),
    }
}
