//! Runs random sequences of operations on the service and on a model in memory. After each operation both show the
//! same.
//!
//! The model is written from the rules (docs/concepts.md), not from the code. `MODEL_CASES` sets the number of sequences, `MODEL_SEED`
//! repeats a run. docs/testing.md lists the rules that the model does not check yet.

use std::collections::BTreeSet;

use campaign_metrics_service::store::Store;
use proptest::{
    prelude::*,
    strategy::ValueTree as _,
    test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner},
};

#[path = "model/campaign.rs"]
mod campaign;
#[path = "model/change.rs"]
mod change;
#[path = "model/claiming.rs"]
mod claiming;
#[path = "model/compare.rs"]
mod compare;
#[path = "model/crowd.rs"]
mod crowd;
#[path = "model/exports.rs"]
mod exports;
#[path = "model/gauges.rs"]
mod gauges;
#[path = "model/hours.rs"]
mod hours;
#[path = "model/lead.rs"]
mod lead;
#[path = "model/leads.rs"]
mod leads;
#[path = "model/ops.rs"]
mod ops;
#[path = "model/performance.rs"]
mod performance;
#[path = "model/play.rs"]
mod play;
#[path = "model/reasons.rs"]
mod reasons;
#[path = "model/sending.rs"]
mod sending;
#[path = "model/shown.rs"]
mod shown;
#[path = "model/views.rs"]
mod views;
#[path = "model/world.rs"]
mod world;

use self::{
    hours::HOURS,
    ops::{Op, op},
    play::{CAMPAIGNS, Checked, Play, WORKSPACES},
    shown::{Told, untold},
};
use crate::{
    harness::{postgres::database, service::Service},
    ways::served,
};

/// Sequences of all workers.
const CASES: u32 = 200;
const WORKERS: u32 = 4;
/// Crowds, one after the other.
const ROUNDS: u32 = 3;
/// Sequences before and after a migration that adds columns: enough for every kind of operation.
const AROUND_A_MIGRATION: u32 = 16;
/// Steps for shrinking a sequence that fails.
const SHRINK_MILLIS: u32 = 60_000;

/// Starts of the clock: before a clock change in some zone, in the middle of a year, at the end of a year.
const STARTS: [&str; 4] =
    ["2026-03-27T10:00:00Z", "2026-10-02T22:30:00Z", "2026-06-15T06:00:00Z", "2026-12-30T23:59:30Z"];

/// The input of a sequence: its start, zones and active hours, steps, and operations on the first or the second
/// workspace.
type Sequence = (usize, usize, Vec<(bool, Op)>);

/// A world with accounts, campaigns and leads in all workspaces.
async fn begin(mut play: Play<'_>, begin: usize, steps: usize, leads: usize) -> Checked<Play<'_>> {
    for workspace in 0..WORKSPACES {
        for (place, id) in CAMPAIGNS.into_iter().take(2).enumerate() {
            let hours = if workspace == place { 0 } else { (begin + place) % HOURS.len() };
            let of = [0b011, 0b110, 0b111, 0b101][(begin + workspace + place) % 4];
            let campaign = play.new_campaign(id, hours, 1 + (steps + place) % 3, of, (begin + place).is_multiple_of(3));
            play.create_campaign(workspace, campaign).await?;
            play.add_leads(workspace, place, &vec![None; leads + 2 * workspace + place], false, false).await?;
        }
    }
    Ok(play)
}

async fn play(service: &Service, store: &Store, told: &Told, number: u32, (zones, steps, ops): &Sequence) -> Checked {
    let mut play = begin(Play::new(service, store, told, number, *zones).await, *zones, *steps, 2).await?;
    for (is_other, op) in ops {
        play.run(usize::from(*is_other), op).await?;
    }
    play.audit().await?;
    play.clean_up().await
}

fn sequences() -> impl Strategy<Value = Sequence> {
    (0..24_usize, 0..3_usize, prop::collection::vec((prop::bool::weighted(0.25), op()), 20..70))
}

fn runner(config: Config, number: u32, seed: u64) -> TestRunner {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..12].copy_from_slice(&number.to_le_bytes());
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

/// Runs sequences on one service. Returns the fields that had a value in a comparison.
fn worker(number: u32, cases: u32, seed: u64) -> BTreeSet<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let start = STARTS[number as usize % STARTS.len()].parse().expect("a timestamp");
    let service = runtime
        .block_on(async { Service::on(&database().await, campaign_metrics_service::Clock::manual(start)).await });
    let (store, told) = (service.store(), Told::default());
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_time: SHRINK_MILLIS,
        // `make mutants` only needs to know that it fails.
        max_shrink_iters: std::env::var("MODEL_SHRINK_STEPS")
            .map_or(u32::MAX, |steps| steps.parse().expect("a number")),
        ..Config::default()
    };
    let count = std::cell::Cell::new(0);
    let result = runner(config, number, seed).run(&sequences(), |sequence| {
        count.set(count.get() + 1);
        runtime.block_on(play(&service, &store, &told, count.get(), &sequence))
    });
    // The first line names the broken rule.
    match result {
        Ok(()) => told.into_paths(),
        Err(TestError::Fail(reason, sequence)) => {
            panic!("{reason}\nthe smallest sequence: {sequence:?}\nMODEL_SEED={seed} repeats the run")
        }
        Err(TestError::Abort(reason)) => panic!("{reason}"),
    }
}

