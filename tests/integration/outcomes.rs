//! Outcomes that arrive late, twice, in any order or batch, in parallel and on two replicas give the same result. One
//! bad outcome never harms its neighbours.

use std::collections::BTreeMap;

use campaign_metrics::{
    lead::{Fact, Facts, LeadStatus, Step},
    pb::{self, OutcomeKind, OutcomeVerdict},
};
use futures::future::join_all;
use jiff::{Timestamp, ToSpan as _};
use proptest::{
    prelude::*,
    test_runner::{Config, TestCaseError, TestRunner},
};

use crate::{
    harness::{
        recount::assert_counts,
        service::{Service, monday},
    },
    world::{
        add_leads, by_key, by_lead, claim, create_account, create_campaign, get, report, report_new, settings, try_add,
    },
};

/// The outcome of a fact about a lead. Its time and reason are a function of lead and fact, so repeats are exact.
#[derive(Debug, Clone)]
struct Given {
    lead: usize,
    fact: Fact,
    reason: i32,
    days_ago: i64,
    /// Microseconds beside the whole days: an age ends between two of them.
    micros: i64,
    /// Reported by a send key, where the lead has one.
    by_key: bool,
}

#[derive(Debug, Clone)]
struct Case {
    /// Whether the first account has claimed all first steps that it may, before anything is reported.
    claimed: bool,
    steps: i32,
    leads: usize,
    given: Vec<Given>,
    /// The same facts repeated and shuffled, each with its writer and batch.
    shuffled: Vec<(Given, usize, usize)>,
}

const WRITERS: usize = 4;

fn fact(steps: i32) -> impl Strategy<Value = Fact> {
    let step = (1..=steps).prop_map(|number| Step::new(number).expect("1 to 16"));
    prop_oneof![
        4 => step.clone().prop_map(Fact::Delivered),
        2 => step.clone().prop_map(Fact::Failed),
        2 => step.prop_map(Fact::Bounced),
        2 => prop::sample::select(vec![Fact::Replied, Fact::Converted]),
        1 => prop::sample::select(vec![Fact::AutoReplied, Fact::OptedOut]),
    ]
}

fn case() -> impl Strategy<Value = Case> {
    (1..=4_i32, 1..=5_usize, any::<bool>())
        .prop_flat_map(|(steps, leads, claimed)| {
            let days_ago = prop::sample::select(vec![0, 1, 2, 3, 4, 31, 33]);
            let given = (0..leads, fact(steps), 1..=5_i32, days_ago, -1..=1_i64, any::<bool>());
            let given = given.prop_map(|(lead, fact, reason, days_ago, micros, by_key)| Given {
                lead,
                fact,
                reason,
                days_ago,
                micros,
                by_key,
            });
            (Just((steps, claimed)), Just(leads), prop::collection::vec(given, 1..40))
        })
        .prop_flat_map(|(steps, leads, given)| {
            let mut first: BTreeMap<(usize, u8), Given> = BTreeMap::new();
            for one in given {
                first.entry((one.lead, one.fact.bit())).or_insert(one);
            }
            let given: Vec<Given> = first.into_values().collect();
            let twice: Vec<Given> = given.iter().chain(&given).cloned().collect();
            let placed = prop::collection::vec((0..WRITERS, 0..4_usize), twice.len());
            (Just(steps), Just(leads), Just(given), Just(twice).prop_shuffle(), placed)
        })
        .prop_map(|((steps, claimed), leads, given, twice, placed)| {
            let place = |(given, (writer, batch))| (given, writer, batch);
            Case { claimed, steps, leads, given, shuffled: twice.into_iter().zip(placed).map(place).collect() }
        })
}

