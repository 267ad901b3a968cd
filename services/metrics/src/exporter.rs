//! Business gauges: the state of campaigns and accounts, read fresh from rollups at each scrape.
//!
//! Nothing is kept between scrapes, so a deleted campaign vanishes by itself and every replica says the same. When the
//! database is down the series are left out and `campaign_metrics_collector_success` is 0.

use campaign_metrics::{
    campaign::{Campaign, CampaignState},
    lead::FailureReason,
    sending::NotSending,
};
use jiff::Timestamp;
use prometheus::{GaugeVec, IntGaugeVec, Opts, Registry, proto::MetricFamily};

use crate::store::{AccountRow, Fleet};

const CAMPAIGN: [&str; 2] = ["workspace", "campaign"];
const ACCOUNT: [&str; 2] = ["workspace", "account"];

/// The gauges of one scrape.
struct Gauges<'a> {
    registry: &'a Registry,
}

impl Gauges<'_> {
    fn whole(&self, name: &str, help: &str, base: &[&str], label: &[&str]) -> prometheus::Result<IntGaugeVec> {
        let labels: Vec<&str> = base.iter().chain(label).copied().collect();
        let gauge = IntGaugeVec::new(Opts::new(format!("campaign_metrics_{name}"), help), &labels)?;
        self.registry.register(Box::new(gauge.clone()))?;
        Ok(gauge)
    }

    fn real(&self, name: &str, help: &str) -> prometheus::Result<GaugeVec> {
        let gauge = GaugeVec::new(Opts::new(format!("campaign_metrics_{name}"), help), &CAMPAIGN)?;
        self.registry.register(Box::new(gauge.clone()))?;
        Ok(gauge)
    }
}

/// Renders the gauges of one snapshot; `None` is a database that can't be read.
pub fn gather(fleet: Option<&Fleet>) -> prometheus::Result<Vec<MetricFamily>> {
    let registry = Registry::new();
    let gauges = Gauges { registry: &registry };
    let success =
        gauges.whole("collector_success", "Whether the state of campaigns could be read: 1 or 0.", &[], &[])?;
    success.with_label_values::<&str>(&[]).set(i64::from(fleet.is_some()));
    if let Some(fleet) = fleet {
        let omitted = "Campaigns left out of the other series, because there are more than --metrics-max-campaigns.";
        gauges.whole("campaigns_omitted", omitted, &[], &[])?.with_label_values::<&str>(&[]).set(fleet.omitted);
        campaign_counts(&gauges, &fleet.campaigns)?;
        campaign_states(&gauges, &fleet.campaigns)?;
        account_gauges(&gauges, &fleet.accounts)?;
        if let Some(verification) = fleet.verification {
            let help = "Numbers that the latest run of `verify` found to differ from the facts, and did not repair.";
            gauges
                .whole("verify_differences", help, &[], &[])?
                .with_label_values::<&str>(&[])
                .set(verification.differences);
            let help = "When `verify` last ran, in seconds since 1970; absent before its first run.";
            let at = GaugeVec::new(Opts::new("campaign_metrics_verify_timestamp_seconds", help), &[])?;
            registry.register(Box::new(at.clone()))?;
            at.with_label_values::<&str>(&[]).set(seconds(verification.at));
        }
    }
    Ok(registry.gather())
}

fn campaign_counts(gauges: &Gauges<'_>, campaigns: &[Campaign]) -> prometheus::Result<()> {
    let leads = gauges.whole("campaign_leads", "Leads by status; they add up to all leads.", &CAMPAIGN, &["status"])?;
    let progress =
        gauges.real("campaign_progress_ratio", "(sent + failed) / all leads, 0 to 1; absent without leads.")?;
    let messages =
        gauges.whole("campaign_messages", "Messages by the result of their step.", &CAMPAIGN, &["outcome"])?;
    let failed =
        gauges.whole("campaign_failed_messages", "Failed and bounced messages by reason.", &CAMPAIGN, &["reason"])?;
    let help = "Leads by what they did, with or without a delivered message.";
    let facts = gauges.whole("campaign_lead_facts", help, &CAMPAIGN, &["fact"])?;
    let contacted = gauges.whole("campaign_contacted_leads", "Leads with a delivered message.", &CAMPAIGN, &[])?;
    let replied =
        gauges.whole("campaign_replied_leads", "Leads that replied and have a delivered message.", &CAMPAIGN, &[])?;
    let converted = gauges.whole(
        "campaign_converted_leads",
        "Leads that converted and have a delivered message.",
        &CAMPAIGN,
        &[],
    )?;
    let in_flight = gauges.whole("campaign_in_flight_claims", "Claims held and not expired.", &CAMPAIGN, &[])?;
    let uncertain =
        gauges.whole("campaign_uncertain_claims", "Claims that expired without an outcome.", &CAMPAIGN, &[])?;
    for campaign in campaigns {
        let id = [campaign.name.workspace.as_str(), campaign.name.campaign.as_str()];
        let with = |label| [id[0], id[1], label];
        let counts = campaign.lead_counts;
        for (status, count) in
            [("sent", counts.sent), ("failed", counts.failed), ("pending", counts.pending), ("partial", counts.partial)]
        {
            leads.with_label_values(&with(status)).set(count);
        }
        if let Some(ratio) = counts.progress().ratio() {
            progress.with_label_values(&id).set(ratio);
        }
        let counts = campaign.message_counts;
        for (outcome, count) in
            [("delivered", counts.delivered), ("failed", counts.failed), ("bounced", counts.bounced)]
        {
            messages.with_label_values(&with(outcome)).set(count);
        }
        for (reason, count) in FailureReason::ALL.into_iter().zip(counts.by_reason) {
            failed.with_label_values(&with(reason_label(reason))).set(count);
        }
        for (fact, count) in [
            ("replied", counts.replied),
            ("converted", counts.converted),
            ("auto_replied", counts.auto_replied),
            ("opted_out", counts.opted_out),
        ] {
            facts.with_label_values(&with(fact)).set(count);
        }
        contacted.with_label_values(&id).set(counts.contacted);
        replied.with_label_values(&id).set(counts.contacted_replied);
        converted.with_label_values(&id).set(counts.contacted_converted);
        in_flight.with_label_values(&id).set(campaign.in_flight_claims);
        uncertain.with_label_values(&id).set(campaign.uncertain_claims);
    }
    Ok(())
}

