//! Faults that a past has on purpose: which messages are lost, and for which reason.

use std::str::FromStr;

use campaign_metrics::{name::AccountId, pb::FailureReason};
use jiff::civil::Date;

/// Reasons by their names on the command line.
const REASONS: [(&str, FailureReason); 5] = [
    ("account-issue", FailureReason::AccountIssue),
    ("invalid-lead", FailureReason::InvalidLead),
    ("rate-limited", FailureReason::RateLimited),
    ("content-rejected", FailureReason::ContentRejected),
    ("other", FailureReason::Other),
];

/// Share of the messages lost to invalid leads that bounce. The others fail at once.
pub const BOUNCED_SHARE: f64 = 0.5;

/// Longest time from a message to its bounce, in days.
pub const BOUNCE_DAYS_MAX: f64 = 3.0;

/// Returns the reason with this name.
pub fn reason_named(name: &str) -> Option<FailureReason> {
    REASONS.into_iter().find(|(known, _)| *known == name).map(|(_, reason)| reason)
}

/// Returns the names of all reasons, for people.
pub fn reason_names() -> String {
    REASONS.map(|(name, _)| name).join(", ")
}

/// A reason for which messages are lost.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// The reason that is reported.
    pub reason: FailureReason,
    /// Which messages are lost.
    pub lost: Lost,
    /// Whose messages; `None` means every account's.
    pub account: Option<AccountId>,
    /// The first UTC day; `None` means from the beginning.
    pub since: Option<Date>,
}

/// Which messages a fault loses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Lost {
    /// A share of them, from 0 to 1.
    Share(f64),
    /// Those beyond so many messages of one account on one UTC day.
    Above(u32),
}

/// The faults of a past.
#[derive(Debug, Clone, Copy)]
pub struct Faults<'a>(pub &'a [Fault]);

impl Faults<'_> {
    fn of(&self, account: &AccountId, day: Date) -> impl Iterator<Item = &Fault> {
        self.0.iter().filter(move |fault| {
            fault.account.as_ref().is_none_or(|of| of == account) && fault.since.is_none_or(|since| since <= day)
        })
    }

    /// Returns the shares of an account's messages that are lost on a day, with their reasons.
    pub fn shares(&self, account: &AccountId, day: Date) -> impl Iterator<Item = (FailureReason, f64)> {
        self.of(account, day).filter_map(|fault| match fault.lost {
            Lost::Share(share) => Some((fault.reason, share)),
            Lost::Above(_) => None,
        })
    }

    /// Returns how many messages of an account are accepted on a day; `None` means all.
    pub fn accepted(&self, account: &AccountId, day: Date) -> Option<u32> {
        let limits = self.of(account, day).filter_map(|fault| match fault.lost {
            Lost::Above(limit) => Some(limit),
            Lost::Share(_) => None,
        });
        limits.min()
    }

    /// Returns why a message is lost, if it is: the `nth` one of the account on that day, counted from 1. `draw` is drawn
    /// evenly from 0 to 1.
    pub fn hit(&self, account: &AccountId, day: Date, nth: u32, draw: f64) -> Option<FailureReason> {
        if self.accepted(account, day).is_some_and(|limit| nth > limit) {
            return Some(FailureReason::RateLimited);
        }
        let mut left = draw;
        self.shares(account, day).find_map(|(reason, share)| {
            left -= share;
            (left < 0.0).then_some(reason)
        })
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let (name, amount) = parts.next().and_then(|part| part.split_once('=')).unwrap_or((text, ""));
        let reason =
            reason_named(name).ok_or_else(|| format!("`{name}` is no reason; reasons are {}", reason_names()))?;
        let lost = match reason {
            FailureReason::RateLimited => amount.parse().ok().map(Lost::Above),
            _ => amount.parse().ok().filter(|share| (0.0..=1.0).contains(share)).map(Lost::Share),
        };
        let lost = lost.ok_or_else(|| match reason {
            FailureReason::RateLimited => format!("{name} takes a number of messages a day, such as `{name}=400`"),
            _ => format!("{name} takes a share from 0 to 1, such as `{name}=0.2`"),
        })?;
        let mut fault = Self { reason, lost, account: None, since: None };
        for part in parts {
            match part.split_once('=') {
                Some(("account", id)) => {
                    fault.account = Some(id.parse().map_err(|_| format!("`{id}` is no id of an account"))?);
                }
                Some(("since", day)) => {
                    fault.since = Some(day.parse().map_err(|_| format!("`{day}` is no day such as 2026-03-02"))?);
                }
                _ => return Err(format!("`{part}` is neither account=ACCOUNT nor since=DAY")),
            }
        }
        Ok(fault)
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn faults_are_read_with_what_they_are_bound_to() {
        let blocked: Fault = "account-issue=0.9,account=ann@example.org,since=2026-06-09".parse().unwrap();
        assert_eq!((blocked.reason, blocked.lost), (FailureReason::AccountIssue, Lost::Share(0.9)));
        assert_eq!(blocked.account.unwrap().as_str(), "ann@example.org");
        assert_eq!(blocked.since, Some(date(2026, 6, 9)));
        let limited: Fault = "rate-limited=400".parse().unwrap();
        assert_eq!((limited.lost, limited.account, limited.since), (Lost::Above(400), None, None));
    }

    #[test]
    fn what_is_no_fault_is_refused_with_the_remedy() {
        for (text, says) in [
            ("blocked=1", "`blocked` is no reason; reasons are account-issue, invalid-lead"),
            ("invalid-lead", "such as `invalid-lead=0.2`"),
            ("invalid-lead=1.1", "a share from 0 to 1"),
            ("invalid-lead=NaN", "a share from 0 to 1"),
            ("rate-limited=0.5", "such as `rate-limited=400`"),
            ("other=0.1,account=/", "no id of an account"),
            ("other=0.1,since=Tuesday", "no day such as"),
            ("other=0.1,2026-03-02", "neither account=ACCOUNT nor since=DAY"),
        ] {
            let error = text.parse::<Fault>().expect_err(text);
            assert!(error.contains(says), "`{text}`: {error}");
        }
    }

    #[test]
    fn a_fault_hits_its_account_from_its_day_on_and_only_its_share() {
        let faults: Vec<Fault> =
            ["account-issue=0.6,account=ann,since=2026-06-09", "invalid-lead=0.3", "rate-limited=50"]
                .map(|text| text.parse().unwrap())
                .into();
        let [ann, bob] = ["ann", "bob"].map(|id| id.parse::<AccountId>().unwrap());
        let hit = |account, day, nth, draw| Faults(&faults).hit(account, date(2026, 6, day), nth, draw);
        assert_eq!(hit(&ann, 9, 1, 0.59), Some(FailureReason::AccountIssue));
        assert_eq!(hit(&ann, 9, 1, 0.61), Some(FailureReason::InvalidLead));
        assert_eq!(hit(&ann, 9, 1, 0.91), None);
        assert_eq!(hit(&ann, 8, 1, 0.29), Some(FailureReason::InvalidLead), "the day before");
        assert_eq!(hit(&bob, 9, 1, 0.31), None, "another account");
        assert_eq!([hit(&bob, 9, 50, 0.31), hit(&bob, 9, 51, 0.31)], [None, Some(FailureReason::RateLimited)]);
    }
}