/// The outcome of a fact. `keys` has the send keys of first steps, by lead.
fn outcome(campaign: &str, keys: &BTreeMap<String, String>, given: &Given) -> pb::Outcome {
    let (kind, failed) = match given.fact {
        Fact::Delivered(_) => (OutcomeKind::Delivered, false),
        Fact::Failed(_) => (OutcomeKind::Failed, true),
        Fact::Bounced(_) => (OutcomeKind::Bounced, true),
        Fact::Replied => (OutcomeKind::Replied, false),
        Fact::Converted => (OutcomeKind::Converted, false),
        Fact::AutoReplied => (OutcomeKind::AutoReplied, false),
        Fact::OptedOut => (OutcomeKind::OptedOut, false),
    };
    let step = given.fact.step().map_or(0, |step| step.number().into());
    let at: Timestamp = monday().checked_sub((24 * given.days_ago).hours()).expect("a time");
    let at = at.checked_add(given.micros.microseconds()).expect("a time");
    let by_lead = by_lead(campaign, &format!("{campaign}-{}", given.lead), step, kind);
    // A sender may know the key of one step and report another one by it.
    let key = keys.get(&by_lead.lead).filter(|_| given.by_key).and_then(|key| key.rsplit_once('-'));
    let named = match key {
        Some((key, _)) => {
            pb::Outcome { send_key: format!("{key}-{}", step.max(1)), lead: String::new(), step: 0, ..by_lead }
        }
        None => by_lead,
    };
    pb::Outcome {
        reason: if failed { given.reason } else { 0 },
        time: Some(prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }),
        ..named
    }
}

/// Accounts of a campaign. Every third lead has the first one, every third the second one, and every third has none.
type Accounts = [String; 2];

/// Everything that must not depend on order: counts, history, leads of accounts, due steps.
async fn everything(service: &Service, campaign: &str, accounts: &Accounts) -> (pb::Campaign, Vec<String>) {
    let view = get(service, campaign).await;
    let sql = service.sql().await;
    assert_counts(&sql, &view).await;
    let mut rows = Vec::new();
    // Accounts by their place from 1 on, 0 for none, -1 for all.
    let history = "SELECT CASE WHEN campaign_id = all_campaigns() THEN 'all' ELSE 'this' END
            || ' ' || coalesce(array_position($2::text[], a.name), account_id) || ' ' || day || ' ' || history_numbers(h)::text
        FROM history h LEFT JOIN campaigns c USING (workspace_id, campaign_id)
            LEFT JOIN accounts a USING (workspace_id, account_id)
        WHERE (c.name = $1 OR campaign_id = all_campaigns() AND a.name = ANY ($2)) AND NOT is_empty(h)
        ORDER BY 1";
    let leads = "SELECT coalesce(array_position($2::text[], a.name), 0) || ' has ' || ARRAY[l.pending, l.partial, l.sent, l.failed]::text
        FROM account_leads l JOIN campaigns c USING (workspace_id, campaign_id)
            LEFT JOIN accounts a USING (workspace_id, account_id)
        WHERE c.name = $1 AND l.pending + l.partial + l.sent + l.failed > 0 ORDER BY 1";
    for select in [history, leads] {
        for row in sql.query(select, &[&campaign, &accounts.as_slice()]).await.unwrap() {
            rows.push(row.get(0));
        }
    }
    // Outdated rows may remain. The steps that can still be claimed must agree.
    let due_rows = "SELECT DISTINCT r.lead_no || ' step ' || r.step || ' due ' || r.due_at || ' to '
            || coalesce(array_position($2::text[], a.name), 0)
        FROM returns r JOIN campaigns c USING (workspace_id, campaign_id) JOIN leads l USING (workspace_id, campaign_id, lead_no)
            LEFT JOIN accounts a ON a.workspace_id = r.workspace_id AND a.account_id = r.account_id
        WHERE c.name = $1 AND lead_next_step(l.mask, c.steps) = r.step ORDER BY 1";
    for row in sql.query(due_rows, &[&campaign, &accounts.as_slice()]).await.unwrap() {
        rows.push(row.get(0));
    }
    // At most first steps are claimed, so every follow-up waits.
    let lost = "SELECT count(*) FROM leads l JOIN campaigns c USING (workspace_id, campaign_id)
        WHERE c.name = $1 AND lead_next_step(l.mask, c.steps) > 1
            AND NOT EXISTS (SELECT FROM returns r WHERE r.workspace_id = l.workspace_id AND r.campaign_id = l.campaign_id
                AND r.lead_no = l.lead_no AND r.step = lead_next_step(l.mask, c.steps))";
    assert_eq!(sql.query_one(lost, &[&campaign]).await.unwrap().get::<_, i64>(0), 0, "lost follow-ups of {campaign}");
    (view, rows)
}

