//! What is done to a campaign, drawn at random.

use proptest::prelude::*;

use super::state::{Fact, Kind};

/// What is done; numbers choose among what there is.
#[derive(Debug, Clone)]
pub enum Op {
    Claim { account: usize, max: i32 },
    Report { lead: usize, fact: Fact, by_key: bool, minutes_ago: i64 },
    Release { claim: usize, minutes: i64 },
    Resolve { claim: usize, sent: bool },
    Advance { minutes: i64 },
    Pause,
    Resume,
    Finish,
    LimitCampaign(Option<i32>),
    LimitAccount { account: usize, limit: Option<i32> },
    Suspend { account: usize, suspended: bool },
    AddLeads { count: usize, account: Option<usize>, complete: bool },
    Delete { lead: usize },
}

fn fact() -> impl Strategy<Value = Fact> {
    prop_oneof![
        6 => (1..=2_usize).prop_map(|step| (Kind::Delivered, step)),
        2 => (1..=2_usize).prop_map(|step| (Kind::Failed, step)),
        2 => (1..=2_usize).prop_map(|step| (Kind::Bounced, step)),
        1 => Just((Kind::Replied, 0)),
        1 => Just((Kind::Converted, 0)),
        1 => Just((Kind::AutoReplied, 0)),
        1 => Just((Kind::OptedOut, 0)),
    ]
}

pub fn op() -> impl Strategy<Value = Op> {
    let limit = || proptest::option::of(0..4_i32);
    prop_oneof![
        8 => (0..2_usize, 1..5_i32).prop_map(|(account, max)| Op::Claim { account, max }),
        10 => (0..16_usize, fact(), any::<bool>(), prop_oneof![Just(0), Just(0), Just(45), Just(1500)])
            .prop_map(|(lead, fact, by_key, minutes_ago)| Op::Report { lead, fact, by_key, minutes_ago }),
        3 => (0..8_usize, prop_oneof![Just(0), Just(20)]).prop_map(|(claim, minutes)| Op::Release { claim, minutes }),
        3 => (0..8_usize, any::<bool>()).prop_map(|(claim, sent)| Op::Resolve { claim, sent }),
        5 => prop_oneof![Just(10), Just(31), Just(61), Just(300)].prop_map(|minutes| Op::Advance { minutes }),
        1 => Just(Op::Pause),
        2 => Just(Op::Resume),
        1 => Just(Op::Finish),
        1 => limit().prop_map(Op::LimitCampaign),
        1 => (0..2_usize, limit()).prop_map(|(account, limit)| Op::LimitAccount { account, limit }),
        1 => (0..2_usize, any::<bool>()).prop_map(|(account, suspended)| Op::Suspend { account, suspended }),
        2 => (1..4_usize, proptest::option::of(0..2_usize), any::<bool>())
            .prop_map(|(count, account, complete)| Op::AddLeads { count, account, complete }),
        1 => (0..16_usize).prop_map(|lead| Op::Delete { lead }),
    ]
}
