//! Maps files to the tests that cover them. Edit the table when you add a test module.
//!
//! The longest row that is a prefix of a file's path applies. `near` modules come in the order of what they find for
//! their time. `far` modules run only for mutants that nothing else caught.

/// The tests of some files.
#[derive(Debug)]
pub struct Row {
    /// Prefix of their paths.
    pub files: &'static str,
    /// Test binaries that run as a whole: `PACKAGE`, or `PACKAGE/TEST`.
    pub binaries: &'static [&'static str],
    /// Modules of the integration binary, or tests by the beginning of their names, one after the other.
    pub near: &'static [&'static str],
    /// Modules of the integration binary, all at once.
    pub far: &'static [&'static str],
}

/// The integration binary.
pub const INTEGRATION: &str = "campaign-metrics/integration";

/// How the model runs: the same sequences for every mutant, so that only the mutant makes a difference, and without
/// shrinking.
pub const MODEL: [(&str, &str); 3] = [("MODEL_CASES", "24"), ("MODEL_SEED", "16"), ("MODEL_SHRINK_STEPS", "0")];

/// The model under random sequences. Its crowds take as long.
const SEQUENCES: &str = "model::the_service_shows";

/// Tests of a running service. `crash`, `plans` and `readme` are left out: they are slow and find what others find. So
/// is `schema`, which compares the text of every function.
#[rustfmt::skip]
const SERVICE: &[&str] = &[
    "account_of_lead", "account_totals", "away", "bounds", "campaigns", "claims", "closing", "commands", "crowds", "deadlines", "drains", "edges", "export_commands",
    "exports", "facts", "gauges", "history", "holding", "inputs", "last_lead", "lead_views", "leaving", "limits", "local_days", "lock_order", "log", "model::many_clients", "namesakes", "neighbours", "nothing_lost", "one_campaign", "optimistic", "outcomes", "outside", "pages", "performance", "reading",
    "reasons", "removal", "retiring", "retries", "sharing", "storage", "streams", "telemetry", "tenants", "transport", "waiting", "wiring", SEQUENCES,
];

const CONTRACT: &[&str] = &["campaign-metrics"];
const METRICS: &[&str] = &["campaign-metrics-service"];
const CONTROLLER: &[&str] = &["campaign-controller", "campaign-controller/crd"];
const CAMPAIGNCTL: &[&str] = &["campaignctl", "campaignctl/help", "campaignctl/pages"];

const fn row(
    files: &'static str,
    binaries: &'static [&'static str],
    near: &'static [&'static str],
    far: &'static [&'static str],
) -> Row {
    Row { files, binaries, near, far }
}

