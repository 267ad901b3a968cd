//! Campaigns: settings, states and their legal transitions, counts and indicators.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use crate::{
    lead::Step,
    name::{AccountId, CampaignName},
    not_sending::Blocked,
    rate::Rate,
    schedule::ActiveHours,
};

/// State of a campaign. `Finished` is permanent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CampaignState {
    /// Messages may be sent.
    Active,
    /// No claim is granted.
    Paused,
    /// No claim is ever granted again.
    Finished,
}

impl CampaignState {
    /// All states.
    pub const ALL: [Self; 3] = [Self::Active, Self::Paused, Self::Finished];

    /// Checks the transition to `to`. Returns whether it changes the state.
    pub fn transition(self, to: Self) -> Result<bool, IllegalTransition> {
        match (self, to) {
            (from, to) if from == to => Ok(false),
            (Self::Finished, to) => Err(IllegalTransition { from: self, to }),
            _ => Ok(true),
        }
    }
}

impl fmt::Display for CampaignState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "ACTIVE",
            Self::Paused => "PAUSED",
            Self::Finished => "FINISHED",
        })
    }
}

/// A transition that the product rules forbid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a campaign that is {from} can't become {to}: create a new campaign instead")]
pub struct IllegalTransition {
    /// The state the campaign is in.
    pub from: CampaignState,
    /// The state asked for.
    pub to: CampaignState,
}

/// Why a campaign finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// Automatically: its lead list is complete, and every lead is sent or failed.
    Completed,
    /// By request.
    Requested,
}

/// What happens to a claim that expires without an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimExpiryPolicy {
    /// It becomes uncertain, and waits for an outcome or a resolution.
    Hold,
    /// Its step becomes due again.
    Retry,
}

/// The delivery rate in three bands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryHealth {
    /// Above 95 %.
    High,
    /// 80 % to 95 % inclusive.
    Moderate,
    /// Below 80 %.
    Low,
}

impl DeliveryHealth {
    /// Returns the band of a delivery rate; `None` without messages. Integer arithmetic keeps the bounds exact.
    pub fn of(Rate { numerator, denominator }: Rate) -> Option<Self> {
        match (100 * numerator, denominator) {
            (_, 0) => None,
            (share, total) if share > 95 * total => Some(Self::High),
            (share, total) if share >= 80 * total => Some(Self::Moderate),
            _ => Some(Self::Low),
        }
    }
}

/// Leads by status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeadCounts {
    /// Leads that are done.
    pub sent: i64,
    /// Leads that failed.
    pub failed: i64,
    /// Leads with nothing delivered yet.
    pub pending: i64,
    /// Leads with some steps delivered and follow-ups that remain.
    pub partial: i64,
}

impl LeadCounts {
    /// Adds other counts.
    pub fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.failed += other.failed;
        self.pending += other.pending;
        self.partial += other.partial;
    }

    /// Returns sent + failed + pending + partial.
    pub fn total(self) -> i64 {
        self.sent + self.failed + self.pending + self.partial
    }

    /// Returns whether a step can still become due to any of them.
    pub fn is_open(self) -> bool {
        self.pending + self.partial > 0
    }

    /// Returns (sent + failed) / total. Partial leads do not count as progress.
    pub fn progress(self) -> Rate {
        Rate { numerator: self.sent + self.failed, denominator: self.total() }
    }
}

/// Messages by the result of their step, and leads by their reactions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MessageCounts {
    /// Delivered.
    pub delivered: i64,
    /// Failed.
    pub failed: i64,
    /// Bounced.
    pub bounced: i64,
    /// Failed and bounced messages by reason, in the order of `FailureReason::ALL`.
    pub by_reason: [i64; 5],
    /// Leads with a delivered message.
    pub contacted: i64,
    /// Leads that replied.
    pub replied: i64,
    /// Leads that converted.
    pub converted: i64,
    /// Leads that replied and have a delivered message.
    pub contacted_replied: i64,
    /// Leads that converted and have a delivered message.
    pub contacted_converted: i64,
    /// Leads with an automatic reply.
    pub auto_replied: i64,
    /// Leads that opted out.
    pub opted_out: i64,
    /// Total value of the conversions that were reported with a value, in millionths.
    pub conversion_value_micros: i64,
}

impl MessageCounts {
    /// Adds other counts.
    pub fn add(&mut self, other: Self) {
        self.delivered += other.delivered;
        self.failed += other.failed;
        self.bounced += other.bounced;
        self.by_reason.iter_mut().zip(other.by_reason).for_each(|(to, from)| *to += from);
        self.contacted += other.contacted;
        self.replied += other.replied;
        self.converted += other.converted;
        self.contacted_replied += other.contacted_replied;
        self.contacted_converted += other.contacted_converted;
        self.auto_replied += other.auto_replied;
        self.opted_out += other.opted_out;
        // Values have no common bound over the campaigns of a workspace.
        self.conversion_value_micros = self.conversion_value_micros.saturating_add(other.conversion_value_micros);
    }

