//! The `Campaign` resource: its fields, their validation by the API server, and the columns of `kubectl get`.
//!
//! The CustomResourceDefinition is generated from this module alone. Bounds and CEL rules refuse what can never be valid, so
//! no webhook is needed. A text with a format has a rule and no `pattern`: of a pattern the API server shows the regular
//! expression, of a rule our message. The service checks the rest, such as whether an account exists, and
//! conditions report its answer. Every list and text that a CEL rule reads is bounded, which keeps the rules within the
//! cost budget of the API server.
#![expect(
    clippy::duplicated_attributes,
    reason = "the lint takes the keys of one printer column for repeats of another's"
)]

use kube::{Api, Client, CustomResource, CustomResourceExt as _, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod rules;
mod status;

pub use status::{
    CampaignStatus, Counts, DeliveryHealth, Failures, Finding, FindingKind, FindingSeverity, FinishReason, Hold,
    InFlight, LeadFacts, Messages, Share,
};

/// Finalizer of a resource. It is removed after the service has released the campaign.
pub const FINALIZER: &str = "campaign-metrics.io/finalizer";
/// Annotation whose value `paused` stops reconciliation until it is removed. Deletion still works.
pub const RECONCILE_ANNOTATION: &str = "campaign-metrics.io/reconcile";
/// Annotation whose value `"true"` removes a deleted resource even if the service refuses or is unreachable, and
/// deletes the campaign (under `deletionPolicy: Delete`) even if claims are held.
///
/// If the service could not be reached, its campaign keeps the deleted resource as its owner.
pub const FORCE_DELETE_ANNOTATION: &str = "campaign-metrics.io/force-delete";

/// Annotation whose value `"true"` lets the campaign of a deleted resource keep its state, for a hand-over to another owner.
/// Without it, deleting a resource pauses its campaign. It changes nothing under `deletionPolicy: Delete`.
pub const KEEP_RUNNING_ANNOTATION: &str = "campaign-metrics.io/keep-running";

/// The desired state of a campaign. The controller applies it to the service in one direction: the spec wins.
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
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether the service has this spec and answers: True, False or Unknown"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        description = "Why it is ready or not; kubectl describe says more"
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
    printcolumn(
        name = "Health",
        type_ = "string",
        json_path = ".status.deliveryHealthText",
        description = "Delivery rate in three bands; with a question mark while it is not certain"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Total",
        type_ = "integer",
        json_path = ".status.counts.total",
        description = "All leads",
        priority = 1
    ),
    printcolumn(
        name = "Delivery",
        type_ = "string",
        json_path = ".status.delivery.percent",
        description = "Messages delivered, of all that have a result",
        priority = 1
    ),
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
        name = "Sending",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Sending\")].reason",
        description = "Why nothing can be sent now, or Sending",
        priority = 1
    ),
    printcolumn(
        name = "Held",
        type_ = "date",
        json_path = ".status.hold.placeTime",
        description = "For how long a hold has kept the campaign paused, whatever the spec says",
        priority = 1
    ),
    printcolumn(
        name = "Finding",
        type_ = "string",
        json_path = ".status.finding.kind",
        description = "The most severe finding of the diagnosis",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct CampaignSpec {
    /// Active sends, Paused grants no claim and keeps the progress, Finished ends the campaign permanently. Default: Active.
    #[serde(default)]
    #[x_kube(validation = Rule::new("oldSelf != 'Finished' || self == 'Finished'").message("a finished campaign stays finished; create another one").reason(Reason::FieldValueForbidden))]
    pub state: DesiredState,
    /// Name for people, up to 256 characters. Absent means none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub display_name: Option<String>,
    /// Ids of the accounts that send, in the same workspace: up to 1000, each of 1 to 128 of `A-Z a-z 0-9 . _ ~ @ + -`. They
    /// may be created later than the campaign. Default: none, so that nothing is sent.
    #[serde(default)]
    #[schemars(length(max = 1000), inner(length(max = 128)), transform = rules::account_ids)]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub accounts: Vec<String>,
    /// Maximum number of messages for each lead, 1 to 16: the first message and follow-ups. Fixed when the campaign is created.
    /// Default: 1.
    #[serde(default = "defaults::steps")]
    #[schemars(range(min = 1, max = 16))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("steps are fixed when the campaign is created; create another one").reason(Reason::FieldValueForbidden))]
    pub steps: i32,
    /// Time from the delivery of one step until the next step is due: a whole number with the unit `h`, `m` or `s`,
    /// such as `48h` or `90m`, from `0s` to `8760h`, a year. Default: 24h.
    #[serde(default = "defaults::follow_up_delay")]
    #[schemars(length(max = rules::TEXT_MAX))]
    #[x_kube(validation = Rule::new(rules::DELAY).message(rules::DELAY_SAYS))]
    pub follow_up_delay: String,
    /// Times at which messages may be sent. Absent means always, with days in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_hours: Option<ActiveHours>,
    /// Maximum number of claims granted on each local day of `activeHours.timeZone`, 0 to 1000000000. 0 sends nothing. Absent
    /// means no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub daily_limit: Option<i32>,
    /// What happens to a claim that expires without an outcome. Hold makes it wait for an outcome or a person, so that
    /// no message is sent twice. Retry makes its step due again, so that a message may be sent twice. Default: Hold.
    #[serde(default)]
    pub claim_expiry_policy: ClaimExpiryPolicy,
    /// Seconds, 0 to 2592000 (30 days), from the finish, and from the expiry of the last claim without outcome, until delivery
    /// outcomes are final. Default: 604800 (7 days).
    #[serde(default = "defaults::settle_seconds")]
    #[schemars(range(min = 0, max = 2_592_000))]
    pub settle_seconds: i32,
    /// Days, 0 to 365, after the finish during which replies and conversions are accepted. Default: 30.
    #[serde(default = "defaults::attribution_days")]
    #[schemars(range(min = 0, max = 365))]
    pub attribution_days: i32,
    /// Whether every lead has been added. A campaign finishes automatically only when its lead list is complete. A
    /// client that adds leads can declare that, too. Once true, it stays true. Default: false.
    #[serde(default)]
    #[x_kube(validation = Rule::new("!oldSelf || self").message("a lead list that is complete stays complete").reason(Reason::FieldValueForbidden))]
    pub lead_list_complete: bool,
    /// What happens to the campaign when this resource is deleted. Orphan pauses it and keeps it in the service with all its
    /// results, but without owner. Delete pauses it, waits for claims that are held or uncertain, and deletes it with its
    /// leads. Default: Orphan.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// Which existing campaign of this name is taken over. IfUnowned: one without owner. Never: none. Always: also one that
    /// another cluster owns. A resource that was created again in its cluster takes its campaign over in any case.
    /// Default: IfUnowned.
    #[serde(default)]
    pub adoption_policy: AdoptionPolicy,
}

/// Days and local times at which messages may be sent.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct ActiveHours {
    /// IANA time zone of the windows and of the campaign's days, such as `Europe/Berlin`. Default: UTC.
    #[serde(default = "defaults::time_zone")]
    #[schemars(length(max = rules::TEXT_MAX))]
    #[x_kube(validation = Rule::new(rules::TIME_ZONE).message(rules::TIME_ZONE_SAYS))]
    pub time_zone: String,
    /// The campaign is active within any of these windows, up to 32. Default: none, which means always.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub windows: Vec<Window>,
}