async fn check(one: &Service, two: &Service, number: usize, case: &Case) -> Result<(), TestCaseError> {
    let names = ["ordered", "shuffled"].map(|order| {
        let accounts = ["a", "b"].map(|account| format!("{account}-{order}-{number}"));
        (format!("{order}-{number}"), accounts)
    });
    for (campaign, accounts) in &names {
        for account in accounts {
            create_account(one, account, None).await;
        }
        let serving: Vec<&str> = accounts.iter().map(String::as_str).collect();
        create_campaign(one, campaign, settings(case.steps, &serving)).await;
        // Its own ids, because an opt-out applies to all campaigns.
        let leads = (0..case.leads).map(|lead| pb::NewLead {
            lead_id: format!("{campaign}-{lead}"),
            account_id: accounts.get(lead % 3).cloned().unwrap_or_default(),
        });
        try_add(one, campaign, leads.collect(), true).await.expect("leads");
    }
    let (ordered, shuffled) = (&names[0], &names[1]);
    let claimed = async |(_, accounts): &(String, Accounts)| -> BTreeMap<String, String> {
        let max = if case.claimed { i32::try_from(case.leads).expect("few leads") } else { return BTreeMap::new() };
        let claims = claim(one, &accounts[0], max).await.claims;
        claims.into_iter().map(|claim| (claim.lead, claim.send_key)).collect()
    };
    let (ordered_keys, shuffled_keys) = (claimed(ordered).await, claimed(shuffled).await);
    for given in &case.given {
        report_new(one, vec![outcome(&ordered.0, &ordered_keys, given)]).await;
    }
    let writer = async |writer: usize| {
        let service = if writer.is_multiple_of(2) { one } else { two };
        let mut applied = 0;
        for batch in 0..4 {
            let mine = case.shuffled.iter().filter(|(_, w, b)| (*w, *b) == (writer, batch));
            let outcomes: Vec<pb::Outcome> =
                mine.map(|(given, ..)| outcome(&shuffled.0, &shuffled_keys, given)).collect();
            if outcomes.is_empty() {
                continue;
            }
            for result in report(service, outcomes).await {
                match result.verdict() {
                    OutcomeVerdict::Applied => applied += 1,
                    OutcomeVerdict::Duplicate => {}
                    other => panic!("{other:?}: {} {}", result.reason, result.message),
                }
            }
        }
        applied
    };
    let applied: usize = join_all((0..WRITERS).map(writer)).await.into_iter().sum();
    prop_assert_eq!(applied, case.given.len(), "each fact is applied once");

    let (one_by_one, one_rows) = everything(one, &ordered.0, &ordered.1).await;
    let (at_random, random_rows) = everything(two, &shuffled.0, &shuffled.1).await;
    prop_assert_eq!(one_rows, random_rows, "history, leads of accounts and what is due");
    prop_assert_eq!(&one_by_one.message_counts, &at_random.message_counts);
    prop_assert_eq!(one_by_one.lead_counts, at_random.lead_counts);

    let mut facts = vec![Facts::default(); case.leads];
    for given in &case.given {
        facts[given.lead] = facts[given.lead].with(given.fact);
    }
    let steps = Step::new(case.steps).expect("1 to 16");
    let ended = |facts: &Facts| matches!(facts.status(steps), LeadStatus::Sent | LeadStatus::Failed);
    // A finish is final, even if a late outcome would have prevented it. So only one direction holds.
    if facts.iter().all(ended) {
        prop_assert_eq!(at_random.state(), pb::CampaignState::Finished, "it finishes by itself");
        prop_assert_eq!(at_random.finish_reason(), pb::FinishReason::Completed);
    }
    Ok(())
}

