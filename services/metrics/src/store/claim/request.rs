//! What a sender asks for, and what it is granted.

use std::time::Duration;

use campaign_metrics::{
    name::{AccountName, CampaignName},
    schedule::ActiveHours,
    sending::Claim,
    standing::CampaignBlocked,
};
use jiff::Timestamp;

use crate::store::{hint::recent::Asker, request::RequestId};

/// What a sender asks for.
#[derive(Debug)]
pub struct ClaimRequest<'a> {
    /// The account that will send.
    pub account: &'a AccountName,
    /// The campaign to claim of, in the workspace of the account; `None` for all that the account serves.
    pub campaign: Option<&'a CampaignName>,
    /// Upper bound of the claims to grant.
    pub max: i64,
    /// How long to hold the claims.
    pub hold: Duration,
    /// Makes a repeat return the same claims.
    pub request: Option<&'a RequestId>,
}

/// What a sender is granted.
#[derive(Debug, Default)]
pub struct Grant {
    /// The claims.
    pub claims: Vec<Claim>,
    /// Why there are fewer than asked for.
    pub blocked: Vec<CampaignBlocked>,
}

impl ClaimRequest<'_> {
    /// Who asks, for the hints.
    pub(super) fn asker(&self) -> Asker {
        (self.account.clone(), self.campaign.cloned())
    }

    /// When claims that are granted now expire: after `hold`, or at the end of the present active window if that is earlier.
    pub(super) fn expires_at(&self, hours: &ActiveHours, now: Timestamp) -> Timestamp {
        let hold_end = now.checked_add(self.hold).unwrap_or(Timestamp::MAX);
        hours.next_change(now).map_or(hold_end, |window_end| window_end.min(hold_end))
    }
}

/// Smallest share of a campaign that is worth a statement of its own. Smaller shares of twenty campaigns cost more time than
/// their fairness is worth.
pub(super) const SHARE_MIN: i64 = 100;
