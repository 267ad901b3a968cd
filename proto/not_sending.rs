//! The reasons why nothing can be claimed.

use jiff::Timestamp;

/// A reason why nothing can be claimed. The order is the one in which people read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NotSending {
    /// The campaign is paused.
    Paused,
    /// The campaign is finished.
    Finished,
    /// The current time is outside every active window.
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
    /// Claims that expired without an outcome block their leads.
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

    /// Returns the value of the label `reason` in metrics.
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

/// All the reasons that hold, and the time at which they can change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Blocked {
    /// Sorted and without duplicates. Empty when something can be claimed.
    pub reasons: Vec<NotSending>,
    /// Earliest time at which they change by the passage of time alone.
    pub next_change: Option<Timestamp>,
}

impl Blocked {
    /// Adds a reason, and the time at which it ends if nothing else changes.
    pub fn add(&mut self, reason: NotSending, until: Option<Timestamp>) {
        if let Err(index) = self.reasons.binary_search(&reason) {
            self.reasons.insert(index, reason);
        }
        self.change_at(until);
    }

    /// Lowers the next change to `moment` if that is earlier.
    pub fn change_at(&mut self, moment: Option<Timestamp>) {
        self.next_change = [self.next_change, moment].into_iter().flatten().min();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
