//! Sending: claims, their keys, and the reasons for which nothing can be claimed.

use std::{fmt, str::FromStr, time::Duration};

use jiff::{Timestamp, tz::TimeZone};

use crate::{
    account::AccountState,
    campaign::CampaignState,
    invalid::{Invalid, excerpt},
    lead::{Fact, FailureReason, Step},
    name::{AccountName, CampaignName, LeadName},
    schedule::{ActiveHours, next_day},
};

/// How long a claim is held unless the caller says otherwise.
pub const HOLD_DEFAULT: Duration = Duration::from_mins(5);
/// Longest time a claim can be held at once.
pub const HOLD_MAX: Duration = Duration::from_hours(1);
/// Most claims of one call.
pub const CLAIMS_MAX: usize = 1000;
/// Most outcomes of one call.
pub const OUTCOMES_MAX: usize = 5000;
/// Most leads of one message of AddLeads.
pub const LEADS_MAX: usize = 5000;
/// Longest free text of an outcome, in bytes.
pub const DETAIL_MAX: usize = 1024;
/// How far ahead of the service's clock an outcome's time may lie.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_mins(5);

/// Names a lead and step for good: the same on every claim of them, in no other campaign and no other installation.
///
/// Its text is `{salt}-{campaign}-{lead}-{step}`; the salt is drawn with the campaign, so that a key of another
/// installation, or a guessed one, names nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SendKey {
    /// Drawn when the campaign was created.
    pub salt: i32,
    /// Internal number of the campaign.
    pub campaign_number: i32,
    /// Internal number of the lead in its campaign.
    pub lead_number: i32,
    /// The step.
    pub step: Step,
}

impl fmt::Display for SendKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{}-{}-{}", self.salt, self.campaign_number, self.lead_number, self.step.number())
    }
}

impl FromStr for SendKey {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let parse = || {
            let mut parts = text.split('-');
            let salt = parts.next().and_then(|part| u32::from_str_radix(part, 16).ok())?.cast_signed();
            let mut number = || parts.next()?.parse::<i32>().ok();
            let (campaign_number, lead_number, step) = (number()?, number()?, Step::new(number()?)?);
            let key = Self { salt, campaign_number, lead_number, step };
            // One spelling for each key: no signs, no leading zeros, nothing behind.
            (parts.next().is_none() && key.to_string() == text).then_some(key)
        };
        parse().ok_or_else(|| {
            Invalid::new("", format_args!("`{}` is no send key; pass on the one of the claim", excerpt(text)))
        })
    }
}

/// Names one claim: a lead and step, and the grant by which they were handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClaimId {
    /// The lead and step.
    pub key: SendKey,
    /// Drawn for each call that granted.
    pub grant: i64,
}

impl fmt::Display for ClaimId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:x}", self.key, self.grant)
    }
}

impl FromStr for ClaimId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let parse = || {
            let (key, grant) = text.rsplit_once('-')?;
            let id = Self { key: key.parse().ok()?, grant: u64::from_str_radix(grant, 16).ok()?.cast_signed() };
            (id.to_string() == text).then_some(id)
        };
        parse().ok_or_else(|| {
            Invalid::new("", format_args!("`{}` is no claim id; pass on the one of the claim", excerpt(text)))
        })
    }
}

/// State of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimState {
    /// Not expired.
    Held,
    /// Expired without an outcome.
    Uncertain,
}

/// The permission to send one step to one lead.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// Its id.
    pub id: ClaimId,
    /// Whom to send to.
    pub lead: LeadName,
    /// Who sends.
    pub account: AccountName,
    /// Until when it is held.
    pub expire_time: Timestamp,
    /// Held or uncertain.
    pub state: ClaimState,
}

/// Why nothing can be claimed. In the order in which people want to read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NotSending {
    /// The campaign is paused.
    Paused,
    /// The campaign is finished.
    Finished,
    /// No active window holds the present moment.
    OutsideActiveHours,
    /// The campaign's daily limit is used up.
    CampaignDailyLimit,
    /// The account's daily limit is used up.
    AccountDailyLimit,
    /// The account is suspended.
    AccountSuspended,
    /// The campaign has no account, or the account no campaign.
    NoAccountAssigned,
    /// Leads wait for an account that no longer serves the campaign.
    AccountRemoved,
    /// No lead is due.
    NoLeadDue,
    /// Expired claims keep leads from going on.
    UncertainClaims,
}

