//! Standing: the facts that decide whether something can be claimed, and the rules that read them.

use jiff::{Timestamp, tz::TimeZone};

use crate::{
    account::AccountState,
    campaign::{CampaignState, LeadCounts},
    name::CampaignName,
    not_sending::{Blocked, NotSending},
    schedule::{ActiveHours, next_day},
};

/// The facts that decide whether an account may claim.
#[derive(Debug, Clone)]
pub struct AccountStanding {
    /// State.
    pub state: AccountState,
    /// Maximum number of claims on each local day; `None` means no limit.
    pub daily_limit: Option<i32>,
    /// The part of it that is reserved on the current local day.
    pub reserved: i64,
    /// Time zone of its days.
    pub time_zone: TimeZone,
}

/// The facts that decide whether something of a campaign can be claimed.
#[derive(Debug, Clone)]
pub struct CampaignStanding<'a> {
    /// State.
    pub state: CampaignState,
    /// Times at which messages may be sent.
    pub active_hours: &'a ActiveHours,
    /// Maximum number of claims on each local day; `None` means no limit.
    pub daily_limit: Option<i32>,
    /// The part of it that is reserved on the current local day.
    pub reserved: i64,
    /// The accounts to consider: all of the campaign, or only the one that claims.
    pub accounts: &'a [AccountStanding],
    /// For each of them, the earliest time at which a step is due to it: of a lead of its own, or of one without account.
    pub account_dues: &'a [Option<Timestamp>],
    /// The earliest of these times, or of a lead without account where there is no account; `None` when no step waits.
    pub next_due: Option<Timestamp>,
    /// Whether leads wait for an account that no longer serves the campaign.
    pub account_removed: bool,
    /// Claims that expired without an outcome.
    pub uncertain_claims: i64,
}

/// Returns how many claims a daily limit still allows.
pub fn allowance(daily_limit: Option<i32>, reserved: i64) -> i64 {
    daily_limit.map_or(i64::MAX, |limit| (i64::from(limit) - reserved).max(0))
}

/// Returns the earliest time at which a step of a campaign is due; `None` when no lead is pending or partial.
///
/// `listed` comes from the lists of waiting steps, which can contain leads that have ended. When expired claims are
/// retried, a step is due at once.
pub fn next_due(leads: LeadCounts, listed: Option<Timestamp>, is_retried: bool, now: Timestamp) -> Option<Timestamp> {
    if is_retried { Some(now) } else { listed }.filter(|_| leads.is_open())
}

/// Returns the earliest of the times at which steps are due to accounts, or `of_any` where there is no account.
pub fn earliest(account_dues: &[Option<Timestamp>], of_any: Option<Timestamp>) -> Option<Timestamp> {
    account_dues.iter().flatten().copied().chain(of_any).min()
}

/// Returns when a used-up daily limit allows claims again: on the next local day, or never if the limit is 0.
fn limit_resets_at(daily_limit: Option<i32>, zone: &TimeZone, now: Timestamp) -> Option<Timestamp> {
    if daily_limit == Some(0) { None } else { next_day(zone, now) }
}

impl AccountStanding {
    /// Returns when its daily limit begins anew; `None` means never.
    fn resets_at(&self, now: Timestamp) -> Option<Timestamp> {
        limit_resets_at(self.daily_limit, &self.time_zone, now)
    }
}

