//! The status of a `Campaign`: what the controller mirrors from the service. Nothing in it is ever read as an order.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::DesiredState;

/// What the service says about the campaign.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct CampaignStatus {
    /// The generation of the spec that this status answers, also while it could not be applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// State as the service confirmed it: Paused here means that no claim is granted any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<DesiredState>,
    /// Why the campaign is Finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<FinishReason>,
    /// UID of the campaign in the service; it changes only when a lost campaign was created anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub campaign_uid: Option<String>,
    /// Leads by status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<Counts>,
    /// Messages by result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages: Option<Messages>,
    /// Leads by what they did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lead_facts: Option<LeadFacts>,
    /// Leads sent or failed, of all leads; absent without leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Share>,
    /// Messages delivered, of all that were delivered, failed or bounced; absent without any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Share>,
    /// High above 95 %, Moderate from 80 % to 95 %, Low below; absent without messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery_health: Option<DeliveryHealth>,
    /// Leads that replied, of those with a delivered message; absent without any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<Share>,
    /// Leads that converted, of those with a delivered message; absent without any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversion: Option<Share>,
    /// Claims held and not expired: messages that may still go out after a pause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<InFlight>,
    /// Claims that expired without an outcome: whether those messages were sent is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uncertain_claims: Option<i64>,
    /// Earliest time at which time alone changes what can be sent; absent if it never does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_change_time: Option<Time>,
    /// When the campaign became Finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_time: Option<Time>,
    /// Ready, Synced, Sending and DeliveryHealthy; Reconciling and Stalled only while True.
    #[serde(default)]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// Leads by status; sent + failed + pending + partial = total, always.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Leads that are done: replied, converted, every step delivered, or opted out after a delivery.
    pub sent: i64,
    /// Leads with a failed or bounced step, or opted out before any delivery.
    pub failed: i64,
    /// Leads with nothing delivered yet.
    pub pending: i64,
    /// Leads with some steps delivered and follow-ups to come.
    pub partial: i64,
    /// All leads.
    pub total: i64,
}

/// Messages by the result of their step.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct Messages {
    /// Messages delivered.
    pub delivered: i64,
    /// Messages that failed for good.
    pub failed: i64,
    /// Messages that bounced.
    pub bounced: i64,
    /// Failed and bounced messages by reason.
    #[serde(default)]
    pub failures: Failures,
}

/// Failed and bounced messages by reason.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct Failures {
    /// The account: blocked, signed out.
    pub account_issue: i64,
    /// The lead can't be reached.
    pub invalid_lead: i64,
    /// The provider refused the rate.
    pub rate_limited: i64,
    /// The provider refused the content.
    pub content_rejected: i64,
    /// Anything else.
    pub other: i64,
}

/// Leads by what they did, with or without a delivered message.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct LeadFacts {
    /// Leads that replied.
    pub replied: i64,
    /// Leads that converted.
    pub converted: i64,
    /// Leads for which a machine replied.
    pub auto_replied: i64,
    /// Leads that want no more messages.
    pub opted_out: i64,
}

/// A share, with what it is made of.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct Share {
    /// The share for people, in percent, rounded down to a tenth: `100%` is reached by all alone.
    pub percent: String,
    /// Counted.
    pub numerator: i64,
    /// Out of.
    pub denominator: i64,
}

/// Claims held and not expired.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct InFlight {
    /// How many.
    pub claims: i64,
    /// Latest expiry among them; absent without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
}

/// Why a campaign is Finished.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// By itself.
    Completed,
    /// By request.
    Requested,
}

/// Delivery rate in three bands.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryHealth {
    /// Above 95 %.
    High,
    /// 80 % to 95 %, both included.
    Moderate,
    /// Below 80 %.
    Low,
}