/// A range of local time. It contains no time in hours that a clock change skips, and both runs of hours that it
/// repeats.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.startTime != self.endTime").message("the window is empty; for a whole day use 00:00 to 24:00"))]
pub struct Window {
    /// Days on which the window begins. Default: none, which means every day.
    #[serde(default)]
    #[schemars(length(max = 7))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub days: Vec<Day>,
    /// Local time at which the window begins, inclusive: `00:00` to `23:59`.
    #[schemars(length(max = rules::TEXT_MAX))]
    #[x_kube(validation = Rule::new(rules::START_TIME).message(rules::START_TIME_SAYS))]
    pub start_time: String,
    /// Local time at which the window ends, exclusive: `00:00` to `24:00`. A time before `startTime` is on the
    /// following day.
    #[schemars(length(max = rules::TEXT_MAX))]
    #[x_kube(validation = Rule::new(rules::END_TIME).message(rules::END_TIME_SAYS))]
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

/// Whether a campaign sends: Active, Paused (no claim is granted, the progress is kept) or Finished (permanently).
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DesiredState {
    /// Messages may be sent in active hours, within the limits, to leads that are due.
    #[default]
    Active,
    /// No claim is granted. Progress is kept.
    Paused,
    /// No claim is ever granted again.
    Finished,
}

/// What happens to a claim that expires without an outcome.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ClaimExpiryPolicy {
    /// It waits for an outcome or a person.
    #[default]
    Hold,
    /// Its step becomes due again.
    Retry,
}

/// What happens to the campaign when its resource is deleted.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DeletionPolicy {
    /// It is paused and stays in the service without owner, so that deleting a resource destroys no results.
    #[default]
    Orphan,
    /// It is paused, and deleted in the service, too.
    Delete,
}

/// Which existing campaigns are taken over.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum AdoptionPolicy {
    /// Those without owner.
    #[default]
    IfUnowned,
    /// None.
    Never,
    /// All, whoever owns them.
    Always,
}

/// Defaults of the schema. They equal the defaults of the service.
mod defaults {
    pub fn steps() -> i32 {
        1
    }
    pub fn follow_up_delay() -> String {
        "24h".into()
    }
    pub fn settle_seconds() -> i32 {
        604_800
    }
    pub fn attribution_days() -> i32 {
        30
    }
    pub fn time_zone() -> String {
        "UTC".into()
    }
}

impl Campaign {
    /// The resources of a namespace, or of all namespaces.
    pub fn api(client: Client, namespace: Option<&str>) -> Api<Self> {
        match namespace {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::all(client),
        }
    }
}

/// Renders the CustomResourceDefinition as YAML. The result is deterministic.
pub fn yaml() -> Result<String, serde_yaml::Error> {
    let mut definition = serde_yaml::to_value(Campaign::crd())?;
    join_lines(&mut definition);
    serde_yaml::to_string(&definition)
}

/// Makes one line of each description, because `kubectl explain` breaks lines itself.
fn join_lines(node: &mut serde_yaml::Value) {
    match node {
        serde_yaml::Value::Mapping(fields) => {
            for (name, value) in fields {
                match value {
                    serde_yaml::Value::String(text) if name == "description" => *text = text.replace('\n', " "),
                    _ => join_lines(value),
                }
            }
        }
        serde_yaml::Value::Sequence(items) => items.iter_mut().for_each(join_lines),
        _ => {}
    }
}