/// The table.
#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row("proto/", CONTRACT, &["facts", "limits", SEQUENCES], SERVICE),
    row("proto/lead.rs", CONTRACT, &["facts", "outcomes", SEQUENCES], SERVICE),
    row("proto/invalid.rs", CONTRACT, &["inputs"], SERVICE),
    row("proto/name.rs", CONTRACT, &["inputs"], SERVICE),
    row("proto/schedule.rs", CONTRACT, &["local_days", SEQUENCES], SERVICE),
    row("proto/diagnosis", CONTRACT, &[], &["faults"]),
    row("proto/statistics", CONTRACT, &["verdicts"], &[]),
    row("proto/comparison", CONTRACT, &["verdicts", "performance"], &[]),
    row("proto/wire", CONTRACT, &["inputs", "gauges", "pages", SEQUENCES], SERVICE),
    row("proto/wire/comparison.rs", CONTRACT, &["verdicts", "performance"], &[]),
    row("proto/wire/performance.rs", CONTRACT, &["performance", SEQUENCES], &[]),
    row("services/metrics/migrations/", &[], &["facts", "edges", SEQUENCES], SERVICE),
    row("services/metrics/migrations/0008", &[], &["reporting", SEQUENCES], &[]),
    row("services/metrics/migrations/0012", &[], &["replicas", "bounds"], &["upgrade"]),
    row("services/metrics/migrations/0013", &[], &["account_totals", "leaving", "namesakes"], SERVICE),
    row("services/metrics/migrations/0011", &[], &["holds"], SERVICE),
    row("services/metrics/migrations/0009", &[], &["roles", "storage"], SERVICE),
    row("services/metrics/migrations/0007", &[], &["claims", "gauges", SEQUENCES], SERVICE),
    row("services/metrics/migrations/0006", &[], &["history", "outcomes", SEQUENCES], SERVICE),
    row("services/metrics/src/", METRICS, &["drains", "wiring", "streams", "transport"], SERVICE),
    row("services/metrics/src/changes.rs", METRICS, &["log"], &[]),
    row("services/metrics/src/outage.rs", METRICS, &["log", "traces"], &[]),
    row("services/metrics/src/ingest", METRICS, &["neighbours", "streams"], SERVICE),
    row("services/metrics/src/store/pool", METRICS, &["neighbours", "telemetry"], SERVICE),
    row("services/metrics/src/rpc", METRICS, &["inputs", "pages", "gauges", SEQUENCES], SERVICE),
    row("services/metrics/src/rpc/look.rs", METRICS, &["watchers", "reading"], &["transport"]),
    row("services/metrics/src/rpc/watch.rs", METRICS, &["watchers", "reading"], &["transport"]),
    row("services/metrics/src/rpc/unread.rs", METRICS, &["unread"], &["transport"]),
    row("services/metrics/src/rpc/performance.rs", METRICS, &["performance"], &[]),
    row("services/metrics/src/exporter", METRICS, &["gauges", "details"], SERVICE),
    row("services/metrics/src/telemetry.rs", METRICS, &["telemetry"], SERVICE),
    row("services/metrics/src/trace.rs", METRICS, &["traces"], &[]),
    row("services/metrics/src/layer.rs", METRICS, &["telemetry", "deadlines", "traces"], SERVICE),
    row("services/metrics/src/store/", METRICS, &["edges", "tenants", SEQUENCES], SERVICE),
    row("services/metrics/src/store/claim", METRICS, &["edges", "optimistic", "one_campaign", "local_days", "limits", "claims", SEQUENCES], SERVICE),
    row("services/metrics/src/store/campaign/hold", METRICS, &["holds"], SERVICE),
    row("services/metrics/src/store/campaign/serving", METRICS, &["removal", "leaving", "retiring"], SERVICE),
    row("services/metrics/src/store/campaign", METRICS, &["campaigns", "tenants", "gauges", SEQUENCES], SERVICE),
    row("services/metrics/src/store/lead", METRICS, &["removal", "pages", SEQUENCES], SERVICE),
    row("services/metrics/src/store/outcome/opt_out", METRICS, &["removal", "pages"], SERVICE),
    row("services/metrics/src/store/outcome/telling", METRICS, &["namesakes"], SERVICE),
    row("services/metrics/src/store/outcome", METRICS, &["edges", "outcomes", "history", SEQUENCES], SERVICE),
    row("services/metrics/src/store/hint", METRICS, &["optimistic", "one_campaign", "limits", SEQUENCES], SERVICE),
    row("services/metrics/src/store/limit", METRICS, &["limits", "local_days", SEQUENCES], SERVICE),
    row("services/metrics/src/store/upkeep", METRICS, &["storage", "removal", "closing", SEQUENCES], SERVICE),
    row("services/metrics/src/store/upkeep/freeing", METRICS, &["leaving"], SERVICE),
    row("services/metrics/src/store/upkeep/history", METRICS, &["history", "storage"], SERVICE),
    row("services/metrics/src/store/upkeep/partition", METRICS, &["history", "storage"], SERVICE),
    row("services/metrics/src/store/upkeep/replica", METRICS, &["replicas"], &[]),
    row("services/metrics/src/store/migrate", METRICS, &["replicas", "roles", "upgrade"], &[]),
    row("services/metrics/src/store/database", METRICS, &["encryption", "away"], &[]),
    row("services/metrics/src/store/hindrance", METRICS, &["encryption", "replicas", "roles"], &[]),
    row("services/metrics/src/serve/start", METRICS, &["encryption", "replicas", "roles", "away"], &[]),
    row("services/metrics/src/store/upkeep/totals", METRICS, &["account_totals"], SERVICE),
    row("services/metrics/src/store/upkeep/verify", METRICS, &["storage", "history"], SERVICE),
    row("services/metrics/src/store/history", METRICS, &["history", "performance"], SERVICE),
    row("services/metrics/src/store/performance", METRICS, &["performance", "history", SEQUENCES], SERVICE),
    row("services/metrics/src/store/fleet", METRICS, &["gauges", "details"], SERVICE),
    row("controller/", CONTROLLER, &["kubernetes", "controller"], &["daemons"]),
    row("services/campaignctl/", CAMPAIGNCTL, &["shown", "commands", "imports", "answering"], &["removal"]),
    row("services/campaignctl/src/import", CAMPAIGNCTL, &["imports", "import_files"], &[]),
    row("services/campaignctl/src/watch", CAMPAIGNCTL, &["watching"], &[]),
];