fn campaign_states(gauges: &Gauges<'_>, campaigns: &[Campaign]) -> prometheus::Result<()> {
    let states =
        gauges.whole("campaign_state", "1 for the state the campaign is in, else 0.", &CAMPAIGN, &["state"])?;
    let help = "1 for each reason for which nothing can be claimed, else 0.";
    let not_sending = gauges.whole("campaign_not_sending", help, &CAMPAIGN, &["reason"])?;
    let help = "When the next step is due, in seconds since 1970; absent when nothing waits.";
    let next_due = gauges.real("campaign_next_due_timestamp_seconds", help)?;
    let help = "Always 1; who manages the campaign: kubernetes or clients.";
    let info = gauges.whole("campaign_info", help, &CAMPAIGN, &["managed_by"])?;
    for campaign in campaigns {
        let id = [campaign.name.workspace.as_str(), campaign.name.campaign.as_str()];
        for state in CampaignState::ALL {
            let label = match state {
                CampaignState::Active => "active",
                CampaignState::Paused => "paused",
                CampaignState::Finished => "finished",
            };
            states.with_label_values(&[id[0], id[1], label]).set(i64::from(state == campaign.state));
        }
        for reason in NotSending::ALL {
            let holds = campaign.blocked.reasons.contains(&reason);
            not_sending.with_label_values(&[id[0], id[1], reason.label()]).set(i64::from(holds));
        }
        if let Some(due) = campaign.next_due {
            next_due.with_label_values(&id).set(seconds(due));
        }
        let managed_by = if campaign.owner.is_some() { "kubernetes" } else { "clients" };
        info.with_label_values(&[id[0], id[1], managed_by]).set(1);
    }
    Ok(())
}

fn account_gauges(gauges: &Gauges<'_>, accounts: &[AccountRow]) -> prometheus::Result<()> {
    let lifetime = gauges.whole("account_messages", "Messages ever, by result.", &ACCOUNT, &["outcome"])?;
    let help = "Messages of the last 30 UTC days, today included, by result.";
    let recent = gauges.whole("account_messages_30d", help, &ACCOUNT, &["outcome"])?;
    let limit =
        gauges.whole("account_daily_limit", "Claims per local day at most; absent without limit.", &ACCOUNT, &[])?;
    let help = "Reserved of the daily limit on the present local day.";
    let reserved = gauges.whole("account_daily_reserved", help, &ACCOUNT, &[])?;
    for account in accounts {
        let id = [account.workspace.as_str(), account.account.as_str()];
        for (gauge, counts) in [(&lifetime, account.lifetime), (&recent, account.last_30_days)] {
            for (outcome, count) in
                [("delivered", counts.delivered), ("failed", counts.failed), ("bounced", counts.bounced)]
            {
                gauge.with_label_values(&[id[0], id[1], outcome]).set(count);
            }
        }
        if let Some(most) = account.daily_limit {
            limit.with_label_values(&id).set(most.into());
        }
        reserved.with_label_values(&id).set(account.reserved);
    }
    Ok(())
}

fn reason_label(reason: FailureReason) -> &'static str {
    match reason {
        FailureReason::AccountIssue => "account_issue",
        FailureReason::InvalidLead => "invalid_lead",
        FailureReason::RateLimited => "rate_limited",
        FailureReason::ContentRejected => "content_rejected",
        FailureReason::Other => "other",
    }
}

#[expect(clippy::cast_precision_loss, reason = "seconds since 1970 stay below 2^53 milliseconds")]
fn seconds(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1000.0
}
