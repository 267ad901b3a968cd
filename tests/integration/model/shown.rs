//! Views of a world other than the API: gauges, the status that the controller would write, and the output of
//! campaignctl. Also records which fields of the API had a value in a run: a field without one was not really compared.

use std::{cell::RefCell, collections::BTreeSet};

use campaign_controller::plan::{mirrored, with_diagnosis};
use campaign_metrics::pb;
use jiff::Timestamp;

use super::play::{Checked, Play, WORKSPACES, check_none};
use crate::{
    controller::expect,
    harness::{
        gauges::{Page, compare, expected::expected, series, unseen::Unseen},
        shown::{Described, Shown, compare_views, reflect},
    },
};

/// Fields that held a value when they were compared, by message and path.
#[derive(Debug, Default)]
pub struct Told(RefCell<BTreeSet<String>>);

/// Beginnings of fields that are never set, each with its reason.
const UNTOLD: [&str; 9] = [
    // There is no account.
    "campaign_metrics.v1.ListCampaignAccountsResponse.unassigned.account",
    "campaign_metrics.v1.ListCampaignAccountsResponse.unassigned.daily_limit",
    "campaign_metrics.v1.ListCampaignAccountsResponse.unassigned.reserved_today",
    "campaign_metrics.v1.ListCampaignAccountsResponse.unassigned.serving",
    "campaign_metrics.v1.ListCampaignAccountsResponse.unassigned.suspended",
    // The log of the model is never dropped. `history.rs` looks at corrections.
    "campaign_metrics.v1.QueryCampaignHistoryResponse.corrections.",
    "campaign_metrics.v1.QueryAccountHistoryResponse.corrections.",
    // The model places no holds, and its owners are of no cluster. `holds.rs` and `controller/ownership.rs` look at them.
    "campaign_metrics.v1.Campaign.hold.",
    "campaign_metrics.v1.Campaign.owner.cluster",
];

impl Told {
    pub fn note<M: Described>(&self, message: &M) {
        let paths = reflect::told(message).into_iter().map(|path| format!("{}.{path}", M::NAME));
        self.0.borrow_mut().extend(paths);
    }

    pub fn into_paths(self) -> BTreeSet<String> {
        self.0.into_inner()
    }
}

/// Returns fields that never had a value in a run.
pub fn untold(told: &BTreeSet<String>) -> Vec<String> {
    fn of<M: Described>() -> impl Iterator<Item = String> {
        reflect::leaves::<M>().into_iter().map(|path| format!("{}.{path}", M::NAME))
    }
    let all = of::<pb::Campaign>()
        .chain(of::<pb::Account>())
        .chain(of::<pb::Lead>())
        .chain(of::<pb::LeadOutcome>())
        .chain(of::<pb::Claim>())
        .chain(of::<pb::CampaignNotSending>())
        .chain(of::<pb::OptOut>())
        .chain(of::<pb::QueryCampaignHistoryResponse>())
        .chain(of::<pb::QueryAccountHistoryResponse>())
        .chain(of::<pb::ListCampaignAccountsResponse>())
        .chain(of::<pb::WorkspaceTotals>());
    let is_expected = |path: &String| UNTOLD.iter().any(|beginning| path.starts_with(beginning));
    all.filter(|path| !told.contains(path) && !is_expected(path)).collect()
}

/// A moment that is shown in seconds since 1970.
#[expect(clippy::cast_possible_truncation, reason = "whole milliseconds of this century")]
fn moment(seconds: f64) -> Timestamp {
    Timestamp::from_millisecond((seconds * 1000.0).round() as i64).expect("a time")
}

impl Play<'_> {
    /// Messages of the API, as campaignctl would print them.
    pub fn check_printed<M: Shown>(&self, messages: &[M], what: &str) -> Checked {
        for message in messages {
            self.told.note(message);
        }
        check_none(&compare_views(messages), &format!("what campaignctl prints of {what}"))
    }

    /// A campaign as the status of its resource.
    pub async fn check_status(&self, campaign: &pb::Campaign) -> Checked {
        let request = pb::DiagnoseCampaignRequest { name: campaign.name.clone() };
        let diagnosis = self.service.performance.clone().diagnose_campaign(request).await;
        let diagnosis = diagnosis.expect("a diagnosis").into_inner();
        let generation = campaign.owner.as_ref().map_or(1, |owner| owner.generation);
        let status = with_diagnosis(mirrored(None, generation, campaign, self.world.now), &diagnosis);
        let status = serde_json::to_value(status).expect("a status is JSON");
        check_none(&expect::compare(campaign, Some(&diagnosis), &status), &format!("the status of {}", campaign.name))
    }

    /// All gauges of the workspaces, by name and label.
    pub async fn check_gauges(&self, campaigns: &[pb::Campaign], accounts: &[pb::Account]) -> Checked {
        let mut page = Page::parse(&self.service.admin("/metrics").await).expect("a page of metrics");
        // A failed sequence leaves its workspaces.
        let ours: Vec<&String> = self.world.workspaces.iter().map(|workspace| &workspace.id).collect();
        page.values
            .retain(|series, _| series.labels.get("workspace").is_none_or(|workspace| ours.contains(&workspace)));
        let mut unseen = Unseen::at(self.world.now);
        for workspace in 0..WORKSPACES {
            let of = &self.world.workspaces[workspace];
            for (place, campaign) in of.campaigns.iter().enumerate() {
                let labels = [("workspace", of.id.as_str()), ("campaign", campaign.id)];
                let shown = page.values.get(&series("campaign_next_due_timestamp_seconds", &labels)).copied();
                let name = self.campaign_name(workspace, place);
                *unseen.of_mut(&name) = self.gauges_view(workspace, place, shown.map(moment));
            }
        }
        check_none(&compare(&page, &expected(campaigns, accounts, &unseen)), "the gauges")
    }
}
