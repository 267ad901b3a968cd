//! Traces: a call as a span, and below it the transactions and their waits for a connection. Exported over OTLP on request.
//!
//! A trace continues that of the caller (W3C Trace Context) and its decision whether to sample. Outcomes of several
//! callers share a transaction: it belongs to the trace of the first, with links to the others.
//!
//! An export never holds up a call. Finished spans wait in a queue of bounded length; what does not fit is dropped. The
//! spans have a target of their own, which the log leaves out, so without an exporter making one costs no more than the check
//! that nobody wants it.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context as _;
use http::HeaderMap;
use opentelemetry::{
    Context, KeyValue, TraceId,
    propagation::{Extractor, TextMapPropagator as _},
    trace::{TraceContextExt as _, TracerProvider as _},
};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    propagation::TraceContextPropagator,
    trace::{SdkTracerProvider, SpanData},
};
use tonic::Code;
use tracing::{
    Instrument as _, Span, Subscriber,
    field::{self, Empty},
};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{Directive, LevelFilter, filter_fn},
    registry::LookupSpan,
};

use crate::outage::Outage;

/// Target of the spans that are exported.
pub const TARGET: &str = "campaign_metrics::trace";

/// Longest name of a client in the log, in bytes.
const CLIENT_MAX: usize = 100;
/// Longest time of an attempt to send spans.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time for sending what is left at the end: with the drain it fits into the time that Kubernetes gives a pod.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// The outages of the collector.
static COLLECTOR: Outage = Outage::new("traces can't be sent and are lost", "traces can be sent again");

/// Sends spans to a collector.
#[derive(Debug)]
pub struct Exporter(SdkTracerProvider);

impl Exporter {
    /// Starts to send to a collector at `http://HOST:PORT`. It need not be there yet. Needs a tokio runtime.
    pub fn start(endpoint: &str) -> anyhow::Result<Self> {
        let uri: http::Uri = endpoint.parse().context("the OTLP endpoint is not a URL")?;
        anyhow::ensure!(
            uri.scheme_str() == Some("http") && uri.host().is_some(),
            "the OTLP endpoint must be http://HOST:PORT, not `{endpoint}`: traces are sent over gRPC without TLS"
        );
        let exporter = SpanExporter::builder().with_tonic().with_endpoint(endpoint).with_timeout(SEND_TIMEOUT);
        let exporter = Watched(exporter.build().context("setting up the export of traces")?);
        let name = std::env::var("OTEL_SERVICE_NAME").unwrap_or_else(|_| "campaign-metrics-service".to_owned());
        // OTEL_RESOURCE_ATTRIBUTES adds to these.
        let version = KeyValue::new("service.version", campaign_metrics::VERSION);
        let resource = Resource::builder().with_service_name(name).with_attribute(version).build();
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
        Ok(Self(provider))
    }

    /// The layer that hands the spans over.
    fn layer<S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync>(&self) -> impl Layer<S> + use<S> {
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer("campaign-metrics-service"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(filter_fn(|metadata| metadata.target() == TARGET))
    }

    /// Sends what is left, for a bounded time.
    pub async fn stop(self) {
        let stopped = tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(FLUSH_TIMEOUT)).await;
        if !matches!(stopped, Ok(Ok(()))) {
            tracing::warn!("the last spans could not be sent");
        }
    }
}

/// The exporter of the library, whose failures the log tells as one outage. The library would tell of each.
#[derive(Debug)]
struct Watched(SpanExporter);

impl opentelemetry_sdk::trace::SpanExporter for Watched {
    async fn export(&self, spans: Vec<SpanData>) -> OTelSdkResult {
        match self.0.export(spans).await {
            Ok(()) => COLLECTOR.succeeded(),
            Err(error) => COLLECTOR.failed(&error),
        }
        // The spans are lost, and the log says so: the library has nothing to add.
        Ok(())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}

/// The layers of the log and of the export. The log never shows the spans that are exported.
pub fn layers<S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync>(
    log: impl Layer<S> + Send + Sync,
    filter: EnvFilter,
    exporter: Option<&Exporter>,
) -> anyhow::Result<Vec<Box<dyn Layer<S> + Send + Sync>>> {
    let off: Directive = format!("{TARGET}={}", LevelFilter::OFF).parse()?;
    // A list, because an absent layer (`None`) would count as one that wants every span.
    let mut layers = vec![log.with_filter(filter.add_directive(off)).boxed()];
    layers.extend(exporter.map(|exporter| exporter.layer().boxed()));
    Ok(layers)
}

/// Reads headers of a request.
struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

/// The spans of a call, until the last byte of its answer: one is exported, the other names call and trace in the log.
#[derive(Debug, Clone)]
pub struct Call {
    exported: Span,
    logged: Span,
}

impl Call {
    /// Starts the spans of a call. Its trace is the caller's, or a new one. The log names the caller by `address` and by what
    /// its client calls itself.
    pub fn start(method: &'static str, headers: &HeaderMap, address: Option<SocketAddr>) -> Self {
        let (exported, trace_id) = exported(method, headers);
        let caller = address.map(field::display);
        let client = headers.get(http::header::USER_AGENT).and_then(|client| client.to_str().ok());
        let client = client.map(|client| &client[..client.len().min(CLIENT_MAX)]);
        // Its level is that of errors, so that no filter takes the trace from a line that it lets through.
        let logged = exported.in_scope(|| tracing::error_span!("rpc", method, caller, client, %trace_id));
        Self { exported, logged }
    }

