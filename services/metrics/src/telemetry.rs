//! Metrics of this process and its work. For the state of campaigns see [`crate::exporter`].

use std::{sync::Arc, time::Duration};

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    core::Collector, process_collector::ProcessCollector,
};
use tonic::Code;

/// Version of the service.
pub const VERSION: &str = campaign_metrics::VERSION;

/// Buckets of latencies in seconds: from an index look-up to a call that reaches its deadline.
const LATENCY_BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];
/// Buckets of batch sizes.
const BATCH_BUCKETS: [f64; 8] = [1.0, 5.0, 10.0, 50.0, 100.0, 500.0, 1000.0, 5000.0];

/// Verdicts of outcomes, as a label.
const VERDICTS: [&str; 3] = ["applied", "duplicate", "rejected"];

/// Counters and histograms of this process, in a registry of their own.
pub struct Telemetry {
    registry: Registry,
    handled: IntCounterVec,
    duration: HistogramVec,
    in_flight: IntGaugeVec,
    outcomes: [IntCounter; VERDICTS.len()],
    batch_size: Histogram,
    waiting: IntGauge,
    store: StoreCounters,
    pool: IntGaugeVec,
    pool_max: IntGauge,
    pool_waiters: IntGauge,
    stream_errors: IntCounterVec,
    watchers: IntGauge,
}

/// Counters of the store.
#[derive(Clone)]
pub struct StoreCounters {
    /// Duration of each attempt of a transaction, by name.
    pub transactions: HistogramVec,
    /// Transactions that were retried, by name.
    pub retries: IntCounterVec,
    /// Claim requests that were answered, by how they were granted.
    pub claims: IntCounterVec,
}

impl StoreCounters {
    /// Records an attempt of a transaction, and creates the series of its retries, which then starts at 0.
    pub fn transaction_ended(&self, name: &str, elapsed: Duration) {
        self.transactions.with_label_values(&[name]).observe(elapsed.as_secs_f64());
        self.retries.with_label_values(&[name]);
    }
}

