//! Postgres and Rust agree on the name of every bit and number, and on every set of facts: status, next step and
//! result of each step.

use std::{collections::BTreeMap, ops::RangeInclusive};

use campaign_metrics::{
    lead::{FORGOTTEN, Fact, Facts, FailureReason, LeadStatus, REMOVED, STEPS_MAX, Step, StepOutcome},
    pb,
};

use crate::{
    harness::{postgres::database, service::Service},
    world::{account_name, add_leads, by_lead, campaign_name, create_account, create_campaign, report_new, settings},
};

/// All sets of facts of up to so many steps are compared: 4 096 sets of message facts times 16 sets of lead facts.
const STEPS: RangeInclusive<i32> = 1..=4;

fn step(number: i32) -> Step {
    Step::new(number).expect("1 to 16")
}

/// Returns every set of facts about a lead of so many steps.
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

/// Bits of a mask that mean something.
const KNOWN_BITS: i64 = ((1 << (FORGOTTEN + 1)) - 1) | 1 << REMOVED;

/// Masks of leads with 16 steps: from nearly empty to nearly full.
fn random_masks() -> Vec<i64> {
    let sparse = || rand::random::<i64>() & rand::random::<i64>() & rand::random::<i64>();
    let draw = |density: usize| match density % 4 {
        0 => sparse() & sparse(),
        1 => sparse(),
        2 => rand::random(),
        _ => !sparse(),
    };
    // The facts of leads end most rules: one mask in two has none.
    (0..4096).map(|number| draw(number) & if number % 8 < 4 { KNOWN_BITS } else { (1 << 48) - 1 }).collect()
}

#[tokio::test]
async fn status_and_steps_are_the_same_in_sql_for_random_facts_of_sixteen_steps() {
    let sql = database().await.connect().await;
    let masks = random_masks();
    let query = "SELECT mask, steps, lead_status(mask, steps), lead_next_step(mask, steps), lead_following_step(mask),
            is_contacted(mask), delivered_steps(mask), failed_or_bounced_steps(mask),
            ARRAY(SELECT step_result(mask, bit) FROM generate_series(0, 15) bit ORDER BY bit),
            ARRAY(SELECT has_result(mask, bit) FROM generate_series(0, 15) bit ORDER BY bit)
        FROM unnest($1::int8[]) mask CROSS JOIN generate_series(1, 16) steps";
    let rows = sql.query(query, &[&masks]).await.unwrap();
    assert_eq!(rows.len(), masks.len() * usize::from(STEPS_MAX));
    for row in rows {
        let (facts, steps) = (Facts(row.get(0)), step(row.get(1)));
        let results: Vec<_> = (1..=16).map(|number| facts.result(step(number))).collect();
        let bits = |holds: fn(StepOutcome) -> bool| {
            let steps = (0..).zip(&results).filter(|(_, result)| result.is_some_and(holds));
            steps.fold(0_i64, |bits, (bit, _)| bits | 1 << bit)
        };
        let delivered = bits(|result| result == StepOutcome::Delivered);
        let following = i32::try_from(64 - delivered.leading_zeros()).unwrap() + 1;
        let what = format!("{facts:?} of {steps:?}");
        assert_eq!(row.get::<_, i32>(2), status_number(facts.status(steps)), "{what}");
        assert_eq!(row.get::<_, i32>(3), facts.next_step(steps).map_or(0, |next| next.number().into()), "{what}");
        assert_eq!(row.get::<_, i32>(4), following, "{what}");
        assert_eq!(row.get::<_, bool>(5), facts.is_contacted(), "{what}");
        assert_eq!(row.get::<_, i64>(6), delivered, "{what}");
        assert_eq!(row.get::<_, i64>(7), bits(|result| result != StepOutcome::Delivered), "{what}");
        let numbers: Vec<_> = results.iter().map(|result| result_number(*result)).collect();
        assert_eq!(row.get::<_, Vec<i32>>(8), numbers, "{what}");
        let any: Vec<_> = results.iter().map(Option::is_some).collect();
        assert_eq!(row.get::<_, Vec<bool>>(9), any, "{what}");
    }
}

