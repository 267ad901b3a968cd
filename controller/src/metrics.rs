//! Process metrics of the controller and the admin port that serves them.
//!
//! The metrics `controller_runtime_*` have the names that dashboards for controllers expect. No metric has a label for
//! each object, since the number of objects is unbounded.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use futures::FutureExt as _;
use kube::runtime::reflector::Store;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder, core::Collector, process_collector::ProcessCollector,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{crd::Campaign, memory::Memory};

/// Value of the label `controller`.
const CONTROLLER: &str = "campaign";
/// In seconds: from a reconcile that writes nothing to one that reaches its deadline.
const RECONCILE_BUCKETS: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];
/// In seconds: people expect a pause within one second, and an outage of the service shows at the upper end.
const PAUSE_BUCKETS: [f64; 10] = [0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0];

/// The metrics of this process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    reconciles: IntCounterVec,
    errors: IntCounterVec,
    terminal_errors: IntCounterVec,
    panics: IntCounterVec,
    seconds: HistogramVec,
    active: IntGaugeVec,
    resources: IntGaugeVec,
    /// Changes without the resource that were undone.
    pub drift_repairs: IntCounter,
    /// Time from the delivery of a pause by the watch until the service confirmed it.
    pub time_to_pause: Histogram,
    /// Writes of a status.
    pub status_writes: IntCounter,
    /// Whether the stream of the service's campaigns is open and has listed all of them: 1 or 0.
    pub stream_connected: IntGauge,
    /// Resources that this version can't read, and leaves alone.
    pub unreadable: IntGauge,
}

/// How a reconcile ended. It is the label `result`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Done until something changes.
    Success,
    /// Done, to be repeated after some time.
    RequeueAfter,
    /// Failed, to be retried.
    Error,
}

impl Metrics {
    /// Registers all metrics in a registry of their own, so that several controllers fit in one test process.
    ///
    /// `concurrency` is the most reconciles that may run at once.
    pub fn new(concurrency: u16) -> prometheus::Result<Self> {
        let registry = Registry::new();
        registry.register(Box::new(ProcessCollector::for_self()))?;
        let counters = |name: &str, help: &str, labels: &[&str]| {
            register(&registry, IntCounterVec::new(Opts::new(name, help), labels)?)
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            register(&registry, IntGaugeVec::new(Opts::new(name, help), labels)?)
        };
        let reconciles =
            counters("controller_runtime_reconcile_total", "Reconciles by result.", &["controller", "result"])?;
        let errors = counters(
            "controller_runtime_reconcile_errors_total",
            "Reconciles that failed and are tried again.",
            &["controller"],
        )?;
        let terminal_errors = counters(
            "controller_runtime_terminal_reconcile_errors_total",
            "Reconciles that the service refused until the spec changes.",
            &["controller"],
        )?;
        let panics = counters(
            "controller_runtime_reconcile_panics_total",
            "Reconciles that panicked and are tried again.",
            &["controller"],
        )?;
        let active = gauges("controller_runtime_active_workers", "Reconciles running now.", &["controller"])?;
        gauges("controller_runtime_max_concurrent_reconciles", "Reconciles that may run at once.", &["controller"])?
            .with_label_values(&[CONTROLLER])
            .set(concurrency.into());
        let seconds = register(
            &registry,
            HistogramVec::new(
                HistogramOpts::new("controller_runtime_reconcile_time_seconds", "Time a reconcile takes.")
                    .buckets(RECONCILE_BUCKETS.into()),
                &["controller"],
            )?,
        )?;
        let drift_repairs = register(
            &registry,
            IntCounter::new(
                "campaign_controller_drift_repairs_total",
                "Changes made past a resource that were undone.",
            )?,
        )?;
        let time_to_pause = register(
            &registry,
            Histogram::with_opts(
                HistogramOpts::new(
                    "campaign_controller_time_to_pause_seconds",
                    "From the moment the watch saw a pause until the service confirmed it.",
                )
                .buckets(PAUSE_BUCKETS.into()),
            )?,
        )?;
        gauges("campaign_controller_build_info", "Version of the running controller; always 1.", &["version"])?
            .with_label_values(&[campaign_metrics::VERSION])
            .set(1);
        let resources = gauges(
            "campaign_controller_resources",
            "Campaign resources by type, status and reason of each of their conditions; absent where there are none.",
            &["condition", "status", "reason"],
        )?;
        let status_writes = register(
            &registry,
            IntCounter::new("campaign_controller_status_writes_total", "Writes of a status of a resource.")?,
        )?;
        let gauge = |name: &str, help: &str| register(&registry, IntGauge::new(name, help)?);
        let stream_connected = gauge(
            "campaign_controller_stream_connected",
            "1 while the stream of the service's campaigns is open and has listed all of them, else 0.",
        )?;
        let unreadable = gauge(
            "campaign_controller_unreadable_resources",
            "Campaign resources that this version of the controller can't read, and leaves alone.",
        )?;
        // A series must exist before its first event, or `rate()` does not see that event.
        for outcome in [Outcome::Success, Outcome::RequeueAfter, Outcome::Error] {
            reconciles.with_label_values(&[CONTROLLER, outcome.label()]);
        }
        errors.with_label_values(&[CONTROLLER]);
        terminal_errors.with_label_values(&[CONTROLLER]);
        panics.with_label_values(&[CONTROLLER]);
        active.with_label_values(&[CONTROLLER]);
        Ok(Self {
            registry,
            reconciles,
            errors,
            terminal_errors,
            panics,
            seconds,
            active,
            resources,
            drift_repairs,
            time_to_pause,
            status_writes,
            stream_connected,
            unreadable,
        })
    }