impl NotSending {
    /// All reasons.
    pub const ALL: [Self; 10] = [
        Self::Paused,
        Self::Finished,
        Self::OutsideActiveHours,
        Self::CampaignDailyLimit,
        Self::AccountDailyLimit,
        Self::AccountSuspended,
        Self::NoAccountAssigned,
        Self::AccountRemoved,
        Self::NoLeadDue,
        Self::UncertainClaims,
    ];

    /// The value of the metrics' label `reason`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Finished => "finished",
            Self::OutsideActiveHours => "outside_active_hours",
            Self::CampaignDailyLimit => "campaign_daily_limit",
            Self::AccountDailyLimit => "account_daily_limit",
            Self::AccountSuspended => "account_suspended",
            Self::NoAccountAssigned => "no_account_assigned",
            Self::AccountRemoved => "account_removed",
            Self::NoLeadDue => "no_lead_due",
            Self::UncertainClaims => "uncertain_claims",
        }
    }
}

/// All the reasons that hold, and when time alone changes them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Blocked {
    /// Sorted, without repeats; empty when something can be claimed.
    pub reasons: Vec<NotSending>,
    /// Earliest moment at which time alone changes them.
    pub next_change: Option<Timestamp>,
}

impl Blocked {
    /// Adds a reason, and when it ends by itself.
    pub fn add(&mut self, reason: NotSending, until: Option<Timestamp>) {
        if let Err(place) = self.reasons.binary_search(&reason) {
            self.reasons.insert(place, reason);
        }
        self.change_at(until);
    }

    /// Takes note of a moment at which something changes.
    pub fn change_at(&mut self, moment: Option<Timestamp>) {
        self.next_change = [self.next_change, moment].into_iter().flatten().min();
    }
}

/// What decides whether an account may claim.
#[derive(Debug, Clone)]
pub struct AccountStanding {
    /// State.
    pub state: AccountState,
    /// Claims per local day at most.
    pub daily_limit: Option<i32>,
    /// Reserved of it on the present local day.
    pub reserved: i64,
    /// Zone of its days.
    pub time_zone: TimeZone,
}

/// What decides whether anything of a campaign can be claimed.
#[derive(Debug, Clone)]
pub struct CampaignStanding<'a> {
    /// State.
    pub state: CampaignState,
    /// When messages may go out.
    pub active_hours: &'a ActiveHours,
    /// Claims per local day at most.
    pub daily_limit: Option<i32>,
    /// Reserved of it on the present local day.
    pub reserved: i64,
    /// The accounts in question: all of the campaign's, or the one that asks.
    pub accounts: &'a [AccountStanding],
    /// The earliest moment at which a step is due to one of them; `None` when nothing waits.
    pub next_due: Option<Timestamp>,
    /// Whether leads wait for an account that no longer serves the campaign.
    pub account_removed: bool,
    /// Claims that expired without an outcome.
    pub uncertain_claims: i64,
}

/// Claims that a daily limit still allows.
pub fn allowance(daily_limit: Option<i32>, reserved: i64) -> i64 {
    daily_limit.map_or(i64::MAX, |limit| (i64::from(limit) - reserved).max(0))
}

