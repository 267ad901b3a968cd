//! The reasons for which nothing can be claimed.

use jiff::Timestamp;

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

/// All the reasons that hold, and when time alone changes what they say.
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