    /// Counts a reconcile as running until the guard is finished or dropped.
    pub fn reconcile_started(&self) -> Running<'_> {
        self.active.with_label_values(&[CONTROLLER]).inc();
        Running { metrics: self, started: Instant::now() }
    }

    /// Counts a refusal that only an edit can repair.
    pub fn refused(&self) {
        self.terminal_errors.with_label_values(&[CONTROLLER]).inc();
    }

    /// Counts a panic.
    pub fn panicked(&self) {
        self.panics.with_label_values(&[CONTROLLER]).inc();
    }

    /// Renders all metrics, and the conditions of these resources, in the text format 0.0.4.
    pub fn render(&self, resources: &[Arc<Campaign>]) -> prometheus::Result<String> {
        let mut counts = BTreeMap::<_, i64>::new();
        for condition in resources.iter().filter_map(|resource| resource.status.as_ref()).flat_map(|of| &of.conditions)
        {
            *counts.entry([&*condition.type_, &condition.status, &condition.reason]).or_default() += 1;
        }
        self.resources.reset();
        for (labels, count) in counts {
            self.resources.with_label_values(&labels).set(count);
        }
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> prometheus::Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

impl Outcome {
    fn label(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::RequeueAfter => "requeue_after",
            Self::Error => "error",
        }
    }
}

/// A running reconcile. When it is dropped, even by a cancellation or a panic, it is no longer counted as running.
#[derive(Debug)]
pub struct Running<'a> {
    metrics: &'a Metrics,
    started: Instant,
}

impl Running<'_> {
    /// Records the end of the reconcile.
    pub fn finish(self, outcome: Outcome) {
        let metrics = self.metrics;
        metrics.seconds.with_label_values(&[CONTROLLER]).observe(self.started.elapsed().as_secs_f64());
        metrics.reconciles.with_label_values(&[CONTROLLER, outcome.label()]).inc();
        if outcome == Outcome::Error {
            metrics.errors.with_label_values(&[CONTROLLER]).inc();
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.metrics.active.with_label_values(&[CONTROLLER]).dec();
    }
}

struct Admin {
    metrics: Arc<Metrics>,
    store: Store<Campaign>,
    memory: Arc<Memory>,
}

/// Serves `/livez`, `/readyz` and `/metrics` until shutdown. Ready after the first listing of resources, while the stream of
/// the service is open.
pub async fn serve(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    store: Store<Campaign>,
    memory: Arc<Memory>,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(render))
        .with_state(Arc::new(Admin { metrics, store, memory }));
    axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

async fn readyz(State(admin): State<Arc<Admin>>) -> (StatusCode, String) {
    if !matches!(admin.store.wait_until_ready().now_or_never(), Some(Ok(()))) {
        return (StatusCode::SERVICE_UNAVAILABLE, "waiting for the first listing of campaigns\n".to_owned());
    }
    match admin.memory.lost_for() {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(lost) => {
            let said = format!("the campaign service has not been reached for {} s\n", lost.as_secs());
            (StatusCode::SERVICE_UNAVAILABLE, said)
        }
    }
}

async fn render(State(admin): State<Arc<Admin>>) -> Result<String, (StatusCode, String)> {
    admin
        .metrics
        .render(&admin.store.state())
        .map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reconcile_is_active_until_it_ends_however_it_ends() {
        let metrics = Metrics::new(32).unwrap();
        let line = "controller_runtime_active_workers{controller=\"campaign\"} ";
        let running = metrics.reconcile_started();
        assert!(metrics.render(&[]).unwrap().contains(&format!("{line}1")));
        drop(running);
        metrics.reconcile_started().finish(Outcome::Error);
        let text = metrics.render(&[]).unwrap();
        assert!(text.contains(&format!("{line}0")), "{text}");
        assert!(text.contains("controller_runtime_reconcile_total{controller=\"campaign\",result=\"error\"} 1"));
        assert!(text.contains("controller_runtime_reconcile_errors_total{controller=\"campaign\"} 1"));
        assert!(text.contains("controller_runtime_max_concurrent_reconciles{controller=\"campaign\"} 32"));
    }

    #[test]
    fn each_end_of_a_reconcile_is_counted_under_its_own_name() {
        let metrics = Metrics::new(32).unwrap();
        for (outcome, times) in [(Outcome::Success, 1), (Outcome::RequeueAfter, 2), (Outcome::Error, 3)] {
            for _ in 0..times {
                metrics.reconcile_started().finish(outcome);
            }
        }
        for _ in 0..4 {
            metrics.refused();
        }
        let text = metrics.render(&[]).unwrap();
        for (series, count) in [
            ("controller_runtime_reconcile_total{controller=\"campaign\",result=\"success\"}", 1),
            ("controller_runtime_reconcile_total{controller=\"campaign\",result=\"requeue_after\"}", 2),
            ("controller_runtime_reconcile_total{controller=\"campaign\",result=\"error\"}", 3),
            ("controller_runtime_reconcile_errors_total{controller=\"campaign\"}", 3),
            ("controller_runtime_terminal_reconcile_errors_total{controller=\"campaign\"}", 4),
            ("controller_runtime_reconcile_time_seconds_count{controller=\"campaign\"}", 6),
            ("controller_runtime_active_workers{controller=\"campaign\"}", 0),
            ("campaign_controller_drift_repairs_total", 0),
        ] {
            assert!(text.lines().any(|line| line == format!("{series} {count}")), "{series} must be {count}:\n{text}");
        }
    }
}