impl CampaignStanding<'_> {
    /// Returns all the reasons why nothing can be claimed at `now`.
    ///
    /// Uncertain claims, and leads that wait for a removed account, are reasons only when no step is due.
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
            blocked.add(
                NotSending::CampaignDailyLimit,
                limit_resets_at(self.daily_limit, &self.active_hours.time_zone, now),
            );
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

    /// Returns the earliest time, from `now` on, at which something can be claimed by the passage of time alone; `None`
    /// when something else must change first.
    pub fn claimable_at(&self, now: Timestamp) -> Option<Timestamp> {
        if self.state != CampaignState::Active {
            return None;
        }
        let from = |limit: Option<i32>, reserved: i64, zone: &TimeZone| {
            if allowance(limit, reserved) > 0 { Some(now) } else { limit_resets_at(limit, zone, now) }
        };
        let of_campaign = from(self.daily_limit, self.reserved, &self.active_hours.time_zone)?;
        let active = self.with_dues().filter(|(account, _)| account.state == AccountState::Active);
        // One and the same account has to be within its limit and to have something due.
        let of_account = |(account, due): (&AccountStanding, Option<Timestamp>)| {
            Some(due?.max(from(account.daily_limit, account.reserved, &account.time_zone)?))
        };
        let open = active.filter_map(of_account).min()?.max(of_campaign);
        if self.active_hours.is_active(open) { Some(open) } else { self.active_hours.next_change(open) }
    }

    /// The accounts, each with the time at which a step is due to it.
    fn with_dues(&self) -> impl Iterator<Item = (&AccountStanding, Option<Timestamp>)> {
        self.accounts.iter().zip(self.account_dues.iter().copied())
    }

    /// Adds the reasons of the accounts. Each holds only if it holds for every account that has something due, whatever the
    /// others could do; where nothing is due, for every account.
    fn blocked_accounts(&self, now: Timestamp, blocked: &mut Blocked) {
        if self.accounts.is_empty() {
            return blocked.add(NotSending::NoAccountAssigned, None);
        }
        let reasons = self.account_reasons(now, now);
        // Others are judged once their steps are due, and each may claim again on its next day.
        let is_used_up = |account: &&AccountStanding| allowance(account.daily_limit, account.reserved) == 0;
        let resets = self.accounts.iter().filter(is_used_up).filter_map(|account| account.resets_at(now));
        let mut moments: Vec<Timestamp> = self.account_dues.iter().flatten().copied().chain(resets).collect();
        moments.retain(|moment| *moment > now);
        moments.sort_unstable();
        moments.dedup();
        blocked.change_at(moments.into_iter().find(|moment| self.account_reasons(now, *moment) != reasons));
        if reasons.suspended {
            blocked.add(NotSending::AccountSuspended, None);
        }
        if reasons.used_up {
            blocked.add(NotSending::AccountDailyLimit, None);
        }
    }

    /// Judges the accounts that have something due at `at`. `now` is when reservations were read.
    fn account_reasons(&self, now: Timestamp, at: Timestamp) -> AccountReasons {
        let is_due = |due: Option<Timestamp>| due.is_some_and(|due| due <= at);
        let mut judged: Vec<&AccountStanding> =
            self.with_dues().filter(|(_, due)| is_due(*due)).map(|(account, _)| account).collect();
        if judged.is_empty() {
            judged.extend(self.accounts);
        }
        let suspended = |account: &AccountStanding| account.state == AccountState::Suspended;
        let used_up = |account: &AccountStanding| {
            allowance(account.daily_limit, account.reserved) == 0
                && account.resets_at(now).is_none_or(|reset| reset > at)
        };
        let all_suspended = judged.iter().copied().all(suspended);
        // If some accounts are suspended and the others have used up their limit, the next day of the others helps.
        judged.retain(|account| all_suspended || !suspended(account));
        AccountReasons { suspended: all_suspended, used_up: judged.into_iter().all(used_up) }
    }
}

/// The reasons that accounts give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct AccountReasons {
    /// All accounts that were judged are suspended.
    suspended: bool,
    /// All of them that are in question have used up their limit.
    used_up: bool,
}