/// What to run at once.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Step {
    pub binary: &'static str,
    pub modules: Vec<&'static str>,
}

impl Step {
    /// Its name in lists.
    pub fn name(&self) -> String {
        if self.modules.is_empty() { format!("{} (all)", self.binary) } else { self.modules.join(" ") }
    }

    /// Its modules one by one. The baseline measures each only once.
    pub fn parts(&self) -> Vec<Self> {
        if self.modules.is_empty() {
            return vec![self.clone()];
        }
        self.modules.iter().map(|module| Self { binary: self.binary, modules: vec![module] }).collect()
    }

    /// The arguments of the test binary.
    pub fn filters(&self) -> Vec<String> {
        let filter = |module: &&str| if module.contains("::") { (*module).to_owned() } else { format!("{module}::") };
        self.modules.iter().map(filter).collect()
    }
}

/// Returns the steps for a file in order; `None` if no row covers it.
pub fn steps(file: &str, is_sql: bool) -> Option<Vec<Step>> {
    let row = ROWS.iter().filter(|row| file.starts_with(row.files)).max_by_key(|row| row.files.len())?;
    // Unit tests don't use Postgres.
    let binaries = if is_sql { &[] } else { row.binaries };
    let mut steps: Vec<_> = binaries.iter().map(|binary| Step { binary, modules: Vec::new() }).collect();
    steps.extend(row.near.iter().map(|module| Step { binary: INTEGRATION, modules: vec![module] }));
    let far: Vec<_> = row.far.iter().copied().filter(|module| !row.near.contains(module)).collect();
    if !far.is_empty() {
        steps.push(Step { binary: INTEGRATION, modules: far });
    }
    Some(steps)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{harness::parts::repository, mutant::Part, select::tracked};

    #[test]
    fn every_file_that_is_mutated_has_a_row() {
        for file in tracked(repository()).unwrap() {
            let extension = std::path::Path::new(&file).extension().unwrap_or_default();
            let is_sql = extension == "sql" && (file.contains("/migrations/") || file.contains("/src/"));
            let is_rust = extension == "rs" && (file.contains("/src/") || file.starts_with("proto/"));
            if (is_sql || is_rust) && Part::of(&file, false).is_some() {
                assert!(steps(&file, false).is_some(), "tests/mutants/coverage.rs has no row for {file}");
            }
        }
    }

    #[test]
    fn every_row_names_files_and_test_modules_that_exist() {
        let files = tracked(repository()).unwrap();
        let declared = fs::read_to_string(repository().join("tests/integration.rs")).unwrap();
        for row in ROWS {
            assert!(files.iter().any(|file| file.starts_with(row.files)), "no file begins with {}", row.files);
            for module in row.near.iter().chain(row.far).map(|name| name.split("::").next().unwrap_or(name)) {
                assert!(declared.contains(&format!("mod {module};")), "the row {} names {module}", row.files);
            }
        }
    }

    #[test]
    fn the_longest_row_counts() {
        let modules = |file| steps(file, false).unwrap()[1].modules.clone();
        assert_eq!(modules("services/metrics/src/store/upkeep/partition.rs"), ["history"]);
        assert_eq!(modules("services/metrics/src/rpc/page.rs"), ["inputs"]);
    }
}
