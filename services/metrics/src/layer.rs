//! The tower layer around every RPC: readiness, deadline, span and metrics.
//!
//! The `grpc-timeout` of a call bounds the call and, through the store, the statement timeout of Postgres. When it
//! expires, the status is DEADLINE_EXCEEDED. Handlers do not deal with deadlines.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use http::{HeaderMap, Request, Response};
use http_body::Frame;
use tonic::{Code, Status, body::Body, transport::server::TcpConnectInfo};
use tower::{Layer, Service};

use crate::{error::Error, rpc, store, telemetry::Telemetry, trace};

/// Longest deadline that is enforced. A stream without a deadline may run forever.
const DEADLINE_MAX: Duration = Duration::from_hours(1);

/// Time before its deadline at which a call is answered: a round trip on a busy network and ten timer ticks.
const DEADLINE_MARGIN: Duration = Duration::from_millis(20);

/// Wraps services as described at the module.
#[derive(Clone)]
pub struct CallLayer {
    /// Metrics of this process.
    pub telemetry: Arc<Telemetry>,
    /// Whether the database is reachable and migrated.
    pub ready: Arc<AtomicBool>,
}

impl<S> Layer<S> for CallLayer {
    type Service = Calls<S>;

    fn layer(&self, inner: S) -> Calls<S> {
        Calls { inner, layer: self.clone() }
    }
}

/// A service whose calls are measured, bounded by their deadline, and traced.
#[derive(Clone)]
pub struct Calls<S> {
    inner: S,
    layer: CallLayer,
}

impl<S> Service<Request<Body>> for Calls<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let method = Method::from_path(request.uri().path());
        let timeout = timeout(request.headers());
        let caller = request.extensions().get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr);
        let spans = trace::Call::start(method.name, request.headers(), caller);
        let of_answer = spans.clone();
        let layer = self.layer.clone();
        // A clone is not ready until it is polled, so this call takes the service that was polled.
        let ready_clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, ready_clone);
        let call = async move {
            let start = Instant::now();
            let in_flight = layer.telemetry.call_started(method.name);
            let response = if method.needs_database && !layer.ready.load(Ordering::Acquire) {
                rpc::unready().into_http()
            } else {
                match timeout {
                    None => inner.call(request).await?,
                    Some(timeout) => {
                        let deadline = start + timeout;
                        let bounded = tokio::time::timeout_at(deadline.into(), inner.call(request));
                        match store::with_deadline(deadline, bounded).await {
                            Ok(response) => response?,
                            Err(_) => Status::from(Error::DeadlineExceeded).into_http(),
                        }
                    }
                }
            };
            drop(in_flight);
            let code = Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code());
            layer.telemetry.call_ended(method.name, code, start.elapsed());
            if code != Code::Ok {
                of_answer.ended(code);
            }
            tracing::debug!(?code, elapsed_ms = start.elapsed().as_millis(), "handled");
            let answer = |body| Answer { body, method: method.name, telemetry: layer.telemetry, spans: of_answer };
            Ok(response.map(|body| Body::new(answer(body))))
        };
        Box::pin(spans.instrument(call))
    }
}

/// The body of an answer, which belongs to the spans of its call. Counts the error with which a stream ends: its headers
/// said nothing of it.
struct Answer {
    body: Body,
    method: &'static str,
    telemetry: Arc<Telemetry>,
    spans: trace::Call,
}