#[tokio::test]
async fn every_named_number_is_the_same_in_sql() {
    let sql = database().await.connect().await;
    let named = "SELECT proname::text FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace AND provolatile = 'i' AND pronargs = 0 ORDER BY 1";
    let mut numbers = BTreeMap::new();
    for row in sql.query(named, &[]).await.unwrap() {
        let name: String = row.get(0);
        let number: i64 = sql.query_one(&format!("SELECT {name}()::int8"), &[]).await.unwrap().get(0);
        numbers.insert(name, number);
    }
    let bits = [
        ("replied_bit", Fact::Replied),
        ("converted_bit", Fact::Converted),
        ("auto_replied_bit", Fact::AutoReplied),
        ("opted_out_bit", Fact::OptedOut),
    ];
    let statuses = [
        ("status_pending", LeadStatus::Pending),
        ("status_partial", LeadStatus::Partial),
        ("status_sent", LeadStatus::Sent),
        ("status_failed", LeadStatus::Failed),
    ];
    let results = [
        ("result_none", None),
        ("result_delivered", Some(StepOutcome::Delivered)),
        ("result_failed", Some(StepOutcome::Failed)),
        ("result_bounced", Some(StepOutcome::Bounced)),
    ];
    let reasons = [
        ("reason_account_issue", FailureReason::AccountIssue),
        ("reason_invalid_lead", FailureReason::InvalidLead),
        ("reason_rate_limited", FailureReason::RateLimited),
        ("reason_content_rejected", FailureReason::ContentRejected),
        ("reason_other", FailureReason::Other),
    ];
    // A fact ends the first step where a lead with that fact alone has another next step, or none.
    let ends_first_step = (0..=FORGOTTEN).filter_map(Fact::from_bit).map(|fact| Facts::default().with(fact));
    let ends_first_step = ends_first_step.filter(|facts| facts.next_step(step(16)) != Some(Step::FIRST));
    let mut expected: BTreeMap<&str, i64> = BTreeMap::new();
    expected.extend(bits.map(|(name, fact)| (name, fact.bit().into())));
    expected.extend(statuses.map(|(name, status)| (name, status_number(status).into())));
    expected.extend(results.map(|(name, result)| (name, result_number(result).into())));
    expected.extend(reasons.map(|(name, reason)| (name, reason as i64)));
    expected.insert("forgotten_bit", FORGOTTEN.into());
    expected.insert("removed_bit", REMOVED.into());
    // So does the removal of the lead.
    expected.insert("ends_first_step", ends_first_step.fold(1 << REMOVED, |mask, facts| mask | facts.0));
    expected.insert("had_account_bit", i64::from(FORGOTTEN) + 1);
    let of_contact = (0..=FORGOTTEN).filter_map(Fact::from_bit);
    let of_contact = of_contact.filter(|fact| matches!(fact, Fact::Delivered(_) | Fact::Replied | Fact::Converted));
    expected.insert("contact_facts", of_contact.fold(0, |mask, fact| mask | 1 << fact.bit()));
    expected.insert("any_account", 0);
    expected.insert("all_campaigns", 0);
    expected.insert("all_accounts", -1);
    for (name, number) in &expected {
        assert_eq!(numbers.remove(*name), Some(*number), "{name}");
    }
    // The next test looks at these in the rows that the service writes.
    let left: Vec<_> = numbers.into_keys().collect();
    assert_eq!(left, STATES, "these are compared with nothing");
}

/// Numbers of states that stand in rows of accounts and campaigns.
const STATES: [&str; 9] = [
    "account_active",
    "account_suspended",
    "campaign_active",
    "campaign_finished",
    "campaign_paused",
    "expiry_hold",
    "expiry_retry",
    "finish_completed",
    "finish_requested",
];

#[tokio::test]
async fn rows_have_the_named_numbers_of_their_states() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_account(&service, "bob", None).await;
    let suspend = pb::SuspendAccountRequest { name: account_name("bob"), ..Default::default() };
    service.accounts.clone().suspend_account(suspend).await.unwrap();
    let retry = pb::Campaign { claim_expiry_policy: pb::ClaimExpiryPolicy::Retry.into(), ..settings(1, &["ann"]) };
    create_campaign(&service, "active", retry).await;
    for name in ["paused", "requested", "completed"] {
        create_campaign(&service, name, settings(1, &["ann"])).await;
    }
    let pause = pb::PauseCampaignRequest { name: campaign_name("paused"), ..Default::default() };
    service.campaigns.clone().pause_campaign(pause).await.unwrap();
    let finish = pb::FinishCampaignRequest { name: campaign_name("requested"), ..Default::default() };
    service.campaigns.clone().finish_campaign(finish).await.unwrap();
    add_leads(&service, "completed", 1, None, true).await;
    report_new(&service, vec![by_lead("completed", "l0", 1, pb::OutcomeKind::Delivered)]).await;
    let sql = service.sql().await;
    let accounts =
        "SELECT bool_and(CASE name WHEN 'ann' THEN state = account_active() ELSE state = account_suspended() END)
        FROM accounts";
    let campaigns = "SELECT count(*) = 4 AND bool_and(CASE name
            WHEN 'active' THEN state = campaign_active() AND claim_expiry_policy = expiry_retry()
            WHEN 'paused' THEN state = campaign_paused() AND claim_expiry_policy = expiry_hold()
            WHEN 'requested' THEN state = campaign_finished() AND finish_reason = finish_requested()
            WHEN 'completed' THEN state = campaign_finished() AND finish_reason = finish_completed() END)
        FROM campaigns";
    for query in [accounts, campaigns] {
        assert!(sql.query_one(query, &[]).await.unwrap().get::<_, bool>(0), "{query}");
    }
}

