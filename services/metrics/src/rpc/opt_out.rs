//! OptOutService.

use campaign_metrics::pb;
use tonic::{Request, Response, Status};

use super::Rpc;

#[tonic::async_trait]
impl pb::opt_out_service_server::OptOutService for Rpc {
    async fn list_opt_outs(
        &self,
        _request: Request<pb::ListOptOutsRequest>,
    ) -> Result<Response<pb::ListOptOutsResponse>, Status> {
        Err(Status::unimplemented("not served yet"))
    }

    async fn add_opt_outs(
        &self,
        _request: Request<pb::AddOptOutsRequest>,
    ) -> Result<Response<pb::AddOptOutsResponse>, Status> {
        Err(Status::unimplemented("not served yet"))
    }

    async fn delete_opt_out(
        &self,
        _request: Request<pb::DeleteOptOutRequest>,
    ) -> Result<Response<pb::DeleteOptOutResponse>, Status> {
        Err(Status::unimplemented("not served yet"))
    }
}