    /// Returns delivered / (delivered + failed + bounced).
    pub fn delivery_rate(self) -> Rate {
        Rate { numerator: self.delivered, denominator: self.delivered + self.failed + self.bounced }
    }

    /// Returns the share of contacted leads that replied.
    pub fn response_rate(self) -> Rate {
        Rate { numerator: self.contacted_replied, denominator: self.contacted }
    }

    /// Returns the share of contacted leads that converted.
    pub fn conversion_rate(self) -> Rate {
        Rate { numerator: self.contacted_converted, denominator: self.contacted }
    }

    /// Returns the band of the delivery rate; `None` without messages.
    pub fn delivery_health(self) -> Option<DeliveryHealth> {
        DeliveryHealth::of(self.delivery_rate())
    }
}

/// The settings of a campaign.
#[derive(Debug, Clone, PartialEq)]
pub struct CampaignSettings {
    /// Name for people.
    pub display_name: String,
    /// Maximum number of messages for each lead; fixed at creation.
    pub steps: Step,
    /// Time from the delivery of one step until the next step is due.
    pub follow_up_delay: SignedDuration,
    /// Accounts that send, sorted and without duplicates.
    pub accounts: Vec<AccountId>,
    /// Times at which messages may be sent.
    pub active_hours: ActiveHours,
    /// Maximum number of claims on each local day; `None` means no limit.
    pub daily_limit: Option<i32>,
    /// What happens to expired claims.
    pub claim_expiry_policy: ClaimExpiryPolicy,
    /// Seconds from the finish, and from the expiry of the last claim without outcome, until results are final.
    pub settle_seconds: i32,
    /// Days after the finish during which replies and conversions are accepted.
    pub attribution_days: i32,
    /// Whether every lead has been added.
    pub lead_list_complete: bool,
}

/// A field of [`CampaignSettings`] that an update can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the field of the same name")]
pub enum CampaignField {
    DisplayName,
    FollowUpDelay,
    Accounts,
    ActiveHours,
    DailyLimit,
    ClaimExpiryPolicy,
    SettleSeconds,
    AttributionDays,
    LeadListComplete,
}

impl CampaignSettings {
    /// Copies the named fields from `new`.
    pub fn update(&mut self, new: &Self, fields: &[CampaignField]) {
        for field in fields {
            match field {
                CampaignField::DisplayName => self.display_name.clone_from(&new.display_name),
                CampaignField::FollowUpDelay => self.follow_up_delay = new.follow_up_delay,
                CampaignField::Accounts => self.accounts.clone_from(&new.accounts),
                CampaignField::ActiveHours => self.active_hours = new.active_hours.clone(),
                CampaignField::DailyLimit => self.daily_limit = new.daily_limit,
                CampaignField::ClaimExpiryPolicy => self.claim_expiry_policy = new.claim_expiry_policy,
                CampaignField::SettleSeconds => self.settle_seconds = new.settle_seconds,
                CampaignField::AttributionDays => self.attribution_days = new.attribution_days,
                CampaignField::LeadListComplete => self.lead_list_complete = new.lead_list_complete,
            }
        }
    }
}

/// The Kubernetes resource that manages a campaign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// `namespace/name`, for people.
    pub resource: String,
    /// UID of the resource.
    pub uid: String,
    /// Generation of the resource.
    pub generation: i64,
    /// Increases with each change of the leading controller.
    pub fencing_token: i64,
    /// What identifies the cluster of the resource; empty if that is not known.
    pub cluster: String,
}

impl Owner {
    /// Returns whether this is the same resource as `other`, created again. A cluster that is not known is another one.
    pub fn is_recreated(&self, other: &Self) -> bool {
        self.uid != other.uid
            && !self.cluster.is_empty()
            && self.cluster == other.cluster
            && self.resource == other.resource
    }
}

/// Which existing campaigns an owner takes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdoptionPolicy {
    /// Those without owner.
    IfUnowned,
    /// None.
    Never,
    /// All, whoever owns them.
    Always,
}

/// Keeps a campaign paused whatever its owner declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Time at which it was placed.
    pub place_time: Timestamp,
    /// Why, for people; may be empty.
    pub reason: String,
    /// The state that the campaign gets when the hold is lifted.
    pub return_state: CampaignState,
    /// The latest generation of the owner that does not lift it; `None` if the campaign had no owner.
    pub generation: Option<i64>,
}

impl Hold {
    /// Returns whether a generation of the same owner lifts the hold: it is newer, and was edited after the hold was placed.
    /// Kubernetes keeps times of edits in whole seconds.
    pub fn is_lifted_by(&self, generation: i64, edit_time: Option<Timestamp>) -> bool {
        self.generation.is_some_and(|seen| generation > seen)
            && edit_time.is_none_or(|edited| edited.as_second() >= self.place_time.as_second())
    }
}

