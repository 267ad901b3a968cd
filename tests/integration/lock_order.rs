//! The order in which transactions lock rows. Transactions that all follow one order can't deadlock.
//!
//! The order is read from docs/architecture.md, "Lock order". Every write is traced and compared with it. Known
//! deviations are listed here by their number there; one that is no longer observed fails the test.

#[path = "lock_order/trace.rs"]
mod trace;
#[path = "lock_order/world.rs"]
mod world;
#[path = "lock_order/writes.rs"]
mod writes;

use std::{collections::BTreeSet, fs};

use self::{
    trace::{Row, Trace, Wait},
    world::World,
    writes::{ACCOUNTS, CAMPAIGNS, LEADS, SENDING, UPKEEP, Write},
};
use crate::harness::parts::repository;

/// Waits that depart from the order.
struct Deviation {
    /// Its number in docs/architecture.md, which gives the reason.
    number: u32,
    calls: &'static [&'static str],
    /// The tables that these calls lock too late.
    tables: &'static [&'static str],
    occurs: Occurs,
}

/// How often a deviation is observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Occurs {
    Always,
    /// In a random or physical order, which can be that of the keys by chance.
    ByChance,
}

/// The deviations that the trace observes. Others need a second session at the right moment, or never wait.
const DEVIATIONS: &[Deviation] = &[
    Deviation {
        number: 1,
        calls: &["AddLeads", "AddOptOuts", "ReportOutcomes"],
        tables: &["campaigns"],
        occurs: Occurs::Always,
    },
    Deviation { number: 3, calls: &["UpdateCampaign", "ApplyCampaign"], tables: &["accounts"], occurs: Occurs::Always },
    Deviation { number: 3, calls: &["UpdateCampaign"], tables: &["campaign_accounts"], occurs: Occurs::Always },
    Deviation { number: 5, calls: &["ClaimSends"], tables: &["campaign_reservations"], occurs: Occurs::ByChance },
    Deviation {
        number: 5,
        calls: &["ClaimSends"],
        tables: &["claims", "leads", "campaign_counters"],
        occurs: Occurs::Always,
    },
    Deviation { number: 6, calls: &["ResolveClaims"], tables: &["leads", "campaign_counters"], occurs: Occurs::Always },
    Deviation {
        number: 9,
        calls: &["UpdateCampaign", "ApplyCampaign"],
        tables: &["workspaces"],
        occurs: Occurs::Always,
    },
    Deviation {
        number: 10,
        calls: &["campaigns_drain"],
        tables: &["leads", "account_leads", "campaign_reservations", "history"],
        occurs: Occurs::ByChance,
    },
];

/// Tables without a place in the order: their rows are locked under a lock that excludes other writers, or alone.
const UNORDERED: [&str; 11] = [
    "segments",
    "returns",
    "campaign_claims",
    "lead_ids",
    "outcomes",
    "opt_outs",
    "opt_outs_waiting",
    "requests",
    "deleted_campaigns",
    "history_closed",
    "kept_reservations",
];

fn page() -> String {
    fs::read_to_string(repository().join("docs/architecture.md")).expect("docs/architecture.md")
}

/// Reads the tables in the documented order.
fn documented_order() -> Vec<String> {
    let page = page();
    let (_, list) = page.split_once("states the order in which transactions lock rows").expect("the order is stated");
    let list = list.lines().skip_while(|line| !line.starts_with('>')).take_while(|line| line.starts_with('>'));
    let list: String = list.collect();
    let tables: Vec<String> = list.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    assert_eq!(tables.iter().collect::<BTreeSet<_>>().len(), tables.len(), "each table is listed once: {tables:?}");
    tables
}

/// Returns the rows that the call held although they come after the one that it waited for.
fn early<'a>(wait: &'a Wait, order: &[String]) -> Vec<&'a Row> {
    let rank = |row: &Row| {
        let rank = order.iter().position(|table| *table == row.table);
        let is_known = rank.is_some() || UNORDERED.contains(&row.table.as_str());
        assert!(is_known, "docs/architecture.md does not say when {} is locked", row.table);
        rank.map(|rank| (rank, row.place))
    };
    let Some(waited_for) = rank(&wait.for_row) else { return Vec::new() };
    wait.held.iter().filter(|row| rank(row).is_some_and(|held| held > waited_for)).collect()
}

fn writes() -> impl Iterator<Item = &'static Write> {
    [CAMPAIGNS, ACCOUNTS, LEADS, SENDING, UPKEEP].into_iter().flatten()
}

#[tokio::test]
async fn every_write_locks_rows_in_the_documented_order() {
    let order = documented_order();
    let mut unknown = Vec::new();
    let mut observed = BTreeSet::new();
    for write in writes() {
        let world = World::new().await;
        write.prepare(&world).await;
        let trace = Trace::start(&world.service.database, write.skips).await.expect("all rows are locked");
        let what = format!("{} {}", write.call, write.case);
        let ((), waits) = trace.run(write.run(&world)).await.unwrap_or_else(|error| panic!("{what}: {error:#}"));
        let skips_all = write.call == "claims_compact";
        assert_eq!(waits.is_empty(), skips_all, "{what}: every write waits for a row, unless it skips what is locked");
        for wait in &waits {
            let early = early(wait, &order);
            if early.is_empty() {
                continue;
            }
            let table = wait.for_row.table.as_str();
            let known = DEVIATIONS.iter().position(|it| it.calls.contains(&write.call) && it.tables.contains(&table));
            match known {
                Some(index) => drop(observed.insert(index)),
                None => unknown.push(format!("{what}: waits for {:?} while it holds {early:?}", wait.for_row)),
            }
        }
    }
    assert!(unknown.is_empty(), "locks out of order:\n{}", unknown.join("\n"));
    let page = page();
    for (index, Deviation { number, calls, tables, occurs }) in DEVIATIONS.iter().enumerate() {
        let what = format!("deviation {number} of {calls:?} at {tables:?}");
        let is_observed = observed.contains(&index) || *occurs == Occurs::ByChance;
        assert!(is_observed, "{what} no longer happens: take it off the list");
        assert!(page.contains(&format!("\n{number}. **")), "docs/architecture.md does not explain {what}");
    }
}

#[test]
fn every_call_that_writes_is_traced() {
    let traced: BTreeSet<&str> = writes().map(|write| write.call).collect();
    for file in fs::read_dir(repository().join("proto/campaign_metrics/v1")).expect("the contract") {
        let text = fs::read_to_string(file.expect("a file").path()).expect("text");
        for call in text.lines().filter_map(|line| line.trim_start().strip_prefix("rpc ")?.split('(').next()) {
            let reads = ["Get", "List", "Watch", "Query", "Diagnose", "Compare", "Export"]
                .iter()
                .any(|verb| call.starts_with(verb));
            assert!(reads || traced.contains(call), "tests/integration/lock_order/writes.rs has no case of {call}");
        }
    }
}
