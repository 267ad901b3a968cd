//! Decides the result of a message: a pure function of the seed, the lead and the step.
//!
//! It uses the lead and the step instead of the send key, which differs between installations. So a run against a new
//! database has the same results. They depend neither on the order of senders nor on the number of calls.

use campaign_metrics::pb::{FailureReason, OutcomeKind};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest as _, Sha256};

use crate::args::Behavior;

/// The result of one message.
#[derive(Debug, Clone, PartialEq)]
pub struct Play {
    /// Delivered, failed or bounced.
    pub result: OutcomeKind,
    /// Why it failed or bounced.
    pub reason: FailureReason,
    /// Reactions of the lead after the delivery.
    pub answers: Vec<OutcomeKind>,
    /// Delay of the report of the outcomes, as a share of the longest delay; `None` means on time.
    pub late: Option<f64>,
    /// Whether the outcomes are reported twice.
    pub repeat: Repeat,
}

/// How often outcomes are reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Once.
    Never,
    /// Twice in the same call.
    AtOnce,
    /// Twice, the second time later.
    Later,
}

/// Returns the draws of a seed for something. Others have nothing to do with them.
pub fn draws(seed: u64, something: &[&[u8]]) -> ChaCha8Rng {
    let mut digest = Sha256::new();
    digest.update(seed.to_be_bytes());
    for part in something {
        digest.update(part);
    }
    ChaCha8Rng::from_seed(digest.finalize().into())
}

/// Decides the result of the message of `step` to `lead`, a resource name.
pub fn play(behavior: &Behavior, lead: &str, step: i32) -> Play {
    let mut draws = draws(behavior.seed, &[&step.to_be_bytes(), lead.as_bytes()]);
    // All draws are made in every case, so that changing one share does not change the results of the others.
    let mut draw = || draws.random::<f64>();
    let (result, reason) = (draw(), draw());
    let lead_draws = [draw(), draw(), draw(), draw()];
    let (late, lateness, repeat) = (draw(), draw(), draw());

    let result = if result < behavior.delivered_ratio {
        OutcomeKind::Delivered
    } else if result < behavior.delivered_ratio + behavior.bounced_ratio {
        OutcomeKind::Bounced
    } else {
        OutcomeKind::Failed
    };
    let shares = [
        (OutcomeKind::AutoReplied, behavior.auto_reply_ratio),
        (OutcomeKind::Replied, behavior.reply_ratio),
        (OutcomeKind::Converted, behavior.conversion_ratio),
        (OutcomeKind::OptedOut, behavior.opt_out_ratio),
    ];
    let happens = |((kind, share), draw): ((OutcomeKind, f64), f64)| (draw < share).then_some(kind);
    let (reason, answers) = match result {
        OutcomeKind::Delivered => {
            (FailureReason::Unspecified, shares.into_iter().zip(lead_draws).filter_map(happens).collect())
        }
        _ => (behavior.failure_reasons.at(reason), Vec::new()),
    };
    Play {
        result,
        reason,
        answers,
        late: (late < behavior.late_ratio).then_some(lateness),
        repeat: if repeat >= behavior.duplicate_ratio {
            Repeat::Never
        } else if repeat < behavior.duplicate_ratio / 2.0 {
            Repeat::AtOnce
        } else {
            Repeat::Later
        },
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::Options;

    fn behavior(line: &str) -> Behavior {
        Options::parse_from(line.split(' ')).behavior
    }

    fn plays(behavior: &Behavior) -> Vec<Play> {
        let lead = |number| format!("workspaces/a/campaigns/b/leads/lead-{number}");
        (0..20_000).map(|number| play(behavior, &lead(number), 1)).collect()
    }

    #[test]
    fn shares_are_met_within_a_percent_point() {
        let plays = plays(&behavior(
            "s --delivered-ratio 0.7 --bounced-ratio 0.2 --reply-ratio 0.5 --late-ratio 0.3 --duplicate-ratio 0.4",
        ));
        let share = |matches: &dyn Fn(&Play) -> bool| {
            let count = plays.iter().filter(|play| matches(play)).count();
            f64::from(u32::try_from(count).unwrap()) / 20_000.0
        };
        for (found, meant) in [
            (share(&|play| play.result == OutcomeKind::Delivered), 0.7),
            (share(&|play| play.result == OutcomeKind::Bounced), 0.2),
            (share(&|play| play.result == OutcomeKind::Failed), 0.1),
            (share(&|play| play.answers.contains(&OutcomeKind::Replied)), 0.35),
            (share(&|play| play.late.is_some()), 0.3),
            (share(&|play| play.repeat == Repeat::AtOnce), 0.2),
            (share(&|play| play.repeat == Repeat::Later), 0.2),
        ] {
            assert!((found - meant).abs() < 0.01, "{found} is not about {meant}");
        }
    }

    #[test]
    fn the_same_seed_plays_the_same_and_another_does_not() {
        assert_eq!(plays(&behavior("s --seed 7")), plays(&behavior("s --seed 7")));
        assert_ne!(plays(&behavior("s --seed 7")), plays(&behavior("s --seed 8")));
    }

    #[test]
    fn changing_one_share_leaves_what_the_others_decide() {
        let few = plays(&behavior("s --reply-ratio 0.1 --late-ratio 0"));
        let many = plays(&behavior("s --reply-ratio 0.9 --late-ratio 1"));
        assert!(few.iter().zip(&many).all(|(few, many)| few.result == many.result && few.repeat == many.repeat));
        assert!(many.iter().all(|play| play.late.is_some()));
    }

    #[test]
    fn only_delivered_messages_are_answered_and_only_the_others_have_a_reason() {
        for play in plays(&behavior("s --delivered-ratio 0.5 --reply-ratio 1")) {
            let is_delivered = play.result == OutcomeKind::Delivered;
            assert_eq!(is_delivered, play.answers.contains(&OutcomeKind::Replied));
            assert_eq!(is_delivered, play.reason == FailureReason::Unspecified);
        }
    }
}