#[tokio::test]
async fn functions_of_one_bit_are_the_same_in_sql() {
    let sql = database().await.connect().await;
    let query = "SELECT bit, is_delivered(bit), is_failed(bit), is_bounced(bit), is_message(bit), step_bit_of(bit), fact_mask(bit),
            has_fact(fact_mask(bit), bit), has_fact(~fact_mask(bit), bit)
        FROM generate_series(0, 51) bit";
    for row in sql.query(query, &[]).await.unwrap() {
        let fact = Fact::from_bit(row.get::<_, i32>(0).try_into().unwrap()).expect("all of them are facts");
        let kinds =
            [matches!(fact, Fact::Delivered(_)), matches!(fact, Fact::Failed(_)), matches!(fact, Fact::Bounced(_))];
        assert_eq!([1, 2, 3].map(|column| row.get::<_, bool>(column)), kinds, "{fact:?}");
        assert_eq!(row.get::<_, bool>(4), fact.step().is_some(), "{fact:?}");
        if let Some(step) = fact.step() {
            assert_eq!(row.get::<_, i32>(5), i32::from(step.number()) - 1, "{fact:?}");
        }
        assert_eq!(row.get::<_, i64>(6), Facts::default().with(fact).0, "{fact:?}");
        assert_eq!((row.get(7), row.get(8)), (true, false), "{fact:?}");
    }
    let query = "SELECT bit, step_mask(bit), ARRAY(SELECT result_bit(result, bit) FROM generate_series(0, 3) result ORDER BY result)
        FROM generate_series(0, 15) bit";
    for row in sql.query(query, &[]).await.unwrap() {
        let step = step(row.get::<_, i32>(0) + 1);
        let facts = [Fact::Delivered(step), Fact::Failed(step), Fact::Bounced(step)];
        assert_eq!(row.get::<_, i64>(1), facts.into_iter().fold(Facts::default(), Facts::with).0, "{step:?}");
        let bits: Vec<Option<i32>> = std::iter::once(None).chain(facts.map(|fact| Some(fact.bit().into()))).collect();
        assert_eq!(row.get::<_, Vec<Option<i32>>>(2), bits, "{step:?}");
    }
}

#[tokio::test]
async fn postgres_inlines_every_function_of_facts() {
    let sql = database().await.connect().await;
    let functions = "SELECT p.proname::text, coalesce(
            (SELECT string_agg(CASE type WHEN 'int8'::regtype THEN 'mask' ELSE 'lead_no' END, ', ') FROM unnest(p.proargtypes) type), '')
        FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace AND p.provolatile = 'i'
            AND p.proargtypes::oid[] <@ ARRAY['int8'::regtype, 'int4'::regtype]::oid[]";
    let functions = sql.query(functions, &[]).await.unwrap();
    assert!(functions.len() > 40, "{}", functions.len());
    let names: Vec<String> = functions.iter().map(|row| format!("{}(", row.get::<_, &str>(0))).collect();
    for row in &functions {
        let (name, arguments): (&str, &str) = (row.get(0), row.get(1));
        let explain = format!("EXPLAIN (VERBOSE) SELECT {name}({arguments}) FROM leads");
        let lines = sql.query(&explain, &[]).await.unwrap();
        let plan: Vec<&str> = lines.iter().map(|line| line.get(0)).collect();
        let plan = plan.join("\n");
        assert!(!names.iter().any(|name| plan.contains(name.as_str())), "{name} is called for each row:\n{plan}");
    }
}