#[test]
fn outcomes_give_the_same_result_in_any_order_repeated_split_and_in_parallel() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let one = runtime.block_on(Service::start());
    let two = runtime.block_on(Service::on(&one.database, one.clock.clone()));
    let mut number = 0;
    let mut runner = TestRunner::new(Config { cases: 48, failure_persistence: None, ..Config::default() });
    let numbers = std::cell::RefCell::new(&mut number);
    let result = runner.run(&case(), |case| {
        let number = {
            let mut number = numbers.borrow_mut();
            **number += 1;
            **number
        };
        runtime.block_on(check(&one, &two, number, &case))
    });
    drop(runtime.enter());
    result.unwrap_or_else(|failure| panic!("{failure}"));
}

#[tokio::test]
async fn one_bad_outcome_never_harms_its_neighbours() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "spring", settings(2, &["ann"])).await;
    add_leads(&service, "spring", 3, Some("ann"), false).await;
    let future = monday().checked_add(10.minutes()).unwrap();
    let delivered = OutcomeKind::Delivered;
    let outcomes = vec![
        by_lead("spring", "l0", 1, delivered),
        by_lead("spring", "nobody", 1, delivered),
        by_lead("spring", "l0", 3, delivered),
        by_lead("spring", "l0", 17, delivered),
        by_lead("spring", "l0", 0, delivered),
        by_lead("winter", "l0", 1, delivered),
        by_lead("spring", "sp ace", 1, delivered),
        pb::Outcome { send_key: "deadbeef-1-1-1".into(), kind: delivered.into(), ..Default::default() },
        pb::Outcome { send_key: "nonsense".into(), kind: delivered.into(), ..Default::default() },
        pb::Outcome { kind: 99, ..by_lead("spring", "l1", 1, delivered) },
        pb::Outcome { reason: 1, ..by_lead("spring", "l1", 1, delivered) },
        pb::Outcome { reason: 77, ..by_lead("spring", "l1", 1, OutcomeKind::Failed) },
        pb::Outcome {
            time: Some(prost_types::Timestamp { seconds: future.as_second(), nanos: 0 }),
            ..by_lead("spring", "l1", 1, delivered)
        },
        pb::Outcome {
            lead: "workspaces/other/campaigns/spring/leads/l1".into(),
            ..by_lead("spring", "l1", 1, delivered)
        },
        by_lead("spring", "l1", 1, delivered),
        by_lead("spring", "l1", 1, delivered),
        by_lead("spring", "l1", 1, OutcomeKind::Bounced),
    ];
    let results = report(&service, outcomes).await;
    let told: Vec<(OutcomeVerdict, &str)> =
        results.iter().map(|result| (result.verdict(), result.reason.as_str())).collect();
    let (applied, duplicate) = ((OutcomeVerdict::Applied, ""), (OutcomeVerdict::Duplicate, ""));
    let rejected = |reason| (OutcomeVerdict::Rejected, reason);
    let expected = [
        applied,
        rejected("UNKNOWN_LEAD"),
        rejected("STEP_OUT_OF_RANGE"),
        rejected("STEP_OUT_OF_RANGE"),
        rejected("INVALID_OUTCOME"),
        rejected("UNKNOWN_LEAD"),
        rejected("INVALID_OUTCOME"),
        rejected("UNKNOWN_LEAD"),
        rejected("INVALID_OUTCOME"),
        rejected("INVALID_OUTCOME"),
        rejected("INVALID_OUTCOME"),
        rejected("INVALID_OUTCOME"),
        rejected("TIME_IN_FUTURE"),
        rejected("INVALID_OUTCOME"),
        applied,
        duplicate,
        applied,
    ];
    assert_eq!(told, expected);
    assert!(
        results.iter().all(|result| result.reason.is_empty() == result.message.is_empty()),
        "each rejection says why"
    );
    let campaign = get(&service, "spring").await;
    assert_counts(&*service.sql().await, &campaign).await;
    let counts = campaign.lead_counts.unwrap();
    assert_eq!((counts.partial, counts.failed, counts.pending, counts.total), (1, 1, 1, 3));
}

