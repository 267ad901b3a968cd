//! The outcomes to report: one for each lead, 1 % of them failures, plus 1 % each of duplicates, unknown leads and
//! bounces.

use campaign_metrics::pb::{self, OutcomeKind};
use rand::{SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};

/// In which order leads come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As they were claimed.
    Claimed,
    Random,
}

/// How outcomes name their leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    SendKey,
    LeadId,
}

/// One outcome.
#[derive(Debug, Clone, Copy)]
pub struct Event {
    pub workspace: i32,
    pub campaign: i32,
    pub lead: i32,
    /// Place of the fact in the lead's mask.
    pub bit: i32,
}

/// Outcomes, and how many of them are to be applied.
pub struct Events {
    pub events: Vec<Event>,
    pub applied: usize,
}

const FAILED: i32 = 16;
const BOUNCED: i32 = 32;

/// Outcomes for leads `1..=leads` of each of the campaigns, which are numbered from 1 in workspace 1, or each in the
/// workspace of its own number.
pub fn events(campaigns: i32, workspaces: i32, leads: i32, order: Order) -> Events {
    let mut keys: Vec<(i32, i32)> =
        (1..=leads).flat_map(|lead| (1..=campaigns).map(move |campaign| (campaign, lead))).collect();
    if order == Order::Random {
        // The same seed for every run, so that runs are comparable.
        keys.shuffle(&mut StdRng::seed_from_u64(1));
    }
    let mut all = Events { events: Vec::with_capacity(keys.len() * 103 / 100), applied: keys.len() };
    for (place, (campaign, lead)) in keys.iter().copied().enumerate() {
        let workspace = if workspaces > 1 { campaign } else { 1 };
        let event = |lead, bit| Event { workspace, campaign, lead, bit };
        all.events.push(event(lead, if place % 100 == 50 { FAILED } else { 0 }));
        match place % 100 {
            // Of an earlier lead, in another batch.
            33 if place > 3000 => all.events.push(all.events[all.events.len() - 2050]),
            66 => all.events.push(event(leads + lead, 0)),
            99 => {
                let (campaign, lead) = keys[place - 40];
                let workspace = if workspaces > 1 { campaign } else { 1 };
                all.events.push(Event { workspace, campaign, lead, bit: BOUNCED });
                all.applied += 1;
            }
            _ => {}
        }
    }
    all
}

impl Event {
    pub fn outcome(self, by: By) -> pb::Outcome {
        let (kind, reason) = match self.bit {
            FAILED => (OutcomeKind::Failed, pb::FailureReason::RateLimited),
            BOUNCED => (OutcomeKind::Bounced, pb::FailureReason::InvalidLead),
            _ => (OutcomeKind::Delivered, pb::FailureReason::Unspecified),
        };
        let outcome = pb::Outcome { kind: kind.into(), reason: reason.into(), ..Default::default() };
        match by {
            By::SendKey => pb::Outcome { send_key: format!("00000000-{}-{}-1", self.campaign, self.lead), ..outcome },
            By::LeadId => {
                let lead =
                    format!("workspaces/w{}/campaigns/c{}/leads/lead-{}", self.workspace, self.campaign, self.lead);
                pb::Outcome { lead, step: 1, ..outcome }
            }
        }
    }
}