/// A campaign at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Campaign {
    /// Resource name.
    pub name: CampaignName,
    /// UUID.
    pub uid: String,
    /// The settings.
    pub settings: CampaignSettings,
    /// State.
    pub state: CampaignState,
    /// Why it finished.
    pub finish_reason: Option<FinishReason>,
    /// Leads by status.
    pub lead_counts: LeadCounts,
    /// Messages by result.
    pub message_counts: MessageCounts,
    /// Claims that are held and have not expired.
    pub in_flight_claims: i64,
    /// Upper bound of their expiry.
    pub in_flight_until: Option<Timestamp>,
    /// Claims that expired without an outcome.
    pub uncertain_claims: i64,
    /// Earliest time at which a step is due to one of its accounts; `None` when no step waits.
    pub next_due: Option<Timestamp>,
    /// The reasons why nothing can be claimed.
    pub blocked: Blocked,
    /// Time of its creation.
    pub create_time: Timestamp,
    /// Time of the last change of settings or state.
    pub update_time: Timestamp,
    /// Time at which it became finished.
    pub finish_time: Option<Timestamp>,
    /// Time from which its results are final.
    pub finalized_time: Option<Timestamp>,
    /// Increases with each change of settings or state. The etag is made from it.
    pub revision: i64,
    /// The resource that manages it.
    pub owner: Option<Owner>,
    /// The hold that keeps it paused.
    pub hold: Option<Hold>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finished_is_for_good_and_repeats_change_nothing() {
        use CampaignState::{Active, Finished, Paused};
        for (from, to, expected) in [
            (Active, Active, Ok(false)),
            (Active, Paused, Ok(true)),
            (Active, Finished, Ok(true)),
            (Paused, Active, Ok(true)),
            (Paused, Paused, Ok(false)),
            (Paused, Finished, Ok(true)),
            (Finished, Finished, Ok(false)),
            (Finished, Active, Err(IllegalTransition { from: Finished, to: Active })),
            (Finished, Paused, Err(IllegalTransition { from: Finished, to: Paused })),
        ] {
            assert_eq!(from.transition(to), expected, "{from} to {to}");
        }
    }

    #[test]
    fn health_has_its_bands_exactly_at_95_and_80_percent() {
        let health = |delivered, failed| MessageCounts { delivered, failed, ..Default::default() }.delivery_health();
        assert_eq!(health(0, 0), None);
        assert_eq!(health(951, 49), Some(DeliveryHealth::High));
        assert_eq!(health(95, 5), Some(DeliveryHealth::Moderate));
        assert_eq!(health(80, 20), Some(DeliveryHealth::Moderate));
        assert_eq!(health(799, 201), Some(DeliveryHealth::Low));
    }

    #[test]
    fn only_the_same_place_in_a_known_cluster_is_the_resource_created_again() {
        let owner = |cluster: &str, resource: &str, uid: &str| Owner {
            resource: resource.into(),
            uid: uid.into(),
            generation: 3,
            fencing_token: 2,
            cluster: cluster.into(),
        };
        let old = owner("c-1", "team/spring", "u-1");
        assert!(owner("c-1", "team/spring", "u-2").is_recreated(&old));
        assert!(!owner("c-1", "team/spring", "u-1").is_recreated(&old), "it is the same one");
        assert!(!owner("c-2", "team/spring", "u-2").is_recreated(&old));
        assert!(!owner("c-1", "team/autumn", "u-2").is_recreated(&old));
        assert!(!owner("", "team/spring", "u-2").is_recreated(&owner("", "team/spring", "u-1")), "nobody knows");
    }

    #[test]
    fn a_hold_is_lifted_by_a_newer_generation_that_was_edited_after_it() {
        let at = |second: i64, milli: i32| Timestamp::new(second, milli * 1_000_000).unwrap();
        let hold = Hold {
            place_time: at(100, 700),
            reason: String::new(),
            return_state: CampaignState::Active,
            generation: Some(4),
        };
        for (generation, edited, lifted) in [
            (5, None, true),
            (4, None, false),
            (5, Some(at(100, 0)), true),
            (5, Some(at(99, 999)), false),
            (4, Some(at(200, 0)), false),
        ] {
            assert_eq!(hold.is_lifted_by(generation, edited), lifted, "{generation} of {edited:?}");
        }
        assert!(!Hold { generation: None, ..hold }.is_lifted_by(9, Some(at(200, 0))), "no owner has seen it");
    }

    #[test]
    fn progress_leaves_partial_out_and_is_absent_without_leads() {
        let done = LeadCounts { sent: 1, failed: 1, ..Default::default() };
        assert_eq!(LeadCounts::default().progress().ratio(), None);
        assert_eq!(LeadCounts { partial: 2, ..done }.progress().ratio(), Some(0.5));
    }
}
