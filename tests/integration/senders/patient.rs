//! A service that asks for patience: it answers the first ClaimSends by an error with a RetryInfo, later ones by no claims.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use campaign_metrics::pb::{
    self,
    sending_service_server::{SendingService, SendingServiceServer},
};
use futures::stream::BoxStream;
use tokio::{net::TcpListener, task::JoinHandle};
use tonic::{
    Code, Request, Response, Status, Streaming,
    transport::{Server, server::TcpIncoming},
};
use tonic_types::{ErrorDetails, StatusExt as _};

/// Longer than the senders wait by themselves before the first repeat: 1.5 s.
pub const ASKED_WAIT: Duration = Duration::from_secs(3);

/// What was asked, and when.
pub type Asked = Arc<Mutex<Vec<(Instant, pb::ClaimSendsRequest)>>>;

/// Listens at an address of its own until it is dropped.
pub struct Patient {
    pub address: String,
    pub asked: Asked,
    task: JoinHandle<()>,
}

impl Patient {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Asked::default();
        let server = Server::builder().add_service(SendingServiceServer::new(Answers(Arc::clone(&asked))));
        let task = tokio::spawn(async move {
            server.serve_with_incoming(TcpIncoming::from(listener)).await.expect("it serves");
        });
        Self { address, asked, task }
    }
}

impl Drop for Patient {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Answers(Asked);

#[tonic::async_trait]
impl SendingService for Answers {
    async fn claim_sends(
        &self,
        request: Request<pb::ClaimSendsRequest>,
    ) -> Result<Response<pb::ClaimSendsResponse>, Status> {
        let mut asked = self.0.lock().unwrap();
        asked.push((Instant::now(), request.into_inner()));
        if asked.len() > 1 {
            return Ok(Response::new(pb::ClaimSendsResponse::default()));
        }
        let details = ErrorDetails::with_retry_info(Some(ASKED_WAIT));
        Err(Status::with_error_details(Code::Unavailable, "wait a little", details))
    }

    async fn list_claims(&self, _: Request<pb::ListClaimsRequest>) -> Result<Response<pb::ListClaimsResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn renew_claims(
        &self,
        _: Request<pb::RenewClaimsRequest>,
    ) -> Result<Response<pb::RenewClaimsResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn release_claims(
        &self,
        _: Request<pb::ReleaseClaimsRequest>,
    ) -> Result<Response<pb::ReleaseClaimsResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn resolve_claims(
        &self,
        _: Request<pb::ResolveClaimsRequest>,
    ) -> Result<Response<pb::ResolveClaimsResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn report_outcomes(
        &self,
        _: Request<pb::ReportOutcomesRequest>,
    ) -> Result<Response<pb::ReportOutcomesResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    type StreamOutcomesStream = BoxStream<'static, Result<pb::StreamOutcomesResponse, Status>>;

    async fn stream_outcomes(
        &self,
        _: Request<Streaming<pb::StreamOutcomesRequest>>,
    ) -> Result<Response<Self::StreamOutcomesStream>, Status> {
        Err(Status::unimplemented(""))
    }
}
