//! Postgres and Rust say the same of every set of facts: status, next step and result of each step.

use std::ops::RangeInclusive;

use campaign_metrics::lead::{Fact, Facts, LeadStatus, Step, StepOutcome};

use crate::harness::postgres::database;

/// Up to as many steps all sets of facts are compared: 4 096 sets of messages, with 16 of what leads do.
const STEPS: RangeInclusive<i32> = 1..=4;

fn step(number: i32) -> Step {
    Step::new(number).expect("1 to 16")
}

/// Every set of facts about a lead of so many steps.
fn all_facts(steps: i32) -> Vec<i64> {
    let of_messages =
        (1..=steps).map(step).flat_map(|step| [Fact::Delivered(step), Fact::Failed(step), Fact::Bounced(step)]);
    let of_leads = [Fact::Replied, Fact::Converted, Fact::AutoReplied, Fact::OptedOut];
    let facts: Vec<Fact> = of_messages.chain(of_leads).collect();
    let chosen = |set: u32| (0..).zip(&facts).filter(move |(place, _)| set >> place & 1 == 1).map(|(_, fact)| *fact);
    (0..1 << facts.len()).map(|set| chosen(set).fold(Facts::default(), Facts::with).0).collect()
}

fn status_number(status: LeadStatus) -> i32 {
    match status {
        LeadStatus::Pending => 1,
        LeadStatus::Partial => 2,
        LeadStatus::Sent => 3,
        LeadStatus::Failed => 4,
    }
}

fn result_number(result: Option<StepOutcome>) -> i32 {
    match result {
        None => 0,
        Some(StepOutcome::Delivered) => 1,
        Some(StepOutcome::Failed) => 2,
        Some(StepOutcome::Bounced) => 3,
    }
}

#[tokio::test]
async fn status_and_next_step_are_the_same_in_sql_for_all_facts_of_up_to_four_steps() {
    let sql = database().await.connect().await;
    let query = "SELECT mask, lead_status(mask, $2), lead_next_step(mask, $2) FROM unnest($1::int8[]) mask";
    for steps in STEPS {
        let masks = all_facts(steps);
        let rows = sql.query(query, &[&masks, &steps]).await.unwrap();
        assert_eq!(rows.len(), 1 << (3 * steps + 4));
        for row in rows {
            let facts = Facts(row.get(0));
            let expected = (
                status_number(facts.status(step(steps))),
                facts.next_step(step(steps)).map_or(0, |next| i32::from(next.number())),
            );
            assert_eq!((row.get::<_, i32>(1), row.get::<_, i32>(2)), expected, "{facts:?} of {steps} steps");
        }
    }
}

#[tokio::test]
async fn the_result_of_each_step_is_the_same_in_sql() {
    let sql = database().await.connect().await;
    let query = "SELECT mask, bit, step_result(mask, bit) FROM unnest($1::int8[]) mask, generate_series(0, 15) bit";
    let last = [Fact::Delivered(step(16)), Fact::Failed(step(16)), Fact::Bounced(step(16))];
    let mut masks = all_facts(2);
    masks.extend(
        (0..8).map(|set| {
            (0..3).filter(|place| set >> place & 1 == 1).fold(0, |mask, place| mask | 1 << last[place].bit())
        }),
    );
    for row in sql.query(query, &[&masks]).await.unwrap() {
        let (facts, bit) = (Facts(row.get(0)), row.get::<_, i32>(1));
        let expected = result_number(facts.result(step(bit + 1)));
        assert_eq!(row.get::<_, i32>(2), expected, "step {} of {facts:?}", bit + 1);
    }
}
