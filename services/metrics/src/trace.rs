//! Traces: a call as a span, and below it the transactions and their waits for a connection. Exported over OTLP on request.
//!
//! A trace continues that of the caller (W3C Trace Context) and its decision whether to sample. Outcomes of several
//! callers share a transaction: it belongs to the trace of the first, with links to the others.
//!
//! An export never holds up a call. Finished spans wait in a queue of bounded length; what does not fit is dropped. The
//! spans have a target of their own, so without an exporter, making one costs no more than the check that nobody wants it.

use std::time::Duration;

use anyhow::Context as _;
use http::HeaderMap;
use opentelemetry::{
    Context, KeyValue,
    propagation::{Extractor, TextMapPropagator as _},
    trace::{TraceContextExt as _, TracerProvider as _},
};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{Resource, propagation::TraceContextPropagator, trace::SdkTracerProvider};
use tracing::{Span, Subscriber, field::Empty};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::{Layer, filter::filter_fn, registry::LookupSpan};

/// Target of the spans that are exported.
pub const TARGET: &str = "campaign_metrics::trace";

/// Longest time of an attempt to send spans.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time for sending what is left at the end: with the drain it fits into the time that Kubernetes gives a pod.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

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
        let exporter = exporter.build().context("setting up the export of traces")?;
        let name = std::env::var("OTEL_SERVICE_NAME").unwrap_or_else(|_| "campaign-metrics-service".to_owned());
        // OTEL_RESOURCE_ATTRIBUTES adds to these.
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let resource = Resource::builder().with_service_name(name).with_attribute(version).build();
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
        Ok(Self(provider))
    }

    /// The layer that hands the spans over.
    pub fn layer<S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync>(&self) -> impl Layer<S> + use<S> {
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

/// Starts the span of a call, and returns its trace id: the caller's, or a new one.
pub fn call(method: &'static str, headers: &HeaderMap) -> (Span, String) {
    let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), &Headers(headers));
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
    let mut id = parent.span().span_context().trace_id();
    if !span.is_disabled() {
        // It fails only for a span that is disabled or was started before.
        let _ = span.set_parent(parent);
        id = span.context().span().span_context().trace_id();
    }
    if id == opentelemetry::TraceId::INVALID {
        id = opentelemetry::TraceId::from(rand::random::<u128>());
    }
    (span, id.to_string())
}

/// Records how a call ended.
pub fn ended(span: &Span, code: tonic::Code) {
    use tonic::Code;
    span.record("rpc.response.status_code", tracing::field::debug(code));
    let is_fault = [Code::Unknown, Code::DeadlineExceeded, Code::Unimplemented, Code::Internal, Code::Unavailable];
    if is_fault.contains(&code) {
        span.record("otel.status_code", "ERROR");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace_id(parent: &str) -> String {
        let headers = HeaderMap::from_iter([(http::HeaderName::from_static("traceparent"), parent.parse().unwrap())]);
        call("other", &headers).1
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
}
