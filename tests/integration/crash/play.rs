//! Decides what happens to a claim, as a function of seed and claim. So a sender, its successor and the person who
//! resolves uncertain claims all decide alike.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use campaign_metrics::pb::OutcomeKind;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::ledger::{Grant, Reported};

/// What a sender does with a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It sends the message and reports the outcome.
    Reported,
    /// It neither sends nor reports, as if it had crashed; the claim becomes uncertain.
    Lost,
    /// It releases the claim.
    Released,
}

#[derive(Debug, Clone, Copy)]
pub struct Play {
    pub seed: u64,
}

impl Play {
    fn draw(self, of: &str, what: &str) -> StdRng {
        let mut hasher = DefaultHasher::new();
        (self.seed, of, what).hash(&mut hasher);
        StdRng::seed_from_u64(hasher.finish())
    }

    pub fn fate(self, grant: &Grant) -> Fate {
        match self.draw(&grant.claim_id, "fate").random_range(0..20) {
            0 => Fate::Lost,
            1 => Fate::Released,
            _ => Fate::Reported,
        }
    }

    /// Whether the successor of a killed process knows that this message was sent, and reports it.
    pub fn is_remembered(self, grant: &Grant) -> bool {
        self.draw(&grant.claim_id, "remembered").random_bool(0.5)
    }

    /// Whether the person resolves an uncertain claim as not sent: only if no sender reports it as sent.
    pub fn is_denied(self, grant: &Grant) -> bool {
        self.fate(grant) == Fate::Lost && self.draw(&grant.claim_id, "denied").random_bool(0.7)
    }

    /// The outcome of a sent message, the same for every claim of a lead and step.
    pub fn facts(self, grant: &Grant) -> Vec<Reported> {
        use OutcomeKind::{AutoReplied, Bounced, Converted, Delivered, Failed, Replied};
        let mut random = self.draw(&grant.send_key, "facts");
        let mut kinds = match random.random_range(0..20) {
            0 => vec![Failed],
            1 => vec![Bounced],
            2 => vec![Delivered, Bounced],
            _ => vec![Delivered],
        };
        let answers = [(Replied, 0.08), (Converted, 0.03), (AutoReplied, 0.05)];
        kinds.extend(answers.into_iter().filter(|(_, share)| random.random_bool(*share)).map(|(kind, _)| kind));
        kinds.into_iter().map(|kind| reported(grant, kind)).collect()
    }
}

/// A fact about the message or lead of a claim.
pub fn reported(grant: &Grant, kind: OutcomeKind) -> Reported {
    let of_step = matches!(kind, OutcomeKind::Delivered | OutcomeKind::Failed | OutcomeKind::Bounced);
    Reported { lead: grant.lead.clone(), step: if of_step { grant.step } else { 0 }, kind: kind.into() }
}