impl http_body::Body for Answer {
    type Data = <Body as http_body::Body>::Data;
    type Error = <Body as http_body::Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let Self { body, spans, .. } = &mut *self;
        let polled = spans.in_scope(|| Pin::new(body).poll_frame(context));
        let code = match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                frame.trailers_ref().and_then(Status::from_header_map).map(|end| end.code())
            }
            Poll::Ready(Some(Err(error))) => Some(error.code()),
            _ => None,
        };
        if let Some(code) = code {
            self.spans.ended(code);
            if code != Code::Ok {
                self.telemetry.stream_failed(self.method, code);
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

/// Returns the name of a method in metrics. Unknown methods share one name, so that callers can't create labels.
#[derive(Clone, Copy)]
struct Method {
    name: &'static str,
    needs_database: bool,
}

/// Methods of the API, by path.
const METHODS: [&str; 43] = [
    "campaign_metrics.v1.CampaignService/CreateCampaign",
    "campaign_metrics.v1.CampaignService/GetCampaign",
    "campaign_metrics.v1.CampaignService/ListCampaigns",
    "campaign_metrics.v1.CampaignService/UpdateCampaign",
    "campaign_metrics.v1.CampaignService/DeleteCampaign",
    "campaign_metrics.v1.CampaignService/PauseCampaign",
    "campaign_metrics.v1.CampaignService/ResumeCampaign",
    "campaign_metrics.v1.CampaignService/FinishCampaign",
    "campaign_metrics.v1.CampaignService/ApplyCampaign",
    "campaign_metrics.v1.CampaignService/OrphanCampaign",
    "campaign_metrics.v1.CampaignService/WatchCampaigns",
    "campaign_metrics.v1.AccountService/CreateAccount",
    "campaign_metrics.v1.AccountService/GetAccount",
    "campaign_metrics.v1.AccountService/ListAccounts",
    "campaign_metrics.v1.AccountService/UpdateAccount",
    "campaign_metrics.v1.AccountService/DeleteAccount",
    "campaign_metrics.v1.AccountService/SuspendAccount",
    "campaign_metrics.v1.AccountService/ReinstateAccount",
    "campaign_metrics.v1.LeadService/AddLeads",
    "campaign_metrics.v1.LeadService/GetLead",
    "campaign_metrics.v1.LeadService/ListLeads",
    "campaign_metrics.v1.LeadService/ListLeadOutcomes",
    "campaign_metrics.v1.LeadService/ReassignLeads",
    "campaign_metrics.v1.LeadService/DeleteLead",
    "campaign_metrics.v1.LeadService/ExportLeads",
    "campaign_metrics.v1.LeadService/ExportOutcomes",
    "campaign_metrics.v1.SendingService/ClaimSends",
    "campaign_metrics.v1.SendingService/ListClaims",
    "campaign_metrics.v1.SendingService/RenewClaims",
    "campaign_metrics.v1.SendingService/ReleaseClaims",
    "campaign_metrics.v1.SendingService/ResolveClaims",
    "campaign_metrics.v1.SendingService/ReportOutcomes",
    "campaign_metrics.v1.SendingService/StreamOutcomes",
    "campaign_metrics.v1.OptOutService/ListOptOuts",
    "campaign_metrics.v1.OptOutService/AddOptOuts",
    "campaign_metrics.v1.OptOutService/DeleteOptOut",
    "campaign_metrics.v1.PerformanceService/QueryCampaignHistory",
    "campaign_metrics.v1.PerformanceService/QueryAccountHistory",
    "campaign_metrics.v1.PerformanceService/ListCampaignAccounts",
    "campaign_metrics.v1.PerformanceService/GetWorkspaceTotals",
    "campaign_metrics.v1.PerformanceService/DiagnoseCampaign",
    "campaign_metrics.v1.PerformanceService/DiagnoseAccount",
    "campaign_metrics.v1.PerformanceService/CompareCampaigns",
];

impl Method {
    fn from_path(path: &str) -> Self {
        let path = path.trim_start_matches('/');
        match METHODS.into_iter().find(|name| *name == path) {
            Some(name) => Self { name, needs_database: true },
            None => Self { name: "other", needs_database: false },
        }
    }
}

/// Parses `grpc-timeout`: at most eight digits and a unit.
fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    let timeout = match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    };
    // At the deadline itself, the transports of server and client answer CANCELLED. So this answer comes just before.
    let timeout = timeout.min(DEADLINE_MAX);
    Some(timeout.saturating_sub((timeout / 10).min(DEADLINE_MARGIN)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(http::HeaderName::from_static(name), value.parse().unwrap())])
    }

    #[test]
    fn timeouts_are_read_in_every_unit_and_bounded() {
        let read = |value| timeout(&headers("grpc-timeout", value));
        assert_eq!(read("0H"), Some(Duration::ZERO));
        assert_eq!(read("1H"), Some(Duration::from_millis(3_599_980)));
        assert_eq!(read("99999999H"), Some(Duration::from_millis(3_599_980)));
        assert_eq!(read("2M"), Some(Duration::from_millis(119_980)));
        assert_eq!(read("5S"), Some(Duration::from_millis(4980)));
        assert_eq!(read("250m"), Some(Duration::from_millis(230)));
        assert_eq!(read("100u"), Some(Duration::from_micros(90)));
        assert_eq!(read("700n"), Some(Duration::from_nanos(630)));
        for bad in ["", "S", "5", "5x", "-5S", "123456789S", "é"] {
            if let Ok(value) = http::HeaderValue::from_str(bad) {
                let headers = HeaderMap::from_iter([(http::HeaderName::from_static("grpc-timeout"), value)]);
                assert_eq!(timeout(&headers), None, "{bad}");
            }
        }
    }

    #[test]
    fn the_methods_are_those_of_the_contract() {
        let descriptors: prost_types::FileDescriptorSet =
            prost::Message::decode(campaign_metrics::FILE_DESCRIPTOR_SET).unwrap();
        let mut methods: Vec<String> = descriptors
            .file
            .iter()
            .flat_map(|file| file.service.iter().map(move |service| (file.package(), service)))
            .flat_map(|(package, service)| {
                service.method.iter().map(move |method| format!("{package}.{}/{}", service.name(), method.name()))
            })
            .collect();
        let mut known = METHODS.map(str::to_owned).to_vec();
        methods.sort();
        known.sort();
        assert_eq!(methods, known);
    }
}