#[tokio::test]
async fn the_trail_of_a_lead_tells_every_fact_in_the_order_of_arrival() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "spring", settings(1, &["ann"])).await;
    add_leads(&service, "spring", 1, None, false).await;
    let claimed = claim(&service, "ann", 1).await.claims;
    let bounced =
        pb::Outcome { reason: 2, detail: "no such mailbox".into(), ..by_key(&claimed[0], OutcomeKind::Bounced) };
    report_new(&service, vec![by_key(&claimed[0], OutcomeKind::AutoReplied), bounced]).await;
    service.clock.advance(std::time::Duration::from_secs(1));
    report_new(&service, vec![by_key(&claimed[0], OutcomeKind::Delivered)]).await;
    let parent = claimed[0].lead.clone();
    let request = pb::ListLeadOutcomesRequest { parent: parent.clone(), page_size: 2, ..Default::default() };
    let first = service.leads.clone().list_lead_outcomes(request.clone()).await.unwrap().into_inner();
    let request = pb::ListLeadOutcomesRequest { page_token: first.next_page_token, ..request };
    let second = service.leads.clone().list_lead_outcomes(request).await.unwrap().into_inner();
    assert!(second.next_page_token.is_empty());
    let kinds: Vec<OutcomeKind> = first.outcomes.iter().chain(&second.outcomes).map(pb::LeadOutcome::kind).collect();
    assert_eq!(kinds, [OutcomeKind::AutoReplied, OutcomeKind::Bounced, OutcomeKind::Delivered]);
    assert_eq!(first.outcomes[1].detail, "no such mailbox");
    assert_eq!(first.outcomes[1].account, claimed[0].account);
    let lead = service.leads.clone().get_lead(pb::GetLeadRequest { name: parent }).await.unwrap().into_inner();
    assert_eq!(lead.status(), pb::LeadStatus::Failed, "bounced over delivered");
    assert_eq!(lead.step_results[0].reason(), pb::FailureReason::InvalidLead);
    assert!(lead.auto_replied && !lead.replied);
}

#[tokio::test]
async fn a_message_counts_on_the_day_of_its_result() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "spring", settings(1, &["ann"])).await;
    add_leads(&service, "spring", 4, Some("ann"), false).await;
    let on = |days: i64, lead: &str, kind: OutcomeKind| {
        let at = monday().checked_sub((24 * days).hours()).unwrap();
        let time = Some(prost_types::Timestamp { seconds: at.as_second(), nanos: 0 });
        let reason = if kind == OutcomeKind::Delivered { 0 } else { 2 };
        pb::Outcome { time, reason, ..by_lead("spring", lead, 1, kind) }
    };
    // In either order, in separate calls and in one call.
    report_new(&service, vec![on(40, "l0", OutcomeKind::Delivered), on(1, "l1", OutcomeKind::Bounced)]).await;
    report_new(&service, vec![on(1, "l0", OutcomeKind::Bounced), on(40, "l1", OutcomeKind::Delivered)]).await;
    let at_once = [(40, OutcomeKind::Failed), (2, OutcomeKind::Delivered), (40, OutcomeKind::Bounced)];
    report_new(&service, at_once.map(|(days, kind)| on(days, "l2", kind)).to_vec()).await;
    report_new(&service, vec![on(3, "l3", OutcomeKind::Failed)]).await;
    let name = crate::world::account_name("ann");
    let account = service.accounts.clone().get_account(pb::GetAccountRequest { name }).await.unwrap().into_inner();
    let lifetime = account.lifetime.unwrap();
    assert_eq!((lifetime.delivered, lifetime.failed, lifetime.bounced), (0, 1, 3));
    let recent = account.last_30_days.unwrap();
    assert_eq!((recent.delivered, recent.failed, recent.bounced), (0, 1, 2), "l2 bounced 40 days ago");
}

#[tokio::test]
async fn a_delivery_that_supersedes_a_failure_brings_the_follow_up_back() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "spring", settings(3, &["ann"])).await;
    add_leads(&service, "spring", 1, Some("ann"), false).await;
    for (step, kind) in [(1, OutcomeKind::Failed), (2, OutcomeKind::Delivered), (1, OutcomeKind::Delivered)] {
        report_new(&service, vec![by_lead("spring", "l0", step, kind)]).await;
    }
    service.clock.advance(std::time::Duration::from_hours(1));
    let claims = claim(&service, "ann", 9).await.claims;
    assert_eq!(claims.iter().map(|claim| claim.step).collect::<Vec<_>>(), [3]);
}