/// The reasons why a campaign granted fewer claims than requested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CampaignBlocked {
    /// The campaign; `None` when the account serves none.
    pub campaign: Option<CampaignName>,
    /// The reasons.
    pub reasons: Vec<NotSending>,
    /// See [`CampaignStanding::claimable_at`].
    pub claimable_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use jiff::civil::Weekday;

    use super::*;
    use crate::schedule::Window;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn standing<'a>(
        active_hours: &'a ActiveHours,
        accounts: &'a [AccountStanding],
        daily_limit: Option<i32>,
        next_due: &str,
    ) -> CampaignStanding<'a> {
        let due = (!next_due.is_empty()).then(|| at(next_due));
        CampaignStanding {
            account_dues: vec![due; accounts.len()].leak(),
            state: CampaignState::Active,
            active_hours,
            daily_limit,
            reserved: 5,
            accounts,
            next_due: due,
            account_removed: false,
            uncertain_claims: 1,
        }
    }

    #[test]
    fn asking_again_helps_once_all_reasons_are_over() {
        let now = at("2026-03-02T10:00:00Z"); // A Monday.
        let account =
            |state, daily_limit| AccountStanding { state, daily_limit, reserved: 5, time_zone: TimeZone::UTC };
        let (active, used_up) = (account(AccountState::Active, None), account(AccountState::Active, Some(5)));
        let (none_allowed, suspended) =
            (account(AccountState::Active, Some(0)), account(AccountState::Suspended, None));
        let days = [Weekday::Monday, Weekday::Wednesday];
        let hours = |windows: &[(&str, &str)]| ActiveHours {
            time_zone: TimeZone::UTC,
            windows: windows.iter().map(|(start, end)| Window::new(&days, start, end).unwrap()).collect(),
        };
        let (always, day) = (hours(&[]), hours(&[("09:00", "17:00")]));
        let monday = "2026-03-02T09:00:00Z";
        let cases = [
            (&always, vec![&active], None, monday, "2026-03-02T10:00:00Z"),
            (&always, vec![&active], None, "2026-03-02T12:00:00Z", "2026-03-02T12:00:00Z"),
            // Not when the window closes, but when the next one opens.
            (&day, vec![&active], None, "2026-03-02T17:00:00Z", "2026-03-04T09:00:00Z"),
            (&day, vec![&used_up], None, monday, "2026-03-04T09:00:00Z"),
            (&always, vec![&used_up], None, "2026-03-05T12:00:00Z", "2026-03-05T12:00:00Z"),
            (&always, vec![&used_up], Some(5), "2026-03-02T12:00:00Z", "2026-03-03T00:00:00Z"),
            (&always, vec![&used_up, &active], None, monday, "2026-03-02T10:00:00Z"),
            (&always, vec![&used_up, &suspended], None, monday, "2026-03-03T00:00:00Z"),
            (&always, vec![&active], None, "", ""),
            (&always, vec![&active], Some(0), monday, ""),
            (&always, vec![&none_allowed, &suspended], None, monday, ""),
            (&always, vec![], None, monday, ""),
        ];
        for (index, (hours, accounts, limit, due, expected)) in cases.into_iter().enumerate() {
            let accounts: Vec<AccountStanding> = accounts.into_iter().cloned().collect();
            let expected = (!expected.is_empty()).then(|| at(expected));
            assert_eq!(standing(hours, &accounts, limit, due).claimable_at(now), expected, "case {index}");
        }
        let reasons = |accounts: &[&AccountStanding], limit| {
            let accounts: Vec<AccountStanding> = accounts.iter().copied().cloned().collect();
            let blocked = standing(&always, &accounts, limit, monday).blocked(now);
            (blocked.reasons, blocked.next_change)
        };
        let (midnight, all_day) = (Some(at("2026-03-03T00:00:00Z")), NotSending::CampaignDailyLimit);
        let (limit, is_suspended) = (NotSending::AccountDailyLimit, NotSending::AccountSuspended);
        let both = account(AccountState::Suspended, Some(5));
        assert_eq!(reasons(&[&used_up], None), (vec![limit], midnight));
        assert_eq!(reasons(&[&none_allowed], Some(0)), (vec![all_day, limit], None), "a new day changes nothing");
        assert_eq!(
            reasons(&[&both], None),
            (vec![limit, is_suspended], midnight),
            "one reason does not hide the other"
        );
        assert_eq!(reasons(&[&both, &suspended], None), (vec![is_suspended], None));
        assert_eq!(reasons(&[&used_up, &suspended], None), (vec![limit], midnight));
        assert_eq!(reasons(&[&none_allowed, &both], None), (vec![limit], None), "the other one stays suspended");
        // Judged account by account: by who has something due.
        let due_to = |accounts: &[&AccountStanding], dues: &[&str]| {
            let accounts: Vec<AccountStanding> = accounts.iter().copied().cloned().collect();
            let dues: Vec<Option<Timestamp>> = dues.iter().map(|due| (!due.is_empty()).then(|| at(due))).collect();
            let standing = CampaignStanding { account_dues: &dues, ..standing(&always, &accounts, None, monday) };
            (standing.blocked(now).reasons, standing.claimable_at(now))
        };
        let (later, tuesday) = ("2026-03-02T12:00:00Z", "2026-03-03T00:00:00Z");
        assert_eq!(due_to(&[&suspended, &active], &[monday, ""]), (vec![is_suspended], None));
        assert_eq!(due_to(&[&used_up, &active], &[monday, ""]), (vec![limit], Some(at(tuesday))));
        assert_eq!(due_to(&[&suspended, &active], &[monday, later]), (vec![is_suspended], Some(at(later))));
        assert_eq!(due_to(&[&suspended, &active], &[monday, monday]), (vec![], Some(now)));
        assert_eq!(due_to(&[&suspended, &used_up, &active], &[monday, monday, ""]), (vec![limit], Some(at(tuesday))));
        // The limit of another one begins anew earlier, after its step became due.
        let elsewhere = AccountStanding { time_zone: TimeZone::get("Pacific/Honolulu").unwrap(), ..used_up.clone() };
        let dues = [monday, later].map(|due| Some(at(due)));
        let both = [elsewhere, used_up];
        let standing_of_both = CampaignStanding { account_dues: &dues, ..standing(&always, &both, None, monday) };
        assert_eq!(standing_of_both.blocked(now).next_change, midnight);
        let active = [account(AccountState::Active, None)];
        let paused = CampaignStanding { state: CampaignState::Paused, ..standing(&always, &active, None, monday) };
        assert_eq!(paused.claimable_at(now), None);
    }
}