/// Counts a call or stream as open until it is dropped.
pub struct InFlight(IntGauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Telemetry {
    /// Registers all metrics.
    pub fn new() -> prometheus::Result<Arc<Self>> {
        let registry = Registry::new();
        registry.register(Box::new(ProcessCollector::for_self()))?;
        let info = Opts::new("campaign_metrics_build_info", "Version of the running service; always 1.");
        let info = register(&registry, IntGaugeVec::new(info, &["version"])?)?;
        info.with_label_values(&[VERSION]).set(1);
        let counter =
            |name, help, labels: &[&str]| register(&registry, IntCounterVec::new(Opts::new(name, help), labels)?);
        let gauge = |name, help, labels: &[&str]| register(&registry, IntGaugeVec::new(Opts::new(name, help), labels)?);
        let histogram = |name, help, buckets: &[f64], labels: &[&str]| {
            register(&registry, HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels)?)
        };
        let outcomes = counter(
            "campaign_metrics_outcomes_total",
            "Outcomes reported, by verdict: applied, duplicate, rejected.",
            &["verdict"],
        )?;
        let batch_size = HistogramOpts::new("campaign_metrics_outcome_batch_size", "Outcomes of a report.");
        Ok(Arc::new(Self {
            handled: counter(
                "campaign_metrics_rpc_handled_total",
                "RPCs handled, by method and gRPC status code.",
                &["method", "code"],
            )?,
            duration: histogram(
                "campaign_metrics_rpc_duration_seconds",
                "Time from the request's headers to the answer's, by method.",
                &LATENCY_BUCKETS,
                &["method"],
            )?,
            in_flight: gauge("campaign_metrics_rpc_in_flight", "RPCs being handled, by method.", &["method"])?,
            outcomes: VERDICTS.map(|verdict| outcomes.with_label_values(&[verdict])),
            batch_size: register(&registry, Histogram::with_opts(batch_size.buckets(BATCH_BUCKETS.to_vec()))?)?,
            waiting: register(
                &registry,
                IntGauge::new("campaign_metrics_outcomes_waiting", "Outcomes received that wait for their commit.")?,
            )?,
            store: StoreCounters {
                transactions: histogram(
                    "campaign_metrics_transaction_duration_seconds",
                    "Time of a transaction from its begin to its commit or rollback, waits for locks included, by transaction.",
                    &LATENCY_BUCKETS,
                    &["transaction"],
                )?,
                retries: counter(
                    "campaign_metrics_transaction_retries_total",
                    "Transactions run again after a deadlock, a serialization failure or a short wait for a lock, by transaction.",
                    &["transaction"],
                )?,
                claims: counter(
                    "campaign_metrics_claim_calls_total",
                    "Calls of ClaimSends that were answered, by way: guess, granted optimistically; full, looked up first; \
                     undone, looked up after an optimistic grant was wrong.",
                    &["way"],
                )?,
            },
            pool: gauge(
                "campaign_metrics_pool_connections",
                "Database connections, by state: idle, used.",
                &["state"],
            )?,
            pool_max: register(
                &registry,
                IntGauge::new("campaign_metrics_pool_connections_max", "Database connections at most (--pool-size).")?,
            )?,
            pool_waiters: register(
                &registry,
                IntGauge::new(
                    "campaign_metrics_pool_waiters",
                    "Transactions that wait for a database connection; after 5 s the call fails.",
                )?,
            )?,
            stream_errors: counter(
                "campaign_metrics_rpc_stream_errors_total",
                "Answers that ended with an error after their headers were sent, by method and gRPC status code. \
                 rpc_handled_total has counted them as Ok.",
                &["method", "code"],
            )?,
            watchers: register(
                &registry,
                IntGauge::new("campaign_metrics_watch_streams", "Open streams of WatchCampaigns.")?,
            )?,
            registry,
        }))
    }

    /// Counts a call as in flight until the returned guard is dropped.
    pub fn call_started(&self, method: &str) -> InFlight {
        let gauge = self.in_flight.with_label_values(&[method]);
        gauge.inc();
        InFlight(gauge)
    }

    /// Counts a call that ended.
    pub fn call_ended(&self, method: &str, code: Code, elapsed: Duration) {
        self.handled.with_label_values(&[method, &format!("{code:?}")]).inc();
        self.duration.with_label_values(&[method]).observe(elapsed.as_secs_f64());
    }

    /// Counts an answer that ended with an error after its headers were sent.
    pub fn stream_failed(&self, method: &str, code: Code) {
        self.stream_errors.with_label_values(&[method, &format!("{code:?}")]).inc();
    }

    /// Counts a report by the verdicts of its outcomes.
    pub fn reported(&self, applied: u64, duplicate: u64, rejected: u64) {
        for (verdict, count) in self.outcomes.iter().zip([applied, duplicate, rejected]) {
            verdict.inc_by(count);
        }
        #[expect(clippy::cast_precision_loss, reason = "a batch has at most some thousand outcomes")]
        self.batch_size.observe((applied + duplicate + rejected) as f64);
    }

    /// Counts an open watch stream until the returned guard is dropped.
    pub fn watch_started(&self) -> InFlight {
        self.watchers.inc();
        InFlight(self.watchers.clone())
    }

    /// Returns the gauge of outcomes that wait for their commit.
    pub fn waiting(&self) -> IntGauge {
        self.waiting.clone()
    }

    /// Returns the counters of the store.
    pub fn store_counters(&self) -> StoreCounters {
        self.store.clone()
    }

    /// Gathers all metrics, with the current state of the connection pool.
    pub fn gather(&self, pool: &deadpool_postgres::Status) -> Vec<prometheus::proto::MetricFamily> {
        let idle = pool.available;
        let count = |count: usize| i64::try_from(count).unwrap_or(0);
        self.pool.with_label_values(&["idle"]).set(count(idle));
        self.pool.with_label_values(&["used"]).set(count(pool.size.saturating_sub(idle)));
        self.pool_max.set(count(pool.max_size));
        self.pool_waiters.set(count(pool.waiting));
        self.registry.gather()
    }
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> prometheus::Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}