impl CampaignStanding<'_> {
    /// All the reasons for which nothing can be claimed at `now`, by product.md, "Why not sending".
    ///
    /// That claims are uncertain, or leads without account, is a reason only where nothing is due: else something can be claimed.
    pub fn blocked(&self, now: Timestamp) -> Blocked {
        let mut blocked = Blocked::default();
        match self.state {
            CampaignState::Active => {}
            CampaignState::Paused => blocked.add(NotSending::Paused, None),
            CampaignState::Finished => {
                blocked.add(NotSending::Finished, None);
                return blocked;
            }
        }
        let hours_change = self.active_hours.next_change(now);
        if !self.active_hours.is_active(now) {
            blocked.add(NotSending::OutsideActiveHours, hours_change);
        }
        blocked.change_at(hours_change);
        if allowance(self.daily_limit, self.reserved) == 0 {
            blocked.add(NotSending::CampaignDailyLimit, next_day(&self.active_hours.time_zone, now));
        }
        self.blocked_accounts(now, &mut blocked);
        if self.next_due.is_none_or(|due| due > now) {
            blocked.add(NotSending::NoLeadDue, self.next_due);
            if self.account_removed {
                blocked.add(NotSending::AccountRemoved, None);
            }
            if self.uncertain_claims > 0 {
                blocked.add(NotSending::UncertainClaims, None);
            }
        }
        blocked
    }

    /// An account's reason holds only where it holds for all.
    fn blocked_accounts(&self, now: Timestamp, blocked: &mut Blocked) {
        if self.accounts.is_empty() {
            return blocked.add(NotSending::NoAccountAssigned, None);
        }
        let suspended = |account: &AccountStanding| account.state == AccountState::Suspended;
        let used_up = |account: &AccountStanding| allowance(account.daily_limit, account.reserved) == 0;
        if self.accounts.iter().all(suspended) {
            blocked.add(NotSending::AccountSuspended, None);
        } else if self.accounts.iter().all(|account| suspended(account) || used_up(account)) {
            let active = self.accounts.iter().filter(|account| !suspended(account));
            let turns = active.filter_map(|account| next_day(&account.time_zone, now)).min();
            blocked.add(NotSending::AccountDailyLimit, turns);
        }
    }
}

/// What a campaign granted fewer claims for than it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CampaignBlocked {
    /// The campaign; `None` when the account has none.
    pub campaign: Option<CampaignName>,
    /// Why.
    pub blocked: Blocked,
}

/// How an outcome names its lead.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LeadRef {
    /// By the key of its claim.
    Key(SendKey),
    /// By resource name.
    Name(LeadName),
}

/// What a sender reports.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// About whom.
    pub lead: LeadRef,
    /// What happened.
    pub fact: Fact,
    /// Why it failed or bounced.
    pub reason: Option<FailureReason>,
    /// For people.
    pub detail: String,
    /// When; `None` is on receipt.
    pub time: Option<Timestamp>,
    /// What a conversion is worth, in millionths.
    pub value_micros: Option<i64>,
}

/// Why an outcome was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejection {
    /// No such lead or campaign.
    UnknownLead,
    /// The campaign has fewer steps.
    StepOutOfRange,
    /// The campaign's results are final.
    CampaignFinal,
    /// Its time lies ahead of the service's clock.
    TimeInFuture,
    /// A field is not valid.
    Invalid(Invalid),
}

/// What became of an outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// A new fact, committed.
    Applied,
    /// Known already.
    Duplicate,
    /// Not taken.
    Rejected(Rejection),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_claim_ids_survive_a_round_trip_and_have_one_spelling() {
        let key = SendKey { salt: -5, campaign_number: 7, lead_number: 123, step: Step::FIRST };
        assert_eq!(key.to_string(), "fffffffb-7-123-1");
        assert_eq!(key.to_string().parse::<SendKey>().unwrap(), key);
        let id = ClaimId { key, grant: -1 };
        assert_eq!(id.to_string().parse::<ClaimId>().unwrap(), id);
        for bad in [
            "",
            "fffffffb-7-123",
            "fffffffb-7-123-17",
            "fffffffb-07-123-1",
            "FFFFFFFB-7-123-1",
            "fffffffb-7-123-1-",
            "fffffffb-+7-123-1",
            "\0",
        ] {
            assert!(bad.parse::<SendKey>().is_err(), "{bad}");
        }
    }

    #[test]
    fn reasons_are_sorted_and_the_earliest_change_wins() {
        let mut blocked = Blocked::default();
        let at = |second| Timestamp::from_second(second).ok();
        blocked.add(NotSending::NoLeadDue, at(20));
        blocked.add(NotSending::Paused, None);
        blocked.add(NotSending::NoLeadDue, at(10));
        assert_eq!(blocked.reasons, [NotSending::Paused, NotSending::NoLeadDue]);
        assert_eq!(blocked.next_change, at(10));
    }
}
