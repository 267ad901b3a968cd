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

/// State of a campaign; `Finished` is for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CampaignState {
    /// Messages go out.
    Active,
    /// No claim is granted.
    Paused,
    /// No claim is granted ever again.
    Finished,
}

impl CampaignState {
    /// All states.
    pub const ALL: [Self; 3] = [Self::Active, Self::Paused, Self::Finished];

    /// Decides whether the campaign may become `to`: `true` if that changes anything.
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
    /// By itself.
    Completed,
    /// By request.
    Requested,
}

/// What becomes of a claim that expires without an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimExpiryPolicy {
    /// It waits for an outcome or a person.
    Hold,
    /// Its step becomes due again.
    Retry,
}

/// Delivery rate in three bands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryHealth {
    /// Above 95 %.
    High,
    /// 80 % to 95 %, both included.
    Moderate,
    /// Below 80 %.
    Low,
}

/// Leads by status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeadCounts {
    /// Done.
    pub sent: i64,
    /// Failed.
    pub failed: i64,
    /// Nothing delivered yet.
    pub pending: i64,
    /// Follow-ups partially sent.
    pub partial: i64,
}

impl LeadCounts {
    /// sent + failed + pending + partial.
    pub fn total(self) -> i64 {
        self.sent + self.failed + self.pending + self.partial
    }

    /// Whether anything can still be due to any of them.
    pub fn is_open(self) -> bool {
        self.pending + self.partial > 0
    }

    /// (sent + failed) / total; partial stays out of it.
    pub fn progress(self) -> Rate {
        Rate { numerator: self.sent + self.failed, denominator: self.total() }
    }
}

/// Messages by the result of their step, and leads by what they did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MessageCounts {
    /// Delivered.
    pub delivered: i64,
    /// Failed.
    pub failed: i64,
    /// Bounced.
    pub bounced: i64,
    /// Failed and bounced, by `FailureReason::ALL`.
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
    /// Worth of the conversions whose worth was reported, in millionths.
    pub conversion_value_micros: i64,
}

impl MessageCounts {
    /// delivered / (delivered + failed + bounced), as product.md defines it.
    pub fn delivery_rate(self) -> Rate {
        Rate { numerator: self.delivered, denominator: self.delivered + self.failed + self.bounced }
    }

    /// Replied of contacted leads, as product.md defines it.
    pub fn response_rate(self) -> Rate {
        Rate { numerator: self.contacted_replied, denominator: self.contacted }
    }

    /// Converted of contacted leads, as product.md defines it.
    pub fn conversion_rate(self) -> Rate {
        Rate { numerator: self.contacted_converted, denominator: self.contacted }
    }

    /// The band of the delivery rate; `None` without messages. Compared in whole numbers, so that 95 % is exact.
    pub fn delivery_health(self) -> Option<DeliveryHealth> {
        let Rate { numerator, denominator } = self.delivery_rate();
        match (100 * numerator, denominator) {
            (_, 0) => None,
            (share, of) if share > 95 * of => Some(DeliveryHealth::High),
            (share, of) if share >= 80 * of => Some(DeliveryHealth::Moderate),
            _ => Some(DeliveryHealth::Low),
        }
    }
}

/// What a caller sets on a campaign.
#[derive(Debug, Clone, PartialEq)]
pub struct CampaignSettings {
    /// For people.
    pub display_name: String,
    /// Messages per lead at most; fixed on creation.
    pub steps: Step,
    /// From the delivery of one step until the next is due.
    pub follow_up_delay: SignedDuration,
    /// Accounts that send, sorted, without repeats.
    pub accounts: Vec<AccountId>,
    /// When messages may go out.
    pub active_hours: ActiveHours,
    /// Claims per local day at most; `None` is no limit.
    pub daily_limit: Option<i32>,
    /// What becomes of expired claims.
    pub claim_expiry_policy: ClaimExpiryPolicy,
    /// Seconds from the finish, without a held claim, until results are final.
    pub settle_seconds: i32,
    /// Days from the finish during which replies and conversions are taken.
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
    /// Takes the named fields from `new`.
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

/// The resource that manages a campaign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// `namespace/name`, for people.
    pub resource: String,
    /// UID of the resource.
    pub uid: String,
    /// Generation of the resource.
    pub generation: i64,
    /// Grows with each change of the leading controller.
    pub fencing_token: i64,
}

/// Whether a campaign without owner is taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdoptionPolicy {
    /// It is.
    IfUnowned,
    /// It is not.
    Never,
}

/// A campaign as of some moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Campaign {
    /// Resource name.
    pub name: CampaignName,
    /// UUID.
    pub uid: String,
    /// What callers set.
    pub settings: CampaignSettings,
    /// State.
    pub state: CampaignState,
    /// Why it finished.
    pub finish_reason: Option<FinishReason>,
    /// Leads by status.
    pub lead_counts: LeadCounts,
    /// Messages by result.
    pub message_counts: MessageCounts,
    /// Claims held and not expired.
    pub in_flight_claims: i64,
    /// Latest expiry of these.
    pub in_flight_until: Option<Timestamp>,
    /// Claims that expired without an outcome.
    pub uncertain_claims: i64,
    /// Earliest moment at which a step is due to one of its accounts; `None` when nothing waits.
    pub next_due: Option<Timestamp>,
    /// Why nothing can be claimed.
    pub blocked: Blocked,
    /// When it was created.
    pub create_time: Timestamp,
    /// Last change of settings or state.
    pub update_time: Timestamp,
    /// When it became finished.
    pub finish_time: Option<Timestamp>,
    /// Since when its results are final.
    pub finalized_time: Option<Timestamp>,
    /// Grows with each change of settings or state; the etag.
    pub revision: i64,
    /// The resource that manages it.
    pub owner: Option<Owner>,
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
    fn progress_leaves_partial_out_and_is_absent_without_leads() {
        let done = LeadCounts { sent: 1, failed: 1, ..Default::default() };
        assert_eq!(LeadCounts::default().progress().ratio(), None);
        assert_eq!(LeadCounts { partial: 2, ..done }.progress().ratio(), Some(0.5));
    }
}
