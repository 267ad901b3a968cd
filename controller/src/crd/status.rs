//! The status of a `Campaign`: the mirror of its state in the service. The controller never takes it as input for the
//! desired state.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::DesiredState;

/// The state of the campaign in the service.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct CampaignStatus {
    /// The generation of the spec that this status describes, even if it could not be applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The state that the service confirmed. Paused means that no claim is granted any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<DesiredState>,
    /// The hold that keeps the campaign paused, whatever the spec says. Absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// Why the campaign is Finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<FinishReason>,
    /// UID of the campaign in the service. It changes only when a lost campaign is created again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub campaign_uid: Option<String>,
    /// Leads by status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<Counts>,
    /// Messages by result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages: Option<Messages>,
    /// Leads by their reactions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lead_facts: Option<LeadFacts>,
    /// Share of leads that are sent or failed. Absent without leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Share>,
    /// Share of delivered, failed and bounced messages that were delivered. Absent without any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Share>,
    /// High above 95 %, Moderate from 80 % to 95 %, Low below 80 %. Absent without messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery_health: Option<DeliveryHealth>,
    /// Whether the 95 % interval of the delivery rate lies wholly in the band of `deliveryHealth`, from 20 messages on.
    /// Absent without messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery_health_certain: Option<bool>,
    /// `deliveryHealth` for people, with a question mark while it is not certain: `Moderate?`. Absent without messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub delivery_health_text: Option<String>,
    /// Share of leads with a delivered message that replied. Absent without any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<Share>,
    /// Share of leads with a delivered message that converted. Absent without any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversion: Option<Share>,
    /// Of the leads first contacted at least 7 days ago, the share that replied within 7 days of their first contact. It
    /// compares campaigns that began at different times. Covers 90 days; up to an hour old. Absent without such leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_within_7_days: Option<Share>,
    /// Of the same leads, the share that converted within 7 days of their first contact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversion_within_7_days: Option<Share>,
    /// The most severe finding of the diagnosis; up to an hour old. Absent if nothing is wrong as far as the data shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finding: Option<Finding>,
    /// Claims that are held and have not expired. Their messages may still be sent after a pause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<InFlight>,
    /// Claims that expired without an outcome. It is unknown whether their messages were sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uncertain_claims: Option<i64>,
    /// Earliest time at which the passage of time alone changes what can be sent. Absent if it never does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_change_time: Option<Time>,
    /// Time at which the campaign became Finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_time: Option<Time>,
    /// Ready, Synced, Sending and DeliveryHealthy. Reconciling and Stalled exist only while they are True.
    #[serde(default)]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// Leads by status. sent + failed + pending + partial is always equal to total.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Leads that are done: they replied, converted, had every step delivered, or opted out after a delivery.
    pub sent: i64,
    /// Leads with a failed or bounced step, and leads that opted out before any delivery.
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
    /// Messages that failed permanently.
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
    /// A problem of the account: it is blocked or signed out.
    pub account_issue: i64,
    /// The lead can't be reached.
    pub invalid_lead: i64,
    /// The provider refused the message because of its rate limit.
    pub rate_limited: i64,
    /// The provider refused the message because of its content.
    pub content_rejected: i64,
    /// Anything else.
    pub other: i64,
}

/// Leads by their reactions, with or without a delivered message.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct LeadFacts {
    /// Leads that replied.
    pub replied: i64,
    /// Leads that converted.
    pub converted: i64,
    /// Leads that sent an automatic reply.
    pub auto_replied: i64,
    /// Leads that opted out.
    pub opted_out: i64,
}

/// A ratio with the two counts it is computed from.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct Share {
    /// The ratio for people, in percent: `71.0 %`. Only none is `0 %`, and only all is `100 %`; close to them it is
    /// `<0.01 %` and `>99.99 %`.
    pub percent: String,
    /// The count.
    pub numerator: i64,
    /// The total that it is a part of.
    pub denominator: i64,
}

/// Something that is wrong. `campaignctl campaigns diagnose` shows all findings with their evidence.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What is wrong.
    pub kind: FindingKind,
    /// How much it matters.
    pub severity: FindingSeverity,
    /// What is wrong, for people: one or two sentences with the most important numbers.
    #[schemars(length(max = 1024))]
    pub summary: String,
}

/// What is wrong.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum FindingKind {
    /// Messages fail because accounts are blocked, signed out or out of quota.
    AccountIssues,
    /// Messages fail because leads do not exist or can't be reached.
    InvalidLeads,
    /// Messages fail because the provider limits the rate.
    RateLimiting,
    /// Messages fail because the provider refuses their content.
    ContentRejected,
    /// The delivery rate is certainly below 95 %.
    LowDelivery,
    /// Certainly fewer leads reply than in the workspace's other campaigns.
    LowResponse,
    /// Certainly fewer leads convert than in the workspace's other campaigns.
    LowConversion,
    /// The campaign is active and nothing can be claimed.
    NotSending,
    /// Claims expired without an outcome and wait for a person.
    UncertainClaims,
    /// Every lead is sent or failed, and the lead list was never declared complete, so the campaign stays open.
    LeadListOpen,
    /// A finding of a later version of the service, which this controller does not know.
    Unknown,
}

/// How much a finding matters.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum FindingSeverity {
    /// Good to know. Nothing is lost.
    Info,
    /// Messages or replies are lost. Look at it within days.
    Warning,
    /// Most messages are lost, or nothing is sent. Look at it now.
    Critical,
}

/// Claims that are held and have not expired.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct InFlight {
    /// Their number.
    pub claims: i64,
    /// Time by which all of them will have expired. Absent without any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
}

/// A pause that somebody placed past the resource. It ends with an edit of the spec, or with
/// `campaignctl campaigns resume --override`.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    /// Time at which it was placed.
    pub place_time: Time,
    /// Why, in the words of whoever placed it. May be empty.
    #[schemars(length(max = 512))]
    pub reason: String,
}

/// Why a campaign is Finished.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// Automatically: its lead list is complete, and every lead is sent or failed.
    Completed,
    /// By request.
    Requested,
}

/// The delivery rate in three bands.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryHealth {
    /// Above 95 %.
    High,
    /// 80 % to 95 % inclusive.
    Moderate,
    /// Below 80 %.
    Low,
}