#[test]
fn the_service_shows_what_the_rules_say_after_any_sequence() {
    let number = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>().expect("a number"));
    let cases = number("MODEL_CASES").map_or(CASES, |cases| u32::try_from(cases).expect("not that many"));
    let seed = number("MODEL_SEED").unwrap_or_else(rand::random);
    let workers: Vec<_> =
        (0..WORKERS).map(|number| std::thread::spawn(move || worker(number, cases.div_ceil(WORKERS), seed))).collect();
    let mut told = BTreeSet::new();
    for worker in workers {
        told.append(&mut worker.join().expect("no sequence tells them apart"));
    }
    if cases >= CASES {
        let untold = untold(&told);
        assert!(
            untold.is_empty(),
            "fields of the API that no sequence told anything of, so that nothing held them: {untold:#?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_on_two_replicas_find_all_that_was_acknowledged() {
    let seed: u64 = std::env::var("MODEL_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().expect("a number"));
    let database = database().await;
    let start = STARTS[0].parse().expect("a timestamp");
    let service = Service::on(&database, campaign_metrics_service::Clock::manual(start)).await;
    let other = Service::on(&database, service.clock.clone()).await;
    let (store, told) = (service.store(), Told::default());
    for round in 0..ROUNDS {
        let play = Play::new(&service, &store, &told, round, round as usize).await;
        let outcome = async {
            let mut play = begin(play, round as usize, 2, 40).await?;
            play.crowd(0, &other, seed + u64::from(round)).await?;
            play.audit().await?;
            play.service = &other;
            play.audit().await?;
            play.clean_up().await
        };
        outcome.await.unwrap_or_else(|failure: TestCaseError| panic!("{failure}\nMODEL_SEED={seed} repeats the deeds"));
    }
    let (first, second) = (served(&service).await, served(&other).await);
    assert!(
        first.optimistic + second.optimistic > 0 && first.full + second.full > 0,
        "both ways served: {first:?} {second:?}"
    );
}

/// A migration runs while replicas of the version before it serve: their connections keep prepared statements.
#[tokio::test]
async fn columns_that_are_added_under_a_running_service_break_no_call() {
    let service = Service::on(
        &database().await,
        campaign_metrics_service::Clock::manual(STARTS[0].parse().expect("a timestamp")),
    )
    .await;
    let (store, told) = (service.store(), Told::default());
    // The same sequences before and after, so that what runs after was prepared before.
    let mut runner = runner(Config::default(), 0, 17);
    let sequences: Vec<Sequence> = (0..AROUND_A_MIGRATION)
        .map(|_| sequences().new_tree(&mut runner).expect("nothing is filtered out").current())
        .collect();
    let mut number = 0;
    for half in ["before", "after"] {
        for sequence in &sequences {
            number += 1;
            let played = play(&service, &store, &told, number, sequence).await;
            played.unwrap_or_else(|failure| panic!("{half} the migration: {failure}"));
        }
        if half == "before" {
            let sql = service.sql().await;
            let tables = "SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'public'::regnamespace
                AND relkind IN ('r', 'p') AND NOT relispartition ORDER BY 1";
            for row in sql.query(tables, &[]).await.unwrap() {
                let table: String = row.get(0);
                let add = format!("ALTER TABLE {table} ADD COLUMN added_later int8 NOT NULL DEFAULT 7");
                sql.batch_execute(&add).await.unwrap();
            }
        }
    }
}