    /// Runs a function inside the spans.
    pub fn in_scope<T>(&self, function: impl FnOnce() -> T) -> T {
        self.exported.in_scope(|| self.logged.in_scope(function))
    }

    /// Runs a future inside the spans.
    pub fn instrument<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        future.instrument(self.logged).instrument(self.exported)
    }

    /// Records how the call ended, as OpenTelemetry's conventions for gRPC servers want it.
    pub fn ended(&self, code: Code) {
        if self.exported.is_disabled() {
            return;
        }
        self.exported.record("rpc.response.status_code", status_name(code));
        let faults = [
            Code::Unknown,
            Code::DeadlineExceeded,
            Code::Unimplemented,
            Code::Internal,
            Code::Unavailable,
            Code::DataLoss,
        ];
        if faults.contains(&code) {
            self.exported.record("otel.status_code", "ERROR");
        }
    }
}

/// The span of a call, and the id of its trace.
fn exported(method: &'static str, headers: &HeaderMap) -> (Span, TraceId) {
    let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), &Headers(headers));
    let caller = parent.span().span_context().trace_id();
    let span = tracing::debug_span!(
        target: TARGET,
        "call",
        otel.name = method,
        otel.kind = "server",
        rpc.system.name = "grpc",
        rpc.method = method,
        rpc.response.status_code = Empty,
        otel.status_code = Empty,
    );
    if !span.is_disabled() {
        // It fails only for a span that was started before.
        let _ = span.set_parent(parent);
        return (span.clone(), span.context().span().span_context().trace_id());
    }
    let id = if caller == TraceId::INVALID { TraceId::from(rand::random::<u128>()) } else { caller };
    (span, id)
}

/// The name of a status code on the wire: `DEADLINE_EXCEEDED` for `DeadlineExceeded`.
fn status_name(code: Code) -> String {
    let mut name = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

/// The span of outcomes from their submission to their verdicts.
pub fn outcomes(count: usize) -> Span {
    tracing::debug_span!(target: TARGET, "outcomes", outcomes = count)
}

/// The span of a transaction that outcomes share, by the spans of their reports: below the first that is sampled, with
/// links to the other sampled ones. So every sampled trace leads to its transaction.
pub fn batch(reports: &[&Span], outcomes: usize) -> Span {
    let sampled: Vec<&Span> = reports.iter().copied().filter(|span| is_sampled(span)).collect();
    // Below an unsampled one it is not sampled either; without a parent it would begin a trace.
    let Some(parent) = sampled.first().or(reports.first()) else { return Span::none() };
    let span = tracing::debug_span!(target: TARGET, parent: *parent, "batch", reports = reports.len(), outcomes);
    for other in sampled.iter().skip(1) {
        span.follows_from(*other);
    }
    span
}

fn is_sampled(span: &Span) -> bool {
    !span.is_disabled() && span.context().span().span_context().is_sampled()
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    fn trace_id(parent: &str) -> String {
        let headers = HeaderMap::from_iter([(http::HeaderName::from_static("traceparent"), parent.parse().unwrap())]);
        exported("other", &headers).1.to_string()
    }

    #[test]
    fn the_trace_of_the_caller_goes_on() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(trace_id(&format!("00-{id}-00f067aa0ba902b7-01")), id);
        let (one, other) = (trace_id("garbage"), trace_id("garbage"));
        assert_eq!(one.len(), 32);
        assert_ne!(one, other);
    }

    #[tokio::test]
    async fn an_endpoint_that_can_not_work_is_refused() {
        for endpoint in ["collector:4317", "https://collector:4317", "not a url", "http://"] {
            let error = Exporter::start(endpoint).expect_err(endpoint).to_string();
            assert!(error.contains("OTLP endpoint"), "{error}");
        }
    }

    #[test]
    fn without_an_exporter_a_span_is_off_whatever_is_logged() {
        let log = tracing_subscriber::fmt::layer().with_writer(std::io::sink);
        let layers = layers(log, EnvFilter::new("trace"), None).unwrap();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layers), || {
            assert!(outcomes(7).is_disabled(), "nobody wants it");
            let call = Call::start("other", &HeaderMap::new(), None);
            assert!(call.exported.is_disabled());
            assert!(!call.logged.is_disabled(), "the log wants this one");
        });
    }

    #[test]
    fn codes_have_their_names_of_the_wire() {
        assert_eq!(
            [Code::Ok, Code::NotFound, Code::DeadlineExceeded].map(status_name),
            ["OK", "NOT_FOUND", "DEADLINE_EXCEEDED"]
        );
    }
}
