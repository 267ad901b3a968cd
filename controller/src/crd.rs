//! The `Campaign` resource: its fields, what the API server refuses about them, and the columns `kubectl get` prints.
//!
//! The CustomResourceDefinition is generated from this file and from nothing else. What can never be valid is refused
//! here, by bounds, patterns and CEL rules, so that no webhook is needed; what only the service can know (whether a zone
//! or an account exists) it answers, and the conditions tell it. Every list and text that a rule looks at is bounded,
//! which is what keeps the rules within the API server's cost budget.
#![expect(
    clippy::duplicated_attributes,
    reason = "the lint takes the keys of one printer column for repeats of another's"
)]

use kube::{CustomResource, CustomResourceExt as _, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod status;

pub use status::{
    CampaignStatus, Counts, DeliveryHealth, Failures, FinishReason, InFlight, LeadFacts, Messages, Share,
};

/// Held while the service may know the campaign; removed once the service has let go of it.
pub const FINALIZER: &str = "campaign-metrics.io/finalizer";
/// `paused` leaves the resource alone until the annotation is gone; deleting still works.
pub const RECONCILE_ANNOTATION: &str = "campaign-metrics.io/reconcile";
/// `"true"` lets a deleted resource go even if the service refuses or can't be reached, and deletes the campaign
/// (under `deletionPolicy: Delete`) although claims are held.
///
/// What the service could not be told stays there: a campaign that still names the deleted resource as its owner.
pub const FORCE_DELETE_ANNOTATION: &str = "campaign-metrics.io/force-delete";

/// What a campaign is to be; the controller applies it to the service, one way: the spec wins.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[kube(
    group = "campaign-metrics.io",
    version = "v1alpha1",
    kind = "Campaign",
    plural = "campaigns",
    shortname = "camp",
    namespaced,
    status = "CampaignStatus",
    derive = "PartialEq",
    derive = "Default",
    cel,
    doc = "An outreach campaign: which accounts contact its leads, when, and how often. Its namespace is its workspace, its name its id.",
    printcolumn(
        name = "State",
        type_ = "string",
        json_path = ".status.state",
        description = "State, as the service confirmed it"
    ),
    printcolumn(
        name = "Progress",
        type_ = "string",
        json_path = ".status.progress.percent",
        description = "Leads sent or failed, of all"
    ),
    printcolumn(
        name = "Sent",
        type_ = "integer",
        json_path = ".status.counts.sent",
        description = "Leads that are done"
    ),
    printcolumn(
        name = "Failed",
        type_ = "integer",
        json_path = ".status.counts.failed",
        description = "Leads that failed"
    ),
    printcolumn(
        name = "Pending",
        type_ = "integer",
        json_path = ".status.counts.pending",
        description = "Leads with nothing delivered yet"
    ),
    printcolumn(
        name = "Partial",
        type_ = "integer",
        json_path = ".status.counts.partial",
        description = "Leads with follow-ups to come"
    ),
    printcolumn(name = "Total", type_ = "integer", json_path = ".status.counts.total", description = "All leads"),
    printcolumn(
        name = "Delivery",
        type_ = "string",
        json_path = ".status.delivery.percent",
        description = "Messages delivered, of all that have a result"
    ),
    printcolumn(
        name = "Health",
        type_ = "string",
        json_path = ".status.deliveryHealth",
        description = "Delivery rate in three bands"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Response",
        type_ = "string",
        json_path = ".status.response.percent",
        description = "Contacted leads that replied",
        priority = 1
    ),
    printcolumn(
        name = "Conversion",
        type_ = "string",
        json_path = ".status.conversion.percent",
        description = "Contacted leads that converted",
        priority = 1
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether the service has this spec and answers",
        priority = 1
    ),
    printcolumn(
        name = "Sending",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Sending\")].reason",
        description = "Why nothing can be sent now, or Sending",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct CampaignSpec {
    /// Active sends, Paused grants no claim and keeps the progress, Finished ends the campaign for good.
    #[serde(default)]
    #[x_kube(validation = Rule::new("oldSelf != 'Finished' || self == 'Finished'").message("a finished campaign stays finished; create another one").reason(Reason::FieldValueForbidden))]
    pub state: DesiredState,
    /// A name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub display_name: Option<String>,
    /// Ids of the accounts that send, in the same workspace. They may be created later than the campaign.
    #[serde(default)]
    #[schemars(length(max = 1000), inner(length(min = 1, max = 128), regex(pattern = "^[A-Za-z0-9._~@+-]+$")))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub accounts: Vec<String>,
    /// Messages per lead at most: the first one and follow-ups. Fixed when the campaign is created.
    #[serde(default = "defaults::steps")]
    #[schemars(range(min = 1, max = 16))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("steps are fixed when the campaign is created; create another one").reason(Reason::FieldValueForbidden))]
    pub steps: i32,
    /// Time from the delivery of one step until the next is due: a whole number and `h`, `m` or `s`, such as `24h` or
    /// `90m`; at most `8760h`.
    #[serde(default = "defaults::follow_up_delay")]
    #[schemars(length(max = 9), regex(pattern = "^(0|[1-9][0-9]{0,7})[hms]$"))]
    #[x_kube(validation = Rule::new("duration(self) <= duration('8760h')").message("followUpDelay must be at most 8760h, a year"))]
    pub follow_up_delay: String,
    /// When messages may go out; absent means always, with days counted in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_hours: Option<ActiveHours>,
    /// Claims granted per local day at most; absent means no limit, 0 sends nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub daily_limit: Option<i32>,
    /// What becomes of a claim that expires without an outcome: Hold lets it wait for an outcome or a person, so that
    /// nothing is sent twice; Retry makes its step due again, so that a message may be sent twice.
    #[serde(default)]
    pub claim_expiry_policy: ClaimExpiryPolicy,
    /// Seconds without a held claim after the finish until delivery outcomes are final.
    #[serde(default = "defaults::settle_seconds")]
    #[schemars(range(min = 0, max = 2_592_000))]
    pub settle_seconds: i32,
    /// Days after the finish during which replies and conversions are taken.
    #[serde(default = "defaults::attribution_days")]
    #[schemars(range(min = 0, max = 365))]
    pub attribution_days: i32,
    /// Whether every lead has been added. A campaign finishes by itself only once its list is complete; whoever adds
    /// the leads can declare that as well. Once true it stays true.
    #[serde(default)]
    #[x_kube(validation = Rule::new("!oldSelf || self").message("a lead list that is complete stays complete").reason(Reason::FieldValueForbidden))]
    pub lead_list_complete: bool,
    /// What becomes of the campaign when this resource is deleted: Orphan leaves it in the service with all its results,
    /// without owner; Delete deletes it there with its leads.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// What becomes of a campaign of this name that exists already and has no owner: IfUnowned takes it over, Never
    /// refuses.
    #[serde(default)]
    pub adoption_policy: AdoptionPolicy,
}

/// Days and local times during which messages may go out.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct ActiveHours {
    /// IANA time zone of the windows and of the campaign's days, as `Europe/Berlin`.
    #[serde(default = "defaults::time_zone")]
    #[schemars(length(max = 64), regex(pattern = "^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}$"))]
    pub time_zone: String,
    /// A moment within any of them is active; none means always.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub windows: Vec<Window>,
}

/// One span of local time. Hours that a clock change skips hold nothing, repeated ones hold twice.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.startTime != self.endTime").message("the window is empty; for a whole day use 00:00 to 24:00"))]
pub struct Window {
    /// Days on which the window begins; none means every day.
    #[serde(default)]
    #[schemars(length(max = 7))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub days: Vec<Day>,
    /// Local time from which on the window holds, `00:00` to `23:59`.
    #[schemars(length(max = 5), regex(pattern = "^([01][0-9]|2[0-3]):[0-5][0-9]$"))]
    pub start_time: String,
    /// Local time before which the window holds, `00:00` to `24:00`. Before `startTime` it lies on the following day.
    #[schemars(length(max = 5), regex(pattern = "^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$"))]
    pub end_time: String,
}

/// A day of the week.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the day of its name")]
pub enum Day {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

/// The state a campaign is to be in.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DesiredState {
    /// Messages go out in active hours, within limits, to leads that are due.
    #[default]
    Active,
    /// No claim is granted; progress stays.
    Paused,
    /// No claim is granted ever again.
    Finished,
}

/// What becomes of a claim that expires without an outcome.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ClaimExpiryPolicy {
    /// It waits for an outcome or a person.
    #[default]
    Hold,
    /// Its step becomes due again.
    Retry,
}

/// What becomes of the campaign when its resource is deleted.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DeletionPolicy {
    /// It stays in the service, without owner: deleting a resource must not destroy results by surprise.
    #[default]
    Orphan,
    /// It is deleted in the service as well.
    Delete,
}

/// What becomes of a campaign that exists already and has no owner.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum AdoptionPolicy {
    /// It is taken over.
    #[default]
    IfUnowned,
    /// It is refused.
    Never,
}

/// Defaults that appear in the schema; the service's own are the same.
mod defaults {
    pub fn steps() -> i32 {
        1
    }
    pub fn follow_up_delay() -> String {
        "24h".into()
    }
    pub fn settle_seconds() -> i32 {
        86_400
    }
    pub fn attribution_days() -> i32 {
        30
    }
    pub fn time_zone() -> String {
        "UTC".into()
    }
}

/// Renders the CustomResourceDefinition as YAML, the same on every run.
pub fn yaml() -> Result<String, serde_yaml::Error> {
    serde_yaml::to_string(&Campaign::crd())
}
