//! What becomes of claims: a function of the seed and the claim, so that whoever takes the place of a killed sender, and
//! the person who looks after uncertain claims, decide alike.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use campaign_metrics::pb::OutcomeKind;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::ledger::{Grant, Reported};

/// What a sender does with a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It sends the message and reports what became of it.
    Reported,
    /// It never sends nor reports, as if it crashed at that moment: the claim becomes uncertain.
    Lost,
    /// It gives the claim back.
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

    /// Whether the next process in place of the killed one knows that it sent this message and reports it.
    pub fn is_remembered(self, grant: &Grant) -> bool {
        self.draw(&grant.claim_id, "remembered").random_bool(0.5)
    }

    /// Whether the person says of an uncertain claim that it was not sent: only where no sender ever says otherwise.
    pub fn is_denied(self, grant: &Grant) -> bool {
        self.fate(grant) == Fate::Lost && self.draw(&grant.claim_id, "denied").random_bool(0.7)
    }

    /// What is reported of a message that was sent; the same for every claim of a lead and step.
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
