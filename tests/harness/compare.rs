//! Compares four independent views of every count of a campaign: the API, a recount of the lead rows in Rust, the
//! gauges, and the status of the Kubernetes resource.
//!
//! The first two are exact at any moment. Gauges and the status lag by seconds, so only a difference that lasts counts.

use anyhow::Result;
use campaign_metrics::pb;
use serde_json::Value;
use tokio_postgres::Client;

use super::{
    gauges::{Page, series},
    recount::{Counts, LEADS, MESSAGES, of_api, recount},
};

/// Names of the views, in their order.
pub const HEADS: [&str; 4] = ["API", "recount", "gauges", "resource"];

/// The views of one campaign, in the order of [`HEADS`].
#[derive(Debug)]
pub struct Views(pub [Counts; 4]);

impl Views {
    /// Collects the views of a campaign from an API answer, the database, a page of metrics and a status.
    pub async fn look(sql: &Client, campaign: &pb::Campaign, page: &Page, status: &Value) -> Result<Self> {
        let recounted = recount(sql, &campaign.name).await?;
        Ok(Self([of_api(campaign), recounted, of_gauges(page, &campaign.name), of_resource(status)]))
    }

    /// Returns whether the views differ in a count. A view without the count differs.
    pub fn differs(&self, name: &str) -> bool {
        let [first, others @ ..] = &self.0;
        others.iter().any(|other| other.get(name) != first.get(name) || !other.contains_key(name))
    }

    /// Returns every count in which the views differ, with the value of each view.
    pub fn differences(&self) -> Vec<String> {
        let told = |name| HEADS.iter().zip(&self.0).map(move |(head, counts)| format!("{head} {}", cell(counts, name)));
        names()
            .filter(|name| self.differs(name))
            .map(|name| format!("{name}: {}", told(name).collect::<Vec<_>>().join(", ")))
            .collect()
    }
}

/// The counts that are compared.
pub fn names() -> impl Iterator<Item = &'static str> {
    LEADS.into_iter().chain(MESSAGES)
}

/// Formats a count for people.
pub fn cell(counts: &Counts, name: &str) -> String {
    counts.get(name).map_or_else(|| "absent".to_owned(), i64::to_string)
}

/// Returns the gauges of a campaign, given its resource name. A missing gauge is a missing count.
fn of_gauges(page: &Page, campaign: &str) -> Counts {
    let mut parts = campaign.split('/').skip(1).step_by(2);
    let (workspace, id) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let gauge = |name: &str, label: Option<(&str, &str)>| {
        let labels: Vec<_> = [("workspace", workspace), ("campaign", id)].into_iter().chain(label).collect();
        let value = page.values.get(&series(&format!("campaign_{name}"), &labels))?;
        value.to_string().parse::<i64>().ok()
    };
    let mut counts = Counts::new();
    for name in names() {
        let count = match name {
            // It has no gauge: it is the sum of the statuses.
            "total" => LEADS[1..].iter().map(|name| gauge("leads", Some(("status", name)))).sum(),
            "sent" | "failed" | "pending" | "partial" => gauge("leads", Some(("status", name))),
            "delivered_messages" | "failed_messages" | "bounced_messages" => {
                gauge("messages", Some(("outcome", name.trim_end_matches("_messages"))))
            }
            "contacted" => gauge("contacted_leads", None),
            "contacted_replied" => gauge("replied_leads", None),
            "contacted_converted" => gauge("converted_leads", None),
            "replied" | "converted" | "auto_replied" | "opted_out" => gauge("lead_facts", Some(("fact", name))),
            reason => gauge("failed_messages", Some(("reason", reason))),
        };
        counts.extend(count.map(|count| (name, count)));
    }
    counts
}

/// Returns the counts in a resource's status. An absent field is a missing count.
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
        counts.extend(value.as_i64().map(|count| (name, count)));
    }
    counts
}
